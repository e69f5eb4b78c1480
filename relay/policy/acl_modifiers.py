"""The modifiers of ACLs: what a statement does on its way, and the table of controls (decision).

A modifier always lets the statement go on. `message`, `log_message` and `endpass` are not here: they belong
to the statement itself and are taken up by the parser. Exim: acl.c, acl_check_condition and controls_list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from relay.expand.evaluate import Expansion
from relay.expand.splitting import split_list
from relay.expand.values import is_tainted, lower
from relay.mail import events
from relay.policy.acl_program import ACLBroken, Holds, Run
from relay.policy.acl_steps import Argument, Compiled, Mistake, Row, anywhere_but, not_supported, only_in
from relay.policy.acl_values import (
    DEFAULT_LOGS,
    AddedField,
    Control,
    Downconvert,
    Effects,
    FakeReply,
    Freeze,
    NoEffect,
    Place,
    Queueing,
    Submission,
    Switch,
    Where,
)
from relay.policy.words import nearest, read_time

_NOT_SMTP = (Where.NOT_SMTP, Where.NOT_SMTP_START)
_WITH_HEADER = only_in(
    Where.MAIL,
    Where.RCPT,
    Where.PREDATA,
    Where.DATA,
    Where.PRDR,
    Where.MIME,
    Where.NOT_SMTP,
    Where.DKIM,
    Where.NOT_SMTP_START,
)


def _act(argument: Argument, do: Callable[[Run, str], None]) -> Compiled:
    """A modifier that expands its argument and does something with it."""
    expansion = argument.expansion()

    async def test(run: Run) -> Holds:
        text = await argument.expanded(expansion, run.scope)
        run.show(text)
        do(run, text)
        return Holds.YES

    return Compiled(test)


# Header fields

_FIELD_NAME = re.compile(r"[!-9;-~]+:")


def added_fields(text: str) -> tuple[AddedField, ...]:
    """The header fields in the text of `add_header`: one a line, a line that begins with white space goes on.

    A line may begin with the place where it is to go (`:at_start:`); one that is no field becomes X-ACL-Warn.
    """
    found: list[AddedField] = []
    for line in re.split(r"\n(?![ \t])", text.strip("\n")):
        place = Place.END
        lowered = line[:20].lower()
        for each in Place:
            if lowered.startswith(each.value):
                place, line = each, line[len(each.value) :].lstrip(" \t")
                break
        if line.strip():
            found.append(AddedField(line if _FIELD_NAME.match(line) else f"X-ACL-Warn: {line}", place))
    return tuple(found)


def add_fields(effects: Effects, text: str) -> None:
    """Puts the fields of `text` into the effects, each once."""
    known = {each.text for each in effects.added}
    effects.added.extend(each for each in added_fields(text) if each.text not in known)


def added_so_far(effects: Effects) -> str:
    """$headers_added: all lines of `add_header` for this message, up to now."""
    return "\n".join(each.text for each in effects.added)


def show_added(run: Run) -> None:
    """Lets the rest of the ACL see what has been added."""
    run.scope = run.scope.child(more={**run.scope.more, "headers_added": added_so_far(run.context.effects)})


def _add_header(argument: Argument) -> Compiled:
    expansion = argument.expansion()

    async def test(run: Run) -> Holds:
        text = await argument.expanded(expansion, run.scope, lines=True)
        run.show(text)
        add_fields(run.context.effects, text)
        show_added(run)
        return Holds.YES

    return Compiled(test)


def _remove_header(argument: Argument) -> Compiled:
    def do(run: Run, text: str) -> None:
        run.context.effects.removed.extend(name for name in split_list(text).items if name)

    return _act(argument, do)


# Log

_LOGS = ("main", "panic", "reject")


def _logwrite(argument: Argument) -> Compiled:
    logs, _ = _log_names(argument.text)
    if "$" not in "".join(logs):
        _refuse_unknown(argument, logs)

    def do(run: Run, text: str) -> None:
        logs, rest = _log_names(text)
        known = tuple(name for name in logs if name in _LOGS)
        if known != logs:
            where = run.context.where.value
            what = f'unknown log name in "{text}" in "logwrite" in {where} ACL'
            run.context.journal.record(events.Trouble(what))
            return
        # Before a local message is read it has no id yet.
        message = None if run.context.where is Where.NOT_SMTP_START else run.scope.message
        run.context.journal.record(events.WrittenByACL(rest, known or ("main",), message.message_id if message else ""))

    return _act(argument, do)


def _log_names(text: str) -> tuple[tuple[str, ...], str]:
    """`:main,reject: text` taken apart; without names the main log is meant."""
    if not text.startswith(":"):
        return ("main",), text.lstrip()
    names, _, rest = text[1:].partition(":")
    return tuple(name.strip() for name in names.split(",") if name.strip()), rest.lstrip()


def _refuse_unknown(argument: Argument, logs: Iterable[str]) -> None:
    for name in logs:
        if name and name not in _LOGS:
            remedy = nearest(name, _LOGS) or "use main, reject or panic"
            raise Mistake(f'unknown log name "{name}" in "{argument.name}"', remedy)


def _log_reject_target(argument: Argument) -> Compiled:
    def do(run: Run, text: str) -> None:
        names = tuple(name for name in split_list(text).items if name)
        found: list[str] = []
        for name in names:
            if name in _LOGS:
                found.append(name)
                continue
            what = f'unknown log name "{name}" in "log_reject_target" in {run.context.where.value} ACL'
            run.context.journal.record(events.Trouble(what))
            found += DEFAULT_LOGS
        run.logs = tuple(dict.fromkeys(found))

    if "$" not in argument.text:
        _refuse_unknown(argument, split_list(argument.text).items)
    return _act(argument, do)


# Time, queue, variables


def _delay(argument: Argument) -> Compiled:
    expansion = argument.expansion()
    if expansion.constant is not None and read_time(expansion.constant) is None:
        raise Mistake(f'"{expansion.constant}" is not a time value for "delay"', "write a time such as 5s")

    async def test(run: Run) -> Holds:
        text = await argument.expanded(expansion, run.scope)
        run.show(text)
        seconds = read_time(text)
        if seconds is None:
            raise ACLBroken(f'syntax error in argument for "delay" modifier: "{text}" is not a time value')
        if seconds:
            await run.context.concurrency.sleep(seconds)
        return Holds.YES

    return Compiled(test)


def _continue(argument: Argument) -> Compiled:
    return _act(argument, lambda run, text: None)


def _queue(argument: Argument) -> Compiled:
    def do(run: Run, text: str) -> None:
        if is_tainted(text):
            raise ACLBroken("a queue name may not come from outside")
        if "/" in text:
            raise ACLBroken(f"directory separator not permitted in queue name: '{text}'")
        run.context.effects.queue = text
        run.learn(queue_name=text)

    notice = "named queues are not served yet: the message waits with all others"
    return replace(_act(argument, do), notice=notice)


_VARIABLE = re.compile(r"(acl_[cm](?:[0-9]|_)[A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.DOTALL)


def _set(argument: Argument) -> Compiled:
    match = _VARIABLE.fullmatch(argument.text)
    if match is None:
        raise Mistake(
            f'"set {argument.text[:60]}" does not set a variable',
            "write set acl_c0 = …, acl_m0, acl_c_name or acl_m_name",
        )
    name, value = match.group(1), argument.expansion(match.group(2))

    async def test(run: Run) -> Holds:
        text = await argument.expanded(value, run.scope)
        run.show(text)
        run.context.variables[name] = text
        return Holds.YES

    return Compiled(test)


# Controls


@dataclass(frozen=True, slots=True)
class _ControlRow:
    """A control: what its options become, and where it may not stand."""

    read: Callable[[str], Control]
    forbidden: frozenset[Where]


def _switch(switch: Switch) -> Callable[[str], Control]:
    def read(options: str) -> Control:
        if options:
            raise Mistake(f'"{switch.value}" takes no options', f"write control = {switch.value}")
        return switch

    return read


def _submission(options: str) -> Control:
    retain, domain, name = False, None, ""
    while options:
        option, slash, rest = options[1:].partition("/")
        if option == "sender_retain":
            retain = True
        elif option.startswith("domain="):
            domain = option.removeprefix("domain=")
        elif option.startswith("name="):
            # It is the last one: a name may hold a slash.
            name, slash, rest = options[1:].removeprefix("name="), "", ""
        else:
            raise Mistake(f'syntax error in "control=submission{options}"', "use sender_retain, domain= or name=")
        options = slash + rest
    return Submission(retain, domain, name)


def _freeze(options: str) -> Control:
    if options not in ("", "/no_tell"):
        raise Mistake(f'syntax error in "control=freeze{options}"', "its only option is /no_tell")
    return Freeze(tell=not options)


def _queueing(options: str) -> Control:
    words = options.split("/")[1:]
    if any(word not in ("only", "first_pass_route") for word in words):
        raise Mistake(f'syntax error in "control=queue{options}"', "its options are /only and /first_pass_route")
    return Queueing(route=words[-1:] == ["first_pass_route"])


_FAKE_TEXT = (
    "Your message has been rejected but is being kept for evaluation.\n"
    "If it was a legitimate message, it may still be delivered to the target recipient(s)."
)


def _fake(*, temporary: bool) -> Callable[[str], Control]:
    return lambda options: FakeReply(temporary, options[1:] or _FAKE_TEXT)


def _downconvert(options: str) -> Control:
    if options not in ("", "/1", "/0", "/-1"):
        raise Mistake("bad option value for control=utf8_downconvert", "use 1, 0 or -1")
    return Downconvert(int(options[1:]) if options else 1)


def _no_effect(name: str) -> Callable[[str], Control]:
    return lambda options: NoEffect(name)


def _refused(why: str) -> Callable[[str], Control]:
    def read(options: str) -> Control:
        raise Mistake(why, "remove the line")

    return read


_RCPT_ONLY = only_in(Where.RCPT)
_OF_MESSAGE = only_in(Where.MAIL, Where.RCPT, Where.PREDATA, Where.DATA, Where.MIME, Where.NOT_SMTP)
_BEFORE_DATA = only_in(Where.MAIL, Where.RCPT, Where.PREDATA)
_SMTP = anywhere_but(*_NOT_SMTP)
_BEFORE_BODY = anywhere_but(Where.DATA, Where.PRDR, *_NOT_SMTP)

_SWITCH_PLACES = {
    Switch.ALLOW_AUTH_UNADVERTISED: only_in(Where.CONNECT, Where.HELO),
    Switch.CASEFUL_LOCAL_PART: _RCPT_ONLY,
    Switch.CASELOWER_LOCAL_PART: _RCPT_ONLY,
    Switch.DKIM_DISABLE_VERIFY: _BEFORE_BODY,
    Switch.DMARC_DISABLE_VERIFY: _BEFORE_BODY,
    Switch.SUPPRESS_LOCAL_FIXUPS: only_in(Where.MAIL, Where.RCPT, Where.PREDATA, Where.NOT_SMTP_START),
}

CONTROLS: dict[str, _ControlRow] = {
    **{switch.value: _ControlRow(_switch(switch), _SWITCH_PLACES.get(switch, _SMTP)) for switch in Switch},
    "cutthrough_delivery": _ControlRow(
        _refused('"control = cutthrough_delivery" is not supported: a message is on our disk before it is accepted'),
        frozenset(),
    ),
    "debug": _ControlRow(_no_effect("debug"), frozenset()),
    "dscp": _ControlRow(_no_effect("dscp"), anywhere_but(*_NOT_SMTP, Where.NOTQUIT)),
    "dmarc_enable_forensic": _ControlRow(_refused('"control = dmarc_enable_forensic" is not supported'), frozenset()),
    "fakedefer": _ControlRow(_fake(temporary=True), _OF_MESSAGE - {Where.PRDR} | {Where.NOT_SMTP}),
    "fakereject": _ControlRow(_fake(temporary=False), _OF_MESSAGE - {Where.PRDR} | {Where.NOT_SMTP}),
    "freeze": _ControlRow(_freeze, _OF_MESSAGE),
    "queue": _ControlRow(_queueing, _OF_MESSAGE),
    "submission": _ControlRow(_submission, _BEFORE_DATA),
    "utf8_downconvert": _ControlRow(_downconvert, only_in(Where.RCPT, Where.VRFY)),
}


def read_control(text: str) -> tuple[Control, frozenset[Where]]:
    """A control, and the places where it may not stand. Raises Mistake."""
    name = _control_name(text)
    options = text[text.find("/") :] if "/" in text else ""
    row = CONTROLS.get(name)
    if row is None:
        raise Mistake(f'syntax error in "control={text}": no such control', nearest(name, CONTROLS))
    return row.read(options), row.forbidden


def _control_name(text: str) -> str:
    name = text.partition("/")[0].strip()
    return "queue" if name == "queue_only" else name


def control_out_of_place(text: str, where: Where) -> str:
    """Why a control can't be used in an ACL."""
    return f'cannot use "control={_control_name(text)}" in {where.value} ACL'


