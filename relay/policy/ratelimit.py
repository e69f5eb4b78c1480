"""How fast somebody does something, and whether that is too fast: the arithmetic of `ratelimit` (machine).

The rate is a weighted average of what was counted per period. What lies `t` seconds back counts for `exp(-t/period)`
of its weight, so a burst is forgotten within a few periods, and a steady stream comes to its true rate. An event by
itself counts for what it is, however long ago the last one was. From this follows what operators rely on: who sends
in one burst reaches the limit with as many messages as the limit says.

A rate is kept between connections as one short text (`encode`, `decode`). With `unique` a filter stands beside it that
knows which events were counted in this period already; it takes a bounded room, and now and then takes a new event for
an old one. Exim: acl.c, acl_ratelimit.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.policy.acl_values import MESSAGE_PLACES, Where
from relay.policy.words import read_time

# The shortest time between two events that the average can be made of, seconds.
_INSTANT = 1e-9
# Octets of a filter: two for each event that the limit allows, within these bounds.
_FILTER_LEAST, _FILTER_MOST = 40, 65536
_FILTER_PROBES = 8
# A rate that is this many periods old has decayed to nothing.
_PERIODS_KEPT = 30

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FACTORS = {"": 1.0, "k": 1024.0, "m": 1024.0**2, "g": 1024.0**3}


class BadRequest(ValueError):
    """Arguments that mean nothing; the text is for the operator."""


class Per(enum.Enum):
    """What is counted; the value is a part of the key."""

    CONNECTION = "per_conn"
    MESSAGE = "per_mail"
    RECIPIENT = "per_rcpt"
    ALL_RECIPIENTS = "per_rcpt of a message"
    OCTETS = "per_byte"
    ADDRESS = "per_addr"
    COMMAND = "per_cmd"

    @property
    def word(self) -> str:
        """As it stands in the configuration."""
        return self.value.partition(" ")[0]


class Update(enum.Enum):
    """When the rate is kept."""

    LEAKY = "leaky"
    """Only below the limit: who is too fast is let in again as soon as it slows down."""
    STRICT = "strict"
    """Always: who goes on trying is never let in."""
    READONLY = "readonly"
    """Never: the rate is looked at."""


@dataclass(frozen=True, slots=True)
class Request:
    """One `ratelimit` condition, its argument read for the place where it stands."""

    limit: float
    period: float
    """Seconds."""
    limit_text: str
    period_text: str
    per: Per
    update: Update
    count: float
    """What this event adds."""
    key: str
    """What is counted for whom, whole."""
    unique: str | None = None


_PLAIN = {
    "per_cmd": Per.COMMAND,
    "per_conn": Per.CONNECTION,
    "per_mail": Per.MESSAGE,
    "per_byte": Per.OCTETS,
    "per_addr": Per.ADDRESS,
    "per_rcpt": Per.RECIPIENT,
}
_NOT_SMTP = (Where.NOT_SMTP, Where.NOT_SMTP_START)


@dataclass(slots=True)
class _Reading:
    """The options as they are read."""

    per: Per | None = None
    count: float = 1.0
    unique: str | None = None
    misplaced: bool = False
    """The event can't be counted where this stands: the rate may only be looked at."""
    words: set[str] | None = None
    key: str | None = None


def read_request(text: str, where: Where, scope: Scope) -> Request:
    """`limit / period / options / key`. Raises BadRequest."""
    items = split_list(text, "/").items
    if not items:
        raise BadRequest("sender rate limit not set")
    limit = _limit(items[0])
    period_text = items[1] if len(items) > 1 else ""
    period = read_time(period_text)
    if not period:
        raise BadRequest(f'"{period_text}" is not a time value')
    reading = _Reading(words=set())
    for item in items[2:]:
        _read_option(reading, item, where, scope)
    per = reading.per or Per.MESSAGE
    update = _update(reading, per, where)
    peer = scope.session.peer
    key = reading.key if reading.key is not None else (peer.address if peer else "")
    return Request(
        limit=limit,
        period=float(period),
        limit_text=items[0],
        period_text=period_text,
        per=per,
        update=update,
        count=0.0 if update is Update.READONLY else reading.count,
        key=f"{period_text}/{per.word}/{'unique/' if reading.unique is not None else ''}{key}",
        unique=reading.unique,
    )


