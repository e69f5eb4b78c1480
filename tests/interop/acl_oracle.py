"""What the real Exim says in dialogs that ACLs decide, and what ours says in the same.

One configuration has the ACLs of many cases. A session greets as `m1` and as `c1` in front of the first case: the
ACL of the one writes a line into the log, so that both the replies and the log can be taken apart; the other chooses
the case's ACLs. What has a session of its own has a configuration of its own. Ours run in children of one process, so
that the modules are loaded once.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ != "__main__":
    from interop import exim, peers
    from interop.acl_corpus import PLACES, Case

END = "(the session ends)"
_TOGETHER = 400
_SECONDS = 120
_ERROR = "(the configuration is refused) "

_COMMON = """
primary_hostname = relay.test
hosts_require_helo =
spool_directory = SPOOL
log_file_path = SPOOL/%slog
keep_environment =
rfc1413_hosts =
host_lookup =
tls_advertise_hosts =
domainlist unrouteable = unrouteable.test
"""
_TOGETHER_OPTIONS = """
smtp_accept_max_nonmail_hosts =
smtp_accept_max_nonmail = 1000000
smtp_max_synprot_errors = 1000000
smtp_max_unknown_commands = 1000000
smtp_accept_max_per_connection = 0
smtp_enforce_sync = false
"""
_DRIVERS = """
begin routers
failing:
  driver = redirect
  domains = fail.test
  data = :fail: nobody at $domain
  allow_fail
later:
  driver = redirect
  domains = later.test
  data = :defer: ask again
  allow_defer
hole:
  driver = redirect
  domains = hole.test
  data = :blackhole:
all:
  driver = accept
  domains = !+unrouteable
  transport = nowhere
begin transports
nowhere:
  driver = appendfile
  file = /dev/null
begin retry
* * F,1h,10m
"""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one side said in a case, with everything evened out that is different by nature."""

    replies: tuple[str, ...]
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A case in which the two said different things."""

    case: "Case"
    theirs: Spoken
    ours: Spoken

    def __str__(self) -> str:
        acls = "\n".join(f"  {name}: {text}" for name, text in self.case.acls.items())
        lines = [f"{self.case.name} {' '.join(self.case.arguments)} {self.case.options!r}", acls]
        if self.case.more:
            lines.append(f"  {self.case.more}")
        lines.append(f"  C: {' | '.join(self.case.say)}")
        for what, one, other in (
            ("replies", self.theirs.replies, self.ours.replies),
            ("log", self.theirs.log, self.ours.log),
        ):
            if one != other:
                lines += [f"  Exim's {what}:", *(f"    {each}" for each in one)]
                lines += [f"  our {what}:", *(f"    {each}" for each in other)]
            else:
                lines += [f"  {what} of both:", *(f"    {each}" for each in one)]
        return "\n".join(lines)


def differences(cases: Sequence["Case"]) -> list[Difference]:
    """Plays every case against both."""
    with _files() as directory:
        found = []
        together = [each for each in cases if not each.alone]
        alone = [each for each in cases if each.alone]
        for start in range(0, len(together), _TOGETHER):
            part = together[start : start + _TOGETHER]
            found += zip(part, _exim_batch(directory, part), _our_batch(directory, part), strict=True)
        found += zip(alone, _exim_alone(directory, alone), _our_alone(directory, alone), strict=True)
        return [Difference(*each) for each in found if each[1] != each[2]]


@contextlib.contextmanager
def _files() -> Iterator[Path]:
    with peers.directory("exim-acls") as directory:
        (directory / "table").write_text("key.test: yes\nto.test: found\n")
        (directory / "aclfile").write_text("# a comment\ndeny condition = no\n\naccept \\\n  message = of the file\n")
        yield directory


# Configurations


def _together(cases: Sequence["Case"], directory: Path, spool: Path) -> str:
    """All the cases' ACLs, chosen by the name in the greeting."""
    options = [_COMMON, _TOGETHER_OPTIONS]
    for place in PLACES:
        rows = [f"{each.name}: {each.name}_{place}\n" for each in cases if place in each.acls]
        (directory / place).write_text("".join(rows))
        default = "mark" if place == "helo" else "all"
        chosen = f"${{lookup{{$sender_helo_name}}lsearch{{DIR/{place}}}{{$value}}{{{default}}}}}"
        options.append(f"acl_smtp_{place} = {chosen}")
    options.append("begin acl\nall:\n accept\nmark:\n accept condition = ${if match{$sender_helo_name}{^m}}")
    options.append(" logwrite = MARK $sender_helo_name\n accept")
    options += [_acls(each) for each in cases]
    return _written("\n".join((*options, _DRIVERS)), directory, spool)


