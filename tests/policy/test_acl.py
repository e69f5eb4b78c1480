"""ACLs: what is decided, by which statement, with which reply; the wiki page's relay ACL as it stands there."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, NamedList, NamedLists
from relay.expand.notes import Notes
from relay.expand.scope import AddressView, MessageView, Scope
from relay.expand.values import Tainted
from relay.mail import events
from relay.mail.address import Address
from relay.mail.facts import Authentication, Certificate, Endpoint, Hello, SessionFacts, TLSFacts, Unverified, Verified
from relay.mail.ports import NotOpened, TemporaryFailure
from relay.mail.reply import ADMINISTRATIVE_PROHIBITION, LOCAL_PROBLEM
from relay.mail.source import ConfigurationError, Location
from relay.policy.acl import ACLReference, ExpandedACLs, check, reply_with_message, run, split_message
from relay.policy.acl_parse import inline_lines, parse_acl
from relay.policy.acl_program import ACL, ACLContext, Answer, ConditionPorts
from relay.policy.acl_values import (
    Accepted,
    AddedField,
    Deferred,
    Denied,
    Discarded,
    Effects,
    Freeze,
    Place,
    Queueing,
    Submission,
    Switch,
    Verdict,
    Where,
)
from relay.policy.verification import Finding, Role
from relay.policy.verification import Verified as Routable

T = TypeVar("T")

LAPTOP = Certificate(b"laptop's certificate", "/CN=laptop.test", "/CN=laptop.test", "")
STRANGER = Certificate(b"a stranger's certificate", "/CN=stranger.test", "/CN=stranger.test", "")
PEER = Endpoint("192.0.2.7", 40000)
LOCAL = Endpoint("192.0.2.1", 25)


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


class Waiting:
    """Concurrency that notes how long it was asked to sleep, and refuses everything else."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def timeout(self, seconds: float, question: Any) -> Any:
        raise AssertionError("not asked for")

    async def gather(self, questions: Any) -> Any:
        raise AssertionError("not asked for")


