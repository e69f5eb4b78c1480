"""The life of a message in the queue, step by step, on a real database."""

from dataclasses import replace
from pathlib import Path

import pytest

from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Recipient
from relay.mail.queue import (
    CHUNK_SIZE,
    NewBounce,
    QueuedMessage,
    RecipientState,
    RecipientUpdate,
    Replacement,
    Settlement,
)
from relay.spool import schema
from relay.spool.store import Change, Claim, Done, MessageExists, PiecesMissing, Refused, Settled, Store
from spool.engines import Engine, PostgreSQLEngine
from spool.samples import HEADER, NOW, body_of, deferred, delivered, do, message, opened, rows, write

ID = "1aaaaa-aaaaaa-01"


def test_a_message_comes_back_as_it_was_given(store: Store) -> None:
    new = message(due=NOW + 5, recipients=2, body_size=6)
    do(store, lambda queue: queue.accept_message(new, 0, b"body\r\n"))

    found = store.read(lambda queue: queue.message(ID))

    assert isinstance(found, QueuedMessage)
    assert (found.sender, found.header, found.facts) == (new.sender, HEADER, new.facts)
    assert (found.body_type, found.body_size, found.parameters) == (new.body_type, 6, new.parameters)
    assert (found.frozen, found.due, found.attempts) == (False, NOW + 5, 0)
    assert [each.recipient for each in found.recipients] == list(new.recipients)
    assert [each.number for each in found.pending] == [0, 1]
    assert body_of(store, ID) == b"body\r\n"


def test_a_body_in_pieces_comes_back_whole(store: Store) -> None:
    body = bytes(range(256)) * 1024
    pieces = [body[start : start + CHUNK_SIZE] for start in range(0, len(body), CHUNK_SIZE)]
    for number, piece in enumerate(pieces):
        do(store, lambda queue, number=number, piece=piece: queue.add_chunk(ID, number, piece))
    assert store.read(lambda queue: queue.message(ID)) is None
    assert rows(store, "arriving") == 1

    do(store, lambda queue: queue.accept_message(message(), len(pieces), b""))

    assert body_of(store, ID) == body
    assert rows(store, "arriving") == 0


def test_behind_the_end_of_a_body_there_is_nothing(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))

    assert store.read(lambda queue: queue.piece(ID, 0)).is_last
    assert store.read(lambda queue: queue.piece(ID, 1)).data == b""
    assert store.read(lambda queue: queue.piece("unknown", 0)).data == b""


def test_a_message_without_a_due_time_is_its_acceptors_at_once(store: Store, engine: Engine) -> None:
    neighbour = engine.opened()
    do(store, lambda queue: queue.accept_message(message(), 0, b""))

    assert store.read(lambda queue: queue.next_due()) is None
    assert do(neighbour, lambda queue: queue.claim_due(NOW + 9e9, 10)) == [Claim(())]
    assert do(neighbour, lambda queue: queue.claim_one(ID)) == [Claim(())]
    [claim] = do(store, lambda queue: queue.claim_one(ID))
    assert isinstance(claim, Claim)
    assert [each.message_id for each in claim.messages] == [ID]


def test_a_frozen_message_is_nobodys(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(frozen=True), 0, b""))

    assert store.read(lambda queue: queue.next_due()) is None
    assert do(store, lambda queue: queue.claim_due(NOW, 10), lambda queue: queue.claim_one(ID)) == [
        Claim(()),
        Claim(()),
    ]


def test_claims_come_oldest_due_first_and_only_once(store: Store) -> None:
    for number, due in enumerate((NOW + 3, NOW + 1, NOW + 2, NOW + 99)):
        do(store, lambda queue, number=number, due=due: queue.accept_message(message(f"id{number}", due=due), 0, b""))
    assert store.read(lambda queue: queue.next_due()) == NOW + 1

    [first] = do(store, lambda queue: queue.claim_due(NOW + 10, 2))
    [second] = do(store, lambda queue: queue.claim_due(NOW + 10, 2))

    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    assert [each.message_id for each in first.messages] == ["id1", "id2"]
    assert [each.message_id for each in second.messages] == ["id0"]
    assert store.read(lambda queue: queue.next_due()) == NOW + 99


