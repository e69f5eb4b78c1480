"""Commands that ask for something other than taking a message: VRFY, EXPN, ETRN, each by its ACL (decision)."""

from __future__ import annotations

import hashlib

from relay.esmtp.answers import Answer
from relay.esmtp.grammar import Malformed
from relay.esmtp.header_addresses import read_address_list
from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.scope import AddressView
from relay.mail import events, reply
from relay.mail.address import Address
from relay.mail.ports import TemporaryFailure
from relay.mail.reply import Reply
from relay.mail.text import printable, to_wire
from relay.policy.acl_values import Where
from relay.policy.verification import Finding, Role, Verified
from relay.reception.admission import Admission
from relay.reception.client import Client, address_view
from relay.reception.rules import Ports, Rules


class Inquirer:
    """Answers questions about addresses and the queue."""

    def __init__(self, client: Client, admission: Admission, rules: Rules, ports: Ports) -> None:
        self._client = client
        self._admission = admission
        self._rules = rules
        self._ports = ports

    async def vrfy(self, text: str) -> Answer:
        """RFC 5321 3.5. Without an ACL for it an address is neither confirmed nor denied."""
        address = self._read(text)
        if isinstance(address, Reply):
            return Answer(address)
        if not address.is_qualified:
            if not await self._admission.may_be_unqualified(self._rules.clients.recipient_unqualified_hosts):
                return self._admission.unqualified(address, "recipient", shown=printable(text))
            address = address.qualified(self._rules.qualify_recipient)
        verdict = await self._admission.verdict(Where.VRFY, address)
        refusal = self._admission.refusal(verdict, "VRFY", printable(text))
        if refusal is not None:
            return refusal
        found = await self._verified(address, Role.RECIPIENT)
        shown = f"<{address}>"
        if found is None:
            return Answer(reply.CANNOT_VERIFY)
        match found.finding:
            case Finding.GOOD:
                return Answer(reply.OK.with_text(f"{shown} is deliverable"))
            case Finding.BAD:
                self._note(f"VRFY failed for {printable(text)}", with_ident=True)
                return Answer(Reply(550, "5.1.1", (f"{shown} {found.reason or 'is not deliverable'}",)))
            case Finding.UNKNOWN:
                return Answer(reply.LOCAL_PROBLEM.with_text(f"Cannot resolve {shown} at this time"))

    async def expn(self, text: str) -> Answer:
        """What an address stands for: the addresses of its redirection, or itself."""
        refusal = self._admission.refusal(await self._admission.verdict(Where.EXPN), "EXPN", printable(text))
        if refusal is not None:
            return refusal
        address = self._read(text)
        if isinstance(address, Reply):
            return Answer(address)
        address = address.qualified(self._rules.qualify_recipient)
        found = await self._verified(address, Role.LIST)
        if found is None:
            return Answer(reply.CANNOT_VERIFY.with_text("EXPN not available"))
        shown = printable(str(address if found.rewritten is None else found.rewritten))
        match found.finding:
            case Finding.GOOD if found.discarded:
                return Answer(reply.OK.with_text(f"mail to <{shown}> is discarded"))
            case Finding.GOOD:
                members = (printable(each) for each in found.members or (shown,))
                return Answer(reply.OK.with_text(*(f"<{each}>" for each in members)))
            case Finding.BAD:
                return Answer(Reply(553, "5.1.1", (f"{shown} is undeliverable",)))
            case Finding.UNKNOWN:
                return Answer(reply.LOCAL_PROBLEM.with_text(f"{shown} cannot be resolved at this time"))

    async def etrn(self, text: str) -> Answer:
        """RFC 1985. Without a command of one's own only `#word` is known: a part of the domains whose mail is to be
        delivered now. Raises TemporaryFailure."""
        self._note(f"ETRN {printable(text)} received from", with_ident=False)
        verdict = await self._admission.verdict(Where.ETRN)
        refusal = self._admission.refusal(verdict, f"ETRN {printable(text)}")
        if refusal is not None:
            return refusal
        accepted = Answer(self._admission.accepted(reply.OK, verdict))
        if self._ports.notes is not None and (self._rules.etrn.command or text.startswith("#")):
            command = " ".join(each.source for each in self._rules.etrn.command) or "exim -R"
            self._ports.notes.say(f"ETRN command is: {command}\nETRN command execution skipped")
            return accepted
        if self._rules.etrn.command:
            return await self._etrn_command(text, self._rules.etrn.command, accepted)
        if not text.startswith("#"):
            what = "argument must begin with #"
            fault = events.ProtocolViolated(self._client.facts, what, self._client.line, is_syntax=True)
            self._ports.journal.record(fault)
            return Answer(reply.BAD_ARGUMENTS.with_text(what))
        if self._ports.turns is not None:
            await self._ports.turns.deliver(text[1:])
        return accepted

    async def _etrn_command(self, text: str, command: tuple[Expansion, ...], accepted: Answer) -> Answer:
        """Exim: smtp_etrn_command. The words are cut first and expanded one by one, so that nothing in an argument
        can become a word of its own; no shell sees them."""
        scope = self._client.scope()
        scope.address = AddressView(domain=text)
        try:
            words = [await each.text(scope) for each in command]
        except ExpansionFailed as error:
            return self._admission.trouble(reply.ETRN_FAILED, f"failed to set up ETRN command: {error}")
        turns = self._ports.turns
        if turns is None:
            return accepted
        key = f"etrn-{hashlib.sha256(to_wire(text)).hexdigest()[:32]}" if self._rules.etrn.serialize else ""
        try:
            begun = await turns.run(tuple(words), key)
        except TemporaryFailure as error:
            return self._admission.trouble(reply.ETRN_FAILED, f"failed to set up ETRN command: {error}")
        return accepted if begun else Answer(reply.ETRN_RUNNING.with_text(f"Already processing {printable(text)}"))

    def _note(self, text: str, *, with_ident: bool) -> None:
        self._ports.journal.record(events.ClientNote(self._client.facts, text, with_ident))

    def _read(self, text: str) -> Address | Reply:
        if not text:
            return reply.BAD_ARGUMENTS.with_text("empty address")
        try:
            addresses = read_address_list(text)
        except Malformed as error:
            return reply.BAD_ARGUMENTS.with_text(error.reason)
        if len(addresses) != 1:
            return reply.BAD_ARGUMENTS
        return addresses[0]

    async def _verified(self, address: Address, role: Role) -> Verified | None:
        """None: nobody can tell."""
        addresses = self._ports.conditions.addresses
        if addresses is None:
            return None
        scope = self._client.scope()
        scope.address = address_view(address)
        scope.notes = self._ports.notes
        if scope.notes is not None:
            scope.notes.forget("domain", "local part")
        return await addresses.verify(address, role, scope)
