"""Replies that transports write, handed to whoever takes messages of local programs (edge).

Deliveries are built before what takes messages is, which needs them; so the way there is opened behind both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relay.daemon.callers import Credentials, TrustedCallers
from relay.daemon.control import Submit
from relay.delivery.autoreply import NoRecipients, ReplyRefused
from relay.delivery.jobs import Identity
from relay.mail.header import split_header
from relay.reception.request import DeliveryMode, Status, SubmissionRequest

_RECIPIENT_FIELDS = ("To", "Cc", "Bcc")


@dataclass(frozen=True, slots=True)
class _Desk:
    submit: Submit
    callers: TrustedCallers
    is_awaited: Callable[[str], bool]


class _Whole:
    """A message in one piece."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def next(self) -> bytes:
        text, self._text = self._text, b""
        return text


class Replies:
    """The port of the autoreply transport."""

    def __init__(self) -> None:
        self._desk: _Desk | None = None

    def open(self, submit: Submit, callers: TrustedCallers, is_awaited: Callable[[str], bool]) -> None:
        """From now on replies are taken. `is_awaited`: whether somebody waits for the attempt on a message; then that
        one's reply is delivered before it, too."""
        self._desk = _Desk(submit, callers, is_awaited)

    async def send(self, text: bytes, about: str, identity: Identity) -> None:
        """As `autoreply.Replies`."""
        desk = self._desk
        if desk is None:
            raise ReplyRefused("nobody takes messages yet")
        fields = split_header(text.replace(b"\n", b"\r\n"))[0]
        if not any(each.is_named(name) and each.value.strip() for each in fields for name in _RECIPIENT_FIELDS):
            raise NoRecipients("no recipients")
        request = SubmissionRequest(
            sender="",
            extract_recipients=True,
            delivery=DeliveryMode.INTERACTIVE if desk.is_awaited(about) else DeliveryMode.BACKGROUND,
            about=about,
        )
        originator = desk.callers.identify(Credentials(identity.uid, identity.gid))
        answer = await desk.submit(request, originator, _Whole(text))
        if answer.status is not Status.ACCEPTED:
            raise ReplyRefused(answer.text)
