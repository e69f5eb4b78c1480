"""What each option of a server's policy comes to in a handshake, seen from OpenSSL's own client."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from OpenSSL import SSL

from relay.mail.facts import Unverified, Verified
from relay.tls.anchors import CLIENT, AnchorSet
from relay.tls.ciphers import BadCipherList
from relay.tls.contexts import (
    RECHECK,
    REMIND,
    FileTrouble,
    ServerContexts,
    TLSContext,
    make_client_context,
    make_server_context,
)
from relay.tls.dh_groups import named_group
from relay.tls.engine import Engine, Handshake, TLSBroken
from relay.tls.parameters import ParameterCache
from relay.tls.policy import CertificateRequest, ClientTLS, IdentityFiles, ServerTLS
from relay.trust.certificate import judge_client
from tls.material import response, weak_identity

import certs
from certs import authority, self_signed

NOW = datetime.datetime.now(datetime.UTC).timestamp()
OLD, NEW = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
Prepare = Callable[[SSL.Context], None]


def put(path: Path, *octets: bytes) -> str:
    new = path.with_name(path.name + ".new")
    new.write_bytes(b"".join(octets))
    os.replace(new, path)
    return str(path)


@pytest.fixture
def policy(tmp_path: Path) -> ServerTLS:
    certificate, key = certs.relay().write(tmp_path, "relay")
    return ServerTLS(str(certificate), str(key), put(tmp_path / "anchors.pem", certs.laptop().cert_pem))


@dataclasses.dataclass
class Seen:
    """A handshake from both ends; `error` is the server's where there was none."""

    server: Handshake | None
    error: str
    leaf: x509.Certificate | None
    chain: list[x509.Certificate]
    staple: bytes | None
    suite: str | None
    group: str | None
    version: str
    protocol: bytes
    connection: SSL.Connection


def shake(made: TLSContext, prepare: Prepare = lambda _: None, session: SSL.Session | None = None,
          own: SSL.Context | None = None) -> Seen:  # fmt: skip
    staples: list[bytes] = []
    client = own or SSL.Context(SSL.TLS_CLIENT_METHOD)
    if own is None:
        prepare(client)
        client.set_ocsp_client_callback(lambda _conn, octets, _data: staples.append(octets) is None)
    end = SSL.Connection(client, None)
    end.request_ocsp()
    if session is not None:
        end.set_session(session)
    end.set_connect_state()
    server, error, facts = Engine(made.ssl, is_server=True), "", None
    for _ in range(4):
        try:
            end.do_handshake()
            end.recv(1)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except SSL.Error:
            break
        try:
            server.feed(end.bio_read(65536))
        except SSL.WantReadError:
            pass
        try:
            if server.is_handshaking and server.advance():
                facts = server.facts()
                server.write(b"x")
        except TLSBroken as broken:
            error = broken.reason
        octets = server.output()
        if octets:
            end.bio_write(octets)
    return Seen(
        facts, error, end.get_peer_certificate(as_cryptography=True),
        end.get_peer_cert_chain(as_cryptography=True) or [], staples[0] if staples else None,
        end.get_cipher_name(), end.get_group_name() if facts else None, end.get_protocol_version_name(),
        end.get_alpn_proto_negotiated(), end,
    )  # fmt: skip


def speaking(version: int, ciphers: bytes = b"") -> Prepare:
    def prepare(context: SSL.Context) -> None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if ciphers:
            context.set_cipher_list(ciphers)

    return prepare


# tls_certificate, tls_privatekey


@pytest.fixture
def two_kinds(tmp_path: Path, policy: ServerTLS) -> tuple[ServerTLS, x509.Certificate, x509.Certificate]:
    ca, other = authority("EC root").intermediate("EC middle"), authority("RSA root").intermediate("RSA middle")
    elliptic, rsa = ca.issue("relay.test"), other.issue("relay.test", key="rsa")
    files = [tuple(map(str, each.write(tmp_path, name))) for name, each in (("ec", elliptic), ("rsa", rsa))]
    made = dataclasses.replace(
        policy, certificate=files[0][0], privatekey=files[0][1], further=(IdentityFiles(*files[1]),)
    )
    return made, elliptic.certificate, rsa.certificate


