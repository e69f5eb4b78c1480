"""Options of Exim 3 and of old GnuTLS builds: what they mean today, and the ACL statements that they become (machine).

Exim 3 had no ACLs. Who might relay was said by lists of hosts, each an alternative to the others, and `tls_hosts`
named those that had to use TLS. Here the lists become statements of an ordinary ACL, which can be shown; so there is
one engine that decides, and one place to look. An ACL of one's own says the same and more: next to one the lists are
an error. Exim 3.20, chapters 38 and 45.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from relay.config.main_options import MainOptions
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, MatchList, NamedLists
from relay.mail.source import ConfigurationError, Location, Problem, Severity
from relay.observe.selectors import parse_selector
from relay.policy.acl import ACLReference
from relay.policy.acl_parse import inline_lines, parse_acl
from relay.policy.acl_program import ACL

RELAY_ACL, TLS_ACL = "relay_by_old_options", "tls_by_old_options"
"""Names of the ACLs that are made."""

# Option, the condition that stands beside `hosts` in its statement.
_RELAY_OPTIONS = (
    ("host_accept_relay", ""),
    ("host_auth_accept_relay", "authenticated = *"),
    ("tls_host_accept_relay", "encrypted = *"),
)

_TODAY = {
    "host_accept_relay": "accept hosts = …, in the ACL of acl_smtp_rcpt",
    "host_auth_accept_relay": "accept hosts = … and authenticated = *, in the ACL of acl_smtp_rcpt",
    "tls_host_accept_relay": "accept hosts = … and encrypted = *, for RCPT; better verify = certificate",
    "tls_hosts": "deny hosts = … and !encrypted = *, in the ACL of acl_smtp_mail",
    "tls_verify_ciphers": "tls_require_ciphers, expanded by $sender_host_address where it is not for everybody",
    "tls_log_cipher": "log_selector = +tls_cipher, or -tls_cipher",
    "tls_log_peerdn": "log_selector = +tls_peerdn",
    "gnutls_require_kx": "tls_require_ciphers as a priority string: NORMAL:-KX-ALL:+ECDHE-RSA",
    "gnutls_require_mac": "tls_require_ciphers as a priority string: NORMAL:-MAC-ALL:+AEAD",
    "gnutls_require_protocols": "tls_require_ciphers as a priority string: NORMAL:-VERS-ALL:+VERS-TLS1.3",
}


@dataclass(frozen=True, slots=True)
class Modernised:
    """The main section with the ACLs that old options stand for, and what is to be said of it."""

    main: MainOptions
    acls: tuple[ACL, ...]
    problems: tuple[Problem, ...]


def modernised(
    main: MainOptions, is_set: Callable[[str], bool], place: Callable[[str], Location], named_lists: NamedLists
) -> Modernised:
    """Puts the statements of old options into force; `place` gives the line that sets an option."""
    problems = list(_hints(is_set, place))
    acls: list[ACL] = []
    relaying = [option for option, _ in _RELAY_OPTIONS if is_set(option)]
    if relaying and main.acl_smtp_rcpt is not None:
        what = f"{relaying[0]} and acl_smtp_rcpt are both set: only one of them can decide who may relay"
        problems.append(Problem(place(relaying[0]), what, f"write into the ACL: {_TODAY[relaying[0]]}"))
    elif relaying:
        made = _parsed(RELAY_ACL, relay_statements(main, named_lists), place(relaying[0]), named_lists, problems)
        acls.append(made)
        main = replace(main, acl_smtp_rcpt=_reference(made))
    if is_set("tls_hosts") and main.tls_hosts is not None:
        made, complaint = _tls_acl(main, main.tls_hosts, place("tls_hosts"), named_lists, problems)
        if complaint is not None:
            problems.append(complaint)
        else:
            acls.append(made)
            main = replace(main, acl_smtp_mail=_reference(made))
    return Modernised(main, tuple(acls), tuple(problems))


def log_selector_text(main: MainOptions) -> str:
    """`log_selector` with what tls_log_cipher and tls_log_peerdn say before it."""
    old = [] if main.tls_log_cipher else ["-tls_cipher"]
    if main.tls_log_peerdn:
        old.append("+tls_peerdn")
    return " ".join([*old, main.log_selector])


def told_by_log(main: MainOptions) -> dict[str, str]:
    """Selectors that also say what variables show, as main options of a name of their own."""
    try:
        chosen = parse_selector(log_selector_text(main))
    except ValueError:
        return {}  # that is told as a mistake of the file
    return {f"log_{each}": "true" for each in ("incoming_port", "tls_on_connect") if each in chosen}


def relay_statements(main: MainOptions, named_lists: NamedLists) -> str:
    """The ACL for RCPT that the relay options stand for: local domains for everybody, others for those listed."""
    local = "+local_domains" if _has_local_domains(named_lists) else "@"
    lines = [f"accept domains = {local}"]
    for option, condition in _RELAY_OPTIONS:
        hosts = getattr(main, option)
        if isinstance(hosts, MatchList):
            lines.append(f"accept hosts = {hosts.source}")
            lines += [condition] if condition else []
    lines.append("deny message = relaying to <$local_part@$domain> prohibited by administrator")
    return "\n".join(lines)


def _has_local_domains(named_lists: NamedLists) -> bool:
    return named_lists.find(ListKind.DOMAIN, "local_domains") is not None


def _tls_acl(
    main: MainOptions, hosts: MatchList, location: Location, named_lists: NamedLists, problems: list[Problem]
) -> tuple[ACL, Problem | None]:
    """Who is in tls_hosts gets 503 to MAIL without TLS; behind that the ACL for MAIL that there is."""
    text = f"deny hosts = {hosts.source}\n!encrypted = *\nmessage = 503 Use of TLS required"
    own = main.acl_smtp_mail
    if own is None:
        return _parsed(TLS_ACL, f"{text}\naccept", location, named_lists, problems), None
    made = _parsed(TLS_ACL, text, location, named_lists, problems)
    if own.acl is None:
        what = "tls_hosts can't stand beside an acl_smtp_mail that is chosen while a session runs"
        return made, Problem(location, what, f"write into that ACL: {_TODAY['tls_hosts']}")
    return ACL(TLS_ACL, location, (*made.statements, *own.acl.statements)), None


def _parsed(name: str, text: str, location: Location, named_lists: NamedLists, problems: list[Problem]) -> ACL:
    try:
        return parse_acl(name, inline_lines(text, location), named_lists, location)
    except ConfigurationError as error:
        problems += error.problems
        return ACL(name, location, ())


def _reference(acl: ACL) -> ACLReference:
    return ACLReference(compile_expansion(acl.name), acl.location, acl)


def _hints(is_set: Callable[[str], bool], place: Callable[[str], Location]) -> Iterator[Problem]:
    for option, today in _TODAY.items():
        if is_set(option):
            what = f"{option} is an option of an older Exim; today one writes {today}"
            yield Problem(place(option), what, "", Severity.NOTE)
