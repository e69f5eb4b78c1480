"""The operators: `${lc:…}`, `${sha256:…}`, `${length_3:…}` (decision).

One row for each: what it does with a text and with the arguments behind the underscore, what it does with a
certificate, and whether what it yields can still carry what an outsider wrote. Most are plain functions; those that
need to see variables or lists get the frame.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay.expand import addresses, arithmetic, file_reading, international, strings
from relay.expand.compiling import Code, Compiler, checked
from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.headers import decode_words, encode_words, wrap
from relay.expand.list_items import ListKind
from relay.expand.scope import Evaluator, Frame
from relay.expand.splitting import split_list
from relay.expand.tree import Operator
from relay.expand.values import ABSENT, Value, from_octets, lower, octets, taint_like, text_of, upper
from relay.mail.facts import Certificate
from relay.mail.text import printable

Plain = Callable[[str], str]
WithArgument = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One operator. Exactly one of `plain`, `with_argument` and `asking` is set."""

    plain: Plain | None = None
    with_argument: WithArgument | None = None
    """Gets the text and what stands behind the underscore ("" where there is none)."""
    asking: Callable[[Compiler, Frame, str, str], Awaitable[str]] | None = None
    certificate: Callable[[Certificate], str] | None = None
    keeps_taint: bool = True


# Hashes and codes


def _hexadecimal(name: str, big: bool) -> Plain:
    def digest(text: str) -> str:
        shown = hashlib.new(name, octets(text), usedforsecurity=False).hexdigest()
        return shown.upper() if big else shown

    return digest


def _fingerprint(name: str) -> Callable[[Certificate], str]:
    """In upper case without colons, for all three hashes. Exim: tls_cert_fprt_sha256 and its relatives."""

    def fingerprint(certificate: Certificate) -> str:
        return hashlib.new(name, certificate.der, usedforsecurity=False).hexdigest().upper()

    return fingerprint


def _sha256_of_certificate(certificate: Certificate) -> str:
    return certificate.fingerprint


def _sha(family: str, sizes: tuple[str, ...]) -> WithArgument:
    def digest(text: str, size: str) -> str:
        if (size or "256") not in sizes:
            raise ExpansionFailed(f"unrecognised {family} variant")
        name = f"sha3_{size or '256'}" if family == "sha3" else f"sha{size or '256'}"
        return hashlib.new(name, octets(text)).hexdigest().upper()

    return digest


def _base64(text: str) -> str:
    return base64.b64encode(octets(text)).decode("ascii")


def _base64_of_certificate(certificate: Certificate) -> str:
    return base64.b64encode(certificate.der).decode("ascii")


def _base64_decoded(text: str) -> str:
    try:
        return from_octets(base64.b64decode(re.sub(r"\s+", "", text), validate=True))
    except (binascii.Error, ValueError):
        raise ExpansionFailed(f'string "{text}" is not well-formed for "base64d" operator') from None


def _hex_to_base64(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]*", text):
        raise ExpansionFailed(f'"{text}" is not a hex string')
    if len(text) % 2:
        raise ExpansionFailed(f'"{text}" contains an odd number of characters')
    return base64.b64encode(bytes.fromhex(text)).decode("ascii")


def _number_coded(alphabet: str, name: str, width: int) -> Plain:
    """Numbers are read as C does it: none is 0, a sign may stand before it. `width` digits (0: as many as needed)."""

    def encode(text: str) -> str:
        if not re.fullmatch(r"|\s*[+-]?[0-9]{1,40}", text, re.ASCII):
            raise ExpansionFailed(f'argument for {name} operator is "{text}", which is not a decimal number')
        wanted = int(text or "0")
        number = 2**64 - 1 if abs(wanted) >= 2**64 else wanted % 2**64
        digits = ""
        while number:
            number, digit = divmod(number, len(alphabet))
            digits = alphabet[digit] + digits
        return digits.rjust(width, alphabet[0])[-width:] if width else digits

    return encode


def _number_decoded(alphabet: str, name: str, shown: str) -> Plain:
    def decode(text: str) -> str:
        number = 0
        for character in text[:64]:
            digit = alphabet.find(character)
            if digit < 0:
                raise ExpansionFailed(f'argument for {name} operator is "{text}", which is not a base {shown} number')
            number = number * len(alphabet) + digit
        return str(arithmetic.wrapped(number))

    return decode


_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


# IP addresses


def _ip_address(text: str) -> addresses.IPAddress:
    found = addresses.read_address(text)
    if found is None:
        raise ExpansionFailed(f'"{text}" is not an IP address')
    return found


