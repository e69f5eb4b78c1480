"""One transaction as a client sends it: its commands, and one outcome for each recipient (machine).

Built from the envelope and what the server offers; told each reply as it comes; at the end, however that came
about, it has an outcome for every recipient. The order of things is the client machine's, in `client.py`.

An 8-bit body goes out as it is to a server without 8BITMIME, as Exim's does: a body is never converted, since
that would break its signatures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.mail.address import Address
from relay.mail.envelope import BodyType, Envelope
from relay.mail.facts import TLSFacts
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.reply import Reply

_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Hop:
    """The connection that a transaction goes over, for its outcomes."""

    host: RemoteHost | None = None
    tls: TLSFacts | None = None
    continued: bool = False


class Transaction:
    """The commands of an envelope and the fate of its recipients. Recipients are named by their place."""

    def __init__(self, envelope: Envelope, offers: Mapping[str, str], hop: Hop) -> None:
        self._envelope = envelope
        self._hop = hop
        self._outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        self.accepted: list[int] = []
        """Those whose RCPT was accepted, in order."""
        self.mail = f"MAIL FROM:<{envelope.sender}>" + _parameters(envelope, offers)
        self.to_send: list[int] = []
        """Those whose RCPT is to be sent at all."""
        self._refuse_here(offers)

    def rcpt(self, place: int) -> str:
        return f"RCPT TO:<{self._envelope.recipients[place].address}>"

    def _refuse_here(self, offers: Mapping[str, str]) -> None:
        """Settles what needs no server to know."""
        limit = offers.get("SIZE", "")
        if limit.isdecimal() and 0 < int(limit) < self._envelope.size:
            # RFC 1870 6.1: the server said what it takes.
            reason = f"message is larger than the {limit} octets that the server takes"
            self.settle_rest(Failed(reason, host=self._hop.host))
        elif self._envelope.body is BodyType.BINARYMIME:
            self.settle_rest(Failed("a binary message can't be sent by DATA", host=self._hop.host))
        elif wrong := _unsendable(self._envelope.sender):
            self.settle_rest(Failed(f"sender {wrong}", host=self._hop.host))
        for place, recipient in enumerate(self._envelope.recipients):
            if self._outcomes[place] is not None:
                continue
            if recipient.address.is_null:
                self._outcomes[place] = Failed("recipient is empty", host=self._hop.host)
            elif wrong := _unsendable(recipient.address):
                self._outcomes[place] = Failed(f"recipient {wrong}", host=self._hop.host)
            else:
                self.to_send.append(place)

    def sender_refused(self, reply: Reply) -> None:
        """MAIL got a 4xx or 5xx: that holds for all."""
        self.settle_rest(self._outcome(reply, self.mail, ErrorClass.MAIL_4XX))

    def recipient_answered(self, place: int, reply: Reply) -> None:
        if self._outcomes[place] is not None:
            return
        if 200 <= reply.code < 300:
            self.accepted.append(place)
            return
        if reply.code == 552:
            # RFC 5321 4.5.3.1.10: old servers' word for too many recipients, to be taken as 452.
            reply = Reply(452, "4" + reply.enhanced[1:] if reply.enhanced else "", reply.lines)
        self._outcomes[place] = self._outcome(reply, self.rcpt(place), ErrorClass.RCPT_4XX)

    def data_refused(self, reply: Reply) -> None:
        """DATA got a 4xx or 5xx."""
        self.settle_rest(self._outcome(reply, "DATA", ErrorClass.DATA_4XX))

    def message_answered(self, reply: Reply, place: int | None = None) -> None:
        """The reply to the final dot: for one recipient (LMTP, RFC 2033 4.2), or for all."""
        if 200 <= reply.code < 300:
            hop = self._hop
            outcome: Outcome = Delivered(shown(reply), hop.host, hop.tls, hop.continued)
        else:
            outcome = self._outcome(reply, "end of data", ErrorClass.DATA_4XX)
        if place is None:
            self.settle_rest(outcome)
        else:
            self._outcomes[place] = outcome

    def closed_by_server(self, reply: Reply, after: str) -> None:
        """421 at any point, RFC 5321 3.8."""
        error = ErrorClass.DATA_4XX if self.accepted else ErrorClass.MAIL_4XX
        self.settle_rest(Deferred(_complaint(reply, after), error, reply, self._hop.host, host_wide=True))

    def broken_off(self, reason: str, error: ErrorClass, possible_duplicate: bool) -> None:
        """The connection is of no use any more. What has an outcome keeps it."""
        self.settle_rest(
            Deferred(
                reason,
                error,
                host=self._hop.host,
                host_wide=True,
                possible_duplicate=possible_duplicate,
            )
        )

    def settle_rest(self, outcome: Outcome) -> None:
        """`outcome` for every recipient that has none yet."""
        self._outcomes = [each if each is not None else outcome for each in self._outcomes]

    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each recipient, in the envelope's order; nothing may be open any more."""
        settled = tuple(each for each in self._outcomes if each is not None)
        assert len(settled) == len(self._outcomes)
        return settled

    def _outcome(self, reply: Reply, after: str, error: ErrorClass) -> Outcome:
        reason = _complaint(reply, after)
        if reply.is_permanent:
            return Failed(reason, reply, self._hop.host)
        return Deferred(reason, error, reply, self._hop.host)


def shown(reply: Reply) -> str:
    """A reply as logs show it: code, enhanced status and text, on one line."""
    return " ".join(part for part in (str(reply.code), reply.enhanced, *reply.lines) if part)


def _complaint(reply: Reply, after: str) -> str:
    return f"SMTP error from remote mail server after {after}: {shown(reply)}"


# The parameters of MAIL that are sent, each where its extension is offered. RCPT has none yet.
_MAIL_PARAMETERS: Mapping[str, Callable[[Envelope], str]] = {
    "SIZE": lambda envelope: f"SIZE={envelope.size}" if envelope.size else "",
    "8BITMIME": lambda envelope: (
        "" if envelope.body is BodyType.SEVENBIT else f"BODY={BodyType.EIGHTBITMIME.value}"
    ),
}


def _parameters(envelope: Envelope, offers: Mapping[str, str]) -> str:
    made = [make(envelope) for keyword, make in _MAIL_PARAMETERS.items() if keyword in offers]
    return "".join(f" {each}" for each in made if each)


def _unsendable(address: Address) -> str:
    """Why an address cannot stand in a command; empty where it can."""
    text = str(address)
    if _UNSENDABLE.search(text):
        return "has control characters in its address"
    if not text.isascii():
        return "has an address outside US-ASCII, which can't be sent without SMTPUTF8"
    if ">" in address.domain or " " in address.domain:
        return "has a malformed domain"
    return ""
