"""Names and addresses from the system: which answers are final, which are for now, and what being offline means."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.mail.ports import DNS_LIFE, Found, HostNotFound, NoRecords, TemporaryFailure
from relay.net import resolver
from relay.net.resolver import (
    IPv4Names,
    SystemResolver,
    has_network,
    lookup_addresses,
    lookup_dns,
    lookup_names,
    lookup_records,
)
from relay.policy.routers.ports import NoNetwork

T = TypeVar("T")


class Threads:
    """A reactor whose threads do their work at once, and a count of what was given to them."""

    def __init__(self) -> None:
        self.calls = 0

    def getThreadPool(self) -> Threads:
        return self

    def callInThreadWithCallback(
        self, told: Callable[..., None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        self.calls += 1
        try:
            result = function(*arguments)
        except Exception:  # noqa: BLE001 - the answer to who asked
            told(False, Failure())
        else:
            told(True, result)

    def callFromThread(self, function: Callable[..., None], *arguments: Any) -> None:
        function(*arguments)


def answer(question: Coroutine[Any, Any, T]) -> T:
    results: list[Any] = []
    Deferred.fromCoroutine(question).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    found: T = result
    return found


def no_questions(*_: Any, **__: Any) -> Any:
    raise AssertionError("nobody was to be asked")


def entry(address: str) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, 6, "", (address, 0)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lays down what the system says to a question for addresses."""

    def lay_down(*addresses: str, error: Exception | None = None, network: bool = True) -> None:
        def answered(name: str, port: object, *_: object) -> list[tuple[Any, ...]]:
            if error is not None:
                raise error
            return [entry(each) for each in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", answered)
        monkeypatch.setattr(resolver, "has_network", lambda: network)

    return lay_down


# Addresses


def test_without_ipv6_its_addresses_are_not_there(system: Callable[..., None]) -> None:
    names = IPv4Names(SystemResolver(Threads()))
    system("2001:db8::1", "192.0.2.1")
    assert answer(names.addresses("far.test")) == ("192.0.2.1",)
    system("2001:db8::1")
    for name in ("far.test", "[2001:db8::1]"):
        with pytest.raises(HostNotFound):
            answer(names.addresses(name))
    with pytest.raises(NoRecords):
        answer(names.query("far.test", "AAAA"))
    with pytest.raises(NoRecords):
        answer(names.records("far.test", "AAAA"))


def test_without_ipv6_for_some_names_they_alone_have_none(system: Callable[..., None]) -> None:
    async def is_poor(name: str) -> bool:
        return name == "poor.test"

    names = IPv4Names(SystemResolver(Threads()), is_poor)
    system("2001:db8::1", "192.0.2.1")
    assert answer(names.addresses("poor.test")) == ("192.0.2.1",)
    assert answer(names.addresses("far.test")) == ("2001:db8::1", "192.0.2.1")
    assert answer(names.addresses("2001:db8::2")) == ("2001:db8::2",)
    system("2001:db8::1")
    with pytest.raises(HostNotFound):
        answer(names.addresses("poor.test"))
    with pytest.raises(NoRecords):
        answer(names.query("poor.test", "AAAA"))


@pytest.mark.parametrize("makes", [IPv4Names, lambda names: names])
def test_the_system_is_not_asked_for_what_is_not_wanted(makes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    families: list[int] = []

    def answered(_name: str, _port: object, family: int, _type: int) -> list[tuple[Any, ...]]:
        families.append(family)
        return [entry("192.0.2.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answered)
    names = makes(SystemResolver(Threads()))
    assert answer(names.addresses("far.test")) == ("192.0.2.1",)
    assert families == [socket.AF_INET if isinstance(names, IPv4Names) else socket.AF_UNSPEC]


def test_addresses_in_the_systems_order_each_once(system: Callable[..., None]) -> None:
    system("2001:db8::1", "192.0.2.1", "2001:db8::1", "192.0.2.2")
    assert lookup_addresses("far.test") == ("2001:db8::1", "192.0.2.1", "192.0.2.2")


@pytest.mark.parametrize("number", [socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)])
def test_a_name_that_is_not_there(system: Callable[..., None], number: int) -> None:
    system(error=socket.gaierror(number, "not known"))
    with pytest.raises(HostNotFound, match=r"far\.test"):
        lookup_addresses("far.test")


@pytest.mark.parametrize(
    "number",
    [socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_MEMORY, socket.EAI_FAIL],
    ids=["again", "system", "memory", "fail"],
)
def test_no_answer_now(system: Callable[..., None], number: int) -> None:
    """Mail is not given up because a name server is broken (Exim: TRY_AGAIN and NO_RECOVERY)."""
    system(error=socket.gaierror(number, "try again"))
    with pytest.raises(TemporaryFailure, match=r"far\.test") as raised:
        lookup_addresses("far.test")
    assert not isinstance(raised.value, NoNetwork)


def test_without_a_network_no_answer_is_no_network(system: Callable[..., None]) -> None:
    system(error=socket.gaierror(socket.EAI_AGAIN, "try again"), network=False)
    with pytest.raises(NoNetwork):
        lookup_addresses("far.test")


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "x\0y", "\udcff.test", "..", "a..b"])
def test_what_is_no_host_name(name: str) -> None:
    """The system's own reading of names: nothing is sent for these."""
    with pytest.raises(HostNotFound):
        lookup_addresses(name)


@pytest.mark.parametrize(
    "name, address",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_an_address_is_its_own_address(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_questions)
    threads = Threads()
    assert answer(SystemResolver(threads).addresses(name)) == (address,)
    assert threads.calls == 0


def test_names_are_asked_for_in_a_thread(system: Callable[..., None]) -> None:
    system("192.0.2.1")
    threads = Threads()
    assert answer(SystemResolver(threads).addresses("far.test")) == ("192.0.2.1",)
    assert threads.calls == 1
    system(error=socket.gaierror(socket.EAI_NONAME, "not known"))
    with pytest.raises(HostNotFound):
        answer(SystemResolver(threads).addresses("far.test"))


def test_localhost_is_known_to_the_system() -> None:
    assert set(lookup_addresses("localhost")) & {"127.0.0.1", "::1"}


# Names


NO_ANSWER = dns.resolver.NoAnswer(response=dns.message.make_response(dns.message.make_query("x.", "PTR")))


class Record:
    def __init__(self, target: str) -> None:
        self.target = dns.name.from_text(target)


@pytest.fixture
def reverse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lays down the answer of the reverse zone; gives what is asked."""

    def lay_down(*names: str, error: Exception | None = None) -> list[str]:
        asked: list[str] = []

        def resolve(question: dns.name.Name, kind: str, *, lifetime: float) -> list[Record]:
            assert kind == "PTR"
            assert 0 < lifetime <= 60
            asked.append(str(question))
            if error is not None:
                raise error
            return [Record(each) for each in names]

        monkeypatch.setattr(dns.resolver, "resolve", resolve)
        return asked

    return lay_down


def test_names_without_their_last_dot(reverse: Callable[..., list[str]]) -> None:
    asked = reverse("mx.far.test.", "far.test.")
    assert answer(SystemResolver(Threads()).names("192.0.2.1")) == ("mx.far.test", "far.test")
    assert asked == ["1.2.0.192.in-addr.arpa."]


@pytest.mark.parametrize("error", [dns.resolver.NXDOMAIN(), NO_ANSWER], ids=["no such name", "no record"])
def test_an_address_without_a_name(reverse: Callable[..., list[str]], error: Exception) -> None:
    reverse(error=error)
    with pytest.raises(HostNotFound):
        lookup_names("192.0.2.1")


@pytest.mark.parametrize(
    "error",
    [
        dns.resolver.LifetimeTimeout(timeout=1, errors=[]),
        dns.resolver.NoNameservers(),
        dns.resolver.NoResolverConfiguration(),
        OSError("no route"),
    ],
    ids=["timeout", "servers", "not configured", "network"],
)
def test_a_name_can_not_be_found_now(reverse: Callable[..., list[str]], error: Exception) -> None:
    reverse(error=error)
    with pytest.raises(TemporaryFailure, match=r"192\.0\.2\.1"):
        lookup_names("192.0.2.1")


def test_what_is_no_address_has_no_name(reverse: Callable[..., list[str]]) -> None:
    asked = reverse("never.test.")
    with pytest.raises(HostNotFound):
        lookup_names("not an address")
    assert asked == []


# Is there a network

V4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
V4_ROUTE = V4 + "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
V4_BRIDGE = V4 + "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
V4_REJECTED = V4 + "*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n"
V6_LOOPBACK = "00000000000000000000000000000001 80 0 00 0 00000000 2 0 80200001       lo\n"
V6_LINK = "fe800000000000000000000000000000 40 0 00 0 00000100 1 0 00000001    wlan0\n"
V6_MULTICAST = "ff000000000000000000000000000000 08 0 00 0 00000100 1 0 00000001    wlan0\n"
V6_NOWHERE = "00000000000000000000000000000000 00 0 00 0 ffffffff 1 0 00200200       lo\n"
V6_ROUTE = "00000000000000000000000000000000 00 0 00 fe800001 00000400 1 0 00000003    wlan0\n"


@pytest.mark.parametrize(
    "v4, v6, expected",
    [
        (V4, "", False),
        (V4, V6_LOOPBACK + V6_LINK + V6_MULTICAST, False),
        (V4 + "lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n", V6_LOOPBACK, False),
        (V4_ROUTE, "", True),
        (V4_BRIDGE, V6_LOOPBACK, False),
        (V4_REJECTED, V6_NOWHERE, False),
        (V4, V6_LOOPBACK + V6_ROUTE, True),
        (V4 + "\n", "", False),
        (None, V6_LOOPBACK, True),
    ],
    ids=["nothing", "link-local", "loopback", "IPv4", "a bridge", "rejected", "IPv6", "empty line", "no such file"],
)
def test_whether_there_is_a_network(
    monkeypatch: pytest.MonkeyPatch, v4: str | None, v6: str | None, expected: bool
) -> None:
    files = {"/proc/net/route": v4, "/proc/net/ipv6_route": v6}

    def opened(path: str, **_: object) -> io.StringIO:
        text = files[path]
        if text is None:
            raise FileNotFoundError(path)
        return io.StringIO(text)

    monkeypatch.setattr(resolver, "open", opened, raising=False)
    assert has_network() is expected


# Records


class Records:
    """What the library gives for an answer."""

    def __init__(self, rrset: dns.rrset.RRset) -> None:
        self.rrset = rrset

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rrset)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str]]]:
    """Lays down the answer to any question; gives what is asked."""

    def lay_down(kind: str, *data: str, error: Exception | None = None) -> list[tuple[str, str]]:
        asked: list[tuple[str, str]] = []

        def resolve(name: dns.name.Name, wanted: str, *, lifetime: float, search: bool) -> Any:
            assert not search
            assert 0 < lifetime <= 60
            asked.append((str(name), wanted))
            if error is not None:
                raise error
            return Records(dns.rrset.from_text(name, 60, "IN", kind, *data))

        monkeypatch.setattr(dns.resolver, "resolve", resolve)
        return asked

    return lay_down


def test_addresses_and_texts(records: Callable[..., list[tuple[str, str]]]) -> None:
    asked = records("A", "127.0.0.2", "127.0.0.3")
    assert sorted(lookup_records("7.2.0.192.bl.test", "A").data) == ["127.0.0.2", "127.0.0.3"]
    assert asked == [("7.2.0.192.bl.test.", "A")]
    records("TXT", '"in two " "pieces"')
    assert answer(SystemResolver(Threads()).records("bl.test", "TXT")) == Found(("in two pieces",), 60)


@pytest.mark.parametrize("error", [dns.resolver.NXDOMAIN(), NO_ANSWER], ids=["no such name", "no record"])
def test_no_such_record(records: Callable[..., list[tuple[str, str]]], error: Exception) -> None:
    records("A", error=error)
    with pytest.raises(HostNotFound) as raised:
        lookup_records("bl.test", "A")
    assert raised.value.seconds == DNS_LIFE


@pytest.mark.parametrize("code", ["NXDOMAIN", "NOERROR"])
def test_a_zone_says_how_long_there_is_no_such_record(
    records: Callable[..., list[tuple[str, str]]], code: str
) -> None:
    query = dns.message.make_query("x.bl.test", "A")
    response = dns.message.make_response(query)
    assert isinstance(response, dns.message.QueryMessage)
    response.authority.append(dns.rrset.from_text("bl.test.", 900, "IN", "SOA", "ns.test. me.test. 1 2 3 4 300"))
    name = query.question[0].name
    error: Exception = dns.resolver.NoAnswer(response=response)
    if code == "NXDOMAIN":
        error = dns.resolver.NXDOMAIN(qnames=[name], responses={name: response})
    records("A", error=error)
    with pytest.raises(HostNotFound) as raised:
        lookup_records("x.bl.test", "A")
    assert raised.value.seconds == 300


@pytest.mark.parametrize("name", ["a..test", f"{'a' * 64}.test"])
def test_what_is_no_name_has_no_records(records: Callable[..., list[tuple[str, str]]], name: str) -> None:
    asked = records("A")
    with pytest.raises(HostNotFound):
        lookup_records(name, "A")
    assert asked == []


def test_records_can_not_be_found_now(records: Callable[..., list[tuple[str, str]]]) -> None:
    records("A", error=dns.resolver.LifetimeTimeout(timeout=1, errors=[]))
    with pytest.raises(TemporaryFailure, match=r"bl\.test"):
        lookup_records("bl.test", "A")


# The DNS for routing


class Answers:
    """What name servers say, by name and type; each question is written down."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.asked: list[str] = []

    def resolve(self, _resolver: Any, name: dns.name.Name, kind: str, **_options: Any) -> Any:
        self.asked.append(f"{name} {kind}")
        found = self.known.get(f"{name} {kind}", dns.resolver.NXDOMAIN())
        if isinstance(found, Exception):
            raise found
        query = dns.message.make_query(name, kind)
        response = dns.message.make_response(query)
        response.index = None  # so that what is appended is found
        for text in found["answer"]:
            response.answer.append(dns.rrset.from_text(*text))
        if found.get("secure"):
            response.flags |= dns.flags.AD
        return dns.resolver.Answer(name, dns.rdatatype.from_text(kind), dns.rdataclass.IN, response)


@pytest.fixture
def name_servers(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Answers]:
    def serve(known: dict[str, Any], search: tuple[str, ...] = ("sub.home.test", "home.test")) -> Answers:
        answers = Answers(known)

        def made(resolver: Any, *_arguments: Any, **_options: Any) -> None:
            resolver.reset()
            resolver.domain = dns.name.from_text("home.test")
            resolver.search = [dns.name.from_text(each) for each in search]

        monkeypatch.setattr(dns.resolver.Resolver, "__init__", made)
        monkeypatch.setattr(dns.resolver.Resolver, "resolve", lambda self, *a, **k: answers.resolve(self, *a, **k))
        return answers

    return serve


MX = {"answer": [("Far.test.", 60, "IN", "MX", "10 a.test.", "5 B.test.")]}


def test_records_come_with_the_name_as_it_is_spelled(name_servers: Any) -> None:
    name_servers({"far.test. MX": MX})
    found = lookup_dns("far.test", "MX")
    assert (sorted(found.records), found.name, found.is_secure) == (["10 a.test.", "5 B.test."], "Far.test", False)


def test_aliases_are_followed_and_the_name_stays(name_servers: Any) -> None:
    chain = [("www.test.", 60, "IN", "CNAME", "a.test."), ("a.test.", 60, "IN", "A", "192.0.2.1")]
    name_servers({"www.test. A": {"answer": chain, "secure": True}})
    found = lookup_dns("www.test", "A")
    assert (found.records, found.name, found.is_secure) == (("192.0.2.1",), "www.test", True)


def alias(name: str, target: str, *, secure: bool = True) -> dns.resolver.NoAnswer:
    """What a name server says that does not follow aliases."""
    response = dns.message.make_response(dns.message.make_query(name, "A"))
    response.answer = [dns.rrset.from_text(name, 60, "IN", "CNAME", target)]
    if secure:
        response.flags |= dns.flags.AD
    return dns.resolver.NoAnswer(response=response)


@pytest.mark.parametrize("secure", [True, False])
def test_aliases_that_a_name_server_does_not_follow(name_servers: Any, secure: bool) -> None:
    name_servers(
        {
            "www.test. A": alias("WWW.test.", "web.test.", secure=secure),
            "web.test. A": {"answer": [("web.test.", 60, "IN", "A", "192.0.2.1")], "secure": True},
            "round.test. A": alias("round.test.", "about.test."),
            "about.test. A": alias("about.test.", "round.test."),
            "self.test. A": alias("self.test.", "self.test."),
        }
    )
    found = lookup_dns("www.test", "A")
    assert (found.records, found.name, found.is_secure) == (("192.0.2.1",), "WWW.test", secure)
    for name in ("round.test", "self.test"):
        with pytest.raises(HostNotFound):
            lookup_dns(name, "A")


def test_no_such_name_is_told_from_no_such_record(name_servers: Any) -> None:
    name_servers({"here.test. MX": NO_ANSWER})
    with pytest.raises(NoRecords):
        lookup_dns("here.test", "MX")
    with pytest.raises(HostNotFound) as caught:
        lookup_dns("gone.test", "MX")
    assert not isinstance(caught.value, NoRecords)


def test_a_name_server_that_answers_and_can_not_say_is_a_network(
    name_servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = dns.message.make_query("far.test", "MX")
    tries = [("192.0.2.53", False, 53, "SERVFAIL", dns.message.make_response(question))]
    name_servers({"far.test. MX": dns.resolver.NoNameservers(request=question, errors=tries)})
    monkeypatch.setattr(resolver, "has_network", lambda: False)
    with pytest.raises(TemporaryFailure) as caught:
        lookup_dns("far.test", "MX")
    assert not isinstance(caught.value, NoNetwork)


@pytest.mark.parametrize("error", [dns.resolver.NoNameservers(), OSError("no route")])
def test_name_servers_that_do_not_answer(name_servers: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    name_servers({"far.test. MX": error})
    monkeypatch.setattr(resolver, "has_network", lambda: True)
    with pytest.raises(TemporaryFailure) as caught:
        lookup_dns("far.test", "MX")
    assert not isinstance(caught.value, NoNetwork)
    monkeypatch.setattr(resolver, "has_network", lambda: False)
    with pytest.raises(NoNetwork):
        lookup_dns("far.test", "MX")


@pytest.mark.parametrize(
    ("name", "qualify", "parents", "asked"),
    [
        ("one", False, False, ["one. A"]),
        ("one", True, False, ["one.home.test. A", "one. A"]),
        ("one.two", True, False, ["one.two. A"]),
        ("one.two", True, True, ["one.two. A", "one.two.sub.home.test. A", "one.two.home.test. A"]),
        ("a..b", False, False, []),
        ("x" * 70, False, False, []),
    ],
)
def test_names_are_completed(name_servers: Any, name: str, qualify: bool, parents: bool, asked: list[str]) -> None:
    servers = name_servers({})
    with pytest.raises(HostNotFound):
        lookup_dns(name, "A", qualify, parents)
    assert servers.asked == asked