class Inquiries:
    """Answers what it was told, and nothing else."""

    def __init__(self, answers: Mapping[str, Answer | Exception]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def serves(self, subject: str) -> bool:
        return subject in self.answers

    async def ask(self, subject: str, options: tuple[str, ...], context: ACLContext) -> Answer:
        self.asked.append((subject, options))
        found = self.answers[subject]
        if isinstance(found, Exception):
            raise found
        return found


class Everywhere:
    """Every address can be routed."""

    async def verify(self, address: Address, role: Role, scope: Scope) -> Routable:
        return Routable(Finding.GOOD)


NAMED = NamedLists.of(NamedList(ListKind.DOMAIN, "local_domains", "relay.test : *.relay.test"))


def read(text: str, name: str = "acl_check", named: NamedLists = NAMED) -> ACL:
    lines = tuple(
        (Location("conf", number), line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    )
    return parse_acl(name, lines, named)


def tls(certificate: Certificate | None = None, *, verified: bool = False, suite: str = "TLS_AES_256") -> TLSFacts:
    verification = Verified("itself") if verified else Unverified("unknown issuer")
    return TLSFacts("TLS1.3", suite, 256, peer=certificate, verification=verification)


def session(layer: TLSFacts | None = None, authenticated: str = "") -> SessionFacts:
    return SessionFacts(
        PEER,
        LOCAL,
        hello=Hello("client", True),
        tls=layer,
        authentication=Authentication(authenticated, "me") if authenticated else None,
    )


def context(
    where: Where = Where.RCPT,
    *,
    facts: SessionFacts | None = None,
    recipient: str = "you@example.org",
    sender: str = "me@laptop.test",
    book: Mapping[str, ACL] | None = None,
    inquiries: Inquiries | None = None,
    ports: ConditionPorts | None = None,
    notes: Notes | None = None,
) -> ACLContext:
    variables: dict[str, str] = {}
    local, _, domain = recipient.rpartition("@")
    who, _, where_from = sender.rpartition("@")
    scope = Scope(
        session=facts or session(),
        main={"primary_hostname": "relay.test"},
        message=MessageView(sender=Address(who, where_from), message_id="1abcde-000000-00"),
        address=AddressView(local, domain) if where is Where.RCPT else None,
        acl_variables=variables,
        named_lists=NAMED,
        notes=notes,
    )
    asked = ports or ConditionPorts(addresses=Everywhere(), inquiries=inquiries)
    return ACLContext(where, scope, book or {}, Effects(), variables, Journal(), Waiting(), asked)


def decide(text: str, where: Where = Where.RCPT, **options: Any) -> Verdict:
    return answer(run(read(text), context(where, **options)))


def at(verdict: Verdict) -> int:
    assert verdict.statement is not None
    return verdict.statement.line


# The wiki page

FINGERPRINTS = f"{'0' * 64} : {LAPTOP.fingerprint}"
WIKI = f"""
    accept  verify        = certificate
            condition     = ${{if inlist{{${{sha256:$tls_in_peercert}}}}{{{FINGERPRINTS}}}}}
            control       = submission
            control       = dkim_disable_verify
    warn    verify        = certificate
            condition     = ${{if !inlist{{${{sha256:$tls_in_peercert}}}}{{{FINGERPRINTS}}}}}
            logwrite      = Attempt to relay from a certificate which has not been allowed: ${{sha256:$tls_in_peercert}}
    deny    message       = relay not permitted
"""


def test_the_wiki_page_lets_the_laptop_relay() -> None:
    ours = context(facts=session(tls(LAPTOP, verified=True)))
    verdict = answer(run(read(WIKI), ours))
    assert verdict == Accepted(Location("conf", 2))
    assert ours.effects.controls == [Submission(), Switch.DKIM_DISABLE_VERIFY]
    assert ours.journal.events == []  # type: ignore[attr-defined]


def test_the_wiki_page_names_a_certificate_that_is_not_listed() -> None:
    ours = context(facts=session(tls(STRANGER, verified=True)))
    verdict = answer(run(read(WIKI), ours))
    assert isinstance(verdict, Denied)
    assert (verdict.reply.code, verdict.reply.text) == (550, "relay not permitted")
    assert at(verdict) == 9
    assert [event.text for event in ours.journal.events] == [  # type: ignore[attr-defined]
        f"Attempt to relay from a certificate which has not been allowed: {STRANGER.fingerprint}"
    ]
    assert ours.effects.controls == []


@pytest.mark.parametrize(
    "layer",
    [None, tls(), tls(LAPTOP), tls(verified=True)],
    ids=["in clear", "no certificate", "the laptop's, unverified", "verified, and no certificate"],
)
def test_the_wiki_page_lets_nobody_else(layer: TLSFacts | None) -> None:
    assert isinstance(decide(WIKI, facts=session(layer)), Denied)


# Verbs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accept", Accepted),
        ("deny", Denied),
        ("drop", Denied),
        ("defer", Deferred),
        ("discard", Discarded),
        ("warn", Denied),
        ("", Denied),
        ("accept condition = no", Denied),
        ("require condition = yes", Denied),
        ("require condition = yes\naccept", Accepted),
        ("require condition = no\naccept", Denied),
        ("deny condition = 0\naccept", Accepted),
        ("accept condition =\naccept", Accepted),
        ("accept condition = no\nendpass\ncondition = yes\naccept", Accepted),
        ("accept condition = yes\nendpass\ncondition = no\naccept", Denied),
        ("discard condition = yes\nendpass\ncondition = no\naccept", Denied),
    ],
)
def test_what_a_verb_does(text: str, expected: type) -> None:
    assert isinstance(decide(text), expected)


def test_the_end_of_an_acl_refuses_and_names_no_statement() -> None:
    assert decide("accept condition = no") == Denied(ADMINISTRATIVE_PROHIBITION, "", None)


def test_drop_closes() -> None:
    verdict = decide("drop message = go away")
    assert isinstance(verdict, Denied)
    assert verdict.drop
    assert verdict.reply.text == "go away"


@pytest.mark.parametrize("where", list(Where))
def test_an_acl_that_is_not_set(where: Where) -> None:
    verdict = answer(check(None, context(where)))
    refused = where in {Where.RCPT, Where.VRFY, Where.EXPN, Where.ETRN}
    assert isinstance(verdict, Denied if refused else Accepted)


@pytest.mark.parametrize(
    ("where", "code"), [(Where.RCPT, 550), (Where.VRFY, 252), (Where.ETRN, 458), (Where.AUTH, 503)]
)
def test_the_code_of_a_refusal(where: Where, code: int) -> None:
    verdict = decide("deny", where)
    assert isinstance(verdict, Denied)
    assert verdict.reply.code == code


def test_discard_is_for_messages() -> None:
    ours = context(Where.HELO)
    verdict = answer(run(read("discard log_message = why"), ours))
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == "why"
    (trouble,) = ours.journal.events
    assert trouble.text == '"discard" verb not allowed in EHLO or HELO ACL'


