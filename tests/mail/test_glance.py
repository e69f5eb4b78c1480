"""What is counted of a body does not depend on the pieces that it comes in."""

from hypothesis import given
from hypothesis import strategies as st

from relay.mail.glance import BodyGlance, longest_line


@given(st.lists(st.text("ab\r\n\0", max_size=12).map(str.encode), max_size=8))
def test_any_pieces_of_a_body_come_to_the_same(pieces: list[bytes]) -> None:
    glance, whole = BodyGlance(5), b"".join(pieces)
    for piece in pieces:
        glance.look(piece)
    ended = whole.split(b"\n")[:-1]
    assert glance.lines == len(ended)
    assert glance.zeros == whole.count(b"\0")
    assert glance.longest == max((len(line.removesuffix(b"\r")) for line in ended), default=0)
    assert (glance.start, glance.end) == (whole[:5], whole[-5:])


def test_the_longest_line_of_a_text() -> None:
    assert longest_line(b"") == 0
    assert longest_line(b"one\r\nthree\nat") == 5
    assert longest_line(b"cr at the end\r\r\n") == 14
