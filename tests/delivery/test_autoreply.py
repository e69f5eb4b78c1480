"""The autoreply transport: what a reply is made of, who gets one, and what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from delivery.local_post import Desk, addresses
from delivery.post import BODY, NOW, Notebook, Pieces, StoppedClock, make_message, run
from relay.delivery.autoreply import Autoreply, AutoreplyRules, NoRecipients, ReplyRefused
from relay.delivery.header_edits import HeaderEdits
from relay.delivery.jobs import Identity, NotDelivered, Report, Verdict
from relay.delivery.local import Errand, LocalRules, MessageRules
from relay.expand.evaluate import compile_expansion
from relay.expand.list_items import ListKind
from relay.expand.lists import compile_list
from relay.expand.values import Tainted

USER = Identity(4242, 4242)
WHOLE = MessageRules()


class Office:
    """Whoever takes replies, and the transport that writes them."""

    def __init__(self, *, own: int = 4711, text: MessageRules = WHOLE, add: bool = False, **options: Any) -> None:
        texts = {name: compile_expansion(text) for name, text in options.pop("texts", {}).items()}
        texts.setdefault("to", compile_expansion("$sender_address"))
        edits = HeaderEdits(return_path_add=add)
        rules = AutoreplyRules(common=LocalRules(name="t", text=text, header=edits), texts=texts, **options)
        self.sent: list[tuple[str, str, Identity]] = []
        self.refusal: Exception | None = None
        self.clock = StoppedClock()
        self.driver = Autoreply(rules, self, Desk().calls, self.clock, Notebook(), Identity(own, own))

    async def send(self, text: bytes, about: str, identity: Identity) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append((text.decode(), about, identity))

    def answer(self, message: Any = None, **scope: Any) -> Report:
        message = make_message() if message is None else message
        local = addresses(message)
        errand = Errand(
            addresses=local,
            message=message,
            scope=local[0].scope.child(**scope),
            identity=USER,
            return_path=message.sender,
            home="",
            body=Pieces(BODY),
        )
        made = run(self.driver.job(errand, 0))
        assert isinstance(made, Report)
        return made

    @property
    def reply(self) -> str:
        ((text, _, _),) = self.sent
        return text


class Files:
    """What the transport's `file` may name."""

    async def status(self, path: str) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    async def contents(self, path: str, limit: int) -> bytes:
        if path != "/text":
            raise FileNotFoundError(2, "No such file or directory")
        return b"To ${uc:you}\nand ${bad\n"


def test_the_reply() -> None:
    texts = {
        "subject": "Re: $h_subject:",
        "from": "a@b.test",
        "reply_to": "c@d.test",
        "headers": "X-A: b\n",
        "text": "hi",
    }
    office = Office(texts=texts)
    assert office.answer().verdict is Verdict.DELIVERED
    text, about, identity = office.sent[0]
    assert text.splitlines() == [
        "From: a@b.test",
        "Reply-To: c@d.test",
        "To: anna@laptop.test",
        "Subject: Re: hello",
        "In-Reply-To: <one@laptop.test>",
        "References: <one@laptop.test>",
        "Auto-Submitted: auto-replied",
        "X-A: b",
        "",
        "hi",
    ]
    assert (about, identity) == (make_message().message_id, USER)


@pytest.mark.parametrize("expand, expected", [(False, "To ${uc:you}\nand ${bad\n"), (True, "To YOU\nand ${bad\n")])
def test_the_text_of_a_file(expand: bool, expected: str) -> None:
    office = Office(texts={"file": "/text"}, file_expand=expand)
    office.answer(file_system=Files())
    assert office.reply.endswith(f"\n\n{expected}")


def test_a_file_that_is_missing() -> None:
    with pytest.raises(
        NotDelivered, match="Failed to open file /missing when sending message from t transport: No such"
    ):
        Office(texts={"file": "/missing"}).answer(file_system=Files())
    office = Office(texts={"file": "/missing", "text": "x"}, file_optional=True)
    office.answer(file_system=Files())
    assert office.reply.endswith("\n\nx\n")


