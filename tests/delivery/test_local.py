"""Maildirs: what is under new/ is whole and durable, whatever step fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.post import BODY, HEADER, NOW, Pieces, StoppedClock, make_message, run
from relay.delivery.local import (
    BATCH_SIZE,
    Disk,
    MailboxTrouble,
    MaildirDelivery,
    MaildirTransport,
    MaildirWriter,
    added_fields,
)
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import AddressView, Scope
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Outcome
from relay.mail.ports import SpoolUnavailable

P = ParamSpec("P")
T = TypeVar("T")

STEPS = ("make_directory", "create", "write", "sync", "link", "sync_directory")


class FailingDisk(Disk):
    """A disk on which one step fails from its `after`-th time on; it keeps the order of what was done."""

    def __init__(self, step: str = "", number: int = errno.ENOSPC, after: int = 0) -> None:
        self._step, self._number, self._left = step, number, after
        self.done: list[str] = []
        self.failed = False

    def _note(self, step: str) -> None:
        if step == self._step:
            if self._left == 0:
                self.failed = True
                raise OSError(self._number, os.strerror(self._number))
            self._left -= 1
        self.done.append(step)

    def make_directory(self, path: str, mode: int) -> None:
        self._note("make_directory")
        super().make_directory(path, mode)

    def create(self, path: str, mode: int) -> int:
        self._note("create")
        return super().create(path, mode)

    def write(self, file: int, data: bytes | memoryview) -> int:
        self._note("write")
        return super().write(file, data[:7])  # short writes are the rule here

    def sync(self, file: int) -> None:
        self._note("sync")
        super().sync(file)

    def close(self, file: int) -> None:
        self._note("close")
        super().close(file)

    def link(self, old: str, new: str) -> None:
        self._note("link")
        super().link(old, new)

    def remove(self, path: str) -> None:
        self._note("remove")
        super().remove(path)

    def sync_directory(self, path: str) -> None:
        self._note(f"sync_directory {os.path.basename(path)}" if path.endswith("/new") else "sync_directory")
        super().sync_directory(path)


@dataclass
class Calls:
    """Blocking calls, done at once and counted."""

    names: list[str] = field(default_factory=list)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.names.append(function.__name__)
        return function(*args, **kwargs)


def files_in(maildir: Path) -> dict[str, list[str]]:
    return {part: sorted(os.listdir(maildir / part)) for part in ("tmp", "new", "cur") if (maildir / part).is_dir()}


def writer(maildir: Path, disk: Disk | None = None) -> MaildirWriter:
    return MaildirWriter(str(maildir), "one", disk=disk)


def delivered(
    maildir: Path | str,
    *pieces: bytes,
    scope: Scope | None = None,
    disk: Disk | None = None,
    calls: Calls | None = None,
    **options: object,
) -> Outcome:
    transport = MaildirTransport(name="maildir", directory=compile_expansion(str(maildir)), **options)  # type: ignore[arg-type]
    delivery = MaildirDelivery(
        transport, calls=calls or Calls(), clock=StoppedClock(), hostname="relay.test", pid=77, disk=disk
    )
    message = make_message(body=b"".join(pieces))
    return run(delivery.deliver(message.recipients[0].recipient, message, Pieces(*pieces), scope or Scope()))


# The blocking part


def test_a_message_is_written_synced_linked_and_synced(tmp_path: Path) -> None:
    maildir, disk = tmp_path / "box", FailingDisk()
    path = writer(maildir, disk).finish([b"Subject: x\r\n\r\n", BODY])
    assert Path(path).read_bytes() == b"Subject: x\n\none\ntwo\n"
    assert files_in(maildir) == {"tmp": [], "new": ["one"], "cur": []}
    order = [step for step in disk.done if step not in ("write", "make_directory", "sync_directory")]
    assert order == ["create", "sync", "link", "sync_directory new", "close", "remove"]


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        path = writer(tmp_path / "box").finish([BODY])
    finally:
        os.umask(before)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(tmp_path / "box").st_mode & 0o777 == 0o700


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_whatever_step_fails_new_holds_nothing(tmp_path: Path, step: str, after: int) -> None:
    maildir, disk = tmp_path / "deep" / "box", FailingDisk(step, after=after)
    box = writer(maildir, disk)
    trouble: MailboxTrouble | None = None
    try:
        box.write([BODY])
        box.finish([BODY])
    except MailboxTrouble as error:
        trouble = error
    failed = trouble is not None
    assert failed is disk.failed
    left = files_in(maildir)
    assert not left.get("tmp")
    assert left.get("new", []) == ([] if failed else ["one"])
    # The same message can be delivered once the trouble is over.
    if trouble is not None:
        assert trouble.outcome().error is ErrorClass.QUOTA
        assert "the disk is full" in trouble.outcome().reason
        assert Path(writer(maildir).finish([BODY])).read_bytes() == b"one\ntwo\n"


def test_the_directory_that_can_not_be_synced_gives_the_message_back(tmp_path: Path) -> None:
    disk = FailingDisk("sync_directory new", errno.EIO)
    with pytest.raises(MailboxTrouble):
        writer(tmp_path / "box", disk).finish([BODY])
    assert files_in(tmp_path / "box") == {"tmp": [], "new": [], "cur": []}


def test_a_failure_to_clean_up_does_not_take_a_delivery_back(tmp_path: Path) -> None:
    path = writer(tmp_path / "box", FailingDisk("remove", errno.EIO)).finish([BODY])
    assert Path(path).read_bytes() == b"one\ntwo\n"


def test_abandoning_leaves_nothing(tmp_path: Path) -> None:
    box = writer(tmp_path / "box")
    box.write([BODY])
    assert files_in(tmp_path / "box")["tmp"] == ["one"]
    box.abandon()
    box.abandon()
    assert files_in(tmp_path / "box") == {"tmp": [], "new": [], "cur": []}


def test_an_existing_message_is_never_replaced(tmp_path: Path) -> None:
    path = writer(tmp_path / "box").finish([b"first\r\n"])
    with pytest.raises(MailboxTrouble, match="File exists"):
        writer(tmp_path / "box").finish([b"second\r\n"])
    assert Path(path).read_bytes() == b"first\n"
    assert files_in(tmp_path / "box")["tmp"] == []


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    for part in ("tmp", "new", "cur"):
        (tmp_path / "box" / part).mkdir(parents=True)
    (tmp_path / "box" / "tmp" / "one").symlink_to(tmp_path / "victim")
    with pytest.raises(MailboxTrouble):
        writer(tmp_path / "box").finish([BODY])
    assert not (tmp_path / "victim").exists()


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"", b"b\r"]), max_size=12))
def test_line_ends_are_the_same_however_the_body_is_cut(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    maildir = tmp_path_factory.mktemp("box")
    path = writer(maildir).finish(pieces)
    assert Path(path).read_bytes() == b"".join(pieces).replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    "number, error, words",
    [
        (errno.ENOSPC, ErrorClass.QUOTA, "disk is full"),
        (errno.EDQUOT, ErrorClass.QUOTA, "quota is used up"),
        (errno.EACCES, ErrorClass.LOCAL, "let the user that the daemon runs as write there"),
        (errno.EROFS, ErrorClass.LOCAL, "read-only"),
        (errno.EIO, ErrorClass.LOCAL, "Input/output error"),
    ],
)
def test_troubles_are_told_with_path_and_remedy(tmp_path: Path, number: int, error: ErrorClass, words: str) -> None:
    outcome = delivered(tmp_path / "box", BODY, disk=FailingDisk("write", number))
    assert isinstance(outcome, Deferred)
    assert outcome.error is error
    assert words in outcome.reason
    assert str(tmp_path / "box" / "tmp") in outcome.reason


# The transport


def test_a_delivery_names_its_file(tmp_path: Path) -> None:
    calls = Calls()
    outcome = delivered(tmp_path / "box", BODY, calls=calls)
    assert isinstance(outcome, Delivered)
    path = Path(outcome.confirmation)
    assert path.parent == tmp_path / "box" / "new"
    assert path.read_bytes() == HEADER.replace(b"\r\n", b"\n") + b"\none\ntwo\n"
    assert path.name.startswith(f"{int(NOW)}.M000000Q0P77.relay.test")
    assert calls.names == ["finish"]


def test_names_are_unique(tmp_path: Path) -> None:
    options = MaildirTransport(name="maildir", directory=compile_expansion(str(tmp_path / "box")))
    delivery = MaildirDelivery(options, calls=Calls(), clock=StoppedClock(), hostname="a/b:c", pid=1)
    message = make_message()
    for _ in range(3):
        run(delivery.deliver(message.recipients[0].recipient, message, Pieces(BODY), Scope()))
    names = os.listdir(tmp_path / "box" / "new")
    assert len(names) == 3
    assert all(name.endswith(r"a\057b\072c") for name in names)


def test_a_large_body_goes_in_batches(tmp_path: Path) -> None:
    calls, piece = Calls(), b"x" * 62 + b"\r\n"
    pieces = [piece * 1024] * 20
    outcome = delivered(tmp_path / "box", *pieces, calls=calls)
    assert isinstance(outcome, Delivered)
    assert len(calls.names) == -(-len(b"".join(pieces)) // (BATCH_SIZE - len(pieces[0]))) - 1
    assert Path(outcome.confirmation).stat().st_size > 20 * 63 * 1024


def test_a_body_that_can_not_be_read_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Pieces):
        async def piece(self, number: int) -> bytes:
            if number == 8:
                raise SpoolUnavailable("the database is locked")
            return b"x" * 65536

    options = MaildirTransport(name="maildir", directory=compile_expansion(str(tmp_path / "box")))
    delivery = MaildirDelivery(options, calls=Calls(), clock=StoppedClock(), hostname="relay.test", pid=1)
    message = make_message()
    with pytest.raises(SpoolUnavailable):
        run(delivery.deliver(message.recipients[0].recipient, message, Broken(), Scope()))
    assert files_in(tmp_path / "box") == {"tmp": [], "new": [], "cur": []}


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    outcome = delivered(tmp_path / "box", BODY, create_directory=False)
    assert isinstance(outcome, Deferred)
    assert "set create_directory" in outcome.reason


def test_something_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "box").write_text("a file")
    outcome = delivered(tmp_path / "box", BODY)
    assert isinstance(outcome, Deferred)
    assert str(tmp_path / "box") in outcome.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    outcome = delivered(tmp_path / "box", BODY)
    assert isinstance(outcome, Deferred)
    assert "Permission denied" in outcome.reason


def test_a_tainted_directory_is_refused(tmp_path: Path) -> None:
    scope = Scope(address=AddressView(local_part="../../etc", domain="far.test"))
    outcome = delivered(f"{tmp_path}/$local_part", BODY, scope=scope)
    assert isinstance(outcome, Deferred)
    assert outcome.reason.startswith(f"Tainted '{tmp_path}/../../etc' (file or directory name for maildir transport)")
    assert os.listdir(tmp_path) == []


def test_what_a_router_found_may_name_the_directory(tmp_path: Path) -> None:
    scope = Scope(address=AddressView(local_part="bert"), local_part_data="bert")
    outcome = delivered(f"{tmp_path}/$local_part_data", BODY, scope=scope)
    assert isinstance(outcome, Delivered)
    assert (tmp_path / "bert" / "new").is_dir()


@pytest.mark.parametrize("directory", ["relative/box", "", "${if eq{1}{2}{/x}fail}", "${if >{x}{1}{/x}}"])
def test_directories_that_are_none(directory: str) -> None:
    outcome = delivered(directory, BODY)
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.LOCAL


def test_fields_are_added_and_older_ones_dropped() -> None:
    options = MaildirTransport(
        name="maildir",
        directory=compile_expansion("/x"),
        return_path_add=True,
        envelope_to_add=True,
        delivery_date_add=True,
    )
    message = make_message("bert@far.test", header=b"Return-Path: <forged@x.test>\r\n" + HEADER)
    header = added_fields(options, message, message.recipients[0].recipient, NOW)
    first, second, third, rest = header.split(b"\r\n", 3)
    assert first == b"Return-path: <anna@laptop.test>"
    assert second == b"Envelope-to: bert@far.test"
    assert third.startswith(b"Delivery-date: ")
    assert rest == HEADER


def test_without_such_options_the_header_is_as_it_came() -> None:
    options = MaildirTransport(name="maildir", directory=compile_expansion("/x"))
    message = make_message(header=b"Return-Path: <x@y.test>\r\n" + HEADER)
    assert added_fields(options, message, message.recipients[0].recipient, NOW) == message.header


def test_a_bounce_has_an_empty_return_path() -> None:
    options = MaildirTransport(name="maildir", directory=compile_expansion("/x"), return_path_add=True)
    message = make_message(sender="")
    assert added_fields(options, message, message.recipients[0].recipient, NOW).startswith(b"Return-path: <>\r\n")
