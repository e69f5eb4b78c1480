"""Passwords, ETRN, chunks and rude clients, with a whole daemon and foreign mail programs."""

import base64
import json
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons
from relay.trust.passwords import Kind, make_hash

import certs
import nursery
from interop import peers

MESSAGE = b"From: <anna@relay.test>\r\nTo: <you@example.org>\r\nSubject: by password\r\n\r\nGood morning.\r\n"
OUTSIDE, INSIDE = "you@example.org", "you@relay.test"
PASSWORD = "correct horse"


def configuration(directory: Path, port: int) -> str:
    certificate, key = certs.relay().write(directory, "server")
    (directory / "passwords").write_text(f"anna:{make_hash(PASSWORD, Kind.ARGON2ID, bytes(16))}\n")
    return f"""
{daemons.head(directory, port, "relay.test")}
tls_certificate = {certificate}
tls_privatekey = {key}
dsn_advertise_hosts = *
helo_accept_junk_hosts = *
future_release_max = 1h
queue_domains = waiting.test
recipients_max = 50000
smtp_etrn_serialize
acl_smtp_rcpt = rcpt
acl_smtp_etrn = accept

begin acl

rcpt:
    accept  domains       = relay.test : waiting.test
    accept  authenticated = *
            control       = submission
    deny    message       = relay not permitted

begin routers

everything:
  driver = accept
  transport = maildir

begin transports

maildir:
  driver = appendfile
  directory = {directory}/mail
  maildir_format

begin authenticators

plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if crypteq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{{directory}/passwords}}{{$value}}{{*}}}}}}}}
  server_set_id = $auth2

login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if crypteq{{$auth2}}{{${{lookup{{$auth1}}lsearch{{{directory}/passwords}}{{$value}}{{*}}}}}}}}
  server_set_id = $auth1
"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemons.Daemon]:
    directory, port = tmp_path_factory.mktemp("submission"), peers.free_port()
    with daemons.running(directory, configuration(directory, port), port) as daemon:
        yield daemon


def session(relay: daemons.Daemon) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", relay.port, local_hostname="laptop.test", timeout=30)


def has_arrived(relay: daemons.Daemon, subject: bytes) -> bool:
    """Messages of earlier tests may arrive meanwhile."""
    return any(b"\nSubject: %b\n" % subject in message for message in relay.messages())


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata=certs.relay().cert_pem.decode())
    return made


# Passwords


def test_auth_is_offered_inside_tls_alone(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        smtp.ehlo()
        assert "auth" not in smtp.esmtp_features
        assert smtp.docmd("AUTH", "PLAIN AGEAYg==")[0] == 503
        smtp.starttls(context=context())
        smtp.ehlo()
        assert smtp.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_password_relays(relay: daemons.Daemon, mechanism: str) -> None:
    subject = f"by {mechanism}".encode()
    with session(relay) as smtp:
        smtp.starttls(context=context())
        smtp.ehlo()
        smtp.esmtp_features["auth"] = mechanism
        smtp.login("anna", PASSWORD)
        assert smtp.sendmail("anna@relay.test", [OUTSIDE], MESSAGE.replace(b"by password", subject)) == {}
    peers.wait_until("the message in the maildir", lambda: has_arrived(relay, subject))
    relay.wait_for_log(f"A={mechanism.lower()}:anna")
    assert "P=esmtpsa" in relay.log_text()


def test_a_wrong_password_does_not(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        smtp.starttls(context=context())
        smtp.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login("anna", "wrong horse")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail("anna@relay.test", [OUTSIDE], MESSAGE)
    relay.wait_for_log("plain authenticator failed for H=(laptop.test) [127.0.0.1]")
    relay.wait_for_log("535 Incorrect authentication data (set_id=anna)", log="reject")


@pytest.mark.interop("swaks")
def test_swaks_with_a_password(relay: daemons.Daemon) -> None:
    done = subprocess.run(
        [
            "swaks", "--server", "127.0.0.1", "--port", str(relay.port), "--tls", "--auth", "PLAIN",
            "--auth-user", "anna", "--auth-password", PASSWORD,
            "--helo", "laptop.test", "--from", "anna@relay.test", "--to", OUTSIDE, "--timeout", "20",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


# ETRN


def is_put_off(relay: daemons.Daemon) -> bool:
    """Whether what waits has a time for its next attempt."""
    words = ["queue", "list", "-C", str(relay.configuration), "--json"]
    return all(each["due"] > each["received_at"] + 1 for each in json.loads(nursery.run("relay", words).stdout))


def test_etrn_delivers_what_waits(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        smtp.sendmail("me@laptop.test", ["you@waiting.test"], MESSAGE.replace(b"by password", b"by turn"))
        # A message that is being tried is left to whoever tries it, as in Exim.
        peers.wait_until("the end of its first attempt", lambda: is_put_off(relay))
        assert smtp.docmd("ETRN", "#elsewhere.test")[0] == 250
        assert not has_arrived(relay, b"by turn")
        assert smtp.docmd("ETRN", "#waiting.test")[0] == 250
    peers.wait_until("the message in the maildir", lambda: has_arrived(relay, b"by turn"))


# Chunks


def test_a_message_in_chunks(relay: daemons.Daemon) -> None:
    message = MESSAGE.replace(b"by password", b"in chunks")
    with session(relay) as smtp:
        smtp.ehlo()
        assert "chunking" in smtp.esmtp_features
        smtp.mail("me@laptop.test", ["BODY=BINARYMIME"])
        smtp.rcpt(INSIDE, ["NOTIFY=NEVER"])
        smtp.send(b"BDAT 20\r\n" + message[:20])
        assert smtp.getreply()[0] == 250
        smtp.send(b"BDAT %d LAST\r\n" % len(message[20:]) + message[20:])
        assert smtp.getreply()[0] == 250
    peers.wait_until("the message in the maildir", lambda: has_arrived(relay, b"in chunks"))


# Rude clients: each gets a clear reply, and the next client is served as ever


def still_serves(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        assert smtp.sendmail("me@laptop.test", [INSIDE], MESSAGE) == {}


def test_an_ehlo_of_a_hundred_kilobytes(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        smtp.send(b"EHLO " + b"x" * 100_000 + b"\r\n")
        assert smtp.getreply()[0] == 500
        assert smtp.ehlo()[0] == 250
    still_serves(relay)


@pytest.mark.parametrize("size", [3_000, 10_000])
def test_an_address_of_ten_kilobytes(relay: daemons.Daemon, size: int) -> None:
    with session(relay) as smtp:
        smtp.ehlo()
        code, _ = smtp.docmd("MAIL", f"FROM:<{'a' * size}@laptop.test>")
        assert 500 <= code < 600
        assert smtp.mail("me@laptop.test")[0] == 250
    still_serves(relay)


def test_a_header_of_ten_megabytes(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        smtp.ehlo()
        smtp.mail("me@laptop.test")
        smtp.rcpt(INSIDE)
        assert smtp.docmd("DATA")[0] == 354
        line = b"X-Long: " + b"y" * 900 + b"\r\n"
        smtp.send(line * (10 * 1024 * 1024 // len(line)) + b"\r\nbody\r\n.\r\n")
        assert smtp.getreply()[0] == 552
    still_serves(relay)


def test_lines_of_a_megabyte_in_an_exchange(relay: daemons.Daemon) -> None:
    with session(relay) as smtp:
        smtp.starttls(context=context())
        smtp.ehlo()
        assert smtp.docmd("AUTH", "LOGIN")[0] == 334
        smtp.send(base64.b64encode(bytes(1 << 20)) + b"\r\n")
        assert smtp.getreply()[0] == 500
        assert smtp.noop()[0] == 250
    still_serves(relay)


def test_recipients_without_end(relay: daemons.Daemon) -> None:
    """More are tried than there may be; the first ones are kept, the others put off."""
    number, batch = 50_010, 1000
    codes: list[int] = []
    with socket.create_connection(("127.0.0.1", relay.port), timeout=60) as raw:
        file = raw.makefile("rb")
        file.readline()
        raw.sendall(b"HELO laptop.test\r\n")
        file.readline()
        raw.sendall(b"EHLO laptop.test\r\n")
        while file.readline()[3:4] == b"-":
            pass
        raw.sendall(b"MAIL FROM:<me@laptop.test>\r\n")
        file.readline()
        for start in range(0, number, batch):
            amount = min(batch, number - start)
            raw.sendall(b"".join(b"RCPT TO:<you@elsewhere.test>\r\n" for _ in range(amount)))
            codes += [int(file.readline()[:3]) for _ in range(amount)]
        raw.sendall(b"QUIT\r\n")
        assert file.readline().startswith(b"221")
    assert codes == [550] * 50_000 + [452] * 10
    still_serves(relay)