def _acls(case: "Case") -> str:
    texts = [f"{case.name}_{place}:\n {text}" for place, text in case.acls.items()]
    return case.text("\n".join((*texts, case.more)))


def _one(case: "Case", directory: Path, spool: Path) -> str:
    options = [_COMMON, case.options, "smtp_enforce_sync = false"]
    options += [f"acl_smtp_{place} = {case.name}_{place}" for place in case.acls]
    if "rcpt" not in case.acls and "acl_smtp_rcpt" not in case.options:
        options.append("acl_smtp_rcpt = accept")
    return _written("\n".join((*options, "begin acl", _acls(case), _DRIVERS)), directory, spool)


def _written(text: str, directory: Path, spool: Path) -> str:
    return text.replace("SPOOL", str(spool)).replace("DIR", str(directory))


# What is said


def _said(case: "Case") -> bytes:
    greeting = [f"HELO {case.name}"] if case.greets else []
    # Whether the client says QUIT makes a difference of its own.
    end = ["QUIT"] if case.alone and "notquit" not in case.acls and case.say[-1] != "QUIT" else []
    return "".join(f"{case.text(line)}\r\n" for line in (*greeting, *case.say, *end)).encode()


_TIME = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
_ID = re.compile(r"\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}\b")
_BANNER = re.compile(r"ESMTP (Exim [0-9.]+|Fingerpost)")
_MADE_BY = re.compile(r"\((Exim [0-9.]+|Fingerpost)\)$|<E[0-9A-Za-z]+(-[0-9A-Za-z]+){2}@")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
_LEFT_OVER = re.compile(r"^ID ")
_REMEDY = re.compile(r" \((use logwrite or log_message|correct the (code in the ACL's message|message in the ACL))\)$")
_OFFERS = re.compile(r"250-(LIMITS .*|PIPECONNECT)")
"""Extensions that only one of the two has: LIMITS is younger than the Exim that is asked."""
_SIZE = re.compile(r" S=\d+")


