"""Each statement made to fail, each commit cut, in both engines: what is left starts and delivers.

The statement before which it happens is counted from the first of a message's life; the life is played again and
again, one statement further each time, until nothing is cut any more.
"""

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from relay.spool.store import Store
from relay.spool.transaction import Execute
from spool.engines import Engine, PostgreSQLEngine, SQLiteEngine
from spool.lives import LIVES, Life, look


class Cut(enum.Enum):
    FAILS = "the statement fails, and the process goes on"
    LOST = "it is done, its answer is lost, and the process goes on"
    DIES = "the process dies before it"


class Cutter:
    """Stands between a store and its database, on the writer's way."""

    def __init__(self, store: Store, step: int, cut: Cut) -> None:
        self._left = step
        self._cut = cut
        self.has_cut = False
        self.statement = ""
        whom: Any = store if hasattr(store, "_executor") else store._writing  # type: ignore[attr-defined]
        self._name = "_executor" if whom is store else "executor"
        self._real: Callable[..., Execute] = getattr(whom, self._name)
        setattr(whom, self._name, self._executor)

    def _executor(self, connection: Any, *arguments: Any) -> Execute:
        execute = self._real(connection, *arguments)

        def watched(statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
            if self._cut is Cut.DIES and self.has_cut:
                self._fail(connection)
            self._left -= 1
            if self._left == -1:
                self.has_cut, self.statement = True, statement
                if self._cut is Cut.LOST:
                    execute(statement, parameters)
                self._fail(connection)
            return execute(statement, parameters)

        return watched

    @staticmethod
    def _fail(connection: Any) -> None:
        if isinstance(connection, apsw.Connection):
            raise apsw.IOError("cut")
        connection.close()
        raise psycopg.OperationalError("cut")


@pytest.fixture
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Callable[[int], Engine]]:
    """An empty queue for each step."""

    def of(name: str) -> Callable[[int], Engine]:
        if name == "sqlite":
            return lambda step: SQLiteEngine(tmp_path / str(step))
        engine: PostgreSQLEngine = request.getfixturevalue("postgresql")
        engine.opened()

        def emptied(_step: int) -> Engine:
            engine.empty()
            return engine

        return emptied

    return of


@pytest.mark.slow
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_cut_at_every_statement(
    queues: Callable[[str], Callable[[int], Engine]], name: str, cut: Cut, life: Life
) -> None:
    make, step, statements = queues(name), 0, []
    while True:
        engine = make(step)
        store = engine.opened()
        cutter = Cutter(store, step, cut)
        promised: list[str] = []
        life(store, lambda what, promised=promised: promised.extend(what.split()))
        engine.die(store)

        after = engine.opened()
        look(after, promised)
        if isinstance(engine, SQLiteEngine):
            engine.close()
        if not cutter.has_cut:
            break
        statements.append(cutter.statement)
        step += 1
    assert step > 8
    assert any(each.startswith("COMMIT") for each in statements)
    assert promised, "uncut it keeps its promises"
