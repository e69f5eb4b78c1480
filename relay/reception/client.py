"""What is known of one client at this moment, and how expansions see it (values).

The rooms of a session (`session.py`, `admission.py`, `message_end.py`) share one `Client`: its facts, the transaction
under way, and what ACLs have left for as long as the connection lasts.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field, replace

from relay.esmtp.questions import CommandRead
from relay.expand.list_items import confirmed_names
from relay.expand.lists import MatchList
from relay.expand.scope import AddressView, MessageView, Scope
from relay.mail.address import Address
from relay.mail.envelope import Envelope, Recipient
from relay.mail.events import NameNotFound
from relay.mail.facts import Hello, SessionFacts, TLSFacts
from relay.mail.text import readable
from relay.policy.acl_program import Memory
from relay.policy.acl_values import Effects
from relay.policy.hosts import matches_client
from relay.reception.message import IncomingMessage
from relay.reception.rules import Ports, Rules

_PATH = re.compile(r"<[^>]*>|(?:\"(?:[^\"\\]|\\.)*\"|\S)+")
_PATH_SHOWN = 100
# Exim: SMTP_HBUFF_SIZE.
_HISTORY = 20


@dataclass(slots=True)
class Transaction:
    """One MAIL … end of data."""

    envelope: Envelope
    message_id: str
    variables: dict[str, str]
    """acl_m… of this message."""
    effects: Effects = field(default_factory=Effects)
    recipients: list[Recipient] = field(default_factory=list)
    rejected: int = 0
    """Recipients that were refused for good."""
    deferred: int = 0
    discarded: bool = False
    """An ACL said `discard`: the client hears yes, and nothing is kept."""
    discarded_by: str = ""
    discard_text: str = ""
    kept: bool = False
    """The queue has the message: whatever the client is told, nothing of it is taken back."""
    data_asked: bool = False
    """The list of recipients is whole."""
    tried: int = 0
    """RCPT commands that were in order."""
    too_many: bool = False
    """More recipients were named than there may be."""
    authenticated_sender: str = ""
    """What AUTH= of MAIL said, where it is believed."""
    declared_size: int = -1
    """What SIZE= of MAIL said; -1: nothing."""
    internationalised: bool = False
    """MAIL came with SMTPUTF8."""
    by_chunks: bool = False
    """It comes by BDAT."""
    prdr: bool = False
    """MAIL came with PRDR: each recipient has a reply of its own to the data."""
    incoming: IncomingMessage | None = None


class Client:
    """The state of one session."""

    def __init__(self, rules: Rules, ports: Ports, facts: SessionFacts, full_name: str = "") -> None:
        self.facts = facts
        self.full_name = full_name
        """Of a local caller."""
        self.proxied = False
        """A proxy speaks for the client: XCLIENT stays open to it."""
        self.transaction: Transaction | None = None
        self.variables: dict[str, str] = {}
        """acl_c… of this connection."""
        self.effects = Effects()
        """What ACLs did outside of a transaction."""
        self.memory = Memory()
        self.host_data = ""
        self.sender_data = ""
        self.unlogged = False
        """Its connection leaves no lines (hosts_connection_nolog)."""
        self.helo_verified = False
        self.active_hostname = rules.primary_hostname
        self.recipients_max = rules.recipients_max
        self.failed_identity: str | None = None
        """Who failed to authenticate ($authenticated_fail_id); None: nobody has."""
        self.commands: deque[str] = deque(maxlen=_HISTORY)
        self._line = self._argument = ""
        self._before = ("", "")
        self.looks_back = False
        """What is decided belongs to the time before the last command: expansions see the one before it."""
        self.tried = 0
        """RCPT commands since the last transaction, those among them that were none."""
        self.is_gone = False
        """It went away while the fate of its message was being decided."""
        self.messages = 0
        """MAIL commands in this connection."""
        self.kept = 0
        """Messages in this connection that the queue has."""
        self.count_at_start = 0
        self._lookup = "unknown"
        self._results: dict[str, str] = {}
        self._rules = rules
        self._ports = ports
        self._names: tuple[str, ...] | None = None

    @property
    def is_local(self) -> bool:
        """A program of this machine speaks for itself: no host stands behind it."""
        return self.facts.peer is None and self.facts.caller is not None

    @property
    def facts_of_message(self) -> SessionFacts:
        """What is known of the client, together with what MAIL said of the message."""
        transaction, facts = self.transaction, self.facts
        if transaction is None:
            return facts
        login, sender = facts.authentication, transaction.authenticated_sender
        if login is not None and login.sender != sender:
            facts = replace(facts, authentication=replace(login, sender=sender))
        return replace(facts, smtputf8=True) if transaction.internationalised else facts

    @property
    def line(self) -> str:
        """The last command as it was sent, without secrets."""
        return self._line

    @property
    def last_verb(self) -> str:
        """Of the last command that we know; "" where there was none."""
        return self.commands[-1] if self.commands else ""

    def path(self, address: Address) -> str:
        """The address of the last MAIL or RCPT as it was written, without the parameters behind it, on one line. What
        has not come as a command is shown as `address`."""
        given = _PATH.match(self._argument)
        return readable(given.group(), _PATH_SHOWN) if given else f"<{readable(str(address))}>"

    def heard(self, command: CommandRead) -> None:
        """The last command is this one."""
        self._before = (self._line, self._argument)
        self._line = command.line
        if command.verb:
            self.commands.append(command.verb)
            self._argument = command.argument
            self.tried += command.verb == "RCPT"
            if command.verb == "AUTH":
                # What stands behind the mechanism is a secret, or the beginning of one; behind EXTERNAL it is a name.
                if command.argument[:9].upper() == "EXTERNAL ":
                    return
                mechanism = command.argument.split(" ", 1)[0]
                self._line, self._argument = f"{command.line.split(' ', 1)[0]} {mechanism}", mechanism

    def forget_transaction(self) -> Transaction | None:
        """There is no message under way any more; what there was."""
        transaction, self.transaction = self.transaction, None
        self.tried = 0
        self.memory.begin_message()
        self.effects.warned.clear()
        self.sender_data = ""
        return transaction

    def forget(self, tls: TLSFacts | None, hello: Hello | None = None) -> None:
        """Another TLS layer, or none: nothing that was known before counts any more but the two endpoints."""
        self.forget_transaction()
        self.variables = {}
        self.effects = Effects()
        self.host_data = ""
        self.helo_verified = False
        self.failed_identity = None
        self._results = {}
        self.facts = replace(
            self.facts,
            tls=tls,
            hello=hello,
            authentication=None,
            peer_name="",
            tls_on_connect=self.facts.tls_on_connect,
        )

    def replace_peer(self, facts: SessionFacts) -> None:
        """Somebody else is the client (XCLIENT): nothing that was known before counts any more."""
        self.forget(None)
        self.facts = facts
        self.proxied = True
        self._names = (facts.peer_host,) if facts.peer_host else None
        self._lookup = "unknown"
        self.memory = Memory()

    async def names(self) -> tuple[str, ...]:
        """Confirmed names of the client, asked for once in a connection. Raises TemporaryFailure."""
        resolver, peer = self._ports.resolver, self.facts.peer
        if self._names is None:
            self._lookup = "deferred"
            if resolver is None or peer is None:
                self._names = ()
            else:
                self._names = await confirmed_names(peer.address, resolver, self._ports.notes)
            self._lookup = "found" if self._names else "failed"
            if not self._names:
                self._ports.journal.record(NameNotFound(self.facts))
            else:
                self.facts = replace(self.facts, peer_host=self._names[0])
        return self._names

    def acl_variables(self) -> dict[str, str]:
        """Those of the connection and those of the message."""
        transaction = self.transaction
        return {**self.variables, **transaction.variables} if transaction is not None else dict(self.variables)

    def keep_variables(self, variables: dict[str, str]) -> None:
        """acl_c… live as long as the connection, acl_m… as long as the message: MAIL begins without any."""
        for name, value in variables.items():
            if not name.startswith("acl_m"):
                self.variables[name] = value
            elif self.transaction is not None:
                self.transaction.variables[name] = value

    def scope(self, address: Address | None = None, message: MessageView | None = None) -> Scope:
        """What expansions see at this moment."""
        return Scope(
            session=self.facts_of_message,
            now=self._ports.clock.now(),
            main=self._rules.main,
            message=message or self._message_view(),
            address=address_view(address) if address else None,
            acl_variables=self.acl_variables(),
            local_addresses=self._rules.local_addresses,
            lookups=self._ports.lookups,
            resolver=self._ports.resolver,
            client_names=self.names,
            files=self._ports.files,
            named_lists=self._rules.named_lists,
            host_data=self.host_data,
            sender_data=self.sender_data,
            file_system=self._ports.file_system,
            passwords=self._ports.passwords,
            may_read_files=self._rules.may_read_files,
            results=self._results,
            more={**self._known(), **self.memory.found},
        )

    async def is_among(self, hosts: MatchList) -> bool:
        """Whether it is in a list of hosts. Most lists of this kind name nobody or everybody, and a scope is not made
        for those. Raises TemporaryFailure."""
        if hosts.matches_all or hosts.is_empty:
            return hosts.matches_all
        return await matches_client(hosts, self.scope())

    def _known(self) -> dict[str, str]:
        """Variables that only a session has."""
        transaction = self.transaction
        line, argument = self._before if self.looks_back else (self._line, self._argument)
        known = {
            "smtp_active_hostname": self.active_hostname,
            "smtp_command": line,
            "smtp_command_argument": argument,
            "smtp_command_history": ",".join(self.commands),
            "smtp_count_at_connection_start": str(self.count_at_start),
        }
        if self.helo_verified:
            known["sender_helo_verified"] = "yes"
        if self.failed_identity is not None:
            known["authentication_failed"] = "1"
            known["authenticated_fail_id"] = self.failed_identity
        if self._lookup in ("failed", "deferred"):
            known[f"host_lookup_{self._lookup}"] = "1"
        if transaction is not None and transaction.prdr:
            known["prdr_requested"] = "yes"
        if transaction is not None and transaction.authenticated_sender:
            known["authenticated_sender"] = transaction.authenticated_sender
        return known

    def _message_view(self) -> MessageView | None:
        transaction = self.transaction
        if transaction is None:
            return None
        incoming, visible = transaction.incoming, self._rules.message_body_visible
        rewritten = self.memory.rewritten_sender
        return MessageView(
            sender=transaction.envelope.sender if rewritten is None else rewritten,
            recipients=tuple(each.address for each in transaction.recipients),
            recipients_visible=transaction.data_asked,
            size=incoming.size if incoming is not None else transaction.declared_size,
            # Sizes are those of a spool with one octet at the end of each line.
            body_size=incoming.body_size - incoming.body.lines if incoming is not None else 0,
            header=incoming.fields if incoming is not None else (),
            # Exim gives a message its id when its data begins.
            message_id=transaction.message_id if incoming is not None else "",
            body_start=_with_line_feeds(incoming.body.start)[:visible] if incoming is not None else b"",
            body_end=_with_line_feeds(incoming.body.end)[-visible:] if incoming is not None and visible else b"",
            body_lines=incoming.body.lines if incoming is not None else 0,
            body_zeros=incoming.body.zeros if incoming is not None else 0,
            lines=incoming.lines if incoming is not None else 0,
            longest_line=incoming.longest_line if incoming is not None else 0,
            is_internationalised=transaction.internationalised,
            received_at=self._ports.clock.now(),
            tried_recipients=max(self.tried, transaction.tried),
            rejected_recipients=transaction.rejected + max(self.tried - transaction.tried, 0),
            deferred_recipients=transaction.deferred,
        )


def _with_line_feeds(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def address_view(address: Address) -> AddressView:
    """A recipient as ACLs see it: in lower case, the local part as it came beside it (control = caseful_local_part)."""
    return AddressView(
        local_part=address.local_part.lower(),
        domain=address.domain.lower(),
        original_local_part=address.local_part,
        original_domain=address.domain,
    )
