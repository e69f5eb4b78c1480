"""Running an ACL: from statements and a context to a verdict (decision).

`run` walks one compiled ACL, `check` starts from the option that names it (`acl_smtp_rcpt`), which may be
unset, a name, a text of its own or an expansion. Statements are tried in order; the first that decides is
named in the verdict. The end of an ACL refuses. A condition that can't be answered now gives a temporary
refusal, and so does a mistake that shows only now; neither ever accepts. Exim: acl.c, acl_check_internal and
smtp_handle_acl_fail.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.lists import NamedLists
from relay.expand.scope import ACLAnswer, Files, Scope
from relay.expand.values import is_tainted
from relay.mail import events
from relay.mail import reply as replies
from relay.mail.ports import Concurrency, Journal, TemporaryFailure
from relay.mail.reply import Reply
from relay.mail.source import BUILT_IN, ConfigurationError, Location
from relay.policy import acl_notes
from relay.policy.acl_modifiers import add_fields, control_out_of_place, show_added
from relay.policy.acl_parse import VERB_NAMES, file_lines, inline_lines, parse_acl
from relay.policy.acl_program import (
    ACL,
    INLINE,
    NEGATED,
    ACLBroken,
    ACLContext,
    ACLDefers,
    ConditionPorts,
    Holds,
    Memory,
    Run,
    Statement,
    Step,
)
from relay.policy.acl_values import (
    DISCARD_PLACES,
    MESSAGE_PLACES,
    Accepted,
    Deferred,
    Denied,
    Discarded,
    Effects,
    Switch,
    Verb,
    Verdict,
    Where,
)
from relay.policy.verification import Finding
from relay.policy.verify_options import sender_lines

NESTING_LIMIT = 20


@dataclass(frozen=True, slots=True)
class ACLReference:
    """The value of an `acl_…` option: its text, and the ACL where that is known before anything runs."""

    expansion: Expansion
    location: Location
    acl: ACL | None = None
    as_written: ACL | None = None
    """The statements of the option itself, for a text that shows what comes from outside: it stays a value there."""


async def find_acl(text: str, context: ACLContext) -> ACL:
    """The ACL that a text names, or that it is itself. Raises ACLBroken.

    One in a file is read when it is used. A text with statements, which only an expansion can bring here, is
    compiled each time.
    """
    if is_tainted(text):
        raise ACLBroken("an ACL may not come from outside")
    text = text.strip()
    if not text:
        return ACL("", BUILT_IN, ())
    found = context.acls.get(text)
    if found is not None:
        return found
    if text.startswith("/") and " " not in text:
        if context.ports.files is None:
            raise ACLBroken(f'ACL file "{text}" can\'t be read here')
        return await context.ports.files.acl(text)
    if text.split()[0].removeprefix("!") not in VERB_NAMES:
        raise ACLBroken(f'unknown ACL verb "{text.split()[0][:60]}" in "{text[:60]}"')
    return compile_text(INLINE, inline_lines(text, BUILT_IN), context.scope.named_lists)


def compile_text(name: str, lines: Sequence[tuple[Location, str]], named_lists: object) -> ACL:
    """An ACL whose text is known only now. Raises ACLBroken."""
    try:
        return parse_acl(name, lines, named_lists if isinstance(named_lists, NamedLists) else NamedLists())
    except ConfigurationError as error:
        raise ACLBroken(error.problems[0].what) from None


class FileACLs:
    """The `ACLFiles` port: an ACL in a file is compiled again when the file has changed."""

    def __init__(self, files: Files, named_lists: NamedLists | None) -> None:
        self._files = files
        self._named_lists = named_lists
        self._compiled: dict[str, tuple[tuple[str, ...], ACL]] = {}

    async def acl(self, path: str) -> ACL:
        """The ACL as it stands in the file now. Raises ACLBroken."""
        try:
            lines = await self._files.lines(path)
        except TemporaryFailure as failed:
            why = str(failed).rpartition(": ")[2]
            raise ACLBroken(f'failed to open ACL file "{path}": {why}') from None
        known = self._compiled.get(path)
        if known is None or known[0] is not lines:
            known = lines, compile_text(path, file_lines(lines, path), self._named_lists)
            self._compiled[path] = known
        return known[1]


# Where nothing is configured: these are refused, everything else goes on (Exim: an unset ACL).
REFUSED_WHEN_UNSET = frozenset({Where.RCPT, Where.VRFY, Where.EXPN, Where.ETRN})

_REFUSALS = {
    Where.AUTH: replace(replies.ADMINISTRATIVE_PROHIBITION, code=503),
    Where.ETRN: replace(replies.ADMINISTRATIVE_PROHIBITION, code=458, enhanced="4.7.1"),
    Where.VRFY: replace(replies.ADMINISTRATIVE_PROHIBITION, code=252, enhanced="2.7.1"),
}
_TEMPORARY = replies.LOCAL_PROBLEM


async def check(reference: ACLReference | None, context: ACLContext) -> Verdict:
    """The verdict of the ACL that an option names."""
    context.memory.begin_command()
    if reference is None:
        if context.where in REFUSED_WHEN_UNSET:
            acl_notes.unset(context.scope.notes)
            return Denied(_refusal(context.where), "", None)
        return Accepted(None)
    if reference.acl is not None:
        return await run(reference.acl, context)
    try:
        text = await reference.expansion.text(context.scope)
        if is_tainted(text) and reference.as_written is not None:
            acl = reference.as_written
        else:
            acl = await find_acl(text, context)
    except ForcedFailure:
        return Accepted(reference.location)
    except ExpansionFailed as failed:
        what = f'failed to expand ACL string "{reference.expansion.source}": {failed}'
        return Deferred(_TEMPORARY, what, reference.location)
    except (ACLBroken, TemporaryFailure) as failed:
        return Deferred(_TEMPORARY, str(failed), reference.location)
    return await run(acl, context)


async def run(acl: ACL, context: ACLContext) -> Verdict:
    """The verdict of one ACL at the place that the context names."""
    state = Run(context, context.scope, 0, _nest)
    try:
        holds = await _walk(acl, state)
    except ACLDefers:
        _log_sender(context)
        if context.where in _NOTHING_TO_REFUSE:
            return Deferred(_TEMPORARY, _unfit(acl, state), state.decided, state.logs, state.user_message)
        reply = _TEMPORARY
        if state.details and state.user_message:
            refusal = replace(_TEMPORARY, enhanced="4.7.1")
            reply, state.log_message = _worded(refusal, state.user_message, state.log_message, context)
            reply = replace(reply, lines=(*_why_sender(context), *reply.lines))
        return Deferred(reply, state.log_message, state.decided, state.logs)
    except ACLBroken as broken:
        return Deferred(_TEMPORARY, str(broken), state.decided, state.logs)
    finally:
        context.scope = state.scope
    if holds is Holds.YES:
        return Accepted(state.decided, state.user_message)
    if holds is Holds.DISCARD:
        if context.where not in DISCARD_PLACES:
            what = f'"discard" verb not allowed in {context.where.value} ACL'
            context.journal.record(events.Trouble(what))
            return Deferred(_TEMPORARY, state.log_message, state.decided, state.logs)
        return Discarded(state.decided, state.log_message, state.user_message)
    if context.where in _NOTHING_TO_REFUSE and state.decided is not None:
        return Deferred(_TEMPORARY, _unfit(acl, state), state.decided, state.logs, state.user_message)
    about_sender = _log_sender(context)
    reply, log_message = _worded(_refusal(context.where), state.user_message, state.log_message, context)
    reply = replace(reply, lines=(*about_sender, *reply.lines), preface=len(about_sender))
    return Denied(reply, log_message, state.decided, holds is Holds.DROP, state.logs)


_NOTHING_TO_REFUSE = frozenset({Where.QUIT, Where.NOTQUIT})


def _out_of_place(step: Step, where: Where) -> str:
    if step.name == "control":
        return control_out_of_place(step.text.partition("=")[2], where)
    return f"cannot {'use' if step.is_modifier else 'test'} {step.name} condition in {where.value} ACL"


def _unfit(acl: ACL, state: Run) -> str:
    """Why an ACL for the end of a connection, where nothing can be refused, has made a mistake."""
    verbs = [each.verb.value for each in acl.statements if each.location == state.decided]
    return f"QUIT or not-QUIT toplevel ACL may not fail ('{verbs[0] if verbs else 'deny'}' verb used incorrectly)"


def _log_sender(context: ACLContext) -> tuple[str, ...]:
    """What was wrong with the sender goes to the log once a message; the lines for a client that is refused."""
    memory, failed = context.memory, context.memory.failed_sender
    if failed is None or memory.sender_told:
        return ()
    memory.sender_told = True
    sender, found = failed
    unknown = found.finding is Finding.UNKNOWN
    session, message_id = context.scope.session, _message_id(context.scope)
    context.journal.record(events.SenderUnverified(session, sender, found.reason, unknown, message_id))
    lines = sender_lines(sender, found)
    if not lines or context.effects.has(Switch.NO_MULTILINE_RESPONSES):
        return ()  # the one line is to be the refusal itself
    return split_message("\n".join(lines))


def _why_sender(context: ACLContext) -> tuple[str, ...]:
    """What keeps a sender from being verified now, for a client that may know it."""
    failed = context.memory.failed_sender
    if failed is None or not context.ports.tells_details or not failed[1].reason:
        return ()
    return split_message(failed[1].reason)


async def _nest(outer: Run, text: str, arguments: tuple[str, ...]) -> Holds:
    """Runs an ACL inside of another one: the condition `acl`."""
    if outer.level >= NESTING_LIMIT:
        raise ACLBroken("ACL nested too deep: possible loop")
    acl = await find_acl(text, outer.context)
    before = outer.scope.acl_arguments
    scope = outer.scope.child(acl_arguments=arguments)
    inner = Run(outer.context, scope, outer.level + 1, _nest)
    inner.logs = outer.logs
    if scope.notes is not None:
        scope.notes.level += 1
    try:
        return await _walk(acl, inner)
    finally:
        if scope.notes is not None:
            scope.notes.level -= 1
        outer.user_message, outer.log_message = inner.user_message, inner.log_message
        outer.details = inner.details
        outer.logs = inner.logs
        if inner.scope.more.get("acl_verify_message"):
            inner.tell_verify_message("")
        if inner.scope is not scope:
            outer.scope = inner.scope.child(acl_arguments=before)


async def _walk(acl: ACL, state: Run) -> Holds:
    """One ACL from its first statement on. Raises ACLDefers or ACLBroken; `state.decided` is where it ended."""
    notes = state.scope.notes
    acl_notes.begun(notes, acl)
    for statement in acl.statements:
        acl_notes.statement_begun(notes, acl, statement)
        state.user_message = state.log_message = ""
        if "acl_verify_message" in state.scope.more:
            state.tell_verify_message("")
        state.details = False
        state.decided = statement.location
        try:
            holds, step = await _conditions(acl, statement, state)
        except TemporaryFailure as failure:
            acl_notes.statement_broken(notes, acl, statement, "deferred")
            if statement.verb is Verb.WARN:
                _skipped(acl, statement, state, str(failure))
                continue
            state.log_message = state.log_message or str(failure)
            state.details = state.details or state.context.ports.tells_details
            raise ACLDefers from None
        except ACLBroken:
            acl_notes.statement_broken(notes, acl, statement, "error")
            raise
        except ACLDefers:
            acl_notes.statement_broken(notes, acl, statement, "deferred")
            state.decided = statement.location
            if statement.verb is Verb.WARN:
                _skipped(acl, statement, state, state.log_message)
                continue
            raise
        acl_notes.statement_ended(notes, acl, statement, holds)
        result = await _verb(acl, statement, state, holds, step)
        if result is not None:
            return result
    # What the last statement's conditions have said against the client stands, but for those of a warning (Exim).
    if acl.statements and acl.statements[-1].verb is Verb.WARN:
        state.user_message = state.log_message = ""
    state.decided = None
    acl_notes.ended(notes, acl)
    return Holds.NO


async def _conditions(acl: ACL, statement: Statement, state: Run) -> tuple[Holds, Step | None]:
    """Tries the steps in order: what they came to, and the one that failed (None where all held)."""
    where = state.context.where
    notes = state.scope.notes
    for step in statement.steps:
        if notes is not None:
            acl_notes.step_begun(notes, statement, step)
            state.on_expanded = functools.partial(acl_notes.step_expanded, notes, step)
        if where in step.forbidden:
            raise ACLBroken(_out_of_place(step, where))
        try:
            holds = await step.test(state)
        except ForcedFailure:
            # Exim: a step whose expansion is forced to fail is left out.
            holds = Holds.YES
            continue
        except ExpansionFailed as failed:
            raise ACLBroken(f'failed to expand ACL string "{step.text}": {failed}') from None
        if step.negated:
            holds = NEGATED[holds]
        if holds is not Holds.YES:
            return holds, step
    return Holds.YES, None


async def _verb(acl: ACL, statement: Statement, state: Run, holds: Holds, step: Step | None) -> Holds | None:
    """What the verb makes of its conditions' result: the end of the ACL, or None to go on."""
    endpass = step.endpass if step is not None else statement.endpass
    if holds is Holds.DISCARD and statement.verb not in (Verb.ACCEPT, Verb.DISCARD):
        what = f'nested ACL returned "discard" for "{statement.verb.value}" command'
        raise ACLBroken(f'{what} (only allowed with "accept" or "discard")')
    match statement.verb:
        case Verb.ACCEPT | Verb.DISCARD:
            taken = holds is Holds.YES
            if holds is Holds.DISCARD:
                return holds  # with the texts of the inner ACL
            # Of a statement that does not hold the texts count where it is the last: it explains the refusal.
            if taken or endpass or statement is acl.statements[-1]:
                await _messages(statement, state, holds, step, keep=not taken, message=not (endpass and taken))
            if endpass and not taken:
                acl_notes.endpass(state.scope.notes, statement)
            if taken or endpass:
                return Holds.DISCARD if taken and statement.verb is Verb.DISCARD else holds
        case Verb.DENY | Verb.DROP:
            if holds is Holds.YES:
                await _messages(statement, state, holds, step)
                return Holds.NO if statement.verb is Verb.DENY else Holds.DROP
        case Verb.DEFER:
            if holds is Holds.YES:
                await _messages(statement, state, holds, step)
                state.details = True
                raise ACLDefers
        case Verb.REQUIRE:
            if holds is not Holds.YES:
                await _messages(statement, state, holds, step)
                return holds
        case Verb.WARN:
            if holds is Holds.YES:
                await _messages(statement, state, holds, step, keep=False)
                _warn(state)
    return None


