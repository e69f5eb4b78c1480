"""How lookup types are read, which keys they try, what a match by a part of a key sets, and what is refused."""

from __future__ import annotations

import pytest

from relay.expand import lookups
from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.lists import HostSubject, ListKind, compile_list
from relay.expand.lookups import UnknownLookup, read_kind
from relay.expand.scope import AddressView, Scope
from relay.expand.values import Tainted, is_tainted
from relay.mail.ports import NotOpened, TemporaryFailure


class Table:
    """One table; remembers what it is asked."""

    def __init__(self, **content):
        self.content = content
        self.asked = []

    async def find(self, kind, key, source):
        self.asked.append((kind, key, source))
        found = self.content.get(key)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize(
    "kind, key, keys",
    [
        ("lsearch", "a.b.c", ["a.b.c"]),
        ("partial-lsearch", "a.b.c", ["a.b.c", "*.a.b.c", "*.b.c"]),
        ("partial0-lsearch", "a.b", ["a.b", "*.a.b", "*.b", "*"]),
        ("partial1(.)lsearch", "a.b.c", ["a.b.c", ".a.b.c", ".b.c", ".c"]),
        ("partial0()lsearch", "a.b", ["a.b", "b"]),
        ("lsearch*@", "x@y", ["x@y", "*@y", "*"]),
        ("lsearch*@", "@y", ["@y", "*"]),
        ("partial-lsearch*", "a.b", ["a.b", "*.a.b", "*"]),
        ("partial-lsearch*@", "a@b.c", ["a@b.c", "*.a@b.c", "*@b.c", "*"]),
    ],
)
def test_the_order_of_keys(run, kind, key, keys):
    table = Table()
    assert run(lookups.find(Scope(lookups=table), read_kind(kind), key, "/f")) is None
    assert [each for _, each, _ in table.asked] == keys


@pytest.mark.parametrize(
    "kind, key, there, captures",
    [
        ("lsearch", "a.b", "a.b", ()),
        ("lsearch*", "a.b", "*", ("a.b", "")),
        ("lsearch*@", "x@y", "*@y", ("x", "")),
        ("lsearch*@", "x@y", "*", ("x@y", "")),
        ("partial-lsearch", "a.b.c", "a.b.c", ("", "a.b.c")),
        ("partial-lsearch", "a.b.c", "*.a.b.c", ("", "a.b.c")),
        ("partial-lsearch", "a.b.c.d", "*.c.d", ("a.b", "c.d")),
        ("partial1(.)lsearch", "a.b.c", ".c", ("a.b", "c")),
        ("partial1()lsearch", "a.b.c", "c", ("a.b", "c")),
        ("partial0-lsearch", "a.b", "*", ("a.", "")),
    ],
)
def test_what_a_part_of_a_key_sets(run, kind, key, there, captures):
    found = run(lookups.find(Scope(lookups=Table(**{there: "data"})), read_kind(kind), key, "/f"))
    assert found == lookups.Found("data", captures)


def test_captures_in_an_expansion_end_with_the_item(expand):
    table = Table(**{"*.b.c": "data"})
    text = "${if match{xyz}{y(.)}{${lookup{a.b.c}partial-lsearch{/f}{$value $0 $1 $2}}, $0 $1 $2}}"
    assert expand(text, lookups=table) == "data yz a b.c, yz z "
    assert expand("${lookup{n}partial-lsearch{/f}{x}{<$1>}}", lookups=table) == "<>"


def test_captures_in_a_list(run):
    scope = Scope(lookups=Table(**{"*.b.c": "data"}))
    match = run(compile_list(ListKind.DOMAIN, "partial-lsearch;/f").match("A.b.c", scope))
    assert match.captures == ("a.b.c", "a", "b.c")
    assert match.data == "data"


def test_the_part_that_the_table_has_is_not_from_outside(run):
    scope = Scope(lookups=Table(**{"*.b.c": "data"}))
    wild, fixed = run(lookups.find(scope, read_kind("partial-lsearch"), Tainted("a.b.c"), "/f")).captures
    assert is_tainted(wild)
    assert not is_tainted(fixed)


