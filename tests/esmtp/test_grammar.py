"""Addresses, paths and parameters, RFC 5321 4.1.2 and 4.1.3."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp import grammar
from relay.esmtp.grammar import Malformed
from relay.mail.address import NULL_SENDER, Address


@pytest.mark.parametrize(
    "path, address",
    [
        ("<a@b.example>", Address("a", "b.example")),
        ("<a.b+c/d=e@x-y.Example>", Address("a.b+c/d=e", "x-y.Example")),
        ('<"a b"@example>', Address("a b", "example")),
        ('<"a\\"@\\\\"@example>', Address('a"@\\', "example")),
        ('<"<>"@example>', Address("<>", "example")),
        ('<""@example>', Address("", "example")),
        ("<postmaster>", Address("postmaster", "")),
        ("<a@[192.0.2.1]>", Address("a", "[192.0.2.1]")),
        ("<a@[IPv6:2001:db8::1]>", Address("a", "[IPv6:2001:db8::1]")),
        ("<@one.example,@two.example:a@b.example>", Address("a", "b.example")),
        (f"<{'l' * 200}@example>", Address("l" * 200, "example")),
        ("a@b.example", Address("a", "b.example")),
        ('"a b>"@b.example', Address("a b>", "b.example")),
        ("@one.example:a@b.example", Address("a", "b.example")),
    ],
)
def test_a_path(path: str, address: Address) -> None:
    assert grammar.read_path(path, allow_null=False) == (address, "")
    assert grammar.read_path(path + " X=1", allow_null=True) == (address, " X=1")


@pytest.mark.parametrize(
    "path, reason",
    [
        ("", "empty address"),
        ("<>", "empty address"),
        ("a@b.example>", "malformed address: > may not follow a@b.example"),
        (" a@b.example", "empty address"),
        ("a@b..c", "domain missing or malformed"),
        ("a<b@c>", "malformed address: <b@c> may not follow a"),
        ("<a@b.example", "'>' missing at end of address"),
        ("<a", '"@" or "." expected after "a"'),
        ("<@b.example>", '"@" or "." expected in route list, or colon missing behind it'),
        ("<@b.example:a>", "domain missing in source-routed address"),
        ("<@-:a@b>", "malformed source route"),
        ("<a@>", "domain missing or malformed"),
        ("<a@b..c>", "domain missing or malformed"),
        ("<a@.b>", "domain missing or malformed"),
        ("<a@b.>", "domain missing or malformed"),
        ("<a@-b>", "domain missing or malformed"),
        ("<a@b->", "malformed address: -> may not follow <a@b"),
        ("<a@b_c>", "malformed address: _c> may not follow <a@b"),
        (f"<a@{'b' * 64}.example>", "domain missing or malformed"),
        (f"<a@{'b.' * 128}example>", "domain is too long"),
        ("<.a@b>", "missing or malformed local part"),
        ("<a.@b>", '"@" or "." expected after "a"'),
        ("<a..b@c>", '"@" or "." expected after "a"'),
        ("<a b@c>", '"@" or "." expected after "a"'),
        ("< a@c>", "missing or malformed local part"),
        ("<a@c >", "malformed address:  > may not follow <a@c"),
        ("<a(comment)@c>", '"@" or "." expected after "a"'),
        ('<"a@c>', "unmatched doublequote in local part"),
        ('<"a\tb"@c>', "missing or malformed local part"),
        ('<"">', "missing or malformed local part"),
        ("<<a@b>>", "missing or malformed local part"),
        ("<a@b>>", "malformed address: > may not follow <a@b>"),
        ("<a@b>X=1", "malformed address: X=1 may not follow <a@b>"),
        ("<a@[192.0.2.256]>", "malformed domain literal"),
        ("<a@[192.0.2.1>", "malformed domain literal"),
        ("<a@[2001:db8::]]>", "malformed address: ]> may not follow <a@[2001:db8::]"),
        ("<a@[IPv6:192.0.2.1]>", "malformed domain literal"),
        ("<a@[IPv6:fe80::1%eth0]>", "malformed domain literal"),
        ("<a@[X-new:1]>", "malformed domain literal"),
        ("<ä@b>", "address with characters outside US-ASCII, and SMTPUTF8 is not in use"),
        ("<a\udcff@b>", "address with characters outside US-ASCII, and SMTPUTF8 is not in use"),
    ],
)
def test_what_is_no_path(path: str, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        grammar.read_path(path, allow_null=False)
    assert caught.value.reason == reason


@pytest.mark.parametrize("domain", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "[2001:db8::1]", "[ipv4:192.0.2.1]"])
def test_an_address_in_brackets(domain: str) -> None:
    found, _ = grammar.read_path(f"<a@{domain}>", allow_null=False)
    assert found == Address("a", domain)
    assert grammar.check_literal(found, allowed=True) == found
    with pytest.raises(Malformed, match="domain literals not allowed"):
        grammar.check_literal(found, allowed=False)


def test_an_address_of_ten_kilobytes() -> None:
    with pytest.raises(Malformed, match="address is ridiculously long: aaa"):
        grammar.read_path(f"<{'a' * 10000}@b>", allow_null=False)


def test_with_smtputf8_other_scripts_are_letters() -> None:
    assert grammar.read_path("<jürgen@bücher.example>", allow_null=False, utf8=True) == (
        Address("jürgen", "bücher.example"),
        "",
    )
    with pytest.raises(Malformed):
        grammar.read_path("<j\udcfc@b>", allow_null=False, utf8=True)


@pytest.mark.parametrize("spelling", ["FROM:<a@b>", "from:<a@b>", "From: <a@b>", "FROM:  \t<a@b>"])
def test_mail(spelling: str) -> None:
    address, parameters = grammar.read_mail(spelling + "  size=12 body=8BITMIME")
    assert address == Address("a", "b")
    assert parameters.items == (("SIZE", "12"), ("BODY", "8BITMIME"))


def test_mail_takes_the_null_sender_and_rcpt_does_not() -> None:
    assert grammar.read_mail("FROM:<>")[0] == NULL_SENDER
    with pytest.raises(Malformed, match="empty address"):
        grammar.read_rcpt("TO:<>")


@pytest.mark.parametrize("argument", ["", "FROM:", "FROM: ", "FROM :<a@b>", "TO:<a@b>", "<a@b>", "FROM<a@b>"])
def test_mail_without_its_operand(argument: str) -> None:
    with pytest.raises(Malformed, match="MAIL must have an address operand"):
        grammar.read_mail(argument)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("SIZE=", "malformed parameter SIZE="),
        ("=1", "malformed parameter =1"),
        ("A=b=c", "malformed parameter A=b=c"),
        ("-A", "malformed parameter -A"),
        ("A\tB", "malformed parameter A\tB"),
        ("A=ä", "malformed parameter A=ä"),
        ("a=1 A=2", "A can be specified once only"),
    ],
)
def test_malformed_parameters(text: str, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        grammar.read_parameters(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "text, address",
    [
        ("a@b", Address("a", "b")),
        (" a@b ", Address("a", "b")),
        ("<a@b>", Address("a", "b")),
        ("root", Address("root")),
        ('"a b"@c', Address("a b", "c")),
    ],
)
def test_an_address_as_people_give_it(text: str, address: Address) -> None:
    assert grammar.read_address(text) == address


@pytest.mark.parametrize("text", ["", "<>", "a b", "a@b c", "<a@b> c", "a@b>", "a,b", "a@b\n"])
def test_what_people_give_that_is_no_address(text: str) -> None:
    with pytest.raises(Malformed):
        grammar.read_address(text)


@pytest.mark.parametrize(
    "name, more, good",
    [
        ("laptop", "", True),
        ("mail-1.example.org", "", True),
        ("[192.0.2.1]", "", True),
        ("[IPv6:2001:db8::1]", "", True),
        ("[2001:db8::1]", "", True),
        ("[IPv4:192.0.2.1]", "", True),
        ("[192.0.2]", "", False),
        ("[", "", False),
        ("", "", False),
        ("my_pc", "", False),
        ("my_pc", "_", True),
        ("a b", "_", False),
        ("é", "", False),
        ("a\x1b[2J", "", False),
        ("-", "", True),
        ("a" * 256, "", False),
    ],
)
def test_names_to_greet_with(name: str, more: str, good: bool) -> None:
    assert grammar.is_hello_name(name, more) is good


@settings(max_examples=200)
@given(st.text(alphabet='ab.@<>"\\ :,[]ä1-', max_size=20))
def test_what_is_read_is_written_so_that_it_is_read_the_same(text: str) -> None:
    try:
        address, _ = grammar.read_path(f"<{text}>", allow_null=False)
    except Malformed:
        return
    assert grammar.read_path(f"<{address}>", allow_null=False) == (address, "")


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_an_address_or_malformed(text: str) -> None:
    for read in (grammar.read_mail, grammar.read_rcpt, grammar.read_address, grammar.read_parameters):
        with contextlib.suppress(Malformed):
            read(text)


@pytest.mark.parametrize(
    "hostile", ["<" + "a." * 50000, "<a@" + "b-" * 50000, '<"' + "\\a" * 50000, "<" + "@a," * 30000]
)
def test_long_input_is_refused_in_one_pass(hostile: str) -> None:
    """With a pattern that goes back over its input this would not end."""
    with pytest.raises(Malformed):
        grammar.read_path(hostile, allow_null=False)
