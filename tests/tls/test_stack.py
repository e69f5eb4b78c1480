"""The TLS stack: up, down and up again, both ends ours and one end Python's ssl, cut at every octet."""

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from relay.tls.contexts import ContextCache, TLSContext, make_client_context, make_server_context
from relay.tls.engine import Handshake
from relay.tls.policy import CertificateRequest, ClientTLS, ServerTLS, VerifyServer
from relay.tls.stack import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    MOVES,
    NO_APPLICATION_PROTOCOL,
    UNRECOGNIZED_NAME,
    ContextNeeded,
    HandshakeRefused,
    LayerFailed,
    LayerUp,
    PeerClosed,
    PlainReceived,
    Stack,
    StackEvent,
    State,
)

from certs import CertKey, authority, self_signed

VERSIONS = {"TLS1.2": SSL.TLS1_2_VERSION, "TLS1.3": SSL.TLS1_3_VERSION}


@dataclass(frozen=True)
class Files:
    relay: CertKey
    laptop: CertKey
    server: ServerTLS
    client: ClientTLS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("tls")
    relay, laptop = self_signed("relay.test", sans=["relay.test"]), self_signed("laptop.test")
    relay_cert, relay_key = relay.write(directory, "relay")
    laptop_cert, laptop_key = laptop.write(directory, "laptop")
    server = ServerTLS(str(relay_cert), str(relay_key), str(laptop_cert), request=CertificateRequest.TRY)
    client = ClientTLS(certificate=str(laptop_cert), privatekey=str(laptop_key), verify_certificates=str(relay_cert))
    return Files(relay, laptop, server, client)


def server_context(files: Files, version: str = "") -> TLSContext:
    return pinned(make_server_context(files.server), version)


def client_context(files: Files, version: str = "") -> TLSContext:
    return pinned(make_client_context(files.client), version)


def pinned(context: TLSContext, version: str) -> TLSContext:
    if version:
        context.ssl.set_min_proto_version(VERSIONS[version])
        context.ssl.set_max_proto_version(VERSIONS[version])
    return context


Cut = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    if data:
        yield data


