"""Commands that ask for something other than taking a message: VRFY, EXPN, ETRN, AUTH, each by its ACL (decision)."""

from __future__ import annotations

from relay.esmtp.answers import Answer
from relay.esmtp.grammar import Malformed
from relay.esmtp.header_addresses import read_address_list
from relay.mail import events, reply
from relay.mail.address import Address
from relay.mail.reply import Reply
from relay.mail.text import printable
from relay.policy.acl_program import Finding, Role, Verified
from relay.policy.acl_values import Where
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
        if self._rules.acls.get(Where.VRFY) is None:
            return Answer(reply.CANNOT_VERIFY)
        address = self._read(text)
        if isinstance(address, Reply):
            return Answer(address)
        verdict = await self._admission.verdict(Where.VRFY, address)
        refusal = self._admission.refusal(verdict, "VRFY", printable(text))
        if refusal is not None:
            return refusal
        found = await self._verified(address)
        shown = f"<{address}>"
        if found is None:
            return Answer(reply.CANNOT_VERIFY)
        match found.finding:
            case Finding.GOOD:
                return Answer(reply.OK.with_text(f"{shown} is deliverable"))
            case Finding.BAD:
                return Answer(Reply(550, "5.1.1", (f"{shown} is not deliverable",)))
            case Finding.UNKNOWN:
                return Answer(reply.LOCAL_PROBLEM.with_text(f"Cannot resolve {shown} at this time"))

    async def expn(self, text: str) -> Answer:
        """What an address stands for. Nothing here redirects addresses yet, so that it stands for itself."""
        refusal = self._admission.refusal(await self._admission.verdict(Where.EXPN), "EXPN", printable(text))
        if refusal is not None:
            return refusal
        address = self._read(text)
        if isinstance(address, Reply):
            return Answer(address)
        found = await self._verified(address)
        if found is None:
            return Answer(reply.CANNOT_VERIFY.with_text("EXPN not available"))
        match found.finding:
            case Finding.GOOD:
                return Answer(reply.OK.with_text(f"<{address}>"))
            case Finding.BAD:
                return Answer(Reply(550, "5.1.1", (f"{address}: {found.reason}",)))
            case Finding.UNKNOWN:
                what = f"{address} cannot be resolved at this time: {found.reason}"
                return Answer(reply.LOCAL_PROBLEM.with_text(what))

    async def etrn(self, text: str) -> Answer:
        """RFC 1985. Only `#word` is known, as there is no command to run for anything else (smtp_etrn_command)."""
        self._ports.journal.record(events.DaemonNote(f"ETRN {text} received from {self._client_shown}"))
        verdict = await self._admission.verdict(Where.ETRN, smtp_command_argument=text)
        refusal = self._admission.refusal(verdict, "ETRN", printable(text))
        if refusal is not None:
            return refusal
        if not text.startswith("#"):
            return Answer(reply.BAD_ARGUMENTS.with_text("argument must begin with #"))
        return Answer(self._admission.accepted(reply.OK, verdict))

    async def auth(self, mechanism: str) -> Answer:
        """No authenticator is served yet; the ACL may refuse before that is said."""
        refusal = self._admission.refusal(await self._admission.verdict(Where.AUTH), "AUTH", printable(mechanism))
        return refusal or Answer(reply.NOT_IMPLEMENTED)

    @property
    def _client_shown(self) -> str:
        peer = self._client.facts.peer
        return f"H=[{peer.address}]" if peer is not None else "a local client"

    def _read(self, text: str) -> Address | Reply:
        try:
            addresses = read_address_list(text)
        except Malformed as error:
            return reply.BAD_ARGUMENTS.with_text(error.reason)
        if len(addresses) != 1:
            return reply.BAD_ARGUMENTS
        return addresses[0].qualified(self._rules.qualify_recipient)

    async def _verified(self, address: Address) -> Verified | None:
        """None: nobody can tell."""
        addresses = self._ports.conditions.addresses
        if addresses is None:
            return None
        scope = self._client.scope()
        scope.address = address_view(address)
        return await addresses.verify(address, Role.RECIPIENT, scope)
