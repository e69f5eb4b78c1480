"""AUTH in one session: what is offered, the exchange under way, what it comes to (decision).

The exchange itself is `policy.authenticate.Login`; here stand the ACL before it, its words in the log, and what the
session knows afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from relay.esmtp.answers import Answer
from relay.esmtp.parameters import decode_xtext
from relay.esmtp.sasl.replies import unknown_mechanism
from relay.mail import events, reply
from relay.mail.envelope import Parameters
from relay.mail.reply import Reply
from relay.mail.text import printable
from relay.policy.acl_values import Deferred, Denied, Switch, Where
from relay.policy.authenticate import Granted, Login, Outcome, Prompt, Refused, login_by_certificate
from relay.policy.authenticators import Authenticator, ByCertificate, Offer, believes_mail_auth, offer
from relay.policy.event_action import Happening, Point
from relay.reception.admission import Admission
from relay.reception.client import Client
from relay.reception.rules import Ports, Rules

_LONGEST = 64


class Logins:
    """The room for AUTH."""

    def __init__(self, client: Client, admission: Admission, rules: Rules, ports: Ports) -> None:
        self._client = client
        self._admission = admission
        self._rules = rules
        self._ports = ports
        self._offer = Offer()
        self._login: Login | None = None
        self._authenticator: Authenticator | None = None
        self._certificate_waits = False

    def forget(self) -> None:
        """The layer has changed: nothing is offered, no exchange is open, and a certificate may log in anew."""
        self._offer = Offer()
        self._login = self._authenticator = None
        self._certificate_waits = self._client.facts.tls is not None

    async def offered(self) -> str:
        """The text behind AUTH for this client now; it holds until the next greeting. Raises TemporaryFailure."""
        if self._ports.auth is None or not self._rules.auth.authenticators:
            return ""
        self._offer = await offer(self._rules.auth, self._client.scope())
        for trouble in self._offer.troubles:
            self._ports.journal.record(events.Trouble(trouble))
        return self._offer.mechanisms

    # The exchange

    async def asked(self, mechanism: str, initial: str | None) -> Answer:
        """AUTH. Raises TemporaryFailure."""
        verdict = await self._admission.verdict(Where.AUTH)
        refusal = self._admission.refusal(verdict, "AUTH", printable(mechanism))
        if refusal is not None:
            return refusal
        found = self._find(mechanism)
        if found is None or self._ports.auth is None:
            return Answer(unknown_mechanism(printable(mechanism, _LONGEST)))
        self._authenticator = found
        self._login = Login(found, self._offer, self._client.scope(), self._ports.auth)
        return await self._answer(await self._login.start(initial))

    def _find(self, mechanism: str) -> Authenticator | None:
        found = self._offer.find(mechanism)
        if found is None and self._client.effects.has(Switch.ALLOW_AUTH_UNADVERTISED):
            wanted = mechanism.upper()
            servers = (each for each in self._rules.auth.authenticators if each.is_server)
            found = next((each for each in servers if each.public_name.upper() == wanted), None)
        return found

    async def responded(self, text: str) -> Answer:
        """The line behind a challenge."""
        assert self._login is not None
        return await self._answer(await self._login.respond(text))

    async def aborted(self, said: Reply) -> Answer:
        """The exchange was given up, or its line was none."""
        if self._login is not None and said == reply.AUTH_CANCELLED:
            return await self._answer(await self._login.respond("*"))
        return await self._answer(Refused(said, str(said)))

    async def _answer(self, outcome: Outcome) -> Answer:
        authenticator = self._authenticator
        assert authenticator is not None
        match outcome:
            case Prompt(text):
                return Answer(reply.challenge(text))
            case Granted():
                self._grant(outcome)
                self._login = None
                return Answer(outcome.reply)
            case Refused():
                await self._refuse(authenticator, outcome)
                self._login = None
                return Answer(outcome.reply)
            case _ as never:
                assert_never(never)

    def _grant(self, granted: Granted) -> None:
        client = self._client
        client.facts = replace(client.facts, authentication=granted.authentication)
        client.failed_identity = None

    async def _refuse(self, authenticator: Authenticator, refused: Refused) -> None:
        self._client.failed_identity = refused.identity
        action = self._ports.events.main
        if action is not None:
            scope = self._client.scope()
            scope.more = {**scope.more, "sender_host_authenticated": authenticator.name}
            data = f"{refused.reply.code} {refused.reply.text}"
            said = await action.tell(Happening(Point.AUTH_FAILED, data), scope)
            if said:
                self._ports.journal.record(events.WrittenByACL(said, ("main", "reject")))
                return
        self._ports.journal.record(
            events.AuthenticationFailed(self._client.facts, authenticator.name, refused.log_text)
        )

    # Without a command

    async def by_certificate(self) -> None:
        """Once after each handshake: what driver tls says of the certificate. Raises TemporaryFailure."""
        if not self._certificate_waits:
            return
        self._certificate_waits = False
        tls, ports = self._client.facts.tls, self._ports.auth
        found = next((each for each in self._rules.auth.authenticators if isinstance(each.driver, ByCertificate)), None)
        if tls is None or not tls.is_verified or ports is None or found is None:
            return
        self._client.looks_back = True
        try:
            verdict = await self._admission.verdict(Where.AUTH)
        finally:
            self._client.looks_back = False
        if self._admission.refusal(verdict, "AUTH") is not None:
            return
        match await login_by_certificate(self._rules.auth, self._client.scope(), ports):
            case Granted() as granted:
                self._grant(granted)
            case Refused() as refused:
                await self._refuse(found, refused)
            case None:
                pass

    async def vouched(self, parameters: Parameters) -> tuple[Parameters, str] | Answer:
        """Parameters of MAIL with an AUTH= that is believed, and the sender that it names.

        RFC 4954 5: what is not believed is taken for `<>`. An answer where the ACL for it can't say. Raises
        TemporaryFailure.
        """
        said = parameters.get("AUTH")
        if said is None or said == "<>":
            return parameters, ""
        sender = printable(decode_xtext(said))
        doubt = await self._doubt(sender)
        if isinstance(doubt, Answer):
            return doubt
        if not doubt:
            return parameters, sender
        self._ports.journal.record(events.ClientNote(self._client.facts, f"ignoring AUTH={said} from", why=doubt))
        others = tuple((name, "<>" if name == "AUTH" else value) for name, value in parameters.items)
        return Parameters(others), ""

    async def _doubt(self, sender: str) -> str | Answer:
        """Why an AUTH= is not believed, "" where it is (Exim: acl_smtp_mailauth, server_mail_auth_condition)."""
        authentication = self._client.facts.authentication
        if Where.MAILAUTH not in self._rules.acls:
            if authentication is None:
                return "client not authenticated"
        else:
            verdict = await self._admission.verdict(Where.MAILAUTH, authenticated_sender=sender)
            if isinstance(verdict, Deferred):
                return self._admission.refusal(verdict, "MAILAUTH", sender) or ""
            if isinstance(verdict, Denied):
                return "rejected by ACL"
        if await believes_mail_auth(self._rules.auth, self._client.scope()):
            return ""
        identity = f': authenticated ID="{authentication.identity}"' if authentication else ""
        return f"server_mail_auth_condition failed{identity}"
