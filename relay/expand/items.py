"""The items: `${extract{…}…}`, `${sg{…}{…}{…}}`, `${map{…}{…}}` and all that have arguments in braces (decision).

One row in `CALLS` for an item that only takes arguments, one in `CHOICES` for one that finds something or not; items
with a form of their own in the tree have a function of their own. `${if` is the compiler's.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable

from relay.expand import authentication_results, file_reading, lookups, prvs, strings
from relay.expand.certificates import BadField, certificate_field
from relay.expand.compiling import Code, Compiler, check_size, checked, prepared_pattern, run_acl
from relay.expand.conditions import ORDERINGS, ask_inside
from relay.expand.errors import ExpansionError, ExpansionFailed, NotServed
from relay.expand.international import imap_folder
from relay.expand.scope import Evaluator, Frame
from relay.expand.splitting import SPACE, Split, join_list
from relay.expand.structured import field_by_name, field_by_number, from_json
from relay.expand.tree import (
    Branches,
    Call,
    Choice,
    Extract,
    Filter,
    Forced,
    ListExtract,
    LookUp,
    Map,
    Reduce,
    Sort,
    Template,
)
from relay.expand.values import Value, from_octets, is_tainted, octets, taint_like
from relay.mail.facts import Certificate

AnyItem = Call | Choice | Extract | ListExtract | LookUp | Filter | Map | Reduce | Sort

_NUMBER = re.compile(r"-?[0-9]{1,9}")


def build(compiler: Compiler, node: AnyItem) -> Evaluator:
    """The closure of an item. Raises ExpansionError."""
    match node:
        case Call():
            return _call(compiler, node)
        case Choice():
            return CHOICES[node.name](compiler, node)
        case Extract():
            return _extract(compiler, node)
        case ListExtract():
            return _list_extract(compiler, node)
        case LookUp():
            return _look_up(compiler, node)
        case Filter():
            return _filter(compiler, node)
        case Map():
            return _map(compiler, node)
        case Reduce():
            return _reduce(compiler, node)
        case Sort():
            return _sort(compiler, node)


# Items that only take arguments

Pure = Callable[[list[str]], str]


def _call(compiler: Compiler, node: Call) -> Evaluator:
    if node.name == "sg":
        return _substitute(compiler, node)
    if node.name in ASKING:
        return ASKING[node.name](compiler, node)
    work = CALLS.get(node.name)
    if work is None:
        raise NotServed(f'"{node.name}" is not served here', node.span)
    codes = [compiler.template(argument) for argument in node.arguments]

    async def evaluate(frame: Frame) -> Value:
        texts = [await code.text(frame) for code in codes]
        frame.budget.read(texts[-1])
        return checked(work(texts))

    return evaluate


def _count(text: str, name: str, may_be_negative: bool) -> int:
    """A number that an argument gives. Text from outside is none."""
    if is_tainted(text):
        raise ExpansionFailed(f"attempt to use tainted string '{text}' for {name}")
    if not text:
        return 0
    bare = text.lstrip(SPACE).removeprefix("+") if text.lstrip(SPACE)[1:2].isdigit() else text.lstrip(SPACE)
    if not _NUMBER.fullmatch(bare) or (int(bare) < 0 and not may_be_negative):
        what = "" if may_be_negative else " positive"
        raise ExpansionFailed(f'"{text}" is not a{what} number (in "{name}" expansion)')
    return int(bare)


def _cut(name: str, work: Callable[[str, int, int], str]) -> Pure:
    """`substr{start}{length}{text}` and those with the same arguments; the second may be left out."""

    def cut(arguments: list[str]) -> str:
        text = arguments[-1]
        second = _count(arguments[1], name, may_be_negative=False) if len(arguments) == 3 else -1
        return taint_like(work(text, _count(arguments[0], name, may_be_negative=True), second), text)

    return cut


def _length(arguments: list[str]) -> str:
    text = arguments[1]
    return taint_like(strings.substring(text, 0, _count(arguments[0], "length", may_be_negative=False)), text)


def _keyed_hash(arguments: list[str]) -> str:
    name, secret, text = arguments
    if name not in ("md5", "sha1"):
        raise ExpansionFailed(f'hmac algorithm "{name}" is not recognised')
    return hmac.new(octets(secret), octets(text), name).hexdigest()


def _list_quote(arguments: list[str]) -> str:
    separator, text = arguments
    if not text:
        return " "
    return taint_like(text.replace(separator[0], separator[0] * 2) if separator else text, text)


CALLS: dict[str, Pure] = {
    "hash": _cut("hash", strings.text_hash),
    "hmac": _keyed_hash,
    "length": _length,
    "listquote": _list_quote,
    "nhash": _cut("nhash", strings.number_hash),
    "substr": _cut("substr", strings.substring),
    "tr": lambda arguments: taint_like(strings.translate(*arguments), arguments[0], arguments[2]),
}


def _acl(compiler: Compiler, node: Call) -> Evaluator:
    """`acl{name}{argument}…`: the text of the ACL's `message`."""
    codes = [compiler.template(argument) for argument in node.arguments]

    async def evaluate(frame: Frame) -> Value:
        texts = [await code.text(frame) for code in codes]
        return (await run_acl(frame, texts)).message

    return evaluate


