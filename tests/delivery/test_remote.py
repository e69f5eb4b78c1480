"""The smtp transport over servers that do as they are told: TLS or not, which host, and what becomes of a recipient.

The table is the heart of it: nothing goes out in clear where TLS is required or the server has to verify, whatever
the server (or somebody in the middle) does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import Notebook, make_message, run
from delivery.servers import (
    EVERY,
    FAILS,
    FORCED,
    ONE,
    SENT,
    TWO,
    Dialer,
    Sent,
    Server,
    hosts,
    lost,
    make_ports,
)
from relay.delivery.command_line import compile_command
from relay.delivery.filtering import FilterFailed, FilterRules
from relay.delivery.jobs import FilterEnd
from relay.delivery.link import HandshakeFailed, LinkFailed, StartTLSRefused
from relay.delivery.remote import SMTPTransport
from relay.delivery.smtp_rules import HostRules, PassingRules, SMTPRules
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import AddressView, Scope
from relay.mail.events import MessageNote, Trouble
from relay.mail.facts import Unverified, Verified
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, RemoteHost
from relay.mail.ports import Cancelled, SpoolUnavailable
from relay.mail.reply import Reply
from relay.policy.tls import ClientTLSRules
from relay.tls.ciphers import BadCipherList
from relay.tls.files import TLSFileError

import certs

BUSY = Deferred("busy", ErrorClass.RCPT_4XX, Reply(450, "4.2.1", ("busy",)))
UNKNOWN = Failed("no such user", Reply(550, "5.1.1", ("no such user",)))


# The table

SERVERS = {
    "good": lambda: Server(),
    "offers none": lambda: Server(offers_tls=False),
    "refuses 454": lambda: Server(starttls=StartTLSRefused(Reply(454, "4.7.0", ("not now",)))),
    "refuses 502": lambda: Server(starttls=StartTLSRefused(Reply(502, "5.5.1", ("what?",)))),
    "breaks the handshake": lambda: Server(starttls=HandshakeFailed(ErrorClass.TLS_FAILED, "no shared cipher")),
    "shows another certificate": lambda: Server(shown=certs.stranger()),
    "shows none": lambda: Server(shown=None),
}
NOBODY = compile_list(ListKind.HOST, "")
NAMED = compile_expansion("/relay.crt")
PINNED = (certs.relay().fingerprint,)
RULES: dict[str, dict[str, Any]] = {
    "nothing set": {},
    "hosts_require_tls": {"require_tls": EVERY},
    "tls_verify_certificates": {"verify_certificates": NAMED},
    "tls_verify_hosts": {"verify_hosts": EVERY},
    "tls_pins": {"pins": PINNED},
    "tls_try_verify_hosts": {"verify_certificates": NAMED, "try_verify_hosts": EVERY},
    "no tryclear": {"tempfail_tryclear": False},
    "avoid": {"avoid_tls": EVERY},
    "avoid and verify": {"avoid_tls": EVERY, "verify_certificates": NAMED},
    "avoid and require": {"avoid_tls": EVERY, "require_tls": EVERY},
    "require and verify": {"require_tls": EVERY, "verify_certificates": NAMED},
}
TLS, CLEAR = "in TLS", "in clear"
REQUIRED, FAILED = ErrorClass.TLS_REQUIRED, ErrorClass.TLS_FAILED
ANY_TLS = (TLS, REQUIRED, REQUIRED, REQUIRED, FAILED, TLS, TLS)
VERIFIED_TLS = (TLS, REQUIRED, REQUIRED, REQUIRED, FAILED, FAILED, FAILED)
WHERE_POSSIBLE = (TLS, CLEAR, CLEAR, CLEAR, CLEAR, TLS, TLS)
TABLE = {
    "nothing set": WHERE_POSSIBLE,
    "hosts_require_tls": ANY_TLS,
    "tls_verify_certificates": VERIFIED_TLS,
    "tls_verify_hosts": VERIFIED_TLS,
    "tls_pins": VERIFIED_TLS,
    "tls_try_verify_hosts": WHERE_POSSIBLE,
    "no tryclear": (TLS, CLEAR, ErrorClass.OTHER, CLEAR, FAILED, TLS, TLS),
    "avoid": (CLEAR,) * 7,
    "avoid and verify": (REQUIRED,) * 7,
    "avoid and require": ANY_TLS,
    "require and verify": VERIFIED_TLS,
}
CELLS = [
    pytest.param(RULES[rules], SERVERS[server], expected, id=f"{rules}, server {server}")
    for rules, row in TABLE.items()
    for server, expected in zip(SERVERS, row, strict=True)
]


@pytest.mark.parametrize("rules, make_server, expected", CELLS)
def test_tls_or_not(rules: dict[str, Any], make_server: Any, expected: str | ErrorClass) -> None:
    server = make_server()
    outcome = Sent(server, **rules).outcome
    sends = [each for each in server.story if each.startswith("send")]
    if isinstance(expected, ErrorClass):
        assert isinstance(outcome, Deferred)
        assert (outcome.error, outcome.host, outcome.host_wide) == (expected, ONE, True)
        assert sends == []
    else:
        assert isinstance(outcome, Delivered)
        assert (outcome.host, outcome.tls is not None) == (ONE, expected is TLS)
        assert sends == [f"send {expected}"]
    assert all(link.over for link in server.links)


def test_the_table_is_whole() -> None:
    assert TABLE.keys() == RULES.keys()


@pytest.mark.parametrize("rules", [{}, {"require_tls": EVERY}, {"verify_certificates": NAMED}, {"avoid_tls": EVERY}])
@pytest.mark.parametrize("make_server", [make for name, make in SERVERS.items() if "refuses" not in name])
def test_on_connect_there_is_no_clear_text(rules: dict[str, Any], make_server: Any) -> None:
    server = make_server()
    Sent(server, on_connect=True, **rules).outcomes  # noqa: B018 - the delivery runs
    assert "send in clear" not in server.story
    assert server.story[:2] == ["dial", "tls"]


def test_on_connect_the_greeting_comes_inside() -> None:
    server = Server()
    assert isinstance(Sent(server, on_connect=True).outcome, Delivered)
    assert server.story == ["dial", "tls", "hello", "send in TLS", "quit"]


# What is said to the server


@pytest.mark.parametrize(
    "rules, server, story",
    [
        ({}, Server(), ["dial", "hello", "tls", "hello", "send in TLS", "quit"]),
        ({}, Server(offers_tls=False), ["dial", "hello", "send in clear", "quit"]),
        ({"avoid_tls": EVERY}, Server(), ["dial", "hello", "send in clear", "quit"]),
        ({}, SERVERS["refuses 502"](), ["dial", "hello", "tls", "send in clear", "quit"]),
        (
            {},
            SERVERS["breaks the handshake"](),
            ["dial", "hello", "tls", "drop", "dial", "hello", "send in clear", "quit"],
        ),
        ({"require_tls": EVERY}, SERVERS["breaks the handshake"](), ["dial", "hello", "tls", "drop"]),
        ({"require_tls": EVERY}, Server(offers_tls=False), ["dial", "hello", "quit"]),
        ({"verify_certificates": NAMED}, Server(shown=certs.stranger()), ["dial", "hello", "tls", "quit"]),
        (
            {},
            Server(outcomes=LinkFailed(ErrorClass.LOST_CONNECTION, "lost")),
            ["dial", "hello", "tls", "hello", "send in TLS", "drop"],
        ),
        ({}, Server(hello=LinkFailed(ErrorClass.TIMEOUT, "timeout")), ["dial", "hello", "drop"]),
        ({}, Server(hello=LinkFailed(ErrorClass.OTHER, "no", Reply(450, "", ("no",)))), ["dial", "hello", "quit"]),
        ({}, Server(hello=LinkFailed(ErrorClass.OTHER, "no", Reply(421, "", ("no",)))), ["dial", "hello", "drop"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_said(rules: dict[str, Any], server: Server, story: list[str]) -> None:
    server.story.clear()
    Sent(server, **rules).outcomes  # noqa: B018 - the delivery runs
    assert server.story == story


def test_a_handshake_that_failed_is_noted_before_the_message_goes_in_clear() -> None:
    sent = Sent(SERVERS["breaks the handshake"]())
    assert isinstance(sent.outcome, Delivered)
    assert sent.hosts_that_failed == [("one.test", ErrorClass.TLS_FAILED)]


def test_what_is_known_of_the_layer() -> None:
    outcome = Sent(Server(), verify_certificates=NAMED, sni=compile_expansion("$host")).outcome
    assert isinstance(outcome, Delivered)
    assert outcome.tls is not None
    assert (outcome.tls.cipher, outcome.tls.sni) == ("TLS1.3:TLS_AES_256_GCM_SHA384:256", "one.test")
    assert (outcome.tls.verification, outcome.tls.binding) == (Verified("itself"), b"b" * 32)
    assert outcome.tls.peer is not None
    assert outcome.tls.peer.fingerprint == certs.relay().fingerprint
    assert outcome.confirmation == SENT.confirmation


def test_a_server_that_need_not_verify_is_judged_for_the_log() -> None:
    outcome = Sent(Server(shown=certs.stranger())).outcome
    assert isinstance(outcome, Delivered)
    assert outcome.tls is not None
    assert isinstance(outcome.tls.verification, Unverified)


@pytest.mark.parametrize(
    "rules, said",
    [
        ({}, ["depth=0 error=", "certificate name mismatch: "]),
        ({"verify_hosts": EVERY}, ["depth=0 error="]),
        ({"try_verify_hosts": NOBODY}, []),
    ],
)
def test_what_is_wrong_with_a_certificate_is_in_the_log(rules: dict[str, Any], said: list[str]) -> None:
    """All of it where verification is tried, what was enough where it is demanded, nothing where nobody cares."""
    sent = Sent(Server(shown=certs.stranger()), **rules)
    assert isinstance(sent.outcome, Deferred if "verify_hosts" in rules else Delivered)
    notes = [each.text for each in sent.journal.of(MessageNote)]
    assert len(notes) == len(said)
    for note, text in zip(notes, said, strict=True):
        assert note.startswith(f"[{ONE.address}] SSL verify error: {text}")


@pytest.mark.parametrize("name, is_sent", [("one.test", True), ("two.test", False)])
def test_a_certificate_of_an_authority_must_be_for_the_host(name: str, is_sent: bool) -> None:
    ca = certs.authority()
    server = Server(shown=ca.issue("x", sans=(name,)))
    outcome = Sent(server, anchors=(ca.own,), verify_certificates=NAMED).outcome
    assert isinstance(outcome, Delivered) is is_sent
    if isinstance(outcome, Deferred):
        assert (outcome.error, "two.test" in outcome.reason) == (ErrorClass.TLS_FAILED, True)


@pytest.mark.parametrize(
    "helo_data, name", [(None, "laptop.test"), ("me.test for $host", "me.test for one.test"), ("", "laptop.test")]
)
def test_who_we_say_we_are(helo_data: str | None, name: str) -> None:
    sent = Sent(Server(), helo_data=None if helo_data is None else compile_expansion(helo_data))
    assert isinstance(sent.outcome, Delivered)
    assert sent.dialer.helo_names == [name]


@pytest.mark.parametrize(
    "on_connect, port, expected", [(False, 0, 25), (True, 0, 465), (False, 587, 587), (True, 24, 24)]
)
def test_the_port(on_connect: bool, port: int, expected: int) -> None:
    rules = SMTPRules("smtp", ClientTLSRules(on_connect=on_connect), port=port)
    transport = SMTPTransport(rules, make_ports(Dialer({}, ()), Notebook()), Scope())
    assert transport.default_port == expected


@pytest.mark.parametrize(
    "hosts, routed, port, expected",
    [
        (HostRules(), (ONE, TWO), "", ONE),
        (HostRules(), (replace(ONE, port=0),), "2$local_part", replace(ONE, port=25)),
        (HostRules(), (), "", None),
        (HostRules(hosts=compile_expansion("192.0.2.9")), (ONE,), "", ONE),
        (HostRules(hosts=compile_expansion("192.0.2.9")), (), "", RemoteHost("192.0.2.9", "192.0.2.9", 25)),
        (
            HostRules(hosts=compile_expansion("192.0.2.9"), override=True),
            (ONE,),
            "",
            RemoteHost("192.0.2.9", "192.0.2.9", 25),
        ),
        (HostRules(hosts=compile_expansion("<; [192.0.2.9]:26")), (), "", RemoteHost("192.0.2.9", "192.0.2.9", 26)),
        (HostRules(hosts=FAILS), (), "", None),
        (HostRules(), (ONE,), "none", None),
    ],
)
def test_whom_it_would_begin_with(
    hosts: HostRules, routed: tuple[RemoteHost, ...], port: str, expected: RemoteHost | None
) -> None:
    rules = SMTPRules("smtp", ClientTLSRules(), hosts=hosts, port_text=compile_expansion(port) if port else None)
    dialer, scope = Dialer({}, ()), Scope(address=AddressView(local_part="5"))
    transport = SMTPTransport(rules, make_ports(dialer, Notebook()), scope)
    assert run(transport.first_host(routed, make_message(), scope)) == expected
    assert dialer.dialled == []


@pytest.mark.parametrize(
    "most, messages, parallel, remote, expected",
    [
        (100, 500, 6, 99, 100),
        (100, 500, 6, 599, 100),
        (100, 500, 6, 1200, 200),
        (2, 500, 1, 7, 7),
        (2, 3, 1, 7, 6),
        (2, 0, 1, 7, 7),
        (2, 500, 0, 7, 7),
        (1, 500, 1, 7, 1),
        (0, 500, 1, 7, 0),
    ],
)
def test_how_many_recipients_share_a_connection(
    most: int, messages: int, parallel: int, remote: int, expected: int
) -> None:
    rules = SMTPRules("smtp", ClientTLSRules(), max_rcpt=most, passing=PassingRules(max_messages=messages))
    ports = replace(make_ports(Dialer({}, ()), Notebook()), max_parallel=parallel)
    assert SMTPTransport(rules, ports, Scope()).most_at_once(remote) == expected


# One host after the other


def test_nowhere_to_go() -> None:
    outcome = Sent().outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.host_wide) == (ErrorClass.LOOKUP, True)


@pytest.mark.parametrize(
    "first",
    [
        Server(dial=LinkFailed(ErrorClass.CONNECTION_REFUSED, "Connection refused")),
        Server(hello=LinkFailed(ErrorClass.TIMEOUT, "timeout")),
        Server(hello=LinkFailed(ErrorClass.OTHER, "busy", Reply(421, "4.3.2", ("busy",)))),
        Server(outcomes=LinkFailed(ErrorClass.LOST_CONNECTION, "lost")),
        Server(outcomes={"bert@far.test": BUSY}),
    ],
    ids=["refused", "timeout", "421", "lost", "busy"],
)
def test_the_next_host_is_tried(first: Server) -> None:
    second = Server()
    sent = Sent(first, second)
    outcome = sent.outcome
    assert isinstance(outcome, Delivered)
    assert outcome.host == TWO
    assert [name for name, _ in sent.hosts_that_failed] == ["one.test"]


def test_a_server_that_must_verify_and_does_not_is_passed_over() -> None:
    sent = Sent(Server(shown=certs.stranger()), Server(), verify_certificates=NAMED)
    outcome = sent.outcome
    assert isinstance(outcome, Delivered)
    assert outcome.host == TWO
    assert sent.hosts_that_failed == [("one.test", ErrorClass.TLS_FAILED)]


def test_the_failure_of_the_last_host_is_the_outcome() -> None:
    refused = LinkFailed(ErrorClass.CONNECTION_REFUSED, "Connection refused")
    sent = Sent(Server(dial=refused), Server(dial=LinkFailed(ErrorClass.TIMEOUT_CONNECT, "Connection timed out")))
    assert sent.outcome == Deferred("Connection timed out", ErrorClass.TIMEOUT_CONNECT, host=TWO, host_wide=True)
    assert sent.hosts_that_failed == [
        ("one.test", ErrorClass.CONNECTION_REFUSED),
        ("two.test", ErrorClass.TIMEOUT_CONNECT),
    ]


@pytest.mark.parametrize(
    "outcomes",
    [
        {"bert@far.test": Deferred("lost", ErrorClass.LOST_CONNECTION, possible_duplicate=True)},
        LinkFailed(ErrorClass.LOST_CONNECTION, "lost after end of data", possible_duplicate=True),
    ],
    ids=["an outcome", "a link"],
)
def test_what_may_have_arrived_is_not_sent_to_another_host(outcomes: Any) -> None:
    second = Server()
    outcome = Sent(Server(outcomes=outcomes), second).outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.possible_duplicate, outcome.host) == (True, ONE)
    assert second.story == []


NEVER = LinkFailed(ErrorClass.OTHER, "go away", Reply(554, "5.7.1", ("go away",)))


def test_a_host_that_never_wants_us_is_the_end() -> None:
    assert Sent(Server(hello=NEVER)).outcome == Failed("go away", NEVER.reply, ONE)


def test_but_another_host_may_want_us() -> None:
    sent = Sent(Server(hello=NEVER), Server())
    assert isinstance(sent.outcome, Delivered)
    assert sent.hosts_that_failed == [("one.test", ErrorClass.OTHER)]
    assert "one.test:192.0.2.1:25" in sent.records.hints, "it is left alone for a while"


def test_none_of_several_wants_us() -> None:
    assert Sent(Server(hello=NEVER), Server(hello=NEVER)).outcome == Failed("go away", NEVER.reply, TWO)


def test_leave_is_taken_of_who_has_answered() -> None:
    for fault, end in ((NEVER, "quit"), (lost(), "drop")):
        server = Server(hello=fault)
        Sent(server).outcome  # noqa: B018 - the delivery runs
        assert server.story[-1] == end


@pytest.mark.parametrize(
    ("text", "port"),
    [("${if eq{$domain}{far.test}{2525}{26}}", 2525), ("$domain", 0), ("${if eq{a}{a}{submission}}", 587)],
)
def test_a_port_that_the_delivery_tells(text: str, port: int) -> None:
    anywhere = (replace(ONE, port=0),)
    scope = {"address": AddressView(local_part="bert", domain="far.test")}
    server = Server()
    outcome = Sent(server, routed=anywhere, scope=scope, options={"port_text": compile_expansion(text)}).outcome
    assert outcome.host == (replace(ONE, port=port) if port else None)
    assert bool(server.story) is bool(port)
    assert port or outcome == Deferred('invalid port "far.test" for smtp transport', ErrorClass.LOCAL)


@pytest.mark.parametrize("order", [1, -1])
def test_a_host_that_is_away_may_want_us_when_it_is_back(order: int) -> None:
    servers = [Server(hello=NEVER), Server(dial=lost())][::order]
    assert isinstance(Sent(*servers).outcome, Deferred)


def test_a_host_that_is_not_tried_may_want_us() -> None:
    sent = Sent(Server(hello=NEVER), Server(), options={"hosts": HostRules(max_try=1)})
    assert isinstance(sent.outcome, Deferred)


def test_only_those_who_wait_go_to_the_next_host() -> None:
    first = Server(outcomes={"b@far.test": BUSY, "c@far.test": UNKNOWN, "d@far.test": BUSY})
    second = Server(outcomes={"d@far.test": BUSY})
    sent = Sent(first, second, recipients=("a@far.test", "b@far.test", "c@far.test", "d@far.test"))
    outcomes = sent.outcomes
    assert [(type(each), each.host) for each in outcomes] == [
        (Delivered, ONE),
        (Delivered, TWO),
        (Failed, ONE),
        (Deferred, TWO),
    ]
    assert [link.recipients for link in second.links] == [["b@far.test", "d@far.test"]]


def test_each_host_has_its_own_rules() -> None:
    sent = Sent(Server(offers_tls=False), Server(offers_tls=False), require_tls=hosts(ONE.address))
    outcome = sent.outcome
    assert isinstance(outcome, Delivered)
    assert (outcome.host, outcome.tls) == (TWO, None)
    assert sent.hosts_that_failed == [("one.test", ErrorClass.TLS_REQUIRED)]


# Our own side is broken


@pytest.mark.parametrize(
    "trouble",
    [TLSFileError("/laptop.key", "there is no such file", "make one"), BadCipherList("no cipher suite matches 'x'")],
    ids=["file", "ciphers"],
)
@pytest.mark.parametrize("rules", [{}, {"require_tls": EVERY}, {"verify_certificates": NAMED}, {"on_connect": True}])
def test_our_own_broken_set_up_waits_for_an_operator(trouble: Exception, rules: dict[str, Any]) -> None:
    server = Server(starttls=trouble)
    sent = Sent(server, **rules)
    outcome = sent.outcome
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.LOCAL
    assert not [each for each in server.story if each.startswith("send")]
    assert server.links[0].over
    (event,) = sent.journal.of(Trouble)
    assert str(trouble) in event.text
    assert event.message_id == "1AAAAA-BBBBBB-CC"


@pytest.mark.parametrize(
    "option", ["certificate", "privatekey", "verify_certificates", "crl", "require_ciphers", "sni", "helo_data"]
)
def test_an_option_that_can_not_be_expanded(option: str) -> None:
    server = Server()
    sent = Sent(server, **{option: FAILS})
    outcome = sent.outcome
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.LOCAL
    assert server.story == []
    (event,) = sent.journal.of(Trouble)
    assert event.message_id == "1AAAAA-BBBBBB-CC"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"interface": FAILS}, 'failed to expand "interface" option for smtp transport: '),
        ({"hosts": HostRules(hosts=FAILS, override=True)}, f'failed to expand list of hosts "{FAILS.source}" in smtp'),
    ],
)
def test_an_option_that_is_named_in_the_one_line_about_it(rules: dict[str, Any], words: str) -> None:
    """As Exim does; the panic log has that line, too."""
    server = Server()
    sent = Sent(server, options=rules)
    outcome = sent.outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.host, outcome.is_misconfigured) == (ErrorClass.LOCAL, None, True)
    assert outcome.reason.startswith(words)
    assert server.story == []
    assert not sent.journal.of(Trouble)


def test_a_list_that_can_not_be_asked() -> None:
    server = Server()
    outcome = Sent(server, require_tls=hosts("${expand:\\${bad}}")).outcome
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.LOCAL
    assert server.story == []


def test_a_forced_failure_leaves_an_option_unset() -> None:
    server = Server(shown=certs.stranger())
    assert isinstance(Sent(server, certificate=FORCED, verify_certificates=FORCED).outcome, Delivered)
    (link,) = server.links
    assert link.policy is not None
    assert (link.policy.certificate, link.policy.verify_certificates) == ("", "system")


# An attempt that is cut off


def test_an_attempt_that_is_cut_off_leaves_no_connection() -> None:
    server = Server(slow=True)
    delivery = Sent(server).delivery
    assert delivery.send(None) == "waiting for the server"
    with pytest.raises(Cancelled):
        delivery.throw(Cancelled())
    assert server.story == ["dial", "hello", "drop"]


def test_a_body_that_can_not_be_read_leaves_no_connection() -> None:
    server = Server(outcomes=SpoolUnavailable("away"))
    with pytest.raises(SpoolUnavailable):
        Sent(server).outcomes  # noqa: B018 - the delivery runs
    assert server.story[-1] == "drop"


FILTERED = {"filter": FilterRules(compile_command("/bin/f"))}


def test_a_filter_that_fails_is_the_fault_of_no_host() -> None:
    servers = [Server(outcomes=FilterFailed(FilterEnd(status=3))), Server()]
    sent = Sent(*servers, options=FILTERED, filters=object())
    outcome = sent.outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.reason, outcome.error) == ("transport filter process failed (3)", ErrorClass.FILTER)
    assert (outcome.host, outcome.host_wide, servers[1].story) == (ONE, False, [])
    assert servers[0].story[-1] == "drop"


def test_a_message_that_goes_through_a_filter_is_not_sent_in_chunks() -> None:
    for options, by_chunks in ((FILTERED, False), ({}, True)):
        sent = Sent(Server(), options=options, filters=object())
        assert isinstance(sent.outcome, Delivered)
        assert sent.dialer.manners[0].chunking is by_chunks


def test_a_filter_that_nobody_runs_delivers_nothing() -> None:
    server = Server()
    assert isinstance(Sent(server, options=FILTERED).outcome, Deferred)
    assert server.story == []


class Unreadable(dict[str, Any]):
    """Outcomes of a server for which the queue does not give the message when this recipient's turn comes."""

    def get(self, key: str, default: Any = None) -> Any:
        if key == "b@y.test":
            raise SpoolUnavailable("away")
        return super().get(key, default)