def _even(line: str, directory: Path, spool: Path) -> str:
    # After a message Exim goes on to write its id before every line of the session.
    line = _LEFT_OVER.sub(
        "", _SIZE.sub(" S=N", _BANNER.sub("ESMTP SERVER", _TIME.sub("TIME", _ID.sub("ID", _STAMP.sub("", line)))))
    )
    line = _MADE_BY.sub("MADE", _REMEDY.sub("", line))
    return line.replace(str(spool), "SPOOL").replace(str(directory), "DIR")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one side keeps its files."""

    directory: Path
    spool: Path

    def replies(self, text: str) -> list[str]:
        lines = (_even(line.rstrip("\r"), self.directory, self.spool) for line in text.split("\n"))
        return [line for line in lines if line and not line.startswith("****") and not _OFFERS.fullmatch(line)]

    def log(self, text: str) -> list[str]:
        found: list[str] = []
        for line in text.split("\n"):
            if line.startswith("LOG: "):
                found.append(_even(line.removeprefix("LOG: "), self.directory, self.spool))
            elif line.startswith("  ") and found and not line.startswith(">>>"):
                found.append(_even(line, self.directory, self.spool))
        return found

    def files(self) -> list[str]:
        """The lines of the log files, each behind the name of its file."""
        found = []
        for name in ("main", "reject", "panic"):
            path = self.spool / f"{name}log"
            if path.exists():
                text = path.read_text(errors="replace").rstrip("\n")
                if text:
                    found += [f"{name}: {_even(line, self.directory, self.spool)}" for line in text.split("\n")]
                path.unlink()
        return found


def _taken_apart(out: list[str], log: list[str], cases: Sequence["Case"]) -> list[Spoken]:
    """What was said in each case, up to the one that the session ended in."""
    replies, lines = (
        _by_mark(out, re.compile(r"250 relay\.test Hello m(\d+) ")),
        _by_mark(log, re.compile(r"MARK m(\d+)$")),
    )
    spoken: list[Spoken] = []
    for number in range(len(cases)):
        if number not in replies:
            break
        spoken.append(Spoken(tuple(replies[number]), tuple(lines.get(number, []))))
    if len(spoken) < len(cases) and spoken:
        last = spoken.pop()
        spoken.append(Spoken((*last.replies, END), last.log))
    return spoken


def _by_mark(lines: list[str], mark: re.Pattern[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if match := mark.match(line):
            current = found[int(match.group(1))] = []
        else:
            current.append(line)
    return found


def _commands(cases: Sequence["Case"]) -> bytes:
    said = (b"HELO m%d\r\n" % number + _said(each) for number, each in enumerate(cases))
    return b"".join((*said, b"HELO m%d\r\nQUIT\r\n" % len(cases)))


# Exim


def _exim_place(directory: Path) -> _Place:
    return _Place(directory, peers.make_directory(directory / "exim", exim.USER))


def _exim_batch(directory: Path, cases: Sequence["Case"]) -> list[Spoken]:
    place = _exim_place(directory)
    config = directory / "exim.conf"
    config.write_text(_together(cases, directory, place.spool))
    spoken: list[Spoken] = []
    while len(spoken) < len(cases):
        rest = cases[len(spoken) :]
        out, log = _exim(config, ("-bh", "203.0.113.9"), _commands(rest))
        found = _taken_apart(place.replies(out), place.log(log), rest)
        assert found, (out, log)
        spoken += found
    return spoken


def _exim_alone(directory: Path, cases: Sequence["Case"]) -> list[Spoken]:
    place = _exim_place(directory)
    found = []
    for case in cases:
        config = directory / "exim.conf"
        config.write_text(_one(case, directory, place.spool))
        out, log = _exim(config, ("-odq", *case.arguments), _said(case))
        lines = place.files() if case.logs else place.log(log)
        found.append(Spoken(tuple(place.replies(out)), tuple(lines)))
    return found


def _exim(config: Path, arguments: Sequence[str], said: bytes) -> tuple[str, str]:
    command = [peers.EXIM, "-C", config, *arguments]
    done = subprocess.run(command, input=said, capture_output=True, timeout=_SECONDS, check=False)
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


# Ours


def _our_place(directory: Path) -> _Place:
    spool = directory / "ours"
    spool.mkdir(exist_ok=True)
    return _Place(directory, spool)


def _our_batch(directory: Path, cases: Sequence["Case"]) -> list[Spoken]:
    place = _our_place(directory)
    config = directory / "ours.conf"
    config.write_text(_together(cases, directory, place.spool))
    spoken: list[Spoken] = []
    while len(spoken) < len(cases):
        rest = cases[len(spoken) :]
        [(out, log)] = _ours(directory, [(config, ("-bh", "203.0.113.9"), _commands(rest))])
        found = _taken_apart(place.replies(out), place.log(log), rest)
        assert found, (out, log)
        spoken += found
    return spoken


def _our_alone(directory: Path, cases: Sequence["Case"]) -> list[Spoken]:
    place = _our_place(directory)
    jobs = []
    for case in cases:
        spool = directory / f"ours-{case.name}"
        spool.mkdir()
        config = spool / "conf"
        config.write_text(_one(case, directory, spool))
        jobs.append((config, ("-odq", *case.arguments), _said(case)))
    found = []
    for case, (out, log) in zip(cases, _ours(directory, jobs), strict=True):
        place = _Place(directory, directory / f"ours-{case.name}")
        lines = place.files() if case.logs else place.log(log)
        replies = place.replies(out) or [_ERROR + line for line in place.replies(log)]
        found.append(Spoken(tuple(replies), tuple(lines)))
    return found


_Job = tuple[Path, Sequence[str], bytes]


def _ours(directory: Path, jobs: Sequence[_Job]) -> list[tuple[str, str]]:
    """Standard output and standard error of each of these sessions."""
    (directory / "jobs").mkdir(exist_ok=True)
    asked = []
    for number, (config, arguments, said) in enumerate(jobs):
        (directory / f"jobs/{number}.in").write_bytes(said)
        asked.append([str(directory / f"jobs/{number}"), ["relay-sendmail", "-C", str(config), *arguments]])
    tests = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((tests, os.environ.get("PYTHONPATH", "")))}
    command = [sys.executable, __file__]
    limit = _SECONDS + 5 * len(jobs)
    subprocess.run(command, input=json.dumps(asked).encode(), env=environment, timeout=limit, check=True)
    texts = []
    for number in range(len(jobs)):
        out, log = (directory / f"jobs/{number}.{end}" for end in ("out", "err"))
        texts.append((out.read_text(errors="replace"), log.read_text(errors="replace")))
    return texts


def _hold_sessions() -> None:
    """The process whose children hold our sessions, as many at a time as there are processors."""
    import relay.daemon.standard_input
    from relay.cli import sendmail

    assert relay.daemon.standard_input
    running = 0
    for stem, words in json.load(sys.stdin):
        if running == (os.cpu_count() or 1):
            os.wait()
            running -= 1
        running += 1
        child = os.fork()
        if child == 0:
            for descriptor, end, flags in ((0, "in", os.O_RDONLY), (1, "out", None), (2, "err", None)):
                mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if flags is None else flags
                os.dup2(os.open(f"{stem}.{end}", mode, 0o600), descriptor)
            status = sendmail.main(words)
            sys.stdout.flush()
            os._exit(status)
    for _ in range(running):
        os.wait()


if __name__ == "__main__":
    _hold_sessions()
