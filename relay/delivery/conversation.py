"""One errand and one connection: up to TLS, AUTH, the message, and what becomes of the connection then (decision).

`fresh` dials, `continued` takes over what the message before left; both end in `Said`, which has the outcomes and,
where another message may have it, the connection. What may follow from TLS that does not come about stands here and in
`trust.requirement`, nowhere else: a message for which TLS is required, or whose server must verify, has no path into
clear text, and a connection on which TLS was up carries nothing but a greeting and STARTTLS in clear.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from relay.delivery.host_lines import HostLines, Parked, Visit, Wish
from relay.delivery.link import Dialer, HandshakeFailed, Link, LinkFailed, StartTLSRefused
from relay.delivery.login import ImpostorFound, log_in
from relay.delivery.refused import HostRefused
from relay.delivery.smtp_rules import SMTPRules
from relay.delivery.told_links import ToldDialer, ToldLink
from relay.delivery.transactions import in_batches, in_one_transaction
from relay.esmtp.parameters import decode_xtext
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.scope import HostView, Scope
from relay.mail.envelope import Envelope, Parameters, Recipient
from relay.mail.events import Event, HostFailed, MessageNote, Trouble
from relay.mail.facts import NotAsked, TLSFacts, Unverified, Verification
from relay.mail.outcome import Deferred, Delivered, Dialog, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.ports import Body, Clock, Journal, TemporaryFailure
from relay.mail.queue import QueuedMessage
from relay.mail.reply import Reply
from relay.policy.authenticate import AuthPorts
from relay.policy.event_action import EventAction
from relay.policy.hosts import matches_host
from relay.tls.ciphers import BadCipherList
from relay.tls.files import TLSFileError
from relay.tls.policy import ClientTLS, TLSDemand, VerifyServer
from relay.trust.certificate import judge_server
from relay.trust.requirement import Unmet, holds, may_go_clear, session_fits
from relay.trust.staple import NOT_ASKED_FOR, judge_staple

PROBE_LIMIT = 5.0
"""Seconds from our close_notify to the end of the reply to the clear EHLO."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be said: a message, to some of its recipients."""

    envelope: Envelope
    message: QueuedMessage
    header: bytes
    """Empty: the body has it."""
    body: Body

    @property
    def message_id(self) -> str:
        return self.message.message_id


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Questions that the server is asked in place of a message."""

    ask: Callable[[Link, Mapping[str, str], str | None], Awaitable[None]]
    """Gets the connection, what the server offers, and the value of AUTH= on MAIL if there is one. It may raise
    LinkFailed."""
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What came of it; `parked` is the connection where it may be passed on."""

    outcomes: tuple[Outcome | None, ...]
    """None: the server takes no more messages in this connection, this recipient was not mentioned."""
    parked: Parked | None = None


@dataclass(frozen=True, slots=True)
class ConversationPorts:
    """The world, as far as a conversation needs it."""

    dialer: Dialer
    clock: Clock
    journal: Journal
    auth: AuthPorts | None = None
    action: EventAction | None = None
    """Who is told of the steps of a connection (Exim: event_action)."""


