"""What a mailbox holds, and what still fits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.delivery.jobs import NotDelivered, Quota
from relay.delivery.quota import Amount, Usage, check, crosses, measure, read_amount
from relay.mail.outcome import ErrorClass


@pytest.mark.parametrize(
    "text, amount",
    [
        ("0", Amount(0)),
        ("10K", Amount(10240)),
        (" 1.5M ", Amount(1572864)),
        ("2G/no_check", Amount(2 * 1024**3, no_check=True)),
    ],
)
def test_amounts(text: str, amount: Amount) -> None:
    assert read_amount(text) == amount


@pytest.mark.parametrize("text", ["", "K", "-1", "10X", "10K/nocheck", "1 2", "9" * 30])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError):
        read_amount(text)


def test_directories_are_measured(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a").write_bytes(b"x" * 100)
    os.link(tmp_path / "new" / "a", tmp_path / "b")  # each of two names counts half
    (tmp_path / "link").symlink_to("/etc")
    assert measure(str(tmp_path)) == Usage(100, 4)
    assert measure(str(tmp_path / "missing")) == Usage()


def test_a_size_may_stand_in_the_name(tmp_path: Path) -> None:
    (tmp_path / "1.a,S=500").write_bytes(b"")
    (tmp_path / "2.b").write_bytes(b"xyz")
    assert measure(str(tmp_path), r",S=(\d+)") == Usage(503, 2)


FULL = "mailbox is full (MTA-imposed quota exceeded while writing to /m)"
MANY = "mailbox is full (MTA-imposed filecount quota exceeded while writing to /m)"


@pytest.mark.parametrize(
    "quota, usage, words",
    [
        (Quota(), Usage(10**9, 9), ""),
        (Quota(size=100), Usage(90), ""),
        (Quota(size=100), Usage(91), FULL),
        (Quota(size=100, is_inclusive=False), Usage(100), ""),
        (Quota(size=100, is_inclusive=False), Usage(101), FULL),
        (Quota(size=100, ignores_size=True), Usage(500), ""),
        (Quota(size=100, mailbox_size=0), Usage(500), ""),
        (Quota(size=100, files=2), Usage(0, 1), ""),
        (Quota(size=100, files=2), Usage(0, 2), MANY),
        (Quota(size=100, files=2), Usage(500, 2), MANY),
        (Quota(size=100, files=2, mailbox_files=1), Usage(0, 2), ""),
        (Quota(size=100, files=2, ignores_files=True), Usage(0, 2), ""),
    ],
)
def test_what_fits(quota: Quota, usage: Usage, words: str) -> None:
    if not words:
        check(quota, usage, 10, "/m")
        return
    with pytest.raises(NotDelivered) as caught:
        check(quota, usage, 10, "/m")
    assert caught.value.report.text == words
    assert caught.value.report.error is ErrorClass.QUOTA


@pytest.mark.parametrize(
    "quota, used, is_crossed",
    [
        (Quota(), 10, False),
        (Quota(threshold=100), 90, False),
        (Quota(threshold=100), 91, True),
        (Quota(threshold=100), 100, True),
        (Quota(threshold=100), 101, False),
        (Quota(threshold=100, mailbox_size=95), 10**9, True),
    ],
)
def test_a_threshold_is_crossed_once(quota: Quota, used: int, is_crossed: bool) -> None:
    assert crosses(quota, Usage(used), 10) is is_crossed
