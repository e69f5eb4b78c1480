"""Where the daemon listens: the ports of a configuration, opened (edge)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from relay.config.read import Configuration
from relay.daemon.wishes import Wishes
from relay.expand.splitting import split_list
from relay.mail.source import ConfigurationError, Location, Problem


@dataclass(frozen=True, slots=True)
class Listener:
    """A port to open. `address` is literal; "" means every address."""

    address: str
    port: int
    tls_on_connect: bool
    backlog: int
    location: Location


def open_port(reactor: Any, listener: Listener, factory: Factory) -> IListeningPort:
    """Opens a port that takes nobody in yet: the system keeps them waiting. Raises ConfigurationError."""
    try:
        port: IListeningPort = reactor.listenTCP(
            listener.port, factory, backlog=listener.backlog, interface=listener.address
        )
    except CannotListenError as error:
        reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
        problem = Problem(
            listener.location,
            f"can't listen on {listener.address or '*'} port {listener.port}: {reason}",
            _remedy(listener.port),
        )
        raise ConfigurationError(problem) from None
    port.stopReading()  # type: ignore[attr-defined]  # every port is a FileDescriptor, its interface does not say so
    return port


_WILDCARDS = {"::": "(IPv6 and IPv4)", "::0": "(IPv6 and IPv4)", "0.0.0.0": "(IPv4)"}


def listening_on(ports: Iterable[tuple[Listener, Any]]) -> str:
    """`listening for SMTP on [127.0.0.1]:25 [::1]:25 and for SMTPS on port 465 (IPv4)`: Exim's words."""
    found: dict[bool, list[str]] = {False: [], True: []}
    for listener, port in ports:
        host = port.getHost()
        wild = _WILDCARDS.get(host.host)
        found[listener.tls_on_connect].append(f"port {host.port} {wild}" if wild else f"[{host.host}]:{host.port}")
    names = ((False, "SMTP"), (True, "SMTPS"))
    kinds = [f"{name} on {' '.join(found[secure])}" for secure, name in names if found[secure]]
    return f"listening for {' and for '.join(kinds)}" if kinds else "not listening for SMTP"


def _remedy(port: int) -> str:
    if port < 1024 and os.geteuid() != 0:
        return "start it as root, which is given up afterwards, or choose a port above 1023"
    return "stop who uses it, or choose another port"


def smtp_listeners(configuration: Configuration, wishes: Wishes) -> tuple[Listener, ...]:
    """An address of `local_interfaces` has its own port, or each of `daemon_smtp_ports`. Raises ConfigurationError."""
    main = configuration.main
    found: dict[tuple[str, int], Listener] = {}
    interfaces, ports, source = main.local_interfaces, main.daemon_smtp_ports, configuration.place("local_interfaces")
    if wishes.interfaces == "":
        return ()
    if wishes.interfaces:
        interfaces, ports = override_interfaces(wishes.interfaces, interfaces, ports)
        source = Location("-oX")
    for interface in interfaces:
        address, port = split_interface(interface, source)
        location = configuration.place("daemon_smtp_ports") if port is None else source
        for number in (port,) if port is not None else ports:
            secure = wishes.tls_on_connect or number in main.tls_on_connect_ports
            found[address, number] = Listener(address, number, secure, main.smtp_connect_backlog, location)
    return _without_ipv6(tuple(found.values()))


def override_interfaces(
    wish: str, interfaces: tuple[str, ...], ports: tuple[int, ...]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """What -oX makes of addresses and ports: its items without dot and colon are ports, the others addresses."""
    items = split_list(wish).items
    new_ports = tuple(int(item) for item in items if item.isdigit())
    addresses = tuple(item for item in items if not item.isdigit())
    return addresses or interfaces, new_ports or ports


def split_interface(text: str, location: Location) -> tuple[str, int | None]:
    """An item of `local_interfaces`: `127.0.0.1`, `127.0.0.1.2525`, `[::1]:2525`, `::0`. Raises ConfigurationError."""
    text = text.strip()
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, int(port[1:]) if port[1:].isdigit() else None
    parts = text.split(".")
    if len(parts) == 5 and parts[4].isdigit():
        return ".".join(parts[:4]), int(parts[4])
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return text, None
    raise ConfigurationError(
        Problem(location, f'local_interfaces: "{text}" is not an address', "write 127.0.0.1, or [::1]:2525")
    )


def _without_ipv6(listeners: tuple[Listener, ...]) -> tuple[Listener, ...]:
    """On a system without IPv6 its wildcard is left out; on one where it takes IPv4 as well, IPv4's is."""
    wild6 = {each.port for each in listeners if each.address in ("::", "::0")}
    if not socket.has_ipv6 or not _has_ipv6():
        return tuple(each for each in listeners if each.address not in ("::", "::0"))
    return tuple(each for each in listeners if not (each.address == "0.0.0.0" and each.port in wild6))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
