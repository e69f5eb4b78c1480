"""What each command comes to, and AUTH and XCLIENT as dialogs."""

import pytest

from esmtp.server_driver import AUTHENTICATED, ServerSettings, Session, codes, greeted, willing
from relay.esmtp.commands import State
from relay.esmtp.extensions import Offers
from relay.esmtp.parameters import future_release_offer
from relay.esmtp.questions import (
    AuthAborted,
    AuthAsked,
    AuthResponse,
    EtrnAsked,
    ExpnAsked,
    HelloGiven,
    RecipientGiven,
    SenderGiven,
    VrfyAsked,
    XclientGiven,
)
from relay.esmtp.xclient import OFFER, ClientAttributes
from relay.mail import reply
from relay.mail.reply import Reply

UTF8 = Offers((("SMTPUTF8", ""), ("8BITMIME", ""), ("DSN", "")))


@pytest.mark.parametrize(
    "line, answer",
    [
        (b"EHLO", b"501 Syntactically invalid EHLO argument(s)\r\n"),
        (b"HELO [1.2.3]", b"501 Syntactically invalid HELO argument(s)\r\n"),
        (b"EHLO my_pc", b"501 Syntactically invalid EHLO argument(s)\r\n"),
        (b"EHLO a\xff", b"501 Syntactically invalid EHLO argument(s)\r\n"),
        (b"NOOP \xff", b"501 8-bit characters are not allowed in SMTP commands\r\n"),
        (b"VRFY \xc3\xa4", b"501 8-bit characters are not allowed in SMTP commands\r\n"),
        (b"DATA now", b"501 unexpected argument data\r\n"),
        (b"DATA", b"503 valid RCPT command must precede DATA\r\n"),
        (b"QUIT now", b"501 unexpected argument data\r\n"),
        (b"TURN", b"502 Command not implemented\r\n"),
        (b"AUTH PLAIN", b"503 AUTH command used when not advertised\r\n"),
        (b"XCLIENT ADDR=::1", b"501 XCLIENT command used when not advertised\r\n"),
        (b"HELP", b"214-Commands supported:\r\n214 AUTH HELO EHLO MAIL RCPT DATA BDAT NOOP QUIT RSET HELP\r\n"),
    ],
)
def test_at_the_start(line: bytes, answer: bytes) -> None:
    assert Session().send(line + b"\r\n") == answer


@pytest.mark.parametrize("name", [b"my_pc", b"[IPv6:2001:db8::1]", b"[192.0.2.1]", b"[2001:db8::1]", b"laptop"])
def test_names_of_a_greeting(name: bytes) -> None:
    session = Session(ServerSettings(helo_allow_chars="_"))
    assert codes(session.send(b"EHLO " + name + b"\r\n")) == [250]


@pytest.mark.parametrize("taken", [True, False])
def test_addresses_whose_domain_is_a_literal(taken: bool) -> None:
    session = greeted(limits=ServerSettings(domain_literals=taken))
    refusal = b"<a@[192.0.2.1]>: domain literals not allowed\r\n"
    answer = session.send(b"MAIL FROM:<a@[192.0.2.1]>\r\n")
    assert (refusal in answer) is not taken
    session.send(b"RSET\r\nMAIL FROM:<>\r\n")
    answer = session.send(b"RCPT TO:<a@[192.0.2.1]>\r\n")
    assert (refusal in answer) is not taken


@pytest.mark.parametrize("name", ["(junk)", "a b", "ä", "", "[300.1.1.1]"])
def test_junk_where_it_is_accepted(name: str) -> None:
    session = Session(ServerSettings(helo_accept_junk=True))
    assert codes(session.send(b"HELO " + name.encode() + b"\r\n")) == [250]
    assert session.events[-1] == HelloGiven(name, False)


@pytest.mark.parametrize(
    "line, code",
    [
        ("MAIL FROM:<ä@b> SMTPUTF8", 250),
        ("MAIL FROM:<a@ö.example> SMTPUTF8", 250),
        ("MAIL FROM:<ä@b>", 553),
        ("MAIL FROM:<a@b> ENVID=+C3+A4", 250),
        ("NOOP ä", 501),
        ("VRFY ä SMTPUTF8", 252),
        ("VRFY ä", 501),
    ],
)
def test_smtputf8_is_asked_for(line: str, code: int) -> None:
    assert codes(greeted(offers=UTF8).send(line.encode() + b"\r\n")) == [code]


