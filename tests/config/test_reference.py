"""The reference page says what the tables say."""

from __future__ import annotations

from pathlib import Path

from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS
from relay.config.reference import reference_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "options.md"


def test_the_page_is_the_one_that_the_tables_make() -> None:
    remedy = "write it again: python -m relay.config.reference > docs/reference/options.md"
    assert PAGE.read_text("utf-8") == reference_page(), remedy


def test_every_option_has_a_row() -> None:
    page = reference_page()
    for table in (MAIN_OPTIONS, *GENERIC.values(), *(driver.options for driver in DRIVERS.values())):
        for name in table:
            assert f"\n| `{name}` | " in page


def test_every_row_has_five_cells() -> None:
    rows = [line for line in reference_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 600
    assert all(line.replace("\\|", "").count("|") == 6 for line in rows)
