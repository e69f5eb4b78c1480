"""Which addresses are done with all that was made of them, as an attempt comes to the ends of it (machine).

Each leaf that is over counts for all the addresses that it came from; one whose last leaf is over is complete. Exim:
child_done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay.delivery.family import Leaf
from relay.mail.address import Address
from relay.policy.routers.items import AddressItem

_Place = tuple[tuple[str, str], ...]
"""An address with all above it: two ways to one address are two places."""


class Lineage:
    """The addresses above the leaves of one attempt, and how many leaves of each are not over yet."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._open: dict[_Place, int] = {}
        for leaf in leaves:
            for item in _above(leaf):
                place = _place(item)
                self._open[place] = self._open.get(place, 0) + 1

    def over(self, leaf: Leaf) -> tuple[Address, ...]:
        """Those that are complete with this leaf, the nearest to it first. One that stands below its own namesake
        (Exim: unseen) is not told of."""
        complete = []
        for item in _above(leaf):
            place = _place(item)
            self._open[place] = self._open.get(place, 1) - 1
            if self._open[place] == 0 and not any(each.address == item.address for each in item.ancestors()):
                complete.append(item.address)
        return tuple(complete)


def _above(leaf: Leaf) -> Iterator[AddressItem]:
    """A file or a command stands below the address that was redirected to it."""
    if leaf.text:
        yield leaf.item
    yield from leaf.item.ancestors()


def _place(item: AddressItem) -> _Place:
    return tuple((each.unique, each.router) for each in (item, *item.ancestors()))