def test_the_last_outcome_removes_every_row(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=2), 0, b"body"))

    assert do(store, lambda queue: queue.settle(delivered(ID, 0, 1))) == [Settled.COMPLETED]

    assert [rows(store, table) for table in ("message", "recipient", "chunk", "arriving")] == [0, 0, 0, 0]


def test_a_deferral_is_kept_with_its_reason(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=2), 0, b""))
    later = Settlement(
        ID,
        (
            RecipientUpdate(0, RecipientState.PENDING, "451 later \udcff\x00", first_failed=NOW),
            RecipientUpdate(1, RecipientState.DELIVERED),
        ),
        due=NOW + 900,
    )

    assert do(store, lambda queue: queue.settle(later)) == [Settled.KEPT]

    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    assert (found.due, found.attempts) == (NOW + 900, 1)
    [waiting] = found.pending
    assert (waiting.number, waiting.attempts, waiting.last_error) == (0, 1, "451 later \udcff\x00")
    assert waiting.first_failed == NOW
    assert store.read(lambda queue: queue.next_due()) == NOW + 900


def test_the_first_failure_stays_the_first(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    do(store, lambda queue: queue.settle(deferred(ID)))
    do(store, lambda queue: queue.claim_one(ID))
    again = Settlement(ID, (RecipientUpdate(0, RecipientState.PENDING, "again"),), NOW + 1800)

    do(store, lambda queue: queue.settle(again))

    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    assert (found.recipients[0].first_failed, found.recipients[0].attempts) == (NOW, 2)


def test_what_is_done_of_a_recipient_is_added_up(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=2), 0, b""))
    keys = ("anna@here.test", "|/bin/log a\nb:c@here.test \udcff", '"quoted"@here.test')
    part = RecipientUpdate(0, RecipientState.PENDING, done=keys[:1], is_attempt=False)
    rest = RecipientUpdate(0, RecipientState.PENDING, "451 later", done=keys[1:])

    assert do(store, lambda queue: queue.settle(Settlement(ID, (part,), NOW))) == [Settled.KEPT]
    do(store, lambda queue: queue.claim_one(ID))
    do(store, lambda queue: queue.settle(Settlement(ID, (rest,), NOW)))

    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    first, second = found.recipients
    assert (first.done, first.attempts, first.last_error) == (keys, 1, "451 later")
    assert second.done == ()


def replaced(key: str, *, is_attempt: bool = True) -> Settlement:
    """Of recipient 0 a part waits, which becomes a recipient; another part is dealt with."""
    wish = Recipient(Address("new", "b.test"), original=Address("list", "b.test"))
    part = RecipientUpdate(0, RecipientState.PENDING, done=("old@b.test",), is_attempt=False)
    kept = Replacement(wish, 0, key, "451 later", NOW, is_attempt)
    return Settlement(ID, (part, RecipientUpdate(1, RecipientState.DELIVERED)), NOW + 900, replacements=(kept,))


def test_a_recipient_gives_place_to_another(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=2), 0, b""))
    assert do(store, lambda queue: queue.settle(replaced(""))) == [Settled.KEPT]
    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    (waiting,) = found.pending
    assert (waiting.number, str(waiting.recipient.address), str(waiting.recipient.original)) == (
        2, "new@b.test", "list@b.test",
    )  # fmt: skip
    assert (waiting.attempts, waiting.last_error, waiting.first_failed) == (1, "451 later", NOW)
    assert (found.recipients[0].state, found.recipients[0].done) == (RecipientState.DELIVERED, ("old@b.test",))


def test_a_part_of_a_recipient_gives_place_to_another(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=2), 0, b""))
    assert do(store, lambda queue: queue.settle(replaced("list@b.test", is_attempt=False))) == [Settled.KEPT]
    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    first, _, new = found.recipients
    assert (first.state, first.done) == (RecipientState.PENDING, ("old@b.test", "list@b.test"))
    assert (new.state, new.attempts) == (RecipientState.PENDING, 0)


def test_nobody_gives_place_in_a_message_that_is_anothers_now(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=2), 0, b""))
    do(store, lambda queue: queue.settle(deferred(ID)))
    assert do(store, lambda queue: queue.settle(replaced(""))) == [Settled.LOST]
    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    first, second = found.recipients
    assert (first.state, first.done) == (RecipientState.PENDING, ("old@b.test",))
    assert second.state is RecipientState.DELIVERED


