"""Each TLS option that no other test of this folder has, from a line of the configuration to what a client finds."""

import base64
import contextlib
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons

import certs
from certs import CertKey
from interop import peers

SENDER, OUTSIDE = "me@laptop.test", "you@example.org"
DHE, OLD_ECDHE = "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
AUTHENTICATOR = """
begin authenticators

plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if eq{$auth2$auth3}{annesecret}}
  server_set_id = $auth2
"""


class Relay:
    """A relay whose one option is looked at."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, peers.free_port()

    @contextlib.contextmanager
    def with_lines(
        self, main: str, *, server: CertKey | None = None, without: str = "", more: str = ""
    ) -> Iterator[daemons.Daemon]:
        """Runs it with these lines in the main section, and without the lines that begin with `without`."""
        text = daemons.relay_configuration(
            self.directory, self.port, server or certs.relay(), [certs.laptop()], trusted=[certs.laptop()], main=main
        )
        if without:
            text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(without))
        with daemons.running(self.directory, text + more, self.port) as daemon:
            yield daemon

    @contextlib.contextmanager
    def clear(self) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="laptop.test", timeout=20) as smtp:
            smtp.ehlo()
            yield smtp

    @contextlib.contextmanager
    def secured(
        self, client: CertKey | None = None, *, ciphers: str = "", curve: str = "", alpn: str = ""
    ) -> Iterator[smtplib.SMTP]:
        """With `ciphers` or `curve` the client speaks TLS 1.2 alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if client is not None:
            context.load_cert_chain(*client.write(self.directory, "client"))
        if ciphers or curve:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers or "DEFAULT")
        if curve:
            context.set_ecdh_curve(curve)
        if alpn:
            context.set_alpn_protocols([alpn])
        with self.clear() as smtp:
            smtp.starttls(context=context)
            smtp.ehlo()
            yield smtp

    def layer(self, **wishes: str) -> None:
        """What a handshake came to; the connection is over."""
        with self.secured(**wishes) as smtp:
            assert isinstance(smtp.sock, ssl.SSLSocket)
            self.suite = (smtp.sock.cipher() or ("",))[0]
            self.version, self.protocol = smtp.sock.version(), smtp.sock.selected_alpn_protocol()
            self.shown = smtp.sock.getpeercert(binary_form=True)


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


def rsa() -> CertKey:
    return certs.self_signed("relay.test", key="rsa")


def relays(smtp: smtplib.SMTP) -> bool:
    smtp.mail(SENDER)
    return smtp.rcpt(OUTSIDE)[0] == 250


def test_advertise_hosts(relay: Relay) -> None:
    narrowed = relay.with_lines("tls_advertise_hosts = 192.0.2.0/24", without="tls_advertise_hosts = *")
    with narrowed, relay.clear() as smtp:
        assert not smtp.has_extn("starttls")
        assert smtp.docmd("STARTTLS")[0] == 503


def test_certificate_and_privatekey(relay: Relay) -> None:
    with relay.with_lines(""):
        relay.layer()
        assert relay.shown == certs.relay().der


def test_what_is_only_doubtful_is_in_the_main_log_alone(relay: Relay) -> None:
    with relay.with_lines("") as daemon:
        (relay.directory / "server.key").chmod(0o644)
    with relay.with_lines("") as daemon:
        daemon.wait_for_log("everybody can read this key (chmod o-rwx")
        assert "everybody can read" not in daemon.log_text("panic")


def test_require_ciphers(relay: Relay) -> None:
    with relay.with_lines("tls_require_ciphers = ECDHE_ECDSA_AES128_GCM_SHA256"):
        relay.layer(ciphers="ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256")
        assert relay.suite == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_dn_style(relay: Relay) -> None:
    line = "acl_smtp_mail = accept logwrite = shown <$tls_in_peerdn>"
    with relay.with_lines(f"tls_dn_style = rfc2253\n{line}") as daemon, relay.secured(certs.laptop()) as smtp:
        smtp.mail(SENDER)
        daemon.wait_for_log("shown <CN=laptop.test>")
        daemon.wait_for_log('DN="CN=laptop.test"')


def test_dhparam(relay: Relay) -> None:
    with relay.with_lines("tls_dhparam = none", server=rsa()):
        relay.layer(ciphers=OLD_ECDHE)
        with pytest.raises(ssl.SSLError):
            relay.layer(ciphers=DHE)


def test_dh_max_bits(relay: Relay) -> None:
    with relay.with_lines("tls_dh_max_bits = 1024", server=rsa()) as daemon:
        relay.layer(ciphers=OLD_ECDHE)
        daemon.wait_for_log("2048 bits are more than tls_dh_max_bits (1024)")


