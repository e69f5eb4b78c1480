"""What one server is asked about an address, and what it answers (decision).

The steps, in Exim's order: a local part that can't be (a host that takes it takes everything), the address, the
postmaster of its domain; each a transaction that ends before its message. Exim: verify.c, do_callout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from relay.delivery.callout_cache import DomainRecord, Known, Plan, Remembered
from relay.delivery.link import Link, LinkFailed
from relay.esmtp.client_events import Stage
from relay.mail.outcome import ErrorClass, RemoteHost
from relay.mail.reply import Reply
from relay.mail.text import printable
from relay.policy.verification import Finding, Objection, Question, Role, Verified, Ways


@dataclass(frozen=True, slots=True)
class Terms:
    """Whom to ask about, as whom. The texts stand in commands as they are."""

    question: Question
    recipient: str
    sender: str
    plan: Plan
    random_local_part: str = ""
    size: int = 0
    """Octets, said where a server has SIZE; 0: not said."""
    now: float = 0.0
    is_utf8: bool = False
    """The message that the address belongs to came with SMTPUTF8."""
    at_recipient: bool = False
    """RCPT waits for the answer, be it about the sender."""


class AskAgain(Exception):
    """The connection is spoilt by the test with a random local part: the rest is asked over a new one."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    command: str
    stage: Stage
    reply: Reply