class Conversation:
    """One errand at one host. `scope` has the message and the host."""

    def __init__(
        self, rules: SMTPRules, ports: ConversationPorts, errand: Errand | Inquiry, wish: Wish, scope: Scope
    ) -> None:
        self._rules = rules
        self._ports = ports
        self._errand = errand
        self._wish = wish
        self._scope = scope

    async def fresh(self, hosts: tuple[RemoteHost, ...]) -> Said:
        """Over a new connection to one of the host's addresses. Raises HostRefused."""
        policy = self._wish.policy
        try:
            return await self._dialled(hosts, policy)
        except HandshakeFailed as failure:
            outcome = _deferred(failure, ErrorClass.TLS_FAILED)
            if not (may_go_clear(policy) and policy.tempfail_tryclear):
                raise HostRefused(outcome) from None
            # Exim: the connection is in an unknown state, so the message goes in clear on a new one.
            noted = replace(outcome, host=outcome.host or hosts[0])
            self._ports.journal.record(self._going_clear(noted))
            return await self._dialled(hosts, replace(policy, demand=TLSDemand.AVOID), fell_back=True)

    def _going_clear(self, noted: Deferred) -> Event:
        if isinstance(self._errand, Errand) or noted.host is None:
            return HostFailed(self._errand.message_id, noted)
        where = f"{noted.host.name} [{noted.host.address}]"
        return MessageNote("", f"{noted.reason}: callout unencrypted to {where} (not in hosts_require_tls)")

    async def _dialled(self, hosts: tuple[RemoteHost, ...], policy: ClientTLS, *, fell_back: bool = False) -> Said:
        dialer, action = self._ports.dialer, self._ports.action
        if action is not None:
            dialer = ToldDialer(dialer, action, self._scope)
        try:
            link = await dialer.dial(hosts, self._wish.manners)
        except LinkFailed as failure:
            for note in failure.notes:
                self._ports.journal.record(MessageNote(self._errand.message_id, note))
            raise HostRefused(_deferred(failure)) from None
        return await self._over(Parked(link, self._wish, 0), policy, fell_back=fell_back)

    async def continued(self, parked: Parked) -> Said:
        """Over a connection that carried another message before. Raises HostRefused, HandshakeFailed: then nothing
        was sent, and a new connection is to be tried without another thought."""
        if isinstance(parked.link, ToldLink):
            parked.link.serve(self._scope.child(tls_out=parked.tls))
        return await self._over(parked, self._wish.policy)

    async def _over(self, parked: Parked, policy: ClientTLS, *, fell_back: bool = False) -> Said:
        link = parked.link
        try:
            secured = await self._prepare(parked, policy, fell_back=fell_back)
            secured.parked = replace(secured.parked, messages=parked.messages)
            outcomes = await self._send(secured)
        except HandshakeFailed as failure:
            await link.drop()
            failure.host = link.host
            raise
        except LinkFailed as failure:
            # A server that has said no is told goodbye; one that said 421, or nothing, is not there to hear it.
            await (link.quit() if failure.reply is not None and link.is_open else link.drop())
            raise HostRefused(replace(_of_link(failure), host=link.host)) from None
        except ImpostorFound as found:
            await link.drop()
            raise HostRefused(replace(found.outcome, host=link.host)) from None
        except HostRefused as refused:
            await link.quit()
            raise HostRefused(replace(refused.outcome, host=link.host), refused.notes) from None
        except BaseException:
            # Cut off, or the queue could not give the body: an unfinished message must not look like a finished one.
            await link.drop()
            raise
        done = tuple(
            None if each is None else _complete(each, secured, is_first=place == 0)
            for place, each in enumerate(outcomes)
        )
        kept = secured.may_be_kept and not any(isinstance(each, Deferred) and each.host_wide for each in done)
        left = replace(secured.parked, messages=parked.messages + secured.transactions)
        if not kept:
            left = replace(left, messages=_WORN_OUT)
        return Said(done, left)

    async def _prepare(self, parked: Parked, policy: ClientTLS, *, fell_back: bool) -> _Secured:
        """The connection, as far as the message."""
        try:
            return await self._secure(parked, policy, fell_back=fell_back)
        except (ExpansionFailed, TemporaryFailure) as error:
            self._trouble(error)
            outcome = Deferred(f"an option can't be expanded: {error}", ErrorClass.LOCAL)
            raise HostRefused(outcome) from None

    # TLS

    async def _secure(self, parked: Parked, policy: ClientTLS, *, fell_back: bool) -> _Secured:
        """Takes the connection as far up as the policy wants, and logs in."""
        link = parked.link
        if parked.tls is not None:
            return _Secured(parked, {}, may_be_kept=True)
        if parked.had_tls:
            # A connection that was private goes on private or not at all. Its clear greeting offered STARTTLS.
            try:
                return await self._logged_in(*await self._raised(link, policy), link, begun_in_clear=False)
            except StartTLSRefused as refused:
                raise HandshakeFailed(ErrorClass.TLS_FAILED, "STARTTLS was refused", refused.reply) from None
        if parked.messages:
            return _Secured(parked, {}, may_be_kept=True)
        if policy.on_connect:
            return await self._logged_in(*await self._raised(link, policy), link, begun_in_clear=False)
        offers = await link.hello()
        offered = "STARTTLS" in offers
        if policy.demand is not TLSDemand.AVOID and offered:
            try:
                return await self._logged_in(*await self._raised(link, policy), link)
            except StartTLSRefused as refused:
                self._accept_clear_after(refused.reply, policy)
                fell_back = True
        elif not may_go_clear(policy):
            avoided = policy.demand is TLSDemand.AVOID
            why = "hosts_avoid_tls forbids it" if avoided else "the server did not offer TLS support"
            what = f"a TLS session is required, but {why}"
            raise HostRefused(Deferred(what, ErrorClass.TLS_REQUIRED, host_wide=True))
        return await self._logged_in(None, offers, link, fell_back=fell_back)

    def _accept_clear_after(self, reply: Reply, policy: ClientTLS) -> None:
        """Whether a refusal of STARTTLS leaves the way into clear text open. Exim: hosts_require_tls,
        tls_tempfail_tryclear."""
        if may_go_clear(policy) and (reply.is_permanent or policy.tempfail_tryclear):
            return
        if may_go_clear(policy):
            what = f"SMTP error from remote mail server after STARTTLS: {reply.as_sent}"
            raise HostRefused(Deferred(what, ErrorClass.OTHER, reply, host_wide=True))
        what = "a TLS session is required, but an attempt to start TLS failed"
        raise HostRefused(Deferred(what, ErrorClass.TLS_REQUIRED, reply, host_wide=True))

    async def _raised(self, link: Link, policy: ClientTLS) -> tuple[TLSFacts, Mapping[str, str]]:
        """A new TLS layer, judged, and the greeting inside."""
        tls = await self._go_up(link, policy)
        if isinstance(link, ToldLink):
            link.rise(tls)
        try:
            return tls, await link.hello()
        except LinkFailed as failure:
            if failure.error is ErrorClass.TLS_FAILED:
                # TLS 1.3: what the server says of our certificate comes with the first read after the handshake.
                raise HandshakeFailed(failure.error, str(failure)) from None
            raise

    async def _go_up(self, link: Link, policy: ClientTLS) -> TLSFacts:
        key = await self._session_key(link)
        try:
            handshake, anchors = await link.start_tls(policy, on_connect=policy.on_connect, session_key=key)
        except StartTLSRefused:
            raise
        except HandshakeFailed as failure:
            if failure.verify_fault:
                self._note_fault(link, failure.verify_fault)
            raise
        except (TLSFileError, BadCipherList) as error:
            # Our own set-up is broken: an operator mends that, nothing goes out in clear meanwhile.
            self._trouble(error)
            raise HostRefused(Deferred(f"our TLS set-up: {error}", ErrorClass.LOCAL, host_wide=True)) from None
        verification: Verification = NotAsked()
        if policy.verify is not VerifyServer.NOT:
            verification = judge_server(handshake, anchors, policy, self._ports.clock.now())
            self._note_faults(link, verification, policy)
        staple, ocsp = "", NOT_ASKED_FOR
        if policy.require_ocsp or policy.request_ocsp:
            now = self._ports.clock.now()
            staple, ocsp = judge_staple(handshake.staple_received, handshake.chain, anchors.certificates, now)
        fits = session_fits(policy, handshake.group, handshake.alpn, staple)
        for requirement in (holds(policy, verification), fits):
            if isinstance(requirement, Unmet):
                raise HostRefused(Deferred(requirement.reason, ErrorClass.TLS_FAILED, host_wide=True))
        return TLSFacts(
            version=handshake.version,
            suite=handshake.suite,
            bits=handshake.bits,
            group=handshake.group,
            sni=policy.sni,
            alpn=handshake.alpn,
            resumed=handshake.resumed,
            ocsp=ocsp,
            ours=handshake.ours,
            peer=handshake.peer,
            verification=verification,
            binding=handshake.binding,
        )

    def _note_faults(self, link: Link, verification: Verification, policy: ClientTLS) -> None:
        """What is wrong with the server's certificate; where it has to verify the first fault is the last."""
        if isinstance(verification, Unverified):
            faults = verification.faults[:1] if policy.verify is VerifyServer.MUST else verification.faults
            for each in faults:
                self._note_fault(link, each)

    def _note_fault(self, link: Link, fault: str) -> None:
        text = f"[{link.host.address}] SSL verify error: {fault}"
        self._ports.journal.record(MessageNote(self._errand.message_id, text))

    async def _session_key(self, link: Link) -> str:
        """Whose TLS session may be resumed: the host, and the name that it gives itself where one is cut out of its
        greeting (Exim: host_name_extract)."""
        rules = self._rules
        if rules.resumption_hosts is None or not await matches_host(rules.resumption_hosts, self._scope):
            return ""
        if self._wish.policy.require_ocsp:
            return ""  # a resumed session has no response of its own
        host = link.host
        name = ""
        if rules.host_name_extract is not None:
            try:
                name = await rules.host_name_extract.text(self._scope.child(item=link.hello_text))
            except (ExpansionFailed, TemporaryFailure) as error:
                self._trouble(error)
        return f"{host.name} {name or host.address} {host.port}"

    def _trouble(self, error: Exception) -> None:
        self._ports.journal.record(Trouble(f"transport {self._rules.name}: {error}", "", self._errand.message_id))

    # AUTH

    async def _logged_in(
        self,
        tls: TLSFacts | None,
        offers: Mapping[str, str],
        link: Link,
        *,
        fell_back: bool = False,
        begun_in_clear: bool = True,
    ) -> _Secured:
        policy = self._wish.policy
        in_clear = tls is None and not fell_back and may_go_clear(policy)
        scope = self._scope.child(tls_out=tls)
        try:
            ports = self._ports
            rules, name = self._rules.login, self._rules.name
            login = await log_in(
                link, offers, rules, scope, ports.auth, ports.action, in_clear=in_clear, transport=name
            )
        except HostRefused as refused:
            self._notes(refused.notes)
            raise
        self._notes(login.notes)
        parked = Parked(link, self._wish, 0, tls, tls is not None, login.name)
        steps = _steps(self._wish, tls is not None, begun_in_clear=begun_in_clear, tried_login=login.is_tried)
        return _Secured(parked, offers, not fell_back, steps)

    def _notes(self, notes: tuple[str, ...]) -> None:
        for each in notes:
            self._ports.journal.record(MessageNote(self._errand.message_id, each))

    # The message

    async def _send(self, secured: _Secured) -> list[Outcome | None]:
        errand = self._errand
        if isinstance(errand, Inquiry):
            received = self._scope.more.get("authenticated_sender")
            asserted = await self._asserted_sender(secured, xtext(received) if received else None)
            await errand.ask(secured.parked.link, secured.offers, asserted)
            return []
        return await self._transact(secured, errand)

    async def _transact(self, secured: _Secured, errand: Errand) -> list[Outcome | None]:
        """The message, in as many transactions as the server's limits (RFC 9422) and ours make it."""
        link = secured.parked.link
        envelope = await self._addressed(secured, errand.envelope)
        outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        limits, before = link.limits, secured.parked.messages
        for places in in_batches(envelope.recipients, limits, self._rules.max_rcpt):
            sent = before + secured.transactions
            if limits.messages and sent >= limits.messages:
                break
            part = replace(envelope, recipients=tuple(envelope.recipients[place] for place in places))
            secured.transactions += 1
            said = await link.send(part, errand.header, errand.body)
            for place, each in zip(places, in_one_transaction(said, continued=sent > 0), strict=False):
                outcomes[place] = each
            if not link.is_open:
                rest = said[-1] if isinstance(said[-1], Deferred) else None
                lost = replace(rest, possible_duplicate=False) if rest is not None else None
                outcomes = [lost if each is None else each for each in outcomes]
                break
        return outcomes

    async def _addressed(self, secured: _Secured, envelope: Envelope) -> Envelope:
        """The envelope with what the transport's options add to it."""
        rules = self._rules
        items = tuple(item for item in envelope.parameters.items if item[0] != "AUTH")
        asserted = await self._asserted_sender(secured, envelope.parameters.get("AUTH"))
        secured.asserted = asserted or ""
        if asserted is not None:
            items = (*items, ("AUTH", asserted))
        recipients = envelope.recipients
        if rules.lmtp and rules.lmtp_ignore_quota:
            recipients = tuple(_without_quota(each) for each in recipients)
        addition = rules.size_addition
        return replace(
            envelope,
            recipients=recipients,
            parameters=Parameters(items),
            size=envelope.size + addition if addition >= 0 else 0,
        )

    async def _asserted_sender(self, secured: _Secured, received: str | None) -> str | None:
        """The value of AUTH= on MAIL, RFC 4954 5: only said by who is logged in, or where it is forced."""
        login = self._rules.login
        if not secured.parked.login and not login.sender_force:
            return None
        if login.sender is not None:
            try:
                text = await login.sender.text(self._scope)
            except ForcedFailure:
                text = ""
            except ExpansionFailed as error:
                self._trouble(error)
                text = ""
            if text:
                return xtext(text)
        caller, given = self._scope.session.caller, self._scope.session.authentication
        if received is None and caller is not None and given is not None and given.sender:
            return xtext(given.sender)
        if received is None and caller is not None and caller.login:
            # Who sent it from this machine is known to the kernel.
            return xtext(f"{caller.login}@{self._scope.main.get('qualify_domain', '')}")
        return received


