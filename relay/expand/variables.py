"""The variables: from a name to the closure that reads it (decision).

One row for each variable of Exim's that makes sense for a relay, and ours. `outside` marks what a peer can choose; its
text is tainted. A number that is not known is what Exim prints then, mostly 0. What this table does not have is an
unknown variable, found when the configuration is read.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from relay.expand.errors import ExpansionFailed
from relay.expand.headers import header_text
from relay.expand.list_items import confirmed_names
from relay.expand.scope import AddressView, Evaluator, Frame, MessageView, Test
from relay.expand.splitting import join_list
from relay.expand.tree import HeaderForm
from relay.expand.values import Tainted, Value, lower
from relay.mail.address import Address
from relay.mail.facts import Authentication, TLSFacts

# The version of Exim whose language this is.
EXIM_VERSION = "4.99"

Getter = Callable[[Frame], Value]

_NO_MESSAGE = MessageView()
_NO_ADDRESS = AddressView()


# The session


def _peer_address(frame: Frame) -> Value:
    peer = frame.scope.session.peer
    return peer.address if peer else ""


def _peer_port(frame: Frame) -> Value:
    peer = frame.scope.session.peer
    return str(peer.port) if peer else "0"


def _local_address(frame: Frame) -> Value:
    local = frame.scope.session.local
    return local.address if local else ""


def _local_port(frame: Frame) -> Value:
    local = frame.scope.session.local
    return str(local.port) if local else "-1"


def _helo(frame: Frame) -> Value:
    hello = frame.scope.session.hello
    return hello.name if hello else ""


def _authentication(frame: Frame) -> Authentication | None:
    return frame.scope.session.authentication


def _identity(frame: Frame) -> Value:
    given = _authentication(frame)
    return given.identity if given else ""


def _authenticator(frame: Frame) -> Value:
    given = _authentication(frame)
    return given.authenticator if given else ""


def _ident(frame: Frame) -> Value:
    caller = frame.scope.session.caller
    return caller.login if caller else ""


def _caller_id(which: str) -> Getter:
    def get(frame: Frame) -> Value:
        caller = frame.scope.session.caller
        return "-1" if caller is None else str(caller.uid if which == "uid" else caller.gid)

    return get


def _helo_to_show(frame: Frame) -> str:
    """The name given at HELO, unless it only says what is known: the address as a literal, or the confirmed name."""
    session = frame.scope.session
    name = session.hello.name if session.hello else ""
    if not name or session.peer is None:
        return name
    if name[0] == "[" and name[-1] == "]":
        inner = name[1:-1]
        inner = inner[5:] if inner[:5].lower() in ("ipv6:", "ipv4:") else inner
        if inner.lower() == session.peer.address.lower():
            return ""
    if session.peer_host and lower(session.peer_host) == lower(name):
        return ""
    return name


def _full_host(frame: Frame) -> Value:
    """`name (helo) [address]`. Exim: host_build_sender_fullhost."""
    session = frame.scope.session
    if session.peer is None:
        return ""
    shown = f"[{session.peer.address}]"
    if session.peer_host:
        helo = _helo_to_show(frame)
        return f"{session.peer_host} ({helo}) {shown}" if helo else f"{session.peer_host} {shown}"
    name = session.hello.name if session.hello else ""
    return f"({name}) {shown}" if name else shown


def _received_host(frame: Frame) -> Value:
    """The same in the form for `Received:`."""
    session = frame.scope.session
    if session.peer is None:
        return ""
    shown, helo = f"[{session.peer.address}]", _helo_to_show(frame)
    if session.peer_host:
        return f"{session.peer_host} ({shown} helo={helo})" if helo else f"{session.peer_host} ({shown})"
    return f"{shown} (helo={helo})" if helo else shown


async def _host_name(frame: Frame) -> Value:
    """$sender_host_name is looked up when it is first asked for."""
    scope = frame.scope
    session = scope.session
    if session.peer_host or session.peer is None:
        return Tainted(session.peer_host)
    if scope.client_names is not None:
        names = await scope.client_names()
    elif scope.resolver is not None:
        names = await confirmed_names(session.peer.address, scope.resolver)
    else:
        names = ()
    return Tainted(names[0]) if names else ""


# TLS


def _tls(read: Callable[[TLSFacts], Value], without: str, which: str) -> Getter:
    """A fact of the inbound layer, the outbound one, or the one that matters at the moment (old names)."""

    def inbound(frame: Frame) -> Value:
        tls = frame.scope.session.tls
        return read(tls) if tls is not None else without

    def outbound(frame: Frame) -> Value:
        tls = frame.scope.tls_out
        return read(tls) if tls is not None else without

    def either(frame: Frame) -> Value:
        return inbound(frame) if frame.scope.host is None else outbound(frame)

    return {"in": inbound, "out": outbound, "either": either}[which]


# Name behind `tls_in_`: reader, text where there is no TLS, whether the peer chooses it.
_TLS: dict[str, tuple[Callable[[TLSFacts], Value], str, bool]] = {
    "bits": (lambda tls: str(tls.bits), "0", False),
    "certificate_verified": (lambda tls: "1" if tls.is_verified else "0", "0", False),
    "cipher": (lambda tls: tls.cipher, "", False),
    "ocsp": (lambda _tls: "0", "0", False),
    "ourcert": (lambda tls: tls.ours or "", "", False),
    "peercert": (lambda tls: tls.peer or "", "", False),
    "peerdn": (lambda tls: tls.peer.subject if tls.peer else "", "", True),
    # Built in (1); ticket asked for (2), session offered (4) and used (16). Exim: RESUME_SUPPORTED and on.
    "resumption": (lambda tls: "23" if tls.resumed else "1", "0", False),
    "sni": (lambda tls: tls.sni, "", True),
    "ver": (lambda tls: tls.version, "", False),
    # Ours
    "certificate_error": (lambda tls: tls.why_unverified, "", True),
    "group": (lambda tls: tls.group, "", False),
}

CERTIFICATES = frozenset({"tls_in_ourcert", "tls_in_peercert", "tls_out_ourcert", "tls_out_peercert"})


# The message and its addresses


def _message(frame: Frame) -> MessageView:
    return frame.scope.message or _NO_MESSAGE


def _text(address: Address | None) -> str:
    if address is None or address.is_null:
        return ""
    return f"{address.local_part}@{address.domain}" if address.domain else address.local_part


def _sender(frame: Frame) -> Value:
    return _text(_message(frame).sender)


def _sender_domain(frame: Frame) -> Value:
    sender = _message(frame).sender
    return sender.domain if sender else ""


def _sender_local_part(frame: Frame) -> Value:
    sender = _message(frame).sender
    return sender.local_part if sender else ""


def _recipients(frame: Frame) -> Value:
    message = _message(frame)
    return ", ".join(map(_text, message.recipients)) if message.recipients_visible else ""


def _recipients_list(frame: Frame) -> Value:
    message = _message(frame)
    return join_list(map(_text, message.recipients)) if message.recipients_visible else ""


def _received_count(frame: Frame) -> Value:
    return str(sum(field.is_named("received") for field in _message(frame).header))


def _received_time(frame: Frame) -> Value:
    at = _message(frame).received_at
    return "0" if at is None else str(int(at))


def _message_age(frame: Frame) -> Value:
    at = _message(frame).received_at
    return "0" if at is None else str(max(0, int(frame.scope.now - at)))


def _reply_address(frame: Frame) -> Value:
    header = _message(frame).header
    for name in ("reply-to", "from"):
        text = header_text(header, name, HeaderForm.RAW)
        if text is not None and text.strip():
            return text.strip().replace("\n", " ")
    return ""


def _message_headers(raw: bool) -> Getter:
    def get(frame: Frame) -> Value:
        text = header_text(_message(frame).header, None, HeaderForm.RAW if raw else HeaderForm.DECODED)
        return text or ""

    return get


def _address(read: Callable[[AddressView], str]) -> Getter:
    return lambda frame: read(frame.scope.address or _NO_ADDRESS)


# Times


def _moment(frame: Frame) -> datetime:
    """Now, in the zone of the main option `timezone`: `utc`, or (unset) the system's."""
    utc = datetime.fromtimestamp(frame.scope.now, UTC)
    return utc if frame.scope.main.get("timezone", "").lower() == "utc" else utc.astimezone()


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def full_time(moment: datetime) -> str:
    """RFC 5322 3.3, in English whatever the locale."""
    return f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} {moment.year} {moment:%H:%M:%S %z}"


