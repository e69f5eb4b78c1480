"""Attempts: routed, grouped, handed over, logged, settled, in this order; over fakes that answer at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from delivery.post import (
    BODY,
    HOUR,
    NO_ANSWER,
    NO_SUCH_NAME,
    NOW,
    Names,
    Notebook,
    Pieces,
    Queue,
    StoppedClock,
    make_message,
    make_recipient,
    run,
)
from relay.delivery.attempt import AttemptPorts, Unsettled, attempt, give_up
from relay.delivery.header_edits import RouterEdits
from relay.delivery.local_address import LocalAddress
from relay.delivery.report import ReportSettings
from relay.delivery.reporting import ReportRules, read_body
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.envelope import Envelope
from relay.mail.events import AddressDelivered, Arrived, Frozen, MessageNote
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.ports import Body, SpoolUnavailable
from relay.mail.queue import QueuedMessage, RecipientState, Settlement
from relay.mail.reply import Reply
from relay.mail.source import Location
from relay.policy.retry import parse_rules
from relay.policy.routers.manualroute import compile_route_list
from relay.policy.routers.ports import LOCAL, REMOTE, RoutingPorts
from relay.policy.routers.settings import Accept, Affixes, Item, Manualroute, Preconditions, Redirect

PENDING, DELIVERED, FAILED = RecipientState.PENDING, RecipientState.DELIVERED, RecipientState.FAILED
PLACE = Location("relay.conf", 1)
RULES = parse_rules([(PLACE, "*  *  F,2h,15m; G,16h,1h,1.5; F,4d,6h")])
HUB = RemoteHost("hub.test", "192.0.2.7", 25)
SENT = Delivered("250 OK id=far", HUB)
REFUSED = Failed("no such user", Reply(550, "5.1.1", ("no such user",)), HUB)
BUSY = Deferred("busy", ErrorClass.RCPT_4XX, Reply(450, "4.2.1", ("busy",)), HUB)
DOWN = Deferred("Connection refused", ErrorClass.CONNECTION_REFUSED, None, HUB, host_wide=True)

ROUTES = (
    "far.test hub.test ; near.test spare.test::587 ; gone.test gone.test ; slow.test slow.test ; "
    "odd.test hub.test other"
)
ROUTERS = (
    Accept(
        name="local",
        location=PLACE,
        transport=compile_expansion("maildir"),
        preconditions=Preconditions(
            domains=compile_list(ListKind.DOMAIN, "here.test"), local_parts=compile_list(ListKind.LOCAL_PART, "!nobody")
        ),
    ),
    Redirect(
        name="aliases",
        location=PLACE,
        data=compile_expansion("${if eq{$local_part}{team}{anna@here.test, bert@far.test, carl@far.test}}"),
        preconditions=Preconditions(domains=compile_list(ListKind.DOMAIN, "alias.test")),
        errors_to=compile_expansion("${if eq{$sender_address_local_part}{lists}{owner@here.test}fail}"),
        headers_add=(compile_expansion("X-List: $local_part"),),
    ),
    Manualroute(
        name="smarthost",
        location=PLACE,
        transport=compile_expansion("smtp"),
        preconditions=Preconditions(prefix=Affixes(("owner-",), is_optional=True)),
        routes=compile_route_list(ROUTES, PLACE),
    ),
)


@dataclass
class Sending:
    """A remote transport: gives each recipient the outcome that was laid down for it."""

    outcomes: dict[str, Outcome]
    max_recipients: int = 100
    includes_affixes: bool = False
    default_port: int = 25
    calls: list[tuple[tuple[RemoteHost, ...], Envelope]] = field(default_factory=list)
    edits: list[RouterEdits] = field(default_factory=list)

    def forgive(self, now: float) -> None:
        raise AssertionError("an attempt forgives nothing")

    async def deliver(
        self,
        hosts: tuple[RemoteHost, ...],
        envelope: Envelope,
        message: QueuedMessage,
        body: Body,
        scope: Scope,
        by_routers: RouterEdits,
    ) -> tuple[Outcome, ...]:
        self.calls.append((hosts, envelope))
        self.edits.append(by_routers)
        return tuple(self.outcomes[str(each.address)] for each in envelope.recipients)


@dataclass
class Filing:
    """A local transport that always succeeds and keeps the scopes it was given."""

    outcome: Outcome = field(default_factory=lambda: Delivered("/box/new/1"))
    scopes: list[Scope] = field(default_factory=list)
    batches: list[tuple[str, ...]] = field(default_factory=list)
    given: list[LocalAddress] = field(default_factory=list)

    batch_max: int = 1

    async def batch_key(self, address: LocalAddress) -> str | None:
        return address.recipient.address.domain

    async def deliver(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        self.batches.append(tuple(str(each.recipient.address) for each in addresses))
        self.scopes += [each.scope for each in addresses]
        self.given += addresses
        return (self.outcome,) * len(addresses)


class Attempted:
    """One attempt and all that came of it."""

    def __init__(
        self,
        outcomes: dict[str, Outcome],
        *recipients: Any,
        rules: Sequence[Any] = RULES,
        max_recipients: int = 100,
        rivals_after: int | None = None,
        trouble: Exception | None = None,
        **message: Any,
    ) -> None:
        self.message = make_message(*(recipients or outcomes), **message)
        self.notebook = Notebook()
        self.queue = Queue(self.notebook, self.message, rivals_after, trouble)
        self.sending = Sending(outcomes, max_recipients)
        self.filing = Filing()
        self.names = Names(
            {
                "hub.test": ("192.0.2.7",),
                "spare.test": ("192.0.2.8",),
                "gone.test": NO_SUCH_NAME,
                "slow.test": NO_ANSWER,
            }
        )
        self.ports = AttemptPorts(
            clock=StoppedClock(),
            journal=self.notebook,
            outgoing=self.queue,
            source=random.Random(1),
            scope=Scope(),
            routing=RoutingPorts(resolver=self.names, transports={"maildir": LOCAL, "smtp": REMOTE}),
            routers=ROUTERS,
            retry_rules=rules,
            remote={"smtp": self.sending},
            local={"maildir": self.filing},
            reports=ReportRules(settings=ReportSettings("relay.test", "example.org")),
        )

    def run(self) -> Settlement:
        return run(attempt(self.message, Pieces(BODY), self.ports))

    def give_up(self) -> Settlement:
        return run(give_up(self.message, Pieces(BODY), self.ports, "delivery cancelled"))


def row_states(settlement: Settlement) -> dict[int, RecipientState]:
    return {update.number: update.state for update in settlement.updates}


# The table of outcomes: one recipient, what is logged around the settlement, and what the settlement says.


@pytest.mark.parametrize(
    "outcome, words, state, due, bounced",
    [
        (SENT, ["AddressDelivered", "Settlement", "Completed"], DELIVERED, NOW, False),
        (BUSY, ["AddressDeferred", "Settlement"], PENDING, NOW + 900, False),
        (DOWN, ["AddressDeferred", "Settlement"], PENDING, NOW + 900, False),
        (REFUSED, ["AddressFailed", "Settlement", "Arrived", "Completed"], FAILED, NOW, True),
    ],
)
def test_one_recipient(outcome: Outcome, words: list[str], state: RecipientState, due: float, bounced: bool) -> None:
    done = Attempted({"bert@far.test": outcome})
    settlement = done.run()
    assert done.notebook.words() == words
    assert row_states(settlement) == {0: state}
    assert settlement.due == due
    assert (settlement.bounce is not None) is bounced
    assert not settlement.freeze


def test_a_delay_that_lasted_too_long_is_logged_as_delay_and_as_failure() -> None:
    row = make_recipient("bert@far.test", first_failed=NOW - 100 * HOUR, attempts=30)
    done = Attempted({"bert@far.test": DOWN}, row)
    settlement = done.run()
    assert done.notebook.words() == ["AddressDeferred", "AddressFailed", "Settlement", "Arrived", "Completed"]
    assert row_states(settlement) == {0: FAILED}
    assert settlement.updates[0].error == "Connection refused: retry timeout exceeded"


def test_without_a_retry_rule_a_delay_is_a_failure() -> None:
    done = Attempted({"bert@far.test": DOWN}, rules=())
    assert row_states(done.run()) == {0: FAILED}


def test_rules_by_host_hold_for_faults_of_the_host() -> None:
    rules = parse_rules([(PLACE, "hub.test * F,1d,1h"), (PLACE, "far.test * F,1d,2h")])
    assert Attempted({"bert@far.test": DOWN}, rules=rules).run().due == NOW + HOUR
    assert Attempted({"bert@far.test": BUSY}, rules=rules).run().due == NOW + 2 * HOUR


def test_a_rule_that_can_not_be_asked_loses_no_mail() -> None:
    rules = parse_rules([(PLACE, "lsearch;/nowhere * F,1d,1h")])
    done = Attempted({"bert@far.test": DOWN}, rules=rules)
    assert row_states(done.run()) == {0: PENDING}
    assert done.notebook.words() == ["Trouble", "AddressDeferred", "Settlement"]


# Groups


def test_recipients_of_one_host_go_together() -> None:
    done = Attempted({"a@far.test": SENT, "b@far.test": REFUSED, "c@far.test": SENT})
    settlement = done.run()
    ((hosts, envelope),) = done.sending.calls
    assert hosts == (HUB,)
    assert [str(each.address) for each in envelope.recipients] == ["a@far.test", "b@far.test", "c@far.test"]
    assert (envelope.sender, envelope.size) == (done.message.sender, done.message.size)
    assert row_states(settlement) == {0: DELIVERED, 1: FAILED, 2: DELIVERED}
    assert [each.first for each in done.notebook.of(AddressDelivered)] == [True, False]
    assert done.names.asked == ["hub.test"]


def test_the_first_that_is_delivered_is_the_first() -> None:
    done = Attempted({"a@far.test": REFUSED, "b@far.test": SENT, "c@far.test": SENT})
    done.run()
    assert [(str(each.address), each.first) for each in done.notebook.of(AddressDelivered)] == [
        ("b@far.test", True),
        ("c@far.test", False),
    ]


def test_no_group_is_larger_than_the_transport_takes() -> None:
    done = Attempted({f"{name}@far.test": SENT for name in "abcde"}, max_recipients=2)
    settlement = done.run()
    assert [len(envelope.recipients) for _, envelope in done.sending.calls] == [2, 2, 1]
    assert [each.first for each in done.notebook.of(AddressDelivered)] == [True, False, True, False, True]
    assert row_states(settlement) == {4: DELIVERED}


@pytest.mark.parametrize(("includes", "named"), [(False, "a@far.test"), (True, "Owner-a@far.test")])
def test_servers_see_affixes_where_the_transport_shows_them(includes: bool, named: str) -> None:
    done = Attempted({named: SENT}, "Owner-a@far.test")
    done.sending.includes_affixes = includes
    done.run()
    ((_, envelope),) = done.sending.calls
    assert [str(each.address) for each in envelope.recipients] == [named]
    (event,) = done.notebook.of(AddressDelivered)
    assert str(event.address) == "Owner-a@far.test", "the log has what was routed"


def test_other_hosts_are_another_group_and_have_their_port() -> None:
    done = Attempted({"a@far.test": SENT, "b@near.test": SENT})
    done.run()
    assert [hosts for hosts, _ in done.sending.calls] == [(HUB,), (RemoteHost("spare.test", "192.0.2.8", 587),)]


def test_local_recipients_are_delivered_one_by_one_with_their_own_scope() -> None:
    done = Attempted({"a@far.test": SENT}, "a@far.test", "bert@here.test", "carl@here.test")
    done.run()
    assert [scope.address.local_part for scope in done.filing.scopes if scope.address] == ["bert", "carl"]
    assert {scope.domain_data for scope in done.filing.scopes} == {"here.test"}
    assert [each.transport for each in done.notebook.of(AddressDelivered)] == ["maildir", "maildir", "smtp"]


def test_recipients_that_are_done_are_left_alone() -> None:
    rows = (make_recipient("a@far.test", 0), make_recipient("b@far.test", 1))
    done = Attempted({"b@far.test": SENT}, *rows)
    first = replace(rows[0], state=DELIVERED)
    done.message = done.queue.message = replace(done.message, recipients=(first, rows[1]))
    assert row_states(done.run()) == {1: DELIVERED}


# Before the next group


def test_a_delivery_is_written_before_the_next_group_is_tried() -> None:
    done = Attempted({"a@far.test": SENT, "b@near.test": BUSY})
    settlement = done.run()
    assert done.notebook.words() == ["AddressDelivered", "Settlement", "AddressDeferred", "Settlement"]
    first = done.notebook.of(Settlement)[0]
    assert row_states(first) == {0: DELIVERED}
    assert first.due > NOW  # nobody who looks for due messages may take it before it is claimed again
    assert row_states(settlement) == {1: PENDING}


def test_delays_and_failures_are_not_written_before_the_end() -> None:
    done = Attempted({"a@far.test": REFUSED, "b@near.test": SENT})
    settlement = done.run()
    assert len(done.notebook.of(Settlement)) == 1
    assert row_states(settlement) == {0: FAILED, 1: DELIVERED}
    assert settlement.bounce is not None


def test_what_another_process_took_over_is_left_to_it() -> None:
    done = Attempted({"a@far.test": SENT, "b@near.test": SENT}, rivals_after=1)
    settlement = done.run()
    assert row_states(settlement) == {0: DELIVERED}
    assert len(done.sending.calls) == 1
    assert done.notebook.words() == ["AddressDelivered", "Settlement", "MessageNote"]


def test_an_attempt_that_can_not_be_recorded_keeps_its_settlement() -> None:
    done = Attempted({"a@far.test": SENT}, trouble=SpoolUnavailable("the disk is full"))
    with pytest.raises(Unsettled, match="the disk is full") as caught:
        done.run()
    assert row_states(caught.value.settlement) == {0: DELIVERED}
    assert [type(each).__name__ for each in caught.value.consequences] == ["Completed"]
    assert "Completed" not in done.notebook.words()


# Routing


def test_what_nobody_routes_is_bounced() -> None:
    done = Attempted({}, "x@nowhere.test")
    settlement = done.run()
    assert settlement.updates[0].error == "Unrouteable address"
    assert settlement.bounce is not None
    assert b"Unrouteable address" in settlement.bounce_body
    assert done.sending.calls == []


def test_a_name_server_that_does_not_answer_delays_only_its_own() -> None:
    done = Attempted({"a@far.test": SENT}, "x@slow.test", "a@far.test")
    assert row_states(done.run()) == {0: PENDING, 1: DELIVERED}


def test_a_host_that_does_not_exist_freezes_the_message() -> None:
    done = Attempted({}, "x@gone.test")
    settlement = done.run()
    assert settlement.freeze
    assert [each.why for each in done.notebook.of(Frozen)] == ['lookup of host "gone.test" failed in smarthost router']


def test_a_transport_that_does_not_exist_delays() -> None:
    done = Attempted({}, "x@odd.test")
    settlement = done.run()
    assert row_states(settlement) == {0: PENDING}
    assert settlement.updates[0].error == 'error in router: unknown routing option or transport name "other"'


# Bounces


def test_a_bounce_arrives_after_it_was_committed() -> None:
    done = Attempted({"bert@far.test": REFUSED})
    settlement = done.run()
    bounce = settlement.bounce
    assert bounce is not None
    assert [each.address for each in bounce.recipients] == [address_from_text("anna@laptop.test")]
    (arrived,) = done.notebook.of(Arrived)
    assert (arrived.message_id, arrived.bounce_of) == (bounce.message_id, done.message.message_id)
    assert arrived.size == len(bounce.header) + 2 + len(settlement.bounce_body)
    assert BODY in settlement.bounce_body


def test_a_body_that_can_not_be_read_keeps_no_outcome_from_being_written() -> None:
    class Unreadable(Pieces):
        async def piece(self, number: int) -> bytes:
            raise SpoolUnavailable("the disk is broken")

    done = Attempted({"a@far.test": SENT, "b@far.test": REFUSED})
    settlement = run(attempt(done.message, Unreadable(), done.ports))
    assert row_states(settlement) == {0: DELIVERED, 1: FAILED}
    assert settlement.bounce is not None
    assert b"text/rfc822-headers" in settlement.bounce_body


def test_one_bounce_reports_all() -> None:
    done = Attempted({"a@far.test": REFUSED, "b@near.test": REFUSED, "c@far.test": SENT})
    settlement = done.run()
    assert settlement.bounce_body.count(b"Final-Recipient:") == 2


def test_a_bounce_that_fails_is_frozen_without_an_answer() -> None:
    done = Attempted({"bert@far.test": REFUSED}, sender="")
    settlement = done.run()
    assert settlement.bounce is None
    assert settlement.freeze
    assert row_states(settlement) == {0: PENDING}
    assert done.notebook.words() == ["AddressFailed", "Settlement", "Frozen"]
    assert done.notebook.of(Frozen)[0].why == "delivery error message"


def test_a_recipient_that_wants_no_report_gets_none() -> None:
    done = Attempted({"bert@far.test": REFUSED}, make_recipient("bert@far.test", parameters={"NOTIFY": "NEVER"}))
    settlement = done.run()
    assert settlement.bounce is None
    assert row_states(settlement) == {0: FAILED}
    assert done.notebook.words() == ["AddressFailed", "Settlement", "MessageNote", "Completed"]
    (note,) = done.notebook.of(MessageNote)
    assert note.text == "bert@far.test: error ignored: RFC 3461 DSN, failure notify not requested"


@pytest.mark.parametrize("size, expected", [(0, b""), (3, b"one"), (5, b"onetw"), (100, b"onetwo")])
def test_the_start_of_a_body(size: int, expected: bytes) -> None:
    assert run(read_body(Pieces(b"one", b"two"), size)) == expected


def test_local_recipients_go_together_as_far_as_their_transport_takes_them() -> None:
    there = Attempted({}, "a@here.test", "b@here.test", "c@here.test", "d@here.test", "e@here.test")
    there.filing.batch_max = 2
    settlement = there.run()
    assert there.filing.batches == [
        ("a@here.test", "b@here.test"),
        ("c@here.test", "d@here.test"),
        ("e@here.test",),
    ]
    assert [each.first for each in there.notebook.of(AddressDelivered)] == [True, False, True, False, True]
    assert row_states(settlement) == {4: DELIVERED}


# Addresses that stand for others


def test_an_alias_is_done_when_all_that_it_stands_for_is() -> None:
    done = Attempted({"bert@far.test": SENT, "carl@far.test": SENT}, "team@alias.test")
    settlement = done.run()
    assert row_states(settlement) == {0: DELIVERED}
    assert [str(each.address) for each in done.notebook.of(AddressDelivered)] == [
        "anna@here.test", "bert@far.test", "carl@far.test",
    ]  # fmt: skip
    assert {str(each.named.original) for each in done.notebook.of(AddressDelivered) if each.named} == {
        "team@alias.test"
    }
    assert done.filing.given[0].headers_add == ("X-List: team",)
    assert done.sending.edits == [RouterEdits(add=("X-List: team",))]


def test_a_part_that_waits_keeps_the_alias_and_what_is_done_is_written_down() -> None:
    done = Attempted({"bert@far.test": SENT, "carl@far.test": BUSY}, "team@alias.test")
    settlement = done.run()
    (update,) = settlement.updates
    assert (update.state, update.error) == (PENDING, "busy")
    assert update.done == ("anna@here.test", "bert@far.test")
    assert settlement.due == NOW + 900


def test_the_next_attempt_is_for_the_rest_alone() -> None:
    row = replace(make_recipient("team@alias.test"), done=("anna@here.test", "bert@far.test"))
    done = Attempted({"carl@far.test": SENT}, row)
    assert row_states(done.run()) == {0: DELIVERED}
    assert done.filing.batches == []
    ((_, envelope),) = done.sending.calls
    assert [str(each.address) for each in envelope.recipients] == ["carl@far.test"]


def test_a_delivery_is_written_down_before_the_next_one_begins() -> None:
    done = Attempted({"bert@far.test": SENT, "carl@far.test": SENT}, "team@alias.test")
    done.run()
    first, *_ = done.notebook.of(Settlement)
    (update,) = first.updates
    assert (update.done, update.is_attempt, update.state) == (("anna@here.test",), False, PENDING)


def test_a_part_that_fails_is_reported_with_the_address_that_it_was_made_of() -> None:
    done = Attempted({"bert@far.test": REFUSED, "carl@far.test": SENT}, "team@alias.test")
    settlement = done.run()
    assert row_states(settlement) == {0: FAILED}
    assert b"bert@far.test" in settlement.bounce_body
    assert b"(generated from team@alias.test)" in settlement.bounce_body


def test_failures_are_told_to_whom_the_router_names() -> None:
    done = Attempted(
        {"bert@far.test": REFUSED, "carl@far.test": SENT, "dora@far.test": REFUSED},
        "team@alias.test",
        "dora@far.test",
        sender="lists@here.test",
    )
    settlement = done.run()
    told = [[str(each.address) for each in bounce.message.recipients] for bounce in settlement.bounces]
    assert told == [["owner@here.test"], ["lists@here.test"]]
    senders = {str(envelope.sender) for _, envelope in done.sending.calls}
    assert senders == {"owner@here.test", "lists@here.test"}
    assert done.filing.given[0].return_path == address_from_text("owner@here.test")


def test_a_mailbox_that_two_recipients_lead_to_gets_one_copy() -> None:
    done = Attempted({"bert@far.test": SENT, "carl@far.test": BUSY}, "team@alias.test", "anna@here.test")
    settlement = done.run()
    assert done.filing.batches == [("anna@here.test",)]
    assert len(done.notebook.of(AddressDelivered)) == 2
    states_of = {
        update.number: update.state
        for each in done.notebook.of(Settlement)
        for update in each.updates
        if update.is_attempt
    }
    assert states_of == {0: PENDING, 1: DELIVERED}
    assert settlement.due == NOW + 900


def test_fallback_hosts_get_what_would_have_to_wait() -> None:
    done = Attempted({"bert@far.test": DOWN})
    backup = compile_expansion("192.0.2.99")
    routers = tuple(replace(each, fallback_hosts=backup) if isinstance(each, Manualroute) else each for each in ROUTERS)
    done.ports = replace(done.ports, routers=routers)
    done.run()
    assert [hosts for hosts, _ in done.sending.calls] == [(HUB,), (RemoteHost("192.0.2.99", "192.0.2.99", 25),)]


def test_a_redirection_to_nowhere_runs_no_transport() -> None:
    done = Attempted({}, "team@alias.test")
    nowhere = Redirect(
        name="aliases",
        location=PLACE,
        data=compile_expansion("/dev/null"),
        file_transport=compile_expansion("maildir"),
        allowed=Item.FILE,
    )
    done.ports = replace(done.ports, routers=(nowhere,))
    done.run()
    assert [each.transport for each in done.notebook.of(AddressDelivered)] == ["**bypassed**"]
    assert done.filing.given == []


# Reports and what is given up


def test_what_is_given_up_is_not_tried_and_its_sender_is_told() -> None:
    done = Attempted({"a@far.test": SENT, "b@far.test": SENT})
    settlement = done.give_up()
    assert done.sending.calls == []
    assert row_states(settlement) == {0: FAILED, 1: FAILED}
    assert settlement.bounce is not None
    assert b"b@far.test" in settlement.bounce_body
    assert done.notebook.words() == ["Settlement", "Arrived", "Completed"]


def test_without_a_sender_nobody_is_told_and_nothing_is_held() -> None:
    done = Attempted({}, sender="")
    settlement = done.give_up()
    assert done.notebook.words() == ["Settlement", "Completed"]
    assert (row_states(settlement), settlement.bounces, settlement.freeze) == ({0: FAILED}, (), False)


def test_a_bounce_that_is_refused_is_frozen_now() -> None:
    settlement = Attempted({"a@far.test": REFUSED}, sender="").run()
    assert (settlement.freeze, settlement.frozen_at) == (True, NOW)


def test_a_delay_is_told_and_counted_in_the_same_step() -> None:
    done = Attempted({"bert@far.test": BUSY})
    done.ports = replace(done.ports, reports=replace(done.ports.reports, delay_warning=(60.0,)))
    settlement = done.run()
    assert settlement.warnings == 1
    assert settlement.bounce is not None
    assert done.notebook.words() == ["AddressDeferred", "Settlement", "Arrived"]


def test_a_delivery_that_somebody_wants_to_hear_of() -> None:
    asked = {"parameters": {"NOTIFY": "SUCCESS"}}
    rows = [make_recipient(f"{name}@here.test", number, **asked) for number, name in enumerate(("anna", "bert"))]
    done = Attempted({}, *rows, make_recipient("carl@far.test", 2, **asked))
    done.sending.outcomes["carl@far.test"] = SENT
    settlement = done.run()
    assert settlement.bounce is not None
    assert settlement.more_bounces == ()
    assert settlement.bounce_body.count(b"Action: delivered") == 2
    assert settlement.bounce_body.count(b"Action: relayed") == 1
