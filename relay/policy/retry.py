"""When a recipient that had to wait is tried again, and when it is given up (decision).

The lines of the `retry` section become rules: a pattern for the address or its host, the error that the rule
is for, and steps with a cutoff and an interval each. Reading them and the arithmetic are plain functions;
only finding the rule waits, because a pattern may hold a lookup. The arithmetic is that of Exim's retry.c, in
seconds.

Exim keeps its times in a record per host; here the time of the first failure stands with the recipient, so
that a message that gets through does not wipe what is known of another. What was not kept, the last gap, is
replayed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from relay.expand.errors import ExpansionError
from relay.expand.lists import ListKind, MatchList, NamedLists, compile_list
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.outcome import Deferred, ErrorClass, RemoteHost
from relay.mail.reply import Reply
from relay.mail.source import ConfigurationError, Location, Problem
from relay.policy.words import read_time

# Exim: retry_interval_max, which can be lowered and can't be raised.
LONGEST_INTERVAL = 24 * 3600.0

_BAD_PARAMETERS = "bad parameters for retry rule"

# A replay never needs more: with Exim's default rule four days are about thirty tries.
_REPLAY_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Fixed:
    """`F,cutoff,interval`: the same interval each time."""

    cutoff: float
    interval: float


@dataclass(frozen=True, slots=True)
class Geometric:
    """`G,cutoff,interval,factor`: each gap is `factor` times the last, and at least `interval`."""

    cutoff: float
    interval: float
    factor: float


@dataclass(frozen=True, slots=True)
class Randomized:
    """`H,cutoff,interval,factor`: as G, but drawn from the upper half between `interval` and the next gap."""

    cutoff: float
    interval: float
    factor: float


Step = Fixed | Geometric | Randomized


# What holds while the rules themselves can't be consulted (a lookup in a pattern fails): no mail is lost by
# that.
RULES_UNAVAILABLE: tuple[Step, ...] = (Fixed(14 * 86400.0, 900.0),)


@dataclass(frozen=True, slots=True)
class AnyError:
    """`*`."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """A named error, with the others that Exim counts under that name."""

    classes: frozenset[ErrorClass]
    by_mx: bool | None = None
    """Only for hosts that an MX record led to, or only for others (Exim: `_MX`, `_A`); None: for any."""


@dataclass(frozen=True, slots=True)
class Unread:
    """`quota_7d`: a mailbox that is full, and that nobody has looked into for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ReplyCode:
    """`rcpt_452`, `rcpt_45x`, `rcpt_4xx`: the command, and the reply codes from `first` to `last`."""

    error: ErrorClass
    first: int
    last: int


ErrorTest = AnyError | OneOf | Unread | ReplyCode


@dataclass(frozen=True, slots=True)
class RetryRule:
    """One line of the retry section. A rule without steps gives up at once."""

    location: Location
    pattern: MatchList
    error: ErrorTest
    steps: tuple[Step, ...]
    senders: MatchList | None = None
    written: str = ""
    """The pattern as it was written."""
    error_written: str = ""
    """The word for the error."""

    def covers(self, outcome: Deferred, now: float = 0.0) -> bool:
        """Whether the rule is for this kind of failure."""
        match self.error:
            case AnyError():
                return True
            case OneOf(classes, by_mx):
                if by_mx is not None and (outcome.host is None or outcome.host.by_mx is not by_mx):
                    return False
                return outcome.error in classes
            case Unread(seconds):
                is_full, read_at = outcome.error is ErrorClass.QUOTA, outcome.read_at
                return is_full and read_at is not None and now - read_at >= seconds
            case ReplyCode(error, first, last):
                code = outcome.reply.code if outcome.reply else 0
                return outcome.error is error and first <= code <= last


def step_at(steps: Sequence[Step], failing_for: float) -> Step | None:
    """The step in force after so many seconds of failing; None behind the last cutoff."""
    return next((step for step in steps if failing_for <= step.cutoff), None)


def next_try(
    steps: Sequence[Step],
    first_failed: float,
    last_gap: float,
    now: float,
    source: random.Random,
    longest: float = LONGEST_INTERVAL,
) -> float | None:
    """When to try again, seconds since the epoch; None: the last cutoff has passed and the recipient is given
    up.

    `last_gap` is the time between the try before and this one, the planned or the actual one, whichever is
    shorter; 0 after a first failure. A clock that was set back counts as no time at all.
    """
    step = step_at(steps, max(now - first_failed, 0.0))
    if step is None:
        return None
    return now + min(_gap(step, last_gap, source), longest)


