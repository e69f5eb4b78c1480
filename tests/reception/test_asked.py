"""VRFY, EXPN, ETRN and AUTH by their ACLs."""

from __future__ import annotations

import pytest

from policy.acl_world import Routes
from reception.test_session import ANYBODY, Client, rejections
from relay.esmtp import questions as esmtp
from relay.mail import events
from relay.policy.acl_program import ConditionPorts
from relay.policy.acl_values import Where
from relay.policy.verification import Finding, Verified
from relay.reception.rules import ClientRules

ROUTES = Routes(
    {
        "nobody@far.test": Verified(Finding.BAD, "Unrouteable address"),
        "later@far.test": Verified(Finding.UNKNOWN, "asleep"),
        "all@here.test": Verified(Finding.GOOD, members=("anna@here.test", "/var/mail/archive")),
        "hole@here.test": Verified(Finding.GOOD, discarded=True),
    }
)
ASKED = {
    Where.VRFY: "deny domains = secret.test\n accept",
    Where.EXPN: "deny condition = ${if eq{$sender_helo_name}{spy}}\n accept",
    Where.ETRN: "deny condition = ${if eq{$smtp_command_argument}{#no.test}}\n accept message = as you wish",
    Where.AUTH: "deny message = not you",
}


def client(routes: Routes | None = ROUTES) -> Client:
    found = Client(ASKED, conditions=ConditionPorts(addresses=routes))
    found.hello()
    return found


@pytest.mark.parametrize(
    "text, code, line",
    [
        ("bert@far.test", 250, "<bert@far.test> is deliverable"),
        ("Bert <bert@far.test>", 250, "<bert@far.test> is deliverable"),
        ("bert", 501, "bert: recipient address must contain a domain"),
        ("nobody@far.test", 550, "<nobody@far.test> Unrouteable address"),
        ("later@far.test", 451, "Cannot resolve <later@far.test> at this time"),
        ("", 501, "empty address"),
        ("a b@x.test", 501, 'missing or malformed local part (expected word or "<")'),
        ("a@x.test, b@x.test", 501, "Syntactically invalid argument(s)"),
    ],
)
def test_vrfy(text: str, code: int, line: str) -> None:
    reply = client().ask(esmtp.VrfyAsked(text)).reply
    assert (reply.code, reply.text) == (code, line)


def test_vrfy_may_be_refused() -> None:
    asking = client()
    assert asking.code(esmtp.VrfyAsked("x@secret.test")) == 252
    assert rejections(asking) == [("VRFY x@secret.test", False)]


def test_where_nobody_can_tell_vrfy_says_so() -> None:
    assert client(None).code(esmtp.VrfyAsked("bert@far.test")) == 252
    assert client(None).code(esmtp.ExpnAsked("bert@far.test")) == 252


@pytest.mark.parametrize(
    "text, code, line",
    [
        ("bert@far.test", 250, "<bert@far.test>"),
        ("nobody@far.test", 553, "nobody@far.test is undeliverable"),
        ("later@far.test", 451, "later@far.test cannot be resolved at this time"),
        ("@@", 501, None),
        ("hole", 250, "mail to <hole@here.test> is discarded"),
    ],
)
def test_expn(text: str, code: int, line: str | None) -> None:
    reply = client().ask(esmtp.ExpnAsked(text)).reply
    assert reply.code == code
    assert line is None or reply.text == line


def test_expn_of_a_list() -> None:
    assert client().ask(esmtp.ExpnAsked("all")).reply.lines == ("<anna@here.test>", "</var/mail/archive>")


def test_vrfy_qualifies_for_those_who_may_leave_the_domain_out() -> None:
    rules = ClientRules(recipient_unqualified_hosts=ANYBODY)
    asking = Client(ASKED, conditions=ConditionPorts(addresses=ROUTES), clients=rules)
    assert asking.ask(esmtp.VrfyAsked("bert")).reply.text == "<bert@here.test> is deliverable"


def test_expn_may_be_refused() -> None:
    asking = client()
    asking.hello("spy")
    assert asking.code(esmtp.ExpnAsked("all")) == 550


def test_without_acls_nobody_is_told_anything() -> None:
    asking = Client({})
    codes = [asking.code(each) for each in (esmtp.VrfyAsked("a@b.test"), esmtp.ExpnAsked("a"), esmtp.EtrnAsked("#a"))]
    assert codes == [252, 550, 458]


@pytest.mark.parametrize(
    "text, code, line",
    [
        ("#far.test", 250, "as you wish"),
        ("far.test", 501, "argument must begin with #"),
        ("#no.test", 458, "Administrative prohibition"),
    ],
)
def test_etrn(text: str, code: int, line: str) -> None:
    asking = client()
    asking.session.heard(esmtp.CommandRead("ETRN", f"ETRN {text}"))
    reply = asking.ask(esmtp.EtrnAsked(text)).reply
    assert (reply.code, reply.text) == (code, line)
    faults = [(each.what, each.input) for each in asking.shelf.of(events.ProtocolViolated)]
    assert faults == ([(line, f"ETRN {text}")] if code == 501 else [])
    (note,) = asking.shelf.of(events.ClientNote)
    assert (note.text, note.with_ident) == (f"ETRN {text} received from", False)


def test_auth_may_be_refused() -> None:
    asking = client()
    reply = asking.ask(esmtp.AuthAsked("PLAIN", None)).reply
    assert (reply.code, reply.text) == (503, "not you")
    assert rejections(asking) == [("AUTH PLAIN", False)]
