"""What the owner of a mailbox is told when a message has taken it over a threshold (decision).

Exim: quota_warn_threshold, quota_warn_message. The notice goes once, with the message that crosses the threshold; the
delivery stands whatever becomes of the notice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.delivery.autoreply import Replies, ReplyRefused
from relay.delivery.jobs import Identity
from relay.delivery.local import Errand
from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.mail.events import Trouble
from relay.mail.ports import Journal, TemporaryFailure
from relay.mail.text import to_wire

# A local part with a comma in it must not become two recipients.
USUAL_MESSAGE = (
    "To: ${quote_local_part:$local_part}@$domain\n"
    "Subject: Your mailbox\n\n"
    "This message was created automatically by mail delivery software.\n\n"
    "Your mailbox has become larger than the size at which you are to be told.\n"
    "When it is full, mail for you will be held back, and returned in the end.\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRules:
    """The message as it was compiled, and what it gets where it does not say it."""

    transport: str
    message: Expansion
    sender: Expansion | None = None
    """Exim: dsn_from."""
    reply_to: str = ""
    """Exim: errors_reply_to."""
    qualify_domain: str = ""


class QuotaWarning:
    """The notices of one transport."""

    def __init__(self, rules: WarningRules, replies: Replies, journal: Journal, own: Identity) -> None:
        self._rules = rules
        self._replies = replies
        self._journal = journal
        self._own = own

    async def crossed(self, errand: Errand) -> None:
        """Sends the notice. What goes wrong is logged."""
        message_id = errand.message.message_id
        try:
            await self._replies.send(to_wire(await self._text(errand)), message_id, self._own)
        except (ExpansionFailed, TemporaryFailure) as error:
            what = f'Failed to expand "{self._rules.message.source}"'
            self._tell(f"{what} (warning message for {self._rules.transport} transport): {error}", message_id)
        except ReplyRefused as error:
            self._tell(f"warning message for {self._rules.transport} transport was not sent: {error}", message_id)

    def _tell(self, what: str, message_id: str) -> None:
        self._journal.record(Trouble(what, "correct quota_warn_message", message_id))

    async def _text(self, errand: Errand) -> str:
        """Raises ExpansionFailed, TemporaryFailure."""
        rules = self._rules
        text = await rules.message.lines(errand.scope)
        header = text.partition("\n\n")[0]
        before = "Auto-Submitted: auto-replied\n"
        if rules.reply_to and not _has(header, "Reply-To"):
            before = f"Reply-To: {rules.reply_to}\n{before}"
        if not _has(header, "From"):
            sender = " ".join((await rules.sender.text(errand.scope)).split()) if rules.sender is not None else ""
            before += f"From: {sender or f'Mail Delivery System <Mailer-Daemon@{rules.qualify_domain}>'}\n"
        return f"{before}{text}" if text.endswith("\n") else f"{before}{text}\n"


def _has(header: str, name: str) -> bool:
    return re.search(rf"^{name}[ \t]*:", header, re.IGNORECASE | re.MULTILINE) is not None
