"""An address comes to a router: affixes taken off, preconditions tried, variables set (decision).

Exim: route_address up to the call of the driver, check_router_conditions, check_files. The order matters: what an
earlier step finds ($local_part_data, $home, …) may be used in the options of a later one.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from relay.expand.debug_print import tell_watcher
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.lists import HostSubject, MatchList
from relay.expand.scope import AddressView, HostView, Scope
from relay.expand.values import Tainted, lower, taint_like
from relay.mail.address import NULL_SENDER, Address
from relay.mail.outcome import ErrorClass
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable
from relay.policy.routers.items import AddressItem
from relay.policy.routers.ports import Account, Purpose, RoutingPorts
from relay.policy.routers.settings import Affixes, Preconditions, Router

VerifyErrorsTo = Callable[[Address], Awaitable[bool]]
"""Whether mail to the address of `errors_to` could be routed."""


class RoutingTrouble(TemporaryFailure):
    """A step of routing can't be done now; the text is whole, for the log."""

    def __init__(self, text: str, error: ErrorClass = ErrorClass.OTHER) -> None:
        super().__init__(text)
        self.error = error


@dataclass(slots=True)
class Visit:
    """An address at a router. `scope` belongs to this visit alone: what becomes known is put into it."""

    item: AddressItem
    scope: Scope
    ports: RoutingPorts
    purpose: Purpose
    verify_errors_to: VerifyErrorsTo
    account: Account | None = None
    """The local user that it is for (check_local_user)."""
    home: str | None = None
    """What router_home_directory gave."""
    self_hostname: str = ""

    @property
    def view(self) -> AddressView:
        """The address as the router sees it."""
        assert self.scope.address is not None
        return self.scope.address

    @property
    def domain(self) -> str:
        return self.view.domain

    def learn(self, **more: str) -> None:
        """Gives variables a value for the options that follow."""
        self.scope.more = {**self.scope.more, **more}


# Conditions


async def flag(option: Expansion | bool, name: str, router: str, scope: Scope) -> bool:
    """A boolean that may be expanded. Raises RoutingTrouble. Exim: exp_bool."""
    if isinstance(option, bool):
        return option
    try:
        text = await option.text(scope)
    except ForcedFailure:
        return False
    except (ExpansionFailed, TemporaryFailure) as error:
        raise RoutingTrouble(f'failed to expand "{name}" option in {router} router: {error}') from error
    if lower(text) in ("true", "yes"):
        return True
    if lower(text) in ("false", "no"):
        return False
    shown = printable(text, 100)
    raise RoutingTrouble(f'"{shown}" is not a valid value for the "{name}" option in the {router} router')


async def holds(condition: Expansion, scope: Scope) -> bool:
    """Exim's lax truth: everything but the empty text, 0, no, false and a forced failure."""
    try:
        text = await condition.text(scope)
    except ForcedFailure:
        return False
    return text.lower() not in ("", "0", "no", "false")


async def is_ignored(hosts: MatchList | None, name: str, address: str, visit: Visit) -> bool:
    """Exim: ignore_target_hosts, disable_ipv6."""
    if visit.ports.without_ipv6 and ":" in address:
        return True
    if hosts is None:
        return False
    scope = visit.scope
    seen = scope.child(host=HostView(name, address))
    return await hosts.match(HostSubject(address, name), seen) is not None


# Affixes


def split_prefix(local_part: str, affixes: Affixes) -> tuple[str, str] | None:
    """The prefix and what its star stands for, by the first item that matches; None where none does."""
    folded = lower(local_part)
    for item in affixes.items:
        wanted = lower(item)
        if wanted.startswith("*"):
            place = folded.rfind(wanted[1:])
            if place >= 0:
                return local_part[: place + len(wanted) - 1], local_part[:place]
        elif folded.startswith(wanted):
            return local_part[: len(wanted)], ""
    return None


def split_suffix(local_part: str, affixes: Affixes) -> tuple[str, str] | None:
    """The same of the end. A suffix without a star leaves something before it."""
    folded = lower(local_part)
    for item in affixes.items:
        wanted = lower(item)
        if wanted.endswith("*"):
            place = folded.find(wanted[:-1])
            if place >= 0:
                return local_part[place:], local_part[place + len(wanted) - 1 :]
        elif len(folded) > len(wanted) and folded.endswith(wanted):
            return local_part[len(local_part) - len(wanted) :], ""
    return None


def view_at(item: AddressItem, router: Router) -> AddressView:
    """The address as the router sees it, whole where an affix is missing."""
    seen = _view(item, router)
    if seen is not None:
        return seen[0]
    local_part = item.address.local_part
    return AddressView(local_part if router.is_caseful else lower(local_part), lower(item.address.domain))


