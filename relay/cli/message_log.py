"""The log of one message: its own, or what the main log has of it (edge).

Both are read from their files, line by line, by whoever asks: who may not read them sees nothing of them. Of the main
log only the file that is being written to is read, no older one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from relay.cli.queue_access import Place
from relay.cli.reading import understand_configuration
from relay.observe.files import LogFiles, open_logs
from relay.observe.line import Log
from relay.observe.message_logs import FOLDER

_LINE_LIMIT = 1 << 20


def own_log(place: Place, message_id: str) -> Iterator[bytes]:
    """The message's own log (Exim: message_logs); where it has none, what the main log has. Nothing where neither can
    be read. Raises ConfigurationError."""
    main = understand_configuration(place.configuration, place.macros).configuration.main
    path = os.path.join(main.spool_directory, FOLDER, message_id)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield from log_lines(place, message_id)
        return
    with open(descriptor, "rb") as file:
        while line := file.readline(_LINE_LIMIT):
            yield line


def log_lines(place: Place, message_id: str) -> Iterator[bytes]:
    """The lines of the main log without the id; none where the log can't be read. Raises ConfigurationError."""
    main = understand_configuration(place.configuration, place.macros).configuration.main
    try:
        sink = open_logs(main.log_file_path, main.spool_directory)
    except ValueError:
        return
    if not isinstance(sink, LogFiles):
        return
    mark = f" {message_id} ".encode("ascii")
    try:
        with open(sink.path(Log.MAIN, time.time()), "rb") as file:
            while line := file.readline(_LINE_LIMIT):
                before, found, text = line.partition(mark)
                # The id stands behind the date and the time, and perhaps a zone and a process.
                if found and before.count(b" ") <= 3:
                    yield before + b" " + text
    except OSError:
        return
