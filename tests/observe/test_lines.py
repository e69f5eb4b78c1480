"""Exim's log lines, field by field; and no peer writes a line of its own."""

import errno
import os
import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observe import happenings as here
from relay.mail import events
from relay.mail.address import NULL_SENDER, Address
from relay.mail.facts import Authentication, Certificate, Endpoint, Hello, SessionFacts, TLSFacts
from relay.mail.outcome import DNSSEC, Deferred, Delivered, Dialog, ErrorClass, Failed, RemoteHost
from relay.mail.reply import Reply
from relay.observe.line import MAIN_AND_REJECT, Log
from relay.observe.lines import EximLines
from relay.observe.selectors import parse_selector
from relay.observe.words import elapsed_time, full_host, quoted

CLIENT = "(laptop.example) [192.0.2.7]"
MX = "H=mx.there.example [198.51.100.9]"
BOB = "bob@there.example R=smart T=smtp"
LEFT = Deferred("left", ErrorClass.LOCAL_ONLY, host=here.HOST)
X = "X=TLS1.3:TLS_AES_256_GCM_SHA384:256"
MINIMAL = replace(here.SESSION, tls=None, peer_name="")


def test_a_warning_has_the_id_of_its_message() -> None:
    line = EximLines(parse_selector("")).line(events.Warned(here.PLAIN, "odd", here.ID))
    assert line is not None
    assert (line.message_id, line.text) == (here.ID, f"H={CLIENT} Warning: odd")


def test_the_reject_log_shows_a_refused_message() -> None:
    forged = "From: a@b\r\n  2026-11-21 10:00:00 <= forged"
    header = ("Received: from x\r\n\tby y", forged, "Subj\xe4ct: x", "X-Y: \x1b[0m")
    recipients = tuple(Address(f"r{number}", "far.test") for number in range(7))
    message = events.RefusedMessage(recipients, header)
    event = events.CommandRejected(here.PLAIN, "after DATA", "no", NULL_SENDER, message=message)
    line = EximLines(parse_selector("")).line(event)
    assert line is not None
    assert line.header == (
        "Envelope-from: <>",
        "Envelope-to: <r0@far.test>",
        *(f"    <r{number}@far.test>" for number in range(1, 5)),
        "    ...",
        "P Received: from x",
        "\tby y",
        "F From: a@b",
        "  2026-11-21 10:00:00 <= forged",
        "  Subj\\303\\244ct: x",
        "  X-Y: \\033[0m",
    )
    hidden = EximLines(parse_selector("-rejected_header")).line(event)
    assert hidden is not None
    assert hidden.header == ()
    long = replace(event, message=events.RefusedMessage((), ("A: " + "x" * 9000,)))
    cut = EximLines(parse_selector("")).line(long)
    assert cut is not None
    assert cut.header == ("Envelope-from: <>", "*** truncated ***")


INVALID = "syntactically invalid argument(s)"


def written(event: events.Event, selectors: str = "") -> str:
    """With the fields and lines of our own."""
    line = EximLines(parse_selector(f"+fingerpost {selectors}")).line(event)
    assert line is not None
    return line.text


def test_who_does_not_ask_for_more_has_the_lines_that_exim_writes() -> None:
    tls = replace(here.TLS, group="X25519MLKEM768")
    arrived = replace(here.ARRIVED, session=replace(here.SESSION, tls=tls, peer_name=""))
    for selectors in ("", "+all"):
        lines = EximLines(parse_selector(selectors))
        line = lines.line(arrived)
        assert line is not None
        assert {"FP", "G", "KEY"}.isdisjoint(field.partition("=")[0] for field in line.text.split(" "))
        assert lines.line(events.TLSStarted(here.SESSION)) is None
        assert lines.line(events.DaemonNote("the option has no effect", "configuration_notes")) is None
        assert lines.line(events.DaemonNote("stopped", "daemon_stop")) is None
        assert lines.line(events.DaemonNote("started")) is not None


def test_a_second_line_is_no_event_of_its_own() -> None:
    line = EximLines(parse_selector("")).line(events.DaemonNote("no certificate", advice="get\none"))
    assert line is not None
    assert line.more == (" get\\none",)


def test_an_arrival_with_everything() -> None:
    session = replace(here.SESSION, authentication=Authentication("external", "laptop"), peer_host="l.example")
    chosen = "+tls_peerdn +tls_sni +incoming_port +incoming_interface +subject +received_sender +received_recipients"
    assert written(replace(here.ARRIVED, session=session), chosen) == (
        "<= anne@example.org H=l.example (laptop.example) [192.0.2.7]:40000 I=[192.0.2.1]:25 P=esmtpsa"
        f' {X} CV=yes DN="/C=DE/CN=laptop" SNI=relay.example FP={here.FP} PEER=laptop A=external:laptop S=1234'
        ' id=x@y T="Hello" from <anne@example.org> for bob@there.example'
    )


def test_recipients_are_shown_as_they_were_named() -> None:
    arrived = replace(here.ARRIVED, named=(Address("bob", ""),))
    assert written(arrived, "+received_recipients").endswith(" for bob")


@pytest.mark.parametrize(
    ("given", "selectors", "field"),
    [
        ("<x@y>", "", " id=x@y"),
        ("<x@y>", "+msg_id_created", " id=x@y"),
        ("<x@y>", "-msg_id", ""),
        ("", "", ""),
        ("", "+msg_id_created", " id*=E1@relay.example"),
        ("", "+msg_id_created -msg_id", ""),
    ],
)
def test_a_message_id_of_our_own_making_has_a_star(given: str, selectors: str, field: str) -> None:
    arrived = replace(here.ARRIVED, header_message_id=given, made_message_id="" if given else "<E1@relay.example>")
    assert written(arrived, selectors).endswith(f" S=1234{field}")


