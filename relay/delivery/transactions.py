"""How one message goes to many recipients where a server does not take them all at once (machine).

A server says by LIMITS how many recipients a transaction may have, and whether they may be of several domains; the
message is then sent more than once over the same connection. In the log each transaction has a first recipient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.esmtp.parameters import Limits
from relay.mail.envelope import Recipient
from relay.mail.outcome import Delivered, Dialog, Outcome


def in_batches(recipients: Sequence[Recipient], limits: Limits, most: int = 0) -> list[list[int]]:
    """The places of recipients that go together, RFC 9422 4; `most` is our own limit, 0: none. Wherever the number of
    domains has a limit each has a transaction of its own, as with Exim."""
    if not limits.domains:
        groups = [list(range(len(recipients)))]
    else:
        by_domain: dict[str, list[int]] = {}
        for place, each in enumerate(recipients):
            by_domain.setdefault(each.address.domain.lower(), []).append(place)
        groups = list(by_domain.values())
    step = min(each for each in (limits.recipients, most, max(len(recipients), 1)) if each)
    return [group[start : start + step] for group in groups for start in range(0, len(group), step)]


def in_one_transaction(said: Sequence[Outcome], *, continued: bool) -> list[Outcome]:
    """What came of one transaction; `continued`: it was not the message's first on this connection."""
    marked: list[Outcome] = []
    is_further = False
    for each in said:
        if isinstance(each, Delivered):
            dialog = replace(each.dialog or Dialog(), is_further=is_further)
            each = replace(each, dialog=dialog, continued=continued)
            is_further = True
        elif continued:
            each = replace(each, continued=True)
        marked.append(each)
    return marked
