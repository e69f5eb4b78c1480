"""A local delivery, whatever its kind: as whom, with which header and text, and what came of it (decision).

`LocalDelivery` is what an attempt gives recipients to. It takes the options that all local transports have,
makes the scope and the user of the delivery, lets its driver (`appendfile`, `pipe`) make a job of them, and hands
the job with the octets of the message to a carrier: to a thread where the daemon's own user writes a file of its
own, to a process of its own everywhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from relay.delivery.accounts import SystemAccounts, Wish
from relay.delivery.carrying import Carrier, Content, Naming
from relay.delivery.content import Form, MessageText, batched_end, batched_smtp
from relay.delivery.filtering import FilteredBody, FilterFailed, FilterRules, Filters, filter_input, filter_job
from relay.delivery.header_edits import HeaderEdits, HeaderFailed, edited_header
from relay.delivery.jobs import (
    FilterEnd,
    Identity,
    Job,
    NewFile,
    NotDelivered,
    Report,
    Verdict,
    deferred,
    failed,
    misconfigured,
)
from relay.delivery.local_address import LocalAddress
from relay.delivery.option_text import expanded, no_taint
from relay.delivery.remote_copy import size_of
from relay.delivery.transports import BlockingCalls
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.address import Address, address_from_text
from relay.mail.events import MessageNote
from relay.mail.outcome import Delivered, ErrorClass, Failed, Outcome, with_return_path
from relay.mail.ports import Body, Clock, Journal, TemporaryFailure
from relay.mail.queue import QueuedMessage
from relay.mail.text import printable, to_wire


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRules:
    """How the message is written, options named as in Exim. `prefix` and `suffix` None: nothing."""

    prefix: Expansion | None = None
    suffix: Expansion | None = None
    check_string: str = ""
    escape_string: str = ""
    use_crlf: bool = False
    use_bsmtp: bool = False
    body_only: bool = False
    headers_only: bool = False

    def form(self) -> Form:
        ends_line = self.use_bsmtp or self.suffix is not None
        if self.use_bsmtp:
            return Form(check=b".", escape=b"..", escape_header=True, use_crlf=self.use_crlf, ends_line=ends_line)
        check, escape = to_wire(self.check_string), to_wire(self.escape_string)
        return Form(check=check if escape else b"", escape=escape, use_crlf=self.use_crlf, ends_line=ends_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRules:
    """The options that every local transport has, compiled."""

    name: str
    user: Expansion | None = None
    group: Expansion | None = None
    initgroups: bool = False
    home_directory: Expansion | None = None
    current_directory: Expansion | None = None
    return_path: Expansion | None = None
    header: HeaderEdits = field(default_factory=HeaderEdits)
    text: MessageRules = field(default_factory=MessageRules)
    message_size_limit: Expansion | None = None
    filter: FilterRules | None = None
    batch_max: int = 1
    batch_id: Expansion | None = None
    rcpt_include_affixes: bool = False
    names_used: frozenset[str] = frozenset()
    """Variables that any of its options mentions: what they name must be the same throughout a batch."""
    shadow_transport: str = ""
    shadow_condition: Expansion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPorts:
    """What local deliveries ask of the world."""

    calls: BlockingCalls
    clock: Clock
    journal: Journal
    accounts: SystemAccounts
    threads: Carrier
    """Carries jobs out in this process."""
    courier: Carrier
    """Carries them out in a process of their own, as any user where it is root's."""
    filters: Filters
    """Runs filters there."""
    own: Identity
    """Whom the daemon runs as when deliveries begin."""
    may_become_others: bool
    """The courier is root's."""
    hostname: str
    pid: int
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """Another number for each delivery of this process: it makes file names unique."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One delivery with everything about it that does not depend on the driver."""

    addresses: tuple[LocalAddress, ...]
    message: QueuedMessage
    scope: Scope
    identity: Identity
    return_path: Address
    home: str
    body: Body | None = None

    @property
    def first(self) -> LocalAddress:
        return self.addresses[0]


