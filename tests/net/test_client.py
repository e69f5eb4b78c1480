"""The smtp transport over the network, with servers that do odd things: what arrives, how often, and never in clear.

The table of what a cut line means:

    the connection is cut                    the message
    before the final dot                     waits; nothing arrived
    between the final dot and its reply      waits; it may have arrived, so no other host gets it now
    behind the reply                         is delivered
    anywhere                                 is never bounced, and the server has it at most once
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred as Promise
from twisted.internet.defer import gatherResults

from delivery.post import Notebook, Pieces, make_message
from delivery.servers import EVERY, HOURLY, Records
from net.odd_peer import Oddness, OddPeer, odd_peer
from relay.delivery.conversation import ConversationPorts
from relay.delivery.host_lines import HostLines
from relay.delivery.host_memory import HostMemory
from relay.delivery.link import Timeouts
from relay.delivery.remote import SMTPTransport
from relay.delivery.remote_ports import RemotePorts
from relay.delivery.schedule import Limits, Schedule
from relay.delivery.smtp_rules import PassingRules, SMTPRules
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.envelope import Envelope, Recipient
from relay.mail.events import HostFailed
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.ports import Watch
from relay.net.dialer import SocketDialer
from relay.policy.tls import ClientTLSRules

import certs


class Now:
    def now(self) -> float:
        return time.time()


class Laptop:
    """A transport with its dialer, and the messages that go out by it."""

    def __init__(
        self,
        peer: OddPeer,
        *,
        at_once: int = 1,
        tls: dict[str, Any] | None = None,
        watch: Watch | None = None,
        **options: Any,
    ) -> None:
        self.host = RemoteHost("127.0.0.1", "127.0.0.1", peer.port)
        self.journal = Notebook()
        self.records = Records()
        self.farewells: list[Promise[None]] = []
        source = random.Random(1)
        self.ports = RemotePorts(
            ConversationPorts(SocketDialer(reactor, time.time, watch=watch), Now(), self.journal),
            HostLines(Schedule(Limits(attempts_per_host=at_once)), Promise),
            HostMemory(self.records, HOURLY, source),
            self._spawn,
            source,
            watch=watch,
        )
        options.setdefault("timeouts", Timeouts(5, 5, 5, 5))
        rules = SMTPRules("smtp", ClientTLSRules(**(tls or {})), **options)
        self.transport = SMTPTransport(rules, self.ports, Scope(main={"primary_hostname": "laptop.test"}))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.farewells.append(Promise.fromCoroutine(coroutine))

    async def send(self, count: int = 1, hosts: Sequence[RemoteHost] = ()) -> list[Outcome]:
        waiting = []
        for number in range(count):
            message = make_message(f"{number}@far.test")
            recipient = Recipient(address_from_text(f"{number}@far.test"))
            body = Pieces(b"message %d\r\n" % number, b".dot\r\n" * 10)
            delivery = self.transport.deliver(
                tuple(hosts) or (self.host,), Envelope(message.sender, (recipient,)), message, body
            )
            waiting.append(Promise.fromCoroutine(delivery))
        results: list[tuple[Outcome, ...]] = await gatherResults(waiting)
        while self.farewells:
            await self.farewells.pop()
        return [each[0] for each in results]


def anchor(tmp_path: Path, shown: certs.CertKey | None = None) -> dict[str, Any]:
    path = tmp_path / "anchor.crt"
    path.write_bytes((shown or certs.relay()).cert_pem)
    return {"verify_certificates": compile_expansion(str(path)), "require_tls": EVERY}


def tried(tmp_path: Path) -> dict[str, Any]:
    """Any certificate will do; it is judged for the log."""
    return {"verify_certificates": anchor(tmp_path)["verify_certificates"], "try_verify_hosts": EVERY}


def trusted() -> tuple[certs.CertKey, ...]:
    return (certs.relay(),)


def nothing_private_in_clear(peer: OddPeer) -> None:
    assert all(in_tls for _, in_tls in peer.messages)
    for heard in peer.connections:
        assert b"MAIL" not in bytes(heard.in_clear).upper()


# Around the end of TLS

GOES_ON = ["at once", "late", "very late", "never"]
ENDS = ["tcp close", "rst", "garbage"]


@pytest.mark.parametrize("tls13", [True, False])
@pytest.mark.parametrize("how", GOES_ON)
@pytest_twisted.ensureDeferred
async def test_a_server_that_goes_on(how: str, tls13: bool, tmp_path: Path) -> None:
    with odd_peer(Oddness(on_close=how, tls13=tls13, certificates=trusted()), tmp_path) as peer:
        laptop = Laptop(peer, tls=anchor(tmp_path))
        outcomes = await laptop.send(3)
    assert all(isinstance(each, Delivered) for each in outcomes), outcomes
    assert len(peer.messages) == 3
    nothing_private_in_clear(peer)
    assert len(peer.connections) == 1
    words = ["EHLO", "STARTTLS", "TLS", "EHLO", "MAIL", "RCPT", "DATA", "."]
    assert peer.connections[0].words == [*words, "clear", *words, "clear", *words, "QUIT"]
    assert [each.continued for each in outcomes if isinstance(each, Delivered)] == [False, True, True]


@pytest.mark.parametrize("tls13", [True, False])
@pytest.mark.parametrize("how", ENDS)
@pytest_twisted.ensureDeferred
async def test_a_server_that_does_not_go_on(how: str, tls13: bool, tmp_path: Path) -> None:
    with odd_peer(Oddness(on_close=how, tls13=tls13, certificates=trusted()), tmp_path) as peer:
        laptop = Laptop(peer, tls=anchor(tmp_path))
        outcomes = await laptop.send(4)
    assert all(isinstance(each, Delivered) and not each.continued for each in outcomes), outcomes
    assert len(peer.messages) == 4
    nothing_private_in_clear(peer)
    assert len(peer.connections) == 4
    assert sum(heard.words.count("clear") for heard in peer.connections) <= 4
    assert [heard.words.count("QUIT") for heard in peer.connections[1:]] == [1, 1, 1], "the host is remembered"
    assert laptop.records.hints == {}
    assert laptop.journal.of(HostFailed) == []


@pytest_twisted.ensureDeferred
async def test_a_server_that_says_nothing_is_waited_for_five_seconds(tmp_path: Path) -> None:
    with odd_peer(Oddness(on_close="hang", certificates=trusted()), tmp_path) as peer:
        laptop = Laptop(peer, tls=anchor(tmp_path))
        began = time.monotonic()
        outcomes = await laptop.send(2)
        took = time.monotonic() - began
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert took > 4.5
    assert len(peer.connections) == 2
    nothing_private_in_clear(peer)


@pytest_twisted.ensureDeferred
async def test_a_server_that_offers_tls_only_once(tmp_path: Path) -> None:
    oddness = Oddness(starttls_sessions=(0,), certificates=trusted())
    with odd_peer(oddness, tmp_path) as peer:
        laptop = Laptop(peer, tls=tried(tmp_path))
        outcomes = await laptop.send(3)
    assert all(isinstance(each, Delivered) for each in outcomes)
    nothing_private_in_clear(peer)
    assert len(peer.connections) == 3


@pytest_twisted.ensureDeferred
async def test_each_session_is_judged_by_its_own_certificate(tmp_path: Path) -> None:
    """The second certificate of a connection is a stranger's: its message takes a new connection, whose certificate is
    right again."""
    oddness = Oddness(certificates=(certs.relay(), certs.stranger(), certs.relay()))
    with odd_peer(oddness, tmp_path) as peer:
        laptop = Laptop(peer, tls=anchor(tmp_path))
        outcomes = await laptop.send(2)
    assert all(isinstance(each, Delivered) and each.tls is not None for each in outcomes)
    nothing_private_in_clear(peer)
    assert [len(heard.messages) for heard in peer.connections] == [1, 1]
    assert laptop.records.hints == {}


@pytest_twisted.ensureDeferred
async def test_each_message_has_facts_of_its_own(tmp_path: Path) -> None:
    oddness = Oddness(certificates=(certs.relay(), certs.stranger()))
    with odd_peer(oddness, tmp_path) as peer:
        first, second = await Laptop(peer, tls=tried(tmp_path)).send(2)
    assert isinstance(first, Delivered)
    assert isinstance(second, Delivered)
    assert first.tls is not None
    assert second.tls is not None
    shown = [each.tls.peer.fingerprint for each in (first, second) if each.tls is not None and each.tls.peer]
    assert shown == [certs.relay().fingerprint, certs.stranger().fingerprint]
    assert first.tls.binding != second.tls.binding
    assert second.continued


@pytest_twisted.ensureDeferred
async def test_tls_that_stays_up(tmp_path: Path) -> None:
    with odd_peer(Oddness(certificates=trusted()), tmp_path) as peer:
        laptop = Laptop(peer, tls=anchor(tmp_path), passing=PassingRules(new_handshake=None))
        outcomes = await laptop.send(3)
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert peer.connections[0].words.count("TLS") == 1
    assert len(peer.connections) == 1


@pytest.mark.parametrize("tls13", [True, False])
@pytest.mark.parametrize("is_wanted", [True, False])
@pytest_twisted.ensureDeferred
async def test_sessions_are_resumed_where_that_is_allowed(is_wanted: bool, tls13: bool, tmp_path: Path) -> None:
    with odd_peer(Oddness(certificates=trusted(), tls13=tls13), tmp_path) as peer:
        laptop = Laptop(peer, tls=anchor(tmp_path), resumption_hosts=EVERY if is_wanted else None)
        outcomes = await laptop.send(2)
        outcomes += await laptop.send(1)
    assert all(isinstance(each, Delivered) for each in outcomes), outcomes
    resumed = [each for heard in peer.connections for each in heard.resumed]
    assert resumed == [False, is_wanted, is_wanted]
    assert [each.tls.resumed for each in outcomes if isinstance(each, Delivered) and each.tls] == resumed
    assert all(each.tls.is_verified for each in outcomes if isinstance(each, Delivered) and each.tls)


# STARTTLS


@pytest.mark.parametrize(
    "starttls", [b"454 not now", b"502 what", b"554 never", b"220 go ahead\r\n250 injected", b"garbage"]
)
@pytest.mark.parametrize("is_required", [True, False])
@pytest_twisted.ensureDeferred
async def test_odd_answers_to_starttls(starttls: bytes, is_required: bool, tmp_path: Path) -> None:
    with odd_peer(Oddness(starttls=starttls, certificates=trusted()), tmp_path) as peer:
        laptop = Laptop(peer, tls={**tried(tmp_path), "require_tls": EVERY if is_required else None})
        (outcome,) = await laptop.send()
    if is_required:
        assert isinstance(outcome, Deferred)
        assert peer.messages == []
        nothing_private_in_clear(peer)
    elif starttls == b"garbage":
        assert isinstance(outcome, Deferred)
    else:
        assert isinstance(outcome, Delivered), outcome
        assert len(peer.messages) == 1


# Certificates


def faulty_servers() -> dict[str, tuple[certs.CertKey, dict[str, Any]]]:
    return {
        "a stranger's": (certs.stranger(), {}),
        "pinned otherwise": (certs.relay(), {"pins": ("0" * 64,)}),
    }


@pytest.mark.parametrize("tls13", [True, False])
@pytest.mark.parametrize("name", faulty_servers())
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_is_not_the_right_one(name: str, tls13: bool, tmp_path: Path) -> None:
    shown, more = faulty_servers()[name]
    with odd_peer(Oddness(certificates=(shown,), tls13=tls13), tmp_path) as peer:
        laptop = Laptop(peer, tls={**anchor(tmp_path), "require_tls": None, **more})
        (outcome,) = await laptop.send()
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.TLS_FAILED
    assert peer.messages == []
    nothing_private_in_clear(peer)
    if not more:
        assert [each.alerts for each in peer.connections] == [["TLSV1_ALERT_UNKNOWN_CA"]], "its log is to say why"


@pytest.mark.parametrize("tls13", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_refusal_of_our_certificate_is_named(tls13: bool, tmp_path: Path) -> None:
    """In TLS 1.3 it comes after the handshake, with the first read."""
    known = tmp_path / "known.crt"
    known.write_bytes(certs.laptop().cert_pem)
    certificate, key = certs.stranger().write(tmp_path, "stranger")
    shown = {
        **tried(tmp_path),
        "certificate": compile_expansion(str(certificate)),
        "privatekey": compile_expansion(str(key)),
        "require_tls": EVERY,
    }
    with odd_peer(Oddness(certificates=trusted(), ask_for_certificate=str(known), tls13=tls13), tmp_path) as peer:
        (outcome,) = await Laptop(peer, tls=shown).send()
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.TLS_FAILED
    assert "the server refused our certificate" in outcome.reason
    assert peer.messages == []


@pytest_twisted.ensureDeferred
async def test_hosts_avoid_certificate(tmp_path: Path) -> None:
    certificate, key = certs.laptop().write(tmp_path, "laptop")
    shown = {"certificate": compile_expansion(str(certificate)), "privatekey": compile_expansion(str(key))}
    for avoided in (None, EVERY):
        with odd_peer(Oddness(certificates=trusted()), tmp_path) as peer:
            (outcome,) = await Laptop(peer, tls={**shown, **tried(tmp_path), "avoid_certificate": avoided}).send()
        assert isinstance(outcome, Delivered)
        assert outcome.tls is not None
        assert (outcome.tls.ours is None) is (avoided is not None)


@pytest.mark.parametrize("taken, is_sent", [(("smtp",), True), (("http/1.1",), False), ((), False)])
@pytest_twisted.ensureDeferred
async def test_alpn(taken: tuple[str, ...], is_sent: bool, tmp_path: Path) -> None:
    rules = {**tried(tmp_path), "alpn": compile_expansion("smtp : esmtp"), "require_alpn": EVERY}
    with odd_peer(Oddness(certificates=trusted(), alpn=taken), tmp_path) as peer:
        (outcome,) = await Laptop(peer, tls=rules).send()
    assert isinstance(outcome, Delivered) is is_sent
    assert bool(peer.messages) is is_sent


# Cut at every octet, and 421 everywhere


def dialog_length(replies: Sequence[bytes]) -> int:
    return sum(len(each) + 2 for each in replies)


BEFORE_DATA = [b"220 odd.test", b"250-odd.test\r\n250-PIPELINING\r\n250 8BITMIME", b"250 OK", b"250 OK", b"354 go on"]
END = b"250 OK id=odd"


@pytest.mark.parametrize("in_groups", [True, False], ids=["pipelining", "one by one"])
@pytest_twisted.ensureDeferred
async def test_cut_at_every_octet(in_groups: bool, tmp_path: Path) -> None:
    start = dialog_length(BEFORE_DATA)
    with odd_peer(Oddness(), tmp_path) as peer:
        for place in range(start + len(END) + 3):
            peer.oddness.cut_after = place
            peer.connections.clear()
            laptop = Laptop(peer, avoid_pipelining=None if in_groups else EVERY)
            (outcome,) = await laptop.send()
            arrived = len(peer.messages)
            if place < start:
                assert isinstance(outcome, Deferred), place
                assert (outcome.possible_duplicate, arrived) == (False, 0), place
            elif place < start + len(END) + 2:
                assert isinstance(outcome, Deferred), place
                assert (outcome.possible_duplicate, arrived) == (True, 1), place
            else:
                assert isinstance(outcome, Delivered), place
                assert arrived == 1
            assert len(peer.connections) == 1, "nothing is sent twice"


@pytest_twisted.ensureDeferred
async def test_cut_at_every_octet_of_a_dialog_in_tls(tmp_path: Path) -> None:
    clear = [b"220 odd.test", b"250-odd.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS", b"220 go ahead"]
    inside = [b"250-odd.test\r\n250-PIPELINING\r\n250 8BITMIME", b"250 OK", b"250 OK", b"354 go on"]
    up, start = dialog_length(clear), dialog_length([*clear, *inside])
    with odd_peer(Oddness(certificates=trusted()), tmp_path) as peer:
        for place in [*range(0, up, 7), *range(up, start, 5), *range(start, start + len(END) + 3, 2)]:
            peer.oddness.cut_after = place
            peer.connections.clear()
            (outcome,) = await Laptop(peer, tls=anchor(tmp_path)).send()
            nothing_private_in_clear(peer)
            assert len(peer.messages) == (1 if place >= start else 0), place
            assert isinstance(outcome, Deferred) or place >= start + len(END) + 2
            if isinstance(outcome, Deferred):
                assert outcome.possible_duplicate is (place >= start), place


@pytest.mark.parametrize("word", [b"220", b"EHLO", b"MAIL", b"RCPT", b"DATA", b".", b"QUIT"])
@pytest_twisted.ensureDeferred
async def test_421_everywhere(word: bytes, tmp_path: Path) -> None:
    with odd_peer(Oddness(replies={word: b"421 4.3.2 closing"}), tmp_path) as peer:
        (outcome,) = await Laptop(peer).send()
    if word == b"QUIT":
        assert isinstance(outcome, Delivered)
        return
    assert isinstance(outcome, Deferred)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.possible_duplicate) == (421, False)


@pytest.mark.parametrize("word", [b"220", b"EHLO", b"MAIL", b"RCPT", b"DATA", b"."])
@pytest.mark.parametrize(
    "garbage", [b"hello", b"\x00\xff\x00", b"250", b"999 what", b"250-more\r\n251 other", b"x" * 9000]
)
@pytest_twisted.ensureDeferred
async def test_garbage_never_bounces(word: bytes, garbage: bytes, tmp_path: Path) -> None:
    with odd_peer(Oddness(replies={word: garbage}), tmp_path) as peer:
        laptop = Laptop(peer, timeouts=Timeouts(1, 1, 1, 1))
        (outcome,) = await laptop.send()
    assert isinstance(outcome, Deferred | Delivered)
    if isinstance(outcome, Delivered):
        assert garbage == b"250"


# Dialling


@pytest_twisted.ensureDeferred
async def test_the_address_that_answers_wins(tmp_path: Path) -> None:
    """Nobody listens on the first one, of the other family."""
    with odd_peer(Oddness(), tmp_path) as peer:
        laptop = Laptop(peer)
        dead = RemoteHost("127.0.0.1", "::1", peer.port)
        (outcome,) = await laptop.send(hosts=(dead, laptop.host))
    assert isinstance(outcome, Delivered)
    assert outcome.host == laptop.host
    assert laptop.journal.of(HostFailed) == []


# Twisted leaves a socket that can't be bound to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest_twisted.ensureDeferred
async def test_we_dial_from_the_address_that_is_wanted(tmp_path: Path) -> None:
    with odd_peer(Oddness(), tmp_path) as peer:
        laptop = Laptop(peer, interface=compile_expansion("<; ::1 ; 127.0.0.9"))
        (outcome,) = await laptop.send()
        assert isinstance(outcome, Delivered)
        laptop = Laptop(peer, interface=compile_expansion("192.0.2.77"))
        (outcome,) = await laptop.send()
        assert isinstance(outcome, Deferred)


@pytest_twisted.ensureDeferred
async def test_helo_alone(tmp_path: Path) -> None:
    with odd_peer(Oddness(), tmp_path) as peer:
        (outcome,) = await Laptop(peer, avoid_esmtp=EVERY).send()
    assert isinstance(outcome, Delivered)
    assert peer.connections[0].words[0] == "HELO"


# Patience


@pytest.mark.parametrize(
    "odd, timeouts, is_duplicate",
    [
        ({"silent_at": b"MAIL"}, Timeouts(command=0.3), False),
        ({"silent_at": b"."}, Timeouts(final=0.3), True),
        ({"deaf_in_data": True}, Timeouts(data=0.3), False),
    ],
    ids=["command_timeout", "final_timeout", "data_timeout"],
)
@pytest_twisted.ensureDeferred
async def test_timeouts(odd: dict[str, Any], timeouts: Timeouts, is_duplicate: bool, tmp_path: Path) -> None:
    with odd_peer(Oddness(**odd), tmp_path) as peer:
        laptop = Laptop(peer, timeouts=timeouts, avoid_pipelining=EVERY)
        message = make_message("a@far.test")
        envelope = Envelope(message.sender, (Recipient(address_from_text("a@far.test")),))
        body = Pieces(*[b"x" * 60000 + b"\r\n"] * (1 if is_duplicate else 400))
        (outcome,) = await laptop.transport.deliver((laptop.host,), envelope, message, body)
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.possible_duplicate) == (ErrorClass.TIMEOUT, is_duplicate)


@pytest_twisted.ensureDeferred
async def test_connect_timeout(tmp_path: Path) -> None:
    """A listener whose line is full answers nobody."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        with odd_peer(Oddness(), tmp_path) as peer:
            laptop = Laptop(peer, timeouts=Timeouts(connect=0.4))
            (outcome,) = await laptop.send(hosts=[RemoteHost("full.test", "127.0.0.1", port)])
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.TIMEOUT_CONNECT


