"""Removing the file forgets what was remembered of hosts; another file does not bring it back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from relay.daemon.remote import SpoolHostRecords
from relay.daemon.retry_file import RetryFile
from relay.mail.address import Address
from relay.mail.events import AddressDeferred, Completed
from relay.mail.outcome import Deferred
from relay.spool.hints import RetryHint

T = TypeVar("T")
HINT = RetryHint(100.0, 100.0, 200.0, "refused")
DEFERRED = AddressDeferred("1x", Address("bob", "far.test"), "r", "t", Deferred("later"))


class Spool:
    """A reader and writer of hints that stay."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    async def write(self, operation: Callable[[Any], T]) -> T:
        return operation(self)

    read = write

    def hint(self, kind: str, key: str, _now: float) -> str | None:
        return self.kept.get((kind, key))

    def put_hint(self, kind: str, key: str, value: str, _expires: float) -> None:
        self.kept[kind, key] = value


def answer(question: Coroutine[Any, Any, T]) -> T:
    with pytest.raises(StopIteration) as stop:
        question.send(None)
    found: T = stop.value.value
    return found


def known(spool: Spool, file: RetryFile | None) -> str | None:
    hint = answer(SpoolHostRecords(spool, 60.0, file).load("a:25", 150.0))  # type: ignore[arg-type]  # a fake
    return None if hint is None else hint.reason


def keep(spool: Spool, file: RetryFile | None) -> None:
    answer(SpoolHostRecords(spool, 60.0, file).keep("a:25", HINT))  # type: ignore[arg-type]  # a fake


def test_the_file_comes_with_the_first_record_and_takes_all_with_it(tmp_path: Path) -> None:
    spool, file = Spool(), RetryFile(str(tmp_path))
    assert not (tmp_path / "db").exists()
    keep(spool, file)
    path = tmp_path / "db" / "retry"
    assert path.is_file()
    assert known(spool, RetryFile(str(tmp_path))) == "refused"
    path.unlink()
    assert known(spool, file) is None
    path.write_text("somebody made another one")
    assert known(spool, file) is None
    keep(spool, file)
    assert known(spool, file) == "refused"


def test_an_address_that_waits_makes_it(tmp_path: Path) -> None:
    file = RetryFile(str(tmp_path))
    file.record(Completed("1x"))
    assert file.mark() == ""
    file.record(DEFERRED)
    assert file.mark() == file.make() != ""


def test_records_hold_where_there_can_be_no_file(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("not a folder")
    for file in (RetryFile(str(tmp_path)), None):
        spool = Spool()
        keep(spool, file)
        assert known(spool, file) == "refused"
