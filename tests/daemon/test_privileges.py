"""Whom root becomes."""

import os
import pwd
from pathlib import Path

import pytest

from relay.daemon.privileges import Identity, identity_of
from relay.mail.source import ConfigurationError, Location

NOBODY = pwd.getpwnam("nobody")
PLACE = Location("relay.conf", 1)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory of nobody's, as root sees it."""
    found = os.stat(tmp_path)
    owned = os.stat_result((*found[:4], NOBODY.pw_uid, NOBODY.pw_gid, *found[6:]))
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: owned if path == str(tmp_path) else stat(path, **more))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return str(tmp_path)


def test_root_acts_as_the_owner_of_the_spool(spool: str) -> None:
    assert identity_of("", "", PLACE, spool) == Identity(NOBODY.pw_uid, NOBODY.pw_gid, "nobody")


def test_a_user_that_is_set_goes_before(spool: str) -> None:
    found = identity_of("root", "", PLACE, spool)
    assert found is not None
    assert found.uid == 0


def test_who_is_not_root_stays_who_they_are(spool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    assert identity_of("", "", PLACE, spool) is None


def test_root_s_own_spool_and_one_that_is_to_be_made_stay_root_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert identity_of("", "", PLACE, "/") is None
    assert identity_of("", "", PLACE, "/nowhere/at/all") is None


def test_a_user_that_is_none() -> None:
    with pytest.raises(ConfigurationError):
        identity_of("no such user", "", PLACE, "/")
