"""Contexts from policies: what they demand in the handshake, and how long the cache believes in files."""

import base64
import dataclasses
import datetime
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from relay.mail.facts import Unverified, Verification, Verified
from relay.tls.anchors import CLIENT
from relay.tls.ciphers import BadCipherList
from relay.tls.contexts import (
    CACHE_SIZE,
    RECHECK,
    ContextCache,
    TLSContext,
    make_client_context,
    make_server_context,
)
from relay.tls.files import TLSFileError
from relay.tls.policy import CertificateRequest, ClientTLS, ServerTLS
from tls.material import weak_identity

import certs
from certs import Authority, CertKey, authority, self_signed

VERSIONS = {"TLS1.2": SSL.TLS1_2_VERSION, "TLS1.3": SSL.TLS1_3_VERSION}
NOW = datetime.datetime.now(datetime.UTC).timestamp()
MUST, TRY = CertificateRequest.MUST, CertificateRequest.TRY


def put(path: Path, *octets: bytes) -> str:
    """Replaces a file at one stroke, as an operator's tools do."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(b"".join(octets))
    os.replace(new, path)
    return str(path)


@pytest.fixture
def server(tmp_path: Path) -> ServerTLS:
    certificate, key = certs.relay().write(tmp_path, "relay")
    anchors = put(tmp_path / "anchors.pem", certs.laptop().cert_pem)
    return ServerTLS(str(certificate), str(key), anchors, request=TRY)


# What a handshake comes to


@dataclass(frozen=True)
class Outcome:
    server_error: str
    """OpenSSL's words, empty after a complete handshake."""
    alert: int | None
    """The fatal alert that the client was sent."""
    verification: Verification
    """What the anchors say of the certificate, where there was a handshake."""


def shake(context: TLSContext, client: CertKey | None, version: str = "TLS1.3") -> Outcome:
    alerts: list[int] = []

    def watch(_: SSL.Connection, where: int, code: int) -> None:
        if where & 0x4004 == 0x4004:  # SSL_CB_READ_ALERT
            alerts.append(code & 0xFF)

    own = SSL.Context(SSL.TLS_CLIENT_METHOD)
    own.set_min_proto_version(VERSIONS[version])
    own.set_max_proto_version(VERSIONS[version])
    own.set_info_callback(watch)
    if client is not None:
        own.use_certificate(client.certificate)
        for issuer in client.issuers:
            own.add_extra_chain_cert(issuer)
        own.use_privatekey(client.key)
    at_client, at_server = SSL.Connection(own, None), SSL.Connection(context.ssl, None)
    at_client.set_connect_state()
    at_server.set_accept_state()
    error = ""
    for _ in range(4):
        for one, other in ((at_client, at_server), (at_server, at_client)):
            try:
                one.do_handshake()
                one.recv(1)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                pass
            except SSL.Error as fault:
                if one is at_server and not error:
                    error = fault.args[0][0][2]
            try:
                other.bio_write(one.bio_read(65536))
            except SSL.WantReadError:
                pass
    leaf = at_server.get_peer_certificate(as_cryptography=True)
    chain = () if leaf is None else (leaf, *(at_server.get_peer_cert_chain(as_cryptography=True) or ()))
    return Outcome(error, alerts[0] if alerts else None, context.anchors.verify(chain, CLIENT, NOW))


def demanding(directory: Path, *anchors: CertKey | Authority, crl: bytes = b"", request: CertificateRequest = MUST):
    certificate, key = certs.relay().write(directory, "relay")
    named = put(directory / "anchors.pem", *(each.cert_pem for each in anchors))
    lists = put(directory / "crl.pem", crl) if crl else ""
    return make_server_context(ServerTLS(str(certificate), str(key), named, lists, request), now=NOW)


def for_purpose(purpose: x509.ObjectIdentifier, issuer: CertKey | None = None) -> CertKey:
    like = self_signed("laptop.test")
    signer = issuer or like
    certificate = (
        x509.CertificateBuilder()
        .subject_name(like.certificate.subject)
        .issuer_name(signer.certificate.subject)
        .public_key(like.key.public_key())
        .serial_number(5)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .sign(signer.key, hashes.SHA256())
    )
    return CertKey(certificate, like.key)