@dataclass(slots=True)
class _Secured:
    """A connection that is ready for the message."""

    parked: Parked
    offers: Mapping[str, str]
    may_be_kept: bool
    steps: str = ""
    """What was done with the connection for this message: e(hlo), h(elo), l(hlo), s(tarttls), a(uth)."""
    transactions: int = 0
    asserted: str = ""
    """The value of AUTH= on MAIL."""


def _steps(wish: Wish, has_tls: bool, *, begun_in_clear: bool, tried_login: bool) -> str:
    """In Exim's letters (log_selector = +protocol_detail)."""
    hello = "l" if wish.manners.lmtp else "e" if wish.manners.esmtp else "h"
    greeted = (hello if begun_in_clear else "") + (f"s{hello}" if has_tls else "")
    return f"{greeted}a" if tried_login else greeted


_WORN_OUT = 1 << 30


async def make_ready(
    said: Parked, visit: Visit, rules: SMTPRules, lines: HostLines, scope: Scope, clock: Clock
) -> Parked | None:
    """The connection as the next message in line can have it, None where it is to be closed.

    `scope` has the host. A TLS layer is taken down and the greeting repeated in clear (Exim: hosts_noproxy_tls); a
    server that does not go along, or then offers no STARTTLS, is remembered. Raises LinkFailed: the connection is of
    no use any more.
    """
    passing, link, wish = rules.passing, said.link, visit.wish
    most = min(each for each in (passing.max_messages or _WORN_OUT, link.limits.messages or _WORN_OUT))
    if not link.is_open or said.messages >= most or not lines.next_is(wish, link.host.address):
        return None
    if said.tls is None:
        return said
    if passing.no_pass is not None and await matches_host(passing.no_pass, scope):
        return None
    if passing.new_handshake is None or not await matches_host(passing.new_handshake, scope):
        return said
    if wish.policy.on_connect or not lines.goes_on(wish.host, clock.now()):
        return None
    try:
        offers = await link.go_clear(PROBE_LIMIT)
    except LinkFailed:
        lines.does_not_go_on(wish.host, clock.now())
        raise
    if "STARTTLS" not in offers:
        lines.does_not_go_on(wish.host, clock.now())
        return None
    return replace(said, tls=None, had_tls=True, login="")


