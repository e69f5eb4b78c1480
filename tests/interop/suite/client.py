"""The suite's scripted SMTP client, for machines without a C compiler (edge).

    python client.py [--tls] [-t5] [-tls-on-connect] ADDRESS PORT [INTERFACE] [CERTIFICATE [KEY]] <script

The README of the suite, "Client scripts". Without `--tls` a STARTTLS is only a command. What the C program can do and
this one cannot: ask for the status of a certificate (`-ocsp`), and name TLS errors as OpenSSL names them.
"""

import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

MISMATCH, UNREAD, NO_TLS, NO_FILE = 79, 78, 77, 74
EARLY_END, READ_ERROR, NOT_CONNECTED, TIMED_OUT = 80, 81, 85, 99


@dataclass(slots=True)
class Options:
    tls: bool = False
    tls_on_connect: bool = False
    quiet: bool = False
    timeout: float = 5.0
    places: list[str] = field(default_factory=list)


def options_of(arguments: list[str]) -> Options:
    options = Options()
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--tls":
            options.tls = True
        elif option == "-tls-on-connect":
            options.tls_on_connect = True
        elif option == "-tls-quiet":
            options.quiet = True
        elif option.startswith("-t") and option[2:].isdigit():
            options.timeout = int(option[2:])
        else:
            sys.stderr.write(f"Unrecognized option {option}\n")
            sys.exit(92)
    if len(rest) < 2:
        sys.stderr.write("No port number given\n" if rest else "No IP address given\n")
        sys.exit(90 if rest else 91)
    options.places = rest
    return options


def unescaped(text: bytes) -> bytes:
    r"""With `\r`, `\n` and `\xHH` as the octets that they stand for; any other character behind `\` is itself."""
    done, place = bytearray(), 0
    while place < len(text):
        octet = text[place : place + 1]
        if octet != b"\\" or place + 1 == len(text):
            done += octet
            place += 1
            continue
        letter = text[place + 1 : place + 2]
        if letter == b"x":
            done.append(int(text[place + 2 : place + 4], 16))
            place += 4
            continue
        done += {b"n": b"\n", b"r": b"\r"}.get(letter, letter)
        place += 2
    return bytes(done)


class Client:
    """A connection and what has come over it that no line of the script has asked for yet."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._waiting = b""
        self._sent_starttls = False
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._peer = self._connected()
        if options.tls_on_connect:
            self._start_tls()

    def _connected(self) -> socket.socket:
        address, port, *files = self._options.places
        source = None
        if files and (files[0][0].isdigit() or files[0][0] == ":"):
            source = (files.pop(0), 0)
        say(f"Connecting to {address} port {port} ... ", end="")
        try:
            peer = socket.create_connection((address, int(port)), self._options.timeout, source)
        except TimeoutError:
            stop("\nClient timed out", TIMED_OUT)
        except OSError as error:
            stop(f"connect failed: {error.strerror}", NOT_CONNECTED)
        say("connected")
        for name, file in zip(("Certificate", "Key"), files, strict=False):
            say(f"{name} file = {file}")
        if files:
            self._context.load_cert_chain(*files)
        return peer

    def _start_tls(self) -> None:
        say("Attempting to start TLS")
        self._peer.settimeout(5)
        try:
            self._peer = self._context.wrap_socket(self._peer)
        except OSError as error:
            say(f"error:{error}")
            said = "Failed to start TLS"
        else:
            said = "Succeeded in starting TLS"
        if not self._options.quiet:
            say(said)
        self._peer.settimeout(self._options.timeout)

    def play(self, script: bytes) -> None:
        for line in script.splitlines():
            if line[:4] in (b"??? ", b"???*", b"????"):
                self._expect(line)
            elif line.startswith(b"+++ "):
                say(text_of(line))
                time.sleep(int(line[4:]))
            elif line.startswith(b"<<< "):
                try:
                    self.play(Path(text_of(line[4:])).read_bytes())
                except OSError as error:
                    stop(f"Unable to open '': {error.strerror}", NO_FILE)
            else:
                self._send(line)

    def _expect(self, line: bytes) -> None:
        say(text_of(line))
        expected, kind = unescaped(line)[4:], line[3:4]
        while True:
            if not self._waiting and not self._read(kind):
                return
            got = self._waiting.partition(b"\n")[0].partition(b"\r")[0]
            rest = self._waiting[len(got) :]
            rest = rest[2:] if rest.startswith((b"\r\n", b"\n\n")) else rest[1:]
            if not got.startswith(expected):
                if kind == b"?":
                    return
                say(f"<<< {text_of(got)}")
                stop("\n******** Input mismatch ********", MISMATCH)
            self._waiting = rest
            if kind != b"?":
                say(f"<<< {text_of(got)}")
            elif rest:
                continue
            break
        self._after_answer(got)

    def _after_answer(self, got: bytes) -> None:
        if self._sent_starttls:
            self._sent_starttls = False
            if got.startswith(b"2"):
                self._start_tls()
            else:
                say("Abandoning TLS start attempt")

    def _read(self, kind: bytes) -> bool:
        """Waits for at least a line; false if there is an end instead, as the script expects or allows."""
        data = b""
        while b"\n" not in data:
            try:
                more = self._peer.recv(65536)
            except TimeoutError:
                if kind == b"?":
                    return False
                stop("\nClient timed out", TIMED_OUT)
            except OSError as error:
                stop(f"Read error: {error.strerror}", READ_ERROR)
            if not more:
                break
            data += more
        if data and kind == b"*":
            stop("Expected EOF not read", NO_FILE)
        if not data and kind == b"*":
            say("Expected EOF read")
        if not data and kind == b" ":
            stop("Unexpected EOF read", EARLY_END)
        self._waiting = data
        return bool(data)

    def _send(self, line: bytes) -> None:
        bare = line.startswith(b">>> ")
        line = line.removeprefix(b">>> ")
        if self._waiting:
            say(f"Unconsumed input: {text_of(self._waiting)}   About to send: {text_of(line)}")
            sys.exit(UNREAD)
        if self._options.tls and line in (b"stoptls", b"STOPTLS"):
            self._stop_tls()
            return
        self._sent_starttls = self._options.tls and line in (b"starttls", b"STARTTLS")
        if line == b"starttls_wait":
            line = b"starttls"
        say(f">>> {text_of(line)}")
        try:
            self._peer.sendall(unescaped(line) + (b"" if bare else b"\r\n"))
        except OSError as error:
            stop(f"Write error: {error.strerror}", 75)

    def _stop_tls(self) -> None:
        if not isinstance(self._peer, ssl.SSLSocket):
            stop("STOPTLS read when TLS not active", NO_TLS)
        say("Shutting down TLS encryption")
        try:
            self._peer = self._peer.unwrap()
        except OSError as error:
            say(f"error:{error}")

    def close(self) -> None:
        say("End of script")
        try:
            self._peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has gone
        self._peer.close()


def text_of(octets: bytes) -> str:
    return octets.decode("latin-1")


def say(text: str, end: str = "\n") -> None:
    sys.stdout.buffer.write((text + end).encode("latin-1", "replace"))
    sys.stdout.buffer.flush()


def stop(text: str, code: int) -> NoReturn:
    say(text)
    sys.exit(code)


if __name__ == "__main__":
    CLIENT = Client(options_of(sys.argv[1:]))
    CLIENT.play(sys.stdin.buffer.read())
    CLIENT.close()
