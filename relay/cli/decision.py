"""Which statement of an ACL decides on a recipient, asked of the policy itself (edge).

The ACL of the configuration is run as the daemon runs it, over facts that the caller gives; nothing is sent
and nothing is logged. What comes back is the statement as it stands in the file.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from relay.cli.expand import WallClock
from relay.cli.reading import answer, expanded_options, read_configuration
from relay.expand.scope import AddressView, MessageView, Scope
from relay.mail.address import Address
from relay.mail.events import Event
from relay.mail.facts import SessionFacts
from relay.mail.source import Location
from relay.net.file_system import LocalFileSystem
from relay.net.lookups import FileLookups, ListFiles, at_once
from relay.net.passwords import PasswordThreads
from relay.policy.acl import check
from relay.policy.acl_program import ACLContext
from relay.policy.acl_values import Accepted, Effects, Verb, Where

T = TypeVar("T")

_VERB = re.compile(rf"\s*!?({'|'.join(verb.value for verb in Verb)})\b")
_END = re.compile(r"\s*(#|$|begin\s|\S+:\s*$)")


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and the statement that did: where it stands, and its lines."""

    accepted: bool
    location: Location
    lines: tuple[str, ...]


def decide_recipient(
    configuration: Path, session: SessionFacts, sender: Address, recipient: Address
) -> Decision | None:
    """What `acl_smtp_rcpt` says; None where no statement decided. Raises ConfigurationError."""
    read = read_configuration(configuration)
    variables: dict[str, str] = {}
    clock = WallClock()
    scope = Scope(
        session=session,
        now=clock.now(),
        main=expanded_options(read),
        message=MessageView(sender=sender),
        address=AddressView(recipient.local_part, recipient.domain),
        acl_variables=variables,
        named_lists=read.named_lists,
        lookups=FileLookups(at_once, clock),
        files=ListFiles(at_once, clock),
        file_system=LocalFileSystem(at_once),
        passwords=PasswordThreads(at_once),
    )
    context = ACLContext(Where.RCPT, scope, read.acls, Effects(), variables, _Silence(), _NoWaiting())
    verdict = answer(check(read.main.acl_smtp_rcpt, context))
    if verdict.statement is None:
        return None
    return Decision(isinstance(verdict, Accepted), verdict.statement, statement_lines(verdict.statement))


def statement_lines(location: Location) -> tuple[str, ...]:
    """The lines of the statement that begins there, as they were written but for their margin. Raises OSError."""
    lines = Path(location.file).read_text("utf-8").splitlines()[location.line - 1 :]
    found = lines[:1]
    for line in lines[1:]:
        if _VERB.match(line) or _END.match(line):
            break
        found.append(line)
    return tuple(textwrap.dedent("\n".join(found)).split("\n"))


class _Silence:
    """A journal that keeps nothing: this decision was not asked for by a peer."""

    def record(self, event: Event) -> None:
        pass


class _NoWaiting:
    """Concurrency without a reactor: a question that is not answered at once is not answered."""

    async def timeout(self, seconds: float, question: Awaitable[T]) -> T:
        return await question

    async def gather(self, questions: Sequence[Awaitable[T]]) -> list[T]:
        return [await each for each in questions]

    async def sleep(self, seconds: float) -> None:
        pass