def _inbox_time(frame: Frame) -> Value:
    moment = _moment(frame)
    return f"{_DAYS[moment.weekday()]} {_MONTHS[moment.month - 1]} {moment.day:02} {moment:%H:%M:%S} {moment.year}"


# Variables that the caller has or has not: name, and whether their text comes from outside.
CALLER_VARIABLES: dict[str, bool] = {
    "acl_verify_message": True,
    "address_file": True,
    "address_pipe": True,
    "authenticated_fail_id": True,
    "authenticated_sender": True,
    "bounce_recipient": True,
    "callout_address": False,
    "connection_id": False,
    "dnslist_domain": False,
    "dnslist_matched": True,
    "dnslist_text": True,
    "dnslist_value": False,
    "headers_added": True,
    "home": False,
    "local_scan_data": True,
    "peer_senders": False,
    "queue_name": False,
    "received_for": True,
    "recipient_verify_failure": False,
    "return_path": True,
    "router_name": False,
    "self_hostname": False,
    "sender_address_data": False,
    "sender_rate": False,
    "sender_rate_limit": False,
    "sender_rate_period": False,
    "sender_verify_failure": False,
    "sending_ip_address": False,
    "sending_port": False,
    "smtp_active_hostname": False,
    "smtp_command": True,
    "smtp_command_argument": True,
    "smtp_command_history": True,
    "smtp_notquit_reason": False,
    "transport_name": False,
    "verify_mode": False,
    "warn_message_delay": False,
    "warn_message_recipients": False,
}

