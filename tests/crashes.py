"""A load of numbered messages that notes every answer, and processes that are killed under it.

    promised    250: it must arrive, at least once
    refused     5xx: it must never arrive
    deferred    4xx: at most once
    unknown     the connection broke before an answer: at most once

A promised message arrives twice only where it was being delivered when its process died.
"""

import collections
import contextlib
import os
import random
import signal
import smtplib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import daemons

from interop import peers

# Deliveries that a process may have under way when it dies (`schedule.Limits.attempts`).
IN_FLIGHT = 20


@dataclass
class Answers:
    """What was said of each message, by its mark."""

    promised: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)


class Load:
    """Some senders, for as long as the block. Each sends one message after the other."""

    def __init__(self, port: int, source: random.Random, senders: int = 4) -> None:
        self.answers = Answers()
        self._port = port
        self._stopping = threading.Event()
        seeds = [source.randrange(2**32) for _ in range(senders)]
        self._threads = [
            threading.Thread(target=self._send, args=(f"s{number}", random.Random(seed)))
            for number, seed in enumerate(seeds)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns when every sender has ended; the answers are whole then."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, number: int) -> None:
        """Returns when so many further messages have their 250."""
        wanted = len(self.answers.promised) + number
        peers.wait_until(f"{number} messages to be accepted", lambda: len(self.answers.promised) >= wanted, 60)

    def _send(self, name: str, source: random.Random) -> None:
        number = 0
        while not self._stopping.is_set():
            with (
                contextlib.suppress(OSError, smtplib.SMTPException),
                smtplib.SMTP("127.0.0.1", self._port, local_hostname="laptop.test", timeout=30) as smtp,
            ):
                # A few messages a connection, so that no process keeps a sender for ever.
                for _ in range(source.randrange(1, 12)):
                    number += 1
                    if self._stopping.is_set() or not self._one(smtp, f"{name}n{number}", source):
                        break
            self._stopping.wait(0.02)

    def _one(self, smtp: smtplib.SMTP, mark: str, source: random.Random) -> bool:
        size = source.randrange(300_000) if source.random() < 0.2 else source.randrange(5000)
        message = f"From: <me@laptop.test>\r\nSubject: {mark}\r\n\r\n{'x' * size}\r\n"
        try:
            smtp.sendmail("me@laptop.test", ["you@relay.test"], message)
        except smtplib.SMTPResponseException as error:
            (self.answers.refused if error.smtp_code >= 500 else self.answers.deferred).add(mark)
            return True
        except smtplib.SMTPRecipientsRefused:
            self.answers.deferred.add(mark)
            return True
        except (OSError, smtplib.SMTPException):
            self.answers.unknown.add(mark)
            return False
        self.answers.promised.add(mark)
        return True


def kill(*processes: int) -> None:
    """SIGKILL; one that is gone already is as dead as it can be."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def is_there(process: int) -> bool:
    """Whether it runs; one that has ended and not been waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def arrived(relay: daemons.Daemon) -> collections.Counter[str]:
    """How often each mark is in the Maildir. A message that is not whole is an error."""
    found: collections.Counter[str] = collections.Counter()
    for text in relay.messages():
        header, _, body = text.partition(b"\n\n")
        mark = next(line[9:] for line in header.decode().splitlines() if line.startswith("Subject: "))
        assert body.endswith(b"x\n") or body == b"\n", f"{mark} is not whole"
        found[mark] += 1
    return found


def judge(relay: daemons.Daemon, answers: Answers, kills: int) -> str:
    """Waits until everything has arrived and the queue is empty, holds that against the answers; a line of figures."""

    def missing() -> set[str]:
        return answers.promised - set(arrived(relay))

    peers.wait_until("everything promised to arrive", lambda: not missing(), 120)
    peers.wait_until("an empty queue", lambda: relay.waiting() == 0, 120)
    found = arrived(relay)
    assert not answers.refused & set(found)
    doubtful = answers.deferred | answers.unknown
    twice = {mark: number for mark, number in found.items() if number > 1}
    assert all(number <= 1 + kills for number in twice.values())
    assert sum(number - 1 for number in twice.values()) <= kills * IN_FLIGHT
    return (
        f"{kills} kills; promised {len(answers.promised)}, deferred {len(answers.deferred)},"
        f" without an answer {len(answers.unknown)}, of these {len(doubtful & set(found))} arrived;"
        f" delivered twice {len(twice)}, all in flight at a kill"
    )
