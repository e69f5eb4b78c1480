"""What the SQLite engine promises when something fails: the disk, a lock, a sync, a neighbour."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from relay.mail.ports import SpoolFull, SpoolUnavailable
from relay.mail.queue import CHUNK_SIZE
from relay.spool import schema
from relay.spool import sqlite as engine
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Done, Fault, Mended, Refused, Settled, Unknown
from spool.samples import NOW, body_of, delivered, die, do, message, opened, rows, write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with_queue = opened(tmp_path, patience=0.02)
    yield with_queue
    with_queue.close_reading()
    with_queue.close()


class Disk(apsw.VFS):
    """The system's VFS with a fault that can be switched on: what is `failing` raises."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.failing = ""
        self.syncs = 0

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._kind = "wal" if flags[0] & apsw.SQLITE_OPEN_WAL else "database"

    def xSync(self, flags: int) -> None:
        self._disk.syncs += 1
        if self._disk.failing == f"sync {self._kind}":
            raise apsw.IOError("sync failed")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.failing == f"write {self._kind}":
            raise apsw.IOError("write failed")
        if self._disk.failing == f"full {self._kind}":
            raise apsw.FullError("no space")
        super().xWrite(data, offset)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    vfs = Disk(f"faulty-{tmp_path.name}")
    yield vfs
    vfs.unregister()


@pytest.fixture
def on_disk(tmp_path: Path, disk: Disk) -> Iterator[SQLiteStore]:
    with_queue = opened(tmp_path, vfs=f"faulty-{tmp_path.name}")
    yield with_queue
    disk.failing = ""
    with_queue.close_reading()
    with_queue.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Making and opening


def test_files_are_the_owners_alone(store: SQLiteStore) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    directory = store.path.parent
    for path in (directory, *directory.rglob("*")):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert (directory / "queue.sqlite-wal").exists()


def test_the_log_is_synced_at_every_commit(on_disk: SQLiteStore, disk: Disk) -> None:
    before = disk.syncs
    do(on_disk, lambda queue: queue.accept_message(message(), 0, b"x"))
    assert disk.syncs == before + 1
    assert on_disk._writer is not None
    assert on_disk._writer.pragma("synchronous") == 2
    assert on_disk._writer.pragma("journal_mode") == "wal"


def test_one_sync_serves_the_whole_batch(on_disk: SQLiteStore, disk: Disk) -> None:
    before = disk.syncs
    do(on_disk, *(lambda queue, n=n: queue.accept_message(message(f"id{n}"), 0, b"x") for n in range(50)))
    assert disk.syncs == before + 1


def test_a_queue_survives_closing(store: SQLiteStore, tmp_path: Path) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"body"))
    store.close()

    again = opened(tmp_path)

    assert body_of(again, message().message_id) == b"body"
    assert again.read(lambda queue: queue.next_due()) == NOW
    assert not list((tmp_path / "queue" / "owners").glob(f"{store.owner or 'none'}.lock"))
    again.close_reading()
    again.close()


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    looking = SQLiteStore(tmp_path / "nowhere")
    with pytest.raises(SpoolUnavailable, match="there is no queue here"):
        looking.read(lambda queue: queue.count())
    assert not looking.exists
    assert not (tmp_path / "nowhere").exists()


def test_one_may_look_without_opening(store: SQLiteStore) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    looking = SQLiteStore(store.path.parent)
    assert looking.read(lambda queue: queue.count()) == 1
    looking.close_reading()


def test_a_newer_queue_is_left_alone(store: SQLiteStore, tmp_path: Path) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    assert store._writer is not None
    store._writer.execute("UPDATE meta SET value = '99'")

    with pytest.raises(SpoolUnavailable, match=r"queue\.sqlite: .*newer version \(schema 99, this one knows \d"):
        opened(tmp_path)
    assert len(list((tmp_path / "queue" / "owners").iterdir())) == 1


