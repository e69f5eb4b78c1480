"""The variables: from a name to the closure that reads it (decision).

One row for each variable of Exim's that makes sense for a relay, and ours. `outside` marks what a peer can choose; its
text is tainted. A number that is not known is what Exim prints then, mostly 0. What this table does not have is an
unknown variable, found when the configuration is read.
"""

from __future__ import annotations

from datetime import UTC, datetime

from relay.expand import message_variables, tls_variables
from relay.expand.errors import ExpansionFailed
from relay.expand.list_items import confirmed_names
from relay.expand.scope import Evaluator, Frame, Getter
from relay.expand.values import Tainted, Value, lower
from relay.mail.facts import Authentication, Endpoint

# The version of Exim whose language this is.
EXIM_VERSION = "4.99"


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


def _proxy(which: str) -> tuple[Getter, Getter]:
    """Address and port of the proxy's inner (`internal`) or outer (`external`) end."""

    def end(frame: Frame) -> Endpoint | None:
        proxy = frame.scope.session.proxy
        if proxy is None:
            return None
        return proxy.internal if which == "internal" else proxy.external

    def address(frame: Frame) -> Value:
        found = end(frame)
        return found.address if found else ""

    def port(frame: Frame) -> Value:
        found = end(frame)
        return str(found.port) if found else "0"

    return address, port


_PROXY_ADDRESS, _PROXY_PORT = _proxy("internal")
_OUTER_ADDRESS, _OUTER_PORT = _proxy("external")


def _protocol(frame: Frame) -> Value:
    session = frame.scope.session
    is_known = session.peer is not None or session.caller is not None or session.given_protocol
    return session.protocol("log_tls_on_connect" in frame.scope.main) if is_known else ""


def _helo(frame: Frame) -> Value:
    hello = frame.scope.session.hello
    return hello.name if hello else ""


def _authentication(frame: Frame) -> Authentication | None:
    return frame.scope.session.authentication


def _identity(frame: Frame) -> Value:
    given, caller = _authentication(frame), frame.scope.session.caller
    if given is None:
        return caller.login if caller else ""
    return given.identity


def _authenticated_sender(frame: Frame) -> Value:
    """What AUTH= of MAIL said; of a local message its caller, or whom that names (-oMas)."""
    scope = frame.scope
    given, caller = scope.session.authentication, scope.session.caller
    said = scope.more.get("authenticated_sender", "") or (given.sender if given is not None else "")
    is_sent = scope.session.in_dialog and scope.message is not None  # only AUTH= counts then
    if said or caller is None or not caller.login or is_sent:
        return said
    return f"{caller.login}@{scope.main.get('qualify_domain', '')}"


def _authenticator(frame: Frame) -> Value:
    failing = frame.scope.more.get("sender_host_authenticated")
    if failing:
        return failing  # told to an event action, and to nobody else
    given = _authentication(frame)
    return given.authenticator if given else ""


def _ident(frame: Frame) -> Value:
    return frame.scope.session.user


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
    shown = f"[{session.peer.address}]:{session.peer.port}" if _shows_port(frame) else f"[{session.peer.address}]"
    if session.peer_host:
        helo = _helo_to_show(frame)
        return f"{session.peer_host} ({helo}) {shown}" if helo else f"{session.peer_host} {shown}"
    name = session.hello.name if session.hello else ""
    return f"({name}) {shown}" if name else shown


def _shows_port(frame: Frame) -> bool:
    """Exim: log_selector = +incoming_port."""
    return "log_incoming_port" in frame.scope.main