# Conditions


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("hosts = 192.0.2.0/24", True),
        ("hosts = 10.0.0.0/8", False),
        ("!hosts = 10.0.0.0/8", True),
        ("hosts = *", True),
        ("hosts = :", False),
        ("domains = +local_domains", False),
        ("domains = example.org", True),
        ("!domains = example.org", False),
        ("local_parts = you", True),
        ("recipients = you@example.org", True),
        ("recipients = *@example.net", False),
        ("senders = *@laptop.test", True),
        ("senders = :", False),
        ("sender_domains = laptop.test", True),
        ("encrypted = *", True),
        ("encrypted = TLS_AES_256", True),
        ("encrypted = OTHER", False),
        ("authenticated = *", True),
        ("authenticated = plain", True),
        ("authenticated = login", False),
        ("condition = yes", True),
        ("condition = true", True),
        ("condition = 17", True),
        ("condition = -0", False),
        ("condition = FALSE", False),
        ("condition = ${if eq{a}{a}}", True),
        ("condition = ${if eq{a}{b}}", False),
        ("verify = certificate", True),
        ("!verify = certificate", False),
        ("condition = ${if eq{$sender_host_address}{192.0.2.7}}", True),
        ("condition = ${if eq{$local_part@$domain}{you@example.org}}", True),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    facts = session(tls(LAPTOP, verified=True), authenticated="plain")
    assert isinstance(decide(f"accept {condition}", facts=facts), Accepted if holds else Denied)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [("encrypted = *", False), ("!encrypted = *", True), ("authenticated = *", False), ("verify = certificate", False)],
)
def test_conditions_on_a_connection_in_clear(condition: str, holds: bool) -> None:
    assert isinstance(decide(f"accept {condition}"), Accepted if holds else Denied)


def test_the_null_sender() -> None:
    assert isinstance(decide("accept senders = :", sender="@"), Accepted)


def test_what_a_list_finds_is_seen_by_what_follows() -> None:
    verdict = decide("deny domains = +local_domains\nmessage = $domain_data", recipient="a@relay.test")
    assert isinstance(verdict, Denied)
    assert verdict.reply.text == "relay.test"


def test_a_value_that_is_no_truth_defers() -> None:
    verdict = decide("accept condition = ${if eq{a}{a}{perhaps}}")
    assert verdict == Deferred(LOCAL_PROBLEM, 'invalid "condition" value "perhaps"', Location("conf", 1))


def test_a_forced_failure_leaves_the_condition_out() -> None:
    assert isinstance(decide("deny condition = ${if eq{a}{b}{no}fail}\naccept"), Denied)
    assert isinstance(decide("accept condition = ${if eq{a}{b}{no}fail}"), Accepted)


class Unopened:
    """Lookups without files."""

    async def find(self, kind: object, key: str, source: str) -> str | None:
        raise NotOpened("there is no such file")


def test_a_failing_expansion_never_accepts() -> None:
    verdict = decide("accept condition = ${if ={a}{1}}")
    assert isinstance(verdict, Deferred)
    assert verdict.reply == LOCAL_PROBLEM
    assert "failed to expand ACL string" in verdict.log_text


def test_a_file_that_can_not_be_opened_is_not_passed_over() -> None:
    ours = context()
    ours.scope.lookups = Unopened()
    verdict = answer(run(read("warn set acl_m_x = ${lookup{x}lsearch{/none}}\naccept"), ours))
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == 'failed to expand ACL string "${lookup{x}lsearch{/none}}": there is no such file'


def test_a_warn_statement_that_can_not_be_answered_is_skipped() -> None:
    text = "warn verify = peer\nlogwrite = never\naccept"
    ours = context(inquiries=Inquiries({"verify = peer": TemporaryFailure("no answer")}))
    assert isinstance(answer(run(read(text), ours)), Accepted)
    (event,) = ours.journal.events  # type: ignore[attr-defined]
    assert isinstance(event, events.Warned)
    assert "skipped" in event.text
    assert "no answer" in event.text


def test_a_condition_in_the_wrong_place_refuses_for_now() -> None:
    verdict = decide("accept domains = *", Where.MAIL)
    assert isinstance(verdict, Deferred)
    assert "cannot test domains condition in MAIL ACL" in verdict.log_text