def _seeing(work: Callable[[Frame, list[str]], Awaitable[str]]) -> Callable[[Compiler, Call], Evaluator]:
    """An item that sees more than its arguments."""

    def make(compiler: Compiler, node: Call) -> Evaluator:
        codes = [compiler.template(argument) for argument in node.arguments]

        async def evaluate(frame: Frame) -> Value:
            return checked(await work(frame, [await code.text(frame) for code in codes]))

        return evaluate

    return make


async def _authentication_results(frame: Frame, arguments: list[str]) -> str:
    return authentication_results.field_for(frame.scope, arguments[0])


async def _read_file(frame: Frame, arguments: list[str]) -> str:
    return await file_reading.contents(frame, arguments[0], arguments[1] if len(arguments) > 1 else None)


async def _imap_folder(frame: Frame, arguments: list[str]) -> str:
    text, separator, specials = (*arguments, *("/", "")[len(arguments) - 1 :])
    if len(separator) != 1:
        raise ExpansionFailed(f'IMAP folder separator must be one character, found "{separator}"')
    charset = frame.scope.main.get("headers_charset") or "UTF-8"
    return taint_like(imap_folder(text, separator, specials, charset), text)


async def _sign_address(frame: Frame, arguments: list[str]) -> str:
    address, key, number = arguments if len(arguments) == 3 else (*arguments, "0")
    return taint_like(prvs.sign(address, key, number, frame.scope.now), address)


def _check_address(compiler: Compiler, node: Call) -> Evaluator:
    """`prvscheck{address}{key}{text}`: the key may ask for $prvscheck_keynum and $prvscheck_address, the text also for
    $prvscheck_result, which stays. Without a text the bare address."""
    subject, key, *rest = (compiler.template(argument) for argument in node.arguments)

    async def evaluate(frame: Frame) -> Value:
        results = frame.scope.results
        results.pop("prvscheck_result", None)
        text = await subject.text(frame)
        signed = prvs.read_signed(text)
        if signed is None:
            for code in (key, *rest):
                await code.text(frame)
            return ""
        frame.captures = signed.captures
        address = taint_like(signed.address, text)
        results["prvscheck_address"], results["prvscheck_keynum"] = address, signed.key_number
        try:
            if signed.is_genuine(await key.text(frame), frame.scope.now):
                results["prvscheck_result"] = "1"
            return (await rest[0].text(frame) if rest else "") or address
        finally:
            for name in ("prvscheck_address", "prvscheck_keynum"):
                results.pop(name, None)  # one inside of this one has taken them away already

    return evaluate


# Items that ask the world for something, or see more than their arguments.
ASKING: dict[str, Callable[[Compiler, Call], Evaluator]] = {
    "acl": _acl,
    "authresults": _seeing(_authentication_results),
    "imapfolder": _seeing(_imap_folder),
    "prvs": _seeing(_sign_address),
    "prvscheck": _check_address,
    "readfile": _seeing(_read_file),
}


def _substitute(compiler: Compiler, node: Call) -> Evaluator:
    """`sg{text}{pattern}{replacement}`: the replacement is expanded, and what that gives is expanded again for each
    match; so `$1` in it is written `\\$1`. Exim: EITEM_SG."""
    subject, pattern_code, shape = (compiler.template(argument) for argument in node.arguments)
    pattern = prepared_pattern(pattern_code, node.arguments[1].span)
    ready: Code | None = None  # of a constant replacement; a mistake in one matters only where something matches

    async def evaluate(frame: Frame) -> Value:
        nonlocal ready
        text = await subject.text(frame)
        compiled = await pattern(frame)
        shown, replacement = await shape.text(frame), ready
        inside = frame.scope.deeper()
        frame.budget.read(text)
        data = octets(text)
        pieces: list[str] = []
        copied = size = 0
        for start, end, captures in compiled.matches(text):
            frame.budget.spend()
            inner = frame.fork()
            inner.captures = captures
            if replacement is None:
                replacement = _replacement(compiler, shown)
                ready = None if shape.constant is None else replacement
            inner.scope = inside
            put = await replacement.text(inner)
            pieces += (taint_like(from_octets(data[copied:start]), text), put)
            size += start - copied + len(put)
            check_size(size)
            copied = end
        pieces.append(from_octets(data[copied:]))
        return taint_like(from_octets(octets(checked("".join(pieces)))), text, *pieces)

    return evaluate