async def _messages(
    statement: Statement,
    state: Run,
    holds: Holds,
    step: Step | None,
    *,
    keep: bool = True,
    message: bool = True,
) -> None:
    """Puts the statement's own texts in the place of those that its conditions left, or before them in the
    log.

    `keep` False drops the latter. Where no log text is set it is the one for the client.
    """
    user = (step.message if step is not None else statement.message) if message else None
    log = step.log_message if step is not None else statement.log_message
    old_user, old_log = state.user_message, state.log_message or state.user_message
    if not keep:
        state.user_message = state.log_message = ""
    if user is not None:
        state.user_message = await _text(user, state, old_user) or state.user_message
    if log is not None:
        text = await _text(log, state, old_log)
        if text:
            state.log_message = f"{text}: {state.log_message}" if state.log_message else text
    state.log_message = state.log_message or state.user_message


async def _text(expansion: Expansion, state: Run, verify_message: str) -> str:
    """A message's text; one that can't be expanded is reported and left out (Exim does not refuse for it)."""
    if expansion.constant is not None:
        return expansion.constant
    scope = state.scope
    if "acl_verify_message" in expansion.names_used:
        scope = scope.child(more={**scope.more, "acl_verify_message": verify_message})
    try:
        return await expansion.lines(scope)
    except ForcedFailure:
        return ""
    except (ExpansionFailed, TemporaryFailure) as failed:
        what = f'failed to expand ACL message "{expansion.source}": {failed}'
        state.context.journal.record(events.Trouble(what, "correct the message in the ACL"))
        return ""


