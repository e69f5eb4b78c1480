"""One transaction as a client sends it: its commands, and one outcome for each recipient (machine).

Built from the envelope and what the server offers; told each reply as it comes; at the end, however that came
about, it has an outcome for every recipient. The order of things is the client machine's, in `client.py`.

An 8-bit body goes out as it is to a server without 8BITMIME, as Exim's does: a body is never converted, since
that would break its signatures. What a server lacks for a binary body, or for local parts and header fields outside
US-ASCII, is a clear failure; a domain can always be said in ASCII. What was asked about notifications goes on to a
server that offers DSN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import idna

from relay.esmtp.client_settings import ALabels
from relay.esmtp.parameters import read_limits
from relay.mail.address import Address
from relay.mail.envelope import BodyType, Envelope, Parameters
from relay.mail.facts import TLSFacts
from relay.mail.outcome import Deferred, Delivered, Dialog, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.reply import Reply

UTF8_NOT_OFFERED = "utf8 support required but not offered for forwarding"
"""Why a server can't have a message that came with SMTPUTF8; about no recipient in particular."""
OF_ONE = "LMTP error after DATA: "
"""What the reply to the end of the data for one recipient begins with, where it is a no."""
_LONGEST_COMPLAINT = 1024
"""Characters of what went wrong, whatever a server has to say (as in Exim)."""
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")
_PRINTABLE = re.compile(r"[!-~]*")


@dataclass(frozen=True, slots=True)
class Hop:
    """The connection that a transaction goes over, for its outcomes."""

    host: RemoteHost | None = None
    tls: TLSFacts | None = None
    continued: bool = False
    messages: int = 0
    """Transactions that were begun on it before."""
    by_chunks: bool = False
    """Whether chunks are wanted, where the server takes them."""
    groups: bool = True
    """Whether commands go out in groups where PIPELINING is offered."""
    a_labels: ALabels = ALabels.WHERE_NEEDED
    prdr: bool = False
    """Whether several recipients are to have a reply each, where the server knows PRDR."""


