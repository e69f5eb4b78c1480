"""From root to the daemon's own user, once its ports are open (edge)."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from relay.mail.source import ConfigurationError, Location, Problem


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to become."""

    uid: int
    gid: int
    name: str


def identity_of(user: str, group: str, location: Location, spool_directory: str) -> Identity | None:
    """What `exim_user` and `exim_group` mean, names or numbers; None where who starts it runs it.

    Where no user is set, root acts as the one whom the spool directory belongs to: what root left there, the owner
    could not read or change any more. Raises ConfigurationError.
    """
    if not user:
        return _owner_of(spool_directory)
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise ConfigurationError(
            Problem(location, f'exim_user: there is no user "{user}"', f"make it: adduser --system --group {user}")
        ) from None
    gid = entry.pw_gid
    if group:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            problem = Problem(
                location, f'exim_group: there is no group "{group}"', f"make it: addgroup --system {group}"
            )
            raise ConfigurationError(problem) from None
    return Identity(entry.pw_uid, gid, entry.pw_name)


def _owner_of(directory: str) -> Identity | None:
    """Whom root becomes for a directory of somebody else's. None for root's own, and for those who are not root."""
    if os.geteuid() != 0:
        return None
    try:
        owner = os.stat(directory).st_uid
        account = pwd.getpwuid(owner)
    except (OSError, KeyError):
        return None
    return Identity(owner, account.pw_gid, account.pw_name) if owner != 0 else None


def hand_over(directory: str, identity: Identity) -> None:
    """Gives a directory that root has just made to the daemon's user; one that others own is left alone."""
    if os.geteuid() == 0 and os.path.isdir(directory) and os.stat(directory).st_uid == 0:
        os.chown(directory, identity.uid, identity.gid)


def drop(identity: Identity) -> None:
    """Becomes the user for good. Nothing to do for a process that is not root. Raises OSError."""
    if os.geteuid() != 0 or identity.uid == 0:
        return
    os.initgroups(identity.name, identity.gid)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)


def lower(identity: Identity) -> None:
    """Acts as the user from now on and keeps root in reserve, for `as_root`: what is made meanwhile is the user's.

    Nothing to do for a process that is not root. Raises OSError.
    """
    if os.geteuid() != 0 or identity.uid == 0:
        return
    os.initgroups(identity.name, identity.gid)
    os.setegid(identity.gid)
    os.seteuid(identity.uid)


@contextmanager
def as_root() -> Iterator[None]:
    """Root again for as long as the block, where `lower` gave it up; otherwise nothing. Raises OSError."""
    effective = os.geteuid(), os.getegid()
    if os.getuid() != 0 or effective[0] == 0:
        yield
        return
    os.seteuid(0)
    os.setegid(0)
    try:
        yield
    finally:
        os.setegid(effective[1])
        os.seteuid(effective[0])
