"""The lookup type dnsdb: its queries, its records as text, and what no answer does."""

from __future__ import annotations

from collections.abc import Callable

import dns.rdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.ports import TemporaryFailure
from relay.net import dnsdb
from relay.net.dnsdb import Answer, Missing, Mode, Query, read_query

ZONE = {
    ("a.test", "A"): ["192.0.2.1", "192.0.2.2"],
    ("a.test", "AAAA"): ["2001:db8::1"],
    ("a.test", "MX"): ["10 mx1.a.test.", "20 mx2.a.test."],
    ("a.test", "TXT"): ['"one" "two"', '"three"'],
    ("a.test", "SPF"): ['"v=spf1 " "-all"'],
    ("a.test", "SOA"): ["ns.a.test. root.a.test. 1 2 3 4 5"],
    ("a.test", "NS"): ["ns.a.test."],
    ("_smtp.a.test", "SRV"): ["1 2 25 mx1.a.test."],
    ("_25._tcp.a.test", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("alias.test", "CNAME"): ["a.test."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["a.test."],
    ("null.test", "MX"): ["0 ."],
    (f"1.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa", "PTR"): ["six.test."],
}


def zone(name: str, kind: str, query: Query) -> Answer:
    if name.startswith("away"):
        raise TemporaryFailure(f"{name} can't be looked up now")
    texts = ZONE.get((name, kind))
    if texts is None:
        raise Missing(name)
    return Answer(tuple(dns.rdata.from_text("IN", kind, text) for text in texts), is_secure=name == "null.test")


@pytest.mark.parametrize(
    "query, found",
    [
        ("a=a.test", "192.0.2.1\n192.0.2.2"),
        ("A = a.test", "192.0.2.1\n192.0.2.2"),
        (">: a=a.test", "192.0.2.1:192.0.2.2"),
        ("> a=a.test", "192.0.2.1 192.0.2.2"),
        ("aaaa=a.test", "2001:db8::1"),
        (">, a+=a.test", "2001:db8::1,192.0.2.1,192.0.2.2"),
        ("mx=a.test", "10 mx1.a.test\n20 mx2.a.test"),
        (">|,/ mx=a.test", "10/mx1.a.test|20/mx2.a.test"),
        (">: mxh=a.test", "mx1.a.test:mx2.a.test"),
        ("a.test", "one\nthree"),
        ("txt=a.test", "one\nthree"),
        (">|,+ txt=a.test", "one+two|three"),
        (">|; txt=a.test", "onetwo|three"),
        ("spf=a.test", "v=spf1 -all"),
        ("soa=a.test", "ns.a.test"),
        (">:,- soa=a.test", "ns.a.test-root.a.test-1-2-3-4-5"),
        ("ns=a.test", "ns.a.test"),
        ("zns=deep.in.a.test", "ns.a.test"),
        ("srv=_smtp.a.test", "1 2 25 mx1.a.test"),
        ("tlsa=_25._tcp.a.test", "3 1 1 " + "ab" * 32),
        ("cname=alias.test", "a.test"),
        ("ptr=192.0.2.1", "a.test"),
        ("ptr=2001:db8::1", "six.test"),
        ("ptr=1.2.0.192.in-addr.arpa", "a.test"),
        ("mx=null.test", "0 "),
        ("a=none.test", None),
        ("a=none.test : a.test", "192.0.2.1\n192.0.2.2"),
        ("a=<; none.test ; a.test", "192.0.2.1\n192.0.2.2"),
        ("a=", None),
        ("a=away.test : a.test", "192.0.2.1\n192.0.2.2"),
        ("defer_never, a=away.test", None),
        ("defer_lax,dnssec_never,retrans_2s,retry_1,a=a.test", "192.0.2.1\n192.0.2.2"),
        ("dnssec_strict,mx=null.test", "0 "),
        ("dnssec_strict,defer_never,mx=a.test", None),
    ],
)
def test_answers(query: str, found: str | None) -> None:
    assert dnsdb.find(query, zone) == found


@pytest.mark.parametrize(
    "query, why",
    [
        ("a=away.test", "away.test can't be looked up now"),
        ("a=away.test : none.test", "away.test can't be looked up now"),
        ("defer_strict,a=a.test : away.test", "away.test can't be looked up now"),
        ("dnssec_strict,mx=a.test", "not secure"),
        ("nosuch=a.test", "unsupported DNS record type"),
        ("csa=a.test", "not served"),
        ("defer_maybe,a=a.test", "unsupported dnsdb defer behaviour"),
        ("dnssec_x,a=a.test", "unsupported dnsdb dnssec behaviour"),
        ("retrans_x,a=a.test", "unsupported dnsdb timeout value"),
        ("retrans_0s,a=a.test", "unsupported dnsdb timeout value"),
        ("retry_x,a=a.test", "unsupported dnsdb retry count"),
        ("defer_strict a=a.test", "dnsdb modifier syntax error"),
        ("a=" + "a.test:" * 101, "too many names"),
    ],
)
def test_no_answer(query: str, why: str) -> None:
    with pytest.raises(TemporaryFailure, match=why):
        dnsdb.find(query, zone)


def test_options_are_read() -> None:
    query = read_query(" >!; defer_strict , DNSSEC_never,retrans_1m30s,retry_0, mx = a.test:b.test")
    assert query == Query("mx", ("a.test", "b.test"), "!", "", Mode.STRICT, Mode.NEVER, 90, 0)


@given(st.text(">,; =:<abmxdefr_strictlaxnss0123", max_size=30))
def test_any_query_has_an_answer_or_none(text: str) -> None:
    try:
        found = dnsdb.find(text, zone)
    except TemporaryFailure:
        return
    assert found is None or isinstance(found, str)


def test_over_the_system_s_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(failure: Exception) -> Callable[..., None]:
        def resolve(*_: object, **__: object) -> None:
            raise failure

        return resolve

    monkeypatch.setattr(dnsdb.dns.resolver.Resolver, "__init__", lambda self: self.reset())
    monkeypatch.setattr(dnsdb.dns.resolver.Resolver, "resolve", refuse(dnsdb.dns.resolver.NXDOMAIN()))
    assert dnsdb.find("a=a.test", dnsdb.resolve) is None
    monkeypatch.setattr(dnsdb.dns.resolver.Resolver, "resolve", refuse(dnsdb.dns.resolver.NoNameservers()))
    with pytest.raises(TemporaryFailure, match=r"a\.test can't be looked up now"):
        dnsdb.find("a=a.test", dnsdb.resolve)
    for name in ("a" * 64 + ".test", "a..test"):
        assert dnsdb.find(f"a={name}", dnsdb.resolve) is None
