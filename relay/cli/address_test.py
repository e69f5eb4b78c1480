"""`relay-sendmail -bt`, `-bv`, `-bvs` and `-brt`: what would become of an address (edge).

    -bt ADDRESS…    every delivery that mail to it would come to, with routers, transports and hosts
    -bv ADDRESS…    whether it is good as a recipient (-bvs: as a sender)
    -brt ADDRESS [HOST] [ERROR]   the retry rule that would be used

Addresses come from the command line, or line by line from standard input. Nothing is delivered, and nobody is dialled
but name servers. Exit status: 0 all good, 1 some can't be told now, 2 some bad.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relay.cli.expand import make_scope
from relay.cli.reading import answer, understand_configuration
from relay.config.read import Configuration
from relay.config.showing import duration
from relay.daemon.addresses import local_addresses
from relay.daemon.names import names_of
from relay.daemon.routing import routing_ports
from relay.esmtp.header_addresses import Mailbox, locate_mailboxes
from relay.expand.scope import MessageView, Scope
from relay.mail.address import NULL_SENDER, Address, address_from_text
from relay.mail.events import Event, MessageNote, Trouble
from relay.mail.facts import SessionFacts
from relay.mail.outcome import Deferred
from relay.mail.ports import TemporaryFailure
from relay.mail.source import ConfigurationError, Problem
from relay.mail.text import printable
from relay.net.lookups import at_once
from relay.net.resolver import BlockingResolver
from relay.observe.watching import show
from relay.policy.address_report import Inquiry, Report, Verdict, report_on
from relay.policy.retry import (
    AnyError,
    Fixed,
    Geometric,
    Randomized,
    RetryRule,
    Step,
    Unread,
    choose_rule,
    host_key,
    outcome_named,
)
from relay.policy.rewrite import Flag, RewriteContext, rewrite_address
from relay.policy.routers.ports import Purpose


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of addresses."""

    purpose: Purpose
    is_full: bool
    sender: str | None = None
    """-f; None: the caller."""
    session: SessionFacts = field(default_factory=SessionFacts)
    """-oM…: where the message would come from."""
    is_watched: bool = False
    """Whether debug_print of routers is shown."""


class Complaints:
    """A journal that tells people of what is wrong."""

    def record(self, event: Event) -> None:
        if isinstance(event, MessageNote | Trouble):
            logs = "MAIN" if isinstance(event, MessageNote) else "MAIN PANIC"
            print(f"LOG: {logs}\n  {printable(event.text)}", file=sys.stderr)


def test_addresses(path: Path, macros: dict[str, str], addresses: Sequence[str], wish: Wish) -> int:
    """Prints a report on each address; the exit status. Raises ConfigurationError."""
    tester = _Tester(path, macros, wish)
    status = Verdict.GOOD
    for text in addresses or _typed_in():
        for verdict in tester.test(text):
            if verdict is Verdict.BAD or status is Verdict.GOOD:
                status = verdict
    return status.value


def _typed_in() -> Iterator[str]:
    """Lines of standard input, each asked for, as Exim does whoever sits there."""
    while True:
        print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
            return
        if line.strip():
            yield line.strip()


def _served(path: Path, macros: dict[str, str]) -> Configuration:
    """The configuration, where its routers and transports are all there. Raises ConfigurationError."""
    read = understand_configuration(path, macros)
    hindering = [each for each in read.obstacles if _is_about_routing(each, read.configuration)]
    if hindering:
        raise ConfigurationError(*hindering)
    return read.configuration


def _is_about_routing(problem: Problem, configuration: Configuration) -> bool:
    """Whether it stands in a router, which then is missing or means something else."""
    routers = (block for block in configuration.blocks if block.section == "routers")
    return any(problem.location in (block.location, *block.set_at.values()) for block in routers)


