"""What the real Exim answers to expressions of its language, and what ours answers to the same.

    with oracle.files() as directory:
        theirs = oracle.exim_answers(directory, expressions)
        ours = oracle.our_answers(directory, expressions)

One process of `exim -bem` answers them all, with a message at hand whose header fields both sides see. It reads an
expression a line; between two of them a line goes through that stands for itself, so that answers with line breaks
can be told apart. Expressions are single lines without white space around them and without a backslash at their end.
"""

import contextlib
import subprocess
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, NamedList, NamedLists
from relay.expand.scope import MessageView, Scope
from relay.expand.values import from_octets, octets
from relay.mail.header import split_header
from relay.mail.ports import TemporaryFailure
from relay.net.file_system import LocalFileSystem
from relay.net.lookups import at_once
from relay.trust import passwords

from interop import exim, peers

HOST_NAME = "relay.test"
NAMED_LISTS = (
    NamedList(ListKind.DOMAIN, "ours", "relay.test : *.relay.test"),
    NamedList(ListKind.DOMAIN, "nested", "!no.relay.test : +ours : other.test"),
    NamedList(ListKind.HOST, "near", "10.0.0.0/8 : 192.168.0.0/16"),
    NamedList(ListKind.ADDRESS, "people", "ann@relay.test : *@other.test"),
    NamedList(ListKind.LOCAL_PART, "roles", "postmaster : abuse"),
)
HEADER = (
    b"From: Ann Example <ann@relay.test>\r\n"
    b"To: bob@other.test, (a comment) Carol <carol@other.test>\r\n"
    b"Subject:  =?utf-8?Q?gr=C3=BC=C3=9Fe?= twice\r\n"
    b"X-Folded: one\r\n two\r\n"
    b"X-Twice: first\r\n"
    b"X-Twice: second\r\n"
    b"X-Empty:\r\n"
)
BODY = b"Text.\nSecond\0line\n"
KNOWN_FILE = b"first\nsecond\nand no end"
FAILED = b"Failed: "
DIED = b"Exim has died of it"


@dataclass(frozen=True, slots=True)
class Difference:
    """An expression to which the two answers differ."""

    expression: str
    theirs: bytes
    ours: bytes

    @property
    def is_of_messages(self) -> bool:
        """Both failed, and only say it in other words."""
        return self.theirs.startswith(FAILED) and self.ours.startswith(FAILED)

    def __str__(self) -> str:
        return f"{self.expression}\n    Exim: {self.theirs!r}\n    ours: {self.ours!r}"


def differences(expressions: Sequence[str]) -> list[Difference]:
    """Asks both; gives what differs, failures with other words included."""
    with files() as directory:
        ours = [our_answer(directory, expression) for expression in expressions]
        theirs = exim_answers(directory, expressions)
        pairs = enumerate(zip(theirs, ours, strict=True))
        for place in [place for place, (one, other) in pairs if one != other]:
            # An expression sees $0, $item and $value that an earlier, failed one has left; a new process has none.
            [theirs[place]] = exim_answers(directory, [expressions[place]])
    return [Difference(*each) for each in zip(expressions, theirs, ours, strict=True) if each[1] != each[2]]


# Exim


@contextlib.contextmanager
def files() -> Iterator[Path]:
    """A directory with Exim's configuration and the message."""
    with peers.directory("exim-oracle") as directory:
        for name in ("spool", "log"):
            peers.make_directory(directory / name, exim.USER)
        lists = "\n".join(f"{each.kind.value.replace(' ', '')}list {each.name} = {each.text}" for each in NAMED_LISTS)
        config = directory / "exim.conf"
        config.write_text(
            f"primary_hostname = {HOST_NAME}\nspool_directory = {directory}/spool\n"
            f"log_file_path = {directory}/log/%slog\nkeep_environment =\nheaders_charset = UTF-8\n{lists}\n"
        )
        (directory / "message").write_bytes(HEADER.replace(b"\r\n", b"\n") + b"\n" + BODY)
        (directory / "spool/known").write_bytes(KNOWN_FILE)
        yield directory


def exim_answers(directory: Path, expressions: Sequence[str]) -> list[bytes]:
    """The answers in the order of the expressions; where one ends Exim's process, `DIED`, and another one goes on."""
    for expression in expressions:
        assert expression == expression.strip(), expression
        assert "\n" not in expression, expression
        assert not expression.endswith("\\"), f"Exim would read on in the next line: {expression}"
    answers: list[bytes] = []
    while len(answers) < len(expressions):
        answers += _answers_of_one_process(directory, expressions[len(answers) :])
    return answers


def _answers_of_one_process(directory: Path, expressions: Sequence[str]) -> list[bytes]:
    asked = b"".join(octets(each) + b"\n" + _mark(number) + b"\n" for number, each in enumerate(expressions))
    done = subprocess.run(
        [peers.EXIM, "-C", directory / "exim.conf", "-bem", directory / "message"],
        input=asked,
        capture_output=True,
        timeout=300,
        check=False,
    )
    rest = done.stdout
    answers: list[bytes] = []
    for number, expression in enumerate(expressions):
        answer, mark, rest = rest.partition(b"\n> " + _mark(number) + b"\n")
        assert answer.startswith(b"> "), f"{expression!r}: {answer[:500]!r} {done.stderr[-500:]!r}"
        if not mark:
            return [*answers, DIED]
        answers.append(answer[2:])
    return answers


def _mark(number: int) -> bytes:
    return b"-- %d --" % number


# Ours


class _Passwords:
    """The port of `crypteq` without a thread."""

    async def matches(self, password: bytes, stored: str, scheme: str) -> bool:
        try:
            return passwords.matches(password, stored, scheme)
        except passwords.UnknownHash:
            return False


def _scope(directory: Path) -> Scope:
    fields, _ = split_header(HEADER)
    main = {"primary_hostname": HOST_NAME, "qualify_domain": HOST_NAME, "qualify_recipient": HOST_NAME}
    main |= {"spool_directory": f"{directory}/spool", "config_file": f"{directory}/exim.conf"}
    return Scope(
        main=main,
        now=time.time(),
        message=MessageView(
            header=fields,
            body_start=BODY,
            body_end=BODY,
            body_size=len(BODY),
            body_lines=BODY.count(b"\n"),
            body_zeros=BODY.count(b"\0"),
            longest_line=max(map(len, HEADER.split(b"\r\n"))),
        ),
        named_lists=NamedLists.of(*NAMED_LISTS),
        first_delivery=False,
        file_system=LocalFileSystem(at_once),
        may_read_files=True,
        passwords=_Passwords(),
    )


def our_answer(directory: Path, expression: str) -> bytes:
    """The value, or "Failed: " and why, as Exim prints it: up to an octet of zeros."""
    try:
        value = octets(_run(compile_expansion(from_octets(octets(expression))).text(_scope(directory))))
        return value.partition(b"\0")[0]
    except (ExpansionError, ExpansionFailed, TemporaryFailure) as error:
        return FAILED + octets(str(error))


def _run(coroutine: Coroutine[Any, Any, str]) -> str:
    """Nothing here has anything to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return str(stop.value)
    coroutine.close()
    raise AssertionError("the coroutine waits for something")
