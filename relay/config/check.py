"""What `relay check` looks at beyond the text: files, directories, certificates, and likely mistakes (disk).

A configuration that was read is good in itself; here it is held against the machine that it is to run on.
Only what is constant can be looked at: a file name that is expanded for each connection is not.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from relay.config.blocks import DriverBlock
from relay.config.host_items import host_item_problems
from relay.config.read import Configuration
from relay.config.references import acl_options
from relay.delivery.appendfile import AppendfileRules
from relay.delivery.autoreply import AutoreplyRules
from relay.delivery.lmtp import LMTPRules
from relay.delivery.pipe import PipeRules
from relay.delivery.smtp_rules import SMTPRules
from relay.expand.evaluate import Expansion
from relay.expand.splitting import split_list
from relay.mail.source import Location, Problem, Severity
from relay.policy.acl_program import ACL
from relay.tls.policy import named_set


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """The constant file names of one set of TLS options, "" where unset or expanded; with the line to
    complain at."""

    location: Location
    what: str
    """Whose options they are: "main section", "transport NAME"."""
    certificate: str = ""
    privatekey: str = ""
    verify_certificates: str = ""
    crl: str = ""
    require_ciphers: str = ""
    eccurve: str = ""
    ocsp_file: str = ""
    dhparam: str = ""


InspectTLS = Callable[[TLSFiles], list[Problem]]
"""Looks into files that exist: whether key and certificate match, dates, who may read the key."""


def _look_no_further(_files: TLSFiles) -> list[Problem]:
    return []


def check_configuration(configuration: Configuration, inspect_tls: InspectTLS = _look_no_further) -> list[Problem]:
    """Everything that is wrong or likely to be, with the notes of the reading, in the order of the files."""
    found = list(configuration.problems)
    for files in tls_files(configuration):
        missing = list(_unreadable(files))
        found += missing or inspect_tls(files)
    found += _directories(configuration)
    found += _mailboxes(configuration)
    found += _server(configuration)
    found += _distinguished_names(configuration)
    found += _events(configuration)
    found += host_item_problems(configuration)
    return sorted(found, key=lambda problem: problem.location)


def tls_files(configuration: Configuration) -> Iterator[TLSFiles]:
    """The TLS options of the main section (where TLS is offered) and of each smtp transport."""
    main = configuration.main
    offers = main.tls_advertise_hosts is not None and not main.tls_advertise_hosts.is_empty
    if offers or main.tls_on_connect_ports:
        yield TLSFiles(
            configuration.place("tls_certificate"),
            "main section",
            _constant(main.tls_certificate),
            _constant(main.tls_privatekey),
            _constant(main.tls_verify_certificates),
            _constant(main.tls_crl),
            _constant(main.tls_require_ciphers),
            _constant(main.tls_eccurve),
            _constant(main.tls_ocsp_file),
            _constant(main.tls_dhparam),
        )
    places = {block.name: block for block in configuration.blocks if block.section == "transports"}
    for name, transport in configuration.transports.items():
        if isinstance(transport, SMTPRules):
            tls = transport.tls
            yield TLSFiles(
                places[name].place("tls_certificate"),
                f"transport {name}",
                _constant(tls.certificate),
                _constant(tls.privatekey),
                _constant(tls.verify_certificates),
                _constant(tls.crl),
            )


def _constant(expansion: Expansion | None) -> str:
    return (expansion.constant or "") if expansion is not None else ""


def _unreadable(files: TLSFiles) -> Iterator[Problem]:
    for option, value in (
        ("tls_certificate", files.certificate),
        ("tls_privatekey", files.privatekey),
        ("tls_verify_certificates", files.verify_certificates),
        ("tls_crl", files.crl),
    ):
        if not value or (option == "tls_verify_certificates" and named_set(value) == "system"):
            continue
        paths = split_list(value).items if option in ("tls_certificate", "tls_privatekey") else (value,)
        for path in paths:
            what = f"{files.what}: {option} names {path}, which"
            if not path.startswith("/"):
                yield Problem(files.location, f"{what} is not an absolute path", "name it whole")
            elif not os.path.exists(path):
                yield Problem(files.location, f"{what} does not exist", "create it, or correct the name")
            elif not os.access(path, os.R_OK):
                yield Problem(files.location, f"{what} can't be read", "correct its owner or its mode")


def _directories(configuration: Configuration) -> Iterator[Problem]:
    main = configuration.main
    places = [("spool_directory", main.spool_directory)]
    logs = [path.strip() for path in main.log_file_path.split(":") if path.strip() not in ("", "syslog")]
    places += [("log_file_path", os.path.dirname(path)) for path in logs]
    for option, directory in places:
        trouble = _cannot_write(directory)
        if trouble:
            yield Problem(configuration.place(option), f"{option}: {trouble}", "correct its owner or its mode")
    if main.peers_directory and not os.path.isdir(main.peers_directory):
        what = f"peers_directory {main.peers_directory} is not a directory"
        yield Problem(configuration.place("peers_directory"), what, "create it, or correct the name")


def _cannot_write(directory: str) -> str:
    """Why nothing can be written into a directory, "" where it can or where it can be made."""
    nearest = directory
    while nearest and not os.path.exists(nearest):
        nearest = os.path.dirname(nearest) if nearest != "/" else ""
    if not nearest:
        return f"{directory} can't be made"
    if not os.path.isdir(nearest):
        return f"{nearest} is not a directory"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{nearest} can't be written to"
    return ""


# Variables whose text comes from a peer, in a name that a delivery would use as a path.
_FROM_OUTSIDE = frozenset({
    "local_part", "domain", "original_local_part", "original_domain", "sender_address", "sender_address_domain",
    "sender_address_local_part", "sender_helo_name", "sender_host_name", "tls_in_peerdn", "tls_in_sni",
})  # fmt: skip


def _mailboxes(configuration: Configuration) -> Iterator[Problem]:
    places = {block.name: block for block in configuration.blocks if block.section == "transports"}
    for name, transport in configuration.transports.items():
        if isinstance(transport, AppendfileRules):
            for option, expansion in (("file", transport.file), ("directory", transport.directory)):
                if expansion is not None:
                    has_user = transport.common.user is not None
                    yield from _mailbox(name, option, expansion, places[name].place(option), has_user=has_user)
        if isinstance(transport, AppendfileRules | AutoreplyRules | LMTPRules | PipeRules):
            yield from _delivery_user(configuration, transport, places[name])


def _mailbox(name: str, option: str, expansion: Expansion, location: Location, *, has_user: bool) -> Iterator[Problem]:
    constant = expansion.constant
    outside = sorted(expansion.names_used & _FROM_OUTSIDE)
    if outside:
        yield Problem(
            location,
            f"transport {name}: ${outside[0]} comes from outside and can't be part of a file name",
            f"use ${outside[0]}_data, or look it up",
            Severity.WARNING,
        )
    if constant is None or constant == "/dev/null":
        return
    directory = constant if option == "directory" else os.path.dirname(constant)
    if not constant.startswith("/"):
        yield Problem(location, f"transport {name}: {constant} is not an absolute path", "name it whole")
    elif not has_user and _cannot_write(directory):
        yield Problem(
            location,
            f"transport {name}: {_cannot_write(directory)}",
            "correct its owner or its mode",
            Severity.WARNING,
        )


def _delivery_user(
    configuration: Configuration,
    transport: AppendfileRules | AutoreplyRules | LMTPRules | PipeRules,
    block: DriverBlock,
) -> Iterator[Problem]:
    """A user that is none, or that the daemon can't become."""
    location, what = block.place("user"), f"transport {block.name}"
    as_root = os.geteuid() == 0 and not configuration.main.exim_user
    runs = isinstance(transport, PipeRules) or (isinstance(transport, LMTPRules) and transport.command is not None)
    if runs and transport.common.user is None and as_root:
        remedy = "set user, or exim_user in the main section"
        yield Problem(location, f"{what}: no command is run as root", remedy, Severity.WARNING)
    user = transport.common.user.constant if transport.common.user is not None else None
    if user is None:
        return
    try:
        uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        yield Problem(location, f'{what}: there is no user "{user}"', "correct the name, or make the user")
        return
    if uid == 0 or user in configuration.main.never_users:
        yield Problem(location, f"{what}: no local delivery runs as {user} (never_users)", "name another user")
    elif os.geteuid() not in (0, uid) and not configuration.main.exim_user:
        remedy = "start it as root with exim_user set, or remove user"
        yield Problem(location, f"{what}: only a daemon that root starts can deliver as {user}", remedy)