def test_eccurve(relay: Relay) -> None:
    with relay.with_lines("tls_eccurve = P-384", server=rsa()):
        relay.layer(ciphers=OLD_ECDHE, curve="secp384r1")
        with pytest.raises(ssl.SSLError):
            relay.layer(ciphers=OLD_ECDHE, curve="prime256v1")


def test_openssl_options(relay: Relay) -> None:
    with relay.with_lines("openssl_options = +no_tlsv1_3"):
        relay.layer()
        assert relay.version == "TLSv1.2"


def test_alpn(relay: Relay) -> None:
    with relay.with_lines("tls_alpn = lmtp"):
        relay.layer(alpn="lmtp")
        assert relay.protocol == "lmtp"
        with pytest.raises(ssl.SSLError):
            relay.layer(alpn="smtp")


def test_host_accept_relay(relay: Relay) -> None:
    with relay.with_lines("host_accept_relay = 127.0.0.1", without="acl_smtp_rcpt"), relay.clear() as smtp:
        assert relays(smtp)


def test_host_auth_accept_relay(relay: Relay) -> None:
    with (
        relay.with_lines("host_auth_accept_relay = 127.0.0.1", without="acl_smtp_rcpt", more=AUTHENTICATOR),
        relay.secured() as smtp,
    ):
        assert not relays(smtp)
        smtp.rset()
        smtp.login("anne", "secret")
        assert relays(smtp)


def test_auth_over_tls_hosts(relay: Relay) -> None:
    with relay.with_lines("auth_over_tls_hosts = 192.0.2.0/24", more=AUTHENTICATOR), relay.clear() as smtp:
        assert smtp.has_extn("auth")
        plain = base64.b64encode(b"\0anne\0secret").decode("ascii")
        assert smtp.docmd(f"AUTH PLAIN {plain}")[0] == 235


def test_verify_ciphers(relay: Relay) -> None:
    main = "tls_verify_hosts = 127.0.0.1\ntls_verify_ciphers = ECDHE-ECDSA-AES128-GCM-SHA256"
    both = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
    with relay.with_lines(main), relay.secured(certs.laptop(), ciphers=both) as smtp:
        assert isinstance(smtp.sock, ssl.SSLSocket)
        assert (smtp.sock.cipher() or ("",))[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def arrival(relay: Relay, daemon: daemons.Daemon) -> str:
    with relay.secured(certs.laptop()) as smtp:
        smtp.sendmail(SENDER, [OUTSIDE], b"Subject: x\r\n\r\nGood morning.\r\n")
    daemon.wait_for_log("<= ")
    return next(line for line in daemon.log_text().splitlines() if " <= " in line)


def test_log_cipher(relay: Relay) -> None:
    with relay.with_lines("tls_log_cipher = false", without="log_selector") as daemon:
        assert " X=TLS" not in arrival(relay, daemon)


def test_log_peerdn(relay: Relay) -> None:
    with relay.with_lines("tls_log_peerdn", without="log_selector") as daemon:
        assert ' DN="/CN=laptop.test"' in arrival(relay, daemon)


@pytest.mark.parametrize(
    ("option", "value"),
    [("gnutls_require_kx", "DHE_DSS"), ("gnutls_require_mac", "MD5"), ("gnutls_require_protocols", "SSL3")],
)
def test_old_lists_that_leave_nothing(relay: Relay, option: str, value: str) -> None:
    with relay.with_lines(f"{option} = ${{if eq{{a}}{{a}}{{{value}}}}}") as daemon, relay.clear() as smtp:
        assert smtp.docmd("STARTTLS")[0] == 454
        daemon.wait_for_log(f"{option} leaves nothing that is spoken here")


def test_an_old_list_of_key_exchanges(relay: Relay) -> None:
    with relay.with_lines("gnutls_require_kx = DHE_RSA", server=rsa()):
        relay.layer(ciphers="AES128-SHA:DHE-RSA-AES128-SHA")
        assert relay.suite == "DHE-RSA-AES128-SHA"


@pytest.mark.interop("openssl")
def test_a_client_with_no_group_in_common(relay: Relay) -> None:
    """The same as above with TLS 1.3."""
    with relay.with_lines("tls_eccurve = P-384") as daemon:
        server = f"127.0.0.1:{relay.port}"
        command = ["openssl", "s_client", "-connect", server, "-starttls", "smtp", "-groups", "P-256"]
        done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
        assert "handshake failure" in done.stderr
        daemon.wait_for_log("the client offers no group that tls_eccurve allows")
