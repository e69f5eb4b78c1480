"""Host lists asked about a client and about a server; who has no address is in no list but `*`."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import pytest

from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import HostView, Scope
from relay.mail.facts import Endpoint, LocalCaller, SessionFacts
from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.policy.hosts import matches_client, matches_host

T = TypeVar("T")

CLIENT = Endpoint("192.0.2.7", 4000)
SERVER = HostView("mx.far.test", "198.51.100.5", 25)


def answer(question: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a port did not answer at once")


class Names:
    """DNS as a value; questions that were not laid down are refused."""

    def __init__(self, known: Mapping[str, tuple[str, ...] | Exception]) -> None:
        self._known = known

    async def addresses(self, name: str) -> tuple[str, ...]:
        return self._give(name)

    async def names(self, address: str) -> tuple[str, ...]:
        return self._give(address)

    def _give(self, key: str) -> tuple[str, ...]:
        found = self._known[key]
        if isinstance(found, Exception):
            raise found
        return found


def client(text: str, names: Names | None = None, peer: Endpoint | None = CLIENT) -> bool:
    caller = None if peer is not None else LocalCaller("anna", 1000, 1000)
    scope = Scope(session=SessionFacts(peer=peer, caller=caller), host=SERVER, resolver=names)
    return answer(matches_client(compile_list(ListKind.HOST, text), scope))


def server(text: str, names: Names | None = None, host: HostView | None = SERVER) -> bool:
    scope = Scope(session=SessionFacts(peer=CLIENT), host=host, resolver=names)
    return answer(matches_host(compile_list(ListKind.HOST, text), scope))


@pytest.mark.parametrize(
    "text, of_client, of_server",
    [
        ("*", True, True),
        ("", False, False),
        ("192.0.2.7", True, False),
        ("198.51.100.0/24", False, True),
        ("!192.0.2.7 : *", False, True),
        ("*.far.test", False, True),
        ("!198.51.100.5", True, False),
    ],
)
def test_each_is_asked_about_its_own_host(text: str, of_client: bool, of_server: bool) -> None:
    names = Names({"192.0.2.7": HostNotFound("no name")})
    assert (client(text, names), server(text, names)) == (of_client, of_server)


@pytest.mark.parametrize("text, expected", [("*", True), ("0.0.0.0/0", False), ("! 192.0.2.1 : *", False), ("", False)])
def test_a_local_caller_is_in_no_list_but_every(text: str, expected: bool) -> None:
    assert client(text, peer=None) is expected


@pytest.mark.parametrize("text, expected", [("*", True), ("0.0.0.0/0", False), ("", False)])
def test_where_there_is_no_server(text: str, expected: bool) -> None:
    assert server(text, host=None) is expected


def test_a_clients_name_counts_only_if_it_leads_back() -> None:
    liar = Names({"192.0.2.7": ("laptop.test",), "laptop.test": ("203.0.113.9",)})
    honest = Names({"192.0.2.7": ("laptop.test",), "laptop.test": ("192.0.2.7",)})
    assert client("*.test", honest)
    assert not client("*.test", liar)


def test_a_list_without_an_answer_is_no_answer() -> None:
    with pytest.raises(TemporaryFailure):
        client("${expand:\\${bad}}")
    with pytest.raises(TemporaryFailure):
        server("${expand:\\${bad}}")


@pytest.mark.parametrize(
    "variable, expected", [("$sender_host_address", "192.0.2.7"), ("$host_address", "198.51.100.5")]
)
def test_a_list_may_be_expanded(variable: str, expected: str) -> None:
    assert client(variable) is (expected == CLIENT.address)
    assert server(variable) is (expected == SERVER.address)


def test_every_asks_nobody() -> None:
    assert client("*", Names({}))
    assert server("*", Names({}))