@pytest.mark.parametrize("option", ["file", "once", "log"])
def test_no_file_is_named_from_outside(option: str) -> None:
    office = Office(texts={option: "/x/$acl_m_x"})
    try:
        office.answer(acl_variables={"acl_m_x": Tainted("evil")}, file_system=Files())
    except NotDelivered as error:
        assert "not permitted" in str(error)  # noqa: PT017 - the log alone is done without
    else:
        assert option == "log"


@pytest.mark.parametrize("subject", ["a\nX-Forged: b", "a\nb", "a\r", "\x07"])
def test_an_option_makes_no_further_field(subject: str) -> None:
    office = Office(texts={"subject": subject})
    with pytest.raises(NotDelivered, match="contains non-printing character") as caught:
        office.answer()
    assert caught.value.report.verdict is Verdict.FAILED
    assert not office.sent


def test_a_field_may_be_folded() -> None:
    office = Office(texts={"subject": "a\n b"})
    office.answer()
    assert "\nSubject: a\n b\n" in office.reply


def test_who_is_never_written_to() -> None:
    never = compile_list(ListKind.ADDRESS, "anna@laptop.test : x@y.test")
    office = Office(never_mail=never, texts={"cc": "Carl <carl@c.test>, x@y.test"})
    office.answer()
    assert "To: " not in office.reply.replace("In-Reply-To: ", "")
    assert "Cc: carl@c.test\n" in office.reply
    office = Office(never_mail=never)
    assert office.answer().verdict is Verdict.DELIVERED
    assert not office.sent


def test_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    office = Office(texts={"once": str(tmp_path / "once"), "once_repeat": "1h", "log": str(log), "subject": "s"})
    for passed in (0.0, 1800.0, 7200.0):
        office.clock.time = NOW + passed
        assert office.answer().verdict is Verdict.DELIVERED
    assert len(office.sent) == 2
    entries = [line for line in log.read_text().splitlines() if line.startswith(" ")]
    told = ["  To: anna@laptop.test", "  Subject: s"]
    assert entries == [*told, "  previously sent to anna@laptop.test", *told]


def test_a_reply_that_failed_is_not_sent_again(tmp_path: Path) -> None:
    office = Office(texts={"once": str(tmp_path / "once")})
    office.refusal = ReplyRefused("the disk is full")
    with pytest.raises(NotDelivered, match=r"Failed to send message from t transport \(the disk is full\)"):
        office.answer()
    office.refusal = None
    office.answer()
    assert not office.sent


def test_nobody_to_write_to_is_no_failure() -> None:
    office = Office()
    office.refusal = NoRecipients("no recipients")
    assert office.answer().verdict is Verdict.DELIVERED


def test_root_opens_no_files(tmp_path: Path) -> None:
    with pytest.raises(NotDelivered, match='no "once" file is opened as root'):
        Office(own=0, texts={"once": str(tmp_path / "once")}).answer()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, expected",
    [
        (WHOLE, "including all the headers.\n\nReturn-path: <anna@laptop.test>\nReceived: "),
        (MessageRules(headers_only=True), "message's header lines.\n\nReturn-path: <anna@laptop.test>\nReceived: "),
        (MessageRules(body_only=True), "body of the message, without the headers.\n\none\ntwo\n"),
    ],
)
def test_the_message_comes_back(text: MessageRules, expected: str) -> None:
    office = Office(return_message=True, add=True, text=text)
    office.answer()
    assert expected in office.reply
    assert ("\none\ntwo\n" in office.reply) is not text.headers_only


def test_a_long_body_is_cut() -> None:
    office = Office(return_message=True, return_size_limit=3)
    office.answer(make_message(body=b"x" * 9000))
    assert "is 9000 characters long; only the first\n------ 8000 or so" in office.reply
    assert office.reply.endswith("\n\none")


def test_a_time_that_is_none(tmp_path: Path) -> None:
    texts = {"once": str(tmp_path / "once"), "once_repeat": "soon"}
    with pytest.raises(NotDelivered, match='Invalid time value "soon" for "once_repeat" in t transport'):
        Office(texts=texts).answer()