def single(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        yield data[position : position + 1]


@dataclass
class Wire:
    """Two stacks back to back. What comes out of each is collected; octets cross cut up by `cut`."""

    server: Stack
    client: Stack
    context: TLSContext
    cut: Cut = whole
    at_server: list[StackEvent] = field(default_factory=list)
    at_client: list[StackEvent] = field(default_factory=list)

    def run(self) -> None:
        moved = True
        while moved:
            moved = False
            for source, sink in ((self.client, self.server), (self.server, self.client)):
                data = source.data_to_send()
                for piece in self.cut(data):
                    sink.receive(piece)
                    moved = True
                    self.collect()

    def collect(self) -> None:
        while (event := self.server.next_event()) is not None:
            self.at_server.append(event)
            if isinstance(event, ContextNeeded):
                self.server.use_context(self.context.ssl)
        while (event := self.client.next_event()) is not None:
            self.at_client.append(event)

    def go_up(self, client: TLSContext, name: str = "relay.test") -> None:
        self.server.accept()
        self.client.connect(client.ssl, server_name=name)
        self.run()


def drained(stack: Stack) -> list[StackEvent]:
    return list(iter(stack.next_event, None))


def plain(events: list[StackEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, PlainReceived))


def kinds(events: list[StackEvent]) -> list[type]:
    """The kinds of events with neighbouring plain pieces made one: what a split may not change."""
    found: list[type] = []
    for event in events:
        if not (found and found[-1] is PlainReceived and isinstance(event, PlainReceived)):
            found.append(type(event))
    return found


def handshake_of(events: list[StackEvent]) -> Handshake:
    return [event for event in events if isinstance(event, LayerUp)][-1].handshake


@pytest.mark.parametrize("cut", [whole, single])
@pytest.mark.parametrize("version", VERSIONS)
def test_three_rounds_up_and_down_on_one_connection(files: Files, version: str, cut: Cut) -> None:
    server, client = server_context(files, version), client_context(files, version)
    wire = Wire(Stack(), Stack(), server, cut)
    for round_number in range(3):
        wire.at_server.clear()
        wire.at_client.clear()
        wire.go_up(client)
        assert handshake_of(wire.at_server).version == version
        assert handshake_of(wire.at_server).peer is not None
        assert handshake_of(wire.at_server).peer.der == files.laptop.der  # type: ignore[union-attr]  # just checked
        assert handshake_of(wire.at_client).peer.der == files.relay.der  # type: ignore[union-attr]  # the test fails on None
        assert handshake_of(wire.at_server).binding == handshake_of(wire.at_client).binding
        assert not handshake_of(wire.at_server).resumed
        wire.client.send(b"in TLS %d" % round_number)
        wire.client.close()
        wire.client.send(b"EHLO in clear %d\r\n" % round_number)  # eager, in the same segment as the close alert
        wire.run()
        assert kinds(wire.at_server) == [ContextNeeded, LayerUp, PlainReceived, PeerClosed]
        assert plain(wire.at_server) == b"in TLS %d" % round_number
        wire.server.close()
        wire.server.send(b"250 clear\r\n")
        wire.run()
        assert plain(wire.at_server) == b"in TLS %dEHLO in clear %d\r\n" % (round_number, round_number)
        assert plain(wire.at_client) == b"250 clear\r\n"
        assert wire.server.state is State.CLEAR
        assert wire.client.state is State.CLEAR


@pytest.mark.parametrize("version", VERSIONS)
def test_clear_text_behind_the_close_alert_never_comes_out_before_the_answer(files: Files, version: str) -> None:
    wire = Wire(Stack(), Stack(), server_context(files, version))
    wire.go_up(client_context(files, version))
    wire.client.close()
    wire.client.send(b"MAIL FROM:<a@b>\r\n")
    wire.run()
    assert isinstance(wire.at_server[-1], PeerClosed)
    assert plain(wire.at_server) == b""
    wire.server.send(b"250 still inside\r\n")
    wire.server.close()
    wire.collect()
    assert plain(wire.at_server) == b"MAIL FROM:<a@b>\r\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_late_answer_to_close_notify_is_not_sent(files: Files, version: str) -> None:
    wire = Wire(Stack(), Stack(), server_context(files, version))
    wire.go_up(client_context(files, version))
    wire.client.close()
    wire.run()
    wire.server.abandon()
    wire.server.send(b"220 clear\r\n")
    assert wire.server.data_to_send() == b"220 clear\r\n"
    assert wire.server.state is State.CLEAR


@pytest.mark.parametrize("version", VERSIONS)
def test_a_peer_that_never_answers_close_notify_is_understood(files: Files, version: str) -> None:
    """What a real Exim built with GnuTLS does: clear text at once, no alert."""
    wire = Wire(Stack(), Stack(), server_context(files, version))
    wire.go_up(client_context(files, version))
    wire.client.close()
    wire.client.data_to_send()
    wire.client.receive(b"250 clear\r\n")
    wire.collect()
    assert plain(wire.at_client) == b"250 clear\r\n"
    assert wire.client.state is State.CLEAR


@pytest.mark.parametrize("version", VERSIONS)
def test_old_records_after_our_close_are_swallowed(files: Files, version: str) -> None:
    """A server that still says something inside TLS before its alert: neither is text of the next layer."""
    wire = Wire(Stack(), Stack(), server_context(files, version))
    wire.go_up(client_context(files, version))
    wire.server.send(b"554 error inside TLS\r\n")
    late = wire.server.data_to_send()
    wire.client.close()
    wire.server.receive(wire.client.data_to_send())
    wire.server.close()
    for piece in single(late + wire.server.data_to_send() + b"250 clear\r\n"):
        wire.client.receive(piece)
    wire.collect()
    assert plain(wire.at_client) == b"250 clear\r\n"


def test_octets_behind_starttls_break_the_handshake(files: Files) -> None:
    stack = Stack()
    stack.accept(b"MAIL FROM:<evil@x>\r\nRCPT TO:<y@z>\r\n")
    event = stack.next_event()
    assert isinstance(event, LayerFailed)
    assert event.during_handshake
    assert not event.by_peer
    stack.receive(b"EHLO again\r\n")
    assert stack.next_event() is None


def test_octets_behind_the_reply_to_starttls_break_the_handshake_of_a_client(files: Files) -> None:
    stack = Stack()
    stack.connect(client_context(files).ssl, already_received=b"250 you may go on\r\n")
    event = stack.next_event()
    assert isinstance(event, LayerFailed)
    assert plain([event]) == b""


def test_the_context_question_holds_everything_back(files: Files) -> None:
    stack, client = Stack(), Stack()
    client.connect(client_context(files).ssl, server_name="relay.test")
    hello = client.data_to_send()
    stack.accept()
    for piece in single(hello):
        stack.receive(piece)
    event = stack.next_event()
    assert isinstance(event, ContextNeeded)
    assert event.hello.server_name == "relay.test"
    assert stack.state is State.AWAITING_CONTEXT
    assert stack.data_to_send() == b""
    stack.use_context(server_context(files).ssl)
    assert stack.data_to_send() != b""


def test_a_refused_context_ends_the_handshake_with_an_alert(files: Files) -> None:
    stack, client = Stack(), Stack()
    client.connect(client_context(files).ssl)
    stack.accept(client.data_to_send())
    assert isinstance(stack.next_event(), ContextNeeded)
    stack.refuse("no certificate for this name")
    client.receive(stack.data_to_send())
    failed = client.next_event()
    assert isinstance(failed, LayerFailed)
    assert failed.by_peer
    assert isinstance(stack.next_event(), LayerFailed)


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        (INTERNAL_ERROR, "internal error"),
        (ACCESS_DENIED, "access denied"),
        (UNRECOGNIZED_NAME, "unrecognized name"),
        (NO_APPLICATION_PROTOCOL, "no application protocol"),
    ],
)
def test_a_refusal_says_which_alert(files: Files, alert: int, words: str) -> None:
    stack, client = Stack(), Stack()
    client.connect(client_context(files).ssl)
    stack.accept(client.data_to_send())
    assert isinstance(stack.next_event(), ContextNeeded)
    refused = HandshakeRefused("why", alert)
    stack.refuse(str(refused), refused.alert)
    client.receive(stack.data_to_send())
    failed = client.next_event()
    assert isinstance(failed, LayerFailed)
    assert words in failed.reason


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_after_a_handshake_that_failed_clear_text_comes_out_and_no_record(files: Files, step: int) -> None:
    stack, client = Stack(), Stack()
    client.connect(client_context(files).ssl)
    stack.accept(client.data_to_send())
    assert isinstance(stack.next_event(), ContextNeeded)
    stack.refuse("no certificate for this name")
    alert = stack.data_to_send()
    assert isinstance(stack.next_event(), LayerFailed)
    stack.go_on_in_clear()
    late = b"\x14\x03\x03\x00\x01\x01" + b"\x17\x03\x03\x00\x05QUIT\n" + b"\x15\x03\x03\x00\x02\x02\x28"
    sent = late + b"NOOP\r\nQUIT\r\n"
    for start in range(0, len(sent), step):
        stack.receive(sent[start : start + step])
    assert plain(drained(stack)) == b"NOOP\r\nQUIT\r\n"
    stack.send(b"554 no\r\n")
    assert stack.data_to_send() == b"554 no\r\n"
    assert alert[:1] == b"\x15"


