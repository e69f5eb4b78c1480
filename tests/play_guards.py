"""Takes out one guard after another and demands that its test notices.

A test that passes with and without the code it is there for proves nothing. `tests/guards.toml` names for
each guard a small patch that removes it and the test that must then fail. This player copies the tree, makes
sure that all named tests pass there, and meanwhile, in another copy, applies one patch at a time and runs its
test. Only a test that *fails* counts: one that cannot be collected, that is skipped, or that hangs proves
nothing either.

    python tests/play_guards.py [--root DIR] [--jobs N] [NAME...]
"""

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "run", "build", "dist", "_build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis",
    "dropin.cache", "*.sock",
)  # fmt: skip
TEST_SECONDS = 180
BASELINE_SECONDS = 600


class BadGuard(Exception):
    """The guard's entry, not the code, is at fault; the text says how."""


@dataclass(frozen=True, slots=True)
class Guard:
    name: str
    invariant: int
    """Its number; 0 where it guards none of them."""
    file: str
    find: str
    replace: str
    test: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """The test failed without its guard: as it should be."""


@dataclass(frozen=True, slots=True)
class Unnoticed:
    """The test passed without its guard."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Nothing was shown: the entry is wrong, or its test did not run to an end."""

    why: str


Result = Noticed | Unnoticed | Broken


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of pytest ended: its exit status, and its tests counted by what became of them."""

    status: int
    passed: int
    failed: int
    skipped: int
    output: str


def read_guards(path: Path) -> tuple[Guard, ...]:
    """Raises BadGuard where an entry lacks a field, has one too many, or repeats a name."""
    guards = []
    for number, entry in enumerate(tomllib.loads(path.read_text("utf-8")).get("guard", []), start=1):
        try:
            guards.append(Guard(**entry))
        except TypeError as error:
            raise BadGuard(
                f"{path.name}: guard {number} ({entry.get('name', 'no name')}): {error}"
            ) from error
    names = [guard.name for guard in guards]
    for name in names:
        if names.count(name) > 1:
            raise BadGuard(f"{path.name}: two guards are called {name!r}")
    return tuple(guards)


def file_with(guard: Guard, tree: Path) -> str:
    """The text of the file that it stands in. Raises BadGuard where it does not, or where taking it out is nothing."""
    path = tree / guard.file
    if not path.is_file():
        raise BadGuard(f"there is no {guard.file}")
    text = path.read_text("utf-8")
    if (times := text.count(guard.find)) != 1:
        raise BadGuard(f"the text to find occurs {times} times in {guard.file}, not once")
    if guard.find == guard.replace:
        raise BadGuard("the patch changes nothing")
    return text


@contextmanager
def taken_out(guard: Guard, tree: Path) -> Iterator[None]:
    """The tree without the guard, for as long as the block runs."""
    path, text = tree / guard.file, file_with(guard, tree)
    patched = text.replace(guard.find, guard.replace)
    if path.suffix == ".py":
        try:
            compile(patched, guard.file, "exec")
        except SyntaxError as error:
            raise BadGuard(
                f"the patched {guard.file} is no Python: {error.msg}, line {error.lineno}"
            ) from error
    path.write_text(patched, "utf-8")
    try:
        yield
    finally:
        path.write_text(text, "utf-8")


def compile_tree(tree: Path) -> None:
    """Bytecode for all of the tree, so that not every run and every daemon that a test starts compiles it anew.

    It is used only while its source has the same content: a patch within the second and of the same length would
    otherwise meet the bytecode of what was there before.
    """
    compiler = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "."]
    # What can't be compiled has no bytecode; whoever imports it says so.
    subprocess.run([sys.executable, *compiler], cwd=tree, stdout=subprocess.DEVNULL, check=False)


def run_tests(tree: Path, tests: Sequence[str], seconds: float) -> Run:
    """Raises BadGuard where the tests do not end in time."""
    # Bytecode that a run writes would be compared by time and length alone; compile_tree makes what there is.
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory(prefix="fingerpost-guard-") as scratch:
        report = Path(scratch, "report.xml")
        options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", f"--basetemp={scratch}/tests"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise BadGuard(f"the test did not end within {seconds:g} s") from error
        passed, failed, skipped = count(report) if report.exists() else (0, 0, 0)
        return Run(process.returncode, passed, failed, skipped, output)


def count(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a JUnit report; an error outside of the test is none of these."""
    passed = failed = skipped = 0
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if "failure" in kinds:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        elif "error" not in kinds:
            passed += 1
    return passed, failed, skipped


