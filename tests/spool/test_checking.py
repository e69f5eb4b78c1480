"""What a damaged disk or a hand in the tables leaves is found, and a repair deletes nothing."""

import pytest

from relay.mail.queue import CHUNK_SIZE
from relay.spool.store import Fault, Finding, Mended, Store
from spool.engines import Engine
from spool.samples import NOW, body_of, do, message, rows, write


def accept(store: Store, message_id: str, body: bytes = b"body", due: float | None = NOW) -> None:
    do(store, lambda queue: queue.accept_message(message(message_id, due=due, body_size=len(body)), 0, body))


def test_a_queue_in_order_has_nothing_to_be_found(store: Store, engine: Engine) -> None:
    accept(store, "waiting")
    accept(store, "claimed", due=None)
    accept(store, "empty", b"")
    do(store, lambda queue: queue.add_chunk("arriving", 0, b"x" * CHUNK_SIZE))
    neighbour = engine.opened()
    do(neighbour, lambda queue: queue.add_chunk("theirs", 0, b"x"))

    assert store.check(10) == ()
    assert engine.store().check(10) == (), "one that only looks needs no owner"


DAMAGES = {
    "UPDATE message SET facts = '{' WHERE message_id = 'bad'": (Fault.UNREADABLE, Mended.SET_ASIDE),
    "UPDATE recipient SET recipient = 'x' WHERE message_id = 'bad'": (Fault.UNREADABLE, Mended.SET_ASIDE),
    "DELETE FROM recipient WHERE message_id = 'bad'": (Fault.NO_RECIPIENTS, Mended.SET_ASIDE),
    "DELETE FROM chunk WHERE message_id = 'bad'": (Fault.SHORT_BODY, Mended.SET_ASIDE),
    "UPDATE message SET owner = 'nobody' WHERE message_id = 'bad'": (Fault.LOST_CLAIM, Mended.RELEASED),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_message_is_found_and_set_aside(store: Store, damage: str) -> None:
    fault, mended = DAMAGES[damage]
    accept(store, "bad")
    accept(store, "good")
    before = [rows(store, table) for table in ("message", "recipient", "chunk")]
    write(store, damage)
    kept = [rows(store, table) for table in ("message", "recipient", "chunk")]

    [finding] = store.check(10)
    assert (finding.fault, finding.message_id) == (fault, "bad")
    assert str(finding).startswith("bad: ")
    assert store.repair([finding], NOW) == (mended,)

    assert store.check(10) == ()
    assert [rows(store, table) for table in ("message", "recipient", "chunk")] == kept
    assert sum(before) - sum(kept) <= 1
    [claim] = do(store, lambda queue: queue.claim_due(NOW, 10))
    ids = [each.message_id for each in claim.messages]  # type: ignore[attr-defined]
    assert sorted(ids) == (["bad", "good"] if mended is Mended.RELEASED else ["good"])


def test_rows_without_a_message_are_moved_aside(store: Store) -> None:
    for number in range(3):
        accept(store, f"gone{number}", b"kept")
    accept(store, "good")
    write(store, "DELETE FROM message WHERE message_id < 'gone9' AND message_id >= 'gone0'")
    write(store, "INSERT INTO arriving (message_id, owner) VALUES ('gone2', 'nobody')")

    findings = store.check(10)
    chunks = {each.message_id for each in findings if each.fault is Fault.LOST_CHUNKS}
    assert chunks == {"gone0", "gone1"}
    assert [each.message_id for each in findings if each.fault is Fault.LOST_ARRIVAL] == ["gone2"]
    assert len([each for each in findings if each.fault is Fault.LOST_RECIPIENTS]) == 3
    assert set(store.repair(findings, NOW)) == {Mended.MOVED}

    assert store.check(10) == ()
    assert [rows(store, table) for table in ("chunk", "recipient", "arriving")] == [1, 1, 0]
    found = store.read(lambda queue: queue.execute("SELECT origin, message_id, content FROM aside"))  # type: ignore[attr-defined]
    assert {(origin, message_id) for origin, message_id, _ in found} == {
        (origin, f"gone{number}") for origin in ("chunk", "recipient") for number in range(3)
    }
    assert {bytes(content) for origin, _, content in found if origin == "chunk"} == {b"kept"}
    assert all(b"bob0" in bytes(content) for origin, _, content in found if origin == "recipient")
    assert body_of(store, "good") == b"body"


def test_a_finding_that_is_none_any_more_changes_nothing(store: Store) -> None:
    accept(store, "good")
    accept(store, "claimed", due=None)
    stale = [Finding(fault, each) for fault in Fault for each in ("good", "claimed")]

    assert set(store.repair(stale, NOW)) == {Mended.LEFT}

    assert store.check(10) == ()
    assert store.read(lambda queue: queue.next_due()) == NOW
    assert body_of(store, "claimed") == b"body"


def test_the_number_of_findings_is_bounded(store: Store) -> None:
    for number in range(5):
        accept(store, f"id{number}")
    write(store, "UPDATE message SET facts = '{'")
    assert len(store.check(3)) == 3
