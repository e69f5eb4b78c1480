"""The counters as a page for Prometheus, at `metrics_address` (edge)."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.twisted import MetricsResource
from twisted.internet.error import CannotListenError
from twisted.web.resource import Resource
from twisted.web.server import Site

from relay.mail.source import ConfigurationError, Location, Problem


def listen_for_metrics(reactor: Any, address: str, registry: CollectorRegistry, location: Location) -> Any:
    """Serves `/metrics` at ADDRESS:PORT; None where the address is empty. Raises ConfigurationError."""
    if not address:
        return None
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit():
        raise ConfigurationError(
            Problem(location, f'metrics_address: "{address}" is not ADDRESS:PORT', "write 127.0.0.1:9125")
        )
    page: Any = MetricsResource  # it and twisted.web have no types
    directory: Any = Resource
    site: Any = Site
    root = directory()
    root.putChild(b"metrics", page(registry))
    try:
        return reactor.listenTCP(int(port), site(root), interface=host)
    except CannotListenError as error:
        reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
        raise ConfigurationError(
            Problem(location, f"metrics_address: can't listen on {address}: {reason}", "choose another port")
        ) from None
