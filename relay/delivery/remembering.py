"""A resolver that is asked once per name: a message with a hundred recipients has one smarthost (decision)."""

from __future__ import annotations

from relay.mail.ports import DNS, DNSAnswer, HostNotFound, Resolver, TemporaryFailure


class Remembering:
    """The `Resolver` port over another one, for as long as one attempt lasts."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._answers: dict[str, tuple[str, ...] | Exception] = {}

    async def addresses(self, name: str) -> tuple[str, ...]:
        if name not in self._answers:
            try:
                self._answers[name] = await self._resolver.addresses(name)
            except (HostNotFound, TemporaryFailure) as error:
                self._answers[name] = error
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def names(self, address: str) -> tuple[str, ...]:
        return await self._resolver.names(address)


class RememberingDNS:
    """The `DNS` port over another one, for as long as one attempt lasts."""

    def __init__(self, dns: DNS) -> None:
        self._dns = dns
        self._answers: dict[tuple[str, str, bool, bool], DNSAnswer | Exception] = {}

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        """Raises NoRecords, HostNotFound, TemporaryFailure."""
        key = (name.lower(), kind, qualify, parents)
        if key not in self._answers:
            try:
                self._answers[key] = await self._dns.query(name, kind, qualify=qualify, parents=parents)
            except (HostNotFound, TemporaryFailure) as error:
                self._answers[key] = error
        answer = self._answers[key]
        if isinstance(answer, Exception):
            raise answer
        return answer
