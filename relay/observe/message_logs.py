"""A log of each message that waits: a file of its own beside the queue, for as long as it waits (edge).

What becomes of a message is held in memory until its first attempt is over: one that is delivered at once, as nearly
all are, costs no file. As soon as something is left over, what was held goes into `msglog/ID` under the spool
directory, and each further event is added there by whichever process sees it. `Completed` takes the file away, or
moves it to `msglog.OLD/`.

A log that can't be written never disturbs the mail. Who can write to the folder must not make us write elsewhere:
links are not followed. Exim: message_logs, preserve_message_logs.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from relay.expand.values import is_tainted
from relay.mail.events import (
    AddressDeferred,
    AddressDelivered,
    AddressFailed,
    Arrived,
    ChildrenComplete,
    Completed,
    Event,
    Frozen,
    HostFailed,
    MessageNote,
)
from relay.mail.ports import Clock
from relay.observe.files import DIRECTORY_MODE, FILE_MODE, complain
from relay.observe.lines import EximLines, only_waits
from relay.observe.logs import Stamp
from relay.observe.selectors import DEFAULT_SELECTORS, LogSelectors
from relay.observe.words import free, mailbox, word

FOLDER = "msglog"
OLD_FOLDER = "msglog.OLD"
# What is held at most; beyond it the oldest message gets its file early.
_MESSAGES = 1000
_EVENTS = 200

_Told = (
    Arrived
    | AddressDelivered
    | AddressDeferred
    | AddressFailed
    | ChildrenComplete
    | Frozen
    | HostFailed
    | MessageNote
)


class MessageLogs:
    """An observer that keeps a log of each message that waits."""

    def __init__(
        self,
        spool_directory: str,
        clock: Clock,
        selectors: LogSelectors = DEFAULT_SELECTORS,
        *,
        zone: bool = False,
        preserve: bool = False,
        complain: Callable[[str], None] = complain,
    ) -> None:
        """`preserve`: the log of a message that is complete is kept in `msglog.OLD/`."""
        self._spool_directory = spool_directory
        self._clock = clock
        self._lines = EximLines(LogSelectors(selectors.names | {"retry_defer"}))
        self._stamp = Stamp(millisec="millisec" in selectors, zone=zone)
        self._preserve = preserve
        self._complain = complain
        self._complained = False
        self._held: dict[str, list[tuple[float, _Told]]] = {}
        """What has happened to messages that have no file yet."""

    def record(self, event: Event) -> None:
        """Holds or writes what belongs into the message's log. Never raises OSError."""
        match event:
            case Arrived():
                self._held[event.message_id] = [(self._clock.now(), event)]
                if event.waits:
                    self._write_held(event.message_id)
                elif len(self._held) > _MESSAGES:
                    self._write_held(next(iter(self._held)))
            case AddressDeferred():
                # Whoever reads it has seen at the first attempt that a host is waited for.
                if event.is_first_attempt or not only_waits(event.outcome):
                    self._add(event)
                    self._write_held(event.message_id)
            case Frozen():
                self._add(event)
                self._write_held(event.message_id)
            case AddressDelivered() | AddressFailed() | HostFailed() | ChildrenComplete():
                self._add(event)
            case MessageNote(in_message_log=True):
                self._add(event)
            case Completed():
                self._end(event.message_id)
            case _:
                pass

    def close(self) -> None:
        """Whatever was not delivered by the end of this process waits for another one."""
        for message_id in list(self._held):
            self._write_held(message_id)

    def _add(self, event: _Told) -> None:
        held = self._held.get(event.message_id)
        if held is None:
            # Others have received it: its file is there if it has waited, and else it may be delivered at once.
            waits = isinstance(event, AddressDeferred | Frozen)
            self._append(event.message_id, self._line(self._clock.now(), event), create=waits)
            return
        held.append((self._clock.now(), event))
        if len(held) > _EVENTS:
            self._write_held(event.message_id)

    def _write_held(self, message_id: str) -> None:
        held = self._held.pop(message_id, None)
        if held is not None:
            self._append(message_id, "".join(self._line(*each) for each in held), create=True)

    def _end(self, message_id: str) -> None:
        if self._preserve:
            self._write_held(message_id)
        elif self._held.pop(message_id, None) is not None:
            return
        try:
            with self._folder(FOLDER) as folder:
                if self._preserve:
                    with self._folder(OLD_FOLDER, create=True) as old:
                        os.rename(message_id, message_id, src_dir_fd=folder, dst_dir_fd=old)
                else:
                    os.unlink(message_id, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._failed(message_id, error)

    # The file

    def _append(self, message_id: str, text: str, *, create: bool) -> None:
        if not text:
            return
        try:
            with self._folder(FOLDER, create=create) as folder:
                flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                flags |= os.O_CREAT if create else 0
                descriptor = os.open(message_id, flags, FILE_MODE, dir_fd=folder)
                try:
                    found = os.fstat(descriptor)
                    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                        raise OSError("not a file of ours")
                    os.write(descriptor, text.encode("utf-8", "backslashreplace"))
                finally:
                    os.close(descriptor)
        except FileNotFoundError:
            if create:
                self._failed(message_id, FileNotFoundError("the spool directory is gone"))
        except OSError as error:
            self._failed(message_id, error)
        else:
            self._complained = False

    @contextlib.contextmanager
    def _folder(self, name: str, *, create: bool = False) -> Iterator[int]:
        """Raises OSError."""
        path = os.path.join(self._spool_directory, name)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            if not create:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, DIRECTORY_MODE)
            descriptor = os.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _failed(self, message_id: str, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            self._complain(f"can't keep the log of message {message_id}: {error.strerror or error}")

    # The lines

    def _line(self, now: float, event: _Told) -> str:
        text = self._text(event)
        if not text:
            return ""
        # Exim gives this one no time.
        return f"*** {text}\n" if isinstance(event, Frozen) else f"{self._stamp.at(now)} {text}\n"

    def _text(self, event: _Told) -> str:
        """The main log's line in the words of a message's log; "" where that has none."""
        if isinstance(event, AddressDelivered):
            return f"{_reached(event)}: {event.transport} transport succeeded" if event.transport else ""
        if isinstance(event, AddressFailed) and event.outcome.is_expired:
            return ""
        if isinstance(event, ChildrenComplete):
            return f"{mailbox(event.address)}: children all complete"
        line = self._lines.line(event)
        text = line.text if line is not None else ""
        match event:
            case Arrived():
                return f"Received from {text[3:]}"
            case AddressDeferred():
                return text[3:]
            case AddressFailed():
                return text[3:] if event.router or event.transport else f"routing failed for {text[3:]}"
            case _:
                return text


def _reached(event: AddressDelivered) -> str:
    """The whole address, or the file or command, and the recipient that it was made of."""
    named, address = event.named, mailbox(event.address)
    if named is None:
        return address
    original = named.original or (event.address if named.has_parent else None)
    if named.shown[:1] in ("/", "|", ">"):
        address = word(named.shown) if is_tainted(named.shown) else free(named.shown)
        original = original or event.address
    return address if original is None else f"{address} <{mailbox(original)}>"
