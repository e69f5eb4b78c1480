"""The lists of main options as `-bh` tells them, in the order in which Exim asks them (decision).

The session asks them when it needs them and tells nothing; here they are asked once more for the one who watches.
Exim: smtp_start_session, smtp_setup_msg, smtp_read_command.
"""

from __future__ import annotations

import contextlib

from relay.expand.lists import HostSubject, MatchList
from relay.expand.notes import Notes
from relay.expand.scope import Scope
from relay.mail.ports import TemporaryFailure
from relay.policy.hosts import matches_client
from relay.reception.rules import Rules

_FIRST_OF_A_MESSAGE = ("HELO", "EHLO", "RSET", "STARTTLS")
_NO_MAIL = (*_FIRST_OF_A_MESSAGE, "NOOP", "ETRN", "VRFY", "EXPN", "HELP", "XCLIENT")


class ToldOptions:
    """What the main options say to one client."""

    def __init__(self, rules: Rules, notes: Notes) -> None:
        self._rules = rules
        self._notes = notes
        self._allowed = {"HELO", "EHLO", "RSET", "STARTTLS"}
        self._has_counted = False

    async def connected(self, scope: Scope) -> None:
        """A connection is there."""
        clients = self._rules.clients
        for name, hosts in (
            ("hosts_connection_nolog", clients.connection_nolog),
            ("host_lookup", clients.host_lookup),
            ("host_reject_connection", clients.reject_connection),
            ("sender_unqualified_hosts", clients.sender_unqualified_hosts),
            ("recipient_unqualified_hosts", clients.recipient_unqualified_hosts),
            ("helo_verify_hosts", clients.helo_verify_hosts),
            ("helo_try_verify_hosts", clients.helo_try_verify_hosts),
            ("helo_accept_junk_hosts", clients.helo_accept_junk_hosts),
        ):
            holds = await self._host(name, hosts, scope)
            if holds and name == "host_lookup" and scope.client_names is not None:
                # Exim asks here, before anything else is looked at.
                with contextlib.suppress(TemporaryFailure):
                    await scope.client_names()
            if holds and name == "host_reject_connection":
                return

    async def greeted(self, name: str, scope: Scope) -> None:
        """The client has said its name."""
        lookup = self._rules.clients.helo_lookup_domains
        if not scope.session.peer_host and lookup is not None:
            with contextlib.suppress(TemporaryFailure):
                await lookup.match(name, scope.child(notes=self._notes))

    async def offered(self, scope: Scope) -> None:
        """It gets the list of extensions."""
        rules, offers = self._rules, self._rules.offers
        await self._host("dsn_advertise_hosts", offers.dsn_hosts, scope)
        await self._host("pipelining_advertise_hosts", rules.pipelining_advertise_hosts, scope)
        await self._host("chunking_advertise_hosts", offers.chunking_hosts, scope)
        if scope.session.tls is None:
            await self._host("tls_advertise_hosts", rules.tls.advertise_hosts, scope)
        if offers.smtputf8_hosts is not None and not offers.smtputf8_hosts.is_empty:
            # Exim does not ask where there is no list, and says no other way that there is none.
            await self._host("smtputf8_advertise_hosts", offers.smtputf8_hosts, scope)

    async def commanded(self, verb: str, scope: Scope) -> None:
        """A command has come; those that carry no mail are counted, and mail may need a greeting first."""
        clients = self._rules.clients
        if verb == "MAIL" and scope.session.hello is None:
            verified = clients.helo_verify_hosts
            if clients.require_helo_hosts is not None and not (verified and await matches_client(verified, scope)):
                await self._host("hosts_require_helo", clients.require_helo_hosts, scope)
        if verb not in _NO_MAIL:
            return
        if verb in self._allowed:
            self._allowed.discard(verb)
            if verb in ("HELO", "EHLO"):
                self._allowed -= {"HELO", "EHLO"}
            return
        if not self._has_counted:
            self._has_counted = True
            await self._host("smtp_accept_max_nonmail_hosts", self._rules.clients.nonmail_hosts, scope)

    async def received(self, scope: Scope) -> None:
        """A message begins to arrive."""
        await self._host("ignore_fromline_hosts", None, scope)

    def next_message(self) -> None:
        """One of each command may come again uncounted."""
        self._allowed.update(_FIRST_OF_A_MESSAGE)

    async def _host(self, name: str, hosts: MatchList | None, scope: Scope) -> bool:
        if hosts is None:
            self._notes.say(f"host in {name}? no (option unset)")
            return False
        peer = scope.session.peer
        assert peer is not None
        try:
            return await hosts.match(HostSubject(peer.address), scope.child(notes=self._notes)) is not None
        except TemporaryFailure:
            return False
