"""Every file that a test has left, compared with the suite's own copy (edge).

The order is that of the suite's `check_output`: ids are numbered as they appear. A file that is in neither place is as
it should be, and so is an empty one that the suite does not have.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from interop.suite.comparing import END, Difference, first_difference
from interop.suite.munging import Munger
from interop.suite.stage import Stage

_LOGS = (
    ("paniclog", "spool/log/paniclog", "spool/log/serverpaniclog", "paniclog"),
    ("rejectlog", "spool/log/rejectlog", "spool/log/serverrejectlog", "rejectlog"),
    ("mainlog", "spool/log/mainlog", "spool/log/servermainlog", "log"),
    ("stdout", "test-stdout", "test-stdout-server", "stdout"),
    ("stderr", "test-stderr", "test-stderr-server", "stderr"),
)
_UNCHECKED = {"stdout": "no_stdout_check", "stderr": "no_stderr_check"}


def differences(stage: Stage, test: str, marks: frozenset[str], munger: Munger) -> tuple[Difference, ...]:
    """The first difference of each file that differs."""
    found: list[Difference | None] = []
    for kind, raw, server, folder in _LOGS:
        if _UNCHECKED.get(kind) not in marks:
            sorts = kind == "mainlog" and "sortlog" in marks
            found.append(compared(stage, munger, kind, (raw, server), f"{folder}/{test}", sorts=sorts))
    if "no_message_check" not in marks:
        found += _mails(stage, test, munger)
    if "no_msglog_check" not in marks:
        found += _message_logs(stage, test, munger)
    return tuple(each for each in found if each)


def compared(
    stage: Stage, munger: Munger, kind: str, raws: tuple[str, ...], saved: str, *, sorts: bool = False
) -> Difference | None:
    """What differs between files that the test has left and the one that the suite has saved."""
    saved = _of_this_machine(stage, saved)
    if not (stage.suite / saved).exists():
        for raw in raws:
            path = stage.directory / raw
            if path.exists() and path.stat().st_size:
                first = path.read_bytes().decode("latin-1").split("\n", 1)[0]
                return Difference(f"{saved} ({raw} should not be there)", 1, END, stage.program_named(first))
        return None
    munged, truncated = munger.munged(kind, *raws)
    expected, got = one_user(stage, stage.saved(saved)), one_user(stage, stage.program_named(munged))
    return first_difference(saved, expected, got, truncated=truncated, deliveries_sorted=sorts)


def _of_this_machine(stage: Stage, saved: str) -> str:
    """The suite has other files where the client's library is OpenSSL 1.1.1 or later, as ours always is."""
    special = f"{saved}.openssl_1_1_1"
    return special if (stage.suite / special).exists() else saved


def one_user(stage: Stage, text: str) -> str:
    """Where the player starts the program as Exim's own user the two words mean the same."""
    words = stage.words
    return re.sub(r"\bEXIMUSER\b", "CALLER", text) if words.caller == words.exim_user else text


def _mails(stage: Stage, test: str, munger: Munger) -> Iterator[Difference | None]:
    expected = {
        str(path.relative_to(stage.suite))
        for pattern in (f"{test}.*", f"{test}.*/**/*")
        for path in (stage.suite / "mail").glob(pattern)
        if path.is_file()
    }
    number = 0
    for raw in files_below(stage.directory, "test-mail"):
        if re.fullmatch(r"test-mail/oncelog(\.(dir|pag|db))?", raw):
            continue
        name = re.sub(rf"^{re.escape(stage.words.caller)}(/|$)", "CALLER", raw.removeprefix("test-mail/"))
        if re.search(r"\d+\.[^.]+\.", name):
            number += 1
            name = re.sub(r"\d+\.[^.]+\.", f"{number}.", name)
        yield compared(stage, munger, "mail", (raw,), f"mail/{test}.{name}")
        expected.discard(f"mail/{test}.{name}")
    for name in sorted(expected):
        yield Difference(name, 1, "(the file)", END)


def _message_logs(stage: Stage, test: str, munger: Munger) -> Iterator[Difference | None]:
    expected = {path.name for path in (stage.suite / "msglog").glob(f"{test}.*")}
    folder = stage.directory / "spool/msglog"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = stage.program_named(f"{test}.{munger.name(path.name)}")
        yield compared(stage, munger, "msglog", (f"spool/msglog/{path.name}",), f"msglog/{name}")
        expected.discard(name)
    for name in sorted(expected):
        yield Difference(f"msglog/{name}", 1, "(the file)", END)


def files_below(directory: Path, name: str) -> Iterator[str]:
    """Names of all files, those of a maildir in the order of their times."""
    folder = directory / name
    for path in sorted(folder.iterdir(), key=_maildir_order) if folder.is_dir() else ():
        if path.is_dir():
            yield from files_below(directory, f"{name}/{path.name}")
        else:
            yield f"{name}/{path.name}"


def _maildir_order(path: Path) -> tuple[int, int, str]:
    found = re.match(r"(\d+)\.H(\d+)", path.name)
    return (int(found[1]), int(found[2]), "") if found else (0, 0, path.name)
