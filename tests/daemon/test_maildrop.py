"""The maildrop: what programs leave there comes through exactly once, and what is no message is set aside."""

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from reception.local_mail import NOW, FixedClock, Office, Queue, run
from relay.cli.handover import MessageInput, hand_over
from relay.daemon.callers import TrustedCallers
from relay.daemon.maildrop import Maildrop, MaildropFolder
from relay.mail.events import Arrived, DaemonNote, Trouble
from relay.mail.ports import SpoolUnavailable
from relay.mail.queue import NewMessage
from relay.reception.request import Status, SubmissionRequest, encode_request
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Done, Operation, Refused
from spool.samples import die, opened

TO_BOB = SubmissionRequest(recipients=("bob@there.example",))


async def call(function, *arguments):
    return function(*arguments)


@pytest.fixture
def folder(tmp_path: Path) -> MaildropFolder:
    folder = MaildropFolder(str(tmp_path))
    folder.prepare()
    return folder


@pytest.fixture
def office() -> Office:
    return Office()


def maildrop(folder: MaildropFolder, office: Office, clock: Clock | None = None) -> Maildrop:
    return Maildrop(
        clock or Clock(),
        folder,
        office.submission.submit,
        TrustedCallers(),
        office.events,
        FixedClock(),
        call,
    )


def leave(folder: MaildropFolder, text: bytes = b"Subject: x\n\nHello\n", request=TO_BOB) -> str:
    pieces = [text]
    message = MessageInput(lambda size: pieces.pop(0) if pieces else b"", dot_ends=True)
    before = set(os.listdir(folder.path))
    answer = hand_over(os.path.dirname(folder.path), request, message)
    assert (answer.status, answer.message_id) == (Status.ACCEPTED, "")
    (name,) = set(os.listdir(folder.path)) - before
    return name


def left(folder: MaildropFolder) -> list[str]:
    return sorted(name for name in os.listdir(folder.path) if name != "broken")


def aside(folder: MaildropFolder) -> list[str]:
    return os.listdir(os.path.join(folder.path, "broken"))


def test_others_may_write_and_not_read(folder: MaildropFolder) -> None:
    assert os.stat(folder.path).st_mode & 0o7777 == 0o1733
    name = leave(folder)
    status = os.stat(os.path.join(folder.path, name))
    assert status.st_mode & 0o777 == 0o644


def test_a_message_comes_through_and_its_file_goes(folder: MaildropFolder, office: Office) -> None:
    leave(folder)
    assert run(maildrop(folder, office).scan()) == 1
    assert left(folder) == []
    assert office.queue.body() == b"Hello\r\n"
    assert office.queue.accepted[0].facts.session.caller.uid == os.getuid()
    assert isinstance(office.events.recorded[0], Arrived)
    assert run(maildrop(folder, office).scan()) == 0


def test_a_file_has_the_same_id_whenever_it_is_looked_at(folder: MaildropFolder) -> None:
    first, second = leave(folder), leave(folder)
    ids = []
    for name in (first, first, second):
        file = folder.open(name)
        os.close(file.descriptor)
        ids.append(file.message_id)
    assert ids[0] == ids[1] != ids[2]


