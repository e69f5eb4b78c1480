"""What each command of a script does (edge).

    do(run, step)

As the suite's `run_command` does it, with `sudo` done by not giving up root's rights. `ACTS`, at the end, says
which function does which command.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from interop.suite.running import OutOfTime, Run, Unplayable, WrongCode, shell, start, wait
from interop.suite.script import EximCommand, Step, exim_command

FILE_COMMAND = re.compile(r"(?:ln|ls|du|mkdir|mkfifo|touch|cp|cat)\s|sudo\s(?:mkdir|rmdir|rm|mv|cp|chown|chmod)\s")


def do(run: Run, step: Step) -> None:
    """Does the step; raises `WrongCode` if its command ends in another way than the script says."""
    run.left()
    run.settings = dict(step.settings)
    command = run.put(step.command)
    for pattern, act in ACTS:
        found = pattern.match(command)
        if found:
            act(run, found, step)
            return
    exim = exim_command(command)
    if exim:
        _exim(run, exim, step)
        return
    raise Unplayable(f"line {step.line}: {command.split()[0]} is not known")


def _check(step: Step, code: int) -> None:
    if not step.returns.met_by(code):
        wanted = f"anything but {step.returns.code}" if step.returns.other else str(step.returns.code)
        raise WrongCode(f"line {step.line}: {step.command.split()[0]} returned {code}, not {wanted}")


def _comment(run: Run, found: re.Match[str], _step: Step) -> None:
    for name in ("test-stdout", "test-stderr", "test-stderr-server", "test-stdout-server"):
        run.stage.write(name, found.string + "\n", more=True)


def _nothing(_run: Run, _found: re.Match[str], _step: Step) -> None:
    """`echo` writes to the player's own screen."""


def _munge(run: Run, found: re.Match[str], _step: Step) -> None:
    run.custom = found[1].strip()


def _sleep(run: Run, found: re.Match[str], _step: Step) -> None:
    seconds = float(found[2]) / (1000 if found[1] else 1)
    if seconds > run.left():
        raise OutOfTime
    time.sleep(seconds)


def _files(run: Run, found: re.Match[str], _step: Step) -> None:
    command = found.string
    root = command.startswith("sudo")
    # As in the suite, nobody asks how it ended; what it says stands in test-stderr.
    shell(run, f"{command.removeprefix('sudo')} >>test-stdout 2>>test-stderr", root=root)


def _cat2(run: Run, found: re.Match[str], step: Step) -> None:
    _check(step, shell(run, f"cat {found[1]} 2>&1 >test-stderr"))


def _utility(run: Run, found: re.Match[str], step: Step) -> None:
    """Exim's own tools, by the suite's names."""
    name, rest = found[1], (found[2] or "").strip()
    config, spool = f"{run.directory}/test-config", f"{run.directory}/spool"
    match name:
        case "dbmbuild":
            name, arguments = "exim_dbmbuild", " ".join(f"{run.directory}/{each}" for each in rest.split())
        case "exinext":
            arguments = f"-DEXIM_PATH={run.directory}/eximdir/exim -C {config} {rest}"
        case "exiqgrep":
            arguments = f"-E ./eximdir/exim -C {config} {rest}"
        case "exim_id_update":
            arguments = f"{rest} {spool}/input"
        case _:
            arguments = f"{rest} {spool}/log/mainlog"
    _needed(run, name)
    command = f"(./eximdir/{name} {arguments};echo {name} exit code = $?)>>test-stdout 2>>test-stderr"
    shell(run, command, root=name == "exim_id_update")


def _needed(run: Run, name: str) -> None:
    if not (run.directory / "eximdir" / name).exists():
        raise Unplayable(f"there is no {name}")


def _dump(run: Run, found: re.Match[str], step: Step) -> None:
    """The hints of a database, in an order that does not depend on the database."""
    _needed(run, "exim_dumpdb")
    which = found[1]
    shell(run, f"./eximdir/exim_dumpdb {run.directory}/spool {which} >test-dump")
    text = (run.directory / "test-dump").read_bytes().decode("latin-1")
    match which:
        case "retry":
            items = re.findall(r".+?\n  |.+", text, re.DOTALL)
            items = sorted(filter(str.strip, items), key=lambda each: _munged_key(run, each))
            text = "".join("  " + "\n".join(each.strip().split("\n")[:2]) + "\n" for each in items)
        case "callout":
            text = "".join(sorted(text.splitlines(keepends=True), key=lambda line: line[21:]))
        case "seen":
            text = "".join(sorted(text.splitlines(keepends=True)))
    run.stage.write("test-stdout", "+++++++++++++++++++++++++++\n" + text, more=True)


