"""ACLs for messages of local programs: what they may do to a message, and what the program is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from policy.acl_world import KeptHints
from reception.local_mail import ANNE, SETTINGS, Office, Pieces, run
from relay.expand.evaluate import compile_expansion
from relay.mail import events
from relay.mail.ports import SpoolFull
from relay.mail.source import Location
from relay.policy.acl import ACLReference
from relay.policy.acl_parse import inline_lines, parse_acl
from relay.policy.acl_program import ConditionPorts
from relay.policy.acl_values import Where
from relay.reception.local_acls import LocalACLs
from relay.reception.request import DeliveryMode, Status, SubmissionAnswer, SubmissionRequest

MESSAGE = b"From: anne@example.org\nTo: bert@far.test\nSubject: hello\n\nbody\n"
ONE = SubmissionRequest(("bert@far.test",))


@dataclass
class Sleeper:
    """Concurrency that only sleeps."""

    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not asked for")


def acls(texts: Mapping[Where, str], conditions: ConditionPorts | None = None) -> LocalACLs:
    found = {}
    for where, text in texts.items():
        acl = parse_acl(where.name, inline_lines(text, Location("conf", 1)), None)  # type: ignore[arg-type]
        found[where] = ACLReference(compile_expansion(where.name), Location("conf", 1), acl)
    return LocalACLs(found, {}, conditions or ConditionPorts())


def office(judged: str = "", *, start: str = "", conditions: ConditionPorts | None = None) -> Office:
    texts = {Where.NOT_SMTP: judged, Where.NOT_SMTP_START: start}
    chosen = acls({where: text for where, text in texts.items() if text}, conditions)
    return Office(settings=replace(SETTINGS, local_acls=chosen), concurrency=Sleeper())


def submit(place: Office, message: bytes = MESSAGE, request: SubmissionRequest = ONE) -> SubmissionAnswer:
    return run(place.submission.submit(request, ANNE, Pieces([message])))


def written(place: Office) -> list[str]:
    return [each.text for each in place.events.recorded if isinstance(each, events.WrittenByACL)]


def test_without_acls_nothing_is_asked() -> None:
    place = Office()
    assert submit(place).status is Status.ACCEPTED


def test_a_refusal_is_told_to_the_program() -> None:
    place = office("deny message = not today\n log_message = it is Sunday")
    assert submit(place) == SubmissionAnswer(Status.REFUSED, text="message rejected by non-SMTP ACL: not today")
    (event,) = place.events.recorded
    assert isinstance(event, events.CommandRejected)
    assert (event.command, event.reason, event.temporary) == ("by non-SMTP ACL", "it is Sunday", False)
    assert event.message is not None
    assert event.message.header[0].startswith("Received: ")
    assert [str(each) for each in event.message.recipients] == [str(each) for each in ONE.recipients]
    assert place.queue.accepted == []


def test_the_end_of_the_acl_refuses() -> None:
    why = "message rejected by non-SMTP ACL: local configuration problem"
    assert submit(office("accept senders = nobody@x.test")) == SubmissionAnswer(Status.REFUSED, text=why)


def test_what_can_not_be_decided_now_is_not_accepted() -> None:
    place = office("accept ratelimit = 1 / 1h")
    answer = submit(place)
    assert answer.status is Status.DEFERRED
    assert "ratelimit" not in answer.text
    assert place.queue.accepted == []


def test_conditions_of_a_network_have_no_place_here() -> None:
    place = office("deny hosts = *\naccept")
    assert submit(place).status is Status.DEFERRED
    (event,) = place.events.recorded
    assert isinstance(event, events.CommandRejected)
    assert event.reason == "cannot test hosts condition in non-SMTP ACL"


def test_what_is_discarded_is_well_received() -> None:
    place = office("discard log_message = spam")
    assert submit(place).status is Status.ACCEPTED
    assert place.queue.accepted == []
    assert [type(each).__name__ for each in place.events.recorded] == ["Arrived", "MessageNote", "Completed"]
    note = place.events.recorded[1]
    assert isinstance(note, events.MessageNote)
    assert note.text == "=> blackhole (non-SMTP ACL discarded recipients): spam"
    assert place.told.background == []


def test_a_large_message_that_is_discarded_leaves_nothing() -> None:
    place = office("discard")
    submit(place, MESSAGE + b"x" * 200_000 + b"\n")
    assert place.queue.pieces == {}


def test_fields_are_added_and_removed() -> None:
    place = office(
        "accept add_header = X-Seen: $h_Subject: from $sender_address to $recipients\n remove_header = Subject",
        start="accept add_header = :at_start:X-First: yes",
    )
    assert submit(place).status is Status.ACCEPTED
    header = place.queue.header()
    assert header.startswith("X-First: yes\r\nReceived: ")
    assert "Subject:" not in header
    assert header.endswith("X-Seen: hello from anne@example.org to bert@far.test\r\n")


def test_frozen_messages_are_held() -> None:
    place = office("accept control = freeze")
    assert submit(place).status is Status.ACCEPTED
    assert place.queue.accepted[0].frozen
    assert place.told.background == []


@pytest.mark.parametrize("mode", [DeliveryMode.BACKGROUND, DeliveryMode.INTERACTIVE])
def test_queue_only_waits_for_a_queue_run(mode: DeliveryMode) -> None:
    place = office("accept control = queue_only")
    assert submit(place, request=replace(ONE, delivery=mode)).status is Status.ACCEPTED
    assert place.queue.accepted[0].due is not None
    assert (place.told.background, place.told.interactive) == ([], [])
    notes = [each.text for each in place.events.recorded if isinstance(each, events.MessageNote)]
    assert notes == ["no immediate delivery: queued by ACL"]


def test_an_acl_may_leave_the_first_attempt_at_routing() -> None:
    place = office("accept control = queue/first_pass_route")
    assert submit(place).status is Status.ACCEPTED
    (message,) = place.queue.accepted
    assert (message.due, place.told.routed_only) == (None, {message.message_id})


@dataclass
class Machine:
    """The `Capacity` port."""

    busy: bool = True
    full: bool = False
    routing: bool = False

    async def check(self, size: int | None) -> None:
        if self.full:
            raise SpoolFull("no room")

    async def only_queues(self, *, delivery_asked: bool = False) -> bool:
        return self.busy and not delivery_asked

    async def routes_only(self) -> bool:
        return self.routing


@pytest.mark.parametrize(
    "asked, override, queued", [(False, True, True), (True, True, False), (True, False, True), (False, False, True)]
)
def test_what_the_command_line_asks_for_goes_before_a_busy_machine(asked: bool, override: bool, queued: bool) -> None:
    place = Office(settings=replace(SETTINGS, queue_only_override=override), capacity=Machine())
    assert submit(place, request=replace(ONE, delivery_asked=asked)).status is Status.ACCEPTED
    assert (place.queue.accepted[0].due is not None) is queued


def test_a_message_waits_outside_while_there_is_no_room() -> None:
    place = Office(capacity=Machine(full=True))
    assert submit(place).status is Status.DEFERRED
    assert place.queue.accepted == []


def test_local_fixups_may_be_suppressed_before_the_message_is_read() -> None:
    place = office(start="accept control = suppress_local_fixups")
    submit(place, b"Subject: bare\n\nbody\n")
    assert "Message-Id" not in place.queue.header()
    plain = Office()
    submit(plain, b"Subject: bare\n\nbody\n")
    assert "Message-Id" in plain.queue.header()


def test_the_first_acl_knows_who_is_said_to_send() -> None:
    place = office(start="warn senders = boss@far.test\n logwrite = from $sender_address")
    boss = replace(ANNE, caller=replace(ANNE.caller, trusted=True))
    run(place.submission.submit(replace(ONE, sender="boss@far.test"), boss, Pieces([MESSAGE])))
    assert written(place) == ["from boss@far.test"]


def test_what_the_first_acl_says_is_not_heard() -> None:
    place = office(start="deny message = no\n logwrite = to $recipients")
    assert submit(place).status is Status.ACCEPTED
    assert written(place) == ["to bert@far.test"]


def test_variables_of_the_first_acl_are_there_in_the_second_and_stay_with_the_message() -> None:
    place = office("accept logwrite = $acl_m_who", start="warn set acl_m_who = anne")
    submit(place)
    assert written(place) == ["anne"]
    assert place.queue.accepted[0].facts.acl_variables == {"acl_m_who": "anne"}


def test_a_program_can_be_limited_in_its_rate() -> None:
    place = office("deny ratelimit = 1.9 / 1h / per_rcpt / $sender_address\naccept", conditions=None)
    assert submit(place).status is Status.DEFERRED
    place = office(
        "deny ratelimit = 1.9 / 1h / per_rcpt / $sender_address\naccept", conditions=ConditionPorts(hints=KeptHints())
    )
    assert [submit(place).status for _ in range(2)] == [Status.ACCEPTED, Status.REFUSED]


def test_a_delay_is_waited_for() -> None:
    place = office("accept delay = 3s")
    submit(place)
    assert isinstance(place.concurrency, Sleeper)
    assert place.concurrency.slept == [3]