def _received_host(frame: Frame) -> Value:
    """The same in the form for `Received:`."""
    session = frame.scope.session
    if session.peer is None:
        return ""
    shown, helo = f"[{session.peer.address}]", _helo_to_show(frame)
    said = [f"helo={helo}"] if helo else []
    if session.user:
        said.append(f"ident={session.user}")
    port = f":{session.peer.port}" if _shows_port(frame) else ""
    if session.peer_host:
        return f"{session.peer_host} ({' '.join((f'{shown}{port}', *said))})"
    if port:
        # Outside of the brackets' comment a port would not be a domain of RFC 5322.
        said.insert(0, f"port={port[1:]}")
    return f"{shown} ({' '.join(said)})" if said else shown


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


async def _queue_size(frame: Frame) -> Value:
    """$queue_size, counted when it is asked for. Raises TemporaryFailure."""
    counted = frame.scope.queue_size
    return "" if counted is None else str(await counted())


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
    "atrn_host": True,
    "atrn_mode": False,
    "authenticated_fail_id": True,
    "bounce_recipient": True,
    "callout_address": False,
    "dnslist_domain": False,
    "dnslist_matched": True,
    "dnslist_text": True,
    "dnslist_value": False,
    "event_data": True,
    "event_name": False,
    "headers_added": True,
    "home": False,
    "initial_cwd": False,
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
    "smtp_command": True,
    "smtp_command_argument": True,
    "smtp_command_history": True,
    "smtp_notquit_reason": False,
    "transport_name": False,
    "verify_mode": False,
    "warn_message_delay": False,
    "warn_message_recipient": True,
    "warn_message_recipients": True,
    "warnmsg_delay": False,
    "warnmsg_recipient": True,
    "warnmsg_recipients": True,
}

# The same with what they are where the caller does not know.
_CALLER_DEFAULTS: dict[str, str] = {
    "authentication_failed": "0",
    "event_defer_errno": "0",
    "host_lookup_deferred": "0",
    "host_lookup_failed": "0",
    "inode": "0",
    "load_average": "-1",
    "local_user_gid": "4294967295",
    "local_user_uid": "4294967295",
    "log_inodes": "-1",
    "log_space": "-1",
    "prdr_requested": "no",
    "sender_helo_dnssec": "no",
    "sender_helo_verified": "no",
    "sender_host_dnssec": "no",
    "sending_port": "-1",
    "smtp_count_at_connection_start": "0",
    "spool_inodes": "-1",
    "spool_space": "-1",
    "tls_out_tlsa_usage": "0",
}
# What is so in every message here, as in an Exim in which nobody sets it.
_CONSTANTS: dict[str, str] = {
    "compile_date": "",
    "compile_number": "1",
    "csa_status": "",
    "mailstore_basename": "",
    "runrc": "0",
    "thisaddress": "",
}

_MAIN_VARIABLES = (
    "config_file",
    "exim_gid",
    "exim_path",
    "exim_uid",
    "primary_hostname",
    "qualify_domain",
    "qualify_recipient",
    "spool_directory",
)


def _caller(name: str, default: str = "") -> Getter:
    return lambda frame: frame.scope.more.get(name, default)


def _main(name: str, default: str = "") -> Getter:
    return lambda frame: frame.scope.main.get(name, default)


def _config_directory(frame: Frame) -> Value:
    main = frame.scope.main
    return main.get("config_dir") or main.get("config_file", "").rpartition("/")[0]


def _result(name: str) -> Getter:
    """What `${prvscheck` has left behind."""
    return lambda frame: frame.scope.results.get(name, "")


def _constant(text: str) -> Getter:
    return lambda _frame: text


def _active_hostname(frame: Frame) -> Value:
    scope = frame.scope
    return scope.more.get("smtp_active_hostname", "") or scope.main.get("primary_hostname", "")