def _munged_key(run: Run, item: str) -> str:
    key = item.split()[0].replace(run.words.ipv4, "ip4.ip4.ip4.ip4")
    return key.replace(str(run.words.ports.silent), "PORT_N")


def _lock(run: Run, found: re.Match[str], _step: Step) -> None:
    _needed(run, "exim_lock")
    _let_server_end(run)
    run.server = start(run, f"exec ./eximdir/exim_lock {found[1]} >>test-stdout")
    time.sleep(0.1)


def _gnutls(run: Run, _found: re.Match[str], step: Step) -> None:
    name = "spool/gnutls-params-2236"
    shell(run, f"cp -p aux-fixed/gnutls-params {name}", root=True)
    with contextlib.suppress(OSError):
        os.chown(run.directory / name, run.words.exim_uid, run.words.exim_gid)
        (run.directory / name).chmod(0o400)


def _kill_daemon(run: Run, _found: re.Match[str], _step: Step) -> None:
    for path in (run.directory / "spool").glob("exim-daemon.*"):
        with contextlib.suppress(ValueError, OSError):
            os.kill(int(path.read_text().strip()), signal.SIGTERM)
        path.unlink(missing_ok=True)
    for process in [each for each in (run.daemon, *run.others) if each]:
        if process is not run.daemon:
            with contextlib.suppress(OSError):
                process.terminate()
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(min(run.left(), 10))
        except subprocess.TimeoutExpired:
            process.kill()
    run.daemon = None
    run.others = []


def _server(run: Run, found: re.Match[str], step: Step) -> None:
    _let_server_end(run)
    pid_file = run.directory / "aux-var/server-daemon.pid"
    pid_file.unlink(missing_ok=True)
    options = "" if run.words.ipv6 else "-noipv6 "
    if not re.search(r"(^|\s)-t\s", found[1]):
        # Its own five seconds are few where a program takes one to start on a busy machine. Time that runs out is a
        # failure in any case.
        options += f"-t {int(run.left()) + 1} "
    run.server = start(run, f"exec ./bin/server {options}-oP {pid_file} {found[1]} >>test-stdout-server")
    assert run.server.stdin
    with contextlib.suppress(OSError):
        run.server.stdin.write("".join((*step.lines, "++++\n")).encode("latin-1"))
        run.server.stdin.flush()
    server = run.server
    wait(run, lambda: pid_file.exists() or server.poll() is not None)


def _write(run: Run, found: re.Match[str], step: Step) -> None:
    lines = list(step.lines)
    sizes = (found[3] or "").split()
    text = ""
    if sizes:
        cut = next((place for place, line in enumerate(lines) if re.match(r"\+{4}\s*$", line)), len(lines))
        text = "".join(lines[:cut])
        if cut < len(lines):
            text += "".join(map(sized_lines, sizes))
        lines = lines[cut + 1 :]
    text += "".join(lines)
    run.stage.write(found[2], text)
    if found[1]:
        run.stage.write("test-stdout", f"==========\n{text}==========\n", more=True)


def sized_lines(size: str) -> str:
    """Lines as `3x20=ab_` asks for them: how many, how long with the line's end, how they begin."""
    found = re.match(r"(\d+)x(\d+)(?:=(.*))?", size)
    if not found:
        return ""
    begin = (found[3] or "").replace("_", " ")
    return (begin + "a" * (int(found[2]) - len(begin) - 1) + "\n") * int(found[1])


def _client(run: Run, found: re.Match[str], step: Step) -> None:
    command = found.string
    root = command.startswith("sudo")
    command = command.removeprefix("sudo").strip()
    if command.startswith("client"):
        if not (run.directory / "bin" / command.split()[0]).exists():
            raise Unplayable(f"there is no {command.split()[0]}")
        command = command.replace("client", "./bin/client", 1)
    _check(step, shell(run, f"{command} >>test-stdout 2>>test-stderr", lines=step.lines, root=root))


def _background(run: Run, _found: re.Match[str], step: Step) -> None:
    line = run.put(step.lines[0].strip()) if step.lines else "true"
    run.others.append(start(run, f"exec {line} </dev/null >>test-stdout 2>>test-stderr-server"))
    time.sleep(0.3)


# The program under test


def _exim(run: Run, command: EximCommand, step: Step) -> None:
    run.stage.configure(run.test)
    arguments = _with_messages(run, command.arguments)
    program = f"{run.directory}/eximdir/exim{command.special}"
    if not Path(program).exists():
        raise Unplayable(f"there is no exim{command.special}")
    line = f"{program} -DEXIM_PATH={program} -C {run.directory}/test-config {arguments}"
    if command.user:
        line = f"setpriv --reuid={command.user} --clear-groups {line}"
    if command.settings:
        line = f"env {command.settings} {line}"
    if "-DSERVER=server " in line + " " and "-DNOTDAEMON " not in line + " ":
        _daemon(run, line, root=command.sudo)
        return
    if re.search(r"\s-DSERVER=wait:\d+\s", line):
        _waiting_daemon(run, line, root=command.sudo)
        return
    where = "test-stderr-server" if "-DSERVER=server " in line else "test-stderr"
    code = shell(
        run,
        f"{line} >>test-stdout 2>>{where}",
        lines=step.lines,
        hold=command.hold,
        root=command.sudo,
    )
    _check(step, code)
    _end_server(run, step)


