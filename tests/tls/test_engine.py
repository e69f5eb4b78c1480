"""One session of OpenSSL: facts, faults, the end, and the private name that we rely on."""

import base64
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from relay.tls.contexts import make_client_context, make_server_context
from relay.tls.engine import Engine, TLSBroken, knows_groups, notes_of, set_groups
from relay.tls.policy import CertificateRequest, ClientTLS, ServerTLS
from relay.tls.records import HEADER_SIZE, RecordCutter

import certs
from certs import CertKey, authority, self_signed

VERSIONS = {"TLS1.2": SSL.TLS1_2_VERSION, "TLS1.3": SSL.TLS1_3_VERSION}
CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"
FATAL_ALERT = b"\x15\x03\x03\x00\x02\x02"


@dataclasses.dataclass(frozen=True)
class Contexts:
    server: SSL.Context
    client: SSL.Context


def contexts(
    directory: Path,
    relay: CertKey,
    laptop: CertKey | None = None,
    *,
    version: str = "TLS1.3",
    resumption: bool = False,
    request: CertificateRequest = CertificateRequest.TRY,
    **more,
) -> Contexts:
    certificate, key = (str(path) for path in relay.write(directory, "relay"))
    server = ServerTLS(certificate, key, certificate, request=request, resumption=resumption)
    client = ClientTLS(verify_certificates=certificate, **more)
    if laptop is not None:
        own, own_key = (str(path) for path in laptop.write(directory, "laptop"))
        client = dataclasses.replace(client, certificate=own, privatekey=own_key)
    made = Contexts(make_server_context(server).ssl, make_client_context(client).ssl)
    for context in (made.server, made.client):
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])
    return made


def pair(made: Contexts, server_name: str = "") -> tuple[Engine, Engine]:
    return Engine(made.server, is_server=True), Engine(made.client, is_server=False, server_name=server_name)


def carry(source: Engine, sink: Engine) -> None:
    """One record after the other, as the stack feeds them."""
    cutter = RecordCutter()
    cutter.feed(source.output())
    while (record := cutter.next_record()) is not None:
        sink.feed(record)
        if sink.is_handshaking:
            sink.advance()


def text(engine: Engine) -> bytes:
    """What several records brought: each read gives that of one."""
    return b"".join(iter(engine.read, b""))


def shake(server: Engine, client: Engine) -> None:
    client.advance()
    for _ in range(4):
        carry(client, server)
        carry(server, client)
    assert not server.is_handshaking
    assert not client.is_handshaking


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def up(tmp_path: Path, version: str) -> tuple[Engine, Engine]:
    server, client = pair(contexts(tmp_path, certs.relay(), certs.laptop(), version=version))
    shake(server, client)
    return server, client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """Making contexts takes longer than an example."""
    return contexts(tmp_path_factory.mktemp("engine"), certs.relay(), certs.laptop())


# The private names