# Name: reader, whether its text comes from outside.
_TABLE: dict[str, tuple[Getter, bool]] = {
    # The session
    "authenticated_id": (_identity, True),
    "authenticated_sender": (_authenticated_sender, True),
    "caller_gid": (_caller_id("gid"), False),
    "connection_id": (lambda frame: frame.scope.session.connection_id, False),
    "caller_uid": (_caller_id("uid"), False),
    "originator_gid": (_caller_id("gid"), False),
    "originator_uid": (_caller_id("uid"), False),
    "interface_address": (_local_address, False),
    "interface_port": (_local_port, False),
    "proxy_external_address": (_OUTER_ADDRESS, False),
    "proxy_external_port": (_OUTER_PORT, False),
    "proxy_local_address": (_PROXY_ADDRESS, False),
    "proxy_local_port": (_PROXY_PORT, False),
    "proxy_session": (lambda frame: "yes" if frame.scope.session.proxy else "no", False),
    "received_ip_address": (_local_address, False),
    "received_port": (_local_port, False),
    "received_protocol": (_protocol, False),
    "sender_fullhost": (_full_host, True),
    "sender_helo_name": (_helo, True),
    "sender_host_address": (_peer_address, False),
    "sender_host_authenticated": (_authenticator, False),
    "sender_host_port": (_peer_port, False),
    "sender_ident": (_ident, True),
    "sender_rcvhost": (_received_host, True),
    "peer_name": (lambda frame: frame.scope.session.peer_name, False),
    # The host that is delivered to
    "host": (lambda frame: frame.scope.host.name if frame.scope.host else "", False),
    "host_address": (lambda frame: frame.scope.host.address if frame.scope.host else "", False),
    "host_port": (lambda frame: str(frame.scope.host.port) if frame.scope.host else "0", False),
    "lookup_dnssec_authenticated": (lambda frame: frame.scope.host.dnssec.value if frame.scope.host else "", False),
    # Ourselves
    "bounce_return_size_limit": (_main("bounce_return_size_limit", "102400"), False),
    "config_dir": (_config_directory, False),
    "localhost_number": (_main("localhost_number", "0"), False),
    "return_size_limit": (_main("bounce_return_size_limit", "102400"), False),
    "smtp_active_hostname": (_active_hostname, False),
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
    **{name: (_caller(name, default), False) for name, default in _CALLER_DEFAULTS.items()},
    **{name: (_constant(text), False) for name, text in _CONSTANTS.items()},
    **{name: (_result(name), False) for name in ("prvscheck_address", "prvscheck_keynum", "prvscheck_result")},
    **message_variables.TABLE,
    **tls_variables.TABLE,
}


# What somebody else has to be asked for.
_ASKED: dict[str, Evaluator] = {"queue_size": _queue_size, "sender_host_name": _host_name}


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
    if name in _ASKED:
        return _ASKED[name]
    if name.startswith(("acl_c", "acl_m")) and not name[5:6].isalpha():
        return _acl_variable(name)
    if name.startswith("r_"):
        return _closure(message_variables.router_variable(name[2:]), False)
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
    return frozenset(_TABLE) | frozenset(_ASKED)


# Variables of Exim's that there is nothing behind here, by their beginnings: to give nothing for them would decide
# something.
_REFUSED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("arc_", "dkim_", "dmarc_", "spf_"), "SPF, DKIM, DMARC and ARC are not checked here"),
    (("av_failed", "dcc_", "malware_name", "mime_", "regex_match_string", "spam_"), "messages are not scanned here"),
    (("srs_recipient",), "SRS is not served here"),
    (("ldap_dn",), "LDAP is not served here"),
)


def is_refused(name: str) -> bool:
    """Whether it is none here and one in Exim."""
    return any(name.startswith(beginnings) for beginnings, _ in _REFUSED)


def hint(name: str) -> str:
    """What is added to the complaint about an unknown variable: why it is none, for those that Exim has; what Exim
    says of one that begins with `acl_`."""
    for beginnings, why in _REFUSED:
        if name.startswith(beginnings):
            return f" ({why})"
    if not name.startswith("acl_"):
        return ""
    if name[4:5] in ("c", "m"):
        return " (6th character of a user-defined ACL variable must be a digit or underscore)"
    return " (user-defined ACL variables must start acl_c or acl_m)"
