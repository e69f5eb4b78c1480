"""`relay-sendmail`, the command that programs call: sendmail's and Exim's options (edge).

Also as `sendmail`, `mailq`, `newaliases`, `runq`, `rmail` or `exim`, by links of these names. Handing a
message over is the way that counts: it loads neither Twisted nor OpenSSL nor the configuration's reader;
everything else is imported by the function that needs it. Exit statuses are Exim's: 0 done, 1 not.

Exim reports an error in a message by mail unless told otherwise (-oem); here every error is one line on
standard error and the status, whatever -oe… says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from relay import __version__
from relay.cli.arguments import Arguments, Mode, UsageError, read_arguments
from relay.cli.background import in_background
from relay.cli.handover import HandOverFailed, MessageInput, hand_over, is_set_up_otherwise, may_open_queue
from relay.mail.source import ConfigurationError, Severity
from relay.mail.text import printable
from relay.reception.request import DeliveryMode, Status, SubmissionAnswer, SubmissionRequest

if TYPE_CHECKING:
    from relay.cli.queue_access import Place
    from relay.daemon.wishes import Wishes
    from relay.expand.scope import Scope
    from relay.reception.given import Given

NAME = "relay-sendmail"

HELP = """\
Usage: relay-sendmail [options] recipient...     hands over the message on standard input
  -t             recipients are those of To:, Cc: and Bcc:; -i: a line with a dot does not end the message
  -f ADDRESS     the envelope's sender (trusted callers; "<>" is open to all); -F NAME: full name
  -odb -odi -odq deliver in the background, now, or when the queue is run next
  -bp -bpc       list or count the queue; -be: expand strings; -bV: version, and check the configuration
  -M -Mf -Mt -Mrm -Mg ID...  deliver, freeze, thaw, remove, give up queued messages; -Mvh -Mvb -Mvl ID: show one
  -q -qf -qff    run the queue once; -R TEXT, -S TEXT: for such recipients, such senders
  -bt ADDRESS... where mail to it would go; -bv, -bvs: whether it is good as a recipient, a sender
  -brt ADDRESS, -brw ADDRESS: the retry rule for it, what rewriting rules make of it
  -bP NAME...    print options of the configuration (all where none is named; -n: their values only)
  -bd -bdf       be the daemon; -C FILE: another configuration; -D MACRO=VALUE
Example:
  echo Hello | relay-sendmail -odi you@example.org"""


class CommandFailed(Exception):
    """The command can't do its work; the text is the one line that the user gets."""


_REALLY_DELIVERING = frozenset({Mode.DAEMON, Mode.SESSION, Mode.BATCH})


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; `words` are the program's name and its arguments. Returns the exit status."""
    program, *rest = sys.argv if words is None else words
    try:
        arguments = read_arguments(program, rest)
        if not arguments.deliver_really and arguments.mode in _REALLY_DELIVERING:
            # Mail must not go out, nor be lost, because somebody wanted to see what would happen.
            raise CommandFailed("-N: serves a message that is handed over by itself, -q and -M, and nothing else")
        status = _MODES[arguments.mode](arguments)
        sys.stdout.flush()
    except (UsageError, CommandFailed, HandOverFailed) as error:
        return _complain(str(error), program)
    except ConfigurationError as error:
        return _complain_of_configuration(error, arguments, program)
    except BrokenPipeError:
        # Whoever read our output has enough; Python must not complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last line of defence: no program meets a traceback
        return _complain(f"{type(error).__name__}: {error}", program)
    return status


def _is_exim(program: str) -> bool:
    """Whether we were called by Exim's name: programs that do so look for its complaints."""
    return os.path.basename(program or sys.argv[0]) == "exim"


def _complain(text: str, program: str = "") -> int:
    name = "exim" if _is_exim(program) else NAME
    for line in text.splitlines() or [""]:
        print(f"{name}: {printable(line)}", file=sys.stderr)
    return 1


_TESTING = frozenset({Mode.VERSION, Mode.PLAYED_SESSION, Mode.TEST_ADDRESS, Mode.VERIFY_RECIPIENT, Mode.VERIFY_SENDER})


