"""OpenSSL contexts made from policies, kept as long as their files stay the same (disk).

Making a context costs as much as a handshake, so equal policies share one. The files behind a context are looked at
again when the last look is `RECHECK` seconds old; a file that has changed makes a new context for the next
connection, and sessions on the old one live on. A certificate, key, staple or revocation list that was renewed and is
broken leaves the earlier one in force; trusted certificates that can't be read give nobody any rights.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL, crypto

from relay.tls.anchors import AnchorSet, RevocationStore, date_fault, is_authority, load_anchors, verify_faults
from relay.tls.ciphers import BadCipherList, set_ciphers
from relay.tls.dh_groups import DEFAULT, BadParameters, group_of_size, named_group, own_size, size_in_bits
from relay.tls.engine import forget_errors, notes_of, set_groups, verify_error_text
from relay.tls.files import Stamp, TLSFileError, stamp
from relay.tls.identity import Identity, IdentityStore, Loaded, load_identity
from relay.tls.make import certificate_pem
from relay.tls.names import read_certificate
from relay.tls.parameters import ParameterCache, read_parameters
from relay.tls.policy import CertificateRequest, ClientTLS, IdentityFiles, ServerTLS, VerifyServer, staple_file
from relay.tls.priorities import CipherChoice
from relay.tls.staples import Staple, der_of
from relay.tls.switches import BadSwitch, read_switches

# Seconds between two looks at the files of a cached context.
RECHECK = 1.0
# Seconds after which a fault that is still there is told again.
REMIND = 3600.0
# Policies that are kept at once; options may be expanded with the peer's address.
CACHE_SIZE = 256
# SSL_MODE_NO_AUTO_CHAIN: OpenSSL would fill a short chain from the anchors and send even their root. pyOpenSSL takes
# the number but exports no name for it.
_NO_AUTO_CHAIN = 8
# Octets of names that a request for a certificate may carry; a whole bundle of authorities is no hint.
_HINT_LIMIT = 16384
# X509_V_ERR_UNABLE_TO_GET_CRL, X509_V_ERR_INVALID_PURPOSE
_PARDONED = frozenset({3, 26})
# X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, _DEPTH_ZERO_SELF_SIGNED_CERT, _SELF_SIGNED_CERT_IN_CHAIN,
# _UNABLE_TO_GET_ISSUER_CERT_LOCALLY, _UNABLE_TO_VERIFY_LEAF_SIGNATURE; _CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED
_NO_WAY_TO_ANCHORS = frozenset({2, 18, 19, 20, 21})
_DATES = frozenset({9, 10})

Policy = TypeVar("Policy", ServerTLS, ClientTLS)


@dataclass(slots=True)
class Moment:
    """The time of the last look at a context, seconds since the epoch, for what is judged inside a handshake."""

    now: float = 0.0


@dataclass(frozen=True, slots=True)
class FileTrouble:
    """A file that can't be used, and what that means for the clients to come."""

    fault: TLSFileError
    consequence: str


@dataclass(frozen=True, slots=True)
class TLSContext:
    """A ready OpenSSL context and the anchors that its peers are judged by.

    `anchor_fault` is set where the named anchors could not be read: nobody verifies then, and the operator is told.
    `faults` are troubles with our own files that the context was made in spite of.
    """

    ssl: SSL.Context
    anchors: AnchorSet
    anchor_fault: TLSFileError | None = None
    faults: tuple[TLSFileError, ...] = ()
    moment: Moment = field(default_factory=Moment)

    @property
    def troubles(self) -> tuple[FileTrouble, ...]:
        """Every fault with what follows from it."""
        kept = tuple(FileTrouble(fault, "what was good before stays in force") for fault in self.faults)
        return kept if self.anchor_fault is None else (*kept, FileTrouble(self.anchor_fault, "no certificate verifies"))


