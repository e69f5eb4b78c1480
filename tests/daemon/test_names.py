"""Which addresses are looked up."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from relay.config.read import read_configuration
from relay.daemon.names import names_of
from relay.mail.ports import DNSAnswer, Found, HostNotFound

T = TypeVar("T")


def run(question: Coroutine[Any, Any, T]) -> T:
    try:
        question.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    raise AssertionError("it waits")


class EveryName:
    """Every name has one address of each family; it is noted which are asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def addresses(self, name: str, *, ipv4_only: bool = False) -> tuple[str, ...]:
        self.asked.append("A" if ipv4_only else "both")
        return ("192.0.2.1",) if ipv4_only else ("2001:db8::1", "192.0.2.1")

    async def names(self, address: str) -> tuple[str, ...]:
        return (address,)

    async def records(self, name: str, kind: str) -> Found:
        raise HostNotFound(name)

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        return DNSAnswer((kind,), name)


@pytest.mark.parametrize(
    ("lines", "without"),
    [
        ("", ()),
        ("disable_ipv6", ("old.test", "mx.old.test", "new.test")),
        ("dns_ipv4_lookup = *.old.test", ("mx.old.test",)),
        ("domainlist poor = old.test\ndns_ipv4_lookup = +poor", ("old.test",)),
        ("dns_ipv4_lookup = !new.test : *", ("old.test", "mx.old.test")),
        ("dns_ipv4_lookup = ${lookup{x}lsearch{/none/such}{*}}", ()),
    ],
)
def test_for_whom_no_address_of_ipv6_is_looked_up(lines: str, without: tuple[str, ...]) -> None:
    configuration = read_configuration("/etc/conf", lambda _: f"{lines}\n", host_name="here.test")
    everybody = EveryName()
    names = names_of(configuration, everybody, None)
    for name in ("old.test", "mx.old.test", "new.test"):
        everybody.asked.clear()
        found = run(names.addresses(name.upper()))
        assert (found == ("192.0.2.1",), everybody.asked == ["A"]) == ((name in without),) * 2
        if name in without:
            with pytest.raises(HostNotFound):
                run(names.query(name, "AAAA"))
        else:
            assert run(names.query(name, "AAAA")).records == ("AAAA",)
        assert run(names.query(name, "A")).records == ("A",)
