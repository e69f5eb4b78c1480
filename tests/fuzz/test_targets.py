"""Noise of Hypothesis for every target; `make fuzz` gives much more of it, and that of atheris."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

EXAMPLES = int(os.environ.get("RELAY_FUZZ", "0")) or settings.default.max_examples


@pytest.mark.parametrize("name", TARGETS)
def test_noise_finds_nothing(name: str) -> None:
    one = TARGETS[name]
    seeds = tuple(seed[1:] for seed in one.seeds())
    noise = st.lists(st.sampled_from(one.words + seeds) | st.binary(max_size=20), max_size=25).map(b"".join)

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(st.binary(min_size=1, max_size=1), noise)
    def listen(split: bytes, data: bytes) -> None:
        one.target(split + data)

    listen()