def test_options(run):
    table = Table(k="data")
    kind = read_kind("lsearch*,ret=key,cache=no_rd,ret=full")
    found = run(lookups.find(Scope(lookups=table), kind, Tainted("k"), "/f"))
    assert found.data == "k"
    assert not is_tainted(found.data)
    assert table.asked == [("lsearch,cache=no_rd,ret=full", "k", "/f")]


@pytest.mark.parametrize(
    "query, options, asked",
    [
        ("SELECT 1", "", ("sqlite", "SELECT 1", "/main.db")),
        ("/a.db SELECT 1", "", ("sqlite", "SELECT 1", "/a.db")),
        (" /a.db  SELECT 1", "", ("sqlite", "SELECT 1", "/a.db")),
        ("SELECT 1", ",file=/b.db", ("sqlite,file=/b.db", "SELECT 1", "/b.db")),
        ("/a.db SELECT 1", ",file=/b.db", ("sqlite,file=/b.db", "/a.db SELECT 1", "/b.db")),
    ],
)
def test_the_database_of_a_query(run, query, options, asked):
    table = Table()
    scope = Scope(lookups=table, main={"sqlite_dbfile": "/main.db"})
    run(lookups.find(scope, read_kind(f"sqlite{options}"), query, ""))
    assert table.asked == [asked]


@pytest.mark.parametrize(
    "kind, why",
    [
        ("nosuch", 'unknown lookup type "nosuch"'),
        ("", 'unknown lookup type ""'),
        ("lsearch ", 'unknown lookup type "lsearch "'),
        ("partiallsearch", 'format error in lookup type "partiallsearch"'),
        ("partial(.lsearch", 'format error in lookup type "partial(.lsearch"'),
        ("partial(.)-lsearch", 'unknown lookup type "-lsearch"'),
        ("partial-dnsdb", '"partial" is not permitted for lookup type "dnsdb"'),
        ("passwd*", 'defaults using "*" or "*@" are not permitted for lookup type "passwd"'),
        ("dbm", 'lookup type "dbm" is not available here: make a cdb file of it, or use lsearch'),
        ("partial-ldapm", 'lookup type "ldapm" is not available here: have its data written to'),
        ("spf", 'lookup type "spf" is not available here'),
    ],
)
def test_types_that_are_refused(kind, why):
    with pytest.raises(UnknownLookup) as caught:
        read_kind(kind)
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize("text", [";;", "b;c", "re;lay", "some text;and more", "a.test : b;c"])
def test_a_list_may_hold_semicolons_until_somebody_is_looked_for(run, text):
    """Exim: a domainlist may be defined for `${listnamed:…}` alone."""
    domains = compile_list(ListKind.DOMAIN, text)
    with pytest.raises(TemporaryFailure, match="unknown lookup type"):
        run(domains.match("x.test", Scope()))


@pytest.mark.parametrize(
    "text", ["lsaerch;file", "lsearh;file", "nwildlsearc;x", "nosuch;/file", "nosuch*;x", "mysql;q", "dbm;x"]
)
def test_a_mistyped_lookup_is_found_when_the_list_is_read(text):
    with pytest.raises(ExpansionError, match="lookup type"):
        compile_list(ListKind.DOMAIN, text)


def test_whole_addresses_have_no_parts():
    with pytest.raises(ExpansionError, match="has no meaning for whole addresses"):
        compile_list(ListKind.ADDRESS, "partial-lsearch;/f")


def test_no_answer_names_the_key(expand):
    table = Table(k=TemporaryFailure("the table is away"), other=NotOpened("failed to open /f"))
    assert expand("${lookup{k}lsearch{/f}{yes}{no}}", lookups=table) == (
        'Failed: lookup of "k" gave DEFER: the table is away'
    )
    assert expand("${lookup{other}lsearch{/f}{yes}{no}}", lookups=table) == "Failed: failed to open /f"