def _server(configuration: Configuration) -> Iterator[Problem]:
    """What makes a server useless without being an error."""
    main = configuration.main
    offers = main.tls_advertise_hosts is not None and not main.tls_advertise_hosts.is_empty
    if (offers or main.tls_on_connect_ports) and main.tls_certificate is None:
        yield Problem(
            configuration.place("tls_advertise_hosts"),
            "TLS is offered and tls_certificate is not set: a self-signed certificate is made at each start, which"
            " nobody can know beforehand",
            "set tls_certificate and tls_privatekey, or tls_advertise_hosts to nothing",
            Severity.WARNING,
        )
    if main.acl_smtp_rcpt is None:
        yield Problem(
            Location(configuration.path),
            "acl_smtp_rcpt is not set: every recipient will be refused",
            "set it to the name of an ACL",
            Severity.WARNING,
        )
    for port in main.tls_on_connect_ports:
        if port not in main.daemon_smtp_ports and not any(
            item.endswith((f".{port}", f"]:{port}")) for item in main.local_interfaces
        ):
            yield Problem(
                configuration.place("tls_on_connect_ports"),
                f"tls_on_connect_ports names {port}, which nobody listens on",
                "add it to daemon_smtp_ports",
                Severity.WARNING,
            )


_UNTOLD = re.compile(r"tls:cert|tls:fail:connect|dane:fail|dns:fail|smtp:fail:")


