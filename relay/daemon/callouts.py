"""Callouts of a process: the smtp transports of its configuration, its hints and its main options joined (edge)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from relay.config.read import Configuration
from relay.delivery.callout import CalloutRules, HostCallouts
from relay.delivery.callout_cache import Expiry
from relay.delivery.remote import SMTPTransport
from relay.delivery.remote_ports import RemotePorts
from relay.delivery.smtp_rules import SMTPRules
from relay.expand.scope import Scope
from relay.mail.ports import Hints
from relay.policy.authenticators import AuthRules


def smtp_transports(configuration: Configuration, ports: RemotePorts, scope: Scope) -> dict[str, SMTPTransport]:
    """The smtp transports by name, with what the section of authenticators says."""
    logins = AuthRules(configuration.auth)
    ports = replace(ports, max_parallel=configuration.main.remote_max_parallel)
    return {
        name: SMTPTransport(replace(transport, login=replace(transport.login, rules=logins)), ports, scope)
        for name, transport in configuration.transports.items()
        if isinstance(transport, SMTPRules)
    }


def host_callouts(
    configuration: Configuration, transports: Mapping[str, SMTPTransport], ports: RemotePorts, hints: Hints
) -> HostCallouts:
    """One for all ACLs of a process."""
    main = configuration.main
    rules = CalloutRules(
        expiry=Expiry(
            domain_positive=main.callout_domain_positive_expire,
            domain_negative=main.callout_domain_negative_expire,
            positive=main.callout_positive_expire,
            negative=main.callout_negative_expire,
        ),
        random_local_part=main.callout_random_local_part,
        qualify_domain=main.qualify_domain,
        tells_details=main.smtp_return_error_details,
    )
    return HostCallouts(transports, ports, hints, rules)
