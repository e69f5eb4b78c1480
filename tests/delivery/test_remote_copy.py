"""The copy for servers: header, return path, size."""

from __future__ import annotations

import pytest

from delivery.post import HEADER, NOW, Notebook, make_message, run
from relay.delivery.header_edits import NO_EDITS, HeaderEdits, RouterEdits
from relay.delivery.remote_copy import CopyRules, remote_copy, size_of
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.envelope import Envelope
from relay.mail.outcome import Deferred, Failed


def copied(rules: CopyRules, by_routers: RouterEdits = NO_EDITS) -> tuple[Envelope, bytes] | Deferred | Failed:
    message = make_message()
    envelope = Envelope(message.sender, tuple(each.recipient for each in message.recipients))
    return run(remote_copy(rules, "away", envelope, message, Scope(), NOW, Notebook(), by_routers))


def test_a_plain_copy() -> None:
    copy = copied(CopyRules())
    assert isinstance(copy, tuple)
    assert (copy[0].sender, copy[1]) == (Address("anna", "laptop.test"), HEADER)


def test_header_and_return_path() -> None:
    edits = HeaderEdits(headers_add=(compile_expansion("X: <$return_path>"),), return_path_add=True)
    copy = copied(CopyRules(header=edits, return_path=compile_expansion("b@x.test")))
    assert isinstance(copy, tuple)
    assert copy[0].sender == Address("b", "x.test")
    assert copy[1] == b"Return-path: <b@x.test>\r\n" + HEADER + b"X: <b@x.test>\r\n"


def test_the_transport_does_not_remove_what_a_router_added() -> None:
    edits = HeaderEdits(
        headers_add=(compile_expansion("X-Third: t"),), headers_remove=(compile_expansion("subject : x-*"),)
    )
    copy = copied(CopyRules(header=edits), RouterEdits(("X-First: r\nX-Second: r",), ("from",)))
    assert isinstance(copy, tuple)
    assert b"Subject:" in HEADER
    assert b"From:" in HEADER
    assert b"ubject:" not in copy[1]
    assert b"From:" not in copy[1]
    assert copy[1].endswith(b"X-First: r\r\nX-Second: r\r\nX-Third: t\r\n")


def test_a_limit() -> None:
    assert copied(CopyRules(message_size_limit=compile_expansion("20"))) == Failed(
        "message is too big (transport limit = 20)"
    )
    assert isinstance(copied(CopyRules(message_size_limit=compile_expansion("big"))), Deferred)
    for text in ("0", "1M", "${if eq{1}{2}{x}fail}"):
        assert isinstance(copied(CopyRules(message_size_limit=compile_expansion(text))), tuple)


def test_forced_and_other_failures() -> None:
    copy = copied(CopyRules(return_path=compile_expansion("${if eq{1}{2}{x}fail}")))
    assert isinstance(copy, tuple)
    assert copy[0].sender == Address("anna", "laptop.test")
    assert isinstance(copied(CopyRules(return_path=compile_expansion("${if >{x}{1}{a}}"))), Deferred)
    edits = HeaderEdits(headers_add=(compile_expansion("X: ${if >{x}{1}{a}}"),))
    failure = copied(CopyRules(header=edits))
    assert isinstance(failure, Deferred)
    assert failure.reason.startswith("away transport: failed to expand headers_add")


@pytest.mark.parametrize(
    "text, octets", [("0", 0), ("10", 10), ("10k", 10240), ("1M", 1048576), ("x", None), ("", None)]
)
def test_sizes(text: str, octets: int | None) -> None:
    assert size_of(text) == octets
