"""How values become columns of the queue and are read back (disk).

Facts and envelopes are compact JSON with short keys; what has its default value is left out. Reading is
tolerant: a key that is not known is passed over and one that is missing takes its default, so that a queue
survives both directions of an upgrade. `v` grows only when old readers would misunderstand; a reader refuses
what is newer than itself.

The text is pure ASCII: octets of a peer that are no UTF-8 (surrogates in our strings) and NUL are JSON
escapes, which both engines store without a word, while neither stores them raw.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from relay.expand.values import Tainted, is_tainted
from relay.mail.address import Address
from relay.mail.envelope import BodyType, Parameters, Recipient
from relay.mail.facts import (
    Authentication,
    Certificate,
    DroppedField,
    Endpoint,
    Hello,
    LocalCaller,
    MessageFacts,
    NotAsked,
    ProxyFacts,
    SessionFacts,
    TLSFacts,
    Unverified,
    Verification,
    Verified,
)
from relay.mail.queue import NewMessage, QueuedMessage

VERSION = 1

Fields = dict[str, Any]

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


class Unreadable(ValueError):
    """A row of the queue is damaged, or was written by a newer version; the text says which."""


def column_text(text: str) -> str:
    """Any string as plain text that both engines take; `text_of_column` gives the string back."""
    if text.isascii() and text.isprintable() and not text.startswith('"'):
        return text
    return _encode(text)


def text_of_column(text: str) -> str:
    """The string that `column_text` was given."""
    if not text.startswith('"'):
        return text
    found = json.loads(text)
    if not isinstance(found, str):
        raise Unreadable("a text column holds something else")
    return found


def encode_facts(facts: MessageFacts) -> str:
    """MessageFacts as JSON."""
    fields: Fields = {"v": VERSION, "at": facts.received_at, "s": _session(facts.session)}
    if facts.acl_variables:
        fields["acl"] = facts.acl_variables
        outside = [name for name, value in facts.acl_variables.items() if is_tainted(value)]
        if outside:
            fields["acl_out"] = outside
    if facts.local_scan_data:
        fields["ls"] = facts.local_scan_data
    if facts.longest_header_line is not None:
        fields["hl"] = facts.longest_header_line
    if facts.is_rehearsal:
        fields["n"] = True
    if facts.dropped:
        fields["gone"] = [[each.behind, _octets(each.raw)] for each in facts.dropped]
    return _encode(fields)


def decode_facts(text: str) -> MessageFacts:
    """The MessageFacts that `encode_facts` was given. Raises Unreadable."""
    try:
        fields = _fields(text)
        return MessageFacts(
            session=_session_of(fields["s"]),
            received_at=float(fields["at"]),
            acl_variables=_acl_variables(fields),
            local_scan_data=fields.get("ls", ""),
            longest_header_line=None if (longest := fields.get("hl")) is None else int(longest),
            is_rehearsal=fields.get("n", False) is True,
            dropped=tuple(DroppedField(int(behind), base64.b64decode(raw)) for behind, raw in fields.get("gone", ())),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"the facts of its reception can't be read: {error}") from error


def _acl_variables(fields: Fields) -> dict[str, str]:
    """What came from outside is so still when the message is delivered."""
    found = dict(fields.get("acl", {}))
    for name in fields.get("acl_out", ()):
        found[name] = Tainted(found[name])
    return found


def encode_envelope(message: NewMessage | QueuedMessage) -> str:
    """Sender, body type and parameters as JSON, with the login of a local caller for the listing, where its word on the
    sender does not count (Exim: -sender_set_untrusted)."""
    fields: Fields = {"v": VERSION, "s": [message.sender.local_part, message.sender.domain]}
    if message.body_type is not BodyType.SEVENBIT:
        fields["b"] = message.body_type.value
    if message.parameters.items:
        fields["p"] = message.parameters.items
    caller = message.facts.session.caller
    if caller is not None and not caller.trusted:
        fields["c"] = caller.login
    return _encode(fields)


def decode_envelope(text: str) -> tuple[Address, BodyType, Parameters, str]:
    """Sender, body type, parameters, login of the caller. Raises Unreadable."""
    try:
        fields = _fields(text)
        return (
            address_of(fields["s"]),
            BodyType(fields.get("b", BodyType.SEVENBIT.value)),
            _parameters_of(fields.get("p", ())),
            fields.get("c", ""),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"its envelope can't be read: {error}") from error


def with_sender(text: str, sender: Address) -> str:
    """The envelope with another sender and all else as it is. Raises Unreadable."""
    try:
        fields = _fields(text)
    except ValueError as error:
        raise Unreadable(f"its envelope can't be read: {error}") from error
    return _encode({**fields, "s": [sender.local_part, sender.domain]})


def encode_recipient(recipient: Recipient) -> str:
    """One recipient as JSON."""
    fields: Fields = {"v": VERSION, "a": [recipient.address.local_part, recipient.address.domain]}
    if recipient.parameters.items:
        fields["p"] = recipient.parameters.items
    for name, other in (("o", recipient.original), ("e", recipient.errors_to)):
        if other is not None:
            fields[name] = [other.local_part, other.domain]
    return _encode(fields)


def decode_recipient(text: str) -> Recipient:
    """The recipient that `encode_recipient` was given. Raises Unreadable."""
    try:
        fields = _fields(text)
        original, errors_to = (address_of(fields[name]) if name in fields else None for name in ("o", "e"))
        return Recipient(address_of(fields["a"]), _parameters_of(fields.get("p", ())), original, errors_to)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"a recipient can't be read: {error}") from error


def _fields(text: str) -> Fields:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise Unreadable("not a JSON object")
    version = fields.get("v", VERSION)
    if version > VERSION:
        raise Unreadable(f"written by a newer version (format {version}, this one knows {VERSION})")
    return fields


def address_of(pair: list[str]) -> Address:
    """The address whose parts these are."""
    return Address(str(pair[0]), str(pair[1]))


def _parameters_of(items: list[list[str]]) -> Parameters:
    return Parameters(tuple((str(keyword), str(value)) for keyword, value in items))


def _octets(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _session(session: SessionFacts) -> Fields:
    fields: Fields = {}
    if session.peer is not None:
        fields["peer"] = [session.peer.address, session.peer.port]
    if session.local is not None:
        fields["local"] = [session.local.address, session.local.port]
    if session.caller is not None:
        caller = session.caller
        fields["caller"] = {"login": caller.login, "uid": caller.uid, "gid": caller.gid}
        if caller.trusted:
            fields["caller"]["trusted"] = True
    if session.hello is not None:
        fields["helo"] = [session.hello.name, session.hello.extended]
    if session.tls is not None:
        fields["tls"] = _tls(session.tls)
    if session.authentication is not None:
        fields["auth"] = [session.authentication.authenticator, session.authentication.identity]
        if session.authentication.sender:
            fields["auth"].append(session.authentication.sender)
        if session.authentication.mechanism:
            fields["mech"] = session.authentication.mechanism
    if session.peer_host:
        fields["host"] = session.peer_host
    if session.peer_name:
        fields["name"] = session.peer_name
    if session.tls_on_connect:
        fields["toc"] = True
    if session.ident:
        fields["ident"] = session.ident
    if session.in_dialog:
        fields["dialog"] = True
    if session.given_protocol:
        fields["proto"] = session.given_protocol
    if session.batched:
        fields["bs"] = True
    if session.smtputf8:
        fields["utf8"] = True
    if session.connection_id:
        fields["ci"] = session.connection_id
    if session.proxy is not None:
        ends = (session.proxy.internal, session.proxy.external)
        fields["proxy"] = [None if each is None else [each.address, each.port] for each in ends]
    return fields


def _session_of(fields: Fields) -> SessionFacts:
    caller = fields.get("caller")
    tls = fields.get("tls")
    return SessionFacts(
        peer=_endpoint_of(fields.get("peer")),
        local=_endpoint_of(fields.get("local")),
        caller=None
        if caller is None
        else LocalCaller(
            str(caller["login"]), int(caller["uid"]), int(caller["gid"]), bool(caller.get("trusted", False))
        ),
        peer_host=fields.get("host", ""),
        hello=None if "helo" not in fields else Hello(str(fields["helo"][0]), bool(fields["helo"][1])),
        tls=None if tls is None else _tls_of(tls),
        tls_on_connect=bool(fields.get("toc", False)),
        authentication=None if "auth" not in fields else _authentication_of(fields),
        peer_name=fields.get("name", ""),
        batched=bool(fields.get("bs", False)),
        ident=fields.get("ident", ""),
        in_dialog=bool(fields.get("dialog", False)),
        given_protocol=fields.get("proto", ""),
        smtputf8=bool(fields.get("utf8", False)),
        connection_id=str(fields.get("ci", "")),
        proxy=_proxy_of(fields.get("proxy")),
    )


def _proxy_of(ends: list[Any] | None) -> ProxyFacts | None:
    if ends is None:
        return None
    internal = _endpoint_of(ends[0])
    return None if internal is None else ProxyFacts(internal, _endpoint_of(ends[1]))


def _endpoint_of(pair: list[Any] | None) -> Endpoint | None:
    return None if pair is None else Endpoint(str(pair[0]), int(pair[1]))


def _authentication_of(fields: Fields) -> Authentication:
    return replace(Authentication(*map(str, fields["auth"])), mechanism=fields.get("mech", ""))


def _tls(tls: TLSFacts) -> Fields:
    fields: Fields = {"ver": tls.version, "suite": tls.suite, "bits": tls.bits}
    for key, value in (("group", tls.group), ("sni", tls.sni), ("alpn", tls.alpn)):
        if value:
            fields[key] = value
    if tls.resumed:
        fields["res"] = True
    for key, bits in (("ocsp", tls.ocsp), ("resn", tls.resumption)):
        if bits:
            fields[key] = bits
    if tls.ours is not None:
        fields["ours"] = _certificate(tls.ours)
    if tls.peer is not None:
        fields["peer"] = _certificate(tls.peer)
    if tls.binding:
        fields["bind"] = _octets(tls.binding)
    match tls.verification:
        case Verified(by):
            fields["by"] = by
        case Unverified(reason):
            fields["not"] = reason
        case NotAsked():
            pass
        case _ as never:
            assert_never(never)
    return fields


def _tls_of(fields: Mapping[str, Any]) -> TLSFacts:
    verification: Verification = NotAsked()
    if "not" in fields:
        verification = Unverified(str(fields["not"]))
    elif "by" in fields:
        verification = Verified(str(fields["by"]))
    return TLSFacts(
        version=str(fields["ver"]),
        suite=str(fields["suite"]),
        bits=int(fields["bits"]),
        group=fields.get("group", ""),
        sni=fields.get("sni", ""),
        alpn=fields.get("alpn", ""),
        resumed=bool(fields.get("res", False)),
        ocsp=int(fields.get("ocsp", 0)),
        resumption=int(fields.get("resn", 0)),
        ours=_certificate_of(fields.get("ours")),
        peer=_certificate_of(fields.get("peer")),
        verification=verification,
        binding=base64.b64decode(fields.get("bind", "")),
    )


def _certificate(certificate: Certificate) -> Fields:
    return {
        "der": _octets(certificate.der),
        "dn": certificate.subject,
        "issuer": certificate.issuer,
        "key": certificate.key_digest,
    }


def _certificate_of(fields: Mapping[str, Any] | None) -> Certificate | None:
    if fields is None:
        return None
    return Certificate(
        der=base64.b64decode(fields["der"]),
        subject=str(fields["dn"]),
        issuer=str(fields["issuer"]),
        key_digest=str(fields["key"]),
    )
