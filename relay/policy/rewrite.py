"""Addresses are made into others by the rules of the rewrite section (decision).

Reading the rules, asking them about one address, and putting the answers into header fields. A rule is an item
of an address list, a replacement that is expanded, and flags. What cannot be expanded or is no address leaves
the address as it was up to there and is recorded as trouble, as in Exim: mail is not held back by a rule.

The address is somebody else's text: the variables that show it are tainted, and only the replacement, which the
operator wrote, is program. Header lines are changed in the place of the address alone; what stands around it
(names, comments, folding) keeps its octets.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from email.header import Header

from relay.esmtp.grammar import Malformed
from relay.esmtp.header_addresses import Mailbox, Unreadable, locate_mailboxes
from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.lists import ListKind, MatchList, NamedLists, compile_list
from relay.expand.scope import AddressView, Scope
from relay.expand.values import Tainted
from relay.mail.address import NULL_SENDER, Address
from relay.mail.events import MessageNote, Trouble
from relay.mail.header import Field
from relay.mail.ports import Concurrency, Journal, TemporaryFailure
from relay.mail.source import ConfigurationError, Location, Problem
from relay.mail.text import from_wire, printable, to_wire

# With R a rule is applied once and then up to so many times again.
REPEAT_LIMIT = 10
# A field that has grown is folded behind an address that ends further on than this.
_FOLD_BEHIND = 40
# Others get their turn after so many addresses of a field, and after so many fields: a header may have very many.
_ADDRESSES_AT_ONCE = 50
_FIELDS_AT_ONCE = 20


class Flag(enum.Flag):
    """Where a rule applies, and how (Exim's letters)."""

    FROM = enum.auto()
    TO = enum.auto()
    CC = enum.auto()
    BCC = enum.auto()
    REPLY_TO = enum.auto()
    SENDER = enum.auto()
    ENVELOPE_FROM = enum.auto()
    ENVELOPE_TO = enum.auto()
    SMTP_TIME = enum.auto()
    WHOLE = enum.auto()
    QUALIFY = enum.auto()
    REPEAT = enum.auto()
    QUIT = enum.auto()

    HEADERS = FROM | TO | CC | BCC | REPLY_TO | SENDER
    ENVELOPE = ENVELOPE_FROM | ENVELOPE_TO
    EVERYWHERE = HEADERS | ENVELOPE


_LETTERS = {
    "E": Flag.ENVELOPE,
    "F": Flag.ENVELOPE_FROM,
    "T": Flag.ENVELOPE_TO,
    "b": Flag.BCC,
    "c": Flag.CC,
    "f": Flag.FROM,
    "h": Flag.HEADERS,
    "r": Flag.REPLY_TO,
    "s": Flag.SENDER,
    "t": Flag.TO,
    "S": Flag.SMTP_TIME,
    "q": Flag.QUIT,
    "w": Flag.WHOLE,
    "Q": Flag.QUALIFY,
    "R": Flag.REPEAT,
}
_FIELDS = {
    "from": Flag.FROM,
    "to": Flag.TO,
    "cc": Flag.CC,
    "bcc": Flag.BCC,
    "reply-to": Flag.REPLY_TO,
    "sender": Flag.SENDER,
}
# Unqualified addresses in these belong to senders, those in the others to recipients.
OF_SENDERS = Flag.FROM | Flag.REPLY_TO | Flag.SENDER
OF_RECIPIENTS = Flag.TO | Flag.CC | Flag.BCC


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """One line of the rewrite section. `replacement` None (`*`): what matches stays, and no further rule is tried."""

    location: Location
    pattern: MatchList
    replacement: Expansion | None
    flags: Flag


@dataclass(frozen=True, slots=True)
class RewriteContext:
    """What the rules may see, whom trouble is told, and the domains for addresses that have none."""

    scope: Scope
    journal: Journal
    qualify_recipient: str
    qualify_domain: str = ""
    """For unqualified senders in header fields; "": unqualified addresses in header fields are left alone (a peer's
    message)."""
    completes: Flag = Flag.HEADERS
    """The fields in which unqualified addresses are completed, where there is a `qualify_domain`."""
    concurrency: Concurrency | None = None
    """With it, a long header is rewritten in several turns."""

    async def pause(self) -> None:
        """Lets others have their turn."""
        if self.concurrency is not None:
            await self.concurrency.sleep(0)

    @property
    def message_id(self) -> str:
        return self.scope.message.message_id if self.scope.message else ""


# Reading

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]\S*)', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_NAMED_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v"}