def test_what_is_not_served_yet_refuses_for_now() -> None:
    verdict = decide("accept verify = peer")
    assert isinstance(verdict, Deferred)
    assert '"verify = peer" is not served yet' in verdict.log_text


def test_an_inquiry_words_the_refusal() -> None:
    inquiries = Inquiries({"verify = peer": Answer(False, "Sender verify failed", "no such user")})
    verdict = decide("require verify = peer", inquiries=inquiries)
    assert inquiries.asked == [("verify = peer", ("me@laptop.test",))]
    assert isinstance(verdict, Denied)
    assert (verdict.reply.text, verdict.log_text) == ("Sender verify failed", "no such user")


# Messages


@pytest.mark.parametrize(
    ("text", "reply", "log"),
    [
        ("deny message = no", "no", "no"),
        ("deny message = no\nlog_message = really no", "no", "really no"),
        ("deny log_message = really no", "Administrative prohibition", "really no"),
        ("require verify = certificate", "no verified certificate", "no verified certificate"),
        ("require message = show yourself\nverify = certificate", "show yourself", "show yourself"),
        # Behind the condition that fails, a message comes too late.
        ("require verify = certificate\nmessage = show yourself", "no verified certificate", "no verified certificate"),
        ("require verify = certificate\nlog_message = L", "no verified certificate", "no verified certificate"),
        ("require log_message = L\nverify = certificate", "no verified certificate", "L"),
        # The last one before the condition counts.
        ("require message = one\ncondition = yes\nmessage = two\ncondition = no", "two", "two"),
        ("require message = one\ncondition = no\nmessage = two\ncondition = no", "one", "one"),
        ("deny message = ${if eq{a}{b}{c}fail}", "Administrative prohibition", ""),
        ("deny message = to $domain", "to example.org", "to example.org"),
        ("require message = I: $acl_verify_message\nverify = certificate", "I: no verified certificate", None),
        (
            "deny !verify = certificate\nset acl_m_a = $acl_verify_message\nmessage = $acl_m_a",
            "no verified certificate",
            None,
        ),
        ("warn !verify = certificate\ndeny message = ($acl_verify_message)", "()", None),
    ],
)
def test_messages(text: str, reply: str, log: str | None) -> None:
    verdict = decide(text)
    assert isinstance(verdict, Denied)
    assert verdict.reply.text == reply
    assert log is None or verdict.log_text == log


def test_a_defer_statement_tells_its_message() -> None:
    verdict = decide("defer message = later")
    assert isinstance(verdict, Deferred)
    assert (verdict.reply.code, verdict.reply.text) == (451, "later")


def test_the_message_of_accept_is_for_the_success() -> None:
    assert decide("accept message = welcome") == Accepted(Location("conf", 1), "welcome")
    assert decide("accept message = no\nendpass\ncondition = yes") == Accepted(Location("conf", 1), "")


@pytest.mark.parametrize(
    ("message", "code", "enhanced", "text"),
    [
        ("no", 550, "5.7.1", "no"),
        ("554 no", 554, "5.7.1", "no"),
        ("550 5.1.1 no", 550, "5.1.1", "no"),
        ("450 no", 550, "5.7.1", "no"),
        ("450 4.7.1 no", 550, "5.7.1", "no"),
        ("5500 no", 550, "5.7.1", "5500 no"),
        ("550", 550, "5.7.1", "550"),
    ],
)
def test_a_code_in_the_message(message: str, code: int, enhanced: str, text: str) -> None:
    ours = context()
    verdict = answer(run(read(f"deny message = {message}"), ours))
    assert isinstance(verdict, Denied)
    assert (verdict.reply.code, verdict.reply.enhanced, verdict.reply.text) == (code, enhanced, text)
    complaints = [event for event in ours.journal.events if isinstance(event, events.Trouble)]  # type: ignore[attr-defined]
    assert bool(complaints) is message.startswith("450")


def test_a_message_of_several_lines() -> None:
    verdict = decide(r"deny message = one\ntwo")
    assert isinstance(verdict, Denied)
    assert verdict.reply.lines == ("one", "two")


@given(st.text(alphabet="ab :\n", max_size=400))
@settings(max_examples=100)
def test_a_message_that_is_cut_keeps_its_words(text: str) -> None:
    assert " ".join(split_message(text)).split() == text.split()


def test_an_empty_message_leaves_the_reply() -> None:
    assert reply_with_message(LOCAL_PROBLEM, "") == (LOCAL_PROBLEM, False)


# Modifiers


