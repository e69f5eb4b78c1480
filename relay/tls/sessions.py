"""TLS sessions that a client may resume, kept in memory (machine)."""

from __future__ import annotations

from collections import OrderedDict

from OpenSSL.SSL import Session

from relay.tls.contexts import TLSContext


class TLSSessions:
    """TLS sessions that may be resumed, by context and server. A session is used once."""

    LIMIT = 1000

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[TLSContext, Session]] = OrderedDict()

    def take(self, context: TLSContext, key: str) -> Session | None:
        """The session, if it was made under this very context: with other files it is worth nothing."""
        found = self._sessions.pop(f"{id(context)} {key}", None)
        return found[1] if found is not None and found[0] is context else None

    def keep(self, context: TLSContext, key: str, session: Session) -> None:
        self._sessions[f"{id(context)} {key}"] = (context, session)
        while len(self._sessions) > self.LIMIT:
            self._sessions.popitem(last=False)
