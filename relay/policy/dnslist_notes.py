"""What is asked of lists in the DNS, told to one who watches, in Exim's words (decision).

Each function takes the `Notes` of the run's scope, or None where nobody watches. Exim: dnsbl.c, its debug lines, which
are not set in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.expand.notes import Notes
from relay.mail.text import printable

if TYPE_CHECKING:
    from relay.policy.dnslists import ListItem


def item(notes: Notes | None, text: str) -> None:
    """One item of the condition is looked at."""
    _say(notes, f"dnslists check: {text}")


def asks(notes: Notes | None, query: str, *, again: bool) -> None:
    """The DNS is asked; `again`: what was known has grown too old."""
    _say(notes, f"{'cached data found but past valid time; ' if again else ''}new DNS lookup for {query}")


def keeps(notes: Notes | None, seconds: float) -> None:
    """The answer will be known for so long."""
    _say(notes, f"dnslists: wrote cache entry, ttl={seconds:.0f}")


def knows(notes: Notes | None) -> None:
    """It was asked before."""
    _say(notes, "dnslists: using result of previous lookup")


def answered(notes: Notes | None, query: str, addresses: tuple[str, ...]) -> None:
    """There is such a name."""
    _say(notes, f"DNS lookup for {query} succeeded (yielding {', '.join(addresses)})")


def not_listed(notes: Notes | None, query: str, key: str, domain: str) -> None:
    """There is no such name."""
    _say(notes, f"DNS lookup for {query} failed\n=> that means {key} is not listed at {domain}")


def listed(notes: Notes | None, key: str, domain: str) -> None:
    """That decides it."""
    _say(notes, f"=> that means {key} is listed at {domain}")


def not_wanted(notes: Notes | None, item: ListItem) -> None:
    """There is such a name, but what it stands for is not what the item asks for."""
    why = {
        (False, False): "was no match",
        (True, False): "was an exclude match",
        (False, True): "was an IP address that did not match",
        (True, True): "were no IP addresses that did not match",
    }[item.is_negated, item.for_all]
    wanted = f"{'=' if item.for_all else ''}{'&' if item.as_bits else '='}{','.join(item.wanted or ())}"
    _say(notes, f"=> but we are not accepting this block class because\n=> there {why} for {wanted}")


def _say(notes: Notes | None, text: str) -> None:
    if notes is not None:
        notes.say_at_margin("\n".join(map(printable, text.split("\n"))))
