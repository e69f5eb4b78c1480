"""Every driver of routers, transports and authenticators: its options, and whether it is served (values).

A block's options are those of its class (`GENERIC`) and of its driver (`DRIVERS`). A driver that is known and
not served has its options all the same, so that its mistakes are found and `-bP` prints it. The rows are in
`router_options.py`, `transport_options.py` and `authenticator_options.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from relay.config.authenticator_options import AUTHENTICATOR_DRIVERS, AUTHENTICATORS
from relay.config.options import OptionTable
from relay.config.router_options import ROUTER_DRIVERS, ROUTERS
from relay.config.transport_options import TRANSPORT_DRIVERS, TRANSPORTS

_NO_AUTH = "AUTH is neither offered nor used"
_NOT_DELIVERED = "mail that it is for would not be delivered"


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver of a class: its own options, and whether it is served. `why` says what its absence means."""

    section: str
    name: str
    options: OptionTable
    served: bool = True
    why: str = ""


GENERIC: Mapping[str, OptionTable] = {
    "routers": ROUTERS,
    "transports": TRANSPORTS,
    "authenticators": AUTHENTICATORS,
}
"""The options that every driver of a section has."""

_AUTHENTICATORS_SERVED = frozenset({"cram_md5", "external", "gsasl", "plaintext", "tls"})
_ROUTERS_SERVED = frozenset({"accept", "dnslookup", "ipliteral", "manualroute", "redirect"})
_TRANSPORTS_SERVED = frozenset({"appendfile", "autoreply", "lmtp", "pipe", "smtp"})
_TABLES = (
    ("routers", ROUTER_DRIVERS, _ROUTERS_SERVED, _NOT_DELIVERED),
    ("transports", TRANSPORT_DRIVERS, _TRANSPORTS_SERVED, _NOT_DELIVERED),
    ("authenticators", AUTHENTICATOR_DRIVERS, _AUTHENTICATORS_SERVED, _NO_AUTH),
)


def _drivers() -> Iterator[Driver]:
    for section, drivers, served, why in _TABLES:
        for name, options in drivers.items():
            yield Driver(section, name, options, name in served, "" if name in served else why)


DRIVERS: Mapping[tuple[str, str], Driver] = {(each.section, each.name): each for each in _drivers()}
"""By section and name."""


def drivers_of(section: str) -> tuple[str, ...]:
    """Names of the drivers that a section may have."""
    return tuple(name for of, name in DRIVERS if of == section)