def _events(configuration: Configuration) -> Iterator[Problem]:
    """An action that waits for what it is never told: it may be there to refuse certificates."""
    actions = [(configuration.place("event_action"), configuration.main.event_action)]
    actions += [
        (block.place("event_action"), block.expansion("event_action"))
        for block in configuration.blocks
        if block.section == "transports"
    ]
    for location, action in actions:
        untold = _UNTOLD.search(action.source) if action is not None else None
        if untold is not None:
            what = f"event_action is not told of {untold.group()}, and refuses no certificate"
            remedy = "judge certificates with tls_verify_certificates, tls_pins or an ACL"
            yield Problem(location, what, remedy, Severity.WARNING)


_SLASHES = re.compile(r"/(?:C|ST|L|O|OU|CN|DC|emailAddress)=")
_COMMAS = re.compile(r"[{=\s,](?:C|ST|L|O|OU|CN|DC)=[^/{}$]*(?:,\s*(?:C|ST|L|O|OU|CN|DC)=|\})")
_PEER_DN = re.compile(r"\$\{?tls_(?:in_|out_)?peerdn")


def _distinguished_names(configuration: Configuration) -> Iterator[Problem]:
    """Names of certificates written in the style that `$tls_in_peerdn` does not have here."""
    style = configuration.main.tls_dn_style
    wrong, remedy = (
        (_SLASHES, "write CN=name,O=…, or set tls_dn_style = openssl")
        if style == "rfc2253"
        else (_COMMAS, "write /O=…/CN=name, or set tls_dn_style = rfc2253")
    )
    for acl in _acls(configuration):
        for step in acl.steps:
            if _PEER_DN.search(step.text) and wrong.search(step.text):
                what = f"a name of a certificate is written otherwise than tls_dn_style = {style} gives it"
                yield Problem(step.location, what, remedy, Severity.WARNING)


def _acls(configuration: Configuration) -> Iterator[ACL]:
    yield from configuration.acls.values()
    named = set(map(id, configuration.acls.values()))
    for _, reference in acl_options(configuration.main):
        if reference.acl is not None and id(reference.acl) not in named:
            yield reference.acl