def test_recipients_are_of_the_kind_that_mail_said() -> None:
    session = greeted(offers=UTF8)
    assert codes(session.send("MAIL FROM:<a@b>\r\nRCPT TO:<ä@b>\r\nRSET\r\n".encode())) == [250, 553, 250]
    assert codes(session.send("MAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<ä@b>\r\n".encode())) == [250, 250]


def test_names_come_without_the_word_behind_them() -> None:
    session = greeted(offers=UTF8)
    session.send(b"VRFY Jane Doe\r\nEXPN staff SMTPUTF8\r\nETRN #queue\r\n")
    assert session.events[-3:] == [VrfyAsked("Jane Doe"), ExpnAsked("staff"), EtrnAsked("#queue")]


def test_messages_in_one_connection() -> None:
    session = greeted(limits=ServerSettings(messages_max=2, max_nonmail=3))
    group = b"MAIL FROM:<a@b>\r\nRSET\r\n"
    assert codes(session.send(group * 2 + b"MAIL FROM:<a@b>\r\nQUIT\r\n")) == [250, 250, 250, 250, 421, 221]
    assert b"421 4.7.0 too many messages in this connection\r\n" in session.sent
    session = greeted(limits=ServerSettings(messages_max=1, max_nonmail=3))
    session.send(b"MAIL FROM:<a@b>\r\nRSET\r\n" + b"MAIL FROM:<a@b>\r\n" * 9)
    assert session.hung_up == "too many messages"


@pytest.mark.parametrize(
    "parameters, code",
    [
        (b"HOLDFOR=60", 250),
        (b"HOLDFOR=86400", 250),
        (b"HOLDFOR=86401", 501),
        (b"HOLDFOR=0", 501),
        (b"HOLDUNTIL=2026-11-21T10:00:00Z", 250),
        (b"HOLDUNTIL=2026-13-21T10:00:00Z", 501),
        (b"HOLDFOR=60 HOLDUNTIL=2026-11-21T10:00:00Z", 501),
    ],
)
def test_future_release(parameters: bytes, code: int) -> None:
    session = greeted(offers=Offers((future_release_offer(86400, 1800000000.0),)))
    assert b"FUTURERELEASE 86400 2027-01-15T08:00:00Z\r\n" in session.sent
    assert codes(session.send(b"MAIL FROM:<a@b> " + parameters + b"\r\n")) == [code]


@pytest.mark.parametrize("name, length", [(b"MAIL FROM:<a@b> ENVID=", 100), (b"RCPT TO:<a@b> ORCPT=rfc822;", 493)])
def test_dsn_values_have_a_length(name: bytes, length: int) -> None:
    session = greeted(offers=UTF8)
    if name[:4] == b"RCPT":
        session.send(b"MAIL FROM:<a@b>\r\n")
    assert codes(session.send(name + b"x" * (length + 1) + b"\r\n", name + b"x" * length + b"\r\n")) == [501, 250]


def test_one_refusal_for_all_recipients_is_repeated() -> None:
    session = greeted()
    assert session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<no@b>\r\nRCPT TO:<no@c>\r\nDATA\r\n").endswith(
        b"503-5.5.1 All RCPT commands were rejected with this error:\r\n503-5.5.1 relay not permitted\r\n"
        b"503 5.5.1 Valid RCPT command must precede DATA\r\n"
    )
    session.answer = lambda q: reply.LOCAL_PROBLEM
    assert session.send(b"RCPT TO:<x@b>\r\nDATA\r\n").endswith(
        b"\r\n503 5.5.1 Valid RCPT command must precede DATA\r\n"
    )
    assert session.sent.count(b"All RCPT") == 1


def test_what_only_leads_up_to_a_refusal_is_not_repeated() -> None:
    session = greeted()
    session.answer = lambda q: (
        Reply(550, "", ("sender is bad", "no"), preface=1) if isinstance(q, RecipientGiven) else reply.OK
    )
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<no@b>\r\n")
    assert b"\r\n503-no\r\n" in session.send(b"DATA\r\n").replace(b"5.5.1 ", b"")


