"""What all local deliveries have in common: user, directories, return path, size, batches, batched SMTP."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, field, replace

import pytest

from delivery.local_post import OWN, Desk, addresses, deliver
from delivery.post import HEADER, Pieces, make_message, run
from relay.delivery.carrying import Content, Naming
from relay.delivery.command_line import compile_command
from relay.delivery.filtering import FilterFailed, FilterRules
from relay.delivery.header_edits import HeaderEdits
from relay.delivery.jobs import Append, Filter, FilterEnd, Identity, Job, NewFile, Report, Verdict
from relay.delivery.local import Errand, LocalDelivery, LocalRules, MessageRules, bland
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import AddressView
from relay.mail.address import Address
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome

BODY = b".one\r\n"
NOBODY = pwd.getpwnam("nobody")
OTHER = Identity(4242, 4343)


@dataclass
class Noting:
    """A driver that makes a job of its own and keeps the errand."""

    job_made: Job = field(default_factory=lambda: Append(transport="t", path="/x"))
    errands: list[Errand] = field(default_factory=list)

    async def job(self, errand: Errand, number: int) -> tuple[Job, Naming | None] | Report:
        self.errands.append(errand)
        return self.job_made, None

    def outcome(self, report: Report, errand: Errand) -> Outcome:
        return report.outcome()

    def logs_output(self, report: Report) -> bool:
        return False

    def filter_failed(self, end: FilterEnd, job: Job) -> Report:
        return Report(Verdict.DEFERRED, end.text(), ErrorClass.FILTER)


@dataclass
class Carrying:
    """A carrier that keeps what it was given."""

    jobs: list[tuple[Job, Identity]] = field(default_factory=list)
    octets: bytes = b""

    async def carry(self, job: Job, identity: Identity, content: Content, naming: Naming | None) -> Report:
        self.jobs.append((job, identity))
        while not content.is_ended:
            self.octets += await content.batch()
        return Report(Verdict.DELIVERED, "there")


class Delivering:
    """One transport with a driver and carriers that only take notes."""

    def __init__(self, desk: Desk | None = None, job: Job | None = None, **options: object) -> None:
        self.driver = Noting() if job is None else Noting(job)
        self.threads, self.courier = Carrying(), Carrying()
        given = {name: compile_expansion(value) if isinstance(value, str) else value for name, value in options.items()}
        rules = LocalRules(name="t", **given)  # type: ignore[arg-type]
        ports = (desk or Desk()).ports(threads=self.threads, courier=self.courier)
        self.transport = LocalDelivery(rules, self.driver, ports)

    def __call__(self, *recipients: str, **found: object) -> Outcome:
        return deliver(self.transport, BODY, message=make_message(*recipients, body=BODY), **found)

    @property
    def errand(self) -> Errand:
        return self.driver.errands[-1]


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Deferred)
    return outcome.reason


# As whom


def test_nobody_in_particular_is_the_daemons_own_user() -> None:
    there = Delivering(Desk(own=OTHER))
    there()
    assert there.courier.jobs[0][1] == OTHER


def test_a_user_by_name() -> None:
    there = Delivering(user="nobody", current_directory="/tmp")
    there()
    assert there.courier.jobs[0][1] == Identity(NOBODY.pw_uid, NOBODY.pw_gid, (), "/tmp")


def test_what_a_router_found() -> None:
    there = Delivering()
    there(user=5, group=6, home_directory="/home/bert")
    assert there.errand.identity == Identity(5, 6, (), "/home/bert")
    assert there.errand.home == "/home/bert"


def test_a_daemon_that_is_not_root_becomes_nobody_else() -> None:
    there = Delivering(Desk(own=OTHER, may_become_others=False), user="nobody")
    assert "start it as root" in reason(there())
    assert there.driver.errands == []
    own = Delivering(Desk(own=OTHER, may_become_others=False), user="4242", group="4343")
    assert isinstance(own(), Delivered)


def test_a_tainted_user_is_refused() -> None:
    for options in ({"user": "$local_part"}, {"user": " $local_part "}, {"user": "nobody", "group": "$domain"}):
        assert reason(Delivering(**options)("nobody@far.test")).startswith("Tainted ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could deliver as root")
def test_root_is_refused_where_it_is_asked_for() -> None:
    assert "never_users" in reason(Delivering(user="root")())
    assert isinstance(Delivering(Desk(own=OWN))(), Delivered)


def test_files_of_their_own_go_through_a_thread() -> None:
    job = NewFile(transport="t", directory="/x", temporary="tmp/x", final="new/x")
    there = Delivering(job=job)
    there()
    assert (len(there.threads.jobs), len(there.courier.jobs)) == (1, 0)
    other = Delivering(job=job, user="nobody")
    other()
    assert (len(other.threads.jobs), len(other.courier.jobs)) == (0, 1)


# Where


@pytest.mark.parametrize("option", ["home_directory", "current_directory"])
def test_directories_are_absolute_and_ours(option: str) -> None:
    assert "is not absolute for t transport" in reason(Delivering(**{option: "x"})())
    assert reason(Delivering(**{option: "/x/$local_part"})()).startswith("Tainted ")


def test_home_is_a_variable() -> None:
    there = Delivering(home_directory="/home/x", current_directory="$home/y")
    there()
    assert there.errand.identity.directory == "/home/x/y"


# What


def test_the_return_path() -> None:
    there = Delivering(return_path="x-$sender_address_local_part@y.test", header=HeaderEdits(return_path_add=True))
    made = there()
    assert isinstance(made, Delivered)
    assert made.return_path == Address("x-anna", "y.test")
    assert there.errand.return_path == Address("x-anna", "y.test")
    assert there.courier.octets.startswith(b"Return-path: <x-anna@y.test>\n")
    routed = Delivering(header=HeaderEdits(return_path_add=True))
    routed(return_path=Address("errors", "z.test"))
    assert routed.courier.octets.startswith(b"Return-path: <errors@z.test>\n")
    assert routed.errand.scope.more["return_path"] == "errors@z.test"
    forced = Delivering(return_path="${if eq{1}{2}{x}fail}")
    forced()
    assert forced.errand.return_path == Address("anna", "laptop.test")


def test_routers_change_the_header() -> None:
    there = Delivering()
    there(headers_add=("X-R: 1",), headers_remove=("subject",))
    assert b"X-R: 1\n\n.one\n" in there.courier.octets
    assert b"Subject" not in there.courier.octets


def test_the_envelope_names_the_recipient_that_a_redirection_began_with() -> None:
    there = Delivering(header=HeaderEdits(envelope_to_add=True))
    message = make_message("child@far.test", body=BODY)
    (address,) = addresses(message)
    address = replace(address, original=Address("List", "top.test"))
    run(there.transport.deliver((address,), message, Pieces(BODY)))
    assert there.courier.octets.startswith(b"Envelope-to: List@top.test\n")


def test_the_envelope_names_all_recipients_that_lead_to_a_mailbox() -> None:
    there = Delivering(header=HeaderEdits(envelope_to_add=True))
    there(further=(Address("second", "top.test"),))
    assert there.courier.octets.startswith(b"Envelope-to: second@top.test,\n bert@far.test\n")


def test_header_changes_that_fail_defer() -> None:
    edits = HeaderEdits(headers_add=(compile_expansion("X: ${if >{x}{1}{a}}"),))
    assert "failed to expand headers_add or headers_remove" in reason(Delivering(header=edits)())


def test_parts_of_the_message() -> None:
    body = Delivering(text=MessageRules(body_only=True))
    body()
    assert body.courier.octets == b".one\n"
    header = Delivering(text=MessageRules(headers_only=True))
    header()
    assert header.courier.octets == HEADER.replace(b"\r\n", b"\n") + b"\n"


def test_how_much_was_written() -> None:
    there = Delivering(text=MessageRules(prefix=compile_expansion("before\n"), suffix=compile_expansion("behind\n")))
    outcome = there()
    assert isinstance(outcome, Delivered)
    assert outcome.size == len(there.courier.octets) > len(BODY)


def test_batched_smtp() -> None:
    there = Delivering(
        batch_max=10, text=MessageRules(use_bsmtp=True, use_crlf=True, prefix=compile_expansion("EHLO x\r\n"))
    )
    there("a@x.test", "b@y.test")
    start = b"EHLO x\r\nMAIL FROM:<anna@laptop.test>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n"
    assert there.courier.octets == start + HEADER + b"\r\n..one\r\n.\r\n"


@pytest.mark.parametrize("include, shown", [(False, b"RCPT TO:<bert@far.test>"), (True, b"RCPT TO:<x-bert@far.test>")])
def test_affixes_in_batched_smtp(include: bool, shown: bytes) -> None:
    there = Delivering(text=MessageRules(use_bsmtp=True), rcpt_include_affixes=include)
    message = make_message("x-bert@far.test", body=BODY)
    (address,) = addresses(message)
    view = AddressView(local_part="bert", domain="far.test", prefix="x-")
    address = replace(address, scope=address.scope.child(address=view))
    run(there.transport.deliver((address,), message, Pieces(BODY)))
    assert shown in there.courier.octets


def test_a_limit_on_the_size() -> None:
    assert Delivering(message_size_limit="20")() == Failed("message is too big (transport limit = 20)")
    assert isinstance(Delivering(message_size_limit="1K")(), Delivered)
    assert isinstance(Delivering(message_size_limit="0")(), Delivered)
    assert "message_size_limit" in reason(Delivering(message_size_limit="big")())


# Batches


def keys(there: Delivering, *recipients: str, **found: object) -> list[str | None]:
    return [run(there.transport.batch_key(each)) for each in addresses(make_message(*recipients), **found)]


def test_recipients_that_nothing_tells_apart_go_together() -> None:
    one, other = keys(Delivering(batch_max=5), "a@x.test", "b@y.test")
    assert one == other


@pytest.mark.parametrize("names", [{"local_part"}, {"domain"}, {"local_part_data"}, {"domain_data"}])
def test_an_option_tells_them_apart(names: set[str]) -> None:
    one, other = keys(Delivering(batch_max=5, names_used=frozenset(names)), "a@x.test", "b@y.test")
    assert one != other


def test_a_batch_id() -> None:
    there = Delivering(batch_max=5, batch_id="${lc:$domain}")
    one, same, other = keys(there, "a@x.test", "b@X.test", "c@y.test")
    assert one == same != other
    assert keys(Delivering(batch_id="${if >{x}{1}{a}}"), "a@x.test") == [None]


def test_what_routers_found_tells_them_apart() -> None:
    there = Delivering(batch_max=5)
    (plain,) = keys(there, "a@x.test")
    for found in ({"user": 5}, {"headers_add": ("X: 1",)}, {"return_path": Address("e", "x.test")}, {"file": "/x"}):
        assert keys(there, "a@x.test", **found) != [plain]
    one, other = keys(there, "a@x.test", "b@x.test", file="/x")
    assert one != other


def test_a_bland_failure() -> None:
    assert bland(Failed("exit 3"), "out") == Failed("exit 3", told="local delivery failed", output="out")
    assert bland(Delivered("x")) == Delivered("x")


# Filters


@dataclass
class Filtering:
    """Instead of filters: each line of the output begins with what was to be run."""

    end: FilterEnd = field(default_factory=FilterEnd)
    identity: Identity | None = None
    output: bytes = b""
    closed: int = 0

    async def filtered(self, job: Filter, identity: Identity, content: Content) -> Filtering:
        self.identity = identity
        while not content.is_ended:
            self.output += await content.batch()
        if not self.end.is_good:
            raise FilterFailed(self.end)
        self.output = " ".join(job.arguments).encode() + b"\n" + self.output
        return self

    async def piece(self, number: int) -> bytes:
        return b"" if number else self.output

    def close(self) -> None:
        self.closed += 1


def with_filter(filters: Filtering, command: str, **options: object) -> Delivering:
    there = Delivering(filter=FilterRules(compile_command(command)), **options)
    ports = Desk().ports(threads=there.threads, courier=there.courier, filters=filters)
    there.transport = LocalDelivery(there.transport._rules, there.driver, ports)
    return there


def test_a_filter_sees_the_message_and_not_what_stands_around_it() -> None:
    filters = Filtering()
    text = MessageRules(prefix=compile_expansion("From x\n"), check_string=".", escape_string="..", use_crlf=True)
    there = with_filter(filters, "/bin/f $home $pipe_addresses", text=text, home_directory="/h")
    assert isinstance(there("bert@far.test"), Delivered)
    assert filters.output == b"/bin/f /h bert@far.test\n" + HEADER.replace(b"\r\n", b"\n") + b"\n.one\n"
    written = b"From x\n" + filters.output.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")
    assert there.courier.octets == written
    assert (filters.closed, filters.identity) == (1, there.errand.identity)


def test_a_filter_that_fails_delivers_nothing() -> None:
    there = with_filter(Filtering(FilterEnd(status=127)), "/bin/f")
    outcome = there("bert@far.test")
    assert isinstance(outcome, Deferred)
    assert (outcome.error, there.courier.jobs) == (ErrorClass.FILTER, [])
    assert outcome.reason == "transport filter process failed (127): unable to execute command"
    assert reason(with_filter(Filtering(), "/bin/f $local_part")("bert@far.test")).startswith("Tainted ")
