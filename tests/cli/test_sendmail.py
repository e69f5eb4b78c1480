"""relay-sendmail as a child process: statuses, one line of error, and how little it loads."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from reception.local_mail import Office
from relay import __version__
from relay.cli.sendmail import main
from relay.daemon.callers import TrustedCallers
from relay.daemon.control import SubmissionFactory, listen_for_submissions
from relay.reception.request import decode_request
from relay.spool.sqlite import SQLiteStore
from spool.samples import NOW, do, message

TEXT = b"Subject: x\n\nHello\n.\nnot this\n"
HEAVY = {"twisted", "OpenSSL", "cryptography", "apsw", "click", "regex", "zope"}


@pytest.fixture
def spool() -> Iterator[Path]:
    """A short path: the name of a Unix socket has about a hundred octets."""
    with tempfile.TemporaryDirectory(prefix="fp") as path:
        (Path(path) / "maildrop").mkdir()
        yield Path(path)


@pytest.fixture
def configuration(tmp_path: Path, spool: Path) -> Path:
    path = tmp_path / "fingerpost.conf"
    path.write_text(f"SPOOL = {spool}\nspool_directory = SPOOL\n")
    return path


def sendmail(configuration: Path, *words: str, text: bytes = TEXT) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "relay.cli.sendmail", "-C", str(configuration), *words]
    return subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)


@pytest.fixture
def office(spool: Path) -> Iterator[Office]:
    office = Office()
    factory = SubmissionFactory(reactor, office.submission.submit, TrustedCallers(), office.events)
    port = listen_for_submissions(reactor, str(spool), factory)
    yield office
    pytest_twisted.blockon(port.stopListening())


@pytest_twisted.ensureDeferred
async def test_a_message_to_the_daemon(configuration: Path, office: Office) -> None:
    done = await deferToThread(sendmail, configuration, "-f", "boss@example.org", "-odi", "-v", "bob@there.example")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    (message,) = office.queue.accepted
    assert done.stderr.decode() == f"accepted as {message.message_id}\n"
    assert office.queue.body() == b"Hello\r\n"
    assert str(message.sender) == "boss@example.org"  # the test's user is the daemon's
    assert office.told.interactive == [message.message_id]


@pytest_twisted.ensureDeferred
async def test_a_refusal_is_one_line_and_status_1(configuration: Path, office: Office) -> None:
    done = await deferToThread(sendmail, configuration, "-t")
    assert done.returncode == 1
    assert done.stderr == b"relay-sendmail: no recipient addresses found in header lines\n"


def test_a_daemon_that_is_down_is_no_error(configuration: Path, spool: Path) -> None:
    """For somebody whom the queue does not belong to."""
    program = "import sys; from relay.cli import sendmail as s; s.may_open_queue = lambda _: False; sys.exit(s.main())"
    command = [sys.executable, "-c", program, "-C", str(configuration), "-i", "bob@there.example"]
    done = subprocess.run(command, input=TEXT, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (left,) = (spool / "maildrop").iterdir()
    line, _, text = left.read_bytes().partition(b"\n")
    assert decode_request(line).recipients == ("bob@there.example",)
    assert text == TEXT


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "no recipients: name them, or give -t (see: relay-sendmail --help)"),
        (("-zz", "x"), "unknown, malformed, or incomplete option -zz"),
        (("-MG", "x"), "-MG is an option of Exim's that is not served yet"),
        (("-Mrm", "x"), "malformed message id x after -Mrm option"),
        (("-Mf",), "no message ids given after -Mf option"),
        (("-N", "-bs"), "-N: serves a message that is handed over by itself, -q and -M, and nothing else"),
        (("-N", "-bd"), "-N: serves a message that is handed over by itself, -q and -M, and nothing else"),
    ],
)
def test_errors_are_one_line_and_status_1(configuration: Path, capsys, words: tuple[str, ...], error: str) -> None:
    assert main(["sendmail", "-C", str(configuration), *words]) == 1
    assert capsys.readouterr().err == f"relay-sendmail: {error}\n"
    assert main(["/usr/sbin/exim", "-C", str(configuration), *words]) == 1
    assert capsys.readouterr().err == f"exim: {error}\n"


def test_a_configuration_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sendmail", "-C", str(tmp_path / "none"), "x@y"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"relay-sendmail: {tmp_path}/none: No such file or directory (")
    assert error.count("\n") == 1


def test_an_unforeseen_error_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("relay.cli.sendmail.read_arguments", fail)
    assert main(["sendmail", "x"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_version_help_and_aliases(capsys: pytest.CaptureFixture[str], configuration: Path) -> None:
    assert main(["exim", "-C", str(configuration), "-bV"]) == 0
    shown = capsys.readouterr().out
    assert __version__ in shown
    assert f"Configuration file is {configuration}" in shown
    assert main(["exim", "--help"]) == 0
    assert "Example" in capsys.readouterr().out
    assert main(["newaliases"]) == 0


def test_an_empty_queue(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mailq", "-C", str(configuration)]) == 0
    assert main(["exim", "-C", str(configuration), "-bpc"]) == 0
    assert capsys.readouterr().out == "0\n"


def test_a_queue_as_mailq_shows_it(configuration: Path, spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SQLiteStore(spool / "queue")
    store.open(NOW)
    do(store, lambda queue: queue.accept_message(message(due=NOW), 0, b""))
    assert main(["mailq", "-C", str(configuration)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert " 1aaaaa-aaaaaa-01 <alice@example.org>" in first
    assert second == "          bob0@example.net"
    assert main(["exim", "-C", str(configuration), "-bpc"]) == 0
    assert capsys.readouterr().out == "1\n"
    store.close_reading()
    store.close()


def test_expanding_arguments_and_lines() -> None:
    command = [sys.executable, "-m", "relay.cli.sendmail", "-be"]
    done = subprocess.run([*command, "${uc:a}", "$nosuch"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == 'A\nFailed: unknown variable name "nosuch"\n'
    lines = "${uc:a\\\n   b}\n\nc\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "> AB\n> \n> c\n> \n"


def test_a_reader_that_has_enough_is_no_traceback(configuration: Path) -> None:
    command = [sys.executable, "-m", "relay.cli.sendmail", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        assert child.stderr.read() == b""


def test_handing_over_loads_little(configuration: Path) -> None:
    script = (
        "import json, sys\n"
        "from relay.cli import sendmail\n"
        "sendmail.may_open_queue = lambda _: False\n"
        f"status = sendmail.main(['sendmail', '-C', {str(configuration)!r}, '-t'])\n"
        "print(json.dumps([status, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"To: a@b\n\n", capture_output=True, timeout=60, check=True
    )
    status, modules = json.loads(done.stdout)
    assert status == 0
    assert HEAVY.isdisjoint(name.partition(".")[0] for name in modules)
    assert not [name for name in modules if name.startswith(("relay.config", "relay.expand", "relay.spool"))]


def test_finding_the_default_configuration_loads_little() -> None:
    script = (
        "import sys; from relay.cli import sendmail; from relay.cli.places import default_configuration;"
        "default_configuration(); print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert HEAVY.isdisjoint(name.partition(".")[0] for name in done.stdout.split())


def test_a_line_for_the_log_is_written_by_administrators(configuration: Path, spool: Path) -> None:
    (spool / "log").mkdir()
    assert sendmail(configuration, "-z", "a line").returncode == 0
    (log,) = (spool / "log").iterdir()
    assert log.read_text().endswith(" a line\n")


@pytest.mark.parametrize("option", ["-odi", "-odb"])
def test_who_is_interrupted_before_the_message_is_taken_says_so(
    configuration: Path, option: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A signal ends the work without an answer."""
    monkeypatch.setattr("relay.daemon.direct.submit_alone", lambda *_, **__: 1)
    monkeypatch.setattr("relay.cli.sendmail.hand_over", lambda _, wish, message, alone, beside: alone(wish, message))
    words = ["relay-sendmail", "-C", str(configuration), option, "you@relay.test"]
    try:
        status = main(words)
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 1
    assert "interrupted before the message was accepted" in capfd.readouterr().err
