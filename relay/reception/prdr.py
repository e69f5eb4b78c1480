"""Each recipient's own answer to a message's data, where the client has asked for such (decision).

PRDR (draft-hall-prdr-00; Exim: prdr_enable, acl_smtp_data_prdr). When the data is over an ACL is asked about every
recipient. The client gets 353, one reply for each of them in the order of its RCPT commands, and the reply for the
message as a whole behind them, which alone ends the transaction. All of these are sent together, and only when the
queue has the message on disk: where something fails on the way, the client gets one reply for all, as if it had not
asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from relay.mail import events, reply
from relay.mail.ports import Journal
from relay.mail.reply import Reply
from relay.policy.acl_values import Accepted, Deferred, Denied, Discarded, Verdict, Where
from relay.reception.admission import Admission
from relay.reception.client import Transaction


@dataclass(frozen=True, slots=True)
class Recipients:
    """What the recipients have said: their replies, with the one that announces them, and the reply to all."""

    replies: tuple[Reply, ...] = field(default=())
    overall: Reply | None = None
    """None: nobody was asked."""


async def ask_recipients(transaction: Transaction, admission: Admission, journal: Journal) -> Recipients:
    """Asks about each recipient, and takes those out of the transaction that do not want the message.

    One recipient is not asked: the reply to the data is its own. Raises TemporaryFailure.
    """
    if not transaction.prdr or len(transaction.recipients) < 2:
        transaction.prdr = False
        return Recipients()
    replies, kept, verdicts = [reply.PRDR_BEGINS], [], []
    for recipient in transaction.recipients:
        verdict = await admission.verdict(Where.PRDR, recipient.address)
        said, note = _said(f"R=<{recipient.address}>", str(recipient.address), verdict, admission)
        journal.record(events.MessageNote(transaction.message_id, note))
        replies.append(said)
        verdicts.append(verdict)
        if isinstance(verdict, Accepted):
            kept.append(recipient)
    transaction.recipients = kept
    return Recipients(tuple(replies), _overall(transaction.message_id, verdicts))


def _said(named: str, address: str, verdict: Verdict, admission: Admission) -> tuple[Reply, str]:
    """The reply for one recipient, and the line about it."""
    match verdict:
        case Accepted() | Discarded():
            usual = reply.PRDR_RECIPIENT_TAKES.with_text(f"PRDR {named} acceptance")
            said = admission.accepted(usual, verdict)
            own, log_text = said != usual, verdict.log_text if isinstance(verdict, Discarded) else ""
        case Deferred():
            own, log_text = verdict.reply != reply.LOCAL_PROBLEM, verdict.log_text
            said = replace(verdict.reply, code=450) if verdict.reply.code == 451 else verdict.reply
            said = said if own else reply.PRDR_RECIPIENT_WAITS.with_text(f"PRDR {named} temporary refusal")
        case Denied():
            own, log_text = verdict.reply != reply.ADMINISTRATIVE_PROHIBITION, verdict.log_text
            said = verdict.reply if own else verdict.reply.with_text(f"PRDR {named} refusal")
    said = admission.shortened(said)
    if log_text or own:
        return said, f"PRDR {address} {(log_text or said.text).partition(chr(10))[0]}"
    return said, said.text


def _overall(message_id: str, verdicts: list[Verdict]) -> Reply:
    """The reply for the message where the ACL for it has nothing against it."""
    if all(isinstance(each, Denied) for each in verdicts):
        return reply.ADMINISTRATIVE_PROHIBITION.with_text(f"id={message_id} message rejected for all recipients")
    all_take = all(isinstance(each, Accepted) for each in verdicts)
    some = "" if all_take else " for some recipients"
    return reply.MESSAGE_ACCEPTED.with_text(f"id={message_id} message accepted{some}")
