"""A transaction by what the server offers: parameters, what is refused here, limits."""

import pytest

from relay.esmtp.transaction import Hop, Transaction
from relay.mail.address import Address
from relay.mail.envelope import BodyType, Envelope, Parameters, Recipient
from relay.mail.outcome import Deferred, Delivered, Failed, RemoteHost
from relay.mail.reply import Reply

HOST = RemoteHost("relay.example", "192.0.2.1", 25)
CHUNKS = {"PIPELINING": "", "CHUNKING": "", "BINARYMIME": ""}


def envelope(*names: str, sender: str = "a", body: BodyType = BodyType.SEVENBIT, **parameters: str) -> Envelope:
    recipients = tuple(Recipient(Address(name, "d.example")) for name in names)
    return Envelope(Address(sender, "b.example"), recipients, body, 0, Parameters(tuple(parameters.items())))


def begun(
    given: Envelope, messages: int = 0, by_chunks: bool = False, groups: bool = True, **offers: str
) -> Transaction:
    return Transaction(given, offers, Hop(HOST, messages=messages, by_chunks=by_chunks, groups=groups))


def test_what_was_asked_about_notifications_goes_on() -> None:
    given = Envelope(
        Address("a", "b"),
        (Recipient(Address("c", "d"), Parameters((("NOTIFY", "SUCCESS,DELAY"), ("ORCPT", "rfc822;c@d"), ("X", "y")))),),
        parameters=Parameters((("SIZE", "5"), ("RET", "HDRS"), ("ENVID", "x+2B"), ("HOLDFOR", "60"))),
    )
    transaction = begun(given, DSN="")
    assert transaction.mail == "MAIL FROM:<a@b> RET=HDRS ENVID=x+2B"
    assert transaction.rcpt(0) == "RCPT TO:<c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d"
    transaction.message_answered(Reply(250))
    (outcome,) = transaction.outcomes()
    assert isinstance(outcome, Delivered)
    assert outcome.passes_dsn


def test_to_a_server_without_dsn_nothing_of_it_goes() -> None:
    given = Envelope(Address("a", "b"), (Recipient(Address("c", "d"), Parameters((("NOTIFY", "NEVER"),))),))
    transaction = begun(given, SIZE="")
    assert (transaction.mail, transaction.rcpt(0)) == ("MAIL FROM:<a@b>", "RCPT TO:<c@d>")
    transaction.message_answered(Reply(250))
    (outcome,) = transaction.outcomes()
    assert isinstance(outcome, Delivered)
    assert not outcome.passes_dsn


def test_a_value_that_would_break_the_line_does_not_go() -> None:
    given = Envelope(
        Address("a", "b"),
        (Recipient(Address("c", "d")),),
        parameters=Parameters((("ENVID", "x\r\nRSET"), ("RET", "FULL"))),
    )
    assert begun(given, DSN="").mail == "MAIL FROM:<a@b> RET=FULL"


@pytest.mark.parametrize("body", [BodyType.SEVENBIT, BodyType.EIGHTBITMIME])
def test_eight_bits_go_out_as_they_are(body: BodyType) -> None:
    assert begun(envelope("c", body=body)).mail == "MAIL FROM:<a@b.example>"
    declared = " BODY=8BITMIME" if body is BodyType.EIGHTBITMIME else ""
    assert begun(envelope("c", body=body), **{"8BITMIME": ""}).mail == f"MAIL FROM:<a@b.example>{declared}"


def test_a_binary_body_goes_by_chunks() -> None:
    transaction = begun(envelope("c", body=BodyType.BINARYMIME), **CHUNKS)
    assert transaction.by_chunks
    assert transaction.mail == "MAIL FROM:<a@b.example> BODY=BINARYMIME"


@pytest.mark.parametrize("missing", list(CHUNKS))
def test_or_not_at_all(missing: str) -> None:
    offers = {keyword: text for keyword, text in CHUNKS.items() if keyword != missing}
    transaction = begun(envelope("c", body=BodyType.BINARYMIME), **offers)
    assert transaction.to_send == []
    (outcome,) = transaction.outcomes()
    assert isinstance(outcome, Failed)
    assert outcome.status == "5.6.1"
    assert not begun(envelope("c", body=BodyType.BINARYMIME), groups=False, **CHUNKS).to_send


def test_chunks_have_to_be_wanted() -> None:
    assert not begun(envelope("c"), **CHUNKS).by_chunks
    assert begun(envelope("c"), by_chunks=True, **CHUNKS).by_chunks
    assert not begun(envelope("c"), by_chunks=True, CHUNKING="").by_chunks


def test_smtputf8_goes_on() -> None:
    assert begun(envelope("c", SMTPUTF8=""), SMTPUTF8="").mail == "MAIL FROM:<a@b.example> SMTPUTF8"
    assert begun(envelope("ä"), SMTPUTF8="").mail == "MAIL FROM:<a@b.example> SMTPUTF8"
    assert begun(envelope("c", sender="ä"), SMTPUTF8="").mail == "MAIL FROM:<ä@b.example> SMTPUTF8"
    assert begun(envelope("c"), SMTPUTF8="").mail == "MAIL FROM:<a@b.example>"


@pytest.mark.parametrize("given", [envelope("c", SMTPUTF8=""), envelope("c", sender="ä"), envelope("ä")])
def test_or_fails_clearly(given: Envelope) -> None:
    transaction = begun(given)
    assert transaction.to_send == []
    (outcome,) = transaction.outcomes()
    assert isinstance(outcome, Failed)
    assert outcome.status == "5.6.7"
    assert "utf8" in outcome.reason.lower()


def test_others_are_not_held_up_by_one_recipient() -> None:
    transaction = begun(envelope("c", "ä"))
    assert transaction.to_send == [0]
    assert transaction.mail == "MAIL FROM:<a@b.example>"


def test_a_message_over_the_limit() -> None:
    given = Envelope(Address("a", "b"), (Recipient(Address("c", "d")),), size=11)
    transaction = begun(given, SIZE="10")
    (outcome,) = transaction.outcomes()
    assert isinstance(outcome, Failed)
    assert outcome.status == "5.3.4"


def test_limits_of_the_server() -> None:
    transaction = begun(envelope("c", "d", "e"), LIMITS="RCPTMAX=2")
    assert transaction.to_send == [0, 1]
    transaction.message_answered(Reply(250))
    transaction.settle_rest(Failed("x"))
    assert [type(each) for each in transaction.outcomes()] == [Delivered, Delivered, Deferred]
    assert begun(envelope("c"), messages=1, LIMITS="MAILMAX=2").to_send == [0]
    transaction = begun(envelope("c"), messages=2, LIMITS="MAILMAX=2")
    assert transaction.to_send == []
    assert isinstance(transaction.outcomes()[0], Deferred)


def test_requiretls_goes_on_where_it_is_offered() -> None:
    given = envelope("c", REQUIRETLS="")
    assert begun(given, REQUIRETLS="").mail == "MAIL FROM:<a@b.example> REQUIRETLS"
    assert begun(given).mail == "MAIL FROM:<a@b.example>"
