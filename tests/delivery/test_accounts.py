"""Whom a delivery runs as."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from relay.delivery.accounts import SystemAccounts, Wish
from relay.delivery.jobs import Identity, NotDelivered

NOBODY = pwd.getpwnam("nobody")
OWN = Identity(4242, 4343)


def found(own: Identity = OWN, never: frozenset[int] = frozenset(), **wish: object) -> Identity:
    return SystemAccounts(never).identity(Wish(transport="t", **wish), own)  # type: ignore[arg-type]


def refused(own: Identity = OWN, never: frozenset[int] = frozenset(), **wish: object) -> str:
    with pytest.raises(NotDelivered) as caught:
        found(own, never, **wish)
    return caught.value.report.text


def test_a_user_by_name_brings_the_group_along() -> None:
    assert found(user="nobody") == Identity(NOBODY.pw_uid, NOBODY.pw_gid)
    assert found(user="nobody", group="daemon").gid == grp.getgrnam("daemon").gr_gid
    assert found(user="nobody", directory="/tmp").directory == "/tmp"


def test_a_user_by_number_needs_a_group() -> None:
    assert refused(user="77") == "User set without group for t transport"
    assert found(user="77", group="88") == Identity(77, 88)
    assert found(user="77", router_group=99) == Identity(77, 99)


def test_the_transport_comes_before_the_router() -> None:
    assert found(router_user=5, router_group=6) == Identity(5, 6)
    assert found(user="77", group="88", router_user=5, router_group=6) == Identity(77, 88)
    assert refused(router_user=5) == "User set without group for t transport"


def test_nobody_in_particular_is_the_daemons_own_user() -> None:
    assert found() == OWN
    assert found(group="88") == Identity(4242, 88)


def test_further_groups_only_where_asked_for() -> None:
    assert found(user="nobody").groups == ()
    expected = tuple(os.getgrouplist("nobody", NOBODY.pw_gid))
    assert found(user="nobody", initgroups=True).groups == expected
    assert found(router_user=NOBODY.pw_uid, router_group=NOBODY.pw_gid, router_initgroups=True).groups == expected
    assert found(router_user=987654, router_group=5, router_initgroups=True).groups == (5,)


def test_root_delivers_nothing() -> None:
    words = "User 0 set for t transport is on the never_users list"
    assert refused(user="root") == words
    assert refused(user="0", group="0") == words
    assert refused(router_user=0, router_group=0) == words
    assert refused(Identity(0, 0), user="root") == words
    assert refused(Identity(0, 0), router_user=0, router_group=0) == words


def test_never_users() -> None:
    assert "never_users" in refused(user="nobody", never=frozenset({NOBODY.pw_uid}))


def test_names_that_nobody_knows() -> None:
    assert refused(user="no-such-user") == 'user "no-such-user" of t transport not found'
    assert refused(user="nobody", group="no-such") == 'group "no-such" of t transport not found'