def test_what_the_line_of_a_recipient_repeats_of_its_message() -> None:
    chosen = "+sender_on_delivery +return_path_on_delivery +queue_time"
    about = events.MessageFrame(Address("anne", "x.example"), NULL_SENDER, 61.0)
    delivered = replace(here.DELIVERED, about=about)
    assert written(delivered, chosen).startswith("=> bob@there.example F=<anne@x.example> P=<> R=smart T=smtp ")
    assert " QT=1m1s" in written(delivered, chosen)
    assert {"F", "P", "QT"}.isdisjoint(each.partition("=")[0] for each in written(delivered).split())
    nowhere = events.MessageFrame(about.sender)
    failed = events.AddressFailed(here.ID, Address("bob", "there.example"), "", "", Failed("no"), about=nowhere)
    assert written(failed, chosen) == "** bob@there.example F=<anne@x.example> : no"


def test_the_id_of_a_connection() -> None:
    session = replace(here.PLAIN, connection_id="17")
    assert f"{CLIENT} Ci=17 P=esmtp" in written(replace(here.ARRIVED, session=session), "+connection_id")
    assert "Ci=" not in written(replace(here.ARRIVED, session=session))
    chosen = "+connection_id +smtp_connection"
    opened = written(events.ConnectionOpened(session, 2), chosen)
    assert opened == f"SMTP connection from {CLIENT} Ci=17 (TCP/IP connection count = 2)"
    closed = written(events.ConnectionClosed(session, "by QUIT"), chosen)
    assert closed == f"SMTP connection Ci=17 from {CLIENT} D=0s closed by QUIT"
    local = replace(session, peer=None, local=None, hello=None, ident="anne")
    assert " U=anne Ci=17 P=" in written(replace(here.ARRIVED, session=local), chosen)


@pytest.mark.parametrize(
    ("dnssec", "selectors", "mark"),
    [
        (DNSSEC.YES, "+dnssec", " DS"),
        (DNSSEC.YES, "+all", " DS"),
        (DNSSEC.YES, "", ""),
        (DNSSEC.NO, "+dnssec", ""),
        (DNSSEC.NOT_ASKED, "+dnssec", ""),
    ],
)
def test_the_mark_of_signed_records(dnssec: DNSSEC, selectors: str, mark: str) -> None:
    host = replace(here.HOST, dnssec=dnssec)
    field = f" H=mx.there.example{mark} [198.51.100.9]"
    delivered = replace(here.DELIVERED, outcome=Delivered("OK", host))
    assert f"{field} " in written(delivered, f"{selectors} -outgoing_port")
    failed = replace(here.FAILED, outcome=Failed("550 no", host=host))
    assert f"{field} : 550 no" in written(failed, f"{selectors} -outgoing_port")
    at_the_host = events.HostFailed(here.ID, Deferred("busy", host=host))
    assert written(at_the_host, f"{selectors} -outgoing_port") == f"{MX}: busy", "no more than Exim's"


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (events.DataCut("header"), "lost while reading message data (header)"),
        (events.DataCut("", here.ID), "lost while reading message data"),
    ],
)
def test_a_message_that_breaks_off(cut: events.DataCut, text: str) -> None:
    closed = events.ConnectionClosed(here.PLAIN, "lost", cut=cut)
    line = EximLines(parse_selector("")).line(closed)
    assert line is not None
    assert (line.message_id, line.text) == (cut.message_id, f"SMTP connection from (laptop.example) [192.0.2.7] {text}")
    assert EximLines(parse_selector("-lost_incoming_connection")).line(closed) is None


def test_no_network_is_told_in_the_systems_words() -> None:
    outcome = Deferred("No route to the host: this machine is offline", ErrorClass.NO_NETWORK, host=here.HOST)
    assert written(events.HostFailed(here.ID, outcome), "-outgoing_port") == f"{MX} Network is unreachable"
    deferred = replace(here.DEFERRED, outcome=outcome)
    assert written(deferred, "").endswith(" T=smtp defer (101): Network is unreachable")


@pytest.mark.parametrize("error", [ErrorClass.NO_NETWORK, ErrorClass.NO_ROUTE])
@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH])
def test_no_way_to_a_host_is_told_with_the_systems_number(error: ErrorClass, number: int) -> None:
    outcome, text = Deferred(os.strerror(number), error, host=here.HOST), os.strerror(number)
    assert written(events.HostFailed(here.ID, outcome), "-outgoing_port") == f"{MX} {text}"
    assert written(replace(here.DEFERRED, outcome=outcome), "").endswith(f" T=smtp defer ({number}): {text}")


def test_a_program_that_is_refused_is_named_by_its_sender() -> None:
    refused = events.CommandRejected(MINIMAL, events.BY_NON_SMTP_ACL, "no", sender=here.BOB)
    assert written(refused, "") == "F=<bob@there.example> rejected by non-SMTP ACL: no"
    assert written(replace(refused, temporary=True), "") == written(refused, "")


def test_etrn_may_be_left_out() -> None:
    note = events.ClientNote(here.PLAIN, "ETRN #a received from", False)
    assert EximLines(parse_selector("-etrn")).line(note) is None
    assert EximLines(parse_selector("")).line(note) is not None


