"""From TLS options to the policy of one connection: what is unset, what is asked of whom, what is stronger."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import fields
from typing import Any, TypeVar

import pytest

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import HostView, Scope
from relay.mail.facts import Endpoint, LocalCaller, SessionFacts, TLSFacts
from relay.mail.ports import TemporaryFailure
from relay.policy.hosts import matches_client
from relay.policy.tls import (
    ClientTLSRules,
    NoCertificateConfigured,
    ServerTLSRules,
    UnsafeName,
    client_policy,
    offers_tls,
    server_policy,
)
from relay.tls.cipher_lists import read_ciphers
from relay.tls.policy import CertificateRequest, ClientTLS, IdentityFiles, ServerTLS, TLSDemand, VerifyServer
from relay.tls.priorities import read_old_lists

T = TypeVar("T")

FORCED = "${if eq{1}{2}{a}fail}"
FAILS = "${expand:\\${bad}}"
TEXTS = ("certificate", "privatekey", "verify_certificates", "crl", "require_ciphers")
IN, OUT = "192.0.2.0/24", "203.0.113.0/24"
NAMES = ("mx.far.test",)
PEER = Endpoint("192.0.2.7", 4000)


def answer(question: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a port did not answer at once")


def compiled(options: dict[str, Any]) -> dict[str, Any]:
    """Texts as expansions, and as host lists where the option is one."""
    lists = {
        each.name for rules in (ServerTLSRules, ClientTLSRules) for each in fields(rules) if "MatchList" in each.type
    }
    plain = {each.name for rules in (ServerTLSRules, ClientTLSRules) for each in fields(rules) if each.type == "str"}
    return {
        name: value
        if not isinstance(value, str) or name in plain
        else compile_list(ListKind.HOST, value)
        if name in lists
        else compile_expansion(value)
        for name, value in options.items()
    }


def server(peer: Endpoint | None = PEER, sni: str = "", **options: Any) -> ServerTLS:
    caller = None if peer is not None else LocalCaller("anna", 1000, 1000)
    layer = TLSFacts("", "", 0, sni=sni) if sni else None
    scope = Scope(session=SessionFacts(peer=peer, caller=caller, tls=layer))
    rules = ServerTLSRules(**{"advertise_hosts": None, **compiled({"certificate": "/relay.crt", **options})})
    return answer(server_policy(rules, scope, "[192.0.2.1]:25"))


def client(**options: Any) -> ClientTLS:
    scope = Scope(host=HostView("mx.far.test", "192.0.2.9", 25), main={"primary_hostname": "laptop.test"})
    return answer(client_policy(ClientTLSRules(**compiled(options)), scope, NAMES))


# A server


def test_a_server_with_nothing_but_a_certificate() -> None:
    assert server() == ServerTLS("/relay.crt", policy_name="[192.0.2.1]:25")


def test_a_server_with_everything() -> None:
    texts = {name: f"/{name} of $sender_host_address" for name in TEXTS}
    more = {"ocsp_file": "/staple", "dhparam": " ffdhe2048 ", "eccurve": "P-256 : X25519", "alpn": "smtp : esmtp"}
    made = server(
        **texts, **more, resumption_hosts="*", require_alpn=IN, dh_max_bits=3072, switches="+no_tlsv1_3", host_name="r"
    )
    assert made == ServerTLS(
        **{name: f"/{name} of 192.0.2.7" for name in TEXTS},
        resumption=True,
        policy_name="[192.0.2.1]:25",
        staple="/staple",
        dhparam="ffdhe2048",
        dh_max_bits=3072,
        groups=("P-256", "X25519"),
        switches="+no_tlsv1_3",
        alpn=("smtp", "esmtp"),
        require_alpn=True,
    )


def test_several_certificates() -> None:
    """Keys and OCSP responses go with the certificate at the same place of its list."""
    made = server(certificate="/a : /b : /c", privatekey="/ak : /bk", ocsp_file="/ao : PEM /bo")
    assert made.identities == (
        IdentityFiles("/a", "/ak", "/ao"),
        IdentityFiles("/b", "/bk", "PEM /bo"),
        IdentityFiles("/c"),
    )
    assert server(certificate="<; /a ; /b").identities == (IdentityFiles("/a"), IdentityFiles("/b"))


@pytest.mark.parametrize("value", [None, "", FORCED, "system", "system,cache"])
def test_the_systems_authorities(value: str | None) -> None:
    assert server(verify_certificates=value).verify_certificates == "system"


def test_without_a_certificate_one_is_made() -> None:
    made = server(certificate=None, host_name="relay.test")
    assert (made.certificate, made.self_signed_for, made.identities) == ("", "relay.test", ())
    assert server(host_name="relay.test").self_signed_for == ""


@pytest.mark.parametrize("value", ["", FORCED])
def test_a_certificate_that_expands_to_nothing_is_a_mistake_and_not_a_wish(value: str) -> None:
    with pytest.raises(NoCertificateConfigured, match="expands to nothing"):
        server(certificate=value, host_name="relay.test")


def test_the_ciphers_of_older_options() -> None:
    assert read_ciphers(server(require_ciphers="AES_128", require_kx="DHE").require_ciphers) == read_old_lists(
        "AES_128", "DHE", "", ""
    )
    assert server(require_ciphers="HIGH", verify_ciphers="AES256", try_verify_hosts=IN).require_ciphers == "HIGH"
    assert server(require_ciphers="HIGH", verify_ciphers="AES256", verify_hosts=IN).require_ciphers == "AES256"


@pytest.mark.parametrize(
    ("advertise", "old", "offered"),
    [(None, None, False), (IN, None, True), (OUT, None, False), (OUT, IN, True), (None, IN, True), (OUT, OUT, False)],
)
def test_to_whom_tls_is_offered(advertise: str | None, old: str | None, offered: bool) -> None:
    rules = ServerTLSRules(**{"advertise_hosts": None, **compiled({"advertise_hosts": advertise, "hosts": old})})
    scope = Scope(session=SessionFacts(peer=PEER))
    assert answer(offers_tls(rules, lambda hosts: matches_client(hosts, scope))) is offered


# The name that a client asks for


def test_a_name_changes_the_files_and_nothing_else() -> None:
    folder = "${if eq{$tls_in_sni}{b.test}{b}{a}}"
    texts = {name: f"/{folder}/{name}" for name in (*TEXTS, "ocsp_file", "dhparam")}
    before, after = server(**texts), server(sni="b.test", **texts)
    assert (before.certificate, before.require_ciphers) == ("/a/certificate", "/a/require_ciphers")
    assert (after.certificate, after.privatekey, after.staple) == ("/b/certificate", "/b/privatekey", "/b/ocsp_file")
    assert (after.verify_certificates, after.crl) == ("/b/verify_certificates", "/b/crl")
    assert (after.require_ciphers, after.dhparam) == (before.require_ciphers, before.dhparam)


def test_without_the_name_in_the_certificate_it_changes_nothing() -> None:
    assert server(sni="b.test", privatekey="/$tls_in_sni") == server(privatekey="/$tls_in_sni")


@pytest.mark.parametrize("name", ["../etc", "a/b", "..", "a..b", ".hidden", "a:/etc/passwd", "a b", "é", "a\0b", "<;a"])
@pytest.mark.parametrize("option", ["certificate", "privatekey", "verify_certificates", "crl", "ocsp_file"])
def test_a_name_can_not_leave_its_folder(name: str, option: str) -> None:
    texts = {"certificate": "${if def:tls_in_sni{/relay.crt}{/relay.crt}}", option: "/certs/$tls_in_sni.pem"}
    assert getattr(server(sni="b.test", **texts), option.removesuffix("_file").replace("ocsp", "staple")) == (
        "/certs/b.test.pem"
    )
    with pytest.raises(UnsafeName):
        server(sni=name, **texts)


def test_a_ticket_is_bound_to_the_name() -> None:
    names = {server(sni=name, resumption_hosts="*").policy_name for name in ("", "a.test", "b.test")}
    assert len(names) == 3
    assert server(sni="a.test").policy_name == server().policy_name


@pytest.mark.parametrize("value", [None, "", FORCED, "${if eq{1}{2}{a}}"])
def test_a_server_without_a_certificate(value: str | None) -> None:
    with pytest.raises(NoCertificateConfigured):
        server(certificate=value)


@pytest.mark.parametrize("name", ["privatekey", "verify_certificates", "crl", "require_ciphers"])
def test_a_forced_failure_is_as_if_it_were_not_set(name: str) -> None:
    assert server(**{name: FORCED}) == server()
    assert server(**{name: "/x"}) != server()


@pytest.mark.parametrize("name", TEXTS)
def test_a_servers_option_that_can_not_be_expanded(name: str) -> None:
    with pytest.raises(ExpansionFailed):
        server(**{name: FAILS})


@pytest.mark.parametrize("name", ["verify_hosts", "try_verify_hosts", "resumption_hosts"])
def test_a_servers_list_that_can_not_be_asked(name: str) -> None:
    """No answer is never taken for "nobody"."""
    with pytest.raises(TemporaryFailure):
        server(**{name: FAILS})


@pytest.mark.parametrize(
    "must, attempt, expected",
    [
        (None, None, CertificateRequest.NONE),
        ("", "", CertificateRequest.NONE),
        (None, IN, CertificateRequest.TRY),
        (None, OUT, CertificateRequest.NONE),
        (IN, None, CertificateRequest.MUST),
        (IN, IN, CertificateRequest.MUST),
        (OUT, IN, CertificateRequest.TRY),
        (OUT, OUT, CertificateRequest.NONE),
        ("*", "*", CertificateRequest.MUST),
        (f"!{IN} : *", "*", CertificateRequest.TRY),
    ],
)
def test_what_is_asked_of_a_client(must: str | None, attempt: str | None, expected: CertificateRequest) -> None:
    assert server(verify_hosts=must, try_verify_hosts=attempt).request is expected


@pytest.mark.parametrize("hosts, expected", [(None, False), (IN, True), (OUT, False)])
def test_sessions_are_resumed_only_for_whom_it_is_allowed(hosts: str | None, expected: bool) -> None:
    assert server(resumption_hosts=hosts).resumption is expected


def test_a_local_caller_is_in_no_list() -> None:
    made = server(peer=None, verify_hosts=IN, try_verify_hosts=IN, resumption_hosts=IN)
    assert (made.request, made.resumption) == (CertificateRequest.NONE, False)


@pytest.mark.parametrize(
    "text, depends",
    [
        ("/relay.crt", False),
        ("/$tls_in_sni.crt", True),
        ("/$tls_sni.crt", True),
        ("${if eq{$tls_in_sni}{b}{/b}{/a}}", True),
        ("/$sender_host_address", False),
    ],
)
def test_whether_the_name_chooses_the_certificate(text: str, depends: bool) -> None:
    assert ServerTLSRules(None, certificate=compile_expansion(text)).depends_on_sni is depends
    assert not ServerTLSRules(None).depends_on_sni


def test_the_name_chooses_the_certificate() -> None:
    text = "${if eq{$tls_in_sni}{b.test}{/b.crt}{/a.crt}}"
    assert [server(sni=name, certificate=text).certificate for name in ("", "a.test", "b.test")] == [
        "/a.crt",
        "/a.crt",
        "/b.crt",
    ]


# A client


def test_a_client_with_nothing_set() -> None:
    assert client() == ClientTLS(names=NAMES)


def test_a_client_with_everything() -> None:
    texts = {name: f"/{name} for $host" for name in (*TEXTS, "sni")}
    made = client(**texts, pins=("A" * 64,), require_tls="*", tempfail_tryclear=False, on_connect=True)
    assert made == ClientTLS(
        TLSDemand.REQUIRED,
        **{name: f"/{name} for mx.far.test" for name in (*TEXTS, "sni")},
        verify=VerifyServer.MUST,
        names=NAMES,
        pins=("A" * 64,),
        tempfail_tryclear=False,
        on_connect=True,
    )


@pytest.mark.parametrize("name", [*TEXTS, "sni"])
def test_a_clients_forced_failure_is_as_if_it_were_not_set(name: str) -> None:
    assert client(**{name: FORCED}) == client()
    assert client(**{name: "/x"}) != client()


@pytest.mark.parametrize("name", [*TEXTS, "sni"])
def test_a_clients_option_that_can_not_be_expanded(name: str) -> None:
    with pytest.raises(ExpansionFailed):
        client(**{name: FAILS})


@pytest.mark.parametrize("name", ["verify_hosts", "require_tls", "avoid_tls", "verify_cert_hostnames"])
def test_a_clients_list_that_can_not_be_asked(name: str) -> None:
    with pytest.raises(TemporaryFailure):
        client(**{name: FAILS})


@pytest.mark.parametrize(
    "require, avoid, on_connect, expected",
    [
        (None, None, False, TLSDemand.OPPORTUNISTIC),
        (IN, None, False, TLSDemand.REQUIRED),
        (OUT, None, False, TLSDemand.OPPORTUNISTIC),
        (None, IN, False, TLSDemand.AVOID),
        (IN, IN, False, TLSDemand.REQUIRED),
        (OUT, IN, False, TLSDemand.AVOID),
        (None, None, True, TLSDemand.REQUIRED),
        (None, IN, True, TLSDemand.REQUIRED),
    ],
)
def test_what_a_client_demands(require: str | None, avoid: str | None, on_connect: bool, expected: TLSDemand) -> None:
    assert client(require_tls=require, avoid_tls=avoid, on_connect=on_connect).demand is expected


MUST, TRY = VerifyServer.MUST, VerifyServer.TRY


@pytest.mark.parametrize(
    "certificates, pins, must, attempt, expected",
    [
        (None, (), None, None, TRY),
        ("/relay.crt", (), None, None, MUST),
        (FORCED, (), None, None, TRY),
        (None, ("A" * 64,), None, None, MUST),
        ("/relay.crt", (), IN, None, MUST),
        ("/relay.crt", (), OUT, None, TRY),
        ("/relay.crt", (), OUT, "", VerifyServer.NOT),
        ("/relay.crt", (), None, "", MUST),
        ("/relay.crt", (), "", "", MUST),
        ("/relay.crt", (), None, ":", MUST),
        ("/relay.crt", (), "<; ;", ":", MUST),
        ("/relay.crt", (), OUT, ":", VerifyServer.NOT),
        ("/relay.crt", (), None, "*", TRY),
        ("/relay.crt", (), None, OUT, VerifyServer.NOT),
        (None, (), None, "", VerifyServer.NOT),
        ("/relay.crt", (), IN, IN, MUST),
        ("/relay.crt", (), OUT, IN, TRY),
        (None, (), IN, None, MUST),
        (None, (), "", None, TRY),
    ],
)
def test_whether_the_server_must_verify(
    certificates: str | None, pins: tuple[str, ...], must: str | None, attempt: str | None, expected: VerifyServer
) -> None:
    """Whoever names certificates (or pins) and nothing else wants no other one: a difference from Exim."""
    made = client(verify_certificates=certificates, pins=pins, verify_hosts=must, try_verify_hosts=attempt)
    assert made.verify is expected


@pytest.mark.parametrize("hosts, names", [(None, NAMES), ("*", NAMES), (IN, NAMES), (OUT, ()), ("", ())])
def test_which_names_a_certificate_must_hold(hosts: str | None, names: tuple[str, ...]) -> None:
    assert client(verify_cert_hostnames=hosts).names == names


def test_anchors_that_are_not_named_are_the_systems() -> None:
    assert client().verify_certificates == server().verify_certificates == "system"
