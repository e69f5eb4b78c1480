"""Who may do what with the queue and how much at once, out of the configuration (edge)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from relay.config.read import Configuration
from relay.daemon.callers import TrustedCallers, trusted_callers
from relay.daemon.operator import Operator
from relay.daemon.operator_socket import ControlFactory, Rights
from relay.daemon.runner import DeliveryRunner
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.mail.ports import Clock, Journal, TemporaryFailure
from relay.net.threads import ThreadedSpool
from relay.policy.event_action import EventActions


class Surroundings(Protocol):
    """What of the world an operator needs."""

    @property
    def journal(self) -> Journal: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def events(self) -> EventActions: ...


def control_factory(
    configuration: Configuration,
    scope: Scope,
    spool: ThreadedSpool,
    runner: DeliveryRunner,
    world: Surroundings,
) -> ControlFactory:
    """What listens at `control.sock`, with the operator behind it."""
    main, journal = configuration.main, world.journal
    operator = Operator(
        spool,
        runner,
        journal,
        world.clock,
        runs_max=queue_runs_max(configuration, scope),
        anybody_delivers=not main.prod_requires_admin,
        events=world.events,
        scope=scope,
    )
    rights = Rights(may_list=not main.queue_list_requires_admin, may_deliver=not main.prod_requires_admin)
    return ControlFactory(operator, spool, administrators(configuration), journal, rights)


def administrators(configuration: Configuration) -> TrustedCallers:
    """Members of `admin_groups` and of the daemon's group, beside root and the daemon's user (Exim: admin_groups)."""
    main = configuration.main
    groups = [*main.admin_groups, *([main.exim_group] if main.exim_group else [])]
    users = [main.exim_user] if main.exim_user else []
    return trusted_callers(users, groups)


def queue_runs_max(configuration: Configuration, scope: Scope) -> Callable[[], Awaitable[int]]:
    """`queue_run_max` as it expands now; 0 for no limit. The function raises TemporaryFailure for what is no number."""
    option = configuration.main.queue_run_max

    async def limit() -> int:
        if option is None:
            return 0
        try:
            return max(0, int(await option.text(scope)))
        except (ExpansionFailed, ValueError) as error:
            raise TemporaryFailure(f"queue_run_max: {error}") from None

    return limit
