"""An LMTP server on a Unix socket that does as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

GREETING = b"220 box.test LMTP\r\n"
OFFERS = b"250-box.test\r\n250-IGNOREQUOTA\r\n250-SIZE 100000\r\n250 8BITMIME\r\n"
OK = b"250 2.0.0 OK\r\n"


class Box:
    """A server on a Unix socket that gives its answers one after the other, one for each line that it gets."""

    def __init__(self, path: Path, answers: Sequence[bytes], *, hangs: bool = False) -> None:
        self.path = path
        self.heard: list[bytes] = []
        self._answers = list(answers)
        self._hangs = hangs
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._done = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(self._answers.pop(0))
            in_message = False
            for line in lines if self._answers else ():
                self.heard.append(line.rstrip(b"\r\n"))
                in_message = in_message and line != b".\r\n"
                if in_message:
                    continue
                answer = self._answers.pop(0)
                in_message = answer.startswith(b"354")
                connection.sendall(answer)
                if not self._answers:
                    break
            if self._hangs:
                self._done.wait(5)

    def close(self) -> None:
        self._done.set()
        self._listener.close()
        self.thread.join(5)
