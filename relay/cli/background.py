"""A command that goes on in the background once it has started well (edge).

The person who started it sees every complaint of the start, and an exit status that can be believed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def in_background(serve: Callable[[Callable[[], None]], int]) -> int:
    """Runs `serve` in a child process; returns when it has called the function that it is given, or has ended.

    The status is 0 in the first case and the child's in the second. The child ends here and never returns.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            if pipe.read(1):
                return 0
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) or 1
    os.close(reading)
    os.setsid()

    def started() -> None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.write(writing, b"1")
        os.close(writing)

    try:
        status = serve(started)
    except BaseException as error:  # noqa: BLE001 - nothing of the caller may run twice, whatever happened
        print(str(error), file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
