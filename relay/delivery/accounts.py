"""Users and groups by name or number, and whom a delivery runs as (disk).

`SystemAccounts` asks the system, which may take its time (NSS, LDAP): it is called through a thread. The rules
are Exim's: what the transport sets comes before what a router found, a user by name brings its group along, and
root delivers nothing.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from relay.delivery.jobs import Identity, deferred

T = TypeVar("T")

ROOT = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """Whom a transport and a router ask for; texts are names or numbers, "" where nothing is asked."""

    transport: str
    user: str = ""
    group: str = ""
    initgroups: bool = False
    router_user: int | None = None
    router_group: int | None = None
    router_initgroups: bool = False
    directory: str = "/"

    @property
    def is_open(self) -> bool:
        """Nobody in particular: the daemon's own user."""
        return not self.user and self.router_user is None


class SystemAccounts:
    """The users and groups of this machine. Blocking."""

    def __init__(self, never: frozenset[int] = frozenset()) -> None:
        """`never` are users besides root who get no deliveries (Exim: never_users)."""
        self._never = never | {ROOT}

    def identity(self, wish: Wish, own: Identity) -> Identity:
        """The user and the groups. Raises NotDelivered where there is none, or none that may be."""
        gid = self._group(wish)
        name, uid, igroups = "", own.uid, wish.initgroups
        if wish.user:
            name, uid, login_gid = self._user(wish)
            gid = login_gid if gid is None else gid
        elif wish.router_user is not None:
            uid, igroups = wish.router_user, wish.initgroups or wish.router_initgroups
        elif gid is None:
            gid = own.gid
        if gid is None:
            raise deferred(f"User set without group for {wish.transport} transport")
        if uid in self._never and not (wish.is_open and uid == own.uid):
            raise deferred(f"User {uid} set for {wish.transport} transport is on the never_users list")
        groups = _groups(name, uid, gid) if igroups else ()
        return Identity(uid, gid, groups, wish.directory)

    def _group(self, wish: Wish) -> int | None:
        if not wish.group:
            return wish.router_group
        if wish.group.isdigit():
            return int(wish.group)
        return _known(
            lambda: grp.getgrnam(wish.group).gr_gid, f'group "{wish.group}" of {wish.transport} transport not found'
        )

    def _user(self, wish: Wish) -> tuple[str, int, int | None]:
        if wish.user.isdigit():
            return "", int(wish.user), None
        entry = _known(lambda: pwd.getpwnam(wish.user), f'user "{wish.user}" of {wish.transport} transport not found')
        return entry.pw_name, entry.pw_uid, entry.pw_gid


def _known(ask: Callable[[], T], otherwise: str) -> T:
    try:
        return ask()
    except (KeyError, ValueError, OSError):
        raise deferred(otherwise) from None


def _groups(name: str, uid: int, gid: int) -> tuple[int, ...]:
    """The groups that a login of this user would have."""
    if not name:
        try:
            name = pwd.getpwuid(uid).pw_name
        except (KeyError, OSError):
            return (gid,)
    return tuple(os.getgrouplist(name, gid))
