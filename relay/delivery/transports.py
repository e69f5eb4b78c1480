"""What an attempt asks of the transports: those that speak to servers, and those that deliver here (decision).

The dialog with a server and the writing of files are behind these two; blocking code is behind `BlockingCalls`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from relay.delivery.header_edits import RouterEdits
from relay.delivery.local_address import LocalAddress
from relay.expand.scope import Scope
from relay.mail.envelope import Envelope
from relay.mail.outcome import Outcome, RemoteHost
from relay.mail.ports import Body
from relay.mail.queue import QueuedMessage

P = ParamSpec("P")
T = TypeVar("T")


class BlockingCalls(Protocol):
    """Where blocking code is run, so that it holds up nobody."""

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or the exception that it raised."""
        ...


class RemoteTransport(Protocol):
    """A transport that speaks to servers."""

    @property
    def default_port(self) -> int:
        """The port of a host that was routed without one."""
        ...

    def most_at_once(self, remote: int) -> int:
        """Recipients that one delivery may have of the message's `remote` ones to other hosts; 0: no limit."""
        ...

    @property
    def includes_affixes(self) -> bool:
        """Whether recipients are named with their prefixes and suffixes (Exim: rcpt_include_affixes)."""
        ...

    def forgive(self, now: float) -> None:
        """Hosts that failed before may be tried again at once (a forced queue run)."""
        ...

    async def held_back(
        self, hosts: tuple[RemoteHost, ...], envelope: Envelope, message: QueuedMessage, body: Body, scope: Scope
    ) -> tuple[Outcome | None, ...]:
        """For each recipient what `deliver` would say without dialling anybody, as none of its hosts may be tried now;
        None: one may."""
        ...

    async def first_host(
        self, hosts: tuple[RemoteHost, ...], message: QueuedMessage, scope: Scope
    ) -> RemoteHost | None:
        """The host that `deliver` would begin with, its own where the router gave none; None: nobody knows. Nobody is
        dialled."""
        ...

    async def deliver(
        self,
        hosts: tuple[RemoteHost, ...],
        envelope: Envelope,
        message: QueuedMessage,
        body: Body,
        scope: Scope,
        by_routers: RouterEdits,
    ) -> tuple[Outcome, ...]:
        """One outcome per recipient of the envelope, in its order; `scope` has message and address. Hosts are tried
        in turn; each that failed is recorded as HostFailed by the transport. For a rehearsal nobody is dialled. Raises
        SpoolUnavailable for the body."""
        ...


class LocalTransport(Protocol):
    """A transport that delivers here: one recipient at a time, or as many together as `batch_max` lets it."""

    @property
    def batch_max(self) -> int:
        """Recipients that may be delivered in one go (Exim: batch_max)."""
        ...

    @property
    def includes_affixes(self) -> bool:
        """Whether recipients are named with their prefixes and suffixes (Exim: rcpt_include_affixes)."""
        ...

    async def batch_key(self, address: LocalAddress) -> str | None:
        """Recipients with the same key may go together; None: this one goes alone."""
        ...

    async def deliver(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        """An outcome for each of them. Raises SpoolUnavailable for the body."""
        ...
