"""AUTH on the client's side: which authenticators to try with a server, and one attempt with one (decision).

Whoever drives the delivery asks `candidates` once the server's EHLO is in, and makes an `Attempt` of each in turn until
one is `LoggedIn`: `start` gives the AUTH command, `challenged` the answer to each 334, `answered` says what any other
reply means. What they give is secret: it is for the wire, not for a log.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import assert_never

from relay.esmtp.sasl import coding
from relay.esmtp.sasl.binding import bindings_of
from relay.esmtp.sasl.cram_md5 import CramClient
from relay.esmtp.sasl.external import ExternalClient
from relay.esmtp.sasl.plaintext import PlaintextClient, unescape
from relay.esmtp.sasl.saslprep import NotPreparable
from relay.esmtp.sasl.scram import PLUS, Bound, ScramClient, Unbound, hash_of
from relay.esmtp.sasl.steps import ClientStep, GiveUp, ItemWanted, KeysWanted, Respond
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.expand.values import Tainted
from relay.mail.ports import TemporaryFailure
from relay.mail.reply import Reply
from relay.policy.authenticate import AuthPorts
from relay.policy.authenticators import (
    Authenticator,
    AuthRules,
    ByCertificate,
    CramMD5,
    External,
    Plaintext,
    Scram,
    holds,
)


@dataclass(frozen=True, slots=True)
class Begin:
    """The AUTH command. `initial` is in base64, "=" for an empty one, None for none."""

    mechanism: str
    initial: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """The answer to a challenge, in base64."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The next candidate is to be tried. `reason` "": the configuration wants it so, nothing is to be logged.

    Behind `start` nothing was sent; behind `challenged` the exchange is to be broken off with `*`, and what the server
    says to that means nothing.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The same for a fault on our side: the host waits (Exim: ERRNO_AUTHPROB), no other candidate is tried."""

    reason: str


ClientMove = Begin | Line | Abandoned | Broken


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """235. `identity` is client_set_id, for the log: `A=name:identity`."""

    authenticator: str
    identity: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """5xx: the next candidate is tried."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Postponed:
    """Any other reply: the host is tried later, with no other candidate now."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Impostor:
    """The server lets us in without having proved what it had to: close the connection, send nothing more."""

    reason: str


Ending = LoggedIn | Rejected | Postponed | Impostor


_COMMAND_LIMIT = 510
"""Of the AUTH command without its CRLF, RFC 4954 4: a longer initial response waits for an empty challenge."""


class _Stop(Exception):
    """An option can't be expanded. `forced`: it is not to."""

    def __init__(self, reason: str, forced: bool = False) -> None:
        super().__init__(reason)
        self.forced = forced


async def candidates(
    rules: AuthRules, offered: Collection[str], scope: Scope, troubles: list[str], *, in_clear: bool
) -> tuple[Authenticator, ...]:
    """The authenticators to try with the server in `scope.host`, in order. Raises TemporaryFailure.

    `offered`: the words behind AUTH in its EHLO reply. `in_clear`: credentials may go out without TLS; it is to be
    False where TLS is demanded, and where there was TLS before on this connection. Conditions that could not be
    expanded are told in `troubles`.
    """
    words = {word.upper() for word in offered}
    found = []
    for each in rules.authenticators:
        if not each.is_client or each.public_name.upper() not in words:
            continue
        if scope.tls_out is None and not in_clear:
            continue
        if _is_possible(each.driver, scope) and await holds(each.client_condition, scope, troubles):
            found.append(each)
    return tuple(found)


def _is_possible(driver: Plaintext | CramMD5 | External | ByCertificate | Scram, scope: Scope) -> bool:
    tls = scope.tls_out
    match driver:
        case External():
            return tls is not None and tls.ours is not None
        case Scram(is_plus=True):
            return bool(bindings_of(tls, tls.peer if tls is not None else None))
        case _:
            return True


