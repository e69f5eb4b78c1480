"""Jobs go out as JSON and come back the same; anything else is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from relay.delivery.jobs import (
    Append,
    BadRequest,
    Command,
    CreateFile,
    Identity,
    Job,
    LMTPJob,
    Locking,
    NewFile,
    Place,
    Quota,
    Report,
    Verdict,
    decode,
    decode_job,
    deferred,
    encode,
    failed,
    runs_command,
)
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed

JOBS: list[Job] = [
    Append(
        transport="box",
        path="/m/\udcff",
        place=Place(create=CreateFile.BELOW_HOME, home="/h"),
        locking=Locking(use_flock_lock=True),
        quota=Quota(size=5, size_regex=r"S=(\d+)"),
        formats=(("From ", "box"), ("*mbx*", "other")),
    ),
    NewFile(transport="box", directory="/m", temporary="tmp/x"),
    Command(transport="p", command="x y", arguments=("/x", "y"), environment=("A=b",), temp_errors=(1, 2)),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_jobs_come_back_as_they_were(job: Job) -> None:
    line = encode(job)
    assert "\n" not in line
    assert line.isascii()
    assert decode_job(line) == job


def test_users_and_reports_come_back() -> None:
    user = Identity(5, 6, (6, 7), "/home")
    assert decode(Identity, encode(user)) == user
    report = Report(Verdict.DEFERRED, "full", ErrorClass.QUOTA, True, "output\n")
    assert decode(Report, encode(report)) == report


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(encode(JOBS[2])), **fields})


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{",
        "{}",
        changed(kind="other"),
        changed(kind=None),
        changed(more=1),
        changed(arguments="/x"),
        changed(arguments=["/x", 1]),
        changed(timeout=True),
        changed(timeout="1"),
        changed(umask=None),
    ],
)
def test_what_is_no_job_is_refused(line: str) -> None:
    with pytest.raises(BadRequest):
        decode_job(line)


def test_missing_fields_are_refused() -> None:
    with pytest.raises(BadRequest):
        decode(Identity, '{"uid":1}')
    with pytest.raises(BadRequest):
        decode(Report, '{"verdict":"maybe","text":"","error":"local","freeze":false,"output":"","each":[]}')


def test_what_runs_a_command() -> None:
    """None of these may be root's."""
    lmtp = LMTPJob(transport="l", hostname="h", sender="", recipients=("a@b.test",))
    assert runs_command(JOBS[2])
    assert runs_command(replace(lmtp, arguments=("/bin/true",)))
    assert not runs_command(replace(lmtp, socket="/run/box"))
    assert not runs_command(JOBS[0])


def test_reports_become_outcomes() -> None:
    assert Report(Verdict.DELIVERED, "/m").outcome() == Delivered("/m")
    assert failed("no").report.outcome() == Failed("no")
    assert deferred("later", ErrorClass.QUOTA, freeze=True).report.outcome() == Deferred(
        "later", ErrorClass.QUOTA, freeze=True
    )
