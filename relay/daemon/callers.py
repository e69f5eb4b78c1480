"""Who calls: a user id as the kernel names it, made into a caller with login, full name and rights (edge)."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from relay.mail.facts import LocalCaller
from relay.reception.submission import Originator

_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the kernel says of the other end of a Unix socket, or of a file's owner."""

    uid: int
    gid: int


def peer_credentials(handle: socket.socket) -> Credentials:
    """SO_PEERCRED of a connected Unix socket: the ids at the moment of connecting. Raises OSError."""
    raw = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(raw)
    return Credentials(uid, gid)


@dataclass(frozen=True, slots=True)
class TrustedCallers:
    """Exim's `trusted_users` and `trusted_groups` as numbers. Root and the daemon's own user are always
    trusted."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()

    def identify(self, credentials: Credentials) -> Originator:
        """The caller behind the ids. An id without an account gets a login made of its number, and no
        rights."""
        uid, gid = credentials.uid, credentials.gid
        try:
            account = pwd.getpwuid(uid)
        except KeyError:
            trusted = uid in (0, os.geteuid()) or uid in self.uids
            return Originator(LocalCaller(f"uid{uid}", uid, gid, trusted))
        trusted = uid in (0, os.geteuid()) or uid in self.uids or self._is_in_group(account.pw_name, gid)
        # The first part of the field is the name; "&" stands for the login.
        name = account.pw_gecos.split(",", 1)[0].replace("&", account.pw_name.capitalize())
        return Originator(LocalCaller(account.pw_name, uid, gid, trusted), name)

    def _is_in_group(self, login: str, gid: int) -> bool:
        if not self.gids:
            return False
        return gid in self.gids or not self.gids.isdisjoint(os.getgrouplist(login, gid))


def trusted_callers(users: Iterable[str], groups: Iterable[str]) -> TrustedCallers:
    """Names and numbers of an option as ids. Names that the system does not know give nobody a right."""
    uids, gids = set(), set()
    for user in users:
        try:
            uids.add(int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid)
        except KeyError:
            continue
    for group in groups:
        try:
            gids.add(int(group) if group.isdigit() else grp.getgrnam(group).gr_gid)
        except KeyError:
            continue
    return TrustedCallers(frozenset(uids), frozenset(gids))