def test_what_was_done_is_recorded_although_the_claim_is_gone(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    do(store, lambda queue: queue.settle(deferred(ID)))
    part = RecipientUpdate(0, RecipientState.PENDING, "x", done=("anna@here.test",))

    assert do(store, lambda queue: queue.settle(Settlement(ID, (part,), NOW))) == [Settled.LOST]

    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    assert (found.recipients[0].done, found.recipients[0].attempts) == (("anna@here.test",), 1)


def test_several_bounces_go_in_together(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    update = RecipientUpdate(0, RecipientState.FAILED, "550")
    more = (NewBounce(message("second"), b"2"),)
    failed = Settlement(ID, (update,), NOW, bounce=message("first"), bounce_body=b"1", more_bounces=more)

    do(store, lambda queue: queue.settle(failed))

    assert [each.message_id for each in store.read(lambda queue: queue.entries(10))] == ["first", "second"]


@pytest.mark.parametrize("due", [None, NOW + 1])
def test_a_bounce_goes_in_with_the_failure(store: Store, due: float | None) -> None:
    bounce = message("bounce", due=due)
    body = b"b" * (CHUNK_SIZE + 1)
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    failed = Settlement(ID, (RecipientUpdate(0, RecipientState.FAILED, "550"),), NOW, bounce=bounce, bounce_body=body)

    assert do(store, lambda queue: queue.settle(failed)) == [Settled.COMPLETED]

    assert [each.message_id for each in store.read(lambda queue: queue.entries(10))] == ["bounce"]
    assert store.read(lambda queue: queue.next_due()) == due
    assert (store.read(lambda queue: queue.owned_message("bounce")) is not None) == (due is None)
    assert body_of(store, "bounce") == body


def test_a_bounce_that_cannot_go_in_keeps_the_failed_message(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    failed = Settlement(ID, (RecipientUpdate(0, RecipientState.FAILED),), NOW, bounce=message("taken"))
    do(store, lambda queue: queue.accept_message(message("taken", due=NOW), 0, b""))

    [result] = store.run([lambda queue: queue.settle(failed)])

    assert isinstance(result, Refused)
    assert isinstance(result.error, MessageExists)
    assert store.read(lambda queue: queue.message(ID)) is not None


def test_who_lost_a_claim_records_deliveries_and_nothing_else(store: Store, engine: Engine) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=3), 0, b""))
    do(store, lambda queue: queue.release(ID, NOW))
    neighbour = engine.opened()
    do(neighbour, lambda queue: queue.claim_one(ID))
    late = Settlement(
        ID,
        (RecipientUpdate(0, RecipientState.DELIVERED), RecipientUpdate(1, RecipientState.FAILED)),
        due=NOW + 5,
        freeze=True,
        bounce=message("bounce"),
    )

    assert do(store, lambda queue: queue.settle(late)) == [Settled.LOST]
    assert do(store, lambda queue: queue.settle(delivered(ID, 0, 1, 2))) == [Settled.LOST]

    found = neighbour.read(lambda queue: queue.owned_message(ID))
    assert found is not None
    assert found.pending == ()
    assert (found.frozen, found.attempts) == (False, 0)
    assert store.read(lambda queue: queue.count()) == 1
    assert do(neighbour, lambda queue: queue.settle(Settlement(ID, (), NOW))) == [Settled.COMPLETED]


def test_settling_twice_does_nothing_the_second_time(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    do(store, lambda queue: queue.settle(deferred(ID)))

    assert do(store, lambda queue: queue.settle(deferred(ID, NOW + 5))) == [Settled.LOST]

    assert store.read(lambda queue: queue.next_due()) == NOW + 900


def test_a_taken_id_is_refused_and_the_first_message_stays(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"first"))

    results = store.run([
        lambda queue: queue.accept_message(message(), 0, b"second"),
        lambda queue: queue.accept_message(message(), 0, b""),
        lambda queue: queue.add_chunk(ID, 0, b"third"),
    ])  # fmt: skip

    assert all(isinstance(each, Refused) and isinstance(each.error, MessageExists) for each in results)
    assert body_of(store, ID) == b"first"
    assert rows(store, "arriving") == 0