def _mask(text: str, argument: str) -> str:
    """`${mask:10.1.2.3/8}`; `mask_n` shows IPv6 in its usual short form."""
    bare, slash, length = text.partition("/")
    if addresses.read_network(text if length else bare) is None:
        raise ExpansionFailed(f'"{text}" is not an IP address')
    if not slash:
        raise ExpansionFailed(f'missing mask value in "{text}"')
    address, size = _ip_address(bare), int(length or "0")
    if size > address.bits:
        raise ExpansionFailed(f'mask value too big in "{text}"')
    masked = address.masked(size)
    shown = masked.short() if argument.startswith("n") else masked.full(".")
    return f"{shown}/{size}"


def _ipv6(normal: bool) -> Plain:
    def show(text: str) -> str:
        address = _ip_address(text)
        if address.bits == 32:
            address = addresses.IPAddress(128, 0xFFFF << 32 | address.number)
        return address.short() if normal else address.full()

    return show


def _reverse_ip(text: str) -> str:
    address = addresses.read_address(text.partition("/")[0])
    if address is None:
        raise ExpansionFailed(f"reverse_ip() not given an IP address [{text}]")
    return addresses.reversed_name(address)


# Numbers


def _list_count(text: str) -> str:
    return str(len(split_list(text).items))


def _time_eval(text: str) -> str:
    seconds = arithmetic.seconds_of(text)
    if seconds is None:
        raise ExpansionFailed(f'string "{text}" is not an Exim time interval in "time_eval" operator')
    return str(seconds)


def _time_interval(text: str) -> str:
    if not re.fullmatch(r"[0-9]{0,18}", text):
        raise ExpansionFailed(f'string "{text}" is not a positive number in "time_interval" operator')
    return arithmetic.interval_of(int(text or "0"))


# Parts of texts


def _cutting(work: Callable[[str, int, int], str]) -> WithArgument:
    """An operator with one or two numbers behind it, such as `substr_2_3`."""

    def cut(text: str, argument: str) -> str:
        first, _, second = argument.partition("_")
        return work(text, int(first or "0"), int(second) if second else -1)

    return cut


def _first(text: str, count: int, _unused: int) -> str:
    return strings.substring(text, 0, count)


def _wrap(text: str, argument: str) -> str:
    """`${headerwrap_80_998:…}`: columns, then octets in all."""
    numbers = [_leading_number(each) for each in split_list(argument, "_").items]
    return wrap(text, *(*numbers, *(80, 998)[len(numbers) :])[:2])


def _leading_number(text: str) -> int:
    """As C reads one: 0 where there is none."""
    match = re.match(r"[+-]?[0-9]{1,9}", text)
    return int(match.group()) if match else 0


def _random(text: str) -> str:
    if not text:
        raise ExpansionFailed(f'integer expected but "{text}" found')
    limit = arithmetic.integer(text, not_negative=True)
    return str(secrets.randbelow(limit)) if limit > 1 else "0"


_CUT_ARGUMENTS = re.compile(r"(-?[0-9]{1,9}(_[0-9]{1,9})?)?")


# Those that see more than their text


async def _expand(compiler: Compiler, frame: Frame, text: str, _argument: str) -> str:
    """Expands a text again. Text from outside is refused."""
    inner = frame.fork()
    inner.scope = frame.inner_scope()
    code = compiler.program(text)
    try:
        return await code.text(inner)
    except ExpansionFailed as error:
        raise type(error)(f'internal expansion of "{text}" failed: {error}') from None


async def _encode_words(_compiler: Compiler, frame: Frame, text: str, _argument: str) -> str:
    charset = frame.scope.main.get("headers_charset") or "UTF-8"
    return taint_like(encode_words(text, charset), text)


async def _status(_compiler: Compiler, frame: Frame, text: str, _argument: str) -> str:
    return await file_reading.status_text(frame, text)


_LIST_SUFFIXES = {
    "": tuple(ListKind),
    "a": (ListKind.ADDRESS,),
    "d": (ListKind.DOMAIN,),
    "h": (ListKind.HOST,),
    "l": (ListKind.LOCAL_PART,),
}


async def _list_named(_compiler: Compiler, frame: Frame, text: str, argument: str) -> str:
    """The items of a named list, lists inside of it put in their place."""
    kinds = _LIST_SUFFIXES.get(argument)
    if kinds is None:
        raise ExpansionFailed('bad suffix on "list" operator')
    return " : ".join(item.replace(":", "::") for item in _items_of(frame, text.removeprefix("+"), kinds))


