"""`relay demo`: a relay and a laptop on this machine, and a first message through both (edge).

The story is the whole product in small: two installations are made and told of each other's certificate
(`prepare`), both daemons run (`children`), the laptop is handed a message as any program would hand it one,
and when it lies in the relay's Maildir the command shows who let it through and how it travelled (`tell`).
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from relay.cli import templates
from relay.cli.cert import read_file
from relay.cli.children import Child, free_ports, is_free, running, wait_for
from relay.cli.decision import Decision, decide_recipient
from relay.cli.faults import Fault, fault_of_system
from relay.cli.init import (
    FROM_CERTS,
    Role,
    copy_certificate,
    laptop_macros,
    make_installation,
    relay_macros,
)
from relay.cli.output import json_option, print_json
from relay.cli.places import Places, places_under
from relay.mail.address import address_from_text
from relay.mail.facts import Endpoint, Hello, SessionFacts, TLSFacts, Unverified, Verified
from relay.mail.text import printable
from relay.tls import files, make
from relay.tls.names import read_certificate

RELAY_NAME = "relay.example"
LAPTOP_NAME = "laptop.example"
OUTSIDE = "world.example"
RECIPIENT = f"you@{OUTSIDE}"
SENDER = f"me@{LAPTOP_NAME}"

START_WITHIN = 20.0
ARRIVE_WITHIN = 30.0
# The sample sends mail for the outside world to no host. Here it ends in a Maildir, and nothing leaves this machine.
_OUTSIDE_ROUTER = f"""\
# For the demo: the outside world.
demo_outside:
  driver = accept
  domains = {OUTSIDE}
  transport = maildir
"""
_ROUTERS = "begin routers\n"
_STATE_NAME = "demo.json"
_FOLLOW_EVERY = 0.25


@dataclass(frozen=True, slots=True)
class Stage:
    """The two installations of a demo, and their ports on the loopback address."""

    directory: Path
    relay: Places
    laptop: Places
    relay_port: int
    laptop_port: int


@dataclass(frozen=True, slots=True)
class Journey:
    """What the first message left behind."""

    file: Path
    received: tuple[str, ...]
    laptop_log: tuple[str, ...]
    relay_log: tuple[str, ...]


@click.command(
    "demo",
    epilog="""\b
Examples:
  relay demo --dir ./run           until Ctrl-C
  relay demo --dir ./run --once    stop when the first message has arrived
""",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("run"),
    show_default=True,
    help="Where everything is kept; a second run goes on with what is there.",
)
@click.option("--once", is_flag=True, help="Stop after the first message, with status 0 if it arrived.")
@click.option("--port-base", type=click.IntRange(1024, 65000), help="Take free ports from here on.")
@json_option
def command(directory: Path, once: bool, port_base: int | None, as_json: bool) -> None:
    """Run a relay and a laptop here and send a first message through both.

    Each trusts the other by its certificate alone: there is no password anywhere.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _play(prepare(directory.absolute(), port_base or 0), once=once, as_json=as_json)
    finally:
        signal.signal(signal.SIGTERM, before)


def _play(stage: Stage, *, once: bool, as_json: bool) -> None:
    children = _children(stage)
    with running(children):
        what = "the start of both daemons"
        wait_for(what, lambda: all(each.answers() for each in children), children, START_WITHIN)
        journey = send_first_message(stage, children)
        tell(stage, journey, _decision(stage, journey), as_json=as_json)
        if once:
            return
        try:
            _follow(stage, children)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


# The stage


def prepare(directory: Path, port_base: int = 0) -> Stage:
    """Makes what is missing of the two installations and their mutual trust. Raises Fault."""
    relay, laptop = places_under(directory / "relay"), places_under(directory / "laptop")
    relay_port, laptop_port = _ports(directory, port_base)
    stage = Stage(directory, relay, laptop, relay_port, laptop_port)
    try:
        if not relay.directory.exists():
            role = Role("relay", relay_macros(str(relay_port), "127.0.0.1"))
            make_installation(role, relay, RELAY_NAME, addresses=["127.0.0.1"])
        if not laptop.directory.exists():
            role = Role("laptop", laptop_macros("127.0.0.1", relay_port, laptop_port))
            make_installation(role, laptop, LAPTOP_NAME, trust=[relay.certificate])
        _refuse_moved(relay)
        _complete_relay(relay, laptop.certificate)
    except OSError as error:
        raise fault_of_system(error) from None
    return stage


