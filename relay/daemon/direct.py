"""A message of a local program where no daemon runs: this process takes it and delivers it (edge).

Only for those whom the queue belongs to (`may_open_queue`); everybody else leaves the message in the maildrop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from relay.daemon.alone import run_alone
from relay.daemon.build import Relay
from relay.daemon.callers import Credentials
from relay.mail.ports import Cancelled
from relay.reception.request import Status, SubmissionAnswer, SubmissionRequest

Told = Callable[[SubmissionAnswer], None]


class _Read:
    """A message that a blocking function gives piece by piece; nothing else waits in this process."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read

    async def next(self) -> bytes:
        """Raises Cancelled where the input breaks."""
        try:
            return self._read()
        except OSError:
            raise Cancelled from None


def submit_alone(
    configuration: str,
    macros: Mapping[str, str],
    request: SubmissionRequest,
    read: Callable[[], bytes],
    tell: Told,
    *,
    verbose: bool = False,
) -> int:
    """Takes the message that `read` gives (b"" at its end); `tell` gets the answer as soon as it stands.

    Returns 0 where the message was accepted, once the delivery that belongs to it has been tried. Raises
    ConfigurationError.
    """
    caller = Credentials(os.getuid(), os.getgid())

    async def work(relay: Relay) -> int:
        originator = relay.callers.identify_owner(caller)
        answer = await relay.submissions.submit(request, originator, _Read(read))
        tell(answer)
        await relay.runner.until_idle()
        return 0 if answer.status is Status.ACCEPTED else 1

    return run_alone(configuration, macros, work, verbose=verbose)