class Attempt:
    """One AUTH command with one authenticator. `scope` has the host and the TLS layer (`tls_out`) in force."""

    def __init__(self, authenticator: Authenticator, offered: Collection[str], scope: Scope, ports: AuthPorts) -> None:
        self._authenticator = authenticator
        self._offered = frozenset(word.upper() for word in offered)
        self._scope = scope
        self._ports = ports
        self._exchange: PlaintextClient | CramClient | ExternalClient | ScramClient | None = None
        self._password: str | None = None
        self._heard: tuple[str, ...] = ()
        self._began = False
        self._held: Line | None = None

    async def start(self) -> ClientMove:
        """The AUTH command."""
        try:
            self._exchange = await self._make_exchange()
            return await self._move(self._exchange.start())
        except _Stop as stop:
            return _stopped(stop)

    async def challenged(self, text: str) -> ClientMove:
        """334 with this text: the next line."""
        assert self._exchange is not None
        if self._held is not None:
            held, self._held = self._held, None
            return held
        data = coding.decode(text)
        driver = self._authenticator.driver
        if data is None and isinstance(driver, Plaintext) and driver.ignores_invalid_base64:
            data = b""
        if data is None:
            return Abandoned(f'Invalid base64 string in server response "334 {text}"')
        try:
            return await self._move(self._exchange.challenge(data))
        except _Stop as stop:
            return _stopped(stop)

    async def answered(self, reply: Reply) -> Ending:
        """Any reply but 334 to a line of this attempt."""
        assert self._exchange is not None
        if 200 <= reply.code < 300:
            reason = self._exchange.distrust()
            return Impostor(reason) if reason else LoggedIn(self._authenticator.name, await self._identity())
        return Rejected(reply) if reply.is_permanent else Postponed(reply)

    async def _identity(self) -> str:
        try:
            return await self._text(self._authenticator.client_set_id)
        except _Stop:
            return ""

    async def _move(self, step: ClientStep) -> ClientMove:
        exchange = self._exchange
        match step:
            case ItemWanted(number, strings):
                assert isinstance(exchange, PlaintextClient)
                self._heard = strings
                driver = self._authenticator.driver
                assert isinstance(driver, Plaintext)
                step = exchange.item(await self._text(driver.client_send[number]))
            case KeysWanted(salt, iterations):
                assert isinstance(exchange, ScramClient)
                step = exchange.keys(await self._salted(salt, iterations))
            case Respond() | GiveUp():
                pass
            case _ as never:
                assert_never(never)
        match step:
            case Respond(data) if not self._began:
                self._began = True
                return self._begin(coding.encode_initial(data))
            case Respond(data):
                return Line(coding.encode(data or b""))
            case GiveUp(reason) if isinstance(exchange, PlaintextClient | ExternalClient):
                return Broken(f"{reason} in {self._authenticator.name} authenticator")
            case GiveUp(reason):
                return Abandoned(reason)

    def _begin(self, initial: str | None) -> Begin:
        mechanism = self._authenticator.public_name
        if initial is not None and len(f"AUTH {mechanism} {initial}") > _COMMAND_LIMIT:
            self._held, initial = Line(initial), None
        return Begin(mechanism, initial)

    async def _make_exchange(self) -> PlaintextClient | CramClient | ExternalClient | ScramClient:
        match self._authenticator.driver:
            case Plaintext(client_send=items):
                return PlaintextClient(len(items))
            case CramMD5(client_name=name, client_secret=secret):
                shown = await self._text(name) if name is not None else self._scope.main.get("primary_hostname", "")
                return CramClient(shown, await self._text(secret))
            case External(client_send=identity):
                return ExternalClient(unescape(await self._text(identity)))
            case Scram() as scram:
                return await self._scram(scram)
            case ByCertificate():
                raise AssertionError("driver tls has no mechanism")
            case _ as never:
                assert_never(never)

    async def _scram(self, scram: Scram) -> ScramClient:
        tls = self._scope.tls_out
        bindings = bindings_of(tls, tls.peer if tls is not None else None)
        binding: Bound | Unbound = Unbound.UNSUPPORTED
        if scram.is_plus:
            binding = next(Bound(kind, data) for kind, data in bindings.items())
        elif bindings and not any(word.endswith(PLUS) for word in self._offered):
            binding = Unbound.NOT_OFFERED
        name = await self._text(scram.client_username)
        if scram.client_password is not None:
            self._password = await self._text(scram.client_password)
        try:
            acting = await self._text(scram.client_authz)
            return ScramClient(scram.mechanism, name, acting, self._ports.random(), binding)
        except NotPreparable as error:
            raise _Stop(f"client_username or client_authz: {error}") from None

    async def _salted(self, salt: bytes, iterations: int) -> bytes:
        """The salted password: computed, or taken from client_spassword (hex, as Exim logs and wants it)."""
        driver = self._authenticator.driver
        assert isinstance(driver, Scram)
        if driver.client_salted_password is not None:
            self._heard = ("", str(iterations), coding.encode(salt))
            text = await self._text(driver.client_salted_password)
            if text:
                try:
                    return bytes.fromhex(text)
                except ValueError:
                    raise _Stop("client_spassword is no hex") from None
        if self._password is None:
            raise _Stop("client_spassword is empty, and client_password is not set")
        try:
            return await self._ports.work.salted(hash_of(driver.mechanism), self._password, salt, iterations)
        except (ValueError, TemporaryFailure) as error:
            raise _Stop(f"client_password: {error}") from None

    async def _text(self, option: Expansion | None) -> str:
        """The expanded option, "" where it is not set. Raises _Stop."""
        if option is None:
            return ""
        heard = tuple(Tainted(each) for each in self._heard)
        try:
            return await option.text(self._scope.child(auth=heard))
        except ForcedFailure as error:
            raise _Stop(str(error), forced=True) from None
        except (ExpansionFailed, TemporaryFailure) as error:
            raise _Stop(
                f'expansion of "{option.source}" failed in {self._authenticator.name} authenticator: {error}'
            ) from None


def _stopped(stop: _Stop) -> Abandoned | Broken:
    return Abandoned("") if stop.forced else Broken(str(stop))