@pytest.mark.parametrize("stored", [0, 1, 3])
def test_a_message_with_missing_pieces_is_not_accepted(store: Store, stored: int) -> None:
    for number in range(stored):
        do(store, lambda queue, number=number: queue.add_chunk(ID, number, b"x"))

    [result] = store.run([lambda queue: queue.accept_message(message(), 2, b"tail")])

    assert isinstance(result, Refused)
    assert isinstance(result.error, PiecesMissing)
    assert store.read(lambda queue: queue.count()) == 0


def test_a_piece_without_the_one_before_it_is_refused(store: Store) -> None:
    [result] = store.run([lambda queue: queue.add_chunk(ID, 1, b"x")])

    assert isinstance(result, Refused)
    assert rows(store, "chunk") == 0


def test_abandoning_forgets_only_what_is_still_arriving(store: Store, engine: Engine) -> None:
    neighbour = engine.opened()
    do(store, lambda queue: queue.accept_message(message(), 0, b"kept"))
    do(store, lambda queue: queue.add_chunk("half", 0, b"gone"))
    do(neighbour, lambda queue: queue.add_chunk("theirs", 0, b"kept"))

    do(store, *(lambda queue, each=each: queue.abandon(each) for each in (ID, "half", "theirs", "unknown")))

    assert body_of(store, ID) == b"kept"
    assert rows(store, "chunk") == 2


def test_withdrawing_removes_a_message_nobody_has_tried(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    do(store, lambda queue: queue.accept_message(message("tried"), 0, b"x"))
    do(store, lambda queue: queue.settle(deferred("tried")))

    do(store, lambda queue: queue.withdraw(ID), lambda queue: queue.withdraw("tried"))

    assert [each.message_id for each in store.read(lambda queue: queue.entries(10))] == ["tried"]
    assert rows(store, "chunk") == 1


def test_what_an_operator_may_do_and_when(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    assert do(
        store,
        lambda queue: queue.remove(ID),
        lambda queue: queue.freeze(ID),
        lambda queue: queue.thaw(ID, NOW),
        lambda queue: queue.remove("unknown"),
    ) == [Change.CLAIMED, Change.CLAIMED, Change.CLAIMED, Change.MISSING]

    do(store, lambda queue: queue.release(ID, NOW + 1))
    assert do(store, lambda queue: queue.freeze(ID), lambda queue: queue.claim_due(NOW + 9, 1)) == [
        Change.DONE,
        Claim(()),
    ]
    assert do(store, lambda queue: queue.thaw(ID, NOW + 7)) == [Change.DONE]
    assert store.read(lambda queue: queue.next_due()) == NOW + 7
    assert do(store, lambda queue: queue.remove(ID)) == [Change.DONE]
    assert [rows(store, table) for table in ("message", "recipient", "chunk")] == [0, 0, 0]


def test_what_is_so_already_is_no_change(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(due=NOW), 0, b"x"))
    assert do(store, lambda queue: queue.thaw(ID, NOW + 9)) == [Change.ALREADY]
    assert store.read(lambda queue: queue.next_due()) == NOW
    assert do(store, lambda queue: queue.freeze(ID), lambda queue: queue.freeze(ID)) == [Change.DONE, Change.ALREADY]


def test_an_envelope_is_edited(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(due=NOW, recipients=2), 0, b"x"))
    before = store.read(lambda queue: queue.message(ID))
    carol = Recipient(Address("carol", "example.net"))

    assert (
        do(
            store,
            lambda queue: queue.add_recipients(ID, [carol]),
            lambda queue: queue.mark_delivered(ID, [1], "said by root"),
            lambda queue: queue.set_sender(ID, Address("dave", "example.org")),
            lambda queue: queue.set_due(ID, NOW + 5),
        )
        == [Change.DONE] * 4
    )

    after = store.read(lambda queue: queue.message(ID))
    assert after is not None
    assert before is not None
    assert [(each.number, each.state.value, each.attempts) for each in after.recipients] == [
        (0, "pending", 0),
        (1, "delivered", 0),
        (2, "pending", 0),
    ]
    assert (after.recipients[1].last_error, after.recipients[2].recipient) == ("said by root", carol)
    assert (after.sender, after.due) == (Address("dave", "example.org"), NOW + 5)
    assert (after.parameters, after.body_type, after.header) == (before.parameters, before.body_type, before.header)