def _warn(state: Run) -> None:
    """A warn statement that holds: its log_message goes to the log once, its message into the header (Exim)."""
    context = state.context
    text = state.log_message
    failed = context.memory.failed_sender
    if failed is not None and failed[1].reason and text.lower() == "sender verify failed":
        text = f"{text}: {failed[1].reason}"
    if text and text != state.user_message and text not in context.effects.warned:
        context.effects.warned.add(text)
        context.journal.record(events.Warned(state.scope.session, text, _message_id(state.scope)))
    if not state.user_message:
        return
    if context.where in MESSAGE_PLACES:
        add_fields(context.effects, state.user_message)
        show_added(state)
        return
    found = f'ACL "warn" with "message" setting found in a non-message ({context.where.value}) ACL'
    what = f"{found}: cannot specify header lines here: message ignored"
    context.journal.record(events.Trouble(what, "use logwrite or log_message"))


def _skipped(acl: ACL, statement: Statement, state: Run, why: str) -> None:
    place = f"ACL {acl.name} at {statement.location}"
    text = f"ACL 'warn' statement skipped (in {place}): condition test deferred"
    said = f"{text}: {why}" if why else text
    state.context.journal.record(events.Warned(state.scope.session, said, _message_id(state.scope)))


def _message_id(scope: Scope) -> str:
    """The id, once the message has one."""
    return scope.message.message_id if scope.message is not None else ""


