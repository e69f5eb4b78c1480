"""Callouts: what servers are asked, what is made of their answers, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import NO_SUCH_NAME, Names, Notebook, StoppedClock, run
from delivery.servers import NOW, ONE, TWO, Dialer, Server, hosts, lost, make_ports
from policy.acl_world import KeptHints
from policy.routers.routing_world import Zone
from relay.delivery.callout import CalloutRules, HostCallouts
from relay.delivery.link import HandshakeFailed, LinkFailed
from relay.delivery.remote import SMTPTransport
from relay.delivery.remote_copy import CopyRules
from relay.delivery.smtp_rules import HostRules, LoginRules, SMTPRules
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import AddressView, MessageView, Scope
from relay.mail.address import Address, address_from_text
from relay.mail.events import MessageNote, Trouble
from relay.mail.facts import SessionFacts
from relay.mail.outcome import ErrorClass
from relay.mail.ports import TemporaryFailure
from relay.mail.reply import Reply
from relay.policy.routers.answers import Routed, RouteHost
from relay.policy.routers.items import Carried, top_item
from relay.policy.tls import ClientTLSRules
from relay.policy.verification import (
    CalloutOptions,
    Finding,
    MailFrom,
    Objection,
    Question,
    Role,
    Verified,
    Ways,
)

import certs

BERT = Address("bert", "far.test")
NO, LATER = Reply(550, "", ("Unknown user",)), Reply(450, "", ("come back",))
ONE_HOST = (RouteHost(ONE.name, ONE.port, (ONE.address,)),)
TWO_HOSTS = (*ONE_HOST, RouteHost(TWO.name, TWO.port, (TWO.address,)))


class World:
    """Servers to be asked, and the memory of what they said."""

    def __init__(self, *servers: Server, details: bool = False, **options: Any) -> None:
        self.servers = servers
        self.journal = Notebook()
        self.hints = KeptHints()
        self.clock = StoppedClock(NOW)
        self.dialer = Dialer(dict(zip((ONE.name, TWO.name), servers, strict=False)), (certs.relay(),))
        ports = make_ports(self.dialer, self.journal, clock=self.clock)
        self.scope = Scope(
            main={"primary_hostname": "relay.test"},
            message=MessageView(sender=Address("anna", "laptop.test"), size=500),
        )
        tls = options.pop("tls", ClientTLSRules())
        transport = SMTPTransport(SMTPRules("smtp", tls, **options), ports, self.scope)
        rules = CalloutRules(
            random_local_part=compile_expansion("nobody-here"), qualify_domain="relay.test", tells_details=details
        )
        self.callouts = HostCallouts({"smtp": transport}, ports, self.hints, rules)

    def ask(
        self,
        role: Role = Role.SENDER,
        *,
        about: Address = BERT,
        route: tuple[RouteHost, ...] | None = None,
        transport: str = "smtp",
        carried: Carried | None = None,
        view: AddressView | None = None,
        **options: Any,
    ) -> Verified:
        route = (ONE_HOST if len(self.servers) < 2 else TWO_HOSTS) if route is None else route
        routed = Routed(
            router="r",
            transport=transport,
            item=top_item(about),
            view=view or AddressView(),
            hosts=route,
            carried=carried or Carried(),
        )
        return run(self.callouts.ask(Question(about, role, CalloutOptions(**options), routed), self.scope))

    @property
    def story(self) -> list[str]:
        return self.servers[0].story


def clear(**says: Any) -> Server:
    """A server without TLS. Words: mail, rcpt, postmaster."""
    commands = {
        "mail": "MAIL FROM:<>",
        "rcpt": "RCPT TO:<bert@far.test>",
        "random": "RCPT TO:<nobody-here@far.test>",
        "postmaster": "RCPT TO:<postmaster@far.test>",
        "plain_postmaster": "RCPT TO:<postmaster>",
        "rset": "RSET",
    }
    return Server(offers_tls=False, says={commands[word]: answer for word, answer in says.items()})


def test_an_address_that_is_taken() -> None:
    world = World(Server())
    found = world.ask()
    assert found == Verified(Finding.GOOD, is_from_callout=True, callout_address="[192.0.2.1]:25")
    assert world.story == ["dial", "hello", "tls", "hello", "MAIL FROM:<>", "RCPT TO:<bert@far.test>", "quit"]
    (manners,) = world.dialer.manners
    assert (manners.timeouts.connect, manners.timeouts.command) == (30.0, 30.0)


@pytest.mark.parametrize("received, sender, expected", [("a+b@c.test", None, "a+2Bb@c.test"), ("a@c.test", "me", "me")])
def test_the_sender_that_is_asserted(received: str, sender: str | None, expected: str) -> None:
    """As in a delivery: what a client has said at MAIL is said on, or what the transport says instead."""
    login = LoginRules(sender=compile_expansion(sender) if sender else None, sender_force=True)
    world = World(Server(), login=login)
    world.scope.more = {"authenticated_sender": received}
    world.ask()
    assert f"MAIL FROM:<> AUTH={expected}" in world.story


def test_times() -> None:
    world = World(Server())
    world.ask(timeout=5.0, connect=2.0)
    (manners,) = world.dialer.manners
    assert (manners.timeouts.connect, manners.timeouts.command) == (2.0, 5.0)


def test_a_sender_that_is_refused() -> None:
    found = World(clear(rcpt=NO)).ask()
    assert (found.finding, found.failure, found.objection) == (Finding.BAD, "recipient", Objection.ADDRESS)
    assert found.reason == (
        "one.test [192.0.2.1] : SMTP error from remote mail server after RCPT TO:<bert@far.test>: 550 Unknown user"
    )
    assert found.user_message == "Called:   192.0.2.1\nSent:     RCPT TO:<bert@far.test>\nResponse: 550 Unknown user"


def test_a_recipient_that_is_refused_does_not_show_our_host() -> None:
    found = World(clear(rcpt=Reply(550, "5.1.1", ("no", "such one")))).ask(Role.RECIPIENT)
    assert found.user_message == "Callout verification failed:\n550-5.1.1 no\n550 5.1.1 such one"


def test_odd_octets_of_a_reply_are_cut_off() -> None:
    found = World(clear(rcpt=Reply(550, "", ("bad\x1b[2J",)))).ask()
    assert found.user_message.endswith("Response: 550 bad(truncated)")
    assert found.reason.endswith("550 bad\\033[2J")


def test_the_null_sender_is_refused() -> None:
    world = World(clear(mail=NO))
    found = world.ask()
    assert (found.finding, found.failure, found.objection) == (Finding.BAD, "mail", Objection.SETUP)
    assert found.reason == 'one.test [192.0.2.1] : response to "MAIL FROM:<>" was: 550 Unknown user'
    again = world.ask(about=Address("carla", "far.test"))
    assert again.user_message == "(result of an earlier callout reused)."
    assert world.story.count("dial") == 1, "that holds for the domain"


@pytest.mark.parametrize("fault", ["mail", "rcpt"])
def test_an_answer_that_is_none(fault: str) -> None:
    world = World(clear(**{fault: LATER}))
    found = world.ask()
    assert (found.finding, found.is_from_callout) == (Finding.UNKNOWN, True)
    assert found.reason.startswith("Could not complete sender verify callout: one.test [192.0.2.1] : ")
    assert found.reason.endswith("450 come back")
    assert found.user_message == "Could not complete sender verify callout"
    world.ask()
    assert world.story.count("dial") == 2, "and is not remembered"


def test_details_for_who_may_know() -> None:
    world = World(clear(rcpt=LATER), details=True)
    assert "need to change the address or create an MX record" in world.ask().user_message
    assert world.ask(Role.RECIPIENT).user_message.endswith("the address will never be accepted.")


def test_a_second_host_is_asked_where_the_first_does_not_know() -> None:
    refused = LinkFailed(ErrorClass.CONNECTION_REFUSED, "Connection refused")
    world = World(Server(dial=refused), clear(rcpt=NO))
    found = world.ask()
    assert found.reason.startswith("two.test [192.0.2.2] : ")
    assert found.callout_address == "[192.0.2.2]:25"
    both = World(Server(dial=refused), Server(dial=refused)).ask()
    assert both.reason == "Could not complete sender verify callout", "of several hosts no one is named"
    one = World(Server(dial=refused)).ask()
    assert one.reason == "Could not complete sender verify callout: one.test [192.0.2.1] : Connection refused"


def test_a_final_answer_is_final_for_all_hosts() -> None:
    world = World(clear(rcpt=NO), clear())
    assert world.ask().finding is Finding.BAD
    assert world.servers[1].story == []


def test_no_further_host_behind_maxwait() -> None:
    world = World(clear(rcpt=LATER), clear())
    assert world.ask().finding is Finding.GOOD
    world = World(clear(rcpt=LATER), clear())
    assert world.ask(maxwait=0.0).finding is Finding.UNKNOWN
    assert world.servers[0].story == world.servers[1].story == []


def test_a_server_that_wants_nothing_of_us() -> None:
    refused = LinkFailed(
        ErrorClass.OTHER, "SMTP error from remote mail server after initial connection: 554 no", Reply(554, "", ("no",))
    )
    world = World(Server(hello=refused))
    found = world.ask()
    assert (found.finding, found.failure, found.objection) == (Finding.BAD, "mail", Objection.SETUP)
    assert found.user_message == "Called:   192.0.2.1\nResponse: 554 no"
    world.ask(Role.RECIPIENT, sender=MailFrom.SENDER)
    assert world.story.count("dial") == 1


def test_a_line_that_is_lost() -> None:
    found = World(clear(rcpt=lost("connection lost after RCPT TO"))).ask()
    assert found.reason.endswith(": connection lost after RCPT TO")
    assert found.finding is Finding.UNKNOWN
    late = World(clear(rcpt=LinkFailed(ErrorClass.TIMEOUT, "timeout after RCPT TO"))).ask()
    assert late.reason.endswith(": SMTP timeout after RCPT TO:<bert@far.test>")


# TLS


def test_a_must_is_a_must_for_callouts_too() -> None:
    tls = ClientTLSRules(require_tls=hosts("*"))
    world = World(Server(offers_tls=False), tls=tls)
    assert world.ask().finding is Finding.UNKNOWN
    assert not any("MAIL" in each for each in world.story)


@pytest.mark.parametrize(
    "rules, why",
    [
        (HostRules(dnssec_require=compile_list(ListKind.DOMAIN, "*")), "lookup of IP address for mx.test was insecure"),
        (HostRules(by_name=True), "failed to lookup IP address for mx.test"),
    ],
)
def test_hosts_that_are_not_found_say_nothing_of_an_address(rules: HostRules, why: str) -> None:
    world = World(Server(), hosts=replace(rules, hosts=compile_expansion("mx.test")))
    zone = Zone({"mx.test A": (ONE.address,)})
    world.scope = world.scope.child(dns=zone, resolver=Names({"mx.test": NO_SUCH_NAME}))
    assert world.ask(route=()).finding is Finding.UNKNOWN
    assert world.story == []
    assert [each.text for each in world.journal.of(Trouble)] == [f"smtp transport, for a callout: {why}"]


def test_a_host_that_is_this_one_is_asked() -> None:
    world = World(hosts=HostRules(hosts=compile_expansion("127.0.0.1")))
    server = Server()
    world.dialer.servers = {"127.0.0.1": server}
    assert world.ask(route=()).finding is Finding.GOOD
    assert "dial" in server.story


def test_hosts_that_are_asked_in_clear() -> None:
    world = World(Server(), verify_avoid_tls=hosts("192.0.2.1"))
    world.ask()
    assert "RCPT TO:<bert@far.test> in clear" in world.story
    must = World(Server(), verify_avoid_tls=hosts("*"), tls=ClientTLSRules(require_tls=hosts("*")))
    assert must.ask().finding is Finding.GOOD
    assert "tls" in must.story, "but not where TLS is required"


def test_a_handshake_that_fails_may_be_followed_by_clear_text() -> None:
    world = World(Server(starttls=HandshakeFailed(ErrorClass.TLS_FAILED, "no")))
    assert world.ask().finding is Finding.GOOD
    (note,) = world.journal.of(MessageNote)
    assert note.text == "no: callout unencrypted to one.test [192.0.2.1] (not in hosts_require_tls)"


# Who asks


@pytest.mark.parametrize(
    ("sender", "command"),
    [
        (MailFrom.NOBODY, "MAIL FROM:<>"),
        (MailFrom.SENDER, "MAIL FROM:<anna@laptop.test>"),
        (MailFrom.POSTMASTER, "MAIL FROM:<postmaster@relay.test>"),
        (MailFrom.TRANSPORT, "MAIL FROM:<bounces@relay.test>"),
    ],
)
def test_who_asks_about_a_recipient(sender: MailFrom, command: str) -> None:
    world = World(Server(), copy=CopyRules(return_path=compile_expansion("bounces@relay.test")))
    world.ask(Role.RECIPIENT, sender=sender)
    assert command in world.story


def test_the_senders_return_path_by_its_router() -> None:
    world = World(Server())
    world.ask(Role.RECIPIENT, sender=MailFrom.TRANSPORT, carried=Carried(errors_to=address_from_text("e@relay.test")))
    assert "MAIL FROM:<e@relay.test>" in world.story


def test_a_sender_of_ones_own_for_senders_of_a_header() -> None:
    world = World(Server())
    world.ask(mail_from="who@relay.test")
    assert "MAIL FROM:<who@relay.test>" in world.story
    assert ("callout-address", "bert@far.test/<who@relay.test>") in world.hints.kept


def test_the_size_is_said_where_the_answer_is_for_this_message_alone() -> None:
    world = World(replace(Server(), offers={"SIZE": ""}))
    world.ask(Role.RECIPIENT)
    world.ask(Role.RECIPIENT, ways=Ways.NO_CACHE)
    assert [each for each in world.story if each.startswith("MAIL")] == ["MAIL FROM:<>", "MAIL FROM:<> SIZE=1524"]


def test_addresses_outside_of_ascii() -> None:
    world = World(Server())
    found = world.ask(Role.RECIPIENT, about=Address("bärt", "far.test"))
    assert (found.finding, found.user_message) == (Finding.BAD, "533 no support for internationalised mailbox name")
    able = World(Server(offers={"SMTPUTF8": ""}))
    assert able.ask(about=Address("bärt", "far.test")).finding is Finding.GOOD
    assert "MAIL FROM:<> SMTPUTF8" in able.story


def test_a_message_with_smtputf8_needs_it_of_the_server_whatever_the_address() -> None:
    strict = compile_expansion("0")
    world = World(Server(), downconvert=strict)
    able = World(Server(offers={"SMTPUTF8": ""}), downconvert=strict)
    lenient = World(Server())
    for each in (world, able, lenient):
        each.scope = each.scope.child(session=SessionFacts(smtputf8=True))
    found = world.ask()
    assert (found.finding, found.user_message) == (Finding.BAD, "550 mailbox unavailable")
    world.scope = world.scope.child(address=AddressView(local_part="bert", domain="far.test"))
    assert world.ask().user_message == "533 no support for internationalised mailbox name", "what RCPT is told"
    assert able.ask().finding is Finding.GOOD
    assert lenient.ask().finding is Finding.GOOD


def test_no_control_character_gets_into_a_command() -> None:
    world = World(Server())
    assert world.ask(about=Address("a\r\nRSET", "far.test")).finding is Finding.BAD
    assert world.story == []


@pytest.mark.parametrize(("includes", "named"), [(False, "bert"), (True, "Owner-bert-x")])
def test_prefix_and_suffix_are_the_transports_affair(includes: bool, named: str) -> None:
    world = World(Server(), includes_affixes=includes)
    view = AddressView(local_part="bert", domain="far.test", prefix="owner-", suffix="-x")
    world.ask(about=Address("Owner-bert-x", "far.test"), view=view)
    assert f"RCPT TO:<{named}@far.test>" in world.story


# Random and postmaster


def test_a_host_that_takes_everything() -> None:
    world = World(clear(rcpt=NO))
    found = world.ask(ways=Ways.RANDOM)
    assert (found.finding, found.failure) == (Finding.GOOD, "random")
    assert world.ask(ways=Ways.RANDOM).failure == "random"
    assert world.story.count("dial") == 1
    assert world.ask().finding is Finding.BAD, "without the test it is asked of the address"


def test_a_host_that_is_choosy() -> None:
    world = World(clear(random=NO))
    assert world.ask(ways=Ways.RANDOM).finding is Finding.GOOD
    assert world.story[2:] == [
        "MAIL FROM:<> in clear",
        "RCPT TO:<nobody-here@far.test> in clear",
        "RSET in clear",
        "MAIL FROM:<> in clear",
        "RCPT TO:<bert@far.test> in clear",
        "quit",
    ]
    world.ask(about=Address("carla", "far.test"), ways=Ways.RANDOM)
    assert world.story.count("RCPT TO:<nobody-here@far.test> in clear") == 1


@pytest.mark.parametrize("answer", [lost(), Reply(550, "", ("never",))])
def test_a_host_that_does_not_like_guesses_is_asked_anew(answer: Reply | Exception) -> None:
    world = World(clear(random=NO, rset=answer))
    assert world.ask(ways=Ways.RANDOM).finding is Finding.GOOD
    assert world.story.count("dial") == 2
    assert world.story.count("RCPT TO:<nobody-here@far.test> in clear") == 1


def test_a_guess_that_is_not_answered() -> None:
    world = World(clear(random=LATER))
    assert world.ask(ways=Ways.RANDOM).finding is Finding.UNKNOWN
    refused = World(clear(mail=NO)).ask(ways=Ways.RANDOM)
    assert refused.objection is Objection.SETUP


def test_a_random_local_part_that_can_not_be_had() -> None:
    world = World(clear())
    rules = CalloutRules(random_local_part=compile_expansion("${expand:\\${bad}}"))
    world.callouts = HostCallouts(
        world.callouts._transports,
        world.callouts.ports,
        world.hints,
        rules,
    )
    assert world.ask(ways=Ways.RANDOM).failure == ""
    assert world.journal.of(Trouble)


def test_the_postmaster() -> None:
    world = World(clear())
    assert world.ask(postmaster_from="").finding is Finding.GOOD
    assert world.story[4:] == [
        "RSET in clear",
        "MAIL FROM:<> in clear",
        "RCPT TO:<postmaster@far.test> in clear",
        "quit",
    ]
    world.ask(about=Address("carla", "far.test"), postmaster_from="")
    assert world.story.count("RCPT TO:<postmaster@far.test> in clear") == 1, "there is one, that is known"


def test_no_postmaster() -> None:
    world = World(clear(postmaster=NO))
    found = world.ask(postmaster_from="")
    assert (found.finding, found.failure, found.objection) == (Finding.BAD, "postmaster", Objection.POSTMASTER)
    again = world.ask(postmaster_from="", about=Address("carla", "far.test"))
    assert again.user_message == "(result of earlier verification reused)."
    assert world.ask().finding is Finding.GOOD, "the address itself is taken, and that is known"
    assert world.story.count("dial") == 1


def test_the_postmaster_without_a_domain() -> None:
    world = World(clear(postmaster=NO))
    assert world.ask(postmaster_from="", ways=Ways.FULL_POSTMASTER).finding is Finding.GOOD
    assert world.story[-2] == "RCPT TO:<postmaster> in clear"
    neither = World(clear(postmaster=NO, plain_postmaster=LATER))
    assert neither.ask(postmaster_from="", ways=Ways.FULL_POSTMASTER).finding is Finding.UNKNOWN


# The cache


def test_answers_are_remembered() -> None:
    world = World(clear(rcpt=NO))
    world.ask()
    assert world.ask().user_message == "Previous (cached) callout verification failure"
    assert world.ask(Role.RECIPIENT, sender=MailFrom.SENDER).finding is Finding.BAD
    assert world.story.count("dial") == 2, "another sender is another question"
    world.clock.time += 2 * 3600 + 1
    world.ask()
    assert world.story.count("dial") == 3, "and not for ever"


def test_good_answers_are_remembered_longer() -> None:
    world = World(clear())
    world.ask()
    world.clock.time += 86400
    assert world.ask().finding is Finding.GOOD
    assert world.story.count("dial") == 1
    world.clock.time += 1
    world.ask()
    assert world.story.count("dial") == 2


def test_without_a_cache() -> None:
    world = World(clear())
    for _ in range(2):
        world.ask(ways=Ways.NO_CACHE)
    assert world.story.count("dial") == 2
    assert not world.hints.kept
    world.hints.trouble = TemporaryFailure("away")
    assert world.ask().finding is Finding.GOOD, "a database that is away keeps nobody from asking"


# Hosts


def test_there_is_nobody_to_ask() -> None:
    world = World(Server())
    assert world.ask(route=()) == Verified(Finding.GOOD)
    assert world.ask(transport="local", route=()) == Verified(Finding.GOOD)
    assert world.ask(transport="").finding is Finding.UNKNOWN, "hosts, and nothing to speak to them with"


def test_the_transports_own_hosts() -> None:
    own = HostRules(hosts=compile_expansion("192.0.2.2"))
    world = World(Server(), Server(), hosts=own)
    world.dialer.servers = {"192.0.2.2": world.servers[1], **world.dialer.servers}
    assert world.ask(route=()).callout_address == "[192.0.2.2]:25"
    assert world.ask(about=Address("carla", "far.test")).callout_address == "[192.0.2.1]:25"
    world = World(Server(), Server(), hosts=replace(own, override=True))
    world.dialer.servers = {"192.0.2.2": world.servers[1], **world.dialer.servers}
    assert world.ask().callout_address == "[192.0.2.2]:25"


def test_options_that_can_not_be_expanded() -> None:
    bad = compile_expansion("${expand:\\${bad}}")
    for options in ({"hosts": HostRules(hosts=bad)}, {"helo_data": bad}):
        world = World(Server(), **options)
        assert world.ask(route=() if "hosts" in options else None).finding is Finding.UNKNOWN
        assert world.story == []
