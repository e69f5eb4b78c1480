"""What variables show of a body while it is delivered."""

from __future__ import annotations

from dataclasses import replace

from delivery.post import NOW, make_message, run
from relay.delivery.scopes import message_scope, with_body
from relay.expand.scope import MessageView, Scope


class Pieces:
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def piece(self, number: int) -> bytes:
        return self._pieces[number] if number < len(self._pieces) else b""


def view_of(visible: int) -> MessageView:
    header, pieces = b"Subject: a\r\nFrom: b@c\r\n", (b"one\r\ntwo\r", b"\n\0three\r\n")
    message = replace(make_message("anna@here.test"), header=header, body_size=sum(map(len, pieces)))
    scope = message_scope(message, Scope(), NOW)
    seen = run(with_body(scope, message, Pieces(*pieces), visible)).message
    assert seen is not None
    return seen


def test_sizes_count_one_octet_for_each_line_end() -> None:
    view = view_of(500)
    assert (view.size, view.body_size) == (len("Subject: a\nFrom: b@c\n\none\ntwo\n?three\n"), 15)
    assert (view.body_lines, view.lines, view.body_zeros) == (3, 5, 1)


def test_both_ends_are_as_long_as_they_may_be() -> None:
    view = view_of(6)
    assert (view.body_start, view.body_end) == (b"one\ntw", b"three\n")
    assert view_of(0).body_end == b""
