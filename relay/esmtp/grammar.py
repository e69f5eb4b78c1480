"""Addresses, paths and parameters as they stand in commands, read by the letter of RFC 5321 (machine).

Here belong the rules of RFC 5321 4.1.2 and 4.1.3, as patterns under their names in the ABNF. Text comes in
as `mail.text.from_wire` gives it; values come out, or `Malformed` with a few words for the peer (Exim's own
where there are such). Lists of addresses in header fields follow another grammar, RFC 5322's; they are read
in `header_addresses.py`.

Leniencies, each for a peer that needs it: blanks between the colon and the path (old mail programs; Exim and
Postfix take them too), several blanks between parameters, an address without a domain (local programs; policy
decides), and local parts longer than the 64 octets of RFC 5321 4.5.3.1.1 (return addresses of mailing lists).
"""

from __future__ import annotations

import functools
import ipaddress
import re

from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Parameters

ADDRESS_LIMIT = 320
DOMAIN_LIMIT = 255
"""RFC 5321 4.5.3.1.2."""
_LABEL_LIMIT = 63

# What stands beside US-ASCII where SMTPUTF8 is in use, RFC 6531 3.3: every character but the surrogates that
# from_wire makes of bytes that are no UTF-8.
_NON_ASCII = "\x80-\ud7ff\ue000-\U0010ffff"
_SHOWN = 32


