"""Blocks of the `routers` section become routers (machine).

One function for each driver that is served, listed in `_MAKERS`. What can't be made of a block is a
`ConfigurationError` with its line.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable, Mapping
from typing import Any

from relay.config.blocks import DriverBlock
from relay.expand.errors import ExpansionError
from relay.expand.evaluate import Expansion, compile_expansion, compile_for_use
from relay.expand.lists import MatchList, NamedLists, compile_list_for_use
from relay.expand.splitting import split_list
from relay.mail.source import ConfigurationError, Problem
from relay.policy.routers.manualroute import compile_route_list
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import (
    EVERY_PURPOSE,
    HOST_ALL_IGNORED,
    HOST_FIND_FAILED,
    SELF,
    Accept,
    Affixes,
    DNSLookup,
    Fallback,
    FileRules,
    IPLiteral,
    Item,
    Manualroute,
    Preconditions,
    Redirect,
    Reroute,
    RouteItem,
    Router,
    Variable,
)
from relay.policy.words import nearest


def make_router(block: DriverBlock, named: NamedLists) -> Router:
    """The router that a block describes. Raises ConfigurationError."""
    return _MAKERS[block.driver](block, named)


def _wrong(block: DriverBlock, option: str, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(Problem(block.place(option), what, remedy, subject=f"{block.name} router"))


# What all have in common


def _common(block: DriverBlock, named: NamedLists, *, log_as_local: bool = False) -> dict[str, Any]:
    """The fields that every router has, by name."""
    return {
        "name": block.name,
        "location": block.location,
        "transport": block.expansion("transport"),
        "preconditions": _preconditions(block, named),
        "is_caseful": block.flag("caseful_local_part"),
        "variables": _variables(block),
        "address_data": block.expansion("address_data"),
        "more": block.flag_or_expansion("more"),
        "unseen": block.flag_or_expansion("unseen"),
        "pass_on_timeout": block.flag("pass_on_timeout"),
        "pass_router": block.text("pass_router"),
        "redirect_router": block.text("redirect_router"),
        "cannot_route_message": block.expansion("cannot_route_message"),
        "fail_verify": _fail_verify(block),
        "self_action": _self(block),
        "ignore_target_hosts": block.matching("ignore_target_hosts"),
        "fallback_hosts": block.expansion("fallback_hosts"),
        "errors_to": block.expansion("errors_to"),
        "headers_add": block.expansions("headers_add"),
        "headers_remove": block.expansions("headers_remove"),
        "user": _compiled(block, "user"),
        "group": _compiled(block, "group"),
        "initgroups": block.flag("initgroups"),
        "home_directory": block.expansion("transport_home_directory"),
        "current_directory": block.expansion("transport_current_directory"),
        "dnssec_request": block.matching("dnssec_request_domains"),
        "dnssec_require": block.matching("dnssec_require_domains"),
        "log_as_local": block.flag("log_as_local") if "log_as_local" in block.set_at else log_as_local,
        "disable_logging": block.flag("disable_logging"),
        "debug_print": block.expansion("debug_print"),
    }


def _compiled(block: DriverBlock, option: str) -> Expansion | None:
    """A string that is expanded when it is used, where the table has it as another kind."""
    text = block.text(option)
    if not text:
        return None
    return _expansions(block, option, (text,))[0]


def _preconditions(block: DriverBlock, named: NamedLists) -> Preconditions:
    return Preconditions(
        purposes=_purposes(block),
        prefix=_affixes(block, "local_part_prefix"),
        suffix=_affixes(block, "local_part_suffix"),
        domains=block.matching("domains"),
        local_parts=_local_parts(block, named),
        check_local_user=block.flag("check_local_user"),
        home=block.expansion("router_home_directory"),
        senders=block.matching("senders"),
        require_files=_require_files(block),
        conditions=block.expansions("condition"),
    )


def _local_parts(block: DriverBlock, named: NamedLists) -> MatchList | None:
    """The list; it minds the case where the router does."""
    found = block.matching("local_parts")
    if found is None or not block.flag("caseful_local_part"):
        return found
    change = re.match(r"\s*(<[!-/:-@\[-`{-~])", found.source)
    head, separator = (change.group(1), change.group(1)[1]) if change else ("", ":")
    rest = found.source[change.end() :] if change else found.source
    caseful = compile_list_for_use(found.kind, f"{head} +caseful {separator} {rest}", named)
    caseful.title = found.title
    return caseful


def _purposes(block: DriverBlock) -> frozenset[Purpose]:
    """What the router is run for, as its flags say."""
    left_out: set[Purpose] = set()
    if block.flag("verify_only"):
        left_out |= {Purpose.DELIVER, Purpose.TEST, Purpose.EXPAND}
    for option, purpose in (
        ("address_test", Purpose.TEST),
        ("verify_sender", Purpose.VERIFY_SENDER),
        ("verify_recipient", Purpose.VERIFY_RECIPIENT),
        ("expn", Purpose.EXPAND),
    ):
        if not block.flag(option):
            left_out.add(purpose)
    return EVERY_PURPOSE - left_out


def _fail_verify(block: DriverBlock) -> frozenset[Purpose]:
    found = set()
    if block.flag("fail_verify_sender"):
        found.add(Purpose.VERIFY_SENDER)
    if block.flag("fail_verify_recipient"):
        found.add(Purpose.VERIFY_RECIPIENT)
    return frozenset(found)


def _affixes(block: DriverBlock, option: str) -> Affixes | None:
    items = tuple(each for each in split_list(block.text(option)).items if each)
    return Affixes(items, block.flag(f"{option}_optional")) if items else None


def _require_files(block: DriverBlock) -> tuple[Expansion, ...]:
    """The items, each expanded by itself."""
    return _expansions(block, "require_files", split_list(block.text("require_files")).items)


def _expansions(block: DriverBlock, option: str, texts: tuple[str, ...]) -> tuple[Expansion, ...]:
    try:
        found = tuple(compile_for_use(each) for each in texts if each)
    except ExpansionError as error:
        raise _wrong(block, option, f"{option}: {error.message}", "correct the expansion") from None
    block.told(option, *found)
    return found


_VARIABLE = re.compile(r"r_([A-Za-z0-9_]+)[ \t]*=[ \t]*(.*)", re.DOTALL)


def _variables(block: DriverBlock) -> tuple[Variable, ...]:
    """`set`: assignments between semicolons."""
    found: list[Variable] = []
    for setting in block.items("set"):
        for item in split_list(setting, ";").items:
            match = _VARIABLE.fullmatch(item)
            if match is None and item:
                raise _wrong(block, "set", f'"{item[:60]}" sets no variable', "write set = r_NAME = value")
            if match is not None:
                (value,) = _expansions(block, "set", (match.group(2),)) or (compile_expansion(""),)
                found.append(Variable(name=match.group(1), value=value))
    return tuple(found)


def _self(block: DriverBlock) -> Fallback | Reroute:
    word = block.text("self")
    if not word.startswith("reroute:"):
        return _fallback(block, "self", SELF)
    domain = word.removeprefix("reroute:").strip()
    if domain.startswith("rewrite:"):
        what = "self = reroute:rewrite: is not served: header lines are not rewritten by routers"
        raise _wrong(block, "self", what, "write reroute: alone")
    return Reroute(domain)


def _fallback(block: DriverBlock, option: str, allowed: tuple[Fallback, ...]) -> Fallback:
    word = block.text(option)
    for each in allowed:
        if each.value == word:
            return each
    words = [each.value for each in allowed]
    remedy = nearest(word, words) or f"use {', '.join(words)}"
    raise _wrong(block, option, f"{word} is not valid for the {option} option", remedy)


# The drivers


def _accept(block: DriverBlock, named: NamedLists) -> Router:
    return Accept(**_common(block, named, log_as_local=True))


def _ipliteral(block: DriverBlock, named: NamedLists) -> Router:
    return IPLiteral(**_common(block, named))


def _dnslookup(block: DriverBlock, named: NamedLists) -> Router:
    return DNSLookup(
        **_common(block, named),
        check_secondary_mx=block.flag("check_secondary_mx"),
        check_srv=block.expansion("check_srv"),
        fail_defer_domains=block.matching("fail_defer_domains"),
        ipv4_only=block.expansion("ipv4_only"),
        ipv4_prefer=block.expansion("ipv4_prefer"),
        mx_domains=block.matching("mx_domains"),
        mx_fail_domains=block.matching("mx_fail_domains"),
        srv_fail_domains=block.matching("srv_fail_domains"),
        qualify_single=block.flag("qualify_single"),
        search_parents=block.flag("search_parents"),
        rewrite_headers=block.flag("rewrite_headers"),
        widen_domains=tuple(each for each in split_list(block.text("widen_domains")).items if each),
    )


def _manualroute(block: DriverBlock, named: NamedLists) -> Router:
    return Manualroute(
        **_common(block, named),
        routes=_routes(block, named),
        host_find_failed=_fallback(block, "host_find_failed", HOST_FIND_FAILED),
        host_all_ignored=_fallback(block, "host_all_ignored", HOST_ALL_IGNORED),
        hosts_randomize=block.flag_or_expansion("hosts_randomize"),
    )


def _routes(block: DriverBlock, named: NamedLists) -> tuple[RouteItem, ...] | Expansion:
    data = block.expansion("route_data")
    text = block.text("route_list")
    if data is not None and text:
        raise _wrong(block, "route_data", "route_list and route_data are both set", "set only one of them")
    if data is not None:
        return data
    if not text:
        raise _wrong(block, "route_list", "neither route_list nor route_data is set", "set one of them")
    routes = compile_route_list(text, block.place("route_list"), named)
    block.told("route_list", *(each.hosts for each in routes))
    return routes


def _redirect(block: DriverBlock, named: NamedLists) -> Router:
    _check_redirect(block)
    return Redirect(
        **_common(block, named),
        repeat_use=block.flag("repeat_use"),
        data=block.expansion("data"),
        file=block.expansion("file"),
        file_rules=_file_rules(block),
        allowed=_allowed(block),
        include_directory=block.text("include_directory"),
        qualify_domain=block.expansion("qualify_domain"),
        qualify_preserve_domain=block.flag("qualify_preserve_domain"),
        rewrite=block.flag("rewrite"),
        check_ancestor=block.flag("check_ancestor"),
        hide_child_in_errmsg=block.flag("hide_child_in_errmsg"),
        one_time=block.flag("one_time"),
        forbid_smtp_code=block.flag("forbid_smtp_code"),
        skip_syntax_errors=block.flag("skip_syntax_errors"),
        pipe_transport=block.expansion("pipe_transport"),
        file_transport=block.expansion("file_transport"),
        directory_transport=block.expansion("directory_transport"),
    )


def _check_redirect(block: DriverBlock) -> None:
    """What Exim looks at when it starts. Raises ConfigurationError."""
    has_data, has_file = "data" in block.set_at, "file" in block.set_at
    if has_data == has_file:
        only = "only " if has_file else ""
        raise _wrong(block, "data", f'{only}one of "file" or "data" must be specified', "set one of them")
    if "qualify_domain" in block.set_at and block.flag("qualify_preserve_domain"):
        what = 'only one of "qualify_domain" or "qualify_preserve_domain" must be set'
        raise _wrong(block, "qualify_domain", what, "remove one of them")
    if not block.flag("one_time"):
        return
    for option in ("headers_add", "headers_remove"):
        if option in block.set_at and block.options[option]:
            what = '"headers_add" and "headers_remove" are not permitted with "one_time"'
            raise _wrong(block, option, what, "remove one of them")


def _allowed(block: DriverBlock) -> Item:
    allowed = Item.ADDRESS
    for option, item in (
        ("forbid_pipe", Item.PIPE),
        ("forbid_file", Item.FILE),
        ("forbid_include", Item.INCLUDE),
        ("forbid_blackhole", Item.BLACKHOLE),
    ):
        if not block.flag(option):
            allowed |= item
    if block.flag("one_time"):
        # A command would have to be a recipient of its own.
        allowed &= ~(Item.PIPE | Item.FILE)
    if block.flag("allow_fail"):
        allowed |= Item.FAIL
    if block.flag("allow_defer"):
        allowed |= Item.DEFER
    if block.flag("allow_filter"):
        allowed |= Item.FILTER
    return allowed


def _file_rules(block: DriverBlock) -> FileRules:
    owners, groups = block.items("owners"), block.items("owngroups")
    modemask, is_for_user = block.number("modemask"), block.flag("check_local_user")
    check_owner = bool(is_for_user or owners)
    if "check_owner" in block.set_at:
        check_owner = block.flag("check_owner")
    check_group = bool((is_for_user and not modemask & 0o020) or groups)
    if "check_group" in block.set_at:
        check_group = block.flag("check_group")
    return FileRules(
        modemask=modemask,
        check_owner=check_owner,
        check_group=check_group,
        owners=frozenset(_user_id(block, each) for each in owners),
        groups=frozenset(_group_id(block, each) for each in groups),
        ignore_eacces=block.flag("ignore_eacces"),
        ignore_enotdir=block.flag("ignore_enotdir"),
    )


def _user_id(block: DriverBlock, name: str) -> int:
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise _wrong(block, "owners", f"user {name[:60]} was not found", "correct the name") from None


def _group_id(block: DriverBlock, name: str) -> int:
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise _wrong(block, "owngroups", f"group {name[:60]} was not found", "correct the name") from None


_MAKERS: Mapping[str, Callable[[DriverBlock, NamedLists], Router]] = {
    "accept": _accept,
    "dnslookup": _dnslookup,
    "ipliteral": _ipliteral,
    "manualroute": _manualroute,
    "redirect": _redirect,
}
