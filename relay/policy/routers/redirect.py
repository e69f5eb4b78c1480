"""`driver = redirect`: other addresses, files and commands in place of an address (decision).

The text comes from `data` or from a file, `forward_lists` reads it, and each item becomes a child of the address. What
users may write in files of their own is bounded by the router's `allowed`, by the rules on the file, and by the
transports for files and commands, which alone decide what can be done with them. Exim: redirect_router_entry, rda.c.
"""

from __future__ import annotations

import errno
import re
import stat
from dataclasses import dataclass, field, replace
from typing import assert_never

from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import FileStatus
from relay.expand.values import from_octets, is_tainted
from relay.mail.address import Address
from relay.mail.outcome import ErrorClass
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable
from relay.policy.routers.answers import (
    Declined,
    Direct,
    Discarded,
    Redirected,
    Routed,
    RouteDeferred,
    RouterAnswer,
    Unroutable,
)
from relay.policy.routers.arriving import RoutingTrouble, Visit
from relay.policy.routers.forward_lists import (
    Broken,
    Command,
    FileName,
    Include,
    Named,
    Said,
    Word,
    filter_language,
    read_forward_list,
)
from relay.policy.routers.items import AddressItem, Carried, child_item
from relay.policy.routers.leaving import at_home, carry, transport_of
from relay.policy.routers.settings import Item, Redirect

# Exim: MAX_FILTER_SIZE, MAX_INCLUDE_SIZE.
_FILE_LIMIT = 1024 * 1024
_CHILDREN_LIMIT = 65535
# Files may include files, and themselves.
_INCLUDES_LIMIT = 20

_SMTP_CODE = re.compile(r"[245]\d\d\s*(?:[245]\.\d{1,3}\.\d{1,3}\s*)?")
_ALLOWED = {Word.FAIL: Item.FAIL, Word.DEFER: Item.DEFER, Word.BLACKHOLE: Item.BLACKHOLE}


@dataclass(slots=True)
class _Gathered:
    """What a redirection came to."""

    items: list[Named | Command | FileName] = field(default_factory=list)
    said: Said | None = None
    skipped: list[str] = field(default_factory=list)
    """Items with mistakes that were passed over (skip_syntax_errors)."""


async def run_redirect(router: Redirect, visit: Visit) -> RouterAnswer:
    """Reads the redirection. Raises RoutingTrouble."""
    text = await _text(router, visit)
    if text is None:
        return Declined()
    language = filter_language(text)
    if language:
        what = f"{language} filters are not served here" if Item.FILTER in router.allowed else "filtering not enabled"
        return RouteDeferred(_where(router, what, "filter"), router.name, ErrorClass.REDIRECTION)
    gathered = _Gathered()
    try:
        await _gather(text, router, visit, gathered, 0)
    except _BadItem as error:
        return RouteDeferred(_where(router, str(error)), router.name, ErrorClass.REDIRECTION)
    if visit.ports.note is not None:
        for complaint in gathered.skipped:
            visit.ports.note(f"{router.name} router: skipped error: {complaint}")
    if gathered.said is not None:
        return _said(gathered.said, router)
    if not gathered.items:
        return Declined("syntax error in redirection data" if gathered.skipped else "")
    return Redirected(router.name, await _children(gathered, router, visit))


class _BadItem(Exception):
    """An item that can't be used; the text says why."""


def _where(router: Redirect, what: str, kind: str = "redirect") -> str:
    return f"error in {kind} {'data' if router.data is not None else 'file'}: {what}"


def _said(said: Said, router: Redirect) -> RouterAnswer:
    """`:fail:` and its like."""
    told = said.text
    if router.forbid_smtp_code and (code := _SMTP_CODE.match(told)):
        told = told[code.end() :]
    match said.word:
        case Word.BLACKHOLE:
            return Discarded(router.name)
        case Word.FAIL:
            return Unroutable(told or "forced rejection", router.name, told)
        case Word.DEFER:
            return RouteDeferred(told or "forced defer", router.name, user_message=told)
        case _ as never:
            assert_never(never)


# The text


async def _text(router: Redirect, visit: Visit) -> str | None:
    """The redirection, None where there is none. Raises RoutingTrouble."""
    option = router.file if router.file is not None else router.data
    assert option is not None, "the configuration's reader has looked"
    try:
        text = await option.text(visit.scope)
    except ForcedFailure:
        return None
    except (ExpansionFailed, TemporaryFailure) as error:
        raise RoutingTrouble(f'failed to expand "{option.source}": {error}') from error
    return text if router.file is None else await _content(text, router, visit)


