"""The steps of ACLs as `-bh` shows them, in Exim's words (machine)."""

from __future__ import annotations

from collections.abc import Callable

from relay.mail.source import Location
from relay.policy.acl_values import Accepted, Deferred, Denied, Discarded, TraceStep, Verdict


class Steps:
    """Tells each step on a line of its own, as it comes."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._statement: tuple[str, str, Location] | None = None
        self._holds = True

    def begin(self, acl: str) -> None:
        """An ACL is about to be asked."""
        self._statement = None
        self._tell(f'>>> using ACL "{acl}"')

    def record(self, step: TraceStep) -> None:
        """A condition or modifier was evaluated."""
        statement = (step.acl, step.verb, step.statement or step.location)
        if statement != self._statement:
            self._end_statement()
            self._statement, self._holds = statement, True
            place = statement[2]
            self._tell(f'>>> processing ACL {step.acl} "{step.verb}" ({place})')
        name, equals, argument = (each.strip() for each in step.text.partition("="))
        self._tell(f">>> check {name} = {step.value or argument}" if equals else f">>> {name}")
        if step.result not in ("yes", "done"):
            self._holds = False

    def end(self, acl: str, verdict: Verdict) -> None:
        """The ACL has said what it says."""
        self._end_statement()
        self._statement = None
        self._tell(f">>> end of ACL {acl}: {_word(verdict)}")

    def _end_statement(self) -> None:
        if self._statement is not None:
            acl, verb, _ = self._statement
            self._tell(f">>> {verb}: condition test {'succeeded' if self._holds else 'failed'} in ACL {acl}")


def _word(verdict: Verdict) -> str:
    match verdict:
        case Accepted():
            return "ACCEPT"
        case Discarded():
            return "DISCARD"
        case Denied():
            return "DENY"
        case Deferred():
            return "DEFER"