@pytest.mark.parametrize(
    "servers, options",
    [
        ((Server(outcomes={"b@y.test": BUSY}), Server(outcomes=SpoolUnavailable("away"))), {}),
        ((Server(outcomes=Unreadable()),), {"multi_domain": False}),
    ],
    ids=["at the second host", "in the second transaction"],
)
def test_what_was_delivered_is_told_although_the_queue_went_away(
    servers: tuple[Server, ...], options: dict[str, Any]
) -> None:
    """An exception would leave it unrecorded, and who has the message would get it again."""
    first, second = Sent(*servers, recipients=("a@x.test", "b@y.test"), options=options).outcomes
    assert isinstance(first, Delivered)
    assert isinstance(second, Deferred)
    assert (second.error, second.reason) == (ErrorClass.LOCAL, "the queue did not give the message: away")


def test_names_are_checked_where_the_option_says_so() -> None:
    """Exim: tls_verify_cert_hostnames."""
    ca = certs.authority()
    for checked, is_sent in ((None, False), (EVERY, False), (hosts(TWO.address), True)):
        server = Server(shown=ca.issue("x", sans=("two.test",)))
        sent = Sent(server, anchors=(ca.own,), verify_certificates=NAMED, verify_cert_hostnames=checked)
        assert isinstance(sent.outcome, Delivered) is is_sent


