"""The main job with foreign clients: who may relay, who may not, and what is said and logged."""

import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

MESSAGE = b"From: <me@laptop.test>\r\nTo: <you@example.org>\r\nSubject: on certificates alone\r\n\r\nGood morning.\r\n"
SENDER, OUTSIDE, INSIDE = "me@laptop.test", "you@example.org", "you@relay.test"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemons.Daemon]:
    """Trusts the laptop; knows a third machine and does not let it relay."""
    directory, port = tmp_path_factory.mktemp("relay"), peers.free_port()
    configuration = daemons.relay_configuration(
        directory, port, certs.relay(), [certs.laptop(), known()], trusted=[certs.laptop()]
    )
    with daemons.running(directory, configuration, port) as daemon:
        yield daemon


_KNOWN: list[certs.CertKey] = []


def known() -> certs.CertKey:
    """A certificate that verifies and is not listed."""
    if not _KNOWN:
        _KNOWN.append(certs.self_signed("tablet.test"))
    return _KNOWN[0]


def tls_context(client: certs.CertKey | None, directory: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certs.relay().cert_pem.decode())
    if client is not None:
        context.load_cert_chain(*client.write(directory, "client"))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def session(relay: daemons.Daemon) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", relay.port, local_hostname="laptop.test", timeout=20)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_trusted_certificate_relays(relay: daemons.Daemon, tmp_path: Path, version: ssl.TLSVersion) -> None:
    subject = f"on certificates alone, {version.name}".encode()
    with session(relay) as client:
        client.starttls(context=tls_context(certs.laptop(), tmp_path, version))
        assert client.sendmail(SENDER, [OUTSIDE], MESSAGE.replace(b"on certificates alone", subject)) == {}

    def arrived() -> list[bytes]:
        return [each for each in relay.messages() if b"Subject: %b\n" % subject in each]

    peers.wait_until("the message in the maildir", arrived)
    (text,) = arrived()
    assert b"Received: from [127.0.0.1] (helo=laptop.test)" in text
    assert f"FP={certs.laptop().fingerprint}" in relay.log_text()
    assert f"X={version.name.replace('v', '').replace('_', '.')}" in relay.log_text()


@pytest.mark.parametrize("client", [certs.stranger, known, lambda: None], ids=["stranger", "known", "none"])
def test_others_reach_our_own_domain_and_nothing_else(relay: daemons.Daemon, tmp_path: Path, client) -> None:
    with session(relay) as smtp:
        smtp.starttls(context=tls_context(client(), tmp_path))
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            smtp.sendmail(SENDER, [OUTSIDE], MESSAGE)
        assert refused.value.recipients[OUTSIDE] == (550, b"5.7.1 relay not permitted")
        assert smtp.sendmail(SENDER, [INSIDE], MESSAGE) == {}


def test_a_known_certificate_that_is_not_listed_is_logged_to_be_listed(relay: daemons.Daemon, tmp_path: Path) -> None:
    with session(relay) as smtp:
        smtp.starttls(context=tls_context(known(), tmp_path))
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail(SENDER, [OUTSIDE], MESSAGE)
    relay.wait_for_log(f"has not been explicitly allowed: {known().fingerprint}")


