"""A server in a thread that does odd things on order: around the end of TLS, with its replies, with its certificate.

It cuts the inbound stream into TLS records itself, as a server must that goes on in clear behind a close_notify.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from certs import CertKey


class Gone(Exception):
    """The connection is over, by our or the client's doing."""


@dataclass
class Oddness:
    """What is odd about it. Numbers of sessions and connections count from 0."""

    on_close: str = "at once"
    """What follows the client's close_notify: `at once`, `late`, `very late`, `never` (all go on in clear),
    `tcp close`, `rst`, `hang`, `garbage`."""
    starttls: bytes = b"220 go ahead"
    starttls_sessions: tuple[int, ...] | None = None
    """The TLS sessions of a connection that are offered; None: all."""
    offers: tuple[bytes, ...] = (b"PIPELINING", b"8BITMIME")
    replies: dict[bytes, bytes] = field(default_factory=dict)
    """By the first word of a command, `.` for the end of data, `220` for the greeting."""
    replies_in_tls: dict[bytes, bytes] = field(default_factory=dict)
    """Instead of `replies`, inside of TLS."""
    handshake: str = ""
    """Instead of a handshake: `garbage`, `close`, `rst`."""
    cut_after: int | None = None
    """Octets of plain text that are sent before the connection is cut."""
    certificates: tuple[CertKey, ...] = ()
    """By TLS session of all connections; the last one goes on."""
    ask_for_certificate: str = ""
    """File of certificates that a client has to have one of."""
    tls13: bool = True
    alpn: tuple[str, ...] = ()
    silent_at: bytes = b""
    """The command that is not answered, `.` for the end of data."""
    deaf_in_data: bool = False
    """It does not read the message."""


@dataclass
class Heard:
    """What one connection said: `words` with `TLS`, `clear` for the layers, messages with whether they came in TLS."""

    words: list[str] = field(default_factory=list)
    messages: list[tuple[bytes, bool]] = field(default_factory=list)
    in_clear: bytearray = field(default_factory=bytearray)
    resumed: list[bool] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    """What OpenSSL says of handshakes that failed."""


class OddPeer:
    def __init__(self, oddness: Oddness, directory: Path) -> None:
        self.oddness = oddness
        self.directory = directory
        self.connections: list[Heard] = []
        self.tls_sessions = 0
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.port = 0

    @property
    def messages(self) -> list[tuple[bytes, bool]]:
        return [each for heard in self.connections for each in heard.messages]

    def context(self) -> ssl.SSLContext:
        shown = self.oddness.certificates[min(self.tls_sessions, len(self.oddness.certificates) - 1)]
        if shown.fingerprint not in self.contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*shown.write(self.directory, f"peer{len(self.contexts)}"))
            if not self.oddness.tls13:
                context.maximum_version = ssl.TLSVersion.TLSv1_2
            if self.oddness.ask_for_certificate:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self.oddness.ask_for_certificate)
            if self.oddness.alpn:
                context.set_alpn_protocols(list(self.oddness.alpn))
            self.contexts[shown.fingerprint] = context
        return self.contexts[shown.fingerprint]