def _items_of(frame: Frame, name: str, kinds: tuple[ListKind, ...]) -> list[str]:
    scope = frame.inner_scope()
    found = None
    for kind in kinds:
        found = found or (scope.named_lists.find(kind, name) if scope.named_lists else None)
    if found is None:
        what = f"a {kinds[0].value} named list" if len(kinds) == 1 else "a named list"
        raise ExpansionFailed(f'"{name}" is not {what}')
    items: list[str] = []
    for item in found.written:
        frame.budget.spend()
        if item.startswith("+") and not item.startswith(("+include_", "+ignore_", "+caseful")):
            inner = Frame(scope, frame.budget)
            items.extend(_items_of(inner, item[1:], (found.kind,)))
        else:
            items.append(item)
    return items


def _plain(function: Plain, keeps_taint: bool = True) -> Rule:
    return Rule(plain=function, keeps_taint=keeps_taint)


def _eval(decimal: bool) -> Rule:
    return _plain(lambda text: str(arithmetic.evaluate(text, decimal)), keeps_taint=False)


# Names with an underscore that is part of them. All others end at their first underscore.
WITH_UNDERSCORE = frozenset(
    {"from_utf8", "local_part", "quote_local_part", "reverse_ip", "time_eval", "time_interval"}
    | {f"utf8_{part}_{way}_alabel" for part in ("domain", "localpart") for way in ("from", "to")}
)

_LENGTH = Rule(with_argument=_cutting(_first))
_SUBSTR = Rule(with_argument=_cutting(strings.substring))
_HASH = Rule(with_argument=_cutting(strings.text_hash))
_NHASH = Rule(with_argument=_cutting(strings.number_hash), keeps_taint=False)
_CUTTING = frozenset({"h", "hash", "l", "length", "nh", "nhash", "s", "substr"})

OPERATORS: dict[str, Rule] = {
    "address": _plain(strings.address_of),
    "addresses": _plain(strings.addresses_of),
    "base32": _plain(_number_coded(_BASE32, "base32", 0), keeps_taint=False),
    "base32d": _plain(_number_decoded(_BASE32, "base32d", "32"), keeps_taint=False),
    "base62": _plain(_number_coded(_BASE62, "base62", 6), keeps_taint=False),
    "base62d": _plain(_number_decoded(_BASE62, "base62d", "62"), keeps_taint=False),
    "base64": Rule(plain=_base64, certificate=_base64_of_certificate),
    "base64d": _plain(_base64_decoded),
    "domain": _plain(strings.domain_of),
    "escape": _plain(lambda text: "\t".join(printable(part) for part in text.split("\t"))),
    "escape8bit": _plain(strings.escape_eight_bits),
    "eval": _eval(decimal=False),
    "eval10": _eval(decimal=True),
    "expand": Rule(asking=_expand),
    "from_utf8": _plain(strings.from_utf8),
    "h": _HASH,
    "hash": _HASH,
    "headerwrap": Rule(with_argument=_wrap),
    "hex2b64": _plain(_hex_to_base64),
    "hexquote": _plain(strings.hex_quote),
    "ipv6denorm": _plain(_ipv6(normal=False), keeps_taint=False),
    "ipv6norm": _plain(_ipv6(normal=True), keeps_taint=False),
    "l": _LENGTH,
    "lc": _plain(lower),
    "length": _LENGTH,
    "listcount": _plain(_list_count, keeps_taint=False),
    "listnamed": Rule(asking=_list_named, keeps_taint=False),
    "local_part": _plain(strings.local_part_of),
    "mask": Rule(with_argument=_mask, keeps_taint=False),
    "md5": Rule(plain=_hexadecimal("md5", big=False), certificate=_fingerprint("md5"), keeps_taint=False),
    "nh": _NHASH,
    "nhash": _NHASH,
    "quote": Rule(with_argument=strings.quote),
    "quote_local_part": _plain(strings.quote_local_part),
    "reverse_ip": _plain(_reverse_ip, keeps_taint=False),
    "randint": _plain(_random, keeps_taint=False),
    "rfc2047": Rule(asking=_encode_words),
    "rfc2047d": _plain(lambda text: decode_words(octets(text))),
    "rxquote": _plain(strings.pattern_quote),
    "s": _SUBSTR,
    "sha1": Rule(plain=_hexadecimal("sha1", big=True), certificate=_fingerprint("sha1"), keeps_taint=False),
    "sha2": Rule(with_argument=_sha("sha2", ("256", "384", "512")), keeps_taint=False),
    "sha256": Rule(plain=_hexadecimal("sha256", big=True), certificate=_sha256_of_certificate, keeps_taint=False),
    "sha3": Rule(with_argument=_sha("sha3", ("224", "256", "384", "512")), keeps_taint=False),
    # Ours: the SHA-256 of the public key of a certificate, what a key pin holds.
    "spki": Rule(plain=lambda _text: "", certificate=lambda certificate: certificate.key_digest, keeps_taint=False),
    "stat": Rule(asking=_status),
    "str2b64": _plain(_base64),
    "strlen": _plain(lambda text: str(len(text) if text.isascii() else len(octets(text))), keeps_taint=False),
    "substr": _SUBSTR,
    "time_eval": _plain(_time_eval, keeps_taint=False),
    "time_interval": _plain(_time_interval, keeps_taint=False),
    "uc": _plain(upper),
    "utf8_domain_from_alabel": _plain(international.domain_from_alabels),
    "utf8_domain_to_alabel": _plain(international.domain_to_alabels),
    "utf8_localpart_from_alabel": _plain(international.local_part_from_alabel),
    "utf8_localpart_to_alabel": _plain(international.local_part_to_alabel),
    "utf8clean": _plain(strings.clean_utf8),
    "xtextd": _plain(strings.decode_xtext),
}


