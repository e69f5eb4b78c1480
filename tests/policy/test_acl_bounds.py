"""Whatever stands in an ACL is read or refused with its place; no text from a peer becomes program or name; a failure
of any kind never accepts."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.evaluate import compile_expansion
from relay.expand.lists import NamedLists
from relay.expand.scope import AddressView, MessageView, Scope
from relay.expand.values import Tainted
from relay.mail import events
from relay.mail.address import Address
from relay.mail.facts import Endpoint, Hello, SessionFacts
from relay.mail.source import ConfigurationError, Location
from relay.policy.acl import ACLReference, check, run
from relay.policy.acl_conditions import CONDITIONS
from relay.policy.acl_modifiers import CONTROLS, MODIFIERS
from relay.policy.acl_parse import ACL, inline_lines, parse_acl
from relay.policy.acl_program import ACLContext
from relay.policy.acl_values import Accepted, Deferred, Effects, Verb, Verdict, Where

T = TypeVar("T")


def answer(question: Coroutine[Any, Any, T]) -> T:
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    question.close()
    raise AssertionError("it waits for something")


class Journal:
    def __init__(self) -> None:
        self.events: list[events.Event] = []

    def record(self, event: events.Event) -> None:
        self.events.append(event)


class NoWaiting:
    async def sleep(self, seconds: float) -> None:
        pass

    async def timeout(self, seconds: float, question: Any) -> Any:
        return await question

    async def gather(self, questions: Any) -> Any:
        return [await each for each in questions]


def context(where: Where = Where.RCPT, book: dict[str, ACL] | None = None, **variables: str) -> ACLContext:
    kept: dict[str, str] = dict(variables)
    facts = SessionFacts(Endpoint("192.0.2.7", 4000), Endpoint("192.0.2.1", 25), hello=Hello("client", True))
    scope = Scope(
        session=facts,
        message=MessageView(sender=Address("me", "laptop.test")),
        address=AddressView("you", "example.org") if where is Where.RCPT else None,
        acl_variables=kept,
        named_lists=NamedLists(),
    )
    return ACLContext(where, scope, book or {}, Effects(), kept, Journal(), NoWaiting())


def read(text: str) -> ACL:
    return parse_acl("acl_check", inline_lines(text, Location("conf", 1)), NamedLists())


def decide(text: str, where: Where = Where.RCPT, **variables: str) -> Verdict:
    return answer(run(read(text), context(where, **variables)))


_WORDS = st.sampled_from(
    [
        *(verb.value for verb in Verb),
        *(f"{name} =" for name in CONDITIONS),
        *(f"!{name} =" for name in CONDITIONS),
        *(f"{name} =" for name in MODIFIERS),
        *CONTROLS,
        *(
            "message =",
            "log_message =",
            "endpass",
            "\n",
            "\n",
            "\n",
            "=",
            "!",
            "/",
            ":",
            '"',
            "\\",
            "{",
            "}",
            "$",
            "${if",
            "5s",
        ),
        *(
            "yes",
            "*",
            "a@b",
            "recipient/callout=5s,defer_ok",
            "$sender_address",
            "${lc:A}",
            "acl_m_x = 1",
            "é",
            "\0",
            "+x",
        ),
        *("leaky", "10 / 1h / per_mail", "bl.test=127.0.0.1/$sender_address_domain", "&0.0.0.3", ":at_start:X: y", "#"),
    ]
)
ACLS = st.lists(_WORDS, max_size=14).map(" ".join) | st.text(max_size=50)


@given(ACLS, st.sampled_from(Where))
@settings(max_examples=300, deadline=None)
def test_any_acl_is_read_and_run_or_refused_with_its_place(text: str, where: Where) -> None:
    try:
        acl = read(text)
    except ConfigurationError as error:
        for problem in error.problems:
            _is_placed(problem)
        return
    verdict = answer(run(acl, context(where)))
    if isinstance(verdict, Accepted):
        _names_a_statement_that_accepts(verdict, text)


def _is_placed(problem: Any) -> None:
    assert problem.location.file == "conf"
    assert problem.what


def _names_a_statement_that_accepts(verdict: Accepted, text: str) -> None:
    assert verdict.statement is not None
    assert "accept" in text


# What can't be answered never accepts

BROKEN = [
    "condition = ${if eq{$acl_m_in}{x}{yes}{perhaps}}",
    "condition = ${mask:$acl_m_in}",
    "condition = ${expand:$acl_m_in}",
    "condition = ${lookup{x}lsearch{$acl_m_in}}",
    "condition = ${lookup{x}lsearch{/f}}",
    "condition = ${acl{nobody}}",
    "condition = ${if acl{{nobody}}{yes}{no}}",
    "acl = nobody",
    "acl = $acl_m_in",
    "acl = /etc/acl$acl_m_in",
    "domains = lsearch;/f",
    "domains = +nobody$acl_m_none",
    "domains = $acl_m_in",
    "domains = /f",
    "hosts = net-lsearch;/f",
    "hosts = ${mask:x}",
    "senders = /f",
    "local_parts = ^$acl_m_bad",
    "verify = $acl_m_in",
    "verify = recipient/callout=5s",
    "verify = ${lc:PEER}",
    "control = $acl_m_in",
    "delay = $acl_m_in",
    "ratelimit = $acl_m_in",
    "queue = a/b",
    "dnslists = bl.test",
]


@pytest.mark.parametrize("line", BROKEN + [f"!{line}" for line in BROKEN if line.split(" ")[0] in CONDITIONS])
def test_what_can_not_be_answered_never_accepts(line: str) -> None:
    for text in (f"accept {line}", f"deny {line}\naccept", f"require {line}\naccept"):
        verdict = decide(text, acl_m_in=Tainted("/${lc:X}"), acl_m_bad=Tainted("("))
        assert isinstance(verdict, Deferred), (text, verdict)


@pytest.mark.parametrize("line", BROKEN)
def test_a_warning_that_can_not_be_answered_stops_nothing_but_itself(line: str) -> None:
    """Exim skips a `warn` that defers, and gives up where an expansion is broken; neither may accept by itself."""
    verdict = decide(f"warn {line}\ndeny", acl_m_in=Tainted("/${lc:X}"), acl_m_bad=Tainted("("))
    assert not isinstance(verdict, Accepted)


# Text from outside

SINKS = [
    "accept acl = $acl_m_in",
    "accept acl = ${lc:$acl_m_in}",
    "accept condition = ${acl{$acl_m_in}}",
    "accept condition = ${expand:$acl_m_in}",
    "accept queue = $acl_m_in",
    "accept domains = $acl_m_in",
]


@pytest.mark.parametrize("text", SINKS)
@pytest.mark.parametrize("peers", ["accept", "/etc/acl", "${if eq{a}{a}{accept}}", "+all", "lsearch;/f"])
def test_a_peer_writes_no_acl_queue_or_list(text: str, peers: str) -> None:
    verdict = decide(text, acl_m_in=Tainted(peers))
    assert not isinstance(verdict, Accepted)


def test_a_peer_names_no_acl_that_there_is() -> None:
    book = {"open": read("accept")}
    where = context(book=book, acl_m_in=Tainted("open"))
    verdict = answer(run(read("accept acl = $acl_m_in"), where))
    assert isinstance(verdict, Deferred)
    assert "outside" in verdict.log_text


def test_an_option_takes_no_acl_from_a_peer() -> None:
    reference = ACLReference(compile_expansion("$acl_m_in"), Location("conf", 1))
    where = context(book={"open": read("accept")}, acl_m_in=Tainted("open"))
    assert isinstance(answer(check(reference, where)), Deferred)


@pytest.mark.parametrize(
    "text",
    [
        "accept verify = ${if eq{a}{a}{sender=$acl_m_in}{x}}",
        "accept verify = ${if eq{a}{a}{recipient/callout=$acl_m_in}{x}}",
        "accept verify = ${if eq{a}{a}{sender}{x}}/callout=$acl_m_in",
    ],
)
def test_what_is_verified_is_expanded_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer's words in the argument are not program when the argument is read."""
    opened: list[str] = []

    class Environment(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            opened.append(key)
            return default

    where = context(acl_m_in=Tainted("${env{OPENED}}@b.test"))
    where.scope.environment = Environment()
    answer(run(read(text), where))
    assert opened == []


@pytest.mark.parametrize("peers", ["a\nX-Forged: y", "a\r\nX-Forged: y", "a\r\rb", "\n\nbody"])
def test_a_peer_begins_no_header_field_and_no_reply_line(peers: str) -> None:
    where = context(acl_m_in=Tainted(peers))
    answer(run(read("accept add_header = X-Note: $acl_m_in\nadd_header = $acl_m_in"), where))
    for added in where.effects.added:
        assert "\n" not in added.text
        assert "\r" not in added.text
    verdict = decide("deny message = no $acl_m_in", acl_m_in=Tainted(peers))
    assert len(verdict.reply.lines) == 1 if hasattr(verdict.reply, "lines") else "\n" not in verdict.reply.text