def test_the_private_name_that_tells_a_resumed_session_is_still_there() -> None:
    """When this fails, Engine._was_resumed needs another way; FACTS: the records of the ServerHello tell it too."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    assert SSL._lib.SSL_session_reused(connection._ssl) == 0


def test_there_is_no_public_name_for_it_yet() -> None:
    """When this fails, the private one can go."""
    assert not [name for name in dir(SSL.Connection) if "reused" in name or "resumed" in name]


def test_a_resumed_session_is_told_from_a_full_one(tmp_path: Path, version: str) -> None:
    made = contexts(tmp_path, certs.relay(), certs.laptop(), version=version, resumption=True)
    server, client = pair(made)
    shake(server, client)
    assert (server.facts().resumed, client.facts().resumed) == (False, False)
    server.write(b"220")
    carry(server, client)
    assert client.read() == b"220"
    session = client.session()
    assert session is not None
    client.forget()
    server.forget()
    server, client = pair(made)
    client.resume(session)
    shake(server, client)
    assert (server.facts().resumed, client.facts().resumed) == (True, True)
    assert server.facts().peer is not None
    assert server.facts().binding == client.facts().binding


# Facts


def test_facts_on_both_ends(up: tuple[Engine, Engine], version: str) -> None:
    at_server, at_client = up[0].facts(), up[1].facts()
    assert at_server.version == at_client.version == version
    assert at_server.suite == at_client.suite != ""
    assert at_server.bits == at_client.bits >= 128
    assert at_server.group == at_client.group != ""
    assert at_server.binding == at_client.binding
    # RFC 9266 3: this label, an empty context (not an absent one), 32 octets
    assert at_server.binding == up[1]._connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    assert at_server.peer is not None
    assert at_client.peer is not None
    assert at_server.ours is not None
    assert at_client.ours is not None
    assert at_server.peer.der == at_client.ours.der == certs.laptop().der
    assert at_client.peer.der == at_server.ours.der == certs.relay().der
    assert at_server.chain == (certs.laptop().certificate,)
    assert at_client.chain == (certs.relay().certificate,)


def test_each_session_has_its_own_binding(tmp_path: Path, version: str) -> None:
    made, seen = contexts(tmp_path, certs.relay(), version=version), set()
    for _ in range(3):
        server, client = pair(made)
        shake(server, client)
        seen.add(server.facts().binding)
    assert len(seen) == 3


def test_no_certificate_of_a_client(tmp_path: Path, version: str) -> None:
    server, client = pair(contexts(tmp_path, certs.relay(), version=version))
    shake(server, client)
    assert (server.facts().peer, server.facts().chain) == (None, ())
    assert client.facts().ours is None


def test_a_chain_is_leaf_first_on_both_ends(tmp_path: Path, version: str) -> None:
    middle = authority().intermediate()
    relay, laptop = middle.issue("relay.test"), middle.intermediate("Lower CA").issue("laptop.test")
    server, client = pair(contexts(tmp_path, relay, laptop, version=version))
    shake(server, client)
    assert server.facts().chain == (laptop.certificate, *laptop.issuers)
    assert len(laptop.issuers) == 2
    assert client.facts().chain == (relay.certificate, *relay.issuers)


@pytest.mark.parametrize("name, sent", [("relay.test", "relay.test"), ("bücher.example", "xn--bcher-kva.example")])
def test_the_server_name(tmp_path: Path, name: str, sent: str) -> None:
    made = contexts(tmp_path, certs.relay())
    server, client = pair(made, name)
    shake(server, client)
    assert server._connection.get_servername() == sent.encode()


def test_without_a_server_name_none_is_sent(tmp_path: Path) -> None:
    server, client = pair(contexts(tmp_path, certs.relay()))
    shake(server, client)
    assert server._connection.get_servername() is None


def test_alpn(tmp_path: Path, version: str) -> None:
    made = contexts(tmp_path, certs.relay(), version=version, alpn=("smtp",))
    made.server.set_alpn_select_callback(lambda _, offered: offered[0])
    server, client = pair(made)
    shake(server, client)
    assert server.facts().alpn == client.facts().alpn == "smtp"


def test_a_hello_in_hundreds_of_records(tmp_path: Path) -> None:
    """What the HelloReader collected is fed unchanged, and OpenSSL takes it."""
    server, client = pair(contexts(tmp_path, certs.relay()))
    assert not client.advance()
    message = client.output()[HEADER_SIZE:]
    for position in range(0, len(message), 4):
        piece = message[position : position + 4]
        server.feed(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece)
    assert len(message) > 1200
    assert not server.advance()
    carry(server, client)
    shake(server, client)


# Certificates that OpenSSL takes and a stricter parser does not


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def of_version(made: CertKey, number: int) -> bytes:
    """The certificate in PEM with another version in it, correctly signed by its own key."""
    assert isinstance(made.key, ec.EllipticCurvePrivateKey)
    tbs = made.certificate.tbs_certificate_bytes.replace(
        b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([number - 1]), 1
    )
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    octets = der(0x30, tbs, algorithm, der(0x03, b"\x00" + made.key.sign(tbs, ec.ECDSA(hashes.SHA256()))))
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(octets) + b"-----END CERTIFICATE-----\n"


def show(context: SSL.Context, directory: Path, key: certs.PrivateKey, *chain: bytes) -> None:
    """Puts on the context what our own readers would refuse; OpenSSL's take it."""
    path = directory / "odd.pem"
    path.write_bytes(b"".join(chain))
    context.use_certificate_chain_file(str(path))
    context.use_privatekey(key)


def test_a_certificate_that_can_not_be_read_ends_no_session_and_is_nobodys(tmp_path: Path, version: str) -> None:
    """Invariants 4 and 8: any peer can send such a one."""
    made = contexts(tmp_path, certs.relay(), version=version)
    laptop = self_signed("laptop.test")
    show(made.client, tmp_path, laptop.key, of_version(laptop, 4))
    server, client = pair(made)
    shake(server, client)
    assert server.facts().chain == ()
    client.write(b"EHLO")
    carry(client, server)
    assert server.read() == b"EHLO"


