"""Host lists asked about the two hosts that matter: the client of a session, the server of a delivery (decision)."""

from __future__ import annotations

from relay.expand.list_items import HostSubject
from relay.expand.lists import MatchList
from relay.expand.scope import Scope


async def matches_client(hosts: MatchList, scope: Scope) -> bool:
    """Whether the session's client is in the list. A local caller is in none but `*`. Raises TemporaryFailure."""
    if hosts.matches_all:
        return True
    if hosts.is_empty or scope.session.peer is None:
        return False
    return await hosts.match(HostSubject(scope.session.peer.address), scope) is not None


async def matches_host(hosts: MatchList, scope: Scope) -> bool:
    """Whether the server in `scope.host` is in the list; its name is known from routing. Raises TemporaryFailure."""
    if hosts.matches_all:
        return True
    if hosts.is_empty or scope.host is None:
        return False
    return await hosts.match(HostSubject(scope.host.address, scope.host.name), scope) is not None
