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
from policy.told import action
from relay.delivery.attempt import AttemptPorts, Unsettled, attempt, give_up
from relay.delivery.first_pass import Extent, FirstPass
from relay.delivery.header_edits import RouterEdits
from relay.delivery.local_address import LocalAddress
from relay.delivery.report import ReportSettings
from relay.delivery.reporting import ReportRules, read_body
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.envelope import Envelope, Parameters
from relay.mail.events import (
    AddressDeferred,
    AddressDelivered,
    AddressFailed,
    Arrived,
    ChildrenComplete,
    Frozen,
    MessageNote,
    WrittenByACL,
)
from relay.mail.facts import Certificate, TLSFacts
from relay.mail.outcome import Deferred, Delivered, Dialog, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.ports import Body, SpoolUnavailable
from relay.mail.queue import QueuedMessage, RecipientState, Settlement
from relay.mail.reply import Reply
from relay.mail.source import Location
from relay.policy.event_action import NO_ACTIONS, EventActions
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
    most: int = 100
    includes_affixes: bool = False
    default_port: int = 25
    calls: list[tuple[tuple[RemoteHost, ...], Envelope]] = field(default_factory=list)
    edits: list[RouterEdits] = field(default_factory=list)
    held: dict[str, Outcome] = field(default_factory=dict)
    """What is said of those none of whose hosts may be tried."""
    own_host: RemoteHost | None = None
    remote: int = 0
    """How many recipients at other hosts it was told of."""

    def most_at_once(self, remote: int) -> int:
        self.remote = remote
        return self.most

    def forgive(self, now: float) -> None:
        raise AssertionError("an attempt forgives nothing")

    async def held_back(
        self, hosts: tuple[RemoteHost, ...], envelope: Envelope, message: QueuedMessage, body: Body, scope: Scope
    ) -> tuple[Outcome | None, ...]:
        return tuple(self.held.get(str(each.address)) for each in envelope.recipients)

    async def first_host(
        self, hosts: tuple[RemoteHost, ...], message: QueuedMessage, scope: Scope
    ) -> RemoteHost | None:
        return hosts[0] if hosts else self.own_host

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
    includes_affixes: bool = False

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
        most: int = 100,
        rivals_after: int | None = None,
        trouble: Exception | None = None,
        is_told: bool = False,
        **message: Any,
    ) -> None:
        self.message = make_message(*(recipients or outcomes), **message)
        self.notebook = Notebook()
        main, smtp = (action(self.notebook, name) for name in ("", "smtp"))
        self.events = EventActions(main, {"smtp": smtp}) if is_told else NO_ACTIONS
        self.queue = Queue(self.notebook, self.message, rivals_after, trouble)
        self.sending = Sending(outcomes, most)
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
            events=self.events,
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


def test_failures_of_time_are_logged_from_the_last_to_the_first() -> None:
    done = Attempted({"bert@far.test": BUSY, "carl@far.test": BUSY}, rules=())
    done.run()
    failed = [str(each.address) for each in done.notebook.of(AddressFailed)]
    assert failed == ["carl@far.test", "bert@far.test"]


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


# Event actions


def heard(done: Attempted) -> list[str]:
    """Lines of the log and what the actions were told, in order."""
    events = [each for each in done.notebook.events if not isinstance(each, Settlement)]
    return [each.text if isinstance(each, WrittenByACL) else type(each).__name__ for each in events]


def test_actions_are_told_of_a_delivery_and_of_the_end() -> None:
    done = Attempted({"bert@far.test": SENT}, is_told=True)
    done.run()
    assert heard(done) == [
        "AddressDelivered",
        f"msg:delivery <{SENT.confirmation}> bert@far.test 192.0.2.7",
        "Completed",
        "msg:complete <> @ ",
    ]


def test_an_action_that_is_told_of_a_delivery_sees_its_tls_layer() -> None:
    shown = "$event_name $tls_out_ver ${if def:tls_out_peercert {$tls_out_peerdn}{nobody}}"
    shown += " ${if def:tls_out_ourcert {as ourselves}{as nobody}}"
    tls = TLSFacts(
        "TLS1.3", "TLS_AES_256_GCM_SHA384", 256, ours=Certificate(b"", "/CN=us", "", ""),
        peer=Certificate(b"", "/CN=hub", "", ""),
    )  # fmt: skip
    for sent, seen in ((replace(SENT, tls=tls), "TLS1.3 /CN=hub as ourselves"), (SENT, " nobody as nobody")):
        done = Attempted({"bert@far.test": sent})
        done.events = EventActions(None, {"smtp": action(done.notebook, "smtp", shown=shown)})
        done.ports = replace(done.ports, events=done.events)
        done.run()
        assert f"msg:delivery {seen}" in heard(done)