@pytest.mark.parametrize("left", [LEFT, Deferred("retry time not reached", not_before=1.0)])
def test_what_nobody_was_asked_about_can_be_left_out(left: Deferred) -> None:
    event = events.AddressDeferred(here.ID, here.BOB, "r", "t", left)
    assert EximLines(parse_selector("")).line(event) is not None
    assert EximLines(parse_selector("-retry_defer")).line(event) is None


def test_a_host_that_no_transport_spoke_to() -> None:
    named = events.AddressNames("bob", host="mx.there.example")
    delivered = events.AddressDelivered(here.ID, here.BOB, "r", "file", Delivered(""), named=named)
    assert written(delivered, "") == "=> bob <bob@there.example> R=r T=file H=mx.there.example"


@pytest.mark.parametrize(
    ("group", "selectors", "field"),
    [("X25519MLKEM768", "+tls_group", " G=X25519MLKEM768"), ("", "+tls_group", ""), ("x25519", "-tls_group", "")],
)
def test_the_group_of_the_key_exchange(group: str, selectors: str, field: str) -> None:
    arrived = replace(here.ARRIVED, session=replace(here.SESSION, tls=replace(here.TLS, group=group)))
    assert f" SNI=relay.example{field} FP={here.FP} " in written(arrived, f"+tls_sni {selectors}")
    delivered = replace(here.DELIVERED, outcome=Delivered("250 OK", here.HOST, replace(here.SERVER_TLS, group=group)))
    assert f" CV=yes{field} FP={here.FP} " in written(delivered, selectors)


