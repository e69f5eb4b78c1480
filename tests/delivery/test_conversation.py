"""From one message to the next over one connection: what is said, who gets it, and what never goes out in clear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import Notebook, Pieces, StoppedClock, make_message, run
from delivery.servers import EVERY, NOW, ONE, Crowd, Dialer, Records, Sent, Server, hosts, lost, make_ports
from relay.delivery.link import HandshakeFailed, StartTLSRefused
from relay.delivery.remote import SMTPTransport
from relay.delivery.schedule import Limits as ScheduleLimits
from relay.delivery.schedule import Schedule
from relay.delivery.smtp_rules import HostRules, PassingRules, SMTPRules
from relay.esmtp.parameters import Limits
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.envelope import Envelope, Recipient
from relay.mail.events import HostFailed, MessageNote
from relay.mail.outcome import Deferred, Delivered, ErrorClass
from relay.mail.reply import Reply
from relay.policy.tls import ClientTLSRules
from relay.spool.hints import RetryHint

import certs

UP = ["dial", "hello", "tls", "hello"]
AGAIN = ["clear", "tls", "hello", "send in TLS"]


class Queue:
    """Messages that wait for one host, which takes one connection at a time."""

    def __init__(self, server: Server, count: int = 2, *, at_once: int = 1, **options: Any) -> None:
        server.slow_send = True
        self.server = server
        self.crowd = Crowd()
        self.journal = Notebook()
        self.records = Records()
        self.clock = StoppedClock(NOW)
        self.dialer = Dialer({ONE.name: server}, (certs.relay(),))
        self.schedule = Schedule(ScheduleLimits(attempts_per_host=at_once))
        self.ports = make_ports(
            self.dialer,
            self.journal,
            clock=self.clock,
            schedule=self.schedule,
            records=self.records,
            spawn=lambda coroutine: self.crowd.add(coroutine),
        )
        tls = options.pop("tls", ClientTLSRules())
        self.rules = SMTPRules("smtp", tls, **options)
        self.transport = SMTPTransport(self.rules, self.ports, Scope(main={"primary_hostname": "laptop.test"}))
        self.numbers = [self.add(f"{number}@far.test") for number in range(count)]

    def add(self, *recipients: str, transport: SMTPTransport | None = None) -> int:
        message = make_message(*recipients)
        envelope = Envelope(message.sender, tuple(Recipient(address_from_text(each)) for each in recipients))
        chosen = transport or self.transport
        return self.crowd.add(chosen.deliver((ONE,), envelope, message, Pieces(b"body\r\n")))

    def outcomes(self) -> list[Any]:
        self.crowd.settle()
        return [self.crowd.results[number][0] for number in self.numbers]


def test_each_message_has_its_own_tls_session_on_one_connection() -> None:
    queue = Queue(Server(), 3)
    outcomes = queue.outcomes()
    assert queue.server.story == [*UP, "send in TLS", *AGAIN, *AGAIN, "quit"]
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert [each.continued for each in outcomes] == [False, True, True]
    assert all(each.tls.peer.fingerprint == certs.relay().fingerprint for each in outcomes)
    assert queue.schedule.next_in_line("one.test:25") is None


def test_nobody_waits_and_the_connection_ends() -> None:
    queue = Queue(Server(), 1)
    queue.outcomes()
    assert queue.server.story == [*UP, "send in TLS", "quit"]


def test_without_noproxy_tls_stays_up() -> None:
    queue = Queue(Server(), 3, passing=PassingRules(new_handshake=None))
    outcomes = queue.outcomes()
    assert queue.server.story == [*UP, "send in TLS", "send in TLS", "send in TLS", "quit"]
    assert all(each.tls is not None for each in outcomes)


@pytest.mark.parametrize("listed, connections", [("192.0.2.1", 2), ("192.0.2.9", 1)])
def test_hosts_nopass_tls(listed: str, connections: int) -> None:
    queue = Queue(Server(), 2, passing=PassingRules(no_pass=hosts(listed)))
    queue.outcomes()
    assert queue.server.story.count("dial") == connections


def test_a_connection_that_never_had_tls_goes_on_as_it_is() -> None:
    queue = Queue(Server(offers_tls=False), 2)
    outcomes = queue.outcomes()
    assert queue.server.story == ["dial", "hello", "send in clear", "send in clear", "quit"]
    assert [each.continued for each in outcomes] == [False, True]


@pytest.mark.parametrize(
    "refusal", [StartTLSRefused(Reply(502, "", ("no",))), HandshakeFailed(ErrorClass.TLS_FAILED, "x")]
)
def test_a_connection_in_clear_by_accident_is_not_passed_on(refusal: Exception) -> None:
    """The next message has a right to a try of its own."""
    queue = Queue(Server(starttls=refusal), 2)
    assert all(isinstance(each, Delivered) for each in queue.outcomes())
    assert queue.server.story.count("tls") == 2


@pytest.mark.parametrize("most, connections", [(1, 5), (2, 3), (0, 1), (500, 1)])
def test_connection_max_messages(most: int, connections: int) -> None:
    queue = Queue(Server(), 5, passing=PassingRules(max_messages=most))
    queue.outcomes()
    assert queue.server.story.count("dial") == connections
    assert queue.server.story.count("send in TLS") == 5


def test_the_servers_own_limit_of_messages() -> None:
    queue = Queue(Server(limits=Limits(messages=2)), 5)
    assert all(isinstance(each, Delivered) for each in queue.outcomes())
    assert queue.server.story.count("dial") == 3


def test_two_may_talk_at_once_and_the_third_gets_a_connection() -> None:
    queue = Queue(Server(), 3, at_once=2)
    queue.outcomes()
    assert queue.server.story.count("dial") == 2


def test_on_connect_the_end_of_tls_is_the_end() -> None:
    queue = Queue(Server(), 2, tls=ClientTLSRules(on_connect=True))
    assert all(isinstance(each, Delivered) for each in queue.outcomes())
    assert queue.server.story == ["dial", "tls", "hello", "send in TLS", "quit"] * 2


# A probe that fails


PROBES = {
    "no answer": lambda: Server(clear=lost("the server does not answer in clear")),
    "no STARTTLS any more": lambda: Server(later=Server(offers_tls=False)),
}


@pytest.mark.parametrize("probe", PROBES)
def test_a_failed_probe_costs_a_connection_and_nothing_else(probe: str) -> None:
    queue = Queue(PROBES[probe](), 3)
    outcomes = queue.outcomes()
    assert all(isinstance(each, Delivered) and not each.continued for each in outcomes)
    assert "send in clear" not in queue.server.story
    assert queue.server.story.count("dial") == 3
    assert queue.server.story.count("clear") == 1, "the host is remembered"
    assert queue.records.hints == {}
    assert queue.journal.of(HostFailed) == []


def test_after_a_while_it_is_tried_again() -> None:
    queue = Queue(PROBES["no answer"](), 2)
    queue.outcomes()
    queue.clock.time += 3601
    queue.numbers = [queue.add("x@far.test"), queue.add("y@far.test")]
    queue.outcomes()
    assert queue.server.story.count("clear") == 2


# A continued connection that fails


CONTINUED = {
    "STARTTLS is refused": Server(starttls=StartTLSRefused(Reply(454, "4.7.0", ("no",)))),
    "STARTTLS is refused for good": Server(starttls=StartTLSRefused(Reply(554, "5.7.0", ("no",)))),
    "the handshake fails": Server(starttls=HandshakeFailed(ErrorClass.TLS_FAILED, "no")),
    "the greeting in TLS fails": Server(hello_in_tls=lost()),
    "another certificate": Server(shown=certs.stranger()),
    "MAIL fails": Server(outcomes=lost("connection lost after MAIL FROM")),
    "too many messages": Server(
        outcomes={"1@far.test": Deferred("enough", ErrorClass.MAIL_4XX, Reply(452, "4.3.2", ("enough",)))}
    ),
    "421": Server(
        outcomes={"1@far.test": Deferred("bye", ErrorClass.DATA_4XX, Reply(421, "4.3.2", ("bye",)), host_wide=True)}
    ),
}


@pytest.mark.parametrize("what", CONTINUED)
def test_a_continued_connection_that_fails_is_forgotten(what: str) -> None:
    """The message gets a new connection; nothing is held against the host, nothing goes out in clear."""
    tls = ClientTLSRules(verify_certificates=compile_expansion("/relay.crt"))
    queue = Queue(Server(later=CONTINUED[what]), 2, tls=tls)
    outcomes = queue.outcomes()
    assert all(isinstance(each, Delivered) and not each.continued for each in outcomes), queue.server.story
    assert queue.server.story.count("dial") == 2
    assert "send in clear" not in queue.server.story
    assert all(link.over for link in queue.server.links)
    assert queue.records.hints == {}


def test_between_dot_and_reply_there_is_no_second_try() -> None:
    duplicate = Deferred("lost", ErrorClass.LOST_CONNECTION, host_wide=True, possible_duplicate=True)
    queue = Queue(Server(later=Server(outcomes={"1@far.test": duplicate})), 2)
    first, second = queue.outcomes()
    assert isinstance(first, Delivered)
    assert isinstance(second, Deferred)
    assert second.possible_duplicate
    assert queue.server.story.count("dial") == 1


def test_what_the_server_says_of_the_message_stands() -> None:
    busy = Deferred("busy", ErrorClass.RCPT_4XX, Reply(450, "4.2.1", ("busy",)))
    queue = Queue(Server(later=Server(outcomes={"1@far.test": busy})), 2)
    _, second = queue.outcomes()
    assert second == replace(busy, host=ONE, continued=True)
    assert queue.server.story.count("dial") == 1


def test_a_connection_that_the_server_ended_is_not_passed_on() -> None:
    queue = Queue(Server(closes_after_message=True), 2)
    assert all(isinstance(each, Delivered) for each in queue.outcomes())
    assert queue.server.story.count("clear") == 0
    assert queue.server.story.count("dial") == 2


# Who may have it


def test_another_transport_does_not_get_it() -> None:
    queue = Queue(Server(), 1)
    rules = SMTPRules("other", ClientTLSRules(require_tls=EVERY))
    other = SMTPTransport(rules, queue.ports, Scope(main={"primary_hostname": "laptop.test"}))
    queue.numbers.append(queue.add("1@far.test", transport=other))
    assert all(isinstance(each, Delivered) for each in queue.outcomes())
    assert queue.server.story.count("dial") == 2


def test_other_manners_do_not_get_it() -> None:
    queue = Queue(Server(), 0, helo_data=compile_expansion("$tod_epoch.test"))
    queue.numbers.append(queue.add("0@far.test"))
    queue.clock.time += 5
    queue.numbers.append(queue.add("1@far.test"))
    queue.outcomes()
    assert queue.server.story.count("dial") == 2
    assert len(set(queue.dialer.helo_names)) == 2


def test_one_who_is_cut_off_in_line_leaves_it() -> None:
    queue = Queue(Server(), 3)
    waiting = queue.crowd.running[1]
    with pytest.raises(KeyboardInterrupt):
        waiting.throw(KeyboardInterrupt())
    queue.crowd.results[1] = (None,)
    queue.outcomes()
    assert queue.server.story == [*UP, "send in TLS", *AGAIN, "quit"]


def test_one_who_is_cut_off_in_talk_lets_the_next_in() -> None:
    queue = Queue(Server(), 2)
    with pytest.raises(KeyboardInterrupt):
        queue.crowd.running[0].throw(KeyboardInterrupt())
    queue.crowd.results[0] = (None,)
    _, second = queue.outcomes()
    assert isinstance(second, Delivered)
    assert queue.server.story == [*UP, "send in TLS", "drop", *UP, "send in TLS", "quit"]


# LIMITS


def test_recipients_are_split_as_the_server_takes_them() -> None:
    server = Server(limits=Limits(recipients=2))
    sent = Sent(server, recipients=tuple(f"{number}@far.test" for number in range(5)))
    taken = [each for each in sent.outcomes if isinstance(each, Delivered)]
    assert len(taken) == 5
    assert [len(each.recipients) for each in server.links[0].envelopes] == [2, 2, 1]
    assert server.story.count("dial") == 1
    assert [each.dialog is not None and each.dialog.is_further for each in taken] == [False, True, False, True, False]
    assert [each.continued for each in taken] == [False, False, True, True, True]


def test_domains_go_by_themselves_where_their_number_has_a_limit() -> None:
    server = Server(limits=Limits(domains=5))
    sent = Sent(server, recipients=("a@far.test", "b@near.test", "c@far.test"))
    assert all(isinstance(each, Delivered) for each in sent.outcomes)
    domains = [[each.address.domain for each in envelope.recipients] for envelope in server.links[0].envelopes]
    assert domains == [["far.test", "far.test"], ["near.test"]]


def test_recipients_are_split_as_we_want_it() -> None:
    server = Server(limits=Limits(recipients=5))
    sent = Sent(server, recipients=tuple(f"{number}@far.test" for number in range(5)), options={"max_rcpt": 2})
    delivered = [each for each in sent.outcomes if isinstance(each, Delivered)]
    assert [len(each.recipients) for each in server.links[0].envelopes] == [2, 2, 1]
    further = [each.dialog is not None and each.dialog.is_further for each in delivered]
    assert further == [False, True, False, True, False]
    assert [each.continued for each in delivered] == [False, False, True, True, True]


def test_and_in_new_connections_where_it_takes_few_messages() -> None:
    server = Server(limits=Limits(messages=2, recipients=1))
    sent = Sent(server, recipients=tuple(f"{number}@far.test" for number in range(5)))
    assert all(isinstance(each, Delivered) for each in sent.outcomes)
    assert server.story.count("dial") == 3
    assert server.story.count("send in TLS") == 5


# The refusal of our certificate, in TLS 1.3


def test_a_late_refusal_is_a_failed_handshake() -> None:
    late = lost("the server refused our certificate: unknown ca")
    late.error = ErrorClass.TLS_FAILED
    sent = Sent(Server(hello_in_tls=late), require_tls=EVERY)
    outcome = sent.outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.reason) == (ErrorClass.TLS_FAILED, "the server refused our certificate: unknown ca")
    again = Sent(Server(hello_in_tls=late))
    assert isinstance(again.outcome, Delivered), "as in TLS 1.2, where it may go in clear"
    assert again.servers[0].story[-2:] == ["send in clear", "quit"]


def test_a_handshake_that_a_certificate_has_ended_is_told_of_and_never_goes_clear() -> None:
    ended = HandshakeFailed(ErrorClass.TLS_FAILED, "it does not verify", verify_fault="depth=0 error=x cert=/CN=y")
    sent = Sent(Server(starttls=ended), verify_hosts=EVERY)
    outcome = sent.outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.reason) == (ErrorClass.TLS_FAILED, "it does not verify")
    notes = [each.text for each in sent.journal.of(MessageNote)]
    assert notes == [f"[{ONE.address}] SSL verify error: depth=0 error=x cert=/CN=y"]
    (server,) = sent.servers
    assert server.story[:3] == ["dial", "hello", "tls"]
    assert [each for each in server.story if each == "dial" or each.startswith("send")] == ["dial"]


# What else a session has to be


@pytest.mark.parametrize(
    "rules, words",
    [
        ({"require_pq": EVERY}, "post-quantum"),
        ({"require_alpn": EVERY}, "ALPN"),
        ({"require_ocsp": EVERY}, "certificate status"),
    ],
)
@pytest.mark.parametrize("server", [Server(), Server(offers_tls=False)], ids=["TLS", "no TLS"])
def test_a_session_that_is_not_what_it_has_to_be(rules: dict[str, Any], words: str, server: Server) -> None:
    server.story.clear()
    outcome = Sent(server, **rules).outcome
    assert isinstance(outcome, Deferred)
    assert not [each for each in server.story if each.startswith("send")]
    if server.offers_tls:
        assert words in outcome.reason


@pytest.mark.parametrize(("options", "status"), [({}, 0), ({"request_ocsp": EVERY}, 1)])
def test_what_became_of_the_question_for_a_response_is_known(options: dict[str, Any], status: int) -> None:
    outcome = Sent(Server(), **options).outcome
    assert isinstance(outcome, Delivered)
    assert outcome.tls is not None
    assert outcome.tls.ocsp == status


# Resumption


@pytest.mark.parametrize(
    "options, key",
    [
        ({}, ""),
        ({"resumption_hosts": EVERY}, "one.test 192.0.2.1 25"),
        ({"resumption_hosts": hosts("192.0.2.9")}, ""),
        (
            {
                "resumption_hosts": EVERY,
                "host_name_extract": compile_expansion("${if match{$item}{\\N^(\\S+) Hello\\N}{$1}}"),
            },
            "one.test one.test 25",
        ),
    ],
)
def test_whose_session_may_be_resumed(options: dict[str, Any], key: str) -> None:
    server = Server()
    assert isinstance(Sent(server, options=options).outcome, Delivered)
    assert server.links[0].session_keys == [key]


def test_nothing_of_the_helpers_waits() -> None:
    """The crowd fails where somebody waits for ever; else the tests above would pass on nothing."""

    async def never() -> None:
        from delivery.servers import Promise

        await Promise()

    crowd = Crowd()
    crowd.add(never())
    with pytest.raises(AssertionError, match="waiting in line"):
        crowd.settle()
    assert run(_at_once()) == 1


async def _at_once() -> int:
    return 1


def test_serialize_hosts() -> None:
    """One connection at a time, where there would be room for more."""
    for rules, connections in ((HostRules(), 3), (HostRules(serialize=EVERY), 1)):
        queue = Queue(Server(), 3, at_once=8, hosts=rules)
        queue.outcomes()
        assert queue.server.story.count("dial") == connections


def summoning(queue: Queue, waiting: int) -> SMTPTransport:
    """A transport whose connections are come for by so many who wait in the queue."""
    left = [f"late{number}@far.test" for number in range(waiting)]

    async def summon(host: str) -> None:
        offer = queue.ports.lines.offer(host)
        if left:
            queue.numbers.append(queue.add(left.pop(), transport=transport))
        else:
            queue.ports.lines.withdraw(host, offer)
        await offer

    transport = SMTPTransport(
        queue.rules, replace(queue.ports, summon=summon), Scope(main={"primary_hostname": "laptop.test"})
    )
    return transport


def test_who_waits_in_the_queue_for_the_host_comes_for_the_connection() -> None:
    queue = Queue(Server(), 0, at_once=8)
    queue.numbers.append(queue.add("first@far.test", transport=summoning(queue, 2)))
    outcomes = queue.outcomes()
    assert queue.server.story == [*UP, "send in TLS", *AGAIN, *AGAIN, "quit"]
    assert [each.continued for each in outcomes] == [False, True, True]


def test_a_host_that_has_just_worked_is_not_held_against_who_is_summoned() -> None:
    queue = Queue(Server(), 0, at_once=8)
    key = "one.test:192.0.2.1:25"
    earlier = RetryHint(NOW - 900, NOW - 600, NOW - 1, "Connection refused", "refused")
    run(queue.records.keep(key, earlier))
    queue.numbers.append(queue.add("first@far.test", transport=summoning(queue, 1)))
    assert [type(each) for each in queue.outcomes()] == [Delivered, Delivered]
    assert run(queue.records.load(key, NOW)) is None


@pytest.mark.parametrize("error", [ErrorClass.MAIL_4XX, ErrorClass.RCPT_4XX])
def test_nobody_is_summoned_by_a_host_that_takes_nothing(error: ErrorClass) -> None:
    """It answers and keeps the connection: those who wait would call on it in turns, without an end."""
    later = Deferred("later", error, Reply(451, "", ("later",)), ONE, host_wide=True)
    queue = Queue(Server(outcomes={"first@far.test": later}), 0)
    key = "one.test:192.0.2.1:25"
    run(queue.records.keep(key, RetryHint(NOW - 900, NOW - 600, NOW - 1, "Connection refused", "refused")))
    queue.numbers.append(queue.add("first@far.test", transport=summoning(queue, 1)))
    queue.crowd.settle()
    assert len(queue.numbers) == 1
    assert queue.server.story[-1] == "quit"
    assert run(queue.records.load(key, NOW)) is not None, "nor is it forgotten that it had failed"


def test_nobody_is_summoned_for_a_connection_that_is_gone() -> None:
    queue = Queue(Server(closes_after_message=True), 0)
    queue.numbers.append(queue.add("first@far.test", transport=summoning(queue, 1)))
    queue.crowd.settle()
    assert len(queue.numbers) == 1
