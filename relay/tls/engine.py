"""One TLS session of OpenSSL over memory BIOs (machine).

The only file that knows pyOpenSSL's Connection and, with its reason, a private name. It is fed one record at a time
and hands back what happened as values; every library error ends as `TLSBroken`. Whether a certificate is good enough
is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from OpenSSL import SSL, crypto

from relay.mail.facts import Certificate
from relay.tls.names import read_certificate

# RFC 9266: the label, an empty context, 32 octets. An absent context gives another value in TLS 1.2.
_BINDING_LABEL = b"EXPORTER-Channel-Binding"
_READ_SIZE = 65536
_RECORD_SIZE = 16384
"""Octets of text in a record at most (RFC 8446 5.1)."""


def set_groups(context: SSL.Context, names: Sequence[str]) -> bool:
    """Limits the groups of the key exchange to those named, in that order. False where OpenSSL knows one of them not.

    Private: the public `set_tmp_ecdh` takes a single curve, no hybrid and no list. tests/tls/test_engine.py notices
    when the name goes.
    """
    done: int = SSL._lib.SSL_CTX_set1_curves_list(context._context, ":".join(names).encode("ascii", "replace"))  # type: ignore[attr-defined]  # see above
    if not done:
        forget_errors()
    return bool(done)


def forget_errors() -> None:
    """Empties OpenSSL's list of errors, which is one for all connections: what is wrong with one peer's certificate
    must not be read as a fault of the next call for another.

    Private: pyOpenSSL leaves there what a failed verification has written. tests/tls/test_anchors.py notices.
    """
    SSL._lib.ERR_clear_error()  # type: ignore[attr-defined]  # see above


def verify_error_text(code: int) -> str:
    """OpenSSL's words for a code of X509_V_ERR_*.

    Private: pyOpenSSL gives them with its own verification alone, not inside a handshake.
    """
    octets: bytes = SSL._ffi.string(SSL._lib.X509_verify_cert_error_string(code))  # type: ignore[attr-defined]  # see above
    return octets.decode("ascii", "replace")


def knows_groups(names: Sequence[str]) -> bool:
    """Whether OpenSSL knows every one of these groups."""
    return set_groups(SSL.Context(SSL.TLS_SERVER_METHOD), names)


@dataclass(slots=True)
class HandshakeNotes:
    """What the callbacks of a context leave behind for the connection that they were called for."""

    refusal: str = ""
    """Why the peer's certificate was refused inside the handshake."""
    fault: str = ""
    """The same as an Exim says it behind `SSL verify error`."""
    staple: str = ""
    """What became of the client's question for an OCSP response: "sent", "none", or "" where it did not ask."""
    staple_received: bytes = b""
    """As a client: the OCSP response that the server sent, in DER."""


def notes_of(connection: SSL.Connection) -> HandshakeNotes:
    """The notes of a connection that an `Engine` made; of any other, ones that nobody reads."""
    notes = connection.get_app_data()
    return notes if isinstance(notes, HandshakeNotes) else HandshakeNotes()


