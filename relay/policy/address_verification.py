"""Whether mail to an address could be routed, for `verify = recipient` and its like (decision)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from relay.expand.scope import Scope
from relay.mail.address import NULL_SENDER, Address
from relay.policy.acl_program import Finding, Role, Verified
from relay.policy.routers.answers import Direct, Discarded, Redirected, Routed, RouteDeferred, Unroutable
from relay.policy.routers.items import AddressItem, top_item
from relay.policy.routers.ports import Purpose, RoutingPorts
from relay.policy.routers.settings import Router
from relay.policy.routing import route

_PURPOSES = {
    Role.SENDER: Purpose.VERIFY_SENDER,
    Role.RECIPIENT: Purpose.VERIFY_RECIPIENT,
    Role.LIST: Purpose.EXPAND,
}


class RoutedAddresses:
    """The `Addresses` port over the routers. A sender is good where a bounce to it could be routed."""

    def __init__(self, routers: Sequence[Router], ports: RoutingPorts) -> None:
        self._routers = routers
        self._ports = ports

    async def verify(self, address: Address, role: Role, scope: Scope) -> Verified:
        """Exim: verify_address without a callout. An address that stands for one other is as good as that one; one
        that stands for several is good."""
        if not address.is_qualified:
            return Verified(Finding.BAD, f'A domain is required for "{address}"')
        purpose = _PURPOSES[role]
        if role is Role.SENDER and scope.message is not None:
            # What would be sent to a sender is a bounce.
            scope = scope.child(message=replace(scope.message, sender=NULL_SENDER))
        item = top_item(address)
        while True:
            found = await route(item, self._routers, scope, self._ports, purpose)
            match found:
                case Redirected(_, (_, *_) as items) if role is Role.LIST:
                    # Exim shows one step, whatever becomes of the addresses in it.
                    return Verified(Finding.GOOD, members=tuple(map(_shown, items)))
                case Redirected(_, (AddressItem() as child,)):
                    item = child
                case Routed():
                    return Verified(Finding.GOOD, address_data=found.carried.address_data)
                case Redirected(_, (child, *_)):
                    return Verified(Finding.GOOD, address_data=_address_data(child))
                case Redirected() | Discarded():
                    return Verified(Finding.GOOD, discarded=True)
                case Unroutable():
                    return Verified(Finding.BAD, found.reason)
                case RouteDeferred():
                    return Verified(Finding.UNKNOWN, found.reason, may_be_told=bool(found.user_message))
                case _ as never:
                    assert_never(never)


def _address_data(child: object) -> str:
    return child.carried.address_data if isinstance(child, AddressItem) else ""


def _shown(child: AddressItem | Direct) -> str:
    return str(child.address) if isinstance(child, AddressItem) else child.text
