"""One test of the suite played: its commands, then what they have left compared with what they should leave (edge).

    verdict = play(stage, "0000-Basic", "0003", seconds=20)

When the test is over, or its time is, everything that it has started is killed. `machine.adopt_orphans` has to have
been called.
"""

import contextlib
import socket
import time
from dataclasses import dataclass, replace
from enum import Enum

from interop.suite import munging, outcome
from interop.suite.comparing import Difference
from interop.suite.machine import children, end_children
from interop.suite.running import OutOfTime, Run, Unplayable, WrongCode, end
from interop.suite.script import Script, ScriptError, parse
from interop.suite.stage import Stage
from interop.suite.steps import do


class Result(Enum):
    PASSED = "passed"
    DIFFERS = "differs"
    RETURNS = "returns"
    """A command has ended with another code; then nothing is compared."""
    TIME = "time"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    test: str
    title: str
    result: Result
    detail: str = ""
    differences: tuple[Difference, ...] = ()
    said: tuple[str, ...] = ()
    """The last lines of the errors."""
    asked: tuple[str, ...] = ()
    """What the suite's name server was asked."""
    seconds: float = 0.0


def play(stage: Stage, folder: str, test: str, *, seconds: float) -> Verdict:
    """Plays the test in at most about that many seconds."""
    started = time.monotonic()
    try:
        script = parse(stage.read(f"scripts/{folder}/{test}"))
    except ScriptError as error:
        return Verdict(test, "", Result.SKIPPED, str(error))
    verdict = Verdict(test, script.title, Result.PASSED)
    if script.needs & {"need_move_frozen_messages"}:
        return replace(verdict, result=Result.SKIPPED, detail="needs another build")
    stage.clear()
    spared = children()
    run = Run(stage, test, stage.words, started + seconds)
    try:
        verdict = _played(run, script, verdict)
    finally:
        if run.listener:
            run.listener.close()
        end(run)
        end_children(spared)
    return replace(verdict, asked=stage.questions(), seconds=time.monotonic() - started)


def _played(run: Run, script: Script, verdict: Verdict) -> Verdict:
    if script.wants_socket:
        run.listener = socket.create_server(("127.0.0.1", 0))
        run.words = run.words.with_socket(run.listener.getsockname()[1])
    try:
        for step in script.steps:
            do(run, step)
    except OutOfTime:
        return replace(verdict, result=Result.TIME, said=_said(run))
    except Unplayable as error:
        return replace(verdict, result=Result.SKIPPED, detail=str(error))
    except WrongCode as error:
        return replace(verdict, result=Result.RETURNS, detail=str(error), said=_said(run))
    except (OSError, ValueError) as error:
        return replace(verdict, result=Result.RETURNS, detail=f"the player: {error!r}", said=_said(run))
    end(run)
    with munging.started(
        run.stage.read("runtest"),
        run.words,
        script.marks,
        run.directory,
        custom=run.custom,
        is_ipv6="need_ipv6" in script.needs,
    ) as munger:
        try:
            differences = outcome.differences(run.stage, run.test, script.marks, munger)
        except munging.MungingError as error:
            return replace(verdict, result=Result.RETURNS, detail=str(error))
    if differences:
        return replace(verdict, result=Result.DIFFERS, differences=differences, said=_said(run))
    return verdict


def _said(run: Run) -> tuple[str, ...]:
    lines: list[str] = []
    for name in ("test-stderr", "test-stderr-server"):
        with contextlib.suppress(OSError):
            lines += (run.directory / name).read_bytes().decode("latin-1").splitlines()[-30:]
    return tuple(lines)
