"""The server's TLS options with foreign clients: TLS on connect, a demanded certificate, a set-up that breaks."""

import contextlib
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons
from tls.material import response

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


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("client", [certs.stranger, lambda: None], ids=["stranger", "none"])
def test_who_lacks_a_certificate_that_is_demanded_may_only_quit(tmp_path: Path, client, version) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, "tls_verify_hosts = *")
    with daemons.running(tmp_path, text, port) as relay:
        with greeted(port) as smtp:
            assert smtp.docmd("STARTTLS")[0] == 220
            assert isinstance(smtp.sock, socket.socket)
            context = tls_context(client(), tmp_path)
            context.minimum_version = context.maximum_version = version
            with pytest.raises(ssl.SSLError, match="alert"):
                shake(smtp.sock, context)
            assert smtp.docmd("NOOP") == (554, b"Security failure")
            assert smtp.docmd("MAIL FROM:<me@laptop.test>")[0] == 554
            assert smtp.docmd("QUIT")[0] == 221
        relay.wait_for_log("TLS error")
        assert not relay.messages()


def shake(connection: socket.socket, context: ssl.SSLContext) -> None:
    """Shakes hands until the server says something in TLS, beside the socket, which stays open and clear."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    layer = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            layer.do_handshake()
            layer.read(1)
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))


def test_what_is_neither_a_record_nor_clear_text_after_a_failed_handshake_ends_the_connection(tmp_path: Path) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, "tls_verify_hosts = *")
    with daemons.running(tmp_path, text, port), greeted(port) as smtp:
        assert smtp.docmd("STARTTLS")[0] == 220
        assert isinstance(smtp.sock, socket.socket)
        with pytest.raises(ssl.SSLError, match="alert"):
            shake(smtp.sock, tls_context(None, tmp_path))
        smtp.sock.sendall(b"\x17\x07\x07\xff\xff")
        assert received(smtp.sock) == b""


def test_octets_behind_starttls_are_never_obeyed(tmp_path: Path) -> None:
    port = peers.free_port()
    main = "tls_verify_hosts = *\nsmtp_enforce_sync = false"
    with daemons.running(tmp_path, configuration(tmp_path, port, main), port), greeted(port) as smtp:
        assert isinstance(smtp.sock, socket.socket)
        smtp.sock.sendall(b"STARTTLS\r\nRSET\r\nNOOP\r\n")
        assert smtp.getreply()[0] == 220
        assert smtp.docmd("QUIT")[0] == 221


def test_a_certificate_that_is_demanded_and_there(tmp_path: Path) -> None:
    port = peers.free_port()
    with (
        daemons.running(tmp_path, configuration(tmp_path, port, "tls_verify_hosts = *"), port),
        smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20) as smtp,
    ):
        smtp.starttls(context=tls_context(certs.laptop(), tmp_path))
        assert smtp.sendmail(SENDER, [OUTSIDE], MESSAGE) == {}


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_who_is_gone_before_the_reply_keeps_its_message(tmp_path: Path, is_encrypted: bool) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, "acl_smtp_data = wait").replace(
        "begin acl", "begin acl\nwait:\n  accept delay = 1s"
    )
    with daemons.running(tmp_path, text, port) as relay:
        smtp = greeted(port)
        if is_encrypted:
            smtp.starttls(context=tls_context(certs.laptop(), tmp_path))
            smtp.ehlo()
        for command in (f"MAIL FROM:<{SENDER}>", "RCPT TO:<you@relay.test>", "DATA"):
            assert smtp.docmd(command)[0] in (250, 354)
        smtp.send(MESSAGE + b".\r\n")
        if is_encrypted:
            assert isinstance(smtp.sock, ssl.SSLSocket)
            smtp.sock.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):
                smtp.sock.unwrap()
        smtp.close()
        relay.wait_for_log("SMTP connection lost after final dot H=(laptop.test) [127.0.0.1]")
        with greeted(port) as again:
            again.sendmail(SENDER, ["you@relay.test"], MESSAGE)
        peers.wait_until("the message", relay.messages)
        assert len(relay.messages()) == 1


def greeted(port: int) -> smtplib.SMTP:
    smtp = smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20)
    smtp.ehlo()
    return smtp


def test_a_renewal_that_goes_wrong_leaves_the_old_certificate_in_force(tmp_path: Path) -> None:
    """It is said in the log, and once the files are whole the new one is used without a restart."""
    port = peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port, ""), port) as relay:
        certificate, key = tmp_path / "server.crt", tmp_path / "server.key"

        def shown() -> bytes | None:
            with greeted(port) as smtp:
                context = tls_context(None, tmp_path)
                context.verify_mode = ssl.CERT_NONE
                smtp.starttls(context=context)
                assert isinstance(smtp.sock, ssl.SSLSocket)
                return smtp.sock.getpeercert(binary_form=True)

        assert shown() == certs.relay().der
        certificate.unlink()
        told = f"what was good before stays in force: {certificate}: no such file"
        peers.wait_until("the fault to be told", lambda: (shown(), told in relay.log_text())[1])
        relay.wait_for_log(told, log="panic")
        assert shown() == certs.relay().der
        renewed = certs.self_signed("relay.test")
        key.write_bytes(renewed.key_pem)
        certificate.write_bytes(renewed.chain_pem)
        peers.wait_until("the new certificate", lambda: shown() == renewed.der)


def test_a_set_up_that_never_was_good(tmp_path: Path) -> None:
    """454 to STARTTLS, then 554 to everything but QUIT; mended, it works without a restart."""
    port = peers.free_port()
    text = configuration(tmp_path, port, "")
    certificate = tmp_path / "server.crt"
    # A name that is expanded is looked at when a client comes; a constant one would keep the daemon from starting.
    text = text.replace(f"tls_certificate = {certificate}", f"tls_certificate = ${{if eq{{a}}{{a}}{{{certificate}}}}}")
    kept = certificate.read_bytes()
    certificate.write_bytes(b"garbage")
    with daemons.running(tmp_path, text, port) as relay:
        with greeted(port) as smtp:
            assert smtp.docmd("STARTTLS") == (454, b"4.7.0 TLS currently unavailable")
            assert smtp.docmd("NOOP") == (554, b"5.7.0 Security failure")
            assert smtp.docmd("MAIL FROM:<a@b.test>")[0] == 554
            assert smtp.docmd("QUIT")[0] == 221
        assert str(certificate) in relay.log_text()
        certificate.write_bytes(kept)

        def works() -> bool:
            with greeted(port) as smtp:
                return smtp.docmd("STARTTLS")[0] == 220

        peers.wait_until("the certificate to be mended", works)


def test_trusted_certificates_that_break_give_no_rights(tmp_path: Path) -> None:
    port = peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port, ""), port):
        trusted = tmp_path / "anchors" / "0.pem"

        def relays() -> bool:
            with greeted(port) as smtp:
                smtp.starttls(context=tls_context(certs.laptop(), tmp_path))
                smtp.ehlo()
                smtp.mail(SENDER)
                return smtp.rcpt(OUTSIDE)[0] == 250

        assert relays()
        trusted.write_bytes(certs.laptop().cert_pem[:200])
        peers.wait_until("the rights to be gone", lambda: not relays())
        trusted.write_bytes(certs.laptop().cert_pem)
        peers.wait_until("the rights to be back", relays)


def test_without_a_certificate_one_is_made(tmp_path: Path) -> None:
    port = peers.free_port()
    text = "".join(
        line
        for line in configuration(tmp_path, port, "").splitlines(keepends=True)
        if not line.startswith(("tls_certificate", "tls_privatekey"))
    )
    with daemons.running(tmp_path, text, port), greeted(port) as smtp:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        smtp.starttls(context=context)
        assert smtp.ehlo()[0] == 250


def test_a_client_that_wants_another_protocol(tmp_path: Path) -> None:
    """Exim: tls_alpn, hosts_require_alpn."""
    port = peers.free_port()
    main = "hosts_require_alpn = *"
    with daemons.running(tmp_path, configuration(tmp_path, port, main), port) as relay:

        def agreed(*names: str) -> str | None:
            context = tls_context(None, tmp_path)
            if names:
                context.set_alpn_protocols(list(names))
            with greeted(port) as smtp:
                smtp.starttls(context=context)
                assert isinstance(smtp.sock, ssl.SSLSocket)
                return smtp.sock.selected_alpn_protocol()

        assert agreed("smtp") == "smtp"
        for names in (("h2",), ("smtp", "http/1.1"), ()):
            with pytest.raises(ssl.SSLError):
                agreed(*names)
        relay.wait_for_log("(handshake): Bad ALPN presented (h2)")
        relay.wait_for_log("(handshake): ALPN required but not negotiated")


def test_the_name_that_a_client_asks_for_chooses_the_certificate(tmp_path: Path) -> None:
    port = peers.free_port()
    folder = tmp_path / "names"
    other = certs.self_signed("other.test", sans=["other.test"])
    for name, each in (("relay.test", certs.relay()), ("other.test", other)):
        certificate, key = each.write(folder, name)
        (folder / f"{name}.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    named = f"tls_certificate = {folder}/${{if def:tls_in_sni{{$tls_in_sni}}{{relay.test}}}}.pem"
    text = "\n".join(
        named if line.startswith("tls_certificate") else line
        for line in configuration(tmp_path, port, "").splitlines()
        if not line.startswith("tls_privatekey")
    )
    with daemons.running(tmp_path, text, port) as relay:

        def shown(name: str | None) -> bytes | None:
            context = tls_context(None, tmp_path)
            context.verify_mode = ssl.CERT_NONE
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                file = connection.makefile("rb")
                for command, lines in ((b"", 1), (b"EHLO a.test\r\n", 0), (b"STARTTLS\r\n", 1)):
                    connection.sendall(command)
                    while file.readline()[3:4] != b" " or lines == 2:
                        pass
                with context.wrap_socket(connection, server_hostname=name) as secure:
                    return secure.getpeercert(binary_form=True)

        assert shown(None) == shown("relay.test") == certs.relay().der
        assert shown("other.test") == other.der
        for name in ("a/b.test", "missing.test"):
            with pytest.raises((ssl.SSLError, OSError)):
                shown(name)
        relay.wait_for_log("can't be part of a file name")


def test_trust_is_that_of_the_second_certificate_alone(tmp_path: Path) -> None:
    """On one connection: a stranger and then the laptop, the laptop and then a stranger."""
    port = peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port, ""), port):
        for clients in ((certs.stranger(), certs.laptop()), (certs.laptop(), certs.stranger(), certs.laptop()),
                        (None, certs.laptop(), None)):  # fmt: skip
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                assert said(connection, None) == 220
                for number, client in enumerate(clients):
                    assert said(connection, "EHLO laptop.test") == 250
                    assert said(connection, "STARTTLS") == 220
                    context = tls_context(client, tmp_path / f"client{number}")
                    secure = context.wrap_socket(connection, suppress_ragged_eofs=False)
                    assert said(secure, "EHLO laptop.test") == 250
                    assert said(secure, f"MAIL FROM:<{SENDER}>") == 250
                    expected = 250 if client is certs.laptop() else 550
                    assert said(secure, f"RCPT TO:<{OUTSIDE}>") == expected
                    connection = secure.unwrap()
                connection.close()


def said(connection: socket.socket, line: str | None) -> int:
    """The reply to a command; none is waited for beyond its last line."""
    if line is not None:
        connection.sendall(line.encode() + b"\r\n")
    data = b""
    while not data.endswith(b"\r\n") or data.splitlines()[-1][3:4] != b" ":
        more = connection.recv(4096)
        assert more, "the relay closed the connection"
        data += more
    return int(data[:3])


@pytest.mark.parametrize("remembers", [True, False])
def test_a_client_that_sends_no_new_greeting(tmp_path: Path, remembers: bool) -> None:
    """Exim: tls_remember_esmtp; the name of the greeting in clear is forgotten all the same."""
    port = peers.free_port()
    text = configuration(tmp_path, port, f"tls_remember_esmtp = {str(remembers).lower()}")
    with daemons.running(tmp_path, text, port) as relay, greeted(port) as smtp:
        smtp.starttls(context=tls_context(certs.laptop(), tmp_path))
        assert smtp.docmd(f"MAIL FROM:<{SENDER}> SIZE=100")[0] == (250 if remembers else 503)
        if remembers:
            assert smtp.docmd(f"RCPT TO:<{OUTSIDE}>")[0] == 250
            assert smtp.data(MESSAGE)[0] == 250
            relay.wait_for_log(f"<= {SENDER} H=[127.0.0.1] P=esmtps ")


def test_tls_is_required_of_whom_tls_hosts_names(tmp_path: Path) -> None:
    """Exim 3: STARTTLS is offered to them even where tls_advertise_hosts does not name them."""
    port = peers.free_port()
    text = configuration(tmp_path, port, "tls_hosts = 127.0.0.1")
    text = text.replace("tls_advertise_hosts = *", "tls_advertise_hosts =")
    with daemons.running(tmp_path, text, port), greeted(port) as smtp:
        assert smtp.has_extn("starttls")
        code, told = smtp.mail(SENDER)
        assert code == 503
        assert told.endswith(b"Use of TLS required")
        smtp.starttls(context=tls_context(certs.laptop(), tmp_path))
        smtp.ehlo()
        assert smtp.mail(SENDER)[0] == 250


def test_relaying_by_the_options_of_exim_3(tmp_path: Path) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, "tls_host_accept_relay = 127.0.0.1")
    text = text.replace("acl_smtp_rcpt = acl_check_rcpt\n", "")
    with daemons.running(tmp_path, text, port), greeted(port) as smtp:
        smtp.mail(SENDER)
        code, told = smtp.rcpt(OUTSIDE)
        assert code == 550
        assert b"prohibited by administrator" in told
        assert smtp.rcpt("you@relay.test")[0] == 250
        smtp.starttls(context=tls_context(None, tmp_path))
        smtp.ehlo()
        smtp.mail(SENDER)
        assert smtp.rcpt(OUTSIDE)[0] == 250


def test_an_address_that_fails_too_often(tmp_path: Path) -> None:
    """It is refused before anything is computed, a few lines are written, and the rest is counted."""
    port = peers.free_port()
    main = f"tls_on_connect_ports = {port}\ntls_handshakes_per_host = 200"
    with daemons.running(tmp_path, configuration(tmp_path, port, main), port) as relay:

        def shakes() -> bool:
            context = tls_context(None, tmp_path)
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                    context.wrap_socket(connection).close()
            except OSError:
                return False
            return True

        assert shakes()
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while connection.recv(4096):
                    pass
        assert not shakes()
        assert relay.log_text().count("TLS error") == 5


def record(octets: bytes, kind: int = 22) -> bytes:
    return bytes((kind, 3, 1)) + len(octets).to_bytes(2, "big") + octets


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n", "clear text where a TLS record was expected"),
        (b"EHLO laptop.test\r\n", "clear text where a TLS record was expected"),
        (b"\x16\x03\x01\xff\xff", "longer than the protocol allows"),
        (b"\x16\x07\x01\x00\x05hello", "not a TLS record"),
        (record(b"", 22), "an empty handshake record"),
        (record(b"\x02\0\0\0"), "does not begin with a ClientHello"),
        (record(b"x" * 16384, 23), "does not begin with a ClientHello"),
        (record(b"\x01" + (1 << 20).to_bytes(3, "big") + bytes(16000)), "a ClientHello of 1048576 octets"),
        (record(b"\x01\0\xff\0") + record(b"\0") * 1100, "a ClientHello in too many pieces"),
        (record(b"\x01\0\0\x10" + bytes(16)), "a ClientHello that is cut short"),
        (record(b"\x02\x28", 21), "does not begin with a ClientHello"),
    ],
)
def test_what_is_no_handshake_ends_cleanly_with_one_clear_line(
    on_connect: daemons.Daemon, sent: bytes, line: str
) -> None:
    before = on_connect.log_text().count("TLS error")
    with socket.create_connection(("127.0.0.1", on_connect.port), timeout=20) as connection:
        connection.sendall(sent)
        while received(connection):
            pass
    peers.wait_until("a line", lambda: on_connect.log_text().count("TLS error") > before)
    last = [each for each in on_connect.log_text().splitlines() if "TLS error" in each][before:]
    assert len(last) == 1
    assert "(the client's side: " in last[0] or "(tls lib accept fn): " in last[0]
    assert line in last[0]
    assert "Traceback" not in (on_connect.directory / "output").read_text(errors="replace")


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except ConnectionError:
        return b""


@pytest.fixture
def on_connect(tmp_path: Path) -> Iterator[daemons.Daemon]:
    port = peers.free_port()
    main = f"tls_on_connect_ports = {port}\nsmtp_enforce_sync = false"
    with daemons.running(tmp_path, configuration(tmp_path, port, main), port) as relay:
        yield relay


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_hello_in_hundreds_of_pieces_is_a_hello(on_connect: daemons.Daemon, tmp_path: Path, size: int) -> None:
    """Each octet a TCP segment, and the handshake message cut over many records."""
    context = tls_context(None, tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    with socket.create_connection(("127.0.0.1", on_connect.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        message = outgoing.read()[5:]
        for start in range(0, len(message), size):
            connection.sendall(record(message[start : start + size]))
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                data = connection.recv(65536)
                assert data, on_connect.log_text()
                incoming.write(data)
        assert client.version() in ("TLSv1.2", "TLSv1.3")


def test_what_an_acl_sees_of_the_layer(tmp_path: Path) -> None:
    """The variables, with a session that is resumed, a staple, and a certificate that does not verify."""
    port = peers.free_port()
    ca = certs.authority()
    server = ca.issue("relay.test", sans=["relay.test"])
    (tmp_path / "staple").write_bytes(response(ca, server))
    shown = "<$tls_in_resumption|$tls_in_ocsp|$tls_in_group|$tls_in_certificate_verified|$tls_in_certificate_error>"
    main = f"""tls_resumption_hosts = *