def test_what_came_with_a_handshake_that_failed_is_dropped(files: Files) -> None:
    stack = Stack()
    stack.accept(b"MAIL FROM:<evil@x>\r\nRCPT TO:<y@z>\r\n")
    assert isinstance(stack.next_event(), LayerFailed)
    stack.go_on_in_clear()
    stack.receive(b"QUIT\r\n")
    assert plain(drained(stack)) == b"QUIT\r\n"


def test_a_record_of_a_failed_handshake_that_is_none_fails_once_more(files: Files) -> None:
    stack = Stack()
    stack.accept(b"clear\r\n")
    assert isinstance(stack.next_event(), LayerFailed)
    stack.go_on_in_clear()
    stack.receive(b"\x17\x07\x07\xff\xff")
    again = stack.next_event()
    assert isinstance(again, LayerFailed)
    assert not again.during_handshake


@pytest.mark.parametrize("version", VERSIONS)
def test_a_demanded_certificate_that_is_missing_ends_the_handshake(files: Files, version: str) -> None:
    demanding = make_server_context(
        ServerTLS(
            files.server.certificate,
            files.server.privatekey,
            files.server.verify_certificates,
            request=CertificateRequest.MUST,
        )
    )
    anonymous = make_client_context(ClientTLS(verify_certificates=files.client.verify_certificates))
    wire = Wire(Stack(), Stack(), pinned(demanding, version))
    wire.go_up(pinned(anonymous, version))
    assert isinstance(wire.at_server[-1], LayerFailed)
    # TLS 1.3: the client believes in the handshake and learns of the refusal with its first read.
    assert isinstance(wire.at_client[-1], LayerFailed)
    assert wire.at_client[-1].by_peer
    assert wire.at_client[-1].during_handshake == (version == "TLS1.2")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("verify", "pins", "is_told"),
    [
        (VerifyServer.MUST, (), True),
        (VerifyServer.MUST, ("0" * 64,), False),
        (VerifyServer.TRY, (), False),
        (VerifyServer.NOT, (), False),
    ],
)
def test_a_server_that_has_to_verify_is_told_by_an_alert_that_it_does_not(
    files: Files, version: str, verify: VerifyServer, pins: tuple[str, ...], is_told: bool
) -> None:
    """Where pins decide, or nobody has to verify, the verdict is given behind the handshake."""
    policy = ClientTLS(verify_certificates=files.server.verify_certificates, verify=verify, pins=pins)
    wire = Wire(Stack(), Stack(), server_context(files, version))
    wire.go_up(pinned(make_client_context(policy), version))
    if not is_told:
        assert [type(wire.at_server[-1]), type(wire.at_client[-1])] == [LayerUp, LayerUp]
        return
    at_client, at_server = wire.at_client[-1], wire.at_server[-1]
    assert isinstance(at_client, LayerFailed)
    assert (at_client.by_peer, at_client.during_handshake) == (False, True)
    assert at_client.reason == "the certificate is self-signed and not in the trusted set"
    assert at_client.verify_fault == "depth=0 error=self-signed certificate cert=/CN=relay.test"
    assert isinstance(at_server, LayerFailed)
    assert (at_server.by_peer, at_server.during_handshake) == (True, True)
    assert "alert unknown ca" in at_server.reason


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("days", "is_up"), [(30, True), (-1, False)])
def test_a_date_ends_a_handshake_as_the_verdict_does(version: str, days: float, is_up: bool, tmp_path: Path) -> None:
    ca = authority()
    certificate, key = ca.issue("relay.test", days=days).write(tmp_path, "relay")
    (tmp_path / "ca.crt").write_bytes(ca.own.cert_pem)
    server = make_server_context(ServerTLS(str(certificate), str(key)))
    contexts: ContextCache[ClientTLS] = ContextCache(make_client_context)
    policy = ClientTLS(verify_certificates=str(tmp_path / "ca.crt"), verify=VerifyServer.MUST)
    client = contexts.get(policy, time.time())
    wire = Wire(Stack(), Stack(), pinned(server, version))
    wire.go_up(client)
    assert isinstance(wire.at_client[-1], LayerUp) is is_up
    if not is_up:
        assert isinstance(wire.at_server[-1], LayerFailed)
        assert "alert certificate expired" in wire.at_server[-1].reason


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_that_is_in_the_set_itself_ends_no_handshake(version: str, tmp_path: Path) -> None:
    """Whoever named this very certificate knows its date; the verdict behind the handshake says what it is worth."""
    server = self_signed("relay.test", days=-1)
    certificate, key = server.write(tmp_path, "relay")
    contexts: ContextCache[ClientTLS] = ContextCache(make_client_context)
    policy = ClientTLS(verify_certificates=str(certificate), verify=VerifyServer.MUST)
    client = contexts.get(policy, time.time())
    wire = Wire(Stack(), Stack(), pinned(make_server_context(ServerTLS(str(certificate), str(key))), version))
    wire.go_up(client)
    assert isinstance(wire.at_client[-1], LayerUp)