def test_actions_are_told_of_a_failure_before_its_line() -> None:
    done = Attempted({"bert@far.test": REFUSED}, is_told=True)
    done.run()
    assert heard(done)[:2] == [f"msg:fail:delivery <{REFUSED.reason}> bert@far.test 192.0.2.7", "AddressFailed"]


def test_who_wanted_other_reports_has_a_failure_that_is_not_told() -> None:
    wanted = make_recipient("bert@far.test")
    options = Parameters((("NOTIFY", "FAILURE,DELAY"),))
    wanted = replace(wanted, recipient=replace(wanted.recipient, parameters=options))
    done = Attempted({"bert@far.test": REFUSED}, wanted, is_told=True)
    done.run()
    assert "AddressFailed" in heard(done)
    assert not any(each.startswith("msg:fail") for each in heard(done))


def test_a_failure_that_nobody_hears_of_is_told_with_its_note() -> None:
    wanted = make_recipient("bert@far.test")
    wanted = replace(wanted, recipient=replace(wanted.recipient, parameters=Parameters((("NOTIFY", "NEVER"),))))
    done = Attempted({"bert@far.test": REFUSED}, wanted, is_told=True)
    done.run()
    failed = f"msg:fail:delivery <{REFUSED.reason}> bert@far.test 192.0.2.7"
    assert heard(done)[:3] == ["AddressFailed", failed, "MessageNote"]


def test_a_message_that_is_given_up_is_a_matter_of_our_own() -> None:
    done = Attempted({"bert@far.test": SENT}, is_told=True)
    done.give_up()
    assert heard(done)[0] == "msg:fail:internal <delivery cancelled> bert@far.test "
    assert heard(done)[-1] == "msg:complete <> @ "


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


def test_each_transaction_has_its_first() -> None:
    first, further, unsaid = (replace(SENT, dialog=Dialog(is_further=each)) for each in (False, True, None))
    done = Attempted({"a@far.test": first, "b@far.test": further, "c@far.test": first, "d@far.test": unsaid})
    done.run()
    assert [each.first for each in done.notebook.of(AddressDelivered)] == [True, False, True, False]


def test_no_group_is_larger_than_the_transport_takes() -> None:
    done = Attempted({f"{name}@far.test": SENT for name in "abcde"}, most=2)
    settlement = done.run()
    assert done.sending.remote == 5
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
    assert event.named is not None
    assert event.named.shown == ("owner-a@far.test" if includes else "a@far.test"), "behind it, as the router saw it"


def test_the_transport_that_has_delivered_is_named() -> None:
    done = Attempted({}, "bert@here.test")
    done.filing.outcome = Delivered("/box", transport="mmdf")
    done.run()
    (event,) = done.notebook.of(AddressDelivered)
    assert event.transport == "mmdf"


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


def test_who_watches_sees_the_delivery_and_what_the_transport_says() -> None:
    done = Attempted({"a@far.test": SENT}, "a@far.test", "bert@here.test")
    told: list[str] = []
    texts = {name: compile_expansion("$transport_name $host $host_address") for name in ("smtp", "maildir")}
    done.ports = replace(done.ports, watch=told.append, debug_prints=texts)
    done.run()
    assert told[0] == f"delivering {done.message.message_id}"
    assert sorted(told[1:]) == ["maildir  ", "smtp hub.test 192.0.2.7"]


def test_who_watches_sees_which_queue_run_it_is() -> None:
    told: list[str] = []
    done = Attempted({"bert@far.test": SENT})
    done.ports = replace(done.ports, watch=told.append, scope=Scope(pid=77, queue_running=True))
    done.run()
    assert told[0].endswith(" (queue run pid 77)")


def test_a_local_transport_names_the_host_that_its_router_found() -> None:
    done = Attempted({}, "a@far.test", "bert@here.test")
    routers = (ROUTERS[0], replace(ROUTERS[2], transport=compile_expansion("maildir")))
    done.ports = replace(done.ports, routers=routers)
    done.run()
    named = [each.named and each.named.host for each in done.notebook.of(AddressDelivered)]
    assert sorted(named, key=str) == [None, "hub.test"]


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
    assert [each.why for each in done.notebook.of(Frozen)] == [""], "the line of the address has said it"


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
    assert done.filing.given[0].further == (address_from_text("anna@here.test"),)
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


def test_a_report_is_delivered_first_where_somebody_waits() -> None:
    done = Attempted({"bert@far.test": REFUSED})

    async def deliver_first(report_id: str) -> None:
        done.notebook.record(MessageNote(report_id, "delivered"))

    done.ports = replace(done.ports, deliver_first=deliver_first)
    done.run()
    assert done.notebook.words() == ["AddressFailed", "Settlement", "Arrived", "MessageNote", "Completed"]


