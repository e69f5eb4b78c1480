"""Turns the TLS options of a configuration into the policy of one connection (decision).

Exim expands these options every time a client connects or a host is dialled; a forced failure means "as if it were not
set". What comes out is a plain value (`relay.tls.policy`) that contexts are cached by.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from relay.expand.errors import ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.expand.values import is_tainted
from relay.mail.text import printable
from relay.policy.hosts import matches_client, matches_host
from relay.tls.cipher_lists import joined_lists
from relay.tls.policy import (
    CertificateRequest,
    ClientTLS,
    IdentityFiles,
    ServerTLS,
    TLSDemand,
    VerifyServer,
    named_set,
    staple_files,
)


@dataclass(frozen=True, slots=True)
class ServerTLSRules:
    """The main section's TLS options, compiled (Exim: chapter "Encrypted SMTP connections", main options)."""

    advertise_hosts: MatchList | None
    certificate: Expansion | None = None
    privatekey: Expansion | None = None
    verify_certificates: Expansion | None = None
    crl: Expansion | None = None
    require_ciphers: Expansion | None = None
    verify_hosts: MatchList | None = None
    try_verify_hosts: MatchList | None = None
    resumption_hosts: MatchList | None = None
    on_connect_ports: frozenset[int] = frozenset()
    host_name: str = ""
    """For the self-signed certificate that is made where `certificate` is not set; empty: there is no TLS then."""
    ocsp_file: Expansion | None = None
    dhparam: Expansion | None = None
    dh_max_bits: int = 2236
    eccurve: Expansion | None = None
    switches: str = ""
    """Exim: openssl_options."""
    alpn: Expansion | None = None
    require_alpn: MatchList | None = None
    require_kx: Expansion | None = None
    """Exim before 4.80 with GnuTLS: gnutls_require_kx, and so on."""
    require_mac: Expansion | None = None
    require_protocols: Expansion | None = None
    verify_ciphers: Expansion | None = None
    """Exim 3: tls_verify_ciphers, for clients in `verify_hosts`."""
    hosts: MatchList | None = None
    """Exim 3: tls_hosts, who must use TLS and is always offered it."""
    dn_style: str = "openssl"
    """How names in certificates are written; or `rfc2253`, ours."""

    @property
    def depends_on_sni(self) -> bool:
        """True where the certificate's file is chosen by the name that the client asks for."""
        names = self.certificate.names_used if self.certificate is not None else frozenset()
        return bool(names & {"tls_in_sni", "tls_sni"})


@dataclass(frozen=True, slots=True)
class ClientTLSRules:
    """An smtp transport's TLS options, compiled. Lists are matched against the host that is dialled."""

    certificate: Expansion | None = None
    privatekey: Expansion | None = None
    verify_certificates: Expansion | None = None
    crl: Expansion | None = None
    require_ciphers: Expansion | None = None
    sni: Expansion | None = None
    verify_hosts: MatchList | None = None
    try_verify_hosts: MatchList | None = None
    verify_cert_hostnames: MatchList | None = None
    """None: every host (Exim's default `*`)."""
    require_tls: MatchList | None = None
    avoid_tls: MatchList | None = None
    pins: tuple[str, ...] = ()
    tempfail_tryclear: bool = True
    on_connect: bool = False
    alpn: Expansion | None = None
    require_alpn: MatchList | None = None
    avoid_certificate: MatchList | None = None
    """Hosts that our certificate is not shown to; ours."""
    require_pq: MatchList | None = None
    """Hosts that need a post-quantum key exchange; ours."""
    require_ocsp: MatchList | None = None
    request_ocsp: MatchList | None = None


class NoCertificateConfigured(Exception):
    """TLS is offered, but tls_certificate is unset or empty."""


class UnsafeName(Exception):
    """The name that a client asks for would lead out of the folder that an option puts it into."""


