"""Configurations as people write them after manuals, wikis and howtos: they load, and they decide as those say.

Each is a minimal one of our own with the settings that the document is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from relay.cli.decision import Decision, decide_recipient
from relay.config.read import Configuration, read_configuration, understand_configuration
from relay.delivery.appendfile import AppendfileRules
from relay.delivery.smtp_rules import SMTPRules
from relay.mail.address import Address
from relay.mail.facts import Certificate, Endpoint, Hello, SessionFacts, TLSFacts, Unverified, Verified
from relay.mail.source import ConfigurationError, Severity
from relay.policy.routers.settings import Manualroute
from relay.tls.names import read_certificate

import certs

SENDER = Address("traveller", "laptop.test")
RECIPIENT = Address("friend", "elsewhere.test")


def read(text: str, macros: Mapping[str, str] | None = None) -> Configuration:
    return read_configuration("/etc/conf", lambda path: text, macros or {}, host_name="here.test")


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return [problem.what for problem in caught.value.problems if problem.severity is Severity.ERROR]


# A relay that knows its laptops by the fingerprints of their certificates

RELAY = """\
primary_hostname = relay.test
ALLOWED = {allowed}
tls_advertise_hosts = *
tls_certificate = /k/relay.crt
tls_privatekey = /k/relay.key
tls_verify_certificates = /k/trusted/
tls_try_verify_hosts = *
domainlist mine = relay.test
acl_smtp_rcpt = to_whom

begin acl
to_whom:
  accept  domains       = +mine
  accept  verify        = certificate
          condition     = ${{if inlist{{${{sha256:$tls_in_peercert}}}}{{ALLOWED}}}}
          control       = submission
          control       = dkim_disable_verify
  warn    verify        = certificate
          condition     = ${{if !inlist{{${{sha256:$tls_in_peercert}}}}{{ALLOWED}}}}
          logwrite      = not on the list: ${{sha256:$tls_in_peercert}}
  deny    message       = relay not permitted
"""


@pytest.fixture(scope="module")
def laptop() -> Certificate:
    return read_certificate(certs.self_signed("laptop.test").certificate)


@pytest.fixture(scope="module")
def stranger() -> Certificate:
    return read_certificate(certs.self_signed("stranger.test").certificate)


def session(peer: Certificate | None, *, verified: bool = False, tls: bool = True) -> SessionFacts:
    verification = Verified("itself") if verified else Unverified("self-signed certificate")
    layer = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, peer=peer, verification=verification)
    return SessionFacts(
        peer=Endpoint("192.0.2.77", 40000),
        local=Endpoint("192.0.2.1", 25),
        hello=Hello("laptop.test", extended=True),
        tls=layer if tls else None,
    )


def decide(tmp_path: Path, allowed: str, facts: SessionFacts, to: Address = RECIPIENT) -> Decision:
    path = tmp_path / "relay.conf"
    path.write_text(RELAY.format(allowed=allowed))
    decision = decide_recipient(path, facts, SENDER, to)
    assert decision is not None
    return decision


def test_the_laptop_on_the_list_may_relay(tmp_path: Path, laptop: Certificate) -> None:
    listed = f"{'0' * 64} : {laptop.fingerprint.upper()}"
    decision = decide(tmp_path, listed, session(laptop, verified=True))
    assert decision.accepted
    assert decision.lines[0].split() == ["accept", "verify", "=", "certificate"]


@pytest.mark.parametrize("case", ["not on the list", "not verified", "no certificate", "in clear"])
def test_nobody_else_may(tmp_path: Path, laptop: Certificate, stranger: Certificate, case: str) -> None:
    listed = laptop.fingerprint.upper()
    facts = {
        "not on the list": session(stranger, verified=True),
        "not verified": session(laptop),
        "no certificate": session(None),
        "in clear": session(None, tls=False),
    }[case]
    assert not decide(tmp_path, listed, facts).accepted
    assert decide(tmp_path, listed, facts, Address("me", "relay.test")).accepted


def test_an_empty_list_lets_nobody_in(tmp_path: Path, laptop: Certificate) -> None:
    assert not decide(tmp_path, "", session(laptop, verified=True)).accepted


# The laptop: it shows its certificate, and knows the relay's

LAPTOP = """\
primary_hostname = laptop.test
begin routers
everything:
  driver = manualroute
  route_list = * 127.0.0.1::PORT byname
  self = send
  transport = to_relay
