"""Turns the TLS options of a configuration into the policy of one connection (decision).

Exim expands these options every time a client connects or a host is dialled; a forced failure means "as if it were not
set". What comes out is a plain value (`relay.tls.policy`) that contexts are cached by.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.expand.errors import ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.policy.hosts import matches_client, matches_host
from relay.tls.policy import CertificateRequest, ClientTLS, ServerTLS, TLSDemand, VerifyServer


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


class NoCertificateConfigured(Exception):
    """TLS is offered, but tls_certificate is unset or empty."""


async def server_policy(rules: ServerTLSRules, scope: Scope, policy_name: str) -> ServerTLS:
    """The policy for the client in `scope`. Raises NoCertificateConfigured, ExpansionFailed, TemporaryFailure."""
    certificate = await _text(rules.certificate, scope)
    if not certificate:
        raise NoCertificateConfigured("tls_certificate is not set")
    request = CertificateRequest.NONE
    if rules.verify_hosts is not None and await matches_client(rules.verify_hosts, scope):
        request = CertificateRequest.MUST
    elif rules.try_verify_hosts is not None and await matches_client(rules.try_verify_hosts, scope):
        request = CertificateRequest.TRY
    resumption = rules.resumption_hosts is not None and await matches_client(rules.resumption_hosts, scope)
    return ServerTLS(
        certificate=certificate,
        privatekey=await _text(rules.privatekey, scope),
        verify_certificates=await _text(rules.verify_certificates, scope) or "system",
        crl=await _text(rules.crl, scope),
        request=request,
        require_ciphers=await _text(rules.require_ciphers, scope),
        resumption=resumption,
        policy_name=policy_name,
    )


async def client_policy(rules: ClientTLSRules, scope: Scope, names: tuple[str, ...]) -> ClientTLS:
    """The policy for the host in `scope`, which goes by `names`. Raises ExpansionFailed, TemporaryFailure.

    Where `tls_verify_certificates` or `tls_pins` is set and neither verify list is, verification must pass: who names
    the certificates that a server may have does not want another one (a difference from Exim 4.96).
    """
    verify_certificates = await _text(rules.verify_certificates, scope)
    named_anchors = bool(verify_certificates) or bool(rules.pins)
    checks_names = rules.verify_cert_hostnames is None or await matches_host(rules.verify_cert_hostnames, scope)
    return ClientTLS(
        demand=await _demand(rules, scope),
        certificate=await _text(rules.certificate, scope),
        privatekey=await _text(rules.privatekey, scope),
        verify_certificates=verify_certificates or "system",
        crl=await _text(rules.crl, scope),
        verify=await _verify(rules, scope, named_anchors),
        names=names if checks_names else (),
        pins=rules.pins,
        require_ciphers=await _text(rules.require_ciphers, scope),
        sni=await _text(rules.sni, scope),
        tempfail_tryclear=rules.tempfail_tryclear,
        on_connect=rules.on_connect,
    )


async def _demand(rules: ClientTLSRules, scope: Scope) -> TLSDemand:
    if rules.on_connect or (rules.require_tls is not None and await matches_host(rules.require_tls, scope)):
        return TLSDemand.REQUIRED
    if rules.avoid_tls is not None and await matches_host(rules.avoid_tls, scope):
        return TLSDemand.AVOID
    return TLSDemand.OPPORTUNISTIC


async def _verify(rules: ClientTLSRules, scope: Scope, named_anchors: bool) -> VerifyServer:
    if rules.verify_hosts is None and rules.try_verify_hosts is None:
        return VerifyServer.MUST if named_anchors else VerifyServer.TRY
    if rules.verify_hosts is not None and await matches_host(rules.verify_hosts, scope):
        return VerifyServer.MUST
    return VerifyServer.TRY


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