@pytest.mark.parametrize("version", VERSIONS)
class TestMust:
    """`tls_verify_hosts`: the handshake itself ends, with the alert that says why."""

    def test_a_certificate_of_the_set(self, tmp_path: Path, version: str) -> None:
        ca = authority()
        leaves = [
            certs.laptop(),
            self_signed("openssl-req.test", ca=True),
            ca.issue("direct.test"),
            ca.intermediate().issue("by-intermediate.test"),
            authority("Another").issue("pinned-without-its-ca.test"),
        ]
        context = demanding(tmp_path, ca, *(leaves[index] for index in (0, 1, 4)))
        for leaf in leaves:
            outcome = shake(context, leaf, version)
            assert (outcome.server_error, outcome.alert) == ("", None)
            assert isinstance(outcome.verification, Verified)

    def test_no_certificate(self, tmp_path: Path, version: str) -> None:
        outcome = shake(demanding(tmp_path, certs.laptop()), None, version)
        assert "certificate" in outcome.server_error
        assert outcome.alert == {"TLS1.2": 40, "TLS1.3": 116}[version]

    def test_a_stranger(self, tmp_path: Path, version: str) -> None:
        context = demanding(tmp_path, certs.laptop())
        for leaf in (certs.stranger(), authority().issue("x.test")):
            assert shake(context, leaf, version).alert == 48
            assert "verify failed" in shake(context, leaf, version).server_error

    def test_expired(self, tmp_path: Path, version: str) -> None:
        ca, own = authority(), self_signed("old.test", days=-1)
        context = demanding(tmp_path, ca, own)
        assert shake(context, own, version).alert == 45
        assert shake(context, ca.issue("x.test", days=-1), version).alert == 45

    def test_not_for_clients(self, tmp_path: Path, version: str) -> None:
        ca = authority()
        leaf = for_purpose(ExtendedKeyUsageOID.SERVER_AUTH, ca.own)
        assert shake(demanding(tmp_path, ca), leaf, version).alert == 43

    def test_revoked(self, tmp_path: Path, version: str) -> None:
        ca = authority()
        good, bad = ca.issue("good.test"), ca.issue("bad.test")
        context = demanding(tmp_path, ca, crl=ca.crl([bad]))
        assert shake(context, good, version).alert is None
        assert shake(context, bad, version).alert == 44

    def test_a_missing_list(self, tmp_path: Path, version: str) -> None:
        ca, other = authority(), authority("Other")
        context = demanding(tmp_path, ca, crl=other.crl())
        assert shake(context, ca.issue("x.test"), version).alert == 48

    def test_unreadable_anchors_let_nobody_in(self, tmp_path: Path, version: str) -> None:
        certificate, key = certs.relay().write(tmp_path, "relay")
        context = make_server_context(ServerTLS(str(certificate), str(key), str(tmp_path / "missing"), request=MUST))
        assert context.anchor_fault is not None
        assert shake(context, certs.laptop(), version).alert == 48

    def test_the_handshake_and_the_anchors_are_of_one_mind(self, tmp_path: Path, version: str) -> None:
        """Whoever is verified when asked politely is also let in where it is demanded, and nobody else."""
        ca = authority()
        own_purpose = for_purpose(ExtendedKeyUsageOID.SERVER_AUTH)
        pinned, revoked_pin = authority("Elsewhere").issue("pinned.test"), ca.issue("revoked-pin.test")
        middle = ca.intermediate()
        below = middle.issue("y.test")
        trusted = (ca, middle, own_purpose, pinned, revoked_pin, certs.laptop())
        crl = ca.crl([revoked_pin]) + middle.crl()
        for leaf in (own_purpose, pinned, revoked_pin, certs.laptop(), certs.stranger(), ca.issue("x.test"), below):
            tried = shake(demanding(tmp_path, *trusted, crl=crl, request=TRY), leaf, version)
            demanded = shake(demanding(tmp_path, *trusted, crl=crl), leaf, version)
            assert tried.server_error == ""
            named = leaf.certificate.subject.rfc4514_string()
            assert (demanded.alert is None) is isinstance(tried.verification, Verified), (named, tried, demanded)


@pytest.mark.parametrize("version", VERSIONS)
def test_try_lets_every_certificate_and_none_through(tmp_path: Path, version: str) -> None:
    """Invariant 4: what is wrong with a certificate ends no session."""
    ca = authority()
    context = demanding(tmp_path, ca, certs.laptop(), crl=ca.crl(), request=TRY)
    assert shake(context, certs.laptop(), version) == Outcome("", None, Verified("itself"))
    assert shake(context, ca.issue("x.test"), version) == Outcome("", None, Verified("anchor"))
    for leaf in (
        None,
        certs.stranger(),
        self_signed("old.test", days=-1),
        for_purpose(ExtendedKeyUsageOID.CODE_SIGNING, ca.own),
        authority("Unknown").issue("x.test"),
        ca.issue("old.test", days=-1),
    ):
        outcome = shake(context, leaf, version)
        assert (outcome.server_error, outcome.alert) == ("", None)
        assert isinstance(outcome.verification, Unverified)


