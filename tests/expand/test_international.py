"""Names in other alphabets. More of them are compared with a real Exim in tests/interop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.errors import ExpansionFailed
from relay.expand.international import (
    domain_from_alabels,
    domain_to_alabels,
    imap_folder,
    local_part_from_alabel,
    local_part_to_alabel,
)


@pytest.mark.parametrize(
    "text, wanted",
    [("Relay.Test", "Relay.Test"), ("straße.test", "xn--strae-oqa.test"), ("BÜCHER.Test", "xn--bcher-kva.test")],
)
def test_domains(text: str, wanted: str) -> None:
    assert domain_to_alabels(text) == wanted


def test_a_domain_comes_back() -> None:
    assert domain_from_alabels("mx.xn--bcher-kva.test") == "mx.bücher.test"


@given(st.text(st.characters(min_codepoint=0xA0, max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1))
def test_a_local_part_comes_back(text: str) -> None:
    assert local_part_from_alabel(local_part_to_alabel(text)) == text


@pytest.mark.parametrize("convert", [domain_to_alabels, local_part_to_alabel])
def test_octets_that_are_no_text(convert) -> None:
    with pytest.raises(ExpansionFailed, match="error converting utf8"):
        convert("\udcff")


@given(st.text())
def test_labels_are_converted_or_refused(text: str) -> None:
    for convert in (domain_to_alabels, domain_from_alabels, local_part_from_alabel):
        try:
            convert(text)
        except ExpansionFailed:
            pass


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (("a/b", "/", ""), "a.b"),
        (("a/b", ".", "/"), "a&AC8-b"),
        (("a//b/", "/", ""), "a.b"),
        (("ä&b", "/", ""), "&AOQ-&-b"),
        (("日本", "/", ""), "&ZeVnLA-"),
    ],
)
def test_folders(arguments: tuple[str, str, str], wanted: str) -> None:
    assert imap_folder(*arguments, "UTF-8") == wanted


def test_a_folder_in_another_character_set() -> None:
    assert imap_folder("\udce4", "/", "", "ISO-8859-1") == "&AOQ-"
    with pytest.raises(ExpansionFailed, match="no such character set"):
        imap_folder("ä", "/", "", "nosuch")


def test_folders_of_the_item(expand) -> None:
    assert expand("${imapfolder{a.b}}") == "Failed: imapfolder: illegal character '.'"
    assert expand("${imapfolder{a}{..}}") == 'Failed: IMAP folder separator must be one character, found ".."'
    assert expand("${imapfolder{\\xe4}}", main={"headers_charset": "iso-8859-1"}) == "&AOQ-"
