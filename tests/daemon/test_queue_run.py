"""What belongs to a queue run."""

import pytest

from relay.daemon.orders import Selection
from relay.daemon.queue_run import QueueRun
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.queue import QueuedRecipient, QueueEntry


def test_what_comes_while_a_run_is_under_way_belongs_to_the_next_one() -> None:
    entry = QueueEntry("id", Address("a", "b.test"), 100.0, 9, False, 0.0, ())
    assert QueueRun().wants(entry, 100.0)
    assert not QueueRun(force=True).wants(entry, 99.0)


def test_the_log_names_the_letters_of_a_run() -> None:
    assert QueueRun().letters == ""
    assert QueueRun(two_stage=True, force=True, thaw=True).letters == " -qqff"
    assert QueueRun(local_only=True).letters == " -ql"


@pytest.mark.parametrize(
    "run, attempts, due, frozen, fate",
    [
        (QueueRun(), 1, 300.0, False, "early"),
        (QueueRun(), 1, 200.0, False, "wanted"),
        (QueueRun(), 0, 300.0, False, "wanted"),
        (QueueRun(), 1, 300.0, True, "wanted"),
        (QueueRun(force=True), 1, 300.0, False, "wanted"),
        (QueueRun(first_only=True), 1, 300.0, False, "left"),
        (QueueRun(start="z"), 1, 300.0, False, "left"),
        (QueueRun(selection=Selection(recipient="b.test")), 1, 300.0, False, "wanted"),
        (QueueRun(selection=Selection(recipient="c.test")), 1, 300.0, False, "left"),
    ],
)
def test_whose_time_has_not_come_is_told_of(
    run: QueueRun, attempts: int, due: float, frozen: bool, fate: str
) -> None:
    """And a run tells of what is frozen whenever its time comes."""
    waiting = QueuedRecipient(0, Recipient(Address("a", "b.test")), attempts=attempts)
    entry = QueueEntry("id", Address("s", "b.test"), 100.0, 9, frozen, due, (waiting,))
    assert (run.wants(entry, 200.0), run.is_early(entry, 200.0)) == (fate == "wanted", fate == "early")
