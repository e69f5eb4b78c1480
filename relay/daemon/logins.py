"""What AUTH needs of a process: threads for passwords, randomness, a secret that lasts (edge)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from relay.daemon.privileges import Identity
from relay.mail.ports import Clock, Concurrency
from relay.net.passwords import PasswordThreads
from relay.policy.auth_limits import FailureLimits
from relay.policy.authenticate import AuthPorts

_SEED_NAME = "auth-seed"
_SEED_SIZE = 32
# A check of a password takes a core and 64 MiB: more at once would only be slower.
_THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


class _FewThreads:
    """Blocking calls in threads of their own."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, _THREADS, "passwords")
        reactor.callWhenRunning(self._pool.start)
        reactor.addSystemEventTrigger("during", "shutdown", self._stop)

    def _stop(self) -> None:
        if self._pool.started:
            self._pool.stop()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or its exception."""
        result: T = await deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
        return result


def password_threads(reactor: Any) -> PasswordThreads:
    """The ports for passwords. One for a process."""
    return PasswordThreads(_FewThreads(reactor).call)


def auth_ports(
    work: PasswordThreads, clock: Clock, concurrency: Concurrency, spool_directory: str, identity: Identity | None
) -> AuthPorts:
    """One for a process: its limits count over all connections."""
    return AuthPorts(
        clock=clock,
        concurrency=concurrency,
        work=work,
        random=lambda: secrets.token_urlsafe(24),
        limits=FailureLimits(),
        seed=lasting_seed(Path(spool_directory) / _SEED_NAME, identity),
    )


def lasting_seed(path: Path, identity: Identity | None) -> bytes:
    """The secret in a file, which is made where it is not there; one for this process where there can be no file.

    What is made from it looks alike for as long as it lasts: salts for names that do not exist.
    """
    try:
        seed = path.read_bytes()
        if len(seed) == _SEED_SIZE:
            return seed
    except FileNotFoundError:
        pass
    except OSError:
        return secrets.token_bytes(_SEED_SIZE)
    seed = secrets.token_bytes(_SEED_SIZE)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return seed
    with os.fdopen(handle, "wb") as file:
        file.write(seed)
        if identity is not None and os.geteuid() == 0:
            os.fchown(file.fileno(), identity.uid, identity.gid)
    return seed