def test_variables_are_set_and_seen() -> None:
    ours = context()
    verdict = answer(run(read("warn set acl_m0 = $domain\ndeny message = $acl_m0"), ours))
    assert isinstance(verdict, Denied)
    assert verdict.reply.text == "example.org"
    assert ours.variables == {"acl_m0": "example.org"}


def test_logwrite_chooses_its_logs() -> None:
    ours = context()
    answer(run(read("warn logwrite = one\nlogwrite = :main,reject: two"), ours))
    assert ours.journal.events == [  # type: ignore[attr-defined]
        events.WrittenByACL("one", ("main",), "1abcde-000000-00"),
        events.WrittenByACL("two", ("main", "reject"), "1abcde-000000-00"),
    ]


def test_a_warning_is_logged_once() -> None:
    ours = context()
    once = read("warn log_message = careful\naccept")
    answer(run(once, ours))
    answer(run(once, ours))
    assert [event.text for event in ours.journal.events] == ["careful"]  # type: ignore[attr-defined]


def test_header_fields_are_added_once_and_in_their_place() -> None:
    ours = context()
    text = r"""
        warn add_header = X-One: a\n\tb\nX-Two: c
             add_header = :at_start:X-Three: d
             add_header = X-Two: c
             add_header = no field
             message = X-Four: e
        accept remove_header = X-Five : X-Six
    """
    answer(run(read(text), ours))
    assert ours.effects.added == [
        AddedField("X-One: a\n\tb"),
        AddedField("X-Two: c"),
        AddedField("X-Three: d", Place.START),
        AddedField("X-ACL-Warn: no field"),
        AddedField("X-Four: e"),
    ]
    assert ours.effects.removed == ["X-Five", "X-Six"]


def test_a_delay_goes_through_its_port() -> None:
    ours = context()
    answer(run(read("accept delay = 1m5s"), ours))
    assert ours.concurrency.slept == [65]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("submission", Submission()),
        ("submission/sender_retain", Submission(sender_retain=True)),
        ("submission/domain=", Submission(domain="")),
        ("submission/domain=$sender_address_domain/name=A/B", Submission(domain="laptop.test", name="A/B")),
        ("freeze", Freeze()),
        ("freeze/no_tell", Freeze(tell=False)),
        ("queue_only", Queueing()),
        ("queue/first_pass_route", Queueing(route=True)),
        ("queue/what$acl_m_empty", Queueing()),
        ("no_enforce_sync", Switch.NO_ENFORCE_SYNC),
        ("dkim_disable_verify", Switch.DKIM_DISABLE_VERIFY),
    ],
)
def test_controls(control: str, expected: object) -> None:
    ours = context()
    answer(run(read(f"accept control = {control}"), ours))
    assert ours.effects.controls == [expected]


def test_where_a_refusal_is_logged() -> None:
    assert decide("deny log_reject_target = main").logs == ("main",)  # type: ignore[union-attr]
    assert decide("deny log_reject_target =").logs == ()  # type: ignore[union-attr]
    assert decide("deny").logs == ("main", "reject")  # type: ignore[union-attr]


def test_an_effect_stays_where_a_later_condition_fails() -> None:
    ours = context()
    answer(run(read("accept control = freeze\ncondition = no\naccept"), ours))
    assert ours.effects.controls == [Freeze()]


# ACLs inside of ACLs


def test_a_nested_acl_with_arguments() -> None:
    book = {"is": read("accept condition = ${if eq{$acl_arg1}{$acl_arg2}}", "is")}
    assert isinstance(decide("accept acl = is $domain example.org", book=book), Accepted)
    assert isinstance(decide("accept acl = is $domain relay.test", book=book), Denied)
    assert isinstance(decide('accept acl = is "a b" "a b"', book=book), Accepted)
    assert isinstance(decide("accept !acl = is $domain relay.test", book=book), Accepted)


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("drop message = out", "require acl = inner", Denied),
        ("defer message = later", "accept acl = inner", Deferred),
        ("discard", "accept acl = inner", Discarded),
        ("discard", "deny acl = inner", Deferred),
        ("accept", "deny acl = inner", Denied),
        ("defer", "warn acl = inner\naccept", Accepted),
    ],
)
def test_what_a_nested_acl_gives(inner: str, outer: str, expected: type) -> None:
    verdict = decide(outer, book={"inner": read(inner, "inner")})
    assert isinstance(verdict, expected)


def test_a_nested_acl_words_the_refusal() -> None:
    verdict = decide("require acl = inner", book={"inner": read("deny message = because", "inner")})
    assert isinstance(verdict, Denied)
    assert verdict.reply.text == "because"


