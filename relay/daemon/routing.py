"""Whom the routers of a configuration ask (edge).

The same for deliveries, for the verification of addresses and for `-bt`, so that all three find the same.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from relay.config.drivers import Transport
from relay.config.read import Configuration
from relay.daemon.interfaces import endpoint_port
from relay.delivery.smtp_rules import SMTPRules
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.ports import DNS, Concurrency, Journal, Resolver, Watch
from relay.net.accounts import SystemAccounts
from relay.net.lookups import Call
from relay.net.redirection_files import LocalRedirectionFiles
from relay.policy.rewrite import Flag, RewriteContext, rewrite_address
from relay.policy.routers.ports import RoutingPorts, TransportFacts


class NameService(Resolver, DNS, Protocol):
    """Names by the system, and the DNS by itself."""


def routing_ports(
    configuration: Configuration,
    names: NameService,
    call: Call,
    journal: Journal,
    concurrency: Concurrency | None,
    local_addresses: tuple[str, ...],
    watch: Watch | None = None,
) -> RoutingPorts:
    """`call` runs what blocks."""
    main = configuration.main

    def rewriting(flag: Flag) -> Callable[[Address, Scope], Awaitable[Address]] | None:
        async def rewrite(address: Address, scope: Scope) -> Address:
            context = RewriteContext(scope, journal, main.qualify_recipient, concurrency=concurrency)
            return await rewrite_address(address, flag, configuration.rewrite, context)

        return rewrite if configuration.rewrite else None

    return RoutingPorts(
        resolver=names,
        transports=transport_facts(configuration.transports),
        is_ours=_ours(
            (*local_addresses, *main.extra_local_interfaces),
            _listened_on(main.daemon_smtp_ports, main.local_interfaces),
        ),
        treated_as_local=main.hosts_treat_as_local,
        percent_hack_domains=main.percent_hack_domains,
        hold_domains=main.hold_domains,
        queue_domains=main.queue_domains,
        dns=names,
        accounts=SystemAccounts(call),
        files=LocalRedirectionFiles(call),
        watch=watch,
        journal=journal,
        rewrite=rewriting(Flag.ENVELOPE_TO),
        rewrite_sender=rewriting(Flag.ENVELOPE_FROM),
        qualify_recipient=main.qualify_recipient,
        mx_to_address=main.allow_mx_to_ip,
        without_ipv6=main.disable_ipv6,
    )


def transport_facts(transports: Mapping[str, Transport]) -> dict[str, TransportFacts]:
    """What routing has to know of each transport."""
    facts: dict[str, TransportFacts] = {}
    for name, transport in transports.items():
        if isinstance(transport, SMTPRules):
            facts[name] = TransportFacts(port=transport.port or None, overrides_hosts=transport.hosts.override)
        else:
            facts[name] = TransportFacts(is_local=True)
    return facts


_INTERFACE_PORT = re.compile(r"(?:(?:\d+\.){4}|\]:)(\d{1,5})")


def _listened_on(ports: tuple[int, ...], interfaces: tuple[str, ...]) -> frozenset[int]:
    """All ports that the daemon has: of daemon_smtp_ports, and those that stand behind an address."""
    own = (_INTERFACE_PORT.search(each.strip()) for each in interfaces)
    named = (endpoint_port(each) for each in interfaces)
    return frozenset(
        (*ports, *(int(found.group(1)) for found in own if found), *(port for port in named if port is not None))
    )


def _ours(addresses: tuple[str, ...], ports: frozenset[int]) -> Callable[[str, int | None], bool]:
    """An address of ours is us, unless a port is named that we don't listen on: there is somebody else then."""
    own = frozenset(addresses)

    def is_ours(address: str, port: int | None) -> bool:
        return address in own and (port is None or port in ports)

    return is_ours
