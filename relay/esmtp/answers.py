"""What a session says to a question of the server machine (values)."""

from __future__ import annotations

from dataclasses import dataclass

from relay.esmtp.extensions import Offers
from relay.esmtp.limits import ServerSettings
from relay.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to one question, with what follows from it.

    `offers` goes with the answer to a greeting. `poison` is the reply to everything but QUIT from now on (a session
    whose TLS set-up failed). `hang_up` closes the connection once the reply is out. `settings` are other limits from
    now on, for what depends on the client (Exim: helo_accept_junk_hosts, message_size_limit, no_enforce_sync).
    `before`: replies that go out in front of `reply`, to the end of the data only (PRDR: one for each recipient).
    `aside`: octets behind the reply that are no part of the dialog (what -bh tells the one who plays it).
    """

    reply: Reply
    offers: Offers | None = None
    poison: Reply | None = None
    hang_up: bool = False
    settings: ServerSettings | None = None
    aside: bytes = b""
    before: tuple[Reply, ...] = ()
