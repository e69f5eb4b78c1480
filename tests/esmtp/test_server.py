"""The server machine: dialogs as playbooks, whole and in every split; limits, layers, times."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esmtp.server_driver import OFFERS, ServerSettings, Session, codes, greeted, joined, next_event, willing
from relay.esmtp.commands import State
from relay.esmtp.extensions import Offers
from relay.esmtp.questions import (
    AuthAsked,
    BodyPiece,
    Connected,
    DataAsked,
    EtrnAsked,
    HangUp,
    HelloGiven,
    MessageEnded,
    MessageSpoiled,
    QuitGiven,
    RecipientGiven,
    SenderGiven,
    TLSAsked,
    TransactionReset,
    Violation,
)
from relay.esmtp.server import Server
from relay.esmtp.server import ServerSettings as Settings
from relay.mail import reply
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Parameters

MESSAGE = (
    b"MAIL FROM:<a@b.example> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    b"Subject: x\r\n\r\n..dot\r\n.\r\n"
)


def test_a_message_from_greeting_to_quit() -> None:
    session = Session()
    assert session.send(b"EHLO laptop\r\n") == (
        b"250-relay Hello\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-PIPELINING\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250 STARTTLS\r\n"
    )
    assert session.send(MESSAGE, b"QUIT\r\n") == (
        b"250 2.1.0 OK\r\n250 2.1.5 Accepted\r\n"
        b'354 Enter message, ending with "." on a line by itself\r\n'
        b"250 2.0.0 OK\r\n221 2.0.0 closing connection\r\n"
    )
    assert joined(session.events) == [
        Connected(),
        HelloGiven("laptop", True),
        SenderGiven(Address("a", "b.example"), Parameters((("SIZE", "20"), ("BODY", "8BITMIME")))),
        RecipientGiven(Address("c", "d.example"), Parameters()),
        DataAsked(),
        BodyPiece(b"Subject: x\r\n\r\n.dot\r\n"),
        MessageEnded(20),
        QuitGiven(),
        HangUp("by QUIT"),
    ]
    assert session.server.state is State.CLOSED


DIALOGS = [
    b"EHLO a\r\n" + MESSAGE + MESSAGE + b"QUIT\r\n",
    b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<no@b>\r\nRCPT TO:<c@b>\r\nDATA\r\n.\r\nNOOP\r\nQUIT\r\n",
    b"EHLO a\r\nMAIL FROM:<no@b>\r\nRCPT TO:<c@b>\r\nDATA\r\nRSET\r\nMAIL FROM:<a@b>\r\nRSET\r\nHELP\r\nQUIT\r\n",
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@b>\r\nDATA\r\na\nb\r\n.\r\nVRFY x\r\nEXPN y\r\nETRN z\r\nquit\r\n",
    b"EHLO a\r\nfoo\r\nMAIL\r\nRCPT TO:<a@b>\r\nEHLO\r\nQUIT\r\nMAIL FROM:<a@b>\r\n",
    b"EHLO a\r\nNO\nOP\r\nNO\0OP\r\n" + b"x" * 5000 + b"\r\nNOOP\r\nAUTH PLAIN\r\nTURN\r\nNOOP\r\n",
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nEHLO c\r\nRCPT TO:<a@b>\r\nBDAT 4 LAST\r\nQUIT\r\n",
]


@pytest.mark.parametrize("dialog", DIALOGS)
@pytest.mark.parametrize("local", [False, True])
def test_byte_by_byte_is_the_same(dialog: bytes, local: bool) -> None:
    limits = ServerSettings(local=local)
    whole, parted = Session(limits), Session(limits)
    whole.send(dialog)
    parted.send(*(bytes([octet]) for octet in dialog))
    assert joined(whole.events) == joined(parted.events)
    assert whole.sent == parted.sent


@settings(max_examples=100)
@given(st.sampled_from(DIALOGS), st.lists(st.integers(1, 600), max_size=8))
def test_every_split_is_the_same(dialog: bytes, places: list[int]) -> None:
    whole, parted = Session(), Session()
    whole.send(dialog)
    start = 0
    for place in [*sorted(places), len(dialog)]:
        parted.send(dialog[start:place])
        start = max(start, place)
    assert joined(whole.events) == joined(parted.events)
    assert whole.sent == parted.sent


WORDS = st.sampled_from(
    b"EHLO a|HELO a|MAIL FROM:<a@b>|RCPT TO:<c@d>|DATA|.|RSET|QUIT|STARTTLS|NOOP|x||\0|\r|\n|MAIL FROM:|BDAT 3|"
    b"AUTH X|\xff|TO:<|VRFY".split(b"|")
)


@settings(max_examples=200)
@given(st.lists(st.one_of(WORDS, st.binary(max_size=20)), max_size=25), st.sampled_from([b"\r\n", b"\n", b""]))
def test_no_input_raises(words: list[bytes], between: bytes) -> None:
    session = Session(ServerSettings(line_limit=64, size_limit=30))
    for word in words:
        session.send(word + between)
        if session.server.state is State.SWITCHING:
            session.server.switch_layer()
            session.server.layer_changed(2.0, True)
    session.server.receive_eof()
    session.run()
    assert session.hung_up is not None
    assert next_event(session.server) is None
    assert session.server.deadline() is None


def test_while_a_question_is_open_nothing_is_parsed() -> None:
    server = Server(ServerSettings(), 0.0)
    server.receive(b"EHLO a\r\nMAIL FROM:<a@b>\r\n", 0.0)
    assert next_event(server) == Connected()
    assert next_event(server) is None
    assert server.data_to_send() == b""
    server.answer(reply.SERVICE_READY)
    assert next_event(server) == HelloGiven("a", True)
    assert next_event(server) is None
    assert not server.is_idle
    server.answer(reply.OK, OFFERS)
    assert next_event(server) == SenderGiven(Address("a", "b"), Parameters())


def test_an_answer_without_a_question_is_our_mistake() -> None:
    session = Session()
    with pytest.raises(RuntimeError):
        session.server.answer(reply.OK)


def test_what_is_malformed_and_what_is_out_of_place() -> None:
    session = Session()
    for line in (b"EHLO\r\n", b"DATA\r\n"):
        session.send(line)
    assert [each.is_syntax for each in session.events if isinstance(each, Violation)] == [True, False]


def test_input_before_the_greeting_ends_the_session() -> None:
    server = Server(Settings(), 0.0)
    next_event(server)
    server.receive(b"EHLO spammer\r\nMAIL", 0.0)
    server.answer(reply.SERVICE_READY)
    assert server.data_to_send() == b"554 SMTP synchronization error\r\n"
    assert next_event(server) == Violation("synchronization error", "EHLO spammer\r\nMAIL")
    assert next_event(server) == HangUp("synchronization error")
    assert next_event(server) is None


def test_on_a_pipe_there_is_nothing_to_synchronise() -> None:
    server = Server(ServerSettings(local=True), 0.0)
    next_event(server)
    server.receive(b"EHLO a\n", 0.0)
    server.answer(reply.SERVICE_READY)
    assert next_event(server) == HelloGiven("a", True)


def test_after_a_refusing_greeting_only_quit_is_heard() -> None:
    session = Session(answer=lambda question: willing(question) if isinstance(question, QuitGiven) else REFUSAL)
    assert session.sent == b"554 SMTP service not available\r\n"
    assert codes(session.send(b"EHLO a\r\nNOOP\r\n")) == [503, 503]
    assert codes(session.send(b"QUIT\r\n")) == [221]
    assert session.hung_up == "by QUIT"


REFUSAL = reply.CONNECTION_REFUSED


@pytest.mark.parametrize(
    "lines, code",
    [
        (b"MAIL FROM:<a@b>", 503),
        (b"RCPT TO:<a@b>", 503),
        (b"DATA", 503),
        (b"STARTTLS", 503),
        (b"EHLO", 501),
        (b"EHLO a b", 501),
        (b"EHLO a\x1b", 501),
        (b"HELO my_pc", 501),
        (b"", 500),
        (b" EHLO a", 500),
        (b"EHL\xc3\x96 a", 500),
        (b"EHLO\ta", 500),
        (b"TURN", 502),
        (b"NOOP anything", 250),
        (b"RSET", 250),
        (b"RSET x", 501),
        (b"QUIT x", 501),
        (b"HELP", 214),
        (b"VRFY x", 252),
        (b"ehlo a  \t", 250),
    ],
)
def test_before_the_hello(lines: bytes, code: int) -> None:
    assert codes(Session().send(lines + b"\r\n")) == [code]


@pytest.mark.parametrize(
    "line, answer",
    [
        (b"MAIL FROM:<a@b", b"501 5.5.4 <a@b: '>' missing at end of address\r\n"),
        (b"MAIL FROM:a@b", b"250 2.1.0 OK\r\n"),
        (b"MAIL FROM:", b"501 5.5.4 MAIL must have an address operand\r\n"),
        (b"MAIL", b"500 5.5.1 unrecognized command\r\n"),
        (b"RCPT x@y.test", b"500 5.5.1 unrecognized command\r\n"),
        (b"MAIL FROM:<a@b> FOO=1", b"555 5.5.4 unsupported MAIL or RCPT parameter FOO\r\n"),
        (b"MAIL FROM:<a@b> SIZE=x", b"501 5.5.4 invalid data for SIZE\r\n"),
        (b"MAIL FROM:<a@b> SIZE=99999999", b"552 5.3.4 Message size exceeds maximum permitted\r\n"),
        (b"STARTTLS now", b"501 5.5.4 unexpected argument data\r\n"),
        (b"DATA", b"503 5.5.1 valid RCPT command must precede DATA\r\n"),
        (b"AUTH PLAIN", b"503 5.5.1 AUTH command used when not advertised\r\n"),
        (b"MAIL FROM:<\xc3\xa4@b>", None),
    ],
)
def test_after_the_hello(line: bytes, answer: bytes | None) -> None:
    got = greeted(limits=ServerSettings(size_limit=1000)).send(line + b"\r\n")
    assert got.endswith(b"\r\n")
    assert got.isascii()
    if answer is not None:
        assert got == answer


def test_a_size_over_the_limit_is_told() -> None:
    session = greeted(limits=ServerSettings(size_limit=1000))
    session.send(b"MAIL FROM:<a@b> SIZE=99999999\r\n")
    assert session.events[-1] == Violation("message too big: size=99999999 max=1000", "a@b")


def test_mail_twice_is_out_of_order() -> None:
    assert codes(greeted().send(b"MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\nDATA\r\n")) == [250, 503, 503]


def test_parameters_need_ehlo() -> None:
    session = Session()
    assert codes(session.send(b"HELO a\r\nMAIL FROM:<a@b> SIZE=1\r\n")) == [250, 555]
    assert b"5.5.4" not in session.sent


def test_auth_and_etrn_are_asked_where_they_make_sense() -> None:
    session = greeted(offers=Offers((("AUTH", "PLAIN"),)))
    assert codes(session.send(b"AUTH plain dGVzdA==\r\nAUTH LOGIN\r\nETRN example\r\n")) == [502, 502, 502]
    assert session.events[-3:] == [
        AuthAsked("plain", "dGVzdA=="),
        AuthAsked("LOGIN", None),
        EtrnAsked("example"),
    ]


def test_a_transaction_is_reset_by_rset_and_by_a_new_hello() -> None:
    session = greeted()
    session.send(b"RSET\r\nMAIL FROM:<a@b>\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nHELO x\r\n")
    assert session.events.count(TransactionReset()) == 2
    assert session.server.state is State.READY
    assert codes(session.send(b"RCPT TO:<a@b>\r\n")) == [503]


def test_a_refused_hello_changes_nothing() -> None:
    session = greeted()
    session.send(b"MAIL FROM:<a@b>\r\n")
    session.answer = lambda question: reply.ADMINISTRATIVE_PROHIBITION
    assert codes(session.send(b"EHLO evil\r\n")) == [550]
    assert session.server.state is State.SENDER
    assert TransactionReset() not in session.events


# Errors and limits


def test_too_many_errors_end_the_session() -> None:
    session = greeted()
    got = session.send(b"MAIL FROM:\r\n" * 5)
    assert codes(got) == [501, 501, 501, 501]
    assert got.endswith(
        b"501-5.5.4 MAIL must have an address operand\r\n501 5.5.4 Too many syntax or protocol errors\r\n"
    )
    assert session.hung_up == "too many syntax or protocol errors"


def test_too_many_unknown_commands_end_the_session() -> None:
    session = greeted(limits=ServerSettings(max_syntax_errors=9))
    assert codes(session.send(b"FOO\r\n" * 5)) == [500, 500, 500, 500]
    assert session.sent.endswith(b"Too many unrecognized commands\r\n")
    assert session.hung_up == "too many unrecognized commands"


def test_too_many_commands_without_mail_end_the_session() -> None:
    session = greeted()
    assert codes(session.send(b"NOOP\r\n" * 12)) == [250] * 10 + [554]
    assert session.hung_up == "too many nonmail commands"


def test_one_rset_and_one_hello_for_each_message_are_free() -> None:
    session = greeted(limits=ServerSettings(max_nonmail=0))
    for _ in range(20):
        session.send(b"RSET\r\n" + MESSAGE + b"EHLO a\r\n")
    assert session.hung_up is None
    session.send(b"EHLO a\r\n")
    assert session.hung_up == "too many nonmail commands"


def test_what_was_pipelined_behind_a_refusal_is_no_error() -> None:
    session = greeted()
    group = b"MAIL FROM:<no@b>\r\n" + b"RCPT TO:<a@b>\r\n" * 10 + b"DATA\r\n"
    assert codes(session.send(group)) == [550] + [503] * 11
    assert codes(session.send(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<no@b>\r\n" * 9 + b"DATA\r\n")) == (
        [250] + [550] * 9 + [503]
    )
    assert session.violations == []


def test_rcpt_without_mail_is_an_error() -> None:
    session = greeted()
    assert codes(session.send(b"RCPT TO:<a@b>\r\n" * 5)) == [503, 503, 503, 503]
    assert session.hung_up == "too many syntax or protocol errors"


def test_pipelining_that_was_not_offered_is_not_forgiven() -> None:
    session = greeted(offers=Offers())
    session.send(b"MAIL FROM:<no@b>\r\nRCPT TO:<a@b>\r\n")
    assert session.violations == ["sender not yet given"]


@pytest.mark.parametrize("reset", [b"RSET", b"EHLO a", b"HELO a"])
def test_a_reset_counts_recipients_anew(reset: bytes) -> None:
    session = greeted(limits=ServerSettings(recipients_max=1))
    group = b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n"
    assert codes(session.send(group + reset + b"\r\n" + group)) == [250] * 5


def test_recipients_are_limited_for_now() -> None:
    session = greeted(limits=ServerSettings(recipients_max=2))
    group = b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<a@b>\r\n" * 4 + b"DATA\r\nx\r\n.\r\n"
    assert codes(session.send(group)) == [250, 250, 250, 452, 452, 354, 250]
    assert codes(session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n")) == [250, 250]


def test_lines_that_are_none_are_refused_in_step() -> None:
    session = greeted(limits=ServerSettings(line_limit=20))
    got = session.send(b"NOOP\nRSET\r\n", b"N\0\r\n", b"NOOP 4567890123456789\r\n", b"NOOP\r\n")
    assert codes(got) == [500, 501, 500, 250]
    assert session.violations == ["bare CR or LF", "NUL", "line too long"]


SMUGGLED = b"MAIL FROM:<evil@b>\r\nRCPT TO:<victim@b>\r\nDATA\r\nforged\r\n.\r\n"


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n\n"])
def test_a_smuggled_message_is_part_of_a_refused_one(end: bytes) -> None:
    session = greeted()
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhello" + end + SMUGGLED)
    assert [event for event in session.events if isinstance(event, SenderGiven | MessageEnded)] == [
        SenderGiven(Address("a", "b"), Parameters())
    ]
    assert session.events[-1] == MessageSpoiled(reply.BARE_LINE_END_IN_DATA)
    assert session.sent.endswith(b"554 5.6.0 bare CR or LF in message data\r\n")
    assert session.server.state is State.READY


def test_a_message_over_the_limit_is_read_to_its_end_and_refused() -> None:
    session = greeted(limits=ServerSettings(size_limit=100))
    body = (b"x" * 48 + b"\r\n") * 100
    got = session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", body, b"RSET\r\n.\r\nNOOP\r\n")
    assert codes(got) == [250, 250, 354, 552, 250]
    assert session.events[-1] == MessageSpoiled(reply.MESSAGE_TOO_BIG)
    assert Violation("message too big: read=101 max=100", "") in session.events
    assert TransactionReset() not in session.events


def test_a_chunk_is_never_read_as_commands() -> None:
    session = greeted()
    got = session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 40 LAST\r\nRSET\r\nMAIL FROM:<evil@b>\r\n")
    assert codes(got) == [250, 250, 503]
    assert session.hung_up == "BDAT when not advertised"


def test_a_peers_text_forges_no_reply() -> None:
    got = greeted().send(b"MAIL FROM:<a@\x1b]0;x\x07b>\r\n")
    assert got.count(b"\r\n") == 1
    assert b"\x1b" not in got


def test_a_refused_data_leaves_the_transaction_open() -> None:
    session = greeted()
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    session.answer = lambda question: reply.LOCAL_PROBLEM
    assert codes(session.send(b"DATA\r\n")) == [451]
    session.answer = willing
    assert codes(session.send(b"DATA\r\n.\r\n")) == [354, 250]
    assert MessageEnded(0) in session.events


def test_250_to_data_is_our_mistake() -> None:
    session = greeted()
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    session.answer = lambda question: reply.OK
    with pytest.raises(ValueError):
        session.send(b"DATA\r\n")


# Layers


def in_tls(session: Session) -> Session:
    session.send(b"STARTTLS\r\n")
    session.server.switch_layer()
    session.server.layer_changed(2.0, True)
    session.run()
    return session


def test_mail_without_a_new_greeting_where_esmtp_is_remembered() -> None:
    """Exim: tls_remember_esmtp. Not AUTH, and not once TLS is gone."""
    session = in_tls(greeted(limits=ServerSettings(remember_esmtp=True)))
    assert codes(session.send(b"AUTH PLAIN\r\n")) == [503]
    assert codes(session.send(b"MAIL FROM:<a@b> SIZE=9\r\n")) == [250]
    session.server.layer_changed(3.0, False)
    session.run()
    assert codes(session.send(b"MAIL FROM:<a@b>\r\n")) == [503]
    forgetful = in_tls(greeted())
    assert codes(forgetful.send(b"MAIL FROM:<a@b>\r\n")) == [503]


def test_what_stands_behind_starttls_is_the_handshakes() -> None:
    session = greeted()
    assert codes(session.send(b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@b>\r\n")) == [220]
    assert session.send(b"RCPT TO:<victim@b>\r\n") == b""
    assert session.events[-1] == TLSAsked()
    assert session.server.switch_layer() == b"RSET\r\nMAIL FROM:<evil@b>\r\nRCPT TO:<victim@b>\r\n"
    session.server.layer_changed(2.0, True)
    session.run()
    assert session.events[-1] == TLSAsked()


def test_what_nobody_took_is_gone_with_the_layer() -> None:
    session = greeted()
    session.send(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@b>\r\n")
    session.server.layer_changed(2.0, True)
    session.run()
    assert session.events[-1] == TLSAsked()
    assert codes(session.send(b"MAIL FROM:<a@b>\r\n")) == [503]


def test_a_new_layer_forgets_all() -> None:
    session = greeted()
    session.send(b"MAIL FROM:<a@b>\r\n")
    in_tls(session)
    assert session.events[-1] == TransactionReset()
    assert session.send(b"MAIL FROM:<a@b>\r\n") == b"503 HELO or EHLO required\r\n"
    assert b"STARTTLS" not in session.send(b"EHLO a\r\n")
    assert codes(session.send(b"STARTTLS\r\n")) == [554]


def test_tls_goes_down_in_a_transaction() -> None:
    session = in_tls(greeted())
    session.send(b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf a mess")
    session.server.layer_changed(3.0, False)
    session.run()
    assert session.events[-1] == TransactionReset()
    assert codes(session.send(b"RCPT TO:<c@d>\r\nEHLO a\r\nSTARTTLS\r\n")) == [503, 250, 220]


def test_tls_goes_down_while_a_question_is_open() -> None:
    session = in_tls(greeted())
    session.send(b"EHLO a\r\n")
    session.server.receive(b"MAIL FROM:<a@b>\r\nNOOP\r\n", 3.0)
    assert next_event(session.server) == SenderGiven(Address("a", "b"), Parameters())
    session.server.layer_changed(3.0, False)
    assert session.server.open_question is None
    assert next_event(session.server) is None
    with pytest.raises(RuntimeError):
        session.server.answer(reply.SENDER_OK)
    assert session.server.is_idle


def test_what_was_offered_in_tls_is_not_offered_in_clear() -> None:
    session = greeted()
    session.server.layer_changed(2.0, False)
    assert session.send(b"STARTTLS\r\n") == b"503 STARTTLS command used when not advertised\r\n"
    assert session.send(b"NOOP\r\n") == b"250 OK\r\n"


def test_starttls_ends_an_open_transaction() -> None:
    session = greeted()
    assert codes(session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nSTARTTLS\r\n")) == [250, 250, 220]
    assert session.events[-2:] == [TLSAsked(), TransactionReset()]
    assert session.server.deadline() is None
    in_tls(session)
    assert session.events.count(TransactionReset()) == 1


def test_switch_layer_needs_starttls() -> None:
    with pytest.raises(RuntimeError):
        greeted().server.switch_layer()


def test_starttls_refused_goes_on_in_clear() -> None:
    session = greeted()
    session.answer = lambda q: reply.TLS_NOT_AVAILABLE if isinstance(q, TLSAsked) else willing(q)
    assert codes(session.send(b"STARTTLS\r\nMAIL FROM:<>\r\n")) == [454, 250]
    assert session.events[-1] == SenderGiven(NULL_SENDER, Parameters())


def test_a_poisoned_session_hears_only_quit() -> None:
    session = greeted()
    session.server.poison(reply.SECURITY_FAILURE)
    assert codes(session.send(b"MAIL FROM:<a@b>\r\nEHLO a\r\nQUIT\r\n")) == [554, 554, 221]


def test_tls_on_connect_offers_no_starttls() -> None:
    session = Session(tls=True)
    assert b"STARTTLS" not in session.send(b"EHLO a\r\n")


def test_enhanced_codes_only_where_offered() -> None:
    session = greeted(offers=Offers())
    assert session.send(b"NOOP\r\n") == b"250 OK\r\n"


# Endings and times


def test_close_after_reply() -> None:
    for early in (True, False):
        session = greeted()
        session.server.receive(b"MAIL FROM:<a@b>\r\nNOOP\r\n", 2.0)
        next_event(session.server)
        if early:
            session.server.close_after_reply()
        session.server.answer(reply.ADMINISTRATIVE_PROHIBITION)
        if not early:
            session.server.close_after_reply()
        assert next_event(session.server) == HangUp("dropped")
        assert codes(session.server.data_to_send()) == [550]
        assert next_event(session.server) is None


def test_a_session_hangs_up_once() -> None:
    session = greeted()
    session.send(b"QUIT\r\n")
    session.server.close_after_reply()
    session.server.receive_eof()
    session.server.receive(b"NOOP\r\n", 2.0)
    session.run()
    assert [event for event in session.events if isinstance(event, HangUp)] == [HangUp("by QUIT")]


def test_421_closes() -> None:
    session = greeted()
    session.answer = lambda question: reply.SHUTTING_DOWN
    assert codes(session.send(b"MAIL FROM:<a@b>\r\nNOOP\r\n")) == [421]
    assert session.hung_up == "closed by us"


def test_what_came_before_the_end_is_obeyed() -> None:
    session = greeted()
    session.server.receive(MESSAGE + b"NOO", 2.0)
    session.server.receive_eof()
    session.run()
    assert MessageEnded(20) in session.events
    assert session.hung_up == "lost"


@pytest.mark.parametrize("rest", [b"", b"STARTTLS\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf"])
def test_the_connection_is_lost(rest: bytes) -> None:
    session = greeted()
    session.send(rest)
    session.server.receive_eof()
    session.run()
    assert session.hung_up == "lost"


def test_times() -> None:
    server = Server(ServerSettings(command_timeout=10, data_timeout=20), 100.0)
    assert next_event(server) == Connected()
    assert server.deadline() is None
    server.answer(reply.SERVICE_READY, now=105.0)
    assert server.deadline() == 115.0
    server.receive(b"NO", 112.0)
    assert next_event(server) is None
    assert server.deadline() == 122.0
    server.receive(b"O", 121.0)
    assert next_event(server) is None
    assert server.deadline() == 122.0
    server.expire(121.9)
    assert next_event(server) is None
    server.expire(122.0)
    assert next_event(server) == HangUp("timed out")
    assert codes(server.data_to_send())[-1] == 421
    assert server.deadline() is None


def test_a_message_that_stops_times_out() -> None:
    session = greeted(limits=ServerSettings(data_timeout=20))
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf")
    assert session.server.deadline() == 21.0
    session.server.expire(21.0)
    session.run()
    assert session.hung_up == "timed out"
    assert session.sent.endswith(b"421 4.4.2 SMTP incoming data timeout - closing connection\r\n")


def test_a_message_that_trickles_in_times_out() -> None:
    """Octets that come one by one do not prolong its time; a thousand do, and a command behind it has its own."""
    session = greeted(limits=ServerSettings(data_timeout=20, command_timeout=10, size_limit=0))
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    for moment in range(2, 20):
        session.server.receive(b"x", float(moment))
        session.run()
        assert session.server.deadline() == 21.0
    session.server.receive(b"x" * 1024, 20.0)
    session.run()
    assert session.server.deadline() == 40.0
    session.server.receive(b"\r\n.\r\nN", 39.0)
    session.run()
    assert session.hung_up is None
    assert session.server.deadline() == 30.0  # the edge gives the time of its answer; here none was given


def test_a_message_far_over_the_limit_is_not_read_to_its_end() -> None:
    session = greeted(limits=ServerSettings(size_limit=100, wasted_limit=1000))
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    line = b"x" * 98 + b"\r\n"
    session.send(line * 10)
    assert session.hung_up is None
    session.send(line * 2)
    assert session.hung_up == "message not read to its end"
    assert session.sent.endswith(b"552 5.3.4 Message size exceeds maximum permitted\r\n")
    assert MessageSpoiled(reply.MESSAGE_TOO_BIG) in session.events


def test_a_command_of_100_kb_takes_no_memory() -> None:
    session = greeted()
    for _ in range(100):
        session.send(b"EHLO " + b"x" * 1000)
        assert len(session.server._dialog.lines) <= 4096
    assert codes(session.send(b"\r\nNOOP\r\n")) == [500, 250]


@pytest.mark.parametrize(
    "path",
    [
        b"<" + b"a" * 3000 + b"@b>",
        b"<" + b"(" * 3000 + b"a@b>",
        b"<" + b"@a," * 900 + b"@a:a@b>",
        b"<a@" + b"b." * 1500 + b"b>",
        b'<"' + b"\\" * 3000 + b'"@b>',
        b"<" + b"<" * 3000 + b">",
    ],
)
def test_monstrous_addresses(path: bytes) -> None:
    got = greeted().send(b"MAIL FROM:" + path + b"\r\n")
    assert codes(got)[0] in (250, 501)
    assert len(got) <= 512


def test_fifty_thousand_recipients_are_counted() -> None:
    session = greeted(limits=ServerSettings(recipients_max=50))
    session.send(b"MAIL FROM:<a@b>\r\n")
    answers = codes(session.send(b"RCPT TO:<a@b>\r\n" * 5000))
    assert answers == [250] * 50 + [452] * 4950


def test_a_full_buffer_says_so() -> None:
    server = Server(ServerSettings(input_limit=10), 0.0)
    next_event(server)
    server.receive(b"NOOP\r\nNO", 0.0)
    assert not server.is_full
    server.receive(b"OP\r\n", 0.0)
    assert server.is_full
    server.answer(reply.SERVICE_READY)
    assert next_event(server) is None
    assert not server.is_full
    assert server.is_idle


def test_on_a_pipe_the_message_has_crlf() -> None:
    session = Session(ServerSettings(local=True))
    session.send(b"EHLO a\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\n..a\nb\n.\nQUIT\n")
    assert BodyPiece(b".a\r\nb\r\n") in joined(session.events)
    assert session.hung_up == "by QUIT"


def test_on_a_pipe_chunks_have_crlf_too() -> None:
    session = Session(ServerSettings(local=True), offers=Offers((("CHUNKING", ""), ("PIPELINING", ""))))
    session.send(b"EHLO a\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nBDAT 5\na\nb\r\nBDAT 2 LAST\n\nc")
    assert BodyPiece(b"a\r\nb\r\n\r\nc\r\n") in joined(session.events)
    assert MessageEnded(7) in session.events
