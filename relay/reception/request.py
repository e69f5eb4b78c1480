"""What a local program says when it hands a message over, and how that goes through a socket or a file
(values).

First one line of JSON, the request. Then the message as the program gave it: through the socket in frames,
each a length of four octets (big-endian) and that many octets, an empty frame at the end, so that a program
that died half-way is never taken for one that was done; in a maildrop file simply the rest of the file, whose
rename says that it is whole. The answer on the socket is one line of JSON.

Nothing in a request is believed: who calls is known from the socket or from the owner of the file. This
module is loaded by `relay-sendmail` whenever a message is handed over and imports next to nothing.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

VERSION = 1
SOCKET_NAME = "submit.sock"
MAILDROP_NAME = "maildrop"
STARTED_NAME = "daemon.started"
REQUEST_LIMIT = 4 * 1024 * 1024
"""Octets of the request line: as long as a command line can be."""
FRAME_LIMIT = 65536
ANSWER_LIMIT = 65536


def started_with(configuration: str, macros: Mapping[str, str]) -> bytes:
    """What stands in that file: the path of the daemon's configuration, and what -D has defined."""
    lines = (configuration, *(f"{name}={value}" for name, value in sorted(macros.items())))
    return "".join(f"{line}\0" for line in lines).encode("utf-8", "surrogateescape")


class BadRequest(ValueError):
    """What came is not a request, or not one of ours; the text is for the log and for the program."""


class DeliveryMode(enum.Enum):
    """When the first attempt is made (Exim: -odb, -odi, -odq)."""

    BACKGROUND = "background"
    INTERACTIVE = "interactive"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """What the program's arguments asked for."""

    recipients: tuple[str, ...] = ()
    """Arguments behind the options; each may hold several addresses with commas between them."""
    sender: str | None = None
    """-f: an address, or "" and "<>" for none; None where it was not given."""
    full_name: str | None = None
    extract_recipients: bool = False
    """-t: the recipients are those of the header; the arguments are taken out of them."""
    delivery: DeliveryMode = DeliveryMode.BACKGROUND
    delivery_asked: bool = False
    """The mode was named on the command line."""
    routes_only: bool = False
    """-odqs: the first attempt leaves what goes to other hosts."""
    fix_header: bool = True
    """False with -G: the header stays as it is."""
    qualify: bool = True
    """False with -bnq: an address without a domain is an error."""
    given: tuple[tuple[str, str], ...] = ()
    """-oM…: what is said of the client, by the names of `given.NAMES`; believed of trusted callers."""
    batched: bool = False
    """It came in batched SMTP (-bS)."""
    deliver_really: bool = True
    """False with -N: no transport is run."""
    about: str = ""
    """The message that this one answers. Never from outside: it is in no request line."""


class Status(enum.Enum):
    """How a hand-over ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """Never: the message or the request is at fault."""
    DEFERRED = "deferred"
    """Not now: the fault is ours."""


@dataclass(frozen=True, slots=True)
class SubmissionAnswer:
    """What the program is told."""

    status: Status
    message_id: str = ""
    text: str = ""


def encode_request(request: SubmissionRequest) -> bytes:
    """The request as its line."""
    row = {
        "version": VERSION,
        "recipients": list(request.recipients),
        "sender": request.sender,
        "full_name": request.full_name,
        "extract_recipients": request.extract_recipients,
        "delivery": request.delivery.value,
        "fix_header": request.fix_header,
        "qualify": request.qualify,
    }
    if request.delivery_asked:
        row["delivery_asked"] = True
    if request.routes_only:
        row["routes_only"] = True
    if not request.deliver_really:
        row["deliver_really"] = False
    if request.given:
        row["given"] = dict(request.given)
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


def decode_request(line: bytes) -> SubmissionRequest:
    """The request in a line; BadRequest says what is wrong with it."""
    row = _object(line)
    if row.get("version") != VERSION:
        raise BadRequest(f"request of version {row.get('version')!r:.20}, this daemon speaks version {VERSION}")
    recipients = row.get("recipients")
    if not isinstance(recipients, list) or not all(isinstance(each, str) for each in recipients):
        raise BadRequest("recipients are not a list of texts")
    try:
        delivery = DeliveryMode(row.get("delivery"))
    except ValueError:
        raise BadRequest("unknown delivery mode") from None
    return SubmissionRequest(
        recipients=tuple(recipients),
        sender=_text_or_none(row, "sender"),
        full_name=_text_or_none(row, "full_name"),
        extract_recipients=_yes_or_no(row, "extract_recipients"),
        delivery=delivery,
        delivery_asked=row.get("delivery_asked", False) is True,
        routes_only=row.get("routes_only", False) is True,
        deliver_really=row.get("deliver_really", True) is not False,
        fix_header=_yes_or_no(row, "fix_header"),
        qualify=_yes_or_no(row, "qualify"),
        given=_texts(row, "given"),
    )


def encode_answer(answer: SubmissionAnswer) -> bytes:
    """The answer as its line."""
    row = {"status": answer.status.value, "message_id": answer.message_id, "text": answer.text}
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


def decode_answer(line: bytes) -> SubmissionAnswer:
    """The answer in a line; BadRequest where it is none."""
    row = _object(line)
    try:
        status = Status(row.get("status"))
    except ValueError:
        raise BadRequest("unknown status") from None
    return SubmissionAnswer(status, _text_or_none(row, "message_id") or "", _text_or_none(row, "text") or "")


def _object(line: bytes) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("not a line of JSON") from None
    if not isinstance(row, dict):
        raise BadRequest("not a JSON object")
    return row


def _text_or_none(row: dict[str, object], name: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} is not a text")
    return value


def _texts(row: dict[str, object], name: str) -> tuple[tuple[str, str], ...]:
    """Texts by name, none where there is no such value."""
    value = row.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise BadRequest(f"{name} are not texts")
    return tuple(value.items())


def _yes_or_no(row: dict[str, object], name: str) -> bool:
    value = row.get(name)
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is neither true nor false")
    return value


END_OF_FRAMES = bytes(4)


def frames(data: bytes) -> Iterator[bytes]:
    """The octets as frames, none of them the empty one."""
    for start in range(0, len(data), FRAME_LIMIT):
        piece = data[start : start + FRAME_LIMIT]
        yield len(piece).to_bytes(4, "big") + piece


class FrameReader:
    """Takes frames apart as their octets arrive; holds at most one that is not whole yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.ended = False
        """The empty frame has been seen."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now. BadRequest for one that is too long, or for octets behind the
        end."""
        self._buffer += data
        whole = []
        position = 0
        while len(self._buffer) - position >= 4 and not self.ended:
            length = int.from_bytes(self._buffer[position : position + 4], "big")
            if length > FRAME_LIMIT:
                raise BadRequest(f"frame of {length} octets")
            if len(self._buffer) - position - 4 < length:
                break
            if length == 0:
                self.ended = True
            else:
                whole.append(bytes(self._buffer[position + 4 : position + 4 + length]))
            position += 4 + length
        del self._buffer[:position]
        if self.ended and self._buffer:
            raise BadRequest("octets behind the end of the message")
        return whole
