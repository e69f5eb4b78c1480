"""Plays tests of Exim's own suite against relay-sendmail, or against a real Exim.

    python tests/interop/suite/play.py --suite PATH [--folder 0000-Basic] [NUMBERS...] [--exim PATH]
    python tests/interop/suite/play.py --suite PATH --reference --verdicts theirs.jsonl
    python tests/interop/suite/play.py --suite PATH --verdicts ours.jsonl --against theirs.jsonl --report report.md

PATH is the folder test/ of Exim's sources; nothing of it is changed. It takes Perl (the suite's own rules of what may
differ are Perl), and does better with a C compiler (the suite's own SMTP client and server are C). Tests that ask a
name server want the suite's (C as well); played by root they have it. A real Exim is started by an ordinary user and
takes root's rights, so --reference has to be played by root.
"""

import argparse
import contextlib
import getpass
import grp
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from interop.peers import EXIM
from interop.suite import names
from interop.suite.machine import CALLER, Machine, adopt_orphans, own_machine
from interop.suite.playing import Result, Verdict, play
from interop.suite.report import compared, load, save
from interop.suite.stage import Program, Stage, StageError, set_up
from interop.suite.substitutions import Ports, Words


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    verdicts: list[tuple[str, Verdict]] = []
    adopt_orphans()
    try:
        with _stage(options) as stage:
            for folder in options.folder or folders(options.suite):
                for test in tests(options.suite, folder, options.numbers):
                    verdict = play(stage, folder, test, seconds=options.seconds)
                    verdicts.append((folder, verdict))
                    print(_line(folder, verdict, full=options.full), flush=True)
                    if options.verdicts:
                        save(options.verdicts, verdicts)
    except StageError as error:
        print(f"play: {error}", file=sys.stderr)
        return 2
    passed = sum(verdict.result is Result.PASSED for _, verdict in verdicts)
    print(f"{passed} of {len(verdicts)} passed")
    if options.report:
        theirs = load(options.against) if options.against else {}
        options.report.write_text(compared({(folder, each.test): each for folder, each in verdicts}, theirs))
    return 0 if passed == len(verdicts) else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="play", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="tests, as 0003 or as 0100-0199 (all)")
    parser.add_argument("--suite", type=Path, required=True, metavar="PATH", help="the folder test/ of Exim's sources")
    parser.add_argument("--folder", action="append", metavar="NAME", help="a folder of scripts; may be repeated (all)")
    parser.add_argument("--exim", type=Path, metavar="PATH", help="the program to be tested (relay-sendmail)")
    parser.add_argument("--reference", action="store_true", help="test a real Exim instead")
    parser.add_argument("--no-names", action="store_true", help="without the suite's name server")
    parser.add_argument("--no-compiler", action="store_true", help="play with our own SMTP client and server")
    parser.add_argument("--caller", metavar="USER", help="who starts programs (you; a real Exim: one of the player)")
    parser.add_argument("--exim-user", metavar="USER", help="EXIMUSER in scripts (Debian-exim, or mail)")
    parser.add_argument("--port-base", type=int, default=1223, metavar="N", help="the first of six ports (1223)")
    parser.add_argument("--read-as", action="append", default=[], metavar="OWN=EXIM", help="words that count as Exim's")
    parser.add_argument("--short-ids", action="store_true", help="message ids of before Exim 4.97 count as later ones")
    parser.add_argument("--seconds", type=float, default=20.0, help="the most time for a test (20)")
    parser.add_argument("--keep", type=Path, metavar="PATH", help="play there, and leave the last test's files")
    parser.add_argument("--full", action="store_true", help="show all that differs")
    parser.add_argument("--verdicts", type=Path, metavar="FILE", help="write the verdicts there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="verdicts of the real Exim")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what failed and why")
    return parser.parse_args(arguments)


def folders(suite: Path) -> list[str]:
    return sorted(path.name for path in (suite / "scripts").iterdir() if path.is_dir())