def test_an_empty_key_is_nowhere_but_the_table_has_to_be_there(run):
    scope = Scope(lookups=Table(**{"": "data", "*": "default"}))
    assert run(lookups.find(scope, read_kind("lsearch"), "", "/f")) is None
    assert run(lookups.find(scope, read_kind("lsearch*"), "", "/f")).data == "default"
    with pytest.raises(NotOpened):
        run(lookups.find(Scope(lookups=Table(**{"": NotOpened("gone")})), read_kind("lsearch"), "", "/f"))


@pytest.mark.parametrize("kind", ["lsearch", "dsearch,ret=full", "partial-cdb", "json", "wildlsearch*"])
def test_a_file_from_outside_is_refused_with_advice(run, kind):
    with pytest.raises(ExpansionFailed, match=r"tainted filename for search '/f' .*found first"):
        run(lookups.find(Scope(lookups=Table()), read_kind(kind), "k", Tainted("/f")))


# Mail exchangers

MX = {"mx": "10 far.test.\n20 near.test", "best": "5 near.test\n5 far.test", "other": "10 far.test", "null": "0 "}


def exchangers(fake_resolver, fake_lookups):
    answers = {("dnsdb", f"defer_strict,mx={name}.test", ""): MX.get(name) for name in (*MX, "none", "away")}
    answers["dnsdb", "defer_strict,mx=away.test", ""] = "10 slow.test"
    resolver = fake_resolver({"near.test": ("192.0.2.1",), "far.test": ("198.51.100.1",), "slow.test": None}, {})
    return Scope(lookups=fake_lookups(answers), resolver=resolver, local_addresses=("127.0.0.1", "192.0.2.1"))


@pytest.mark.parametrize(
    "item, domains",
    [
        ("@mx_any", {"mx", "best"}),
        ("@mx_primary", {"best"}),
        ("@MX_secondary", {"mx"}),
        ("@mx_any/ignore=192.0.2.1", set()),
        ("@mx_primary/ignore=198.51.100.0/24", {"mx", "best"}),
        ("@mx_any/ignore=127.0.0.1", {"mx", "best"}),
        ("!@mx_any", {"other", "null", "none"}),
    ],
)
def test_domains_that_we_exchange_mail_for(run, fake_resolver, fake_lookups, item, domains):
    scope = exchangers(fake_resolver, fake_lookups)
    listed = compile_list(ListKind.DOMAIN, item)
    assert {name for name in (*MX, "none") if run(listed.match(f"{name}.test", scope))} == domains


def test_exchangers_that_can_not_be_found_now(run, fake_resolver, fake_lookups):
    scope = exchangers(fake_resolver, fake_lookups)
    with pytest.raises(TemporaryFailure, match=r'DNS lookup of "away.test" deferred'):
        run(compile_list(ListKind.DOMAIN, "@mx_any").match("away.test", scope))
    with pytest.raises(TemporaryFailure, match=r'DNS lookup of "mx.test" deferred'):
        run(compile_list(ListKind.DOMAIN, "@mx_any").match("mx.test", Scope()))
    assert not run(compile_list(ListKind.DOMAIN, "@mx_any").match("<;mx=x", Scope()))


def test_exchangers_in_addresses(run, fake_resolver, fake_lookups):
    scope = exchangers(fake_resolver, fake_lookups)
    assert run(compile_list(ListKind.ADDRESS, "*@@mx_any").match("x@mx.test", scope))
    assert not run(compile_list(ListKind.ADDRESS, "y@@mx_any").match("x@mx.test", scope))


# Queries, and names of hosts, in lists of hosts


def test_hosts_by_query(run):
    scope = Scope(lookups=Table(root="entry"), address=AddressView())
    assert run(compile_list(ListKind.HOST, "passwd;root").match(HostSubject("10.0.0.1"), scope)).data == "entry"
    assert not run(compile_list(ListKind.HOST, "passwd;nobody").match(HostSubject("10.0.0.1"), scope))


@pytest.mark.parametrize("text", ["net-partial-lsearch;/f", "net24-lsearch*;/f"])
def test_keys_of_networks_have_no_parts(text):
    with pytest.raises(ExpansionError, match=r"behind .net-"):
        compile_list(ListKind.HOST, text)
