"""What `-bt` and `-bv` print: the layout of Exim, line for line."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from delivery.post import run
from policy.routers.routing_world import Offering, Zone, accept, lookup, manual, redirect, when
from relay.expand.lists import ListKind, compile_list
from relay.mail.address import address_from_text
from relay.policy.address_report import Inquiry, Report, Verdict, report_on
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import USUAL_ITEMS, Item

HERE = accept(preconditions=when(domains="here.test", local_parts="anna : bert"))
FAR = manual("far.test 192.0.2.1::2525:2001::db8::::1")


def report(address: str, *routers: Any, full: bool = True, purpose: Purpose = Purpose.TEST, dns: Any = None) -> Report:
    offering = Offering(purpose=purpose, dns=dns or Zone({}))
    inquiry = Inquiry(
        routers=routers or (HERE, FAR),
        scope=offering.scope(),
        ports=offering.ports(),
        purpose=purpose,
        is_full=full,
        source=random.Random(1),
    )
    return run(report_on(address_from_text(address), inquiry))


def test_a_mailbox() -> None:
    assert report("anna@here.test") == Report(("anna@here.test", "  router = local, transport = maildir"), Verdict.GOOD)


def test_hosts_stand_in_columns() -> None:
    zone = Zone({
        "x.test MX": ("5 a.test.", "10 long-name.test."), "a.test A": ("192.0.2.1",),
        "long-name.test A": ("192.0.2.100",),
    })  # fmt: skip
    assert report("anna@x.test", lookup(), dns=zone).lines == (
        "anna@x.test",
        "  router = dns, transport = smtp",
        "  host a.test         [192.0.2.1]   MX=5",
        "  host long-name.test [192.0.2.100] MX=10",
    )


def test_a_host_that_is_vouched_for_is_marked() -> None:
    zone = Zone({"x.test MX": ("5 a.test.",), "a.test A": ("192.0.2.1",)}, frozenset({"x.test", "a.test"}))
    router = lookup(dnssec_request=compile_list(ListKind.DOMAIN, "*"))
    found = report("anna@x.test", router, dns=zone).lines
    assert found[-1] == "  host a.test [192.0.2.1] MX=5 AD"


def test_a_port_is_shown() -> None:
    assert report("anna@far.test", manual("far.test 192.0.2.1::2525")).lines[-1] == (
        "  host 192.0.2.1 [192.0.2.1] port=2525"
    )


def test_the_hosts_of_a_local_transport_are_a_text() -> None:
    found = report("anna@far.test", manual("far.test any-thing maildir")).lines
    assert found[-1].rstrip() == "  host any-thing"


def test_what_was_found_last_comes_first_with_what_it_was_made_of() -> None:
    routers = (
        redirect("anna@here.test, bert@here.test, nobody@here.test", preconditions=when(local_parts="team")),
        HERE,
    )
    assert report("team@far.test", *routers) == Report(
        (
            "nobody@here.test is undeliverable: Unrouteable address",
            "    <-- team@far.test",
            "bert@here.test",
            "    <-- team@far.test",
            "  router = local, transport = maildir",
            "anna@here.test",
            "    <-- team@far.test",
            "  router = local, transport = maildir",
        ),
        Verdict.BAD,
    )


def test_files_and_commands() -> None:
    lines = report("bert@far.test", redirect("|/bin/cat, /box/, /x"), HERE).lines
    assert lines == (
        "bert@far.test -> |/bin/cat", "  transport = pipe",
        "bert@far.test -> /box/", "  transport = maildir",
        "bert@far.test -> /x", "  transport = file",
    )  # fmt: skip
    forbidden = redirect("|/bin/cat", allowed=Item.ADDRESS)
    assert report("bert@far.test", forbidden).lines == ("bert@far.test -> |/bin/cat *** forbidden ***",)


def test_a_transport_that_is_not_set() -> None:
    unset = replace(redirect("/box"), file_transport=None)
    assert report("bert@far.test", unset).lines == (
        "bert@far.test -> /box",
        "*** Error in setting up pipe, file, or autoreply:",
        "file_transport unset in aliases router",
    )


def test_duplicates_are_marked() -> None:
    lines = report(
        "team@far.test", redirect("anna@here.test, anna@here.test", preconditions=when(local_parts="team")), HERE
    ).lines
    assert [line for line in lines if line.startswith("anna")] == [
        "anna@here.test",
        "anna@here.test   [duplicate, would not be delivered]",
    ]


def test_nobody() -> None:
    assert report("bert@far.test", redirect(":blackhole:")).lines == ("mail to bert@far.test is discarded",)


@pytest.mark.parametrize(
    ("data", "line", "verdict"),
    [
        (":fail: gone", "bert@far.test is undeliverable: gone", Verdict.BAD),
        (":defer: later", "bert@far.test cannot be resolved at this time: later", Verdict.DEFERRED),
        (":fail: a\nb\x1b[2J", "bert@far.test is undeliverable: a\nb\\033[2J", Verdict.BAD),
    ],
)
def test_words(data: str, line: str, verdict: Verdict) -> None:
    router = redirect(data.replace("\\", "\\\\"), allowed=USUAL_ITEMS | Item.FAIL | Item.DEFER)
    assert report("bert@far.test", router) == Report((line,), verdict)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("anna@here.test", "bert@far.test verified"),
        ("nobody@here.test", "bert@far.test failed to verify: Unrouteable address"),
        ("nobody@here.test, anna@here.test", "bert@far.test verified"),
        ("|/bin/cat", "bert@far.test verified"),
        (":blackhole:", "bert@far.test verified"),
    ],
)
def test_in_short(data: str, line: str) -> None:
    routers = (redirect(data, preconditions=when(domains="far.test")), HERE)
    found = report("bert@far.test", *routers, full=False, purpose=Purpose.VERIFY_RECIPIENT)
    assert found.lines == (line,)


def test_verifying_in_full() -> None:
    found = report("bert@else.test", HERE, purpose=Purpose.VERIFY_SENDER)
    assert found.lines == ("bert@else.test failed to verify: Unrouteable address",)
