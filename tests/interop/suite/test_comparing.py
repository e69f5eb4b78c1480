"""Files of our own against each other."""

from interop.suite.comparing import END, Difference, first_difference, with_sorted_deliveries, without_cut_lines

DELIVERY = "2000-01-01 00:00:00 10HmaX-000000005vi-0000 {} {}\n"


def test_equal_files():
    assert first_difference("x", "a\nb\n", "a\nb\n") is None
    assert first_difference("x", "", "") is None


def test_the_first_line_that_differs():
    assert first_difference("x", "a\nb\nc\n", "a\nB\nC\n") == Difference("x", 2, "b", "B")


def test_a_file_that_is_too_short_or_too_long():
    assert first_difference("x", "a\nb\n", "a\n") == Difference("x", 2, "b", END)
    assert first_difference("x", "a\n", "a\n\n") == Difference("x", 2, END, "")


def test_a_missing_line_end_differs():
    assert first_difference("x", "a\n", "a") == Difference("x", 1, "a", "a")


def test_deliveries_may_come_in_any_order():
    lines = [DELIVERY.format("=>", "b"), DELIVERY.format("->", "a"), "Completed\n", DELIVERY.format("=>", "a")]
    assert with_sorted_deliveries(lines) == [lines[1], lines[0], lines[2], lines[3]]
    note = "**NOTE: The delivery lines in this file have been sorted.\n"
    expected = note + "".join(with_sorted_deliveries(lines))
    assert first_difference("x", expected, "".join(lines), deliveries_sorted=True) is None


def test_an_entry_that_was_cut_elsewhere():
    wanted = ["one\n", "two\n", "*** truncated ***\n", "three\n"]
    found = ["one\n", "two\n", "more\n", "and more\n", "*** truncated ***\n", "three\n"]
    assert without_cut_lines(wanted, found) == wanted


def test_an_entry_that_was_cut_here_alone_stays():
    found = ["one\n", "*** truncated ***\n"]
    assert without_cut_lines(["one\n", "two\n"], found) == found
