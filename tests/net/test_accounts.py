"""Users and groups of this machine."""

from __future__ import annotations

import os
import pwd

from relay.net.accounts import find_group, find_user
from relay.policy.routers.ports import Account


def test_a_user() -> None:
    entry = pwd.getpwuid(os.getuid())
    assert find_user(entry.pw_name) == Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert find_user("nobody of that name") is None
    assert find_user("zero\0byte") is None


def test_a_group() -> None:
    assert find_group("root") == 0
    assert find_group("no group of that name") is None
