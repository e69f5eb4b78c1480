"""Lists against what a real Exim 4.96 decided, and what each answer is put down to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.errors import ExpansionError
from relay.expand.lists import (
    HostSubject,
    ListKind,
    ListMatch,
    ListMiss,
    NamedList,
    NamedLists,
    compile_list,
    confirmed_names,
)
from relay.expand.scope import AddressView, MessageView, Scope
from relay.expand.values import is_tainted
from relay.mail.address import NULL_SENDER, Address
from relay.mail.facts import Endpoint, Hello, SessionFacts
from relay.mail.ports import TemporaryFailure

CLIENT = SessionFacts(peer=Endpoint("10.0.0.1", 4711))


def hosts_scope(fake_resolver, fake_files=None, fake_lookups=None, **given):
    resolver = fake_resolver(
        {"known.test": ("10.0.0.1",), "other.test": ("10.9.9.9",), "slow.test": None},
        {"10.0.0.1": ("known.test",)},
    )
    return Scope(session=CLIENT, resolver=resolver, main={"primary_hostname": "known.test"}, **given)


# List, address, whether it matches: the table of a real Exim.
HOSTS = [
    ("!10.1.0.0/16 : 10.0.0.0/8", "10.1.2.3", False),
    ("!10.1.0.0/16 : 10.0.0.0/8", "10.2.2.3", True),
    ("!10.1.0.0/16 : 10.0.0.0/8", "11.0.0.1", False),
    ("!10.1.0.0/16", "11.0.0.1", True),
    ("10.0.0.0/8 : !10.1.0.0/16", "10.1.2.3", True),
    ("10.0.0.0/8 : !10.1.0.0/16", "11.0.0.1", True),
    ("10.0.0.0/8", "::ffff:10.1.2.3", True),
    ("127.0.0.1 : ::::1", "127.0.0.1", True),
    ("127.0.0.1 : ::::1", "::1", True),
    ("<; 2001:db8::/32", "2001:db8::5", True),
    ("<; 2001:db8::/32", "2001:db9::5", False),
    ("", "10.0.0.1", False),
    (":", "10.0.0.1", False),
    ("@[]", "127.0.0.1", True),
    ("${if eq{1}{2}{x}fail}", "10.0.0.1", False),
    ("no.such.host : 10.0.0.1", "10.0.0.1", False),
    ("!no.such.host : *", "10.0.0.1", False),
    ("+ignore_unknown : no.such.host : 10.0.0.1", "10.0.0.1", True),
    ("+include_unknown : no.such.host", "10.0.0.1", True),
    ("!*.example.org : *", "192.0.2.77", False),
    ("10.0.0.1/33", "10.0.0.1", True),
    ("10.0.0.1/33", "10.0.0.2", False),
    ("10.0.0/24", "10.0.0.1", False),
    ("300.1.1.1", "10.0.0.1", False),
    ("10.0.0.1/255.0.0.0", "10.0.0.1", False),
    ("*", "10.0.0.1", True),
    ("known.test", "10.0.0.1", True),
    ("other.test", "10.0.0.1", False),
    ("@", "10.0.0.1", True),
    ("*.test", "10.0.0.1", True),
    ("^kno\\Nw{1}n\\N", "10.0.0.1", True),
    ("$sender_host_address", "10.0.0.1", True),
    ("", "", False),
    (": 10.0.0.1", "", True),
]


@pytest.mark.parametrize("text, address, wanted", HOSTS)
def test_host_lists(run, fake_resolver, text, address, wanted):
    scope = hosts_scope(fake_resolver)
    answer = run(
        compile_list(ListKind.HOST, text).match(
            HostSubject(address), scope.child(session=SessionFacts(peer=Endpoint(address, 4711)))
        )
    )
    assert (answer is not None) is wanted


def test_the_answer_names_the_item(run):
    hosts = compile_list(ListKind.HOST, "!10.1.0.0/16 : 10.0.0.0/8")
    assert run(hosts.decide(HostSubject("10.1.2.3"), Scope())) == ListMiss("!10.1.0.0/16")
    assert run(hosts.decide(HostSubject("10.2.2.3"), Scope())) == ListMatch("10.0.0.0/8")
    assert run(hosts.decide(HostSubject("11.0.0.1"), Scope())) == ListMiss("end of list")
    assert run(compile_list(ListKind.HOST, "!10.1.0.0/16").decide(HostSubject("11.0.0.1"), Scope())) == ListMatch(
        "end of list"
    )


def test_lookups_that_defer(run, fake_resolver):
    scope = hosts_scope(fake_resolver)
    subject = HostSubject("10.0.0.1")
    with pytest.raises(TemporaryFailure):
        run(compile_list(ListKind.HOST, "slow.test : *").match(subject, scope))
    assert run(compile_list(ListKind.HOST, "+include_defer : slow.test").match(subject, scope))
    assert run(compile_list(ListKind.HOST, "+ignore_defer : slow.test : *").match(subject, scope))


@pytest.mark.parametrize(
    "item, key, kind",
    [
        ("net-lsearch;/f", "10.0.0.1", "lsearch"),
        ("net8-lsearch;/f", "10.0.0.0/8", "lsearch"),
        ("net24-lsearch;/f", "10.0.0.0/24", "lsearch"),
        ("net-iplsearch;/f", "10.0.0.1", "iplsearch"),
    ],
)
def test_net_lookups_get_the_masked_address(run, fake_lookups, item, key, kind):
    scope = Scope(lookups=fake_lookups({(kind, key, "/f"): "data"}))
    assert run(compile_list(ListKind.HOST, item).match(HostSubject("10.0.0.1"), scope)) == ListMatch(item, "data")


def test_ipv6_keys_have_dots_but_for_iplsearch(run, fake_lookups):
    dots = "2001.0db8.0000.0000.0000.0000.0000.0000/32"
    colons = dots.replace(".", ":")
    scope = Scope(lookups=fake_lookups({("lsearch", dots, "/f"): "a", ("iplsearch", colons, "/f"): "b"}))
    for kind, data in (("lsearch", "a"), ("iplsearch", "b")):
        found = run(compile_list(ListKind.HOST, f"net32-{kind};/f").match(HostSubject("2001:db8::9"), scope))
        assert found is not None
        assert found.data == data


def test_files(run, fake_files):
    scope = Scope(files=fake_files({"/hosts": "# ours\n10.0.0.0/8 # inside\n\n!192.0.2.0/24\n"}))
    hosts = compile_list(ListKind.HOST, "/hosts")
    assert run(hosts.decide(HostSubject("10.0.0.1"), scope)) == ListMatch("10.0.0.0/8 in /hosts", "10.0.0.0/8")
    assert run(hosts.decide(HostSubject("192.0.2.1"), scope)) == ListMiss("!192.0.2.0/24 in /hosts")
    assert run(hosts.match(HostSubject("198.51.100.1"), scope))
    assert not run(compile_list(ListKind.HOST, "!/hosts").match(HostSubject("10.0.0.1"), scope))
    with pytest.raises(TemporaryFailure):
        run(compile_list(ListKind.HOST, "/missing : *").match(HostSubject("10.0.0.1"), scope))


def test_a_file_that_changes_is_read_again(run, fake_files):
    files = fake_files({"/hosts": "10.0.0.1"})
    hosts = compile_list(ListKind.HOST, "/hosts")
    assert run(hosts.match(HostSubject("10.0.0.1"), Scope(files=files)))
    files.contents["/hosts"] = "10.0.0.2"
    assert not run(hosts.match(HostSubject("10.0.0.1"), Scope(files=files)))


def test_comments_in_files_of_addresses_need_a_space(run, fake_files):
    scope = Scope(files=fake_files({"/a": "a#b@c.test # comment"}))
    assert run(compile_list(ListKind.ADDRESS, "/a").match("a#b@c.test", scope))


class TestNamed:
    LISTS = NamedLists.of(
        NamedList(ListKind.HOST, "inner", "10.0.0.0/8"),
        NamedList(ListKind.HOST, "outer", "!10.1.0.0/16 : +inner"),
        NamedList(ListKind.HOST, "loop", "+loop"),
        NamedList(ListKind.DOMAIN, "local", "@ : *.here.test"),
        NamedList(ListKind.DOMAIN, "wrong", "+nowhere"),
    )

    def test_sub_lists(self, run):
        scope = Scope(named_lists=self.LISTS)
        hosts = compile_list(ListKind.HOST, "+outer", self.LISTS)
        assert run(hosts.decide(HostSubject("10.2.0.1"), scope)) == ListMatch("+outer > +inner > 10.0.0.0/8")
        assert run(hosts.match(HostSubject("10.1.0.1"), scope)) is None
        assert run(compile_list(ListKind.HOST, "!+inner").match(HostSubject("11.0.0.1"), scope))

    def test_a_list_that_is_not_there(self, run):
        with pytest.raises(ExpansionError, match='unknown named host list "\\+local"'):
            compile_list(ListKind.HOST, "10.0.0.1 : +local", self.LISTS)
        with pytest.raises(TemporaryFailure):
            run(compile_list(ListKind.HOST, "+local").match(HostSubject("10.0.0.1"), Scope(named_lists=self.LISTS)))
        assert [definition.name for definition, _ in self.LISTS.problems()] == ["wrong"]

    def test_loops_end(self, run):
        with pytest.raises(TemporaryFailure, match="too deeply"):
            run(compile_list(ListKind.HOST, "+loop").match(HostSubject("10.0.0.1"), Scope(named_lists=self.LISTS)))

    def test_from_a_condition(self, expand):
        text = "${if match_domain{a.here.test}{+local}{$1 $value}{no}}"
        assert expand(text, named_lists=self.LISTS) == "a *.here.test"
        assert "unknown named domain list" in expand("${if match_domain{a}{+nowhere}{a}}", named_lists=self.LISTS)

    def test_addresses_in_named_domains(self, run):
        addresses = compile_list(ListKind.ADDRESS, "*@+local")
        assert run(addresses.match("x@a.here.test", Scope(named_lists=self.LISTS)))
        assert not run(addresses.match("x@there.test", Scope(named_lists=self.LISTS)))


@pytest.mark.parametrize(
    "text, domain, wanted, captures",
    [
        ("a.test : *.b.test", "x.B.test", True, ("x.b.test", "x")),
        ("a.test", "A.TEST", True, ("a.test",)),
        ("@", "relay.test", True, ("relay.test",)),
        ("@[]", "[127.0.0.1]", True, ("[127.0.0.1]",)),
        ("@[]", "[192.0.2.1]", False, ()),
        ("^(x|y)\\\\.test\\$", "Y.test", True, ("Y.test", "Y")),
        ("!a.test : *.test", "a.test", False, ()),
        ("*", "anything", True, ("anything", "anything")),
    ],
)
def test_domain_lists(run, text, domain, wanted, captures):
    answer = run(compile_list(ListKind.DOMAIN, text).match(domain, Scope(main={"primary_hostname": "relay.test"})))
    assert (answer is not None) is wanted
    if answer:
        assert answer.captures == captures


def test_a_domain_list_sees_its_subject_as_domain(run):
    domains = compile_list(ListKind.DOMAIN, "${if eq{$domain}{a.test}{$domain}}")
    assert run(domains.match("a.test", Scope()))
    assert not run(domains.match("b.test", Scope()))
    assert not run(domains.match("b.test", Scope(address=AddressView(domain="a.test"))))


@pytest.mark.parametrize(
    "text, address, wanted",
    [
        ("a@b.test", "A@B.test", True),
        ("+caseful : a@b.test", "A@b.test", False),
        ("+caseful : A@b.test", "A@B.test", True),
        ("b.test", "anyone@b.test", True),
        ("*@b.test", "anyone@b.test", True),
        ("*-request@b.test", "list-request@b.test", True),
        ("*-request@b.test", "list@b.test", False),
        ("a@*.test", "a@b.test", True),
        ("^[^@]+@b", "x@b.test", True),
        ("", "", False),
        (": a@b.test", "", True),
        ("*", "", False),
        ("!a@b.test : *@b.test", "a@b.test", False),
        ("postmaster@@", "postmaster@relay.test", True),
    ],
)
def test_address_lists(run, text, address, wanted):
    addresses = compile_list(ListKind.ADDRESS, text)
    scope = Scope(main={"primary_hostname": "relay.test"})
    assert (run(addresses.match(address, scope)) is not None) is wanted
    subject = Address(*address.split("@")) if address else NULL_SENDER
    assert (run(addresses.match(subject, scope)) is not None) is wanted


@pytest.mark.parametrize(
    "text, address, captures",
    [
        ("*queen@*.test", "queen@a.test", ("queen@a.test", "", "a")),
        ("*queen@*.test", "drag-queen@a.test", ("drag-queen@a.test", "drag-", "a")),
        ("queen@*.test", "queen@a.test", ("queen@a.test", "a")),
        ("*@a.test", "queen@a.test", ("queen@a.test", "queen")),
        ("a.test", "queen@a.test", ("queen@a.test",)),
    ],
)
def test_stars_of_addresses(run, text, address, captures):
    assert run(compile_list(ListKind.ADDRESS, text).match(address, Scope())).captures == captures


@pytest.mark.parametrize(
    "text, address, wanted",
    [
        ("*@/domains", "x@a.test", True),
        ("*@/domains", "x@b.test", False),
        ("x@!b.test", "x@a.test", True),
        ("x@!b.test", "x@b.test", False),
        ("*@lsearch;/f", "x@a.test", True),
        ("*@^a", "x@a.test", True),
    ],
)
def test_the_domain_of_an_address_is_an_item_of_a_domain_list(run, fake_files, fake_lookups, text, address, wanted):
    scope = Scope(files=fake_files({"/domains": "a.test"}), lookups=fake_lookups({("lsearch", "a.test", "/f"): ""}))
    assert (run(compile_list(ListKind.ADDRESS, text).match(address, scope)) is not None) is wanted


def test_text_from_outside_brings_no_lists_in_behind_an_at_sign(run):
    for name in ("*@+trusted", "*@/etc/passwd", "*@lsearch;/etc/passwd"):
        scope = Scope(session=SessionFacts(hello=Hello(name, True)))
        with pytest.raises(TemporaryFailure, match="tainted"):
            run(compile_list(ListKind.ADDRESS, "$sender_helo_name").match("x@y", scope))


def test_a_pattern_can_not_hang(run):
    for kind, subject in ((ListKind.LOCAL_PART, "a" * 80 + "b"), (ListKind.ADDRESS, "a" * 80 + "b@c.test")):
        with pytest.raises(TemporaryFailure, match="takes too long"):
            run(compile_list(kind, r"\N^(a|aa)+$\N").match(subject, Scope()))


def test_local_parts_by_domain(run, fake_lookups):
    answers = {
        ("lsearch", "b.test", "/f"): "!bad : *x : > default",
        ("lsearch", "default", "/f"): "postmaster",
    }
    addresses = compile_list(ListKind.ADDRESS, "@@lsearch;/f")
    scope = Scope(lookups=fake_lookups(answers))
    for local, wanted in (("bad", False), ("ax", True), ("postmaster", True), ("other", False)):
        assert (run(addresses.match(f"{local}@b.test", scope)) is not None) is wanted


def test_lookups_in_lists_give_data(run, fake_lookups):
    scope = Scope(lookups=fake_lookups({("lsearch", "a.b.test", "/f"): "found"}))
    answer = run(compile_list(ListKind.DOMAIN, "partial-lsearch;/f").match("a.b.test", scope))
    assert answer is not None
    assert answer.data == "found"


class TestTaint:
    """Text from outside is compared, and is nothing more."""

    @pytest.mark.parametrize("name", ["+trusted", "/etc/passwd", "!/etc/passwd", "lsearch;/etc/passwd"])
    def test_it_brings_in_no_lists_and_files(self, run, name):
        lists = NamedLists.of(NamedList(ListKind.DOMAIN, "trusted", "*"))
        scope = Scope(session=SessionFacts(hello=Hello(name, True)), named_lists=lists)
        with pytest.raises(TemporaryFailure, match="tainted"):
            run(compile_list(ListKind.DOMAIN, "$sender_helo_name").match("x", scope))

    def test_it_may_be_the_key_of_a_lookup_without_a_file(self, run, fake_lookups):
        scope = Scope(
            session=SessionFacts(hello=Hello("b.test", True)),
            lookups=fake_lookups({("dnsdb", "mxh=b.test", ""): "mx.test"}),
        )
        answer = run(compile_list(ListKind.DOMAIN, "dnsdb;mxh=$sender_helo_name").match("x", scope))
        assert answer is not None
        assert (answer.data, is_tainted(answer.data)) == ("mx.test", True)
        for item in ("dnsdb,ret=key;mxh=$sender_helo_name", "sqlite;$sender_helo_name"):
            with pytest.raises(TemporaryFailure, match="tainted"):
                run(compile_list(ListKind.DOMAIN, item).match("x", scope))

    def test_it_is_only_looked_at_when_it_is_its_turn(self, run):
        scope = Scope(session=SessionFacts(hello=Hello("+trusted", True)))
        assert run(compile_list(ListKind.DOMAIN, "here.test : $sender_helo_name").match("here.test", scope))

    def test_our_items_beside_it_keep_their_meaning(self, run):
        lists = NamedLists.of(NamedList(ListKind.DOMAIN, "trusted", "here.test"))
        scope = Scope(session=SessionFacts(hello=Hello("there.test", True)), named_lists=lists)
        domains = compile_list(ListKind.DOMAIN, "+trusted : $sender_helo_name")
        assert run(domains.match("here.test", scope))
        assert run(domains.match("there.test", scope))

    def test_it_can_not_change_the_separator(self, run):
        scope = Scope(message=MessageView(sender=Address("<,x,*", "y")))
        assert not run(compile_list(ListKind.LOCAL_PART, "$sender_address_local_part : z").match("w", scope))


def test_names_are_confirmed(run, fake_resolver):
    resolver = fake_resolver(
        {"a.test": ("10.0.0.1",), "liar.test": ("10.0.0.2",)}, {"10.0.0.1": ("liar.test", "a.test", "gone.test")}
    )
    assert run(confirmed_names("10.0.0.1", resolver)) == ("a.test",)
    assert run(confirmed_names("10.0.0.9", resolver)) == ()


def test_given_names_of_a_server(run, fake_resolver):
    hosts = compile_list(ListKind.HOST, "*.example.test")
    assert run(hosts.match(HostSubject("192.0.2.1", name="mx.example.test"), Scope()))
    assert not run(hosts.match(HostSubject("192.0.2.1", name="mx.other.test"), Scope()))


@pytest.mark.parametrize("text", ["^(", "nosuch;/f", "${if", "$nosuch"])
def test_mistakes_are_found_when_read(text):
    with pytest.raises(ExpansionError):
        compile_list(ListKind.DOMAIN, text)


LIST_TEXTS = st.text(alphabet="ab.:;!+*@^[]/<$\\{}0129- \n", max_size=25)


@given(st.sampled_from(list(ListKind)), LIST_TEXTS, st.text(max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_list_gives_an_answer_or_says_why_not(run, kind, text, subject):
    try:
        compiled = compile_list(kind, text)
        answer = run(compiled.decide(subject, Scope()))
    except (ExpansionError, TemporaryFailure):
        return
    assert isinstance(answer, ListMatch | ListMiss)


SIGNED_ITEMS = st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "c", "*"])), min_size=1, max_size=6)


@given(SIGNED_ITEMS, st.sampled_from("abcd"))
def test_the_first_match_decides(run, items, subject):
    text = " : ".join(("!" if negated else "") + item for negated, item in items)
    matches = [negated for negated, item in items if item in (subject, "*")]
    wanted = not matches[0] if matches else items[-1][0]
    assert (run(compile_list(ListKind.STRING, text).match(subject, Scope())) is not None) is wanted
