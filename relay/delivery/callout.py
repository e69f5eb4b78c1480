"""Callouts: the hosts of a route are asked about an address, one after the other until one knows (decision).

The same connection as for a message, with the same TLS policy and login (`conversation`), that ends before its message.
What was answered is kept as hints (`callout_cache`); what is asked of one server is in `interview`. Exim: verify.c,
do_callout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from relay.delivery.callout_cache import (
    ADDRESS,
    DOMAIN,
    Expiry,
    Known,
    Plan,
    Remembered,
    decide,
    read_address,
    read_domain,
    write_address,
    write_domain,
)
from relay.delivery.conversation import Conversation, Inquiry, with_host
from relay.delivery.host_choice import look_up
from relay.delivery.interview import AskAgain, Interview, Terms
from relay.delivery.link import Link
from relay.delivery.refused import HostRefused
from relay.delivery.remote import SMTPTransport
from relay.delivery.remote_ports import RemotePorts
from relay.delivery.scopes import address_scope, without_affixes
from relay.delivery.smtp_rules import SMTPRules
from relay.delivery.wishes import a_labels, make_wish, matches_any
from relay.esmtp.client_settings import ALabels
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.events import Trouble
from relay.mail.outcome import Failed, RemoteHost
from relay.mail.ports import HintChange, Hints, TemporaryFailure
from relay.policy.routing import remote_hosts
from relay.policy.verification import CalloutOptions, Finding, MailFrom, Question, Role, Verified, Ways
from relay.policy.verify_options import incomplete, unreachable
from relay.tls.policy import TLSDemand
from relay.trust.requirement import may_go_clear

_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutRules:
    """Main options."""

    expiry: Expiry = field(default_factory=Expiry)
    random_local_part: Expansion | None = None
    qualify_domain: str = ""
    """Of the postmaster that asks."""
    tells_details: bool = False
    """Exim: smtp_return_error_details."""


class HostCallouts:
    """The `Callouts` port over the smtp transports of a configuration."""

    def __init__(
        self, transports: Mapping[str, SMTPTransport], ports: RemotePorts, hints: Hints, rules: CalloutRules
    ) -> None:
        self._transports = transports
        self._ports = ports
        self._hints = hints
        self._rules = rules

    def with_hints(self, hints: Hints) -> HostCallouts:
        """The same, remembering elsewhere."""
        return HostCallouts(self._transports, self._ports, hints, self._rules)

    async def ask(self, question: Question, scope: Scope) -> Verified:
        """What the hosts say. `scope` has the message; where the route has no hosts, the address is good."""
        seen = address_scope(scope, question.routed)
        transport = self._transports.get(question.routed.transport)
        if transport is None:
            return Verified(Finding.GOOD) if not question.routed.hosts else self._incomplete(question, "")
        try:
            hosts = await self._hosts(transport, question, seen)
            if not hosts:
                return Verified(Finding.GOOD)
            sender = await self._sender(question, transport.rules, seen)
        except (ExpansionFailed, TemporaryFailure) as error:
            self._complain(f"{transport.rules.name} transport, for a callout: {error}")
            return self._incomplete(question, "")
        at_recipient = scope.address is not None
        return await _Callout(self, transport.rules, question, hosts, sender, seen, at_recipient=at_recipient).run()

    # Where, and as whom

    async def _hosts(self, transport: SMTPTransport, question: Question, scope: Scope) -> tuple[RemoteHost, ...]:
        routed, rules, source = question.routed, transport.rules.hosts, self._ports.source
        port = await transport.port_for(scope)
        hosts = remote_hosts(routed.hosts, routed.order, port, source)
        if rules.hosts is None or (hosts and not rules.override):
            return hosts
        text = await rules.hosts.text(scope)
        # A host that mail does not go to because it is this one may be asked all the same.
        rules = replace(rules, allow_localhost=True)
        choice = await look_up(text, port, scope, source, rules)
        if choice.trouble and not choice.candidates:
            raise TemporaryFailure(choice.trouble)
        return tuple(address for candidate in choice.candidates for address in candidate.addresses)

    async def _sender(self, question: Question, rules: SMTPRules, scope: Scope) -> str:
        options = question.options
        if question.role is Role.SENDER:
            return options.mail_from
        message = scope.message
        sender = str(message.sender or "") if message is not None else ""
        match options.sender:
            case MailFrom.NOBODY:
                return ""
            case MailFrom.SENDER:
                return sender
            case MailFrom.POSTMASTER:
                return f"postmaster@{self._rules.qualify_domain}"
            case MailFrom.TRANSPORT:
                routed = question.routed.carried.errors_to
                sender = sender if routed is None else str(routed)
                if rules.copy.return_path is None:
                    return sender
                try:
                    return await rules.copy.return_path.text(scope)
                except ForcedFailure:
                    return sender

    # What every callout needs

    @property
    def ports(self) -> RemotePorts:
        return self._ports

    @property
    def hints(self) -> Hints:
        return self._hints

    @property
    def rules(self) -> CalloutRules:
        return self._rules

    def _complain(self, text: str) -> None:
        self._ports.conversation.journal.record(Trouble(text))

    async def random_local_part(self, options: CalloutOptions, scope: Scope) -> str:
        """Empty where none is wanted, or none can be had."""
        if Ways.RANDOM not in options.ways or self._rules.random_local_part is None:
            return ""
        try:
            return await self._rules.random_local_part.text(scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            self._complain(f"failed to expand callout_random_local_part: {error}")
            return ""

    def _incomplete(self, question: Question, reason: str) -> Verified:
        """Nobody could be asked to the end."""
        what = incomplete(question.role)
        told = unreachable(question.address, question.role) if self._rules.tells_details else what
        why = f"{what}: {reason}" if reason else what
        return Verified(Finding.UNKNOWN, why, user_message=told, is_from_callout=True)

    def incomplete(self, question: Question, reason: str, failure: str, address: str) -> Verified:
        """The same after hosts were tried."""
        return replace(self._incomplete(question, reason), failure=failure, callout_address=address)


class _Callout:
    """One question to the hosts of one route."""

    def __init__(
        self,
        callouts: HostCallouts,
        rules: SMTPRules,
        question: Question,
        hosts: tuple[RemoteHost, ...],
        sender: str,
        scope: Scope,
        *,
        at_recipient: bool,
    ) -> None:
        self._at_recipient = at_recipient
        self._callouts = callouts
        self._rules = _with_timeouts(rules, question.options)
        self._question = question
        self._hosts = hosts
        self._sender = sender
        self._scope = scope
        self._clock = callouts.ports.conversation.clock

    async def _must_stay_utf8(self) -> bool:
        """The message came with SMTPUTF8, and goes nowhere without (Exim: utf8_downconvert = 0)."""
        if not self._scope.session.smtputf8:
            return False
        try:
            return await a_labels(self._rules, self._scope) is ALabels.NEVER
        except (ExpansionFailed, TemporaryFailure):
            return False

    async def run(self) -> Verified:
        question, options = self._question, self._question.options
        if _UNSENDABLE.search(f"{question.address}{self._sender}{options.postmaster_from or ''}"):
            return Verified(Finding.BAD, "control characters in an address", failure="recipient", is_from_callout=True)
        plan = await self._planned()
        if isinstance(plan, Verified):
            return plan
        random = await self._callouts.random_local_part(options, self._scope)
        address = question.address
        if not self._rules.includes_affixes:
            address = without_affixes(address, question.routed)
        terms = Terms(
            question,
            str(address),
            self._sender,
            plan,
            random,
            self._size(),
            self._clock.now(),
            is_utf8=await self._must_stay_utf8(),
            at_recipient=self._at_recipient,
        )
        interview, host = await self._in_turn(terms)
        await self._remember(interview)
        called = f"[{host.address}]:{host.port}"
        where = f"{host.name} [{host.address}] : "
        if interview.found is None:
            alone = len(self._hosts) == 1 and bool(interview.reason)
            reason = f"{where}{interview.reason}" if alone else ""
            return self._callouts.incomplete(question, reason, interview.failure, called)
        reason = f"{where}{interview.reason}" if interview.reason else ""
        failure = interview.found.failure or interview.failure
        return replace(interview.found, reason=reason, failure=failure, is_from_callout=True, callout_address=called)

    def _size(self) -> int:
        """Said only where the answer is not for everybody."""
        message, addition = self._scope.message, self._rules.size_addition
        if self._question.role is Role.SENDER or message is None or addition < 0:
            return 0
        is_for_all = Ways.NO_CACHE not in self._question.options.ways
        return 0 if is_for_all or (message.size or 0) <= 0 else (message.size or 0) + addition

    # Hosts

    async def _in_turn(self, terms: Terms) -> tuple[Interview, RemoteHost]:
        """The first interview with a result, else the last one."""
        options = self._question.options
        limit = 4 * options.timeout if options.maxwait is None else options.maxwait
        interview, last = Interview(terms, self._hosts[0]), self._hosts[0]
        for host in self._hosts:
            if self._clock.now() - terms.now >= limit:
                break
            interview, last = await self._met(host, terms), host
            if interview.found is not None:
                break
        return interview, last

    async def _met(self, host: RemoteHost, terms: Terms) -> Interview:
        interview = Interview(terms, host)
        try:
            await self._visit(host, interview)
        except AskAgain:
            known = replace(terms.plan, asks_random=False, domain=interview.domain)
            interview = Interview(replace(terms, plan=known), host)
            await self._visit(host, interview)
        return interview

    async def _visit(self, host: RemoteHost, interview: Interview) -> None:
        """One connection. Raises AskAgain."""
        scope = with_host(self._scope, host)
        ports = self._callouts.ports
        try:
            wish = await make_wish(self._rules, (host,), scope)
            if may_go_clear(wish.policy) and await matches_any(self._rules.verify_avoid_tls, scope):
                wish = replace(wish, policy=replace(wish.policy, demand=TLSDemand.AVOID))
            inquiry = Inquiry(interview.ask)
            said = await Conversation(self._rules, ports.inquiry, inquiry, wish, scope).fresh((host,))
        except HostRefused as refused:
            outcome = refused.outcome
            interview.reason = interview.reason or outcome.reason
            if isinstance(outcome, Failed) and outcome.reply is not None:
                interview.connection_refused(outcome.reason, outcome.reply)
        except (ExpansionFailed, TemporaryFailure) as error:
            interview.reason = str(error)
        else:
            if said.parked is not None:
                await self._leave(said.parked.link)

    async def _leave(self, link: Link) -> None:
        """Nobody waits for the goodbye but those who watch."""
        if self._callouts.ports.watch is not None:
            await link.quit()
        else:
            self._callouts.ports.spawn(link.quit())

    # The cache

    async def _planned(self) -> Plan | Verified:
        """What is left to ask."""
        options, now = self._question.options, self._clock.now()
        wanted = Plan(Ways.RANDOM in options.ways, options.postmaster_from is not None)
        if Ways.NO_CACHE in options.ways:
            return wanted
        domain = read_domain(await self._hint(DOMAIN, self._domain_key))
        address = read_address(await self._hint(ADDRESS, self._address_key))
        return decide(domain, address, wanted, self._callouts.rules.expiry, now, nobody=not self._sender)

    @property
    def _domain_key(self) -> str:
        return self._question.address.domain.lower()

    @property
    def _address_key(self) -> str:
        """An answer that was given to one sender is none for another."""
        address = self._question.address
        about = f"{address.local_part}@{address.domain.lower()}"
        is_plain = self._question.role is Role.RECIPIENT and self._question.options.sender is MailFrom.NOBODY
        return (
            about
            if is_plain or (self._question.role is Role.SENDER and not self._sender)
            else f"{about}/<{self._sender}>"
        )

    async def _hint(self, kind: str, key: str) -> str | None:
        """Without hints everything is asked anew."""
        try:
            return await self._callouts.hints.change(kind, key, lambda text: HintChange(text))
        except TemporaryFailure:
            return None

    async def _remember(self, interview: Interview) -> None:
        if Ways.NO_CACHE in self._question.options.ways:
            return
        expiry, now = self._callouts.rules.expiry, self._clock.now()
        keep: list[tuple[str, str, str, float]] = []
        if interview.domain.setup.known is not Known.NOTHING:
            until = now + max(expiry.domain_positive, expiry.domain_negative)
            keep.append((DOMAIN, self._domain_key, write_domain(interview.domain), until))
        if interview.found is not None and interview.address is not Known.NOTHING:
            until = now + max(expiry.positive, expiry.negative)
            text = write_address(Remembered(interview.address, now))
            keep.append((ADDRESS, self._address_key, text, until))
        for kind, key, text, until in keep:
            change = HintChange(None, text, until)
            try:
                await self._callouts.hints.change(kind, key, lambda _, change=change: change)  # type: ignore[misc]  # the default binds the loop's value
            except TemporaryFailure:
                return


def _with_timeouts(rules: SMTPRules, options: CalloutOptions) -> SMTPRules:
    connect = options.timeout if options.connect is None else options.connect
    return replace(rules, timeouts=replace(rules.timeouts, connect=connect, command=options.timeout))
