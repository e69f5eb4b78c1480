"""Each TLS option of the main section has a test of what it does; a new option without one fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.tls_option_tests import TESTED
from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import Standing

ROOT = Path(__file__).parents[2]

SERVED = [
    option.name
    for option in MAIN_OPTIONS.values()
    if option.group in ("tls", "old") and option.standing is Standing.USED
]


def test_the_table_is_complete() -> None:
    assert set(SERVED) - set(TESTED) == set(), "name a test for each"
    assert set(TESTED) - set(SERVED) == set(), "take what is not served out of the table"


@pytest.mark.parametrize("option", TESTED)
def test_the_test_that_is_named_is_there(option: str) -> None:
    path, _, name = TESTED[option].partition("[")[0].partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), f"{path} has no {name}"


def test_no_tls_option_hides_in_another_group() -> None:
    words = ("tls_", "gnutls_", "openssl_")
    strays = [
        option.name
        for option in MAIN_OPTIONS.values()
        if option.name.startswith(words) and option.standing is Standing.USED and option.group not in ("tls", "old")
    ]
    assert strays == []
