"""What holds for every test: how Hypothesis searches, and when a test with real servers is skipped."""

import os

import pytest
from hypothesis import HealthCheck, settings

from interop import peers

# No deadline: a shared machine stalls now and then, and no test here asserts on the wall clock.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("ci", deadline=None, max_examples=200, print_blob=True)
settings.register_profile(
    "thorough", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`@pytest.mark.interop("exim", "swaks")` names what is needed; what is missing is the reason to skip."""
    for item in items:
        for mark in item.iter_markers("interop"):
            missing = [why for name in mark.args if (why := peers.missing(name))]
            if missing:
                item.add_marker(pytest.mark.skip(reason="; ".join(missing)))