def _gap(step: Step, last_gap: float, source: random.Random) -> float:
    match step:
        case Fixed(_, interval):
            return interval
        case Geometric(_, interval, factor):
            return interval if last_gap < interval else last_gap * factor
        case Randomized(_, interval, factor):
            room = last_gap * factor - interval
            return interval + (room / 2 + source.uniform(0, room / 2) if room > 0 else 0.0)


def replayed_gap(
    steps: Sequence[Step], first_failed: float, tries: int, now: float, longest: float = LONGEST_INTERVAL
) -> float:
    """The gap before the try of `now`, found by running the steps again from the first failure.

    `tries` is the number of failures before this one. A try that came late counts with the gap that was
    planned, as in Exim; one that was forced early shortens it, since the replay never runs past `now`. The
    draw of an H step is taken in its middle.
    """
    gap, time = 0.0, first_failed
    for _ in range(min(tries, _REPLAY_LIMIT)):
        step = step_at(steps, time - first_failed)
        if step is None:
            break
        following = min(_gap(step, gap, _MIDDLE), longest)
        if time + following > now:
            return max(now - time, 0.0)
        gap, time = following, time + following
    return gap


class _Middle(random.Random):
    """Draws the middle of every range, so that a replay gives the same answer each time."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


_MIDDLE = _Middle()


def host_key(name: str) -> Address:
    """A host name or a domain as retry patterns are held against it: every local part at it, as in Exim."""
    return Address("*", name)


async def choose_rule(
    rules: Iterable[RetryRule], keys: Sequence[Address], outcome: Deferred, sender: Address, scope: Scope
) -> RetryRule | None:
    """The first rule for one of `keys` (a recipient, or `host_key` of a host or domain) and for this failure.

    Raises TemporaryFailure where a lookup in a pattern or in `senders` can't answer.
    """
    for rule in rules:
        if not rule.covers(outcome, scope.now):
            continue
        if rule.senders is not None and await rule.senders.match(sender, scope) is None:
            continue
        for key in keys:
            if await rule.pattern.match(key, scope) is not None:
                return rule
    return None


# Reading

_FACTOR = re.compile(r"\d+(?:\.\d+)?")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_SENDERS = re.compile(r"senders\s*=\s*")
_CODE_ERROR = re.compile(r"(mail|rcpt|data)_4(.*)")
_CODE = {"mail": ErrorClass.MAIL_4XX, "rcpt": ErrorClass.RCPT_4XX, "data": ErrorClass.DATA_4XX}

_NAMED_ERRORS: dict[str, frozenset[ErrorClass]] = {
    "auth_failed": frozenset({ErrorClass.AUTH_FAILED}),
    "lookup": frozenset({ErrorClass.LOOKUP}),
    "lost_connection": frozenset({ErrorClass.LOST_CONNECTION}),
    "quota": frozenset({ErrorClass.QUOTA}),
    "refused": frozenset({ErrorClass.CONNECTION_REFUSED}),
    "timeout": frozenset({ErrorClass.TIMEOUT, ErrorClass.TIMEOUT_CONNECT}),
    "timeout_connect": frozenset({ErrorClass.TIMEOUT_CONNECT}),
    "tls_required": frozenset({ErrorClass.TLS_REQUIRED, ErrorClass.TLS_FAILED}),
}
# Behind these may stand how the host was found.
_WITH_WAY = re.compile(r"(refused|timeout|timeout_connect)_(a|mx)")


class _Malformed(Exception):
    """A line that can't be read: what, and what to do."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def parse_rules(lines: Iterable[tuple[Location, str]], named: NamedLists | None = None) -> tuple[RetryRule, ...]:
    """The rules of the retry section, in their order. Raises ConfigurationError with every mistake in it."""
    rules: list[RetryRule] = []
    problems: list[Problem] = []
    for location, line in lines:
        try:
            rules.append(_parse_rule(location, line, named))
        except _Malformed as error:
            what = error.what if error.what == _BAD_PARAMETERS else f"retry rule: {error.what}"
            problems.append(Problem(location, what, error.remedy))
        except ExpansionError as error:
            problems.append(Problem(location, f"retry rule: {error}"))
    if problems:
        raise ConfigurationError(*problems)
    return tuple(rules)