def _limit(text: str) -> float:
    """A number with K, M or G; an empty text is zero, at which everybody is too fast."""
    match = _NUMBER.match(text)
    number, unit = (match.group(), text[match.end() :].lower()) if match else ("0", text.lower())
    if unit not in _FACTORS or float(number) < 0 or (match is None and unit == "" and text):
        raise BadRequest(f'"{text}" is not a positive number')
    return float(number) * _FACTORS[unit]


def _read_option(reading: _Reading, item: str, where: Where, scope: Scope) -> None:
    word = item.lower()
    assert reading.words is not None
    if word in ("leaky", "strict", "noupdate", "readonly"):
        reading.words.add(word)
    elif word in _PLAIN:
        if reading.per is not None:
            raise BadRequest("conflicting per_* options")
        reading.per = _PLAIN[word]
        _place(reading, where, scope)
    elif word.startswith("count="):
        match = _NUMBER.fullmatch(item[6:])
        if match is None or float(match.group()) < 0:
            raise BadRequest(f'"{item}" is not a positive number')
        reading.count = float(match.group())
    elif word.startswith("unique="):
        reading.unique = item[7:]
    else:
        # Whatever is no option is the key; its slashes come back.
        reading.key = item if reading.key is None else f"{reading.key}/{item}"


def _place(reading: _Reading, where: Where, scope: Scope) -> None:
    """What the choice of what is counted means at a place of the dialog."""
    message, address = scope.message, scope.address
    match reading.per:
        case Per.CONNECTION:
            reading.misplaced |= where in _NOT_SMTP
        case Per.MESSAGE:
            reading.misplaced |= where not in MESSAGE_PLACES
        case Per.OCTETS:
            reading.misplaced |= where not in MESSAGE_PLACES
            reading.count = float(message.size) if message is not None else 0.0
        case Per.ADDRESS:
            reading.misplaced |= where is not Where.RCPT
            reading.unique = f"{address.local_part}@{address.domain}" if address is not None else "*"
        case Per.RECIPIENT if where is Where.MAIL or where not in MESSAGE_PLACES:
            reading.misplaced = True
        case Per.RECIPIENT if where is not Where.RCPT:
            # The whole list is known by now, and counts at once.
            reading.per = Per.ALL_RECIPIENTS
            reading.count = float(len(message.recipients)) if message is not None else 0.0
        case _:
            pass


def _update(reading: _Reading, per: Per, where: Where) -> Update:
    words = reading.words or set()
    modes = words & {"leaky", "strict", "readonly"}
    if len(modes) > 1:
        raise BadRequest("conflicting update modes")
    if reading.misplaced and modes & {"leaky", "strict"} and "noupdate" not in words:
        raise BadRequest(f'"{per.word}" must not have /leaky or /strict option, or cannot be used in {where.value} ACL')
    if reading.misplaced or "noupdate" in words or "readonly" in words:
        return Update.READONLY
    return Update.STRICT if "strict" in words else Update.LEAKY


# Rates


@dataclass(frozen=True, slots=True)
class Rate:
    """What is kept under a key: the average at the time of the last event, and the filter of this period."""

    at: float
    """Seconds since the epoch."""
    value: float
    """Events per period."""
    filter_began: float = 0.0
    filter: bytes = b""


def encode(rate: Rate) -> str:
    """As a hint keeps it."""
    fields: dict[str, object] = {"at": rate.at, "rate": rate.value}
    if rate.filter:
        fields["since"] = rate.filter_began
        fields["seen"] = base64.b64encode(rate.filter).decode("ascii")
    return json.dumps(fields, separators=(",", ":"))


