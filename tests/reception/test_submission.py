"""Messages of local programs: who may say what, what is added, and when it counts as accepted."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reception.local_mail import ANNE, NOW, ROOT, SETTINGS, Office, Pieces, Queue, Told, run
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import BodyType
from relay.mail.events import Arrived, ProtocolViolated
from relay.mail.ports import Cancelled, SpoolFull, SpoolUnavailable
from relay.mail.source import Location
from relay.policy.rewrite import parse_rewrite_rules
from relay.reception.request import DeliveryMode, Status, SubmissionRequest
from relay.reception.submission import Drop, Originator
from relay.spool.store import MessageExists

TO_BOB = SubmissionRequest(recipients=("bob@there.example",))
FROM_HEADER = SubmissionRequest(extract_recipients=True)
TEXT = b"Subject: hi\n\nHello\n"


def submit(office, request=TO_BOB, who=ANNE, pieces=(TEXT,), drop=None):
    return run(office.submission.submit(request, who, Pieces(pieces), drop))


def recipients(office: Office) -> list[str]:
    return [str(each.address) for each in office.queue.accepted[0].recipients]


def test_a_message_is_accepted_with_what_it_needs() -> None:
    office = Office()
    answer = submit(office)
    assert answer.status is Status.ACCEPTED
    message = office.queue.accepted[0]
    assert message.message_id == answer.message_id
    assert message.sender == Address("anne", "example.org")
    assert message.due is None
    assert message.body_type is BodyType.SEVENBIT
    assert message.facts.received_at == NOW
    assert message.facts.longest_header_line == len("Subject: hi")
    assert message.facts.session.caller == ANNE.caller
    assert office.queue.body() == b"Hello\r\n"
    lines = office.queue.header().split("\r\n")
    assert lines[0] == f"Received: from anne by relay.example id {answer.message_id}"
    assert lines[1:4] == [
        "Subject: hi",
        f"Message-Id: <E{answer.message_id}@relay.example>",
        "From: Anne O'Neil <anne@example.org>",
    ]
    assert lines[4].startswith("Date: ")
    assert lines[5:] == [""]
    assert office.told.background == [answer.message_id]
    arrived = office.events.recorded[0]
    assert isinstance(arrived, Arrived)
    assert arrived.size == len(message.header) + 2 + len(b"Hello\r\n")
    assert arrived.header_message_id == ""


@pytest.mark.parametrize(
    ("who", "wish", "sender"),
    [
        (ANNE, None, "anne@example.org"),
        (ANNE, "boss@elsewhere.example", "anne@example.org"),
        (ANNE, "<>", ""),
        (ANNE, "", ""),
        (ROOT, "boss@elsewhere.example", "boss@elsewhere.example"),
        (ROOT, "<boss@elsewhere.example>", "boss@elsewhere.example"),
        (ROOT, "boss", "boss@example.org"),
        (ROOT, "jürgen@müller.example", "jürgen@müller.example"),
        (ROOT, None, "root@example.org"),
    ],
)
def test_whose_word_on_the_sender_counts(who, wish, sender) -> None:
    office = Office()
    assert submit(office, replace(TO_BOB, sender=wish), who).status is Status.ACCEPTED
    assert str(office.queue.accepted[0].sender) == sender


@pytest.mark.parametrize(
    ("who", "named", "told"),
    [(ROOT, "10HmaX-0005vi-00", "10HmaX-0005vi-00"), (ROOT, "x R=y", ""), (ANNE, "10HmaX-0005vi-00", "")],
)
def test_who_is_trusted_may_name_the_message_that_it_is_about(who: Originator, named: str, told: str) -> None:
    office = Office()
    submit(office, replace(TO_BOB, given=(("message", named),)), who)
    arrived = office.events.recorded[0]
    assert isinstance(arrived, Arrived)
    assert arrived.bounce_of == told


def test_what_came_from_another_host_is_not_completed() -> None:
    office = Office()
    submit(office, replace(TO_BOB, given=(("address", "192.0.2.1"),)), ROOT, pieces=(b"Subject: x\n\nHello\n",))
    assert "Message-Id:" not in office.queue.header()
    assert "Date:" not in office.queue.header()
    submit(office, TO_BOB, ROOT, pieces=(b"Subject: x\n\nHello\n",))
    assert "Message-Id:" in office.queue.header(1)


def test_untrusted_set_sender_allows_what_it_lists() -> None:
    async def list_address(address: Address) -> bool:
        return address.domain == "lists.example"

    office = Office(may_set_sender=list_address)
    submit(office, replace(TO_BOB, sender="news@lists.example"))
    submit(office, replace(TO_BOB, sender="news@other.example"))
    assert [str(each.sender) for each in office.queue.accepted] == ["news@lists.example", "anne@example.org"]


def test_untrusted_set_sender_allows_what_it_lists_in_the_from_line_too() -> None:
    async def list_address(address: Address) -> bool:
        return address.domain == "lists.example"

    office = Office(may_set_sender=list_address)
    for named in ("news@lists.example", "news@other.example", "@@", "<>"):
        submit(office, pieces=(f"From {named} Fri Jan  5 12:35 GMT 1996\n".encode() + TEXT,))
    assert [str(each.sender) for each in office.queue.accepted] == ["news@lists.example", *["anne@example.org"] * 3]


def test_the_from_line_of_a_mailbox_is_dropped_and_names_the_sender_for_trusted_callers() -> None:
    text = b"From boss@elsewhere.example Fri Jan  5 12:35 GMT 1996\n" + TEXT
    for who, sender in ((ROOT, "boss@elsewhere.example"), (ANNE, "anne@example.org")):
        office = Office()
        submit(office, who=who, pieces=(text,))
        assert str(office.queue.accepted[0].sender) == sender
        assert "1996" not in office.queue.header()
        author = "boss@elsewhere.example" if who is ROOT else "Anne O'Neil <anne@example.org>"
        assert f"From: {author}\r\n" in office.queue.header()
        assert office.queue.body() == b"Hello\r\n"


def test_the_log_shows_recipients_as_they_were_named_and_an_id_that_was_made() -> None:
    office = Office()
    answer = submit(office, SubmissionRequest(recipients=("bob",)))
    arrived = office.events.recorded[0]
    assert isinstance(arrived, Arrived)
    assert ([str(each) for each in arrived.named], arrived.header_message_id) == (["bob"], "")
    assert arrived.made_message_id == f"<E{answer.message_id}@relay.example>"
    assert arrived.session.connection_id.isdigit()


def test_addresses_in_arguments() -> None:
    office = Office()
    submit(office, SubmissionRequest(recipients=("bob, Carl <carl@there.example>", "bob", "Bob@There.Example")))
    assert recipients(office) == ["bob@mail.example.org", "carl@there.example", "Bob@There.Example"]


@pytest.mark.parametrize(
    ("request_", "text", "complaint"),
    [
        (SubmissionRequest(), TEXT, "no recipients given"),
        (SubmissionRequest(recipients=("a b@c",)), TEXT, 'bad recipient address "a b@c"'),
        (SubmissionRequest(recipients=("bob",), qualify=False), TEXT, "unqualified recipient address not allowed"),
        (replace(TO_BOB, sender="a b c"), TEXT, "bad -f address"),
        (replace(TO_BOB, sender="a@[192.0.2.1]"), TEXT, "domain literals not allowed"),
        (SubmissionRequest(recipients=("a@[192.0.2.1]",)), TEXT, "domain literals not allowed"),
        (FROM_HEADER, TEXT, "no recipient addresses found in header lines"),
        (FROM_HEADER, b"To: a b@c\n\n", "bad address in a header line"),
        (replace(FROM_HEADER, recipients=("bob@there.example",)), b"To: bob@there.example\n\n", "were removed"),
        (TO_BOB, b"Received: x\n" * 31 + b"\n", "suspected mail loop"),
        (TO_BOB, b"Subject: " + b"x" * 1048576 + b"\n\n", "message header longer than 1048576"),
    ],
)
def test_what_is_refused(request_: SubmissionRequest, text: bytes, complaint: str) -> None:
    office = Office()
    answer = submit(office, request_, pieces=(text,))
    assert answer.status is Status.REFUSED
    assert complaint in answer.text
    assert office.queue.accepted == []
    assert office.events.recorded == []


def test_a_field_over_the_limit_is_refused() -> None:
    office = Office(settings=replace(SETTINGS, header_line_maxsize=10))
    answer = submit(office, pieces=(b"Subject: too long\n\nx\n",))
    assert answer.text == "message header line longer than 10 characters received: message not accepted"


def test_a_message_over_the_limit_leaves_nothing_behind() -> None:
    office = Office(settings=replace(SETTINGS, message_size_limit=200_000))
    answer = submit(office, pieces=(TEXT, *[b"x" * 65536] * 4))
    assert (answer.status, answer.text) == (Status.REFUSED, "message too big")
    assert len(office.queue.abandoned) == 1
    assert office.queue.pieces == {}
    (told,) = office.events.recorded
    assert isinstance(told, ProtocolViolated)
    assert told.what == "message too big: read=200001 max=200000"


def test_too_many_recipients() -> None:
    office = Office(settings=replace(SETTINGS, recipients_max=2))
    assert submit(office, SubmissionRequest(recipients=("a@x, b@x, c@x",))).text == "too many recipients"


def test_recipients_from_the_header() -> None:
    office = Office()
    to = b'To: "Bob, the" <bob@there.example>, team: x@y.example, carl@z.example;\n'
    text = to + b"Bcc: dora@d.example\nCc: bob@there.example\n\n.\n"
    submit(office, replace(FROM_HEADER, recipients=("X@y.example", "x@Y.example")), pieces=(text,))
    assert recipients(office) == ["bob@there.example", "carl@z.example", "dora@d.example"]
    assert "Bcc" not in office.queue.header()


def test_arguments_add_to_the_header_where_the_option_says_so() -> None:
    office = Office(settings=replace(SETTINGS, extract_addresses_remove_arguments=False))
    submit(office, replace(FROM_HEADER, recipients=("x@y.example",)), pieces=(b"To: bob@there.example\n\n",))
    assert recipients(office) == ["x@y.example", "bob@there.example"]


def test_bcc_stays_where_recipients_are_arguments() -> None:
    office = Office()
    submit(office, pieces=(b"Bcc: dora@d.example\n\n",))
    assert "Bcc: dora@d.example" in office.queue.header()
    assert recipients(office) == ["bob@there.example"]


def test_resent_fields_name_the_recipients_of_a_message_that_is_resent() -> None:
    office = Office()
    submit(office, FROM_HEADER, pieces=(b"Resent-To: new@n.example\nTo: old@o.example\nDate: d\n\n",))
    assert recipients(office) == ["new@n.example"]
    header = office.queue.header()
    assert "Resent-Message-Id: <E" in header
    assert header.index("Resent-Message-Id: ") < header.index("To: old") < header.index("Resent-From: ")
    assert "\nDate: d\r\n" in header


@pytest.mark.parametrize(
    ("mode", "due", "background", "interactive"),
    [
        (DeliveryMode.BACKGROUND, None, 1, 0),
        (DeliveryMode.INTERACTIVE, None, 0, 1),
        (DeliveryMode.QUEUE, NOW + 1800, 0, 0),
    ],
)
def test_delivery_modes(mode, due, background, interactive) -> None:
    office = Office()
    submit(office, replace(TO_BOB, delivery=mode))
    assert office.queue.accepted[0].due == due
    assert (len(office.told.background), len(office.told.interactive)) == (background, interactive)


@pytest.mark.parametrize("mode", [DeliveryMode.BACKGROUND, DeliveryMode.INTERACTIVE])
def test_the_first_attempt_may_only_route(mode: DeliveryMode) -> None:
    office = Office()
    submit(office, replace(TO_BOB, delivery=mode, routes_only=True))
    (message,) = office.queue.accepted
    assert (message.due, office.told.routed_only) == (None, {message.message_id})


def test_a_message_waits_its_turn_where_deliveries_are_many() -> None:
    office = Office(told=Told(is_full=True))
    submit(office)
    assert office.queue.accepted[0].due == NOW
    assert office.told.background == []


@pytest.mark.parametrize("step", ["append", "accept"])
@pytest.mark.parametrize("trouble", [SpoolFull("disk full"), SpoolUnavailable("locked")])
def test_a_queue_in_trouble_is_never_an_acceptance(step: str, trouble: Exception) -> None:
    office = Office(queue=Queue(trouble={step: trouble}))
    answer = submit(office, pieces=(TEXT, b"x" * 200_000))
    assert answer.status is Status.DEFERRED
    assert str(trouble) in answer.text
    assert office.events.recorded == []
    assert office.told.background == []


def test_a_program_that_goes_half_way_leaves_nothing() -> None:
    office = Office()
    with pytest.raises(Cancelled):
        submit(office, pieces=(TEXT, b"x" * 200_000, Cancelled()))
    assert office.queue.accepted == []
    assert office.queue.pieces == {}


@pytest.mark.parametrize("header,expected", [("Mime-version: 1.0\n", BodyType.EIGHTBITMIME), ("", BodyType.SEVENBIT)])
def test_eight_bit_text_says_so_where_it_is_mime(header: str, expected: BodyType) -> None:
    office = Office()
    submit(office, pieces=(f"Subject: x\n{header}\ngrüße".encode(),))
    assert office.queue.accepted[0].body_type is expected


def test_mime_in_ascii_needs_no_eight_bits() -> None:
    office = Office()
    submit(office, pieces=(b"Subject: x\nMIME-Version: 1.0\n\nhello\n",))
    assert office.queue.accepted[0].body_type is BodyType.SEVENBIT


def test_a_dropped_file_is_removed_between_the_commit_and_the_delivery() -> None:
    office = Office()
    steps = []
    drop = Drop("1xUfyz-000000-2k", lambda: steps.append((len(office.queue.accepted), len(office.told.background))))
    assert submit(office, drop=drop).message_id == "1xUfyz-000000-2k"
    assert steps == [(1, 0)]
    assert office.told.background == ["1xUfyz-000000-2k"]


@pytest.mark.parametrize("step", ["append", "accept"])
def test_a_dropped_file_that_was_accepted_before_is_removed_and_goes_on(step: str) -> None:
    office = Office(queue=Queue(trouble={step: MessageExists("taken")}))
    removed = []
    answer = submit(
        office,
        pieces=(TEXT, b"x" * 100_000),
        drop=Drop("1xUfyz-000000-2k", lambda: removed.append(len(office.told.background))),
    )
    assert answer.status is Status.ACCEPTED
    assert removed == [0]
    assert office.told.background == [answer.message_id]
    assert office.queue.abandoned == []


def test_a_null_sender_gets_a_from_of_the_caller() -> None:
    office = Office()
    submit(office, replace(TO_BOB, sender="<>"))
    assert office.queue.accepted[0].sender == NULL_SENDER
    assert "From: Anne O'Neil <anne@example.org>" in office.queue.header()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_input_puts_a_bare_line_end_into_the_queue(pieces: list[bytes]) -> None:
    office = Office()
    answer = submit(office, pieces=[each for each in pieces if each])
    assert answer.status is Status.ACCEPTED
    for stored in (office.queue.accepted[0].header, office.queue.body()):
        assert b"\r" not in stored.replace(b"\r\n", b"")
        assert b"\n" not in stored.replace(b"\r\n", b"")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120), st.lists(st.integers(0, 120), max_size=5))
def test_every_split_gives_the_same_message(text: bytes, cuts: list[int]) -> None:
    whole, split = Office(), Office()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    submit(whole, pieces=[text] if text else [])
    submit(split, pieces=[text[a:b] for a, b in pairwise(places) if a < b])
    assert whole.queue.accepted == split.queue.accepted
    assert whole.queue.body() == split.queue.body()


# Rewriting


def rewriting(*lines: str) -> Office:
    rules = parse_rewrite_rules([(Location("relay.conf", number), line) for number, line in enumerate(lines, 1)])
    return Office(settings=replace(SETTINGS, rewrite=rules))


def test_a_laptop_sends_under_its_public_addresses() -> None:
    office = rewriting("anne@example.org Anne.Public@provider.example bctfrsF")
    submit(office, pieces=(b"To: Bob <bob@there.example>\nCc: me (home) <anne>\n\nHello\n",))
    message = office.queue.accepted[0]
    assert str(message.sender) == "Anne.Public@provider.example"
    assert recipients(office) == ["bob@there.example"]
    lines = office.queue.header().split("\r\n")
    assert "To: Bob <bob@there.example>" in lines
    # cc: is a recipient's field, so the bare name gets another domain than the rule is for.
    assert "Cc: me (home) <anne@mail.example.org>" in lines
    assert "From: Anne O'Neil <Anne.Public@provider.example>" in lines
    (arrived,) = office.events.recorded
    assert isinstance(arrived, Arrived)
    assert arrived.sender == message.sender
    assert arrived.size == len(message.header) + 2 + message.body_size


def test_recipients_that_become_one_get_one_copy() -> None:
    office = rewriting("*@old.example bob@new.example T")
    submit(office, SubmissionRequest(recipients=("a@old.example", "bob@new.example", "c@old.example", "d@x.example")))
    assert recipients(office) == ["bob@new.example", "d@x.example"]


def test_rules_see_who_calls_and_the_new_sender() -> None:
    office = rewriting("anne@* $caller_uid.x@y.example F", "*@* $sender_address_local_part@z.example f")
    submit(office)
    assert str(office.queue.accepted[0].sender).endswith(".x@y.example")
    sender = office.queue.accepted[0].sender.local_part
    assert f"<{sender}@z.example>" in office.queue.header()


def test_with_bnq_header_addresses_stay_unqualified() -> None:
    office = rewriting("*@nowhere.example x@y.example")
    submit(office, replace(TO_BOB, qualify=False), pieces=(b"To: carl\n\n",))
    assert "To: carl\r\n" in office.queue.header()


def test_addresses_in_the_header_get_a_domain_unless_the_caller_does_not_want_it() -> None:
    office = Office()
    submit(office, pieces=(b"To: carl\n\n",))
    assert "To: carl@mail.example.org\r\n" in office.queue.header()
    office = Office()
    submit(office, replace(TO_BOB, qualify=False), pieces=(b"To: carl\n\n",))
    assert "To: carl\r\n" in office.queue.header()