def make_server_context(
    policy: ServerTLS,
    identities: IdentityStore | None = None,
    now: float = 0.0,
    parameters: ParameterCache | None = None,
    revocations: RevocationStore | None = None,
) -> TLSContext:
    """A context for one server policy at `now`, seconds since the epoch. Raises TLSFileError, BadCipherList.

    `identities` and `revocations` remember what was good before; `parameters` makes own Diffie-Hellman parameters.
    """
    identities = identities or IdentityStore()
    made = _Made(identities, parameters, revocations or RevocationStore(), now)
    loaded = identities.load(policy, now)
    try:
        return _server_context(policy, loaded, made)
    except TLSFileError as error:
        # Readable, and still not to OpenSSL's taste: what it took before goes on.
        earlier = [identities.last_good(files) for files in policy.identities]
        good = tuple(each for each in earlier if each is not None)
        if len(good) != len(policy.identities) or good == loaded.identities:
            raise
        return _server_context(policy, Loaded(good, (*loaded.faults, error)), made)


@dataclass(frozen=True, slots=True)
class _Made:
    """What contexts of one process are made with."""

    identities: IdentityStore
    parameters: ParameterCache | None
    revocations: RevocationStore
    now: float


def _server_context(policy: ServerTLS, loaded: Loaded, made: _Made) -> TLSContext:
    context, choice = _bare_context(SSL.TLS_SERVER_METHOD, policy.require_ciphers)
    faults = list(loaded.faults)
    _set_switches(context, policy.switches)
    _limit_groups(context, policy.groups or choice.groups)
    _set_parameters(context, policy, choice, made.parameters, faults)
    _use_identities(context, policy.identities, loaded.identities)
    moment = Moment(made.now)
    _staple(context, loaded.identities, moment)
    if policy.alpn:
        _choose_protocol(context, policy.alpn)
    anchors, fault = _anchors_or_none(policy, made.revocations, faults)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # stateless tickets only
    if not policy.resumption:
        context.set_options(SSL.OP_NO_TICKET)
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
            _demand_certificate(context, anchors, moment)
            if os.path.isfile(policy.verify_certificates):
                _name_authorities(context, anchors)
    for files, identity in zip(policy.identities, loaded.identities, strict=False):
        made.identities.remember(files, identity)
    return TLSContext(context, anchors, fault, tuple(faults), moment)


def make_client_context(policy: ClientTLS) -> TLSContext:
    """A context for one client policy. Raises TLSFileError, BadCipherList."""
    context, choice = _bare_context(SSL.TLS_CLIENT_METHOD, policy.require_ciphers)
    _limit_groups(context, choice.groups)
    if policy.certificate:
        _use_one(context, load_identity(IdentityFiles(policy.certificate, policy.privatekey)))
    if policy.alpn:
        context.set_alpn_protos([name.encode("ascii") for name in policy.alpn])
    # Nothing is sent before the server's certificate has been judged, once the handshake is complete.
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if policy.request_ocsp or policy.require_ocsp:
        context.set_ocsp_client_callback(_note_staple)
    anchors, fault = _anchors_or_none(policy)
    moment = Moment()
    if policy.verify is VerifyServer.MUST and not policy.pins and fault is None:
        _refuse_strangers(context, anchors, moment)
    return TLSContext(context, anchors, fault, moment=moment)


def _note_staple(connection: SSL.Connection, staple: bytes, _: object) -> bool:
    """Whether the response is good is judged after the handshake, like the certificate."""
    notes_of(connection).staple_received = staple
    return True


def _bare_context(method: int, require_ciphers: str) -> tuple[SSL.Context, CipherChoice]:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _NO_AUTO_CHAIN)
    return context, set_ciphers(context, require_ciphers)


def _set_switches(context: SSL.Context, text: str) -> None:
    try:
        bits = read_switches(text).bits
    except BadSwitch as error:
        raise BadCipherList(f"openssl_options: {error}") from None
    if bits:
        context.set_options(bits)


def _limit_groups(context: SSL.Context, names: tuple[str, ...]) -> None:
    """Exim: tls_eccurve; one `auto` among the names leaves the choice to OpenSSL."""
    if names and "auto" not in names and not set_groups(context, names):
        raise BadCipherList(f"tls_eccurve: a group of {':'.join(names)!r} is not known")


# Parameters of Diffie-Hellman


