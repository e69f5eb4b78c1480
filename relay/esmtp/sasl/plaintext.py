"""PLAIN, LOGIN and whatever else sends strings as they are, both halves (machine).

The mechanism is what its prompts make of it (Exim: driver plaintext). PLAIN (RFC 4616) is one prompt, usually empty,
answered by three strings with zero octets between; LOGIN is two prompts of one string each. A string that came with the
AUTH command saves a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.esmtp.sasl.coding import cut
from relay.esmtp.sasl.steps import STRINGS_LIMIT, Challenge, Complete, GiveUp, ItemWanted, Respond
from relay.mail.text import from_wire, to_wire


class PlaintextServer:
    """Asks each prompt whose string has not come yet."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self._prompts = tuple(prompts)
        self._asked = 0
        self._strings: tuple[str, ...] = ()

    def start(self, initial: bytes | None) -> Challenge | Complete:
        if initial is not None:
            self._strings = cut(initial)
        return self._next()

    def respond(self, response: bytes) -> Challenge | Complete:
        self._strings = (self._strings + cut(response))[:STRINGS_LIMIT]
        return self._next()

    def _next(self) -> Challenge | Complete:
        # A prompt that was answered already is passed over.
        self._asked = max(self._asked, len(self._strings))
        if self._asked < min(len(self._prompts), STRINGS_LIMIT):
            self._asked += 1
            return Challenge(to_wire(self._prompts[self._asked - 1]))
        return Complete(self._strings)


class PlaintextClient:
    """Sends the items of client_send one by one, each asked for when its turn has come."""

    def __init__(self, items: int) -> None:
        """`items`: how many client_send has."""
        self._items = items
        self._sent = 0
        self._heard: tuple[str, ...] = ()

    def start(self) -> ItemWanted | GiveUp:
        return self._want()

    def challenge(self, data: bytes) -> ItemWanted | GiveUp:
        self._heard += (from_wire(data),)
        return self._want()

    def item(self, text: str) -> Respond:
        """The item that was asked for, expanded, its `^` not read yet."""
        data = unescape(text)
        self._sent += 1
        # Exim: an empty first item means that the server is to prompt for the others (LOGIN).
        return Respond(None if self._sent == 1 and not data else data)

    def distrust(self) -> str:
        return ""

    def _want(self) -> ItemWanted | GiveUp:
        if self._sent < self._items:
            return ItemWanted(self._sent, self._heard)
        return GiveUp("Too few items in client_send")


def unescape(text: str) -> bytes:
    """`^` stands for a zero octet and `^^` for itself; of three the first two belong together (Exim: client_send)."""
    return re.sub(rb"\^\^?", lambda match: b"^" if len(match.group()) == 2 else b"\0", to_wire(text))
