"""OpenSSL contexts made from policies, kept as long as their files stay the same (disk).

Making a context costs as much as a handshake, so equal policies share one. The files behind a context are looked at
again when the last look is `RECHECK` seconds old; a file that has changed makes a new context for the next
connection, and sessions on the old one live on.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL, crypto

from relay.tls.anchors import AnchorSet, load_anchors
from relay.tls.ciphers import set_ciphers
from relay.tls.files import Stamp, TLSFileError, key_matches, read_certificates, read_private_key, stamp
from relay.tls.policy import CertificateRequest, ClientTLS, ServerTLS

# Seconds between two looks at the files of a cached context.
RECHECK = 1.0
# Policies that are kept at once; options may be expanded with the peer's address.
CACHE_SIZE = 256
# SSL_MODE_NO_AUTO_CHAIN: OpenSSL would fill a short chain from the anchors and send even their root. pyOpenSSL takes
# the number but exports no name for it.
_NO_AUTO_CHAIN = 8
# X509_V_ERR_UNABLE_TO_GET_CRL, X509_V_ERR_INVALID_PURPOSE
_PARDONED = frozenset({3, 26})

Policy = TypeVar("Policy", ServerTLS, ClientTLS)


@dataclass(frozen=True, slots=True)
class TLSContext:
    """A ready OpenSSL context and the anchors that its peers are judged by.

    `anchor_fault` is set where the named anchors could not be read: nobody verifies then, and the operator is told.
    """

    ssl: SSL.Context
    anchors: AnchorSet
    anchor_fault: TLSFileError | None = None


def make_server_context(policy: ServerTLS) -> TLSContext:
    """A context for one server policy. Raises TLSFileError, BadCipherList."""
    context = _bare_context(SSL.TLS_SERVER_METHOD, policy.require_ciphers)
    _load_identity(context, policy.certificate, policy.privatekey)
    anchors, fault = _anchors_or_none(policy)
    if policy.resumption:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # stateless tickets only
    else:
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # What a session may be resumed under: the whole policy, so that none crosses to another one.
    digest = hashlib.sha256(repr((policy, stamp(policy.verify_certificates, policy.crl))).encode()).digest()
    context.set_session_id(digest)
    match policy.request:
        case CertificateRequest.NONE:
            context.set_verify(SSL.VERIFY_NONE)
        case CertificateRequest.TRY:
            # The handshake takes any certificate whose key is proved; whether it is enough is judged afterwards.
            context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        case CertificateRequest.MUST:
            _demand_certificate(context, anchors)
    return TLSContext(context, anchors, fault)


def make_client_context(policy: ClientTLS) -> TLSContext:
    """A context for one client policy. Raises TLSFileError, BadCipherList."""
    context = _bare_context(SSL.TLS_CLIENT_METHOD, policy.require_ciphers)
    if policy.certificate:
        _load_identity(context, policy.certificate, policy.privatekey)
    if policy.alpn:
        context.set_alpn_protos([name.encode("ascii") for name in policy.alpn])
    # Any server completes the handshake; nothing is sent before its certificate has been judged.
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    anchors, fault = _anchors_or_none(policy)
    return TLSContext(context, anchors, fault)


def _bare_context(method: int, require_ciphers: str) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _NO_AUTO_CHAIN)
    set_ciphers(context, require_ciphers)
    return context


def _load_identity(context: SSL.Context, certificate_file: str, key_file: str) -> None:
    """Puts our certificate, its chain and its key on the context. Raises TLSFileError."""
    chain = read_certificates(certificate_file)
    key = read_private_key(key_file or certificate_file)
    try:
        is_pair = key_matches(chain[0], key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TLSFileError(
            certificate_file, f"the certificate's key: {error}", "use an EC P-256 or RSA 2048 key"
        ) from None
    if not is_pair:
        raise TLSFileError(
            key_file or certificate_file,
            f"the key does not belong to the certificate in {certificate_file}",
            "name the right pair, leaf certificate first",
        )
    try:
        context.use_certificate(chain[0])
        for issuer in chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(key)  # type: ignore[arg-type]  # checked by OpenSSL
    except (SSL.Error, TypeError, ValueError) as error:
        raise TLSFileError(
            certificate_file, f"OpenSSL refuses it: {error}", "use an EC P-256 or RSA 2048 key"
        ) from None


def _anchors_or_none(policy: ServerTLS | ClientTLS) -> tuple[AnchorSet, TLSFileError | None]:
    """The anchors, or an empty set that nobody passes, with the reason."""
    if isinstance(policy, ServerTLS) and policy.request is CertificateRequest.NONE:
        return AnchorSet([], []), None
    try:
        return load_anchors(policy.verify_certificates, policy.crl), None
    except TLSFileError as error:
        return AnchorSet([], []), error


def _demand_certificate(context: SSL.Context, anchors: AnchorSet) -> None:
    """OpenSSL ends the handshake itself, with the right alert, unless the chain leads to the named set."""
    store = context.get_cert_store()
    assert store is not None
    anchors.fill(store)

    def is_accepted(_: SSL.Connection, certificate: crypto.X509, fault: int, depth: int, passed: int) -> bool:
        if passed:
            return True
        # As AnchorSet.verify: a certificate that is in the set itself needs no issuer's list and no purpose.
        octets = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        return depth == 0 and fault in _PARDONED and anchors.holds(octets)

    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, is_accepted)


@dataclass(slots=True)
class _Entry:
    context: TLSContext
    stamp: Stamp
    checked: float


class ContextCache(Generic[Policy]):
    """Contexts by policy, the least recently used dropped first. `now` is any clock of seconds."""

    def __init__(self, make: Callable[[Policy], TLSContext], size: int = CACHE_SIZE) -> None:
        self._make: Callable[[Policy], TLSContext] = make
        self._size = size
        self._entries: OrderedDict[Policy, _Entry] = OrderedDict()

    def get(self, policy: Policy, now: float) -> TLSContext:
        """The context for a policy, made anew where one of its files has changed.

        Raises TLSFileError, BadCipherList.
        """
        entry = self._entries.get(policy)
        if entry is not None and 0 <= now - entry.checked < RECHECK:
            self._entries.move_to_end(policy)
            return entry.context
        files = stamp(policy.certificate, policy.privatekey, policy.verify_certificates, policy.crl)
        if entry is not None and entry.stamp == files:
            entry.checked = now
            self._entries.move_to_end(policy)
            return entry.context
        made = self._make(policy)
        self._entries[policy] = _Entry(made, files, now)
        self._entries.move_to_end(policy)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return made
