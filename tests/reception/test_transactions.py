"""MAIL, RCPT, DATA and the message's end, where they depend on options, parameters and on who the client is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from reception.test_greeting import OTHERS, US, client, local
from reception.test_session import ANY_RCPT, MESSAGE, NOW, Client, Machine
from relay.esmtp import questions as esmtp
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.notes import Notes
from relay.mail import events
from relay.mail.facts import Authentication
from relay.mail.header import split_header
from relay.mail.ports import TemporaryFailure
from relay.policy.acl_values import Where
from relay.reception.rules import ClientRules, EtrnRules, QueueRules, Slowing
from relay.reception.session import Session


@dataclass
class Naps:
    """A Concurrency that notes how long somebody had to wait."""

    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class Errands:
    """A Turns that notes what is asked for."""

    domains: list[str] = field(default_factory=list)
    commands: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    is_running: bool = False
    trouble: bool = False

    async def deliver(self, domain: str) -> None:
        self.domains.append(domain)

    async def run(self, words: tuple[str, ...], key: str) -> bool:
        if self.trouble:
            raise TemporaryFailure("no such program")
        self.commands.append((words, key))
        return not self.is_running


def with_ports(asking: Client, **ports: Any) -> Client:
    session = asking.session
    asking.session = Session(session._rules, replace(session._ports, **ports), session.facts, session._client.full_name)
    return asking


# Addresses without a domain


def test_who_may_leave_domains_out() -> None:
    rules = ClientRules(sender_unqualified_hosts=US, recipient_unqualified_hosts=US)
    asking = client(clients=rules)
    asking.hello()
    assert asking.mail("anna").reply.code == 250
    assert asking.rcpt("bert").reply.code == 250
    asking.data()
    assert str(asking.queued.sender) == "anna@relay.test"
    assert [str(each.address) for each in asking.queued.recipients] == ["bert@here.test"]
    other = client(clients=ClientRules(sender_unqualified_hosts=OTHERS))
    other.hello()
    assert other.mail("anna").reply.code == 501


@pytest.mark.parametrize(
    ("rules", "author", "readers"),
    [
        (ClientRules(), "anna", "bert"),
        (ClientRules(sender_unqualified_hosts=US), "anna@relay.test", "bert"),
        (ClientRules(recipient_unqualified_hosts=US), "anna", "bert@here.test"),
        (ClientRules(sender_unqualified_hosts=OTHERS, recipient_unqualified_hosts=OTHERS), "anna", "bert"),
    ],
)
def test_who_may_leave_them_out_may_do_so_in_the_header(rules: ClientRules, author: str, readers: str) -> None:
    asking = client({Where.DATA: "accept message = $h_from: to $h_to:"}, clients=rules)
    asking.hello()
    asking.mail()
    asking.rcpt()
    assert asking.data(b"From: anna\r\nTo: bert\r\n\r\n").reply.text == f"{author} to {readers}"


# Numbers


def test_more_recipients_than_there_may_be_are_put_off() -> None:
    asking = client({Where.RCPT: "deny local_parts = no\n accept"}, recipients_max=2)
    asking.hello()
    asking.mail()
    assert [asking.rcpt(f"{name}@far.test").reply.code for name in ("a", "no", "b", "c")] == [250, 550, 452, 452]
    assert asking.data().reply.code == 250
    assert len(asking.queued.recipients) == 1
    assert [each.what for each in asking.shelf.of(events.TooManyRecipients)] == ["excess temporarily rejected"]


def test_what_an_acl_sees_of_the_commands() -> None:
    seen = "message = $smtp_command/$smtp_command_argument/$smtp_command_history/$message_size"
    asking = client({Where.MAIL: f"deny senders = a@b.test\n {seen}\n accept", Where.RCPT: f"deny {seen}/$rcpt_count"})
    heard = asking.session.heard
    heard(esmtp.CommandRead("EHLO", "EHLO x"))
    heard(esmtp.CommandRead("", "NONSENSE x"))
    asking.hello()
    heard(esmtp.CommandRead("MAIL", "mail from: <a@b.test> SIZE=5"))
    shown = "mail from: <a@b.test> SIZE=5/<a@b.test> SIZE=5/EHLO,MAIL/5"
    assert asking.mail("a@b.test", SIZE="5").reply.text == shown
    asking.mail()
    heard(esmtp.CommandRead("RCPT", "RCPT TO:<broken"))
    heard(esmtp.CommandRead("RCPT", "RCPT TO:<b@c.test>"))
    assert asking.rcpt("b@c.test").reply.text == "RCPT TO:<b@c.test>/<b@c.test>/EHLO,MAIL,RCPT,RCPT/-1/2"


def test_no_acl_sees_what_is_said_behind_a_mechanism() -> None:
    asking = client({Where.AUTH: "deny message = <$smtp_command> <$smtp_command_argument>"})
    asking.session.heard(esmtp.CommandRead("AUTH", "AUTH PLAIN AGEAYg=="))
    assert asking.ask(esmtp.AuthAsked("PLAIN", "AGEAYg==")).reply.text == "<AUTH PLAIN> <PLAIN>"


def test_or_refuse_the_message() -> None:
    asking = client(recipients_max=1, recipients_max_reject=True)
    asking.hello()
    asking.mail()
    assert [asking.rcpt(f"{name}@far.test").reply.code for name in "ab"] == [250, 552]
    assert asking.code(esmtp.DataAsked()) == 554
    assert asking.code(esmtp.DataAsked(esmtp.Transfer.CHUNKS)) == 554


def test_clients_are_slowed_down() -> None:
    naps = Naps()
    slow = Slowing(1, 2.0, 3.0, 10.0)
    rules = ClientRules(ratelimit_hosts=US, ratelimit_mail=slow, ratelimit_rcpt=slow)
    asking = with_ports(client(clients=rules), concurrency=naps)
    asking.hello()
    for _ in range(2):
        asking.mail()
        for _ in range(3):
            asking.rcpt()
    assert naps.slept == [2.0, 6.0, 2.0, 2.0, 6.0]
    asking.mail()
    asking.mail()
    assert naps.slept[-2:] == [6.0, 10.0], "it grows up to its limit"


def test_others_are_not() -> None:
    slow = Slowing(0, 2.0, 3.0, 10.0)
    asking = client(clients=ClientRules(ratelimit_hosts=OTHERS, ratelimit_mail=slow, ratelimit_rcpt=slow))
    asking.hello()
    asking.mail()
    assert asking.rcpt().reply.code == 250


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"header_line_maxsize": 20}, 552),
        ({"header_line_maxsize": 200}, 250),
        ({"header_maxsize": 40}, 552),
        ({"header_maxsize": 400}, 250),
    ],
)
def test_headers_that_are_too_long(limits: dict[str, int], code: int) -> None:
    asking = client(**limits)
    asking.hello()
    assert asking.message().reply.code == code


def test_how_much_of_the_body_is_seen() -> None:
    acl = {**ANY_RCPT, Where.DATA: "accept message = $message_body / $message_body_end / $max_received_linelength"}
    asking = client(acl, message_body_visible=4)
    asking.hello()
    text = asking.message(b"Subject: x\r\n\r\nabcdefgh\r\n" + b"y" * 40 + b"\r\n").reply.text
    assert text == "abcd / yyy  / 40"


# Local callers


@pytest.mark.parametrize(
    ("trusted", "allowed", "given", "kept"),
    [
        (False, "", "other@far.test", "anna@relay.test"),
        (False, "", "", "anna@relay.test"),
        (False, "*@far.test", "other@far.test", "other@far.test"),
        (False, "*@far.test", "other@near.test", "anna@relay.test"),
        (True, "", "other@far.test", "other@far.test"),
        (True, "", "", ""),
    ],
)
def test_whom_a_local_caller_sends_as(trusted: bool, allowed: str, given: str, kept: str) -> None:
    senders = compile_list(ListKind.ADDRESS, allowed) if allowed else None
    asking = local(trusted=trusted, untrusted_set_sender=senders)
    asking.hello()
    assert asking.mail(given).reply.code == 250
    asking.rcpt("bert")
    asking.data()
    assert str(asking.queued.sender) == kept
    assert str(asking.queued.recipients[0].address) == "bert@here.test"


def header(asking: Client) -> dict[str, str]:
    fields, _ = split_header(asking.queued.header)
    return {each.name: each.value.decode().strip() for each in fields}


def test_a_local_message_is_completed() -> None:
    asking = local()
    asking.hello()
    asking.message(b"From: other@far.test\r\nSender: liar@far.test\r\n\r\nx\r\n")
    found = header(asking)
    assert found["Sender"] == "Anna Example <anna@relay.test>"
    assert {"Date", "Message-Id", "Received"} <= found.keys()


def test_a_message_of_the_network_is_not() -> None:
    asking = client()
    asking.hello()
    asking.message(b"Subject: x\r\n\r\nx\r\n")
    assert header(asking).keys() == {"Received", "Subject"}


@pytest.mark.parametrize(
    ("options", "sender", "field"),
    [
        ("", "anna@relay.test", "anna@relay.test"),
        ("/domain=sub.test", "anna@sub.test", "anna@sub.test"),
        ("/name=Anna B", "anna@relay.test", "Anna B <anna@relay.test>"),
        ("/sender_retain", "anna@laptop.test", None),
    ],
)
def test_a_submission_is_its_authors(options: str, sender: str, field: str | None) -> None:
    asking = client({Where.RCPT: f"accept control = submission{options}"})
    asking.session.facts = replace(asking.session.facts, authentication=Authentication("plain", "anna"))
    asking.hello()
    asking.message(b"From: other@far.test\r\n\r\nx\r\n")
    assert str(asking.queued.sender) == sender
    assert header(asking).get("Sender") == field
    assert {"Date", "Message-Id"} <= header(asking).keys()


# When it leaves


@pytest.mark.parametrize("routes_only", [False, True])
def test_the_first_attempt_may_only_route(routes_only: bool) -> None:
    asking = client(queueing=QueueRules(routes_only=routes_only))
    asking.hello()
    asking.message(MESSAGE, "a@elsewhere.example", "b@far.test")
    assert asking.queued.due is None
    assert asking.shelf.story[-1] == ("runner told to route" if routes_only else "runner told")


@pytest.mark.parametrize(
    ("control", "is_told"), [("queue/first_pass_route", True), ("queue", False), ("queue_only", False)]
)
def test_an_acl_may_leave_the_first_attempt_at_routing(control: str, is_told: bool) -> None:
    asking = Client({Where.RCPT: f"accept control = {control}"})
    asking.hello()
    asking.message(MESSAGE, "b@far.test")
    assert (asking.queued.due is None) is is_told
    assert ("runner told to route" in asking.shelf.story) is is_told
    (note,) = asking.shelf.of(events.MessageNote)
    assert note.text == events.QUEUED_BY_ACL


def test_a_file_may_leave_first_attempts_at_routing() -> None:
    asking = Client({Where.RCPT: "accept"}, capacity=Machine(routing=True))
    asking.hello()
    asking.message(MESSAGE, "b@far.test")
    assert asking.shelf.story[-1] == "runner told to route"


def test_after_so_many_messages_the_rest_is_only_queued() -> None:
    asking = client(queueing=QueueRules(per_connection=2))
    asking.hello()
    for _ in range(3):
        asking.message()
    assert [message.due is not None for message, _ in asking.shelf.accepted] == [False, False, True]
    (note,) = asking.shelf.of(events.MessageNote)
    assert note.text == "no immediate delivery: more than 2 messages received in one connection"


def test_a_message_is_held_until_it_is_released() -> None:
    asking = client()
    asking.hello()
    asking.mail(HOLDFOR="600")
    asking.rcpt()
    asking.data()
    assert asking.queued.due == NOW + 600
    assert "runner told" not in asking.shelf.story


@pytest.mark.parametrize(
    ("recipient", "subject", "kept"),
    [
        ("bert@far.test", b"plain", False),
        ("b\u00e9rt@far.test", b"plain", True),
        ("bert@far.test", "gr\u00fc\u00dfe".encode(), True),
    ],
)
def test_smtputf8_is_kept_where_something_needs_it(recipient: str, subject: bytes, kept: bool) -> None:
    asking = client()
    asking.hello()
    asking.mail(SMTPUTF8="", RET="HDRS")
    asking.rcpt(recipient)
    asking.data(b"Subject: " + subject + b"\r\n\r\nx\r\n")
    assert (asking.queued.parameters.get("SMTPUTF8") is not None) is kept
    assert asking.queued.parameters.get("RET") == "HDRS"


@pytest.mark.parametrize("is_tls", [False, True])
def test_the_protocol_of_a_message_with_smtputf8(is_tls: bool) -> None:
    seen = compile_expansion("by us with $received_protocol")
    asking = client({**ANY_RCPT, Where.MAIL: "accept message = $received_protocol"}, received_header=seen)
    if is_tls:
        asking.hello()
        asking.tls()
    asking.hello()
    usual = "esmtps" if is_tls else "esmtp"
    for parameters, protocol in (({"SMTPUTF8": ""}, f"utf8{usual}"), ({}, usual)):
        assert asking.mail(**parameters).reply.lines[-1] == protocol
        asking.rcpt("b\u00e9rt@far.test" if parameters else "bert@far.test")
        asking.data(b"Subject: x\r\n\r\nx\r\n")
        queued, _ = asking.shelf.accepted[-1]
        assert queued.facts.session.protocol() == protocol
        assert f"with {protocol};".encode() in queued.header
        assert asking.shelf.of(events.Arrived)[-1].session.protocol() == protocol


# ETRN


def etrn(text: str, errands: Errands, rules: EtrnRules, acl: str = "accept") -> tuple[Client, Any]:
    asking = with_ports(client({Where.ETRN: acl}, etrn=rules), turns=errands)
    asking.hello()
    return asking, asking.ask(esmtp.EtrnAsked(text)).reply


def test_etrn_delivers_what_waits() -> None:
    errands = Errands()
    asking, answered = etrn("#far.test", errands, EtrnRules())
    assert (answered.code, errands.domains) == (250, ["far.test"])
    assert any("ETRN #far.test received from" in repr(each) for each in asking.shelf.events)
    assert etrn("far.test", errands, EtrnRules())[1].code == 501
    assert etrn("#far.test", errands, EtrnRules(), "deny")[1].code == 458
    assert errands.domains == ["far.test"]


def test_a_played_session_says_what_etrn_would_do() -> None:
    told: list[str] = []
    errands = Errands()
    asking = with_ports(client({Where.ETRN: "accept"}, etrn=EtrnRules()), turns=errands, notes=Notes(told.append))
    asking.hello()
    assert asking.ask(esmtp.EtrnAsked("#far.test")).reply.code == 250
    assert told[-2:] == [">>> ETRN command is: exim -R", ">>> ETRN command execution skipped"]
    assert errands.domains == []


def test_etrn_runs_a_command_whose_words_stay_words() -> None:
    command = tuple(compile_expansion(word) for word in ("/bin/turn", "-d", "$domain"))
    errands = Errands()
    assert etrn("a b; rm", errands, EtrnRules(command))[1].code == 250
    ((words, key),) = errands.commands
    assert words == ("/bin/turn", "-d", "a b; rm")
    assert key
    etrn("#x", errands, EtrnRules(command, serialize=False))
    assert errands.commands[1][1] == ""


def test_an_etrn_that_can_not_be_obeyed() -> None:
    command = (compile_expansion("/bin/turn"),)
    assert etrn("#x", Errands(is_running=True), EtrnRules(command))[1].text == "Already processing #x"
    broken, answered = etrn("#x", Errands(trouble=True), EtrnRules(command))
    assert answered.code == 458
    assert "no such program" in broken.shelf.of(events.Trouble)[0].text
