"""Each engine in turn, and a PostgreSQL that all tests of a run share, each in a schema of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.spool.store import Store
from spool import postgres_server
from spool.engines import Engine, PostgreSQLEngine, SQLiteEngine
from spool.postgres_server import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgres_server.running() as started:
        yield started


@pytest.fixture
def postgresql(server: Server) -> Iterator[PostgreSQLEngine]:
    with_server = PostgreSQLEngine(server, f"queue_{next(_numbers)}")
    yield with_server
    with_server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "postgresql":
        yield request.getfixturevalue("postgresql")
        return
    with_files = SQLiteEngine(tmp_path)
    yield with_files
    with_files.close()


@pytest.fixture
def store(engine: Engine) -> Store:
    return engine.opened()
