"""How Sphinx builds these pages; warnings are errors (`make docs`)."""

import re
from pathlib import Path

_package = Path(__file__).parent.parent / "relay" / "__init__.py"

project = "Fingerpost"
author = "Fingerpost contributors"
project_copyright = "Fingerpost contributors"
release = re.findall(r'^__version__ = "(.*)"', _package.read_text(encoding="utf-8"), flags=re.MULTILINE)[0]
version = release

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Fingerpost {release}"
html_show_sphinx = False
