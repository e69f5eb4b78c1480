"""The values of smtp_ratelimit_mail and smtp_ratelimit_rcpt."""

import pytest

from relay.config.options import BadValue
from relay.config.pauses import read_slowing
from relay.reception.rules import Slowing


@pytest.mark.parametrize(
    ("text", "slowing"),
    [
        ("2,0.5s,1.05,4m", Slowing(2, 0.5, 1.05, 240.0)),
        ("4, 0.25s, 1.015, 4m", Slowing(4, 0.25, 1.015, 240.0)),
        ("0,1s,2,1h", Slowing(0, 1.0, 2.0, 3600.0)),
        ("", None),
    ],
)
def test_values(text: str, slowing: Slowing | None) -> None:
    assert read_slowing(text, "smtp_ratelimit_mail") == slowing


@pytest.mark.parametrize("text", ["2", "2,1s,1", "2,1s,1,4m,5", "x,1s,1,4m", "2,soon,1,4m", "2,1s,fast,4m", "2,1s,1,"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadValue):
        read_slowing(text, "smtp_ratelimit_mail")
