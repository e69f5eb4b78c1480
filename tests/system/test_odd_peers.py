"""A daemon and servers that do odd things, all at once: what becomes of the messages is what the page of outcomes says.

`docs/reference/outcomes.md` is the table; here stands for each of its rows what the server does, and what of it the log
has to name.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import daemons
from net.odd_peer import Heard, Oddness, OddPeer, odd_peer

import certs
from interop import peers

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "outcomes.md"
SECRET = b"a secret for the relay alone"
MESSAGE = b"From: <me@laptop.test>\r\nTo: <you@odd.test>\r\nSubject: x\r\n\r\n" + SECRET + b"\r\n"

OPTIONS = {
    "TLS optional": "tls_try_verify_hosts = *",
    "TLS required": "tls_try_verify_hosts = *\n  hosts_require_tls = *",
    "verified": "",
}


def outcomes() -> dict[str, dict[str, str]]:
    """The page: by row, then by set of options."""
    rows: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or set(cells[0]) == {"-"}:
            continue
        if cells[1] in OPTIONS:
            columns = cells[1:]
        else:
            assert cells[0] not in rows, "each row once"
            rows[cells[0]] = dict(zip(columns, cells[1:], strict=True))
    return rows


OUTCOMES = outcomes()
AUTHORITY = certs.authority()
REVOKED = AUTHORITY.issue("127.0.0.1", sans=["127.0.0.1"])
GOOD = Oddness(certificates=(certs.relay(),))
CLEAR = [b"220 odd.test", b"250-odd.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS", b"220 go ahead"]
INSIDE = [b"250-odd.test\r\n250-PIPELINING\r\n250 8BITMIME", b"250 OK", b"250 OK", b"354 go on", b"250 OK id=odd"]


@dataclass(frozen=True)
class Row:
    """What the server does, how many messages there are, and words of the log where a message does not get through."""

    oddness: Oddness
    says: str = ""
    messages: int = 1
    connections: int = 0
    """0: it does not matter."""
    pinned: bool = False
    has_second_host: bool = False


def good(says: str = "", **more: Any) -> Row:
    row = {name: more.pop(name) for name in list(more) if name in Row.__annotations__}
    return Row(replace(GOOD, **more), says, **row)


def shown(*certificates: certs.CertKey, says: str = "", **more: Any) -> Row:
    return good(says, certificates=certificates, **more)


def cut(after: int, into: int, says: str = "connection") -> Row:
    """Cut behind so many replies, and so many octets into the next one."""
    return good(says, cut_after=sum(len(each) + 2 for each in [*CLEAR, *INSIDE][:after]) + into)


def says_421(word: bytes) -> Row:
    return good("421", replies_in_tls={word: b"421 4.3.2 closing"})


ROWS: dict[str, Row] = {
    "answers our close_notify at once": good(messages=3, connections=1),
    "answers it after 0.3 s": good(on_close="late", messages=3, connections=1),
    "answers it after 3 s": good(on_close="very late", messages=2, connections=1),
    "never answers it, and goes on": good(on_close="never", messages=3, connections=1),
    "closes the connection instead": good(on_close="tcp close", messages=3, connections=3),
    "resets the connection instead": good(on_close="rst", messages=3, connections=3),
    "says nothing more": good(on_close="hang", messages=3, connections=3),
    "answers with garbage": good(on_close="garbage", messages=3, connections=3),
    "offers STARTTLS only once": good(starttls_sessions=(0,), messages=3, connections=3),
    "shows another certificate in the second session": shown(
        certs.relay(), certs.stranger(), certs.relay(), messages=3
    ),
    "does not offer STARTTLS": shown(says="a TLS session is required, but the server did not offer TLS support"),
    "answers STARTTLS with 454": good("an attempt to start TLS failed", starttls=b"454 not now"),
    "answers STARTTLS with 502": good("an attempt to start TLS failed", starttls=b"502 what?"),
    "answers STARTTLS with 421": good("421", starttls=b"421 closing"),
    "sends replies behind the 220": good("TLS", starttls=b"220 go ahead\r\n250 injected"),
    "sends garbage instead of a handshake": good("TLS", handshake="garbage"),
    "closes in the handshake": good("during the handshake", handshake="close"),
    "resets in the handshake": good("during the handshake", handshake="rst"),
    "is the one that we trust": good(),
    "is a stranger's": shown(certs.stranger(), says="does not verify"),
    "is for another name": shown(AUTHORITY.issue("other.test", sans=["other.test"]), says="does not verify"),
    "has expired": shown(AUTHORITY.issue("127.0.0.1", sans=["127.0.0.1"], days=-1), says="expired"),
    "was revoked": shown(REVOKED, says="revoked"),
    "is not the pinned one any more (tls_pins)": shown(certs.stranger(), says="is pinned", pinned=True),
    "is good, and it refuses ours (TLS 1.3)": good("the server refused our certificate", ask_for_certificate="known"),
    "is good, and it refuses ours (TLS 1.2)": good(
        "the server refused our certificate", ask_for_certificate="known", tls13=False
    ),
    "421 as its greeting": good("421", replies={b"220": b"421 4.3.2 closing"}),
    "421 to EHLO": good("421", replies={b"EHLO": b"421 4.3.2 closing"}),
    "421 to EHLO inside of TLS": says_421(b"EHLO"),
    "421 to MAIL": says_421(b"MAIL"),
    "421 to RCPT": says_421(b"RCPT"),
    "421 to DATA": says_421(b"DATA"),
    "421 to the message": says_421(b"."),
    "421 to QUIT": says_421(b"QUIT"),
    "554 as its greeting": good("554", replies={b"220": b"554 no mail here"}),
    "554 as its greeting, and another host takes it": good(
        replies={b"220": b"554 no mail here"}, has_second_host=True
    ),
    "550 to EHLO and to HELO": good("550", replies={b"EHLO": b"550 go away", b"HELO": b"550 go away"}),
    "550 to RCPT": good("550", replies_in_tls={b"RCPT": b"550 who?"}),
    "in the greeting": cut(0, 5),
    "in the answer to EHLO": cut(1, 20),
    "in the answer to STARTTLS": cut(2, 4),
    "in the answer to EHLO inside of TLS": cut(3, 20),
    "in the answer to MAIL": cut(4, 3),
    "in the answer to RCPT": cut(5, 3),
    "in the answer to DATA": cut(6, 3),
    "between the final dot and its answer": cut(7, 0),
    "in the answer to the final dot": cut(7, 3),
    "behind that answer": cut(8, 0),
    "instead of its answer to EHLO": good("timed out", silent_at=b"EHLO"),
    "instead of its answer to MAIL": good("timed out", silent_at=b"MAIL", offers=(b"8BITMIME",)),
    "instead of its answer to DATA": good("timed out", silent_at=b"DATA"),
    "instead of its answer to the final dot": good("timed out", silent_at=b"."),
}


def test_each_row_of_the_page_is_played() -> None:
    assert OUTCOMES.keys() == ROWS.keys()
    assert {outcome for row in OUTCOMES.values() for outcome in row.values()} == set(CHECKS)


@dataclass(frozen=True)
class Played:
    """One row, when it is over."""

    row: Row
    lines: tuple[str, ...]
    """Of the log, about its recipients."""
    connections: list[Heard]
    messages: list[tuple[bytes, bool]]

    def count(self, sign: str) -> int:
        return sum(f" {sign} " in line for line in self.lines)


def check_delivered(played: Played, *, in_clear: bool = False) -> None:
    assert played.count("=>") == len(played.messages) == played.row.messages
    assert (played.count("=="), played.count("**")) == (0, 0)
    assert all(in_tls is not in_clear for _, in_tls in played.messages)
    assert all((" X=TLS1." in line) is not in_clear for line in played.lines if " => " in line)
    if played.row.connections:
        assert len(played.connections) == played.row.connections


def check_waits(played: Played, *, arrived: int = 0) -> None:
    assert (played.count("=>"), played.count("=="), played.count("**")) == (0, played.row.messages, 0)
    assert all(played.row.says in line for line in played.lines)
    assert all(("(possible duplicate)" in line) is bool(arrived) for line in played.lines)
    assert len(played.messages) == arrived
    assert not arrived or len(played.connections) == 1


def check_returned(played: Played) -> None:
    assert (played.count("=>"), played.count("=="), played.count("**")) == (0, 0, played.row.messages)
    assert all(played.row.says in line for line in played.lines)
    assert played.messages == []


CHECKS = {
    "delivered": check_delivered,
    "in clear": lambda played: check_delivered(played, in_clear=True),
    "waits": check_waits,
    "waits, possible duplicate": lambda played: check_waits(played, arrived=1),
    "returned": check_returned,
}


@contextlib.contextmanager
def all_peers(directory: Path) -> Iterator[tuple[dict[str, OddPeer], OddPeer]]:
    """A server for each row, and one that is as it should be."""
    known = directory / "known.crt"
    known.write_bytes(certs.stranger().cert_pem)
    with contextlib.ExitStack() as stack:
        found = {}
        for number, (name, row) in enumerate(ROWS.items()):
            oddness = replace(row.oddness, ask_for_certificate=str(known) if row.oddness.ask_for_certificate else "")
            (place := directory / str(number)).mkdir()
            found[name] = stack.enter_context(odd_peer(oddness, place))
        (place := directory / "second").mkdir()
        yield found, stack.enter_context(odd_peer(replace(GOOD), place))


def configuration(directory: Path, port: int, options: str, found: dict[str, OddPeer], second: OddPeer) -> str:
    certificate, key = certs.laptop().write(directory, "client")
    (directory / "anchors.crt").write_bytes(certs.relay().cert_pem + AUTHORITY.cert_pem)
    (directory / "crl.pem").write_bytes(AUTHORITY.crl([REVOKED]))
    routes = {False: list[str](), True: list[str]()}
    for number, (name, peer) in enumerate(found.items()):
        hosts = f"127.0.0.1::{peer.port}"
        if ROWS[name].has_second_host:
            hosts += f":127.0.0.1::{second.port}"
        routes[ROWS[name].pinned].append(f"{number}.odd.test {hosts}")
    common = f"""driver = smtp
  tls_certificate = {certificate}
  tls_privatekey = {key}
  serialize_hosts = *
  command_timeout = 4s
  data_timeout = 4s
  final_timeout = 4s"""
    return f"""
{daemons.head(directory / "laptop", port, "laptop.test")}
tls_advertise_hosts =
acl_smtp_rcpt = accept
queue_only