def test_an_issuer_that_can_not_be_read_is_left_out(tmp_path: Path, version: str) -> None:
    made = contexts(tmp_path, certs.relay(), version=version)
    odd = of_version(self_signed("Odd CA", ca=True), 4)
    show(made.client, tmp_path, certs.laptop().key, certs.laptop().cert_pem, odd)
    server, client = pair(made)
    shake(server, client)
    assert server.facts().peer is not None
    assert server.facts().chain == (certs.laptop().certificate,)


def test_a_servers_certificate_that_can_not_be_read(tmp_path: Path, version: str) -> None:
    made, relay = contexts(tmp_path, certs.relay(), version=version), self_signed("relay.test")
    odd = SSL.Context(SSL.TLS_SERVER_METHOD)
    odd.set_max_proto_version(VERSIONS[version])
    show(odd, tmp_path, relay.key, of_version(relay, 4))
    server, client = pair(Contexts(odd, made.client))
    shake(server, client)
    assert client.facts().chain == ()


def test_a_strange_but_readable_certificate(tmp_path: Path, version: str) -> None:
    """Version 1, no extensions at all: what a very old `openssl x509` makes."""
    like = self_signed("laptop.test")
    made = contexts(tmp_path, certs.relay(), version=version)
    made.client.use_certificate(
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(like.key.public_key())
        .serial_number(1)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
        .sign(like.key, hashes.SHA256())
    )
    made.client.use_privatekey(like.key)
    server, client = pair(made)
    shake(server, client)
    peer = server.facts().peer
    assert peer is not None
    assert peer.subject == ""


# Text, and the end


def test_text_both_ways(up: tuple[Engine, Engine]) -> None:
    server, client = up
    long = bytes(range(256)) * 1024  # more than one read and more than one record
    client.write(long)
    carry(client, server)
    assert text(server) == long
    server.write(b"250")
    carry(server, client)
    assert client.read() == b"250"
    assert client.read() == b""
    assert not client.peer_closed


def test_close_and_answer(up: tuple[Engine, Engine]) -> None:
    server, client = up
    client.write(b"QUIT")
    client.close()
    carry(client, server)
    assert text(server) == b"QUIT"
    assert server.peer_closed
    server.write(b"221")  # still possible until ours is out
    server.close()
    carry(server, client)
    assert text(client) == b"221"
    assert client.peer_closed
    assert client.read() == b""
    client.close()  # once more does no harm
    assert client.output() == b""


def test_nothing_is_sent_after_close(up: tuple[Engine, Engine]) -> None:
    client = up[1]
    client.close()
    client.output()
    with pytest.raises(TLSBroken) as caught:
        client.write(b"late")
    assert not caught.value.by_peer
    assert client.output() == b""


def test_forgetting_sends_nothing(up: tuple[Engine, Engine]) -> None:
    client = up[1]
    client.output()
    client.forget()
    client.close()
    assert client.output() == b""


def test_close_before_the_handshake_is_harmless(tmp_path: Path) -> None:
    for engine in pair(contexts(tmp_path, certs.relay())):
        engine.close()
        assert engine.output() == b""


# Faults


def test_a_damaged_record_breaks_the_session_by_our_finding(up: tuple[Engine, Engine]) -> None:
    server, client = up
    client.write(b"MAIL FROM:<>")
    record = bytearray(client.output())
    record[-1] ^= 1
    server.feed(bytes(record))
    with pytest.raises(TLSBroken) as caught:
        server.read()
    assert not caught.value.by_peer
    assert caught.value.reason == str(caught.value) != ""
    assert server.output()  # the alert that says so


def test_an_alert_in_the_handshake_is_the_peers(tmp_path: Path) -> None:
    _, client = pair(contexts(tmp_path, certs.relay()))
    client.advance()
    client.feed(FATAL_ALERT + b"\x28")
    with pytest.raises(TLSBroken) as caught:
        client.advance()
    assert caught.value.by_peer
    assert "handshake failure" in caught.value.reason