def test_an_rsa_certificate_beside_an_ecdsa_one(two_kinds) -> None:
    policy, elliptic, rsa = two_kinds
    made = make_server_context(policy)
    assert shake(made).leaf == elliptic
    for ciphers, leaf, issuer in (
        (b"ECDHE-RSA-AES128-GCM-SHA256", rsa, "RSA middle"),
        (b"ECDHE-ECDSA-AES128-GCM-SHA256", elliptic, "EC middle"),
    ):
        seen = shake(made, speaking(OLD, ciphers))
        assert seen.chain[0] == leaf
        assert [each.subject.rfc4514_string() for each in seen.chain[1:]] == [f"CN={issuer}"]
        assert seen.server is not None
        assert seen.server.ours is not None
        assert seen.server.ours.der == certs.CertKey(leaf, certs.relay().key).der


def test_a_self_signed_one_where_none_is_named() -> None:
    made = make_server_context(ServerTLS("", self_signed_for="relay.test"), now=NOW)
    seen = shake(made, speaking(OLD, b"ECDHE-RSA-AES256-SHA"))
    assert seen.leaf is not None
    assert seen.leaf.subject.rfc4514_string() == "CN=relay.test"


# tls_eccurve


def test_the_hybrid_is_used_where_both_can(policy: ServerTLS) -> None:
    made = make_server_context(policy)
    seen = shake(made)
    assert seen.group == "X25519MLKEM768"
    assert seen.server is not None
    assert seen.server.group == "X25519MLKEM768"
    assert shake(made, speaking(OLD)).group == "x25519"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("prime256v1",), "secp256r1"),
        (("P-384",), "secp384r1"),
        (("secp521r1", "X25519"), "x25519"),  # the client's share is of that one
        (("auto",), "X25519MLKEM768"),
        (("P-256", "auto"), "X25519MLKEM768"),
    ],
)
def test_groups_that_are_named(policy: ServerTLS, names: tuple[str, ...], expected: str) -> None:
    made = make_server_context(dataclasses.replace(policy, groups=names))
    assert shake(made).group == expected


def test_a_group_that_nobody_knows(policy: ServerTLS) -> None:
    with pytest.raises(BadCipherList, match="tls_eccurve"):
        make_server_context(dataclasses.replace(policy, groups=("bogus",)))


# openssl_options


def test_a_version_that_is_switched_off(policy: ServerTLS) -> None:
    made = make_server_context(dataclasses.replace(policy, switches="+no_tlsv1_3"))
    assert shake(made).version == "TLSv1.2"
    assert shake(made, speaking(NEW)).error == "unsupported protocol"
    made = make_server_context(dataclasses.replace(policy, switches="+no_tlsv1_2"))
    assert shake(made, speaking(OLD)).error == "unsupported protocol"


