"""Whether the names in a configuration lead anywhere, and whether its ACLs can run where they are named
(machine)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from relay.config.faults import fault_problem
from relay.config.main_options import MainOptions
from relay.mail.source import Location, Problem, Severity
from relay.policy.acl import ACLReference
from relay.policy.acl_parse import VERB_NAMES
from relay.policy.acl_program import ACL
from relay.policy.acl_values import Where
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import Accept, DNSLookup, IPLiteral, Manualroute, Redirect, Router
from relay.policy.words import nearest

ACL_PLACES: Mapping[str, Where] = {
    "acl_smtp_connect": Where.CONNECT,
    "acl_smtp_helo": Where.HELO,
    "acl_smtp_starttls": Where.STARTTLS,
    "acl_smtp_auth": Where.AUTH,
    "acl_smtp_mail": Where.MAIL,
    "acl_smtp_mailauth": Where.MAILAUTH,
    "acl_smtp_rcpt": Where.RCPT,
    "acl_smtp_predata": Where.PREDATA,
    "acl_smtp_data": Where.DATA,
    "acl_smtp_data_prdr": Where.PRDR,
    "acl_smtp_etrn": Where.ETRN,
    "acl_smtp_vrfy": Where.VRFY,
    "acl_smtp_expn": Where.EXPN,
    "acl_smtp_quit": Where.QUIT,
    "acl_smtp_notquit": Where.NOTQUIT,
    "acl_smtp_mime": Where.MIME,
    "acl_smtp_dkim": Where.DKIM,
    "acl_not_smtp": Where.NOT_SMTP,
    "acl_not_smtp_start": Where.NOT_SMTP_START,
}
"""Where the ACL of an option runs."""


def acl_problems(main: MainOptions, acls: Mapping[str, ACL]) -> list[Problem]:
    """ACLs that are named and not there, that can't decide where they run, or whose conditions are not served."""
    found = (_unknown_acls, _unknown_lists, _broken, _misplaced, _unserved)
    return [problem for each in found for problem in each(main, acls)]


def acl_options(main: MainOptions) -> Iterator[tuple[Where, ACLReference]]:
    """The ACLs that are set, with the places where they run."""
    for option, where in ACL_PLACES.items():
        reference = getattr(main, option)
        if isinstance(reference, ACLReference):
            yield where, reference


def _all_acls(main: MainOptions, acls: Mapping[str, ACL]) -> Iterator[ACL]:
    yield from acls.values()
    known = {id(acl) for acl in acls.values()}
    for _, reference in acl_options(main):
        if reference.acl is not None and id(reference.acl) not in known:
            yield reference.acl


def _unknown_acls(main: MainOptions, acls: Mapping[str, ACL]) -> Iterator[Problem]:
    for acl in _all_acls(main, acls):
        for location, name in acl.acl_names:
            if name not in acls and name not in VERB_NAMES and not name.startswith("/"):
                remedy = nearest(name, acls) or "define it behind begin acl"
                what = f'there is no ACL "{name[:60]}": a statement that comes to it refuses with 451'
                yield Problem(location, what, remedy, Severity.WARNING)
    for _, reference in acl_options(main):
        name = (reference.expansion.constant or "").strip()
        if reference.acl is None and name:
            what = f'there is no ACL "{name[:60]}": whatever comes to it is refused with 451'
            remedy = nearest(name, acls) or "define it behind begin acl"
            yield Problem(reference.location, what, remedy, Severity.WARNING)


def _unknown_lists(main: MainOptions, acls: Mapping[str, ACL]) -> Iterator[Problem]:
    """Exim finds that out when it comes to them."""
    for acl in _all_acls(main, acls):
        for location, what in acl.unknown_lists:
            what = f"there is no {what}: a statement that comes to it refuses with 451"
            yield Problem(location, what, "define it, or correct its name", Severity.WARNING)


def _broken(main: MainOptions, acls: Mapping[str, ACL]) -> Iterator[Problem]:
    """What can't be expanded, with the same end."""
    for acl in _all_acls(main, acls):
        where = f"ACL {acl.name}: " if acl.name in acls else ""
        for location, what in acl.faults:
            yield fault_problem(f"{where}{what}", location)


def _unserved(main: MainOptions, acls: Mapping[str, ACL]) -> Iterator[Problem]:
    for acl in _all_acls(main, acls):
        for location, what in acl.inquiries:
            yield Problem(
                location,
                f'"{what}" is not served yet: a statement that comes to it refuses with 451',
                "decide by other means",
                Severity.WARNING,
            )
        for location, what in acl.notices:
            yield Problem(location, what, "", Severity.NOTE)


def _misplaced(main: MainOptions, acls: Mapping[str, ACL]) -> Iterator[Problem]:
    """What can't be decided where an ACL runs; each line once, also where several ACLs lead to it."""
    told: set[tuple[Location, str]] = set()
    for where, reference in acl_options(main):
        waiting = [reference.acl] if reference.acl is not None else []
        seen: set[int] = set()
        while waiting:
            acl = waiting.pop()
            if id(acl) in seen:
                continue
            seen.add(id(acl))
            waiting += [acls[name] for _, name in acl.acl_names if name in acls]
            for problem in acl.misplaced(where):
                if (problem.location, problem.what) not in told:
                    told.add((problem.location, problem.what))
                    yield problem


def router_problems(routers: tuple[Router, ...]) -> Iterator[Problem]:
    """Routers that others name and that are not there, or come too early (Exim: set_router)."""
    places = {router.name: place for place, router in enumerate(routers)}
    for place, router in enumerate(routers):
        for option, name in (("redirect_router", router.redirect_router), ("pass_router", router.pass_router)):
            if name and name not in places:
                what = f'router {router.name}: {option}: there is no router "{name[:60]}"'
                yield Problem(router.location, what, nearest(name, places) or "define it behind begin routers")
        if router.pass_router and places.get(router.pass_router, place + 1) <= place:
            what = f'router {router.name}: pass_router: "{router.pass_router}" does not follow it'
            yield Problem(router.location, what, "name a later one")


def transport_problems(routers: tuple[Router, ...], transports: Collection[str]) -> Iterator[Problem]:
    """Transports that routers name and that are not there, and routers that have none where they need one."""
    for router in routers:
        if _lacks_transport(router):
            what = f"router {router.name}: no transport is set: an address that it takes has to wait"
            yield Problem(router.location, what, "name one with transport = …", Severity.WARNING)
        for name in dict.fromkeys(_transports_named(router)):
            if name not in transports:
                remedy = nearest(name, transports) or "define it behind begin transports"
                yield Problem(router.location, f'router {router.name}: there is no transport "{name[:60]}"', remedy)


def _lacks_transport(router: Router) -> bool:
    """Exim finds that out when it routes an address."""
    if not isinstance(router, Manualroute) or router.transport is not None:
        return False
    routes = router.routes
    delivers = Purpose.DELIVER in router.preconditions.purposes
    return delivers and not (isinstance(routes, tuple) and all(item.options.transport for item in routes))


def _transports_named(router: Router) -> Iterator[str]:
    """Those that are named as such, without an expansion."""
    options = [router.transport]
    match router:
        case Manualroute(routes=tuple() as routes):
            yield from (item.options.transport for item in routes if item.options.transport)
        case Redirect():
            options += [router.pipe_transport, router.file_transport, router.directory_transport]
        case Manualroute() | Accept() | DNSLookup() | IPLiteral():
            pass
    yield from (option.constant for option in options if option is not None and option.constant)