def test_an_interrupted_migration_leaves_the_old_version(
    tmp_path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    steps = (*schema.MIGRATIONS, ("CREATE TABLE later (x TEXT)", "CREATE TABLE broken ("))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", steps)
        patch.setattr(schema, "SCHEMA_VERSION", len(steps))
        with pytest.raises(SpoolUnavailable):
            opened(tmp_path)

    again = opened(tmp_path)
    names = again._reading().execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert ("later",) not in names
    again.close_reading()
    again.close()


def test_a_migration_keeps_the_messages(tmp_path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    store.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE message ADD COLUMN later TEXT",)))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(schema.MIGRATIONS))

    again = opened(tmp_path)

    assert again.read(lambda queue: queue.count()) == 1
    assert again._reading().execute(schema.META_GET, ("schema_version",)).get == str(schema.SCHEMA_VERSION)
    again.close_reading()
    again.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "queue.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(SpoolUnavailable, match=r"queue\.sqlite: is damaged: .*copy the file"):
        opened(tmp_path)


def test_a_directory_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "queue").write_text("a file")
    with pytest.raises(SpoolUnavailable, match=r"queue: File exists \(name a directory"):
        opened(tmp_path)


def test_a_wrong_statement_is_the_programs_fault_and_still_451(store: SQLiteStore) -> None:
    [result] = store.run([lambda queue: queue._execute("SELECT nonsense FROM nowhere")])  # type: ignore[attr-defined]
    assert isinstance(result, Refused)
    assert isinstance(result.error, SpoolUnavailable)
    assert "a fault of this program" in str(result.error)


# Batches


def test_one_failing_operation_spoils_no_other(store: SQLiteStore) -> None:
    def broken(queue: object) -> None:
        store_of = queue.accept_message  # type: ignore[attr-defined]
        store_of(message("half"), 0, b"x")
        raise ValueError("in the middle")

    results = store.run([
        lambda queue: queue.accept_message(message("one"), 0, b"x"),
        broken,
        lambda queue: queue.accept_message(message("two"), 0, b"x"),
    ])  # fmt: skip

    assert isinstance(results[0], Done)
    assert isinstance(results[1], Refused)
    assert str(results[1].error) == "in the middle"
    assert isinstance(results[2], Done)
    assert [each.message_id for each in store.read(lambda queue: queue.entries(9))] == ["one", "two"]
    assert rows(store, "chunk") == 2


def test_no_transaction_is_open_between_batches(store: SQLiteStore) -> None:
    store.run([lambda queue: queue.accept_message(message(), 0, b"x")])
    assert store._writer is not None
    assert not store._writer.in_transaction


def test_a_reader_sees_only_what_is_committed(store: SQLiteStore) -> None:
    seen = []

    def look(queue: object) -> None:
        queue.accept_message(message(), 0, b"x")  # type: ignore[attr-defined]
        seen.append(store.read(lambda reading: reading.count()))

    do(store, look)
    assert seen == [0]
    assert store.read(lambda reading: reading.count()) == 1


def test_two_processes_never_hold_the_lock_together(store: SQLiteStore, tmp_path: Path) -> None:
    neighbour = opened(tmp_path, patience=0.0)

    def meanwhile(_queue: object) -> object:
        return neighbour.run([lambda queue: queue.accept_message(message("theirs"), 0, b"")])[0]

    [inner] = do(store, meanwhile)

    assert isinstance(inner, Refused)
    assert isinstance(inner.error, SpoolUnavailable)
    assert "write.lock" in str(inner.error)
    assert isinstance(neighbour.run([lambda queue: queue.count()])[0], Done)
    neighbour.close()


# Trouble


def test_a_database_locked_by_another_program_is_451_and_no_more(store: SQLiteStore) -> None:
    other = apsw.Connection(str(store.path))
    other.execute("BEGIN IMMEDIATE")

    [result] = store.run([lambda queue: queue.accept_message(message(), 0, b"x")])
    other.execute("ROLLBACK")

    assert isinstance(result, Refused)
    assert isinstance(result.error, SpoolUnavailable)
    assert not isinstance(result.error, SpoolFull)
    assert f"{store.path}: another program has the database locked" in str(result.error)
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    other.close()


def test_a_full_disk_refuses_the_big_message_and_records_the_delivery(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(store, lambda queue: queue.accept_message(message("sent"), 0, b"x" * 60000))
    assert store._writer is not None
    pages = store._writer.pragma("page_count")
    connect = store._connect

    def connect_to_a_full_disk(flags: int) -> apsw.Connection:
        connection = connect(flags)
        connection.pragma("max_page_count", pages)
        return connection

    monkeypatch.setattr(store, "_connect", connect_to_a_full_disk)
    store._close_writer()

    results = store.run([
        lambda queue: queue.accept_message(message("big"), 0, b"y" * 600000),
        lambda queue: queue.settle(delivered("sent")),
    ])  # fmt: skip

    assert isinstance(results[0], Refused)
    assert isinstance(results[0].error, SpoolFull)
    assert "no room on the disk" in str(results[0].error)
    assert results[1] == Done(Settled.COMPLETED)
    assert store.read(lambda queue: queue.count()) == 0
    do(store, lambda queue: queue.accept_message(message("small"), 0, b"z" * 50000))


@pytest.mark.parametrize("fault", ["sync wal", "write wal"])
def test_after_a_failed_commit_the_connection_is_given_up(on_disk: SQLiteStore, disk: Disk, fault: str) -> None:
    first = on_disk._writer
    disk.failing = fault
    results = on_disk.run([lambda queue, n=n: queue.accept_message(message(f"id{n}"), 0, b"x") for n in range(3)])
    disk.failing = ""

    for result in results:
        assert isinstance(result, Unknown)
        assert f"{on_disk.path}: reading or writing failed" in str(result.error)
    assert on_disk._writer is None
    do(on_disk, lambda queue: queue.accept_message(message("after"), 0, b"x"))
    assert on_disk._writer is not first
    left = {each.message_id for each in on_disk.read(lambda queue: queue.entries(9))} - {"after"}
    # The frames of the failed sync may be taken for good when the file is opened anew: all of them, or none.
    assert left in ({"id0", "id1", "id2"}, set())
    do(on_disk, *(lambda queue, each=each: queue.withdraw(each) for each in left))
    assert on_disk.read(lambda queue: queue.count()) == 1


def test_a_failed_commit_does_not_come_back_from_behind_a_later_one(on_disk: SQLiteStore, disk: Disk) -> None:
    """A reader keeps the index of the log, so the failed frames are not seen; the next batch must write over them."""
    on_disk.read(lambda queue: queue.count())
    disk.failing = "sync wal"
    on_disk.run([lambda queue: queue.accept_message(message("failed"), 0, b"x")])
    disk.failing = ""
    do(on_disk, lambda queue: queue.withdraw("failed"))

    die(on_disk)
    on_disk.open(NOW)

    assert on_disk.read(lambda queue: queue.count()) == 0


def test_an_operation_that_failed_before_the_commit_did_stays_refused(on_disk: SQLiteStore, disk: Disk) -> None:
    def broken(_queue: object) -> None:
        raise ValueError

    disk.failing = "sync wal"
    results = on_disk.run([broken, lambda queue: queue.accept_message(message(), 0, b"x")])

    assert isinstance(results[0], Refused)
    assert isinstance(results[0].error, ValueError)
    assert isinstance(results[1], Unknown)


def test_a_disk_that_is_full_at_the_commit_is_452_for_all_and_certain(on_disk: SQLiteStore, disk: Disk) -> None:
    disk.failing = "full wal"
    results = on_disk.run([lambda queue, n=n: queue.accept_message(message(f"id{n}"), 0, b"x") for n in range(3)])
    disk.failing = ""

    assert all(isinstance(each, Refused) and isinstance(each.error, SpoolFull) for each in results)
    assert on_disk.read(lambda queue: queue.count()) == 0
    do(on_disk, lambda queue: queue.accept_message(message(), 0, b"x"))


def test_a_failed_checkpoint_loses_nothing(on_disk: SQLiteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT_PAGES", 1)
    on_disk._checkpoint_at = 1
    do(on_disk, lambda queue: queue.accept_message(message(), 0, b"x"))
    disk.failing = "sync database"
    on_disk.maintain()
    assert on_disk._writer is None
    disk.failing = ""

    do(on_disk, lambda queue: queue.accept_message(message("next"), 0, b"x"))
    on_disk.maintain()
    assert on_disk.read(lambda queue: queue.count()) == 2


def test_corruption_while_reading_is_told_and_the_next_try_is_a_new_one(store: SQLiteStore) -> None:
    def corrupt(_queue: object) -> None:
        raise apsw.CorruptError("page 7")

    with pytest.raises(SpoolUnavailable, match="is damaged: page 7"):
        store.read(corrupt)
    assert store._reader is None
    assert store.read(lambda queue: queue.count()) == 0


def test_lasting_trouble_in_an_operation_fails_the_batch_before_its_commit(store: SQLiteStore) -> None:
    def corrupt(_queue: object) -> None:
        raise apsw.CorruptError("page 7")

    results = store.run([lambda queue: queue.accept_message(message(), 0, b"x"), corrupt])

    assert store._writer is None
    assert all(isinstance(each, Refused) and "is damaged" in str(each.error) for each in results)
    assert store.read(lambda queue: queue.count()) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_queue_without_permission_is_named(store: SQLiteStore) -> None:
    store.close()
    store.path.chmod(0o400)
    with pytest.raises(SpoolUnavailable, match=r"queue\.sqlite"):
        store.open(NOW)


# Checkpoints


def test_the_log_goes_back_into_the_database(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT_PAGES", 5)
    store._checkpoint_at = 5
    wal = Path(f"{store.path}-wal")
    for number in range(40):
        do(store, lambda queue, number=number: queue.accept_message(message(f"id{number:02}"), 0, b"x" * 3000))
        store.maintain()
    assert wal.stat().st_size < 40 * 4096 * 2
    assert store.read(lambda queue: queue.count()) == 40


def test_only_one_process_checkpoints_unless_it_is_overdue(
    store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT_PAGES", 30)
    neighbour = opened(tmp_path)
    store._checkpoint_at = neighbour._checkpoint_at = 30
    assert store._is_checkpointer()
    assert not neighbour._is_checkpointer()

    checkpointed = []
    for number in range(60):
        do(neighbour, lambda queue, number=number: queue.accept_message(message(f"id{number:02}"), 0, b"x"))
        pages, before = neighbour._wal_pages, neighbour._checkpoint_at
        neighbour.maintain()
        if neighbour._checkpoint_at != before:
            checkpointed.append(pages)
    assert checkpointed
    assert min(checkpointed) >= 4 * 30
    neighbour.close()


# Recovery


def test_a_dead_owners_claims_are_due_again_and_its_pieces_gone(store: SQLiteStore, tmp_path: Path) -> None:
    dying = opened(tmp_path)
    do(dying, lambda queue: queue.accept_message(message("claimed"), 0, b"x"))
    do(dying, lambda queue: queue.add_chunk("half", 0, b"x"), lambda queue: queue.add_chunk("half", 1, b"x"))
    do(store, lambda queue: queue.accept_message(message("ours"), 0, b"x"))
    do(store, lambda queue: queue.add_chunk("arriving", 0, b"x"))
    assert store.recover([dying.owner]).owners == 0, "its lock says that it lives"

    die(dying)
    recovery = store.recover()

    assert (recovery.owners, recovery.released, recovery.dropped) == (1, ("claimed",), ("half",))
    assert store.read(lambda queue: queue.next_due()) == NOW
    assert rows(store, "chunk") == 3
    assert rows(store, "owner") == 1
    assert rows(store, "arriving") == 1
    assert [path.stem for path in (tmp_path / "queue" / "owners").iterdir()] == [store.owner]


def test_a_start_recovers(tmp_path: Path) -> None:
    dying = opened(tmp_path)
    do(dying, lambda queue: queue.accept_message(message("claimed"), 0, b"x"))
    die(dying)

    starting = SQLiteStore(tmp_path / "queue")
    recovery = starting.open(NOW + 5)

    assert recovery.released == ("claimed",)
    assert str(recovery).startswith("took over from 1 dead process(es): 1 message(s) due again, 0 half-arrived")
    assert str(starting.recover()) == ""
    starting.close()


def test_an_owner_whose_file_is_gone_is_dead(store: SQLiteStore, tmp_path: Path) -> None:
    dying = opened(tmp_path)
    do(dying, lambda queue: queue.accept_message(message("claimed"), 0, b"x"))
    owner = dying.owner
    die(dying)
    (tmp_path / "queue" / "owners" / f"{owner}.lock").unlink()

    assert store.recover().released == ("claimed",)


def test_a_failed_recovery_is_done_again(store: SQLiteStore, tmp_path: Path) -> None:
    dying = opened(tmp_path)
    do(dying, lambda queue: queue.accept_message(message("claimed"), 0, b"x"))
    die(dying)
    other = apsw.Connection(str(store.path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolUnavailable):
        store.recover()
    other.execute("ROLLBACK")
    other.close()

    assert store.recover().released == ("claimed",)


def test_a_repair_takes_nothing_from_a_process_that_lives(store: SQLiteStore, tmp_path: Path) -> None:
    """Its row is gone, and it does not ask before it delivers."""
    neighbour = opened(tmp_path)
    do(neighbour, lambda queue: queue.accept_message(message("claimed"), 0, b""))
    do(neighbour, lambda queue: queue.add_chunk("half", 0, b"x" * CHUNK_SIZE))
    write(store, f"DELETE FROM owner WHERE owner = '{neighbour.owner}'")

    findings = store.check(10)

    assert [each.fault for each in findings] == [Fault.LOST_CLAIM, Fault.LOST_ARRIVAL]
    assert set(store.repair(findings, NOW)) == {Mended.LEFT}
    die(neighbour)
    assert store.repair(findings, NOW) == (Mended.RELEASED, Mended.MOVED)