def _set_parameters(
    context: SSL.Context,
    policy: ServerTLS,
    choice: CipherChoice,
    parameters: ParameterCache | None,
    faults: list[TLSFileError],
) -> None:
    """Exim: tls_dhparam, tls_dh_max_bits. Trouble with them costs a key exchange that few need, never the session."""
    if policy.dhparam == "none":
        if choice.suites:
            _without_finite_fields(context, choice.suites)
        return
    try:
        pem = _parameters(policy.dhparam, parameters)
    except BadParameters as error:
        raise BadCipherList(f"tls_dhparam: {error}") from None
    except TLSFileError as error:
        faults.append(error)
        pem = named_group(DEFAULT)
    bits = size_in_bits(pem)
    if bits > policy.dh_max_bits:
        what = f"{bits} bits are more than tls_dh_max_bits ({policy.dh_max_bits})"
        faults.append(TLSFileError(policy.dhparam or DEFAULT, what, "raise tls_dh_max_bits, or take smaller ones"))
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        try:
            context.load_tmp_dh(file.name.encode())
        except SSL.Error as error:
            what = f"OpenSSL refuses the Diffie-Hellman parameters: {error.args[0][0][-1] if error.args[0] else ''}"
            faults.append(TLSFileError(policy.dhparam, what, "take parameters of 2048 bits"))


def _parameters(text: str, parameters: ParameterCache | None) -> bytes:
    if text.startswith("/"):
        return read_parameters(text)
    bits = own_size(text)
    if bits:
        return parameters.parameters(bits) if parameters is not None else group_of_size(bits)
    return named_group(text or DEFAULT)


def _without_finite_fields(context: SSL.Context, suites: tuple[str, ...]) -> None:
    try:
        context.set_cipher_list(":".join((*suites, "!kDHE")).encode("ascii"))
    except SSL.Error:
        raise BadCipherList("tls_dhparam = none leaves no cipher suite of tls_require_ciphers") from None


# Certificates


def _use_identities(context: SSL.Context, files: tuple[IdentityFiles, ...], identities: tuple[Identity, ...]) -> None:
    """Puts our certificates, their chains and their keys on the context. Raises TLSFileError."""
    if len(identities) == 1:
        _use_one(context, identities[0])
        return
    for identity in identities:
        _use_beside_others(context, identity)