class _Malformed(Exception):
    """A line that can't be read: what, and what to do."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def parse_rewrite_rules(
    lines: Iterable[tuple[Location, str]], named: NamedLists | None = None
) -> tuple[RewriteRule, ...]:
    """The rules of the rewrite section, in their order. Raises ConfigurationError with every mistake in it."""
    rules: list[RewriteRule] = []
    problems: list[Problem] = []
    for location, line in lines:
        try:
            rules.append(_parse_rule(location, line, named))
        except _Malformed as error:
            problems.append(Problem(location, f"rewrite rule: {error.what}", error.remedy))
        except ExpansionError as error:
            problems.append(Problem(location, f"rewrite rule: {error}"))
    if problems:
        raise ConfigurationError(*problems)
    return tuple(rules)


def _parse_rule(location: Location, line: str, named: NamedLists | None) -> RewriteRule:
    pattern, rest = _take_word(line.strip())
    if not rest:
        raise _Malformed("missing rewrite replacement string", "write pattern, replacement and flags")
    replacement, rest = _take_word(rest)
    flags = Flag(0)
    for letter in "".join(rest.split()):
        if letter not in _LETTERS:
            what = f'unknown rewrite flag character "{letter}" (could be missing quotes round replacement item)'
            raise _Malformed(what, f"known are {' '.join(_LETTERS)}")
        flags |= _LETTERS[letter]
    if flags & Flag.SMTP_TIME and not pattern.startswith(("^", "\\N^")):
        raise _Malformed("rewrite rule has the S flag but is not a regular expression", "begin the pattern with ^")
    if not flags & (Flag.EVERYWHERE | Flag.SMTP_TIME):
        flags |= Flag.EVERYWHERE
    # One item, not a list: a separator that it can't hold keeps its colons. Local parts are matched with their case.
    # A path in a command stands in its angle brackets and may have no domain, so it is compared as text.
    kind = ListKind.LOCAL_PART if flags & Flag.SMTP_TIME else ListKind.ADDRESS
    single = compile_list(kind, f"<\x01 +caseful\x01 {pattern}", named)
    return RewriteRule(location, single, None if replacement == "*" else compile_expansion(replacement), flags)


def _take_word(text: str) -> tuple[str, str]:
    """A word or a quoted string from the front, and the rest."""
    found = _WORD.match(text)
    if found is None:
        raise _Malformed("missing quote at the end of a string")
    quoted, plain = found.groups()
    word = _ESCAPE.sub(_unescaped, quoted) if quoted is not None else plain
    return word, text[found.end() :].lstrip()


def _unescaped(match: re.Match[str]) -> str:
    escape: str = match.group(1)
    if escape[0] == "x" and len(escape) > 1:
        return chr(int(escape[1:], 16))
    if escape[0] in "01234567":
        return chr(int(escape, 8) & 0xFF)
    return _NAMED_ESCAPES.get(escape, escape)


# One address


async def rewrite_address(
    address: Address, which: Flag, rules: tuple[RewriteRule, ...], context: RewriteContext
) -> Address:
    """What the rules make of an address of the envelope; of a sender they may make the null sender.

    `which` is ENVELOPE_FROM or ENVELOPE_TO. The null sender is not rewritten.
    """
    if address.is_null or not any(rule.flags & which for rule in rules):
        return address
    course = _Course(which, context, address, str(address))
    await course.run(rules)
    return course.address


async def rewrite_path(
    address: Address, is_sender: bool, rules: tuple[RewriteRule, ...], context: RewriteContext
) -> Address:
    """What the rules with the flag S make of the path in a MAIL or RCPT command, with its angle brackets.

    Unlike Exim's, our paths have passed the check of their syntax before, and their source routes are gone.
    """
    course = _Course(Flag.SMTP_TIME, context, address, f"<{address}>", allow_null=is_sender)
    await course.run(rules)
    return course.address


class _Course:
    """One address on its way through the rules."""

    def __init__(
        self, which: Flag, context: RewriteContext, address: Address, subject: str, allow_null: bool = False
    ) -> None:
        self.address = address
        self.around: tuple[str, str] | None = None
        """What a rule with the flag w puts before and behind the address; of no use in an envelope."""
        self._which = which
        self._context = context
        self._subject = Tainted(subject)
        self._allow_null = allow_null or which is Flag.ENVELOPE_FROM

    async def run(self, rules: tuple[RewriteRule, ...]) -> None:
        for rule in rules:
            if rule.flags & self._which and not await self._apply(rule):
                return

    async def _apply(self, rule: RewriteRule) -> bool:
        """Applies a rule, as often as it says; False where no further one is tried."""
        goes_on = True
        for _ in range(1 + REPEAT_LIMIT):
            captures = await self._match(rule)
            if captures is None:
                return goes_on
            if rule.replacement is None:
                return False
            try:
                self._replace(rule, await self._expanded(rule.replacement, captures))
            except ForcedFailure:
                return goes_on and not rule.flags & Flag.QUIT
            except (ExpansionFailed, TemporaryFailure) as error:
                return self._trouble(rule, f'expansion of "{rule.replacement.source}" failed while rewriting: {error}')
            except Malformed as error:
                return self._trouble(rule, f"rewrite of {self._subject} yielded {error.reason}")
            goes_on = not rule.flags & Flag.QUIT
            if self.address.is_null:
                return False
            if not rule.flags & Flag.REPEAT:
                return goes_on
        self._trouble(rule, f"rewrite rule repeat ignored after {REPEAT_LIMIT} times")
        return goes_on

    async def _match(self, rule: RewriteRule) -> tuple[str, ...] | None:
        """$0 and on, or None where the rule is not for this address."""
        try:
            match = await rule.pattern.match(self._subject, self._context.scope)
        except TemporaryFailure as error:
            self._trouble(rule, f"the pattern can't be matched while rewriting: {error}")
            return None
        return None if match is None else (self._subject, *(Tainted(each) for each in match.captures[1:]))

    async def _expanded(self, replacement: Expansion, captures: tuple[str, ...]) -> str:
        scope = self._context.scope.child(captures=captures)
        if self._which is not Flag.SMTP_TIME:
            local_part, _, domain = self._subject.rpartition("@")
            scope.address = replace(scope.address or AddressView(), local_part=local_part, domain=domain)
        # On one line and without control characters: it may go into a header field.
        return re.sub(r"[\x00-\x1f\x7f][\x00-\x20\x7f]*", " ", await replacement.lines(scope)).strip()

    def _replace(self, rule: RewriteRule, text: str) -> None:
        """Takes the new address. Raises Malformed where it is none."""
        if self._allow_null and text in ("", "<>"):
            self.address, self._subject = NULL_SENDER, Tainted("")
            return
        found = _only_mailbox(text)
        address = found.address
        if not address.is_qualified:
            if not rule.flags & Flag.QUALIFY:
                raise Malformed(f'unqualified address "{text}"')
            address = address.qualified(self._context.qualify_recipient)
        if rule.flags & Flag.WHOLE:
            self.around = _around(text, found)
        self.address, self._subject = address, Tainted(str(address))

    def _trouble(self, rule: RewriteRule, what: str) -> bool:
        """Records it; False: no further rule."""
        text = f"{rule.location}: {printable(what, 1000)}"
        self._context.journal.record(Trouble(text, message_id=self._context.message_id))
        return False


def _only_mailbox(text: str) -> Mailbox:
    """The one mailbox that a text is. Raises Malformed."""
    found = list(locate_mailboxes(text))
    match found:
        case [Mailbox() as mailbox] if text[: mailbox.item[0]].strip() == text[mailbox.item[1] :].strip() == "":
            return mailbox
        case [Unreadable(_, reason)]:
            raise Malformed(f'unparseable address: {reason} in address "{text}"')
        case _:
            raise Malformed(f'unparseable address: not one address in "{text}"')


_PHRASE = re.compile(r"""(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~ \t-]|"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\))*""")
_UNENCODED = re.compile(r"[\t\x20-\x7e]*")