def test_without_tls_nobody_relays(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            smtp.sendmail(SENDER, [OUTSIDE], MESSAGE)
        assert refused.value.recipients[OUTSIDE][0] == 550


def test_trust_ends_with_its_layer(relay: daemons.Daemon, tmp_path: Path) -> None:
    """A trusted session, TLS closed, then MAIL in clear on the same connection; a real Exim 4.96 relays it."""
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as connection:
        clear = Dialog(connection)
        assert clear.reply() == 220
        assert clear.command("EHLO laptop.test") == 250
        assert clear.command("STARTTLS") == 220
        secure = tls_context(certs.laptop(), tmp_path).wrap_socket(connection, suppress_ragged_eofs=False)
        inside = Dialog(secure)
        assert inside.command("EHLO laptop.test") == 250
        assert inside.command(f"MAIL FROM:<{SENDER}>") == 250
        assert inside.command(f"RCPT TO:<{OUTSIDE}>") == 250
        connection = secure.unwrap()  # waits for the relay's close_notify
        clear = Dialog(connection)
        assert clear.command(f"RCPT TO:<{OUTSIDE}>") == 503
        assert clear.command("EHLO laptop.test") == 250
        assert clear.command(f"MAIL FROM:<{SENDER}>") == 250
        assert clear.command(f"RCPT TO:<{OUTSIDE}>") == 550
        assert clear.command("STARTTLS") == 220
        with tls_context(certs.stranger(), tmp_path / "other").wrap_socket(connection) as secure:
            inside = Dialog(secure)
            assert inside.command("EHLO laptop.test") == 250
            assert inside.command(f"MAIL FROM:<{SENDER}>") == 250
            assert inside.command(f"RCPT TO:<{OUTSIDE}>") == 550


def test_starttls_inside_tls_is_refused(relay: daemons.Daemon, tmp_path: Path) -> None:
    with session(relay) as smtp:
        smtp.starttls(context=tls_context(None, tmp_path))
        smtp.ehlo()
        assert not smtp.has_extn("starttls")
        assert smtp.docmd("STARTTLS")[0] == 554


class Dialog:
    """Lines and reply codes over any socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def command(self, line: str) -> int:
        self._connection.sendall(line.encode() + b"\r\n")
        return self.reply()

    def reply(self) -> int:
        while True:
            line = self._line()
            if line[3:4] == b" ":
                return int(line[:3])

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            data = self._connection.recv(4096)
            assert data, "the relay closed the connection"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line


@pytest.mark.interop("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_shakes_hands(relay: daemons.Daemon, tmp_path: Path, version: str) -> None:
    anchor = tmp_path / "relay.pem"
    anchor.write_bytes(certs.relay().cert_pem)
    certificate, key = certs.laptop().write(tmp_path, "laptop")
    done = subprocess.run(
        [
            "openssl", "s_client", "-connect", f"127.0.0.1:{relay.port}", "-starttls", "smtp", version,
            "-CAfile", anchor,
            "-cert", certificate, "-key", key, "-verify_return_error", "-name", "laptop.test",
        ],
        input=b"EHLO laptop.test\r\nQUIT\r\n",
        capture_output=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert b"Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    assert b"CN = relay.test" in done.stdout or b"CN=relay.test" in done.stdout


@pytest.mark.interop("swaks")
def test_swaks_with_a_trusted_certificate(relay: daemons.Daemon, tmp_path: Path) -> None:
    certificate, key = certs.laptop().write(tmp_path, "laptop")
    done = subprocess.run(
        [
            "swaks", "--server", "127.0.0.1", "--port", str(relay.port), "--tls",
            "--tls-cert", certificate, "--tls-key", key,
            "--helo", "laptop.test", "--from", SENDER, "--to", OUTSIDE, "--timeout", "20",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_an_expired_certificate_gives_no_rights(tmp_path: Path) -> None:
    """It is in the trusted set and in the list; its time is over. The session goes on, relaying does not."""
    expired = certs.self_signed("old.test", days=-1)
    port = peers.free_port()
    configuration = daemons.relay_configuration(tmp_path, port, certs.relay(), [expired], trusted=[expired])
    with daemons.running(tmp_path, configuration, port) as relay, session(relay) as smtp:
        smtp.starttls(context=tls_context(expired, tmp_path))
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail(SENDER, [OUTSIDE], MESSAGE)
        assert smtp.sendmail(SENDER, [INSIDE], MESSAGE) == {}
        relay.wait_for_log("CV=no")


def test_a_client_that_ends_its_direction_gets_its_replies(relay: daemons.Daemon) -> None:
    """Without them it would send its message again: Exim half-closes behind its last command."""
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as connection:
            clear = Dialog(connection)
            assert clear.reply() == 220
            assert clear.command("EHLO laptop.test") == 250
            assert clear.command(f"MAIL FROM:<{SENDER}>") == 250
            assert clear.command(f"RCPT TO:<{INSIDE}>") == 250
            assert clear.command("DATA") == 354
            connection.sendall(b"Subject: last words\r\n\r\nhello\r\n.\r\nQUIT\r\n")
            connection.shutdown(socket.SHUT_WR)
            assert clear.reply() == 250
            assert clear.reply() == 221
