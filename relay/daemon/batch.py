"""Batched SMTP on standard input: many messages, no replies (edge).

The commands are those of a session, read by the same machine; who answers it here accepts every sender and
recipient, since a batch comes from a local program and is judged like one message of such a program after
the other. The first mistake ends the batch. Exim: -bS.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import IO, Protocol

from relay.daemon.alone import run_alone
from relay.daemon.build import Relay
from relay.daemon.callers import Credentials
from relay.esmtp import questions as esmtp
from relay.esmtp.questions import (
    BodyPiece,
    CommandRead,
    HangUp,
    MessageEnded,
    MessageSpoiled,
    TransactionReset,
    Violation,
)
from relay.esmtp.server import Server, ServerSettings
from relay.mail import reply as replies
from relay.mail.address import NULL_SENDER, Address
from relay.mail.events import ConnectionClosed, DataCut
from relay.mail.facts import SessionFacts
from relay.mail.queue import make_message_id
from relay.mail.reply import Reply
from relay.mail.text import from_wire
from relay.reception.message import cut_in_header
from relay.reception.request import FRAME_LIMIT, DeliveryMode, Status, SubmissionRequest

# What a message may need of memory before it goes to a file until it is whole.
_IN_MEMORY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BatchFault:
    """Why a batch was given up; lines count from 1."""

    text: str
    """As a reply would say it, its code in front."""
    command: str
    """The line at fault, empty where it was not a command."""
    transaction_line: int
    error_line: int
    accepted: int
    """Messages that came through before."""

    @property
    def status(self) -> int:
        """Exim's exit status: 1 where some messages were accepted, 2 where none was."""
        return 1 if self.accepted else 2

    def for_programs(self) -> str:
        """What standard output gets."""
        lines = [
            self.text,
            f"Transaction started in line {self.transaction_line}",
            f"Error detected in line {self.error_line}",
        ]
        return "\n".join([*lines, self.command] if self.command else lines) + "\n"

    def for_people(self) -> str:
        """What standard error gets."""
        fault = f"The SMTP command at fault was:\n\n   {self.command}\n\n" if self.command else ""
        were = "message was" if self.accepted == 1 else "messages were"
        return (
            "An error was detected while processing a file of BSMTP input.\n"
            f"The error message was:\n\n  {self.text}\n\n"
            f"The SMTP transaction started in line {self.transaction_line}.\n"
            f"The error was detected in line {self.error_line}.\n"
            f"{fault}{self.accepted} previous {were} successfully processed.\n"
            "The rest of the batch was abandoned.\n"
        )


def take_batch(
    configuration: str,
    macros: Mapping[str, str],
    delivery: DeliveryMode,
    lines: IO[bytes],
    tell: Callable[[BatchFault], None],
    given: tuple[tuple[str, str], ...] = (),
    *,
    routes_only: bool = False,
    delivery_asked: bool = False,
) -> int:
    """Takes all messages of a batch; the exit status. `given` and what follows are as in a request. Raises
    ConfigurationError."""
    caller = Credentials(os.getuid(), os.getgid())

    async def work(relay: Relay) -> int:
        originator = relay.callers.identify_owner(caller)

        async def submit(sender: Address, recipients: tuple[Address, ...], message: IO[bytes]) -> str:
            request = SubmissionRequest(
                recipients=tuple(str(each) for each in recipients),
                sender=str(sender),
                delivery=delivery,
                routes_only=routes_only,
                delivery_asked=delivery_asked,
                given=given,
                batched=True,
            )
            answer = await relay.submissions.submit(request, originator, _Stored(message))
            return "" if answer.status is Status.ACCEPTED else f"550 {answer.text}"

        batch = Batch(submit, relay.reception.settings)
        fault = await batch.take(lines)
        if fault is not None:
            tell(fault)
        if batch.cut is not None:
            cut = batch.cut
            if not cut.where:
                cut = replace(cut, message_id=make_message_id(relay.clock.now(), random.SystemRandom()))
            facts = SessionFacts(caller=originator.caller)
            relay.journal.record(ConnectionClosed(facts, "lost", cut=cut))
        await relay.runner.until_idle()
        return fault.status if fault is not None else 0

    return run_alone(configuration, macros, work)


class _Stored:
    """A message that is whole, as pieces."""

    def __init__(self, message: IO[bytes]) -> None:
        message.seek(0)
        self._message = message

    async def next(self) -> bytes:
        return self._message.read(FRAME_LIMIT)


