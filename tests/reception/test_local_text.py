"""Line ends of local programs, and where a header section ends."""

import pytest

from relay.reception.local_text import BodyLineEnds, HeaderCutter, HeaderTooLong, header_line_ends


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b"a\n", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b"a\rb", b"a\r\nb\r\n"),
        (b"a\r", b"a\r\n"),
        (b"a\r\r\nb", b"a\r\n\r\nb\r\n"),
        (b"\n\r", b"\r\n\r\n"),
        (b".\r.\n", b".\r\n.\r\n"),
    ],
)
def test_line_ends_of_a_body_for_every_split(given: bytes, made: bytes) -> None:
    for cut in range(len(given) + 1):
        ends = BodyLineEnds()
        assert ends.feed(given[:cut]) + ends.feed(given[cut:]) + ends.finish() == made


def test_a_bare_cr_in_a_header_begins_no_field() -> None:
    assert header_line_ends(b"Subject: x\rBcc: y\nTo: z\r\n") == b"Subject: x\r\n Bcc: y\r\nTo: z\r\n"


@pytest.mark.parametrize(
    ("text", "header", "body"),
    [
        (b"", b"", b""),
        (b"\nx", b"", b"x"),
        (b"A: b\n\nx\n\ny", b"A: b\r\n", b"x\n\ny"),
        (b"A: b\r\n c\r\n\r\nx", b"A: b\r\n c\r\n", b"x"),
        (b"A: b\nno field\nC: d\n\n", b"A: b\r\n", b"no field\nC: d\n\n"),
        (b" begins with a blank\n", b"", b" begins with a blank\n"),
        (b"no header at all", b"", b"no header at all"),
        (b"A: b", b"A: b\r\n", b""),
        (b"From a@b Fri Jan  5 12:35 1996\nA: b\n\nx", b"A: b\r\n", b"x"),
        (b"From : x\n\n", b"From : x\r\n", b""),
    ],
)
def test_where_the_header_ends_for_every_split(text: bytes, header: bytes, body: bytes) -> None:
    for cut in range(len(text) + 1):
        cutter = HeaderCutter(1000)
        found = cutter.feed(text[:cut])
        rest = text[cut:]
        if found is None:
            found = cutter.feed(rest)
            rest = b""
        if found is None:
            found = cutter.finish()
        assert (found[0], found[1] + rest) == (header, body)


@pytest.mark.parametrize(
    ("text", "is_too_long"),
    [
        (b"A: b\nB: c\n\n", False),
        (b"A: b\nB: ccccc\n\n", True),
        (b"A: b\n c\n d\n\n", True),
        (b"\nlong enough\n", False),
    ],
)
def test_a_field_over_its_limit(text: bytes, is_too_long: bool) -> None:
    cutter = HeaderCutter(1000, 8)
    if is_too_long:
        with pytest.raises(HeaderTooLong, match="header line longer than 8 characters"):
            cutter.feed(text)
    else:
        assert cutter.feed(text) is not None


@pytest.mark.parametrize("text", [b"A: " + b"x" * 200, b"A: b\n" * 40, b" \n" * 0 + b"A: b\n c\n" * 20])
def test_a_header_over_its_limit(text: bytes) -> None:
    with pytest.raises(HeaderTooLong, match="longer than 100"):
        HeaderCutter(100).feed(text)