async def offers_tls(rules: ServerTLSRules, is_among: Callable[[MatchList], Awaitable[bool]]) -> bool:
    """Whether STARTTLS is offered to a client: tls_hosts forces it. Raises what `is_among` raises."""
    for hosts in (rules.hosts, rules.advertise_hosts):
        if hosts is not None and await is_among(hosts):
            return True
    return False


async def server_policy(rules: ServerTLSRules, scope: Scope, policy_name: str) -> ServerTLS:
    """The policy for the client in `scope`, whose TLS layer holds no more than the name that it asks for.

    With such a name only the files are expanded again (Exim: tls_in_sni); everything else is as without one.
    Raises NoCertificateConfigured, UnsafeName, ExpansionFailed, TemporaryFailure.
    """
    asked = scope.session.tls.sni if scope.session.tls is not None else ""
    bare = scope.child(session=replace(scope.session, tls=None)) if asked else scope
    files = scope if rules.depends_on_sni else bare
    identities = await _identities(rules, files)
    request = CertificateRequest.NONE
    if rules.verify_hosts is not None and await matches_client(rules.verify_hosts, bare):
        request = CertificateRequest.MUST
    elif rules.try_verify_hosts is not None and await matches_client(rules.try_verify_hosts, bare):
        request = CertificateRequest.TRY
    resumption = rules.resumption_hosts is not None and await matches_client(rules.resumption_hosts, bare)
    first = identities[0] if identities else IdentityFiles("")
    return ServerTLS(
        certificate=first.certificate,
        privatekey=first.privatekey,
        verify_certificates=named_set(await _path(rules.verify_certificates, files)),
        crl=await _path(rules.crl, files),
        request=request,
        require_ciphers=await _ciphers(rules, bare, request),
        resumption=resumption,
        # A ticket that was given under one name is void under another.
        policy_name=f"{policy_name} {asked}" if resumption and asked else policy_name,
        staple=first.staple,
        further=identities[1:],
        self_signed_for="" if identities else rules.host_name,
        dhparam=(await _text(rules.dhparam, bare)).strip(),
        dh_max_bits=rules.dh_max_bits,
        groups=await _items(rules.eccurve, bare),
        switches=rules.switches,
        alpn=await _items(rules.alpn, bare),
        require_alpn=rules.require_alpn is not None and await matches_client(rules.require_alpn, bare),
    )


async def _identities(rules: ServerTLSRules, scope: Scope) -> tuple[IdentityFiles, ...]:
    """Certificates with the key and the OCSP response that stand at the same place of their lists."""
    if rules.certificate is None and rules.host_name:
        return ()
    certificates = split_list(await _path(rules.certificate, scope)).items
    if not certificates:
        raise NoCertificateConfigured(
            "tls_certificate is not set" if rules.certificate is None else "tls_certificate expands to nothing"
        )
    keys = split_list(await _path(rules.privatekey, scope)).items
    staples = staple_files(split_list(await _path(rules.ocsp_file, scope)).items)
    return tuple(
        IdentityFiles(
            str(certificate),
            str(keys[place]) if place < len(keys) else "",
            str(staples[place]) if place < len(staples) else "",
        )
        for place, certificate in enumerate(certificates)
    )


async def _ciphers(rules: ServerTLSRules, scope: Scope, request: CertificateRequest) -> str:
    if rules.verify_ciphers is not None and request is CertificateRequest.MUST:
        return await _text(rules.verify_ciphers, scope)
    return joined_lists(
        await _text(rules.require_ciphers, scope),
        await _text(rules.require_kx, scope),
        await _text(rules.require_mac, scope),
        await _text(rules.require_protocols, scope),
    )


async def _items(expansion: Expansion | None, scope: Scope) -> tuple[str, ...]:
    return tuple(str(item) for item in split_list(await _text(expansion, scope)).items if item)


# What of a client's own words may stand in the name of a file: one label after the other, no step up, no second file.
_SAFE = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9._-]+")


