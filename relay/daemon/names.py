"""Who is asked about names, with the addresses that the configuration wants nobody to look for (edge)."""

from __future__ import annotations

from relay.config.read import Configuration
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.expand.values import Tainted, lower
from relay.mail.ports import Lookups, TemporaryFailure
from relay.net.resolver import IPv4Names, Names


def names_of(configuration: Configuration, names: Names, lookups: Lookups | None) -> Names:
    """`names` without what disable_ipv6 and dns_ipv4_lookup leave out.

    The list sees no session and no message. Where it can't be read for now, everything is looked up.
    """
    main = configuration.main
    domains = main.dns_ipv4_lookup
    if main.disable_ipv6:
        return IPv4Names(names)
    if domains is None:
        return names
    scope = Scope(main=configuration.static, lookups=lookups, named_lists=configuration.named_lists)

    async def is_listed(name: str) -> bool:
        try:
            return await domains.match(Tainted(lower(name).rstrip(".")), scope) is not None
        except (ExpansionFailed, TemporaryFailure):
            return False

    return IPv4Names(names, is_listed)
