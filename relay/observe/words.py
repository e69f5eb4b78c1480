"""How a log line says a peer's text, a host and a duration (edge)."""

from __future__ import annotations

import ipaddress

from relay.mail.facts import SessionFacts
from relay.mail.text import printable, readable

TEXT_LIMIT = 8000


def word(text: str) -> str:
    """A peer's text as one field that ends at a space."""
    shown = printable(text)
    return shown.replace(" ", "\\040") if " " in shown else shown


def mailbox(address: object) -> str:
    """An address as one field: as in Exim's logs its letters stay, in UTF-8, and what has no shape is escaped.

    Blanks stay where they stand in quotes; elsewhere they would end the field.
    """
    shown = readable(str(address))
    return shown.replace(" ", "\\040") if " " in shown and not shown.startswith('"') else shown


def quoted(text: str, limit: int = 0) -> str:
    """A peer's text in double quotes; of `limit` characters at most before it was escaped."""
    if limit:
        text = text[:limit]
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(text)}"'


def free(text: str) -> str:
    """A text that ends its line."""
    return printable(text, TEXT_LIMIT)


def of_addresses(text: str) -> str:
    """A command of a session, which is an address for the most part."""
    return readable(text, TEXT_LIMIT)


def full_host(session: SessionFacts, *, port: bool) -> str:
    """Exim's `$sender_fullhost`: `name (helo) [address]:port`, with what is known of it."""
    if session.peer is None:
        return ""
    address = session.peer.address
    shown = f"[{address}]:{session.peer.port}" if port else f"[{address}]"
    helo = session.hello.name if session.hello is not None else ""
    if not session.peer_host:
        return f"({word(helo)}) {shown}" if helo else shown
    if not helo or helo.lower() == session.peer_host.lower() or _is_literal_of(helo, address):
        return f"{word(session.peer_host)} {shown}"
    return f"{word(session.peer_host)} ({word(helo)}) {shown}"


def _is_literal_of(helo: str, address: str) -> bool:
    """Whether the greeting only repeats the address: `[192.0.2.1]`, `[IPv6:2001:db8::1]`."""
    if not (helo.startswith("[") and helo.endswith("]")):
        return False
    literal = helo[1:-1]
    if literal[:5].lower() in ("ipv6:", "ipv4:"):
        literal = literal[5:]
    try:
        return ipaddress.ip_address(literal) == ipaddress.ip_address(address)
    except ValueError:
        return False


def elapsed_time(seconds: float, *, millisec: bool = True) -> str:
    """A short duration as Exim writes it: `0.123s`, `17s`, `2m3s`; without `millisec` in whole seconds."""
    if seconds < 5 and millisec:
        return f"{max(seconds, 0.0):.3f}s"
    left = int(seconds)
    parts = []
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
