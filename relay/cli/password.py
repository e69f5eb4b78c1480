"""`relay password`: make an entry of a password file (edge).

Without `--file` the line is printed, to be put where it belongs; with it the file is written whole and anew, so that
nobody who reads it meanwhile finds half of it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from relay.cli.faults import Fault, fault_of_system
from relay.esmtp.sasl.saslprep import NotPreparable
from relay.mail.text import from_wire, to_wire
from relay.tls.make import write_file
from relay.trust import passwords
from relay.trust.passwords import BadPasswordFile, Kind


@click.command(
    "password",
    epilog="""\b
Examples:
  relay password ada                          asks twice, prints the line
  relay password ada --file /etc/relay/passwords
  relay password ada --kind scram --stdin < secret
  relay password ada --file /etc/relay/passwords --remove
""",
)
@click.argument("user")
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="The file to put the entry in.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in Kind]),
    default=Kind.ARGON2ID.value,
    show_default=True,
    help="scram serves SCRAM and PLAIN, the others PLAIN and LOGIN alone.",
)
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input, one line.")
@click.option("--remove", is_flag=True, help="Take the user out of the file.")
def command(user: str, path: Path | None, kind: str, from_stdin: bool, remove: bool) -> None:
    """Make, change or remove an entry of a password file.

    The password itself is kept nowhere.
    """
    if not passwords.is_user(user):
        raise click.UsageError("a user's name has no colon, blank, quote or # in it")
    if remove:
        if path is None:
            raise click.UsageError("say with --file what to take the user out of")
        _update(path, user, None)
        click.echo(f"{path}: {user} is out", err=True)
        return
    password = _from_stdin() if from_stdin else _asked()
    try:
        stored = passwords.make_hash(password, Kind(kind), secrets.token_bytes(16))
    except NotPreparable as error:
        raise Fault(f"the password holds {error}", remedy="choose another, or --kind argon2id") from None
    if path is None:
        click.echo(f"{user}:{stored}")
        return
    _update(path, user, stored)
    click.echo(f"{path}: {user} has a new password", err=True)


def _asked() -> str:
    password = click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
    return _checked(str(password))


def _from_stdin() -> str:
    line = sys.stdin.buffer.readline(passwords.PASSWORD_LIMIT + 2)
    return _checked(from_wire(line.removesuffix(b"\n").removesuffix(b"\r")))


def _checked(password: str) -> str:
    if not password:
        raise Fault("the password is empty")
    if len(to_wire(password)) > passwords.PASSWORD_LIMIT:
        raise Fault(f"the password is longer than {passwords.PASSWORD_LIMIT} octets")
    if "\0" in password:
        raise Fault("the password holds a zero octet, which no mail program can send")
    return password


def _update(path: Path, user: str, stored: str | None) -> None:
    """Puts the user's hash in the file, or takes the user out (None). Raises Fault."""
    try:
        target = path.resolve()
        with _alone_in(target.parent):
            mode, text = _read(target)
            if stored is None:
                if user not in passwords.read_entries(text):
                    raise Fault(f"there is no user {user}", where=path)
                new = passwords.without_entry(text, user)
            else:
                new = passwords.with_entry(text, user, stored)
            owner = target.stat() if target.exists() else target.parent.stat()
            write_file(target, to_wire(new), mode=mode, replace=True)
            if os.geteuid() == 0:
                os.chown(target, owner.st_uid, owner.st_gid)
    except BadPasswordFile as error:
        raise Fault(str(error), where=f"{path}:{error.line}", remedy="mend or remove that line first") from None
    except OSError as error:
        raise fault_of_system(error, path) from None


def _read(path: Path) -> tuple[int, str]:
    """Mode and text of the file; a new one is for its owner alone."""
    try:
        return path.stat().st_mode & 0o7777, from_wire(path.read_bytes())
    except FileNotFoundError:
        return 0o600, ""


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Two commands at once do not lose each other's change: the lock is on the directory, the file is replaced."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
