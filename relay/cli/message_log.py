"""What the main log has of one message (edge).

The log is read from its file, line by line, by whoever asks: who may not read it sees nothing of it. Only the file
that is being written to is read, no older one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from relay.cli.queue_access import Place
from relay.cli.reading import understand_configuration
from relay.observe.files import LogFiles, open_logs
from relay.observe.lines import Log

_LINE_LIMIT = 1 << 20


def log_lines(place: Place, message_id: str) -> Iterator[bytes]:
    """Its lines without the id, as Exim has them in the message's own log; none where the log can't be read. Raises
    ConfigurationError."""
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
