"""The server's TLS options with foreign clients: TLS on connect, a demanded certificate, a set-up that breaks."""

import smtplib
import socket
import ssl
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

SENDER, OUTSIDE = "me@laptop.test", "you@example.org"
MESSAGE = b"From: <me@laptop.test>\r\nSubject: x\r\n\r\nGood morning.\r\n"


def tls_context(client: certs.CertKey | None, directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certs.relay().cert_pem.decode())
    if client is not None:
        context.load_cert_chain(*client.write(directory, "client"))
    return context


def configuration(directory: Path, port: int, main: str) -> str:
    return daemons.relay_configuration(
        directory, port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()], main=main
    )


def test_tls_on_connect(tmp_path: Path) -> None:
    port, secure = peers.free_port(), peers.free_port()
    text = configuration(tmp_path, port, f"tls_on_connect_ports = {secure}")
    text = text.replace(f"daemon_smtp_ports = {port}", f"daemon_smtp_ports = {port} : {secure}")
    with daemons.running(tmp_path, text, port) as relay:
        context = tls_context(certs.laptop(), tmp_path)
        with smtplib.SMTP_SSL("127.0.0.1", secure, local_hostname="laptop.test", timeout=20, context=context) as smtp:
            smtp.ehlo()
            assert not smtp.has_extn("starttls")
            assert smtp.sendmail(SENDER, [OUTSIDE], MESSAGE) == {}
        peers.wait_until("the message", relay.messages)


@pytest.mark.parametrize("client", [certs.stranger, lambda: None], ids=["stranger", "none"])
def test_a_certificate_that_is_demanded_and_missing_ends_the_connection(tmp_path: Path, client) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, "tls_verify_hosts = *")
    with daemons.running(tmp_path, text, port) as relay:
        smtp = smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20)

        def go_on_in_tls() -> None:
            # With TLS 1.3 the client learns of the refusal from its first read.
            smtp.starttls(context=tls_context(client(), tmp_path))
            smtp.ehlo()

        with pytest.raises((ssl.SSLError, smtplib.SMTPServerDisconnected, ConnectionError)):
            go_on_in_tls()
        smtp.close()
        relay.wait_for_log("TLS error")


def test_a_certificate_that_is_demanded_and_there(tmp_path: Path) -> None:
    port = peers.free_port()
    with (
        daemons.running(tmp_path, configuration(tmp_path, port, "tls_verify_hosts = *"), port),
        smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20) as smtp,
    ):
        smtp.starttls(context=tls_context(certs.laptop(), tmp_path))
        assert smtp.sendmail(SENDER, [OUTSIDE], MESSAGE) == {}


def test_a_set_up_that_breaks_while_it_runs(tmp_path: Path) -> None:
    """454 to STARTTLS, then 554 to everything but QUIT; mended, it works again without a restart."""
    port = peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port, ""), port) as relay:
        certificate = tmp_path / "server.crt"
        kept = certificate.read_bytes()

        def starttls() -> smtplib.SMTP:
            smtp = smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20)
            smtp.ehlo()
            return smtp

        with starttls() as smtp:
            smtp.starttls(context=tls_context(None, tmp_path))
        certificate.unlink()

        def is_refused() -> bool:
            with starttls() as smtp:
                return smtp.docmd("STARTTLS")[0] == 454

        peers.wait_until("the missing certificate to be noticed", is_refused)
        with starttls() as smtp:
            assert smtp.docmd("STARTTLS") == (454, b"4.7.0 TLS currently unavailable")
            assert smtp.docmd("NOOP") == (554, b"5.7.0 Security failure")
            assert smtp.docmd("MAIL FROM:<a@b.test>")[0] == 554
            assert smtp.docmd("QUIT")[0] == 221
        assert str(certificate) in relay.log_text()
        certificate.write_bytes(kept)

        def works() -> bool:
            with starttls() as smtp:
                return smtp.docmd("STARTTLS")[0] == 220

        peers.wait_until("the certificate to be back", works)


def test_clear_text_on_a_port_that_starts_with_tls(tmp_path: Path) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, f"tls_on_connect_ports = {port}")
    with daemons.running(tmp_path, text, port) as relay:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n")
            assert b"220" not in connection.recv(1000)
        relay.wait_for_log("clear text where a TLS record was expected")
