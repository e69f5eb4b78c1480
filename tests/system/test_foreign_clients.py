"""Mail programs of others, each of which hands a message to a running relay of ours: what they send is what arrives."""

import asyncio
import os
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path

import pytest

from interop import peers
from system import foreign_relay
from system.foreign_relay import INSIDE, OUTSIDE, PASSWORD, SENDER, USER, Relay

TEXT = "Good morning.\n.\n..\nFrom here, a line that begins with a dot and more.\n\n"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with foreign_relay.running(tmp_path_factory.mktemp("foreign")) as one:
        yield one


def message(subject: str) -> bytes:
    return f"From: <{SENDER}>\nTo: <{OUTSIDE}>\nSubject: {subject}\n\n{TEXT}".encode()


def on_the_wire(text: bytes) -> bytes:
    """For libraries that send octets as they are."""
    return text.replace(b"\n", b"\r\n")


def run(
    command: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    status: int = 0,
    directory: Path | None = None,
) -> str:
    """What it printed; AssertionError where its exit status is another."""
    done = subprocess.run(
        [str(each) for each in command],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        cwd=directory,
        timeout=60,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == status, output
    return output


def context(relay: Relay, *, certificate: bool) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(relay.anchor))
    made.check_hostname = False
    if certificate:
        made.load_cert_chain(relay.certificate, relay.key)
    return made


def assert_whole(text: bytes) -> None:
    """Blank lines at the end aside, of which some clients add one and others take one away."""
    assert text.rstrip(b"\n").endswith(b"\n\n" + TEXT.encode().rstrip(b"\n"))


# smtplib


@pytest.mark.parametrize("way", ["certificate", "PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL"])
def test_smtplib(relay: Relay, way: str) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port, local_hostname="laptop.test", timeout=30) as smtp:
        smtp.starttls(context=context(relay, certificate=way in ("certificate", "EXTERNAL")))
        smtp.ehlo()
        if way == "EXTERNAL":
            assert smtp.auth("EXTERNAL", lambda _challenge=None: "")[0] == 235
        elif way != "certificate":
            smtp.esmtp_features["auth"] = way
            smtp.login(USER, PASSWORD)
        assert smtp.sendmail(SENDER, [OUTSIDE], on_the_wire(message(f"smtplib {way}"))) == {}
    assert_whole(relay.arrived(f"smtplib {way}"))
    assert ("P=esmtps" if way == "certificate" else "P=esmtpsa") in relay.log_line(f"smtplib {way}")


def test_smtplib_with_international_addresses(relay: Relay) -> None:
    sent = EmailMessage()
    sent["Subject"], sent["From"], sent["To"] = "smtplib international", "änne@relay.test", "jürgen@relay.test"
    sent.set_content("Grüße\n")
    with smtplib.SMTP("127.0.0.1", relay.port, local_hostname="laptop.test", timeout=30) as smtp:
        assert smtp.send_message(sent) == {}
    arrived = relay.arrived("smtplib international")
    assert "Envelope-to: jürgen@relay.test\n".encode() in arrived
    assert "From: änne@relay.test\n".encode() in arrived
    assert b" with utf8esmtp " in arrived


# aiosmtplib


@pytest.mark.parametrize("port", ["STARTTLS", "TLS on connect"])
@pytest.mark.parametrize("way", ["certificate", "PLAIN", "LOGIN", "CRAM-MD5"])
def test_aiosmtplib(relay: Relay, way: str, port: str) -> None:
    aiosmtplib = pytest.importorskip("aiosmtplib")

    async def send() -> None:
        on_connect = port == "TLS on connect"
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=relay.tls_port if on_connect else relay.port,
            local_hostname="laptop.test",
            use_tls=on_connect,
            start_tls=not on_connect,
            tls_context=context(relay, certificate=way == "certificate"),
        )
        async with client:
            if way != "certificate":
                await client.ehlo()
                login = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login, "CRAM-MD5": client.auth_crammd5}
                assert (await login[way](USER, PASSWORD)).code == 235
            refused, _ = await client.sendmail(SENDER, [OUTSIDE, INSIDE], on_the_wire(message(subject)))
            assert refused == {}

    subject = f"aiosmtplib {way} {port}"
    asyncio.run(send())
    assert_whole(relay.arrived(subject, 2))