class StoredQueue:
    """The intake on a real queue, without threads."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store

    async def append(self, message_id: str, number: int, chunk: bytes) -> None:
        self._run(lambda queue: queue.add_chunk(message_id, number, chunk))

    async def accept(self, message: NewMessage, number: int, tail: bytes) -> None:
        self._run(lambda queue: queue.accept_message(message, number, tail))

    async def abandon(self, message_id: str) -> None:
        self._run(lambda queue: queue.abandon(message_id))

    def _run(self, operation: Operation) -> None:
        (result,) = self.store.run([operation])
        if isinstance(result, Refused):
            raise result.error
        assert isinstance(result, Done)


class Killed(BaseException):
    """The machine stops here."""


@pytest.mark.parametrize("size", [0, 10, 200_000])
@pytest.mark.parametrize("step", ["before the commit", "behind the commit", "behind the removal"])
def test_a_message_comes_through_once_wherever_the_machine_stops(
    folder: MaildropFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, size: int
) -> None:
    leave(folder, b"Subject: x\n\n" + b"x" * size)
    store = opened(tmp_path)
    office = Office(queue=StoredQueue(store))

    def stop(*_arguments: object, **_more: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if step == "before the commit":
            patch.setattr(StoredQueue, "accept", stop)
            patch.setattr(StoredQueue, "abandon", stop)
        elif step == "behind the commit":
            patch.setattr(MaildropFolder, "remove", stop)
        else:
            patch.setattr(office.told, "arrived", stop)
        with pytest.raises(Killed):
            run(maildrop(folder, office).scan())
    die(store)
    store = opened(tmp_path)
    office = Office(queue=StoredQueue(store))
    run(maildrop(folder, office).scan())
    entries = store.read(lambda reading: reading.entries(10))
    assert len(entries) == 1
    assert left(folder) == []
    assert len(office.told.background) == (step != "behind the removal")
    store.close_reading()
    store.close()


def test_a_queue_that_takes_nothing_leaves_the_files(folder: MaildropFolder) -> None:
    leave(folder)
    leave(folder)
    office = Office(queue=Queue(trouble={"accept": SpoolUnavailable("locked")}))
    assert run(maildrop(folder, office).scan()) == 0
    assert len(left(folder)) == 2
    assert [type(event) for event in office.events.recorded] == [DaemonNote]
    office.queue.trouble.clear()
    assert run(maildrop(folder, office).scan()) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no request",
        b"{}\nSubject: x\n\n",
        encode_request(SubmissionRequest()) + b"x\n",
        encode_request(TO_BOB)[:-1],
    ],
)
def test_what_is_no_message_is_set_aside_with_a_line(folder: MaildropFolder, office: Office, content: bytes) -> None:
    name = "new." + "0" * 32
    Path(folder.path, name).write_bytes(content)
    assert run(maildrop(folder, office).scan()) == 0
    assert aside(folder) == [name]
    assert left(folder) == []
    (event,) = office.events.recorded
    assert isinstance(event, Trouble)
    assert name in event.text


def test_links_and_pipes_are_no_messages(folder: MaildropFolder, office: Office, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(encode_request(TO_BOB) + b"secret\n")
    os.symlink(secret, os.path.join(folder.path, "new." + "1" * 32))
    os.link(secret, os.path.join(folder.path, "new." + "2" * 32))
    os.mkfifo(os.path.join(folder.path, "new." + "3" * 32))
    assert run(maildrop(folder, office).scan()) == 0
    assert len(aside(folder)) == 3
    assert office.queue.accepted == []
    assert secret.exists()


def test_half_written_files_are_let_be_until_they_are_old(folder: MaildropFolder, office: Office) -> None:
    young, old = (Path(folder.path, "tmp." + digit * 32) for digit in "45")
    young.write_bytes(b"x")
    old.write_bytes(b"x")
    os.utime(young, (NOW, NOW))
    os.utime(old, (NOW - 2 * 86400, NOW - 2 * 86400))
    run(maildrop(folder, office).scan())
    assert left(folder) == [young.name]


def test_only_one_process_scans(folder: MaildropFolder, office: Office) -> None:
    leave(folder)
    lock = folder.lock()
    assert lock is not None
    assert run(maildrop(folder, office).scan()) == 0
    os.close(lock)
    assert run(maildrop(folder, office).scan()) == 1


def test_scans_go_on_after_trouble_that_is_said_once(folder: MaildropFolder, office: Office) -> None:
    clock = Clock()
    scanning = maildrop(folder, office, clock)
    os.rename(folder.path, folder.path + ".away")
    first = scanning.start()
    assert first.called
    clock.advance(20)
    assert [type(event) for event in office.events.recorded] == [Trouble]
    os.rename(folder.path + ".away", folder.path)
    leave(folder)
    clock.advance(20)
    assert left(folder) == []
    scanning.stop()
    leave(folder)
    clock.advance(60)
    assert len(left(folder)) == 1


def test_files_are_taken_in_the_order_of_their_age(folder: MaildropFolder, office: Office) -> None:
    names = [leave(folder, b"Subject: %d\n\n" % number) for number in range(3)]
    for age, name in enumerate(names):
        os.utime(os.path.join(folder.path, name), (NOW - age, NOW - age))
    run(maildrop(folder, office).scan())
    assert ["Subject: 2" in office.queue.header(0), "Subject: 0" in office.queue.header(2)] == [True, True]
