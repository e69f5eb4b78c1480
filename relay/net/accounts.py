"""The port `Accounts`: users and groups of this machine, asked in a thread (edge).

Name services may take their time (NSS, LDAP), so nobody waits for them in the reactor.
"""

from __future__ import annotations

import grp
import pwd

from relay.mail.ports import TemporaryFailure
from relay.net.lookups import Call
from relay.policy.routers.ports import Account


class SystemAccounts:
    """What the system says, by the `call` that was given."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def user(self, name: str) -> Account | None:
        """Raises TemporaryFailure."""
        return await self._call(find_user, name)

    async def group(self, name: str) -> int | None:
        """Raises TemporaryFailure."""
        return await self._call(find_group, name)


def find_user(name: str) -> Account | None:
    """Blocking. Raises TemporaryFailure."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    except OSError as error:
        raise TemporaryFailure(f"user {name} can't be looked up: {error.strerror}") from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def find_group(name: str) -> int | None:
    """Blocking. Raises TemporaryFailure."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None
    except OSError as error:
        raise TemporaryFailure(f"group {name} can't be looked up: {error.strerror}") from error
