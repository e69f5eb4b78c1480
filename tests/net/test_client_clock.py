"""How long a server may take, by a clock of the test's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred as Promise
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.delivery.link import HandshakeFailed, LinkFailed
from relay.esmtp.client_settings import ClientSettings
from relay.mail.outcome import ErrorClass
from relay.net.client import HANDSHAKE_TIMEOUT, ESMTPClient
from relay.tls.contexts import ContextCache, make_client_context
from relay.tls.policy import ClientTLS, TLSDemand, VerifyServer

import certs


class Wire(StringTransport):
    """A transport whose end is told at once."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    is_said_to_the_end = False

    def loseWriteConnection(self) -> None:
        self.is_said_to_the_end = True

    def abortConnection(self) -> None:
        self.disconnecting = True


class Peer:
    """A connection of ours, and a server that says what the test wants."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.client = ESMTPClient(
            self.clock, ClientSettings("laptop.test", **settings), ContextCache(make_client_context), self.clock.seconds
        )
        self.wire = Wire()
        self.client.makeConnection(self.wire)
        self.failure: Any = None

    def says(self, text: bytes) -> None:
        self.client.dataReceived(text)
        self.clock.advance(0)

    def start(self, coroutine: Any) -> Promise[Any]:
        running = Promise.fromCoroutine(coroutine)
        running.addErrback(self._failed)
        self.clock.advance(0)
        return running

    def _failed(self, failure: Any) -> None:
        self.failure = failure.value


def policy(tmp_path: Path) -> ClientTLS:
    anchor = tmp_path / "anchor.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    return ClientTLS(demand=TLSDemand.OPPORTUNISTIC, verify=VerifyServer.TRY, verify_certificates=str(anchor))


def greeted(**settings: Any) -> Peer:
    peer = Peer(**settings)
    peer.start(peer.client.hello())
    peer.says(b"220 odd.test\r\n")
    peer.says(b"250-odd.test\r\n250 STARTTLS\r\n")
    return peer


@pytest.mark.parametrize("said", [b"220 go ahead\r\n", b"220 go ahead\r\n\x16\x03\x03"])
def test_a_handshake_that_does_not_end(said: bytes, tmp_path: Path) -> None:
    peer = greeted()
    peer.start(peer.client.start_tls(policy(tmp_path), on_connect=False))
    peer.says(said)
    peer.clock.advance(HANDSHAKE_TIMEOUT - 1)
    assert peer.failure is None
    peer.clock.advance(1)
    peer.clock.advance(0)
    assert isinstance(peer.failure, HandshakeFailed)
    assert "timed out" in str(peer.failure)


def test_a_handshake_has_no_more_time_than_a_command(tmp_path: Path) -> None:
    peer = greeted(command_timeout=7.0)
    peer.start(peer.client.start_tls(policy(tmp_path), on_connect=False))
    peer.says(b"220 go ahead\r\n")
    peer.clock.advance(7.0)
    peer.clock.advance(0)
    assert isinstance(peer.failure, HandshakeFailed)


@pytest.mark.parametrize("said", [b"", b"220-odd", b"220 odd.test\r\n"])
def test_a_greeting_that_does_not_come(said: bytes) -> None:
    peer = Peer(command_timeout=7.0)
    peer.start(peer.client.hello())
    peer.says(said)
    peer.clock.advance(6.9)
    assert peer.failure is None
    peer.clock.advance(0.2)
    peer.clock.advance(0)
    assert isinstance(peer.failure, LinkFailed)
    assert peer.failure.error is ErrorClass.TIMEOUT


def test_octets_that_trickle_in_do_not_prolong_it() -> None:
    peer = Peer(command_timeout=7.0)
    peer.start(peer.client.hello())
    for octet in b"220-odd":
        peer.says(bytes([octet]))
        peer.clock.advance(1)
    peer.clock.advance(0.1)
    peer.clock.advance(0)
    assert isinstance(peer.failure, LinkFailed)


def test_quit_is_waited_for_five_seconds() -> None:
    peer = greeted()
    peer.start(peer.client.quit())
    assert peer.wire.value().endswith(b"QUIT\r\n")
    peer.clock.advance(4.9)
    assert not peer.wire.disconnecting
    peer.clock.advance(0.2)
    assert peer.wire.disconnecting


def test_quit_is_the_last_that_is_said_in_clear() -> None:
    """The server finds the end of our direction behind it, and does not have to wait for it."""
    peer = greeted()
    assert not peer.wire.is_said_to_the_end
    peer.start(peer.client.quit())
    assert peer.wire.is_said_to_the_end