class TLSBroken(Exception):
    """The session is unusable. `by_peer`: the peer said so with an alert; else we (or OpenSSL) found the fault.
    `verify_fault`: what is wrong with the peer's certificate, where that is why."""

    def __init__(self, reason: str, by_peer: bool = False, verify_fault: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.by_peer = by_peer
        self.verify_fault = verify_fault


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a completed handshake says, before anybody judges it. `chain` is what the peer sent, leaf first."""

    version: str
    suite: str
    bits: int
    group: str
    alpn: str
    resumed: bool
    ours: Certificate | None
    peer: Certificate | None
    chain: tuple[x509.Certificate, ...]
    binding: bytes
    staple: str = ""
    """As a server: "sent" or "none" where the client asked for an OCSP response."""
    staple_received: bytes = b""
    """As a client: the OCSP response that the server sent, in DER, not judged yet."""


class Engine:
    """A TLS session in one role on one context."""

    def __init__(
        self, context: SSL.Context, *, is_server: bool, server_name: str = "", alpn: tuple[str, ...] = ()
    ) -> None:
        self._connection = SSL.Connection(context, None)
        self._notes = HandshakeNotes()
        self._connection.set_app_data(self._notes)
        self._is_server = is_server
        if is_server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
            if server_name:
                self._connection.set_tlsext_host_name(
                    server_name.encode("idna" if not server_name.isascii() else "ascii")
                )
        self.is_handshaking = True
        self.peer_closed = False

    def ask_for_staple(self) -> None:
        """Asks the server for an OCSP response (RFC 6066 8); legal before the first octet of the handshake."""
        self._connection.request_ocsp()

    def resume(self, session: SSL.Session) -> None:
        """Offers an earlier session of the same context; legal before the first octet of the handshake."""
        self._connection.set_session(session)

    def session(self) -> SSL.Session | None:
        """The session to resume later; with TLS 1.3 only after the first read is there one that works."""
        return self._connection.get_session()

    def feed(self, record: bytes) -> None:
        """Gives OpenSSL one whole record."""
        self._connection.bio_write(record)

    def advance(self) -> bool:
        """Takes the handshake as far as it goes; True when it is complete. Raises TLSBroken."""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.ZeroReturnError:
            raise TLSBroken("the peer closed the session during the handshake", by_peer=True) from None
        except SSL.Error as error:
            raise self._broken(error) from None
        self.is_handshaking = False
        return True

    def read(self) -> bytes:
        """The application data of the record that was fed last, all of it, b"" where it has none; sets `peer_closed` at
        the peer's close_notify. Raises TLSBroken."""
        try:
            return self._connection.recv(_RECORD_SIZE)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            self.peer_closed = True
            return b""
        except SSL.Error as error:
            raise self._broken(error) from None

    def write(self, data: bytes) -> None:
        """Encrypts `data` (never empty: OpenSSL takes an empty write for an error). Raises TLSBroken."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise self._broken(error) from None

    def close(self) -> None:
        """Writes our close_notify; harmless where the session is broken already."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            self.forget()

    def forget(self) -> None:
        """Marks both directions closed. A session that is dropped without this is struck from OpenSSL's cache."""
        self._connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)

    def output(self) -> bytes:
        """What is to go to the peer."""
        pieces: list[bytes] = []
        try:
            while not pieces or len(pieces[-1]) == _READ_SIZE:
                pieces.append(self._connection.bio_read(_READ_SIZE))
        except SSL.WantReadError:
            pass
        return b"".join(pieces)

    def facts(self) -> Handshake:
        """What the handshake agreed on and what the peer showed; legal once `advance` said True."""
        connection = self._connection
        chain = self._peer_chain()
        ours = connection.get_certificate(as_cryptography=True)
        return Handshake(
            version=_version(connection.get_protocol_version_name()),
            suite=connection.get_cipher_name() or "",
            bits=connection.get_cipher_bits() or 0,
            group=connection.get_group_name() or "",
            alpn=connection.get_alpn_proto_negotiated().decode("latin-1"),
            resumed=self._was_resumed(),
            ours=read_certificate(ours) if ours is not None else None,
            peer=read_certificate(chain[0]) if chain else None,
            chain=chain,
            binding=connection.export_keying_material(_BINDING_LABEL, 32, b""),
            staple=self._notes.staple,
            staple_received=self._notes.staple_received,
        )

    def _peer_chain(self) -> tuple[x509.Certificate, ...]:
        leaf = _readable(self._connection.get_peer_certificate())
        if leaf is None:
            return ()
        sent = [_readable(each) for each in self._connection.get_peer_cert_chain() or ()]
        # A client sees the leaf in its chain, a server does not.
        return (leaf, *(each for each in sent if each is not None and each != leaf))

    def _was_resumed(self) -> bool:
        # Private: pyOpenSSL has no public name for SSL_session_reused; cutting the ServerHello ourselves would repeat
        # OpenSSL's parser. tests/tls/test_engine.py notices when the name goes.
        return bool(SSL._lib.SSL_session_reused(self._connection._ssl))  # type: ignore[attr-defined]  # see above

    def _broken(self, error: SSL.Error) -> TLSBroken:
        if self._notes.refusal:
            # OpenSSL's own text may be of the step by which it found out.
            return TLSBroken(self._notes.refusal, verify_fault=self._notes.fault)
        text = _first_text(error)
        return TLSBroken(text, by_peer=" alert " in f" {text} ")


def _readable(certificate: crypto.X509 | None) -> x509.Certificate | None:
    """None also for a certificate that OpenSSL takes and cryptography's stricter parser refuses: it gives no rights."""
    if certificate is None:
        return None
    try:
        return certificate.to_cryptography()
    except (ValueError, x509.InvalidVersion):
        return None


def _version(name: str) -> str:
    """OpenSSL's `TLSv1.3` as Exim's `TLS1.3`."""
    return name.replace("TLSv", "TLS")


def _first_text(error: SSL.Error) -> str:
    """The reason in OpenSSL's words: the first entry of its error queue."""
    if isinstance(error, SSL.SysCallError):
        return "the connection was cut"
    queue = error.args[0] if error.args else ()
    if isinstance(queue, list | tuple):
        for entry in queue:
            if isinstance(entry, tuple) and entry[-1]:
                return str(entry[-1])
    return "TLS error"