def with_host(scope: Scope, host: RemoteHost) -> Scope:
    """What options see of a host."""
    return scope.child(host=HostView(host.name, host.address, host.port, host.dnssec))


def xtext(text: str) -> str:
    """RFC 3461 4: as a parameter's value."""
    octets = text.encode("utf-8")
    return "".join(chr(each) if 33 <= each <= 126 and each not in b"+=" else f"+{each:02X}" for each in octets)


def _without_quota(recipient: Recipient) -> Recipient:
    return replace(recipient, parameters=Parameters((*recipient.parameters.items, ("IGNOREQUOTA", ""))))


def _deferred(failure: LinkFailed, error: ErrorClass | None = None) -> Deferred:
    return Deferred(
        str(failure),
        error or failure.error,
        failure.reply,
        failure.host,
        host_wide=True,
        possible_duplicate=failure.possible_duplicate,
    )


def _of_link(failure: LinkFailed) -> Deferred | Failed:
    """A link that failed defers; only a 5xx from the server itself, to the greeting or to EHLO, is final."""
    if failure.reply is not None and failure.reply.is_permanent:
        return Failed(str(failure), failure.reply)
    return _deferred(failure)


def _complete(outcome: Outcome, secured: _Secured, *, is_first: bool) -> Outcome:
    parked = secured.parked
    host = replace(parked.link.host, our_end=parked.link.our_end)
    if isinstance(outcome, Delivered):
        named = decode_xtext(secured.asserted) if parked.login and "AUTH" in secured.offers else ""
        dialog = replace(outcome.dialog or Dialog(), login=parked.login, sender=named, steps=secured.steps)
        return replace(outcome, host=host, tls=parked.tls, dialog=dialog)
    if isinstance(outcome, Failed):
        return replace(outcome, host=host, tls=parked.tls, steps=secured.steps if is_first else "")
    return replace(outcome, host=host)
