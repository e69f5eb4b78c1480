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
from relay.policy.hosts import matches_host


@dataclass(frozen=True, slots=True)
class Login:
    """What came of it: as whom we are logged in ("" for nobody), and what the log should know."""

    name: str = ""
    notes: tuple[str, ...] = ()


class ImpostorFound(HostRefused):
    """The server has shown that it is not who it has to be: nothing more is said to it, not even QUIT."""


async def log_in(
    link: Link, offers: Mapping[str, str], rules: LoginRules, scope: Scope, ports: AuthPorts | None, *, in_clear: bool
) -> Login:
    """AUTH, where the options want it. `scope` has the host and the TLS layer. Raises HostRefused, LinkFailed.

    `in_clear`: credentials may go out without TLS.
    """
    is_required = rules.require is not None and await matches_host(rules.require, scope)
    is_wanted = is_required or (rules.try_ is not None and await matches_host(rules.try_, scope))
    if not is_wanted:
        return Login()
    troubles: list[str] = []
    name = ""
    offered = offers.get("AUTH", "").split()
    if offered and ports is not None:
        try:
            found = await candidates(rules.rules, offered, scope, troubles, in_clear=in_clear)
        except TemporaryFailure as error:
            raise _put_off(f"authenticators can't be chosen: {error}") from None
        for each in found:
            name = await _Login(link, Attempt(each, offered, scope, ports), troubles).run()
            if name:
                break
    if is_required and not name:
        raise _put_off(
            "authentication required but authentication attempt(s) failed"
            if offered
            else "authentication required but server did not advertise AUTH support",
            notes=tuple(troubles),
        )
    return Login(name, tuple(troubles))


def _put_off(reason: str, reply: Reply | None = None, notes: tuple[str, ...] = ()) -> HostRefused:
    return HostRefused(Deferred(reason, ErrorClass.AUTH_FAILED, reply, host_wide=True), notes)


class _Login:
    """One attempt, to its end."""

    def __init__(self, link: Link, attempt: Attempt, troubles: list[str]) -> None:
        self._link = link
        self._attempt = attempt
        self._troubles = troubles

    async def run(self) -> str:
        """As whom we are logged in, "" where the next authenticator may try."""
        match await self._attempt.start():
            case Begin(mechanism, initial):
                answer = await self._link.authenticate(mechanism, initial)
            case Line():
                raise AssertionError("an attempt starts with a command")
            case Abandoned(reason):
                self._note(reason)
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
                    self._note(reason)
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
                self._note(f"authenticator refused: {reply.code} {reply.text}")
                return ""
            case Postponed(reply):
                raise _put_off("authentication put off by the server", reply)
            case Impostor(reason):
                raise ImpostorFound(Deferred(reason, ErrorClass.AUTH_FAILED, host_wide=True))
            case _ as never:
                assert_never(never)

    def _note(self, reason: str) -> None:
        if reason:
            self._troubles.append(reason)
