"""For whom a proxy speaks: the facts of a session after XCLIENT or a PROXY header (decision)."""

from __future__ import annotations

from dataclasses import replace

from relay.esmtp.xclient import ClientAttributes
from relay.mail.facts import Authentication, Endpoint, Hello, NotAsked, ProxyFacts, SessionFacts, TLSFacts

XCLIENT_LOGIN = "xclient"
"""What stands for an authenticator where the proxy says that the client has logged in."""


def proxied(facts: SessionFacts, attributes: ClientAttributes) -> SessionFacts:
    """The client that XCLIENT names. What it leaves out stays as it was; what it does not know is unknown.

    The TLS layer is the proxy's: its certificate says nothing of the client. The name of the last greeting stays what
    the log calls the client by, until the proxy greets for it.
    """
    login = attributes.get("LOGIN")
    name = attributes.get("HELO")
    extended = attributes.get("PROTO") != "SMTP"
    return replace(
        facts,
        peer=_endpoint(facts.peer, attributes, "ADDR", "PORT"),
        proxy=_proxy(facts, attributes),
        peer_host=attributes.get("NAME") or "",
        hello=Hello(name, extended) if name is not None else facts.hello,
        tls=without_certificate(facts.tls),
        authentication=Authentication(XCLIENT_LOGIN, login) if login is not None else None,
        peer_name="",
    )


def _proxy(facts: SessionFacts, attributes: ClientAttributes) -> ProxyFacts | None:
    """Where XCLIENT came from is the proxy's inner end, for Exim too where it spoke for another client before."""
    before = facts.proxy
    internal = facts.peer if before is None or "ADDR" in attributes else before.internal
    if internal is None:
        return before
    return ProxyFacts(internal, _endpoint(before.external if before else None, attributes, "DESTADDR", "DESTPORT"))


def _endpoint(known: Endpoint | None, attributes: ClientAttributes, address: str, port: str) -> Endpoint | None:
    host, number = attributes.get(address), attributes.get(port)
    if address not in attributes and port not in attributes:
        return known
    kept = known or Endpoint("", 0)
    return Endpoint(host if host is not None else kept.address, int(number) if number is not None else 0)


def without_certificate(tls: TLSFacts | None) -> TLSFacts | None:
    """The layer without what it says of who is at its other end."""
    return None if tls is None else replace(tls, peer=None, verification=NotAsked(), binding=b"", sni="")