class Driver(Protocol):
    """What a kind of local transport adds."""

    async def job(self, errand: Errand, number: int) -> tuple[Job, Naming | None] | Report:
        """The job, or the report where there is nothing to do. `number` is another one for each delivery. Raises
        NotDelivered."""
        ...

    def outcome(self, report: Report, errand: Errand) -> Outcome:
        """What a report means."""
        ...

    def logs_output(self, report: Report) -> bool:
        """Whether the first line of what a command wrote belongs into the log."""
        ...

    def filter_failed(self, end: FilterEnd, job: Job) -> Report:
        """What it means that the transport's filter has failed."""
        ...


class ThresholdWarning(Protocol):
    """Tells the owners of mailboxes."""

    async def crossed(self, errand: Errand) -> None:
        """A message that was delivered has taken the mailbox over its threshold. Raises nothing."""
        ...


class LocalDelivery:
    """One local transport of the configuration."""

    def __init__(
        self, rules: LocalRules, driver: Driver, ports: LocalPorts, warning: ThresholdWarning | None = None
    ) -> None:
        """`warning`: who is told when a message takes a mailbox over its threshold."""
        self._rules = rules
        self._warning = warning
        self._driver = driver
        self._ports = ports
        self._others: Mapping[str, LocalDelivery] = {}

    @property
    def rules(self) -> LocalRules:
        """Its options."""
        return self._rules

    def know(self, others: Mapping[str, LocalDelivery]) -> None:
        """The other transports, for `file_format`."""
        self._others = others

    @property
    def batch_max(self) -> int:
        """Recipients that may be delivered in one go."""
        return self._rules.batch_max

    @property
    def includes_affixes(self) -> bool:
        """Whether recipients are named with their prefixes and suffixes."""
        return self._rules.rcpt_include_affixes

    async def batch_key(self, address: LocalAddress) -> str | None:
        """Equal for recipients that nothing tells apart here (Exim: batch_max); None: it goes alone."""
        rules, recipient = self._rules, address.recipient.address
        batch_id = ""
        if rules.batch_id is not None:
            try:
                batch_id = await rules.batch_id.text(address.scope)
            except (ExpansionFailed, TemporaryFailure):
                return None
        uses_local_part = address.file or address.pipe or self._mentions("local_part")
        host = address.scope.host.name if address.scope.host is not None else ""
        told_apart = (
            recipient.local_part if uses_local_part else "",
            recipient.domain.lower() if self._mentions("domain") else "",
            batch_id, host, address.file, address.pipe, address.user, address.group, address.initgroups,
            address.return_path, address.headers_add, address.headers_remove,
        )  # fmt: skip
        return repr(told_apart)

    def _mentions(self, name: str) -> bool:
        return any(each == name or each.startswith(f"{name}_") for each in self._rules.names_used)

    async def deliver(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        """An outcome for each of them. Raises SpoolUnavailable for the body."""
        try:
            errand = replace(await self._errand(addresses, message), body=body)
            await self._check_size(errand)
            made = await self._driver.job(errand, next(self._ports.numbers))
            if isinstance(made, Report):
                report = made
            else:
                report = await self._carried(errand, made[0], made[1], body)
        except NotDelivered as error:
            return (error.report.outcome(),) * len(addresses)
        except HeaderFailed as error:
            return (misconfigured(str(error)).report.outcome(),) * len(addresses)
        if report.verdict is Verdict.ELSEWHERE:
            return await self._elsewhere(report, addresses, message, body)
        self._log_output(report, errand)
        if report.crosses and self._warning is not None:
            await self._warning.crossed(errand)
        if report.each:
            outcomes = tuple(self._driver.outcome(each, errand) for each in report.each)
        else:
            outcomes = (self._driver.outcome(report, errand),) * len(addresses)
        return outcomes if self._rules.return_path is None else with_return_path(outcomes, errand.return_path)

    async def _carried(self, errand: Errand, job: Job, naming: Naming | None, body: Body) -> Report:
        rules, carrier = self._rules, self._carrier(errand, job)
        text = MessageText(rules.text.form())
        header = b"" if rules.text.body_only else await self._header(errand)
        whole = None if rules.text.headers_only else body
        start, end = await self._start(errand), await self._end(errand)
        if rules.filter is None:
            content = Content(start + (text.header(header) if header else b""), whole, text, end)
            return content.measured(await carrier.carry(job, errand.identity, content, naming))
        recipients = [str(each.recipient.address) for each in errand.addresses]
        wish = await filter_job(rules.filter, rules.name, errand.scope, recipients, errand.message.size)
        source = filter_input(header, whole)
        try:
            filtered = await self._ports.filters.filtered(wish, errand.identity, source)
        except FilterFailed as failure:
            return self._driver.filter_failed(failure.end, job)
        try:
            content = Content(start, FilteredBody(filtered, source, Form()), text, end)
            return content.measured(await carrier.carry(job, errand.identity, content, naming))
        finally:
            filtered.close()

    async def _elsewhere(
        self, report: Report, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        other = self._others.get(report.text)
        if other is None or other is self:
            what = f"{report.text} transport (for {report.output} format) not found"
            missing = deferred(what, ErrorClass.TRANSPORT).report
            return (missing.outcome(),) * len(addresses)
        outcomes = await other.deliver(addresses, message, body)
        name = report.text
        return tuple(
            replace(each, transport=each.transport or name) if isinstance(each, Delivered) else each
            for each in outcomes
        )

    def _log_output(self, report: Report, errand: Errand) -> None:
        if report.output and self._driver.logs_output(report):
            first = report.output.split("\n", 1)[0].rstrip()
            first_address = errand.first
            who = f"|{first_address.pipe}" if first_address.pipe else first_address.file
            text = f"<{who or first_address.recipient.address}>: {self._rules.name} transport output: {first}"
            self._ports.journal.record(MessageNote(errand.message.message_id, text))

    # What all drivers need

    async def _errand(self, addresses: tuple[LocalAddress, ...], message: QueuedMessage) -> Errand:
        first, rules = addresses[0], self._rules
        scope = first.scope
        return_path = message.sender if first.return_path is None else first.return_path
        scope = _with(scope, return_path=str(return_path))
        if rules.return_path is not None:
            try:
                return_path = address_from_text(await expanded(rules.return_path, scope, "return path", rules.name))
            except ForcedFailure:
                pass
            scope = _with(scope, return_path=str(return_path))
        home = await self._directory(rules.home_directory, first.home_directory, "home directory", scope)
        if home:
            scope = _with(scope, home=home)
        current = await self._directory(rules.current_directory, first.current_directory, "current directory", scope)
        identity = await self._identity(first, scope, current or home or "/")
        return Errand(
            addresses=addresses,
            message=message,
            scope=scope,
            identity=identity,
            return_path=return_path,
            home=home,
        )

    async def _directory(self, option: Expansion | None, otherwise: str, what: str, scope: Scope) -> str:
        if option is None:
            return otherwise
        name = self._rules.name
        try:
            path = await expanded(option, scope, what, name)
        except ForcedFailure as error:
            raise misconfigured(f"{what} failed to expand for {name} transport: {error}") from error
        if not path.startswith("/") or "\0" in path:
            raise misconfigured(f'{what} path "{printable(path, 200)}" is not absolute for {name} transport')
        return no_taint(path, what, name)

    async def _identity(self, first: LocalAddress, scope: Scope, directory: str) -> Identity:
        rules, ports = self._rules, self._ports
        wish = Wish(
            transport=rules.name,
            user=await self._account(rules.user, "user", scope),
            group=await self._account(rules.group, "group", scope),
            initgroups=rules.initgroups,
            router_user=first.user,
            router_group=first.group,
            router_initgroups=first.initgroups,
            directory=directory,
        )
        if not (wish.user or wish.group) and wish.router_user is None and wish.router_group is None:
            return replace(ports.own, directory=directory)
        identity = await ports.calls.call(ports.accounts.identity, wish, ports.own)
        same = (identity.uid, identity.gid) == (ports.own.uid, ports.own.gid)
        if not same and not ports.may_become_others:
            raise deferred(
                f"{rules.name} transport delivers as user {identity.uid}, group {identity.gid}, whom a daemon that was "
                "not started as root can't become (start it as root, or remove user and group)"
            )
        return identity

    async def _account(self, option: Expansion | None, what: str, scope: Scope) -> str:
        if option is None:
            return ""
        try:
            return no_taint(await expanded(option, scope, what, self._rules.name), what, self._rules.name).strip()
        except ForcedFailure as error:
            raise misconfigured(f"{what} of {self._rules.name} transport can't be found: {error}") from error

    async def _check_size(self, errand: Errand) -> None:
        rules = self._rules
        if rules.message_size_limit is None:
            return
        try:
            text = await expanded(rules.message_size_limit, errand.scope, "message_size_limit", rules.name)
        except ForcedFailure:
            return
        limit = size_of(text)
        if limit is None:
            what = f'invalid integer "{printable(text, 40)}"'
            raise deferred(f"invalid message_size_limit in {rules.name} transport: {what}")
        if 0 < limit < errand.message.size:
            raise failed(f"message is too big (transport limit = {limit})")

    async def _start(self, errand: Errand) -> bytes:
        rules = self._rules
        start = await self._around(rules.text.prefix, "message_prefix", errand.scope)
        if rules.text.use_bsmtp:
            affixes = rules.rcpt_include_affixes
            recipients = [shown_recipient(each, affixes=affixes) for each in errand.addresses]
            start += batched_smtp(errand.return_path, recipients, use_crlf=rules.text.use_crlf)
        return start

    async def _end(self, errand: Errand) -> bytes:
        rules = self._rules
        end = await self._around(rules.text.suffix, "message_suffix", errand.scope)
        return end + batched_end(use_crlf=rules.text.use_crlf) if rules.text.use_bsmtp else end

    async def _header(self, errand: Errand) -> bytes:
        """With the empty line behind it."""
        header = await edited_header(
            errand.message.header,
            self._rules.header,
            errand.scope,
            return_path=errand.return_path,
            recipients=[
                each
                for address in errand.addresses
                for each in (*address.further, address.original or address.recipient.address)
            ],
            now=self._ports.clock.now(),
            journal=self._ports.journal,
            routers_add=errand.first.headers_add,
            routers_remove=errand.first.headers_remove,
        )
        return header + b"\r\n"

    async def _around(self, option: Expansion | None, what: str, scope: Scope) -> bytes:
        if option is None:
            return b""
        try:
            return to_wire(await expanded(option, scope, what, self._rules.name))
        except ForcedFailure as error:
            raise misconfigured(f"Expansion of {what} for {self._rules.name} transport failed: {error}") from error

    def _carrier(self, errand: Errand, job: Job) -> Carrier:
        own = self._ports.own
        is_own = (errand.identity.uid, errand.identity.gid) == (own.uid, own.gid) and not errand.identity.groups
        return self._ports.threads if is_own and isinstance(job, NewFile) else self._ports.courier


def shown_recipient(address: LocalAddress, *, affixes: bool) -> Address:
    """The recipient as RCPT names it: without prefix and suffix unless they are asked for."""
    recipient, view = address.recipient.address, address.scope.address
    if affixes or view is None:
        return recipient
    local_part = recipient.local_part.removeprefix(view.prefix).removesuffix(view.suffix)
    return Address(local_part, recipient.domain)


def _with(scope: Scope, **more: str) -> Scope:
    return scope.child(more={**scope.more, **more})


def bland(outcome: Outcome, output: str = "") -> Outcome:
    """A failure whose details are for the log and not for the sender (Exim: "local delivery failed")."""
    if isinstance(outcome, Failed):
        return replace(outcome, told="local delivery failed", output=output)
    return outcome