begin routers

pinned:
  driver = manualroute
  transport = pinned
  route_list = <; {" ; ".join(routes[True])}
  self = send

others:
  driver = manualroute
  transport = plain
  route_list = <; {" ; ".join(routes[False])}
  self = send

begin transports

plain:
  {common}
  tls_verify_certificates = {directory}/anchors.crt
  tls_crl = {directory}/crl.pem
  {options}

pinned:
  {common}
  tls_pins = {certs.relay().fingerprint}
  {options.replace("tls_try_verify_hosts = *", "")}

begin retry
* * F,1h,30m
"""


def send(laptop: daemons.Daemon, rows: Sequence[str]) -> None:
    """Queues the messages of some rows, starts on all of them at once, and waits until each has an outcome."""
    numbers = {name: number for number, name in enumerate(ROWS)}
    with smtplib.SMTP("127.0.0.1", laptop.port, "here.test", timeout=20) as client:
        for name in rows:
            for _ in range(ROWS[name].messages):
                client.sendmail("me@laptop.test", [f"you@{numbers[name]}.odd.test"], MESSAGE)
    laptop.sendmail("-qqf")

    def is_over() -> bool:
        log = laptop.log_text()
        return all(len(lines_about(log, numbers[name])) >= ROWS[name].messages for name in rows)

    peers.wait_until("an outcome for each message", is_over, 60)


def lines_about(log: str, number: int) -> tuple[str, ...]:
    pattern = re.compile(rf" (?:=>|->|==|\*\*) you@{number}\.odd\.test ")
    return tuple(line for line in log.splitlines() if pattern.search(line))


@pytest.mark.parametrize("options", OPTIONS)
def test_outcomes(options: str, tmp_path: Path) -> None:
    port = peers.free_port()
    with all_peers(tmp_path) as (found, second):
        text = configuration(tmp_path, port, OPTIONS[options], found, second)
        with daemons.running(tmp_path / "laptop", text, port) as laptop:
            # Those that are to share a connection have to wait for it at the same time.
            together = [
                name for name, row in ROWS.items() if row.connections == 1 or len(row.oddness.certificates) > 1
            ]
            send(laptop, together)
            send(laptop, [name for name in ROWS if name not in together])
            log = laptop.log_text()
        wrong = []
        for number, (name, row) in enumerate(ROWS.items()):
            outcome, peer = OUTCOMES[name][options], found[name]
            taken = second.messages if row.has_second_host else peer.messages
            is_refused = b"." in row.oddness.replies_in_tls
            # A refusal of all recipients that were sent in a group is followed by a message of no lines.
            arrived = [] if is_refused else [each for each in taken if each[0]]
            played = Played(row, lines_about(log, number), peer.connections, arrived)
            try:
                CHECKS[outcome](played)
                if options != "TLS optional" or outcome == "delivered":
                    nothing_in_clear(played)
            except AssertionError as error:
                wrong.append(f"{name}: not {outcome}\n  {error}\n  " + "\n  ".join(played.lines))
    assert not wrong, "\n".join(wrong)


def nothing_in_clear(played: Played) -> None:
    for heard in played.connections:
        said = bytes(heard.in_clear)
        assert SECRET not in said
        assert b"MAIL" not in said.upper()
        assert b"odd.test>" not in said
    assert all(in_tls for _, in_tls in played.messages)
