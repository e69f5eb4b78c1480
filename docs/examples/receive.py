"""Prints every message that a trusted certificate sends: python receive.py PORT CERTIFICATE KEY TRUSTED"""

import sys
import time

from twisted.internet import endpoints, task

from relay.mail import reply
from relay.net.mailbox import MailboxSession
from relay.net.server import ESMTPServerFactory
from relay.tls.contexts import make_server_context
from relay.tls.policy import CertificateRequest, ServerTLS


class Printer(MailboxSession):
    """Takes what a verified certificate sends."""

    async def accepts(self, recipient):
        return self.facts.tls is not None and self.facts.tls.is_verified

    async def deliver(self, envelope, message):
        print(f"from {envelope.sender}, {len(message)} octets", flush=True)
        return reply.MESSAGE_ACCEPTED


async def main(reactor, port, certificate, key, trusted):
    """Runs until it is done."""
    tls = make_server_context(ServerTLS(certificate, key, trusted, request=CertificateRequest.TRY))
    factory = ESMTPServerFactory(
        reactor, lambda peer, local, _: Printer("mail.example", peer, local, time.time(), tls)
    )
    await endpoints.serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(factory)
    await task.deferLater(reactor, 60)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