def _known_part(text: str) -> str:
    """Of options of `queue` that are known only now Exim takes those up to the first that it does not know."""
    match = _QUEUE.match(text)
    return match.group() if match is not None else text


_QUEUE = re.compile(r"queue(_only)?(?![a-z_])(/only|/first_pass_route)*")


def _control(argument: Argument) -> Compiled:
    expansion: Expansion = argument.expansion()
    if expansion.constant is not None:
        control, forbidden = read_control(expansion.constant)
        shown = expansion.constant

        async def fixed(run: Run) -> Holds:
            run.show(shown)
            _take(control, run)
            return Holds.YES

        notice = f'"control = {control.name}" has no effect here' if isinstance(control, NoEffect) else ""
        return Compiled(fixed, forbidden=forbidden, notice=notice)

    async def test(run: Run) -> Holds:
        text = await argument.expanded(expansion, run.scope)
        run.show(text)
        try:
            control, forbidden = read_control(_known_part(text))
        except Mistake:
            raise ACLBroken(f'syntax error in "control={text}"') from None
        if run.context.where in forbidden:
            raise ACLBroken(control_out_of_place(text, run.context.where))
        _take(control, run)
        return Holds.YES

    return Compiled(test)


def _take(control: Control, run: Run) -> None:
    """Notes a control; what it means for the rest of this ACL comes true at once."""
    view = run.scope.address
    match control:
        case NoEffect():
            return
        case Switch.CASEFUL_LOCAL_PART if view is not None and view.original_local_part:
            run.scope = run.scope.child(address=replace(view, local_part=view.original_local_part))
        case Switch.CASELOWER_LOCAL_PART if view is not None:
            run.scope = run.scope.child(address=replace(view, local_part=lower(view.local_part)))
    run.context.effects.controls.append(control)


def _rows(*rows: Row) -> dict[str, Row]:
    return {row.name: row for row in rows}


MODIFIERS = _rows(
    Row("add_header", _add_header, _WITH_HEADER, is_modifier=True),
    Row("continue", _continue, is_modifier=True),
    Row("control", _control, is_modifier=True),
    Row("delay", _delay, anywhere_but(Where.NOTQUIT), is_modifier=True),
    Row("log_reject_target", _log_reject_target, is_modifier=True),
    Row("logwrite", _logwrite, is_modifier=True),
    Row("queue", _queue, anywhere_but(Where.NOT_SMTP, Where.DATA, Where.PRDR), is_modifier=True),
    Row("remove_header", _remove_header, _WITH_HEADER, is_modifier=True),
    Row("set", _set, is_modifier=True),
    Row("udpsend", not_supported("nothing is sent by UDP here"), is_modifier=True),
)