def _complain_of_configuration(error: ConfigurationError, arguments: Arguments, program: str = "") -> int:
    if not _is_exim(program):
        wrong = (str(each) for each in error.problems if each.severity is not Severity.NOTE)
        return _complain("\n".join(wrong), program)
    from relay.cli.plain_fault import Audience, tell

    audience = Audience.TESTER if arguments.mode in _TESTING else Audience.OPERATOR
    if arguments.verbose or (arguments.mode is Mode.OPTIONS and arguments.words != ("config",)):
        audience = Audience.WATCHER
    tell(error, audience, _configuration(arguments), dict(arguments.macros))
    return 1


def _configuration(arguments: Arguments) -> str:
    """The configuration's path: -C, one's own, or the system's."""
    if arguments.configuration:
        return os.path.abspath(arguments.configuration)
    from relay.cli.places import default_configuration

    return str(default_configuration())


def _spool_directory(arguments: Arguments) -> str:
    from relay.cli.locate import spool_directory

    path = _configuration(arguments)
    try:
        return spool_directory(path, dict(arguments.macros))
    except OSError as error:
        raise CommandFailed(
            f"{path}: {error.strerror} (name a configuration with -C, or make one: relay init)"
        ) from None
    except UnicodeError:
        raise CommandFailed(f"{path}: is not a text file in UTF-8") from None


def _hand_over(arguments: Arguments) -> int:
    if not arguments.words and not arguments.extract_recipients:
        if os.path.exists(_configuration(arguments)):
            # A mistake there comes first, as in Exim.
            _check(_configuration(arguments), dict(arguments.macros))
        raise CommandFailed("no recipients: name them, or give -t (see: relay-sendmail --help)")
    request = SubmissionRequest(
        recipients=arguments.words,
        sender=arguments.sender,
        full_name=arguments.full_name,
        extract_recipients=arguments.extract_recipients,
        delivery=arguments.delivery,
        delivery_asked=arguments.delivery_asked,
        routes_only=arguments.routes_only,
        fix_header=arguments.fix_header,
        qualify=arguments.qualify,
        given=arguments.given.items(),
        deliver_really=arguments.deliver_really,
    )
    message = MessageInput(lambda size: os.read(0, size), dot_ends=arguments.dot_ends)
    spool = _spool_directory(arguments)
    is_watched = False

    def alone(wish: SubmissionRequest, read: Callable[[], bytes]) -> SubmissionAnswer:
        nonlocal is_watched
        is_watched = arguments.verbose
        return _submit_alone(arguments, wish, read)

    # The daemon has one set-up. Who names another one, and may do without the daemon, gets what was named.
    named = arguments.configuration or arguments.macros
    beside = bool(named) and is_set_up_otherwise(spool, _configuration(arguments), dict(arguments.macros))
    answer = hand_over(spool, request, message, alone if may_open_queue(spool) else None, beside=beside)
    if answer.status is not Status.ACCEPTED:
        raise CommandFailed(answer.text or answer.status.value)
    if arguments.verbose and not (is_watched and _is_exim("")):
        # Exim says only what its log says.
        print(f"accepted as {answer.message_id}" if answer.message_id else answer.text, file=sys.stderr)
    return 0


# By a signal, in the middle of its input.
_INTERRUPTED = "interrupted before the message was accepted"


def _submit_alone(arguments: Arguments, request: SubmissionRequest, read: Callable[[], bytes]) -> SubmissionAnswer:
    """No daemon takes the message, and the queue is ours: this process does, and delivers it.

    What is to be delivered in the background is by a child, while the caller goes on as soon as the answer stands.
    """
    from relay.daemon.direct import submit_alone

    answers: list[SubmissionAnswer] = []

    def submit(accepted: Callable[[], None]) -> int:
        def tell(answer: SubmissionAnswer) -> None:
            answers.append(answer)
            if answer.status is Status.ACCEPTED:
                accepted()

        configuration, macros = _configuration(arguments), dict(arguments.macros)
        return submit_alone(configuration, macros, request, read, tell, verbose=arguments.verbose)

    def submit_and_tell(accepted: Callable[[], None]) -> int:
        try:
            status = submit(accepted)
        except ConfigurationError as error:
            return _complain_of_configuration(error, arguments)
        return status and _complain(answers[0].text if answers else _INTERRUPTED)

    if request.delivery is not DeliveryMode.BACKGROUND:
        submit(lambda: None)
        return answers[0] if answers else SubmissionAnswer(Status.DEFERRED, text=_INTERRUPTED)
    status = in_background(submit_and_tell)
    # A child that could not has said why.
    return SubmissionAnswer(Status.ACCEPTED, text="accepted") if status == 0 else sys.exit(status)


