"""The condition `crypteq`: does a password belong to what was stored of it (decision)?

`{md5}` and `{sha1}` are compared here, in hex or base64 as their length says. Everything else, also `{crypt}`,
`{crypt16}`, `{SCRAM-…}` (ours) and a hash without a name, takes its time or a library, and is asked of the port
`Passwords`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.expand.values import lower, octets
from relay.mail.ports import TemporaryFailure


async def belongs(scope: Scope, password: str, stored: str) -> bool:
    """Raises ExpansionFailed for a scheme that there is not, TemporaryFailure where nobody can be asked."""
    scheme, hashed = _scheme(stored)
    if scheme.startswith("scram-"):
        scheme, hashed = "", stored
    match scheme:
        case "md5" | "sha1":
            return _is_digest(scheme, octets(password), octets(hashed))
        case "" | "crypt" | "crypt16":
            if len(hashed) < 2:
                return False  # no salt; a crypt(3) that takes that gives it back
            if scope.passwords is None:
                raise TemporaryFailure("passwords can't be compared here")
            return await scope.passwords.matches(octets(password), hashed, scheme)
    raise ExpansionFailed(f'unknown encryption mechanism in "{stored}"')


def _scheme(stored: str) -> tuple[str, str]:
    if not stored.startswith("{"):
        return "", stored
    name, brace, hashed = stored.partition("}")
    return (lower(name[1:]) or name) if brace else stored, hashed


def _is_digest(name: str, password: bytes, hashed: bytes) -> bool:
    digest = hashlib.new(name, password, usedforsecurity=False).digest()
    if len(hashed) == 2 * len(digest):
        return hmac.compare_digest(digest.hex().encode(), hashed.lower())
    return hmac.compare_digest(base64.b64encode(digest), hashed)
