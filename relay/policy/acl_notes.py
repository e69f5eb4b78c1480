"""What an ACL does, told to one who watches, in Exim's words (decision).

Each function takes the `Notes` of the run's scope, or None where nobody watches. Exim: acl.c, the debug lines of
acl_check_internal and acl_check_condition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from relay.expand.evaluate import Expansion
from relay.expand.notes import Notes
from relay.policy.acl_program import ACL, INLINE, Holds, Statement, Step
from relay.policy.acl_values import Verb

_OUTCOMES = {
    Holds.YES: "succeeded",
    Holds.NO: "failed",
    Holds.DISCARD: 'yielded "discard"',
    Holds.DROP: 'yielded "drop"',
}
_ENDS = {
    Verb.ACCEPT: "ACCEPT",
    Verb.DEFER: "DEFER",
    Verb.DENY: "DENY",
    Verb.DISCARD: "DISCARD",
    Verb.DROP: "DROP",
    Verb.REQUIRE: "not OK",
}


def unset(notes: Notes | None) -> None:
    """No ACL is set where nothing goes without one."""
    if notes is not None:
        notes.say("ACL is NULL: implicit DENY")


def begun(notes: Notes | None, acl: ACL) -> None:
    """An ACL is about to be asked."""
    if notes is None or acl.name == INLINE or not acl.name:
        return
    if acl.name.startswith("/"):
        notes.say(f"read ACL from file {acl.name}")
    elif acl.statements:
        notes.say(f'using ACL "{acl.name}"')
    else:
        notes.say(f'ACL "{acl.name}" is empty: implicit DENY')


def statement_begun(notes: Notes | None, acl: ACL, statement: Statement) -> None:
    """The first of its conditions is about to be tried."""
    if notes is not None:
        notes.say(f'processing {_name(acl)} "{statement.verb.value}"{_place(acl, statement)}')


def _name(acl: ACL) -> str:
    return acl.name if acl.name == INLINE else f"ACL {acl.name}"


def _place(acl: ACL, statement: Statement) -> str:
    """Exim names a statement by the line where it ends."""
    place = statement.location
    return f" ({place.file} {place.last or place.line})" if place.line and acl.name != INLINE else ""


def step_begun(notes: Notes | None, statement: Statement, step: Step) -> None:
    """A condition or modifier, as it is written, with the texts that stand before it."""
    if notes is None:
        return
    place = statement.steps.index(step)
    before = statement.steps[place - 1] if place else None
    for line in _texts(before, step):
        notes.say(line)
    notes.say(f"{_left(step)}= {_argument(step)}")


def step_expanded(notes: Notes | None, step: Step, value: str) -> None:
    """What its argument has become."""
    if notes is not None and value and any(each in _argument(step) for each in "$\\"):
        notes.say(f"{' ' * len(_left(step))}= {value}")


def _left(step: Step) -> str:
    head = step.text.partition("=")[0].strip().rpartition(" ")[2] if step.name == "set" else ""
    return f"check {'!' if step.negated else ''}{step.name} {head + ' ' if head else ''}"


def _argument(step: Step) -> str:
    return step.text.partition("=")[2].strip()


def statement_ended(notes: Notes | None, acl: ACL, statement: Statement, holds: Holds) -> None:
    """What its conditions have come to."""
    if notes is None:
        return
    if holds is Holds.YES:
        for line in _texts(statement.steps[-1] if statement.steps else None, statement):
            notes.say(line)
    notes.say(f"{statement.verb.value}: condition test {_OUTCOMES[holds]} in {_name(acl)}")
    taken = holds is not Holds.YES if statement.verb is Verb.REQUIRE else holds is Holds.YES
    if holds is Holds.DISCARD and statement.verb in (Verb.ACCEPT, Verb.DISCARD):
        taken = True
    if taken and statement.verb in _ENDS:
        notes.say(f"end of {_name(acl)}: {_ENDS[statement.verb]}")


def statement_broken(notes: Notes | None, acl: ACL, statement: Statement, word: str) -> None:
    """It could not be decided: `deferred` for now, or for an `error` of the configuration."""
    if notes is not None:
        notes.say(f"{statement.verb.value}: condition test {word} in {_name(acl)}")


def endpass(notes: Notes | None, statement: Statement) -> None:
    """A condition behind `endpass` does not hold."""
    if notes is not None:
        notes.say(f"{statement.verb.value}: endpass encountered - denying access")


def ended(notes: Notes | None, acl: ACL) -> None:
    """No statement has decided."""
    if notes is not None and acl.statements:
        notes.say(f"end of {_name(acl)}: implicit DENY")


@contextlib.contextmanager
def deeper(notes: Notes | None) -> Iterator[None]:
    """What is told meanwhile stands one step further in."""
    if notes is None:
        yield
        return
    notes.level += 1
    try:
        yield
    finally:
        notes.level -= 1


def verified(notes: Notes | None, *, before: bool = False) -> None:
    """An address of the envelope has been verified, now or `before`."""
    if notes is not None:
        notes.say("using cached sender verify result" if before else "----------- end verify ------------")


def header_sender(notes: Notes | None, name: str, text: str) -> None:
    """An address in the header is about to be verified as a sender."""
    if notes is not None:
        notes.say_at_margin(f"verifying {name}: header address {text}")


def known_from_envelope(notes: Notes | None) -> None:
    """That address was the sender of the envelope, and verified as such."""
    if notes is not None:
        notes.say_at_margin("previously checked as envelope sender")


def _texts(before: Step | None, now: Step | Statement) -> Iterator[str]:
    """`message` and `log_message` between two steps."""
    yield from _text("  message", before.message if before else None, now.message)
    yield from _text("l_message", before.log_message if before else None, now.log_message)


def _text(name: str, before: Expansion | None, now: Expansion | None) -> Iterator[str]:
    if now is not None and now is not before:
        yield f"{name}: {now.source}"