def test_what_is_delivered_is_not_marked_again(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(recipients=2), 0, b"x"))
    do(store, lambda queue: queue.settle(delivered(ID, 1)))
    do(store, lambda queue: queue.mark_delivered(ID, [1], "said by root"))
    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    assert found.recipients[1].last_error == ""


def test_nothing_is_edited_while_it_is_being_delivered(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    steps = (
        lambda queue, message_id: queue.add_recipients(message_id, [Recipient(Address("carol", "example.net"))]),
        lambda queue, message_id: queue.mark_delivered(message_id, [0], "x"),
        lambda queue, message_id: queue.set_sender(message_id, NULL_SENDER),
        lambda queue, message_id: queue.set_due(message_id, NOW + 5),
    )
    for step in steps:
        assert do(store, lambda queue, step=step: step(queue, ID)) == [Change.CLAIMED]
        assert do(store, lambda queue, step=step: step(queue, "unknown")) == [Change.MISSING]
    found = store.read(lambda queue: queue.message(ID))
    assert found is not None
    assert (found.sender, found.recipients[0].state) == (Address("alice", "example.org"), RecipientState.PENDING)


def test_pages_of_a_listing_go_on_behind_any_id(store: Store) -> None:
    for number in (3, 1, 2):
        do(store, lambda queue, number=number: queue.accept_message(message(f"id{number}", due=NOW), 0, b"abc"))

    first = store.read(lambda queue: queue.entries(2))
    assert [each.message_id for each in first] == ["id1", "id2"]
    assert [each.message_id for each in store.read(lambda queue: queue.entries(2, "id2"))] == ["id3"]
    assert [each.message_id for each in store.read(lambda queue: queue.entries(2, "id2z"))] == ["id3"]
    assert first[0].size == len(HEADER) + 2
    assert [each.state for each in first[0].recipients] == [RecipientState.PENDING]


@pytest.mark.parametrize("column", ["facts", "envelope"])
def test_a_damaged_row_is_set_aside_and_the_rest_is_claimed(store: Store, column: str) -> None:
    for each in ("bad", "good"):
        do(store, lambda queue, each=each: queue.accept_message(message(each, due=NOW), 0, b"x"))
    write(store, f"UPDATE message SET {column} = '{{' WHERE message_id = 'bad'")

    [claim] = do(store, lambda queue: queue.claim_due(NOW, 10))

    assert isinstance(claim, Claim)
    assert [each.message_id for each in claim.messages] == ["good"]
    assert [each.message_id for each in claim.damaged] == ["bad"]
    [listed] = [each for each in store.read(lambda queue: queue.entries(10)) if each.message_id == "bad"]
    assert listed.frozen
    assert listed.sender in {NULL_SENDER, message().sender}
    assert rows(store, "chunk") == 2


def test_one_claimed_by_name_that_is_damaged_is_set_aside(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(due=NOW), 0, b"x"))
    write(store, "UPDATE recipient SET recipient = 'x', state = 'odd'")

    [claim] = do(store, lambda queue: queue.claim_one(ID))

    assert isinstance(claim, Claim)
    assert claim.messages == ()
    assert claim.damaged[0].message_id == ID


