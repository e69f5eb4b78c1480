"""An attempt that stops short of other hosts: what waits for a queue run once it has been routed (decision).

The first attempt on a message may be one (Exim: -odqs, queue_smtp_domains, control = queue/first_pass_route), and the
first stage of a run of two (-qq) and a run of local deliveries (-ql) are nothing else. Local deliveries are made, and
the queue learns for which host the rest waits, so that it goes over one connection later.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.expand.errors import ExpansionFailed
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.expand.values import Tainted, lower
from relay.mail.outcome import Deferred, ErrorClass
from relay.mail.ports import TemporaryFailure


class Extent(enum.Enum):
    """How far an attempt goes; the value is what is said of that which is left."""

    WHOLE = ""
    ROUTES_ONLY = "SMTP delivery explicitly queued"
    STAGE = "routed only"
    """A first pass that a second one follows at once, so that nothing is said of it."""
    LOCAL = "remote deliveries suppressed"


_ERRORS = {
    Extent.ROUTES_ONLY: ErrorClass.ROUTED_ONLY,
    Extent.STAGE: ErrorClass.ROUTED_ONLY,
    Extent.LOCAL: ErrorClass.LOCAL_ONLY,
}
_OF_DOMAIN = "first-pass only routing due to -odqs, queue_smtp_domains or control=queue"


@dataclass(frozen=True, slots=True)
class FirstPass:
    """What is left for a queue run of that which goes to other hosts."""

    extent: Extent = Extent.WHOLE
    smtp_domains: MatchList | None = None
    """Exim: queue_smtp_domains."""

    @property
    def is_told(self) -> bool:
        """Whether the log says what is left."""
        return self.extent is not Extent.STAGE

    async def leaves(self, domain: str, scope: Scope) -> Deferred | None:
        """Why mail for this domain does not go to its host now; None: it goes. A list that can't be read holds up
        nothing, as in Exim."""
        if self.extent is not Extent.WHOLE:
            return Deferred(self.extent.value, _ERRORS[self.extent], host_wide=True)
        if self.smtp_domains is None:
            return None
        try:
            found = await self.smtp_domains.match(Tainted(lower(domain)), scope)
        except (ExpansionFailed, TemporaryFailure):
            return None
        return None if found is None else Deferred(_OF_DOMAIN, ErrorClass.ROUTED_ONLY_DOMAIN, host_wide=True)


EVERYTHING_GOES = FirstPass()
