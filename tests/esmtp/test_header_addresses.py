"""Address lists of header fields, RFC 5322 3.4 and 4.4."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.grammar import Malformed
from relay.esmtp.header_addresses import Mailbox, Unreadable, locate_mailboxes, read_address_list
from relay.mail.address import Address


@pytest.mark.parametrize(
    "value, expected",
    [
        ("", []),
        (" , ,", []),
        ("a@b.example", ["a@b.example"]),
        ("a@b, c@d", ["a@b", "c@d"]),
        ("Joe Q. Public <joe@example>", ["joe@example"]),
        ('"Public, Joe" <joe@example>, x@y', ["joe@example", "x@y"]),
        ('"Giant; \\"Big\\" Box" <box@example>', ["box@example"]),
        ("=?utf-8?q?J=C3=BCrgen?= <j@example>", ["j@example"]),
        ("Jürgen <j@example>", ["j@example"]),
        ("root", ["root"]),
        ("(a (nested\\)) comment) a@b (and, more)", ["a@b"]),
        ("a (x) . (y) b @ c . d", ["a.b@c.d"]),
        ('"a b"@c', ['"a b"@c']),
        ("<@r.example,@s.example:a@b>", ["a@b"]),
        ("Friends: a@b, Joe <c@d>;", ["a@b", "c@d"]),
        ("Friends: a@b; , x@y", ["a@b", "x@y"]),
        ("undisclosed-recipients:;", []),
        ("A: ; , B: c@d;", ["c@d"]),
        ("a@b,\r\n c@d,\r\n\t<e@f>", ["a@b", "c@d", "e@f"]),
        ("a@[192.0.2.1]", ["a@[192.0.2.1]"]),
    ],
)
def test_lists(value: str, expected: list[str]) -> None:
    assert [str(address) for address in read_address_list(value)] == expected


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "a@",
        "@b",
        "<a@b",
        "<>",
        "a@b c@d",
        "Joe <a@b> x",
        "a..b@c",
        ".a@c",
        "(open",
        '"open',
        "a@b;",
        "A: B: c@d;;",
        "a@b_c",
        "a@-b",
        "\x00",
        "a@b\nBcc: x@y",
        '"a\nb"@c',
        ":",
    ],
)
def test_what_is_no_list(value: str) -> None:
    with pytest.raises(Malformed):
        read_address_list(value)


def test_quoting_is_taken_off() -> None:
    assert read_address_list('"a\\"b"@c') == (Address('a"b', "c"),)


@settings(max_examples=200)
@given(st.text(alphabet='ab@<>,;:()."\\ \r\n\t[]1ä\x00', max_size=25))
def test_any_text_is_a_list_or_malformed(value: str) -> None:
    try:
        found = read_address_list(value)
    except Malformed:
        return
    for address in found:
        assert address.local_part or address.domain
        assert "\r" not in str(address)
        assert "\n" not in str(address)


def test_deep_comments_need_no_stack() -> None:
    assert read_address_list("(" * 100000 + ")" * 100000 + "a@b") == (Address("a", "b"),)


# Places


@pytest.mark.parametrize(
    "value, specs, items",
    [
        ("", [], []),
        (" , (x) ,", [], []),
        ("a@b, c@d", ["a@b", "c@d"], ["a@b", "c@d"]),
        (' "P, J" <j@x> (c) ,\r\n k@x', ["j@x", "k@x"], ['"P, J" <j@x> (c)', "k@x"]),
        ("<@r,@s:a@b>", ["@r,@s:a@b"], ["<@r,@s:a@b>"]),
        ("A, B: c@d, e@f; g@h", ["A", "c@d", "e@f", "g@h"], None),
        ("none:;", [], []),
        ("a (x) . b @ c (y)", ["a (x) . b @ c"], ["a (x) . b @ c (y)"]),
        ("x@[IPv6:2001:db8::1], y@z", ["x@[IPv6:2001:db8::1]", "y@z"], None),
        ('"a,b;c:d"@e', ['"a,b;c:d"@e'], None),
        ("(a, b) c@d", ["c@d"], ["(a, b) c@d"]),
    ],
)
def test_places(value: str, specs: list[str], items: list[str] | None) -> None:
    found = [each for each in locate_mailboxes(value) if isinstance(each, Mailbox)]
    assert [value[slice(*each.spec)] for each in found] == specs
    if items is not None:
        assert [value[slice(*each.item)] for each in found] == items


@pytest.mark.parametrize(
    "value, bad",
    [
        ("a b, c@d", ["a b"]),
        ("c@d, <open@x, e@f", ["<open@x, e@f"]),
        ('c@d, "open, e@f', ['"open, e@f']),
        ("c@d, (open, e@f", ["(open, e@f"]),
        ("\x00, c@d, a@b c@d", ["\x00", "a@b c@d"]),
        ("c@d, x@[1:2", ["x@[1:2"]),
        ("<>, c@d", ["<>"]),
        ("@, c@d", ["@"]),
    ],
)
def test_what_can_not_be_read_is_told_apart(value: str, bad: list[str]) -> None:
    found = list(locate_mailboxes(value))
    assert [value[slice(*each.item)] for each in found if isinstance(each, Unreadable)] == bad
    assert [each.address for each in found if isinstance(each, Mailbox)] == [Address("c", "d")]


@settings(max_examples=200)
@given(st.text(st.sampled_from('ab@.,:;<>()"\\[] \r\n\t'), max_size=40))
def test_places_and_lists_agree(value: str) -> None:
    found = list(locate_mailboxes(value))
    try:
        expected = list(read_address_list(value))
    except Malformed:
        return
    assert [each.address for each in found if isinstance(each, Mailbox)] == expected
    ends = [place for each in found for place in each.item]
    assert ends == sorted(ends)
