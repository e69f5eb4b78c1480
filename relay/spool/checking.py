"""Looks for rows that are damaged or belong to nothing, and puts them where they do no harm (disk).

How to think of it. Every step of the queue is a transaction, so none of this can come about by a crash: what is found
here are the traces of a damaged disk, of a restored backup, or of a hand in the tables. Therefore a repair deletes
nothing. A message that can't be sent as it was accepted is frozen, for the operator to look at; rows without a message
go into the table `aside` as they are; a claim of nobody's is given back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import assert_never

from relay.spool import codec, schema
from relay.spool.store import Done, Fault, Finding, Mended, Operation, Result, Transaction
from relay.spool.transaction import Execute, SQLReading

_PAGE = 100


def find(execute: Execute, limit: int) -> Iterator[Finding]:
    """Everything that is wrong in the tables, up to `limit` of each kind."""
    for message_id, owner in execute(schema.LOST_CLAIMS, (limit,)):
        yield Finding(Fault.LOST_CLAIM, message_id, f"owner {owner}", owner)
    for message_id, owner in execute(schema.LOST_ARRIVALS, (limit,)):
        yield Finding(Fault.LOST_ARRIVAL, message_id, f"owner {owner}", owner)
    for message_id, number in execute(schema.LOST_CHUNKS, (limit,)):
        yield Finding(Fault.LOST_CHUNKS, message_id, f"{number} of them")
    for message_id, number in execute(schema.LOST_RECIPIENTS, (limit,)):
        yield Finding(Fault.LOST_RECIPIENTS, message_id, f"{number} of them")
    for (message_id,) in execute(schema.WITHOUT_RECIPIENTS, (limit,)):
        yield Finding(Fault.NO_RECIPIENTS, message_id)
    for message_id, size, found in execute(schema.SHORT_BODIES, (limit,)):
        yield Finding(Fault.SHORT_BODY, message_id, f"{found} of {size} octets are there")
    yield from _unreadable(execute, limit)


def _unreadable(execute: Execute, limit: int) -> Iterator[Finding]:
    after, found = "", 0
    while page := execute(schema.IDS_BEHIND, (after, _PAGE)):
        for (message_id,) in page:
            after = message_id
            detail = _why_unreadable(execute, message_id)
            if detail:
                found += 1
                if found > limit:
                    return
                yield Finding(Fault.UNREADABLE, message_id, detail)


def _why_unreadable(execute: Execute, message_id: str) -> str:
    try:
        SQLReading(execute, "").message(message_id)
    except codec.Unreadable as error:
        return str(error)
    return ""


def repair(
    run: Callable[[Sequence[Operation]], list[Result]],
    findings: Sequence[Finding],
    now: float,
    lives: Callable[[str], bool],
) -> tuple[Mended, ...]:
    """Each as a transaction of its own; `lives`: whether an owner that the tables don't know may still act on what it
    has. Raises what the first one raises that fails."""
    done = []
    for finding in findings:
        if finding.owner and lives(finding.owner):
            done.append(Mended.LEFT)
            continue
        [result] = run([_mending(finding, now)])
        if not isinstance(result, Done):
            raise result.error
        assert isinstance(result.value, Mended)
        done.append(result.value)
    return tuple(done)


def _mending(finding: Finding, now: float) -> Operation:
    def operation(queue: Transaction) -> Mended:
        assert isinstance(queue, SQLReading)
        return mend(queue.execute, finding, now)

    return operation


def mend(execute: Execute, finding: Finding, now: float) -> Mended:
    """One finding, looked for again: the queue has gone on since."""
    message_id = finding.message_id
    match finding.fault:
        case Fault.UNREADABLE | Fault.NO_RECIPIENTS | Fault.SHORT_BODY:
            if not _is_still_so(execute, finding):
                return Mended.LEFT
            execute(schema.MESSAGE_SET_ASIDE, (message_id,))
            return Mended.SET_ASIDE
        case Fault.LOST_CLAIM:
            return Mended.RELEASED if execute(schema.CLAIM_REMOVE, (message_id,)) else Mended.LEFT
        case Fault.LOST_ARRIVAL:
            if not execute(schema.ARRIVAL_REMOVE, (message_id,)):
                return Mended.LEFT
            return _move_chunks(execute, finding, now)
        case Fault.LOST_CHUNKS:
            return _move_chunks(execute, finding, now)
        case Fault.LOST_RECIPIENTS:
            return _move_recipients(execute, finding, now)
        case Fault.DATABASE:
            return Mended.LEFT
        case _ as never:
            assert_never(never)


def _is_still_so(execute: Execute, finding: Finding) -> bool:
    """Whether a message is damaged, and nobody is delivering it."""
    message_id = finding.message_id
    rows = execute(schema.MESSAGE_CHANGE, (message_id,))
    if not rows or rows[0][0] is not None:
        return False
    if finding.fault is Fault.UNREADABLE:
        return bool(_why_unreadable(execute, message_id))
    if finding.fault is Fault.NO_RECIPIENTS:
        return not execute(schema.RECIPIENTS_PENDING, (message_id,))
    size, found = execute(schema.BODY_SIZES, (message_id, message_id))[0]
    return bool(size != found)


def _move_chunks(execute: Execute, finding: Finding, now: float) -> Mended:
    message_id = finding.message_id
    if execute(schema.MESSAGE_OWNER, (message_id,)) or execute(schema.ARRIVING_ANY, (message_id,)):
        return Mended.LEFT
    execute(schema.ASIDE_CHUNKS, (finding.fault.value, now, message_id))
    execute(schema.CHUNKS_REMOVE, (message_id,))
    return Mended.MOVED


def _move_recipients(execute: Execute, finding: Finding, now: float) -> Mended:
    message_id = finding.message_id
    if execute(schema.MESSAGE_OWNER, (message_id,)):
        return Mended.LEFT
    for number, *columns in execute(schema.RECIPIENTS_RAW, (message_id,)):
        content = json.dumps(columns).encode("ascii")
        execute(schema.ASIDE_ADD, ("recipient", message_id, number, content, finding.fault.value, now))
    execute(schema.RECIPIENTS_REMOVE, (message_id,))
    return Mended.MOVED
