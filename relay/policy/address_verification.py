"""Whether mail to an address could be routed, for `verify = recipient` and its like (decision)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.policy.acl_program import Finding, Role, Verified
from relay.policy.routing import Routed, RouteDeferred, Router, RoutingPorts, Unroutable, route


class RoutedAddresses:
    """The `Addresses` port over the routers. A sender is good where a bounce to it could be routed."""

    def __init__(self, routers: Sequence[Router], ports: RoutingPorts) -> None:
        self._routers = routers
        self._ports = ports

    async def verify(self, address: Address, role: Role, scope: Scope) -> Verified:
        """Exim: verify_address without a callout."""
        if not address.is_qualified:
            return Verified(Finding.BAD, f'A domain is required for "{address}"')
        found = await route(address, self._routers, scope, self._ports)
        match found:
            case Routed():
                return Verified(Finding.GOOD, address_data=found.address_data)
            case Unroutable():
                return Verified(Finding.BAD, found.reason)
            case RouteDeferred():
                return Verified(Finding.UNKNOWN, found.reason)
            case _ as never:
                assert_never(never)