tls_ocsp_file = {tmp_path}/staple
log_selector = +tls_resumption +fingerpost
acl_smtp_helo = acl_show"""
    text = daemons.relay_configuration(tmp_path, port, server, [certs.laptop()], trusted=[], main=main)
    text = text.replace("log_selector = +smtp_connection +tls_peerdn +outgoing_port +fingerpost\n", "")
    text = text.replace("begin acl\n", f"begin acl\n\nacl_show:\n  accept logwrite = {shown}\n")
    with daemons.running(tmp_path, text, port) as relay:
        context = tls_context(certs.stranger(), tmp_path)
        context.verify_mode = ssl.CERT_NONE
        session: ssl.SSLSession | None = None
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                assert said(connection, None) == 220
                assert said(connection, "EHLO laptop.test") == 250
                assert said(connection, "STARTTLS") == 220
                with context.wrap_socket(connection, session=session) as secure:
                    assert said(secure, "EHLO laptop.test") == 250
                    session = secure.session
                    assert said(secure, "QUIT") == 221
        why = "the certificate is self-signed and not in the trusted set"
        relay.wait_for_log(f"<11|0|x25519|0|{why}>")
        relay.wait_for_log(f"<31|0|x25519|0|{why}>")
        asked = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", "smtp", "-status", "-name", "a.test"],
            input="EHLO a.test\r\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "OCSP Response Status: successful" in asked.stdout, asked.stdout + asked.stderr
        relay.wait_for_log("<11|4|")


# Other programs' clients


@pytest.mark.interop("gnutls-cli")
@pytest.mark.parametrize("priority", ["NORMAL", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "SECURE128"])
def test_gnutls_cli(on_connect: daemons.Daemon, tmp_path: Path, priority: str) -> None:
    anchor = tmp_path / "relay.pem"
    anchor.write_bytes(certs.relay().cert_pem)
    certificate, key = certs.laptop().write(tmp_path, "laptop")
    done = subprocess.run(
        [
            "gnutls-cli", "--priority", priority, "--x509cafile", str(anchor), "--x509certfile", str(certificate),
            "--x509keyfile", str(key), "--port", str(on_connect.port), "--verify-hostname", "relay.test",
            "--crlf", "127.0.0.1",
        ],
        input="EHLO laptop.test\nQUIT\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert "Handshake was completed" in done.stdout, done.stdout + done.stderr
    assert "250-relay.test Hello laptop.test" in done.stdout
    on_connect.wait_for_log(f"FP={certs.laptop().fingerprint} KEY=")


@pytest.mark.interop("openssl")
def test_openssl_s_client_with_an_own_group(on_connect: daemons.Daemon, tmp_path: Path) -> None:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{on_connect.port}", "-groups", "P-384", "-status", "-alpn",
         "smtp"],
        input="QUIT\r\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert "ALPN protocol: smtp" in done.stdout, done.stdout + done.stderr
    assert "OCSP response: no response sent" in done.stdout
