"""What becomes of recipients and hosts, told to event actions in Exim's order (decision).

`ToldHosts` has what the smtp transport finds out about one host, `ToldRecipients` what an attempt finds out about
recipients and the message. Exim: msg_event_raise, deferred_event_raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.delivery.settle import Result
from relay.expand.scope import AddressView, HostView, Scope
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.error_numbers import number_of, with_system_error
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.policy.event_action import EventAction, EventActions, Happening, Point

# What a server says of one recipient.
_OF_ONE = frozenset({ErrorClass.RCPT_4XX, ErrorClass.JUDGED_4XX})
_FAULTS_OF_THE_MESSAGE = frozenset({ErrorClass.MAIL_4XX, ErrorClass.DATA_4XX})


class ToldHosts:
    """One delivery of an smtp transport. `scope` has the message, and what the router found."""

    def __init__(self, action: EventAction, scope: Scope) -> None:
        self._action = action
        self._scope = scope

    async def recipients_deferred(
        self, recipients: Sequence[Recipient], outcomes: Sequence[Outcome], *, is_last_host: bool
    ) -> None:
        """Those that a host does not want now, for themselves."""
        for recipient, outcome in zip(recipients, outcomes, strict=True):
            if not isinstance(outcome, Deferred) or outcome.error not in _OF_ONE or outcome.host is None:
                continue
            # Exim: more_errno, the way that led to the host below the last two digits of the code.
            kind = "M" if outcome.host.by_mx else "A"
            code = outcome.reply.code % 100 if outcome.reply is not None else 0
            seen = seen_of(self._scope, recipient.address, outcome.host)
            points = [Point.RECIPIENT_DEFERRED_BY_HOST, *([Point.RECIPIENT_DEFERRED] if is_last_host else [])]
            for point in points:
                await self._action.tell(Happening(point, outcome.reason, code << 8 | ord(kind)), seen)

    async def host_deferred(self, first: Recipient, outcomes: Sequence[Outcome], *, is_last_host: bool) -> None:
        """A host that does not take the message now; and the message, where no other host is left."""
        failure = next((each for each in outcomes if isinstance(each, Deferred)), None)
        if failure is None or failure.error in _OF_ONE or failure.host is None:
            return
        seen = seen_of(self._scope, first.address, failure.host)
        data, errno = with_system_error(failure), number_of(failure)
        if not (failure.error in _FAULTS_OF_THE_MESSAGE or failure.possible_duplicate):
            await self._action.tell(Happening(Point.HOST_DEFERRED, data, errno), seen)
        if is_last_host:
            await self._action.tell(Happening(Point.MESSAGE_DEFERRED, data, errno), seen)


class ToldRecipients:
    """One attempt. `scope` has the message."""

    def __init__(self, actions: EventActions, scope: Scope, remote: Sequence[str] = ()) -> None:
        """`remote`: names of the transports that speak to servers: what those say is data for an action."""
        self._actions = actions
        self._scope = scope
        self._remote = frozenset(remote)

    async def delivered(self, result: Result) -> None:
        """Behind its line. Without a transport there is nobody to tell."""
        action = self._actions.of(result.transport) if result.transport else None
        if action is not None and isinstance(result.outcome, Delivered):
            data = result.outcome.confirmation if result.transport in self._remote else ""
            # What the transport knew is all that is known by now of the layer that the message went through.
            seen = self._seen(result, result.outcome.host).child(tls_out=result.outcome.tls)
            await action.tell(Happening(Point.DELIVERED, data), seen)

    async def failing(self, result: Result) -> None:
        """Before its line. Where nobody is told of it, or other reports were asked for, it is told later or not."""
        is_ignored = result.errors_to is not None and result.errors_to.is_null
        notify = (result.recipient.recipient.parameters.get("NOTIFY") or "FAILURE").upper()
        if not is_ignored and notify == "FAILURE":
            await self.failed(result)

    async def failed(self, result: Result) -> None:
        """One that was given up. Without a transport it is a matter of our own."""
        outcome = result.outcome
        action = self._actions.of(result.transport)
        if action is None or not isinstance(outcome, Failed):
            return
        point = Point.FAILED if result.transport else Point.FAILED_HERE
        is_told = not result.transport or result.transport in self._remote or outcome.host is not None
        await action.tell(Happening(point, outcome.reason if is_told else ""), self._seen(result, outcome.host))

    async def cancelled(self, addresses: Sequence[Address], why: str) -> None:
        """By an operator: no transport knows of it."""
        if self._actions.main is not None:
            for each in addresses:
                await self._actions.main.tell(Happening(Point.FAILED_HERE, why), seen_of(self._scope, each, None))

    async def complete(self) -> None:
        """Nobody is left."""
        if self._actions.main is not None:
            await self._actions.main.tell(Happening(Point.MESSAGE_COMPLETE), self._scope)

    def _seen(self, result: Result, host: RemoteHost | None) -> Scope:
        more = {**self._scope.more, "router_name": result.router, "transport_name": result.transport}
        return seen_of(self._scope.child(more=more), result.recipient.recipient.address, host)


def seen_of(scope: Scope, address: Address, host: RemoteHost | None) -> Scope:
    """What an action sees of a recipient and its host."""
    view = scope.address or AddressView()
    return scope.child(
        address=replace(view, local_part=address.local_part, domain=address.domain),
        host=None if host is None else HostView(host.name, host.address, host.port, host.dnssec),
    )