def _list_queue(arguments: Arguments) -> int:
    """-bp."""
    return _at_queue(arguments, lambda actions: actions.list_messages)


def _count_queue(arguments: Arguments) -> int:
    """-bpc."""
    return _at_queue(arguments, lambda actions: actions.count_messages)


def _act_on_messages(arguments: Arguments) -> int:
    """-M and its letters."""
    return _at_queue(arguments, lambda actions: actions.act)


def _at_queue(arguments: Arguments, choose: Callable[[Any], Callable[..., int]]) -> int:
    """Runs a function of `queue_actions`, which is imported only here; all its faults are one line."""
    from pathlib import Path

    from relay.cli import queue_actions
    from relay.cli.faults import Fault
    from relay.cli.queue_access import Denied, NotServed, Place
    from relay.mail.ports import TemporaryFailure

    place = Place(Path(_configuration(arguments)), dict(arguments.macros), _spool_directory(arguments))
    try:
        return choose(queue_actions)(arguments, place)
    except Denied:
        raise CommandFailed("permission denied; not admin") from None
    except (Fault, TemporaryFailure, NotServed) as error:
        raise CommandFailed(str(error)) from None


def _expand(arguments: Arguments) -> int:
    """Failures are printed like values and are no failure of the command, as in Exim."""
    from pathlib import Path

    from relay.cli.expand import make_scope

    path = Path(_configuration(arguments))
    if not path.exists():
        if arguments.configuration:
            raise CommandFailed(f"{path}: no such file")
        scope = make_scope(None, {})
    else:
        scope = make_scope(path, dict(arguments.macros))
    if arguments.action is not None:
        scope = _with_message(arguments, scope)
    if arguments.words:
        for text in arguments.words:
            print(_expanded(text, scope))
        return 0
    print("> ", end="", flush=True)
    for text in _lines_to_expand(sys.stdin):
        print(_expanded(text, scope))
        print("> ", end="", flush=True)
    print()
    return 0


def _with_message(arguments: Arguments, scope: Scope) -> Scope:
    """-Mset: what the strings see of a queued message."""
    found: list[Scope] = []

    def load(arguments: Arguments, place: Place) -> int:
        from relay.cli.queue_actions import message_scope

        found.append(message_scope(arguments, place, scope))
        return 0

    _at_queue(arguments, lambda _: load)
    return found[0]


def _lines_to_expand(source: Iterable[str]) -> Iterator[str]:
    """Lines, joined where a backslash ends one."""
    joined = ""
    for raw in source:
        line = raw.rstrip("\n")
        line = line.lstrip() if joined else line
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        yield joined + line
        joined = ""
    if joined:
        yield joined


def _expanded(text: str, scope: Scope) -> str:
    from relay.cli.reading import answer
    from relay.expand.errors import ExpansionError, ExpansionFailed
    from relay.expand.evaluate import compile_expansion
    from relay.mail.ports import TemporaryFailure

    try:
        return answer(compile_expansion(text).text(scope))
    except (ExpansionError, ExpansionFailed, TemporaryFailure) as error:
        return f"Failed: {error}"


def _print_version(arguments: Arguments) -> int:
    """-bV: the version and what there is, then everything that is wrong with the configuration."""
    from relay.cli.features import feature_lines

    print(f"Fingerpost version {__version__}, a mail relay that reads Exim's configuration and options")
    for line in feature_lines():
        print(line)
    sys.stdout.flush()
    path = _configuration(arguments)
    if arguments.configuration or os.path.exists(path):
        _check(path, dict(arguments.macros))
    print(f"Configuration file is {path}")
    return 0


