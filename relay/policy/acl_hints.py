"""Conditions that remember from one connection to the next: `ratelimit` and `seen` (decision).

What they remember is kept by the `Hints` port; reading and writing are one step there, so that no two connections
overtake each other. A rate that was worked out in this command, message or connection (by what is counted) is not
worked out again. Exim: acl.c, acl_ratelimit and acl_seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.mail.ports import HintChange, Hints, TemporaryFailure
from relay.policy import ratelimit
from relay.policy.acl_program import ACLBroken, Holds, Memory, Run
from relay.policy.acl_steps import Argument, Compiled, Mistake
from relay.policy.acl_values import Where
from relay.policy.ratelimit import BadRequest, Per, Rate, Request, Update
from relay.policy.words import read_time

# Kinds of hints.
RATES, SEEN = "ratelimit", "seen"
_DAY = 86400
# Exim never forgets whom it has seen; here it is forgotten when nobody was there for this long after it would matter.
_SEEN_KEPT = 30 * _DAY


def _hints(run: Run, what: str) -> Hints:
    hints = run.context.ports.hints
    if hints is None:
        raise TemporaryFailure(f"{what} not available")
    return hints


# ratelimit


def compile_ratelimit(argument: Argument) -> Compiled:
    """`ratelimit = limit / period / options / key`."""
    expansion = argument.expansion()
    forbidden: frozenset[Where] = frozenset()
    if expansion.constant is not None:
        forbidden = _places_without_sense(argument, expansion.constant)

    async def test(run: Run) -> Holds:
        text = await expansion.text(run.scope)
        run.show(text)
        try:
            request = ratelimit.read_request(text, run.context.where, run.scope)
        except BadRequest as error:
            raise ACLBroken(f'error in arguments to "ratelimit" condition: {error}') from None
        run.learn(sender_rate_limit=request.limit_text, sender_rate_period=request.period_text)
        rate = await _rate(request, run)
        run.learn(sender_rate=f"{rate:.1f}")
        return Holds.NO if rate < request.limit else Holds.YES

    return Compiled(test, forbidden=forbidden)


def _places_without_sense(argument: Argument, text: str) -> frozenset[Where]:
    """Where the condition as it is written can't be decided. Raises Mistake where that is everywhere."""
    found: dict[Where, str] = {}
    for where in Where:
        try:
            ratelimit.read_request(text, where, Scope())
        except BadRequest as error:
            found[where] = str(error)
    if len(found) == len(Where):
        raise Mistake(f"{argument.name}: {found[Where.RCPT]}", "write limit / period / options / key")
    return frozenset(found)


async def _rate(request: Request, run: Run) -> float:
    """The rate of this event, from memory where it is known."""
    known, notes = _shelf(request, run.context.memory), run.scope.notes
    if notes is not None:
        notes.say(f"ratelimit condition count={request.count:.0f} {request.limit:.1f}/{request.key}")
    if request.key in known:
        if notes is not None:
            notes.say(f"ratelimit found pre-computed rate {known[request.key]:.1f}")
        return known[request.key]
    now = run.scope.now

    def step(text: str | None) -> HintChange[tuple[Rate | None, Rate]]:
        before = ratelimit.decode(text)
        rate = ratelimit.advance(request, before, now)
        if not ratelimit.is_kept(request, rate):
            return HintChange((before, rate))
        return HintChange((before, rate), ratelimit.encode(rate), ratelimit.kept_until(request, rate))

    before, rate = await _hints(run, "ratelimit database").change(RATES, request.key, step)
    if notes is not None:
        notes.say("\n".join(ratelimit.told(request, before, rate)))
    known[request.key] = rate.value
    return rate.value


def _shelf(request: Request, memory: Memory) -> dict[str, float]:
    """Where a rate is remembered: as long as one event of its kind lasts."""
    if request.update is Update.READONLY:
        return memory.command_rates
    match request.per:
        case Per.CONNECTION:
            return memory.connection_rates
        case Per.OCTETS | Per.MESSAGE | Per.ALL_RECIPIENTS:
            return memory.message_rates
        case Per.ADDRESS | Per.COMMAND | Per.RECIPIENT:
            return memory.command_rates


# seen


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """`seen = -5m / key=… / write`: whether a key was first seen that long ago, or (no minus) at all within it."""

    before: bool
    interval: int
    key: str
    mode: str = ""
    """`readonly`, `write`, or nothing."""
    refresh: int = 10 * _DAY


def read_seen(text: str, key: str) -> SeenRequest:
    """The argument of `seen`; `key` is the one where none is given. Raises BadRequest."""
    items = split_list(text, "/").items
    relation = items[0] if items else ""
    interval = read_time(relation.removeprefix("-"))
    if interval is None:
        raise BadRequest(f"failed to parse '{text}'")
    mode, refresh = "", 10 * _DAY
    for item in items[1:]:
        if item.startswith("key="):
            key = item[4:]
        elif item in ("readonly", "write"):
            mode = item
        elif item.startswith("refresh="):
            seconds = read_time(item[8:])
            if seconds is None:
                raise BadRequest(f"failed to parse '{text}'")
            refresh = seconds
        else:
            raise BadRequest(f"unrecognised option '{item}' in '{text}'")
    return SeenRequest(relation.startswith("-"), interval, key, mode, refresh)


def see(request: SeenRequest, text: str | None, now: float) -> HintChange[bool]:
    """Whether the condition holds, and what is kept of this sight."""
    try:
        seen = float(text) if text is not None else None
    except ValueError:
        seen = None
    keep = now + max(request.interval, request.refresh) + _SEEN_KEPT
    if seen is None:
        return HintChange(False) if request.mode == "readonly" else HintChange(False, repr(now), keep)
    age = int(now) - int(seen)
    holds = age >= request.interval if request.before else age < request.interval
    if request.mode == "readonly":
        return HintChange(holds)
    if request.mode == "write" or not request.before:
        return HintChange(holds, repr(now), keep)
    if age >= request.refresh:
        # The record is made young again, but no younger than makes the condition hold.
        return HintChange(holds, repr(now - request.interval), keep)
    return HintChange(holds)


def compile_seen(argument: Argument) -> Compiled:
    """`seen = [-]time / options`."""
    expansion = argument.expansion()
    if expansion.constant is not None:
        try:
            read_seen(expansion.constant, "")
        except BadRequest as error:
            raise Mistake(f"{argument.name}: {error}", "write seen = -5m / key=… / readonly") from None

    async def test(run: Run) -> Holds:
        text = await expansion.text(run.scope)
        run.show(text)
        peer = run.scope.session.peer
        try:
            request = read_seen(text, peer.address if peer else "")
        except BadRequest as error:
            raise ACLBroken(str(error)) from None
        now = run.scope.now
        hints = _hints(run, "database for 'seen'")
        holds = await hints.change(SEEN, request.key, lambda kept: see(request, kept, now))
        return Holds.YES if holds else Holds.NO

    return Compiled(test)
