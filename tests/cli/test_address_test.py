"""`-bt`, `-bv` and `-brt` as a caller sees them: lines, exit statuses, standard input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from relay.cli.sendmail import main

CONFIGURATION = """
primary_hostname = relay.test
qualify_domain = here.test
begin routers
aliases:
  driver = redirect
  data = ${if eq{$local_part}{team}{anna, $sender_address}{${if eq{$local_part}{wait}{:defer: later}}}}
  allow_defer
  senders = anna@here.test : :
local:
  driver = accept
  domains = here.test
  local_parts = anna : bert
  transport = box
begin transports
box:
  driver = appendfile
  directory = /var/mail/x
  maildir_format
begin retry
here.test   quota   F,1h,15m
*.far.test  *       F,2h,15m; G,1d,1h,1.5
begin rewrite
old@*  anna@here.test
cc@*   c@far.test  c
"""


@pytest.fixture
def conf(tmp_path: Path) -> str:
    path = tmp_path / "conf"
    path.write_text(f"spool_directory = {tmp_path}\n{CONFIGURATION}")
    return str(path)


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    status = main(["exim", *words])
    told = capsys.readouterr()
    assert told.err == ""
    return status, told.out.splitlines()


def test_an_address_of_no_domain_is_completed(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "-C", conf, "-bt", "anna") == (
        0, ["anna@here.test", "  router = local, transport = box"],
    )  # fmt: skip


def test_a_domain_that_is_an_address(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = asked(capsys, "-C", conf, "-bt", "anna@[192.0.2.1]")
    assert (status, lines) == (2, ["syntax error: domain literals not allowed"])


def test_the_sender_decides_with(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = asked(capsys, "-C", conf, "-f", "anna@here.test", "-bv", "-v", "team")
    assert (status, lines[:2]) == (0, ["anna@here.test", "    <-- team@here.test"])
    assert asked(capsys, "-C", conf, "-bv", "team")[0] == 2


@pytest.mark.parametrize("option", ["-v", "-d", "-d-all+route"])
def test_a_verification_in_full(conf: str, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert asked(capsys, "-C", conf, "-bv", "anna") == (0, ["anna@here.test verified"])
    assert asked(capsys, "-C", conf, "-bv", option, "anna") == (
        0, ["anna@here.test", "  router = local, transport = box"],
    )  # fmt: skip


def test_where_a_message_would_come_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = tmp_path / "conf"
    conf.write_text(
        f"spool_directory = {tmp_path}\nprimary_hostname = relay.test\nbegin routers\nall:\n  driver = redirect\n"
        "  allow_fail\n  data = :fail: by $received_protocol from $sender_host_address\n"
    )
    status, lines = asked(capsys, "-C", str(conf), "-bv", "-oMr", "prot1", "-oMa", "192.0.2.1", "x@y.test")
    assert (status, lines) == (2, ["x@y.test failed to verify: by prot1 from 192.0.2.1"])


@pytest.mark.parametrize(
    ("addresses", "status"),
    [(["anna"], 0), (["wait", "anna"], 1), (["wait", "carl"], 2), (["carl", "wait"], 2), (["a b@c", "anna"], 2)],
)
def test_the_exit_status_is_that_of_the_worst(
    conf: str, capsys: pytest.CaptureFixture[str], addresses: list[str], status: int
) -> None:
    assert asked(capsys, "-C", conf, "-f", "<>", "-bt", *addresses)[0] == status


def test_several_addresses_in_one_word(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = asked(capsys, "-C", conf, "-bv", "Anna <anna@here.test>, bert@here.test, a b@c")
    assert lines[:2] == ["anna@here.test verified", "bert@here.test verified"]
    assert lines[2].startswith("syntax error: ")


def test_a_rewritten_address_is_told(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = asked(capsys, "-C", conf, "-bv", "old@far.test")
    assert lines == ["Address rewritten as: anna@here.test", "anna@here.test verified"]


def test_addresses_from_standard_input(
    conf: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("anna\n\nbert\n"))
    _, lines = asked(capsys, "-C", conf, "-bv")
    assert lines == ["> anna@here.test verified", "> > bert@here.test verified", "> "]


def test_a_configuration_in_another_character_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = tmp_path / "conf"
    text = f"# f\xfcr M\xfcller\nspool_directory = {tmp_path}\nprimary_hostname = relay.test\n"
    conf.write_bytes(text.encode("latin-1"))
    assert asked(capsys, "-C", str(conf), "-brw", "a@b.test")[0] == 0


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["x@a.far.test"], ["Retry rule: *.far.test  *  F,2h,15m; G,1d,1h,1.5; "]),
        (["x@here.test", "quota"], ["Retry rule: here.test  quota  F,1h,15m; "]),
        (["x@here.test"], ["No retry information found"]),
        (["x@else.test", "mx.far.test"], ["Retry rule: *.far.test  *  F,2h,15m; G,1d,1h,1.5; "]),
    ],
)
def test_retry_rules(conf: str, capsys: pytest.CaptureFixture[str], words: list[str], lines: list[str]) -> None:
    assert asked(capsys, "-C", conf, "-brt", *words) == (0, lines)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "cc@here.test",
            [
                "  sender: cc@here.test",
                "    from: cc@here.test",
                "      to: cc@here.test",
                "      cc: c@far.test",
                "     bcc: cc@here.test",
                "reply-to: cc@here.test",
                "env-from: cc@here.test",
                "  env-to: cc@here.test",
            ],
        ),
        (
            "a b c@here.test",
            ["Syntax error in a b c@here.test", 'Missing or malformed local part (expected word or "<")'],
        ),
    ],
)
def test_rewriting_rules(conf: str, capsys: pytest.CaptureFixture[str], text: str, lines: list[str]) -> None:
    assert asked(capsys, "-C", conf, "-brw", text) == (0, lines)


def test_rewriting_of_names_and_of_what_has_no_domain(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = asked(capsys, "-C", conf, "-brw", "Old One <old@far.test>")
    assert lines[1] == "    from: Old One <anna@here.test>"
    assert lines[6] == "env-from: anna@here.test"
    _, lines = asked(capsys, "-C", conf, "-brw", "old")
    assert lines[7] == "  env-to: anna@here.test"


def test_routers_that_are_not_served_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "conf"
    path.write_text("begin routers\nr:\ndriver = queryprogram\ncommand = /bin/x\ncommand_user = root\ntransport = t\n")
    assert main(["exim", "-C", str(path), "-bt", "a@b.test"]) == 1
    assert "queryprogram" in capsys.readouterr().err