def _check(path: str, macros: dict[str, str]) -> None:
    """Raises ConfigurationError with every error of the configuration, and the warnings among them."""
    from pathlib import Path

    from relay.cli.reading import read_configuration

    read_configuration(Path(path), macros)


def _print_options(arguments: Arguments) -> int:
    from pathlib import Path

    from relay.cli.print_options import Denied, print_options
    from relay.cli.reading import understand_configuration

    try:
        read = understand_configuration(Path(_configuration(arguments)), dict(arguments.macros))
        listing = print_options(read.configuration, arguments.words, labels=arguments.labels)
    except Denied:
        raise CommandFailed("permission denied; not admin") from None
    for line in listing.lines:
        print(line)
    return 0 if listing.complete else 1


def _test_addresses(arguments: Arguments) -> int:
    """-bt, -bv, -bvs."""
    from pathlib import Path

    from relay.cli.address_test import Wish, test_addresses
    from relay.cli.faults import Fault
    from relay.policy.routers.ports import Purpose

    purpose = {
        Mode.TEST_ADDRESS: Purpose.TEST,
        Mode.VERIFY_RECIPIENT: Purpose.VERIFY_RECIPIENT,
        Mode.VERIFY_SENDER: Purpose.VERIFY_SENDER,
    }[arguments.mode]
    is_full = purpose is Purpose.TEST or arguments.verbose or arguments.debug
    is_watched = purpose is Purpose.TEST or arguments.verbose
    wish = Wish(purpose, is_full, arguments.sender, _given(arguments).facts(None), is_watched)
    try:
        return test_addresses(Path(_configuration(arguments)), dict(arguments.macros), arguments.words, wish)
    except (Fault, OSError) as error:
        raise CommandFailed(str(error)) from None


def _test_retry(arguments: Arguments) -> int:
    """-brt."""
    from pathlib import Path

    from relay.cli.address_test import test_retry

    if not arguments.words:
        raise CommandFailed("-brt needs a domain or address argument")
    try:
        path, macros = Path(_configuration(arguments)), dict(arguments.macros)
        for line in test_retry(path, macros, arguments.words, arguments.sender):
            print(line)
    except (ValueError, OSError) as error:
        raise CommandFailed(str(error)) from None
    return 0


def _test_rewriting(arguments: Arguments) -> int:
    """-brw."""
    from pathlib import Path

    from relay.cli.faults import Fault
    from relay.cli.rewrite_test import test_rewriting

    if not arguments.words:
        raise CommandFailed("-brw needs an address argument")
    try:
        for line in test_rewriting(Path(_configuration(arguments)), dict(arguments.macros), arguments.words[0]):
            print(line)
    except (Fault, OSError) as error:
        raise CommandFailed(str(error)) from None
    return 0


def _print_help(_arguments: Arguments) -> int:
    print(HELP)
    return 0


def _be_daemon(arguments: Arguments) -> int:
    """-bd, -bdf, and -q with a time, which alone is a daemon that listens nowhere."""
    from relay.daemon.wishes import Shown, Wishes

    interfaces = arguments.interfaces
    if arguments.option.startswith("-q") and interfaces is None:
        interfaces = ""
    intervals = [run.interval for run in arguments.queue_runs if run.interval]
    wishes = Wishes(
        interfaces,
        float(min(intervals, default=0)),
        tls_on_connect=arguments.tls_on_connect,
        pid_file=arguments.pid_file,
        program=os.path.basename(sys.argv[0]),
        shown=Shown.PANIC if arguments.foreground else Shown.NOTHING,
    )
    if arguments.foreground:
        return _serve(arguments, wishes, None)
    return in_background(lambda started: _serve(arguments, wishes, started))


def _serve(arguments: Arguments, wishes: Wishes, started: Callable[[], None] | None) -> int:
    from relay.daemon import service

    return service.run(_configuration(arguments), dict(arguments.macros), wishes, started)


def _run_queue(arguments: Arguments) -> int:
    """-q… once, -R, -S."""
    return _at_queue(arguments, lambda actions: actions.run_queue)


