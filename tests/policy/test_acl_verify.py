"""The condition `verify` in its forms: what it answers, what it says of a refusal, and whom it asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.acl_world import DNS, Routes, World, message
from relay.expand.notes import Notes
from relay.expand.values import Tainted
from relay.mail import events
from relay.mail.address import NULL_SENDER, Address
from relay.mail.facts import Hello
from relay.policy.acl_values import Accepted, Deferred, Denied, Where
from relay.policy.verification import Finding, Role, Verified

BAD = Verified(Finding.BAD, "Unrouteable address", user_message="Unrouteable address", failure="route")
UNKNOWN = Verified(Finding.UNKNOWN, "all routers are asleep", failure="route")


# The greeting and the name of the client


@pytest.mark.parametrize(
    "helo, reverse, forward, holds",
    [
        ("client.test", {"192.0.2.7": ("client.test",)}, {"client.test": ("192.0.2.7",)}, True),
        ("CLIENT.test", {"192.0.2.7": ("other.test", "client.test")}, {"client.test": ("192.0.2.7",)}, True),
        ("client.test", {}, {"client.test": ("203.0.113.1", "192.0.2.7")}, True),
        ("client.test", {}, {"client.test": ("203.0.113.1",)}, False),
        # A name that does not lead back is no name of the client's.
        ("client.test", {"192.0.2.7": ("client.test",)}, {}, False),
        ("client.test", {"192.0.2.7": None}, {"client.test": ("192.0.2.7",)}, True),
        ("client.test", {}, {"client.test": None}, False),
        ("[192.0.2.7]", {}, {}, True),
        ("[192.0.2.77]", {}, {}, False),
        ("[IPv4:192.0.2.7]", {}, {}, True),
        ("192.0.2.7", {}, {}, False),
    ],
)
def test_helo(
    helo: str,
    reverse: dict[str, tuple[str, ...] | None],
    forward: dict[str, tuple[str, ...] | None],
    holds: bool,
) -> None:
    world = World(dns=DNS(reverse=reverse, forward=forward))
    world.facts = replace(world.facts, hello=Hello(helo, True))
    assert world.holds("verify = helo") is holds


def test_without_a_greeting_there_is_nothing_true() -> None:
    world = World()
    world.facts = replace(world.facts, hello=None)
    assert not world.holds("verify = helo", Where.CONNECT)


def test_a_local_greeting_is_believed() -> None:
    world = World().local()
    world.facts = replace(world.facts, hello=Hello("anything", True))
    assert world.holds("verify = helo")


def test_reverse_host_lookup() -> None:
    told = DNS(reverse={"192.0.2.7": ("client.test",)}, forward={"client.test": ("192.0.2.7",)})
    assert World(dns=told).holds("verify = reverse_host_lookup")
    assert World().local().holds("verify = reverse_host_lookup")
    verdict = World().ask("require verify = reverse_host_lookup\naccept")
    assert isinstance(verdict, Denied)
    assert verdict.log_text.startswith("host lookup failed for reverse lookup check")


def test_reverse_host_lookup_without_an_answer() -> None:
    world = World(dns=DNS(reverse={"192.0.2.7": None}))
    verdict = world.ask("require verify = reverse_host_lookup\naccept")
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == "host lookup deferred for reverse lookup check"
    assert world.holds("verify = reverse_host_lookup/defer_ok")


# The header


@pytest.mark.parametrize(
    "condition, header, log",
    [
        ("header_syntax", "To: a@@b\n", 'failing address in "To:" header is: a@@b'),
        ("not_blind", "To: someone@else.test\n", "bcc recipient detected"),
    ],
)
def test_a_fault_of_the_header(condition: str, header: str, log: str) -> None:
    world = World(message=message(header, "bert@far.test"))
    verdict = world.ask(f"require verify = {condition}\naccept", Where.DATA)
    assert isinstance(verdict, Denied)
    assert verdict.log_text.endswith(log)
    assert verdict.reply.text == "Administrative prohibition"
    world.details = True
    told = world.ask(f"require verify = {condition}\naccept", Where.DATA)
    assert isinstance(told, Denied)
    assert " ".join(told.reply.lines).startswith("Rejected after DATA: ")


@pytest.mark.parametrize(
    "condition", ["header_syntax", "header_names_ascii", "not_blind", "not_blind/case_insensitive"]
)
def test_a_good_header(condition: str) -> None:
    world = World(message=message("From: anna@x.test\nTo: bert@far.test\n", "bert@far.test"))
    assert world.holds(f"verify = {condition}", Where.DATA)
    assert isinstance(world.ask(f"accept verify = {condition}", Where.RCPT), Deferred), "there is no header yet"


# Recipients


def test_a_recipient_that_can_be_routed() -> None:
    world = World(routes=Routes({"Bert@far.test": Verified(Finding.GOOD, address_data="from the router")}))
    assert isinstance(world.ask("require verify = recipient\naccept logwrite = $address_data"), Accepted)
    assert world.journal.written == ["from the router"]
    assert world.routes.asked == [("Bert@far.test", Role.RECIPIENT)]


def test_a_recipient_that_can_not() -> None:
    world = World(routes=Routes({"Bert@far.test": BAD}))
    verdict = world.ask("require verify = recipient\naccept")
    assert isinstance(verdict, Denied)
    assert (verdict.reply.text, verdict.log_text) == ("Unrouteable address", "Unrouteable address")
    assert world.shown("$recipient_verify_failure") == "route"


def test_a_message_of_ones_own_knows_the_reason() -> None:
    world = World(routes=Routes({"Bert@far.test": BAD}))
    verdict = world.ask("require message = no: $acl_verify_message\nverify = recipient\naccept")
    assert isinstance(verdict, Denied)
    assert verdict.reply.text == "no: Unrouteable address"


def test_the_reason_is_known_to_the_rest_of_its_statement() -> None:
    world = World(routes=Routes({"Bert@far.test": BAD}))
    world.ask("""warn !verify = recipient
            logwrite = <$acl_verify_message>
            set acl_m0 = $acl_verify_message
        warn logwrite = [$acl_verify_message]
        accept""")
    assert world.journal.written == ["<Unrouteable address>", "[]"]
    assert world.shown("$acl_m0") == "Unrouteable address"


def test_a_recipient_of_which_nothing_is_known_now() -> None:
    world = World(routes=Routes({"Bert@far.test": UNKNOWN}))
    verdict = world.ask("require verify = recipient\naccept")
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == "all routers are asleep"
    assert verdict.reply.text == "Temporary local problem - please try later"
    assert world.holds("verify = recipient/defer_ok")
    verdict = world.ask("require verify = recipient/defer_ok")
    assert isinstance(verdict, Denied)
    assert verdict.reply.text == "all routers are asleep", "a refusal behind it has its words"


def test_what_somebody_has_written_for_the_client_is_told() -> None:
    world = World(routes=Routes({"Bert@far.test": Verified(Finding.UNKNOWN, "ask again", user_message="ask again")}))
    verdict = world.ask("require verify = recipient\naccept")
    assert isinstance(verdict, Deferred)
    assert (verdict.reply.text, verdict.log_text) == ("ask again", "ask again")


# Senders


def test_a_sender_is_verified_once_in_a_message() -> None:
    world = World()
    for _ in range(3):
        assert world.holds("verify = sender")
    assert world.routes.asked == [("anna@laptop.test", Role.SENDER)]
    world.memory.begin_message()
    assert world.holds("verify = sender")
    assert len(world.routes.asked) == 2


def test_a_warning_at_the_end_of_a_message_names_it() -> None:
    world = World(message=replace(World().message, message_id="1abcde-2fghij-3k"))
    world.ask("warn log_message = odd\naccept", Where.DATA)
    (event,) = world.journal.events
    assert isinstance(event, events.Warned)
    assert event.message_id == "1abcde-2fghij-3k"


def test_at_the_end_of_a_message_its_id_stands_with_the_sender() -> None:
    late = replace(World().message, message_id="1abcde-2fghij-3k")
    world = World(routes=Routes({"anna@laptop.test": BAD}), message=late)
    world.ask("require verify = sender\naccept", Where.DATA)
    (event,) = world.journal.events
    assert isinstance(event, events.SenderUnverified)
    assert event.message_id == late.message_id


def test_a_sender_that_can_not_be_answered() -> None:
    world = World(routes=Routes({"anna@laptop.test": BAD}))
    verdict = world.ask("require verify = sender\naccept")
    assert isinstance(verdict, Denied)
    assert verdict.reply.lines == (
        "Verification failed for <anna@laptop.test>",
        "Unrouteable address",
        "Sender verify failed",
    )
    assert verdict.log_text == "Sender verify failed"
    assert world.journal.events == [
        events.SenderUnverified(world.facts, "anna@laptop.test", "Unrouteable address", False)
    ]
    again = world.ask("require verify = sender\naccept")
    assert isinstance(again, Denied)
    assert again.reply.lines == ("Sender verify failed",), "the details are told once"


def test_details_of_a_sender_may_be_kept_back() -> None:
    world = World(routes=Routes({"anna@laptop.test": BAD}))
    verdict = world.ask("require verify = sender/no_details\naccept")
    assert isinstance(verdict, Denied)
    assert verdict.reply.lines == ("Sender verify failed",)


def test_a_sender_of_which_nothing_is_known_now() -> None:
    world = World(routes=Routes({"anna@laptop.test": UNKNOWN}))
    verdict = world.ask("require verify = sender\naccept")
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == "Could not complete sender verify"
    assert world.journal.events == [
        events.SenderUnverified(world.facts, "anna@laptop.test", "all routers are asleep", True)
    ]
    assert world.holds("verify = sender/defer_ok")


def test_the_sender_of_bounces_is_not_asked_for() -> None:
    world = World()
    world.message = replace(world.message, sender=NULL_SENDER)
    assert world.holds("verify = sender")
    assert world.routes.asked == []


def test_another_address_as_the_sender() -> None:
    world = World(routes=Routes({"boss@x.test": BAD}))
    world.variables["acl_m_who"] = "boss@x.test"
    assert not world.holds("verify = sender=$acl_m_who")
    assert world.holds("verify = sender = clerk@x.test")
    assert isinstance(world.ask("accept verify = sender=@@"), Deferred)


def test_text_from_outside_is_not_expanded_again() -> None:
    world = World()
    world.variables["acl_m_form"] = Tainted("sender=${acl{none}}@x.test")
    assert world.holds("verify = ${if eq{1}{1}{$acl_m_form}}")
    assert world.routes.asked == [("${acl{none}}@x.test", Role.SENDER)]


# The sender that the header names


def test_one_good_sender_in_the_header_is_enough() -> None:
    world = World(message=message("From: a@x.test\nSender: b@x.test\n"))
    world.routes = Routes({"b@x.test": BAD})
    assert world.holds("verify = header_sender", Where.DATA)
    assert world.routes.asked == [("b@x.test", Role.SENDER), ("a@x.test", Role.SENDER)]


@pytest.mark.parametrize(
    "header, found, log",
    [
        ("Subject: x\n", {}, "there is no valid sender in any header line"),
        ("From: a@x.test\n", {"a@x.test": BAD}, "there is no valid sender in any header line"),
        ("From: <a\n", {}, "syntax error in 'From:' header when scanning for sender: "),
    ],
)
def test_no_sender_in_the_header(header: str, found: dict[str, Verified], log: str) -> None:
    world = World(message=message(header), routes=Routes(found))
    verdict = world.ask("require verify = header_sender\naccept", Where.DATA)
    assert isinstance(verdict, Denied)
    assert verdict.log_text.startswith(log)


def test_who_watches_is_told_each_address_of_the_header() -> None:
    lines: list[str] = []
    world = World(message=message("From: <a@x.test>, anna@laptop.test\n"), notes=Notes(lines.append))
    world.routes = Routes({"a@x.test": BAD})
    assert world.holds("verify = sender", Where.DATA)
    assert ">>>  ----------- end verify ------------" in lines
    lines.clear()
    assert world.holds("verify = header_sender", Where.DATA)
    place = lines.index(">>> check verify = header_sender")
    assert lines[place + 1 : place + 4] == [
        ">>> verifying From: header address <a@x.test>",
        ">>> verifying From: header address anna@laptop.test",
        ">>> previously checked as envelope sender",
    ]
    lines.clear()
    world.ask("require verify = sender\naccept", Where.DATA)
    assert ">>>  using cached sender verify result" in lines


def test_a_header_sender_of_which_nothing_is_known_now() -> None:
    world = World(message=message("From: a@x.test\n"), routes=Routes({"a@x.test": UNKNOWN}))
    verdict = world.ask("require verify = header_sender\naccept", Where.DATA)
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == "all attempts to verify a sender in a header line deferred"
    assert world.holds("verify = header_sender/defer_ok", Where.DATA)


def test_a_warning_about_the_sender_is_in_the_log() -> None:
    world = World(routes=Routes({"anna@laptop.test": BAD}))
    world.ask("warn !verify = sender\nlog_message = odd sender\naccept")
    assert [each.text for each in world.journal.events if isinstance(each, events.Warned)] == ["odd sender"]


def test_an_unqualified_sender_is_the_verifiers_business() -> None:
    world = World(message=message("Subject: x\n"))
    world.message = replace(world.message, sender=Address("anna"))
    assert world.holds("verify = sender")
    assert world.routes.asked == [("anna", Role.SENDER)]


# Callouts

REFUSED = Verified(
    Finding.BAD,
    "mx.test [192.0.2.9] : 550 no",
    user_message="Called:   192.0.2.9\nResponse: 550 no",
    failure="recipient",
    is_from_callout=True,
    callout_address="[192.0.2.9]:25",
)
OPEN = Verified(
    Finding.UNKNOWN,
    "Could not complete sender verify callout: mx.test [192.0.2.9] : asleep",
    user_message="Could not complete sender verify callout",
    is_from_callout=True,
)


def test_a_callouts_options_reach_who_asks() -> None:
    world = World()
    world.variables["acl_m_time"] = "7s"
    assert world.holds("verify = recipient/callout=5s,random/defer_ok")
    assert world.holds("verify = sender=x@y.test/callout=$acl_m_time")
    assert world.holds("verify = sender")
    assert [each.callout.timeout if each.callout else None for each in world.routes.options] == [5.0, 7.0, None]
    assert world.routes.asked[1] == ("x@y.test", Role.SENDER)
    assert world.routes.options[0].defer_ok


def test_a_callout_of_a_sender_that_is_refused() -> None:
    world = World(routes=Routes({"anna@laptop.test": REFUSED}))
    verdict = world.ask("require verify = sender/callout\naccept")
    assert isinstance(verdict, Denied)
    assert verdict.reply.lines == (
        "Verification failed for <anna@laptop.test>",
        "Called:   192.0.2.9",
        "Response: 550 no",
        "Sender verify failed",
    )
    (event,) = world.journal.events
    assert isinstance(event, events.SenderUnverified)
    assert event.reason == "mx.test [192.0.2.9] : 550 no"
    assert world.shown("$sender_verify_failure $callout_address") == "recipient [192.0.2.9]:25"


def test_one_line_is_the_refusal_itself() -> None:
    world = World(routes=Routes({"anna@laptop.test": REFUSED}))
    verdict = world.ask("warn control = no_multiline_responses\nrequire verify = sender/callout\naccept")
    assert isinstance(verdict, Denied)
    assert verdict.reply.lines == ("Sender verify failed",)


def test_a_callout_of_a_recipient_that_is_refused() -> None:
    told = replace(REFUSED, user_message="Callout verification failed:\n550 no")
    world = World(routes=Routes({"Bert@far.test": told}))
    verdict = world.ask("require verify = recipient/callout\naccept")
    assert isinstance(verdict, Denied)
    assert verdict.reply.lines == ("Callout verification failed:", "550 no")
    assert verdict.log_text == "mx.test [192.0.2.9] : 550 no"
    assert world.shown("$recipient_verify_failure") == "recipient"


def test_a_callout_that_could_not_be_completed() -> None:
    world = World(routes=Routes({"anna@laptop.test": OPEN, "Bert@far.test": OPEN}))
    verdict = world.ask("require verify = sender/callout\naccept")
    assert isinstance(verdict, Deferred)
    assert (verdict.reply.lines, verdict.log_text) == (
        ("Could not complete sender verify callout",),
        "Could not complete sender verify callout",
    )
    assert isinstance(world.ask("require verify = recipient/callout\naccept"), Deferred)
    for option in ("defer_ok", "callout_defer_ok", "callout=defer_ok"):
        assert world.holds(f"verify = sender/callout/{option}")
        assert world.holds(f"verify = recipient/callout/{option}")


def test_why_a_callout_could_not_be_completed_is_told_to_who_may_know() -> None:
    world = World(routes=Routes({"anna@laptop.test": OPEN}), details=True)
    verdict = world.ask("require verify = sender/callout\naccept")
    assert isinstance(verdict, Deferred)
    assert verdict.reply.lines == (
        "Could not complete sender verify callout: mx.test [192.0.2.9] : asleep",
        "Could not complete sender verify callout",
    )


def test_callouts_are_asked_each_time() -> None:
    world = World()
    for _ in range(2):
        assert world.holds("verify = sender/callout")
    assert len(world.routes.asked) == 2, "options may differ; what is remembered is not remembered here"


def test_a_callout_of_a_header_sender() -> None:
    found = {"a@x.test": REFUSED}
    world = World(message=message("From: a@x.test\n"), routes=Routes(found), details=True)
    verdict = world.ask("require verify = header_sender/callout=mailfrom=me@relay.test\naccept", Where.DATA)
    assert isinstance(verdict, Denied)
    assert verdict.reply.lines == (
        'Rejected after DATA: could not verify "From:" header address',
        "a@x.test: mx.test [192.0.2.9] : 550 no",
    )
    assert verdict.log_text == "there is no valid sender in any header line"
    (options,) = world.routes.options
    assert options.callout is not None
    assert options.callout.mail_from == "me@relay.test"


def test_a_warning_about_a_sender_says_why() -> None:
    world = World(routes=Routes({"anna@laptop.test": REFUSED}))
    world.ask("warn !verify = sender/callout\nlog_message = $acl_verify_message\naccept")
    (event,) = world.journal.events
    assert isinstance(event, events.Warned)
    assert event.text == "Sender verify failed: mx.test [192.0.2.9] : 550 no"


# What lists have matched


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("domains = *.test", "far.test|far"),
        (r"domains = ^f(.)r\\.(t..t)", "far.test|a"),
        ("domains = far.test", "far.test|"),
        ("senders = *@laptop.test", "anna@laptop.test|anna"),
        ("!domains = else.test", "|"),
    ],
)
def test_what_a_list_has_matched_is_known_to_what_follows(condition: str, shown: str) -> None:
    world = World()
    world.ask(f"accept {condition}\n logwrite = $0|$1")
    assert world.journal.written == [shown]


def test_what_a_list_has_matched_is_a_peers_word() -> None:
    verdict = World().ask("accept domains = *.test\n acl = $1")
    assert isinstance(verdict, Deferred)