class Malformed(ValueError):
    """Text that breaks a rule; `reason` fits behind `501 <text>: ` in a reply."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Rules:
    """The patterns for one alphabet; no input makes any of them go over it more than a few times."""

    def __init__(self, more: str) -> None:
        atext = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{more}-]"
        dot_string = rf"{atext}+(?:\.{atext}+)*"
        quoted_string = rf'"(?:[ !#-\[\]-~{more}]|\\[ -~])*"'
        sub_domain = rf"[A-Za-z0-9{more}](?:[A-Za-z0-9{more}-]*[A-Za-z0-9{more}])?"
        literal = r"\[[0-9A-Za-z:.]+\]"
        self.local_part = re.compile(rf"{dot_string}|{quoted_string}")
        self.domain = re.compile(rf"{sub_domain}(?:\.{sub_domain})*|{literal}")
        mailbox = rf"({dot_string}|{quoted_string})(?:@({self.domain.pattern}))?"
        source_route = rf"(?:(@(?:{self.domain.pattern})(?:,@(?:{self.domain.pattern}))*):)?"
        self.mailbox = re.compile(mailbox)
        self.path = re.compile(rf"<{source_route}{mailbox}>")


_ASCII = _Rules("")


@functools.cache
def _utf8_rules() -> _Rules:
    """Made when they are first asked for: compiling them takes longer than a whole hand-over."""
    return _Rules(_NON_ASCII)


def _rules_for(utf8: bool) -> _Rules:
    return _utf8_rules() if utf8 else _ASCII


_QUOTED_PAIR = re.compile(r"\\(.)")
_LITERAL = re.compile(r"\[(IPv6:)?([0-9A-Fa-f:.]+)\]", re.IGNORECASE)
_FROM = re.compile(r"FROM:[ \t]*", re.IGNORECASE)
_TO = re.compile(r"TO:[ \t]*", re.IGNORECASE)
# RFC 5321 4.1.2, esmtp-param
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
_PARAMETER_UTF8 = re.compile(rf"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~{_NON_ASCII}]+))?")
_NO_PARAMETERS = Parameters()
_BARE_PATH = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^ "<>])+')


def read_mail(argument: str, utf8: bool = False) -> tuple[Address, Parameters]:
    """The argument of MAIL: `FROM:` Reverse-path, parameters. RFC 5321 4.1.1.2."""
    return _read_command(argument, _FROM, "MAIL", True, utf8)


def read_rcpt(argument: str, utf8: bool = False) -> tuple[Address, Parameters]:
    """The argument of RCPT: `TO:` Forward-path, parameters. RFC 5321 4.1.1.3."""
    return _read_command(argument, _TO, "RCPT", False, utf8)


def _read_command(
    argument: str, word: re.Pattern[str], verb: str, allow_null: bool, utf8: bool
) -> tuple[Address, Parameters]:
    start = word.match(argument)
    if not start or start.end() == len(argument):
        raise Malformed(f"{verb} must have an address operand")
    address, rest = read_path(argument[start.end() :], allow_null=allow_null, utf8=utf8)
    return address, read_parameters(rest, utf8) if rest else _NO_PARAMETERS


def read_path(text: str, *, allow_null: bool, utf8: bool = False) -> tuple[Address, str]:
    """The path that `text` starts with, and what follows behind it.

    A source route is read and dropped (RFC 5321 C). What follows is empty or starts with a blank. Angle brackets may
    be missing, as Exim and Postfix have it: programs that write SMTP by hand leave them out.
    """
    if text[:1] not in ("", "<"):
        bare = _BARE_PATH.match(text)
        end = bare.end() if bare else 0
        if text[end : end + 1] not in ("", " "):
            raise Malformed(f"malformed address: {text[end : end + _SHOWN]} may not follow {text[:end]}")
        return read_path(f"<{text[:end]}>", allow_null=False, utf8=utf8)[0], text[end:]
    if text.startswith("<>") and allow_null:
        address, end = NULL_SENDER, 2
    else:
        match = _rules_for(utf8).path.match(text)
        if not match:
            raise Malformed(_what_is_wrong(text, utf8))
        route, local_part, domain = match.groups()
        if route and not domain:
            raise Malformed("domain missing in source-routed address")
        address, end = _make_address(local_part, domain or ""), match.end()
    rest = text[end:]
    if rest and rest[0] != " ":
        raise Malformed(f"malformed address: {rest[:_SHOWN]} may not follow {text[:end]}")
    return address, rest


def read_address(text: str, *, allow_null: bool = False, utf8: bool = False) -> Address:
    """A whole address, bare or in angle brackets, as people and programs give it (an argument, an option)."""
    text = text.strip(" \t")
    if text.startswith("<"):
        address, rest = read_path(text, allow_null=allow_null, utf8=utf8)
        if rest:
            raise Malformed(f"malformed address: {rest.strip()[:_SHOWN]} may not follow the address")
        return address
    match = _rules_for(utf8).mailbox.fullmatch(text)
    if not match:
        raise Malformed(_what_is_wrong(f"<{text}>", utf8) if text else "empty address")
    return _make_address(match.group(1), match.group(2) or "")


def read_parameters(text: str, utf8: bool = False) -> Parameters:
    """MAIL or RCPT parameters, separated by blanks; each keyword once, given back in upper case."""
    pattern = _PARAMETER_UTF8 if utf8 else _PARAMETER
    items: dict[str, str] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = pattern.fullmatch(word)
        if not match:
            raise Malformed(f"malformed parameter {word[:_SHOWN]}")
        keyword = match.group(1).upper()
        if keyword in items:
            raise Malformed(f"{keyword} can be specified once only")
        items[keyword] = match.group(2) or ""
    return Parameters(tuple(items.items()))


def is_domain(text: str, utf8: bool = False) -> bool:
    """Whether `text` is a domain or an address literal, as far as the letters go; lengths are not checked."""
    return _rules_for(utf8).domain.fullmatch(text) is not None


# Repeated for nearly every recipient of a busy peer, and worth remembering.
@functools.lru_cache(maxsize=1024)
def _check_domain(domain: str) -> None:
    if domain.startswith("["):
        if not (is_address_literal(domain) or _is_loose_literal(domain)):
            raise Malformed("malformed domain literal")
        return
    if len(domain.encode("utf-8", "surrogateescape")) > DOMAIN_LIMIT:
        raise Malformed("domain is too long")
    if any(len(label) > _LABEL_LIMIT for label in domain.split(".")):
        raise Malformed("domain missing or malformed")


def is_address_literal(text: str) -> bool:
    """`[192.0.2.1]` or `[IPv6:2001:db8::1]`, RFC 5321 4.1.3. No other kind of literal is registered."""
    match = _LITERAL.fullmatch(text)
    if not match:
        return False
    try:
        found = ipaddress.ip_address(match.group(2))
    except ValueError:
        return False
    return (found.version == 6) == bool(match.group(1))


def is_hello_name(text: str, more: str = "") -> bool:
    """Whether a client may greet with this name: a literal, or letters, digits, dots and hyphens.

    `more` are further characters (Exim: helo_allow_chars, usually the underscore).
    """
    if text.startswith("["):
        return is_address_literal(text) or _is_loose_literal(text)
    plain = text.translate({ord(each): None for each in f"{more}.-"}) if more or not text.isalnum() else text
    return bool(text) and len(text) <= DOMAIN_LIMIT and text.isascii() and (plain.isalnum() or not plain)


def _is_loose_literal(text: str) -> bool:
    """`[2001:db8::1]` and `[IPv4:192.0.2.1]`, which Exim takes in greetings and addresses."""
    inner = text[1:-1]
    if inner[:5].lower() == "ipv4:":
        inner = inner[5:]
    return text.endswith("]") and (is_address_literal(f"[{inner}]") or is_address_literal(f"[IPv6:{inner}]"))


def check_literal(address: Address, *, allowed: bool) -> Address:
    """The same address, unless its domain is an address in brackets and those are not taken.

    Exim: allow_domain_literals.
    """
    if address.domain.startswith("[") and not allowed:
        raise Malformed("domain literals not allowed")
    return address


def check_size(address: Address) -> Address:
    """The same address, unless one of its parts is longer than anybody takes."""
    if len(address.local_part) + len(address.domain) >= ADDRESS_LIMIT:
        raise Malformed(f"address is ridiculously long: {str(address)[:64]}...")
    if address.domain:
        _check_domain(address.domain)
    return address


def unquote(local_part: str) -> str:
    """The meaning of a local part that may be a quoted string."""
    if local_part.startswith('"'):
        return _QUOTED_PAIR.sub(r"\1", local_part[1:-1])
    return local_part


def _make_address(local_part: str, domain: str) -> Address:
    local_part = unquote(local_part)
    if not local_part and not domain:
        # A quoted string of nothing must not become the null sender.
        raise Malformed("missing or malformed local part")
    return check_size(Address(local_part, domain))


def _what_is_wrong(text: str, utf8: bool) -> str:
    """Why `text` does not start with a path. Only reached where it does not."""
    rules = _rules_for(utf8)
    if not text or text.startswith("<>"):
        return "empty address"
    if not utf8 and not text.isascii():
        return "address with characters outside US-ASCII, and SMTPUTF8 is not in use"
    inner = text[1:]
    if inner.startswith("@"):
        _, colon, inner = inner.partition(":")
        if not colon:
            return '"@" or "." expected in route list, or colon missing behind it'
    local_part = rules.local_part.match(inner)
    if not local_part:
        if inner.startswith('"') and inner.count('"') < 2:
            return "unmatched doublequote in local part"
        return "missing or malformed local part"
    rest = inner[local_part.end() :]
    if rest.startswith("@"):
        domain = rules.domain.match(rest, 1)
        if not domain:
            return "malformed domain literal" if rest.startswith("@[") else "domain missing or malformed"
        rest = rest[domain.end() :]
        if rest.startswith("."):
            return "domain missing or malformed"
    elif not rest.startswith(">"):
        return f'"@" or "." expected after "{local_part.group()[: _SHOWN * 2]}"'
    if not rest:
        return "'>' missing at end of address"
    if rest.startswith(">"):
        return "malformed source route"
    return f"malformed address: {rest[:_SHOWN]} may not follow {text[: len(text) - len(rest)][: _SHOWN * 2]}"
