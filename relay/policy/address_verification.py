"""Whether mail to an address could be routed, and what the hosts of its route say of it, for `verify = recipient` and
its like (decision)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from relay.expand.scope import Scope
from relay.mail.address import NULL_SENDER, Address
from relay.mail.ports import Journal
from relay.policy.routers.answers import Direct, Discarded, Redirected, Routed, RouteDeferred, Unroutable
from relay.policy.routers.items import AddressItem, top_item
from relay.policy.routers.ports import Purpose, RoutingPorts
from relay.policy.routers.settings import Router
from relay.policy.routing import route
from relay.policy.verification import (
    ROUTED_ONLY,
    Callouts,
    Finding,
    Question,
    Role,
    Verified,
    VerifyOptions,
)

_PURPOSES = {
    Role.SENDER: Purpose.VERIFY_SENDER,
    Role.RECIPIENT: Purpose.VERIFY_RECIPIENT,
    Role.LIST: Purpose.EXPAND,
}


class RoutedAddresses:
    """The `Addresses` port over the routers. A sender is good where a bounce to it could be routed."""

    def __init__(self, routers: Sequence[Router], ports: RoutingPorts, callouts: Callouts | None = None) -> None:
        """`callouts` None: nobody is dialled, and what can be routed is good (a session that is only played)."""
        self._routers = routers
        self._ports = ports
        self._callouts = callouts

    @property
    def callouts(self) -> Callouts | None:
        return self._callouts

    def with_callouts(self, callouts: Callouts | None) -> RoutedAddresses:
        """The same, asking somebody else, or nobody."""
        return RoutedAddresses(self._routers, self._ports, callouts)

    def with_journal(self, journal: Journal) -> RoutedAddresses:
        """The same, telling somebody else what operators should know."""
        return RoutedAddresses(self._routers, replace(self._ports, journal=journal), self._callouts)

    async def verify(
        self, address: Address, role: Role, scope: Scope, options: VerifyOptions = ROUTED_ONLY
    ) -> Verified:
        """Exim: verify_address. An address that stands for one other is as good as that one; one that stands for
        several is good."""
        with scope.notes.aside() if scope.notes is not None else contextlib.nullcontext():
            if not address.is_qualified:
                return Verified(Finding.BAD, f'A domain is required for "{address}"', failure="qualify")
            rewrite = self._ports.rewrite_sender if role is Role.SENDER else self._ports.rewrite
            if rewrite is None:
                return await self._verified(address, role, scope, options)
            # As the message will have it at its end.
            new = await rewrite(address, scope)
            if new.is_null and role is Role.SENDER:
                return Verified(Finding.GOOD, rewritten=new)
            found = await self._verified(new, role, scope, options)
            return found if new == address else replace(found, rewritten=new)

    async def _verified(self, address: Address, role: Role, scope: Scope, options: VerifyOptions) -> Verified:
        """Through the routers, with what it stands for."""
        purpose, seen = _PURPOSES[role], scope
        if role is Role.SENDER and scope.message is not None:
            # What would be sent to a sender is a bounce.
            seen = scope.child(message=replace(scope.message, sender=NULL_SENDER))
        item = top_item(address)
        if role is Role.SENDER:
            _begin_anew(scope)
        while True:
            found = await route(item, self._routers, seen, self._ports, purpose)
            match found:
                case Redirected(_, (_, *_) as items) if role is Role.LIST:
                    # Exim shows one step, whatever becomes of the addresses in it.
                    return Verified(Finding.GOOD, members=tuple(map(_shown, items)))
                case Redirected(_, (AddressItem() as child,)) if not options.success_on_redirect:
                    item = child
                    _begin_anew(scope)
                case Routed(clone=AddressItem() as clone) if not options.success_on_redirect:
                    # Who only gets a copy says nothing about the address (Exim: unseen).
                    asked = await self._asked(found, role, scope, options)
                    if asked.finding is not Finding.GOOD:
                        return asked
                    item = clone
                    _begin_anew(scope)
                case Routed():
                    return await self._asked(found, role, scope, options)
                case Redirected(_, (child, *_)):
                    return Verified(Finding.GOOD, address_data=_address_data(child))
                case Redirected() | Discarded():
                    return Verified(Finding.GOOD, discarded=True)
                case Unroutable():
                    told, data = found.user_message, found.address_data
                    return Verified(Finding.BAD, found.reason, data, user_message=told, failure="route")
                case RouteDeferred():
                    return Verified(Finding.UNKNOWN, found.reason, user_message=found.user_message, failure="route")
                case _ as never:
                    assert_never(never)

    async def _asked(self, routed: Routed, role: Role, scope: Scope, options: VerifyOptions) -> Verified:
        """What the hosts say of an address that can be routed."""
        found = Verified(Finding.GOOD)
        if options.callout is not None and self._callouts is not None:
            question = Question(routed.item.address, role, options.callout, routed)
            found = await self._callouts.ask(question, scope)
        return replace(found, address_data=routed.carried.address_data)


def _begin_anew(scope: Scope) -> None:
    """What lists have said of one address is not known of the next one."""
    if scope.notes is not None:
        scope.notes.forget("domain", "local part")


def _address_data(child: object) -> str:
    return child.carried.address_data if isinstance(child, AddressItem) else ""


def _shown(child: AddressItem | Direct) -> str:
    return str(child.address) if isinstance(child, AddressItem) else child.text
