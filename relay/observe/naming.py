"""How a line of the log names an address, who has handled it, and as whom a client is logged in (machine).

Exim: string_log_address. The recipient that an address was made of stands behind it in angle brackets, what lies
between the two in round ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from relay.expand.values import is_tainted
from relay.mail.address import Address
from relay.mail.events import AddressDeferred, AddressDelivered, AddressFailed, AddressNames
from relay.mail.facts import SessionFacts
from relay.mail.outcome import Delivered
from relay.observe.words import free, mailbox, word


def address_with_original(
    event: AddressDelivered | AddressDeferred | AddressFailed, *, all_parents: bool = False
) -> str:
    """The address, or what stands for it, and the recipient that it was made of. `all_parents` shows every address
    between the two; of a file or command the last one is shown always."""
    named = event.named
    if named is None:
        return mailbox(event.address)
    original = event.address if named.original is None else named.original
    between = named.between if all_parents else named.between[: 1 if named.is_text else 0]
    parents = f" ({', '.join(mailbox(each) for each in between)})" if between else ""
    if not named.shown:
        address = mailbox(event.address)
        return address if original == event.address and not parents else f"{address}{parents} <{mailbox(original)}>"
    # A command has spaces, which an operator or a user wrote; those of a peer are escaped.
    shown = word(named.shown) if is_tainted(named.shown) else free(named.shown)
    if not parents and _is_same(named.shown, original):
        return shown
    return f"{shown}{parents} <{mailbox(original)}>"


def _is_same(shown: str, original: Address) -> bool:
    """Whether nothing but the case of the domain is different."""
    local_part, at, domain = shown.rpartition("@")
    return bool(at) and local_part == original.local_part and domain.lower() == original.domain.lower()


def host_found(named: AddressNames | None) -> str:
    """` H=` of a host that only the router knew."""
    return f" H={word(named.host)}" if named is not None and named.host else ""


def shadow_told(outcome: Delivered) -> str:
    """` ST=`; what went wrong there may be anybody's words."""
    return f" ST={free(outcome.shadow)}" if outcome.shadow else ""


def driver_names(router: str, transport: str) -> str:
    """` R=` and ` T=`."""
    return (f" R={router}" if router else "") + (f" T={transport}" if transport else "")


def addresses(listed: Iterable[Address]) -> str:
    """Behind ` for `."""
    return " ".join(mailbox(each) for each in listed)


def login(session: SessionFacts, *, with_sender: bool = False) -> str:
    """` A=` with the authenticator, and the identity behind a colon; whom AUTH= has named behind another."""
    known = session.authentication
    if known is None or not known.authenticator:
        # A caller may name an identity alone (-oMai); nobody has asked for proof of it.
        return ""
    if not known.identity:
        return f" A={known.authenticator}"
    sender = f":{word(known.sender)}" if with_sender and known.sender else ""
    return f" A={known.authenticator}:{word(known.identity)}{sender}"