@pytest_twisted.ensureDeferred
async def test_a_refusal_knows_its_layer(tmp_path: Path) -> None:
    oddness = Oddness(replies_in_tls={b"RCPT": b"550 no"}, certificates=trusted())
    with odd_peer(oddness, tmp_path) as peer:
        (outcome,) = await Laptop(peer, tls=anchor(tmp_path)).send()
    assert isinstance(outcome, Failed)
    assert outcome.tls is not None


# Told to who watches


@pytest_twisted.ensureDeferred
async def test_a_dialog_is_told_to_its_end_before_the_outcome_is_known(tmp_path: Path) -> None:
    lines: list[str] = []
    with odd_peer(Oddness(offers=(b"PIPELINING",)), tmp_path) as peer:
        laptop = Laptop(peer, watch=lines.append)
        await laptop.send()
        assert not laptop.farewells
    assert lines[1:5] == [
        f"Connecting to 127.0.0.1 [127.0.0.1]:{peer.port} ...",
        "connected",
        "  SMTP<< 220 odd.test",
        "  SMTP>> EHLO laptop.test",
    ]
    assert "  SMTP>> (writing message)" in lines
    assert not any("dot" in each for each in lines)
    assert lines[-4:-1] == ["  SMTP(shutdown)>>", "  SMTP<< 221 bye", "  SMTP(close)>>"]
    assert lines[-1].startswith("cmdlog: '220:EHLO:250")


@pytest_twisted.ensureDeferred
async def test_a_host_that_is_not_there_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    with odd_peer(Oddness(), tmp_path) as peer:
        laptop = Laptop(peer, watch=lines.append)
    await laptop.send()
    assert lines[-2:] == [" sock_connect failed: Connection refused", "cmdlog: (unset)"]


# Ciphers


@pytest.mark.parametrize(
    "ciphers, is_sent", [("ECDHE-ECDSA-AES256-GCM-SHA384", True), ("ECDHE-RSA-AES256-GCM-SHA384", False)]
)
@pytest_twisted.ensureDeferred
async def test_ciphers_that_are_required(ciphers: str, is_sent: bool, tmp_path: Path) -> None:
    with odd_peer(Oddness(certificates=trusted(), tls13=False), tmp_path) as peer:
        rules = {**anchor(tmp_path), "require_ciphers": compile_expansion(ciphers)}
        (outcome,) = await Laptop(peer, tls=rules).send()
    assert isinstance(outcome, Delivered) is is_sent
