"""The appendfile transport: which file, by which rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from delivery.local_post import Desk, FailingDisk, deliver
from delivery.post import HEADER, NOW, make_message
from relay.delivery.appendfile import Appendfile, AppendfileRules, QuotaRules
from relay.delivery.header_edits import HeaderEdits
from relay.delivery.jobs import CreateFile, Place
from relay.delivery.local import LocalDelivery, LocalRules, MessageRules
from relay.expand.evaluate import compile_expansion
from relay.expand.values import Tainted
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Outcome

TEXT = HEADER.replace(b"\r\n", b"\n") + b"\none\nFrom two\n"
BODY = b"one\r\nFrom two\r\n"
MAILBOX = MessageRules(
    prefix=compile_expansion("From ${if def:return_path{$return_path}{MAILER-DAEMON}} $tod_bsdinbox\n"),
    suffix=compile_expansion("\n"),
    check_string="From ",
    escape_string=">From ",
)


def transport(desk: Desk | None = None, common: LocalRules | None = None, **options: object) -> LocalDelivery:
    desk = desk or Desk()
    given = {name: compile_expansion(value) if isinstance(value, str) else value for name, value in options.items()}
    rules = AppendfileRules(common=common or LocalRules(name="box"), **given)  # type: ignore[arg-type]
    ports = desk.ports()
    return desk.transport(rules.common, Appendfile(rules, ports.clock, "relay.test", 77))


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Deferred)
    return outcome.reason


def test_a_mailbox_file(tmp_path: Path) -> None:
    path = tmp_path / "box"
    common = LocalRules(name="box", text=MAILBOX, header=HeaderEdits(envelope_to_add=True))
    box = transport(common=common, file=str(path))
    assert deliver(box, BODY) == Delivered(str(path))
    first, rest = path.read_bytes().split(b"\n", 1)
    assert first.startswith(b"From anna@laptop.test ")
    assert rest == b"Envelope-to: bert@far.test\n" + TEXT.replace(b"\nFrom t", b"\n>From t") + b"\n"


def test_a_bounce_in_a_mailbox_file(tmp_path: Path) -> None:
    box = transport(common=LocalRules(name="box", text=MAILBOX), file=f"{tmp_path}/box")
    deliver(box, BODY, message=make_message(sender="", body=BODY))
    assert (tmp_path / "box").read_bytes().startswith(b"From MAILER-DAEMON ")


def test_a_maildir(tmp_path: Path) -> None:
    desk = Desk()
    box = transport(desk, directory=f"{tmp_path}/box", maildir_format=True)
    for number in range(2):
        outcome = deliver(box, BODY)
        assert isinstance(outcome, Delivered)
        path = Path(outcome.confirmation)
        assert path.parent == tmp_path / "box" / "new"
        assert path.name == f"{int(NOW)}.M000000Q{number}P77.relay.test"
        assert path.read_bytes() == TEXT
    assert desk.calls.names == ["finish", "finish"]


@pytest.mark.parametrize(
    "tag, end",
    [
        (",S=$message_size", f",S={len(TEXT)}"),
        ("S", ":S"),
        ("a b/c", ":abc"),
        ("${if eq{1}{2}{x}fail}", ""),
        ("", ""),
        ("x" * 300, ""),
    ],
)
def test_a_tag_in_a_maildir(tmp_path: Path, tag: str, end: str) -> None:
    outcome = deliver(transport(directory=str(tmp_path), maildir_format=True, maildir_tag=tag), BODY)
    assert isinstance(outcome, Delivered)
    assert outcome.confirmation.endswith(f"P77.relay.test{end}")


def test_a_plain_directory(tmp_path: Path) -> None:
    box = transport(directory=str(tmp_path), directory_file="q${base62:$tod_epoch}-$inode")
    outcome = deliver(box, BODY)
    assert isinstance(outcome, Delivered)
    path = Path(outcome.confirmation)
    assert path.name.endswith(f"-{path.stat().st_ino}")
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == TEXT


@pytest.mark.parametrize("name", ["", "../x", "/x", "a/../../x"])
def test_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    assert "is no file name" in reason(deliver(transport(directory=str(tmp_path), directory_file=name), BODY))
    assert os.listdir(tmp_path) == []


def test_dev_null_takes_everything() -> None:
    desk = Desk()
    assert deliver(transport(desk, file="/dev/null"), BODY) == Delivered("/dev/null")
    assert desk.calls.names == []


@pytest.mark.parametrize("option", ["file", "directory"])
def test_a_tainted_name_is_refused(tmp_path: Path, option: str) -> None:
    box = transport(**{option: f"{tmp_path}/$local_part"})
    assert reason(deliver(box, BODY, message=make_message("../../etc@far.test", body=BODY))) == (
        f"Tainted '{tmp_path}/../../etc' (file or directory name for box transport) not permitted "
        "(use $local_part_data and $domain_data)"
    )
    assert os.listdir(tmp_path) == []


def test_below_home_a_name_may_come_from_outside(tmp_path: Path) -> None:
    place = Place(create=CreateFile.BELOW_HOME, home=str(tmp_path / "home"))
    box = transport(file=f"{tmp_path}/home/$local_part", place=place)
    assert isinstance(deliver(box, BODY, message=make_message("bert@far.test", body=BODY)), Delivered)
    assert (tmp_path / "home" / "bert").exists()
    for name in ("../../etc@far.test", "a/../../b@far.test"):
        assert reason(deliver(box, BODY, message=make_message(name, body=BODY))).startswith("Tainted ")


@pytest.mark.parametrize("name", ["relative/box", "", "/x\0y"])
def test_names_that_are_not_absolute(name: str) -> None:
    assert "is not absolute" in reason(deliver(transport(file=name), BODY))


@pytest.mark.parametrize("name", ["${if eq{1}{2}{/x}fail}", "${if >{x}{1}{/x}}"])
def test_names_that_can_not_be_expanded(name: str) -> None:
    outcome = deliver(transport(file=name), BODY)
    assert "(file or directory name" in reason(outcome) or "file or directory name for box" in reason(outcome)
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.is_misconfigured) == (ErrorClass.LOCAL, True)


def test_what_a_redirection_names(tmp_path: Path) -> None:
    box = transport(directory_file="x")
    assert deliver(box, BODY, file=f"{tmp_path}/box") == Delivered(f"{tmp_path}/box")
    assert deliver(box, BODY, file=f"{tmp_path}/dir/") == Delivered(f"{tmp_path}/dir/x")
    maildir = transport(maildir_format=True)
    outcome = deliver(maildir, BODY, file=f"{tmp_path}/md")
    assert isinstance(outcome, Delivered)
    assert outcome.confirmation.startswith(f"{tmp_path}/md/new/")
    assert reason(deliver(box, BODY, file=Tainted(f"{tmp_path}/bad"))).startswith("Tainted ")


def test_nothing_names_a_file() -> None:
    assert reason(deliver(transport(), BODY)) == "Mandatory file or directory option missing from box transport"


def test_a_maildir_needs_a_directory(tmp_path: Path) -> None:
    assert 'requires "directory"' in reason(deliver(transport(file=f"{tmp_path}/x", maildir_format=True), BODY))


def quota(**options: str) -> QuotaRules:
    return QuotaRules(**{name: compile_expansion(value) for name, value in options.items()})  # type: ignore[arg-type]


def test_quotas(tmp_path: Path) -> None:
    desk = Desk()
    box = transport(desk, directory=str(tmp_path), maildir_format=True, quota=quota(quota="1K", filecount="5"))
    outcomes = [deliver(box, BODY) for _ in range(3)]
    assert [type(each) for each in outcomes] == [Delivered, Delivered, Deferred]
    last = outcomes[-1]
    assert isinstance(last, Deferred)
    assert (last.error, last.told) == (ErrorClass.QUOTA, "mailbox is full")
    assert "MTA-imposed filecount quota exceeded" in last.reason
    small = transport(desk, directory=str(tmp_path), maildir_format=True, quota=quota(quota="100"))
    assert "MTA-imposed quota exceeded" in reason(deliver(small, BODY))
    unbounded = transport(desk, directory=str(tmp_path), maildir_format=True, quota=quota(quota="0", filecount="1"))
    assert isinstance(deliver(unbounded, BODY), Delivered)


@pytest.mark.parametrize("name", ["quota", "filecount", "mailbox_size"])
def test_a_malformed_quota(tmp_path: Path, name: str) -> None:
    rules = quota(**{"quota": "1M", name: "10X"})
    outcome = deliver(transport(file=f"{tmp_path}/box", quota=rules), BODY)
    assert reason(outcome) == 'Malformed value "10X" (expansion of "10X") in box transport'


def test_a_quota_directory_is_absolute(tmp_path: Path) -> None:
    rules = quota(quota="1M", directory="x")
    assert "quota_directory" in reason(deliver(transport(file=f"{tmp_path}/box", quota=rules), BODY))


def test_another_transport_for_another_format(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(b"#! rnews\n")
    path.chmod(0o600)
    box = transport(file=str(path), formats=(("From ", "box"), ("#!", "news")))
    news = transport(common=LocalRules(name="news"), file=f"{tmp_path}/news")
    assert "news transport" in reason(deliver(box, BODY))
    box.know({"box": box, "news": news})
    assert deliver(box, BODY) == Delivered(f"{tmp_path}/news", transport="news")


@pytest.mark.parametrize(
    "number, error, words",
    [
        (28, ErrorClass.QUOTA, "disk is full"),
        (122, ErrorClass.QUOTA, "mailbox is full"),
        (13, ErrorClass.LOCAL, "let the user that the delivery runs as write there"),
        (30, ErrorClass.LOCAL, "read-only"),
        (5, ErrorClass.LOCAL, "error while writing to"),
    ],
)
def test_troubles_are_told_with_path_and_remedy(tmp_path: Path, number: int, error: ErrorClass, words: str) -> None:
    desk = Desk(disk=FailingDisk("write", number))
    outcome = deliver(transport(desk, directory=f"{tmp_path}/box", maildir_format=True), BODY)
    assert isinstance(outcome, Deferred)
    assert outcome.error is error
    assert outcome.errno == number
    assert words in outcome.reason
    assert str(tmp_path / "box" / "tmp") in outcome.reason