def test_an_acl_that_calls_itself_ends() -> None:
    verdict = decide("accept acl = again", book={"again": read("accept acl = again", "again")})
    assert isinstance(verdict, Deferred)
    assert "nested too deep" in verdict.log_text


@pytest.mark.parametrize("call", ["accept acl = nobody", "accept acl = $domain", "accept acl = /etc/passwd"])
def test_an_acl_that_is_not_there_or_comes_from_outside(call: str) -> None:
    book = {"example.org": read("accept")}
    assert isinstance(decide(call, recipient=Tainted("a@example.org"), book=book), Deferred)


def reference(text: str, acl: ACL | None = None) -> ACLReference:
    return ACLReference(compile_expansion(text), Location("conf", 9), acl)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${if eq{$sender_host_address}{192.0.2.7}{yes}{no}}", Accepted),
        ("${if eq{$sender_host_address}{192.0.2.8}{yes}{no}}", Denied),
        ("${if eq{a}{b}{c}fail}", Accepted),
        (r"${if eq{a}{a}{deny hosts = 10.0.0.1\naccept}}", Accepted),
        ("${if eq{a}{a}{no such acl}}", Deferred),
        ("${if ={a}{1}}", Deferred),
    ],
)
def test_an_acl_out_of_an_expansion(text: str, expected: type) -> None:
    book = {"yes": read("accept"), "no": read("deny")}
    assert isinstance(answer(check(reference(text), context(book=book))), expected)


@pytest.mark.parametrize("domain", ["accept", "yes"])
def test_an_acl_that_a_peer_wrote_or_chose(domain: str) -> None:
    ours = context(recipient=f"a@{domain}", book={"yes": read("accept")})
    verdict = answer(check(reference("$domain"), ours))
    assert isinstance(verdict, Deferred)
    assert "may not come from outside" in verdict.log_text


@pytest.mark.parametrize("domain", ["a.test", "a.test accept deny hosts = *", "${if eq{a}{a}{b}}"])
def test_what_comes_from_outside_is_a_value_in_the_statements_of_an_option(domain: str) -> None:
    text = "deny message = no $domain"
    ours = context(recipient=Tainted(f"a@{domain}"))
    verdict = answer(check(replace(reference(text), as_written=read(text)), ours))
    assert isinstance(verdict, Denied)
    assert f"no {domain}" in verdict.reply.text


def test_an_acl_that_is_known_already() -> None:
    assert isinstance(answer(check(reference("yes", read("accept")), context())), Accepted)


def test_an_acl_from_an_expansion_port() -> None:
    book = {"greet": read("accept message = hello $acl_arg1"), "no": read("deny"), "wait": read("defer")}
    ours = context(book=book)
    port = ExpandedACLs(Where.RCPT, book, ours.effects, ours.variables, ours.journal, ours.concurrency)
    assert answer(port.run("greet", ("you",), ours.scope)).message == "hello you"
    assert not answer(port.run("no", (), ours.scope)).accepted
    with pytest.raises(TemporaryFailure):
        answer(port.run("wait", (), ours.scope))
    with pytest.raises(ExpansionFailed):
        answer(port.run("nobody", (), ours.scope))


# What is told to one who watches


def told(text: str) -> list[str]:
    lines: list[str] = []
    decide(text, notes=Notes(lines.append))
    return lines


def test_who_watches_is_told_every_step() -> None:
    assert told("accept !hosts = 192.0.2.7\n message = not you\ndeny condition = ${if eq{a}{a}}\nlogwrite = seen") == [
        '>>> using ACL "acl_check"',
        '>>> processing ACL acl_check "accept" (conf 1)',
        ">>> check !hosts = 192.0.2.7",
        '>>> host in "192.0.2.7"?',
        ">>>  list element: 192.0.2.7",
        '>>>  host in "192.0.2.7"? yes (matched "192.0.2.7")',
        ">>> accept: condition test failed in ACL acl_check",
        '>>> processing ACL acl_check "deny" (conf 3)',
        ">>> check condition = ${if eq{a}{a}}",
        ">>>                 = true",
        ">>> check logwrite = seen",
        ">>> deny: condition test succeeded in ACL acl_check",
        ">>> end of ACL acl_check: DENY",
    ]


