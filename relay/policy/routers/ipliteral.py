"""`driver = ipliteral`: domains that are an address in brackets (decision)."""

from __future__ import annotations

from relay.policy.routers.answers import Declined, RouteHost, RouterAnswer
from relay.policy.routers.arriving import Visit, is_ignored
from relay.policy.routers.host_lists import is_address
from relay.policy.routers.leaving import facts_of, routed, transport_of
from relay.policy.routers.settings import IPLiteral
from relay.policy.routers.this_host import before_ours, self_action

_TAGS = ("ipv6:", "ipv4:")


async def run_ipliteral(router: IPLiteral, visit: Visit) -> RouterAnswer:
    """Routes to the address itself, which has no other name."""
    domain = visit.domain
    if not (domain.startswith("[") and domain.endswith("]")):
        return Declined()
    address = domain[1:-1]
    if address.startswith(_TAGS):
        address = address[5:]
    if not is_address(address):
        return Declined()
    if visit.ports.without_ipv6 and ":" in address:
        return Declined()
    if await is_ignored(router.ignore_target_hosts, domain, address, visit):
        return Declined("IP literal host explicitly ignored")
    transport = await transport_of(router.transport, router.name, visit)
    host = RouteHost(domain, None, (address,))
    if not await before_ours((host,), facts_of(transport, visit).port, visit):
        answer = self_action(router, host, visit)
        if answer is not None:
            return answer
    return await routed(router, visit, transport, (host,))
