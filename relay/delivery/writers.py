"""Whoever carries out a job, by its kind (disk).

This module and what it imports is all that a process of its own needs for a delivery.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.delivery.command import CommandRun
from relay.delivery.disk import BlockingClock, Disk
from relay.delivery.jobs import Append, Command, Filter, Job, LMTPJob, NewFile
from relay.delivery.lmtp_dialog import LMTPRun
from relay.delivery.mbox import MailboxWriter
from relay.delivery.new_file import NewFileWriter

# How often a name is asked for where there is a file of that name already, and the seconds between.
NAME_TRIES = 5
NAME_PAUSE = 1.0

Writer = MailboxWriter | NewFileWriter | CommandRun | LMTPRun


def writer_for(job: Job, clock: BlockingClock, elapsed: Callable[[], float], disk: Disk | None = None) -> Writer:
    """Whoever does a job. Blocking."""
    match job:
        case Append():
            return MailboxWriter(job, clock, disk)
        case NewFile():
            return NewFileWriter(job, clock, disk)
        case Command():
            return CommandRun(job, elapsed)
        case LMTPJob():
            return LMTPRun(job, elapsed)
        case Filter():
            raise TypeError("a filter delivers nothing")
