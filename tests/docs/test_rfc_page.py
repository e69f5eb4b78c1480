"""The page of requirements is what its tool makes, and what it says exists."""

import pytest

import rfc_page

PAGE = rfc_page.ROOT / "docs" / "rfc.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")


def test_every_test_that_is_named_exists() -> None:
    assert list(rfc_page.faults()) == []


def test_the_page_is_what_the_tool_makes() -> None:
    assert PAGE.read_text() == rfc_page.page(), "write it again: python tests/rfc_page.py > docs/rfc.md"


def test_a_test_that_does_not_exist_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    row = rfc_page.Requirement("5321", "4.5.2", "yes", "dots", ("esmtp/test_data.py::test_nothing_of_the_kind",))
    monkeypatch.setattr(rfc_page, "read", lambda: ({"5321": "SMTP"}, (row,)))
    assert list(rfc_page.faults()) == ["RFC 5321 4.5.2: there is no test esmtp/test_data.py::test_nothing_of_the_kind"]


@pytest.mark.parametrize("text", ["rfc 5321", "RFC5321", "RFC 5321 section 4", "RFC 5321, sec. 4", "RFC-5321"])
def test_a_reference_in_another_form_is_found(text: str) -> None:
    assert rfc_page._ODD_REFERENCE.search(text)


@pytest.mark.parametrize("text", ["RFC 5321 4.5.2", "RFC 5321.", "RFC 8446"])
def test_a_reference_in_our_form_is_not(text: str) -> None:
    assert not rfc_page._ODD_REFERENCE.search(text)
    assert rfc_page._REFERENCE.search(text)