def test_close_notify_in_the_handshake_is_the_peers_too(tmp_path: Path) -> None:
    """It goes away politely; a log that says "TLS error" would send the operator looking on the wrong side."""
    _, client = pair(contexts(tmp_path, certs.relay()))
    client.advance()
    client.feed(CLOSE_NOTIFY)
    with pytest.raises(TLSBroken) as caught:
        client.advance()
    assert caught.value.by_peer


def test_a_late_refusal_is_the_peers(tmp_path: Path) -> None:
    """TLS 1.3: the client has finished; that its certificate was refused it learns with its first read."""
    made = contexts(tmp_path, certs.relay(), certs.stranger(), request=CertificateRequest.MUST)
    server, client = pair(made)
    client.advance()
    carry(client, server)
    carry(server, client)
    assert not client.is_handshaking
    with pytest.raises(TLSBroken) as found:
        carry(client, server)
    assert not found.value.by_peer
    assert found.value.reason.startswith("the certificate is self-signed and not in the trusted set: /CN=stranger.test")
    assert f"FP={certs.stranger().fingerprint}" in found.value.reason
    carry(server, client)
    with pytest.raises(TLSBroken) as told:
        client.read()
    assert told.value.by_peer
    assert "unknown ca" in told.value.reason


def test_no_common_version(tmp_path: Path) -> None:
    made = contexts(tmp_path, certs.relay(), version="TLS1.3")
    made.client.set_min_proto_version(SSL.TLS1_2_VERSION)
    made.client.set_max_proto_version(SSL.TLS1_2_VERSION)
    server, client = pair(made)
    client.advance()
    with pytest.raises(TLSBroken, match="unsupported protocol"):
        carry(client, server)
    with pytest.raises(TLSBroken) as told:
        carry(server, client)
    assert told.value.by_peer


def test_renegotiation_is_refused(tmp_path: Path) -> None:
    made = contexts(tmp_path, certs.relay(), version="TLS1.2")
    free = SSL.Context(SSL.TLS_CLIENT_METHOD)  # ours would not even ask
    free.set_max_proto_version(SSL.TLS1_2_VERSION)
    server, client = pair(Contexts(made.server, free))
    shake(server, client)
    assert client._connection.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client._connection.do_handshake()
    carry(client, server)
    assert server.read() == b""
    carry(server, client)
    with pytest.raises(SSL.Error, match="no renegotiation"):
        client._connection.do_handshake()


def fault_of(step: Callable[[], object]) -> TLSBroken | None:
    """The one way in which a step may fail."""
    try:
        step()
    except TLSBroken as broken:
        return broken
    return None


@settings(max_examples=60)
@given(kind=st.integers(20, 23), fragment=st.binary(max_size=200))
def test_any_record_ends_as_tls_broken_or_as_nothing(shared: Contexts, kind: int, fragment: bytes) -> None:
    record = bytes([kind, 3, 3]) + len(fragment).to_bytes(2, "big") + fragment
    server, client = pair(shared)
    client.advance()
    for engine in (server, client):
        engine.feed(record)
        fault_of(engine.advance)
        engine.output()
        engine.close()
    server, client = pair(shared)
    shake(server, client)
    for engine in (server, client):
        engine.feed(record)
        broken = fault_of(engine.read)
        assert broken is None or broken.reason
        assert kind != 23 or broken is not None  # no octet of a forged record is ever taken for text
        fault_of(lambda engine=engine: engine.write(b"x"))
        engine.output()
        engine.close()


def test_the_private_name_that_sets_groups_is_still_there() -> None:
    """When this fails, `set_groups` needs another way: OPENSSL_CONF, or one curve by the public set_tmp_ecdh."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    assert set_groups(context, ("X25519MLKEM768", "P-256", "prime256v1", "X448", "ffdhe2048"))
    for unknown in (("bogus",), ("X25519", "bogus"), ("é",)):
        assert not set_groups(context, unknown)
        assert not knows_groups(unknown)
    assert knows_groups(("X448",))
    assert "set_groups" not in dir(SSL.Context)
    # Nothing is left in OpenSSL's queue that a later call would take for its own error.
    context.set_cipher_list(b"HIGH")


def test_notes_belong_to_their_connection() -> None:
    engine = Engine(SSL.Context(SSL.TLS_SERVER_METHOD), is_server=True)
    notes_of(engine._connection).refusal = "because"
    assert notes_of(engine._connection).refusal == "because"
    assert notes_of(SSL.Connection(SSL.Context(SSL.TLS_SERVER_METHOD), None)).refusal == ""