@pytest.mark.parametrize("version", VERSIONS)
def test_resumption_is_off_unless_asked_for(files: Files, version: str) -> None:
    for wanted in (False, True):
        policy = ServerTLS(
            files.server.certificate,
            files.server.privatekey,
            files.server.verify_certificates,
            request=CertificateRequest.TRY,
            resumption=wanted,
        )
        server, client = pinned(make_server_context(policy), version), client_context(files, version)
        first = Wire(Stack(), Stack(), server)
        first.go_up(client)
        assert first.client.engine is not None
        session = first.client.engine.session()
        first.client.close()
        first.run()
        first.server.close()
        first.run()
        assert session is not None
        second = Wire(Stack(), Stack(), server)
        second.server.accept()
        second.client.connect(client.ssl, server_name="relay.test", session=session)
        second.run()
        assert handshake_of(second.at_server).resumed is wanted
        assert handshake_of(second.at_client).resumed is wanted


def test_end_of_stream_in_the_handshake_is_a_failure_of_the_peer(files: Files) -> None:
    stack = Stack()
    stack.accept()
    stack.receive_eof()
    event = stack.next_event()
    assert isinstance(event, LayerFailed)
    assert event.by_peer


@settings(max_examples=60)
@given(cuts=st.lists(st.integers(1, 400), min_size=1, max_size=30), version=st.sampled_from(sorted(VERSIONS)))
def test_no_split_changes_what_happens(files: Files, cuts: list[int], version: str) -> None:
    def cut(data: bytes) -> Iterator[bytes]:
        position = number = 0
        while position < len(data):
            size = cuts[number % len(cuts)]
            yield data[position : position + size]
            position, number = position + size, number + 1

    wire = Wire(Stack(), Stack(), server_context(files, version), cut)
    wire.go_up(client_context(files, version))
    wire.client.send(b"QUIT\r\n" * 50)
    wire.client.close()
    wire.client.send(b"EHLO clear\r\n")
    wire.run()
    wire.server.close()
    wire.run()
    assert kinds(wire.at_server) == [ContextNeeded, LayerUp, PlainReceived, PeerClosed, PlainReceived]
    assert plain(wire.at_server) == b"QUIT\r\n" * 50 + b"EHLO clear\r\n"