def _end_server(run: Run, step: Step) -> None:
    code = _let_server_end(run)
    if code:
        raise WrongCode(f"line {step.line}: the scripted server returned {code}")


def _let_server_end(run: Run) -> int:
    """Waits for the scripted server, which ends after its connections or when it has waited in vain."""
    if not run.server:
        return 0
    server, run.server = run.server, None
    assert server.stdin
    with contextlib.suppress(OSError):
        server.stdin.close()
    try:
        return server.wait(run.left())
    except subprocess.TimeoutExpired as error:
        raise OutOfTime from error


def _log_directory(run: Run) -> None:
    run.stage.make_directory("spool/log", run.words.exim_uid, run.words.exim_gid)


def _daemon(run: Run, line: str, *, root: bool) -> None:
    _log_directory(run)
    found = re.search(r"-oP ([^ ]+)", line)
    pid_file = Path(found[1]) if found else run.directory / "spool/exim-daemon.pid"
    line = re.sub(r"\s-bd(?=\s|$)", " -bdf" if found else f" -bdf -oP {pid_file}", line, count=1)
    run.daemon = start(run, f"exec {line} >>test-stdout 2>>test-stderr-server", root=root)
    daemon = run.daemon
    wait(run, lambda: pid_file.exists() or daemon.poll() is not None)


def _waiting_daemon(run: Run, line: str, *, root: bool) -> None:
    _log_directory(run)
    assert run.listener
    process = start(run, f"exec {line} >>test-stdout 2>>test-stderr-server", root=root, stdin=run.listener.fileno())
    run.others.append(process)
    run.listener.close()
    (run.directory / "spool/exim-daemon.wait").write_text(f"{process.pid}\n")
    time.sleep(0.3)


def _with_messages(run: Run, arguments: str) -> str:
    """`$msg1` is the id of the oldest message in the queue."""
    if "$msg" not in arguments:
        return arguments
    queue = re.search(r"-qG\w+", arguments)
    program = f"{run.directory}/eximdir/exim"
    line = f"{program} -bp {queue[0] if queue else ''} -DEXIM_PATH={program} -C {run.directory}/test-config"
    process = start(run, f"exec {line} >test-queue 2>/dev/null")
    try:
        process.communicate(timeout=run.left())
    except subprocess.TimeoutExpired as error:
        raise OutOfTime from error
    listed = (run.directory / "test-queue").read_bytes().decode("latin-1")
    ids = [found[1] for found in re.finditer(r"^\s*\d+[smhdw]\s+\S+\s+(\S+)", listed, re.MULTILINE)]
    ids.sort(key=lambda each: ".".join(each.split("-")[0:3:2]))
    for number in range(len(ids), 0, -1):
        arguments = arguments.replace(f"$msg{number}", ids[number - 1])
    if re.search(r"\$msg\d", arguments):
        raise WrongCode(f"the queue has {len(ids)} messages: {shlex.quote(arguments)}")
    return arguments


ACTS: tuple[tuple[re.Pattern[str], Callable[[Run, re.Match[str], Step], None]], ...] = (
    (re.compile(r"(dbmbuild)\s+(\S+\s+\S+)"), _utility),
    (re.compile(r"dump\s+(\S+)"), _dump),
    (re.compile(r"###\s"), _comment),
    (re.compile(r"echo\s"), _nothing),
    (re.compile(r"exim_lock\s+(.*)$"), _lock),
    (re.compile(r"(exinext|exigrep|eximstats)\s+(.*)"), _utility),
    (re.compile(r"(exiqgrep|exim_id_update)(\s+.*)?$"), _utility),
    (re.compile(r"gnutls"), _gnutls),
    (re.compile(r"killdaemon"), _kill_daemon),
    (re.compile(r"(milli)?sleep\s+(.*)$"), _sleep),
    (re.compile(r"munge\s+(.*)$"), _munge),
    (FILE_COMMAND, _files),
    (re.compile(r"cat2\s+(.*)"), _cat2),
    (re.compile(r"server\s+(.*)$"), _server),
    (re.compile(r"(cat)?write\s+(\S+)(?:\s+(.*))?\s*$"), _write),
    (re.compile(r"client|(?:sudo\s+)?perl\b"), _client),
    (re.compile(r"background$"), _background),
)