def build(compiler: Compiler, node: Operator) -> Evaluator:
    """The closure of an operator. Raises ExpansionError for an unknown one and for arguments out of place."""
    rule, argument = _find(node)
    code = compiler.template(node.argument)
    if rule.certificate is not None:
        return _on_certificate(rule, rule.certificate, code, compiler.is_certificate(node.argument))
    if rule.asking is not None:
        return _asking(compiler, rule.asking, code, argument)
    if rule.with_argument is not None:
        work = rule.with_argument
        return _on_text(lambda text: work(text, argument), code, rule.keeps_taint)
    assert rule.plain is not None
    return _on_text(rule.plain, code, rule.keeps_taint)


def _find(node: Operator) -> tuple[Rule, str]:
    """The rule for a name as written, and its arguments."""
    name = node.name
    if name in WITH_UNDERSCORE:
        return OPERATORS[name], ""
    base, underscore, argument = name.partition("_")
    rule = OPERATORS.get(base)
    if rule is None:
        raise ExpansionError(f'unknown expansion operator "{name}"', node.span)
    if underscore and rule.with_argument is None and base != "listnamed":
        what = f'unknown expansion operator "{name}" ("{base}" does not take an _arg)'
        raise ExpansionError(what, node.span)
    if base == "quote" and underscore:
        strings.check_quoting(node.span, argument)
    if base in _CUTTING:
        _check_cutting(node, base, underscore, argument)
    return rule, argument


def _check_cutting(node: Operator, base: str, underscore: str, argument: str) -> None:
    """`substr_2_3` and its like need their numbers."""
    if not underscore:
        raise ExpansionError(f"missing values after {node.name}", node.span)
    negative = argument.startswith("-")
    too_many = "_" in argument and base in ("l", "length")
    if not _CUT_ARGUMENTS.fullmatch(argument) or too_many or (negative and not base.startswith("s")):
        raise ExpansionError(f'non-digit after underscore in "{node.name}"', node.span)
    numbers = [int(number) for number in argument.split("_") if number]
    if base in ("h", "hash") and len(numbers) > 1 and numbers[1] > strings.HASH_LETTERS:
        raise ExpansionError(f'hash count "{numbers[1]}" too big', node.span)
    if base in ("nh", "nhash") and 0 in numbers:
        raise ExpansionError(f'zero in "{node.name}"', node.span)


def _on_text(work: Plain, code: Code, keeps_taint: bool) -> Evaluator:
    run = code.run

    async def evaluate(frame: Frame) -> Value:
        text = text_of(await run(frame))
        frame.budget.work(text)
        done = checked(work(text))
        return taint_like(done, text) if keeps_taint else done

    return evaluate


def _on_certificate(
    rule: Rule, of_certificate: Callable[[Certificate], str], code: Code, is_certificate: bool
) -> Evaluator:
    """An operator that knows certificates. Without the certificate that was asked for it yields nothing, where Exim
    takes the hash of a fixed text."""
    run, work, keeps_taint = code.run, rule.plain, rule.keeps_taint
    assert work is not None

    async def evaluate(frame: Frame) -> Value:
        value = await run(frame)
        if isinstance(value, Certificate):
            return of_certificate(value)
        if is_certificate:
            return ABSENT
        frame.budget.work(value)
        done = checked(work(value))
        return taint_like(done, value) if keeps_taint else done

    return evaluate


def _asking(
    compiler: Compiler, ask: Callable[[Compiler, Frame, str, str], Awaitable[str]], code: Code, argument: str
) -> Evaluator:
    async def evaluate(frame: Frame) -> Value:
        return await ask(compiler, frame, await code.text(frame), argument)

    return evaluate