def test_data_names_the_refusal_of_recipients_that_had_no_sender() -> None:
    session = Session()
    session.send(b"EHLO a\r\n", b"RSET\r\nRCPT TO:<b@c.test>\r\n")
    assert session.send(b"DATA\r\n") == (
        b"503-5.5.1 All RCPT commands were rejected with this error:\r\n"
        b"503-5.5.1 503 sender not yet given\r\n503 5.5.1 valid RCPT command must precede DATA\r\n"
    )


def test_every_command_is_told_before_what_it_asks() -> None:
    session = Session()
    session.send(b"EHLO a\r\n", b"NOOP\r\nRSET now\r\nmail from:  <a@b.test>\r\nFOO bar\r\n")
    told = [(each.verb, each.line, each.argument) for each in session.commands]
    assert told == [
        ("EHLO", "EHLO a", "a"),
        ("NOOP", "NOOP", ""),
        ("", "RSET now", "now"),
        ("MAIL", "mail from:  <a@b.test>", "<a@b.test>"),
        ("", "FOO bar", "bar"),
    ]


# AUTH

AUTH = Offers((("AUTH", "PLAIN LOGIN"), ("PIPELINING", "")))
MORE = reply.challenge("VXNlcm5hbWU6")


def asking(question: object) -> Reply:
    match question:
        case AuthAsked() | AuthResponse("more"):
            return MORE
        case AuthResponse("wrong"):
            return Reply(535, "5.7.8", ("Incorrect authentication data",))
        case _:
            return willing(question)  # type: ignore[arg-type]


def test_an_exchange_to_its_good_end() -> None:
    session = greeted(offers=AUTH, answer=asking)
    assert session.send(b"AUTH LOGIN\r\n") == b"334 VXNlcm5hbWU6\r\n"
    assert session.send(b"more\r\n", b"\r\n") == b"334 VXNlcm5hbWU6\r\n235 Authentication succeeded\r\n"
    assert session.events[-3:] == [AuthAsked("LOGIN", None), AuthResponse("more"), AuthResponse("")]
    assert session.send(b"AUTH LOGIN\r\n") == b"503 already authenticated\r\n"
    assert session.events[-1] != AuthAsked("LOGIN", None)


def test_commands_in_an_exchange_are_responses() -> None:
    session = greeted(offers=AUTH, answer=asking)
    assert codes(session.send(b"AUTH LOGIN\r\nwrong\r\nMAIL FROM:<a@b>\r\n")) == [334, 535, 250]


def test_a_cancelled_exchange() -> None:
    session = greeted(offers=AUTH, answer=asking)
    assert session.send(b"AUTH LOGIN\r\n*\r\nNOOP\r\n").endswith(b"501 Authentication cancelled\r\n250 OK\r\n")
    assert session.events[-1] == AuthAborted(reply.AUTH_CANCELLED)


@pytest.mark.parametrize(
    "line, code",
    [(b"x" * 12287, 500), (b"a\nb", 500), (b"a\0", 501), (b"x" * 12286, 235)],
    ids=["long", "lf", "nul", "fits"],
)
def test_a_response_that_is_no_line_ends_the_exchange(line: bytes, code: int) -> None:
    session = greeted(offers=AUTH, answer=asking)
    assert codes(session.send(b"AUTH LOGIN\r\n", line + b"\r\n", b"NOOP\r\n")) == [334, code, 250]


def test_an_initial_response_may_be_long_where_auth_is_offered() -> None:
    line = b"AUTH PLAIN " + b"x" * 12000 + b"\r\n"
    assert codes(greeted(offers=AUTH).send(line)) == [502]
    assert codes(greeted().send(line)) == [500]


def test_a_long_challenge_goes_out_whole() -> None:
    session = greeted(
        offers=AUTH, answer=lambda q: reply.challenge("A" * 12000) if isinstance(q, AuthAsked) else willing(q)
    )
    assert session.send(b"AUTH X\r\n") == b"334 " + b"A" * 12000 + b"\r\n"


def test_auth_in_a_transaction_and_odd_names() -> None:
    session = greeted(offers=AUTH)
    assert session.send(b"AUTH PL%AIN\r\n") == b"501 invalid character in authentication mechanism name\r\n"
    assert session.send(b"MAIL FROM:<a@b>\r\nAUTH PLAIN\r\n") == b"250 OK\r\n503 not permitted in mail transaction\r\n"
    assert session.send(b"ETRN x\r\n") == b"503 ETRN is not permitted inside a transaction\r\n"


