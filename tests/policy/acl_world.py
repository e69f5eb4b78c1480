"""A client and a world for ACLs: ports that answer at once and refuse what they were not told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relay.expand.lists import NamedLists
from relay.expand.notes import Notes
from relay.expand.scope import AddressView, MessageView, Scope
from relay.mail import events
from relay.mail.address import Address, address_from_text
from relay.mail.facts import Endpoint, Hello, LocalCaller, SessionFacts
from relay.mail.header import split_header
from relay.mail.ports import Found, HintChange, HostNotFound, TemporaryFailure
from relay.mail.source import Location
from relay.policy.acl import run
from relay.policy.acl_parse import inline_lines, parse_acl
from relay.policy.acl_program import ACLContext, ConditionPorts, Memory
from relay.policy.acl_values import Accepted, Effects, Verdict, Where
from relay.policy.verification import ROUTED_ONLY, Finding, Role, Verified, VerifyOptions

T = TypeVar("T")

PEER = Endpoint("192.0.2.7", 40000)
LOCAL = Endpoint("192.0.2.1", 25)
NOW = 1795255200.0


def answer(question: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    question.close()
    raise AssertionError("it waits for something")


class NoWaiting:
    """Nobody is to wait."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not asked for")


@dataclass
class KeptHints:
    """The `Hints` port in memory."""

    kept: dict[tuple[str, str], str] = field(default_factory=dict)
    expires: dict[tuple[str, str], float] = field(default_factory=dict)
    trouble: TemporaryFailure | None = None

    async def change(self, kind: str, key: str, step: Callable[[str | None], HintChange[T]]) -> T:
        if self.trouble is not None:
            raise self.trouble
        change = step(self.kept.get((kind, key)))
        if change.text is not None:
            self.kept[kind, key] = change.text
            self.expires[kind, key] = change.expires
        return change.answer


@dataclass
class DNS:
    """Records, names and addresses that were told; None: there is no answer now."""

    told: Mapping[tuple[str, str], tuple[str, ...] | None] = field(default_factory=dict)
    reverse: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    forward: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    life: int = 600

    async def records(self, name: str, kind: str) -> Found:
        self.asked.append((name, kind))
        return Found(self._found(self.told.get((name, kind), ())), self.life)

    async def names(self, address: str) -> tuple[str, ...]:
        return self._found(self.reverse.get(address, ()))

    async def addresses(self, name: str) -> tuple[str, ...]:
        return self._found(self.forward.get(name, ()))

    @staticmethod
    def _found(found: tuple[str, ...] | None) -> tuple[str, ...]:
        if found is None:
            raise TemporaryFailure("the DNS is away")
        if not found:
            raise HostNotFound("there is no such thing")
        return found


@dataclass
class Routes:
    """The `Addresses` port: what is not told is good."""

    found: Mapping[str, Verified] = field(default_factory=dict)
    asked: list[tuple[str, Role]] = field(default_factory=list)
    options: list[VerifyOptions] = field(default_factory=list)

    async def verify(
        self, address: Address, role: Role, scope: Scope, options: VerifyOptions = ROUTED_ONLY
    ) -> Verified:
        self.asked.append((str(address), role))
        self.options.append(options)
        return self.found.get(str(address), Verified(Finding.GOOD))


@dataclass
class Journal:
    """What was recorded."""

    events: list[events.Event] = field(default_factory=list)

    def record(self, event: events.Event) -> None:
        self.events.append(event)

    @property
    def written(self) -> list[str]:
        """Lines of `logwrite` and their like."""
        return [each.text for each in self.events if isinstance(each, events.WrittenByACL)]


@dataclass
class World:
    """One client's ACLs, one after the other."""

    hints: KeptHints = field(default_factory=KeptHints)
    dns: DNS = field(default_factory=DNS)
    routes: Routes = field(default_factory=Routes)
    journal: Journal = field(default_factory=Journal)
    memory: Memory = field(default_factory=Memory)
    effects: Effects = field(default_factory=Effects)
    variables: dict[str, str] = field(default_factory=dict)
    facts: SessionFacts = field(default_factory=lambda: SessionFacts(PEER, LOCAL, hello=Hello("client.test", True)))
    message: MessageView = field(default_factory=lambda: MessageView(sender=Address("anna", "laptop.test")))
    now: float = NOW
    details: bool = False
    notes: Notes | None = None

    def local(self) -> World:
        """The same for a program on this host."""
        self.facts = SessionFacts(caller=LocalCaller("anna", 1000, 1000))
        return self

    def ask(self, text: str, where: Where = Where.RCPT, recipient: str = "Bert@far.test") -> Verdict:
        """What an ACL of these lines says, as one command of the client."""
        acl = parse_acl("acl_check", inline_lines(text, Location("conf", 1)), NamedLists())
        self.memory.begin_command()
        address = address_from_text(recipient)
        view = AddressView(address.local_part.lower(), address.domain, address.local_part, address.domain)
        scope = Scope(
            session=self.facts,
            now=self.now,
            main={"primary_hostname": "relay.test"},
            message=self.message,
            address=view if where is Where.RCPT else None,
            acl_variables=self.variables,
            resolver=self.dns,
            notes=self.notes,
            more=dict(self.memory.found),
        )
        ports = ConditionPorts(records=self.dns, hints=self.hints, addresses=self.routes, tells_details=self.details)
        context = ACLContext(
            where,
            scope,
            {},
            self.effects,
            self.variables,
            self.journal,
            NoWaiting(),  # type: ignore[arg-type]
            ports,
            self.memory,
        )
        return answer(run(acl, context))

    def holds(self, condition: str, where: Where = Where.RCPT, **options: str) -> bool:
        """Whether a condition holds."""
        verdict = self.ask(f"accept {condition}", where, **options)
        return isinstance(verdict, Accepted)

    def shown(self, text: str, where: Where = Where.RCPT) -> str:
        """What an expansion gives now."""
        self.journal.events.clear()
        self.ask(f"accept logwrite = <{text}>", where)
        return self.journal.written[0][1:-1]


def message(header: str, *recipients: str) -> MessageView:
    """A whole message with these header lines."""
    raw = header.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + b"\r\n"
    fields, rest = split_header(raw)
    assert rest == b""
    return MessageView(
        sender=Address("anna", "laptop.test"),
        recipients=tuple(map(address_from_text, recipients)),
        recipients_visible=True,
        header=fields,
    )
