"""`relay init`: a working relay or laptop out of nothing (edge).

Everything is made in a directory beside the one that is wanted, which takes its place at the end: whatever
goes wrong leaves nothing half-made. Nothing that exists is overwritten. The configuration is the sample of
`conf/` with its macros filled (`templates`); after that the file belongs to its operator.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import pwd
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from relay.cli import templates
from relay.cli.cert import read_file
from relay.cli.faults import Fault, fault_of_system
from relay.cli.output import json_option, print_json, print_pairs
from relay.cli.places import CONFIGURATION_NAME, Places, default_places, places_under
from relay.tls import files, make

RELAY = "relay"
LAPTOP = "laptop"

SMTP_PORT = 25
# Where root is needed for ports below 1024, a person listens here.
PERSONAL_PORT = 2525
SUBMISSION_PORT = 587
TLS_ON_CONNECT_PORT = 465

SERVICE_USER = "fingerpost"
"""Whom the daemon becomes when root starts it."""

FROM_CERTS = "RELAY_FROM_CERTS"
"""The macro with the fingerprints that may relay; the name is that of the wiki page which people copy
from."""

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Role:
    """What is to be made: the sample's name, and the macros that this machine needs besides the common
    ones."""

    name: str
    macros: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Made:
    """What was made, and how the other side knows it."""

    role: str
    places: Places
    host_name: str
    identity: make.Description


def make_installation(
    role: Role,
    places: Places,
    host_name: str,
    *,
    addresses: Sequence[str] = (),
    trust: Sequence[Path] = (),
    user: pwd.struct_passwd | None = None,
) -> Made:
    """Writes configuration, key, certificate and directories; `trust` names certificates of the other side.

    `user` is whom root's daemon becomes: the queue, mail and logs are theirs, the key is readable by their group.
    Raises Fault; nothing is left behind then.
    """
    _refuse_existing(places.directory)
    trusted = {path: read_file(path)[0] for path in trust}
    values = {**common_macros(places, host_name), **role.macros}
    if role.name == RELAY:
        values["MAILDIR"] = str(places.mail)
        values[FROM_CERTS] = " : ".join(each.fingerprint for each in trusted.values())
    text = templates.fill(templates.read_template(f"{role.name}.conf"), values)
    if user is not None:
        text = text.replace("spool_directory = SPOOL\n", f"spool_directory = SPOOL\nexim_user = {user.pw_name}\n")
    elif os.geteuid() != 0:
        # Where no daemon runs, one's own messages are taken by one's own process, which is nobody to be believed.
        line = f"trusted_users = {os.geteuid()}\n"
        text = text.replace("spool_directory = SPOOL\n", f"spool_directory = SPOOL\n{line}")
    try:
        with _workshop(places.directory) as workshop:
            certificate = make.write_identity(
                workshop / places.key.name,
                workshop / places.certificate.name,
                host_name,
                now=datetime.datetime.now(datetime.UTC),
                addresses=addresses,
            )
            trusted_here = workshop / places.trusted.name
            trusted_here.mkdir(mode=0o755)
            for path, each in trusted.items():
                copy_certificate(path, each, trusted_here)
            make.write_file(workshop / CONFIGURATION_NAME, text.encode(), mode=0o644)
            if user is not None:
                os.chown(workshop / places.key.name, 0, user.pw_gid)
                (workshop / places.key.name).chmod(0o640)
            with _directories(role, places, workshop, user):
                workshop.rename(places.directory)
                make.sync_directory(places.directory.parent)
    except OSError as error:
        raise fault_of_system(error, error.filename or places.directory) from None
    return Made(role.name, places, host_name, make.describe(certificate))


def common_macros(places: Places, host_name: str) -> dict[str, str]:
    """The macros that both samples have."""
    return {
        "HOSTNAME": host_name,
        "CONFDIR": str(places.directory),
        "SPOOL": str(places.spool),
        "LOGDIR": str(places.log),
    }


def copy_certificate(source: Path, described: make.Description, directory: Path) -> Path:
    """Puts the first certificate of a file among the trusted ones; its fingerprint makes the name unique."""
    word = "".join(c if c.isalnum() else "-" for c in (described.names or (source.stem,))[0]).strip("-")
    target = directory / f"{word or 'certificate'}-{described.fingerprint[:8].lower()}.pem"
    certificate = files.read_certificates(str(source))[0]
    make.write_file(target, make.certificate_pem(certificate), mode=0o644, replace=True)
    return target


def _refuse_existing(directory: Path) -> None:
    try:
        if not directory.exists() and not directory.is_symlink():
            return
        if directory.is_dir() and not any(directory.iterdir()):
            return
    except OSError as error:
        raise fault_of_system(error, directory) from None
    raise Fault(
        "is there already, and nothing was changed",
        where=directory,
        remedy="name another directory with --dir, or move this one away",
    )


@contextlib.contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A directory beside the target, gone at the end unless it was renamed."""
    missing = [each for each in target.parents if not each.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    workshop = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    workshop.mkdir(mode=0o755)
    try:
        yield workshop
    except BaseException:
        shutil.rmtree(workshop, ignore_errors=True)
        _remove_empty(missing)
        raise


@contextlib.contextmanager
def _directories(
    role: Role, places: Places, workshop: Path, user: pwd.struct_passwd | None
) -> Iterator[None]:
    """Makes queue, mail and log directories; new ones outside of the installation go again on an error.

    Others pass through root's spool directory to the socket and the maildrop; the queue in it is closed to them.
    """
    wanted = [(places.spool, 0o755 if os.geteuid() == 0 else 0o700), (places.log, 0o750)]
    if role.name == RELAY:
        wanted.append((places.mail, 0o700))
    outside: list[Path] = []
    try:
        for directory, mode in wanted:
            if directory.is_relative_to(places.directory):
                made = workshop / directory.relative_to(places.directory)
                made.mkdir(mode=mode)
            else:
                outside += [each for each in (directory, *directory.parents) if not each.exists()]
                made = directory
                made.parent.mkdir(parents=True, exist_ok=True)
                made.mkdir(mode=mode, exist_ok=True)
            made.chmod(mode)
            if user is not None:
                os.chown(made, user.pw_uid, user.pw_gid)
        yield
    except BaseException:
        _remove_empty(outside)
        raise


def _remove_empty(directories: Sequence[Path]) -> None:
    """Deepest first; one that something was put into stays."""
    for each in sorted(directories, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):
            each.rmdir()


def parse_host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """`H` or `H:P`; an IPv6 address with a port stands in brackets. Raises click.BadParameter."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise click.BadParameter(f"{text!r} is no host with an optional port, as in relay.example.org:587")
    try:
        host = host if _is_address(host) else make.check_host_name(host)
    except make.UnusableName as error:
        raise click.BadParameter(str(error)) from None
    return host, int(port) if port else default_port


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def in_colon_list(address: str) -> str:
    """An address as an item of Exim's lists, where a colon that separates nothing stands twice."""
    return address.replace(":", "::")


def service_user() -> pwd.struct_passwd | None:
    """Whom a daemon that root starts is to become; None for a person's own, and where there is no such user yet."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None


def chosen_host_name(given: str | None) -> str:
    """The name that was given, or the machine's own. Raises click.UsageError."""
    try:
        if given:
            return make.check_host_name(given)
        own = socket.gethostname()
        return make.check_host_name(own if "." in own else socket.getfqdn(own))
    except make.UnusableName as error:
        raise click.UsageError(f"{error} (--hostname)") from None


def chosen_places(directory: Path | None) -> Places:
    """Where everything goes, as absolute paths that a configuration can name. Raises click.UsageError."""
    places = places_under(Path(os.path.abspath(directory))) if directory else default_places()
    for each in (places.directory, places.spool, places.mail, places.log):
        templates.check_path(str(each))
    return places


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value and not _is_address(value):
        raise click.BadParameter(f"{value!r} is no IP address")
    return value


_port_option = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Listen here (default: {PERSONAL_PORT}; for root {SMTP_PORT}, a relay also {TLS_ON_CONNECT_PORT} and "
    f"{SUBMISSION_PORT}).",
)


@click.group("init")
def command() -> None:
    """Make a working relay or laptop: configuration, key, certificate."""


def _common_options(function: F) -> F:
    for option in (
        json_option,
        click.option(
            "--trust",
            multiple=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Certificate of the other side; may be repeated.",
        ),
        click.option("--hostname", help="Our name, also in the certificate (default: this machine's)."),
        click.option(
            "--dir",
            "directory",
            type=click.Path(path_type=Path),
            help="Put everything here (default: /etc/fingerpost, or ~/.config/fingerpost).",
        ),
    ):
        function = option(function)
    return function


@command.command(
    "relay",
    epilog="""\b
Example:
  relay init relay --hostname relay.example.org --trust laptop.pem
""",
)
@_common_options
@_port_option
@click.option("--address", default="", callback=_address, help="Listen on this address only (default: on all).")
def make_relay(
    directory: Path | None,
    hostname: str | None,
    trust: tuple[Path, ...],
    as_json: bool,
    port: int | None,
    address: str,
) -> None:
    """Make a relay, which sends on the mail of the machines whose certificates it trusts."""
    role = Role(RELAY, relay_macros(_relay_ports(port), address))
    places, name = chosen_places(directory), chosen_host_name(hostname)
    made = make_installation(role, places, name, trust=trust, user=service_user())
    _report(made, as_json, _relay_steps(made, bool(trust)))


@command.command(
    "laptop",
    epilog="""\b
Example:
  relay init laptop --smarthost relay.example.org --trust relay.pem
""",
)
@_common_options
@click.option(
    "--smarthost",
    required=True,
    metavar="HOST[:PORT]",
    help=f"The relay that all mail goes to (default port: {SUBMISSION_PORT}, STARTTLS).",
)
@_port_option
def make_laptop(
    directory: Path | None,
    hostname: str | None,
    trust: tuple[Path, ...],
    as_json: bool,
    smarthost: str,
    port: int | None,
) -> None:
    """Make a laptop, which hands all its mail to one relay and believes only the certificate it was given.

    Port 465 speaks TLS from its first byte, every other one STARTTLS.
    """
    host, host_port = parse_host_and_port(smarthost, SUBMISSION_PORT)
    role = Role(LAPTOP, laptop_macros(host, host_port, _default_port(port)))
    places, name = chosen_places(directory), chosen_host_name(hostname)
    made = make_installation(role, places, name, trust=trust, user=service_user())
    _report(made, as_json, _laptop_steps(made, host, bool(trust)))


def relay_macros(ports: str, address: str) -> dict[str, str]:
    """What the sample of a relay needs to know besides the common macros: a list of ports, an address or none."""
    at_once = str(TLS_ON_CONNECT_PORT) if str(TLS_ON_CONNECT_PORT) in ports.split(" : ") else ""
    return {"PORT": ports, "AT_ONCE": at_once, **({"INTERFACES": in_colon_list(address)} if address else {})}


def laptop_macros(host: str, host_port: int, port: int) -> dict[str, str]:
    """The same for a laptop; the protocol of its transport follows from the relay's port."""
    protocol = "smtps" if host_port == TLS_ON_CONNECT_PORT else "smtp"
    shown = f"[{in_colon_list(host)}]" if ":" in host else host
    return {"SMARTHOST": shown, "SMARTHOST_PORT": str(host_port), "SMARTHOST_PROTOCOL": protocol, "PORT": str(port)}


def _relay_ports(port: int | None) -> str:
    """Root's relay serves other servers, and laptops on networks that let nobody out to port 25."""
    if port is None and os.geteuid() == 0:
        return f"{SMTP_PORT} : {TLS_ON_CONNECT_PORT} : {SUBMISSION_PORT}"
    return str(_default_port(port))


def _default_port(port: int | None) -> int:
    return port or (SMTP_PORT if os.geteuid() == 0 else PERSONAL_PORT)


def _root_steps() -> list[str]:
    """A daemon that root starts should not stay root."""
    if os.geteuid() != 0 or service_user() is not None:
        return []
    return [f"adduser --system --group {SERVICE_USER}, then set exim_user and give it the queue; else root delivers"]


def _relay_steps(made: Made, trusts: bool) -> list[str]:
    places = made.places
    steps = [*_root_steps(), f"relay check -C {places.configuration}", f"relay run -C {places.configuration}"]
    if trusts:
        return steps
    copy = f"trust a laptop: copy its certificate into {places.trusted}"
    return [f"{copy}, put its fingerprint into {FROM_CERTS}", *steps]


def _laptop_steps(made: Made, host: str, trusts: bool) -> list[str]:
    places = made.places
    steps = [] if trusts else [f"trust the relay: copy the certificate of {host} into {places.trusted}"]
    return [
        *steps,
        *_root_steps(),
        f"let the relay trust this laptop: give it {places.certificate}",
        f"relay check -C {places.configuration}",
        f"relay run -C {places.configuration}",
    ]


def _report(made: Made, as_json: bool, steps: Sequence[str]) -> None:
    places = made.places
    if as_json:
        print_json(
            {
                "role": made.role,
                "hostname": made.host_name,
                "configuration": str(places.configuration),
                "key": str(places.key),
                "certificate": str(places.certificate),
                "trusted": str(places.trusted),
                "spool": str(places.spool),
                "mail": str(places.mail) if made.role == RELAY else None,
                "log": str(places.log),
                "fingerprint": made.identity.fingerprint,
                "key_digest": made.identity.key_digest,
                "next": list(steps),
            }
        )
        return
    click.echo(f"{made.role} {made.host_name} is ready")
    print_pairs(
        [
            ("configuration", str(places.configuration)),
            ("certificate", str(places.certificate)),
            ("key", f"{places.key} (never leaves this machine)"),
            ("queue", str(places.spool)),
            ("fingerprint", made.identity.fingerprint),
        ]
    )
    click.echo("next:")
    for step in steps:
        click.echo(f"  {step}")