begin transports
to_relay:
  driver = smtp
  tls_certificate = /k/laptop.crt
  tls_privatekey = /k/laptop.key
  hosts_require_tls = REQUIRED
  tls_verify_certificates = /k/relay.crt
  tls_verify_hosts = *
  tls_verify_cert_hostnames = :
  hosts_noproxy_tls = *
  connection_max_messages = 3
begin retry
*  *  F,1h,1m
begin rewrite
begin authenticators
"""


@pytest.mark.parametrize("required", ["*", ""])
def test_the_laptop_loads(required: str) -> None:
    found = read(LAPTOP, {"PORT": "2525", "REQUIRED": required})
    transport = found.transports["to_relay"]
    assert isinstance(transport, SMTPRules)
    assert transport.tls.certificate is not None
    assert transport.tls.certificate.constant == "/k/laptop.crt"
    assert transport.tls.verify_certificates is not None
    assert transport.tls.verify_certificates.constant == "/k/relay.crt"
    assert transport.tls.require_tls is not None
    assert transport.tls.require_tls.is_empty is (required == "")
    assert transport.tls.tempfail_tryclear
    (router,) = found.routers
    assert isinstance(router, Manualroute)


# A server that delivers into a Maildir, with the options that go with running an Exim

SERVER = """\
exim_path = /usr/sbin/exim
spool_directory = /v/spool
log_file_path = /v/log/%slog
pid_file_path = /v/daemon.pid
primary_hostname = relay.test
qualify_domain = relay.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = 2525
exim_user = mail
exim_group = mail
never_users =
host_lookup =
rfc1413_hosts =
keep_environment =
smtp_accept_max = 200
smtp_accept_max_per_host = 200
queue_only = false
timeout_frozen_after = 1h
local_from_check = false
tls_on_connect_ports = 2526
tls_require_ciphers = ${if =={$received_port}{2525}{DEFAULT}{HIGH:!MD5}}
log_selector = +all_parents +smtp_connection +smtp_protocol_error \\
  +tls_cipher +tls_certificate_verified +tls_peerdn +tls_sni \\
  +incoming_port +pid +millisec
acl_smtp_rcpt = to_whom
acl_smtp_data = what

begin acl
to_whom:
  accept
    encrypted = *
    verify = certificate
    logwrite = let in: $tls_in_peerdn ${sha256:$tls_in_peercert}
  deny
    message = relay not permitted
    log_message = refused: ${if def:tls_in_peercert{${sha256:$tls_in_peercert}}{none}} cipher=$tls_in_cipher
what:
  accept

begin routers
all:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = /v/mail
  maildir_format
  create_directory
  user = mail
  group = mail
  delivery_date_add
  envelope_to_add
  return_path_add
"""


def test_the_server_loads() -> None:
    found = read(SERVER)
    assert found.main.daemon_smtp_ports == (2525,)
    assert found.main.tls_on_connect_ports == (2526,)
    maildir = found.transports["maildir"]
    assert isinstance(maildir, AppendfileRules)
    assert maildir.common.header.return_path_add
    assert {problem.severity for problem in found.problems} <= {Severity.NOTE, Severity.WARNING}
    told = " ".join(problem.what for problem in found.problems)
    assert "exim_path" in told
    assert "never_users" not in told


# Options of older manuals


@pytest.mark.parametrize(
    "line",
    [
        "gnutls_require_kx = DHE_RSA",
        "gnutls_require_mac = SHA",
        "gnutls_require_protocols = TLS1",
        "tls_log_peerdn",
        "tls_hosts = *",
        "tls_host_accept_relay = 192.0.2.0/24",
        "tls_verify_ciphers = AES256-SHA",
    ],
)
def test_old_options_are_served_with_a_word_of_what_one_writes_today(line: str) -> None:
    (remark,) = read(line).problems
    assert remark.severity is Severity.NOTE


def test_authenticators_of_a_howto() -> None:
    text = (
        "begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n"
        "  server_condition = ${if eq{$auth2}{me}}\n  server_set_id = $auth2\n"
        "cram:\n  driver = cram_md5\n  public_name = CRAM-MD5\n  server_secret = ${if eq{$auth1}{me}{secret}fail}\n"
    )
    found = understand_configuration("/etc/conf", lambda path: text, host_name="h")
    assert [block.driver for block in found.configuration.authenticators] == ["plaintext", "cram_md5"]
    assert found.obstacles == ()
