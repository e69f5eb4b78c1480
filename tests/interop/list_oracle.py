"""What the real Exim says of lists, and what ours says of the same.

A session for each client answers all questions of its own: `exim -bh`, or `exim -bs`, which can be told a client's name
or that there is none. HELO names the question and so its
ACL; MAIL and RCPT carry the subject; the reply to RCPT shows the answer, with what the list's item found.
"""

import contextlib
import subprocess
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relay.daemon.addresses import local_addresses
from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import HostSubject, ListKind, ListMatch, NamedLists, compile_list
from relay.expand.scope import AddressView, MessageView, Scope
from relay.expand.values import Tainted, octets
from relay.mail.address import NULL_SENDER, Address
from relay.mail.facts import Endpoint, SessionFacts
from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.net.lookups import FileLookups, ListFiles, at_once

from interop import exim, oracle, peers
from interop.list_corpus import HOST_NAME, NAMED_LISTS, Question, write_files

DIED = "Exim has died of it"
NO, DEFERRED = "no", "deferred"
_CLIENT, _SENDER, _RECIPIENT = "203.0.113.9", "someone@nowhere.test", "someone@nowhere.test"
# ACL condition, and what shows the data; only domains and local parts set $0 and on.
_CONDITIONS = {
    ListKind.DOMAIN: ("domains", "[$domain_data] <$0|$1|$2>"),
    ListKind.LOCAL_PART: ("local_parts", "[$local_part_data] <$0|$1|$2>"),
    ListKind.ADDRESS: ("senders", "[$sender_data]"),
    ListKind.HOST: ("hosts", "[$host_data]"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A question to which the two answers differ."""

    question: Question
    theirs: str
    ours: str

    def __str__(self) -> str:
        return f"{self.question}\n    Exim: {self.theirs}\n    ours: {self.ours}"


def differences(asked: Sequence[Question]) -> list[Difference]:
    """Asks both. Where Exim ends its process, for there is nothing that it could say, ours has to defer."""
    with _files(asked) as directory:
        pairs = zip(asked, exim_answers(directory, asked), our_answers(directory, asked), strict=True)
        return [Difference(*each) for each in pairs if each[1] != each[2] and each[1:] != (DIED, DEFERRED)]


@contextlib.contextmanager
def _files(asked: Sequence[Question]) -> Iterator[Path]:
    with peers.directory("exim-lists") as directory:
        for name in ("spool", "log"):
            peers.make_directory(directory / name, exim.USER)
        write_files(directory)
        names = (f"{each.kind.value.replace(' ', '')}list {each.name} = {each.text}" for each in NAMED_LISTS)
        config = f"""
primary_hostname = {HOST_NAME}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
keep_environment =
host_lookup =
host_lookup_order = byaddr
rfc1413_hosts =
helo_allow_chars = _
smtp_accept_max_nonmail_hosts =
allow_domain_literals
tls_advertise_hosts =
acl_smtp_rcpt = ${{lookup{{$sender_helo_name}}lsearch{{DIR/questions}}}}
{chr(10).join(names)}
begin acl
""" + "\n".join(_acl(number, each) for number, each in enumerate(asked))
        (directory / "exim.conf").write_text(config.replace("DIR", str(directory)))
        (directory / "questions").write_text("".join(f"q{number}: q{number}\n" for number in range(len(asked))))
        yield directory


def _acl(number: int, question: Question) -> str:
    condition, shown = _CONDITIONS[question.kind]
    return f"q{number}:\n  accept {condition} = {question.text}\n    message = yes {shown}\n  deny message = {NO}\n"


# Exim


def exim_answers(directory: Path, asked: Sequence[Question]) -> list[str]:
    answers: dict[int, str] = {}
    clients: dict[tuple[str, ...], list[int]] = {}
    for number, question in enumerate(asked):
        clients.setdefault(_options(question), []).append(number)
    for client, numbers in clients.items():
        while numbers:
            found = _session(directory, client, [(number, asked[number]) for number in numbers])
            answers |= dict(zip(numbers, found, strict=False))
            numbers = numbers[len(found) :]
    return [answers[number] for number in range(len(asked))]


def _options(question: Question) -> tuple[str, ...]:
    """How Exim is told of the client."""
    client = question.subject if question.kind is ListKind.HOST else _CLIENT
    if not client:
        return ("-bs",)
    return ("-bs", "-oMa", client, "-oMs", question.name) if question.name else ("-bh", client)


def _session(directory: Path, client: tuple[str, ...], asked: Sequence[tuple[int, Question]]) -> list[str]:
    """The answers of one process, up to the question that it dies of, and at least one."""
    commands = "".join(
        f"HELO q{number}\r\nMAIL FROM:<{_sender(each)}>\r\nRCPT TO:<{_recipient(each)}>\r\n" for number, each in asked
    )
    done = subprocess.run(
        [peers.EXIM, "-C", directory / "exim.conf", *client],
        input=commands.encode(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    replies = _replies(done.stdout.decode())
    answers = []
    for place in range(3, len(replies), 3):  # behind the greeting: HELO, MAIL, RCPT
        if len(answers) == len(asked):
            break
        assert replies[place - 2][:3] == replies[place - 1][:3] == "250", replies[place - 3 : place + 1]
        answers.append(_answer(replies[place]))
    return answers if len(answers) == len(asked) else [*answers, DIED]


def _replies(dialog: str) -> list[str]:
    """One text for each: Exim folds a long one at a space, and how long one is depends on where the files are."""
    replies: list[str] = []
    goes_on = False
    for line in dialog.replace("\r", "").split("\n"):
        if line[:3].isdigit():
            if goes_on:
                replies[-1] += f" {line[4:]}"
            else:
                replies.append(f"{line[:3]} {line[4:]}")
            goes_on = line[3:4] == "-"
    return replies


def _answer(reply: str) -> str:
    match reply[:3]:
        case "250":
            return reply[4:]
        case "550":
            assert reply[4:] == NO, reply
            return NO
        case "451":
            return DEFERRED
        case "421":
            return DIED
    raise AssertionError(reply)


def _sender(question: Question) -> str:
    return question.subject if question.kind is ListKind.ADDRESS else _SENDER


def _recipient(question: Question) -> str:
    match question.kind:
        case ListKind.DOMAIN:
            return f"someone@{question.subject}"
        case ListKind.LOCAL_PART:
            return f"{question.subject}@nowhere.test"
    return _RECIPIENT


# Ours


def lookup_differences(expressions: Sequence[str]) -> list[oracle.Difference]:
    """Asks both for expressions with lookups; gives what differs, failures with other words included."""
    with _files([]) as directory:
        (directory / "message").write_text("Subject: none\n\n")
        written = [each.replace("DIR", str(directory)) for each in expressions]
        theirs = oracle.exim_answers(directory, written)
        scope = _scope(directory)
        found = []
        for expression, one in zip(written, theirs, strict=True):
            try:
                other = octets(_run(compile_expansion(expression).text(scope)))
            except (ExpansionError, ExpansionFailed, TemporaryFailure) as error:
                other = oracle.FAILED + octets(str(error))
            if one != other:
                found.append(oracle.Difference(expression.replace(str(directory), "DIR"), one, other))
        return found


class _Clock:
    def now(self) -> float:
        return 0.0


class _Names:
    """What the hosts file says of the loopback addresses; no other host has a name."""

    async def addresses(self, name: str) -> tuple[str, ...]:
        if name.lower() != "localhost":
            raise HostNotFound(name)
        return ("127.0.0.1",)

    async def names(self, address: str) -> tuple[str, ...]:
        if address != "127.0.0.1":
            raise HostNotFound(address)
        return ("localhost",)


def _scope(directory: Path) -> Scope:
    named = NamedLists.of(*(replace(each, text=each.text.replace("DIR", str(directory))) for each in NAMED_LISTS))
    return Scope(
        main={"primary_hostname": HOST_NAME},
        lookups=FileLookups(at_once, _Clock()),
        files=ListFiles(at_once, _Clock()),
        resolver=_Names(),
        local_addresses=local_addresses(),
        named_lists=named,
    )


def our_answers(directory: Path, asked: Sequence[Question]) -> list[str]:
    scope = _scope(directory)
    return [_our_answer(directory, each, scope) for each in asked]


def _our_answer(directory: Path, question: Question, scope: Scope) -> str:
    client = question.subject if question.kind is ListKind.HOST else _CLIENT
    sender, recipient = _sender(question), _recipient(question)
    local_part, _, domain = recipient.replace('"', "").lower().rpartition("@")  # as $local_part and $domain are
    scope = scope.child(
        session=SessionFacts(peer=Endpoint(client, 4711) if client else None, peer_host=question.name),
        message=MessageView(sender=Address(*sender.rsplit("@", 1)) if sender else NULL_SENDER),
        address=AddressView(local_part, domain),
    )
    subject: str | HostSubject = Tainted(question.subject.replace('"', ""))
    if question.kind is ListKind.HOST:
        subject = HostSubject(client)
    elif question.kind is ListKind.DOMAIN:
        subject = Tainted(domain)
    try:
        compiled = compile_list(question.kind, question.text.replace("DIR", str(directory)))
        answer = _run(compiled.decide(subject, scope))
    except (TemporaryFailure, ExpansionError):
        return DEFERRED
    if not isinstance(answer, ListMatch):
        return NO
    shown = f"yes [{answer.data or ''}]"
    if question.kind in (ListKind.DOMAIN, ListKind.LOCAL_PART):
        captures = (*answer.captures, "", "", "")[:3]
        shown += f" <{'|'.join(captures)}>"
    return shown


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Nothing here has anything to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("the coroutine waits for something")