@pytest.mark.parametrize(
    ("event", "selectors", "text"),
    [
        (here.ARRIVED, "-all", f"<= anne@example.org H={CLIENT} P=esmtps S=1234"),
        (
            here.ARRIVED,
            "",
            f"<= anne@example.org H={CLIENT} P=esmtps {X} CV=yes FP={here.FP} PEER=laptop S=1234 id=x@y",
        ),
        (events.Arrived(here.ID, here.ANNE, here.LOCAL, 99), "", "<= anne@example.org U=anne P=local S=99"),
        (
            events.Arrived(here.ID, NULL_SENDER, here.LOCAL, 9, bounce_of="1xUfyy-0002Cc-2k"),
            "",
            "<= <> R=1xUfyy-0002Cc-2k U=anne P=local S=9",
        ),
        (here.DELIVERED, "-tls_fingerprint", f'=> {BOB} {MX} {X} CV=yes C="250 OK \\"id=1\\""'),
        (replace(here.DELIVERED, first=False), "-all +outgoing_port", f"-> {BOB} {MX}:25"),
        (
            replace(here.DELIVERED, first=False, outcome=Delivered("not sent", here.HOST, is_bypassed=True)),
            "",
            f'*> {BOB} {MX} C="not sent"',
        ),
        (
            replace(here.DELIVERED, outcome=Delivered("250 OK", replace(here.HOST, our_end=("192.0.2.1", 4000)))),
            "+incoming_interface +outgoing_port",
            f'=> {BOB} {MX}:25 I=[192.0.2.1]:4000 C="250 OK"',
        ),
        (
            replace(here.DELIVERED, outcome=Delivered("250 OK", replace(here.HOST, our_end=("192.0.2.1", 4000)))),
            "+incoming_interface -outgoing_interface",
            f'=> {BOB} {MX} C="250 OK"',
        ),
        (
            replace(here.FAILED, router="", transport="", outcome=Failed("no", host=here.HOST, continued=True)),
            "",
            f"** bob@there.example {MX}* : no",
        ),
        (
            replace(here.DELIVERED, outcome=Delivered("250 OK", here.HOST, continued=True)),
            "",
            f'=> {BOB} {MX}* C="250 OK"',
        ),
        (
            replace(here.DELIVERED, outcome=Delivered("250 OK", here.HOST, dialog=Dialog("plain:me mine", True, True))),
            "",
            f'=> {BOB} {MX} A=plain:me\\040mine K C="250 OK"',
        ),
        (
            replace(here.DELIVERED, outcome=Delivered("250 OK", here.HOST, dialog=Dialog("", True, True))),
            "+pipelining",
            f'=> {BOB} {MX} L K C="250 OK"',
        ),
        (replace(here.DELIVERED, outcome=Delivered("250 OK", dialog=Dialog())), "", f'=> {BOB} C="250 OK"'),
        (replace(here.DELIVERED, outcome=Delivered("/var/mail/x")), "+deliver_time +millisec", f"=> {BOB} DT=0.250s"),
        (
            events.AddressDeferred(
                here.ID,
                here.BOB,
                "",
                "t",
                Deferred("connection lost", ErrorClass.LOST_CONNECTION, possible_duplicate=True),
            ),
            "",
            "== bob@there.example T=t defer (-18): connection lost (possible duplicate)",
        ),
        (here.DEFERRED, "", f"== {BOB} defer (-44) {MX}: SMTP error from remote mail server"),
        (
            events.AddressDeferred(
                here.ID, here.BOB, "", "", Deferred("host lookup did not complete", ErrorClass.LOOKUP)
            ),
            "",
            "== bob@there.example routing defer (-36): host lookup did not complete",
        ),
        (
            events.AddressDeferred(
                here.ID,
                here.BOB,
                "r",
                "",
                Deferred("Connection refused", ErrorClass.CONNECTION_REFUSED, host=here.HOST),
            ),
            "",
            "== bob@there.example R=r defer (111): Connection refused",
        ),
        (
            events.AddressDeferred(here.ID, here.BOB, "r", "t", Deferred("it said 75", ErrorClass.COMMAND)),
            "",
            "== bob@there.example R=r T=t defer (0): it said 75",
        ),
        (
            events.AddressDeferred(
                here.ID,
                here.BOB,
                "r",
                "t",
                Deferred("retry time not reached", ErrorClass.TIMEOUT, host=here.HOST, not_before=1.0),
            ),
            "",
            "== bob@there.example R=r T=t defer (-54): retry time not reached",
        ),
        (here.FAILED, "", f"** {BOB} : Unrouteable address"),
        (
            replace(here.FAILED, outcome=Failed("busy: retry timeout exceeded", host=here.HOST, is_expired=True)),
            "",
            "** bob@there.example: retry timeout exceeded",
        ),
        (
            events.AddressDeferred(
                here.ID,
                here.BOB,
                "r",
                "t",
                Deferred("450 busy", ErrorClass.OTHER, Reply(450, "", ("busy",)), here.HOST),
            ),
            "",
            f"== bob@there.example R=r T=t defer (0) {MX}: 450 busy",
        ),
        (
            events.AddressDeferred(here.ID, here.BOB, "", "", Deferred("domain is held", ErrorClass.HELD)),
            "",
            "== bob@there.example defer (-23): domain is held",
        ),
        (
            events.AddressDeferred(here.ID, here.BOB, "", "", replace(LEFT, error=ErrorClass.QUEUED)),
            "",
            "== bob@there.example routing defer (-56): left",
        ),
        (
            events.AddressDeferred(here.ID, here.BOB, "r", "t", replace(LEFT, error=ErrorClass.ROUTED_ONLY)),
            "-retry_defer",
            "== bob@there.example R=r T=t defer (0): left",
        ),
        (
            events.AddressDeferred(here.ID, here.BOB, "r", "t", replace(LEFT, error=ErrorClass.ROUTED_ONLY_DOMAIN)),
            "",
            "== bob@there.example R=r T=t defer (-1): left",
        ),
        (
            events.AddressDeferred(here.ID, here.BOB, "r", "t", Deferred("while creating /a", errno=2)),
            "",
            "== bob@there.example R=r T=t defer (2): No such file or directory: while creating /a",
        ),
        (
            events.AddressDeferred(here.ID, here.BOB, "r", "t", Deferred("failed to lock", errno=-9)),
            "",
            "== bob@there.example R=r T=t defer (-9): failed to lock",
        ),
        (events.AddressDeferred(here.ID, here.BOB, "", "t", LEFT), "", "== bob@there.example T=t defer (-55): left"),
        (
            replace(here.FAILED, router="", transport="", outcome=Failed("no", host=here.HOST)),
            "",
            f"** bob@there.example {MX} : no",
        ),
        (events.Completed(here.ID, 125.0), "", "Completed"),
        (events.Completed(here.ID, 125.0), "+queue_time_overall", "Completed QT=2m5s"),
        (events.Frozen(here.ID, "by anne"), "", "Frozen (by anne)"),
        (
            events.HostFailed(here.ID, Deferred("Connection refused", ErrorClass.CONNECTION_REFUSED, host=here.HOST)),
            "",
            f"{MX} Connection refused",
        ),
        (
            events.HostFailed(here.ID, Deferred("SMTP timeout after MAIL", ErrorClass.TIMEOUT, host=here.HOST)),
            "",
            f"{MX}: SMTP timeout after MAIL: Connection timed out",
        ),
        (events.HostFailed(here.ID, Deferred("busy", host=here.HOST)), "", f"{MX}: busy"),
        (events.HostFailed(here.ID, Deferred("no TLS", ErrorClass.TLS_REQUIRED, host=here.HOST)), "", f"{MX}: no TLS"),
        (
            here.REJECTED,
            "",
            (
                f"H={CLIENT} {X} CV=yes FP={here.FP} PEER=laptop"
                " F=<anne@example.org> rejected RCPT <bob@there.example>: relay not permitted"
            ),
        ),
        (
            events.CommandRejected(MINIMAL, "RCPT <b@c>", "later", NULL_SENDER, temporary=True),
            "",
            f"H={CLIENT} F=<> temporarily rejected RCPT <b@c>: later",
        ),
        (
            events.CommandRejected(
                replace(MINIMAL, authentication=Authentication("plain", "anna")), "RCPT <b@c>", "no", NULL_SENDER
            ),
            "",
            f"H={CLIENT} F=<> A=plain:anna rejected RCPT <b@c>: no",
        ),
        (
            events.CommandRejected(
                replace(MINIMAL, authentication=Authentication("", "anna")), "RCPT", "", NULL_SENDER
            ),
            "",
            f"H={CLIENT} F=<> rejected RCPT",
        ),
        (events.CommandRejected(here.LOCAL, "after DATA", ""), "", "U=anne rejected after DATA"),
        (
            events.ConnectionOpened(here.PLAIN, 3),
            "+smtp_connection",
            f"SMTP connection from {CLIENT} (TCP/IP connection count = 3)",
        ),
        (
            events.ConnectionClosed(here.PLAIN, "by QUIT", 125.0),
            "+smtp_connection",
            f"SMTP connection from {CLIENT} D=2m5s closed by QUIT",
        ),
        (
            events.NoMail(here.PLAIN, 125.0, ("EHLO", "QUIT")),
            "+smtp_no_mail",
            f"no MAIL in SMTP connection from {CLIENT} D=2m5s C=EHLO,QUIT",
        ),
        (events.NoMail(here.PLAIN, 0.25), "+smtp_no_mail", f"no MAIL in SMTP connection from {CLIENT} D=0s"),
        (
            events.ConnectionClosed(here.PLAIN, "lost", 0.25, in_transaction=True),
            "",
            f"unexpected disconnection while reading SMTP command from {CLIENT} D=0s",
        ),
        (
            events.ConnectionClosed(here.PLAIN, "lost", 7.0),
            "+smtp_connection",
            f"SMTP connection from {CLIENT} lost D=7s",
        ),
        (
            events.ConnectionClosed(here.SESSION, "timed out", 0.25),
            "",
            f"SMTP command timeout on TLS connection from {CLIENT} D=0s",
        ),
        (events.TLSFailed(here.PLAIN, "peer", "no cipher"), "", f"TLS error on connection from {CLIENT} no cipher"),
        (
            events.TLSUnusable(here.PLAIN, "no key"),
            "",
            f"TLS error on connection from {CLIENT} (our own set-up): no key",
        ),
        (
            events.ProtocolViolated(here.PLAIN, "too many nonmail commands", "NOOP"),
            "",
            f'SMTP call from {CLIENT} dropped: too many nonmail commands (last was "NOOP")',
        ),
        (
            events.ProtocolViolated(here.PLAIN, "message too big: size=9 max=1", "a@b.test"),
            "",
            f"rejected MAIL FROM:<a@b.test> H={CLIENT}: message too big: size=9 max=1",
        ),
        (
            events.ProtocolViolated(here.PLAIN, "message too big: read=2 max=1", "a@b.test", message_id=here.ID),
            "",
            f"rejected from <a@b.test> H={CLIENT}: message too big: read=2 max=1",
        ),
        (
            events.ProtocolViolated(here.PLAIN, "bare LF", "x"),
            "+smtp_protocol_error",
            f'SMTP protocol error in "x" H={CLIENT} bare LF',
        ),
        (
            events.ProtocolViolated(here.PLAIN, "no such thing", "x", is_syntax=True),
            "+smtp_syntax_error",
            f'SMTP syntax error in "x" H={CLIENT} no such thing',
        ),
        (events.Warned(MINIMAL, "unlisted"), "", f"H={CLIENT} Warning: unlisted"),
        (
            events.SenderUnverified(MINIMAL, "a@b.test", "Unrouteable address"),
            "",
            f"H={CLIENT} sender verify fail for <a@b.test>: Unrouteable address",
        ),
        (
            events.ConnectionRefused(MINIMAL, "host_reject_connection"),
            "",
            f"refused connection from {CLIENT} (host_reject_connection)",
        ),
        (
            events.ConnectionRefused(MINIMAL, "full", temporary=True),
            "",
            f"temporarily refused connection from {CLIENT} (full)",
        ),
        (
            events.AuthenticationFailed(MINIMAL, "plain", "535 no\nsuch"),
            "",
            f"plain authenticator failed for H={CLIENT}: 535 no\\nsuch",
        ),
        (events.SenderUnverified(MINIMAL, "a@b", "", True), "", f"H={CLIENT} sender verify defer for <a@b>"),
        (
            events.RecipientDiscarded(MINIMAL, NULL_SENDER, "<a@b>", "MAIL"),
            "",
            f"H={CLIENT} F=<> RCPT <a@b>: discarded by MAIL ACL",
        ),
        (
            events.TransactionBroken(MINIMAL, NULL_SENDER, (), "RSET"),
            "+smtp_incomplete_transaction",
            f"H={CLIENT} incomplete transaction (RSET) from <>",
        ),
        (
            events.TransactionBroken(MINIMAL, here.ANNE, (here.BOB,), "connection lost"),
            "+smtp_incomplete_transaction",
            f"H={CLIENT} incomplete transaction (connection lost) from <anne@example.org> for bob@there.example",
        ),
        (events.ClientGone(MINIMAL, here.ID), "", f"SMTP connection lost after final dot H={CLIENT} P=esmtp"),
        (events.ClientNote(MINIMAL, "VRFY failed for a@b"), "", f"VRFY failed for a@b H={CLIENT}"),
        (events.ClientNote(MINIMAL, "ETRN #a received from", False), "", f"ETRN #a received from {CLIENT}"),
        (events.Trouble("disk full", "make room"), "", "disk full (make room)"),
        (events.WrittenByACL("a\nb"), "", "a\\nb"),
        (events.WrittenByACL("a\tb\r"), "", "a\tb\\r"),
        (events.MessageNote(here.ID, "removed by root"), "", "removed by root"),
        (events.DaemonNote("started"), "", "started"),
    ],
)
def test_lines(event: events.Event, selectors: str, text: str) -> None:
    assert written(event, selectors) == text


