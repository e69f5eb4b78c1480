"""The ports `Passwords` of expansions and `PasswordWork` of AUTH, in threads (edge)."""

from __future__ import annotations

from relay.esmtp.sasl.scram_keys import salted_password
from relay.mail.ports import TemporaryFailure
from relay.net.lookups import Call
from relay.trust import passwords


class PasswordThreads:
    """Hashes of passwords, computed by the `call` that was given.

    A check of argon2 takes a tenth of a second and 64 MiB: the threads behind `call` should be one or two of their own,
    so that guesses neither fill the memory nor hold up what other threads do.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def matches(self, password: bytes, stored: str, scheme: str) -> bool:
        """For `crypteq`. Raises TemporaryFailure where the hash is none that is known."""
        try:
            return await self._call(passwords.matches, password, stored, scheme)
        except passwords.UnknownHash as error:
            raise TemporaryFailure(str(error)) from None

    async def salted(self, hash_name: str, password: str, salt: bytes, iterations: int) -> bytes:
        """For SCRAM. Raises NotPreparable."""
        return await self._call(salted_password, hash_name, password, salt, iterations)
