"""The conditions: `eq`, `match`, `inlist`, `forany` and all that `${if` and `${filter` may ask (decision).

One row in `CHECKS` for each that takes texts. A condition may change $value and $0 to $9 of the frame that it gets;
whoever asks it has made that frame. Negation is the compiler's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from relay.expand import arithmetic, file_reading, hashes
from relay.expand.addresses import read_address
from relay.expand.compiling import Code, Compiler, prepared_pattern, run_acl
from relay.expand.errors import ExpansionError, ExpansionFailed, NotServed
from relay.expand.list_items import BadItem, HostSubject, ListKind
from relay.expand.list_scan import AnySubject, ListMatch, Named, prepare, read_entries
from relay.expand.scope import Frame, Test
from relay.expand.splitting import SPACE, split_list
from relay.expand.structured import json_items
from relay.expand.tree import Check, Group, InList, Quantified
from relay.expand.values import Absent, lower, octets, same_text, taint_like, text_of

Compare = Callable[[str, str], bool]


def build(compiler: Compiler, node: Check | InList | Group | Quantified) -> Test:
    """The closure of a condition, its negation left out. Raises ExpansionError."""
    match node:
        case Check():
            maker = CHECKS.get(node.name)
            if maker is None:
                raise NotServed(f'condition "{node.name}" is not served here', node.span)
            return maker(compiler, node)
        case InList():
            return _in_list(compiler, node)
        case Group():
            return _group(compiler, node)
        case Quantified():
            return _quantified(compiler, node)


# Comparisons of two texts


def _order(compare: Callable[[bytes, bytes], bool], caseless: bool) -> Compare:
    def ordered(one: str, other: str) -> bool:
        if not caseless:
            return compare(octets(one), octets(other))
        first, second = octets(lower(one)), octets(lower(other))
        if len(first) < len(second) and second.startswith(first):
            first, second = second, first  # the beginning of a text comes behind it. Exim: strcmpic
        return compare(first, second)

    return ordered


def _number(compare: Callable[[int, int], bool]) -> Compare:
    return lambda one, other: compare(arithmetic.integer(one), arithmetic.integer(other))


# Those that `${sort` takes as well.
ORDERINGS: dict[str, Compare] = {
    "<": _number(operator.lt),
    "<=": _number(operator.le),
    ">": _number(operator.gt),
    ">=": _number(operator.ge),
    "lt": _order(operator.lt, caseless=False),
    "lti": _order(operator.lt, caseless=True),
    "le": _order(operator.le, caseless=False),
    "lei": _order(operator.le, caseless=True),
    "gt": _order(operator.gt, caseless=False),
    "gti": _order(operator.gt, caseless=True),
    "ge": _order(operator.ge, caseless=False),
    "gei": _order(operator.ge, caseless=True),
}


def _two_texts(compare: Compare) -> Callable[[Compiler, Check], Test]:
    def make(compiler: Compiler, node: Check) -> Test:
        one, other = (compiler.template(argument) for argument in node.arguments)

        async def test(frame: Frame) -> bool:
            return compare(await one.text(frame), await other.text(frame))

        return test

    return make


def _match(compiler: Compiler, node: Check) -> Test:
    """`match{text}{pattern}`: a match sets $0 to $9."""
    subject, pattern_code = (compiler.template(argument) for argument in node.arguments)
    pattern = prepared_pattern(pattern_code, node.arguments[1].span)

    async def test(frame: Frame) -> bool:
        text = await subject.text(frame)
        frame.budget.read(text)
        captures = (await pattern(frame)).search(text)
        if captures is None:
            return False
        frame.captures = captures
        return True

    return test


def _match_list(kind: ListKind) -> Callable[[Compiler, Check], Test]:
    """`match_domain{text}{list}` and its relatives: a match sets $value to what the item stands for, and $0, $1 where
    the subject is a domain or a local part, which a failure clears."""
    sets_captures = kind in (ListKind.DOMAIN, ListKind.LOCAL_PART)

    def make(compiler: Compiler, node: Check) -> Test:
        subject = compiler.template(node.arguments[0])
        source = node.arguments[1].constant
        assert source is not None  # the parser reads this argument as literal text
        try:
            entries = read_entries(kind, split_list(source).items)
        except BadItem as error:
            raise ExpansionError(str(error), node.arguments[1].span) from None
        scan = compiler.scan
        compiler.note_lists(frozenset((kind, entry.name) for entry in entries if isinstance(entry, Named)))

        async def test(frame: Frame) -> bool:
            prepared = prepare(kind, _subject(kind, await subject.text(frame)))
            answer = await scan(kind, entries, prepared, frame.inner_scope())
            if isinstance(answer, ListMatch):
                frame.value = answer.data or ""
                if kind is not ListKind.HOST:
                    frame.captures = answer.captures if sets_captures else ()
                return True
            if sets_captures and entries:
                frame.captures = (str(prepared.text),) if answer.decided_by.startswith("!") else ()
            return False

        return test

    return make


def _subject(kind: ListKind, text: str) -> AnySubject:
    if kind is not ListKind.HOST:
        return text
    if text and read_address(text) is None:
        raise ExpansionFailed(f'"{text}" is not an IP address')
    return HostSubject(text, name="")


# Tests of one text


def _one_text(ask: Callable[[str], bool]) -> Callable[[Compiler, Check], Test]:
    def make(compiler: Compiler, node: Check) -> Test:
        code = compiler.template(node.arguments[0])

        async def test(frame: Frame) -> bool:
            return ask(await code.text(frame))

        return test

    return make


def _is_ip(bits: int) -> Callable[[str], bool]:
    def ask(text: str) -> bool:
        address = read_address(text)
        return address is not None and bits in (0, address.bits)

    return ask


def truth(text: str, lax: bool) -> bool:
    """What a text means as a condition: `bool`, or `bool_lax` as conditions of routers have it.

    Raises ExpansionFailed for `bool` of anything but a number and the four words.
    """
    word = text.strip(SPACE)
    digits = word.removeprefix("-")
    if word in ("", "-"):
        return False
    if digits.isdecimal() and digits.isascii():
        return digits.strip("0") != "" or (lax and len(word) > 1)
    match lower(word):
        case "true" | "yes":
            return True
        case "false" | "no":
            return False
    if lax:
        return True
    raise ExpansionFailed(f'unrecognised boolean value "{word}"')


# Others


def _exists(compiler: Compiler, node: Check) -> Test:
    path = compiler.template(node.arguments[0])

    async def test(frame: Frame) -> bool:
        return await file_reading.exists(frame, await path.text(frame))

    return test


def _password(compiler: Compiler, node: Check) -> Test:
    """`crypteq{password}{hash}`."""
    password, stored = (compiler.template(argument) for argument in node.arguments)

    async def test(frame: Frame) -> bool:
        return await hashes.belongs(frame.scope, await password.text(frame), await stored.text(frame))

    return test


def _first_delivery(_compiler: Compiler, _node: Check) -> Test:
    async def test(frame: Frame) -> bool:
        return frame.scope.first_delivery

    return test


def _queue_running(_compiler: Compiler, _node: Check) -> Test:
    async def test(frame: Frame) -> bool:
        return frame.scope.queue_running

    return test


def _acl(compiler: Compiler, node: Check) -> Test:
    """`acl{{name}{argument}…}`: true if the ACL accepts; $value is its message."""
    codes = [compiler.template(argument) for argument in node.arguments]

    async def test(frame: Frame) -> bool:
        answer = await run_acl(frame, [await code.text(frame) for code in codes])
        frame.value = answer.message
        return answer.accepted

    return test


CHECKS: dict[str, Callable[[Compiler, Check], Test]] = {
    "=": _two_texts(_number(operator.eq)),
    "==": _two_texts(_number(operator.eq)),
    "acl": _acl,
    "bool": _one_text(lambda text: truth(text, lax=False)),
    "bool_lax": _one_text(lambda text: truth(text, lax=True)),
    "crypteq": _password,
    "eq": _two_texts(same_text),
    "eqi": _two_texts(lambda one, other: same_text(lower(one), lower(other))),
    "exists": _exists,
    "first_delivery": _first_delivery,
    "isip": _one_text(_is_ip(0)),
    "isip4": _one_text(_is_ip(32)),
    "isip6": _one_text(_is_ip(128)),
    "match": _match,
    "match_address": _match_list(ListKind.ADDRESS),
    "match_domain": _match_list(ListKind.DOMAIN),
    "match_ip": _match_list(ListKind.HOST),
    "match_local_part": _match_list(ListKind.LOCAL_PART),
    "queue_running": _queue_running,
    **{name: _two_texts(compare) for name, compare in ORDERINGS.items()},
}


def _in_list(compiler: Compiler, node: InList) -> Test:
    """`inlist{text}{list}`: a match sets $value to the item. What is absent is in no list, see `values.Absent`."""
    caseless = node.name == "inlisti"
    subject = compiler.template(node.subject)
    body = compiler.template(node.source.body)
    if body.constant is not None:
        return _in_constant_list(subject, split_list(body.constant, node.source.separator).items, caseless)
    items_of = compiler.list_items(node.source)

    async def test(frame: Frame) -> bool:
        value = await subject.run(frame)
        if isinstance(value, Absent):
            return False
        text = text_of(value)
        wanted = lower(text) if caseless else text
        for item in (await items_of(frame)).items:
            if same_text(lower(item) if caseless else item, wanted):
                frame.value = item
                return True
        return False

    return test


def _in_constant_list(subject: Code, items: tuple[str, ...], caseless: bool) -> Test:
    """The same where the list is known: one look into a dictionary."""
    table: dict[str, str] = {}
    for item in items:
        table.setdefault(lower(item) if caseless else item, item)

    async def test(frame: Frame) -> bool:
        value = await subject.run(frame)
        if isinstance(value, Absent):
            return False
        text = text_of(value)
        found = table.get(lower(text) if caseless else text)
        if found is None:
            return False
        frame.value = found
        return True

    return test


async def ask_inside(member: Test, frame: Frame, where: str) -> bool:
    """Asks a condition that is part of another one or of an item; failures say so."""
    try:
        return await member(frame)
    except ExpansionFailed as error:
        raise type(error)(f"{error} inside {where}") from None


def _group(compiler: Compiler, node: Group) -> Test:
    """`and{{…}{…}}`, `or`: from left to right, as far as needed."""
    tests = [compiler.condition(member) for member in node.members]
    deciding = node.name == "or"

    async def test(frame: Frame) -> bool:
        for member in tests:
            if await ask_inside(member, frame, f'"{node.name}{{...}}" condition') is deciding:
                return deciding
        return not deciding

    return test


def _quantified(compiler: Compiler, node: Quantified) -> Test:
    """`forany`, `forall` over a list or a JSON array, each element as $item. Without elements both are false."""
    looks_for = node.name.startswith("forany")
    member = compiler.condition(node.condition)
    items_of = compiler.list_items(node.source)
    body = compiler.template(node.source.body)
    is_json, strip_quotes = "_json" in node.name, node.name.endswith("jsons")

    async def test(frame: Frame) -> bool:
        items: tuple[str, ...]
        if is_json:
            text = await body.text(frame)
            frame.budget.read(text)
            items = tuple(taint_like(item, text) for item in json_items(text, strip_quotes))
        else:
            items = (await items_of(frame)).items
        saved = frame.item
        try:
            for item in items:
                frame.budget.spend()
                frame.item = item
                if await ask_inside(member, frame, f'"{node.name}" condition') is looks_for:
                    return looks_for
        finally:
            frame.item = saved
        return bool(items) and not looks_for

    return test
