"""List notation: cutting and joining."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.splitting import join_list, split_list, split_pieces
from relay.expand.values import Tainted, is_tainted


@pytest.mark.parametrize(
    "text, items",
    [
        ("", ()),
        ("  ", ()),
        (":", ("",)),
        ("a", ("a",)),
        ("a:b", ("a", "b")),
        (" a : b ", ("a", "b")),
        ("a:b:", ("a", "b")),
        ("a:b: ", ("a", "b")),
        ("a: :b", ("a", "", "b")),
        (": a", ("", "a")),
        ("a::b", ("a:b",)),
        ("::1", (":1",)),
        ("127.0.0.1 : ::::1", ("127.0.0.1", "::1")),
        ("<; ::1 ; 127.0.0.1", ("::1", "127.0.0.1")),
        ("<;a;;b;c", ("a;b", "c")),
        ("<\n a\n\nb", ("a", "", "b")),
        ("<a:b", ("<a", "b")),
    ],
)
def test_cutting(text, items):
    assert split_list(text).items == items


@given(st.lists(st.text(alphabet="ab:; ", max_size=4).map(str.strip), max_size=5))
def test_what_is_joined_is_cut_again(items):
    # A separator at the start of an item after an empty one can't be told from a doubled one: Exim has the same.
    wanted = [item for item in items if item and not item.startswith(":") and not item.endswith(":")]
    assert list(split_list(join_list(wanted)).items) == wanted


def test_taint_is_kept_per_item():
    items = split_pieces(["ours : ", Tainted("theirs"), "x : also ours"])
    assert items == ("ours", "theirsx", "also ours")
    assert [is_tainted(item) for item in items] == [False, True, False]
    assert all(is_tainted(item) for item in split_list(Tainted("a:b")).items)


def test_text_from_outside_does_not_change_the_separator():
    assert split_list(Tainted("<;a;b")).items == ("<;a;b",)
    assert split_pieces([Tainted("<;a"), ";b"]) == ("<;a;b",)
