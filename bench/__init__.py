"""Measurements of the daemon. They measure, tests check."""

import sys
from pathlib import Path

# What starts daemons is the tests'.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
