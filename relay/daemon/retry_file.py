"""The file that stands for what is remembered of hosts that failed (disk).

Exim keeps its retry records in `db/retry` under the spool directory, and who wants them forgotten removes that file, by
hand or in a script. Ours are in the queue's database; the file is there to be removed. A record names the file that was
there when it was written (by its inode and time), and is void where that is gone.
"""

from __future__ import annotations

import os

from relay.mail.events import AddressDeferred, Event
from relay.observe.files import DIRECTORY_MODE, FILE_MODE

FOLDER, NAME = "db", "retry"
_TEXT = b"What is remembered of hosts that failed is in the queue; to have it forgotten, remove this file.\n"


class RetryFile:
    """The file of one spool directory. It comes with the first failure; a `Journal` that is told of them."""

    def __init__(self, spool_directory: str) -> None:
        self._path = os.path.join(spool_directory, FOLDER, NAME)

    def mark(self) -> str:
        """By what the file that is there now is known; "" where there is none."""
        try:
            found = os.lstat(self._path)
        except OSError:
            return ""
        return f"{found.st_ino}.{found.st_mtime_ns}"

    def make(self) -> str:
        """The mark of the file, which is made where there is none; "" where it can't be made."""
        mark = self.mark()
        if mark:
            return mark
        try:
            os.makedirs(os.path.dirname(self._path), DIRECTORY_MODE, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except OSError:
            return self.mark()
        try:
            os.write(descriptor, _TEXT)
        except OSError:
            pass  # an empty file will do
        finally:
            os.close(descriptor)
        return self.mark()

    def record(self, event: Event) -> None:
        """An address that waits is a failure to be remembered, as it is to Exim."""
        if isinstance(event, AddressDeferred):
            self.make()
