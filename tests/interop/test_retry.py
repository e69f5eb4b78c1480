"""Retry rules of the real Exim and ours: which one is for an address, a host and a failure (`-brt`), and when the next
try is."""

import itertools
import os
import random
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay.cli.address_test import test_retry as our_lines
from relay.mail.source import Location
from relay.policy.retry import RetryRule, next_try, parse_rules

from interop import exim, peers

RULES = """
gone.test            *
rcpt.test            rcpt_451      F,1h,5m
rcpt.test            rcpt_45x      F,2h,5m
rcpt.test            rcpt_4xx      F,3h,5m
data.test            data_421      G,1h,5m,1.5
data.test            mail_4xx      G,1h,5m,1.25
full.test            quota_7d      F,1h,5m
full.test            quota_1d      F,2h,5m
full.test            quota         F,3h,5m
slow.test            timeout_connect_MX  F,1h,5m
slow.test            timeout_connect_A   F,2h,5m
slow.test            timeout_MX    F,3h,5m
slow.test            timeout_connect     F,4h,5m
slow.test            timeout       F,5h,5m
down.test            refused_MX    F,1h,5m
down.test            refused_A     F,2h,5m
down.test            refused       F,3h,5m
tls.test             tls_required  H,1d,10m,2; H,2d,1h,1.333
auth.test            auth_failed   F,1h,5m
lost.test            lost_connection  F,1h,5m
names.test           lookup        F,1h,5m
senders.test         *             senders=ann@own.test:*@lists.test  F,1h,1m
ann@person.test      *             F,1h,1m
*.below.test         *             F,1h,1m
\\N^.*@ex[ab]+\\.test$\\N  *             F,1h,1m
*@partial-lsearch;DIR/table  *       F,7m,1m
"quoted.test"        *             F,9m,1m
*                    *             F,2h,15m; G,16h,1h,1.5; F,4d,6h
"""
TABLE = "listed.test: yes\n*.wide.test: yes\n"

ERRORS = (
    "", "auth_failed", "data_421", "data_4xx", "lookup", "lost_connection", "mail_4xx", "mail_450", "quota", "quota_2d",
    "quota_8d", "rcpt_451", "rcpt_452", "rcpt_45x", "rcpt_421", "rcpt_4xx", "refused", "refused_A", "refused_MX",
    "timeout", "timeout_A", "timeout_MX", "timeout_connect", "timeout_connect_A", "timeout_connect_MX", "tls_required",
)  # fmt: skip
WITH_ERRORS = ("rcpt.test", "data.test", "full.test", "slow.test", "down.test", "tls.test", "auth.test", "lost.test")
KEYS = (
    "gone.test", "bob@gone.test", "ann@person.test", "bob@person.test", "person.test", "a.below.test", "below.test",
    "exab.test", "exc.test", "listed.test", "x.wide.test", "bob@listed.test", "quoted.test", "names.test",
    "senders.test", "other.test", "bob@OTHER.test", "ANN@person.test", "Exab.Test", "one",
)  # fmt: skip

QUESTIONS = (
    *((each,) for each in KEYS),
    *(tuple(filter(None, pair)) for pair in itertools.product(WITH_ERRORS, ERRORS)),
    ("names.test", "lookup"),
    ("other.test", "gone.test"),
    ("bob@other.test", "down.test", "refused_A"),
    ("mx.other.test", "person.test", "timeout"),
)
# What our answer leaves out or adds: the question, and why.
DIFFERENT = {
    (
        "data.test",
        "data_4xx",
    ): "any 4xx is to Exim the reply of the first rule with a code, to ours one that no rule names"
}


@pytest.fixture(scope="module")
def config() -> Iterator[Path]:
    if exim.missing():
        pytest.skip(exim.missing())
    with peers.directory("exim-retry") as directory:
        for name in ("spool", "log"):
            peers.make_directory(directory / name, exim.USER)
        (directory / "table").write_text(TABLE)
        path = directory / "exim.conf"
        path.write_text(
            f"primary_hostname = relay.test\nspool_directory = {directory}/spool\n"
            f"log_file_path = {directory}/log/%slog\nkeep_environment =\n"
            f"begin retry\n{RULES.replace('DIR', str(directory))}"
        )
        yield path


def theirs(config: Path, question: tuple[str, ...]) -> str:
    done = subprocess.run(
        [peers.EXIM, "-C", config, "-brt", *question], capture_output=True, timeout=60, check=False, text=True
    )
    return done.stdout or done.stderr