def _view(item: AddressItem, router: Router) -> tuple[AddressView, str] | None:
    """The address as the router sees it, and its local part with the case it came in; None where an affix is
    missing."""
    address, conditions = item.address, router.preconditions
    caseful = address.local_part
    local_part = caseful if router.is_caseful else lower(caseful)
    prefix = suffix = prefix_wild = suffix_wild = ""
    if conditions.prefix is not None:
        found = split_prefix(local_part, conditions.prefix)
        if found is not None:
            prefix, prefix_wild = found
            local_part, caseful = local_part[len(prefix) :], caseful[len(prefix) :]
        elif not conditions.prefix.is_optional:
            return None
    if conditions.suffix is not None:
        found = split_suffix(local_part, conditions.suffix)
        if found is not None:
            suffix, suffix_wild = found
            end = len(local_part) - len(suffix)
            local_part, caseful = local_part[:end], caseful[:end]
        elif not conditions.suffix.is_optional:
            return None
    top, parent = item.top, item.parent
    return (
        AddressView(
            local_part=local_part,
            domain=lower(address.domain),
            original_local_part=_seen_local_part(top, router),
            original_domain=lower(top.address.domain),
            parent_local_part=_seen_local_part(parent, router) if parent is not None else "",
            parent_domain=lower(parent.address.domain) if parent is not None else "",
            prefix=prefix,
            suffix=suffix,
            prefix_wild=prefix_wild,
            suffix_wild=suffix_wild,
            address_data=item.carried.address_data,
            router_variables=item.carried.variables,
        ),
        caseful,
    )


def _seen_local_part(item: AddressItem, router: Router) -> str:
    """The local part of an ancestor, or of the address itself, in the case that the router there minds."""
    is_caseful = item.is_caseful if item.router else router.is_caseful
    return item.address.local_part if is_caseful else lower(item.address.local_part)


# Arriving


async def arrive(
    router: Router,
    item: AddressItem,
    scope: Scope,
    ports: RoutingPorts,
    purpose: Purpose,
    verify_errors_to: VerifyErrorsTo,
) -> Visit | None:
    """The address at the router, or None where the router is to be skipped. Raises ExpansionFailed,
    TemporaryFailure."""
    conditions = router.preconditions
    if purpose not in conditions.purposes:
        return None
    seen = _view(item, router)
    if seen is None:
        return None
    view, caseful = seen
    more = {**scope.more, "router_name": router.name, "return_path": _return_path(item, scope)}
    own = scope.child(address=view, domain_data="", local_part_data="", more=more)
    visit = Visit(item, own, ports, purpose, verify_errors_to)
    if conditions.domains is not None:
        found = await conditions.domains.match(Tainted(view.domain), own)
        if found is None:
            return None
        own.domain_data, own.captures = found.data or "", found.captures
    if conditions.local_parts is not None:
        # The list says itself whether case matters, with +caseful.
        found = await conditions.local_parts.match(Tainted(caseful), own)
        if found is None:
            return None
        own.local_part_data = found.data or ""
        own.captures = found.captures or own.captures
    if not await _is_at_home(conditions, visit):
        return None
    if conditions.senders is not None:
        sender = own.message.sender if own.message is not None else None
        if await conditions.senders.match(sender or NULL_SENDER, own) is None:
            return None
    await tell_watcher(router.debug_print, own, visit.ports.watch)
    if conditions.require_files and not await _files_are_there(conditions.require_files, visit):
        return None
    for condition in conditions.conditions:
        if not await holds(condition, own):
            return None
    return visit


def _return_path(item: AddressItem, scope: Scope) -> str:
    """The sender as the next hop would see it."""
    errors_to = item.carried.errors_to
    if errors_to is not None:
        return str(errors_to)
    sender = scope.message.sender if scope.message is not None else None
    return str(sender) if sender is not None else ""


async def _is_at_home(conditions: Preconditions, visit: Visit) -> bool:
    """check_local_user and router_home_directory; False where there is no such user."""
    scope = visit.scope
    if conditions.check_local_user:
        account = await find_user(visit.view.local_part, visit.ports)
        if account is None:
            return False
        visit.account = account
        scope.local_part_data = account.name
        visit.learn(home=account.home, local_user_uid=str(account.uid), local_user_gid=str(account.gid))
    if conditions.home is not None:
        try:
            visit.home = await conditions.home.text(scope)
            visit.learn(home=visit.home)
        except ForcedFailure:
            pass
        except ExpansionFailed as error:
            source = conditions.home.source
            raise RoutingTrouble(f'failed to expand "{source}" for router_home_directory: {error}') from error
    return True