async def _content(path: str, router: Redirect, visit: Visit) -> str | None:
    """The content of the file, None where there is none. Raises RoutingTrouble."""
    shown, rules = printable(path, 300), router.file_rules
    if not path.startswith("/"):
        raise RoutingTrouble(f'"{shown}" is not an absolute path')
    if is_tainted(path):
        raise RoutingTrouble(f"Tainted name '{shown}' for file read not permitted")
    try:
        status, data = await _read(path, "", visit)
    except OSError as error:
        denied = error.errno == errno.EACCES and rules.ignore_eacces
        no_directory = error.errno == errno.ENOTDIR and rules.ignore_enotdir
        if denied or no_directory or (error.errno == errno.ENOENT and await _directory_is_there(path, router, visit)):
            return None
        raise RoutingTrouble(f"failed to open {shown}: {error.strerror}") from error
    complaint = _complaint(status, shown, router, visit)
    if complaint:
        raise RoutingTrouble(complaint)
    return from_octets(data)


async def _read(path: str, beneath: str, visit: Visit) -> tuple[FileStatus, bytes]:
    """Raises OSError, TemporaryFailure."""
    if visit.ports.files is None:
        raise TemporaryFailure("files can't be read here")
    return await visit.ports.files.read(path, _FILE_LIMIT + 1, beneath)


async def _directory_is_there(path: str, router: Redirect, visit: Visit) -> bool:
    """A file system that is not mounted is no reason to believe that there is no such file. Raises RoutingTrouble."""
    if router.file_rules.ignore_enotdir or visit.scope.file_system is None:
        return True
    directory = path.rpartition("/")[0] or "/"
    try:
        await visit.scope.file_system.status(directory)
    except OSError as error:
        raise RoutingTrouble(f"failed to stat {printable(directory, 300)}/. ({error.strerror})") from error
    return True


def _complaint(status: FileStatus, shown: str, router: Redirect, visit: Visit) -> str:
    """Why the file must not be used, "" where it may."""
    rules, account = router.file_rules, visit.account
    if not stat.S_ISREG(status.mode):
        return f"{shown} is not a regular file"
    if too_open := status.mode & rules.modemask:
        return f"bad mode (0{status.mode:o}) for {shown}: 0{too_open:o} bit(s) unexpected"
    owners = rules.owners if account is None else rules.owners | {account.uid}
    groups = rules.groups if account is None else rules.groups | {account.gid}
    if rules.check_owner and status.owner not in owners:
        return f"bad owner for {shown}"
    if rules.check_group and status.group not in groups:
        return f"bad group for {shown}"
    if status.size > _FILE_LIMIT:
        return f"{shown} is too big (max {_FILE_LIMIT})"
    return ""


# The items


async def _gather(text: str, router: Redirect, visit: Visit, gathered: _Gathered, depth: int) -> None:
    """Adds the items of a text. Raises _BadItem, RoutingTrouble."""
    for item in read_forward_list(text):
        match item:
            case Said():
                if _ALLOWED[item.word] not in router.allowed:
                    raise _BadItem(f'"{printable(item.item, 300)}" is not permitted')
                gathered.said = item
                return
            case Include(path):
                included = await _included(path, router, visit, depth)
                await _gather(included, router, visit, gathered, depth + 1)
                if gathered.said is not None:
                    return
            case Broken(shown, reason):
                complaint = f'{reason} in "{printable(shown, 300)}"'
                if not router.skip_syntax_errors:
                    raise _BadItem(complaint)
                gathered.skipped.append(complaint)
            case Named() | Command() | FileName():
                if len(gathered.items) >= _CHILDREN_LIMIT:
                    raise _BadItem(f"more than {_CHILDREN_LIMIT} addresses")
                gathered.items.append(item)
            case _ as never:
                assert_never(never)


async def _included(path: str, router: Redirect, visit: Visit, depth: int) -> str:
    """The text of an included file. Raises _BadItem."""
    shown = printable(path, 300)
    if not path:
        raise _BadItem("file name missing after :include:")
    if not path.startswith("/"):
        raise _BadItem(f'included file "{shown}" is not an absolute path')
    if Item.INCLUDE not in router.allowed:
        raise _BadItem("included files not permitted")
    if is_tainted(path):
        raise _BadItem(f"Tainted name '{shown}' for included file  not permitted")
    if depth >= _INCLUDES_LIMIT:
        raise _BadItem(f"included file {shown}: too many files include each other (a loop?)")
    directory = router.include_directory.rstrip("/")
    if directory and not path.startswith(f"{directory}/"):
        raise _BadItem(f"included file {shown} is not in directory {router.include_directory}")
    try:
        status, data = await _read(path, directory, visit)
    except OSError as error:
        if error.errno == errno.ELOOP and directory:
            what = f"failed to open {shown} (component of included file); could be symbolic link"
            raise _BadItem(what) from error
        raise _BadItem(f"failed to open included file {shown}: {error.strerror}") from error
    if directory and not stat.S_ISREG(status.mode):
        raise _BadItem(f"included file {shown} is not a regular file in the {directory} directory")
    if status.size > _FILE_LIMIT:
        raise _BadItem(f"included file {shown} is too big (max {_FILE_LIMIT})")
    return from_octets(data)