def _login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class _Tester:
    def __init__(self, path: Path, macros: dict[str, str], wish: Wish) -> None:
        self._configuration = _served(path, macros)
        main = self._configuration.main
        self._wish = wish
        self._literals = main.allow_domain_literals
        made = make_scope(path, macros)
        resolver = names_of(self._configuration, BlockingResolver(), made.lookups)
        journal = Complaints()
        watch = show if wish.is_watched else None
        ports = routing_ports(self._configuration, resolver, at_once, journal, None, local_addresses(), watch)
        scope = made.child(resolver=resolver, dns=resolver, local_addresses=local_addresses())
        sender = NULL_SENDER
        if wish.purpose is not Purpose.VERIFY_SENDER and wish.sender not in ("", "<>"):
            sender = address_from_text(_login() if wish.sender is None else wish.sender)
        view = MessageView(sender=sender.qualified(main.qualify_domain))
        scope = scope.child(message=view, session=wish.session)
        self._context = RewriteContext(scope, journal, main.qualify_recipient)
        self._inquiry = Inquiry(
            routers=self._configuration.routers, scope=scope, ports=ports, purpose=wish.purpose, is_full=wish.is_full
        )

    def test(self, text: str) -> Iterator[Verdict]:
        """Prints what becomes of the addresses in a text."""
        for found in locate_mailboxes(text):
            if isinstance(found, Mailbox) and found.address.domain.startswith("[") and not self._literals:
                report = Report(("syntax error: domain literals not allowed",), Verdict.BAD)
            elif isinstance(found, Mailbox):
                report = answer(self._report(found.address))
            else:
                report = Report((f"syntax error: {printable(found.reason)}",), Verdict.BAD)
            for line in report.lines:
                print(line)
            yield report.verdict

    async def _report(self, address: Address) -> Report:
        main = self._configuration.main
        is_sender = self._wish.purpose is Purpose.VERIFY_SENDER
        address = address.qualified(main.qualify_domain if is_sender else main.qualify_recipient)
        which = Flag.ENVELOPE_FROM if is_sender else Flag.ENVELOPE_TO
        rewritten = await rewrite_address(address, which, self._configuration.rewrite, self._context)
        report = await report_on(rewritten, self._inquiry)
        if rewritten == address:
            return report
        return Report((f"Address rewritten as: {printable(str(rewritten))}", *report.lines), report.verdict)


# Retry rules


def test_retry(path: Path, macros: dict[str, str], words: Sequence[str], sender: str | None) -> Iterator[str]:
    """The lines about the rule for an address or a host. Raises ConfigurationError, ValueError for a bad error name."""
    configuration = understand_configuration(path, macros).configuration
    key, *rest = words
    if "@" not in key and "." not in key:
        yield f"Warning: \"{printable(key)}\" contains no '@' and no '.' characters. It is being "
        yield "treated as a one-component domain, not as a local part."
        yield ""
    keys = [_key(key)]
    if rest and "." in rest[0]:
        keys.append(_key(rest.pop(0)))
    scope = make_scope(path, macros)
    outcome = outcome_named(rest[0], scope.now) if rest else Deferred("")
    given = address_from_text(sender) if sender else NULL_SENDER
    rule = answer(_rule(configuration.retry, keys, outcome, given, scope))
    if rule is None:
        yield "No retry information found"
    else:
        yield f"Retry rule: {printable(rule.written)}  {_error_shown(rule)}  {''.join(map(_step_shown, rule.steps))}"


def _key(text: str) -> Address:
    return address_from_text(text) if "@" in text else host_key(text)


async def _rule(
    rules: Sequence[RetryRule], keys: Sequence[Address], outcome: Deferred, sender: Address, scope: Scope
) -> RetryRule | None:
    try:
        return await choose_rule(rules, keys, outcome, sender, scope)
    except TemporaryFailure as error:
        print(f"retry rules: {printable(str(error))}", file=sys.stderr)
        return None


def _error_shown(rule: RetryRule) -> str:
    """Exim names only some of the errors here."""
    if isinstance(rule.error, AnyError):
        return "*"
    if isinstance(rule.error, Unread):
        return f"quota_{duration(int(rule.error.seconds))}"
    word = rule.error_written.lower()
    shown = word.startswith(("quota", "refused", "timeout", "auth_failed"))
    return word.replace("_mx", "_MX").replace("_a", "_A") if shown and word != "auth_failed" else word if shown else "*"


def _step_shown(step: Step) -> str:
    cutoff, interval = duration(int(step.cutoff)), duration(int(step.interval))
    match step:
        case Fixed():
            return f"F,{cutoff},{interval}; "
        case Geometric(_, _, factor):
            return f"G,{cutoff},{interval},{_factor(factor)}; "
        case Randomized():
            return f"H,{cutoff},{interval}; "


def _factor(value: float) -> str:
    """With one to three decimal places."""
    text = f"{value:.3f}".rstrip("0")
    return text + "0" if text.endswith(".") else text
