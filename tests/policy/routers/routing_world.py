"""Addresses offered to routers whose ports answer at once: DNS, users and files as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from delivery.post import NO_ANSWER, NO_SUCH_NAME, Names, run
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.notes import Notes
from relay.expand.scope import FileStatus, MessageView, Scope
from relay.mail.address import address_from_text
from relay.mail.events import Event
from relay.mail.facts import SessionFacts
from relay.mail.ports import DNSAnswer, HostNotFound, NoRecords, TemporaryFailure
from relay.mail.source import Location
from relay.policy.routers.answers import Route, Routed
from relay.policy.routers.items import AddressItem, top_item
from relay.policy.routers.manualroute import compile_route_list
from relay.policy.routers.ports import LOCAL, REMOTE, Account, NoNetwork, Purpose, RoutingPorts, TransportFacts
from relay.policy.routers.settings import Accept, DNSLookup, Manualroute, Preconditions, Redirect, Router
from relay.policy.routing import route

PLACE = Location("relay.conf", 7)
KNOWN = {
    "hub.test": ("192.0.2.7", "2001:db8::7"),
    "spare.test": ("192.0.2.8",),
    "gone.test": NO_SUCH_NAME,
    "slow.test": NO_ANSWER,
    "offline.test": NoNetwork("network is unreachable"),
    "empty.test": (),
}
TRANSPORTS: Mapping[str, TransportFacts] = {
    "maildir": LOCAL,
    "pipe": LOCAL,
    "file": LOCAL,
    "smtp": REMOTE,
    "other": REMOTE,
    "relay": TransportFacts(port=2525),
}
ANNA = Account("anna", 1001, 101, "/home/anna")


@dataclass
class Zone:
    """DNS as a value: `name TYPE` gives records, or raises what is kept for it. Names that are not there do not exist;
    those that are have no other records."""

    records: Mapping[str, Any]
    secure: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    default_domain: str = ""

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        if qualify and "." not in name and self.default_domain:
            name = f"{name}.{self.default_domain}"
        self.asked.append(f"{name} {kind}")
        found = {key.lower(): records for key, records in self.records.items()}.get(f"{name} {kind}".lower())
        if isinstance(found, Exception):
            raise found
        if found is None:
            if any(key.split()[0].lower() == name.lower() for key in self.records):
                raise NoRecords(name)
            raise HostNotFound(name)
        spelled = next(key.split()[0] for key in self.records if key.split()[0].lower() == name.lower())
        return DNSAnswer(tuple(found), spelled, name in self.secure)


NOT_NOW = TemporaryFailure("SERVFAIL")


class Users:
    """One user, and a group of hers."""

    async def user(self, name: str) -> Account | None:
        return ANNA if name == "anna" else None

    async def group(self, name: str) -> int | None:
        return 102 if name == "staff" else None


@dataclass
class Disk:
    """Files by path: text, with owner and mode."""

    files: Mapping[str, str] = field(default_factory=dict)
    owner: int = 1001
    mode: int = 0o100600
    trouble: OSError | None = None

    async def read(self, path: str, limit: int, beneath: str = "") -> tuple[FileStatus, bytes]:
        if self.trouble is not None:
            raise self.trouble
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        data = self.files[path].encode()
        return self._status(len(data)), data[:limit]

    async def status(self, path: str) -> FileStatus:
        if path not in self.files and not any(known.startswith(path.rstrip("/") + "/") for known in self.files):
            raise FileNotFoundError(2, "No such file or directory", path)
        return self._status(0)

    async def contents(self, path: str, limit: int) -> bytes:
        raise AssertionError("routing reads no files of expansions")

    def _status(self, size: int) -> FileStatus:
        return FileStatus(self.mode, 1, 1, 1, self.owner, 101, size, 0, 0, 0)


def when(**lists: Any) -> Preconditions:
    """Preconditions by the names of their options."""
    kinds = {"domains": ListKind.DOMAIN, "local_parts": ListKind.LOCAL_PART, "senders": ListKind.ADDRESS}
    condition = lists.pop("condition", None)
    compiled = {name: compile_list(kinds[name], lists.pop(name)) for name in tuple(lists) if name in kinds}
    conditions = () if condition is None else (compile_expansion(condition),)
    return Preconditions(**compiled, conditions=conditions, **lists)


def expansion(text: str | None) -> Any:
    return None if text is None else compile_expansion(text)


def accept(name: str = "local", transport: str = "maildir", **options: Any) -> Accept:
    return Accept(name=name, location=PLACE, transport=compile_expansion(transport), **options)


def manual(route_list: str, **options: Any) -> Manualroute:
    options.setdefault("transport", compile_expansion("smtp"))
    routes = compile_route_list(route_list, PLACE)
    return Manualroute(name="smarthost", location=PLACE, routes=routes, **options)


def by_data(route_data: str) -> Manualroute:
    return replace(manual("* hub.test"), routes=compile_expansion(route_data))


def lookup(name: str = "dns", **options: Any) -> DNSLookup:
    return DNSLookup(name=name, location=PLACE, transport=compile_expansion("smtp"), **options)


def redirect(data: str | None = None, name: str = "aliases", file: str | None = None, **options: Any) -> Redirect:
    return Redirect(
        name=name,
        location=PLACE,
        data=expansion(data),
        file=expansion(file),
        pipe_transport=compile_expansion("pipe"),
        file_transport=compile_expansion("file"),
        directory_transport=compile_expansion("maildir"),
        **options,
    )


@dataclass
class Offering:
    """How `offer` routes; a test changes what it is about."""

    names: Names = field(default_factory=lambda: Names(KNOWN))
    dns: Zone = field(default_factory=lambda: Zone({}))
    disk: Disk = field(default_factory=Disk)
    sender: str = "anna@laptop.test"
    ours: tuple[str, ...] = ()
    purpose: Purpose = Purpose.DELIVER
    mx_to_address: bool = False
    without_ipv6: bool = False
    notes: Notes | None = None
    session: SessionFacts = field(default_factory=SessionFacts)
    log: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.log.append(event)

    def ports(self) -> RoutingPorts:
        return RoutingPorts(
            resolver=self.names,
            transports=TRANSPORTS,
            is_ours=lambda address, port: address in self.ours,
            dns=self.dns,
            accounts=Users(),
            files=self.disk,
            qualify_recipient="home.test",
            mx_to_address=self.mx_to_address,
            without_ipv6=self.without_ipv6,
            journal=self,
        )

    def scope(self) -> Scope:
        message = MessageView(sender=address_from_text(self.sender))
        return Scope(
            session=self.session, message=message, file_system=self.disk, resolver=self.names, notes=self.notes
        )

    def offer(self, *routers: Router, to: str | AddressItem = "bert@far.test") -> Route:
        item = top_item(address_from_text(to)) if isinstance(to, str) else to
        return run(route(item, routers, self.scope(), self.ports(), self.purpose))


def offer(*routers: Router, to: str | AddressItem = "bert@far.test", **changes: Any) -> Route:
    """What becomes of an address."""
    return Offering(**changes).offer(*routers, to=to)


def taken(answer: Route) -> Routed:
    assert isinstance(answer, Routed), answer
    return answer


def hosts_of(answer: Route) -> list[str]:
    return [f"{host.name}:{host.port}" for host in taken(answer).hosts]
