"""AUTH with a server on an open connection (decision).

Which authenticators are tried, and what each of them says, is `policy.authenticate_client`; here its moves meet the
connection. What comes of it is a name for the log, or that this host does not get the message now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from relay.delivery.link import AuthAnswer, Link
from relay.delivery.refused import HostRefused
from relay.delivery.smtp_rules import LoginRules
from relay.esmtp.client_events import AuthAccepted, AuthChallenge, AuthRefused
from relay.expand.scope import Scope
from relay.mail.events import MessageNote
from relay.mail.outcome import Deferred, ErrorClass
from relay.mail.ports import TemporaryFailure
from relay.mail.reply import Reply
from relay.policy.authenticate import AuthPorts
from relay.policy.authenticate_client import (
    Abandoned,
    Attempt,
    Begin,
    Broken,
    Impostor,
    Line,
    LoggedIn,
    Postponed,
    Rejected,
    candidates,
)
from relay.policy.event_action import EventAction, Happening, Point
from relay.policy.hosts import matches_host


@dataclass(frozen=True, slots=True)
class Login:
    """What came of it: as whom we are logged in ("" for nobody), and what the log should know."""

    name: str = ""
    notes: tuple[str, ...] = ()
    is_tried: bool = False
    """There was an authenticator for it."""


class ImpostorFound(HostRefused):
    """The server has shown that it is not who it has to be: nothing more is said to it, not even QUIT."""


async def log_in(
    link: Link,
    offers: Mapping[str, str],
    rules: LoginRules,
    scope: Scope,
    ports: AuthPorts | None,
    action: EventAction | None = None,
    *,
    in_clear: bool,
    transport: str,
) -> Login:
    """AUTH, where the options want it. `scope` has the host and the TLS layer. Raises HostRefused, LinkFailed.

    `in_clear`: credentials may go out without TLS. `transport` names itself in notes. `action` is told of a refusal
    (Exim: event auth:fail).
    """
    is_required = rules.require is not None and await matches_host(rules.require, scope)
    is_wanted = is_required or (rules.try_ is not None and await matches_host(rules.try_, scope))
    if not is_wanted:
        return Login()
    troubles: list[str] = []
    unfit: list[str] = []
    is_tried = False
    name = ""
    offered = offers.get("AUTH", "").split()
    if offered and ports is not None:
        try:
            found = await candidates(rules.rules, offered, scope, unfit, in_clear=in_clear)
        except TemporaryFailure as error:
            raise _put_off(f"authenticators can't be chosen: {error}") from None
        is_tried = bool(found)
        troubles += [f"{transport} transport: {each}" for each in unfit]
        for each in found:
            refused = None if action is None else _Refusal(action, each.name, scope)
            name = await _Login(link, Attempt(each, offered, scope, ports), each.name, troubles, refused).run()
            if name:
                break
    if is_required and not name:
        raise _put_off(
            "authentication required but authentication attempt(s) failed"
            if offered
            else "authentication required but server did not advertise AUTH support",
            notes=tuple(troubles),
        )
    return Login(name, tuple(troubles), is_tried)


def _put_off(reason: str, reply: Reply | None = None, notes: tuple[str, ...] = ()) -> HostRefused:
    return HostRefused(Deferred(reason, ErrorClass.AUTH_FAILED, reply, host_wide=True), notes)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Who is told that an authenticator was refused."""

    action: EventAction
    authenticator: str
    scope: Scope

    async def tell(self, reply: Reply) -> bool:
        """Whether the log has its line by that."""
        more = {**self.scope.more, "sender_host_authenticated": self.authenticator}
        happening = Happening(Point.AUTH_FAILED, f"{reply.code} {reply.text}")
        said = await self.action.tell(happening, self.scope.child(more=more))
        if said:
            message = self.scope.message
            self.action.journal.record(MessageNote(message.message_id if message is not None else "", said))
        return bool(said)


class _Login:
    """One attempt, to its end."""

    def __init__(
        self,
        link: Link,
        attempt: Attempt,
        authenticator: str,
        troubles: list[str],
        refused: _Refusal | None,
    ) -> None:
        self._link = link
        self._attempt = attempt
        self._authenticator = authenticator
        self._troubles = troubles
        self._refused = refused

    async def run(self) -> str:
        """As whom we are logged in, "" where the next authenticator may try."""
        match await self._attempt.start():
            case Begin(mechanism, initial):
                answer = await self._link.authenticate(mechanism, initial)
            case Line():
                raise AssertionError("an attempt starts with a command")
            case Abandoned(reason):
                self._note("cancelled authentication", reason)
                return ""
            case Broken(reason):
                raise _put_off(reason)
            case _ as never:
                assert_never(never)
        while isinstance(answer, AuthChallenge):
            move = await self._attempt.challenged(answer.text)
            match move:
                case Line(text):
                    answer = await self._link.respond(text)
                case Abandoned(reason):
                    await self._link.respond("*")
                    self._note("cancelled authentication", reason)
                    return ""
                case Broken(reason):
                    await self._link.respond("*")
                    raise _put_off(reason)
                case Begin():
                    raise AssertionError("an attempt has one command")
                case _ as never:
                    assert_never(never)
        return await self._ended(answer)

    async def _ended(self, answer: AuthAnswer) -> str:
        assert isinstance(answer, AuthAccepted | AuthRefused)
        match await self._attempt.answered(answer.reply):
            case LoggedIn(authenticator, identity):
                return f"{authenticator}:{identity}" if identity else authenticator
            case Rejected(reply):
                if self._refused is None or not await self._refused.tell(reply):
                    self._note("failed", f"{reply.code} {reply.text}")
                return ""
            case Postponed(reply):
                raise _put_off("authentication put off by the server", reply)
            case Impostor(reason):
                raise ImpostorFound(Deferred(reason, ErrorClass.AUTH_FAILED, host_wide=True))
            case _ as never:
                assert_never(never)

    def _note(self, what: str, reason: str) -> None:
        if reason:
            host = self._link.host
            where = f"H={host.name} [{host.address}]"
            self._troubles.append(f"{self._authenticator} authenticator {what} {where} {reason}")
