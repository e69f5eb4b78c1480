"""Drives the language's coroutines, which never wait here: every port answers at once, and only what it was told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.ports import HostNotFound, TemporaryFailure


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("the coroutine waits for something")


@pytest.fixture(scope="session")
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return _run


MAIN = {"primary_hostname": "relay.test", "qualify_domain": "relay.test", "spool_directory": "/var/spool/relay"}


@pytest.fixture(scope="session")
def expand() -> Callable[..., str]:
    """Expands as `exim -be` does: the value, or "Failed: " and why."""

    def expand(text: str, **given: Any) -> str:
        scope = Scope(**{"main": MAIN, "now": 1_000_000_000.0, **given})
        try:
            return _run(compile_expansion(text).text(scope))
        except ExpansionError as error:
            return f"Failed: {error.message}"
        except (ExpansionFailed, TemporaryFailure) as error:
            return f"Failed: {error}"

    return expand


@dataclass
class FakeLookups:
    """Answers by (kind, key, source); None is an answer too."""

    answers: dict[tuple[str, str, str], str | None] = field(default_factory=dict)

    async def find(self, kind: str, key: str, source: str) -> str | None:
        if source == "/nonexistent":
            raise TemporaryFailure(f"failed to open {source}")
        return self.answers[kind, key, source]


@dataclass
class FakeResolver:
    """Forward and reverse zones; a name that maps to None can't be looked up now."""

    forward: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    reverse: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def addresses(self, name: str) -> tuple[str, ...]:
        if name not in self.forward:
            raise HostNotFound(name)
        found = self.forward[name]
        if found is None:
            raise TemporaryFailure(f"lookup of {name} timed out")
        return found

    async def names(self, address: str) -> tuple[str, ...]:
        if address not in self.reverse:
            raise HostNotFound(address)
        return self.reverse[address]


@dataclass
class FakeFiles:
    """Files by path; others can't be read."""

    contents: dict[str, str] = field(default_factory=dict)

    async def lines(self, path: str) -> tuple[str, ...]:
        if path not in self.contents:
            raise TemporaryFailure(f"failed to open {path}")
        return tuple(self.contents[path].splitlines())


@pytest.fixture(scope="session")
def fake_lookups() -> type[FakeLookups]:
    return FakeLookups


@pytest.fixture(scope="session")
def fake_resolver() -> type[FakeResolver]:
    return FakeResolver


@pytest.fixture(scope="session")
def fake_files() -> type[FakeFiles]:
    return FakeFiles
