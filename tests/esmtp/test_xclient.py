"""The attributes of XCLIENT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.xclient import BadAttribute, read_attributes


@pytest.mark.parametrize(
    "word, value",
    [
        ("NAME=host.example", "host.example"),
        ("name=[unavailable]", None),
        ("NAME=[TEMPUNAVAIL]", None),
        ("ADDR=192.0.2.1", "192.0.2.1"),
        ("ADDR=IPV6:2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("ADDR=2001:db8::1", "2001:db8::1"),
        ("PORT=65535", "65535"),
        ("PROTO=esmtp", "ESMTP"),
        ("LOGIN=a+40b", "a@b"),
        ("HELO=[192.0.2.1]", "[192.0.2.1]"),
        ("DESTADDR=192.0.2.2", "192.0.2.2"),
        ("DESTPORT=0", "0"),
    ],
)
def test_an_attribute(word: str, value: str | None) -> None:
    attributes = read_attributes(f"  {word} ")
    name = word.partition("=")[0].upper()
    assert name in attributes
    assert attributes.get(name) == value
    assert attributes.get("OTHER") is None


@pytest.mark.parametrize(
    "argument, why",
    [
        ("", "must have at least one operand"),
        ("NONO=x", "unrecognised parameter 'NONO'"),
        ("NAME", "missing value"),
        ("NAME=", "zero-length value"),
        ("NAME=a NAME=b", "once only"),
        ("ADDR=192.0.2", "invalid value for ADDR"),
        ("ADDR=IPV6:192.0.2.1", "invalid value for ADDR"),
        ("ADDR=fe80::1%25eth0", "invalid value for ADDR"),
        ("PORT=65536", "invalid value for PORT"),
        ("PORT=-1", "invalid value for PORT"),
        ("PROTO=HTTP", "invalid value for PROTO"),
        ("HELO=a+0D+0Ab", "invalid value for HELO"),
        ("LOGIN=a+20b", "invalid value for LOGIN"),
        ("NAME=" + "x" * 256, "invalid value for NAME"),
    ],
)
def test_what_is_none(argument: str, why: str) -> None:
    with pytest.raises(BadAttribute, match=why):
        read_attributes(argument)


@given(st.text(max_size=30))
def test_nothing_else_is_raised(text: str) -> None:
    for argument in (text, f"NAME={text}", f"ADDR={text}"):
        try:
            read_attributes(argument)
        except BadAttribute:
            pass
