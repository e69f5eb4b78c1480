"""A running daemon and those who want to wear it out: each gets a clear reply or an end, and the next one is served.

The limits themselves are tested on clocks of their own beside the machines; here they hold together, in one process
that is watched: whatever these clients send, its memory stays within bounds.
"""

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

PATIENCE = 2
"""`smtp_receive_timeout` of this daemon, in seconds."""
MOST = 60
"""`smtp_accept_max`."""
MEMORY = 160 * 2**20
"""Nearly twice what it needs; a message, a line or a crowd that is kept whole goes beyond it."""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemons.Daemon]:
    directory, port = tmp_path_factory.mktemp("rude"), peers.free_port()
    main = f"""
smtp_receive_timeout = {PATIENCE}s
smtp_accept_max = {MOST}
smtp_connect_backlog = 500
smtp_accept_max_nonmail = 100
recipients_max = 1000
hosts_proxy = 127.0.0.2
proxy_protocol_timeout = {PATIENCE}s
chunking_advertise_hosts = *
"""
    text = daemons.relay_configuration(directory, port, certs.relay(), [], trusted=[], main=main)
    text = text.replace("local_interfaces = 127.0.0.1", "local_interfaces = 127.0.0.1 : 127.0.0.2")
    with daemons.running(directory, text, port) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def _stays_well(relay: daemons.Daemon) -> Iterator[None]:
    """Behind each of these clients comes one that is served, and the daemon has not grown."""
    yield
    with Client(relay) as client:
        client.envelope()
        assert client.say(b"DATA\r\n") == 354
        assert client.say(b"Subject: the next one\r\n\r\nGood morning.\r\n.\r\n") == 250
    assert peak_memory(relay) < MEMORY
    assert "Traceback" not in (relay.directory / "output").read_text()


