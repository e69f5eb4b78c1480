"""Header fields as variables show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.headers import decode_words, header_text
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
