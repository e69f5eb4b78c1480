"""Connections whose steps are told to the event action of their transport (decision).

`ToldDialer` and `ToldLink` stand between a conversation and its connection where such an action is set, and nowhere
else. The action is asked before a host is dialled and when it has greeted, and may say no; it is told of each answer to
our own greeting, and of the end. Exim: events tcp:connect, smtp:connect, smtp:ehlo, tcp:close.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.delivery.link import AuthAnswer, Dialer, Link, LinkFailed, Manners
from relay.delivery.refused import HostRefused
from relay.esmtp.client_events import Stage
from relay.esmtp.parameters import Limits
from relay.expand.scope import HostView, Scope
from relay.mail.envelope import Envelope
from relay.mail.facts import TLSFacts
from relay.mail.outcome import Deferred, ErrorClass, Outcome, RemoteHost
from relay.mail.ports import Body
from relay.mail.reply import Reply
from relay.policy.event_action import EventAction, Happening, Point
from relay.tls.anchors import AnchorSet
from relay.tls.engine import Handshake
from relay.tls.policy import ClientTLS

NO_CONNECTION = "Event requests alternate response"


class ToldDialer:
    """The `Dialer` port: asks before it dials. `scope` has the message and the address."""

    def __init__(self, dialer: Dialer, action: EventAction, scope: Scope) -> None:
        self._dialer = dialer
        self._action = action
        self._scope = scope

    async def dial(self, hosts: tuple[RemoteHost, ...], manners: Manners) -> Link:
        """To the first address alone: each one has to be asked for. Raises LinkFailed."""
        host = hosts[0]
        seen = self._scope.child(host=HostView(host.name, host.address, host.port, host.dnssec))
        if await self._action.tell(Happening(Point.CONNECTING), seen):
            failed = LinkFailed(ErrorClass.EVENT, NO_CONNECTION)
            failed.host = host
            raise failed
        return ToldLink(await self._dialer.dial((host,), manners), self._action, seen)


class ToldLink:
    """The `Link` port over another one."""

    def __init__(self, link: Link, action: EventAction, scope: Scope) -> None:
        self._link = link
        self._action = action
        self._scope = scope
        self._is_greeted = False
        self._is_ended = False
        self._our_end = link.our_end

    def serve(self, scope: Scope) -> None:
        """From here on it is another message's, or another layer's: what the action sees."""
        self._scope = scope

    def rise(self, tls: TLSFacts) -> None:
        """A TLS layer is up, and judged."""
        self._scope = self._scope.child(tls_out=tls)

    async def _tell(self, point: Point, data: str = "") -> str:
        address, port = self._our_end
        more = {**self._scope.more, "sending_ip_address": address, "sending_port": str(port)}
        return await self._action.tell(Happening(point, data), self._scope.child(more=more))

    @property
    def host(self) -> RemoteHost:
        return self._link.host

    @property
    def our_end(self) -> tuple[str, int]:
        return self._our_end

    @property
    def limits(self) -> Limits:
        return self._link.limits

    @property
    def hello_text(self) -> str:
        return self._link.hello_text

    @property
    def is_open(self) -> bool:
        return self._link.is_open

    async def greeting(self) -> str:
        return await self._link.greeting()

    async def hello(self) -> Mapping[str, str]:
        """Raises HostRefused where the action does not like the greeting."""
        if not self._is_greeted:
            self._is_greeted = True
            said = await self._tell(Point.GREETED, await self._link.greeting())
            if said:
                raise HostRefused(Deferred(f"deferred by smtp:connect event expansion: {said}", ErrorClass.LOCAL))
        return await self._told(await self._link.hello())

    async def _told(self, offers: Mapping[str, str]) -> Mapping[str, str]:
        await self._tell(Point.HELLO_ANSWERED, self._link.hello_text)
        return offers

    async def start_tls(
        self, policy: ClientTLS, *, on_connect: bool, session_key: str = ""
    ) -> tuple[Handshake, AnchorSet]:
        return await self._link.start_tls(policy, on_connect=on_connect, session_key=session_key)

    async def authenticate(self, mechanism: str, initial: str | None) -> AuthAnswer:
        return await self._link.authenticate(mechanism, initial)

    async def respond(self, text: str) -> AuthAnswer:
        return await self._link.respond(text)

    async def ask(self, command: str, stage: Stage) -> Reply:
        return await self._link.ask(command, stage)

    async def send(self, envelope: Envelope, header: bytes, body: Body) -> tuple[Outcome, ...]:
        return await self._link.send(envelope, header, body)

    async def go_clear(self, limit: float) -> Mapping[str, str]:
        offers = await self._link.go_clear(limit)
        self._scope = self._scope.child(tls_out=None)
        return await self._told(offers)

    async def quit(self) -> None:
        await self._link.quit()
        await self._end()

    async def drop(self) -> None:
        await self._link.drop()
        await self._end()

    async def _end(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            await self._tell(Point.CLOSED)

