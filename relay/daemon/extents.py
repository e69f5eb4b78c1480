"""What attempts have at hand, by what they are begun for: an arrival, a queue run, somebody's order (edge)."""

from __future__ import annotations

from dataclasses import replace

from relay.delivery.attempt import AttemptPorts
from relay.delivery.first_pass import EVERYTHING_GOES, Extent, FirstPass


def of_run(ports: AttemptPorts) -> AttemptPorts:
    """For what Exim calls a queue run ($queue_running): nothing is left for one."""
    return _whole(replace(ports, scope=ports.scope.child(queue_running=True)))


def forced(ports: AttemptPorts) -> AttemptPorts:
    """For a delivery that is asked for by hand: no domain is held."""
    return _whole(replace(ports, routing=replace(ports.routing, hold_domains=None)))


def as_far_as(ports: AttemptPorts, extent: Extent) -> AttemptPorts:
    """For an attempt that goes so far. One that is part of a run leaves its message due when it was."""
    if extent is Extent.WHOLE:
        return ports
    is_run = extent is not Extent.ROUTES_ONLY
    settling = replace(ports.settling, queue_interval=None) if is_run else ports.settling
    return replace(ports, first_pass=FirstPass(extent), settling=settling)


def _whole(ports: AttemptPorts) -> AttemptPorts:
    return replace(ports, routing=replace(ports.routing, queue_domains=None), first_pass=EVERYTHING_GOES)
