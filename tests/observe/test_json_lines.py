"""Events as JSON lines."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observe import happenings as here
from observe.test_logs import SetClock, Sheet
from relay.mail import events
from relay.mail.facts import Hello
from relay.observe.json_lines import JSONLines, as_json, event_name


def written(event: events.Event) -> dict[str, object]:
    sheet = Sheet()
    JSONLines(sheet, SetClock()).record(event)
    ((_, line),) = sheet.lines
    assert line.count(b"\n") == 1
    row = json.loads(line)
    assert isinstance(row, dict)
    return row


def test_an_arrival() -> None:
    row = written(here.ARRIVED)
    assert row["time"] == "2026-11-21T10:00:00.000+00:00"
    assert row["event"] == "arrived"
    assert row["sender"] == "anne@example.org"
    assert row["recipients"] == ["bob@there.example"]
    session = row["session"]
    assert session["protocol"] == "esmtps"
    assert session["tls"]["verification"] == "verified"
    assert session["tls"]["peer"] == {
        "fingerprint": here.FP,
        "key_digest": "AB" * 32,
        "subject": "/C=DE/CN=laptop",
        "issuer": "/CN=us",
    }


def test_why_a_certificate_does_not_pass() -> None:
    row = written(replace(here.ARRIVED, session=replace(here.SESSION, tls=here.UNKNOWN)))
    assert row["session"]["tls"]["why_unverified"] == "self-signed"


def test_a_channel_binding_is_nobody_s_business() -> None:
    tls = replace(here.TLS, binding=b"\x01" * 32)
    assert "binding" not in written(replace(here.ARRIVED, session=replace(here.SESSION, tls=tls)))["session"]["tls"]


def test_errors_and_replies() -> None:
    assert written(here.DEFERRED)["outcome"]["error"] == "rcpt_4xx"
    assert as_json(here.REPLY) == str(here.REPLY)


@pytest.mark.parametrize("event", here.ALL, ids=lambda event: type(event).__name__)
def test_every_event(event: events.Event) -> None:
    assert written(event)["event"] == event_name(event)


def test_names() -> None:
    assert event_name(events.TLSStarted(here.SESSION)) == "tls_started"
    assert event_name(here.DELIVERED) == "address_delivered"
    assert event_name(events.WrittenByACL("")) == "written_by_acl"


@settings(max_examples=100)
@given(st.text(max_size=20) | st.text('\udcff\n\x00\u2028"', max_size=10))
def test_any_text_is_one_line_of_ascii(text: str) -> None:
    row = written(replace(here.ARRIVED, session=replace(here.SESSION, hello=Hello("x" + text, extended=True))))
    assert row["session"]["hello"]["name"] == "x" + text
