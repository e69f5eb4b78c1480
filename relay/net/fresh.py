"""Messages that were accepted just now and are about to be delivered, in a bounded memory (values).

Who delivers one of them need not read it. What was pushed out by later ones is in the queue like everything else.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from relay.mail.queue import NewMessage

_ROW_OCTETS = 4096
"""What a message in memory is reckoned to take beside its header and body."""


@dataclass(slots=True)
class FreshMessage:
    """One of them."""

    message: NewMessage
    body: bytes | None
    """None where the body was larger than its last piece."""


class Fresh:
    """Messages that this process has accepted as its own and not settled yet, least recently used out first.

    `octets`: room for all of them.
    """

    def __init__(self, octets: int) -> None:
        self._room = octets
        self._messages: OrderedDict[str, FreshMessage] = OrderedDict()

    def keep(self, message: NewMessage, body: bytes | None) -> None:
        """Puts it in; others may have to go for it."""
        self.forget(message.message_id)
        fresh = FreshMessage(message, body)
        self._messages[message.message_id] = fresh
        self._room -= self._size(fresh)
        while self._room < 0:
            _, oldest = self._messages.popitem(last=False)
            self._room += self._size(oldest)

    def get(self, message_id: str) -> FreshMessage | None:
        """The message; None where it has been pushed out, or never was here."""
        fresh = self._messages.get(message_id)
        if fresh is not None:
            self._messages.move_to_end(message_id)
        return fresh

    def forget(self, message_id: str) -> None:
        """It has been settled, or belongs to somebody else."""
        fresh = self._messages.pop(message_id, None)
        if fresh is not None:
            self._room += self._size(fresh)

    def forget_all(self) -> None:
        """All belong to somebody else."""
        for message_id in list(self._messages):
            self.forget(message_id)

    @staticmethod
    def _size(fresh: FreshMessage) -> int:
        return _ROW_OCTETS + len(fresh.message.header) + len(fresh.body or b"")
