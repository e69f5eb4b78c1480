"""Conversions that need more than their text."""

from __future__ import annotations

import pytest

from relay.config.blocks import DriverBlock
from relay.config.convert import answered_now
from relay.mail.ports import TemporaryFailure
from relay.mail.source import Location


class Never:
    """Something to wait for that does not come."""

    def __await__(self):
        yield self


def test_an_answer_that_is_there() -> None:
    async def question() -> int:
        return 7

    assert answered_now(question()) == 7


def test_an_answer_that_would_have_to_be_waited_for() -> None:
    async def question() -> None:
        await Never()

    with pytest.raises(TemporaryFailure):
        answered_now(question())


def test_a_block_knows_its_options_by_type_and_line() -> None:
    here, there = Location("conf", 1), Location("conf", 3)
    block = DriverBlock("transports", "t", "smtp", here, {"port": "25", "unset": None, "flag": True}, {"port": there})
    assert (block.text("port"), block.text("unset"), block.expansion("unset"), block.flag("flag")) == (
        "25",
        "",
        None,
        True,
    )
    assert (block.place("port"), block.place("flag")) == (there, here)
    with pytest.raises(AssertionError):
        block.number("port")