def _around(text: str, found: Mailbox) -> tuple[str, str]:
    """What stands before and behind an address, a name made fit for a header field."""
    before, behind = text[: found.spec[0]], text[found.spec[1] :]
    if not before.endswith("<"):
        return before, behind
    name, comment = before[:-1].strip(), behind[1:].strip()
    return f"{_phrase(name)} <" if name else "<", f"> {_phrase(comment)}" if comment else ">"


def _phrase(name: str) -> str:
    """A display name or a comment, with quotes where it needs them, or as an encoded word (RFC 2047)."""
    if not _UNENCODED.fullmatch(name):
        bare = re.sub(r"\\(.)", r"\1", name[1:-1]) if len(name) > 1 and name[0] == name[-1] == '"' else name
        return Header(to_wire(bare).decode("utf-8", "replace"), "utf-8").encode(linesep="\r\n")
    if _PHRASE.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# Header fields


async def rewrite_header(
    fields: tuple[Field, ...], rules: tuple[RewriteRule, ...], context: RewriteContext
) -> tuple[Field, ...]:
    """The fields with the addresses of From:, To:, Cc:, Bcc:, Reply-To: and Sender: rewritten, and of their Resent-
    forms. What is no mailbox stays, with a line in the log."""
    found: list[Field] = []
    for number, each in enumerate(fields, 1):
        found.append(await _rewrite_field(each, rules, context))
        if number % _FIELDS_AT_ONCE == 0:
            await context.pause()
    return tuple(found)