def _serve_standard_input(arguments: Arguments) -> int:
    """-bs."""
    from relay.daemon.standard_input import SessionWish, serve_standard_input

    wish = SessionWish(
        arguments.delivery,
        arguments.tls_on_connect,
        _given(arguments),
        verbose=arguments.verbose,
        routes_only=arguments.routes_only,
        delivery_asked=arguments.delivery_asked,
    )
    return serve_standard_input(_configuration(arguments), dict(arguments.macros), wish)


def _take_batch(arguments: Arguments) -> int:
    """-bS. What goes wrong is said to programs on standard output and to people on standard error."""
    from relay.daemon.batch import BatchFault, take_batch

    def tell(fault: BatchFault) -> None:
        print(fault.for_programs(), end="", flush=True)
        print(fault.for_people(), end="", file=sys.stderr, flush=True)

    return take_batch(
        _configuration(arguments),
        dict(arguments.macros),
        arguments.delivery,
        sys.stdin.buffer,
        tell,
        arguments.given.items(),
        routes_only=arguments.routes_only,
        delivery_asked=arguments.delivery_asked,
    )


def _play_session(arguments: Arguments) -> int:
    """-bh: the dialog on standard output, what is decided on standard error. -bhc asks other hosts where it must."""
    from pathlib import Path

    from relay.daemon.standard_input import play_session

    given = _given(arguments)
    print(f"\n**** SMTP testing session as if from host {given.peer.address if given.peer else ''}")
    print("**** but without any ident (RFC 1413) callback.\n**** This is not for real!\n", flush=True)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        shown = Path(arguments.certificate).read_bytes() if arguments.certificate else b""
        configuration, macros = _configuration(arguments), dict(arguments.macros)
        return play_session(configuration, macros, given, tell, shown, calls_out=arguments.option == "-bhc")
    except OSError as error:
        raise CommandFailed(f"{arguments.certificate}: {error.strerror}") from None
    except ValueError:
        raise CommandFailed(f"{arguments.certificate} has no certificate in PEM form") from None


def _given(arguments: Arguments) -> Given:
    """What the caller says of the client. Raises CommandFailed."""
    from relay.reception.given import read_given

    try:
        return read_given(dict(arguments.given.items()))
    except ValueError as error:
        raise CommandFailed(f"{error} is not an IP address") from None


def _write_note(arguments: Arguments) -> int:
    """-z. Who may not is told so by the status alone, as in Exim."""
    from relay.cli.note import write_note
    from relay.mail.source import ConfigurationError

    try:
        return write_note(_configuration(arguments), dict(arguments.macros), arguments.note)
    except ConfigurationError as error:
        raise CommandFailed(str(error)) from None


def _make_aliases(_arguments: Arguments) -> int:
    """There is no alias file to be made; newaliases has always been a success (Exim: bi_command unset)."""
    return 0


def _refuse(arguments: Arguments) -> int:
    raise CommandFailed(f"{arguments.option} is an option of Exim's that is not served yet")


_MODES: dict[Mode, Callable[[Arguments], int]] = {
    Mode.MESSAGE: _hand_over,
    Mode.DAEMON: _be_daemon,
    Mode.QUEUE_RUN: _run_queue,
    Mode.LIST_QUEUE: _list_queue,
    Mode.COUNT_QUEUE: _count_queue,
    Mode.EXPAND: _expand,
    Mode.OPTIONS: _print_options,
    Mode.VERSION: _print_version,
    Mode.SESSION: _serve_standard_input,
    Mode.BATCH: _take_batch,
    Mode.PLAYED_SESSION: _play_session,
    Mode.ALIASES: _make_aliases,
    Mode.TEST_ADDRESS: _test_addresses,
    Mode.VERIFY_RECIPIENT: _test_addresses,
    Mode.VERIFY_SENDER: _test_addresses,
    Mode.TEST_RETRY: _test_retry,
    Mode.TEST_REWRITING: _test_rewriting,
    Mode.ACT: _act_on_messages,
    Mode.HELP: _print_help,
    Mode.NOTE: _write_note,
    Mode.LATER: _refuse,
}

if __name__ == "__main__":
    sys.exit(main())
