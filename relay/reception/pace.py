"""Clients that are made slower with each further command (decision). Exim: smtp_ratelimit_hosts, …_mail, …_rcpt."""

from __future__ import annotations

from relay.reception.client import Client
from relay.reception.rules import Ports, Rules, Slowing


class _Growing:
    """A pause that grows."""

    def __init__(self, slowing: Slowing | None) -> None:
        self._slowing = slowing
        self._next = slowing.first if slowing is not None else 0.0

    def is_due(self, count: int) -> bool:
        return self._slowing is not None and count > self._slowing.threshold

    def take(self) -> float:
        """The pause for now; the next one is longer."""
        assert self._slowing is not None
        pause = self._next
        self._next = min(self._next * self._slowing.factor, self._slowing.limit)
        return pause


class Pace:
    """How long this client's commands are held up."""

    def __init__(self, client: Client, rules: Rules, ports: Ports) -> None:
        self._client = client
        self._rules = rules
        self._ports = ports
        self._mail = _Growing(rules.clients.ratelimit_mail)
        self._rcpt = _Growing(rules.clients.ratelimit_rcpt)

    def begin_message(self) -> None:
        """Recipients are counted anew."""
        self._rcpt = _Growing(self._rules.clients.ratelimit_rcpt)

    async def mail(self, number: int) -> None:
        """Before the MAIL of this number in the connection. Raises TemporaryFailure."""
        await self._hold_up(self._mail, number)

    async def rcpt(self, number: int) -> None:
        """Before the RCPT of this number in the message. Raises TemporaryFailure."""
        await self._hold_up(self._rcpt, number)

    async def _hold_up(self, growing: _Growing, number: int) -> None:
        hosts = self._rules.clients.ratelimit_hosts
        if hosts is None or not growing.is_due(number) or not await self._client.is_among(hosts):
            return
        await self._ports.concurrency.sleep(growing.take())
