"""The suite's scripted server, for machines without a C compiler (edge).

    python server.py [-t SECONDS] [-noipv6] [-tls CERTIFICATE KEY] [-oP FILE] PORT|SOCKET [CONNECTIONS] <script

The README of the suite, "Server scripts". The script ends with a line `++++`; then the connections are served one after
the other, each with the part of the script that the one before has left.
"""

import contextlib
import os
import re
import select
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ENDS = ((b">", b""), (b"CR>", b"\r"), (b"LF>", b"\n"))


@dataclass(slots=True)
class Options:
    timeout: float = 5.0
    timeout_is_fine: bool = False
    pause: int = 0
    families: list[socket.AddressFamily] = field(default_factory=lambda: [socket.AF_INET6, socket.AF_INET])
    certificate: tuple[str, str] | None = None
    pid_file: str = ""
    place: str = ""
    connections: int = 1


class Ended(Exception):
    """The connection is over; the next one goes on with the script."""


def options_of(arguments: list[str]) -> Options:
    options = Options()
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        match rest.pop(0):
            case "-t":
                seconds = int(rest.pop(0))
                options.timeout, options.timeout_is_fine = abs(seconds), seconds < 0
            case "-i":
                options.pause = int(rest.pop(0))
            case "-noipv4":
                options.families.remove(socket.AF_INET)
            case "-noipv6":
                options.families.remove(socket.AF_INET6)
            case "-tls":
                options.certificate = (rest.pop(0), rest.pop(0))
            case "-oP":
                options.pid_file = rest.pop(0)
            case "-d" | "-tfo":
                pass
            case option:
                stop(f"server: unknown option {option}, try -h or --help", 1)
    if not rest:
        stop("server: no port number or socket name given", 1)
    options.place = rest.pop(0)
    options.connections = int(rest[0]) if rest else 1
    return options


def unescaped(line: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]) if found[1] else found[2], line)


def script_of(text: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in text.removesuffix(b"\n").split(b"\n")] if text else []
    end = lines.index(b"++++") if b"++++" in lines else len(lines)
    return [unescaped(line) for line in lines[:end]]


def listeners(options: Options) -> list[socket.socket]:
    if options.place.startswith("/"):
        Path(options.place).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(options.place)
        listener.listen()
        Path(options.place).chmod(0o777)
        return [listener]
    found = []
    for family in options.families:
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("", int(options.place)))
        listener.listen()
        found.append(listener)
    return found


class Connection:
    """One of the clients that are served."""

    def __init__(self, peer: socket.socket, options: Options) -> None:
        self._peer = peer
        self._options = options
        self._waiting = b""
        peer.settimeout(options.timeout)

    def play(self, script: list[bytes]) -> None:
        """Takes from the script what this connection plays of it."""
        while script:
            line = script.pop(0)
            try:
                if not self._do(line):
                    # The line stays for the next connection.
                    script.insert(0, line)
                    return
            except (Ended, OSError):
                return

    def _do(self, line: bytes) -> bool:
        if line.startswith(b">"):
            say(shown(line))
            self._send(line[1:])
        elif line[:1].isdigit():
            say(line.decode("latin-1"))
            self._peer.sendall(line + b"\r\n")
        elif line.startswith(b"*sleep "):
            say(line.decode("latin-1"))
            time.sleep(int(line[7:]))
        elif line.startswith(b"*data "):
            for _octet in range(int(line[6:])):
                self._octet()
        elif line.startswith(b"*starttls"):
            self._start_tls()
        elif line.startswith(b"<<"):
            return self._expect_octets(line[2:])
        else:
            return self._expect(line)
        return True

    def _send(self, line: bytes) -> None:
        if line.startswith(b"*eof"):
            raise Ended
        begin, end = next((each for each in _ENDS if line.startswith(each[0])), (b"", b"\r\n"))
        self._peer.sendall(line.removeprefix(begin) + end)

    def _start_tls(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert self._options.certificate
        context.load_cert_chain(*self._options.certificate)
        self._peer = context.wrap_socket(self._peer, server_side=True)

    def _more(self) -> bool:
        try:
            more = self._peer.recv(65536)
        except TimeoutError:
            stop("\nServer timed out", 0 if self._options.timeout_is_fine else 99)
        except OSError:
            more = b""
        self._waiting += more
        return bool(more)

    def _octet(self) -> bytes:
        if not self._waiting and not self._more():
            say("Unexpected EOF read from client")
            raise Ended
        octet, self._waiting = self._waiting[:1], self._waiting[1:]
        return octet

    def _line(self) -> bytes | None:
        while b"\n" not in self._waiting and self._more():
            pass
        line, end, self._waiting = self._waiting.partition(b"\n")
        return (line + end).rstrip() if line or end else None

    def _expect(self, line: bytes) -> bool:
        marked = line.startswith(b"<")
        while True:
            got = self._line()
            if got is None:
                say(f"{'E' if line.startswith(b'*eof') else 'Une'}xpected EOF read from client")
                raise Ended
            if marked:
                got = b"<" + got
            say(got.decode("latin-1"))
            if line != b"." or got == b".":
                break
        if not got.startswith(line):
            say(f"Comparison failed - bailing out\nExpected: {line.decode('latin-1')}")
            return False
        return True

    def _expect_octets(self, octets: bytes) -> bool:
        got = b"".join(self._octet() for _ in octets)
        say(shown(b"<<" + got))
        if got != octets:
            say(f"Comparison failed - bailing out\nExpected: {shown(b'<<' + octets)}")
        return got == octets

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_WR)
        self._peer.close()


def shown(octets: bytes) -> str:
    """With what cannot be printed as `\\xHH`."""
    return "".join(
        "\\\\" if octet == 0x5C else chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in octets
    )


def serve(options: Options, script: list[bytes], sockets: list[socket.socket]) -> None:
    is_port = not options.place.startswith("/")
    for _connection in range(options.connections):
        say(f"Listening on {'port ' if is_port else ''}{options.place} ... ", end="")
        ready = select.select(sockets, [], [], options.timeout)[0]
        if not ready:
            stop("\nServer timed out", 0 if options.timeout_is_fine else 99)
        peer, address = ready[0].accept()
        say(f"\nConnection request from [{address[0].removeprefix('::ffff:')}]" if is_port else "\nConnection request")
        connection = Connection(peer, options)
        connection.play(script)
        connection.close()
    if not script:
        say("End of script")


def say(text: str, end: str = "\n") -> None:
    sys.stdout.buffer.write((text + end).encode("latin-1", "replace"))
    sys.stdout.buffer.flush()


def stop(text: str, code: int) -> NoReturn:
    say(text)
    sys.exit(code)


def main(arguments: list[str]) -> None:
    options = options_of(arguments)
    if options.pause:
        say(f"Inital pause of {options.pause} seconds")
        time.sleep(options.pause)
    sockets = listeners(options)
    if options.pid_file:
        Path(options.pid_file).write_text(f"{os.getpid()}\n")
    lines = []
    # No more than the script is read: the other end of the pipe stays open.
    while line := sys.stdin.buffer.readline():
        if line.rstrip() == b"++++":
            break
        lines.append(line)
    serve(options, script_of(b"".join(lines)), sockets)
    if options.place.startswith("/"):
        Path(options.place).unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