def _replacement(compiler: Compiler, text: str) -> Code:
    """The program for a replacement; a text without anything to expand may come from outside."""
    if "$" in text or "\\" in text:
        return compiler.program(text)

    async def constant(_frame: Frame) -> Value:
        return text

    return Code(constant, text)


def _list_extract(compiler: Compiler, node: ListExtract) -> Evaluator:
    number_code = compiler.template(node.number)
    items_of = compiler.list_items(node.source)
    choose = compiler.choose("listextract", node.branches)

    async def evaluate(frame: Frame) -> Value:
        text = (await number_code.text(frame)).strip(SPACE)
        if not text:
            raise ExpansionFailed('first argument of "listextract" must not be empty')
        if not _NUMBER.fullmatch(text):
            raise ExpansionFailed('first argument of "listextract" must be numeric')
        items, number = (await items_of(frame)).items, int(text)
        found = None
        if number < 0 and (number := number + len(items) + 1) < 0:
            number = 1  # two or more before the first one is the first one. Exim: expand_getlistele
        if 0 < number <= len(items):
            found = items[number - 1]
        return await choose(frame, found)

    return evaluate


# extract


def _extract(compiler: Compiler, node: Extract) -> Evaluator:
    """Whether the first argument is a number, and so how many arguments come before the branches, is known at once
    where it is constant; otherwise both readings are made ready."""
    first = compiler.template(node.arguments[0])
    if first.constant is not None:
        one = _extract_read(compiler, node, bool(_NUMBER.fullmatch(first.constant.strip(SPACE))))

        async def constant(frame: Frame) -> Value:
            return await one(frame, (first.constant or "").strip(SPACE))

        return constant
    readings: dict[bool, Callable[[Frame, str], Awaitable[str]] | ExpansionError] = {}
    for numbered in (False, True):
        try:
            readings[numbered] = _extract_read(compiler, node, numbered)
        except ExpansionError as error:
            readings[numbered] = error

    async def evaluate(frame: Frame) -> Value:
        key = taint_like((text := await first.text(frame)).strip(SPACE), text)
        if not key:
            raise ExpansionFailed('first argument of "extract" must not be empty')
        reading = readings[bool(_NUMBER.fullmatch(key))]
        if isinstance(reading, ExpansionError):
            raise ExpansionFailed(reading.message)
        return await reading(frame, key)

    return evaluate


def _extract_read(compiler: Compiler, node: Extract, numbered: bool) -> Callable[[Frame, str], Awaitable[str]]:
    """The item as it is read when its first argument is a number, or is none."""
    count = 3 if numbered and not node.form else 2
    arguments, rest = node.arguments[1:count], node.arguments[count:]
    if len(arguments) < count - 1:
        raise ExpansionError(f"missing '{{' for arg {len(node.arguments) + 1} of extract", node.span)
    if len(rest) > 2 or (node.forced and len(rest) != 1):
        raise ExpansionError("missing '}' closing extract", node.span)
    negative: Template | Forced | None = node.forced or (rest[1] if len(rest) > 1 else None)
    choose = compiler.choose("extract", Branches(rest[0] if rest else None, negative))
    codes = [compiler.template(argument) for argument in arguments]

    async def evaluate(frame: Frame, key: str) -> str:
        texts = [await code.text(frame) for code in codes]
        frame.budget.read(texts[-1])
        found: str | None
        if node.form:
            found = from_json(texts[0], key, numbered, strip_quotes=node.form == "jsons")
        elif numbered:
            found = field_by_number(texts[1], int(key), texts[0])
        else:
            found = field_by_name(texts[0], key)
        return await choose(frame, None if found is None else taint_like(found, *texts))

    return evaluate


# lookup


def _look_up(compiler: Compiler, node: LookUp) -> Evaluator:
    try:
        kind = lookups.read_kind(node.kind)
    except lookups.UnknownLookup as error:
        raise NotServed(str(error), node.span) from None
    if node.key is None and not kind.is_query:
        raise ExpansionError(f'missing {{key}} for single-key "{node.kind}" lookup', node.span)
    if node.key is not None and kind.is_query:
        what = f'a single key was given for lookup type "{node.kind}", which is not a single-key lookup type'
        raise ExpansionError(what, node.span)
    key_code = compiler.template(node.key) if node.key is not None else None
    source_code = compiler.template(node.source)
    choose, find = compiler.choose("lookup", node.branches), compiler.find

    async def evaluate(frame: Frame) -> Value:
        key = await key_code.text(frame) if key_code is not None else ""
        source = await source_code.text(frame)
        if key_code is None:
            key, source = source, ""
        found = await find(frame.scope, kind, key, source)
        if found is None:
            return await choose(frame, None)
        if found.captures:
            frame = frame.fork()
            frame.captures = (*(frame.captures[:1] or ("",)), *found.captures)
        return await choose(frame, found.data)

    return evaluate