# Replies

_CODE = re.compile(r"([0-9]{3})[ \t\r\n](?:([0-9]\.[0-9]{1,3}\.[0-9]{1,3})[ \t\r\n])?")
_LINE = 75


def _refusal(where: Where) -> Reply:
    return _REFUSALS.get(where, replies.ADMINISTRATIVE_PROHIBITION)


def _worded(default: Reply, message: str, log_message: str, context: ACLContext) -> tuple[Reply, str]:
    """`reply_with_message`, with the complaint about a code of the wrong class where the operator sees it."""
    reply, wrong = reply_with_message(default, message, any_class=context.where is Where.VRFY)
    if not wrong:
        return reply, log_message
    context.journal.record(wrong_code(default, message))
    if log_message == message:
        match = _CODE.match(message)
        assert match is not None
        log_message = f"{default.code} {message[match.end() :]}"
    return reply, log_message


def wrong_code(default: Reply, message: str) -> events.Trouble:
    """What the operator is told of a message whose code `reply_with_message` had to drop."""
    what = f'configured error code starts with incorrect digit (expected {default.code // 100}) in "{message}"'
    return events.Trouble(what, "correct the code in the ACL's message")


def reply_with_message(default: Reply, message: str, *, any_class: bool = False) -> tuple[Reply, bool]:
    """A reply with an ACL's message, and whether the code in that message had to be dropped.

    A message may begin with a code and an enhanced status (`550 5.7.1 no`), which replace those of `default`
    if they are of the same class; the long text is cut into lines as Exim does. An empty message leaves
    `default`.
    """
    if not message:
        return default, False
    code, enhanced, wrong, insists = default.code, default.enhanced, False, False
    match = _CODE.match(message)
    if match:
        given = int(match.group(1))
        if given // 100 == default.code // 100 or (any_class and 200 <= given < 600):
            code = given
            insists = bool(match.group(2))
            enhanced = match.group(2) or (f"{given // 100}{enhanced[1:]}" if enhanced else "")
        else:
            wrong = True
    # Exim cuts the text while the code is still in front of it.
    first, *others = split_message(message)
    return Reply(code, enhanced, (first[match.end() if match else 0 :], *others), insists), wrong