async def _path(expansion: Expansion | None, scope: Scope) -> str:
    """File names; what the client chose of them can't leave its folder. Raises UnsafeName beside the rest."""
    if expansion is None or expansion.constant is not None:
        return await _text(expansion, scope)
    try:
        pieces = await expansion.pieces(scope)
    except ForcedFailure:
        return ""
    for piece in pieces:
        if is_tainted(piece) and piece and not _SAFE.fullmatch(piece):
            raise UnsafeName(f'"{printable(piece[:60])}" comes from the client and can\'t be part of a file name')
    return "".join(str(piece) for piece in pieces)


async def client_policy(rules: ClientTLSRules, scope: Scope, names: tuple[str, ...]) -> ClientTLS:
    """The policy for the host in `scope`, which goes by `names`. Raises ExpansionFailed, TemporaryFailure.

    Where `tls_verify_certificates` or `tls_pins` is set and neither verify list has an item, verification must pass:
    who names the certificates that a server may have does not want another one (a difference from Exim 4.96).
    """
    verify_certificates = await _text(rules.verify_certificates, scope)
    named_anchors = bool(verify_certificates) or bool(rules.pins)
    checks_names = rules.verify_cert_hostnames is None or await matches_host(rules.verify_cert_hostnames, scope)
    shows_certificate = not await _names_host(rules.avoid_certificate, scope)
    return ClientTLS(
        demand=await _demand(rules, scope),
        certificate=await _text(rules.certificate, scope) if shows_certificate else "",
        privatekey=await _text(rules.privatekey, scope) if shows_certificate else "",
        verify_certificates=named_set(verify_certificates),
        crl=await _text(rules.crl, scope),
        verify=await _verify(rules, scope, named_anchors),
        names=names if checks_names else (),
        pins=rules.pins,
        require_ciphers=await _text(rules.require_ciphers, scope),
        sni=await _text(rules.sni, scope),
        alpn=tuple(each for each in split_list(await _text(rules.alpn, scope)).items if each),
        tempfail_tryclear=rules.tempfail_tryclear,
        on_connect=rules.on_connect,
        require_alpn=await _names_host(rules.require_alpn, scope),
        require_pq=await _names_host(rules.require_pq, scope),
        require_ocsp=await _names_host(rules.require_ocsp, scope),
        request_ocsp=await _names_host(rules.request_ocsp, scope),
    )


async def _names_host(hosts: MatchList | None, scope: Scope) -> bool:
    return hosts is not None and await matches_host(hosts, scope)


async def _demand(rules: ClientTLSRules, scope: Scope) -> TLSDemand:
    if rules.on_connect or (rules.require_tls is not None and await matches_host(rules.require_tls, scope)):
        return TLSDemand.REQUIRED
    if rules.avoid_tls is not None and await matches_host(rules.avoid_tls, scope):
        return TLSDemand.AVOID
    return TLSDemand.OPPORTUNISTIC


async def _verify(rules: ClientTLSRules, scope: Scope, named_anchors: bool) -> VerifyServer:
    if named_anchors and _names_no_host(rules.verify_hosts) and _names_no_host(rules.try_verify_hosts):
        return VerifyServer.MUST
    if rules.verify_hosts is not None and await matches_host(rules.verify_hosts, scope):
        return VerifyServer.MUST
    tries = rules.try_verify_hosts is None or await matches_host(rules.try_verify_hosts, scope)
    return VerifyServer.TRY if tries else VerifyServer.NOT


def _names_no_host(hosts: MatchList | None) -> bool:
    """Whether a list is unset, or written as an empty one: as nothing, or as the separator alone."""
    return hosts is None or hosts.is_empty or set(hosts.written) == {""}


async def _text(expansion: Expansion | None, scope: Scope) -> str:
    """The expanded option; a forced failure leaves it unset."""
    if expansion is None:
        return ""
    if expansion.constant is not None:
        return expansion.constant
    try:
        return await expansion.text(scope)
    except ForcedFailure:
        return ""