class Interview:
    """One server's answers: `found` is None as long as there is nothing final, then `reason` says why."""

    def __init__(self, terms: Terms, host: RemoteHost) -> None:
        self._terms = terms
        self._host = host
        self.domain: DomainRecord = terms.plan.domain
        self.address = Known.NOTHING
        self.found: Verified | None = None
        self.reason = ""
        self.failure = ""

    async def ask(self, link: Link, offers: Mapping[str, str], asserted: str | None = None) -> None:
        """Over a connection that is ready for MAIL; `asserted` is what that says of AUTH=. Raises LinkFailed,
        AskAgain."""
        terms = self._terms
        setup = Known.REFUSED_NOBODY if terms.plan.refuses_nobody else Known.ACCEPTED
        self.domain = replace(self.domain, setup=Remembered(setup, terms.now))
        parameters = self._parameters(offers)
        if parameters is None:
            return
        if asserted is not None:
            parameters += f" AUTH={asserted}"
        if terms.plan.asks_random and terms.random_local_part and not await self._is_choosy(link, parameters):
            return
        if not await self._takes_address(link, offers, parameters):
            return
        if terms.plan.asks_postmaster and not await self._has_postmaster(link, parameters):
            return
        self.found = Verified(Finding.GOOD)

    def _parameters(self, offers: Mapping[str, str]) -> str | None:
        """What MAIL says beside the sender; None where this server can't be asked."""
        terms = self._terms
        if not terms.is_utf8 and str(terms.question.address).isascii() and terms.sender.isascii():
            return ""
        if "SMTPUTF8" in offers:
            return " SMTPUTF8"
        self.reason = 'response to "EHLO" did not include SMTPUTF8'
        is_recipient = terms.at_recipient or terms.question.role is Role.RECIPIENT
        told = "533 no support for internationalised mailbox name" if is_recipient else "550 mailbox unavailable"
        self.found = Verified(Finding.BAD, user_message=told)
        return None

    async def _is_choosy(self, link: Link, parameters: str) -> bool:
        """Whether the question is worth asking; where it is not, `found` or `reason` says why."""
        terms = self._terms
        recipient = f"{terms.random_local_part}@{terms.question.address.domain}"
        refusal = await _transaction(link, terms.sender, recipient, parameters)
        if refusal is None:
            self.domain = replace(self.domain, random=Remembered(Known.ACCEPTED, terms.now))
            self.found = Verified(Finding.GOOD, failure="random")
            return False
        if refusal.stage is Stage.MAIL:
            self._sender_refused(refusal)
            return False
        if not refusal.reply.is_permanent:
            self._noted(refusal)
            return False
        self.domain = replace(self.domain, random=Remembered(Known.REFUSED, terms.now))
        try:
            if await _is_reset(link):
                return True
        except LinkFailed:
            pass  # some servers hang up on who guesses
        raise AskAgain

    async def _takes_address(self, link: Link, offers: Mapping[str, str], parameters: str) -> bool:
        terms = self._terms
        if terms.size and "SIZE" in offers:
            parameters += f" SIZE={terms.size}"
        refusal = await _transaction(link, terms.sender, terms.recipient, parameters)
        if refusal is None:
            self.address = Known.ACCEPTED
            return True
        if refusal.stage is Stage.MAIL:
            self._sender_refused(refusal)
        elif refusal.reply.is_permanent:
            self.address = Known.REFUSED
            self._refused(refusal, "recipient", Objection.ADDRESS)
        else:
            self._noted(refusal)
        return False

    async def _has_postmaster(self, link: Link, parameters: str) -> bool:
        terms, options = self._terms, self._terms.question.options
        if not await _is_reset(link):
            self.reason = "RSET was refused"
            return False
        recipient = f"postmaster@{terms.question.address.domain}"
        refusal = await _transaction(link, options.postmaster_from or "", recipient, parameters)
        if refusal is not None and refusal.stage is Stage.RCPT and Ways.FULL_POSTMASTER in options.ways:
            reply = await link.ask("RCPT TO:<postmaster>", Stage.RCPT)
            refusal = None if reply.is_positive else _Refusal("RCPT TO:<postmaster>", Stage.RCPT, reply)
        if refusal is None:
            self.domain = replace(self.domain, postmaster=Remembered(Known.ACCEPTED, terms.now))
            return True
        if refusal.reply.is_permanent:
            self.domain = replace(self.domain, postmaster=Remembered(Known.REFUSED, terms.now))
            self._refused(refusal, "postmaster", Objection.POSTMASTER)
        else:
            self._noted(refusal)
        return False

    # What is made of a refusal

    def connection_refused(self, reason: str, reply: Reply) -> None:
        """The server wants nothing of us: its greeting, or its answer to ours, was final."""
        self.domain = replace(self.domain, setup=Remembered(Known.REFUSED, self._terms.now))
        self.reason, self.failure = reason, "mail"
        self.found = Verified(Finding.BAD, user_message=self._told("", reply), objection=Objection.SETUP)

    def _sender_refused(self, refusal: _Refusal) -> None:
        self.failure = "mail"
        if not refusal.reply.is_permanent:
            self._noted(refusal)
            return
        if not self._terms.sender:
            self.domain = replace(self.domain, setup=Remembered(Known.REFUSED_NOBODY, self._terms.now))
        self._refused(refusal, "mail", Objection.SETUP)

    def _refused(self, refusal: _Refusal, failure: str, objection: Objection) -> None:
        self._noted(refusal)
        self.failure = failure
        told = self._told(refusal.command, refusal.reply)
        self.found = Verified(Finding.BAD, user_message=told, objection=objection)

    def _noted(self, refusal: _Refusal) -> None:
        said = printable(refusal.reply.as_sent)
        if refusal.stage is Stage.MAIL:
            self.reason = f'response to "{printable(refusal.command)}" was: {said}'
        else:
            self.reason = f"SMTP error from remote mail server after {printable(refusal.command)}: {said}"

    def _told(self, command: str, reply: Reply) -> str:
        """For the client. Who asks for a recipient is not told our host's address, which may be an inner one."""
        said = "\n".join(_visible(line) for line in reply.as_sent.split("\n"))
        if self._terms.question.role is Role.RECIPIENT:
            return f"Callout verification failed:\n{said}"
        sent = f"Sent:     {_visible(command)}\n" if command else ""
        return f"Called:   {self._host.address}\n{sent}Response: {said}"


def _visible(line: str) -> str:
    """RFC 5321 4.2 leaves a reply printable US-ASCII: what is more is cut off."""
    for place, each in enumerate(line):
        if each != "\t" and not " " <= each <= "~":
            return f"{line[:place]}(truncated)"
    return line


async def _transaction(link: Link, sender: str, recipient: str, parameters: str) -> _Refusal | None:
    """MAIL and RCPT; None where both were accepted. Raises LinkFailed."""
    for command, stage in (
        (f"MAIL FROM:<{sender}>{parameters}", Stage.MAIL),
        (f"RCPT TO:<{recipient}>", Stage.RCPT),
    ):
        try:
            reply = await link.ask(command, stage)
        except LinkFailed as failure:
            if failure.error is not ErrorClass.TIMEOUT:
                raise
            raise LinkFailed(failure.error, f"SMTP timeout after {printable(command)}") from None
        if not reply.is_positive:
            return _Refusal(command, stage, reply)
    return None


async def _is_reset(link: Link) -> bool:
    return (await link.ask("RSET", Stage.RESET)).is_positive