def tests(suite: Path, folder: str, numbers: list[str]) -> list[str]:
    """The folder's tests, those of the numbers and ranges if there are any."""
    found = sorted(path.name for path in (suite / "scripts" / folder).iterdir() if re.fullmatch(r"\d{4}", path.name))
    ranges = [each.partition("-")[0::2] for each in numbers]
    return [each for each in found if not ranges or any(first <= each <= (last or first) for first, last in ranges)]


@contextlib.contextmanager
def _stage(options: argparse.Namespace) -> Iterator[Stage]:
    if options.reference and os.geteuid() != 0:
        raise StageError("--reference has to be played by root")
    path = options.exim or (EXIM if options.reference else shutil.which("relay-sendmail"))
    path = Path(path or Path(sys.executable).parent / "relay-sendmail")
    if not path.exists():
        raise StageError(f"there is no {path}")
    version = "" if options.reference else _version(path)
    read_as = tuple(each.partition("=")[0::2] for each in options.read_as)
    program = Program(path.absolute(), version, options.reference, options.reference or options.short_ids, read_as)
    with _directory(options.keep) as base:
        machine = own_machine(base, names.ADDRESS)
        directory = base / "test"
        directory.mkdir()
        words = _words(options, directory, machine)
        with_names, compiled = not options.no_names, not options.no_compiler
        stage = set_up(options.suite, directory, program, words, names=with_names, compiled=compiled)
        with contextlib.ExitStack() as stack:
            if os.geteuid() == 0 and (directory / "bin/fakens").exists():
                stack.enter_context(names.answering(directory))
            yield stage


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep:
        shutil.rmtree(keep, ignore_errors=True)
        keep.mkdir(parents=True)
        keep.chmod(0o755)
        yield keep.absolute()
        return
    # Long paths are cut in some of the output.
    directory = Path(tempfile.mkdtemp(prefix="suite-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _words(options: argparse.Namespace, directory: Path, machine: Machine) -> Words:
    caller = pwd.getpwnam(options.caller or (CALLER if options.reference else getpass.getuser()))
    exim = pwd.getpwnam(options.exim_user or _first_user("Debian-exim", "mail"))
    base = options.port_base
    return Words(
        caller=caller.pw_name,
        caller_group=grp.getgrgid(caller.pw_gid).gr_name,
        caller_uid=caller.pw_uid,
        caller_gid=caller.pw_gid,
        caller_home=caller.pw_dir,
        caller_gecos=caller.pw_gecos.partition(",")[0],
        exim_user=exim.pw_name,
        exim_group=grp.getgrgid(exim.pw_gid).gr_name,
        exim_uid=exim.pw_uid,
        exim_gid=exim.pw_gid,
        directory=str(directory),
        host_name=machine.host_name,
        ipv4=machine.ipv4,
        ipv6=machine.ipv6,
        ports=Ports(base, base + 1, (base + 2, base + 3, base + 4, base + 5)),
    )


def _first_user(*names: str) -> str:
    known = {each.pw_name for each in pwd.getpwall()}
    return next((name for name in names if name in known), getpass.getuser())


def _version(program: Path) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".conf", dir="/tmp") as config:
        config.write("primary_hostname = suite.test\n")
        config.flush()
        command = [str(program), "-C", config.name, "-be", "$version_number"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip()


def _line(folder: str, verdict: Verdict, *, full: bool) -> str:
    text = f"{folder}/{verdict.test} {verdict.result.value} {verdict.seconds:.1f}s {verdict.detail}".rstrip()
    if verdict.differences:
        shown = verdict.differences if full else verdict.differences[:1]
        text += "".join(f"\n    {each}" for each in shown)
    if verdict.result is Result.RETURNS or full:
        text += "".join(f"\n    | {each}" for each in verdict.said[-3:])
    return text


if __name__ == "__main__":
    sys.exit(main())