@pytest.mark.parametrize(
    "event",
    [
        here.ARRIVED,
        events.ConnectionOpened(here.PLAIN, 3),
        events.ConnectionClosed(here.PLAIN, "by QUIT"),
        events.ConnectionClosed(here.PLAIN, "timed out"),
        events.ProtocolViolated(here.PLAIN, "unknown command", "X"),
        events.ProtocolViolated(here.PLAIN, "message too big: size=9 max=1", "a@b.test"),
        events.TLSStarted(here.SESSION),
        events.TLSEnded(here.SESSION),
        events.WrittenByACL("x", ()),
    ],
)
def test_what_the_selectors_leave_out(event: events.Event) -> None:
    line = EximLines(parse_selector("-all")).line(event)
    assert (line is None) is not isinstance(event, events.Arrived)


@pytest.mark.parametrize(
    ("event", "logs"),
    [
        (here.ARRIVED, {Log.MAIN}),
        (here.REJECTED, {Log.MAIN, Log.REJECT}),
        (events.Trouble("x"), {Log.MAIN, Log.PANIC}),
        (events.TLSUnusable(here.PLAIN, "x"), {Log.MAIN, Log.PANIC}),
        (events.WrittenByACL("x", ("reject", "panic")), {Log.REJECT, Log.PANIC}),
        (events.ProtocolViolated(here.PLAIN, "too many errors"), {Log.MAIN, Log.REJECT}),
    ],
)
def test_which_logs_a_line_goes_to(event: events.Event, logs: set[Log]) -> None:
    line = EximLines(parse_selector("")).line(event)
    assert line is not None
    assert set(line.logs) == logs


