"""The lmtp transport: the job that its options make, and an outcome for each recipient."""

from __future__ import annotations

from pathlib import Path

import pytest

from delivery.lmtp_box import GREETING, OFFERS, OK, Box
from delivery.local_post import Desk, addresses
from delivery.post import Pieces, make_message, run
from relay.delivery.command_line import compile_command
from relay.delivery.jobs import Identity, LMTPJob, NotDelivered
from relay.delivery.lmtp import LMTP, LMTPRules
from relay.delivery.local import Errand, LocalRules, MessageRules
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import AddressView
from relay.expand.values import Tainted
from relay.mail.outcome import Deferred, Delivered, Dialog, Failed

BODY = b"one\r\n.two\r\n"


def rules(*, command: str = "", socket: str = "", timeout: int = 5, ignore_quota: bool = False) -> LMTPRules:
    return LMTPRules(
        common=LocalRules(name="l", text=MessageRules(use_crlf=True), batch_max=10),
        command=compile_command(command) if command else None,
        socket=compile_expansion(socket) if socket else None,
        timeout=timeout,
        ignore_quota=ignore_quota,
    )


def made(rules: LMTPRules, *recipients: str, uid: int = 4242) -> LMTPJob:
    message = make_message(*(recipients or ("bert@far.test",)))
    local = addresses(message)
    errand = Errand(
        addresses=local,
        message=message,
        scope=local[0].scope.child(address=AddressView(local_part=Tainted("/evil"), domain="far.test")),
        identity=Identity(uid, uid),
        return_path=message.sender,
        home="",
    )
    job = run(LMTP(rules, Desk().calls, "relay.test").job(errand, 0))
    assert isinstance(job, tuple)
    assert isinstance(job[0], LMTPJob)
    return job[0]


def test_a_socket() -> None:
    job = made(rules(socket="/run/${uc:x}", ignore_quota=True), "a@far.test", "b@far.test")
    assert (job.socket, job.hostname, job.sender) == ("/run/X", "relay.test", "anna@laptop.test")
    assert (job.recipients, job.timeout, job.ignore_quota) == (("a@far.test", "b@far.test"), 5, True)
    assert job.arguments == ()


def test_a_command() -> None:
    job = made(rules(command="sh -c 'exit 0' ${uc:x}"))
    assert job.arguments[1:] == ("-c", "exit 0", "X")
    assert job.arguments[0].endswith("/sh")
    assert "DOMAIN=far.test" in job.environment


@pytest.mark.parametrize(
    "wrong, words",
    [
        (rules(socket="run/x"), "no absolute path"),
        (rules(socket="$local_part"), "Tainted '/evil'"),
        (rules(socket="${if eq{1}{2}{x}fail}"), "failed to expand"),
        (rules(socket="${if >{x}{1}{a}}"), "Expansion of"),
        (rules(command="/bin/$local_part"), "Tainted"),
        (rules(command="no-such-program-anywhere"), "command not found"),
    ],
)
def test_what_makes_no_job(wrong: LMTPRules, words: str) -> None:
    with pytest.raises(NotDelivered, match=words):
        made(wrong)


def test_no_command_as_root() -> None:
    with pytest.raises(NotDelivered, match="never_users"):
        made(rules(command="/bin/true"), uid=0)


def test_each_recipient_has_an_outcome(tmp_path: Path) -> None:
    answers = [
        GREETING, OFFERS, OK, OK, OK, b"550 who?\r\n", b"354 go on\r\n", b"250 in the box\r\n450 later\r\n",
        b"221 bye\r\n",
    ]  # fmt: skip
    box = Box(tmp_path / "box", answers)
    chosen = rules(socket=str(box.path))
    desk = Desk()
    delivery = desk.transport(chosen.common, LMTP(chosen, desk.calls, "relay.test"))
    message = make_message("a@far.test", "b@far.test", "c@far.test")
    outcomes = run(delivery.deliver(addresses(message), message, Pieces(BODY)))
    box.close()
    assert outcomes[0] == Delivered("250 in the box", dialog=Dialog())
    assert isinstance(outcomes[1], Deferred)
    said = "LMTP error after RCPT TO:<c@far.test>: 550 who?"
    assert outcomes[2] == Failed(said, told=said)
    assert box.heard[-4:] == [b"one", b"..two", b".", b"QUIT"]
