"""The table of SMTP service extensions, and what a session offers or was offered (machine).

One row for each extension that is or will be spoken: its keyword and the MAIL and RCPT parameters that come
with it, each with the form of its value. A row alone changes nothing. A parameter is accepted where its
extension stands in the `Offers` of the EHLO in force, and `Offers` are the session's choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.esmtp.parameters import is_moment
from relay.mail.envelope import BodyType, Parameters
from relay.mail.reply import BAD_ARGUMENTS, UNKNOWN_PARAMETER, Reply


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """A MAIL or RCPT parameter. `value` must match the whole value; None: it stands alone."""

    keyword: str
    value: re.Pattern[str] | None
    longest: int = 0
    """Octets of the value; 0 for the length of a line."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A row of the table, RFC 5321 2.2.2."""

    keyword: str
    mail: tuple[ParameterRule, ...] = ()
    rcpt: tuple[ParameterRule, ...] = ()


def _rule(keyword: str, value: str | None, longest: int = 0) -> ParameterRule:
    return ParameterRule(keyword, None if value is None else re.compile(value, re.IGNORECASE), longest)


_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*"  # RFC 3461 4
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"  # RFC 4865 4.2, RFC 3339

EXTENSIONS: Mapping[str, Extension] = {
    each.keyword: each
    for each in (
        Extension("PIPELINING"),  # RFC 2920
        Extension("SIZE", mail=(_rule("SIZE", r"[0-9]{1,20}"),)),  # RFC 1870 4
        Extension("8BITMIME", mail=(_rule("BODY", "7BIT|8BITMIME"),)),  # RFC 6152 3
        Extension("BINARYMIME", mail=(_rule("BODY", "BINARYMIME"),)),  # RFC 3030 3
        Extension("CHUNKING"),  # RFC 3030 2
        Extension("ENHANCEDSTATUSCODES"),  # RFC 2034
        Extension("STARTTLS"),  # RFC 3207
        Extension("SMTPUTF8", mail=(_rule("SMTPUTF8", None),)),  # RFC 6531 3.4
        Extension(
            "DSN",  # RFC 3461 4
            mail=(_rule("RET", "FULL|HDRS"), _rule("ENVID", _XTEXT, 100)),
            rcpt=(
                _rule("NOTIFY", "NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}"),
                _rule("ORCPT", rf"[A-Z0-9-]+;{_XTEXT}", 500),
            ),
        ),
        Extension("AUTH", mail=(_rule("AUTH", rf"<>|{_XTEXT}"),)),  # RFC 4954 5
        Extension("ETRN"),  # RFC 1985
        Extension("LIMITS"),  # RFC 9422
        Extension("PRDR", mail=(_rule("PRDR", None),)),  # draft-hall-prdr-00 4
        Extension("REQUIRETLS", mail=(_rule("REQUIRETLS", None),)),  # RFC 8689 2
        Extension(
            "FUTURERELEASE",  # RFC 4865 4.1
            mail=(_rule("HOLDFOR", r"[0-9]{1,9}"), _rule("HOLDUNTIL", _TIME)),
        ),
        Extension("HELP"),
        Extension("VRFY"),
        Extension("EXPN"),
        Extension("XCLIENT"),
        Extension("XPAIR"),
        Extension("XROTATE"),
    )
}


@dataclass(frozen=True, slots=True)
class Offers:
    """What the session offers at EHLO, in order: keyword and the text behind it ("" for none)."""

    items: tuple[tuple[str, str], ...] = ()
    _by_keyword: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_keyword", dict(self.items))

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._by_keyword

    def lines(self) -> tuple[str, ...]:
        """The lines of the EHLO reply behind the first, RFC 5321 4.1.1.1."""
        return tuple(f"{keyword} {text}" if text else keyword for keyword, text in self.items)

    def without(self, keyword: str) -> Offers:
        return Offers(tuple(item for item in self.items if item[0] != keyword))

    def wrong_mail_parameter(self, parameters: Parameters) -> Reply | None:
        """The refusal of the first parameter of MAIL that was not offered or has a malformed value."""
        if not parameters.items:
            return None
        wrong = _first_wrong(parameters, [rule for each in self._extensions() for rule in each.mail])
        return wrong or self._wrong_release(parameters)

    def wrong_rcpt_parameter(self, parameters: Parameters) -> Reply | None:
        """The same for RCPT."""
        if not parameters.items:
            return None
        return _first_wrong(parameters, [rule for each in self._extensions() for rule in each.rcpt])

    def _wrong_release(self, parameters: Parameters) -> Reply | None:
        """RFC 4865 5: one of both, and within what was offered."""
        interval, moment = parameters.get("HOLDFOR"), parameters.get("HOLDUNTIL")
        if interval is None and moment is None:
            return None
        if interval is not None and moment is not None:
            return BAD_ARGUMENTS.with_text("HOLDFOR and HOLDUNTIL exclude each other")
        longest = self._by_keyword["FUTURERELEASE"].partition(" ")[0]
        if interval is not None and longest.isdecimal() and not 0 < int(interval) <= int(longest):
            return BAD_ARGUMENTS.with_text(f"HOLDFOR must be between 1 and {longest}")
        if moment is not None and not is_moment(moment):
            return BAD_ARGUMENTS.with_text("invalid data for HOLDUNTIL")
        return None

    def _extensions(self) -> Iterable[Extension]:
        return (EXTENSIONS[keyword] for keyword in self._by_keyword if keyword in EXTENSIONS)


NO_OFFERS = Offers()


def _first_wrong(parameters: Parameters, rules: list[ParameterRule]) -> Reply | None:
    for keyword, value in parameters.items:
        found = [rule for rule in rules if rule.keyword == keyword]
        if not found:
            return UNKNOWN_PARAMETER.with_text(f"{UNKNOWN_PARAMETER.lines[0]} {keyword}")
        if not any(_fits(rule, value) for rule in found):
            return BAD_ARGUMENTS.with_text(f"invalid data for {keyword}")
    return None


def _fits(rule: ParameterRule, value: str) -> bool:
    if rule.longest and len(value) > rule.longest:
        return False
    return bool(rule.value.fullmatch(value)) if rule.value else not value


def declared_size(parameters: Parameters) -> int:
    """The SIZE of a MAIL whose parameters were accepted; 0 where it said none."""
    return int(parameters.get("SIZE") or 0)


def declared_body(parameters: Parameters) -> BodyType:
    """The BODY of a MAIL whose parameters were accepted."""
    return BodyType((parameters.get("BODY") or "7BIT").upper())


_EHLO_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:[ =]\s*(.*))?")


def read_offers(lines: Sequence[str]) -> Mapping[str, str]:
    """A server's EHLO reply as keyword (upper case) to the text behind it; its first line is the greeting.

    A keyword may be followed by `=` instead of a blank (`AUTH=LOGIN`, old servers); of two lines with one
    keyword the first counts, unless that was of the old form. Lines that are no ehlo-line are passed over.
    """
    offers: dict[str, str] = {}
    old_form: dict[str, str] = {}
    for line in lines[1:]:
        match = _EHLO_LINE.fullmatch(line.strip())
        if match:
            keyword = match.group(1).upper()
            is_old = line.strip()[len(keyword) :].startswith("=")
            (old_form if is_old else offers).setdefault(keyword, match.group(2) or "")
    return {**old_form, **offers}