def split_message(text: str) -> tuple[str, ...]:
    """Cuts a text into lines of about 75 characters, at a space behind a colon where there is one.

    White space at the beginning of a line is left out, and so are empty lines behind the first (Exim: smtp_respond).
    """
    lines: list[str] = []
    first, *others = text.split("\n")
    for line in (first, *(stripped for each in others if (stripped := each.lstrip()))):
        while len(line) > _LINE:
            cut = line.rfind(": ", 35, _LINE + 1) + 1 or line.rfind(" ", 36, _LINE + 1)
            if cut <= 0:
                cut = line.find(" ", _LINE)
            if cut < 0:
                break
            lines.append(line[:cut])
            line = line[cut + 1 :]
        lines.append(line)
    return tuple(lines)


# ${acl …} and its like


@dataclass(frozen=True, slots=True)
class ExpandedACLs:
    """ACLs as expansions may call them (`${acl{name}{arg}}`, the condition `acl`): the port of
    `expand.scope`."""

    where: Where
    acls: Mapping[str, ACL]
    effects: Effects
    variables: dict[str, str]
    journal: Journal
    concurrency: Concurrency
    ports: ConditionPorts = field(default_factory=ConditionPorts)
    memory: Memory = field(default_factory=Memory)

    async def run(self, name: str, arguments: tuple[str, ...], scope: Scope) -> ACLAnswer:
        """Raises TemporaryFailure where the ACL defers, ExpansionFailed where it can't be run."""
        context = ACLContext(
            self.where,
            scope.deeper().child(acl_arguments=arguments),
            self.acls,
            self.effects,
            self.variables,
            self.journal,
            self.concurrency,
            self.ports,
            self.memory,
        )
        state = Run(context, context.scope, scope.depth, _nest)
        try:
            holds = await _walk(await find_acl(name, context), state)
        except ACLDefers:
            # In Exim a forced failure, which would leave a condition out: what can't be answered would let somebody in.
            raise TemporaryFailure(state.log_message or f'ACL "{name}" deferred') from None
        except ACLBroken as broken:
            # Exim's words, which keep to themselves what `relay check` and the start have told of the line.
            raise ExpansionFailed(f'ERROR from acl "{name}"') from broken
        return ACLAnswer(holds in (Holds.YES, Holds.DISCARD), state.user_message)
