"""What is done to the header of a message that a local program hands over (decision).

A message that begins here must have Message-Id:, Date: and From:; a program that leaves them out gets them,
and a From: that is not the caller's gets a Sender: that is. A message that is being resent has fields of its
own for all of this, in front of the others (RFC 5322 3.6.6). Fields that belong to a delivery are taken out.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.header import Header
from email.utils import formatdate

from relay.esmtp.grammar import Malformed
from relay.esmtp.header_addresses import read_address_list
from relay.expand.headers import decode_words
from relay.mail.address import Address
from relay.mail.header import Field, make_field
from relay.mail.text import from_wire
from relay.policy.routers.arriving import split_prefix, split_suffix
from relay.policy.routers.settings import Affixes

_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_NO_ID_TEXT = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]")
_NO_ID_DOMAIN = re.compile(r"[^A-Za-z0-9.-]")
DELIVERY_FIELDS = frozenset({"return-path", "envelope-to", "delivery-date"})
"""What a delivery writes, and no message should have before it."""
_RECIPIENT_FIELDS = ("to", "cc", "bcc")
_FULL_NAME_LIMIT = 250


class Fixing(enum.Enum):
    """How much is done."""

    NONE = "none"
    """-G: nothing is added."""
    COMPLETE = "complete"
    """Missing fields are added."""
    COMPLETE_AND_CHECK_FROM = "complete and check From"
    """And a Sender: where From: is not the caller (Exim: local_from_check, an untrusted caller)."""


@dataclass(frozen=True, slots=True)
class FromAffixes:
    """Forms of prefixes and suffixes, as routers have them."""

    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()

    def without(self, local_part: str) -> str:
        """The local part without the first prefix and the first suffix that it has."""
        prefix = split_prefix(local_part, Affixes(self.prefixes, True))
        if prefix is not None:
            local_part = local_part[len(prefix[0]) :]
        suffix = split_suffix(local_part, Affixes(self.suffixes, True))
        return local_part if suffix is None else local_part[: len(local_part) - len(suffix[0])]


@dataclass(frozen=True, slots=True)
class HeaderNeeds:
    """What the fields are made from. `originator` is who called, `sender` who stands in the envelope."""

    fixing: Fixing
    message_id: str
    id_domain: str
    """Behind the @ of a Message-Id: that is made, and what stands before it behind the message's id."""
    now: float
    sender: Address
    originator: Address
    full_name: str
    name_in_from: bool
    drop_sender_field: bool
    drop_bcc: bool
    from_affixes: FromAffixes | None = None
    id_text: str = ""
    """What a From: may have around the originator's local part (Exim: local_from_prefix, local_from_suffix)."""
    delivery_fields: frozenset[str] = DELIVERY_FIELDS
    """Names in lower case of what is taken out (Exim: return_path_remove and its like)."""


@dataclass(frozen=True, slots=True)
class FixedHeader:
    """The header as it goes on, and what the log wants of it."""

    fields: tuple[Field, ...]
    given_message_id: str
    """The Message-ID: that the program gave, "" where it is ours."""
    made_message_id: str
    """Ours then."""
    subject: str


def logged_subject(fields: Sequence[Field]) -> str:
    """The first subject with its encoded words read and its line breaks as they came; empty where there is none."""
    subject = _first(fields, "Subject")
    return decode_words(subject.folded, convert=False) if subject else ""


def is_resent(fields: tuple[Field, ...]) -> bool:
    """Whether any field says that this message is sent once more."""
    return any(each.name.lower().startswith("resent-") for each in fields)


def recipients_in_header(fields: tuple[Field, ...]) -> tuple[Address, ...]:
    """The addresses of To:, Cc: and Bcc:; of the Resent- ones alone where there are any. Raises Malformed."""
    prefix = "resent-" if is_resent(fields) else ""
    names = {prefix + name for name in _RECIPIENT_FIELDS}
    found: list[Address] = []
    for each in fields:
        if each.name.lower() in names:
            found += read_address_list(from_wire(each.value))
    return tuple(found)