# Loops over lists


def _whole(split: Split, items: list[str]) -> str:
    """A list of the items that a loop gave."""
    return taint_like(checked(join_list(items, split.separator)), *items)


async def _body_text(body: Code, frame: Frame, name: str) -> str:
    """What one round of a loop gives; failures say where they were."""
    try:
        return await body.text(frame)
    except ExpansionFailed as error:
        raise type(error)(f'{error} inside "{name}" item') from None


def _filter(compiler: Compiler, node: Filter) -> Evaluator:
    items_of, test = compiler.list_items(node.source), compiler.condition(node.condition)

    async def evaluate(frame: Frame) -> Value:
        split = await items_of(frame)
        kept = []
        for item in split.items:
            frame.budget.spend()
            inner = frame.fork()
            inner.item = item
            if await ask_inside(test, inner, '"filter" condition'):
                kept.append(item)
        return _whole(split, kept)

    return evaluate


def _map(compiler: Compiler, node: Map) -> Evaluator:
    items_of, body = compiler.list_items(node.source), compiler.template(node.body)

    async def evaluate(frame: Frame) -> Value:
        split = await items_of(frame)
        made, size = [], 0
        for item in split.items:
            frame.budget.spend()
            inner = frame.fork()
            inner.item = item
            text = await _body_text(body, inner, "map")
            size += len(text)
            check_size(size)
            made.append(text)
        return _whole(split, made)

    return evaluate


def _reduce(compiler: Compiler, node: Reduce) -> Evaluator:
    items_of = compiler.list_items(node.source)
    initial, body = compiler.template(node.initial), compiler.template(node.body)

    async def evaluate(frame: Frame) -> Value:
        split = await items_of(frame)
        inner = frame.fork()
        inner.value = await initial.text(frame)
        for item in split.items:
            frame.budget.spend()
            inner.item = item
            inner.value = await _body_text(body, inner, "reduce")
        return inner.value

    return evaluate


def _comes_before(compare: Callable[[str, str], bool], one: str, other: str) -> bool:
    """A key that is no number where numbers are compared comes before none. Exim: sortsbefore."""
    try:
        return compare(one, other)
    except ExpansionFailed:
        return False


def _sort(compiler: Compiler, node: Sort) -> Evaluator:
    """Insertion by the named comparison, as Exim does it, so that equal keys come out in the same order."""
    items_of, key = compiler.list_items(node.source), compiler.template(node.key)
    before = ORDERINGS[node.comparison]

    async def evaluate(frame: Frame) -> Value:
        split = await items_of(frame)
        done: list[tuple[str, str]] = []
        for item in split.items:
            inner = frame.fork()
            inner.item = item
            text = await key.text(inner)
            if not text:
                raise ExpansionFailed('field-extract in sort: ""')
            place = 0
            while place < len(done) and not _comes_before(before, text, done[place][0]):
                place += 1
                frame.budget.spend()
            done.insert(place, (text, item))
        return _whole(split, [item for _, item in done])

    return evaluate


# Items that find something or not


def _certificate_extract(compiler: Compiler, node: Choice) -> Evaluator:
    """`certextract{field}{$variable}…`."""
    field_template, variable = node.arguments
    if not compiler.is_certificate(variable):
        raise ExpansionError('second argument of "certextract" must be a certificate variable', variable.span)
    field_code, certificate_code = compiler.template(field_template), compiler.template(variable)
    choose = compiler.choose("certextract", node.branches)

    async def evaluate(frame: Frame) -> Value:
        field = (await field_code.text(frame)).strip(SPACE)
        certificate = await certificate_code.run(frame)
        if not isinstance(certificate, Certificate):
            return await choose(frame, None)
        try:
            return await choose(frame, certificate_field(certificate, field))
        except BadField as error:
            raise ExpansionFailed(str(error)) from None

    return evaluate


def _environment(compiler: Compiler, node: Choice) -> Evaluator:
    """`env{name}…`: only what the allow-list left in the scope."""
    name_code = compiler.template(node.arguments[0])
    choose = compiler.choose("env", node.branches)

    async def evaluate(frame: Frame) -> Value:
        return await choose(frame, frame.scope.environment.get(await name_code.text(frame)))

    return evaluate


CHOICES: dict[str, Callable[[Compiler, Choice], Evaluator]] = {
    "certextract": _certificate_extract,
    "env": _environment,
}
