"""The tables of order, and their picture."""

from relay.esmtp.commands import COMMANDS, HAPPENINGS, MOVES, State, diagram, refusal, supported
from relay.mail import reply

DIAGRAM = """\
connected
    (any other greeting) -> refused
    (greeting 220) -> greeted
refused
    QUIT -> closed
greeted
    EHLO HELO -> ready
    STARTTLS -> switching
    QUIT -> closed
    RSET NOOP HELP VRFY EXPN TURN ETRN stay
ready
    XCLIENT -> greeted
    MAIL -> sender
    STARTTLS -> switching
    QUIT -> closed
    RSET NOOP HELP VRFY EXPN TURN EHLO HELO AUTH ETRN stay
sender
    EHLO HELO RSET -> ready
    RCPT -> recipients
    STARTTLS -> switching
    QUIT -> closed
    NOOP HELP VRFY EXPN TURN stay
recipients
    EHLO HELO RSET -> ready
    DATA -> data
    BDAT -> chunk
    STARTTLS -> switching
    QUIT -> closed
    NOOP HELP VRFY EXPN TURN RCPT stay
data
    (end of message) -> ready
chunk
    (end of message) -> ready
    (end of chunk) -> chunks
    (refusal of a chunk) -> spoiled
chunks
    EHLO HELO RSET -> ready
    BDAT -> chunk
    QUIT -> closed
    NOOP stay
spoiled
    EHLO HELO RSET (end of message) -> ready
    QUIT -> closed
switching
    (change of the TLS layer) -> greeted
closed
"""


def normal(text: str) -> list[list[str]]:
    return [sorted(line.split()) for line in text.splitlines()]


def test_the_diagram_is_the_tables() -> None:
    assert normal(diagram()) == normal(DIAGRAM)


def test_every_move_is_of_a_known_command_and_every_state_has_a_row() -> None:
    assert set(MOVES) == set(State)
    assert {verb for moves in MOVES.values() for verb in moves} == set(COMMANDS)
    assert set(HAPPENINGS) <= set(State)


def test_refusals_say_what_is_missing() -> None:
    assert refusal(State.GREETED, "MAIL") is reply.HELLO_FIRST
    assert refusal(State.READY, "RCPT") is reply.SENDER_FIRST
    assert refusal(State.SENDER, "MAIL") is reply.SENDER_ALREADY
    assert refusal(State.SENDER, "DATA") is reply.RECIPIENT_FIRST
    assert refusal(State.SENDER, "AUTH") is reply.AUTH_IN_TRANSACTION
    assert refusal(State.RECIPIENTS, "ETRN") is reply.ETRN_IN_TRANSACTION
    assert refusal(State.SENDER, "BDAT") is reply.RECIPIENT_BEFORE_BDAT
    assert refusal(State.CHUNKS, "DATA") is reply.ONLY_BDAT
    assert refusal(State.SPOILED, "NOOP") is reply.ONLY_RSET
    assert refusal(State.READY, "CHUNK") is reply.BAD_SEQUENCE


def test_help_names_what_is_offered() -> None:
    always = "HELO EHLO MAIL RCPT DATA BDAT NOOP QUIT RSET HELP"
    assert " ".join(supported(frozenset({"TURN"}))) == f"AUTH {always}"
    assert " ".join(supported(frozenset({"STARTTLS", "VRFY", "ETRN"}))) == f"AUTH STARTTLS {always} ETRN VRFY"