def phrase(name: str) -> str:
    """A person's name as it may stand before an address: as it is, in quotes, or as an encoded word."""
    name = " ".join(name.split())[:_FULL_NAME_LIMIT]
    if _PHRASE.fullmatch(name):
        return name
    if name.isascii() and name.isprintable():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    readable = name.encode("utf-8", "replace").decode("utf-8")
    return Header(readable, "utf-8").encode(linesep="\r\n")


def fix_header(fields: tuple[Field, ...], needs: HeaderNeeds) -> FixedHeader:
    """The header with what is missing added and what does not belong taken out."""
    prefix = "Resent-" if is_resent(fields) else ""
    kept = [each for each in fields if not _is_dropped(each, prefix, needs)]
    given_id = _first(kept, prefix + "Message-ID")
    if needs.fixing is not Fixing.NONE:
        kept = _completed(kept, prefix, needs, has_id=given_id is not None)
    return FixedHeader(
        tuple(kept),
        from_wire(given_id.value) if given_id else "",
        "" if given_id or needs.fixing is Fixing.NONE else _made_id(needs),
        logged_subject(kept),
    )


def _is_dropped(each: Field, prefix: str, needs: HeaderNeeds) -> bool:
    name = each.name.lower()
    if name in needs.delivery_fields:
        return True
    if needs.drop_sender_field and name == f"{prefix}sender".lower():
        return True
    return needs.drop_bcc and name == f"{prefix}bcc".lower()


def _first(fields: Sequence[Field], name: str) -> Field | None:
    return next((each for each in fields if each.is_named(name)), None)


def _made_id(needs: HeaderNeeds) -> str:
    domain = _NO_ID_DOMAIN.sub("-", needs.id_domain)
    text = f".{_NO_ID_TEXT.sub('-', needs.id_text)}" if needs.id_text else ""
    return f"<E{needs.message_id}{text}@{domain}>"


def _completed(kept: list[Field], prefix: str, needs: HeaderNeeds, *, has_id: bool) -> list[Field]:
    # A message that is sent again gets what Exim puts on top of it there, and the rest behind it as any other.
    on_top: list[Field] = []
    added: list[Field] = []
    if not has_id:
        (on_top if prefix else added).append(make_field(f"{prefix}Message-Id", _made_id(needs)))
    author = _first(kept, f"{prefix}From")
    if author is not None and author.value.lower() == needs.originator.local_part.lower().encode():
        # The bare login, as some mail programs write it.
        whole = _mailbox(needs.originator, needs.full_name)
        kept[kept.index(author)] = author = make_field(author.name, whole)
    if author is None:
        address = needs.originator if needs.sender.is_null else needs.sender
        author = make_field(f"{prefix}From", _mailbox(address, needs.full_name if needs.name_in_from else ""))
        added.append(author)
    if needs.fixing is Fixing.COMPLETE_AND_CHECK_FROM and not _is_from(author, needs.originator, needs.from_affixes):
        added.append(make_field(f"{prefix}Sender", _mailbox(needs.originator, needs.full_name)))
    if _first(kept, f"{prefix}Date") is None:
        date = make_field(f"{prefix}Date", formatdate(needs.now, localtime=True))
        if prefix:
            on_top.insert(0, date)
        else:
            added.append(date)
    return [*on_top, *kept, *added]


def _is_from(author: Field, originator: Address, affixes: FromAffixes | None) -> bool:
    """Whether a From: names the caller and nobody else; the letters' case does not count."""
    try:
        named = read_address_list(from_wire(author.value))
    except Malformed:
        return False
    if len(named) != 1:
        return False
    address = named[0].qualified(originator.domain)
    if affixes is not None:
        address = replace(address, local_part=affixes.without(address.local_part))
    return str(address).lower() == str(originator).lower()


def _mailbox(address: Address, name: str) -> str:
    shown = phrase(name)
    return f"{shown} <{address}>" if shown else str(address)