@pytest.mark.parametrize("version", VERSIONS)
def test_none_does_not_ask(server: ServerTLS, version: str) -> None:
    context = make_server_context(dataclasses.replace(server, request=CertificateRequest.NONE))
    assert shake(context, certs.laptop(), version) == Outcome("", None, Unverified("no certificate was presented"))


def test_none_does_not_look_at_the_anchors(server: ServerTLS) -> None:
    policy = dataclasses.replace(server, request=CertificateRequest.NONE, verify_certificates="/nowhere")
    assert make_server_context(policy).anchor_fault is None


def test_unreadable_anchors_give_an_empty_set_and_the_fault(server: ServerTLS) -> None:
    """The relay goes on answering; nobody is trusted, and the operator is told why."""
    context = make_server_context(dataclasses.replace(server, verify_certificates="/nowhere/anchors.pem"))
    assert context.anchors.certificates == []
    assert context.anchor_fault is not None
    assert context.anchor_fault.path == "/nowhere/anchors.pem"
    outcome = shake(context, certs.laptop())
    assert outcome.server_error == ""
    assert isinstance(outcome.verification, Unverified)
    client = make_client_context(ClientTLS(verify_certificates="/nowhere/anchors.pem"))
    assert client.anchors.certificates == []
    assert client.anchor_fault is not None


def test_a_broken_revocation_list_is_a_fault_of_the_anchors(server: ServerTLS, tmp_path: Path) -> None:
    """Without the list nobody could be known as revoked, so nobody is trusted."""
    policy = dataclasses.replace(server, crl=put(tmp_path / "crl.pem", b"garbage"))
    context = make_server_context(policy)
    assert context.anchor_fault is not None
    assert context.anchor_fault.path == policy.crl
    assert isinstance(shake(context, certs.laptop()).verification, Unverified)


# What is wrong with our own files


def test_certificate_and_key_in_one_file(tmp_path: Path) -> None:
    path = put(tmp_path / "both.pem", certs.relay().key_pem, certs.relay().cert_pem)
    assert shake(make_server_context(ServerTLS(path)), None).server_error == ""


def chain_sent(context: TLSContext) -> list[x509.Certificate] | None:
    at_server, at_client = SSL.Connection(context.ssl, None), SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    at_server.set_accept_state()
    at_client.set_connect_state()
    for one, other in ((at_client, at_server), (at_server, at_client), (at_client, at_server)):
        try:
            one.do_handshake()
        except SSL.WantReadError:
            pass
        other.bio_write(one.bio_read(65536))
    return at_client.get_peer_cert_chain(as_cryptography=True)


@pytest.mark.parametrize("request_", [TRY, MUST])
def test_what_the_file_holds_is_sent_and_nothing_else(tmp_path: Path, request_: CertificateRequest) -> None:
    """OpenSSL would complete a chain from the anchors, which are for the other side's certificates."""
    ca = authority()
    middle = ca.intermediate()
    leaf = middle.issue("relay.test")
    certificate, key = leaf.write(tmp_path, "relay")
    anchors = put(tmp_path / "ca.pem", ca.cert_pem, middle.cert_pem)
    whole = ServerTLS(str(certificate), str(key), anchors, request=request_)
    assert chain_sent(make_server_context(whole)) == [leaf.certificate, *leaf.issuers]
    alone = dataclasses.replace(whole, certificate=put(tmp_path / "leaf.crt", leaf.cert_pem))
    assert chain_sent(make_server_context(alone)) == [leaf.certificate]