def test_in_a_rehearsal_nobody_is_dialled_and_the_first_host_is_named() -> None:
    server = Server()
    sent = Sent(server, recipients=("bert@far.test", "carl@far.test"), is_rehearsal=True)
    assert sent.outcomes == (Delivered("delivery bypassed by -N option", ONE, is_bypassed=True),) * 2
    assert server.story == []


def test_what_a_dialer_notes_is_in_the_log_of_its_message() -> None:
    failure = LinkFailed(ErrorClass.NO_ROUTE, "Cannot assign requested address")
    failure.notes = ("bind of [192.0.2.1]:0 failed",)
    sent = Sent(Server(dial=failure))
    assert isinstance(sent.outcome, Deferred)
    assert [each.text for each in sent.journal.of(MessageNote)] == ["bind of [192.0.2.1]:0 failed"]


@pytest.mark.parametrize(
    ("rules", "server", "steps"),
    [
        ({}, lambda: Server(), "ese"),
        ({"avoid_tls": EVERY}, lambda: Server(), "e"),
        ({"on_connect": True}, lambda: Server(), "se"),
    ],
)
def test_the_steps_to_a_message_are_told(rules: dict[str, Any], server: Any, steps: str) -> None:
    outcome = Sent(server(), **rules).outcome
    assert isinstance(outcome, Delivered)
    assert outcome.dialog is not None
    assert outcome.dialog.steps == steps
