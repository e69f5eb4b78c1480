"""Who calls, from what the kernel says."""

import os
import pwd
import socket

import pytest

from relay.daemon.callers import Credentials, FullNames, TrustedCallers, caller_of_reports, peer_credentials
from relay.daemon.privileges import Identity
from relay.expand.evaluate import compile_expansion
from relay.expand.patterns import Pattern
from relay.mail.facts import LocalCaller

NOBODY = pwd.getpwnam("nobody")


def test_the_kernel_names_the_other_end() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert peer_credentials(here) == Credentials(os.getuid(), os.getgid())


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        (TrustedCallers(), False),
        (TrustedCallers(uids=frozenset({NOBODY.pw_uid})), True),
        (TrustedCallers(gids=frozenset({NOBODY.pw_gid})), True),
        (TrustedCallers(uids=frozenset({1}), gids=frozenset({1})), False),
    ],
)
def test_who_is_trusted(trusted: TrustedCallers, expected: bool) -> None:
    caller = trusted.identify(Credentials(NOBODY.pw_uid, NOBODY.pw_gid)).caller
    assert (caller.login, caller.trusted) == ("nobody", expected)


def test_root_and_ourselves_are_trusted() -> None:
    assert TrustedCallers().identify(Credentials(0, 0)).caller.trusted
    assert TrustedCallers().identify(Credentials(os.geteuid(), os.getegid())).caller.trusted


def test_the_owner_of_a_process_is_not_trusted_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Credentials(NOBODY.pw_uid, NOBODY.pw_gid)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    assert TrustedCallers().identify(own).caller.trusted
    assert not TrustedCallers().identify_owner(own).caller.trusted
    assert TrustedCallers(uids=frozenset({NOBODY.pw_uid})).identify_owner(own).caller.trusted
    assert TrustedCallers().identify_owner(Credentials(0, 0)).caller.trusted


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (r"^([^/]*)/", "$1", "Anne, in Room 5"),
        ("", "Somebody", "Somebody"),
        ("^x", "Somebody", "Anne"),
        ("", "${if eq{a}{b}{c}fail}", "Anne"),
        ("", None, "Anne"),
    ],
)
def test_a_full_name_is_made_by_rule(
    pattern: str, name: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = pwd.struct_passwd(("anne", "x", 4711, 4711, "&, in Room 5/the attic", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: account)
    rule = FullNames(Pattern(pattern), compile_expansion(name) if name is not None else None)
    assert TrustedCallers(full_names=rule).identify(Credentials(4711, 4711)).full_name == expected


def test_reports_are_handed_in_by_the_user_that_we_run_as() -> None:
    assert caller_of_reports(Identity(7, 8, "mail")) == LocalCaller("mail", 7, 8, trusted=True)
    assert caller_of_reports(None).login == pwd.getpwuid(os.geteuid()).pw_name


def test_an_id_without_an_account() -> None:
    found = TrustedCallers().identify(Credentials(3_999_999_999, 3_999_999_999))
    assert found.caller.login == "uid3999999999"
    assert not found.caller.trusted


def test_the_full_name_is_the_first_part_of_the_account_s(monkeypatch: pytest.MonkeyPatch) -> None:
    account = pwd.struct_passwd(("anne", "x", 4711, 4711, "& O'Neil,Room 5,,", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: account)
    assert TrustedCallers().identify(Credentials(4711, 4711)).full_name == "Anne O'Neil"