def decode(text: str | None) -> Rate | None:
    """The rate, None where there is none or it can't be read."""
    if text is None:
        return None
    try:
        fields = json.loads(text)
        rate = Rate(
            at=float(fields["at"]),
            value=float(fields["rate"]),
            filter_began=float(fields.get("since", 0.0)),
            filter=base64.b64decode(fields.get("seen", "")),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    return rate if math.isfinite(rate.value) and math.isfinite(rate.at) else None


def average(before: Rate | None, count: float, period: float, now: float) -> float:
    """The rate with `count` more events at `now`."""
    if before is None:
        return count
    interval = max(now - before.at, _INSTANT) / period
    weight = math.exp(-interval)
    # 1 - weight as expm1 has it: for the shortest of times the difference itself would be all rounding.
    return max(-math.expm1(-interval) * count / interval + weight * before.value, count)


def advance(request: Request, before: Rate | None, now: float) -> Rate:
    """What is kept after one more event."""
    count, began, bits = request.count, 0.0, b""
    if request.unique is not None and request.update is not Update.READONLY:
        began, bits, is_new = _in_filter(request, before, now)
        if not is_new:
            count = 0.0
    return Rate(now, average(before, count, request.period, now), began, bits)


def told(request: Request, before: Rate | None, now: Rate) -> Iterator[str]:
    """What has become of a rate, in the words in which `-bh` tells it."""
    is_unique = request.unique is not None
    has_filter = before is not None and bool(before.filter)
    if before is not None:
        yield "ratelimit found key in database"
    is_old = is_unique and before is not None and now.at > before.filter_began + request.period
    if is_old:
        yield "ratelimit discarding old Bloom filter"
    if is_unique and (is_old or not has_filter):
        yield "ratelimit creating new Bloom filter"
    elif before is None:
        yield "ratelimit creating new rate data block"
    if is_unique and request.update is not Update.READONLY:
        yield f"ratelimit checking uniqueness of {request.unique}"
        is_known = before is not None and not is_old and before.filter == now.filter
        yield f"ratelimit event {'found in' if is_known else 'added to'} Bloom filter"
    if before is None:
        yield "ratelimit initializing new key's rate data"
    if is_kept(request, now):
        yield "ratelimit db updated"
    else:
        why = "readonly mode" if request.update is Update.READONLY else "over the limit, but leaky"
        yield f"ratelimit db not updated: {why}"
    yield f"ratelimit computed rate {now.value:.1f}"


def is_kept(request: Request, rate: Rate) -> bool:
    """Whether the new rate takes the place of the old one."""
    match request.update:
        case Update.STRICT:
            return True
        case Update.LEAKY:
            return rate.value < request.limit
        case Update.READONLY:
            return False


def kept_until(request: Request, rate: Rate) -> float:
    """When a rate need not be known any more: the same comes out without it."""
    return rate.at + _PERIODS_KEPT * request.period


def _in_filter(request: Request, before: Rate | None, now: float) -> tuple[float, bytes, bool]:
    """The filter with this event in it, when it began, and whether the event was not in it yet."""
    size = min(max(int(min(request.limit, _FILTER_MOST)) * 2, _FILTER_LEAST), _FILTER_MOST)
    if before is not None and before.filter and now <= before.filter_began + request.period:
        began, bits = before.filter_began, bytearray(before.filter)
    else:
        began, bits = now, bytearray(size)
    digest = hashlib.sha256((request.unique or "").encode("utf-8", "surrogateescape")).digest()
    first, stride = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big") | 1
    is_new = False
    for probe in range(_FILTER_PROBES):
        place, bit = divmod((first + probe * stride) % (len(bits) * 8), 8)
        is_new = is_new or not bits[place] & (1 << bit)
        bits[place] |= 1 << bit
    return began, bytes(bits), is_new