_MAIN_VARIABLES = (
    "bounce_return_size_limit",
    "config_dir",
    "config_file",
    "exim_gid",
    "exim_path",
    "exim_uid",
    "primary_hostname",
    "qualify_domain",
    "qualify_recipient",
    "spool_directory",
)


def _caller(name: str) -> Getter:
    return lambda frame: frame.scope.more.get(name, "")


def _main(name: str) -> Getter:
    return lambda frame: frame.scope.main.get(name, "")


# Name: reader, whether its text comes from outside.
_TABLE: dict[str, tuple[Getter, bool]] = {
    # The session
    "authenticated_id": (_identity, True),
    "caller_gid": (_caller_id("gid"), False),
    "caller_uid": (_caller_id("uid"), False),
    "originator_gid": (_caller_id("gid"), False),
    "originator_uid": (_caller_id("uid"), False),
    "interface_address": (_local_address, False),
    "interface_port": (_local_port, False),
    "received_ip_address": (_local_address, False),
    "received_port": (_local_port, False),
    "received_protocol": (lambda frame: frame.scope.session.protocol(), False),
    "sender_fullhost": (_full_host, True),
    "sender_helo_name": (_helo, True),
    "sender_host_address": (_peer_address, False),
    "sender_host_authenticated": (_authenticator, False),
    "sender_host_port": (_peer_port, False),
    "sender_ident": (_ident, True),
    "sender_rcvhost": (_received_host, True),
    "peer_name": (lambda frame: frame.scope.session.peer_name, False),
    # The message
    "message_age": (_message_age, False),
    "message_body_size": (lambda frame: str(_message(frame).body_size), False),
    "message_exim_id": (lambda frame: _message(frame).message_id, False),
    "message_headers": (_message_headers(raw=False), True),
    "message_headers_raw": (_message_headers(raw=True), True),
    "message_id": (lambda frame: _message(frame).message_id, False),
    "message_size": (lambda frame: str(_message(frame).size), False),
    "rcpt_count": (
        lambda frame: str(
            len(_message(frame).recipients) + _message(frame).rejected_recipients + _message(frame).deferred_recipients
        ),
        False,
    ),
    "rcpt_defer_count": (lambda frame: str(_message(frame).deferred_recipients), False),
    "rcpt_fail_count": (lambda frame: str(_message(frame).rejected_recipients), False),
    "received_count": (_received_count, False),
    "received_time": (_received_time, False),
    "recipients": (_recipients, True),
    "recipients_count": (lambda frame: str(len(_message(frame).recipients)), False),
    "recipients_list": (_recipients_list, True),
    "reply_address": (_reply_address, True),
    "sender_address": (_sender, True),
    "sender_address_domain": (_sender_domain, True),
    "sender_address_local_part": (_sender_local_part, True),
    # The address in hand
    "address_data": (_address(lambda view: view.address_data), False),
    "domain": (_address(lambda view: view.domain), True),
    "local_part": (_address(lambda view: view.local_part), True),
    "local_part_prefix": (_address(lambda view: view.prefix), True),
    "local_part_suffix": (_address(lambda view: view.suffix), True),
    "original_domain": (_address(lambda view: view.original_domain), True),
    "original_local_part": (_address(lambda view: view.original_local_part), True),
    "parent_domain": (_address(lambda view: view.parent_domain), True),
    "parent_local_part": (_address(lambda view: view.parent_local_part), True),
    "domain_data": (lambda frame: frame.scope.domain_data, False),
    "host_data": (lambda frame: frame.scope.host_data, False),
    "local_part_data": (lambda frame: frame.scope.local_part_data, False),
    "recipient_data": (lambda frame: frame.scope.recipient_data, False),
    "sender_data": (lambda frame: frame.scope.sender_data, False),
    # The host that is delivered to
    "host": (lambda frame: frame.scope.host.name if frame.scope.host else "", False),
    "host_address": (lambda frame: frame.scope.host.address if frame.scope.host else "", False),
    "host_port": (lambda frame: str(frame.scope.host.port) if frame.scope.host else "0", False),
    # Ourselves
    "acl_narg": (lambda frame: str(len(frame.scope.acl_arguments)), False),
    "exim_version": (lambda _frame: EXIM_VERSION, False),
    "pid": (lambda frame: str(frame.scope.pid), False),
    "version_number": (lambda _frame: EXIM_VERSION, False),
    "item": (lambda frame: frame.item, False),
    "value": (lambda frame: frame.value, False),
    # Times
    "tod_bsdinbox": (_inbox_time, False),
    "tod_epoch": (lambda frame: str(int(frame.scope.now)), False),
    "tod_epoch_l": (lambda frame: str(int(frame.scope.now * 1_000_000)), False),
    "tod_full": (lambda frame: full_time(_moment(frame)), False),
    "tod_log": (lambda frame: f"{_moment(frame):%Y-%m-%d %H:%M:%S}", False),
    "tod_logfile": (lambda frame: f"{_moment(frame):%Y%m%d}", False),
    "tod_zone": (lambda frame: f"{_moment(frame):%z}", False),
    "tod_zulu": (lambda frame: f"{datetime.fromtimestamp(frame.scope.now, UTC):%Y%m%d%H%M%SZ}", False),
    **{name: (_caller(name), outside) for name, outside in CALLER_VARIABLES.items()},
    **{name: (_main(name), False) for name in _MAIN_VARIABLES},
    **{
        f"{prefix}{name}": (_tls(read, without, which), outside)
        for prefix, which in (("tls_in_", "in"), ("tls_out_", "out"))
        for name, (read, without, outside) in _TLS.items()
    },
    **{
        f"tls_{name}": (_tls(_TLS[name][0], _TLS[name][1], "either"), _TLS[name][2])
        for name in ("bits", "certificate_verified", "cipher", "peerdn", "sni")
    },
}