@given(noise=st.binary(max_size=300), cut_at=st.integers(0, 300))
def test_noise_never_raises(files: Files, noise: bytes, cut_at: int) -> None:
    for begin in (lambda stack: stack.accept(), lambda stack: stack.connect(make_client_context(files.client).ssl)):
        stack = Stack()
        begin(stack)
        stack.receive(noise[:cut_at])
        stack.receive(noise[cut_at:])
        stack.receive_eof()
        while stack.next_event() is not None:
            pass
        assert stack.state in (State.FAILED, State.HANDSHAKING, State.AWAITING_CONTEXT)


@settings(max_examples=60)
@given(
    pieces=st.lists(
        st.binary(max_size=200) | st.tuples(st.integers(20, 23), st.binary(max_size=200)).map(
            lambda made: bytes((made[0], 3, 3)) + len(made[1]).to_bytes(2, "big") + made[1]
        ),
        max_size=8,
    ),
    closes=st.booleans(),
)  # fmt: skip
def test_noise_in_a_session_never_raises_and_never_gives_text(files: Files, pieces: list[bytes], closes: bool) -> None:
    """Octets and whole records that nobody encrypted, on both sides of a session, also while one side goes down."""
    wire = Wire(Stack(), Stack(), server_context(files))
    wire.go_up(client_context(files))
    for stack in (wire.server, wire.client):
        if closes:
            stack.close()
        for piece in pieces:
            stack.receive(piece)
        found: list[StackEvent] = []
        while (event := stack.next_event()) is not None:
            found.append(event)
        if not closes:
            assert plain(found) == b""
            assert stack.state in (State.UP, State.FAILED)
        assert len(plain(found)) <= sum(map(len, pieces))


