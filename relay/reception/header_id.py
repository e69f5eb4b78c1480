"""The Message-Id: that a message gets which has none, as far as options say it (decision)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.ports import TemporaryFailure
from relay.reception.fixups import HeaderNeeds


@dataclass(frozen=True, slots=True)
class HeaderId:
    """What stands in it besides the message's id (Exim: message_id_header_domain, message_id_header_text)."""

    domain: Expansion | None = None
    text: Expansion | None = None

    async def completed(self, needs: HeaderNeeds, make_scope: Callable[[], Scope]) -> HeaderNeeds:
        """The needs with what the texts say; one that can't be expanded changes nothing."""
        if self.domain is None and self.text is None:
            return needs
        scope = make_scope()
        domain, text = await _said(self.domain, scope), await _said(self.text, scope)
        return replace(needs, id_domain=domain or needs.id_domain, id_text=text)


async def _said(text: Expansion | None, scope: Scope) -> str:
    try:
        return await text.text(scope) if text is not None else ""
    except (ExpansionFailed, TemporaryFailure):
        return ""
