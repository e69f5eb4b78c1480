"""The pipe transport: the argument list, the environment, and what comes back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from delivery.local_post import Desk, addresses, deliver
from delivery.post import make_message, run
from relay.delivery.command_line import compile_command
from relay.delivery.jobs import Command, FilterEnd, Identity, NotDelivered, Report, Verdict
from relay.delivery.local import Errand, LocalDelivery, LocalRules, MessageRules
from relay.delivery.pipe import Pipe, PipeRules
from relay.expand.evaluate import compile_expansion
from relay.expand.values import Tainted
from relay.mail.events import MessageNote
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed

NOT_ROOT = Identity(4242, 4242)
BODY = b"one\r\n"


def rules(command: str = "", **options: object) -> PipeRules:
    given = {name: compile_expansion(value) if isinstance(value, str) else value for name, value in options.items()}
    line = compile_command(command) if command else None
    return PipeRules(common=LocalRules(name="p"), command=line, **given)  # type: ignore[arg-type]


def transport(desk: Desk, rules: PipeRules) -> LocalDelivery:
    # The tests may run as root, and a command must not: here nobody becomes anybody.
    ports = desk.ports(own=replace(NOT_ROOT))
    return LocalDelivery(rules.common, Pipe(rules, desk.calls), ports)


def made(rules: PipeRules, *recipients: str, home: str = "", **found: object) -> Command:
    message = make_message(*(recipients or ("bert@far.test",)))
    local = addresses(message, **found)
    errand = Errand(
        addresses=local,
        message=message,
        scope=local[0].scope.child(main={"qualify_domain": "relay.test"}),
        identity=NOT_ROOT,
        return_path=message.sender,
        home=home,
    )
    job = run(Pipe(rules, Desk().calls).job(errand, 0))
    assert isinstance(job, tuple)
    assert isinstance(job[0], Command)
    return job[0]


def refused(rules: PipeRules, *recipients: str, **found: object) -> Report:
    with pytest.raises(NotDelivered) as caught:
        made(rules, *recipients, **found)
    return caught.value.report


# The argument list


def test_each_word_is_expanded_alone() -> None:
    arguments = made(rules("/bin/x -a '${lc:A}' \"${uc:a b}\" ${lc:}")).arguments
    assert arguments == ("/bin/x", "-a", "a", "A B", "")


def test_a_tainted_word_is_refused() -> None:
    report = refused(rules("/bin/x $local_part"))
    assert report.text == (
        "Tainted 'bert' (argument 1 of the command for p transport) not permitted "
        "(use $local_part_data and $domain_data)"
    )
    assert report.verdict is Verdict.DEFERRED
    assert refused(rules("$local_part")).text.startswith("Tainted 'bert' (argument 0")


def test_all_addresses_of_a_batch() -> None:
    arguments = made(rules("/bin/x $pipe_addresses end"), "a@x.test", "b c@x.test").arguments
    assert arguments == ("/bin/x", "a@x.test", '"b c"@x.test', "end")


def test_commands_are_found_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("")
    assert made(rules("tool a", path=f"/nonexistent:{tmp_path}")).arguments == (f"{tmp_path}/tool", "a")
    report = refused(rules("tool a"))
    assert report == Report(Verdict.FAILED, '"tool" command not found for p transport', report.error)


def test_what_a_redirection_names_is_not_expanded() -> None:
    assert made(rules(), pipe=" /bin/x $local_part 'a b'").arguments == ("/bin/x", "$local_part", "a b")
    assert made(rules("/bin/y"), pipe="/bin/x").arguments == ("/bin/x",)
    forced = rules("/bin/y -- $address_pipe end", force_command=True)
    assert made(forced, pipe="/bin/x 'a b'").arguments == ("/bin/y", "--", "/bin/x", "a b", "end")
    assert refused(rules(), pipe=Tainted("/bin/x")).text.startswith("Tainted '/bin/x' (command")


def test_no_command() -> None:
    for report in (refused(rules()), refused(rules(), pipe=" "), refused(rules("${lc:}"))):
        assert (report.text, report.error) == ("no command specified for p transport", ErrorClass.COMMAND)
        assert report.verdict is Verdict.DEFERRED


def test_too_many_arguments() -> None:
    report = refused(rules(), pipe="/bin/x " + "a " * 70)
    assert report.text.startswith("Too many arguments in command")


def test_only_commands_that_are_allowed() -> None:
    allowed = rules("/bin/x", allow_commands="/bin/x : ls")
    assert made(allowed).arguments == ("/bin/x",)
    report = refused(allowed, pipe="/bin/y")
    assert report == Report(Verdict.FAILED, '"/bin/y" command not permitted by p transport', report.error)
    restricted = rules(restrict_to_path=True, allow_commands="/bin/x")
    assert made(restricted, pipe="/bin/x").arguments == ("/bin/x",)
    assert made(restricted, pipe="ls").arguments[0].endswith("/ls")
    report = refused(restricted, pipe="/bin/y z")
    assert report.text == '"/" found in "/bin/y z" (command for p transport) - failed for security reasons'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could run a command as root")
@pytest.mark.parametrize(("defers", "verdict"), [(True, Verdict.DEFERRED), (False, Verdict.FAILED)])
def test_a_filter_that_takes_too_long(defers: bool, verdict: Verdict) -> None:
    driver = Pipe(rules("/bin/true", timeout_defer=defers), Desk().calls)
    report = driver.filter_failed(FilterEnd(is_late=True), made(rules("/bin/true")))
    assert (report.verdict, report.text) == (verdict, "transport filter timeout while writing to pipe")
    assert not defers or report.error is ErrorClass.COMMAND


def test_no_command_runs_as_root() -> None:
    outcome = deliver(LocalDelivery(LocalRules(name="p"), Pipe(rules("/bin/true"), Desk().calls), Desk().ports()), BODY)
    assert isinstance(outcome, Deferred)
    assert outcome.reason.startswith("User 0 set for p transport is on the never_users list")


# The environment


def test_the_environment() -> None:
    job = made(rules("/bin/x", environment="A=1 : B=a::b : odd"), home="/home/bert")
    assert job.environment == (
        "LOCAL_PART=bert",
        "LOGNAME=bert",
        "USER=bert",
        "LOCAL_PART_PREFIX=",
        "LOCAL_PART_SUFFIX=",
        "DOMAIN=far.test",
        "HOME=/home/bert",
        "MESSAGE_ID=1AAAAA-BBBBBB-CC",
        "PATH=/bin:/usr/bin",
        "RECIPIENT=bert@far.test",
        "QUALIFY_DOMAIN=relay.test",
        "SENDER=anna@laptop.test",
        "SHELL=/bin/sh",
        "A=1",
        "B=a:b",
    )


def test_too_large_an_environment() -> None:
    assert "too many environment" in refused(rules("/bin/x", environment=":".join(["A=1"] * 50))).text


# What comes back


def test_a_delivery_with_what_stands_around_the_message(tmp_path: Path) -> None:
    desk = Desk()
    text = MessageRules(prefix=compile_expansion("before\n"), suffix=compile_expansion("after\n"), body_only=True)
    given = replace(rules(f"/bin/sh -c 'cat > {tmp_path}/out'"), common=LocalRules(name="p", text=text))
    assert deliver(transport(desk, given), BODY) == Delivered("")
    assert (tmp_path / "out").read_bytes() == b"before\none\nafter\n"


def test_a_failure_is_bland_for_the_sender() -> None:
    outcome = deliver(transport(Desk(), rules("/bin/sh -c 'echo secret; exit 1'")), BODY)
    assert isinstance(outcome, Failed)
    assert outcome.reason == 'Child process of p transport returned 1 from command: /bin/sh'
    assert (outcome.told, outcome.output) == ("local delivery failed", "")


@pytest.mark.parametrize("status", [0, 1, 75])
def test_output_goes_to_the_sender(status: int) -> None:
    command = f"/bin/sh -c 'echo hello; exit {status}'"
    always = deliver(transport(Desk(), rules(command, return_output=True)), BODY)
    assert isinstance(always, Failed)
    assert always.output == "hello\n"
    assert status or always.reason == "return message generated"
    on_failure = deliver(transport(Desk(), rules(command, return_fail_output=True)), BODY)
    assert type(on_failure) is {0: Delivered, 1: Failed, 75: Deferred}[status]
    if isinstance(on_failure, Failed):
        assert on_failure.output == "hello\n"
    silent = deliver(transport(Desk(), rules("/bin/true", return_output=True)), BODY)
    assert isinstance(silent, Delivered)
    answered = deliver(transport(Desk(), rules(command, return_output=True)), BODY, message=make_message(sender=""))
    assert type(answered) is {0: Delivered, 1: Failed, 75: Deferred}[status]


@pytest.mark.parametrize(
    "option, logged",
    [("log_output", (0, 1, 75)), ("log_fail_output", (1,)), ("log_defer_output", (75,))],
)
def test_output_is_logged(option: str, logged: tuple[int, ...]) -> None:
    for status in (0, 1, 75):
        desk = Desk()
        command = f"/bin/sh -c 'echo one; echo two; exit {status}'"
        deliver(transport(desk, rules(command, **{option: True})), BODY)
        notes = [each.text for each in desk.notebook.of(MessageNote)]
        assert notes == (["<bert@far.test>: p transport output: one"] if status in logged else [])


def test_the_sender_in_batched_smtp(tmp_path: Path) -> None:
    common = LocalRules(name="p", text=MessageRules(use_bsmtp=True), return_path=compile_expansion("x@y.test"))
    given = replace(rules(f"/bin/sh -c 'cat > {tmp_path}/out'"), common=common)
    deliver(transport(Desk(), given), b".\r\n", message=make_message("a@x.test", "b@x.test", body=b".\r\n"))
    lines = (tmp_path / "out").read_bytes().split(b"\n")
    assert lines[:4] == [b"MAIL FROM:<x@y.test>", b"RCPT TO:<a@x.test>", b"RCPT TO:<b@x.test>", b"DATA"]
    assert lines[-3:] == [b"..", b".", b""]
