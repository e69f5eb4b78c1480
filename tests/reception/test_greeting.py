"""The beginning of a session: who may connect, what EHLO offers to whom, limits that depend on the client."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest

from reception.test_session import ANY_RCPT, ANYBODY, PEER, Client, answer
from relay.esmtp import questions as esmtp
from relay.esmtp.limits import ServerSettings
from relay.esmtp.xclient import read_attributes
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, MatchList, compile_list
from relay.mail import events, reply
from relay.mail.facts import Endpoint, LocalCaller, ProxyFacts, SessionFacts
from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.policy.acl_values import Where
from relay.reception.greeting import size_of
from relay.reception.rules import ClientRules, OfferRules
from relay.reception.session import Session

US = compile_list(ListKind.HOST, PEER.address)
OTHERS = compile_list(ListKind.HOST, "198.51.100.1")
NAMES = compile_list(ListKind.DOMAIN, "relay.test")


@dataclass
class Throng:
    count: int = 1
    here: int = 1

    def of(self, address: str) -> int:
        assert address == PEER.address
        return self.here


class Zone:
    """laptop.test is the client, and says so in both directions."""

    async def names(self, address: str) -> tuple[str, ...]:
        assert address == PEER.address
        return ("laptop.test",)

    async def addresses(self, name: str) -> tuple[str, ...]:
        if name == "laptop.test":
            return (PEER.address,)
        if name == "again.test":
            raise TemporaryFailure("the name server does not answer")
        raise HostNotFound(name)


def client(acls: dict[Where, str] | None = None, *, crowd: Throng | None = None, **rules: Any) -> Client:
    found = Client(acls, server_settings=ServerSettings(), **rules)
    session = found.session
    ports = replace(session._ports, crowd=crowd, resolver=Zone())
    found.session = Session(session._rules, ports, session.facts)
    return found


def local(login: str = "anna", *, trusted: bool = False, **rules: Any) -> Client:
    found = client(**rules)
    facts = SessionFacts(caller=LocalCaller(login, 1000, 1000, trusted))
    found.session = Session(found.session._rules, found.session._ports, facts, "Anna Example")
    return found


def keywords(asking: Client) -> list[str]:
    offers = asking.hello().offers
    assert offers is not None
    return [keyword for keyword, _ in offers.items]


def test_the_lines_of_ehlo_stand_in_exims_order() -> None:
    offers = OfferRules(True, *[ANYBODY] * 7, prdr=True, future_release_max=3600)
    acls = {**ANY_RCPT, Where.ETRN: "accept", Where.VRFY: "accept", Where.EXPN: "accept"}
    assert keywords(client(acls, offers=offers)) == [
        "SIZE", "LIMITS", "8BITMIME", "DSN", "ETRN", "VRFY", "EXPN", "PIPELINING", "CHUNKING", "BINARYMIME", "STARTTLS",
        "XCLIENT", "PRDR", "SMTPUTF8", "FUTURERELEASE", "ENHANCEDSTATUSCODES", "HELP",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "keyword"),
    [
        ("chunking_hosts", "CHUNKING"),
        ("smtputf8_hosts", "SMTPUTF8"),
        ("dsn_hosts", "DSN"),
        ("limits_hosts", "LIMITS"),
        ("xclient_hosts", "XCLIENT"),
        ("enhanced_status_hosts", "ENHANCEDSTATUSCODES"),
    ],
)
@pytest.mark.parametrize(("hosts", "offered"), [(US, True), (OTHERS, False), (None, False)])
def test_each_is_offered_to_its_hosts(option: str, keyword: str, hosts: MatchList | None, offered: bool) -> None:
    assert (keyword in keywords(client(offers=OfferRules(**{option: hosts})))) is offered


def test_without_8bitmime_there_is_no_smtputf8() -> None:
    offers = OfferRules(False, chunking_hosts=ANYBODY, smtputf8_hosts=ANYBODY, binarymime_hosts=ANYBODY)
    found = keywords(client(offers=offers))
    assert {"8BITMIME", "SMTPUTF8", "BINARYMIME"}.isdisjoint(found)
    assert "CHUNKING" in found


def test_what_exim_has_not_is_offered_only_where_it_is_asked_for() -> None:
    found = keywords(client(offers=OfferRules(chunking_hosts=ANYBODY)))
    assert {"ENHANCEDSTATUSCODES", "BINARYMIME"}.isdisjoint(found)
    assert "BINARYMIME" not in keywords(client(offers=OfferRules(binarymime_hosts=ANYBODY)))
    assert "BINARYMIME" in keywords(client(offers=OfferRules(chunking_hosts=US, binarymime_hosts=US)))


def test_a_local_caller_is_greeted_by_name() -> None:
    assert local().hello("test").reply.text == "relay.test Hello anna at test"


@pytest.mark.parametrize(("text", "expected"), [("{4}{9}", 4), ("{}{9}", 7), ("{many}{9}", 7), ("{0}{9}", 0)])
def test_how_many_recipients_depends_on_the_client(text: str, expected: int) -> None:
    rules = ClientRules(recipients_max=compile_expansion(f"${{if eq{{$sender_host_address}}{{192.0.2.7}}{text}}}"))
    asking = client(offers=OfferRules(limits_hosts=ANYBODY), clients=rules, recipients_max=7)
    asking.ask(esmtp.Connected())
    answered = asking.hello()
    assert answered.offers is not None
    assert (("LIMITS", f"RCPTMAX={expected}") in answered.offers.items) is (expected > 0)


def test_limits_say_what_holds() -> None:
    rules = ClientRules(messages_max=compile_expansion("${if eq{$sender_host_address}{192.0.2.7}{3}{9}}"))
    asking = client(offers=OfferRules(limits_hosts=ANYBODY), clients=rules, recipients_max=7)
    answered = asking.hello()
    assert answered.offers is not None
    assert ("LIMITS", "MAILMAX=3 RCPTMAX=7") in answered.offers.items
    assert answered.settings is not None
    assert answered.settings.messages_max == 3


# Who may connect


@pytest.mark.parametrize(
    ("rules", "crowd", "code", "why"),
    [
        (ClientRules(reject_connection=US), Throng(), 554, "host_reject_connection"),
        (ClientRules(max_per_host=compile_expansion("2")), Throng(5, 3), 421, "too many connections from that"),
        (ClientRules(max_per_host=compile_expansion("3")), Throng(5, 3), 220, ""),
        (ClientRules(accept_max=10, accept_reserve=3), Throng(8), 421, "not in reserve list: connected=7 max=10 res"),
        (ClientRules(accept_max=10, accept_reserve=3), Throng(7), 220, ""),
        (ClientRules(accept_max=10, accept_reserve=3, reserve_hosts=US), Throng(8), 220, ""),
        (ClientRules(reject_connection=OTHERS), Throng(), 220, ""),
    ],
)
def test_who_may_connect(rules: ClientRules, crowd: Throng, code: int, why: str) -> None:
    asking = client(clients=rules, crowd=crowd)
    answered = asking.ask(esmtp.Connected())
    assert answered.reply.code == code
    assert answered.hang_up is (code != 220)
    refused = asking.shelf.of(events.ConnectionRefused)
    assert [each.why.startswith(why) for each in refused] == ([True] if why else [])
    assert [each.temporary for each in refused] == ([code == 421] if why else [])


def test_a_local_caller_is_never_turned_away() -> None:
    asking = local(clients=ClientRules(reject_connection=ANYBODY, accept_max=1, accept_reserve=1), crowd=Throng(9))
    assert asking.code(esmtp.Connected()) == 220


def test_names_are_looked_up_for_the_listed() -> None:
    asking = client(clients=ClientRules(host_lookup=US))
    asking.ask(esmtp.Connected())
    assert asking.session.facts.peer_host == "laptop.test"
    assert asking.hello("x").reply.text == "relay.test Hello laptop.test [192.0.2.7]"
    other = client(clients=ClientRules(host_lookup=OTHERS))
    other.ask(esmtp.Connected())
    assert other.session.facts.peer_host == ""


def test_whoever_says_our_name_is_looked_up() -> None:
    asking = client(clients=ClientRules(helo_lookup_domains=NAMES))
    asking.hello("elsewhere.test")
    assert asking.session.facts.peer_host == ""
    asking.hello("relay.test")
    assert asking.session.facts.peer_host == "laptop.test"


def test_another_name_of_ours() -> None:
    name = compile_expansion("${if eq{$received_port}{25}{mx.test}{}}")
    asking = client(clients=ClientRules(active_hostname=name), banner=compile_expansion("$smtp_active_hostname ESMTP"))
    assert asking.ask(esmtp.Connected()).reply.text == "mx.test ESMTP"
    assert asking.hello("x").reply.text == "mx.test Hello x [192.0.2.7]"
    assert asking.ask(esmtp.QuitGiven()).reply.text == "mx.test closing connection"


@pytest.mark.parametrize(
    ("name", "required", "code", "verified"),
    [
        ("laptop.test", True, 250, "yes"),
        ("[192.0.2.7]", True, 250, "yes"),
        ("liar.test", True, 550, "no"),
        ("liar.test", False, 250, "no"),
        ("again.test", True, 451, "no"),
        ("again.test", False, 250, "no"),
        ("laptop.test", False, 250, "yes"),
    ],
)
def test_greetings_that_must_be_true(name: str, required: bool, code: int, verified: str) -> None:
    rules = ClientRules(helo_verify_hosts=US) if required else ClientRules(helo_try_verify_hosts=US)
    asking = client({Where.QUIT: "accept message = $sender_helo_verified"}, clients=rules)
    answered = asking.hello(name)
    assert answered.reply.code == code
    assert (asking.session.facts.hello is not None) is (code == 250)
    assert asking.ask(esmtp.QuitGiven()).reply.text == verified
    untrue = [each.input for each in asking.shelf.of(events.ProtocolViolated) if each.what == "untrue greeting"]
    assert untrue == (["EHLO liar.test"] if code == 550 else [])
    unknown = [each.input for each in asking.shelf.of(events.ProtocolViolated) if each.what == "unknown greeting"]
    assert unknown == (["EHLO again.test"] if code == 451 else [])


@pytest.mark.parametrize(
    ("rules", "limit", "value"),
    [
        (ClientRules(helo_accept_junk_hosts=US), "helo_accept_junk", True),
        (ClientRules(helo_accept_junk_hosts=OTHERS), "helo_accept_junk", False),
        (ClientRules(nonmail_hosts=OTHERS), "max_nonmail", sys.maxsize),
        (ClientRules(nonmail_hosts=US), "max_nonmail", 10),
        (ClientRules(require_helo_hosts=OTHERS), "helo_required", False),
        (ClientRules(require_helo_hosts=OTHERS, helo_verify_hosts=US), "helo_required", True),
        (ClientRules(), "helo_required", True),
        (ClientRules(message_size_limit=compile_expansion("${if eq{1}{1}{2K}}")), "size_limit", 2048),
        (ClientRules(messages_max=compile_expansion("many")), "messages_max", 0),
    ],
)
def test_limits_of_the_dialog_for_this_client(rules: ClientRules, limit: str, value: object) -> None:
    settings = client(clients=rules).ask(esmtp.Connected()).settings
    assert settings is not None
    assert getattr(settings, limit) == value


def test_a_size_that_is_none_refuses_for_now() -> None:
    asking = client(clients=ClientRules(message_size_limit=compile_expansion("large")))
    assert asking.code(esmtp.Connected()) == 451


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("50M", 50 << 20),
        (" 1k ", 1024),
        ("2G", 2 << 30),
        ("", None),
        ("M", None),
        ("-1", None),
        ("9" * 20, None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert size_of(text) == size


# XCLIENT


def proxied(asking: Client, argument: str) -> int:
    return asking.code(esmtp.XclientGiven(read_attributes(argument)))


def test_xclient_makes_a_new_client_of_the_session() -> None:
    asking = client(offers=OfferRules(xclient_hosts=US), clients=ClientRules(reject_connection=OTHERS))
    asking.hello("proxy.test")
    asking.mail()
    assert proxied(asking, "ADDR=203.0.113.5 PORT=99 NAME=far.test LOGIN=bert HELO=far") == 220
    facts = asking.session.facts
    assert facts.peer == Endpoint("203.0.113.5", 99)
    assert facts.peer_host == "far.test"
    assert facts.hello is not None
    assert facts.hello.name == "far"
    assert facts.authentication is not None
    assert facts.authentication.identity == "bert"
    assert facts.proxy == ProxyFacts(PEER)
    assert asking.session.scope().message is None
    assert "XCLIENT" in keywords(asking), "the proxy may speak for the next one"
    assert proxied(asking, "ADDR=198.51.100.1") == 554, "whom the proxy speaks for is judged as if he had connected"


def test_xclient_takes_nothing_over_from_the_proxys_layer() -> None:
    from certs import laptop

    asking = client(offers=OfferRules(xclient_hosts=US))
    asking.tls(laptop())
    asking.hello()
    assert proxied(asking, "ADDR=203.0.113.5") == 220
    tls = asking.session.facts.tls
    assert tls is not None
    assert tls.peer is None
    assert not tls.is_verified


def test_what_a_proxy_does_not_know_is_unknown() -> None:
    asking = client(offers=OfferRules(xclient_hosts=US))
    asking.hello()
    assert proxied(asking, "NAME=[UNAVAILABLE] LOGIN=[UNAVAILABLE]") == 220
    facts = asking.session.facts
    assert (facts.peer, facts.peer_host, facts.authentication) == (PEER, "", None)


def test_a_proxy_says_where_its_client_was_going_and_need_not_repeat_it() -> None:
    asking = client(offers=OfferRules(xclient_hosts=US))
    asking.hello("proxy.test")
    local = asking.session.facts.local
    proxied(asking, "ADDR=203.0.113.5 PORT=99 DESTADDR=203.0.113.9 DESTPORT=25")
    facts = asking.session.facts
    assert facts.proxy == ProxyFacts(PEER, Endpoint("203.0.113.9", 25))
    assert facts.local == local
    assert facts.hello is not None
    assert facts.hello.name == "proxy.test", "the log calls the client so until the next greeting"
    proxied(asking, "NAME=far.test")
    assert asking.session.facts.proxy == facts.proxy


def test_the_reply_to_a_success_is_the_one_that_is_known() -> None:
    asking = client(offers=OfferRules(xclient_hosts=US))
    asking.hello()
    assert answer(asking.session.decide(esmtp.XclientGiven(read_attributes("PORT=1")))).reply == reply.XCLIENT_SUCCESS