def test_a_new_layer_forgets_an_exchange_and_who_was_authenticated() -> None:
    session = greeted(offers=AUTH, answer=asking)
    session.send(b"AUTH LOGIN\r\nyes\r\nAUTH LOGIN\r\n")
    session.server.layer_changed(2.0, True)
    assert codes(session.send(b"EHLO a\r\nAUTH LOGIN\r\n")) == [250, 334]
    session.server.layer_changed(3.0, False)
    assert codes(session.send(b"NOOP\r\nEHLO a\r\n")) == [250, 250]
    assert AUTHENTICATED.code == 235


# SMTPUTF8


def test_smtputf8_has_to_be_offered() -> None:
    assert greeted().send(b"MAIL FROM:<a@b> SMTPUTF8\r\n") == b"501 5.5.4 SMTPUTF8 used when not advertised\r\n"


@pytest.mark.parametrize("said", [True, False])
def test_a_reply_has_letters_outside_us_ascii_for_who_has_said_smtputf8(said: bool) -> None:
    session = greeted(offers=UTF8)
    text = "no \u00e4\u202e\r\n250 here"
    session.answer = lambda q: reply.OK if isinstance(q, SenderGiven) else reply.RELAY_NOT_PERMITTED.with_text(text)
    session.send(b"MAIL FROM:<a@b> SMTPUTF8\r\n" if said else b"MAIL FROM:<a@b>\r\n")
    shown = "\u00e4".encode() if said else rb"\303\244"
    assert session.send(b"RCPT TO:<c@d>\r\n") == b"550 no " + shown + rb"\342\200\256\r\n250 here" + b"\r\n"


def test_a_long_line_of_a_reply_is_cut_between_letters() -> None:
    for length in (250, 251, 252, 253, 600):
        line = reply.OK.with_text("a" * (length % 2) + "\u00e4" * length).encode(utf8=True)
        assert len(line) <= 512
        assert line.decode().endswith("...\r\n") == (length > 252)


# XCLIENT


def test_a_proxy_speaks_for_its_client() -> None:
    session = greeted(offers=Offers((OFFER, ("ENHANCEDSTATUSCODES", ""))))
    assert session.send(b"XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:DB8::1 PORT=25 HELO=a+2Bb\r\n") == (
        b"220 XCLIENT success\r\n"
    )
    attributes = ClientAttributes((("NAME", None), ("ADDR", "2001:db8::1"), ("PORT", "25"), ("HELO", "a+b")))
    assert session.events[-1] == XclientGiven(attributes)
    assert session.server.state is State.GREETED
    assert session.send(b"MAIL FROM:<a@b>\r\n") == b"503 HELO or EHLO required\r\n"
    assert codes(session.send(b"EHLO x\r\nXCLIENT LOGIN=me\r\nEHLO x\r\nMAIL FROM:<a@b>\r\n")) == [250, 220, 250, 250]
    assert session.send(b"XCLIENT LOGIN=me\r\n") == b"503 5.5.1 mail transaction in progress\r\n"


def test_a_refused_xclient_changes_nothing() -> None:
    session = greeted(offers=Offers((OFFER,)))
    session.answer = lambda q: reply.ADMINISTRATIVE_PROHIBITION if isinstance(q, XclientGiven) else willing(q)
    assert codes(session.send(b"XCLIENT ADDR=192.0.2.1\r\nMAIL FROM:<a@b>\r\n")) == [550, 250]
    assert isinstance(session.events[-1], SenderGiven)


def test_whom_a_proxy_has_authenticated_needs_no_auth() -> None:
    session = greeted(offers=Offers((OFFER, ("AUTH", "PLAIN"))))
    assert codes(session.send(b"XCLIENT LOGIN=me\r\nEHLO x\r\nAUTH PLAIN\r\n")) == [220, 250, 503]
    assert codes(session.send(b"XCLIENT LOGIN=[UNAVAILABLE]\r\nEHLO x\r\nAUTH PLAIN\r\n")) == [220, 250, 502]