@pytest.mark.parametrize(
    ("what", "command", "tail"),
    [
        ("too many nonmail commands", "NOOP x y", 'too many nonmail commands (last was "NOOP")'),
        ("too many nonmail commands", " ", 'too many nonmail commands (last was "")'),
        ("too many unrecognized commands", "FOO x", 'too many unrecognized commands (last was "FOO x")'),
        ("Too many syntax or protocol errors", "FOO", 'errors (last command was "FOO",  C=EHLO,MAIL)'),
    ],
)
def test_a_call_that_is_dropped(what: str, command: str, tail: str) -> None:
    assert written(events.ProtocolViolated(here.PLAIN, what, command, ("EHLO", "MAIL"))).endswith(tail)


def test_of_the_commands_the_last_twenty_are_named() -> None:
    told = events.ProtocolViolated(here.PLAIN, "too many syntax or protocol errors", "X", ("NOOP",) * 20)
    assert written(told).endswith(f'(last command was "X",  C=...{",".join(("NOOP",) * 20)})')


@pytest.mark.parametrize(
    ("what", "said", "line"),
    [
        ("malformed greeting name", "ehlo a_b", f"rejected EHLO from CLIENT: {INVALID}: a_b"),
        ("malformed greeting name", "HELO", f"rejected HELO from CLIENT: {INVALID}: (no argument given)"),
        ("no HELO/EHLO given", "MAIL FROM:<a@b>", "rejected MAIL from CLIENT: no HELO/EHLO given"),
        ("untrue greeting", "EHLO liar", 'rejected "EHLO liar" from CLIENT'),
        ("unknown greeting", "EHLO liar", 'temporarily rejected "EHLO liar" from CLIENT'),
        ("too many messages", "MAIL FROM:<>", "rejected MAIL command H=CLIENT: too many messages in one connection"),
        ("unqualified sender", "anna b", "unqualified sender rejected: <anna\\040b> H=CLIENT"),
    ],
)
def test_what_is_rejected_by_the_dialog_itself(what: str, said: str, line: str) -> None:
    event = events.ProtocolViolated(here.PLAIN, what, said)
    assert written(event, "+smtp_syntax_error") == line.replace("CLIENT", "(laptop.example) [192.0.2.7]")


@pytest.mark.parametrize(
    ("peer_host", "helo", "shown"),
    [
        ("", "", "[192.0.2.7]"),
        ("", "me", "(me) [192.0.2.7]"),
        ("host.example", "HOST.example", "host.example [192.0.2.7]"),
        ("host.example", "me", "host.example (me) [192.0.2.7]"),
        ("host.example", "[192.0.2.7]", "host.example [192.0.2.7]"),
        ("host.example", "[192.0.2.8]", "host.example ([192.0.2.8]) [192.0.2.7]"),
        ("host.example", "[x]", "host.example ([x]) [192.0.2.7]"),
    ],
)
def test_the_client_as_exim_shows_it(peer_host: str, helo: str, shown: str) -> None:
    hello = Hello(helo, extended=True) if helo else None
    session = SessionFacts(peer=Endpoint("192.0.2.7", 9), peer_host=peer_host, hello=hello)
    assert full_host(session, port=False) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0.000s"), (-1, "0.000s"), (4.9999, "5.000s"), (60, "1m"), (694861, "1w1d1h1m1s")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert elapsed_time(seconds) == shown


def test_a_resumed_session_is_marked() -> None:
    session = replace(here.SESSION, tls=replace(here.TLS, resumed=True))
    assert f" {X}* " in written(replace(here.ARRIVED, session=session), "+tls_resumption")


@pytest.mark.parametrize(
    ("event", "is_one"),
    [
        (events.ConnectionRefused(here.PLAIN, "host_reject_connection"), True),
        (events.CommandRejected(here.PLAIN, 'connection in "connect" ACL', "no"), True),
        (events.CommandRejected(here.PLAIN, "EHLO", "no"), False),
    ],
)
def test_refused_connections_can_be_left_out_of_the_main_log(event: events.Event, is_one: bool) -> None:
    """Exim: connection_reject."""
    busy = events.ConnectionRefused(here.PLAIN, "too busy", temporary=True)
    assert EximLines(parse_selector("-connection_reject")).line(busy) is None
    told, silent = (EximLines(parse_selector(each)).line(event) for each in ("", "-connection_reject"))
    assert told is not None
    assert silent is not None
    assert (told.logs, silent.logs) == (MAIN_AND_REJECT, (Log.REJECT,) if is_one else MAIN_AND_REJECT)


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (events.CommandRejected(here.PLAIN, 'connection in "connect" ACL', "no"), "dropped by 'connect' ACL: no"),
        (events.ConnectionRefused(here.PLAIN, "host_reject_connection"), "dropped by host_reject_connection"),
    ],
)
def test_a_port_where_tls_comes_first_drops(event: Any, what: str) -> None:
    early = replace(event, session=replace(here.PLAIN, tls_on_connect=True))
    assert written(early).endswith(f"] {what}")
    assert "dropped" not in written(event)


