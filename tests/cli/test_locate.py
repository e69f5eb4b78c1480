"""The short way to the spool directory, and where it gives up."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.cli.locate import NotFound, scan_spool_directory, spool_directory


@pytest.mark.parametrize(
    "text",
    [
        "spool_directory = /s/q",
        "# comment\n\nprimary_hostname = x\n  spool_directory=/s/q  \nbegin acl",
        "SPOOL = /s/q\nspool_directory = SPOOL",
        "BASE = /s\nSPOOL = BASE/q\nspool_directory = SPOOL",
        'spool_directory = "/s/q"',
        "spool_directory = \\\n   /s/\\\n  q",
        "hide spool_directory = /s/q",
        "A = /x\nA == /s/q\nspool_directory = A",
        "D = wrong\nspool_directory = /s/D",
    ],
)
def test_it_is_found(text: str) -> None:
    assert scan_spool_directory(text, {"D": "q"}) == "/s/q"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "primary_hostname = x",
        ".include /x\nspool_directory = /s/q",
        ".ifdef X\nspool_directory = /a\n.else\nspool_directory = /b\n.endif",
        "spool_directory = ${if eq{a}{b}{/x}{/y}}",
        "spool_directory = relative",
        "begin acl\nspool_directory = /s/q",
    ],
)
def test_what_it_leaves_to_the_real_reader(text: str) -> None:
    with pytest.raises(NotFound):
        scan_spool_directory(text, {})


@settings(max_examples=100)
@given(st.text("ABb ={}$\\\n/.#\"'", max_size=60))
def test_no_text_is_a_fault(text: str) -> None:
    try:
        assert scan_spool_directory(text, {"A": "x", "AB": ""}).startswith("/")
    except NotFound:
        pass


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_text("spool_directory = /s/q\n")
    assert spool_directory(str(path), {}) == "/s/q"


@pytest.mark.parametrize("name", ["relay.conf", "laptop.conf"])
def test_our_own_samples_are_read_by_the_short_way(name: str) -> None:
    path = Path(__file__).parents[2] / "conf" / name
    if not path.exists():
        pytest.skip("not beside a checkout")
    assert scan_spool_directory(path.read_text(), {}).startswith("/")
