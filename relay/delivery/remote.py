"""The smtp transport: hosts in turn until no recipient is left that another host might take (decision).

For each host: is its time come (`host_memory`), is there room (`host_lines`), then one conversation (`conversation`)
over a connection that another message left, or over a new one. Outcomes are given as soon as they are known; what
becomes of the connection, passed on or closed, is settled behind the message's back (`spawn`).
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any

from relay.delivery.content import Form
from relay.delivery.conversation import Conversation, Errand, Said, make_ready, with_host
from relay.delivery.filtering import FilterFailed, FilteringBody, FilterRules, filter_input, filter_job
from relay.delivery.header_edits import NO_EDITS, RouterEdits
from relay.delivery.host_choice import Candidate, candidates, look_up, to_race
from relay.delivery.host_lines import Parked, Visit
from relay.delivery.host_memory import blamed_on_host, record_key
from relay.delivery.jobs import NotDelivered, deferred
from relay.delivery.link import HandshakeFailed, LinkFailed
from relay.delivery.refused import HostRefused
from relay.delivery.remote_copy import remote_copy
from relay.delivery.remote_ports import RemotePorts
from relay.delivery.smtp_rules import SMTPRules
from relay.delivery.told_outcomes import ToldHosts
from relay.delivery.wishes import OptionFailed, make_wish, matches_any
from relay.esmtp.transaction import UTF8_NOT_OFFERED
from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.envelope import Envelope
from relay.mail.events import HostFailed, Trouble
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost, with_return_path
from relay.mail.ports import Body, SpoolUnavailable, TemporaryFailure
from relay.mail.queue import QueuedMessage
from relay.mail.text import printable
from relay.spool.hints import RetryHint

SMTP_PORT = 25
SMTPS_PORT = 465
LMTP_PORT = 24
_SERVICES = {"smtp": SMTP_PORT, "smtps": SMTPS_PORT, "submissions": SMTPS_PORT, "submission": 587}


class SMTPTransport:
    """One smtp transport of the configuration."""

    def __init__(self, rules: SMTPRules, ports: RemotePorts, scope: Scope) -> None:
        self._rules = rules
        self._ports = ports
        self._scope = scope

    @property
    def rules(self) -> SMTPRules:
        """Its options."""
        return self._rules

    @property
    def default_port(self) -> int:
        """The port of a host that was routed without one; 0: `port_for` knows."""
        rules = self._rules
        if rules.port_text is not None:
            return 0
        usual = SMTPS_PORT if rules.tls.on_connect else LMTP_PORT if rules.lmtp else SMTP_PORT
        return rules.port or usual

    async def port_for(self, scope: Scope) -> int:
        """The same, told by the delivery. Raises TemporaryFailure, ExpansionFailed."""
        option = self._rules.port_text
        if option is None:
            return self.default_port
        text = (await option.text(scope)).strip()
        port = _SERVICES.get(text.lower()) or (int(text) if text.isdecimal() and len(text) < 6 else 0)
        if not 0 < port < 65536:
            raise TemporaryFailure(f'invalid port "{printable(text, 40)}" for {self._rules.name} transport')
        return port

    def most_at_once(self, remote: int) -> int:
        """Where there are many, some transactions go over one connection, so that as few are made as may be in use at
        once; where a transaction is for one recipient, each has its own (Exim: max_rcpt, remote_max_parallel)."""
        most, messages = self._rules.max_rcpt, self._rules.passing.max_messages
        if most < 2:
            return most
        shared = max(most, remote // max(self._ports.max_parallel, 1))
        return min(shared, most * messages) if messages else shared

    @property
    def includes_affixes(self) -> bool:
        """Whether recipients are named with their prefixes and suffixes (Exim: rcpt_include_affixes)."""
        return self._rules.includes_affixes

    def forgive(self, now: float) -> None:
        """Hosts that failed before may be tried again at once."""
        self._ports.memory.forgive(now)

    async def deliver(
        self,
        hosts: tuple[RemoteHost, ...],
        envelope: Envelope,
        message: QueuedMessage,
        body: Body,
        scope: Scope | None = None,
        by_routers: RouterEdits = NO_EDITS,
    ) -> tuple[Outcome, ...]:
        """One outcome for each recipient. `scope` has the message and the address."""
        seen = scope if scope is not None else self._scope
        now, journal = self._ports.conversation.clock.now(), self._ports.conversation.journal
        seen = seen.child(session=message.facts.session, now=now)
        try:
            port = await self.port_for(seen)
        except (ExpansionFailed, TemporaryFailure) as error:
            return (Deferred(str(error), ErrorClass.LOCAL),) * len(envelope.recipients)
        hosts = tuple(each if each.port else replace(each, port=port) for each in hosts)
        copy = await remote_copy(self._rules.copy, self._rules.name, envelope, message, seen, now, journal, by_routers)
        if isinstance(copy, Deferred | Failed):
            return (copy,) * len(envelope.recipients)
        sender, (envelope, header) = envelope.sender, copy
        outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        for places in self._parts(envelope):
            part = replace(envelope, recipients=tuple(envelope.recipients[place] for place in places))
            errand = Errand(part, message, header, body)
            try:
                found = await self._deliver_part(hosts, errand, seen, port)
            except SpoolUnavailable as error:
                if not any(isinstance(each, Delivered) for each in outcomes):
                    raise
                found = (_unread(error),) * len(places)
            for place, outcome in zip(places, found, strict=True):
                outcomes[place] = outcome
        assert None not in outcomes
        each_outcome = tuple(each for each in outcomes if each is not None)
        return each_outcome if envelope.sender == sender else with_return_path(each_outcome, envelope.sender)

    def _parts(self, envelope: Envelope) -> Iterator[list[int]]:
        """Recipients that may share a transaction (Exim: multi_domain)."""
        if self._rules.multi_domain:
            yield list(range(len(envelope.recipients)))
            return
        parts: dict[str, list[int]] = {}
        for place, each in enumerate(envelope.recipients):
            parts.setdefault(each.address.domain.lower(), []).append(place)
        yield from parts.values()

    async def held_back(
        self, hosts: tuple[RemoteHost, ...], envelope: Envelope, message: QueuedMessage, body: Body, scope: Scope
    ) -> tuple[Outcome | None, ...]:
        """What is said of each recipient while none of its hosts may be tried; None: one may. Nobody is dialled."""
        seen = scope.child(session=message.facts.session, now=self._ports.conversation.clock.now())
        outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        try:
            port = await self.port_for(seen)
        except (ExpansionFailed, TemporaryFailure):
            return tuple(outcomes)
        hosts = tuple(each if each.port else replace(each, port=port) for each in hosts)
        for places in self._parts(envelope):
            part = replace(envelope, recipients=tuple(envelope.recipients[place] for place in places))
            errand = Errand(part, message, b"", body)
            found = await _Delivery(self._rules, self._ports, errand, seen, port).held_back(hosts)
            for place, outcome in zip(places, found, strict=True):
                outcomes[place] = outcome
        return tuple(outcomes)

    async def first_host(
        self, hosts: tuple[RemoteHost, ...], message: QueuedMessage, scope: Scope
    ) -> RemoteHost | None:
        """The host that a delivery would begin with; None: nobody knows. Nobody is dialled."""
        seen = scope.child(session=message.facts.session, now=self._ports.conversation.clock.now())
        own = self._rules.hosts
        try:
            port = await self.port_for(seen)
            if own.hosts is None or (hosts and not own.override):
                return next((each if each.port else replace(each, port=port) for each in hosts), None)
            choice = await look_up(await own.hosts.text(seen), port, seen, self._ports.source, own)
        except (ExpansionFailed, TemporaryFailure):
            return None
        return choice.candidates[0].addresses[0] if choice.candidates else None

    async def _deliver_part(
        self, hosts: tuple[RemoteHost, ...], errand: Errand, scope: Scope, port: int
    ) -> tuple[Outcome, ...]:
        return await _Delivery(self._rules, self._ports, errand, scope, port).run(hosts)


class _Delivery:
    """One errand at one host after the other."""

    def __init__(self, rules: SMTPRules, ports: RemotePorts, errand: Errand, scope: Scope, default_port: int) -> None:
        self._rules = rules
        self._ports = ports
        self._errand = errand
        self._scope = scope
        self._default_port = default_port
        self._clock = ports.conversation.clock
        self._talking = ports.conversation_of(rules.name)
        self._told = None if self._talking.action is None else ToldHosts(self._talking.action, scope)
        self._endings: list[Coroutine[Any, Any, None]] = []
        """Of visits that are waited for, because somebody is told of their end."""
        count = len(errand.envelope.recipients)
        nowhere = Deferred("no host to deliver to", ErrorClass.LOOKUP, host_wide=True)
        self._outcomes: list[Outcome] = [nowhere for _ in range(count)]
        self._waiting = list(range(count))
        self._tried = 0
        self._seen = 0
        self._failure: Deferred | None = None
        self._refusals: list[Failed] = []
        """Of hosts that want nothing of us at all."""
        self._has_untried = False
        self._held_back: list[tuple[RemoteHost, RetryHint]] = []

    async def held_back(self, hosts: tuple[RemoteHost, ...]) -> tuple[Outcome | None, ...]:
        """For each recipient why no host may be tried now; None: one may."""
        recipients = self._errand.envelope.recipients
        for candidate in await self._chosen(hosts):
            if await self._usable(candidate):
                return (None,) * len(recipients)
        return tuple(self._too_early(each.address.domain) if self._held_back else None for each in recipients)

    async def _chosen(self, hosts: tuple[RemoteHost, ...]) -> tuple[Candidate, ...]:
        rules = self._rules.hosts
        chosen = candidates(hosts)
        if rules.hosts is not None and (not chosen or rules.override):
            chosen = await self._own(rules.hosts)
        return chosen

    async def run(self, hosts: tuple[RemoteHost, ...]) -> tuple[Outcome, ...]:
        chosen = await self._chosen(hosts)
        if self._errand.message.facts.is_rehearsal:
            return self._rehearsed(chosen)
        if self._rules.filter is None:
            return await self._run(chosen)
        body = await self._through(self._rules.filter)
        if body is None:
            return tuple(self._outcomes)
        self._errand = replace(self._errand, header=b"", body=body)
        try:
            return await self._run(chosen)
        finally:
            body.close()

    async def _through(self, rules: FilterRules) -> FilteringBody | None:
        """The message as the filter will make it; None where its command can't be told."""
        errand, ports = self._errand, self._ports
        recipients = [str(each.address) for each in errand.envelope.recipients]
        try:
            if ports.filters is None or ports.own is None:
                raise deferred("nobody runs filters here", ErrorClass.FILTER)
            job = await filter_job(rules, self._rules.name, self._scope, recipients, errand.message.size)
        except NotDelivered as error:
            self._settle_waiting(error.report.outcome())
            return None
        source = filter_input(errand.header + b"\r\n", errand.body)
        return FilteringBody(ports.filters, job, ports.own, source, Form(use_crlf=True))

    async def _run(self, chosen: tuple[Candidate, ...]) -> tuple[Outcome, ...]:
        rules = self._rules.hosts
        await self._try_all(chosen)
        if self._waiting and rules.fallback is not None:
            await self._try_all(await self._own(rules.fallback))
        if self._held_back and not self._tried:
            for place in self._waiting:
                self._outcomes[place] = self._too_early(self._errand.envelope.recipients[place].address.domain)
        if self._refusals and self._refuse_all():
            self._settle_waiting(self._refusals[-1])
        return tuple(self._outcomes)

    def _rehearsed(self, chosen: tuple[Candidate, ...]) -> tuple[Outcome, ...]:
        """As if the first host had taken the message: nobody is dialled."""
        if chosen:
            taken = Delivered("delivery bypassed by -N option", chosen[0].addresses[0], is_bypassed=True)
            self._settle_waiting(taken)
        return tuple(self._outcomes)

    def _refuse_all(self) -> bool:
        """Whether nobody is left who might take the message some day: each host has said 5xx to our greeting."""
        return len(self._refusals) == self._tried and not (self._held_back or self._has_untried)

    async def _own(self, text: Expansion) -> tuple[Candidate, ...]:
        """The transport's own hosts."""
        rules = self._rules.hosts
        try:
            expanded = await text.text(self._scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            what = f'failed to expand list of hosts "{text.source}" in {self._rules.name} transport: {error}'
            is_ours = isinstance(error, ExpansionFailed)
            self._settle_waiting(Deferred(what, ErrorClass.LOCAL, is_misconfigured=is_ours))
            return ()
        choice = await look_up(expanded, self._default_port, self._scope, self._ports.source, rules)
        if choice.trouble and not self._tried:
            self._settle_waiting(Deferred(choice.trouble, ErrorClass.LOOKUP, host_wide=True))
        return choice.candidates

    def _settle_waiting(self, outcome: Outcome) -> None:
        for place in self._waiting:
            self._outcomes[place] = outcome

    def _unexpandable(self, error: Exception) -> Deferred:
        if isinstance(error, OptionFailed):
            return Deferred(str(error), ErrorClass.LOCAL, is_misconfigured=True)
        name, message_id = self._rules.name, self._errand.message.message_id
        self._ports.conversation.journal.record(Trouble(f"transport {name}: {error}", "", message_id))
        return Deferred(f"an option can't be expanded: {error}", ErrorClass.LOCAL)

    def _too_early(self, domain: str) -> Outcome:
        """No host may be tried yet. Exim: retry time not reached."""
        host, hint = min(self._held_back, key=lambda each: each[1].next_try)
        if self._rules.hosts.delay_after_cutoff and all(each.exhausted for _, each in self._held_back):
            what = f"all hosts for '{domain}' have been failing for a long time (and retry time not reached)"
            return Failed(what, told=what)
        error = next((each for each in ErrorClass if each.value == hint.error), ErrorClass.OTHER)
        return Deferred(
            f"retry time not reached for any host for '{domain}'",
            error,
            host=host,
            host_wide=True,
            not_before=hint.next_try,
            cause=hint.reason,
        )

    # Hosts

    async def _try_all(self, chosen: Sequence[Candidate]) -> None:
        for number, candidate in enumerate(chosen, 1):
            usable = await self._usable(candidate)
            while usable and self._waiting and self._tried < self._rules.hosts.max_try:
                is_last = number == len(chosen) and len(usable) == 1
                usable = await self._try_host(usable, is_last=is_last or self._tried + 1 == self._rules.hosts.max_try)
            self._has_untried = self._has_untried or bool(usable)
            if not self._waiting:
                return

    async def _usable(self, candidate: Candidate) -> list[RemoteHost]:
        """The addresses that may be tried now, bounded by Exim's hosts_max_try_hardlimit."""
        found = []
        for address in candidate.addresses:
            if self._seen >= self._rules.hosts.max_try_hardlimit:
                break
            self._seen += 1
            hint = await self._ports.memory.in_force(self._key(address), self._clock.now())
            if hint is None or self._gets_one_try(hint):
                found.append(address)
            else:
                self._held_back.append((address, hint))
        return found

    def _gets_one_try(self, hint: RetryHint) -> bool:
        """Exim: delay_after_cutoff = false. A message that came after the last try has one of its own."""
        is_newer = self._errand.message.facts.received_at > hint.last_try
        return hint.exhausted and not self._rules.hosts.delay_after_cutoff and is_newer

    def _key(self, host: RemoteHost) -> str:
        return record_key(host, with_address=self._rules.hosts.include_address)

    async def _try_host(self, addresses: list[RemoteHost], *, is_last: bool) -> list[RemoteHost]:
        """One conversation; the addresses that are left to try."""
        try:
            return await self._talk_to(addresses, is_last=is_last)
        finally:
            for each in self._endings:
                self._ports.spawn(each)
            self._endings = []

    async def _talk_to(self, addresses: list[RemoteHost], *, is_last: bool) -> list[RemoteHost]:
        self._tried += 1
        if self._failure is not None:
            self._tell(self._failure)
            self._failure = None
        part = replace(
            self._errand.envelope,
            recipients=tuple(self._errand.envelope.recipients[place] for place in self._waiting),
        )
        host = addresses[0]
        if self._ports.watch is not None and host.port != self._default_port:
            text = f"Transport port={self._default_port} replaced by host-specific port={host.port}"
            self._ports.watch(text)
        try:
            results, dialled = await self._visit(tuple(addresses), replace(self._errand, envelope=part))
        except SpoolUnavailable as error:
            if not any(isinstance(each, Delivered) for each in self._outcomes):
                raise
            self._settle_waiting(_unread(error))
            self._waiting = []
            return []
        except FilterFailed as failure:
            # No other host would get more of it.
            self._settle_waiting(Deferred(str(failure), ErrorClass.FILTER, host=host))
            self._waiting = []
            return []
        except HostRefused as refused:
            outcome = self._for_this_host(refused, host)
            results, dialled = tuple(outcome for _ in self._waiting), (outcome.host or host,)
        if self._told is not None:
            await self._told.recipients_deferred(part.recipients, results, is_last_host=is_last)
        for place, result in zip(self._waiting, results, strict=True):
            self._outcomes[place] = result
        await self._remember(dialled, results)
        self._waiting = [place for place in self._waiting if _another_host_may_take(self._outcomes[place])]
        blamed = next((each for each in results if isinstance(each, Deferred) and self._is_told_at_once(each)), None)
        if blamed is not None:
            self._tell(blamed)
        elif isinstance(unfit := results[0], Failed) and unfit.reason == UTF8_NOT_OFFERED and unfit.host:
            # Exim: write_logs, as it is the whole message that the host can't have.
            self._tell(Deferred(unfit.reason, ErrorClass.OTHER, host=unfit.host))
        else:
            last = self._outcomes[self._waiting[0]] if self._waiting else None
            self._failure = last if isinstance(last, Deferred) else None
        while self._endings:
            await self._endings.pop(0)
        if self._told is not None:
            await self._told.host_deferred(part.recipients[0], results, is_last_host=is_last)
        return [each for each in addresses if each not in dialled]

    def _is_told_at_once(self, failure: Deferred) -> bool:
        """Whether the host has a line of its own, be it the last or not (Exim: write_logs): where the failure is that
        of no single recipient. Others have one where another host is tried."""
        if self._rules.lmtp and failure.error is ErrorClass.OTHER and not failure.host_wide:
            return False
        return failure.host is not None and failure.error not in _TOLD_WITH_RECIPIENT

    def _tell(self, failure: Deferred) -> None:
        self._ports.conversation.journal.record(HostFailed(self._errand.message.message_id, failure))

    def _for_this_host(self, refused: HostRefused, host: RemoteHost) -> Deferred:
        """Why a host did not get as far as the message. Where it wants nothing of us, another one may."""
        outcome = refused.outcome
        if isinstance(outcome, Deferred) and outcome.is_misconfigured:
            return outcome  # it has nothing to do with the host
        if outcome.host is None:
            outcome = replace(outcome, host=host)
        if isinstance(outcome, Deferred):
            return outcome
        self._refusals.append(outcome)
        return Deferred(outcome.reason, ErrorClass.OTHER, outcome.reply, outcome.host, host_wide=True)

    async def _remember(self, dialled: tuple[RemoteHost, ...], results: tuple[Outcome, ...]) -> None:
        now, fault = self._clock.now(), blamed_on_host(results)
        for host in dialled:
            if fault is not None:
                sender = self._errand.message.sender
                await self._ports.memory.failed(
                    self._key(host), replace(fault, host=host), sender, with_host(self._scope, host), now
                )
            elif not all(isinstance(each, Deferred) and each.host_wide for each in results):
                await self._ports.memory.worked(self._key(host), now)

    async def _visit(
        self, addresses: tuple[RemoteHost, ...], errand: Errand
    ) -> tuple[tuple[Outcome, ...], tuple[RemoteHost, ...]]:
        """The outcomes, and the addresses that were tried for them. Raises HostRefused."""
        scope = with_host(self._scope, addresses[0])
        try:
            wish = await make_wish(self._rules, addresses, scope)
            raced = addresses[:1]
            # Where somebody is asked before a host is dialled they are dialled one by one.
            for other in to_race(addresses)[1:] if self._told is None else ():
                if await make_wish(self._rules, addresses, with_host(self._scope, other)) == wish:
                    raced = (*raced, other)
            alone = await matches_any(self._rules.hosts.serialize, scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            raise HostRefused(self._unexpandable(error)) from None
        visit = await self._ports.lines.enter(wish, alone=alone)
        said: Said | None = None
        try:
            said, dialled = await self._converse(visit, raced, errand, scope)
            outcomes = said.outcomes
            while None in outcomes:
                # The server takes no more in one connection; the rest is said in the next.
                await self._part(visit, said, scope, is_over=False)
                said, rest = None, _unsaid(outcomes, errand)
                said = await self._conversation(visit, rest, scope).fresh(raced)
                outcomes = _filled(outcomes, said.outcomes)
        except BaseException:
            self._ports.spawn(self._part(visit, said, scope))
            raise
        self._leave(self._part(visit, said, scope))
        return tuple(each for each in outcomes if each is not None), dialled

    async def _converse(
        self, visit: Visit, raced: tuple[RemoteHost, ...], errand: Errand, scope: Scope
    ) -> tuple[Said, tuple[RemoteHost, ...]]:
        """Over what the predecessor left, if that goes; else over a new connection."""
        before: tuple[Outcome | None, ...] = (None,) * len(errand.envelope.recipients)
        if visit.parked is not None:
            host = visit.parked.link.host
            try:
                said = await self._conversation(visit, errand, with_host(self._scope, host)).continued(visit.parked)
            except (HostRefused, LinkFailed) as failure:
                if isinstance(failure, HostRefused) and _is_final(failure):
                    raise
                if visit.parked.had_tls and isinstance(failure, HandshakeFailed):
                    self._ports.lines.does_not_go_on(visit.wish.host, self._clock.now())
            else:
                before = tuple(None if each is None or _was_stale(each) else each for each in said.outcomes)
                if None not in before:
                    return said, (host,)
                if said.parked is not None:
                    await said.parked.link.quit()
        said = await self._conversation(visit, _unsaid(before, errand), scope).fresh(raced)
        reached = said.parked.link.host if said.parked is not None else raced[0]
        return replace(said, outcomes=_filled(before, said.outcomes)), (reached,)

    def _conversation(self, visit: Visit, errand: Errand, scope: Scope) -> Conversation:
        return Conversation(self._rules, self._talking, errand, visit.wish, scope)

    def _leave(self, ending: Coroutine[Any, Any, None]) -> None:
        """The end of a visit, behind the message's back unless somebody is told of it."""
        if self._told is None and self._ports.watch is None:
            self._ports.spawn(ending)
        else:
            self._endings.append(ending)

    async def _part(self, visit: Visit, said: Said | None, scope: Scope, *, is_over: bool = True) -> None:
        """The end of a visit: the connection goes to the next message, or is closed."""
        lines, parked, ready = self._ports.lines, said.parked if said is not None else None, None
        has_taken = said is not None and any(isinstance(each, Delivered) for each in said.outcomes)
        try:
            if parked is not None and is_over:
                if has_taken:
                    await self._summon(visit, parked)
                ready = await make_ready(parked, visit, self._rules, lines, scope, self._clock)
            if parked is not None and ready is None:
                await parked.link.quit()
        except (LinkFailed, TemporaryFailure, ExpansionFailed):
            assert parked is not None
            await parked.link.drop()
        except BaseException:
            if parked is not None:
                await parked.link.drop()
            raise
        finally:
            unused = lines.leave(visit, ready) if is_over else None
        if unused is not None:
            await unused.link.quit()

    async def _summon(self, visit: Visit, parked: Parked) -> None:
        """Where nobody is in line for a connection that could go on: somebody who waits in the queue for this host,
        which has just taken a message (Exim: the wait- databases). One that only answers would be called on by the same
        messages again and again."""
        if parked.link.is_open and self._ports.lines.is_empty(visit.wish.host):
            await self._ports.memory.worked(self._key(parked.link.host), self._clock.now())
            await self._ports.summon(visit.wish.host)


def _unread(error: SpoolUnavailable) -> Deferred:
    """For the rest, where the queue stopped giving the message when others had it: that they have it must be recorded,
    or they would get it again."""
    return Deferred(f"the queue did not give the message: {error}", ErrorClass.LOCAL)


_TOLD_WITH_RECIPIENT = frozenset(
    {
        ErrorClass.RCPT_4XX,
        ErrorClass.JUDGED_4XX,
        ErrorClass.AUTH_FAILED,
        ErrorClass.TLS_FAILED,
        ErrorClass.LOCAL,
        ErrorClass.LOOKUP,
    }
)


def _another_host_may_take(outcome: Outcome) -> bool:
    """A deferred recipient is tried at the next host, unless the message may be there already."""
    return isinstance(outcome, Deferred) and not outcome.possible_duplicate


def _is_final(refused: HostRefused) -> bool:
    """Whether a new connection would not mend it."""
    outcome = refused.outcome
    return isinstance(outcome, Deferred) and (outcome.possible_duplicate or outcome.error is ErrorClass.LOCAL)


def _was_stale(outcome: Outcome) -> bool:
    """Nothing was said against the message: the connection was of no more use. A new one may do better."""
    if not isinstance(outcome, Deferred) or outcome.possible_duplicate:
        return False
    lost = outcome.error in (ErrorClass.LOST_CONNECTION, ErrorClass.TLS_FAILED, ErrorClass.MAIL_4XX)
    return lost or (outcome.reply is not None and outcome.reply.code == 421)


def _unsaid(outcomes: Sequence[Outcome | None], errand: Errand) -> Errand:
    """The errand for those who have no outcome."""
    envelope = errand.envelope
    left = tuple(each for each, outcome in zip(envelope.recipients, outcomes, strict=True) if outcome is None)
    return replace(errand, envelope=replace(envelope, recipients=left))


def _filled(outcomes: Sequence[Outcome | None], further: Sequence[Outcome | None]) -> tuple[Outcome | None, ...]:
    """`further` in the places that were open."""
    rest = iter(further)
    return tuple(next(rest) if each is None else each for each in outcomes)


__all__ = ["RemotePorts", "SMTPRules", "SMTPTransport"]
