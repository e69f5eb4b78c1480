"""Hints are found while they last, and a damaged one is no hint."""

import pytest

from relay.mail.ports import HintChange
from relay.spool import hints
from relay.spool.hints import Kind, RetryHint
from relay.spool.store import Store
from spool.samples import NOW, do

HINT = RetryHint(NOW, NOW + 1, NOW + 900, "connection refused", "refused")


@pytest.mark.parametrize("hint", [HINT, RetryHint(NOW, NOW, NOW, exhausted=True)])
def test_a_hint_comes_back(store: Store, hint: RetryHint) -> None:
    key = "mx.example [192.0.2.1]:25 \udcff\x00"
    do(store, lambda queue: hints.keep_retry_hint(queue, Kind.HOST, key, hint, keep=60))

    assert store.read(lambda queue: hints.retry_hint(queue, Kind.HOST, key, NOW)) == hint
    assert store.read(lambda queue: hints.retry_hint(queue, Kind.ADDRESS, key, NOW)) is None


def test_a_hint_ends(store: Store) -> None:
    do(store, lambda queue: hints.keep_retry_hint(queue, Kind.HOST, "a", HINT, keep=60))
    end = HINT.next_try + 60

    assert store.read(lambda queue: hints.retry_hint(queue, Kind.HOST, "a", end - 1)) == HINT
    assert store.read(lambda queue: hints.retry_hint(queue, Kind.HOST, "a", end)) is None
    assert do(store, lambda queue: queue.expire_hints(end - 1), lambda queue: queue.expire_hints(end)) == [0, 1]


def test_the_newest_replaces_and_success_forgets(store: Store) -> None:
    for next_try in (NOW + 5, NOW + 6):
        hint = RetryHint(NOW, NOW, next_try)
        do(store, lambda queue, hint=hint: hints.keep_retry_hint(queue, Kind.HOST, "a", hint, keep=60))
    found = store.read(lambda queue: hints.retry_hint(queue, Kind.HOST, "a", NOW))
    assert found is not None
    assert found.next_try == NOW + 6

    do(store, lambda queue: hints.forget_retry_hint(queue, Kind.HOST, "a"))
    assert store.read(lambda queue: hints.retry_hint(queue, Kind.HOST, "a", NOW)) is None


@pytest.mark.parametrize("value", ["", "[]", "null", "{}", '{"first": "x"}'])
def test_a_damaged_hint_is_none(store: Store, value: str) -> None:
    do(store, lambda queue: queue.put_hint(Kind.HOST.value, "a", value, NOW + 60))

    assert store.read(lambda queue: hints.retry_hint(queue, Kind.HOST, "a", NOW)) is None


# Hints whose text is somebody else's business


def test_a_change_sees_what_is_kept_and_keeps_what_comes_of_it(store: Store) -> None:
    def count(text: str | None) -> HintChange[str]:
        number = int(text or 0) + 1
        return HintChange(f"number {number}", str(number), NOW + 60)

    changes = [lambda queue: hints.change_hint(queue, "counts", "a", NOW, count)] * 3
    assert do(store, *changes) == ["number 1", "number 2", "number 3"]
    assert do(store, lambda queue: hints.change_hint(queue, "counts", "a", NOW + 60, count)) == ["number 1"], "its end"


def test_a_change_may_leave_things_as_they_are(store: Store) -> None:
    def look(text: str | None) -> HintChange[str | None]:
        return HintChange(text)

    do(store, lambda queue: queue.put_hint("counts", "a", "7", NOW + 60))
    twice = [lambda queue: hints.change_hint(queue, "counts", "a", NOW, look)] * 2
    assert do(store, *twice) == ["7", "7"]
    assert do(store, lambda queue: hints.change_hint(queue, "counts", "b", NOW, look)) == [None]