def test_an_unverified_and_an_absent_certificate() -> None:
    assert " CV=no " in written(replace(here.ARRIVED, session=replace(here.SESSION, tls=here.UNKNOWN)))
    nobody = replace(here.TLS, peer=None)
    assert "CV=" not in written(replace(here.ARRIVED, session=replace(here.SESSION, tls=nobody)))


# What fail2ban's filters for Exim look for (host_info and the first words behind it).
_HOST_INFO = r"H=([\w.-]+ )?(\(\S+\) )?\[(?P<host>[0-9a-f.:]+)\](:\d+)? (?:[A-Z]{1,4}=\S+ )*"


@pytest.mark.parametrize(
    ("event", "pattern"),
    [
        (here.REJECTED, rf"^{_HOST_INFO}rejected RCPT [^@]+@\S+: relay not permitted\s*$"),
        (
            events.ProtocolViolated(here.PLAIN, "SMTP synchronization error", "EHLO x\r\n"),
            r'^SMTP protocol synchronization error \([^)]*\): rejected (?:connection from|"\S+") '
            + _HOST_INFO
            + r'(?:next )?input=".*"\s*$',
        ),
    ],
)
def test_filters_find_the_address(event: events.Event, pattern: str) -> None:
    found = re.search(pattern, written(event))
    assert found is not None
    assert found["host"] == "192.0.2.7"


def test_a_greeting_can_not_name_another_address_to_a_filter() -> None:
    hello = Hello("x) [203.0.113.1] F=<a@b> rejected RCPT <c@d>: relay not permitted", extended=True)
    event = replace(here.REJECTED, session=replace(MINIMAL, hello=hello), reason="")
    found = re.search(rf"{_HOST_INFO}(?:temporarily )?rejected", written(event))
    assert found is not None
    assert found["host"] == "192.0.2.7"


def test_quotes_in_a_quoted_field() -> None:
    assert quoted('a"b\\n\n') == '"a\\"b\\\\n\\n"'


HOSTILE = st.text(max_size=20) | st.text(' "\\\n\r\x1b)]=<>A\u2028\udcff', max_size=20)


@st.composite
def hostile_events(draw: st.DrawFn) -> events.Event:
    """An event whose every text from outside is whatever the peer likes."""
    session = SessionFacts(
        peer=Endpoint("192.0.2.7", 1),
        peer_host=draw(HOSTILE),
        hello=Hello(draw(HOSTILE), extended=True),
        tls=replace(here.TLS, sni=draw(HOSTILE), peer=Certificate(b"", draw(HOSTILE), "", "")),
        authentication=Authentication("external", draw(HOSTILE)),
        peer_name=draw(HOSTILE),
    )
    address = Address(draw(HOSTILE), draw(HOSTILE))
    host = RemoteHost(draw(HOSTILE), "198.51.100.9", 25)
    text = draw(HOSTILE)
    return draw(
        st.sampled_from(
            [
                events.Arrived(here.ID, address, session, 1, text, draw(HOSTILE), (address,)),
                events.AddressDelivered(here.ID, address, "r", "t", Delivered(text, host, session.tls)),
                events.AddressDeferred(here.ID, address, "r", "t", Deferred(text, host=host)),
                events.AddressFailed(here.ID, address, "r", "t", Failed(text, host=host)),
                events.CommandRejected(session, text, draw(HOSTILE), address),
                events.ProtocolViolated(session, draw(HOSTILE), text),
                events.ProtocolViolated(session, "synchronization", text),
                events.TLSFailed(session, "peer", text),
                events.Warned(session, text),
                events.ConnectionOpened(session, 1),
                events.ConnectionClosed(session, text),
                events.NoMail(session, 1.0),
                events.HostFailed(here.ID, Deferred(text, host=host)),
                events.WrittenByACL(text),
                events.MessageNote(here.ID, text),
                events.Frozen(here.ID, text),
                events.DaemonNote(text),
                events.Trouble(text, draw(HOSTILE)),
            ]
        )
    )


@settings(max_examples=200)
@given(hostile_events())
def test_no_peer_forges_a_line(event: events.Event) -> None:
    line = EximLines(parse_selector("+all")).line(event)
    assert line is not None
    assert line.text.isprintable(), "no control character, no mark of a direction, no end of a line"


def test_an_address_is_shown_in_its_own_letters_as_far_as_they_can_be_seen() -> None:
    session = SessionFacts(peer=Endpoint("192.0.2.7", 1))
    sender = Address("\u0438\u0432\u0430\u043d x", "b\u00fccher.test\u202e\u3164\udcff")
    line = EximLines(parse_selector("")).line(events.Arrived(here.ID, sender, session, 1, "", "\u00fc", (sender,)))
    assert line is not None
    assert '<= "\u0438\u0432\u0430\u043d x"@' in line.text
    assert "b\u00fccher.test\\342\\200\\256\\343\\205\\244\\377 H=" in line.text


