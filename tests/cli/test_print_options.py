"""relay-sendmail -bP: the words of its command line, and who sees what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.cli import print_options
from relay.cli.sendmail import main
from relay.config.read import Configuration, understand_configuration

TEXT = """\
NAME = value
primary_hostname = relay.test
hide smtp_banner = hello
domainlist mine = a.test : b.test
begin routers
one:
  driver = redirect
  data = x
two:
  driver = accept
  transport = out
begin transports
out:
  driver = smtp
begin authenticators
plain:
  driver = plaintext
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "relay.conf"
    path.write_text(TEXT)
    return path


def printed(path: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = main(["exim", "-C", str(path), *words])
    return status, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["primary_hostname"], ["primary_hostname = relay.test"]),
        (["queue_only", "smtp_accept_max"], ["no_queue_only", "smtp_accept_max = 20"]),
        (["+mine"], ["domainlist mine = a.test : b.test"]),
        (["router_list"], ["one", "two"]),
        (["transport_list"], ["out"]),
        (["authenticator_list"], ["plain"]),
        (["macro", "NAME"], ["NAME=value"]),
        (["config_file"], ["FILE"]),
        (["configure_file"], ["FILE"]),
    ],
)
def test_words(path: Path, words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(path, "-bP", *words, capsys=capsys) == (0, [each.replace("FILE", str(path)) for each in expected])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nosuch"], "nosuch is not a known option"),
        (["+nosuch"], "no address, domain, host, or local part list called 'nosuch' exists"),
        (["router", "nosuch"], "router nosuch not found"),
        (["macro", "NOSUCH"], "macro NOSUCH not found"),
        (["local_scan"], "local_scan() options are not supported"),
    ],
)
def test_what_is_not_there(path: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(path, "-bP", *words, "queue_only", capsys=capsys) == (1, [expected, "no_queue_only"])


def test_without_a_name_everything(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = printed(path, "-bP", capsys=capsys)
    assert status == 0
    assert "primary_hostname = relay.test" in lines
    assert len(lines) > 280


def test_values_without_names(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(path, "-n", "-bP", "primary_hostname", "+mine", "macro", "NAME", capsys=capsys) == (
        0,
        ["relay.test", "a.test : b.test", "value"],
    )


def test_drivers(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, one = printed(path, "-bP", "router", "one", capsys=capsys)
    assert "data = x" in one
    _, both = printed(path, "-bP", "routers", capsys=capsys)
    assert both[:2] == ["", "one router:"]
    assert "two router:" in both
    assert printed(path, "-bP", "transports", capsys=capsys)[1][1] == "out transport:"
    assert printed(path, "-bP", "authenticators", capsys=capsys)[1][1] == "plain authenticator:"


def test_macros(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = printed(path, "-DMORE=1", "-bP", "macros", capsys=capsys)
    assert lines[-2:] == ["MORE=1", "NAME=value"]
    assert "_HAVE_TLS=y" in lines
    assert printed(path, "-bP", "macro_list", capsys=capsys)[1][-1] == "NAME"


def test_the_configuration_and_the_environment(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lines = printed(path, "-bP", "config", capsys=capsys)
    assert lines[0].startswith("# Exim Configuration (")
    assert lines[1:4] == [f'# 1 "{path}"', "NAME = value", "primary_hostname = relay.test"]
    monkeypatch.setenv("A_VARIABLE", "x")
    assert "A_VARIABLE=x" in printed(path, "-bP", "environment", capsys=capsys)[1]
    assert "A_VARIABLE" in printed(path, "-n", "-bP", "environment", capsys=capsys)[1]


def test_a_mistake_is_told_and_nothing_else(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(TEXT + "nosuch = 1\n")
    assert main(["exim", "-C", str(path), "-bP", "queue_only"]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 3
    assert 'authenticator plain: option "nosuch" unknown' in found.err


def test_the_version_checks(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(TEXT.replace("driver = redirect", "driver = queryprogram"))
    assert main(["exim", "-C", str(path), "-bV"]) == 1
    found = capsys.readouterr()
    assert found.out.startswith("Fingerpost version")
    assert 'router one: option "data" unknown' in found.err
    path.write_text("primary_hostname = a.test\nexim_path = /x\n")
    assert main(["exim", "-C", str(path), "-bV"]) == 0
    found = capsys.readouterr()
    assert found.out.endswith(f"Configuration file is {path}\n")
    assert found.err == ""


def test_expansion_goes_on_where_a_driver_is_not_served(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exim", "-C", str(path), "-be", "$primary_hostname"]) == 0
    assert capsys.readouterr().out == "relay.test\n"


def configuration(path: Path, text: str = TEXT) -> Configuration:
    return understand_configuration(str(path), lambda _: text).configuration


def test_who_is_no_administrator(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 64999)
    monkeypatch.setattr(os, "getgid", lambda: 64999)
    monkeypatch.setattr(os, "getgroups", lambda: [64998])
    found = configuration(path)
    assert print_options.print_options(found, ["smtp_banner"], labels=True).lines == (
        "smtp_banner = <value not displayable>",
    )
    with pytest.raises(print_options.Denied):
        print_options.print_options(found, ["macros"], labels=True)
    member = configuration(path, f"admin_groups = nosuchgroup : 64998\n{TEXT}")
    assert print_options.print_options(member, ["smtp_banner"], labels=True).lines == ("smtp_banner = hello",)


def test_the_queue_is_listed_where_a_driver_is_not_served(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(f"spool_directory = {path.parent}/spool\n{TEXT}")
    assert main(["exim", "-C", str(path), "-bpc"]) == 0
    assert capsys.readouterr().out == "0\n"


def test_users_and_groups_have_names(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huge = "9" * 30
    path.write_text(f"never_users = root : 0 : 64997 : {huge}\nadmin_groups = 0\n")
    _, lines = printed(path, "-bP", "never_users", "admin_groups", "trusted_users", capsys=capsys)
    assert lines == [f"never_users = root:root:64997:{huge}", "admin_groups = root", "trusted_users ="]