def test_a_report_that_is_only_queued_is_left_to_a_queue_run() -> None:
    done = Attempted({"bert@far.test": REFUSED})

    async def deliver_first(report_id: str) -> None:
        pytest.fail("it is delivered")

    settings = replace(done.ports.reports.settings, waits=900.0)
    done.ports = replace(
        done.ports, deliver_first=deliver_first, reports=replace(done.ports.reports, settings=settings)
    )
    settlement = done.run()
    assert settlement.bounce is not None
    assert settlement.bounce.due == NOW + 900
    assert [each.waits for each in done.notebook.of(Arrived)] == [True]


def test_a_delivery_that_somebody_wants_to_hear_of() -> None:
    asked = {"parameters": {"NOTIFY": "SUCCESS"}}
    rows = [make_recipient(f"{name}@here.test", number, **asked) for number, name in enumerate(("anna", "bert"))]
    done = Attempted({}, *rows, make_recipient("carl@far.test", 2, **asked))
    done.sending.outcomes["carl@far.test"] = SENT
    settlement = done.run()
    assert settlement.bounce is not None
    assert settlement.more_bounces == ()
    assert settlement.bounce_body.count(b"Action: delivered") == 3
    assert settlement.bounce_body.count(b"Remote-MTA: ") == 1


def test_a_rehearsal_fills_no_mailbox_and_neither_do_its_reports() -> None:
    done = Attempted({"anne@here.test": Delivered()}, "anne@here.test", "nobody@alias.test", "x@gone.test")
    facts = replace(done.message.facts, is_rehearsal=True)
    done.message = done.queue.message = replace(done.message, facts=facts)
    settlement = done.run()
    assert done.filing.batches == []
    assert [event.outcome for event in done.notebook.of(AddressDelivered)] == [Delivered(is_bypassed=True)]
    assert settlement.bounce is not None
    assert settlement.bounce.facts.is_rehearsal


def test_what_a_router_says_of_a_held_message_has_a_line_of_its_own() -> None:
    done = Attempted({}, "x@far.test")
    done.ports = replace(done.ports, routing=replace(done.ports.routing, is_ours=lambda address, port: True))
    assert done.run().freeze
    assert [each.text for each in done.notebook.of(MessageNote)] == ["remote host address is the local host: far.test"]
    assert done.notebook.words()[:2] == ["MessageNote", "AddressDeferred"]


# What was made of an address


def complete(done: Attempted) -> list[str]:
    return [str(each.address) for each in done.notebook.of(ChildrenComplete)]


def test_an_address_is_complete_with_the_last_that_was_made_of_it() -> None:
    done = Attempted({"bert@far.test": SENT, "carl@far.test": SENT}, "team@alias.test")
    done.run()
    assert complete(done) == ["team@alias.test"]
    assert done.notebook.words()[-3:] == ["ChildrenComplete", "Settlement", "Completed"]


@pytest.mark.parametrize("sender, told", [("anne@laptop.test", ["team@alias.test"]), ("", [])])
def test_a_failure_is_an_end_unless_there_is_nobody_to_be_told(sender: str, told: list[str]) -> None:
    done = Attempted({"bert@far.test": REFUSED, "carl@far.test": SENT}, "team@alias.test", sender=sender)
    done.run()
    assert complete(done) == told


def test_an_address_is_not_complete_while_a_part_of_it_waits() -> None:
    done = Attempted({"bert@far.test": SENT, "carl@far.test": BUSY}, "team@alias.test", "bert@far.test")
    done.run()
    assert complete(done) == []


# What is left for a queue run


def test_a_first_pass_delivers_here_and_leaves_the_rest_untried() -> None:
    done = Attempted({"bert@far.test": SENT}, "bert@far.test", "anna@here.test")
    done.ports = replace(done.ports, first_pass=FirstPass(Extent.ROUTES_ONLY))
    settlement = done.run()
    assert (done.sending.calls, done.filing.batches) == ([], [("anna@here.test",)])
    (left,) = done.notebook.of(AddressDeferred)
    assert (left.outcome.error, left.transport) == (ErrorClass.ROUTED_ONLY, "smtp")
    (update,) = [each for each in settlement.updates if each.number == 0]
    assert (update.state, update.is_attempt) == (PENDING, False)
    assert (settlement.due, settlement.waits_for) == (NOW + 1800, "hub.test:25")
    assert settlement.bounce is None