class Submit(Protocol):
    """Takes one message: an empty text, or why not, as a reply says it."""

    async def __call__(self, sender: Address, recipients: tuple[Address, ...], message: IO[bytes]) -> str: ...


# Exim: a transaction begins behind the last line of what came before it, and these count as whole ones.
_WHOLE_TRANSACTIONS = frozenset({"HELO", "EHLO", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "ETRN"})


class Batch:
    """Reads one batch, line by line, so that every mistake has its line."""

    def __init__(self, submit: Submit, settings: ServerSettings) -> None:
        self._submit = submit
        # In a batch a greeting says nothing, whatever stands behind it.
        settings = replace(settings, local=True, max_nonmail=sys.maxsize, helo_accept_junk=True)
        self._machine = Server(settings, 0.0)
        self._sender = NULL_SENDER
        self._recipients: list[Address] = []
        self._message: IO[bytes] | None = None
        self._line = self._transaction_line = self._accepted = 0
        self._in_body = self._over = False
        self.cut: DataCut | None = None
        """Where the input ended in the middle of a message."""
        self._violation = ""
        """What the machine found wrong with the last line."""

    async def take(self, lines: IO[bytes]) -> BatchFault | None:
        """All messages of the batch in turn; the mistake that ended it, None where it went well."""
        await self._obey(b"")
        await self._obey(b"HELO batch\n")
        line = b""
        for line in lines:
            self._line += 1
            self._in_body = self._in_body or not line.strip(b"\r\n")
            in_message = self._message is not None
            refusal = await self._obey(line)
            if refusal:
                return self._fault(refusal, "" if in_message else from_wire(line.rstrip(b"\r\n")))
            if self._over:
                return None
        if self._message is None:
            return None
        self.cut = DataCut("") if self._in_body else cut_in_header(line)
        self._message.close()
        if not self.cut.where:
            self._line += 1  # the line that is not there
        return self._fault("421 Lost incoming connection", "")

    def _fault(self, text: str, command: str) -> BatchFault:
        return BatchFault(text, command, self._transaction_line, self._line, self._accepted)

    async def _obey(self, line: bytes) -> str:
        """Why the line is refused, or nothing."""
        self._violation = ""
        self._machine.receive(line, 0.0)
        refusal = ""
        while (event := self._machine.next_event()) is not None:
            refusal = await self._meet(event) or refusal
        said = self._machine.data_to_send().decode("ascii", "replace").splitlines()
        refusal = refusal or next((each for each in said if each[:1] in ("4", "5")), "")
        # Exim: in a batch the command is shown below, so that the reply need not show the address.
        return (
            f"{refusal[:4]}{self._violation}"
            if self._violation and refusal.endswith(f": {self._violation}")
            else refusal
        )

    async def _meet(self, event: esmtp.ServerEvent) -> str:
        match event:
            case BodyPiece(data):
                assert self._message is not None
                self._message.write(data)
            case MessageEnded():
                return await self._message_ended()
            case Violation(what):
                self._violation = what
            case CommandRead(verb):
                if verb in _WHOLE_TRANSACTIONS:
                    self._transaction_line = self._line
            case TransactionReset() | MessageSpoiled():
                pass
            case HangUp():
                self._over = True
            case _:
                self._machine.answer(self._answer(event))
        return ""

    def _answer(self, question: esmtp.Question) -> Reply:
        """Everything is taken as it comes; what it is worth is decided for the whole message."""
        match question:
            case esmtp.SenderGiven(sender):
                self._sender, self._recipients = sender, []
            case esmtp.RecipientGiven(address):
                self._recipients.append(address)
            case esmtp.DataAsked():
                self._in_body = False
                self._message = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed where the message ends
                return replies.SEND_DATA
            case esmtp.TLSAsked() | esmtp.AuthAsked():
                return replies.BAD_SEQUENCE
            case _:
                pass
        return Reply(250, "2.0.0", ("OK",))

    async def _message_ended(self) -> str:
        message, self._message = self._message, None
        assert message is not None
        with message:
            refusal = await self._submit(self._sender, tuple(self._recipients), message)
        self._machine.answer(Reply(250, "2.0.0", ("OK",)))
        self._accepted += not refusal
        if not refusal:
            self._transaction_line = self._line
        return refusal
