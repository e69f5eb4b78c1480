"""The macros that are there before a configuration begins: what this program has, as `.ifdef` asks for it
(values).

Names as Exim gives them: `_HAVE_TLS`, `_DRIVER_ROUTER_ACCEPT`, `_OPT_MAIN_TLS_CERTIFICATE`, `_ACL_COND_HOSTS`,
`_EXP_OP_SHA256`, `_LOG_TLS_CIPHER`. They come out of the tables that also do the work, so that a name is there
when what it names is: an option that is refused has none, and a configuration with `.ifdef` leaves it out. An
option that has no effect here has one, because it is accepted. Those that an Exim built with OpenSSL lacks have
none: GnuTLS's, which would say that this is the library, and ours, for which stands `_HAVE_FINGERPOST`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import Option, Standing
from relay.expand import forms, lookups, variables
from relay.expand.operators import OPERATORS
from relay.observe.selectors import SELECTORS
from relay.policy.acl_conditions import CONDITIONS
from relay.policy.acl_modifiers import MODIFIERS
from relay.tls import switches

_ALWAYS = ("TLS", "OPENSSL", "TLS1_3", "IPV6", "ICONV", "FINGERPOST", "TRANSPORT_APPEND_MAILDIR")

# Features that are there when an option is served.
_BY_MAIN_OPTION: Mapping[str, str] = {
    "TLS_RESUME": "tls_resumption_hosts",
    "TLS_ALPN": "tls_alpn",
    "OCSP": "tls_ocsp_file",
    "TLS_OCSP": "tls_ocsp_file",
    "TLS_OCSP_LIST": "tls_ocsp_file",
    "ESMTP_LIMITS": "limits_advertise_hosts",
    "I18N": "smtputf8_advertise_hosts",
    "PROXY": "hosts_proxy",
    "XCLIENT": "hosts_xclient",
    "PRDR": "prdr_enable",
    "PIPE_CONNECT": "pipelining_connect_advertise_hosts",
    "DKIM": "acl_smtp_dkim",
    "CONTENT_SCANNING": "acl_smtp_mime",
    "EVENT": "event_action",
    "MOVE_FROZEN_MESSAGES": "move_frozen_messages",
    "WELLKNOWN": "acl_smtp_wellknown",
}
_BY_SMTP_OPTION: Mapping[str, str] = {
    "DANE": "hosts_try_dane",
    "SOCKS": "socks_proxy",
    "DSCP": "dscp",
    "TCP_FASTOPEN": "hosts_try_fastopen",
    "ARC": "arc_sign",
}
# Items that have a form of their own, so that they are in no table of `forms`.
_OTHER_ITEMS = ("extract", "filter", "if", "listextract", "lookup", "map", "reduce", "sort")

# Values of $tls_in_resumption and $tls_out_resumption by their bits: 1 it can be done here, 2 the client wants a
# ticket, 4 it has offered a session, 8 the server has given a ticket, 16 the session was resumed.
_RESUMPTION: Mapping[int, str] = {
    0b00001: "not requested or offered",
    0b00011: "client requested, no server ticket",
    0b00111: "client offered session, no server action",
    0b01001: "no client request",
    0b01011: "client requested new ticket, server provided",
    0b01101: "client offered session, not used",
    0b01111: "client offered session, server only provided new ticket",
    0b10001: "session resumed unasked",
    0b10011: "session resumed unasked",
    0b10111: "session resumed",
    0b11001: "session resumed unasked",
    0b11011: "session resumed unasked",
    0b11101: "session resumed",
    0b11111: "session resumed, also new ticket",
}


def built_in_macros() -> dict[str, str]:
    """All of them, for "y" all but one; in Exim's order, which has the last that was made first."""
    groups = (_features_and_acls(), _options_of_all(), _words_of_expansions())
    macros = dict.fromkeys((name for group in reversed(groups) for name in group), "y")
    if MAIN_OPTIONS["tls_resumption_hosts"].standing is Standing.USED:
        macros["_RESUME_DECODE"] = resumption_words()
    return macros


def resumption_words() -> str:
    """A list for `${listextract {$tls_in_resumption} {_RESUME_DECODE}}`: what each value says, in Exim's words."""
    return ":".join(_RESUMPTION.get(value, f" {value:#04x} ") for value in range(1, 32))


def _features_and_acls() -> list[str]:
    conditions, modifiers = _upper("_ACL_COND_", CONDITIONS), (*MODIFIERS, "message", "log_message", "endpass")
    features = (f"_HAVE_{feature}" for feature in _features())
    return _backwards((*features, *conditions, *_upper("_ACL_MOD_", modifiers)))


def _words_of_expansions() -> list[str]:
    names = (
        *_upper("_EXP_ITEM_", (*forms.CALLS, *forms.CHOICES, *_OTHER_ITEMS)),
        *_upper("_EXP_OP_", OPERATORS),
        *_upper("_EXP_COND_", _conditions()),
        *_upper("_EXP_VAR_", variables.names()),
    )
    return _backwards(names)


def _options_of_all() -> list[str]:
    """Behind each other in the order in which they are made: a section's options, then each driver with its own."""
    made = _forwards(_options("MAIN", MAIN_OPTIONS.values()))
    for section, options in GENERIC.items():
        made += _forwards(_options(section.upper(), options.values()))
        drivers = {each.name: each for each in DRIVERS.values() if each.section == section and each.served}
        for _, driver in sorted(drivers.items()):
            kind = f"{driver.section.removesuffix('s').upper()}_{driver.name.upper()}"
            made += [f"_DRIVER_{kind}", *_forwards(_options(kind, driver.options.values()))]
    made += _forwards(_upper("_LOG_", (name for name, row in SELECTORS.items() if not row.ours)))
    made += _switches()
    return made[::-1]


def _forwards(names: Iterable[str]) -> list[str]:
    """As the small letters of Exim's tables stand, in front of which is the underscore."""
    return sorted(names, key=str.lower)


def _backwards(names: Iterable[str]) -> list[str]:
    return _forwards(names)[::-1]


def _features() -> Iterator[str]:
    yield from _ALWAYS
    for feature, option in _BY_MAIN_OPTION.items():
        if MAIN_OPTIONS[option].standing is Standing.USED:
            yield feature
    smtp = DRIVERS["transports", "smtp"].options
    for feature, option in _BY_SMTP_OPTION.items():
        if smtp[option].standing is Standing.USED:
            yield feature
    if "crypteq" in forms.TWO_TEXTS:
        yield "CRYPTEQ"
    for lookup in (*lookups.SINGLE_KEY, *lookups.QUERY_STYLE):
        yield f"LOOKUP_{lookup.upper()}"


def _conditions() -> Iterator[str]:
    """Those whose names are words."""
    everything = (
        *forms.BARE_CONDITIONS,
        *forms.ONE_TEXT,
        *forms.TWO_TEXTS,
        *forms.LITERAL_LISTS,
        *forms.LIST_MEMBERSHIP,
        *forms.GROUPS,
        *forms.QUANTIFIERS,
        "acl",
        "def",
    )
    yield from (name for name in everything if name[0].isalpha())


def _switches() -> Iterator[str]:
    """What `openssl_options` knows."""
    yield from (f"_OPT_OPENSSL_{name.upper()}_X" for name in switches.NAMES)


def _options(of: str, options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        is_exims = not option.ours and not option.name.startswith("gnutls_")
        if is_exims and option.standing is not Standing.UNSUPPORTED:
            yield f"_OPT_{of}_{option.name.upper()}"


def _upper(beginning: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{beginning}{name.upper()}" for name in names)
