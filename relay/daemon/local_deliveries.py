"""The local transports of a configuration, joined with threads and with the process that delivers as others (edge)."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from relay.config.drivers import Transport
from relay.config.main_options import MainOptions
from relay.config.read import Configuration
from relay.daemon.privileges import Identity as DaemonIdentity
from relay.daemon.replies import Replies
from relay.delivery.accounts import SystemAccounts
from relay.delivery.appendfile import Appendfile, AppendfileRules
from relay.delivery.autoreply import Autoreply, AutoreplyRules
from relay.delivery.carrying import InThreads
from relay.delivery.jobs import Identity
from relay.delivery.lmtp import LMTP, LMTPRules
from relay.delivery.local import Driver, LocalDelivery, LocalPorts
from relay.delivery.pipe import Pipe, PipeRules
from relay.delivery.quota_warning import QuotaWarning, WarningRules
from relay.delivery.remote_ports import RemotePorts
from relay.delivery.shadow import shadowed
from relay.delivery.transports import BlockingCalls, LocalTransport
from relay.mail.ports import Clock, Journal
from relay.net.courier import Courier


class _BlockingClock:
    """The wall clock, and sleep for a thread."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class LocalDeliveries:
    """The transports by name, and the process that some of them use."""

    transports: Mapping[str, LocalTransport]
    courier: Courier
    replies: Replies
    own: Identity
    """Whom the daemon runs as when deliveries begin."""

    def with_filters(self, ports: RemotePorts) -> RemotePorts:
        """The ports of smtp transports, whose filters run in that process, too."""
        return replace(ports, filters=self.courier, own=self.own)

    def start_as_root(self) -> None:
        """To be called before root is given up: afterwards nobody could become anybody. Raises OSError."""
        if self.transports and os.geteuid() == 0:
            self.courier.start()


def local_deliveries(
    configuration: Configuration,
    reactor: Any,
    calls: BlockingCalls,
    clock: Clock,
    journal: Journal,
    identity: DaemonIdentity | None,
) -> LocalDeliveries:
    """Builds them. `identity` is the user that the daemon becomes; None: it stays who it is."""
    is_root = os.geteuid() == 0
    own = Identity(os.geteuid(), os.getegid())
    if is_root and identity is not None:
        own = Identity(identity.uid, identity.gid)
    courier = Courier(reactor, root_stays=own.uid == 0)
    ports = LocalPorts(
        calls=calls,
        clock=clock,
        journal=journal,
        accounts=SystemAccounts(_user_ids(configuration.main.never_users)),
        threads=InThreads(calls, _BlockingClock(), time.monotonic),
        courier=courier,
        filters=courier,
        own=own,
        may_become_others=is_root,
        hostname=configuration.main.primary_hostname,
        pid=os.getpid(),
    )
    replies, limit = Replies(), configuration.main.bounce_return_size_limit
    made: dict[str, LocalDelivery] = {}
    for name, transport in configuration.transports.items():
        if isinstance(transport, AutoreplyRules):
            transport = replace(transport, return_size_limit=limit)
        delivery = _joined(transport, ports, replies, configuration.main)
        if delivery is not None:
            made[name] = delivery
    for delivery in made.values():
        delivery.know(made)
    joined = {name: shadowed(delivery.rules, delivery, made, journal) for name, delivery in made.items()}
    return LocalDeliveries(joined, courier, replies, own)


def _joined(transport: Transport, ports: LocalPorts, replies: Replies, main: MainOptions) -> LocalDelivery | None:
    driver: Driver
    warning: QuotaWarning | None = None
    match transport:
        case AppendfileRules():
            driver = Appendfile(transport, ports.clock, ports.hostname, ports.pid)
            if transport.quota.warning is not None:
                rules = WarningRules(
                    transport=transport.name,
                    message=transport.quota.warning,
                    sender=main.dsn_from,
                    reply_to=main.errors_reply_to,
                    qualify_domain=main.qualify_domain,
                )
                warning = QuotaWarning(rules, replies, ports.journal, ports.own)
        case PipeRules():
            driver = Pipe(transport, ports.calls)
        case AutoreplyRules():
            driver = Autoreply(transport, replies, ports.calls, ports.clock, ports.journal, ports.own)
        case LMTPRules():
            driver = LMTP(transport, ports.calls, ports.hostname)
        case _:
            return None
    return LocalDelivery(transport.common, driver, ports, warning)


def _user_ids(names: Iterable[str]) -> frozenset[int]:
    """Names that the system does not know are nobody."""
    found: set[int] = set()
    for name in names:
        try:
            found.add(int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    return frozenset(found)