def _ports(directory: Path, port_base: int) -> tuple[int, int]:
    """The ports that this directory has, or new ones, written down before anything else is made."""
    state = directory / _STATE_NAME
    try:
        if state.exists():
            ports = json.loads(state.read_text("utf-8"))
            relay_port, laptop_port = int(ports["relay_port"]), int(ports["laptop_port"])
        elif directory.exists() and any(directory.iterdir()):
            raise Fault("is not the directory of a demo", where=directory, remedy="name an empty one with --dir")
        else:
            directory.mkdir(parents=True, exist_ok=True)
            relay_port, laptop_port = free_ports(2, port_base)
            written = json.dumps({"relay_port": relay_port, "laptop_port": laptop_port})
            make.write_file(state, written.encode() + b"\n", mode=0o644)
    except OSError as error:
        raise fault_of_system(error, directory) from None
    except (ValueError, KeyError, TypeError):
        raise Fault("can't be read", where=state, remedy=f"remove {directory} and start again") from None
    for port in (relay_port, laptop_port):
        if not is_free(port):
            raise Fault(
                f"port {port} of this demo is in use",
                where=directory,
                remedy="stop the other demo, or name another directory with --dir",
            )
    return relay_port, laptop_port


def _refuse_moved(places: Places) -> None:
    """The configurations hold absolute paths, so a directory that was moved is of no use."""
    named = templates.defined_macros(places.configuration.read_text("utf-8")).get("CONFDIR", "")
    if named != str(places.directory):
        raise Fault(
            f"was made for {named or 'another place'}",
            where=places.configuration,
            remedy=f"remove {places.directory.parent} and start again",
        )


def _complete_relay(relay: Places, certificate: Path) -> None:
    """Copies the laptop's certificate to the trusted ones and adds its fingerprint to those that may
    relay."""
    described = read_file(certificate)[0]
    copy_certificate(certificate, described, relay.trusted)
    text = before = relay.configuration.read_text("utf-8")
    allowed = templates.defined_macros(text).get(FROM_CERTS, "")
    if described.fingerprint not in allowed:
        both = " : ".join(each for each in (allowed, described.fingerprint) if each)
        text = templates.fill(text, {FROM_CERTS: both})
    if "demo_outside:" not in text:
        text = text.replace(_ROUTERS, f"{_ROUTERS}\n{_OUTSIDE_ROUTER}", 1)
    if text != before:
        make.write_file(relay.configuration, text.encode(), mode=0o644, replace=True)


def _children(stage: Stage) -> tuple[Child, Child]:
    def child(name: str, places: Places, port: int) -> Child:
        output = stage.directory / f"{name}.out"
        return Child(name, places.configuration, port, places.log / "mainlog", output)

    return child("relay", stage.relay, stage.relay_port), child("laptop", stage.laptop, stage.laptop_port)


# The message