def _use_one(context: SSL.Context, identity: Identity) -> None:
    try:
        context.use_certificate(identity.chain[0])
        for issuer in identity.chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(identity.key)  # type: ignore[arg-type]  # checked by OpenSSL
    except (SSL.Error, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise _refused(identity, error) from None


def _use_beside_others(context: SSL.Context, identity: Identity) -> None:
    """A chain of its own for each type of key: that is possible through a file alone."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(certificate_pem(each) for each in identity.chain))
        file.flush()
        try:
            context.use_certificate_chain_file(file.name)
            context.use_privatekey(identity.key)  # type: ignore[arg-type]  # checked by OpenSSL
        except (SSL.Error, TypeError, ValueError, UnsupportedAlgorithm) as error:
            raise _refused(identity, error) from None


def _refused(identity: Identity, error: Exception) -> TLSFileError:
    return TLSFileError(identity.source, f"OpenSSL refuses it: {error}", "use an EC P-256 or RSA 2048 key")


def _staple(context: SSL.Context, identities: tuple[Identity, ...], moment: Moment) -> None:
    """Answers a client that asks for an OCSP response with the one of the certificate in use."""
    staples: dict[bytes, Staple] = {
        der_of(each.chain[0]): each.staple for each in identities if each.staple is not None
    }

    def respond(connection: SSL.Connection, _: object) -> bytes:
        leaf = connection.get_certificate(as_cryptography=True)
        staple = staples.get(der_of(leaf)) if leaf is not None else None
        octets = staple.at(moment.now) if staple is not None else b""
        notes_of(connection).staple = "sent" if octets else "none"
        return octets

    context.set_ocsp_server_callback(respond)


def _choose_protocol(context: SSL.Context, accepted: tuple[str, ...]) -> None:
    """RFC 7301 3.2. Clients that offer something else have been refused before (`alpn`)."""
    names = [name.encode("latin-1", "replace") for name in accepted]

    def choose(_: SSL.Connection, offered: list[bytes]) -> bytes:
        return next((name for name in offered if name in names), b"")

    context.set_alpn_select_callback(lambda at, offered: choose(at, offered) or SSL.NO_OVERLAPPING_PROTOCOLS)


# Verification


def _anchors_or_none(
    policy: ServerTLS | ClientTLS,
    revocations: RevocationStore | None = None,
    faults: list[TLSFileError] | None = None,
) -> tuple[AnchorSet, TLSFileError | None]:
    """The anchors, or an empty set that nobody passes, with the reason."""
    if isinstance(policy, ServerTLS) and policy.request is CertificateRequest.NONE:
        return AnchorSet([], []), None
    try:
        return load_anchors(policy.verify_certificates, policy.crl, revocations, faults), None
    except TLSFileError as error:
        return AnchorSet([], []), error


def _demand_certificate(context: SSL.Context, anchors: AnchorSet, moment: Moment) -> None:
    """OpenSSL ends the handshake itself, with the right alert, unless the chain leads to the named set."""
    store = context.get_cert_store()
    assert store is not None
    anchors.fill(store)

    def is_accepted(connection: SSL.Connection, shown: crypto.X509, fault: int, depth: int, passed: int) -> bool:
        if passed:
            return True
        # As AnchorSet.verify: a certificate that is in the set itself needs no issuer's list and no purpose.
        octets = crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)
        if depth == 0 and fault in _PARDONED and anchors.holds(octets):
            return True
        fault = anchors.list_fault(fault, octets, moment.now)
        if fault == 0:
            forget_errors()
            return True
        notes = notes_of(connection)
        notes.refusal, notes.fault = _refusal(anchors, octets, fault, depth, "client")
        return False

    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, is_accepted)


def _refuse_strangers(context: SSL.Context, anchors: AnchorSet, moment: Moment) -> None:
    """A server whose certificate can't verify is told so by an alert, which its log has, and not just left.

    Only what AnchorSet.verify refuses as well ends a handshake here; the whole verdict is given once it is complete.
    """
    store = context.get_cert_store()
    assert store is not None
    anchors.fill(store)

    def is_accepted(connection: SSL.Connection, shown: crypto.X509, fault: int, depth: int, passed: int) -> bool:
        if passed:
            return True
        octets = crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)
        forget_errors()
        if anchors.holds(octets) or not _is_strange(fault, shown, moment.now):
            return True
        notes = notes_of(connection)
        notes.refusal, notes.fault = _refusal(anchors, octets, fault, depth, "server")
        return False

    context.set_verify(SSL.VERIFY_PEER, is_accepted)


def _is_strange(fault: int, shown: crypto.X509, now: float) -> bool:
    """Whether a fault that OpenSSL has found is one for us, too."""
    if fault in _DATES:
        try:
            return bool(date_fault(shown.to_cryptography(), now))
        except (ValueError, x509.InvalidVersion):
            return False
    return fault in _NO_WAY_TO_ANCHORS


def _name_authorities(context: SSL.Context, anchors: AnchorSet) -> None:
    """RFC 8446 4.2.4: tells a client which of its certificates will do, where no other one would get it in.

    Exim names them also where verification is only tried. But there are clients that show no certificate whose issuer
    is not named, and one that nobody knows yet is to be seen in the log.
    """
    names = {each.subject for each in anchors.certificates}
    octets = sum(len(name.public_bytes()) for name in names)
    if octets <= _HINT_LIMIT and all(each.issuer in names for each in anchors.certificates if not is_authority(each)):
        for each in anchors.certificates:
            context.add_client_ca(each)


def _refusal(anchors: AnchorSet, octets: bytes, fault: int, depth: int, whose: str) -> tuple[str, str]:
    """The reason for the log, with what a client's certificate at fault is known by; and Exim's words."""
    try:
        certificate = x509.load_der_x509_certificate(octets)
        facts = read_certificate(certificate)
    except (ValueError, x509.InvalidVersion):
        return f"the {whose}'s certificate can't be read", ""
    text = verify_error_text(fault)
    why = anchors.reason(fault, depth, text, certificate)
    first = verify_faults(fault, depth, text, certificate)[0]
    if whose == "server":
        return why, first
    return f"{why}: {facts.subject} FP={facts.fingerprint} KEY={facts.key_digest}", first


# The cache


@dataclass(slots=True)
class _Entry:
    context: TLSContext
    stamp: Stamp
    checked: float
    told: float


def _files_of(policy: ServerTLS | ClientTLS) -> tuple[str, ...]:
    names = [policy.certificate, policy.privatekey, policy.verify_certificates, policy.crl]
    if isinstance(policy, ServerTLS):
        for files in policy.identities:
            names += [files.certificate, files.privatekey, staple_file(files.staple)]
        if policy.dhparam.startswith("/"):
            names.append(policy.dhparam)
    return tuple(dict.fromkeys(name for name in names if name))


class ContextCache(Generic[Policy]):
    """Contexts by policy, the least recently used dropped first. `now` is any clock of seconds.

    `tell` hears of each trouble with files when it is met, and again every `REMIND` seconds while it lasts.
    `further` gives files beside those that the policy names.
    """

    def __init__(
        self,
        make: Callable[[Policy], TLSContext],
        size: int = CACHE_SIZE,
        *,
        tell: Callable[[FileTrouble], None] | None = None,
        further: Callable[[Policy], tuple[str, ...]] | None = None,
    ) -> None:
        self._make: Callable[[Policy], TLSContext] = make
        self._size = size
        self._tell = tell
        self._further: Callable[[Policy], tuple[str, ...]] | None = further
        self._entries: OrderedDict[Policy, _Entry] = OrderedDict()

    def get(self, policy: Policy, now: float) -> TLSContext:
        """The context for a policy, made anew where one of its files has changed.

        Raises TLSFileError, BadCipherList.
        """
        entry = self._entries.get(policy)
        if entry is None or not 0 <= now - entry.checked < RECHECK:
            entry = self._looked_at(policy, entry, now)
        entry.context.moment.now = now
        self._entries.move_to_end(policy)
        if now - entry.told >= REMIND and entry.context.troubles:
            self._report(entry, now)
        return entry.context

    def _looked_at(self, policy: Policy, entry: _Entry | None, now: float) -> _Entry:
        files = stamp(*_files_of(policy), *(self._further(policy) if self._further is not None else ()))
        if entry is not None and entry.stamp == files:
            entry.checked = now
            return entry
        entry = self._entries[policy] = _Entry(self._make(policy), files, now, now)
        self._report(entry, now)
        self._entries.move_to_end(policy)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return entry

    def _report(self, entry: _Entry, now: float) -> None:
        entry.told = now
        if self._tell is not None:
            for trouble in entry.context.troubles:
                self._tell(trouble)


class ServerContexts:
    """The server contexts of one process: the cache, what was good before, and own parameters."""

    def __init__(
        self,
        parameters: ParameterCache | None = None,
        tell: Callable[[FileTrouble], None] | None = None,
        size: int = CACHE_SIZE,
    ) -> None:
        self._identities = IdentityStore()
        self._revocations = RevocationStore()
        self._parameters = parameters
        self._now = 0.0
        self._cache: ContextCache[ServerTLS] = ContextCache(self._made, size, tell=tell, further=self._own_parameters)

    def get(self, policy: ServerTLS, now: float) -> TLSContext:
        """The context for a policy at `now`, seconds since the epoch. Raises TLSFileError, BadCipherList."""
        self._now = now
        return self._cache.get(policy, now)

    def make_self_signed(self, name: str, now: float) -> Identity:
        """Makes the certificate of a set-up that names none before a client waits for it. Raises TLSFileError."""
        return self._identities.self_signed(name, now)

    def adopt_self_signed(self, name: str, identity: Identity) -> None:
        """Has another process's in place of the one that would be made here."""
        self._identities.adopt(name, identity)

    def stop(self) -> None:
        """Ends what is being made in the background."""
        if self._parameters is not None:
            self._parameters.stop()

    def _made(self, policy: ServerTLS) -> TLSContext:
        return make_server_context(policy, self._identities, self._now, self._parameters, self._revocations)

    def _own_parameters(self, policy: ServerTLS) -> tuple[str, ...]:
        bits = own_size(policy.dhparam)
        return (self._parameters.path(bits),) if bits and self._parameters is not None else ()
