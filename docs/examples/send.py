"""Sends one message with a certificate: python send.py PORT CERTIFICATE KEY TRUSTED"""

import sys
import time

from twisted.internet import endpoints, task

from relay.mail.address import Address
from relay.mail.envelope import Envelope, Recipient
from relay.net.client import ESMTPClientFactory
from relay.tls.policy import ClientTLS
from relay.trust.certificate import judge_server


class Letter:
    """A body in one piece."""

    async def piece(self, number):
        return b"Good morning.\r\n" if number == 0 else b""


async def main(reactor, port, certificate, key, trusted):
    """Runs until it is done."""
    tls = ClientTLS(certificate=certificate, privatekey=key, verify_certificates=trusted)
    factory = ESMTPClientFactory(reactor, "laptop.example", time.time)
    client = await endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}").connect(factory)
    await client.hello()
    handshake, anchors = await client.start_tls(tls, on_connect=False)
    print("the server is", judge_server(handshake, anchors, tls, time.time()))
    await client.hello()
    envelope = Envelope(Address("me", "laptop.example"), (Recipient(Address("you", "mail.example")),))
    print(*await client.send(envelope, b"Subject: hello\r\n", Letter()))
    await client.quit()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
