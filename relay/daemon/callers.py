"""Who calls: a user id as the kernel names it, made into a caller with login, full name and rights (edge)."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from relay.config.convert import answered_now
from relay.config.read import Configuration
from relay.daemon.privileges import Identity
from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.patterns import Pattern, PatternError
from relay.expand.scope import Scope
from relay.mail.facts import LocalCaller
from relay.mail.ports import TemporaryFailure
from relay.mail.source import ConfigurationError, Problem
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
class FullNames:
    """How a person's name is made from the field of the account that has it (Exim: gecos_pattern, gecos_name)."""

    pattern: Pattern | None = None
    name: Expansion | None = None

    def of(self, account: pwd.struct_passwd) -> str:
        """Where a rule is set, matches and can be expanded, what it says; else the field's first part."""
        whole = account.pw_gecos.replace("&", account.pw_name.capitalize())
        usual = whole.split(",", 1)[0]
        if self.pattern is None or self.name is None:
            return usual
        try:
            found = self.pattern.search(whole)
            return usual if found is None else answered_now(self.name.text(Scope(captures=found)))
        except (ExpansionFailed, TemporaryFailure):
            return usual


@dataclass(frozen=True, slots=True)
class TrustedCallers:
    """Exim's `trusted_users` and `trusted_groups` as numbers. Root and the daemon's own user are always
    trusted."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    full_names: FullNames = FullNames()

    def identify(self, credentials: Credentials) -> Originator:
        """Who calls the daemon."""
        return self._originator(credentials, frozenset((0, os.geteuid())))

    def identify_owner(self, credentials: Credentials) -> Originator:
        """Who started this process. That it runs as the caller says nothing here: whoever has a queue of their own
        must be named by the configuration to be believed."""
        return self._originator(credentials, frozenset((0,)))

    def _originator(self, credentials: Credentials, always: frozenset[int]) -> Originator:
        """The caller behind the ids. An id without an account gets a login made of its number, and no
        rights."""
        uid, gid = credentials.uid, credentials.gid
        is_named = uid in always or uid in self.uids
        try:
            account = pwd.getpwuid(uid)
        except KeyError:
            return Originator(LocalCaller(f"uid{uid}", uid, gid, is_named))
        trusted = is_named or self._is_in_group(account.pw_name, gid)
        return Originator(LocalCaller(account.pw_name, uid, gid, trusted), self.full_names.of(account))

    def _is_in_group(self, login: str, gid: int) -> bool:
        if not self.gids:
            return False
        return gid in self.gids or not self.gids.isdisjoint(os.getgrouplist(login, gid))


def caller_of_reports(identity: Identity | None) -> LocalCaller:
    """Whom the log names as the one who hands reports in: the user that we run as."""
    if identity is not None:
        return LocalCaller(identity.name, identity.uid, identity.gid, trusted=True)
    return TrustedCallers().identify(Credentials(os.geteuid(), os.getegid())).caller


def full_names(configuration: Configuration) -> FullNames:
    """Raises ConfigurationError where gecos_pattern is no regular expression."""
    main = configuration.main
    if main.gecos_pattern is None:
        return FullNames()
    try:
        return FullNames(Pattern(main.gecos_pattern), main.gecos_name)
    except PatternError as error:
        problem = Problem(configuration.place("gecos_pattern"), f"gecos_pattern: {error}", "correct it")
        raise ConfigurationError(problem) from None


def trusted_callers(users: Iterable[str], groups: Iterable[str], full_names: FullNames | None = None) -> TrustedCallers:
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
    return TrustedCallers(frozenset(uids), frozenset(gids), full_names or FullNames())