def test_the_servers_preference(policy: ServerTLS) -> None:
    wanted = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    client = speaking(OLD, b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256")
    own = dataclasses.replace(policy, require_ciphers=wanted)
    assert shake(make_server_context(own), client).suite == "ECDHE-ECDSA-AES256-GCM-SHA384"
    own = dataclasses.replace(own, switches="+cipher_server_preference")
    assert shake(make_server_context(own), client).suite == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_a_switch_that_nobody_knows(policy: ServerTLS) -> None:
    with pytest.raises(BadCipherList, match="openssl_options"):
        make_server_context(dataclasses.replace(policy, switches="+bogus"))


# tls_require_ciphers with GnuTLS's words


def test_a_priority_string(policy: ServerTLS) -> None:
    made = make_server_context(dataclasses.replace(policy, require_ciphers="SECURE256:-VERS-TLS1.3"))
    seen = shake(made)
    assert (seen.version, seen.suite) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert seen.group in ("secp384r1", "secp521r1", "x448")


# tls_dhparam, tls_dh_max_bits


def without_own_groups(context: SSL.Context) -> None:
    """A client that leaves the choice of the parameters to the server, as those before RFC 7919 do."""
    speaking(OLD, b"DHE-RSA-AES128-GCM-SHA256")(context)
    SSL._lib.SSL_CTX_set1_curves_list(context._context, b"X25519")  # type: ignore[attr-defined]  # a test's client


@pytest.fixture
def with_rsa(tmp_path: Path, policy: ServerTLS) -> ServerTLS:
    certificate, key = self_signed("relay.test", key="rsa").write(tmp_path, "rsa")
    return dataclasses.replace(policy, certificate=str(certificate), privatekey=str(key))


@pytest.mark.parametrize("text", ["", "ffdhe2048", "ike14", "ike24", "historic", "2048", "FILE"])
def test_diffie_hellman(with_rsa: ServerTLS, tmp_path: Path, text: str) -> None:
    if text == "FILE":
        text = put(tmp_path / "dh.pem", named_group("ike14"))
    made = make_server_context(dataclasses.replace(with_rsa, dhparam=text))
    assert made.faults == ()
    assert shake(made, without_own_groups).suite == "DHE-RSA-AES128-GCM-SHA256"


def test_none_means_none(with_rsa: ServerTLS) -> None:
    made = make_server_context(dataclasses.replace(with_rsa, dhparam="none"))
    assert shake(made, without_own_groups).error == "no shared cipher"
    assert shake(made, speaking(OLD, b"DHE-RSA-AES128-GCM-SHA256")).error == "no shared cipher"
    assert shake(made, speaking(OLD, b"ECDHE-RSA-AES128-GCM-SHA256")).error == ""
    with pytest.raises(BadCipherList, match="leaves no cipher suite"):
        make_server_context(dataclasses.replace(with_rsa, dhparam="none", require_ciphers="kDHE"))


def test_larger_ones_than_allowed(with_rsa: ServerTLS) -> None:
    made = make_server_context(dataclasses.replace(with_rsa, dhparam="ffdhe3072"))
    assert ["tls_dh_max_bits" in fault.what for fault in made.faults] == [True]
    assert shake(made, without_own_groups).error == "no shared cipher"
    assert shake(made).error == ""
    assert make_server_context(dataclasses.replace(with_rsa, dhparam="ffdhe3072", dh_max_bits=3072)).faults == ()


@pytest.mark.parametrize("octets", [None, b"garbage", named_group("ike2")])
def test_parameters_that_are_no_good_cost_no_session(with_rsa: ServerTLS, tmp_path: Path, octets: bytes | None) -> None:
    path = tmp_path / "dh.pem"
    if octets is not None:
        put(path, octets)
    made = make_server_context(dataclasses.replace(with_rsa, dhparam=str(path)))
    assert [fault.path for fault in made.faults] == [str(path)]
    assert shake(made).error == ""


def test_a_group_that_has_no_name(with_rsa: ServerTLS) -> None:
    with pytest.raises(BadCipherList, match="tls_dhparam"):
        make_server_context(dataclasses.replace(with_rsa, dhparam="bogus"))


def test_own_parameters_come_into_force_when_they_are_there(with_rsa: ServerTLS, tmp_path: Path) -> None:
    class Cache(ParameterCache):
        def _begin(self, bits: int) -> None:
            pass

    contexts = ServerContexts(Cache(str(tmp_path)))
    wanted = dataclasses.replace(with_rsa, dhparam="historic")
    first = contexts.get(wanted, NOW)
    assert contexts.get(wanted, NOW + RECHECK) is first
    put(tmp_path / "gnutls-params-2048", named_group("ike14"))
    assert contexts.get(wanted, NOW + 2 * RECHECK) is not first


# tls_ocsp_file


def test_a_staple_for_each_certificate(tmp_path: Path, policy: ServerTLS) -> None:
    ca = authority()
    elliptic, rsa = ca.issue("relay.test"), ca.issue("relay.test", key="rsa")
    files = []
    for name, each in (("ec", elliptic), ("rsa", rsa)):
        certificate, key = each.write(tmp_path, name)
        files.append(IdentityFiles(str(certificate), str(key), put(tmp_path / f"{name}.ocsp", response(ca, each))))
    first = files[0]
    made = ServerContexts().get(
        dataclasses.replace(
            policy,
            certificate=first.certificate,
            privatekey=first.privatekey,
            staple=first.staple,
            further=(files[1],),
        ),
        NOW,
    )
    assert made.faults == ()
    for ciphers, leaf in ((b"ECDHE-ECDSA-AES128-GCM-SHA256", elliptic), (b"ECDHE-RSA-AES128-GCM-SHA256", rsa)):
        seen = shake(made, speaking(OLD, ciphers))
        assert seen.staple
        assert seen.staple == Path(files[leaf is rsa].staple).read_bytes()
        assert seen.server is not None
        assert seen.server.staple == "sent"


def test_no_staple_once_it_is_out_of_date(tmp_path: Path, policy: ServerTLS) -> None:
    ca = authority()
    leaf = ca.issue("relay.test")
    certificate, key = leaf.write(tmp_path, "leaf")
    contexts = ServerContexts()
    wanted = dataclasses.replace(
        policy, certificate=str(certificate), privatekey=str(key), staple=put(tmp_path / "s", response(ca, leaf))
    )
    assert shake(contexts.get(wanted, NOW)).staple
    late = shake(contexts.get(wanted, NOW + 2 * 86400))
    assert not late.staple
    assert late.server is not None
    assert late.server.staple == "none"


def test_without_a_file_nothing_is_stapled(policy: ServerTLS) -> None:
    seen = shake(make_server_context(policy))
    assert not seen.staple
    assert seen.server is not None
    assert seen.server.staple == "none"


# tls_alpn


def test_the_protocol_that_is_agreed_on(policy: ServerTLS) -> None:
    made = make_server_context(dataclasses.replace(policy, alpn=("smtp", "esmtp")))
    assert shake(made, lambda context: context.set_alpn_protos([b"esmtp"])).protocol == b"esmtp"
    assert shake(made).protocol == b""
    unset = make_server_context(policy)
    assert shake(unset, lambda context: context.set_alpn_protos([b"h2"])).protocol == b""


# Renewals that go wrong


def test_a_broken_renewal_leaves_the_old_certificate_in_force_and_says_so(policy: ServerTLS) -> None:
    told: list[FileTrouble] = []
    contexts = ServerContexts(tell=told.append)
    old = shake(contexts.get(policy, NOW)).leaf
    assert old is not None
    assert told == []
    put(Path(policy.certificate), b"garbage")
    assert shake(contexts.get(policy, NOW + RECHECK)).leaf == old
    assert [(each.fault.path, each.consequence) for each in told] == [
        (policy.certificate, "what was good before stays in force")
    ]
    contexts.get(policy, NOW + 2 * RECHECK)
    assert len(told) == 1
    contexts.get(policy, NOW + RECHECK + REMIND)
    assert len(told) == 2
    renewed = self_signed("relay.test")
    put(Path(policy.privatekey), renewed.key_pem)
    assert shake(contexts.get(policy, NOW + REMIND + 10)).leaf == old
    put(Path(policy.certificate), renewed.chain_pem)
    made = contexts.get(policy, NOW + REMIND + 20)
    assert made.faults == ()
    assert shake(made).leaf == renewed.certificate


def test_a_certificate_that_openssl_refuses_leaves_the_old_one_in_force(policy: ServerTLS) -> None:
    contexts = ServerContexts()
    old = shake(contexts.get(policy, NOW)).leaf
    weak = weak_identity()
    put(Path(policy.certificate), weak.chain_pem)
    put(Path(policy.privatekey), weak.key_pem)
    made = contexts.get(policy, NOW + RECHECK)
    assert ["OpenSSL refuses" in fault.what for fault in made.faults] == [True]
    assert shake(made).leaf == old


def test_trusted_certificates_that_break_give_nobody_rights_though_ours_are_broken_too(policy: ServerTLS) -> None:
    told: list[FileTrouble] = []
    contexts = ServerContexts(tell=told.append)
    asking = dataclasses.replace(policy, request=CertificateRequest.TRY)
    assert certs.laptop().certificate in contexts.get(asking, NOW).anchors
    put(Path(policy.certificate), b"garbage")
    put(Path(policy.verify_certificates), certs.laptop().cert_pem[:100])
    made = contexts.get(asking, NOW + RECHECK)
    assert made.faults
    assert made.anchor_fault is not None
    assert made.anchors.certificates == []
    expected = [
        (policy.certificate, "what was good before stays in force"),
        (policy.verify_certificates, "no certificate verifies"),
    ]
    assert [(each.fault.path, each.consequence) for each in told] == expected
    contexts.get(asking, NOW + RECHECK + REMIND)
    assert [(each.fault.path, each.consequence) for each in told] == expected * 2


def test_a_broken_revocation_list_leaves_the_old_one_in_force(tmp_path: Path, policy: ServerTLS) -> None:
    told: list[FileTrouble] = []
    contexts = ServerContexts(tell=told.append)
    ca = authority()
    good, bad = ca.issue("good.test"), ca.issue("bad.test")
    lists = put(tmp_path / "crl.pem", ca.crl([bad]))
    asking = dataclasses.replace(
        policy,
        verify_certificates=put(tmp_path / "ca.pem", ca.cert_pem),
        crl=lists,
        request=CertificateRequest.TRY,
    )

    def verified(now: float) -> list[bool]:
        anchors = contexts.get(asking, now).anchors
        return [isinstance(anchors.verify((each.certificate,), CLIENT, NOW), Verified) for each in (good, bad)]

    assert verified(NOW) == [True, False]
    put(Path(lists), ca.crl([bad])[:200])
    assert verified(NOW + RECHECK) == [True, False]
    assert [each.fault.path for each in told] == [lists]
    put(Path(lists), ca.crl([good]))
    assert verified(NOW + 2 * RECHECK) == [False, True]
    assert len(told) == 1
    # Who never saw a good one trusts nobody.
    put(Path(lists), b"garbage")
    assert ServerContexts().get(asking, NOW).anchor_fault is not None


def test_a_broken_staple_leaves_the_old_one_in_force_while_it_is_in_date(tmp_path: Path, policy: ServerTLS) -> None:
    told: list[FileTrouble] = []
    contexts = ServerContexts(tell=told.append)
    ca = authority()
    server, renewed = ca.issue("relay.test"), ca.issue("relay.test")
    certificate, key = map(str, server.write(tmp_path, "ours"))
    octets = response(ca, server)
    made = dataclasses.replace(
        policy, certificate=certificate, privatekey=key, staple=put(tmp_path / "staple", octets)
    )
    assert shake(contexts.get(made, NOW)).staple == octets
    put(tmp_path / "staple", b"garbage")
    assert shake(contexts.get(made, NOW + RECHECK)).staple == octets
    assert [each.fault.path for each in told] == [made.staple]
    assert shake(contexts.get(made, NOW + 400 * 86400)).staple == b""
    renewed.write(tmp_path, "ours")
    seen = shake(contexts.get(made, NOW + 2 * RECHECK))
    assert (seen.leaf, seen.staple) == (renewed.certificate, b""), "it is about another certificate"


# What a client is told of the certificates that are wanted


def named_to(policy: ServerTLS, version: int) -> list[str]:
    seen = shake(make_server_context(policy, now=NOW), speaking(version))
    return [name.CN for name in seen.connection.get_client_ca_list()]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_the_authorities_are_named_where_a_certificate_is_demanded(
    policy: ServerTLS, tmp_path: Path, version: int
) -> None:
    """Exim: of a file, never of a directory."""
    root, leaf = authority("Our root"), authority("Another root").issue("laptop.test")
    must = dataclasses.replace(policy, request=CertificateRequest.MUST)
    assert named_to(must, version) == ["laptop.test"]
    put(tmp_path / "anchors.pem", root.cert_pem, certs.laptop().cert_pem)
    assert sorted(named_to(must, version)) == ["Our root", "laptop.test"]
    assert named_to(dataclasses.replace(policy, request=CertificateRequest.TRY), version) == []
    put(tmp_path / "anchors.pem", root.cert_pem, leaf.cert_pem)
    assert named_to(must, version) == [], "the client would look for an issuer that is not named"
    folder = tmp_path / "folder"
    folder.mkdir()
    put(folder / "a.pem", root.cert_pem)
    assert named_to(dataclasses.replace(must, verify_certificates=str(folder)), version) == []


def test_a_bundle_is_no_hint(policy: ServerTLS, tmp_path: Path) -> None:
    many = [self_signed("x" * 60 + f"{number:03}").cert_pem for number in range(260)]
    put(tmp_path / "anchors.pem", *many)
    assert named_to(dataclasses.replace(policy, request=CertificateRequest.MUST), NEW) == []


# tls_resumption_hosts


def client_for(made: certs.CertKey | None, version: int = NEW) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    speaking(version)(context)
    if made is not None:
        context.use_certificate(made.certificate)
        for issuer in made.issuers:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(made.key)
    return context


def resumed(first: TLSContext, second: TLSContext, own: SSL.Context) -> Handshake | None:
    """A session of the first context is offered to the second one."""
    before = shake(first, own=own)
    assert before.server is not None
    assert not before.server.resumed
    session = before.connection.get_session()
    before.connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    return shake(second, own=own, session=session).server


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_ticket_is_good_under_its_own_policy_alone(policy: ServerTLS, version: int) -> None:
    contexts = ServerContexts()
    asking = dataclasses.replace(policy, request=CertificateRequest.TRY, resumption=True, policy_name="[::1]:25 a.test")
    first = contexts.get(asking, NOW)
    again = resumed(first, contexts.get(asking, NOW), client_for(certs.laptop(), version))
    assert again is not None
    assert again.resumed
    for changed in (
        {"policy_name": "[::1]:25 b.test"},
        {"policy_name": "[::1]:465 a.test"},
        {"request": CertificateRequest.MUST},
        {"require_ciphers": "HIGH"},
    ):
        other = contexts.get(dataclasses.replace(asking, **changed), NOW)
        found = resumed(first, other, client_for(certs.laptop(), version))
        assert found is not None
        assert not found.resumed, changed


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_certificate_that_is_taken_out_makes_its_tickets_worthless(policy: ServerTLS, version: int) -> None:
    contexts = ServerContexts()
    asking = dataclasses.replace(policy, request=CertificateRequest.TRY, resumption=True)
    first = contexts.get(asking, NOW)
    own = client_for(certs.laptop(), version)
    before = shake(first, own=own)
    assert before.server is not None
    assert judge_client(before.server, first.anchors, asking.request, NOW) == Verified("itself")
    session = before.connection.get_session()
    before.connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    put(Path(policy.verify_certificates), certs.stranger().cert_pem)
    later = contexts.get(asking, NOW + RECHECK)
    after = shake(later, own=own, session=session).server
    assert after is not None
    assert not after.resumed
    assert isinstance(judge_client(after, later.anchors, asking.request, NOW), Unverified)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_resumed_session_is_judged_anew_with_the_issuers_of_the_first(
    tmp_path: Path, policy: ServerTLS, version: int
) -> None:
    ca = authority()
    laptop = ca.intermediate().issue("laptop.test")
    asking = dataclasses.replace(
        policy,
        verify_certificates=put(tmp_path / "ca.pem", ca.cert_pem),
        request=CertificateRequest.TRY,
        resumption=True,
    )
    made = ServerContexts().get(asking, NOW)
    own = client_for(laptop, version)
    before = shake(made, own=own)
    assert before.server is not None
    assert len(before.server.chain) == 2
    assert judge_client(before.server, made.anchors, asking.request, NOW) == Verified("anchor")
    session = before.connection.get_session()
    before.connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    after = shake(made, own=own, session=session).server
    assert after is not None
    assert after.resumed
    assert len(after.chain) == 1
    assert judge_client(after, made.anchors, asking.request, NOW) == Verified("anchor")
    assert isinstance(judge_client(after, made.anchors, asking.request, NOW + 40 * 86400), Unverified)
    assert isinstance(judge_client(after, AnchorSet([ca.own.certificate], []), asking.request, NOW), Unverified)


# The reason of a refusal inside the handshake


def test_what_is_refused_inside_the_handshake_keeps_its_reason(tmp_path: Path, policy: ServerTLS) -> None:
    ca = authority()
    good, bad, old = ca.issue("good.test"), ca.issue("bad.test"), ca.issue("old.test", days=-1)
    demanding = dataclasses.replace(
        policy,
        verify_certificates=put(tmp_path / "ca.pem", ca.cert_pem),
        crl=put(tmp_path / "crl.pem", ca.crl([bad])),
        request=CertificateRequest.MUST,
    )
    made = make_server_context(demanding)
    assert shake(made, own=client_for(good)).error == ""
    assert shake(made, own=client_for(bad)).error.startswith("the certificate was revoked on 20")
    assert shake(made, own=client_for(old)).error.startswith("the certificate has expired on 20")
    error = shake(made, own=client_for(certs.stranger())).error
    assert error.startswith("the certificate is self-signed and not in the trusted set: /CN=stranger.test")
    assert f"FP={certs.stranger().fingerprint} KEY=" in error
    assert shake(made, own=client_for(None)).error == "peer did not return a certificate"


def test_revocation_lists_of_a_directory(tmp_path: Path, policy: ServerTLS) -> None:
    """Plain names, or those that c_rehash gives them; certificates beside them are passed over."""
    ca = authority()
    bad = ca.issue("bad.test")
    lists = tmp_path / "lists"
    lists.mkdir()
    put(lists / "ca.pem", ca.cert_pem)
    put(lists / "list.pem", ca.crl([bad]))
    (lists / "1a2b3c4d.r0").symlink_to("list.pem")
    demanding = dataclasses.replace(
        policy,
        verify_certificates=put(tmp_path / "ca.pem", ca.cert_pem),
        crl=str(lists),
        request=CertificateRequest.MUST,
    )
    contexts = ServerContexts()
    assert "revoked" in shake(contexts.get(demanding, NOW), own=client_for(bad)).error
    put(lists / "list.pem", ca.crl())
    assert shake(contexts.get(demanding, NOW + RECHECK), own=client_for(bad)).error == ""


def test_a_client_context_takes_groups_of_a_priority_string(policy: ServerTLS) -> None:
    text = "NORMAL:-GROUP-ALL:+GROUP-SECP384R1"
    client = make_client_context(ClientTLS(verify_certificates=policy.verify_certificates, require_ciphers=text))
    assert shake(make_server_context(policy), own=client.ssl).group == "secp384r1"