def test_claims_and_next_due_go_by_the_index(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for statement, parameters in ((schema.CLAIMABLE, (NOW, 10)), (schema.NEXT_DUE, ())):
        plan = store._reading().execute(f"EXPLAIN QUERY PLAN {schema.SQLITE.translate(statement)}", parameters)
        details = [row[3] for row in plan]
        assert any("INDEX message_due" in each for each in details), details
        assert not any("TEMP B-TREE" in each for each in details), details
    store.close_reading()
    store.close()


def _plan(queue: object, statement: str) -> object:
    execute = queue._execute  # type: ignore[attr-defined]
    execute("SET LOCAL enable_seqscan = off")
    return execute(f"EXPLAIN {statement}")


def test_claims_and_next_due_go_by_the_index_of_postgresql(postgresql: PostgreSQLEngine) -> None:
    store = postgresql.opened()
    for number in range(100):
        do(store, lambda queue, number=number: queue.accept_message(message(f"id{number}", due=NOW + number), 0, b""))
    write(store, "ANALYZE message")
    for statement in (schema.CLAIMABLE.replace("?", str(int(NOW)), 1).replace("?", "10"), schema.NEXT_DUE):
        [plan] = do(store, lambda queue, statement=statement: _plan(queue, statement))
        details = [row[0] for row in plan]  # type: ignore[attr-defined]
        assert any("using message_due" in each for each in details), details
        assert not any("Sort" in each for each in details), details


def test_values_of_a_batch_come_in_order(store: Store) -> None:
    results = store.run([lambda _queue, number=number: number for number in range(5)])

    assert results == [Done(number) for number in range(5)]


def test_how_often_a_sender_was_warned_is_kept(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    do(store, lambda queue: queue.claim_one(ID))
    do(store, lambda queue: queue.settle(replace(deferred(due=NOW), warnings=2)))
    for expected in (2, 2):
        [claim] = do(store, lambda queue: queue.claim_due(NOW, 1))
        assert isinstance(claim, Claim)
        assert [each.warnings for each in claim.messages] == [expected]
        do(store, lambda queue: queue.settle(deferred(due=NOW)))


def test_frozen_messages_are_found_with_the_time_since_when(store: Store) -> None:
    do(store, lambda queue: queue.accept_message(message(), 0, b""))
    assert store.read(lambda queue: queue.frozen(10)) == ()
    do(store, lambda queue: queue.claim_one(ID))
    do(store, lambda queue: queue.settle(replace(deferred(), freeze=True, frozen_at=NOW + 5)))
    [entry] = store.read(lambda queue: queue.frozen(10))
    assert (entry.message_id, entry.frozen, entry.frozen_at) == (ID, True, NOW + 5)
    assert store.read(lambda queue: queue.frozen(10, ID)) == ()
    do(store, lambda queue: queue.thaw(ID, NOW))
    assert store.read(lambda queue: queue.frozen(10)) == ()
    do(store, lambda queue: queue.freeze(ID))
    [entry] = store.read(lambda queue: queue.frozen(10))
    assert entry.frozen_at is None


def test_what_failed_before_can_be_made_due(store: Store) -> None:
    """What was never tried waits for something else: its release, or a queue run."""
    for name in ("tried", "never"):
        do(store, lambda queue, name=name: queue.accept_message(message(name, due=NOW), 0, b""))
    do(store, lambda queue: queue.claim_one("tried"))
    do(store, lambda queue: queue.settle(deferred("tried")))
    do(store, lambda queue: queue.claim_one("never"))
    do(store, lambda queue: queue.release("never", NOW + 900))
    assert do(store, lambda queue: queue.advance(NOW + 1, NOW + 900)) == [0]
    assert do(store, lambda queue: queue.advance(NOW + 1, NOW + 1)) == [1]
    [claim] = do(store, lambda queue: queue.claim_due(NOW + 1, 9))
    assert isinstance(claim, Claim)
    assert [each.message_id for each in claim.messages] == ["tried"]


def test_who_waits_for_a_host_is_claimed_for_it_whether_due_or_not(store: Store, engine: Engine) -> None:
    hosts = {"one": "mx.test:25", "two": "other.test:25", "three": "mx.test:25", "four": ""}
    for number, (name, host) in enumerate(hosts.items()):
        do(store, lambda queue, name=name: queue.accept_message(message(name), 0, b""))
        waits = replace(deferred(name, NOW + 900 - number), waits_for=host)
        do(store, lambda queue, waits=waits: queue.settle(waits))
    do(store, lambda queue: queue.freeze("two"))

    [first] = do(store, lambda queue: queue.claim_waiting("mx.test:25", 1))
    [second] = do(engine.opened(), lambda queue: queue.claim_waiting("mx.test:25", 9))
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    assert [each.message_id for each in first.messages] == ["three"], "the oldest due first"
    assert [each.message_id for each in second.messages] == ["one"]
    for host in ("other.test:25", "", "unknown:25"):
        assert do(store, lambda queue, host=host: queue.claim_waiting(host, 9)) == [Claim(())]

    do(store, lambda queue: queue.settle(deferred("three", NOW + 900)))
    assert do(store, lambda queue: queue.claim_waiting("mx.test:25", 9)) == [Claim(())], "it waits for nobody now"
