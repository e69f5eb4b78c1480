"""What a run says of messages whose time has not come: one line for each that waits, and nothing is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import BODY, NOW, Notebook, Pieces, make_recipient, run
from delivery.test_attempt import HUB, Attempted
from relay.delivery.not_due import NotDue
from relay.expand.lists import ListKind, compile_list
from relay.mail.events import AddressDeferred
from relay.mail.outcome import Deferred, ErrorClass, Outcome
from relay.mail.queue import RecipientState
from relay.observe.lines import EximLines
from relay.observe.selectors import DEFAULT_SELECTORS

HELD = Deferred("retry time not reached for any host for 'far.test'", host=HUB, host_wide=True, not_before=NOW + 60)


def lines(notebook: Notebook) -> list[str]:
    written = (EximLines(DEFAULT_SELECTORS).line(each) for each in notebook.events)
    return [each.text for each in written if each is not None]


def told(*recipients: Any, held: dict[str, Outcome] | None = None, **ports: Any) -> list[str]:
    done = Attempted({}, *recipients)
    done.sending.held = held or {}
    run(NotDue().tell(done.message, Pieces(BODY), replace(done.ports, **ports)))
    assert done.sending.calls == done.filing.batches == []
    assert {type(each) for each in done.notebook.events} <= {AddressDeferred}, "nothing is settled"
    return lines(done.notebook)


def test_a_mailbox_waits_and_nobody_delivers_to_it() -> None:
    assert told("anna@here.test") == [
        "== anna@here.test R=local T=maildir defer (-53): Retry time not yet reached",
    ]


def test_a_host_waits() -> None:
    assert told("bert@far.test", held={"bert@far.test": HELD}) == [
        "== bert@far.test R=smarthost T=smtp defer (-54): retry time not reached for any host for 'far.test'",
    ]


@pytest.mark.parametrize("error", ["SMTP error after RCPT TO:<bert@far.test>: 450 no", "PRDR error after DATA: 450 no"])
def test_a_recipient_that_the_server_did_not_want_yet_is_not_routed(error: str) -> None:
    waiting = replace(make_recipient("bert@far.test", 0), last_error=error)
    assert told(waiting) == ["== bert@far.test routing defer (-52): retry time not reached"]


def test_a_message_that_the_server_did_not_want_yet_waits_for_it() -> None:
    waiting = replace(make_recipient("bert@far.test", 0), last_error="SMTP error after end of data: 450 not now")
    assert told(waiting) == [
        "== bert@far.test R=smarthost T=smtp defer (-54): retry time not reached for any host for 'far.test'",
    ]


def test_what_can_not_be_routed_waits_for_routing() -> None:
    assert told("a@slow.test") == ["== a@slow.test routing defer (-52): retry time not reached"]


def test_a_held_domain_is_held_whatever_the_time() -> None:
    domains = compile_list(ListKind.DOMAIN, "here.test")
    done = Attempted({}, "anna@here.test")
    routing = replace(done.ports.routing, hold_domains=domains)
    assert told("anna@here.test", routing=routing) == ["== anna@here.test defer (-23): domain is held"]


def test_who_is_done_is_not_told_of() -> None:
    done = replace(make_recipient("anna@here.test", 0), state=RecipientState.DELIVERED)
    assert told(done, make_recipient("bert@here.test", 1)) == [
        "== bert@here.test R=local T=maildir defer (-53): Retry time not yet reached",
    ]


def test_a_run_asks_once_for_a_domain_that_nobody_answers_for() -> None:
    not_due, asked = NotDue(), []
    for address in ("a@slow.test", "b@slow.test"):
        done = Attempted({}, address)
        run(not_due.tell(done.message, Pieces(BODY), done.ports))
        asked.append(done.names.asked)
        assert lines(done.notebook) == [f"== {address} routing defer (-52): retry time not reached"]
    assert asked[0]
    assert not asked[1]


def test_the_lines_can_be_switched_off() -> None:
    quiet = EximLines(replace(DEFAULT_SELECTORS, names=DEFAULT_SELECTORS.names - {"retry_defer"}))
    for error in (ErrorClass.NOT_DUE_HERE, ErrorClass.NOT_DUE_FOR_ROUTING):
        event = AddressDeferred("id", make_recipient("a@b.test", 0).recipient.address, "", "", Deferred("", error))
        assert quiet.line(event) is None