async def _rewrite_field(given: Field, rules: tuple[RewriteRule, ...], context: RewriteContext) -> Field:
    which = _FIELDS.get(given.name.lower().removeprefix("resent-"))
    if which is None:
        return given
    applicable = tuple(rule for rule in rules if rule.flags & which)
    name, _, body = given.raw.partition(b":")
    text = from_wire(body)
    parts = _Parts(text, len(name) + 1)
    told = False
    for number, found in enumerate(locate_mailboxes(text), 1):
        if number % _ADDRESSES_AT_ONCE == 0:
            await context.pause()
        match found:
            case Unreadable(_, reason):
                if not told:
                    # One line for a field, however much of it is wrong.
                    shown = printable(reason, 400)
                    context.journal.record(MessageNote(context.message_id, f"qualify/rewrite: {shown}"))
                told = True
            case Mailbox(address, spec, item):
                domain = context.qualify_domain if which & OF_SENDERS else context.qualify_recipient
                old = address.qualified(domain) if context.qualify_domain and which & context.completes else address
                if not old.is_qualified:
                    continue
                course = _Course(which, context, old, str(old))
                await course.run(applicable)
                if course.around is not None:
                    parts.put(item, str(course.address).join(course.around))
                elif course.address != address:
                    parts.put(spec, str(course.address))
    return Field(given.name, name + b":" + to_wire(parts.text())) if parts.changed else given


class _Parts:
    """A field's text under change: puts texts in places, from left to right, and folds where it has grown.

    `column` is where the text begins in its line.
    """

    def __init__(self, old: str, column: int) -> None:
        self.changed = False
        self._old = old
        self._done = 0
        self._new: list[str] = []
        self._column = column

    def put(self, place: tuple[int, int], text: str) -> None:
        start, end = place
        self.changed = True
        self._add(self._old[self._done : start])
        self._add(text)
        self._done = end
        following = _BEHIND_ITEM.match(self._old, end)
        if following is not None and len(text) > end - start:
            self._add(following.group())
            self._done = following.end()
            if self._column > _FOLD_BEHIND:
                self._add("\r\n\t")

    def _add(self, text: str) -> None:
        self._new.append(text)
        last = text.rfind("\n")
        self._column = self._column + len(text) if last < 0 else len(text) - last

    def text(self) -> str:
        return "".join(self._new) + self._old[self._done :]


# The comma behind an address, what is left of the address before it, and blanks: not where a fold follows already.
_BEHIND_ITEM = re.compile(r">?[ \t]*,[ \t]*(?=[^ \t\r\n])")
