"""`relay cert`: show certificates, make a new one (edge).

The fingerprint is what people compare and what goes into RELAY_FROM_CERTS, so it stands first, in the one
form that Exim's `${sha256:$tls_in_peercert}` has.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from relay.cli.faults import Fault, fault_of_system
from relay.cli.output import json_option, print_json, print_pairs
from relay.cli.places import CERTIFICATE_NAME, KEY_NAME, default_configuration
from relay.cli.reading import read_configuration
from relay.tls import files, make

JSON = dict[str, object]


@click.group("cert")
def command() -> None:
    """Show certificates, or make a new one."""


@command.command(
    "show",
    epilog="""\b
Examples:
  relay cert show                      ours
  relay cert show laptop.pem --json    another one
""",
)
@click.argument("named", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-C",
    "configuration",
    type=click.Path(path_type=Path),
    help="The configuration that names our certificates.",
)
@json_option
def show(named: tuple[Path, ...], configuration: Path | None, as_json: bool) -> None:
    """Show fingerprint, names and dates of certificates.

    Without FILE: our own, which the configuration names.
    """
    chosen = named or configured(configuration or default_configuration())
    read = [(path, each) for path in chosen for each in read_file(path)]
    if as_json:
        print_json([as_data(path, each) for path, each in read])
        return
    now = datetime.datetime.now(datetime.UTC)
    for number, (path, each) in enumerate(read):
        if number:
            click.echo()
        click.echo(str(path))
        print_pairs(as_lines(each, now))


def configured(configuration: Path) -> tuple[Path, ...]:
    """The files with our certificates: the server's, and those that transports show. Raises Fault."""
    from relay.config.check import tls_files
    from relay.expand.splitting import split_list

    if not configuration.exists():
        raise Fault("no such file", where=configuration, remedy="name a FILE, or a configuration with -C")
    read = read_configuration(configuration.absolute())
    found = [Path(path) for each in tls_files(read) for path in split_list(each.certificate).items]
    if not found:
        raise Fault("names no certificate", where=configuration, remedy="set tls_certificate")
    return tuple(dict.fromkeys(found))


def read_file(path: Path) -> list[make.Description]:
    """The certificates of one PEM file; a Fault where there is none."""
    try:
        return [make.describe(each) for each in files.read_certificates(str(path))]
    except files.TLSFileError as error:
        raise Fault(error.what, where=path, remedy=error.remedy) from None


def as_data(path: Path, each: make.Description) -> JSON:
    """A certificate for `--json`."""
    return {
        "file": str(path),
        "fingerprint": each.fingerprint,
        "key_digest": each.key_digest,
        "subject": each.subject,
        "issuer": each.issuer,
        "names": list(each.names),
        "addresses": list(each.addresses),
        "not_before": each.not_before.isoformat(),
        "not_after": each.not_after.isoformat(),
        "key": each.key,
        "self_issued": each.is_self_issued,
        "authority": each.is_authority,
    }


def as_lines(each: make.Description, now: datetime.datetime) -> list[tuple[str, str]]:
    """A certificate for people."""
    until = f"{each.not_after:%Y-%m-%d %H:%M} UTC"
    if now > each.not_after:
        until += ", expired: make a new one with `relay cert new --replace`"
    elif now < each.not_before:
        until += f", not valid before {each.not_before:%Y-%m-%d %H:%M} UTC: look at the clock"
    return [
        ("fingerprint", each.fingerprint),
        ("key digest", each.key_digest),
        ("subject", each.subject),
        ("issuer", "itself" if each.is_self_issued else each.issuer),
        ("names", ", ".join([*each.names, *each.addresses])),
        ("valid until", until),
        ("key", each.key),
        ("authority", "yes: it can vouch for others" if each.is_authority else ""),
    ]


@command.command(
    "new",
    epilog="""\b
Examples:
  relay cert new --replace             a new pair for ours; the old one stays as .old
  relay cert new --hostname laptop.example.org --key k.pem --certificate c.pem
""",
)
@click.option("--hostname", help="The name in the certificate (default: that of the one it replaces).")
@click.option("--address", "addresses", multiple=True, help="An IP address in it besides; may be repeated.")
@click.option("--days", type=click.IntRange(1, 36500), help="How long it holds (default: ten years).")
@click.option("--key", "key_path", type=click.Path(path_type=Path), help="Where the key goes.")
@click.option("--certificate", "certificate_path", type=click.Path(path_type=Path), help="And the certificate.")
@click.option("--replace", is_flag=True, help="Take the place of files that are there.")
@click.option("-C", "configuration", type=click.Path(path_type=Path), help="The configuration beside which they go.")
@json_option
def new(
    hostname: str | None,
    addresses: tuple[str, ...],
    days: int | None,
    key_path: Path | None,
    certificate_path: Path | None,
    replace: bool,
    configuration: Path | None,
    as_json: bool,
) -> None:
    """Make a new key and a self-signed certificate for it.

    The other side knows the certificate that you have now: give it the new one before you restart.
    """
    key_path = key_path or _beside(configuration, KEY_NAME)
    certificate_path = certificate_path or _beside(configuration, CERTIFICATE_NAME)
    name = hostname or _name_in(certificate_path)
    lifetime = datetime.timedelta(days=days) if days else make.LIFETIME
    try:
        made = make.write_identity(
            key_path,
            certificate_path,
            name,
            now=datetime.datetime.now(datetime.UTC),
            addresses=addresses,
            lifetime=lifetime,
            replace=replace,
        )
    except make.AlreadyThere as error:
        raise Fault(
            "is there already", where=error.filename, remedy="say --replace to make a new one in its place"
        ) from None
    except OSError as error:
        raise fault_of_system(error) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    described = make.describe(made)
    if as_json:
        print_json({**as_data(certificate_path, described), "key_file": str(key_path)})
        return
    click.echo(f"new key          {key_path}")
    click.echo(f"new certificate  {certificate_path}")
    print_pairs(as_lines(described, datetime.datetime.now(datetime.UTC)))


def _beside(configuration: Path | None, name: str) -> Path:
    return (configuration or default_configuration()).parent / name


def _name_in(certificate: Path) -> str:
    """The host name of the certificate that is there, for the one that follows it."""
    if certificate.exists():
        for each in read_file(certificate):
            if each.names:
                return each.names[0]
    raise click.UsageError("there is no certificate to take the name from; say --hostname")
