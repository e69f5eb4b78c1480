"""What an AUTH exchange says after each step, on the server's and on the client's side (values).

Strings are text from a peer: whoever hands them to the expansion language marks them as tainted.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

# What an exchange may hold: Exim's EXPAND_MAXN.
STRINGS_LIMIT = 20


class Fault(enum.Enum):
    """Why an exchange ended without success. The replies to them are in `relay.esmtp.sasl.replies`."""

    WRONG = "wrong credentials"
    MALFORMED = "malformed response"
    CANCELLED = "cancelled by the client"
    UNEXPECTED = "initial response to a mechanism that takes none"


# Server


@dataclass(frozen=True, slots=True)
class Challenge:
    """Goes to the client in base64 behind 334."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SecretWanted:
    """The mechanism needs what is known of `name`; it is answered with a method of that mechanism.

    `strings` are `$auth1` and on while that is found out.
    """

    name: str
    strings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Complete:
    """The client has said all. What a mechanism can check by itself holds; the rest is for `server_condition`."""

    strings: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """It is over. `detail` is for the log and holds no secret."""

    fault: Fault
    detail: str = ""


ServerStep = Challenge | SecretWanted | Complete | Failure


class ServerExchange(Protocol):
    """The server's half of one AUTH command."""

    def start(self, initial: bytes | None) -> ServerStep:
        """The command came; None: without an initial response."""
        ...

    def respond(self, response: bytes) -> ServerStep:
        """The client answered a challenge."""
        ...


# Client


@dataclass(frozen=True, slots=True)
class Respond:
    """Goes to the server in base64; None (only as the first step): AUTH without an initial response."""

    data: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ItemWanted:
    """Item `number` of client_send, from 0; `strings` are what the server has said until now."""

    number: int
    strings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """The salted password for this salt and number of iterations, RFC 5802 2.2."""

    salt: bytes
    iterations: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The client breaks off with `*`, RFC 4954 4. `reason` is for the log."""

    reason: str


ClientStep = Respond | ItemWanted | KeysWanted | GiveUp


class ClientExchange(Protocol):
    """The client's half of one AUTH command."""

    def start(self) -> ClientStep: ...

    def challenge(self, data: bytes) -> ClientStep:
        """334, freed of base64."""
        ...

    def distrust(self) -> str:
        """Why a 235 that comes now is not to be believed; "" where it is."""
        ...
