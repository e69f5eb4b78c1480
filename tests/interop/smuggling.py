"""Every published way to end a message for one server and not for the next, and what is hidden behind it.

`VARIANTS` are ends of data that are none. A message that holds one of them in its middle, and behind it a whole
transaction, must arrive as one message or not at all: nowhere may a message with the subject of `hidden` be seen.
Sources: SEC Consult's note of December 2023 (CVE-2023-51764, -51765, -51766), and the variants that came after it.
"""

import email
import socket
from collections.abc import Iterable, Mapping, Sequence

SENDER, RECIPIENT = "me@laptop.test", "you@example.org"

VARIANTS: Mapping[str, bytes] = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "CR . LF": b"\r.\n",
    "LF . CR": b"\n.\r",
    "LF LF . CRLF": b"\n\n.\r\n",
    "LF CR . CRLF": b"\n\r.\r\n",
    "LF CR . LF CR": b"\n\r.\n\r",
    "CRLF CR . CRLF": b"\r\n\r.\r\n",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "CR CRLF . CR CRLF": b"\r\r\n.\r\r\n",
    "CRLF . LF CRLF": b"\r\n.\n\r\n",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "CR NUL LF . CR NUL LF": b"\r\0\n.\r\0\n",
    "CRLF NUL . NUL CRLF": b"\r\n\0.\0\r\n",
    "NUL LF . LF NUL": b"\0\n.\n\0",
    "CRLF blank . CRLF": b"\r\n .\r\n",
    "CRLF . blank CRLF": b"\r\n. \r\n",
    "CRLF . tab CRLF": b"\r\n.\t\r\n",
    "CRLF .. CRLF": b"\r\n..\r\n",
    "CRLF .. LF": b"\r\n..\n",
    "CRLF .. CR": b"\r\n..\r",
    "CRLF . . CRLF": b"\r\n. .\r\n",
    "VT . VT": b"\v.\v",
    "FF . FF": b"\f.\f",
    "NEL . NEL": b"\xc2\x85.\xc2\x85",
    "8-bit NEL . NEL": b"\x85.\x85",
    "LS . LS": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "8-bit CRLF . CRLF": b"\x8d\x8a.\x8d\x8a",
    "CRLF full-width . CRLF": b"\r\n\xef\xbc\x8e\r\n",
}


def head(subject: str) -> bytes:
    return f"From: <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: {subject}\r\n\r\n".encode()


def hidden(name: str) -> bytes:
    """The transaction that nobody may obey."""
    commands = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()
    return commands + head(f"hidden {name}") + b"Smuggled.\r\n"


def message(name: str) -> bytes:
    """The whole of what is one message."""
    return head(f"seen {name}") + b"Good morning." + VARIANTS[name] + hidden(name)


def stuffed(name: str) -> bytes:
    """The same as DATA has it, with its end: what is hidden ends as the message does."""
    return message(name) + b".\r\n"


def subjects(messages: Iterable[bytes], word: str) -> list[str]:
    """Which messages have `seen` or `hidden` as the first word of their subject."""
    found = [str(email.message_from_bytes(each)["Subject"]) for each in messages]
    return [each.removeprefix(f"{word} ") for each in found if each.startswith(f"{word} ")]


PATIENCE_SECONDS = 120.0
"""For a reply. A Postfix on a busy machine has taken more than half a minute for one to MAIL or RCPT."""


class Client:
    """A client that says what it likes, in the pieces that it likes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self.reply()
        self.say(b"EHLO laptop.test\r\n")
        assert self.reply() == 250

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._socket.sendall(piece)

    def reply(self) -> int:
        """The next code; 0 where the server has gone."""
        while (line := self._file.readline())[3:4] == b"-":
            pass
        return int(line[:3] or 0)

    def begin(self, sender: str = SENDER, recipient: str = RECIPIENT) -> None:
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"):
            self.say(f"{line}\r\n".encode())
            assert self.reply() == 250, line

    def data(self, *pieces: bytes) -> int:
        """Says DATA and the pieces; what the server says to their end."""
        self.say(b"DATA\r\n")
        assert self.reply() == 354
        self.say(*pieces)
        return self.reply()

    def chunks(self, *pieces: bytes) -> int:
        """The pieces as one chunk each; the last reply, or the first one that refuses."""
        for number, piece in enumerate(pieces, 1):
            self.say(b"BDAT %d%s\r\n" % (len(piece), b" LAST" * (number == len(pieces))), piece)
            if (code := self.reply()) != 250:
                return code
        return 250

    def rest(self) -> Sequence[int]:
        """QUIT, and every reply until the server has gone."""
        codes = []
        try:
            self.say(b"QUIT\r\n")
            while code := self.reply():
                codes.append(code)
        except ConnectionError:
            pass  # it had gone already
        self._file.close()
        self._socket.close()
        return codes
