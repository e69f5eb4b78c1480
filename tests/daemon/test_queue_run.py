"""What belongs to a queue run."""

from relay.daemon.queue_run import QueueRun
from relay.mail.address import Address
from relay.mail.queue import QueueEntry


def test_what_comes_while_a_run_is_under_way_belongs_to_the_next_one() -> None:
    entry = QueueEntry("id", Address("a", "b.test"), 100.0, 9, False, 0.0, ())
    assert QueueRun().wants(entry, 100.0)
    assert not QueueRun(force=True).wants(entry, 99.0)