def play(guard: Guard, tree: Path) -> Result:
    try:
        with taken_out(guard, tree):
            run = run_tests(tree, [guard.test], TEST_SECONDS)
    except BadGuard as error:
        return Broken(str(error))
    if run.status == 1 and run.failed:
        return Noticed()
    if run.status == 0 and run.passed:
        return Unnoticed()
    if run.skipped and not run.passed:
        return Broken("the test was skipped; a guard's test must run everywhere")
    return Broken(f"pytest ended with status {run.status} and no failed test:\n{indented(run.output)}")


def baseline(guards: Sequence[Guard], tree: Path) -> str:
    """Runs the union of the named tests on the tree as it is. Returns what is wrong, empty if nothing is."""
    tests = list(dict.fromkeys(guard.test for guard in guards))
    try:
        run = run_tests(tree, tests, BASELINE_SECONDS)
    except BadGuard as error:
        return str(error)
    if run.status == 0 and run.passed and not run.skipped:
        return ""
    return (
        f"with all guards in place the tests do not all pass (status {run.status}):\n{indented(run.output)}"
    )


def indented(output: str, lines: int = 25) -> str:
    return "\n".join(f"    {line}" for line in output.strip().splitlines()[-lines:])


def play_all(guards: Sequence[Guard], root: Path, jobs: int, what: str = "guards") -> bool:
    """Prints a line for each guard and a total. True if every guard was noticed."""
    if not guards:
        print(f"{what}: 0 in the file")
        return True
    with tempfile.TemporaryDirectory(prefix="fingerpost-guards-") as scratch:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(jobs):
            tree = shutil.copytree(root, Path(scratch, str(number)), symlinks=True, ignore=NOT_COPIED)
            compile_tree(tree)
            trees.put(tree)

        def in_a_tree(do: Callable[[Path], Any]) -> Any:
            tree = trees.get()
            try:
                return do(tree)
            finally:
                trees.put(tree)

        noticed = 0
        with ThreadPoolExecutor(jobs) as pool:
            # First of all and beside the others: where it ends badly nothing that they say counts.
            whole = pool.submit(in_a_tree, partial(baseline, guards))
            played = [pool.submit(in_a_tree, partial(play, guard)) for guard in guards]
            if wrong := whole.result():
                pool.shutdown(cancel_futures=True)
                print(f"{what}: {wrong}")
                return False
            for guard, future in zip(guards, played, strict=True):
                result = future.result()
                noticed += isinstance(result, Noticed)
                of = f"invariant {guard.invariant}: " if guard.invariant else ""
                print(f"{verdict(result):10} {of}{guard.name}{reason(result)}", flush=True)
    print(f"{what}: {len(guards)}, noticed when taken out: {noticed}")
    return noticed == len(guards)


def verdict(result: Result) -> str:
    match result:
        case Noticed():
            return "ok"
        case Unnoticed():
            return "UNNOTICED"
        case Broken():
            return "BROKEN"


def reason(result: Result) -> str:
    return f" -- {result.why}" if isinstance(result, Broken) else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Takes out each guard and demands that its test fails.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("names", nargs="*", metavar="NAME", help="guards to play (default: all)")
    given = parser.parse_args(arguments)
    try:
        guards = read_guards(given.root / "tests" / "guards.toml")
    except BadGuard as error:
        print(f"guards: {error}")
        return 2
    if given.names:
        if unknown := set(given.names) - {guard.name for guard in guards}:
            print(f"guards: no guard is called {', '.join(sorted(unknown))}")
            return 2
        guards = tuple(guard for guard in guards if guard.name in given.names)
    return 0 if play_all(guards, given.root, max(1, given.jobs)) else 1


if __name__ == "__main__":
    sys.exit(main())