def _parse_rule(location: Location, line: str, named: NamedLists | None) -> RetryRule:
    pattern, rest = _take_word(line.strip())
    error, rest = _take_word(rest)
    if not error:
        raise _Malformed("missing error type", "write * for any error, as in: *  *  F,2h,15m")
    senders: MatchList | None = None
    if found := _SENDERS.match(rest):
        text, rest = _take_word(rest[found.end() :])
        senders = compile_list(ListKind.ADDRESS, text, named)
    steps = tuple(_parse_step(part.strip()) for part in rest.split(";") if part.strip())
    # A pattern is one item, not a list: a separator that it can't hold keeps its colons.
    single = compile_list(ListKind.ADDRESS, f"<\x01 {pattern}", named)
    return RetryRule(location, single, _parse_error(error), steps, senders, pattern, error)


def _take_word(text: str) -> tuple[str, str]:
    """A word or a quoted string from the front, and the rest."""
    found = _WORD.match(text)
    if found is None:
        return "", ""
    quoted, plain = found.groups()
    word = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
    return word, text[found.end() :].lstrip()


def _parse_error(word: str) -> ErrorTest:
    name = word.lower()
    if name == "*":
        return AnyError()
    if found := _WITH_WAY.fullmatch(name):
        return OneOf(_NAMED_ERRORS[found[1]], by_mx=found[2] == "mx")
    if name in _NAMED_ERRORS:
        return OneOf(_NAMED_ERRORS[name])
    if name.startswith("quota_"):
        return Unread(_parse_time(name.removeprefix("quota_")))
    if found := _CODE_ERROR.fullmatch(name):
        command, digits = found.groups()
        if digits == "xx":
            return ReplyCode(_CODE[command], 400, 499)
        if re.fullmatch(r"\dx", digits):
            decade = 400 + 10 * int(digits[0])
            return ReplyCode(_CODE[command], decade, decade + 9)
        if re.fullmatch(r"\d\d", digits):
            return ReplyCode(_CODE[command], 400 + int(digits), 400 + int(digits))
        raise _Malformed(f"{command}_4 must be followed by xx, dx, or dd, where x is literal and d is any digit")
    raise _Malformed(f'unknown or malformed retry error "{word}"', f"known are * {' '.join(_NAMED_ERRORS)} rcpt_4xx")


def outcome_named(word: str, now: float = 0.0) -> Deferred:
    """A failure, now, of the kind that a word of the retry section names, for `-brt`. Raises ValueError."""
    try:
        test = _parse_error(word)
    except _Malformed as malformed:
        raise ValueError(malformed.what) from None
    match test:
        case AnyError():
            return Deferred("")
        case OneOf(classes, by_mx):
            host = None if by_mx is None else RemoteHost("", "", 0, by_mx=by_mx)
            return Deferred("", min(classes, key=_as_named(word)), host=host)
        case Unread(seconds):
            return Deferred("", ErrorClass.QUOTA, read_at=now - seconds)
        case ReplyCode(error, _, last):
            return Deferred("", error, Reply(last, "", ("",)))
        case _ as never:
            assert_never(never)


def _as_named(word: str) -> Callable[[ErrorClass], bool]:
    """The kind that a word names itself comes before those that only count with it."""
    return lambda error: error.value != word.lower().removesuffix("_a").removesuffix("_mx")


def _parse_step(text: str) -> Step:
    letter, *arguments = (each.strip() for each in text.split(","))
    match letter.upper(), arguments:
        case "F", [cutoff, interval]:
            return Fixed(_parse_time(cutoff), _parse_time(interval))
        case "G", [cutoff, interval, factor]:
            return Geometric(_parse_time(cutoff), _parse_time(interval), _parse_factor(factor))
        case "H", [cutoff, interval, factor]:
            return Randomized(_parse_time(cutoff), _parse_time(interval), _parse_factor(factor))
        case ("F" | "G" | "H") as known, _:
            wanted = "F,cutoff,interval" if known == "F" else f"{known},cutoff,interval,factor"
            raise _Malformed(_BAD_PARAMETERS, f'"{text}" has not those that {known} takes: write {wanted}')
        case _:
            raise _Malformed(f'unknown retry rule letter in "{text}"', "steps begin with F, G or H")


def _parse_time(text: str) -> float:
    """`1d12h`, `15m`: seconds, more than none."""
    seconds = read_time(text)
    if seconds is None:
        raise _Malformed(_BAD_PARAMETERS, f'"{text}" is not a time: write 30s, 15m, 2h, 4d, or joined as 1h30m')
    if seconds <= 0:
        raise _Malformed(_BAD_PARAMETERS, "a time must be more than none")
    return float(seconds)


def _parse_factor(text: str) -> float:
    if not _FACTOR.fullmatch(text) or float(text) < 1:
        raise _Malformed(f'bad parameters: the factor "{text}" must be a number, 1 or more')
    return float(text)