@settings(max_examples=100)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_peer_forges_a_field(helo: str, subject: str, dn: str) -> None:
    """Take the quoted fields out: the others are split by spaces, and each name is there once."""
    session = replace(
        here.SESSION,
        hello=Hello("x" + helo, extended=True),
        tls=replace(here.TLS, peer=Certificate(b"", dn, "", "")),
        peer_name="p" + helo,
    )
    event = replace(here.ARRIVED, session=session, subject="s" + subject, header_message_id="i" + helo)
    line = written(event, "+all")
    bare = re.sub(r'(?<= )(DN|T)="(?:[^"\\]|\\.)*"(?= |$)', r"\1=", line)
    fields = bare.split(" ")
    assert fields[:2] == ["<=", "anne@example.org"]
    names = [field.partition("=")[0] for field in fields[2:] if "=" in field and field[:1].isalpha()]
    assert names == ["H", "I", "P", "X", "CV", "DN", "SNI", "FP", "PEER", "S", "M8S", "id", "T"]


def test_a_refusal_names_the_layer_that_it_came_in() -> None:
    refused = Failed("no", host=here.HOST, tls=here.SESSION.tls)
    told = written(events.AddressFailed(here.ID, Address("bob", "there.example"), "r", "t", refused))
    assert " X=TLS1.3:" in told
    stepped = replace(refused, steps="ese")
    failed = events.AddressFailed(here.ID, Address("bob", "there.example"), "r", "t", stepped)
    assert " PS=ese X=" in written(failed, "+protocol_detail")
    assert told.index(" H=") < told.index(" X=") < told.index(" : no")


def test_what_mail_has_declared_of_a_message() -> None:
    assert " M8S=0" in written(here.ARRIVED, "+8bitmime")
    assert " M8S=7" in written(replace(here.ARRIVED, body="7BIT"), "+8bitmime")
    assert " M8S=8" in written(replace(here.ARRIVED, body="8BITMIME"), "+8bitmime")


def test_whom_we_have_named_to_a_server() -> None:
    outcome = replace(here.DELIVERED.outcome, dialog=Dialog("plain:anna", sender="bert@b.test"))
    delivered = replace(here.DELIVERED, outcome=outcome)
    assert " A=plain:anna:bert@b.test " in written(delivered, "+smtp_mailauth")
    assert " A=plain:anna " in written(delivered)


def test_whom_auth_of_mail_has_named() -> None:
    session = replace(here.PLAIN, authentication=Authentication("plain", "anna", "bert@b.test"))
    arrived = replace(here.ARRIVED, session=session)
    assert " A=plain:anna " in written(arrived)
    assert " A=plain:anna:bert@b.test " in written(arrived, "+smtp_mailauth")


def test_every_event_has_its_line_or_its_silence() -> None:
    assert {type(event) for event in here.ALL} == set(get_args(events.Event))
    for event in here.ALL:
        EximLines(parse_selector("+all")).line(event)


def test_a_sender_that_is_looked_at_again_at_the_end_of_its_message() -> None:
    line = EximLines(parse_selector("")).line(events.SenderUnverified(MINIMAL, "a@b.test", "no", message_id=here.ID))
    assert line is not None
    assert line.message_id == here.ID


def test_the_first_recipient_shows_how_its_connection_came_about() -> None:
    host = RemoteHost("mx.test", "198.51.100.9", 25)
    dialog = Dialog(by_chunks=True, prdr=True, steps="ese")
    delivered = events.AddressDelivered(here.ID, here.BOB, "r", "t", Delivered("250 OK", host, dialog=dialog))
    told, further = (EximLines(parse_selector(each)) for each in ("+protocol_detail", ""))
    line = told.line(delivered)
    assert line is not None
    assert line.text.endswith('R=r T=t H=mx.test [198.51.100.9] PS=ese PRDR K C="250 OK"')
    for each in (told.line(replace(delivered, first=False)), further.line(delivered)):
        assert each is not None
        assert "PS=" not in each.text


def test_how_a_message_came_is_told() -> None:
    session = SessionFacts(
        peer=Endpoint("192.0.2.1", 1), hello=Hello("x", True), tls=TLSFacts("TLS1.3", "S", 256), tls_on_connect=True
    )
    arrived = events.Arrived(here.ID, here.BOB, session, 1, prdr=True, by_chunks=True)
    for selector, protocol in (("", "esmtps"), ("+tls_on_connect", "essmtp")):
        line = EximLines(parse_selector(selector)).line(arrived)
        assert line is not None
        assert f" P={protocol} X=" in line.text
        assert line.text.endswith(" PRDR K S=1")


def test_an_address_that_waits_for_the_operator_is_in_the_panic_log_as_well() -> None:
    outcome = Deferred("no such option", ErrorClass.LOCAL, is_misconfigured=True)
    line = EximLines(parse_selector("")).line(replace(here.DEFERRED, outcome=outcome))
    assert line is not None
    assert line.logs == (Log.MAIN, Log.PANIC)


def test_trouble_of_several_lines() -> None:
    line = EximLines(parse_selector("")).line(events.Trouble("one", more=("two\n", "")))
    assert line is not None
    assert line.more == ("two\\n", "")


def test_how_much_was_delivered() -> None:
    event = replace(here.DELIVERED, outcome=Delivered("/mail/bob", size=47, shadow="copy"))
    assert written(event, "+delivery_size") == "=> bob@there.example R=smart T=smtp S=47 ST=copy"
    assert " S=" not in written(event, "")
    assert " S=" not in written(replace(event, transport=""), "+delivery_size")


def test_the_line_of_a_time_that_is_over_names_no_sender() -> None:
    outcome = Failed("busy: retry timeout exceeded", is_expired=True)
    about = events.MessageFrame(here.ANNE, None, 1.0)
    line = written(replace(here.FAILED, outcome=outcome, about=about), "+sender_on_delivery")
    assert line == "** bob@there.example: retry timeout exceeded"
