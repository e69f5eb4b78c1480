"""What `verify` may find wrong in the header of a message (machine).

Each check takes the fields and answers with the complaint, "" where there is none. Exim: verify.c,
verify_check_headers, verify_check_header_names_ascii and verify_check_notblind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay.esmtp.header_addresses import Mailbox, Unreadable, locate_mailboxes
from relay.mail.address import Address
from relay.mail.header import Field
from relay.mail.text import from_wire, printable

_ADDRESS_FIELDS = frozenset({"from", "reply-to", "sender", "to", "cc", "bcc"})
_SHOWN_LIMIT = 1024
# Where the sender of a message may stand, the best place first.
_SENDER_FIELDS = ("sender", "reply-to", "from")


def bad_syntax(fields: Sequence[Field], *, allow_unqualified: bool = False) -> str:
    """The first address that can't be read, or that has no domain and needs one."""
    for field in fields:
        if _kind(field) not in _ADDRESS_FIELDS:
            continue
        text = from_wire(field.value)
        for found in locate_mailboxes(text):
            if isinstance(found, Unreadable):
                why = found.reason
            elif not found.address.is_qualified and not found.address.is_null and not allow_unqualified:
                why = "unqualified address not permitted"
            else:
                continue
            shown = text[slice(*found.item)]
            verb = "is" if len(shown) <= _SHOWN_LIMIT else "begins"
            return printable(f'{why}: failing address in "{field.name}:" header {verb}: {shown[:_SHOWN_LIMIT]}')
    return ""


def bad_field_name(fields: Sequence[Field]) -> str:
    """The first field whose name has anything but printable ASCII."""
    for field in fields:
        name = field.raw.partition(b":")[0]
        if any(not 33 <= octet <= 126 for octet in name):
            return f'Invalid character in header "{printable(from_wire(name))}" found'
    return ""


def is_blind(fields: Sequence[Field], recipient: Address, *, caseless: bool) -> bool:
    """Whether a recipient of the envelope is named neither in To: nor in Cc:."""
    local_part = recipient.local_part.lower() if caseless else recipient.local_part
    for field in fields:
        if _kind(field) not in ("to", "cc"):
            continue
        for found in locate_mailboxes(from_wire(field.value)):
            if not isinstance(found, Mailbox) or not found.address.is_qualified:
                continue
            named = found.address.local_part.lower() if caseless else found.address.local_part
            if named == local_part and found.address.domain.lower() == recipient.domain.lower():
                return False
    return True


def header_senders(fields: Sequence[Field]) -> Iterator[tuple[str, Mailbox | Unreadable, str]]:
    """Who may be the sender of a message, by its header: Sender:, then Reply-To:, then From:.

    Each with the name of its field and the text as it stands there.
    """
    for kind in _SENDER_FIELDS:
        for field in fields:
            if _kind(field) != kind:
                continue
            text = from_wire(field.value)
            for found in locate_mailboxes(text):
                yield field.name, found, text[slice(*found.item)]


def _kind(field: Field) -> str:
    """The name in lower case; a field of a message that was sent once more counts as what it is a second one of."""
    return field.name.lower().removeprefix("resent-")
