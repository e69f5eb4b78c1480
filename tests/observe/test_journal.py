"""One event to every observer; one that fails harms nobody."""

from observe import happenings as here
from relay.observe.journal import FanOut


class Collecting:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def record(self, event: object) -> None:
        self.seen.append(event)


class Failing:
    def record(self, event: object) -> None:
        raise RuntimeError("out of order")


def test_an_observer_that_fails_is_said_once_and_passed_over() -> None:
    first, last = Collecting(), Collecting()
    complaints: list[str] = []
    journal = FanOut([first, Failing(), last], complain=complaints.append)
    for event in here.ALL:
        journal.record(event)
    assert first.seen == last.seen == list(here.ALL)
    assert journal.failures == len(here.ALL)
    assert complaints == ["Failing failed on Arrived: RuntimeError: out of order"]
