"""Batched SMTP: what becomes of a batch, and where each mistake is."""

import io
from collections.abc import Coroutine
from typing import IO, Any

import pytest

from relay.daemon.batch import Batch, BatchFault
from relay.esmtp.server import ServerSettings
from relay.mail.address import Address
from relay.mail.events import DataCut

GOOD = "mail from:<a@b.test>\nrcpt to:<c@d.test>\nrcpt to:<e@f.test>\ndata\nSubject: x\n\n..dot\n.\n"


class Post:
    """Takes messages, and refuses those that say so."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, tuple[str, ...], bytes]] = []

    async def __call__(self, sender: Address, recipients: tuple[Address, ...], message: IO[bytes]) -> str:
        message.seek(0)
        text = message.read()
        if b"refuse" in text:
            return "550 not this one"
        self.taken.append((str(sender), tuple(map(str, recipients)), text))
        return ""


def finish(coroutine: Coroutine[Any, Any, BatchFault | None]) -> BatchFault | None:
    """Runs what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: BatchFault | None = done.value
        return result
    raise AssertionError("it waits")


def play(text: str) -> tuple[Post, BatchFault | None]:
    post = Post()
    return post, finish(Batch(post, ServerSettings()).take(io.BytesIO(text.encode())))


def test_each_transaction_is_a_message() -> None:
    post, fault = play("HELO x\n" + GOOD + GOOD.replace("a@b.test", "") + "QUIT\nrubbish\n")
    assert fault is None
    message = b"Subject: x\r\n\r\n.dot\r\n"
    assert post.taken == [
        ("a@b.test", ("c@d.test", "e@f.test"), message),
        ("", ("c@d.test", "e@f.test"), message),
    ]


@pytest.mark.parametrize("command", ["VRFY x", "EXPN x", "HELP", "NOOP", "RSET", "EHLO again", "HELO", "EHLO ???"])
def test_commands_that_mean_nothing(command: str) -> None:
    post, fault = play(f"{command}\n{GOOD}" * 30)
    assert (fault, len(post.taken)) == (None, 30)


def test_a_greeting_forgets_what_was_begun() -> None:
    post, fault = play("mail from:<old@b.test>\nrcpt to:<old@d.test>\nEHLO x\n" + GOOD)
    assert fault is None
    assert [sender for sender, _, _ in post.taken] == ["a@b.test"]


def test_a_reply_does_not_repeat_the_command() -> None:
    _, fault = play("mail from:<a@b.test>x\n")
    assert fault is not None
    assert fault.text.startswith("501 ")
    assert "a@b.test>x:" not in fault.text


def test_addresses_need_no_brackets() -> None:
    post, fault = play(GOOD.replace("<", "").replace(">", ""))
    assert (fault, len(post.taken)) == (None, 1)


def test_an_empty_batch_is_a_good_one() -> None:
    assert play("")[1] is None
    assert play("mail from:<a@b.test>\n")[1] is None


@pytest.mark.parametrize(
    ("text", "reply", "command", "begun", "at", "status"),
    [
        ("rcpt to:<x@y>\n", "503", "rcpt to:<x@y>", 0, 1, 2),
        (GOOD + "mail from:<a@b.test>\nrcpt to:<c@d\n", "501", "rcpt to:<c@d", 8, 10, 1),
        (GOOD + "nonsense\n", "500", "nonsense", 8, 9, 1),
        ("helo x\n" + GOOD + GOOD[:-2], "421", "", 9, 17, 1),
        (GOOD.replace("dot", "refuse") + GOOD, "550", "", 0, 8, 2),
        ("mail from:<>\ndata\n", "503", "data", 0, 2, 2),
        ("starttls\n", "503", "starttls", 0, 1, 2),
    ],
)
def test_the_first_mistake_ends_it(text: str, reply: str, command: str, begun: int, at: int, status: int) -> None:
    _, fault = play(text)
    assert fault is not None
    assert fault.text.startswith(reply)
    assert (fault.command, fault.transaction_line, fault.error_line, fault.status) == (command, begun, at, status)


def test_what_programs_and_people_are_told() -> None:
    fault = BatchFault("501 wrong", "rcpt to:<c@d", 9, 10, 1)
    assert fault.for_programs() == "501 wrong\nTransaction started in line 9\nError detected in line 10\nrcpt to:<c@d\n"
    assert "1 previous message was successfully processed.\n" in fault.for_people()
    assert "   rcpt to:<c@d\n" in fault.for_people()


@pytest.mark.parametrize(
    ("data", "where", "line"),
    [
        ("Subject: x\n", "after header", 4),
        ("Subject: x", "header", 4),
        ("", "after header", 3),
        ("Subject: x\n\n", "", 6),
        ("Subject: x\n\ntext", "", 7),
    ],
)
def test_a_batch_that_breaks_off_in_a_message(data: str, where: str, line: int) -> None:
    batch = Batch(Post(), ServerSettings())
    text = f"mail from:<a@b.test>\nrcpt to:<c@d.test>\ndata\n{data}"
    fault = finish(batch.take(io.BytesIO(text.encode())))
    assert batch.cut == DataCut(where)
    assert fault is not None
    assert (fault.text, fault.error_line) == ("421 Lost incoming connection", line)