@pytest.mark.interop("exim")
def test_the_rule_that_is_used(config: Path) -> None:
    assert len(QUESTIONS) > 200
    answers = {
        each: (theirs(config, each), "".join(f"{line}\n" for line in our_lines(config, {}, each, None)))
        for each in QUESTIONS
    }
    different = {each: pair for each, pair in answers.items() if pair[0] != pair[1]}
    unexpected = {each: pair for each, pair in different.items() if each not in DIFFERENT}
    assert not unexpected, "\n".join(
        f"{' '.join(each)}\n  Exim: {a!r}\n  ours: {b!r}" for each, (a, b) in unexpected.items()
    )
    assert different.keys() == DIFFERENT.keys(), "some differ no longer"


# The arithmetic. Exim's times are moved in its database, then it tries again and says when it will try next.

STEPS = "F,2h,15m; G,16h,1h,1.5; F,4d,6h"
MINUTE = 60.0
# How long the host has been failing, the gap that was planned before this try, and how late the try comes; in minutes.
TRIES = (
    (15, 15, 0), (60, 15, 0), (119, 15, 0), (121, 15, 0), (180, 15, 0), (185, 60, 0), (275, 90, 0), (410, 135, 0),
    (612, 202, 0), (900, 202, 90), (961, 303, 0), (1400, 360, 0), (2000, 360, 1000), (5700, 360, 0), (15, 5, 10),
)  # fmt: skip


class Host:
    """What Exim remembers of the one host that it dials in vain."""

    def __init__(self, directory: Path) -> None:
        self._config = exim.write_config(
            directory,
            f"""
begin routers
all:
  driver = manualroute
  transport = out
  route_list = * 127.0.0.1
  self = send
begin transports
out:
  driver = smtp
  port = 1
begin retry
*  *  {STEPS}
""",
        )
        self._spool = directory / "spool"

    def submit(self) -> None:
        self._run(
            peers.EXIM, "-C", self._config, "-odi", "-f", "ann@relay.test", "bob@far.test", text="Subject: a\n\na\n"
        )

    def times(self) -> tuple[float, float, float]:
        """First failure, last try, next try."""
        dump = self._run(peers.EXIM.with_name("exim_dumpdb"), self._spool, "retry")
        words = dump.splitlines()[1].replace("*", " ").split()
        first, last, following = (
            datetime.strptime(f"{day} {time} +0000", "%d-%b-%Y %H:%M:%S %z").timestamp()
            for day, time in zip(words[::2], words[1::2], strict=True)
        )
        return first, last, following

    def move(self, first: float, last: float, following: float) -> None:
        """To whole minutes."""
        text = "T:127.0.0.1:127.0.0.1:1\n"
        for field, moment in ((2, first), (3, last), (4, following)):
            text += f"{field} {datetime.fromtimestamp(moment, UTC):%y:%m:%d:%H:%M}\n"
        self._run(peers.EXIM.with_name("exim_fixdb"), self._spool, "retry", text=f"{text}\nq\n")

    def try_again(self) -> None:
        self._run(peers.EXIM, "-C", self._config, "-q")

    def _run(self, *command: str | Path, text: str = "") -> str:
        environment = {**os.environ, "TZ": "UTC"}
        return subprocess.run(
            command, input=text, capture_output=True, timeout=60, check=False, text=True, env=environment
        ).stdout


@pytest.mark.interop("exim")
def test_the_time_of_the_next_try() -> None:
    (rule,) = parse_rules([(Location("exim.conf", 1), f"*  *  {STEPS}")])
    with peers.directory("exim-schedule") as directory:
        host = Host(directory)
        host.submit()
        for failing, gap, late in TRIES:
            now = time.time()
            last = now - (gap + late) * MINUTE
            host.move(now - failing * MINUTE, last, last + gap * MINUTE)
            first, last_before, planned = host.times()
            host.try_again()
            _, tried, following = host.times()
            assert tried >= now - 1, "Exim has tried"
            assert following - tried == pytest.approx(planned_gap(rule, first, last_before, planned, tried), abs=1.5)


def planned_gap(rule: RetryRule, first: float, last: float, planned: float, now: float) -> float:
    """Ours, from the same times."""
    following = next_try(rule.steps, first, min(planned, now) - last, now, random.Random(1))
    assert following is not None
    return following - now