class _Session:
    """One connection."""

    def __init__(self, peer: OddPeer, connection: socket.socket) -> None:
        self.peer = peer
        self.odd = peer.oddness
        self.connection = connection
        self.heard = Heard()
        peer.connections.append(self.heard)
        self.raw = b""
        self.plain = b""
        self.tls: ssl.SSLObject | None = None
        self.inbound, self.outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sessions = 0
        self.sent = 0

    def run(self) -> None:
        self.connection.settimeout(8)
        self.say(self.odd.replies.get(b"220", b"220 odd.test"))
        while True:
            line = self.line()
            word = line.split(b" ")[0].split(b":")[0].upper()
            self.heard.words.append(word.decode("latin-1"))
            if word == self.odd.silent_at:
                continue
            replies = self.odd.replies_in_tls if self.tls is not None else self.odd.replies
            if word in replies and word != b"STARTTLS":
                self.say(replies[word])
                continue
            match word:
                case b"EHLO" | b"LHLO":
                    words = [b"odd.test", *self.odd.offers, *([b"STARTTLS"] if self.offers_tls() else [])]
                    self.say(b"\r\n".join(b"250-" + each for each in words[:-1]) + b"\r\n250 " + words[-1])
                case b"STARTTLS":
                    self.say(self.odd.starttls)
                    if self.odd.starttls.startswith(b"220"):
                        self.shake()
                case b"DATA":
                    self.say(b"354 go on")
                    self.take_message()
                case b"QUIT":
                    self.say(b"221 bye")
                    raise Gone
                case _:
                    self.say(b"250 OK")

    def offers_tls(self) -> bool:
        allowed = self.odd.starttls_sessions
        return bool(self.odd.certificates) and self.tls is None and (allowed is None or self.sessions in allowed)

    def take_message(self) -> None:
        lines = []
        if self.odd.deaf_in_data:
            time.sleep(2)
            raise Gone
        while (line := self.line()) != b".":
            lines.append(line)
        self.heard.messages.append((b"\r\n".join(lines), self.tls is not None))
        self.heard.words.append(".")
        if self.odd.silent_at == b".":
            return
        replies = self.odd.replies_in_tls if self.tls is not None else self.odd.replies
        self.say(replies.get(b".", b"250 OK id=odd"))

    # Layers

    def shake(self) -> None:
        if self.odd.handshake:
            self.connection.recv(1)
            if self.odd.handshake == "garbage":
                self.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            elif self.odd.handshake == "rst":
                self.reset()
            raise Gone
        self.inbound, self.outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.peer.context().wrap_bio(self.inbound, self.outbound, server_side=True)
        self.peer.tls_sessions += 1
        self.sessions += 1
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()
            except ssl.SSLError as error:
                self.heard.alerts.append(error.reason or "")
                self.flush()
                raise Gone from None
        self.flush()
        self.heard.words.append("TLS")
        self.heard.resumed.append(bool(self.tls.session_reused))

    def feed(self) -> None:
        """One record for OpenSSL."""
        while len(self.raw) < 5 or len(self.raw) < 5 + int.from_bytes(self.raw[3:5], "big"):
            self.receive()
        length = 5 + int.from_bytes(self.raw[3:5], "big")
        self.inbound.write(self.raw[:length])
        self.raw = self.raw[length:]

    def flush(self) -> None:
        data = self.outbound.read()
        if data:
            self.connection.sendall(data)

    def receive(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise Gone
        self.raw += data

    def line(self) -> bytes:
        while b"\n" not in self.plain:
            if self.tls is None:
                if not self.raw:
                    self.receive()
                self.heard.in_clear += self.raw
                self.plain, self.raw = self.plain + self.raw, b""
                continue
            try:
                data = self.tls.read(65536)
                if not data:
                    self.closed()
                self.plain += data
            except ssl.SSLWantReadError:
                self.feed()
            except ssl.SSLError:
                raise Gone from None
        line, _, self.plain = self.plain.partition(b"\n")
        return line.rstrip(b"\r")

    def closed(self) -> None:
        """The client has sent close_notify."""
        self.heard.words.append("clear")
        assert self.tls is not None
        how = self.odd.on_close
        if how in ("at once", "late", "very late"):
            time.sleep({"late": 0.3, "very late": 3.0}.get(how, 0.0))
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            self.flush()
        elif how == "tcp close":
            raise Gone
        elif how == "rst":
            self.reset()
            raise Gone
        elif how == "garbage":
            self.connection.sendall(b"\x00\x01garbage\r\n")
        elif how == "hang":
            with contextlib.suppress(OSError):
                while self.connection.recv(1000):
                    pass
            raise Gone
        self.tls = None

    def reset(self) -> None:
        """The end of the connection will be a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def say(self, text: bytes) -> None:
        data = text + b"\r\n"
        is_last = False
        if self.odd.cut_after is not None and self.sent + len(data) > self.odd.cut_after:
            data, is_last = data[: self.odd.cut_after - self.sent], True
        self.sent += len(data)
        if self.tls is None:
            self.connection.sendall(data)
        elif data:
            self.tls.write(data)
            self.flush()
        if is_last or text.startswith(b"421"):
            raise Gone


@contextlib.contextmanager
def odd_peer(oddness: Oddness, directory: Path) -> Iterator[OddPeer]:
    peer = OddPeer(oddness, directory)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer.port = listener.getsockname()[1]
        listener.settimeout(0.1)
        stopped = threading.Event()
        threads: list[threading.Thread] = []

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(Gone, OSError):
                _Session(peer, connection).run()

        def serve() -> None:
            while not stopped.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    threads.append(threading.Thread(target=talk, args=(connection,), daemon=True))
                    threads[-1].start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield peer
        finally:
            stopped.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
            thread.join()
            for each in threads:
                each.join(0.5)
