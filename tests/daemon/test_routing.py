"""What the routers of a daemon are told of the world."""

from __future__ import annotations

import pytest

from relay.config.read import Configuration, read_configuration
from relay.daemon.routing import routing_ports
from relay.net.lookups import at_once
from relay.net.resolver import BlockingResolver
from relay.observe.journal import FanOut
from relay.policy.routers.ports import LOCAL, RoutingPorts, TransportFacts

TEXT = """
daemon_smtp_ports = 25 : 587
local_interfaces = <; 127.0.0.1.2525 ; [::1]:2526 ; 192.0.2.1
extra_local_interfaces = 203.0.113.9
begin transports
mail:
  driver = smtp
far:
  driver = smtp
  port = 2525
box:
  driver = appendfile
  directory = /var/mail/x
  maildir_format
"""


def ports() -> RoutingPorts:
    configuration: Configuration = read_configuration("/etc/conf", lambda path: TEXT, host_name="here.test")
    return routing_ports(configuration, BlockingResolver(), at_once, FanOut([]), None, ("127.0.0.1", "192.0.2.1"))


@pytest.mark.parametrize(
    ("address", "port", "ours"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", 25, True),
        ("127.0.0.1", 2525, True),
        ("127.0.0.1", 2526, True),
        ("127.0.0.1", 2600, False),
        ("203.0.113.9", None, True),
        ("192.0.2.2", None, False),
    ],
)
def test_whether_a_host_is_this_one(address: str, port: int | None, ours: bool) -> None:
    assert ports().is_ours(address, port) is ours


def test_what_is_known_of_transports() -> None:
    assert ports().transports == {"mail": TransportFacts(), "far": TransportFacts(port=2525), "box": LOCAL}