@settings(max_examples=60)
@given(flip=st.integers(0, 5000), value=st.integers(1, 255))
def test_a_damaged_handshake_never_raises_and_never_gives_text(files: Files, flip: int, value: int) -> None:
    wire = Wire(Stack(), Stack(), server_context(files))
    position = 0

    def damage(data: bytes) -> Iterator[bytes]:
        nonlocal position
        spoiled = bytearray(data)
        if position <= flip < position + len(data):
            spoiled[flip - position] ^= value
        position += len(data)
        yield bytes(spoiled)

    wire.cut = lambda data: damage(data) if data else iter(())
    wire.go_up(client_context(files))
    assert plain(wire.at_server) == b""
    assert plain(wire.at_client) == b""


class Foreign:
    """Python's own ssl module as the other end."""

    def __init__(self, context: ssl.SSLContext, server_side: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=None if server_side else "relay.test"
        )

    def shake(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


@pytest.mark.parametrize("cut", [whole, single])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pythons_ssl_as_client_twice_on_one_connection(files: Files, version: ssl.TLSVersion, cut: Cut) -> None:
    stack = Stack()
    for _ in range(2):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=files.relay.cert_pem.decode())
        context.load_cert_chain(files.client.certificate, files.client.privatekey)
        context.minimum_version = context.maximum_version = version
        peer = Foreign(context, server_side=False)
        stack.accept()
        up: LayerUp | None = None
        done = False
        for _ in range(10):
            done = done or peer.shake()
            for piece in cut(peer.outgoing.read()):
                stack.receive(piece)
            while (event := stack.next_event()) is not None:
                if isinstance(event, ContextNeeded):
                    stack.use_context(server_context(files).ssl)
                elif isinstance(event, LayerUp):
                    up = event
            peer.incoming.write(stack.data_to_send())
        assert done
        assert up is not None
        assert up.handshake.peer is not None
        assert up.handshake.peer.der == files.laptop.der
        assert up.hello.server_name == "relay.test"
        peer.tls.write(b"NOOP\r\n")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.unwrap()
        for piece in cut(peer.outgoing.read() + b"EHLO clear\r\n"):
            stack.receive(piece)
        events = list(iter(stack.next_event, None))
        assert kinds(events) == [PlainReceived, PeerClosed]
        stack.close()
        answer = stack.data_to_send()
        peer.incoming.write(answer)
        peer.tls.unwrap()  # our answer to its close_notify
        assert plain(list(iter(stack.next_event, None))) == b"EHLO clear\r\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pythons_ssl_as_server(files: Files, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server.certificate, files.server.privatekey)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=files.laptop.cert_pem.decode())
    context.minimum_version = context.maximum_version = version
    peer = Foreign(context, server_side=True)
    stack = Stack()
    stack.connect(client_context(files).ssl, server_name="relay.test")
    up = False
    for _ in range(10):
        peer.incoming.write(stack.data_to_send())
        up = up or peer.shake()
        stack.receive(peer.outgoing.read())
    assert up
    assert any(isinstance(event, LayerUp) for event in iter(stack.next_event, None))
    assert peer.tls.getpeercert(binary_form=True) == files.laptop.der


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(State)
    reachable, frontier = {State.CLEAR}, [State.CLEAR]
    while frontier:
        for state in MOVES[frontier.pop()]:
            if state not in reachable:
                reachable.add(state)
                frontier.append(state)
    assert reachable == set(State)
