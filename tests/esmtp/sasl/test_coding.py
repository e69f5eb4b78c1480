"""Base64 on the wire, strictly read, and the strings between zero octets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.sasl import coding


@given(st.binary(max_size=200))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    assert coding.decode(coding.encode(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AAA", "AA=A", "AAAA=", "AA==AA==", "AA-_", " AAAA", "AA\nAA", "*", "=", "ü", "\udcff"]
)
def test_what_is_no_base64_is_none(text: str) -> None:
    assert coding.decode(text) is None


@given(st.text(max_size=40))
def test_nothing_raises(text: str) -> None:
    coding.decode(text)
    coding.decode_initial(text)


def test_an_initial_response_may_say_that_it_is_empty() -> None:
    assert coding.decode_initial("=") == b""
    assert coding.decode_initial("YQ==") == b"a"


@pytest.mark.parametrize("data, text", [(None, None), (b"", "="), (b"a", "YQ==")])
def test_the_command_says_what_is_there(data: bytes | None, text: str | None) -> None:
    assert coding.encode_initial(data) == text


@pytest.mark.parametrize(
    "data, strings",
    [
        (b"", ("",)),
        (b"a", ("a",)),
        (b"\0", ("",)),
        (b"a\0", ("a",)),
        (b"\0u\0p", ("", "u", "p")),
        (b"\0u\0p\0", ("", "u", "p")),
        (b"a\0\0", ("a", "")),
        (b"\xff", ("\udcff",)),
    ],
)
def test_strings_are_cut_as_exim_cuts_them(data: bytes, strings: tuple[str, ...]) -> None:
    assert coding.cut(data) == strings


def test_strings_are_bounded() -> None:
    assert len(coding.cut(b"\0" * 5000)) == 20
