"""One recipient of a local delivery, with what its routers found out about it (values).

An attempt makes one of what routing answered and hands it to the local transport, which takes from it what its
own options leave open: the user to become, the home directory, the return path, header changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.envelope import Recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAddress:
    """A recipient that a local transport is to deliver. Directories are expanded and absolute, "" where unset."""

    recipient: Recipient
    further: tuple[Address, ...] = ()
    """Other recipients of the message that lead to the same delivery, as it came for them."""
    original: Address | None = None
    """The recipient as the message came for it; None: `recipient` is that."""
    scope: Scope = field(default_factory=Scope)
    """What the transport's options see of the message and of this address."""
    file: str = ""
    """The file that a redirection names; a directory where it ends with a slash."""
    pipe: str = ""
    """The command that a redirection names, without its bar."""
    user: int | None = None
    """The user id that a router asks for (its `user`, or that of `check_local_user`)."""
    group: int | None = None
    initgroups: bool = False
    home_directory: str = ""
    current_directory: str = ""
    return_path: Address | None = None
    """What `errors_to` asks for; None: the sender."""
    headers_add: tuple[str, ...] = ()
    """Fields that routers add, each as lines without the last line end."""
    headers_remove: tuple[str, ...] = ()
    """Names of fields that routers remove; a last star stands for any end."""