async def find_user(name: str, ports: RoutingPorts) -> Account | None:
    """A login by its name. Raises TemporaryFailure where nobody can be asked."""
    if ports.accounts is None:
        raise TemporaryFailure("the system's users can't be asked here")
    return await ports.accounts.user(name)


async def find_group(name: str, ports: RoutingPorts) -> int | None:
    """A group by its name or number. Raises TemporaryFailure."""
    if name.removeprefix("-").isdecimal():
        return int(name)
    if ports.accounts is None:
        raise TemporaryFailure("the system's groups can't be asked here")
    return await ports.accounts.group(name)


# Files that must be there


async def _files_are_there(items: tuple[Expansion, ...], visit: Visit) -> bool:
    """Exim: require_files. Raises RoutingTrouble."""
    reader: tuple[int, int] | None = None
    for item in items:
        try:
            text = await item.text(visit.scope)
        except ForcedFailure:
            continue
        except ExpansionFailed as error:
            raise RoutingTrouble(f'failed to expand "{item.source}" for require_files: {error}') from error
        if not text:
            continue
        if "/" not in text:
            reader = await _reader(text, visit.ports)
            continue
        path = taint_like(text.removeprefix("+").lstrip(), text)
        wanted = not path.startswith("!")
        path = taint_like(path.removeprefix("!").lstrip(), text)
        if await _is_there(path, reader, text.startswith("+"), visit.scope) is not wanted:
            return False
    return True


async def _reader(text: str, ports: RoutingPorts) -> tuple[int, int]:
    """Whose right to read is asked: user and group. Raises RoutingTrouble."""
    name, comma, group = text.partition(",")
    uid, gid = -1, -1
    if name.isdecimal():
        uid = int(name)
    else:
        account = await find_user(name, ports)
        if account is None:
            raise RoutingTrouble(f'user "{printable(name, 100)}" for require_files not found')
        uid, gid = account.uid, account.gid
    if comma:
        found = await find_group(group.strip(), ports)
        if found is None:
            raise RoutingTrouble(f'group "{printable(group, 100)}" for require_files not found')
        gid = found
    if gid < 0:
        raise RoutingTrouble(f"group missing after numerical uid {uid} for require_files")
    return uid, gid


async def _is_there(path: str, reader: tuple[int, int] | None, denied_is_missing: bool, scope: Scope) -> bool:
    shown = printable(path, 300)
    if not path.startswith("/"):
        raise RoutingTrouble(f'require_files: "{shown}" is not absolute')
    if scope.file_system is None:
        raise TemporaryFailure("files can't be looked at here")
    try:
        found = await scope.file_system.status(path)
        if reader is not None:
            await _check_access(path, reader, scope)
    except OSError as error:
        if error.errno == errno.ENOENT or (error.errno == errno.EACCES and denied_is_missing):
            return False
        raise RoutingTrouble(f"require_files: error for {shown}: {error.strerror}") from error
    return found is not None


async def _check_access(path: str, reader: tuple[int, int], scope: Scope) -> None:
    """Whether a user could read a file, by the modes of it and of the directories above. Raises OSError."""
    uid, gid = reader
    assert scope.file_system is not None
    place = posixpath.normpath(path)
    wanted = 0o4
    while place:
        found = await scope.file_system.status(place)
        shift = 6 if found.owner == uid else 3 if found.group == gid else 0
        if not stat.S_IMODE(found.mode) & wanted << shift:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), place)
        place, wanted = ("" if place == "/" else posixpath.dirname(place)), 0o1


# Variables


async def set_variables(router: Router, visit: Visit) -> None:
    """`set` and `address_data`. Raises ForcedFailure, which declines, and RoutingTrouble."""
    for variable in router.variables:
        value = await _expanded(variable.value, router.name, visit.scope)
        known = {**visit.view.router_variables, variable.name: value}
        visit.scope.address = replace(visit.view, router_variables=known)
    if router.address_data is not None:
        data = await _expanded(router.address_data, router.name, visit.scope)
        visit.scope.address = replace(visit.view, address_data=data)


async def _expanded(expansion: Expansion, router: str, scope: Scope) -> str:
    try:
        return await expansion.text(scope)
    except ForcedFailure:
        raise
    except (ExpansionFailed, TemporaryFailure) as error:
        raise RoutingTrouble(f'expansion of "{expansion.source}" failed in {router} router: {error}') from error