def test_faults_of_our_own_files_name_the_file(tmp_path: Path) -> None:
    certificate, key = certs.relay().write(tmp_path, "relay")
    other = put(tmp_path / "other.key", certs.laptop().key_pem)
    locked = put(tmp_path / "locked.key", certs.relay().key_pem_with_passphrase(b"secret"))
    weak, weak_key = weak_identity().write(tmp_path, "weak")
    agreement = put(
        tmp_path / "agreement.key",
        x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    prime256v1, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")
    octets = base64.encodebytes(certs.relay().der.replace(prime256v1, unknown))
    curve = put(tmp_path / "curve.crt", b"-----BEGIN CERTIFICATE-----\n", octets, b"-----END CERTIFICATE-----\n")
    for policy, path in (
        (ServerTLS(curve, str(key)), curve),
        (ServerTLS(str(tmp_path / "gone.crt"), str(key)), str(tmp_path / "gone.crt")),
        (ServerTLS(str(certificate), str(tmp_path / "gone.key")), str(tmp_path / "gone.key")),
        (ServerTLS(str(certificate)), str(certificate)),
        (ServerTLS(str(certificate), other), other),
        (ServerTLS(str(certificate), locked), locked),
        (ServerTLS(str(certificate), agreement), agreement),
        (ServerTLS(str(weak), str(weak_key)), str(weak)),
    ):
        with pytest.raises(TLSFileError) as caught:
            make_server_context(policy)
        assert caught.value.path == path
        client = ClientTLS(certificate=policy.certificate, privatekey=policy.privatekey, verify_certificates=path)
        with pytest.raises(TLSFileError) as caught:
            make_client_context(client)
        assert caught.value.path == path


def test_a_bad_cipher_list(server: ServerTLS) -> None:
    with pytest.raises(BadCipherList):
        make_server_context(dataclasses.replace(server, require_ciphers="NONSENSE"))
    with pytest.raises(BadCipherList):
        make_client_context(ClientTLS(verify_certificates=server.verify_certificates, require_ciphers="NONSENSE"))


def test_a_client_needs_no_certificate(server: ServerTLS) -> None:
    assert make_client_context(ClientTLS(verify_certificates=server.verify_certificates)).anchor_fault is None


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_nothing_older_than_tls_1_2(server: ServerTLS, version: int) -> None:
    old = SSL.Context(SSL.TLS_CLIENT_METHOD)
    old.set_cipher_list(b"ALL:@SECLEVEL=0")
    old.set_min_proto_version(SSL.TLS1_VERSION)
    old.set_max_proto_version(version)
    # Without the lower level OpenSSL would refuse by itself, for want of a strong enough signature.
    policy = dataclasses.replace(server, require_ciphers="ALL:@SECLEVEL=0")
    client, relay = SSL.Connection(old, None), SSL.Connection(make_server_context(policy).ssl, None)
    client.set_connect_state()
    relay.set_accept_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    relay.bio_write(client.bio_read(65536))
    with pytest.raises(SSL.Error, match="unsupported protocol"):
        relay.do_handshake()


# The cache


def server_cache(size: int = CACHE_SIZE) -> ContextCache[ServerTLS]:
    return ContextCache(make_server_context, size)


def test_equal_policies_share_a_context(server: ServerTLS) -> None:
    cache = server_cache()
    first = cache.get(server, 100.0)
    assert cache.get(dataclasses.replace(server), 100.0) is first
    assert cache.get(dataclasses.replace(server, policy_name="other"), 100.0) is not first
    assert cache.get(dataclasses.replace(server, request=MUST), 100.0) is not first
    assert cache.get(server, 100.0) is first


@pytest.mark.parametrize("which", ["certificate and key", "anchors", "revocation list"])
def test_a_replaced_file_is_noticed_when_the_last_look_is_old_enough(
    server: ServerTLS, tmp_path: Path, which: str
) -> None:
    crl = put(tmp_path / "crl.pem", authority().crl())
    policy, cache = dataclasses.replace(server, crl=crl), server_cache()
    old = cache.get(policy, 100.0)
    if which == "certificate and key":
        new = self_signed("new.test")
        put(Path(policy.certificate), new.chain_pem)
        put(Path(policy.privatekey), new.key_pem)
    elif which == "anchors":
        put(Path(policy.verify_certificates), certs.stranger().cert_pem)
    else:
        put(Path(crl), authority().crl())
    assert cache.get(policy, 100.0 + RECHECK * 0.99) is old
    made = cache.get(policy, 100.0 + RECHECK)
    assert made is not old
    assert cache.get(policy, 100.0 + RECHECK * 1.5) is made


def test_a_revoked_anchor_is_out_within_a_second(server: ServerTLS) -> None:
    """Invariant 3, as far as files go."""
    cache = server_cache()
    assert shake(cache.get(server, 100.0), certs.laptop()).verification == Verified("itself")
    put(Path(server.verify_certificates), certs.stranger().cert_pem)
    assert isinstance(shake(cache.get(server, 101.0), certs.laptop()).verification, Unverified)
    assert RECHECK <= 1.0


def test_a_file_dropped_into_a_directory_of_anchors_and_deleted_again(server: ServerTLS, tmp_path: Path) -> None:
    directory = tmp_path / "anchors"
    directory.mkdir()
    policy, cache = dataclasses.replace(server, verify_certificates=str(directory)), server_cache()
    assert certs.laptop().certificate not in cache.get(policy, 100.0).anchors
    put(directory / "laptop.pem", certs.laptop().cert_pem)
    assert certs.laptop().certificate in cache.get(policy, 102.0).anchors
    (directory / "laptop.pem").unlink()
    assert certs.laptop().certificate not in cache.get(policy, 104.0).anchors


def test_unchanged_files_keep_their_context_for_ever(server: ServerTLS) -> None:
    cache = server_cache()
    first = cache.get(server, 0.0)
    assert [cache.get(server, moment) for moment in (0.5, 1.0, 5.0, 5.5, 1e6)] == [first] * 5


def test_each_look_counts_from_the_last_one(server: ServerTLS) -> None:
    cache = server_cache()
    old = cache.get(server, 100.0)
    assert cache.get(server, 102.0) is old  # looked
    put(Path(server.verify_certificates), certs.stranger().cert_pem)
    assert cache.get(server, 102.5) is old
    assert cache.get(server, 103.0) is not old


def test_a_clock_that_was_set_back_does_not_stop_the_looking(server: ServerTLS) -> None:
    cache = server_cache()
    old = cache.get(server, 1e6)
    put(Path(server.verify_certificates), certs.stranger().cert_pem)
    assert cache.get(server, 100.0) is not old


def test_a_broken_replacement_is_an_error_until_it_is_mended(server: ServerTLS) -> None:
    cache = server_cache()
    old = cache.get(server, 100.0)
    put(Path(server.certificate), b"garbage")
    assert cache.get(server, 100.5) is old
    for moment in (101.0, 101.2, 103.0):
        with pytest.raises(TLSFileError):
            cache.get(server, moment)
    put(Path(server.certificate), certs.relay().chain_pem)
    mended = cache.get(server, 103.1)
    assert shake(mended, None).server_error == ""


def test_anchors_that_become_unreadable_and_readable_again(server: ServerTLS) -> None:
    cache = server_cache()
    assert cache.get(server, 100.0).anchor_fault is None
    Path(server.verify_certificates).unlink()
    assert cache.get(server, 101.0).anchor_fault is not None
    put(Path(server.verify_certificates), certs.laptop().cert_pem)
    healed = cache.get(server, 102.0)
    assert healed.anchor_fault is None
    assert certs.laptop().certificate in healed.anchors


def test_the_bundle_of_the_system_is_looked_at_again_too(
    server: ServerTLS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distrusted authority goes out with the next `update-ca-certificates`, not with the next restart."""
    bundle = put(tmp_path / "bundle.pem", certs.laptop().cert_pem)
    monkeypatch.setattr("relay.tls.files.SYSTEM_BUNDLES", (bundle,))
    policy, cache = dataclasses.replace(server, verify_certificates="system"), server_cache()
    assert certs.laptop().certificate in cache.get(policy, 100.0).anchors
    put(Path(bundle), certs.stranger().cert_pem)
    assert certs.laptop().certificate not in cache.get(policy, 101.0).anchors


def test_the_least_recently_used_is_dropped(server: ServerTLS) -> None:
    cache = server_cache(size=2)
    one, two, three = (dataclasses.replace(server, policy_name=name) for name in ("1", "2", "3"))
    first, second = cache.get(one, 100.0), cache.get(two, 100.0)
    assert cache.get(one, 100.1) is first
    cache.get(three, 100.2)
    assert cache.get(one, 100.3) is first
    assert cache.get(two, 100.4) is not second


def test_a_look_counts_as_use(server: ServerTLS) -> None:
    """A context that is asked for once a minute is in use as well."""
    cache = server_cache(size=2)
    one, two, three = (dataclasses.replace(server, policy_name=name) for name in ("1", "2", "3"))
    first = cache.get(one, 100.0)
    cache.get(two, 100.0)
    assert cache.get(one, 160.0) is first
    cache.get(three, 160.0)
    assert cache.get(one, 160.0) is first


def test_client_policies_are_cached_in_the_same_way(server: ServerTLS) -> None:
    cache: ContextCache[ClientTLS] = ContextCache(make_client_context)
    policy = ClientTLS(verify_certificates=server.verify_certificates, sni="relay.test")
    first = cache.get(policy, 100.0)
    assert cache.get(dataclasses.replace(policy), 100.0) is first  # a session resumes on its own context alone
    assert cache.get(dataclasses.replace(policy, sni="other.test"), 100.0) is not first