def test_only_some_domains_may_be_left() -> None:
    done = Attempted({"bert@far.test": SENT, "carl@near.test": SENT})
    done.ports = replace(done.ports, first_pass=FirstPass(smtp_domains=compile_list(ListKind.DOMAIN, "far.test")))
    done.run()
    ((_, envelope),) = done.sending.calls
    assert [str(each.address) for each in envelope.recipients] == ["carl@near.test"]
    (left,) = done.notebook.of(AddressDeferred)
    assert left.outcome.error is ErrorClass.ROUTED_ONLY_DOMAIN


def test_the_first_of_two_stages_says_nothing_of_what_it_leaves_and_keeps_its_time() -> None:
    done = Attempted({"bert@far.test": SENT})
    settling = replace(done.ports.settling, queue_interval=None)
    done.ports = replace(done.ports, first_pass=FirstPass(Extent.STAGE), settling=settling)
    settlement = done.run()
    assert done.notebook.words() == ["Settlement"]
    assert (settlement.due, settlement.waits_for) == (done.message.due, "hub.test:25")


def test_the_queue_learns_which_host_of_the_transport_is_waited_for() -> None:
    done = Attempted({"bert@own.test": SENT}, rules=())
    done.sending.own_host = RemoteHost("own.test", "192.0.2.9", 2525)
    own = Accept(name="own", location=PLACE, transport=compile_expansion("smtp"))
    done.ports = replace(done.ports, routers=(own,), first_pass=FirstPass(Extent.STAGE))
    assert done.run().waits_for == "own.test:2525"


def test_what_waits_for_a_queue_run_is_not_routed() -> None:
    done = Attempted({"bert@far.test": SENT})
    routing = replace(done.ports.routing, queue_domains=compile_list(ListKind.DOMAIN, "far.test"))
    done.ports = replace(done.ports, routing=routing)
    settlement = done.run()
    (left,) = done.notebook.of(AddressDeferred)
    assert (left.outcome.error, left.router) == (ErrorClass.QUEUED, "")
    assert (settlement.due, settlement.updates[0].is_attempt) == (NOW + 1800, False)


def test_a_list_of_domains_that_can_not_be_read_holds_up_nothing() -> None:
    done = Attempted({"bert@far.test": SENT})
    done.ports = replace(done.ports, first_pass=FirstPass(smtp_domains=compile_list(ListKind.DOMAIN, "lsearch;/none")))
    assert row_states(done.run()) == {0: DELIVERED}


# Redirections that are done once


def once(done: Attempted) -> Attempted:
    local, aliases, smarthost = ROUTERS
    done.ports = replace(done.ports, routers=(local, replace(aliases, one_time=True), smarthost))
    return done


def test_what_waits_of_a_redirection_that_is_done_once_becomes_a_recipient() -> None:
    done = once(Attempted({"bert@far.test": SENT, "carl@far.test": BUSY}, "team@alias.test", sender="lists@here.test"))
    settlement = done.run()
    (update,) = settlement.updates
    assert (update.state, update.is_attempt, update.done) == (PENDING, False, ("anna@here.test", "bert@far.test"))
    (kept,) = settlement.replacements
    assert str(kept.recipient.address) == "carl@far.test"
    assert str(kept.recipient.original) == "team@alias.test"
    assert str(kept.recipient.errors_to) == "owner@here.test"
    assert (kept.number, kept.key, kept.error, kept.first_failed) == (0, "", "busy", NOW)
    assert settlement.due == NOW + 900


def test_a_recipient_in_the_place_of_another_is_named_with_it_and_keeps_who_is_told() -> None:
    row = make_recipient("carl@far.test", 1)
    recipient = replace(
        row.recipient, original=address_from_text("team@alias.test"), errors_to=address_from_text("owner@here.test")
    )
    done = once(Attempted({"carl@far.test": SENT}, replace(row, recipient=recipient)))
    done.run()
    ((_, envelope),) = done.sending.calls
    assert str(envelope.sender) == "owner@here.test"
    (event,) = done.notebook.of(AddressDelivered)
    assert event.named is not None
    assert str(event.named.original) == "team@alias.test"


def test_a_recipient_of_its_own_takes_no_place() -> None:
    done = once(Attempted({"bert@far.test": SENT, "carl@far.test": BUSY}, "team@alias.test", "carl@far.test"))
    settlement = done.run()
    assert settlement.replacements == ()
    assert {each.number: each.state for each in settlement.updates} == {0: PENDING, 1: PENDING}


def test_the_first_of_two_stages_leaves_recipients_as_they_are() -> None:
    done = once(Attempted({}, "team@alias.test"))
    done.ports = replace(done.ports, first_pass=FirstPass(Extent.STAGE))
    assert done.run().replacements == ()
