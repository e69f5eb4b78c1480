"""The beginning of a session: who may connect, what a greeting gets, what is offered (decision).

The order of the checks and of the lines of EHLO is Exim's (smtp_in.c). What the limits of the dialog are for this
client goes to the machine with the answers from here.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

from relay.esmtp.answers import Answer
from relay.esmtp.extensions import Offers
from relay.esmtp.limits import ServerSettings
from relay.esmtp.parameters import future_release_offer, limits_offer
from relay.esmtp.xclient import OFFER as XCLIENT_OFFER
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.mail import events, reply
from relay.mail.facts import Hello
from relay.mail.ports import TemporaryFailure
from relay.mail.reply import Reply
from relay.mail.text import printable
from relay.policy.acl_values import Accepted, Switch, Where
from relay.policy.acl_verify import Greeting, judge_greeting
from relay.policy.tls import offers_tls
from relay.reception.admission import Admission
from relay.reception.client import Client
from relay.reception.rules import Ports, Rules

_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}
_LARGEST = 2**62


class Greeter:
    """The first room of a session."""

    def __init__(
        self,
        client: Client,
        admission: Admission,
        rules: Rules,
        ports: Ports,
        auth_offer: Callable[[], Awaitable[str]],
    ) -> None:
        """`auth_offer` gives the text behind AUTH, "" where it is not offered."""
        self._client = client
        self._admission = admission
        self._rules = rules
        self._ports = ports
        self._auth_offer = auth_offer
        self._size_limit = rules.message_size_limit

    # Connecting

    async def connected(self) -> Answer:
        """220 with the banner, or the refusal of a client that is not wanted, or not now."""
        client, rules = self._client, self._rules
        if rules.clients.active_hostname is not None:
            client.active_hostname = (
                await self._text(rules.clients.active_hostname, "smtp_active_hostname") or rules.primary_hostname
            )
        await self._note_connection()
        refused = await self._refused()
        if refused is not None:
            return refused
        # Exim asks for the name of whom a PROXY header speaks for, whatever host_lookup says.
        from_header = client.facts.proxy is not None and not client.proxied
        if from_header or await self._holds(rules.clients.host_lookup):
            await self._look_up_names()
        verdict = await self._admission.verdict(Where.CONNECT)
        refusal = self._admission.refusal(verdict, 'connection in "connect" ACL')
        if refusal is not None:
            return replace(refusal, hang_up=True)
        banner = (await rules.banner.text(client.scope())).split("\n")
        settings = await self.settings()
        if (most := rules.clients.recipients_max) is not None:
            client.recipients_max = await self._number(most, "recipients_max", rules.recipients_max)
        if isinstance(verdict, Accepted) and verdict.message:
            # Exim: the message of an ACL that accepts takes the banner's place.
            return Answer(self._admission.accepted(reply.SERVICE_READY, verdict), settings=settings)
        return Answer(reply.SERVICE_READY.with_text(*banner), settings=settings)

    async def _note_connection(self) -> None:
        """The line of a connection, where it depends on the client whether there is one (hosts_connection_nolog)."""
        unlogged, crowd = self._rules.clients.connection_nolog, self._ports.crowd
        if unlogged is None or unlogged.is_empty or self._client.facts.peer is None:
            return
        self._client.unlogged = await self._holds(unlogged)
        if not self._client.unlogged:
            self._ports.journal.record(events.ConnectionOpened(self._client.facts, crowd.count if crowd else 1))

    async def _refused(self) -> Answer | None:
        """Exim: daemon.c and smtp_start_session, as far as they look at nothing but the address."""
        clients, crowd, peer = self._rules.clients, self._ports.crowd, self._client.facts.peer
        if peer is None:
            return None
        if crowd is not None:
            self._client.count_at_start = crowd.count
            if 0 < await self._number(clients.max_per_host, "smtp_accept_max_per_host") < crowd.of(peer.address):
                return self._turned_away("too many connections from that IP address", reply.TOO_MANY_FROM_HOST, True)
        if await self._holds(clients.reject_connection):
            return self._turned_away("host_reject_connection", reply.CONNECTION_REFUSED, False)
        free = clients.accept_max - clients.accept_reserve
        is_crowded = crowd is not None and clients.accept_max > 0 and crowd.count > free
        if crowd is not None and is_crowded and not await self._holds(clients.reserve_hosts):
            why = (
                f"not in reserve list: connected={crowd.count - 1} max={clients.accept_max} "
                f"reserve={clients.accept_reserve}"
            )
            return self._turned_away(why, reply.TOO_MANY_CONNECTIONS, True)
        return None

    def _turned_away(self, why: str, refusal: Reply, temporary: bool) -> Answer:
        self._ports.journal.record(events.ConnectionRefused(self._client.facts, why, temporary))
        shown = refusal.with_text(f"{self._client.active_hostname}: {refusal.text}") if temporary else refusal
        return Answer(shown, hang_up=True)

    async def _look_up_names(self) -> None:
        try:
            await self._client.names()
        except TemporaryFailure:
            pass  # $host_lookup_deferred tells

    # Greeting

    async def hello(self, name: str, extended: bool) -> Answer:
        """The answer to EHLO or HELO, with what is offered from now on."""
        client, verb = self._client, "EHLO" if extended else "HELO"
        before = client.facts.hello
        client.facts = replace(client.facts, hello=Hello(name, extended))
        if client.facts.peer is not None:
            refusal = await self._untrue(verb, name)
            if refusal is not None:
                client.facts = replace(client.facts, hello=before)
                return refusal
        verdict = await self._admission.verdict(Where.HELO)
        answer = self._admission.refusal(verdict, "EHLO or HELO", printable(name))
        if answer is not None:
            client.facts = replace(client.facts, hello=None)
            return answer
        positive = reply.OK.with_text(self._greeting(name))
        if isinstance(verdict, Accepted) and verdict.message:
            accepted = self._admission.accepted(reply.OK, verdict)
            positive = accepted.with_text(accepted.lines[0])
        settings = await self.settings()
        return Answer(positive, await self._offers() if extended else Offers(), settings=settings)

    async def _untrue(self, verb: str, name: str) -> Answer | None:
        """The refusal of a name that is not the client's, where it has to be."""
        clients, client = self._rules.clients, self._client
        lookup = clients.helo_lookup_domains
        is_asked = not client.facts.peer_host and lookup is not None and not lookup.is_empty
        if is_asked and lookup is not None and await lookup.match(name.lower(), client.scope()) is not None:
            await self._look_up_names()
        client.helo_verified = False
        required = await self._holds(clients.helo_verify_hosts)
        if not required and not await self._holds(clients.helo_try_verify_hosts):
            return None
        truth = await judge_greeting(client.scope())
        client.helo_verified = truth is Greeting.TRUE
        if client.helo_verified or not required:
            return None
        refusal = reply.UNTRUE_HELLO if truth is Greeting.UNTRUE else reply.UNKNOWN_HELLO
        refusal = refusal.with_text(f"{verb} argument does not match calling host")
        self._ports.journal.record(events.ProtocolViolated(client.facts, f"{truth.value} greeting", f"{verb} {name}"))
        return Answer(refusal)

    def _greeting(self, name: str) -> str:
        """Exim: who calls, by the name that is known to be right, else by the one that was given."""
        facts = self._client.facts
        caller = f"{facts.user} at " if facts.user else ""
        address = f" [{facts.peer.address}]" if facts.peer is not None else ""
        return f"{self._client.active_hostname} Hello {caller}{facts.peer_host or name}{address}"

    # What holds for this client

    async def settings(self) -> ServerSettings | None:
        """The limits of the dialog for this client, after what ACLs have asked for. Raises TemporaryFailure."""
        usual, clients = self._rules.server_settings, self._rules.clients
        if usual is None:
            return None
        effects = self._client.effects
        switch = next(
            (each for each in reversed(effects.controls) if each in (Switch.ENFORCE_SYNC, Switch.NO_ENFORCE_SYNC)),
            Switch.ENFORCE_SYNC if usual.enforce_sync else Switch.NO_ENFORCE_SYNC,
        )
        self._size_limit = await self._size()
        counts = clients.nonmail_hosts is None or await self._holds(clients.nonmail_hosts)
        needs_helo = clients.require_helo_hosts is None or await self._holds(clients.require_helo_hosts)
        return replace(
            usual,
            enforce_sync=switch is Switch.ENFORCE_SYNC,
            size_limit=self._size_limit,
            messages_max=await self._messages_max(),
            max_nonmail=usual.max_nonmail if counts else sys.maxsize,
            helo_accept_junk=await self._holds(clients.helo_accept_junk_hosts),
            helo_required=needs_helo or await self._holds(clients.helo_verify_hosts),
            auth_unadvertised=effects.has(Switch.ALLOW_AUTH_UNADVERTISED),
        )

    async def _messages_max(self) -> int:
        return await self._number(self._rules.clients.messages_max, "smtp_accept_max_per_connection")

    async def _size(self) -> int:
        option = self._rules.clients.message_size_limit
        if option is None:
            return self._rules.message_size_limit
        text = await self._text(option, "message_size_limit")
        size = size_of(text)
        if size is None:
            raise TemporaryFailure(f'message_size_limit: "{printable(text, 40)}" is no size')
        return size

    async def _number(self, option: Expansion | None, name: str, otherwise: int = 0) -> int:
        """A limit; 0 where there is none, `otherwise` where the text is no number (Exim logs that, and so do we)."""
        if option is None:
            return 0
        text = (await self._text(option, name)).strip()
        if text.isascii() and text.isdigit():
            return int(text[:18])
        if text:
            self._ports.journal.record(events.Trouble(f'{name}: "{printable(text, 40)}" is no number'))
        return otherwise

    async def _text(self, option: Expansion, name: str) -> str:
        """Raises TemporaryFailure."""
        if option.constant is not None:
            return option.constant
        try:
            return await option.text(self._client.scope())
        except ForcedFailure:
            return ""
        except ExpansionFailed as error:
            raise TemporaryFailure(f"{name} can't be expanded: {error}") from None

    async def _holds(self, hosts: MatchList | None) -> bool:
        """Raises TemporaryFailure."""
        return hosts is not None and await self._client.is_among(hosts)

    # Offers

    async def _offers(self) -> Offers:
        """In Exim's order."""
        offers, acls = self._rules.offers, self._rules.acls
        limits = limits_offer(await self._messages_max(), self._client.recipients_max)
        has_8bit = offers.accept_8bitmime
        chunking = await self._holds(offers.chunking_hosts)
        auth = await self._auth_offer()
        wanted: tuple[tuple[tuple[str, str], bool], ...] = (
            (("SIZE", str(self._size_limit or "")), True),
            (limits or ("LIMITS", ""), limits is not None and await self._holds(offers.limits_hosts)),
            (("8BITMIME", ""), has_8bit),
            (("DSN", ""), await self._holds(offers.dsn_hosts)),
            (("ETRN", ""), Where.ETRN in acls),
            (("VRFY", ""), Where.VRFY in acls),
            (("EXPN", ""), Where.EXPN in acls),
            (("PIPELINING", ""), await self._offers_pipelining()),
            (("AUTH", auth), bool(auth)),
            (("CHUNKING", ""), chunking),
            (("BINARYMIME", ""), chunking and has_8bit and await self._holds(offers.binarymime_hosts)),
            (("STARTTLS", ""), await self._offers_tls()),
            (XCLIENT_OFFER, self._client.proxied or await self._holds(offers.xclient_hosts)),
            (("PRDR", ""), offers.prdr),
            (("SMTPUTF8", ""), has_8bit and await self._holds(offers.smtputf8_hosts)),
            (self._future_release(), offers.future_release_max > 0),
            (("ENHANCEDSTATUSCODES", ""), await self._holds(offers.enhanced_status_hosts)),
            (("HELP", ""), True),
        )
        return Offers(tuple(item for item, offered in wanted if offered))

    def _future_release(self) -> tuple[str, str]:
        longest = self._rules.offers.future_release_max
        return future_release_offer(longest, self._ports.clock.now() + longest)

    async def _offers_pipelining(self) -> bool:
        hosts = self._rules.pipelining_advertise_hosts
        if self._client.effects.has(Switch.NO_PIPELINING):
            return False
        return hosts is None or await self._holds(hosts)

    async def _offers_tls(self) -> bool:
        return self._client.facts.tls is None and await offers_tls(self._rules.tls, self._client.is_among)


def size_of(text: str) -> int | None:
    """Octets of a size such as `50M`; None for anything else."""
    text = text.strip().lower()
    unit = _UNITS.get(text[-1:], 1)
    digits = text[:-1] if unit > 1 else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        return None
    return min(int(digits) * unit, _LARGEST)
