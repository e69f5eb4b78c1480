"""EXTERNAL, both halves (machine).

RFC 4422 appendix A: who the client is was proved elsewhere, by its certificate in the TLS handshake; here it only says
as whom it wants to act, or with an empty response that the server may take that from the certificate.
"""

from __future__ import annotations

from relay.esmtp.sasl.steps import Challenge, Complete, Failure, Fault, GiveUp, Respond
from relay.mail.text import from_wire


class ExternalServer:
    """One string, prompted for where it did not come with the command."""

    def start(self, initial: bytes | None) -> Challenge | Complete | Failure:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Complete | Failure:
        if b"\0" in response:
            return Failure(Fault.MALFORMED, "a zero octet in the identity")
        return Complete((from_wire(response),))


class ExternalClient:
    """Sends the identity with the command, an empty one as `=`."""

    def __init__(self, identity: bytes) -> None:
        self._identity = identity

    def start(self) -> Respond:
        return Respond(self._identity)

    def challenge(self, data: bytes) -> GiveUp:
        return GiveUp("a challenge in EXTERNAL behind the initial response")

    def distrust(self) -> str:
        return ""