def peak_memory(relay: daemons.Daemon) -> int:
    """The most that it ever had, in octets."""
    process = (relay.spool / "daemon.pid").read_text().strip()
    (line,) = [each for each in Path(f"/proc/{process}/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


class Client:
    """A client that has said EHLO."""

    def __init__(self, relay: daemons.Daemon, *, timeout: float = 30) -> None:
        self.socket = socket.create_connection(("127.0.0.1", relay.port), timeout=timeout)
        self.file = self.socket.makefile("rb")
        assert self.reply() == 220
        assert self.say(b"EHLO laptop.test\r\n") == 250

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def say(self, octets: bytes) -> int:
        self.socket.sendall(octets)
        return self.reply()

    def reply(self) -> int:
        """The next code; 0 where the daemon has hung up."""
        try:
            while (line := self.file.readline())[3:4] == b"-":
                pass
        except ConnectionError:
            return 0
        return int(line[:3] or 0)

    def envelope(self) -> None:
        assert self.say(b"MAIL FROM:<me@laptop.test>\r\n") == 250
        assert self.say(b"RCPT TO:<you@relay.test>\r\n") == 250

    def pour(self, octets: bytes, most: int) -> int:
        """Sends the same again and again, up to `most` octets, or as much as the daemon takes."""
        sent = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < most:
                self.socket.sendall(octets)
                sent += len(octets)
        return sent


# Too much


def test_more_sessions_than_there_may_be(relay: daemons.Daemon) -> None:
    """The crowd is told 421, and nobody of it holds a place for long."""
    with Client(relay) as client:
        # Whoever came before has gone when this one has.
        assert client.say(b"QUIT\r\n") == 221
        assert client.reply() == 0
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", relay.port), 30)) for _ in range(MOST * 4)]
        first = [each.recv(3) for each in crowd]
        # A busy machine may take so long that the first ones have been cut off before the last one comes.
        assert set(first) == {b"220", b"421"}
        assert MOST <= first.count(b"220") < MOST * 4
    assert f"connection count = {MOST})" in relay.log_text()
    assert f"connection count = {MOST + 1})" not in relay.log_text()
    peers.wait_until("room for another session", lambda: greeting(relay) == b"220")


def greeting(relay: daemons.Daemon) -> bytes:
    with socket.create_connection(("127.0.0.1", relay.port), 30) as one:
        return one.recv(3)


def test_connections_that_are_dropped_at_once(relay: daemons.Daemon) -> None:
    for _ in range(300):
        socket.create_connection(("127.0.0.1", relay.port), 30).close()
    peers.wait_until("room for another session", lambda: greeting(relay) == b"220")


def test_a_header_without_end(relay: daemons.Daemon) -> None:
    with Client(relay) as client:
        client.envelope()
        assert client.say(b"DATA\r\n") == 354
        client.pour((b"X-Long: " + b"y" * 900 + b"\r\n") * 100, 10 * 2**20)
        assert client.say(b"\r\n.\r\n") == 552


def test_one_field_without_end(relay: daemons.Daemon) -> None:
    with Client(relay) as client:
        client.envelope()
        assert client.say(b"DATA\r\n") == 354
        client.pour((b" " + b"y" * 900 + b"\r\n") * 100, 10 * 2**20)
        assert client.say(b"\r\n.\r\n") == 552


def test_a_size_that_is_too_big_is_logged(relay: daemons.Daemon) -> None:
    with Client(relay) as client:
        client.envelope()
        assert client.say(b"RSET\r\n") == 250
        assert client.say(b"MAIL FROM:<anna@home.test> SIZE=999999999999\r\n") == 552
    assert "rejected MAIL FROM:<anna@home.test> H=" in relay.log_text()
    assert ": message too big: size=999999999999 max=" in relay.log_text()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["DATA", "BDAT"])
def test_a_body_without_end(relay: daemons.Daemon, by: str) -> None:
    """Far behind the limit of size it is not read on."""
    with Client(relay) as client:
        client.envelope()
        if by == "DATA":
            assert client.say(b"DATA\r\n") == 354
            client.socket.sendall(b"Subject: long\r\n\r\n")
        else:
            client.socket.sendall(b"BDAT 10000000000 LAST\r\n")
        assert client.pour((b"y" * 70 + b"\r\n") * 10_000, 400 * 2**20) < 400 * 2**20
        assert client.reply() in (0, 552)


@pytest.mark.parametrize("where", ["command", "DATA", "AUTH"])
def test_a_line_without_end(relay: daemons.Daemon, where: str) -> None:
    with Client(relay) as client:
        if where == "DATA":
            client.envelope()
            assert client.say(b"DATA\r\n") == 354
        client.pour(b"x" * 2**16, 20 * 2**20)
        client.socket.sendall(b"\r\n.\r\n" if where == "DATA" else b"\r\n")
        assert 500 <= client.reply() < 600


def test_an_ehlo_of_a_hundred_kilobytes(relay: daemons.Daemon) -> None:
    with Client(relay) as client:
        assert client.say(b"EHLO " + b"x" * 100_000 + b"\r\n") == 500
        assert client.say(b"EHLO laptop.test\r\n") == 250


@pytest.mark.slow
def test_fifty_thousand_recipients(relay: daemons.Daemon) -> None:
    """A thousand are taken; the others are put off, one by one, until it is enough."""
    codes: dict[int, int] = {}
    with Client(relay) as client:
        assert client.say(b"MAIL FROM:<me@laptop.test>\r\n") == 250
        for _ in range(50):
            with contextlib.suppress(ConnectionError):
                client.socket.sendall(b"RCPT TO:<you@relay.test>\r\n" * 1000)
            for _ in range(1000):
                code = client.reply()
                codes[code] = codes.get(code, 0) + 1
                if not code:
                    break
    assert codes[250] == 1000
    assert codes[452] > 0
    assert set(codes) <= {0, 250, 421, 452}


@pytest.mark.parametrize("line", [b"NOOP\r\n", b"RSET\r\n", b"EHLO a.test\r\n", b"VRFY you\r\n", b"HELP\r\n", b"x\r\n"])
def test_commands_without_end(relay: daemons.Daemon, line: bytes) -> None:
    """A thousand of them that bring no mail are not answered to the last."""
    answered = 0
    with Client(relay) as client:
        for _ in range(1000):
            try:
                code = client.say(line)
            except ConnectionError:
                break
            if code in (0, 421):
                break
            answered += 1
    assert answered < 110


@pytest.mark.slow
def test_replies_that_nobody_takes_are_not_gathered(relay: daemons.Daemon) -> None:
    """What is not read any more is not obeyed either."""
    with Client(relay, timeout=PATIENCE) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.envelope()
        assert client.pour(b"RCPT TO:<" + b"u" * 60 + b"@elsewhere.test>\r\n", 50 * 2**20) < 50 * 2**20


# Too slow: in each state, an octet now and then


def plain(relay: daemons.Daemon, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, relay.port), timeout=30)