def _closure(get: Getter, outside: bool) -> Evaluator:
    if not outside:

        async def plain(frame: Frame) -> Value:
            return get(frame)

        return plain

    async def tainted(frame: Frame) -> Value:
        text = get(frame)
        return Tainted(text) if isinstance(text, str) and text else text

    return tainted


def _numbered(name: str, prefix: str) -> int:
    """N of `prefixN`, 0 where the name is no such thing."""
    digits = name[len(prefix) :] if name.startswith(prefix) else ""
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 3 else 0


def find(name: str) -> Evaluator | None:
    """The closure that reads the variable `name`, or None where there is no such variable."""
    if name in _TABLE:
        return _closure(*_TABLE[name])
    if name == "sender_host_name":
        return _host_name
    if name.startswith(("acl_c", "acl_m")) and not name[5:6].isalpha():
        return _acl_variable(name)
    if name.startswith("r_"):
        return _closure(_address(lambda view: view.router_variables.get(name[2:], "")), False)
    if 0 < (number := _numbered(name, "auth")) <= 4:
        return _closure(lambda frame: frame.scope.auth[number - 1] if number <= len(frame.scope.auth) else "", True)
    if 0 < (number := _numbered(name, "acl_arg")) <= 9:
        return _closure(
            lambda frame: frame.scope.acl_arguments[number - 1] if number <= len(frame.scope.acl_arguments) else "",
            False,
        )
    return None


def _acl_variable(name: str) -> Evaluator:
    """A variable that ACLs set. An unset one is empty. Its text is as tainted as what it was set from."""

    async def get(frame: Frame) -> Value:
        scope = frame.scope
        if scope.strict_acl_variables and name not in scope.acl_variables:
            raise ExpansionFailed(f'unknown variable name "{name}" (strict_acl_vars is set)')
        return scope.acl_variables.get(name, "")

    return get


def names() -> frozenset[str]:
    """Every variable that has a fixed name."""
    return frozenset(_TABLE) | {"sender_host_name"}


def hint(name: str) -> str:
    """What Exim adds to its complaint about an unknown variable that begins with `acl_`."""
    if not name.startswith("acl_"):
        return ""
    if name[4:5] in ("c", "m"):
        return " (6th character of a user-defined ACL variable must be a digit or underscore)"
    return " (user-defined ACL variables must start acl_c or acl_m)"


def header_getter(name: str, form: HeaderForm) -> Evaluator:
    """`$h_name:` and its relatives."""

    async def get(frame: Frame) -> Value:
        text = header_text(_message(frame).header, name, form)
        return Tainted(text) if text else ""

    return get


def header_test(name: str) -> Test:
    """`def:h_name:`: is there such a field?"""

    async def test(frame: Frame) -> bool:
        return any(field.is_named(name) for field in _message(frame).header)

    return test
