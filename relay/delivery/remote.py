"""The smtp transport: hosts in turn, TLS as demanded, one outcome per recipient (decision).

For each host: dial, greet, go up to TLS where it is offered or demanded, judge the certificate, hand the message over.
What may follow from TLS that does not come about stands here and in `trust.requirement`, nowhere else: a message for
which TLS is required, or whose server must verify, has no path into clear text.

The octets are behind two ports: a `Dialer` gives a `Link`, and `net.client` implements both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.scope import HostView, Scope
from relay.mail.envelope import Envelope
from relay.mail.events import HostFailed, Trouble
from relay.mail.facts import TLSFacts
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.ports import Body, Clock, Journal, TemporaryFailure
from relay.mail.queue import QueuedMessage
from relay.mail.reply import Reply
from relay.policy.tls import ClientTLSRules, client_policy
from relay.tls.anchors import AnchorSet
from relay.tls.ciphers import BadCipherList
from relay.tls.engine import Handshake
from relay.tls.files import TLSFileError
from relay.tls.policy import ClientTLS, TLSDemand
from relay.trust.certificate import judge_server
from relay.trust.requirement import Unmet, holds, may_go_clear

SMTP_PORT = 25
SMTPS_PORT = 465


class LinkFailed(Exception):
    """The connection is of no more use. `reply` is what the server said, where that was the reason."""

    def __init__(
        self, error: ErrorClass, text: str, reply: Reply | None = None, *, possible_duplicate: bool = False
    ) -> None:
        super().__init__(text)
        self.error = error
        self.reply = reply
        self.possible_duplicate = possible_duplicate


class HandshakeFailed(LinkFailed):
    """STARTTLS was accepted, or TLS begun on connect, and no session came about."""


class StartTLSRefused(Exception):
    """The server said no to STARTTLS; the connection goes on in clear."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Link(Protocol):
    """An SMTP connection to one host. Every method may raise LinkFailed."""

    async def hello(self) -> Mapping[str, str]:
        """Greets with EHLO, or HELO where that is refused; what the server offers, by upper-case keyword."""
        ...

    async def start_tls(self, policy: ClientTLS, *, on_connect: bool) -> tuple[Handshake, AnchorSet]:
        """STARTTLS (unless on connect) and the handshake. Raises StartTLSRefused, HandshakeFailed, TLSFileError,
        BadCipherList."""
        ...

    async def send(self, envelope: Envelope, header: bytes, body: Body) -> tuple[Outcome, ...]:
        """One transaction; one outcome per recipient, without host and TLS facts."""
        ...

    async def quit(self) -> None:
        """QUIT and close. Never raises."""
        ...

    async def drop(self) -> None:
        """Closes without a word. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Exim's options of the smtp transport, seconds."""

    connect: float = 300.0
    command: float = 300.0
    data: float = 300.0
    final: float = 600.0


class Dialer(Protocol):
    """Opens connections. Raises LinkFailed."""

    async def dial(
        self, host: RemoteHost, helo_name: str, timeouts: Timeouts, *, lmtp: bool, tls_on_connect: bool
    ) -> Link: ...


@dataclass(frozen=True, slots=True)
class SMTPRules:
    """The options of one smtp transport, compiled."""

    name: str
    tls: ClientTLSRules = field(default_factory=ClientTLSRules)
    helo_data: Expansion | None = None
    port: int = 0
    """0: the port of the protocol."""
    max_rcpt: int = 100
    timeouts: Timeouts = field(default_factory=Timeouts)
    lmtp: bool = False


