"""Header fields as variables show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.headers import decode_words, encode_words, header_text, wrap
from relay.expand.scope import MessageView
from relay.expand.tree import HeaderForm
from relay.mail.header import Field, split_header

HEADER, _ = split_header(
    b"From: A <a@b.test>\r\n"
    b"To: c@d.test,\r\n e@f.test\r\n"
    b"to:  g@h.test \r\n"
    b"Subject: =?iso-8859-1?Q?gr=FCn?= =?utf-8?B?w7w=?= rest\r\n"
    b"X-List: a:b\r\nX-List: c\r\n"
)


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("$h_from:", "A <a@b.test>"),
        ("$header_To:", "c@d.test,\n e@f.test,\ng@h.test"),
        ("$rh_to:", " c@d.test,\n e@f.test\n  g@h.test \n"),
        ("$h_subject:", "grünü rest"),
        ("$bh_subject:", "gr\udcfcnü rest"),
        ("$lh_x-list:", " a::b: c"),
        ("[$h_nothing:]", "[]"),
        ("${if def:h_subject: {yes}{no}}${if def:h_other: {yes}{no}}", "yesno"),
        ("$reply_address", "A <a@b.test>"),
        ("${if match{$message_headers}{X-List}{there}}", "there"),
    ],
)
def test_forms(expand, text, wanted):
    assert expand(text, message=MessageView(header=HEADER)) == wanted


def test_there_is_a_limit():
    fields = tuple(Field("X", b"X: " + b"a" * 60000 + b"\r\n") for _ in range(3))
    assert len(header_text(fields, "x", HeaderForm.RAW) or "") == 65536


@given(st.binary(max_size=60))
def test_any_octets_are_decoded(data):
    assert isinstance(decode_words(b"=?utf-8?q?" + data + b"?= " + data), str)


# Words and lines to be written


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("one two", "one two"),
        ("", ""),
        ("a<b", "=?UTF-8?Q?a=3Cb?="),
        ("ä ö", "=?UTF-8?Q?=C3=A4_=C3=B6?="),
        ("日" * 8, f"=?UTF-8?Q?{'=E6=97=A5' * 7}?= =?UTF-8?Q?=E6=97=A5?="),
    ],
)
def test_words(text: str, wanted: str) -> None:
    assert encode_words(text, "UTF-8") == wanted


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["UTF-8", "utf8"]))
def test_words_are_short_whole_and_read_again(text: str, charset: str) -> None:
    words = encode_words(text, charset)
    if words != text:
        assert all(len(word) <= 75 for word in words.split(" "))
        assert decode_words(words.encode()) == text


def test_words_in_another_character_set() -> None:
    assert encode_words("\udce4", "iso-8859-1") == "=?iso-8859-1?Q?=E4?="


@pytest.mark.parametrize(
    "text, columns, limit, wanted",
    [
        ("", 80, 998, ""),
        ("short", 80, 998, "short"),
        ("a" * 81, 80, 998, f"{'a' * 80}\n\ta"),
        (f"{'a' * 40} {'b' * 60}", 80, 998, f"{'a' * 40}\n\t{'b' * 60}"),
        (f"{'a' * 40}  \t {'b' * 60}", 80, 998, f"{'a' * 40}\n\t{'b' * 60}"),
        (f"a {'b' * 90}", 80, 998, f"a {'b' * 78}\n\t{'b' * 12}"),
        ("one\\ntwo", 80, 998, "one\n\ttwo"),
        ("one\ntwo\n", 80, 998, "one\n\ttwo"),
        ("c" * 100, 20, 25, f"{'c' * 20}\n\t{'c' * 3}"),
        ("c" * 100, 0, 0, "c" * 100),
        ("c" * 20, 5, 30, f"{'c' * 5}{chr(10) + chr(9)}" + "\n\t" * 11 + "\n"),
    ],
)
def test_lines(text: str, columns: int, limit: int, wanted: str) -> None:
    assert wrap(text, columns, limit) == wanted


@given(st.text(max_size=200), st.integers(0, 90), st.integers(0, 300))
def test_wrapping_ends(text: str, columns: int, limit: int) -> None:
    assert len(wrap(text, columns, limit).encode("utf-8", "surrogateescape")) <= max(limit, 70_000)


@pytest.mark.parametrize("form", list(HeaderForm))
def test_a_field_without_octets_is_none(form: HeaderForm) -> None:
    fields = (Field("Received", b""), *split_header(b"Subject: x\r\n")[0])
    assert header_text(fields, "received", form) is None
    assert header_text(fields, "subject", form) is not None