# The children


async def _children(gathered: _Gathered, router: Redirect, visit: Visit) -> tuple[AddressItem | Direct, ...]:
    carried = await carry(router, visit)
    parent = visit.item.handled_by(router.name, router.is_caseful)
    parent = replace(parent, carried=replace(parent.carried, errors_to=carried.errors_to))
    domain = await _qualify_domain(router, visit)
    children: list[AddressItem | Direct] = []
    for item in gathered.items:
        match item:
            case Named():
                children.append(await _child(item, parent, carried, domain, router, visit))
            case Command(text) | FileName(text):
                direct = await _direct(text, parent, carried, router, visit)
                children.append(replace(direct, is_hidden=router.hide_child_in_errmsg))
            case _ as never:
                assert_never(never)
    return tuple(children)


async def _qualify_domain(router: Redirect, visit: Visit) -> str:
    if router.qualify_preserve_domain:
        return visit.domain
    if router.qualify_domain is None:
        return visit.ports.qualify_recipient
    try:
        return await router.qualify_domain.text(visit.scope)
    except (ExpansionFailed, TemporaryFailure) as error:
        raise RoutingTrouble(f'failed to expand "{router.qualify_domain.source}": {error}') from error


async def _child(
    item: Named, parent: AddressItem, carried: Carried, domain: str, router: Redirect, visit: Visit
) -> AddressItem:
    address = item.address.qualified(visit.domain if item.is_escaped else domain)
    if router.rewrite and visit.ports.rewrite is not None:
        address = await visit.ports.rewrite(address, visit.scope)
    if router.check_ancestor and _is_ancestor(address, parent):
        address = parent.address
    child = child_item(parent, address, carried, router.redirect_router)
    return replace(child, is_hidden=router.hide_child_in_errmsg, is_lasting=router.one_time)


def _is_ancestor(address: Address, parent: AddressItem) -> bool:
    """Whether the address is the one that is being redirected, or one that this was made of."""
    text = str(address)
    for ancestor in (parent, *parent.ancestors()):
        known = str(ancestor.address)
        if known == text or (not ancestor.is_caseful and known.lower() == text.lower()):
            return True
    return False


async def _direct(text: str, parent: AddressItem, carried: Carried, router: Redirect, visit: Visit) -> Direct:
    """A file or a command. What is forbidden fails, what can't be set up waits."""
    unique = f"{text}:{parent.bare_unique}"
    if text[0] == "|":
        kind, option, name, variable = Item.PIPE, router.pipe_transport, "pipe_transport", "address_pipe"
    elif text.endswith("/"):
        kind, option, name, variable = Item.FILE, router.directory_transport, "directory_transport", "address_file"
    else:
        kind, option, name, variable = Item.FILE, router.file_transport, "file_transport", "address_file"
    visit.learn(**{variable: text})
    transport, missing = "", None
    try:
        transport = await _transport(option, router.name, name, visit)
    except RoutingTrouble as error:
        missing = RouteDeferred(str(error), router.name, error.error)
    if kind not in router.allowed:
        what = "pipe" if kind is Item.PIPE else "file"
        refused = Unroutable(f"delivery to {what} forbidden", router.name, transport=transport)
        return Direct(parent, text, unique, refused)
    if missing is not None:
        return Direct(parent, text, unique, missing)
    try:
        answer = await at_home(_delivery(text, transport, parent, carried, router, visit), router, visit)
    except RoutingTrouble as error:
        return Direct(parent, text, unique, RouteDeferred(str(error), router.name, error.error))
    return Direct(parent, text, unique, answer)


async def _transport(option: Expansion | None, router: str, name: str, visit: Visit) -> str:
    return await transport_of(option, router, visit, name)


def _delivery(
    text: str, transport: str, parent: AddressItem, carried: Carried, router: Redirect, visit: Visit
) -> Routed:
    return Routed(
        router=router.name,
        transport=transport,
        item=parent,
        view=visit.view,
        carried=carried,
        text=text,
        domain_data=visit.scope.domain_data,
        local_part_data=visit.scope.local_part_data,
        is_logged=not router.disable_logging,
    )