class _HostRefused(Exception):
    """This host is out for this message; the outcome is the same for all recipients."""

    def __init__(self, outcome: Deferred | Failed) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class SMTPTransport:
    """One smtp transport of the configuration."""

    def __init__(self, rules: SMTPRules, dialer: Dialer, clock: Clock, journal: Journal, scope: Scope) -> None:
        self._rules = rules
        self._dialer = dialer
        self._clock = clock
        self._journal = journal
        self._scope = scope

    @property
    def default_port(self) -> int:
        """The port of a host that was routed without one."""
        return self._rules.port or (SMTPS_PORT if self._rules.tls.on_connect else SMTP_PORT)

    @property
    def max_recipients(self) -> int:
        """Recipients in one transaction (Exim: max_rcpt)."""
        return self._rules.max_rcpt

    async def deliver(
        self, hosts: tuple[RemoteHost, ...], envelope: Envelope, message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        """Tries the hosts in turn until no recipient is left that another host might take."""
        outcomes: list[Outcome] = [
            Deferred("no host to deliver to", ErrorClass.LOOKUP, host_wide=True) for _ in envelope.recipients
        ]
        waiting = list(range(len(outcomes)))
        for number, host in enumerate(hosts):
            part = replace(envelope, recipients=tuple(envelope.recipients[index] for index in waiting))
            results = await self._try_host(host, part, message, body)
            for index, outcome in zip(waiting, results, strict=True):
                outcomes[index] = outcome
            waiting = [index for index in waiting if _another_host_may_take(outcomes[index])]
            if not waiting:
                break
            last = outcomes[waiting[0]]
            if number + 1 < len(hosts) and isinstance(last, Deferred):
                self._journal.record(HostFailed(message.message_id, last))
        return tuple(outcomes)

    async def _try_host(
        self, host: RemoteHost, envelope: Envelope, message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        try:
            return await self._converse(host, envelope, message, body)
        except _HostRefused as refused:
            return tuple(replace(refused.outcome, host=host) for _ in envelope.recipients)

    async def _converse(
        self, host: RemoteHost, envelope: Envelope, message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        scope = self._scope.child(
            session=message.facts.session, now=self._clock.now(), host=HostView(host.name, host.address, host.port)
        )
        try:
            policy = await client_policy(self._rules.tls, scope, (host.name,))
            helo_name = await self._helo_name(scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            self._journal.record(Trouble(f"transport {self._rules.name}: {error}", "", message.message_id))
            raise _HostRefused(Deferred(f"an option can't be expanded: {error}", ErrorClass.LOCAL)) from None
        try:
            return await self._over_link(host, envelope, message, body, policy, helo_name)
        except HandshakeFailed as failure:
            if not (may_go_clear(policy) and policy.tempfail_tryclear):
                raise _HostRefused(_deferred(failure, ErrorClass.TLS_FAILED)) from None
            # Exim: the connection is in an unknown state, so the message goes in clear on a new one.
            self._journal.record(
                HostFailed(message.message_id, replace(_deferred(failure, ErrorClass.TLS_FAILED), host=host))
            )
            clear = replace(policy, demand=TLSDemand.AVOID)
            return await self._over_link(host, envelope, message, body, clear, helo_name)

    async def _helo_name(self, scope: Scope) -> str:
        name = await self._rules.helo_data.text(scope) if self._rules.helo_data is not None else ""
        return name or scope.main.get("primary_hostname", "localhost")

    async def _over_link(
        self,
        host: RemoteHost,
        envelope: Envelope,
        message: QueuedMessage,
        body: Body,
        policy: ClientTLS,
        helo_name: str,
    ) -> tuple[Outcome, ...]:
        try:
            link = await self._dialer.dial(
                host, helo_name, self._rules.timeouts, lmtp=self._rules.lmtp, tls_on_connect=policy.on_connect
            )
        except LinkFailed as failure:
            raise _HostRefused(_deferred(failure)) from None
        try:
            tls = await self._secure(link, policy, message)
            outcomes = await link.send(envelope, message.header, body)
        except HandshakeFailed:
            await link.drop()
            raise
        except LinkFailed as failure:
            await link.drop()
            raise _HostRefused(_of_link(failure)) from None
        except _HostRefused:
            await link.quit()
            raise
        except BaseException:
            # Cut off, or the queue could not give the body: an unfinished message must not look like a finished one.
            await link.drop()
            raise
        await link.quit()
        return tuple(_complete(outcome, host, tls) for outcome in outcomes)

    async def _secure(self, link: Link, policy: ClientTLS, message: QueuedMessage) -> TLSFacts | None:
        """Takes the link as far up as the policy wants; the facts of its layer, None for a link that may stay clear."""
        if policy.on_connect:
            tls = await self._go_up(link, policy, message)
            await link.hello()
            return tls
        offers = await link.hello()
        if policy.demand is not TLSDemand.AVOID and "STARTTLS" in offers:
            try:
                tls = await self._go_up(link, policy, message)
            except StartTLSRefused as refused:
                self._accept_clear_after(refused.reply, policy)
                return None
            await link.hello()
            return tls
        if not may_go_clear(policy):
            avoided = policy.demand is TLSDemand.AVOID
            why = "hosts_avoid_tls forbids it" if avoided else "the server did not offer it"
            what = f"a TLS session is required, but {why}"
            raise _HostRefused(Deferred(what, ErrorClass.TLS_REQUIRED, host_wide=True))
        return None

    def _accept_clear_after(self, reply: Reply, policy: ClientTLS) -> None:
        """Whether a refusal of STARTTLS leaves the way into clear text open. Exim: hosts_require_tls,
        tls_tempfail_tryclear."""
        if may_go_clear(policy) and (reply.is_permanent or policy.tempfail_tryclear):
            return
        raise _HostRefused(
            Deferred(
                "a TLS session is required, but the server refused STARTTLS",
                ErrorClass.TLS_REQUIRED,
                reply,
                host_wide=True,
            )
        )

    async def _go_up(self, link: Link, policy: ClientTLS, message: QueuedMessage) -> TLSFacts:
        try:
            handshake, anchors = await link.start_tls(policy, on_connect=policy.on_connect)
        except (TLSFileError, BadCipherList) as error:
            # Our own set-up is broken: an operator mends that, nothing goes out in clear meanwhile.
            self._journal.record(Trouble(f"transport {self._rules.name}: {error}", "", message.message_id))
            raise _HostRefused(Deferred(f"our TLS set-up: {error}", ErrorClass.LOCAL, host_wide=True)) from None
        verification = judge_server(handshake, anchors, policy, self._clock.now())
        requirement = holds(policy, verification)
        if isinstance(requirement, Unmet):
            raise _HostRefused(Deferred(requirement.reason, ErrorClass.TLS_FAILED, host_wide=True))
        return TLSFacts(
            version=handshake.version,
            suite=handshake.suite,
            bits=handshake.bits,
            group=handshake.group,
            sni=policy.sni,
            alpn=handshake.alpn,
            resumed=handshake.resumed,
            ours=handshake.ours,
            peer=handshake.peer,
            verification=verification,
            binding=handshake.binding,
        )


def _another_host_may_take(outcome: Outcome) -> bool:
    """A deferred recipient is tried at the next host, unless the message may be there already."""
    return isinstance(outcome, Deferred) and not outcome.possible_duplicate


def _deferred(failure: LinkFailed, error: ErrorClass | None = None) -> Deferred:
    return Deferred(
        str(failure),
        error or failure.error,
        failure.reply,
        host_wide=True,
        possible_duplicate=failure.possible_duplicate,
    )


def _of_link(failure: LinkFailed) -> Deferred | Failed:
    """A link that failed defers; only a 5xx from the server itself, to the greeting or to EHLO, is final."""
    if failure.reply is not None and failure.reply.is_permanent:
        return Failed(str(failure), failure.reply)
    return _deferred(failure)


def _complete(outcome: Outcome, host: RemoteHost, tls: TLSFacts | None) -> Outcome:
    if isinstance(outcome, Delivered):
        return replace(outcome, host=host, tls=tls)
    return replace(outcome, host=host)
