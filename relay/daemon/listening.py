"""Where the daemon listens: the ports of a configuration, opened (edge)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from relay.config.read import Configuration
from relay.daemon.interfaces import endpoint_item
from relay.daemon.wishes import Wishes
from relay.expand.splitting import split_list
from relay.mail.source import ConfigurationError, Location, Problem


@dataclass(frozen=True, slots=True)
class Listener:
    """A port to open. `address` is literal; "" means every address. An `endpoint` (a description of Twisted's) says by
    itself what is opened."""

    address: str
    port: int
    tls_on_connect: bool
    backlog: int
    location: Location
    endpoint: str = ""


def open_port(reactor: Any, listener: Listener, factory: Factory) -> IListeningPort:
    """Opens a port that takes nobody in yet: the system keeps them waiting. Raises ConfigurationError."""
    port = _opened_endpoint(reactor, listener, factory) if listener.endpoint else _opened(reactor, listener, factory)
    port.stopReading()  # type: ignore[attr-defined]  # every port is a FileDescriptor, its interface does not say so
    return port


def _opened(reactor: Any, listener: Listener, factory: Factory) -> IListeningPort:
    """Raises ConfigurationError."""
    try:
        port: IListeningPort = reactor.listenTCP(
            listener.port, factory, backlog=listener.backlog, interface=listener.address
        )
    except CannotListenError as error:
        what = f"can't listen on {listener.address or '*'} port {listener.port}: {_reason(error)}"
        raise ConfigurationError(Problem(listener.location, what, _remedy(listener.port))) from None
    return port


def _opened_endpoint(reactor: Any, listener: Listener, factory: Factory) -> IListeningPort:
    """Raises ConfigurationError."""
    ports: list[IListeningPort] = []
    failures: list[Failure] = []
    try:
        endpoint: Any = serverFromString(reactor, listener.endpoint)  # type: ignore[no-untyped-call]
        # These endpoints answer at once.
        opened: Deferred[IListeningPort] = endpoint.listen(factory)
        opened.addCallbacks(ports.append, failures.append)
        for failure in failures:
            failure.raiseException()
    except CannotListenError as error:
        reason = _reason(error)
    except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
        # What a description lacks shows in many ways; a socket that nobody has handed over is a missing index.
        reason = f"there is no such socket or option ({error})"
    else:
        return ports[0]
    what = f"can't listen on endpoint {listener.endpoint}: {reason}"
    raise ConfigurationError(Problem(listener.location, what, "check the description, and who opens its socket"))


def _reason(error: CannotListenError) -> str:
    return getattr(error.socketError, "strerror", None) or str(error.socketError)


_WILDCARDS = {"::": "(IPv6 and IPv4)", "::0": "(IPv6 and IPv4)", "0.0.0.0": "(IPv4)"}


def listening_on(ports: Iterable[tuple[Listener, Any]]) -> str:
    """`listening for SMTP on [127.0.0.1]:25 [::1]:{25,26} and for SMTPS on port 465 (IPv4)`: Exim's words."""
    found: dict[bool, dict[str, list[int]]] = {False: {}, True: {}}
    for listener, port in ports:
        host = port.getHost()
        if not hasattr(host, "port"):
            continue
        wild = _WILDCARDS.get(host.host)
        place = f"port {host.port} {wild}" if wild else f"[{host.host}]:"
        found[listener.tls_on_connect].setdefault(place, []).extend(() if wild else (host.port,))
    names = ((False, "SMTP"), (True, "SMTPS"))
    kinds = [
        f"{name} on {' '.join(place + _numbers(ports) for place, ports in found[secure].items())}"
        for secure, name in names
        if found[secure]
    ]
    return f"listening for {' and for '.join(kinds)}" if kinds else "not listening for SMTP"


def _numbers(ports: list[int]) -> str:
    """The ports of one address."""
    text = ",".join(map(str, ports))
    return f"{{{text}}}" if len(ports) > 1 else text


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
        item = endpoint_item(interface, source)
        if item is not None:
            listener = Listener("", 0, item.tls, main.smtp_connect_backlog, source, item.description)
            found[item.description, 0] = listener
            continue
        address, port = split_interface(interface, source)
        location = configuration.place("daemon_smtp_ports") if port is None else source
        for number in (port,) if port is not None else ports:
            secure = wishes.tls_on_connect or number in main.tls_on_connect_ports
            found[address, number] = Listener(address, number, secure, main.smtp_connect_backlog, location)
    kept = tuple(each for each in found.values() if not (main.disable_ipv6 and ":" in each.address))
    return _without_ipv6(kept)


def override_interfaces(
    wish: str, interfaces: tuple[str, ...], ports: tuple[int, ...]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """What -oX makes of addresses and ports: its items without dot and colon are ports, the others addresses."""
    items = split_list(wish).items
    new_ports = tuple(int(item) for item in items if item.isdigit())
    addresses = tuple(item for item in items if not item.isdigit())
    return addresses or interfaces, new_ports or ports


def split_interface(text: str, location: Location) -> tuple[str, int | None]:
    """An item of `local_interfaces`: `127.0.0.1`, `127.0.0.1.2525`, `[::1]:2525`, `::1.2525`, `::0`.

    Raises ConfigurationError.
    """
    text = text.strip()
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, int(port[1:]) if port[1:].isdigit() else None
    if _is_address(text):
        return text, None
    address, _, port = text.rpartition(".")
    if port.isdigit() and _is_address(address):
        return address, int(port)
    raise ConfigurationError(
        Problem(location, f'local_interfaces: "{text}" is not an address', "write 127.0.0.1, or [::1]:2525")
    )


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


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
