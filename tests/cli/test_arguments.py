"""The command line of relay-sendmail: sendmail's and Exim's letters."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.cli.arguments import (
    Action,
    Arguments,
    GivenFacts,
    Mode,
    QueueRun,
    UsageError,
    read_arguments,
    read_time,
)
from relay.mail.facts import Endpoint
from relay.reception.given import read_endpoint
from relay.reception.request import DeliveryMode


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Arguments()),
        ("a@b c@d", Arguments(words=("a@b", "c@d"))),
        ("-i a@b", Arguments(dot_ends=False, words=("a@b",))),
        ("-oi -t", Arguments(dot_ends=False, extract_recipients=True)),
        ("-ti", Arguments(dot_ends=False, extract_recipients=True)),
        ("-oem -oep -eq -om -m -oo -x -v x", Arguments(verbose=True, words=("x",))),
        ("-oee x", Arguments(errors_end_well=True, words=("x",))),
        ("-f a@b x", Arguments(sender="a@b", words=("x",))),
        ("-fa@b x", Arguments(sender="a@b", words=("x",))),
        ("-r a@b x", Arguments(sender="a@b", words=("x",))),
        ("-F Name x", Arguments(full_name="Name", words=("x",))),
        ("-odq -odi x", Arguments(delivery=DeliveryMode.INTERACTIVE, delivery_asked=True, words=("x",))),
        ("-odf x", Arguments(delivery=DeliveryMode.INTERACTIVE, delivery_asked=True, words=("x",))),
        ("-odqs x", Arguments(routes_only=True, delivery_asked=True, words=("x",))),
        ("-G -bnq -- -x", Arguments(fix_header=False, qualify=False, words=("-x",))),
        ("-C /c -DA=b -DB x", Arguments(configuration="/c", macros=(("A", "b"), ("B", "")), words=("x",))),
        ("-C/c x", Arguments(configuration="/c", words=("x",))),
        (
            "-B8BITMIME -B 7BIT -h 3 -U -n -N x",
            Arguments(words=("x",), deliver_really=False, verbose=True, labels=False),
        ),
        ("-O a=b -Oa=b -X log -L tag -p esmtp -oA f -or 5s -os1m -oB 3 x", Arguments(words=("x",))),
        ("-bm x", Arguments(words=("x",), option="-bm")),
        ("-bp", Arguments(mode=Mode.LIST_QUEUE, option="-bp")),
        ("-bpru", Arguments(mode=Mode.LIST_QUEUE, option="-bpru", listing="ru")),
        ("-bpc", Arguments(mode=Mode.COUNT_QUEUE, option="-bpc")),
        ("-be $a b", Arguments(mode=Mode.EXPAND, option="-be", words=("$a", "b"))),
        ("-bV", Arguments(mode=Mode.VERSION, option="-bV")),
        ("--version", Arguments(mode=Mode.VERSION, option="--version")),
        ("-bi", Arguments(mode=Mode.ALIASES, option="-bi")),
        ("-bd -oX 25", Arguments(mode=Mode.DAEMON, option="-bd", interfaces="25")),
        ("-bdf", Arguments(mode=Mode.DAEMON, option="-bdf", foreground=True)),
        ("-bS", Arguments(mode=Mode.BATCH, option="-bS")),
        ("-bs -tls-on-connect", Arguments(mode=Mode.SESSION, option="-bs", tls_on_connect=True)),
        (
            "-bh 192.0.2.1.2525",
            Arguments(mode=Mode.PLAYED_SESSION, option="-bh", given=GivenFacts(address="192.0.2.1.2525")),
        ),
        (
            "-bh ::1 --cert laptop.pem",
            Arguments(
                mode=Mode.PLAYED_SESSION, option="-bh", given=GivenFacts(address="::1"), certificate="laptop.pem"
            ),
        ),
        (
            "-oMa ::1 -oMs host -oMi 192.0.2.2 -bs",
            Arguments(
                mode=Mode.SESSION,
                option="-bs",
                given=GivenFacts(address="::1", host="host", interface="192.0.2.2"),
            ),
        ),
        (
            "-odi -Mrm 1xUfyz-0002Cc-2k 1xUfyz-0000000002C-002k",
            Arguments(
                mode=Mode.ACT,
                option="-Mrm",
                action=Action.REMOVE,
                message_ids=("1xUfyz-0002Cc-2k", "1xUfyz-0000000002C-002k"),
                delivery=DeliveryMode.INTERACTIVE,
                delivery_asked=True,
            ),
        ),
        (
            "-Mar 1xUfyz-0002Cc-2k -v a@b c@d",
            Arguments(
                mode=Mode.ACT,
                option="-Mar",
                action=Action.ADD_RECIPIENTS,
                message_ids=("1xUfyz-0002Cc-2k",),
                verbose=True,
                words=("a@b", "c@d"),
            ),
        ),
        (
            "-be -Mset 1xUfyz-0002Cc-2k $h_from:",
            Arguments(
                mode=Mode.EXPAND,
                option="-be",
                action=Action.LOAD,
                message_ids=("1xUfyz-0002Cc-2k",),
                words=("$h_from:",),
            ),
        ),
        (
            "-Rrff ^a -S b@",
            Arguments(
                mode=Mode.QUEUE_RUN,
                option="-Rrff",
                queue_runs=(QueueRun(force=True, thaw=True, recipient="^a", recipient_is_pattern=True, sender="b@"),),
            ),
        ),
        (
            "-qqfSrest",
            Arguments(
                mode=Mode.QUEUE_RUN,
                option="-qqfSrest",
                queue_runs=(QueueRun(two_stage=True, force=True, sender="rest"),),
            ),
        ),
    ],
)
def test_what_the_words_ask_for(line: str, expected: Arguments) -> None:
    assert read_arguments("sendmail", line.split()) == expected


@pytest.mark.parametrize(
    ("line", "run"),
    [
        ("-q", QueueRun()),
        ("-qf", QueueRun(force=True)),
        ("-qff", QueueRun(force=True, thaw=True)),
        ("-qqff", QueueRun(two_stage=True, force=True, thaw=True)),
        ("-qifl", QueueRun(first_only=True, force=True, local_only=True)),
        ("-q 1xUfyz-0002Cc-2k", QueueRun(start="1xUfyz-0002Cc-2k")),
        ("-q 1xUfyz-0002Cc-2k 2xUfyz-0002Cc-2k", QueueRun(start="1xUfyz-0002Cc-2k", stop="2xUfyz-0002Cc-2k")),
    ],
)
def test_a_queue_run_once(line: str, run: QueueRun) -> None:
    found = read_arguments("exim", line.split())
    assert (found.mode, found.queue_runs) == (Mode.QUEUE_RUN, (run,))


def test_a_line_for_the_log() -> None:
    arguments = read_arguments("exim", ["-C", "x", "-z", "-- a line"])
    assert (arguments.mode, arguments.note) == (Mode.NOTE, "-- a line")
    for words in (["-z"], ["-zx", "y"]):
        with pytest.raises(UsageError):
            read_arguments("exim", words)


@pytest.mark.parametrize(("line", "interval"), [("-q1m", 60), ("-q 1h30m", 5400), ("-qff15s", 15), ("-bd -q30m", 1800)])
def test_a_queue_run_with_a_time_is_a_daemon(line: str, interval: int) -> None:
    found = read_arguments("exim", line.split())
    assert found.mode is Mode.DAEMON
    assert found.queue_runs[0].interval == interval


def test_a_daemon_that_runs_the_queue_at_its_start() -> None:
    found = read_arguments("exim", ["-bd", "-qff"])
    assert (found.mode, found.queue_runs) == (Mode.DAEMON, (QueueRun(force=True, thaw=True),))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/usr/bin/mailq", Arguments(mode=Mode.LIST_QUEUE, option="-bp")),
        ("newaliases", Arguments(mode=Mode.ALIASES, option="-bi")),
        ("/usr/sbin/sendmail", Arguments()),
        ("exim", Arguments()),
        ("rmail", Arguments(dot_ends=False, errors_end_well=True)),
        ("runq", Arguments(mode=Mode.QUEUE_RUN, option="-q", queue_runs=(QueueRun(),))),
        ("notmailq", Arguments()),
    ],
)
def test_the_name_that_the_program_was_called_by(name: str, expected: Arguments) -> None:
    assert read_arguments(name, []) == expected


@pytest.mark.parametrize(
    "line",
    [
        "-Q",
        "-bz",
        "-oq",
        "-odx",
        "-f",
        "-C",
        "-F",
        "-ox",
        "-tx",
        "-h x",
        "-bpx",
        "-oX",
        "-i2",
        "-Dlower",
        "-qx",
        "--certx",
    ],
)
def test_a_word_that_is_not_understood(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_arguments("exim", line.split())
    assert "\n" not in str(caught.value)


def test_an_empty_sender_is_a_sender() -> None:
    assert read_arguments("exim", ["-f", "", "x"]) == replace(Arguments(), sender="", words=("x",))


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90", 90), ("1m30s", 90), ("1w2d", 777600)])
def test_times(text: str, seconds: int) -> None:
    assert read_time(text) == seconds


def test_a_certificate_is_for_a_played_session() -> None:
    with pytest.raises(UsageError, match="needs -bh"):
        read_arguments("relay-sendmail", ["--cert", "laptop.pem", "-bs"])


@settings(max_examples=200)
@given(st.lists(st.text(max_size=6) | st.text("-bqofiMtCDRS8s ", max_size=5), max_size=5))
def test_no_words_are_a_fault_of_ours(words: list[str]) -> None:
    try:
        read_arguments("sendmail", words)
    except UsageError:
        pass


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1", Endpoint("192.0.2.1", 0)),
        ("192.0.2.1.25", Endpoint("192.0.2.1", 25)),
        ("[192.0.2.1]:25", Endpoint("192.0.2.1", 25)),
        ("[2001:db8::1]:25", Endpoint("2001:db8::1", 25)),
        ("2001:db8::1", Endpoint("2001:db8::1", 0)),
    ],
)
def test_addresses_with_and_without_ports(text: str, endpoint: Endpoint) -> None:
    assert read_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["host", "192.0.2", "[192.0.2.1]x", "192.0.2.1.70000"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        read_endpoint(text)
