"""The steps of a connection as an event action hears of them, and what it may forbid."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.servers import EVERY, Sent, Server
from policy.told import action, told
from relay.mail.events import HostFailed
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed
from relay.mail.reply import Reply
from relay.policy.event_action import EventActions

SHOWN = "$event_name <$event_data> $event_defer_errno"
BUSY = Deferred("busy", ErrorClass.RCPT_4XX, Reply(451, "4.2.1", ("busy",)))


def sent(*servers: Server, says: str = "", shown: str = SHOWN, **more: Any) -> Sent:
    """A delivery whose transport has an event action."""
    events = EventActions(None, {"smtp": action(None, "smtp", shown=shown, says=says)})
    made = Sent(*servers, events=events, **more)
    object.__setattr__(events.transports["smtp"], "journal", made.journal)
    return made


def test_a_delivery_is_told_step_by_step() -> None:
    one = Server(offers_tls=False)
    done = sent(one)
    assert isinstance(done.outcome, Delivered)
    assert told(done.journal) == [
        "tcp:connect <> 0",
        "smtp:connect <220 one.test ESMTP> 0",
        "smtp:ehlo <one.test Hello> 0",
        "tcp:close <> 0",
    ]
    assert one.story[-1] == "quit"


def test_each_greeting_is_told_and_the_layer_is_seen() -> None:
    done = sent(Server(), shown="$event_name $tls_out_ver")
    assert isinstance(done.outcome, Delivered)
    assert told(done.journal) == [
        "tcp:connect ",
        "smtp:connect ",
        "smtp:ehlo ",
        "smtp:ehlo TLS1.3",
        "tcp:close TLS1.3",
    ]


def test_our_end_is_seen() -> None:
    done = sent(Server(offers_tls=False), shown="$event_name $sending_ip_address:$sending_port $host_address")
    assert isinstance(done.outcome, Delivered)
    assert told(done.journal)[-1] == "tcp:close 192.0.2.77:40001 192.0.2.1"


def test_no_host_is_dialled_where_the_action_says_so() -> None:
    one = Server()
    done = sent(one, says="${if eq {$event_name}{tcp:connect}{no}}")
    outcome = done.outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.reason, outcome.error) == ("Event requests alternate response", ErrorClass.EVENT)
    assert one.story == []


def test_a_greeting_that_is_not_liked_ends_the_connection() -> None:
    one = Server()
    done = sent(one, says="${if eq {$event_name}{smtp:connect}{not you}}")
    outcome = done.outcome
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "deferred by smtp:connect event expansion: not you"
    assert "hello" not in one.story
    assert "quit" in one.story


def test_other_answers_change_nothing() -> None:
    done = sent(Server(), says="${if match {$event_name}{^(smtp:ehlo|tcp:close|msg:)}{no}}")
    assert isinstance(done.outcome, Delivered)


@pytest.mark.parametrize(("servers", "points"), [(1, ["msg:rcpt:host:defer", "msg:rcpt:defer"]), (2, None)])
def test_a_recipient_that_is_put_off_is_told_before_the_end(servers: int, points: list[str] | None) -> None:
    made = [Server(offers_tls=False, outcomes={"bert@far.test": BUSY}) for _ in range(servers)]
    done = sent(*made, shown="$event_name $event_defer_errno")
    assert isinstance(done.outcome, Deferred)
    heard = told(done.journal)
    number = (51 << 8) + ord("A")
    if points is not None:
        assert heard[3:] == [*(f"{each} {number}" for each in points), "tcp:close 0"]
    else:
        assert heard[3:5] == [f"msg:rcpt:host:defer {number}", "tcp:close 0"]
        assert f"msg:rcpt:defer {number}" in heard


def test_a_host_that_fails_is_told_behind_its_line() -> None:
    done = sent(Server(dial=None, hello=None, offers_tls=False), require_tls=EVERY)
    assert isinstance(done.outcome, Deferred)
    kinds = [type(each).__name__ for each in done.journal.events]
    heard = told(done.journal)
    assert [each.split()[0] for each in heard[-3:]] == ["tcp:close", "msg:host:defer", "msg:defer"]
    assert kinds.index("HostFailed") == len(kinds) - 3
    assert heard[-1].endswith(" -38")


def test_a_message_that_is_put_off_is_no_fault_of_the_host() -> None:
    later = Deferred("later", ErrorClass.DATA_4XX, Reply(450, "4.3.0", ("later",)))
    done = sent(Server(offers_tls=False, outcomes={"bert@far.test": later}))
    assert isinstance(done.outcome, Deferred)
    assert told(done.journal)[-2:] == ["tcp:close <> 0", "msg:defer <later> -46"]
    events = done.journal.events
    assert events.index(done.journal.of(HostFailed)[0]) < len(events) - 2


def test_a_refusal_is_no_delay() -> None:
    never = Failed("no such user", Reply(550, "5.1.1", ("no such user",)))
    done = sent(Server(offers_tls=False, outcomes={"bert@far.test": never}))
    assert isinstance(done.outcome, Failed)
    assert [each.split()[0] for each in told(done.journal)] == ["tcp:connect", "smtp:connect", "smtp:ehlo", "tcp:close"]
