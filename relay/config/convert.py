"""Texts of options become values, each by its kind (machine).

`Converter` knows what a conversion needs beside the text: the named lists, the ACLs, and the main options
that a string may mention which is expanded while the configuration is read. It raises `BadValue`, never
anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, assert_never

from relay.config.faults import fault_problems
from relay.config.options import (
    LISTS,
    BadExpansion,
    BadValue,
    Kind,
    Option,
    Repeat,
    read_boolean,
    read_fixed,
    read_kibibytes,
    read_octal,
    read_ports,
    read_small_integer,
    read_string,
    read_time,
    read_times,
)
from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.evaluate import Expansion, compile_expansion, compile_for_use
from relay.expand.lists import ListKind, MatchList, NamedLists, compile_list_for_use
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.mail.ports import TemporaryFailure
from relay.mail.source import BUILT_IN, Location, Problem
from relay.policy.acl import ACLReference

T = TypeVar("T")

_LIST_KINDS = {
    Kind.HOSTS: ListKind.HOST,
    Kind.DOMAINS: ListKind.DOMAIN,
    Kind.LOCAL_PARTS: ListKind.LOCAL_PART,
    Kind.ADDRESSES: ListKind.ADDRESS,
    Kind.STRINGS: ListKind.STRING,
}


@dataclass(slots=True)
class Converter:
    """`static` holds main options by name as far as they are known; `find_acl` makes the value of an ACL
    option."""

    named_lists: NamedLists
    find_acl: Callable[[str, Location], ACLReference]
    static: dict[str, str] = field(default_factory=dict)
    faults: list[Problem] = field(default_factory=list)
    """Mistakes that break nothing but the use of an option."""

    def default(self, option: Option) -> object:
        """The value of an option that is not set."""
        if option.repeat is not Repeat.ERROR:
            return ()
        if option.default is None:
            return _UNSET.get(option.kind)
        return self.value(option, option.default, BUILT_IN)

    def setting(self, option: Option, text: str | None, location: Location, *, negated: bool) -> object:
        """The value of an option line. Raises BadValue."""
        if option.kind is Kind.BOOLEAN or (option.kind is Kind.EXPANDED_BOOLEAN and "$" not in (text or "")):
            return read_boolean(text, option.name, negated=negated)
        if negated:
            raise BadValue(f'"no_" can\'t stand before {option.name}', "it is for booleans only")
        if text is None:
            raise BadValue(f'"=" is missing after {option.name}', f"write {option.name} = …")
        return self.value(option, read_string(text, option.name), location)

    def value(self, option: Option, text: str, location: Location) -> object:
        """The value of a text without quotes. Raises BadValue."""
        name = option.name
        match option.kind:
            case Kind.STRING | Kind.USER | Kind.GROUP:
                return text
            case Kind.STATIC:
                return self.expanded_now(name, text)
            case Kind.EXPANDED:
                return self.expansion(name, text, location)
            case Kind.EXPANDED_BOOLEAN:
                return self.expansion(name, text, location) if "$" in text else read_boolean(text, name, negated=False)
            case Kind.HOSTS | Kind.DOMAINS | Kind.LOCAL_PARTS | Kind.ADDRESSES | Kind.STRINGS:
                return self.matching(name, option.kind, text, location)
            case Kind.ITEMS:
                return _items(text)
            case Kind.ACCOUNTS:
                return self.accounts(name, text)
            case Kind.PORTS:
                return read_ports(text, name)
            case Kind.BOOLEAN:
                return read_boolean(text, name, negated=False)
            case Kind.INTEGER | Kind.SIZE:
                return read_small_integer(text, name)
            case Kind.KIBIBYTES:
                return read_kibibytes(text, name)
            case Kind.OCTAL:
                return read_octal(text, name)
            case Kind.TIME:
                return read_time(text, name)
            case Kind.TIMES:
                return read_times(text, name)
            case Kind.FIXED:
                return read_fixed(text, name)
            case Kind.ACL:
                return self.find_acl(text, location)
            case _ as never:
                assert_never(never)

    def expansion(self, name: str, text: str, location: Location) -> Expansion:
        """Compiles; a mistake is one of its use. Raises BadValue for what is not served."""
        try:
            found = compile_for_use(text)
        except ExpansionError as error:
            raise BadExpansion(f"{name}: {error.message}", "correct the expansion") from None
        self.faults += fault_problems(name, location, found)
        return found

    def matching(self, name: str, kind: Kind, text: str, location: Location) -> MatchList:
        """Compiles a list; what can't be expanded in it is a mistake of its use. Raises BadValue."""
        assert kind in LISTS
        try:
            found = compile_list_for_use(_LIST_KINDS[kind], text, self.named_lists)
        except ExpansionError as error:
            raise BadExpansion(f"{name}: {error.message}", "correct the list") from None
        except TemporaryFailure as error:
            raise BadExpansion(f"{name}: {error}", "correct the named list") from None
        found.title = name
        self.faults += fault_problems(name, location, found)
        return found

    def accounts(self, name: str, text: str) -> tuple[str, ...]:
        """Names of users or groups, out of a string that is expanded now. Raises BadValue."""
        try:
            return _items(self.expanded_now(name, text))
        except BadValue as error:
            # Nobody is in a list that can't be told: that is safe for those who only look.
            raise BadExpansion(error.what, error.remedy) from None

    def expanded_now(self, name: str, text: str) -> str:
        """A string that is expanded once, while the configuration is read. Raises BadValue."""
        try:
            expansion = compile_expansion(text)
        except ExpansionError as error:
            raise BadExpansion(f"{name}: {error.message}", "correct the expansion") from None
        if expansion.constant is not None:
            return expansion.constant
        try:
            return answered_now(expansion.text(Scope(main=self.static)))
        except (ExpansionFailed, TemporaryFailure) as error:
            raise BadValue(f"failed to expand {name}: {error}", "use only what is known at the start") from None


def _items(text: str) -> tuple[str, ...]:
    return tuple(item for item in split_list(text).items if item)


# What an unset option is where it is not None.
_UNSET: Mapping[Kind, object] = {
    Kind.BOOLEAN: False,
    Kind.EXPANDED_BOOLEAN: False,
    Kind.ITEMS: (),
    Kind.ACCOUNTS: (),
    Kind.PORTS: (),
    Kind.TIMES: (),
    Kind.STATIC: "",
}


def answered_now(question: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nobody to wait for. Raises what it raises, TemporaryFailure if it
    waits."""
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    question.close()
    raise TemporaryFailure("it would have to wait for an answer")
