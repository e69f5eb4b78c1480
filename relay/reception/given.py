"""What a trusted caller says of where a message came from: Exim's -oM… options as a session (decision)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from relay.mail.facts import Authentication, Endpoint, LocalCaller, SessionFacts

NAMES = frozenset(
    {
        "address",
        "interface",
        "host",
        "ident",
        "protocol",
        "authenticator",
        "authenticated_id",
        "authenticated_sender",
        "message",
    }
)
"""What may be given, by the names that a submission's request has for it."""
_MESSAGE_ID = re.compile(r"[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})")
_ENDPOINT = re.compile(r"\[(.+)\](?::(\d{1,5}))?|(\d+\.\d+\.\d+\.\d+|.*:[\dA-Fa-f]+)\.(\d{1,5})|(.+)")


def read_endpoint(text: str) -> Endpoint:
    """An address with or without a port: `192.0.2.1.2525`, `[2001:db8::1]:25`, `2001:db8::1.25`. Raises ValueError."""
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    bracketed, port, dotted, dotted_port, plain = match.groups()
    try:
        address = ipaddress.ip_address(bracketed or dotted or plain)
    except ValueError:
        raise ValueError(text) from None
    number = int(port or dotted_port or 0)
    if number > 65535:
        raise ValueError(text)
    return Endpoint(str(address), number)


@dataclass(frozen=True, slots=True)
class Given:
    """The client as it is described; None and "": nothing is said."""

    peer: Endpoint | None = None
    local: Endpoint | None = None
    host: str = ""
    ident: str = ""
    protocol: str = ""
    authenticator: str = ""
    identity: str = ""
    sender: str = ""

    def facts(self, caller: LocalCaller | None) -> SessionFacts:
        """The session that this describes. Where a host is named, it is the client."""
        authentication = None
        if self.authenticator or self.identity:
            authentication = Authentication(self.authenticator, self.identity, self.sender)
        elif self.sender:
            authentication = Authentication("", caller.login if caller is not None else "", self.sender)
        return SessionFacts(
            caller=caller,
            peer=self.peer,
            local=self.local,
            peer_host=self.host,
            authentication=authentication,
            ident=self.ident,
            given_protocol=self.protocol,
        )


def read_given(said: Mapping[str, str]) -> Given:
    """What was said, by `NAMES`; what is none of them is passed over. Raises ValueError for what is no address."""
    address, interface = said.get("address", ""), said.get("interface", "")
    return Given(
        peer=read_endpoint(address) if address else None,
        local=read_endpoint(interface) if interface else None,
        host=said.get("host", ""),
        ident=said.get("ident", ""),
        protocol=said.get("protocol", ""),
        authenticator=said.get("authenticator", ""),
        identity=said.get("authenticated_id", ""),
        sender=said.get("authenticated_sender", ""),
    )


def session_of(caller: LocalCaller, given: Given, *, batched: bool = False) -> SessionFacts:
    """The session of a message: as it is described by a caller who is trusted, else the caller alone."""
    return replace((given if caller.trusted else Given()).facts(caller), batched=batched)


def reference(caller: LocalCaller, said: Mapping[str, str]) -> str:
    """The message that this one is about, where somebody who is trusted says so (-oMm); else ""."""
    named = said.get("message", "")
    return named if caller.trusted and _MESSAGE_ID.fullmatch(named) else ""