def send_first_message(stage: Stage, children: tuple[Child, Child]) -> Journey:
    """Hands the laptop a message as a program would, and waits until it has arrived. Raises Fault."""
    relay, laptop = children
    mark = f"first-{secrets.token_hex(8)}@{LAPTOP_NAME}"
    letter = (
        f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: The first message\nMessage-ID: <{mark}>\n\n"
        "From the laptop through the relay, on certificates alone.\n"
    )
    command = [sys.executable, "-m", "relay.cli.sendmail", "-C", str(stage.laptop.configuration), "-t", "-i"]
    try:
        handed = subprocess.run(
            command,
            input=letter.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=ARRIVE_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        tails = [line for each in children for line in each.tail()]
        raise Fault("\n".join(["relay-sendmail got no answer from the laptop", *tails])) from None
    if handed.returncode:
        said = handed.stdout.decode("utf-8", "replace").strip()
        raise Fault("\n".join([f"relay-sendmail ended with status {handed.returncode}", *said.splitlines()]))
    file = wait_for(
        "the arrival of the first message",
        lambda: _delivered(stage.relay.mail, mark),
        children,
        ARRIVE_WITHIN,
    )
    wait_for(
        "the end of the first message in both logs",
        lambda: all(_is_completed(each.log.of_message(mark)[1]) for each in children),
        children,
        ARRIVE_WITHIN,
    )
    header = BytesHeaderParser(policy=policy.compat32).parsebytes(file.read_bytes())
    return Journey(
        file,
        tuple(header.get_all("Received", [])),
        tuple(laptop.log.of_message(mark)[1]),
        tuple(relay.log.of_message(mark)[1]),
    )


def _delivered(mail: Path, mark: str) -> Path | None:
    """The file in one of the Maildirs below `mail` that holds the marked message."""
    for path in sorted(mail.glob("**/new/*")):
        if mark.encode() in path.read_bytes():
            return path
    return None


def _is_completed(lines: list[str]) -> bool:
    return any(line.endswith(" Completed") for line in lines)


def _decision(stage: Stage, journey: Journey) -> Decision | None:
    """What the relay's ACL says to the session that the relay's log shows."""
    certificate = read_certificate(files.read_certificates(str(stage.laptop.certificate))[0])
    arrival = next((line for line in journey.relay_log if " <= " in line), "")
    verified = _word(arrival, "CV") == "yes" and _word(arrival, "FP") == certificate.fingerprint
    session = SessionFacts(
        peer=Endpoint("127.0.0.1", 0),
        local=Endpoint("127.0.0.1", stage.relay_port),
        hello=Hello(LAPTOP_NAME, extended=True),
        tls=TLSFacts(
            _word(arrival, "X").partition(":")[0],
            _word(arrival, "X").partition(":")[2].rpartition(":")[0],
            0,
            peer=certificate,
            verification=Verified("itself") if verified else Unverified("the log does not say CV=yes"),
        ),
    )
    sender = address_from_text(arrival.partition(" <= ")[2].partition(" ")[0])
    return decide_recipient(stage.relay.configuration, session, sender, address_from_text(RECIPIENT))


def _word(line: str, name: str) -> str:
    """The value of a field of a log line, as `X` of `X=TLS1.3:…`."""
    return next((each[len(name) + 1 :] for each in line.split() if each.startswith(f"{name}=")), "")


# What people see


def tell(stage: Stage, journey: Journey, decision: Decision | None, *, as_json: bool) -> None:
    """Prints what was made, which way the message went, and why it was let through."""
    relay, laptop = read_file(stage.relay.certificate)[0], read_file(stage.laptop.certificate)[0]
    if as_json:
        print_json(
            {
                "relay": {
                    "port": stage.relay_port,
                    "fingerprint": relay.fingerprint,
                    "log": journey.relay_log,
                },
                "laptop": {
                    "port": stage.laptop_port,
                    "fingerprint": laptop.fingerprint,
                    "log": journey.laptop_log,
                },
                "statement": None if decision is None else {"at": str(decision.location), "lines": decision.lines},
                "file": str(journey.file),
                "received": journey.received,
            }
        )
        return
    click.echo("A relay and a laptop, each known to the other by its certificate:")
    click.echo(f"  relay   127.0.0.1:{stage.relay_port:<5}  {relay.fingerprint}")
    click.echo(f"  laptop  127.0.0.1:{stage.laptop_port:<5}  {laptop.fingerprint}")
    _section("The laptop was handed a message and passed it on; its log:", journey.laptop_log)
    _section("The relay took it; its log:", journey.relay_log)
    if decision is not None:
        verb = "let through" if decision.accepted else "refused"
        _section(f"It was {verb} by this statement, {decision.location}:", decision.lines)
    click.echo(f"\nIt arrived in {shown_path(journey.file)}, with these header lines:")
    for field in journey.received:
        click.echo("  Received: " + "\n  ".join(printable_lines(field)))


def _sendmail() -> str:
    """How relay-sendmail is called from here: it lies beside this Python where it is not on the path."""
    if shutil.which("relay-sendmail"):
        return "relay-sendmail"
    return shown_path(Path(sys.executable).with_name("relay-sendmail"))


def shown_path(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def printable_lines(text: str) -> list[str]:
    """A folded header field line by line, with its tabs as spaces."""
    return [printable(line.replace("\t", "    ")) for line in text.splitlines()]


def _section(title: str, lines: tuple[str, ...] | list[str]) -> None:
    click.echo(f"\n{title}")
    for line in lines:
        click.echo(f"  {printable(line)}")


def _follow(stage: Stage, children: tuple[Child, Child]) -> None:
    """Prints new lines of both logs until Ctrl-C."""
    click.echo("\nBoth go on serving until Ctrl-C. Send another message with:")
    click.echo(f"  echo Hello | {_sendmail()} -C {shown_path(stage.laptop.configuration)} {RECIPIENT}")
    while True:
        for child in children:
            for line in child.log.read():
                click.echo(f"{child.name:<6}  {printable(line)}")
            if child.ended() is not None:
                raise Fault("\n".join([f"{child.name} ended with status {child.ended()}", *child.tail()]))
        time.sleep(_FOLLOW_EVERY)