class Transaction:
    """The commands of an envelope and the fate of its recipients. Recipients are named by their place."""

    def __init__(self, envelope: Envelope, offers: Mapping[str, str], hop: Hop) -> None:
        if hop.a_labels is ALabels.ALWAYS or (hop.a_labels is ALabels.WHERE_NEEDED and "SMTPUTF8" not in offers):
            envelope = _in_a_labels(envelope)
        self._envelope = envelope
        self._offers = offers
        self._hop = hop
        self._outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        self._wants_utf8 = envelope.parameters.get("SMTPUTF8") is not None
        self.accepted: list[int] = []
        """Those whose RCPT was accepted, in order."""
        self.is_binary = envelope.body is BodyType.BINARYMIME
        can_chunk = "CHUNKING" in offers and "PIPELINING" in offers and hop.groups
        self.by_chunks = can_chunk and (hop.by_chunks or self.is_binary)
        """Whether the message goes by BDAT, RFC 3030. Without pipelining each chunk would wait for a reply."""
        self.to_send: list[int] = []
        """Those whose RCPT is to be sent at all."""
        self._refuse_here()
        self._asks_each = hop.prdr and "PRDR" in offers and len(self.to_send) > 1
        """Whether the server may answer for each recipient (PRDR, draft-hall-prdr-00)."""
        self._judged: dict[int, Reply] = {}
        self.size = 0
        """Octets of the message as it went out."""
        self.mail = f"MAIL FROM:<{envelope.sender}>" + self._mail_parameters()

    def rcpt(self, place: int) -> str:
        recipient = self._envelope.recipients[place]
        return (
            f"RCPT TO:<{recipient.address}>"
            + self._passed_on("DSN", recipient.parameters, ("NOTIFY", "ORCPT"))
            + self._passed_on("IGNOREQUOTA", recipient.parameters, ("IGNOREQUOTA",))
        )

    def _refuse_here(self) -> None:
        """Settles what needs no server to know."""
        if reason := self._unfit():
            self.settle_rest(reason)
        most = read_limits(self._offers.get("LIMITS", "")).recipients
        for place, recipient in enumerate(self._envelope.recipients):
            if self._outcomes[place] is not None:
                continue
            if recipient.address.is_null:
                self._outcomes[place] = Failed("recipient is empty", host=self._hop.host)
            elif wrong := self._unsendable(recipient.address, "recipient"):
                self._outcomes[place] = wrong
            elif 0 < most <= len(self.to_send):
                # RFC 9422 4.2. The rest is for another transaction.
                why = f"the server takes {most} recipients at once"
                self._outcomes[place] = Deferred(why, ErrorClass.RCPT_4XX, host=self._hop.host)
            else:
                self.to_send.append(place)

    def _unfit(self) -> Outcome | None:
        """Why this server can't be given the message at all."""
        offers, host = self._offers, self._hop.host
        size, most = offers.get("SIZE", ""), read_limits(offers.get("LIMITS", "")).messages
        if size.isdecimal() and 0 < int(size) < self._envelope.size:
            # RFC 1870 6.1: the server said what it takes.
            reason = f"message is larger than the {size} octets that the server takes"
            return Failed(reason, host=host, status="5.3.4")
        if 0 < most <= self._hop.messages:
            # RFC 9422 4.1
            return Deferred(f"the server takes {most} messages in one connection", ErrorClass.MAIL_4XX, host=host)
        if self.is_binary and not ("BINARYMIME" in offers and self.by_chunks):
            # RFC 3030 3: what is not converted is returned.
            return Failed("a binary message, and the server does not take such", host=host, status="5.6.1")
        if self._wants_utf8 and "SMTPUTF8" not in offers:
            # RFC 6531 3.2, 3.5
            return Failed(UTF8_NOT_OFFERED, host=host, status="5.6.7")
        return self._unsendable(self._envelope.sender, "sender")

    def _unsendable(self, address: Address, role: str) -> Failed | None:
        """Why an address cannot stand in a command."""
        text = str(address)
        if _UNSENDABLE.search(text):
            return Failed(f"{role} has control characters in its address", host=self._hop.host)
        if not text.isascii() and "SMTPUTF8" not in self._offers:
            reason = f"{role} has an address outside US-ASCII, and the server does not offer SMTPUTF8"
            return Failed(reason, host=self._hop.host, status="5.6.7")
        if ">" in address.domain or " " in address.domain:
            return Failed(f"{role} has a malformed domain", host=self._hop.host)
        return None

    def _mail_parameters(self) -> str:
        """The parameters of MAIL, each where its extension is offered."""
        envelope, offers, words = self._envelope, self._offers, []
        if "SIZE" in offers and envelope.size:
            words.append(f"SIZE={envelope.size}")
        if self._asks_each:
            words.append("PRDR")
        if self.is_binary or ("8BITMIME" in offers and envelope.body is not BodyType.SEVENBIT):
            words.append(f"BODY={envelope.body.value}")
        if "SMTPUTF8" in offers and (self._wants_utf8 or self._has_utf8_addresses()):
            words.append("SMTPUTF8")
        text = "".join(f" {word}" for word in words)
        return (
            text
            + self._passed_on("DSN", envelope.parameters, ("RET", "ENVID"))
            + self._passed_on("REQUIRETLS", envelope.parameters, ("REQUIRETLS",))
            + self._passed_on("AUTH", envelope.parameters, ("AUTH",))
        )

    def _has_utf8_addresses(self) -> bool:
        recipients = self._envelope.recipients
        addresses = (self._envelope.sender, *(recipients[place].address for place in self.to_send))
        return not all(str(address).isascii() for address in addresses)

    def _passed_on(self, extension: str, parameters: Parameters, keywords: tuple[str, ...]) -> str:
        """The parameters of a transaction that go on as they came, RFC 3461 5.1."""
        if not parameters.items or extension not in self._offers:
            return ""
        found = [(keyword, value) for keyword, value in parameters.items if keyword in keywords]
        fit = [f"{keyword}={value}" if value else keyword for keyword, value in found if _PRINTABLE.fullmatch(value)]
        return "".join(f" {word}" for word in fit)

    def sender_refused(self, reply: Reply) -> None:
        """MAIL got a 4xx or 5xx: that holds for all."""
        self.settle_rest(self._outcome(reply, self._grouped(self.mail), ErrorClass.MAIL_4XX))

    def _grouped(self, command: str) -> str:
        """As logs name it where commands went in groups."""
        return f"pipelined {command}" if self._hop.groups and "PIPELINING" in self._offers else command

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
        self.settle_rest(self._outcome(reply, self._grouped("DATA"), ErrorClass.DATA_4XX))

    def message_answered(self, reply: Reply, place: int | None = None) -> None:
        """The reply to the final dot: for one recipient (LMTP, RFC 2033 4.2), or for all."""
        if 200 <= reply.code < 300:
            outcome: Outcome = self._delivered(_said(reply))
            for each, judged in self._judged.items():
                confirmation = rf"{_said(judged)}\n{_said(reply)}"
                self._outcomes[each] = self._delivered(confirmation, prdr=True)
        else:
            # The last chunk goes out without a wait, the lines behind DATA do not.
            after = self._grouped("end of data") if self.by_chunks else "end of data"
            outcome = self._outcome(reply, after, ErrorClass.DATA_4XX)
        if place is None:
            self.settle_rest(outcome)
        elif isinstance(outcome, Delivered):
            self._outcomes[place] = outcome
        else:
            self._outcomes[place] = self._with_reason(f"{OF_ONE}{_said(reply)}", reply, ErrorClass.OTHER)

    def is_answered_for_each(self) -> bool:
        """Whether a 3xx to the final dot announces a reply for each recipient: once, and where that was asked for."""
        asks_each, self._asks_each = self._asks_each, False
        return asks_each

    def recipient_judged(self, place: int, reply: Reply) -> None:
        """What the server says of one recipient ahead of its reply to all. A good word has to wait for that one."""
        if 200 <= reply.code < 300:
            self._judged[place] = reply
            return
        reason = f"PRDR error after DATA: {_said(reply)}"
        self._outcomes[place] = self._with_reason(reason, reply, ErrorClass.JUDGED_4XX)

    def _delivered(self, confirmation: str, *, prdr: bool = False) -> Delivered:
        hop = self._hop
        in_groups = hop.groups and "PIPELINING" in self._offers
        dialog = Dialog(in_groups=in_groups, by_chunks=self.by_chunks, prdr=prdr)
        return Delivered(confirmation, hop.host, hop.tls, hop.continued, "DSN" in self._offers, dialog, size=self.size)

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
        return self._with_reason(_complaint(reply, after), reply, error)

    def _with_reason(self, reason: str, reply: Reply, error: ErrorClass) -> Outcome:
        if reply.is_permanent:
            return Failed(reason, reply, self._hop.host)
        return Deferred(reason, error, reply, self._hop.host)


def _in_a_labels(envelope: Envelope) -> Envelope:
    """With domains in ASCII, as far as they can be."""
    recipients = tuple(replace(each, address=_with_a_labels(each.address)) for each in envelope.recipients)
    return replace(envelope, sender=_with_a_labels(envelope.sender), recipients=recipients)


def _with_a_labels(address: Address) -> Address:
    if address.domain.isascii():
        return address
    try:
        return replace(address, domain=idna.encode(address.domain, uts46=True).decode("ascii"))
    except UnicodeError:
        return address


def _said(reply: Reply) -> str:
    r"""A reply as Exim shows it: its lines as they came, `\n` between them."""
    return reply.as_sent.replace("\n", r"\n")


def _complaint(reply: Reply, after: str) -> str:
    return f"SMTP error from remote mail server after {after}: {_said(reply)}"[:_LONGEST_COMPLAINT]