def test_texts_are_told_where_they_are_reached() -> None:
    assert told("warn message = one\n condition = yes\n log_message = two")[1:] == [
        '>>> processing ACL acl_check "warn" (conf 1)',
        ">>>   message: one",
        ">>> check condition = yes",
        ">>> l_message: two",
        ">>> warn: condition test succeeded in ACL acl_check",
        ">>> end of ACL acl_check: implicit DENY",
    ]


# Mistakes


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("acept", 'unknown ACL verb in "acept"', 'did you mean "accept"?'),
        ("accept hots = *", "unknown ACL condition or modifier", 'did you mean "hosts"?'),
        ("accept hosts *", '"=" is missing after "hosts"', "write hosts = …"),
        ("accept !control = freeze", 'negation is not allowed with "control"', ""),
        ("accept !message = x", 'negation is not allowed with "message"', ""),
        ("!accept", "malformed ACL line", ""),
        ("deny endpass", '"endpass" is not allowed with "deny"', ""),
        ("accept control = frieze", "no such control", 'did you mean "freeze"?'),
        ("accept control = cutthrough_delivery", "is not supported", ""),
        ("accept verify = certificat", "is nothing that can be verified", 'did you mean "certificate"?'),
        ("accept verify = certificate/x", "has no options", ""),
        ("accept verify = recipient/callot", "unknown option", 'did you mean "callout"?'),
        ("accept condition = perhaps", 'invalid "condition" value "perhaps"', ""),
        ("accept condition = ${perl{x}}", "condition: ", ""),
        ("accept condition = $spf_result", "unknown variable", ""),
        ("accept delay = soon", "is not a time value", ""),
        ("accept set acl_x = 1", "does not set a variable", ""),
        ("accept malware = *", '"malware" is not supported', ""),
        ("accept logwrite = :mian: x", "unknown log name", 'did you mean "main"?'),
        ("accept acl = a 1 2 3 4 5 6 7 8 9 0", "nine arguments at most", ""),
    ],
)
def test_mistakes_are_found_when_the_acl_is_read(text: str, what: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.location == Location("conf", 1)
    assert what in problem.what
    assert remedy in problem.remedy


@pytest.mark.parametrize("line", ["accept domains = +nosuch", "accept domains = !+nosuch"])
@pytest.mark.parametrize("before", ["", "warn domains = +nosuch\n"])
def test_a_named_list_that_is_not_there_refuses_where_it_is_asked(line: str, before: str) -> None:
    acl = read(f"{before}{line}")
    place, what = acl.unknown_lists[-1]
    assert (place.line, what) == (len(before.splitlines()) + 1, 'domain list "+nosuch"')
    verdict = decide(f"{before}{line}")
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == 'unknown named domain list "+nosuch"'
    assert isinstance(decide(f"accept\n{line}"), Accepted)


BROKEN = [
    "accept condition = ${if eq{a}{b}",
    "accept condition = $nosuch",
    "deny condition = ${if nosuch{a}{b}}",
    "deny !hosts = ${if",
    "accept hosts = $nosuch",
    "accept set acl_c_x = $nosuch",
    "accept logwrite = $nosuch",
    "require condition = $nosuch",
    "discard domains = ${lc:",
    "accept ratelimit = $nosuch / 1h",
]


@pytest.mark.parametrize("line", BROKEN)
@pytest.mark.parametrize("before", ["", "warn condition = $neither\n", "warn hosts = ${if\n"])
def test_what_can_not_be_expanded_lets_nobody_through(line: str, before: str) -> None:
    acl = read(f"{before}{line}")
    assert [place.line for place, _ in acl.faults] == list(range(1, len(before.splitlines()) + 2))
    assert isinstance(decide(f"{before}{line}"), Deferred)
    assert isinstance(decide(f"accept\n{line}"), Accepted)


@pytest.mark.parametrize("line", ["warn hosts = ${if", "warn domains = $nosuch", "warn condition = ${if eq{a}"])
def test_a_warning_that_can_not_be_expanded_is_not_passed_over(line: str) -> None:
    """It might have set what a later statement refuses by."""
    assert isinstance(decide(f"{line}\naccept"), Deferred)


def test_all_mistakes_are_found_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read("acept\nhosts = *\nhots = *\ndeny mesage = x")
    assert [problem.location.line for problem in caught.value.problems] == [1, 3, 4]


def test_what_an_acl_refers_to() -> None:
    acl = read("accept acl = other\nverify = peer\ndiscard domains = *")
    assert acl.acl_names == ((Location("conf", 1), "other"),)
    assert acl.inquiries == ((Location("conf", 2), "verify = peer"),)
    assert [(each.location.line, each.what.partition(":")[0]) for each in acl.misplaced(Where.MAIL)] == [
        (3, "cannot test domains in MAIL ACL"),
    ]
    assert acl.misplaced(Where.RCPT) == ()


def test_the_lines_of_an_inline_acl() -> None:
    place = Location("conf", 3)
    text = "deny hosts = 10.0.0.1 : \\\n   10.0.0.2\n# a comment\n\n accept"
    assert inline_lines(text, place) == ((place, "deny hosts = 10.0.0.1 : 10.0.0.2"), (place, "accept"))


@given(st.lists(st.text(max_size=60), max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_text_makes_the_parser_raise_anything_else(lines: list[str]) -> None:
    with contextlib.suppress(ConfigurationError):
        parse_acl("any", tuple((Location("any", number), line) for number, line in enumerate(lines, 1)), NAMED)


WORDS = st.sampled_from([
    "accept", "deny", "warn", "hosts", "condition", "control", "verify", "=", "!", "set", "acl_m0", "acl",
    "message", "*", "${if", "{", "}", "$domain", "submission", "/", "certificate", ":", "endpass", "logwrite",
    " ", "\\",
])  # fmt: skip


@given(st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=5))
@settings(max_examples=150, deadline=None)
def test_whatever_compiles_gives_a_verdict(lines: list[str]) -> None:
    try:
        acl = parse_acl("any", tuple((Location("any", number), line) for number, line in enumerate(lines, 1)), NAMED)
    except ConfigurationError:
        return
    assert isinstance(answer(run(acl, context())), Accepted | Denied | Deferred | Discarded)


# What real Exim was found to do


@pytest.mark.parametrize(
    ("acl", "told", "logged"),
    [
        ("accept verify = certificate\n message = own", "no verified certificate", "no verified certificate"),
        ("accept message = own\n verify = certificate", "own", "own"),
        ("deny !verify = certificate\n condition = no", "no verified certificate", ""),
        ("warn !verify = certificate\n condition = no", "Administrative prohibition", ""),
        ("warn message = X-A: b", "Administrative prohibition", ""),
    ],
)
def test_the_last_statement_explains_the_end_of_the_acl(acl: str, told: str, logged: str) -> None:
    verdict = decide(acl)
    assert isinstance(verdict, Denied)
    assert (verdict.reply.text, verdict.log_text) == (told, logged)


def test_an_inner_discard_keeps_its_texts() -> None:
    verdict = decide(
        "accept message = outer\n acl = inner", book={"inner": read("discard message = in\n log_message = why")}
    )
    assert isinstance(verdict, Discarded)
    assert (verdict.message, verdict.log_text) == ("in", "why")


def test_empty_lines_of_a_message_are_left_out_but_for_the_first() -> None:
    assert split_message("one\n\n two\n") == ("one", "two")
    assert split_message("\none") == ("", "one")


def test_the_status_in_a_message_is_part_of_its_text() -> None:
    verdict = decide("deny message = 551 5.7.9 no")
    assert isinstance(verdict, Denied)
    assert verdict.reply.encode() == b"551 5.7.9 no\r\n"


@pytest.mark.parametrize(
    ("modifier", "complaint"),
    [
        ("logwrite = :nosuch$acl_m0:text", 'unknown log name in ":nosuch:text" in "logwrite" in RCPT ACL'),
        ("log_reject_target = nosuch$acl_m0", 'unknown log name "nosuch" in "log_reject_target" in RCPT ACL'),
    ],
)
def test_an_unknown_log_is_reported(modifier: str, complaint: str) -> None:
    ours = context()
    verdict = answer(run(read(f"deny {modifier}"), ours))
    assert isinstance(verdict, Denied)
    assert verdict.logs == ("main", "reject")
    assert [each.text for each in ours.journal.events] == [complaint]


def test_an_expansion_that_fails_is_named() -> None:
    verdict = decide("deny condition = ${eval:x$acl_m0}")
    assert isinstance(verdict, Deferred)
    assert verdict.log_text.startswith('failed to expand ACL string "${eval:x$acl_m0}": ')


@pytest.mark.parametrize("text", ["freeze/no_tell", "${if eq{1}{1}{freeze}}"])
def test_a_control_in_a_place_without_a_message(text: str) -> None:
    verdict = decide(f"accept control = {text}", Where.QUIT)
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == 'cannot use "control=freeze" in QUIT ACL'
