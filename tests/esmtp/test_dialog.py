"""Synchronisation: a client that does not listen is told so and dropped (Exim: smtp_enforce_sync)."""

import pytest

from esmtp.server_driver import OFFERS, Session, codes, next_event
from relay.esmtp.dialog import _shown
from relay.esmtp.extensions import Offers
from relay.esmtp.questions import Connected, DataAsked, HelloGiven, MessageEnded, SenderGiven, Violation
from relay.esmtp.server import Server, ServerSettings
from relay.mail import reply

STRICT = ServerSettings()


def strict(offers: Offers = OFFERS, limits: ServerSettings = STRICT) -> Session:
    session = Session(limits, offers=offers)
    session.send(b"EHLO laptop\r\n")
    return session


@pytest.mark.parametrize(
    "first",
    [b"EHLO x", b"HELO x", b"VRFY x", b"EXPN x", b"NOOP", b"ETRN #x", b"STARTTLS", b"TURN", b"FOO", b"XCLIENT A=b"],
)
@pytest.mark.parametrize("offers", [OFFERS, Offers()])
def test_nothing_may_stand_behind_these(first: bytes, offers: Offers) -> None:
    session = strict(offers)
    count = len(session.events)
    assert session.send(first + b"\r\nM").endswith(b"SMTP synchronization error\r\n")
    assert session.hung_up == "synchronization error"
    (violation, _) = session.events[count:]
    assert isinstance(violation, Violation)
    assert violation.input == "M"


def test_the_log_says_which_command() -> None:
    session = strict()
    session.send(b'NO"OP x\r\nRSET\r\n')
    assert session.violations == [
        'synchronization error (next input sent too soon: pipelining was advertised): rejected "NO\\"OP x"'
    ]
    session = strict(Offers())
    session.send(b"DATA\r\nx")
    assert session.violations == [
        'synchronization error (next input sent too soon: pipelining was not advertised): rejected "DATA"'
    ]


@pytest.mark.parametrize(
    "line, shown",
    [
        (b"aUTH PLAIN AGEAc2VjcmV0", "aUTH PLAIN"),
        (b"EHLO a\r\xff\\", "EHLO a\\r\\377\\\\"),
        (b"x" * 600, "x" * 509 + "..."),
    ],
)
def test_a_command_in_the_log_forges_nothing_and_shows_no_password(line: bytes, shown: str) -> None:
    assert _shown(line) == shown


@pytest.mark.parametrize("first", [b"MAIL FROM:<a@b>", b"RSET"])
def test_groups_need_pipelining(first: bytes) -> None:
    assert codes(strict().send(first + b"\r\nRSET\r\n")) == [250, 250]
    assert codes(strict(Offers()).send(first + b"\r\nRSET\r\n")) == [554]


def test_a_message_in_a_group_to_data() -> None:
    session = strict()
    assert codes(session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n")) == [250, 250, 354]
    assert codes(session.send(b"x\r\n.\r\nRSET\r\nQUIT\r\n")) == [250, 250, 221]


def test_a_message_does_not_follow_data_unasked() -> None:
    session = strict()
    assert codes(session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n")) == [250, 250, 554]
    assert not any(isinstance(event, MessageEnded) for event in session.events)


@pytest.mark.parametrize("line", [b"AUTH PLAIN AGEAYg==", b"HELP"])
def test_what_exim_lets_pass(line: bytes) -> None:
    session = strict(Offers((("AUTH", "PLAIN"),)))
    assert codes(session.send(line + b"\r\nQUIT\r\n"))[-1] == 221


@pytest.mark.parametrize("limits", [ServerSettings(enforce_sync=False), ServerSettings(local=True)])
def test_where_it_is_not_enforced(limits: ServerSettings) -> None:
    session = Session(limits, offers=Offers())
    assert codes(session.send(b"EHLO a\r\nNOOP\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n")) == (
        [250, 250, 250, 250, 354, 250]
    )


@pytest.mark.parametrize("by_edge", [True, False])
def test_who_speaks_while_a_greeting_is_decided_is_dropped(by_edge: bool) -> None:
    server = Server(STRICT, 0.0)
    assert next_event(server) == Connected()
    server.answer(reply.SERVICE_READY)
    server.receive(b"EHLO x\r\n", 1.0)
    assert next_event(server) == HelloGiven("x", True)
    if by_edge:
        server.more_waits()
    else:
        server.receive(b"MAIL", 2.0)
    server.answer(reply.OK)
    assert b"554 SMTP synchronization error" in server.data_to_send()


@pytest.mark.parametrize("held_back", [b"", b"AIL FROM", b"x" * 300])
def test_the_log_shows_what_came_too_soon(held_back: bytes) -> None:
    server = Server(STRICT, 0.0)
    assert next_event(server) == Connected()
    if held_back:
        server.more_waits(held_back)
    server.receive(b"M", 1.0)
    server.answer(reply.SERVICE_READY)
    assert next_event(server) == Violation("synchronization error", (b"M" + held_back)[:200].decode())


def test_who_speaks_early_is_refused_as_decided_all_the_same() -> None:
    server = Server(STRICT, 0.0)
    next_event(server)
    server.receive(b"x", 1.0)
    server.answer(reply.CONNECTION_REFUSED)
    assert server.data_to_send() == b"554 SMTP service not available\r\n"


@pytest.mark.parametrize("pipelining", [True, False])
def test_who_speaks_while_mail_is_decided(pipelining: bool) -> None:
    session = strict(OFFERS if pipelining else Offers())
    session.server.receive(b"MAIL FROM:<a@b>\r\n", 2.0)
    assert isinstance(next_event(session.server), SenderGiven)
    session.server.receive(b"RCPT TO:<a@b>\r\n", 2.0)
    session.server.answer(reply.SENDER_OK)
    session.run()
    assert (session.hung_up is None) is pipelining


def test_who_speaks_while_data_is_decided() -> None:
    session = strict()
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n")
    session.server.receive(b"DATA\r\n", 2.0)
    assert isinstance(next_event(session.server), DataAsked)
    session.server.more_waits()
    session.server.answer(reply.SEND_DATA)
    session.run()
    assert session.hung_up == "synchronization error"


def test_other_limits_for_one_client() -> None:
    session = strict()
    session.server.use(ServerSettings(enforce_sync=False, max_nonmail=2, helo_accept_junk=True))
    assert codes(session.send(b"EHLO a b\r\nNOOP\r\nNOOP\r\nNOOP\r\n")) == [250, 250, 554]
    assert session.server.settings.max_nonmail == 2
    assert HelloGiven("a b", True) in session.events


def test_the_edge_has_nothing_to_say_where_nothing_is_asked() -> None:
    session = strict()
    session.server.more_waits()
    assert codes(session.send(b"EHLO x\r\n")) == [250]
    assert session.hung_up is None