# swaks


def swaks(relay: Relay, subject: str, *options: str | Path, port: int | None = None, status: int = 0) -> str:
    return run(
        [
            "swaks", "--server", "127.0.0.1", "--port", str(port or relay.port), "--helo", "laptop.test", "--from",
            SENDER, "--to", OUTSIDE, "--header", f"Subject: {subject}", "--body", TEXT, "--timeout", "20", *options,
        ],
        status=status,
    )  # fmt: skip


def with_certificate(relay: Relay) -> tuple[str | Path, ...]:
    return ("--tls-cert", relay.certificate, "--tls-key", relay.key, "--tls-ca-path", relay.anchor, "--tls-verify")


@pytest.mark.interop("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_swaks_with_a_password(relay: Relay, mechanism: str) -> None:
    login = ("--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD)
    swaks(relay, f"swaks {mechanism}", "--tls", *login)
    assert_whole(relay.arrived(f"swaks {mechanism}"))
    assert "P=esmtpsa" in relay.log_line(f"swaks {mechanism}")


@pytest.mark.interop("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_swaks_with_a_wrong_password(relay: Relay, mechanism: str) -> None:
    login = ("--auth", mechanism, "--auth-user", "swaks", "--auth-password", "wrong horse")
    assert "535 " in swaks(relay, "swaks, wrong", "--tls", *login, status=28)


@pytest.mark.interop("swaks")
@pytest.mark.parametrize("layer", ["--tls", "--tlsc"])
@pytest.mark.parametrize("pace", [(), ("--pipeline",)], ids=["one by one", "pipelined"])
def test_swaks_with_a_certificate(relay: Relay, layer: str, pace: Sequence[str]) -> None:
    port = relay.tls_port if layer == "--tlsc" else relay.port
    subject = f"swaks {layer} {len(pace)}"
    swaks(relay, subject, layer, *pace, *with_certificate(relay), port=port)
    assert_whole(relay.arrived(subject))


@pytest.mark.interop("swaks")
@pytest.mark.parametrize("version", ["1", "2"])
def test_swaks_through_a_proxy(relay: Relay, version: str) -> None:
    subject = f"swaks PROXY {version}"
    said = (
        "--proxy-version", version, "--proxy-family", "TCP4" if version == "1" else "AF_INET",
        "--proxy-source", "192.0.2.9", "--proxy-source-port", "4000",
        "--proxy-dest", "192.0.2.10", "--proxy-dest-port", "25",
    )  # fmt: skip
    more = () if version == "1" else ("--proxy-command", "PROXY", "--proxy-protocol", "STREAM")
    local = ("--server", foreign_relay.PROXY, "--local-interface", foreign_relay.PROXY)
    swaks(relay, subject, *local, *said, *more, "--to", INSIDE)
    assert "[192.0.2.9]" in relay.log_line(subject)
    assert b"Received: from [192.0.2.9] (helo=laptop.test)" in relay.arrived(subject)


@pytest.mark.interop("swaks")
def test_swaks_with_a_proxy_header_that_nobody_asked_for(relay: Relay) -> None:
    """It is said before the greeting, and the greeting waits until it is certainly there."""
    header = ("--proxy", "TCP4 192.0.2.9 192.0.2.10 4000 25", "--proxy-version", "1")
    local = ("--local-interface", foreign_relay.LATE)
    swaks(relay, "swaks, no proxy", *local, *header, "--to", INSIDE, status=21)
    assert 'T="swaks, no proxy"' not in relay.daemon.log_text()


@pytest.mark.interop("swaks")
@pytest.mark.parametrize("when", [(), ("--tls",), ("--tls", "--xclient-before-starttls")], ids=" ".join)
def test_swaks_speaks_for_another(relay: Relay, when: Sequence[str]) -> None:
    subject = "swaks XCLIENT " + " ".join(when)
    said = ("--xclient-addr", "192.0.2.11", "--xclient-name", "mail.example.org")
    local = ("--server", foreign_relay.XCLIENT, "--local-interface", foreign_relay.XCLIENT)
    swaks(relay, subject.strip(), *local, *said, *when, "--to", INSIDE)
    assert "[192.0.2.11]" in relay.log_line(subject.strip())
    assert b"[192.0.2.11]" in relay.arrived(subject.strip())


@pytest.mark.interop("swaks")
def test_swaks_may_not_speak_for_another_from_anywhere(relay: Relay) -> None:
    output = swaks(relay, "swaks, no XCLIENT", "--xclient-addr", "192.0.2.11", "--to", INSIDE, status=33)
    assert "XCLIENT" not in output.split("EHLO laptop.test")[0]


# msmtp


def msmtp(relay: Relay, text: bytes, *options: str | Path, recipients: Sequence[str] = (OUTSIDE,)) -> str:
    fixed = (
        "--file=/dev/null", "--host=127.0.0.1", "--domain=laptop.test", f"--from={SENDER}", "--tls=on",
        f"--tls-trust-file={relay.anchor}", "--tls-host-override=relay.test", "--timeout=20",
    )  # fmt: skip
    return run([peers.PROGRAMS["msmtp"], *fixed, *options, *recipients], stdin=text)


@pytest.mark.interop("msmtp")
@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5", "scram-sha-256"])
def test_msmtp_with_a_password(relay: Relay, mechanism: str) -> None:
    login = (f"--auth={mechanism}", f"--user={USER}", f"--passwordeval=echo {PASSWORD}")
    msmtp(relay, message(f"msmtp {mechanism}"), f"--port={relay.port}", "--tls-starttls=on", *login)
    assert_whole(relay.arrived(f"msmtp {mechanism}"))
    assert f"A={mechanism.split('-')[0]}:{USER}" in relay.log_line(f"msmtp {mechanism}")


@pytest.mark.interop("msmtp")
@pytest.mark.parametrize("way", ["certificate", "external"])
@pytest.mark.parametrize("layer", ["on", "off"])
def test_msmtp_with_a_certificate(relay: Relay, way: str, layer: str) -> None:
    port = relay.port if layer == "on" else relay.tls_port
    shown = (f"--tls-cert-file={relay.certificate}", f"--tls-key-file={relay.key}")
    # Without a name it takes our 334 for the end of the exchange.
    login = ("--auth=external", "--user=laptop.test") if way == "external" else ()
    subject = f"msmtp {way} {layer}"
    msmtp(relay, message(subject), f"--port={port}", f"--tls-starttls={layer}", *shown, *login)
    assert_whole(relay.arrived(subject))


@pytest.mark.interop("msmtp")
def test_msmtp_takes_recipients_from_the_header(relay: Relay) -> None:
    """As sendmail -t: those of Bcc: get it, and nobody sees them."""
    text = message("msmtp -t").replace(b"Subject:", b"Cc: <third@relay.test>\nBcc: <hidden@relay.test>\nSubject:")
    login = ("--auth=plain", f"--user={USER}", f"--passwordeval=echo {PASSWORD}")
    msmtp(relay, text, f"--port={relay.port}", *login, "-t", "--dsn-notify=never", recipients=())
    assert b"hidden" not in relay.arrived("msmtp -t", 3).split(b"Subject:")[1]


# nullmailer


@pytest.mark.interop("nullmailer")
@pytest.mark.parametrize(
    "options",
    [
        "starttls x509certfile={certificate} x509keyfile={key}",
        "tls x509certfile={certificate} x509keyfile={key}",
        "starttls user={user} pass='{password}'",
        "starttls user={user} pass='{password}' auth-login",
    ],
    ids=["certificate", "certificate, TLS on connect", "PLAIN", "LOGIN"],
)
def test_nullmailer(relay: Relay, options: str, tmp_path: Path) -> None:
    """Its sendmail -t, its queue, its sender; its own queue program is set-user-ID and knows one place alone."""
    usr = peers.PROGRAMS["nullmailer"].parents[1]
    for name, target in (("bin", usr / "bin"), ("sbin", usr / "sbin"), ("protocols", usr / "lib/nullmailer")):
        (tmp_path / name).symlink_to(target)
    for name in ("conf", "queue/queue", "queue/tmp", "queue/failed"):
        (tmp_path / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "queue/trigger")
    filled = options.format(certificate=relay.certificate, key=relay.key, user=USER, password=PASSWORD)
    port = relay.tls_port if options.startswith("tls") else relay.port
    remote = f"127.0.0.1 smtp port={port} {filled} x509cafile={relay.anchor} insecure\n"
    for name, text in {"remotes": remote, "me": "laptop.test\n", "pausetime": "0\n", "defaulthost": "a.test\n"}.items():
        (tmp_path / "conf" / name).write_text(text)
    queue = tmp_path / "queue-program"
    queue.write_text(f'#!/bin/sh\ncat >"{tmp_path}/queue/queue/1.1"\n')
    queue.chmod(0o755)
    environment = {"NULLMAILER_TEST_PREFIX": str(tmp_path), "NULLMAILER_QUEUE": str(queue), "HELOHOST": "laptop.test"}
    subject = f"nullmailer {options.split('=')[0]} {'auth-login' in options} {port}"
    run([usr / "sbin/sendmail", "-t", "-f", SENDER], stdin=message(subject), environment=environment)
    output = run([usr / "sbin/nullmailer-send"], environment=environment)
    assert "Delivery complete, 0 message(s) remain" in output
    assert_whole(relay.arrived(subject))


# curl


def curl(relay: Relay, tmp_path: Path, text: bytes, *options: str | Path, scheme: str = "smtp", status: int = 0) -> str:
    upload = tmp_path / "message"
    upload.write_bytes(on_the_wire(text))
    port = relay.tls_port if scheme == "smtps" else relay.port
    fixed = (
        "curl", "--silent", "--show-error", "--verbose", "--ssl-reqd", "--cacert", relay.anchor, "--max-time", "30",
        "--connect-to", f"::127.0.0.1:{port}", "--url", f"{scheme}://relay.test/laptop.test", "--mail-from", SENDER,
        "--upload-file", upload,
    )  # fmt: skip
    return run([*fixed, *options], status=status, environment={"no_proxy": "*", "NO_PROXY": "*"})


@pytest.mark.interop("curl")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_curl_with_a_password(relay: Relay, tmp_path: Path, mechanism: str) -> None:
    login = ("--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={mechanism}", "--mail-rcpt", OUTSIDE)
    curl(relay, tmp_path, message(f"curl {mechanism}"), *login)
    assert_whole(relay.arrived(f"curl {mechanism}"))
    assert "P=esmtpsa" in relay.log_line(f"curl {mechanism}")


@pytest.mark.interop("curl")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("external", [False, True])
def test_curl_with_a_certificate(relay: Relay, tmp_path: Path, scheme: str, external: bool) -> None:
    subject = f"curl {scheme} {external}"
    login = ("--user", ":", "--login-options", "AUTH=EXTERNAL") if external else ()
    shown = ("--cert", relay.certificate, "--key", relay.key, "--mail-rcpt", OUTSIDE)
    curl(relay, tmp_path, message(subject), *shown, *login, scheme=scheme)
    assert_whole(relay.arrived(subject))
    assert ("A=external:" in relay.log_line(subject)) == external


@pytest.mark.interop("curl")
def test_curl_with_many_recipients(relay: Relay, tmp_path: Path) -> None:
    listed = [each for number in range(300) for each in ("--mail-rcpt", f"r{number}@relay.test")]
    curl(relay, tmp_path, message("curl many"), *listed)
    relay.arrived("curl many", 300)


@pytest.mark.interop("curl")
def test_curl_goes_on_after_a_recipient_that_is_refused(relay: Relay, tmp_path: Path) -> None:
    listed = ("--mail-rcpt", OUTSIDE, "--mail-rcpt", INSIDE, "--mail-rcpt-allowfails")
    curl(relay, tmp_path, message("curl allows"), *listed)
    relay.arrived("curl allows")


@pytest.mark.interop("curl")
def test_curl_with_international_addresses(relay: Relay, tmp_path: Path) -> None:
    text = message("curl international").replace(SENDER.encode(), "änne@relay.test".encode())
    addresses = ("--mail-from", "änne@relay.test", "--mail-rcpt", "jürgen@relay.test")
    output = curl(relay, tmp_path, text, *addresses)
    assert " SMTPUTF8\n" in output.split("MAIL FROM")[1].replace("\r", "")
    assert "Envelope-to: jürgen@relay.test\n".encode() in relay.arrived("curl international")


# Programs that call sendmail


@pytest.fixture
def sendmail(relay: Relay, tmp_path: Path) -> Path:
    """`relay-sendmail` for this relay, as one file."""
    program = tmp_path / "sendmail"
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m relay.cli.sendmail -C "{relay.daemon.configuration}" "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.interop("mutt")
def test_mutt(relay: Relay, sendmail: Path, tmp_path: Path) -> None:
    settings = tmp_path / "muttrc"
    settings.write_text(
        f'set sendmail="{sendmail} -oem -oi"\nset from="{SENDER}"\nset use_envelope_from=yes\nset realname="Anna"\n'
        f'set copy=no\nset folder="{tmp_path}"\nset tmpdir="{tmp_path}"\nset sendmail_wait=0\n'
    )
    arguments = ("-F", settings, "-s", "mutt", "-b", "hidden@relay.test", "--", INSIDE)
    run([peers.PROGRAMS["mutt"], "-n", *arguments], stdin=TEXT.encode(), environment={"HOME": str(tmp_path)})
    arrived = relay.arrived("mutt", 2)
    assert b"hidden" not in arrived.split(b"Subject:")[1]
    assert f"Return-path: <{SENDER}>\n".encode() in arrived
    assert_whole(arrived)


@pytest.mark.interop("s-nail")
def test_s_nail(relay: Relay, sendmail: Path, tmp_path: Path) -> None:
    arguments = ("-S", f"mta={sendmail}", "-r", SENDER, "-S", "mime-encoding=8bit", "-s", "s-nail", INSIDE)
    environment = {"HOME": str(tmp_path), "MAILRC": "/dev/null"}
    run([peers.PROGRAMS["s-nail"], "-:/", *arguments], stdin=TEXT.encode(), environment=environment)
    arrived = relay.arrived("s-nail")
    assert f"Return-path: <{SENDER}>\n".encode() in arrived
    assert_whole(arrived)


@pytest.mark.interop("bsd-mailx")
def test_bsd_mailx(relay: Relay, sendmail: Path, tmp_path: Path) -> None:
    (tmp_path / "mailrc").write_text(f"set sendmail={sendmail}\nunset dot\n")
    arguments = ("-n", "-s", "bsd-mailx", "-a", "X-Note: kept", "-r", SENDER, INSIDE)
    environment = {"HOME": str(tmp_path), "MAILRC": str(tmp_path / "mailrc")}
    run([peers.PROGRAMS["bsd-mailx"], *arguments], stdin=TEXT.encode(), environment=environment)
    arrived = relay.arrived("bsd-mailx")
    assert f"Return-path: <{SENDER}>\n".encode() in arrived
    assert b"X-Note: kept\n" in arrived


@pytest.mark.parametrize("options", ["-t -oi", "-t -oi -oem", "-ti", "-i -t -B8BITMIME"])
def test_the_options_that_scripts_give(relay: Relay, sendmail: Path, options: str) -> None:
    subject = f"scripts {options}"
    run([sendmail, *options.split(), "-f", SENDER], stdin=message(subject).replace(OUTSIDE.encode(), INSIDE.encode()))
    assert_whole(relay.arrived(subject))
