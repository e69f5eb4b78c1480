"""Counters for every event."""

from dataclasses import replace
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from observe import happenings as here
from relay.mail import events
from relay.observe.metrics import COUNTS, PREFIX, Metrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def series(registry: CollectorRegistry) -> int:
    return sum(len(metric.samples) for metric in registry.collect())


def test_every_event_is_counted_and_every_counter_explained(registry: CollectorRegistry) -> None:
    assert {count.event for count in COUNTS} == set(get_args(events.Event))
    assert all(count.help.endswith(".") and " " in count.help for count in COUNTS)
    assert len({count.name for count in COUNTS}) == len(COUNTS)
    metrics = Metrics(registry)
    for event in here.ALL:
        metrics.record(event)
    for count in COUNTS:
        name = f"{PREFIX}{count.name}_total"
        samples = [s for metric in registry.collect() for s in metric.samples if s.name == name]
        assert sum(sample.value for sample in samples) > 0, name


def test_labels_and_amounts(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    metrics.record(here.ARRIVED)
    metrics.record(here.ARRIVED)
    labels = {"protocol": "esmtps", "certificate": "verified"}
    assert registry.get_sample_value(f"{PREFIX}messages_received_total", labels) == 2
    assert registry.get_sample_value(f"{PREFIX}received_octets_total") == 2468
    metrics.record(here.REJECTED)
    labels = {"command": "RCPT", "temporary": "no"}
    assert registry.get_sample_value(f"{PREFIX}commands_rejected_total", labels) == 1


def test_no_peer_makes_new_series(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    odd = replace(here.SESSION, tls=replace(here.TLS, version="TLS9"))
    sizes = set()
    for number in range(50):
        metrics.record(replace(here.REJECTED, command=f"XX{number} <a{number}@b>", reason=str(number)))
        metrics.record(events.TLSFailed(here.PLAIN, f"whose {number}", str(number)))
        metrics.record(events.TLSStarted(replace(odd, peer_name=str(number))))
        sizes.add(series(registry))
    assert len(sizes) == 1


def test_two_in_one_process() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).record(events.Completed(here.ID))
    Metrics(second)
    assert first.get_sample_value(f"{PREFIX}messages_completed_total") == 1
    assert second.get_sample_value(f"{PREFIX}messages_completed_total") == 0