def after(*lines: bytes) -> Callable[[daemons.Daemon], socket.socket]:
    """A connection on which these lines were said and answered."""

    def make(relay: daemons.Daemon) -> socket.socket:
        one = plain(relay)
        one.recv(4096)
        for line in lines:
            one.sendall(line)
            assert one.recv(4096)[:1] in b"23"
        return one

    return make


def inside_tls(relay: daemons.Daemon) -> socket.socket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(after(b"EHLO a.test\r\n", b"STARTTLS\r\n")(relay))


HELLO, MAIL, RCPT = b"EHLO a.test\r\n", b"MAIL FROM:<a@a.test>\r\n", b"RCPT TO:<you@relay.test>\r\n"
STATES: Mapping[str, tuple[Callable[[daemons.Daemon], socket.socket], bytes]] = {
    "silence": (plain, b""),
    "a command": (plain, b"EHLO " + b"a" * 400),
    "commands one by one": (after(HELLO), b"NOOP"),
    "silence behind EHLO": (after(HELLO), b""),
    "silence behind MAIL": (after(HELLO, MAIL), b""),
    "RCPT": (after(HELLO, MAIL), b"RCPT TO:<" + b"a" * 400),
    "silence in a message": (after(HELLO, MAIL, RCPT, b"DATA\r\n"), b""),
    "a message": (after(HELLO, MAIL, RCPT, b"DATA\r\n"), b"Subject: slow\r\n\r\n" + b"a" * 400),
    "a chunk": (after(HELLO, MAIL, RCPT), b"BDAT 4000\r\n" + b"a" * 400),
    "between chunks": (after(HELLO, MAIL, RCPT, b"BDAT 4\r\na: b"), b""),
    "no handshake": (after(HELLO, b"STARTTLS\r\n"), b""),
    "a handshake": (after(HELLO, b"STARTTLS\r\n"), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400)),
    "no handshake, no TLS": (after(HELLO, b"STARTTLS\r\n"), b"a" * 400),
    "a command inside TLS": (inside_tls, b"EHLO " + b"a" * 400),
    "a PROXY header": (lambda relay: plain(relay, "127.0.0.2"), b"PROXY TCP4 1.1.1.1 "),
    "a binary PROXY header": (
        lambda relay: plain(relay, "127.0.0.2"),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + bytes(400),
    ),
}


@pytest.mark.slow
def test_whoever_is_slow_is_cut_off_in_every_state(relay: daemons.Daemon) -> None:
    """All at once: each says an octet every quarter of a second, and is gone before it has said it all."""
    waiting = {name: (make(relay), iter(octets)) for name, (make, octets) in STATES.items()}
    try:
        end = time.monotonic() + PATIENCE * 6
        with selectors.DefaultSelector() as selector:
            for name, (one, _) in waiting.items():
                one.settimeout(5)
                selector.register(one, selectors.EVENT_READ, name)
            while waiting and time.monotonic() < end:
                for key, _ in selector.select(0.25):
                    if has_ended(waiting[key.data][0]):
                        selector.unregister(key.fileobj)
                        waiting.pop(key.data)[0].close()
                for one, octets in waiting.values():
                    with contextlib.suppress(OSError):
                        one.sendall(bytes(octet for octet in (next(octets, None),) if octet is not None))
        assert sorted(waiting) == []
    finally:
        for one, _ in waiting.values():
            one.close()


def has_ended(one: socket.socket) -> bool:
    try:
        return not one.recv(4096)
    except OSError:
        return True
