"""Addresses on their way through the routers, with the addresses that they were made of (values).

A router may make new addresses of one (aliases, forward files, other domains, copies). Each knows its parent, so that
loops are found, a log line can name the address that the message came for, and two ways to one mailbox are told from
one way twice. Exim: address_item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from relay.mail.address import NULL_SENDER, Address


@dataclass(frozen=True, slots=True)
class Carried:
    """What an address takes along from the routers that its ancestors came through."""

    address_data: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """`r_…` by name without `r_`."""
    errors_to: Address | None = None
    """Who is told of failures, and the return path; None: the sender. The null sender: nobody."""
    ignores_errors: bool = False
    headers_add: tuple[str, ...] = ()
    """Fields as lines without the last line end."""
    headers_remove: tuple[str, ...] = ()
    """Names; a last star stands for any end."""


NOTHING_CARRIED = Carried()


@dataclass(frozen=True, slots=True)
class AddressItem:
    """An address that is to be routed. Made by `top_item` and `child_item`."""

    address: Address
    unique: str
    """What two items have in common that would be one delivery; `\\0\\` and on in front where an ancestor has the
    same address."""
    parent: AddressItem | None = None
    carried: Carried = NOTHING_CARRIED
    start: str = ""
    """The router to begin with; "": the first one."""
    router: str = ""
    """Of an ancestor: the router that handled it."""
    is_caseful: bool = False
    """Whether that router minds the case of local parts."""
    is_hidden: bool = False
    """Reports name the address it was made of instead (Exim: hide_child_in_errmsg)."""
    is_lasting: bool = False
    """A further attempt begins with this one instead of what it was made of (Exim: one_time)."""

    def ancestors(self) -> Iterator[AddressItem]:
        """The parent, its parent, and so on."""
        item = self.parent
        while item is not None:
            yield item
            item = item.parent

    @property
    def top(self) -> AddressItem:
        """The recipient of the message that it came from; itself where it is one."""
        item = self
        while item.parent is not None:
            item = item.parent
        return item

    @property
    def has_namesake(self) -> bool:
        """True where an ancestor has the same address."""
        return self.unique.startswith("\\")

    @property
    def bare_unique(self) -> str:
        """`unique` without the mark of a namesake."""
        return self.unique[3:] if self.has_namesake else self.unique

    def handled_by(self, router: str, is_caseful: bool) -> AddressItem:
        """The same as an ancestor of others."""
        return replace(self, router=router, is_caseful=is_caseful)


def top_item(address: Address, errors_to: Address | None = None) -> AddressItem:
    """A recipient of a message, or an address to verify."""
    carried = NOTHING_CARRIED
    if errors_to is not None:
        carried = ignoring_errors(carried) if errors_to.is_null else replace(carried, errors_to=errors_to)
    return AddressItem(address, address.key(), carried=carried)


def child_item(parent: AddressItem, address: Address, carried: Carried, start: str = "") -> AddressItem:
    """An address that a router made of `parent` (which names that router)."""
    unique, text = address.key(), str(address).lower()
    for ancestor in (parent, *parent.ancestors()):
        if str(ancestor.address).lower() == text:
            level = ord(ancestor.unique[1]) + 1 if ancestor.has_namesake else ord("0")
            unique = f"\\{chr(level)}\\{unique}"
            break
    return AddressItem(address, unique, parent, carried, start)


def ignoring_errors(carried: Carried) -> Carried:
    """Nobody is told of failures: `errors_to` was set to nothing."""
    return replace(carried, errors_to=NULL_SENDER, ignores_errors=True)
