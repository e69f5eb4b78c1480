"""Constant databases: what was put in comes out, and no file makes a lookup fall over."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mail.ports import NotOpened, TemporaryFailure
from relay.net.cdb import ConstantDatabase, CorruptFile, key_hash
from relay.net.lookups import FileLookups, at_once


def database(entries: dict[bytes, bytes]) -> bytes:
    """As cdbmake writes it: every table twice as large as its entries."""
    records = b""
    slots: list[list[tuple[int, int]]] = [[] for _ in range(256)]
    for key, data in entries.items():
        slots[key_hash(key) % 256].append((key_hash(key), 2048 + len(records)))
        records += len(key).to_bytes(4, "little") + len(data).to_bytes(4, "little") + key + data
    header = tables = b""
    for entry in slots:
        table = [(0, 0)] * (2 * len(entry))
        for found, position in entry:
            place = (found >> 8) % len(table)
            while table[place] != (0, 0):
                place = (place + 1) % len(table)
            table[place] = (found, position)
        header += (2048 + len(records) + len(tables)).to_bytes(4, "little") + len(table).to_bytes(4, "little")
        tables += b"".join(one.to_bytes(4, "little") + other.to_bytes(4, "little") for one, other in table)
    return header + records + tables


def test_the_hash_is_the_one_of_the_format() -> None:
    assert key_hash(b"") == 5381
    assert key_hash(b"a") == (5381 * 33) ^ ord("a")


@given(st.dictionaries(st.binary(max_size=5), st.binary(max_size=20), max_size=40), st.binary(max_size=5))
@settings(max_examples=60)
def test_what_is_put_in_is_found(entries: dict[bytes, bytes], other: bytes) -> None:
    made = ConstantDatabase(database(entries))
    for key, data in entries.items():
        assert made.find(key) == data
    assert made.find(other) == entries.get(other)


@given(st.binary(max_size=300), st.binary(max_size=4), st.integers(0, 2100))
@settings(max_examples=100)
def test_any_content(noise: bytes, key: bytes, place: int) -> None:
    whole = database({b"a": b"b", b"c": b"d"})
    broken = whole[:place] + noise + whole[place + len(noise) :]
    try:
        ConstantDatabase(broken).find(key)
    except CorruptFile:
        pass


class Clock:
    def now(self) -> float:
        return 0.0


def ask(path: Path, key: str) -> str | None:
    question = FileLookups(at_once, Clock()).find("cdb", key, str(path))
    try:
        question.send(None)
    except StopIteration as done:
        found: str | None = done.value
        return found
    raise AssertionError("waits")


def test_as_a_lookup(tmp_path: Path) -> None:
    path = tmp_path / "table.cdb"
    path.write_bytes(database({b"a.test": b"\xfcber"}))
    assert ask(path, "a.test") == "\udcfcber"
    assert ask(path, "A.test") is None
    path.write_bytes(b"short")
    with pytest.raises(NotOpened, match="too short for cdb lookup"):
        ask(path, "a.test")
    path.write_bytes(database({b"a.test": b"data"})[:-1])
    with pytest.raises(TemporaryFailure, match="corrupt cdb file"):
        ask(path, "a.test")
    with pytest.raises(NotOpened, match="for cdb lookup: No such file"):
        ask(tmp_path / "absent", "a.test")
