"""`control.sock`: who may ask what, and that lines are answered in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from delivery.post import Notebook
from relay.daemon.callers import TrustedCallers
from relay.daemon.operator_socket import Asker, ControlFactory, ControlProtocol, Rights
from relay.daemon.orders import (
    LINE_LIMIT,
    PAGE,
    Answer,
    CountWish,
    EntriesWish,
    MessageWish,
    Order,
    Outcome,
    PieceWish,
    Progress,
    Run,
    Verb,
    Wish,
    decode_line,
    encode_wish,
)
from relay.mail.events import Trouble
from relay.mail.ports import SpoolUnavailable
from relay.spool.store import Piece

ADMIN, OTHER = Asker("root", 0, True), Asker("mallory", 1000, False)
NO_RIGHTS = Rights()
SECRETS: tuple[Wish, ...] = (MessageWish("x"), PieceWish("x", 0))
LISTS: tuple[Wish, ...] = (EntriesWish(), CountWish())


@dataclass
class Operator:
    """Answers when the test says so."""

    orders: list[Order] = field(default_factory=list)
    waiting: list[Deferred[Answer]] = field(default_factory=list)

    async def carry_out(self, order: Order, login: str, uid: int, *, is_admin: bool) -> Answer:
        self.orders.append(order)
        self.waiting.append(Deferred())
        return await self.waiting[-1]

    async def run(self, wanted: Run, told: Callable[[Progress], object]) -> Progress:
        told(Progress(1, 2, 0))
        return Progress(2, 2, 1, is_over=True)


@dataclass
class Spool:
    limits: list[int] = field(default_factory=list)
    trouble: Exception | None = None

    async def entries(self, limit: int, after: str) -> tuple[()]:
        self.limits.append(limit)
        return ()

    async def read(self, question: Callable[[Any], Any]) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return question(self)

    def count(self) -> int:
        return 3

    def message(self, message_id: str) -> None:
        return None

    def piece(self, message_id: str, number: int) -> Piece:
        return Piece(b"text", True)


class Factory(ControlFactory):
    """The asker is whom the test names."""

    def __init__(self, asker: Asker, rights: Rights) -> None:
        self.fake = Operator()
        self.spool = Spool()
        self.notebook = Notebook()
        super().__init__(self.fake, self.spool, TrustedCallers(), self.notebook, rights)  # type: ignore[arg-type]
        self._asker = asker

    def identify(self, wire: Any) -> Asker:
        return self._asker


def connected(asker: Asker = ADMIN, rights: Rights = NO_RIGHTS) -> tuple[ControlProtocol, StringTransport, Factory]:
    factory = Factory(asker, rights)
    protocol = factory.buildProtocol(None)
    assert protocol is not None
    transport = StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport, factory


def said(transport: StringTransport) -> list[dict[str, Any]]:
    lines = [decode_line(line) for line in transport.value().splitlines()]
    transport.clear()
    return lines


def ask(wish: Wish, asker: Asker = ADMIN, rights: Rights = NO_RIGHTS) -> list[dict[str, Any]]:
    protocol, transport, _ = connected(asker, rights)
    protocol.dataReceived(encode_wish(wish))
    return said(transport)


DENIED = [{"outcome": "denied", "text": ""}]


@pytest.mark.parametrize("wish", [*SECRETS, *LISTS, Run()])
def test_who_is_no_administrator_sees_nothing(wish: Wish) -> None:
    assert ask(wish, OTHER) == DENIED
    assert ask(wish, ADMIN) != DENIED


@pytest.mark.parametrize("wish", [*SECRETS, *LISTS, Run(), Run(thaw=True)])
def test_what_the_configuration_opens_is_open(wish: Wish) -> None:
    everything = Rights(may_list=True, may_deliver=True)
    is_open = wish in (*LISTS, Run())
    assert (ask(wish, OTHER, everything) != DENIED) is is_open
    assert ask(Run(), OTHER, Rights(may_list=True)) == DENIED
    assert ask(CountWish(), OTHER, Rights(may_deliver=True)) == DENIED


def test_a_run_tells_how_far_it_is() -> None:
    assert [each["run"]["seen"] for each in ask(Run())] == [1, 2]


def test_wishes_are_answered_one_after_the_other() -> None:
    protocol, transport, factory = connected()
    freeze = Order(Verb.FREEZE, "a")
    protocol.dataReceived(encode_wish(freeze) + encode_wish(CountWish()))
    assert (factory.fake.orders, said(transport)) == ([freeze], [])
    factory.fake.waiting[0].callback(Answer(Outcome.DONE, "is now frozen"))
    assert said(transport) == [{"outcome": "done", "text": "is now frozen"}, {"count": 3}]


def test_a_page_has_its_bounds() -> None:
    protocol, _, factory = connected()
    protocol.dataReceived(encode_wish(EntriesWish("", 10**9)) + encode_wish(EntriesWish("", -1)))
    assert factory.spool.limits == [PAGE, 1]


def test_nonsense_is_answered_and_the_connection_goes_on() -> None:
    protocol, transport, factory = connected()
    factory.spool.trouble = SpoolUnavailable("the disk is gone")
    protocol.dataReceived(b"nonsense\n" + encode_wish(CountWish()))
    assert said(transport) == [{"error": "not a line of JSON"}, {"error": "the disk is gone"}]


def test_a_fault_of_ours_is_in_the_log_and_not_in_the_answer() -> None:
    protocol, transport, factory = connected()
    factory.spool.trouble = KeyError("secret")
    protocol.dataReceived(encode_wish(CountWish()))
    assert said(transport) == [{"error": "internal trouble, see the log"}]
    assert [each.text for each in factory.notebook.of(Trouble)] == ["an order of root failed: KeyError: 'secret'"]


@pytest.mark.parametrize("data", [b"x" * (LINE_LIMIT + 2), b"{}\n" * 40])
def test_who_sends_too_much_is_cut_off(data: bytes) -> None:
    protocol, transport, factory = connected()
    protocol.dataReceived(encode_wish(Order(Verb.FREEZE, "a")))
    protocol.dataReceived(data)
    assert transport.disconnecting or transport.aborting
    assert len(factory.fake.orders) == 1


def test_there_are_not_too_many_at_a_time() -> None:
    factory = Factory(ADMIN, Rights())
    for _ in range(50):
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(StringTransport())
    assert factory.buildProtocol(None) is None
