"""Items of host lists that look like addresses and are none."""

from __future__ import annotations

import pytest

from relay.config.host_items import fault_of, host_item_problems
from relay.config.read import understand_configuration


@pytest.mark.parametrize(
    "item",
    [
        "192.0.2.1", "!192.0.2.0/24", "2001:db8::/32", "::1", "*", "*.example.org", "+named", "@", "@[]", "/etc/hosts",
        "net-lsearch;/etc/nets", "10.example.org", "^10\\.", "0.0.0.0/0", "localhost", "",
    ],
)  # fmt: skip
def test_items_of_which_nothing_is_to_be_said(item: str) -> None:
    assert fault_of(item) == ""


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ("10.0.0/24", "never matches"),
        ("!10/8", "never matches"),
        ("300.1.1.1", "never matches"),
        ("192.0.2.1/255.255.255.0", "no number of bits"),
        ("192.0.2.1/", "no number of bits"),
        ("192.0.2.1/33", "no more than 32 bits"),
        ("2001:db8:::1", "never matches"),
        ("::1/129", "no more than 128 bits"),
        ("192.0.2.1/" + "9" * 5000, "no more than 32 bits"),
    ],
)
def test_items_that_are_wrong(item: str, fault: str) -> None:
    assert fault in fault_of(item)


def test_they_are_found_wherever_host_lists_stand() -> None:
    text = (
        "tls_try_verify_hosts = 10.0.0/24\nhost_lookup = 10/8\nhostlist h = <; ::1 ; 300.1.1.1\n"
        "domainlist d = 10.0.0/24\nacl_smtp_rcpt = a\nbegin acl\na:\n  deny ! hosts = 192.0.2.1/33\n"
        "  accept hosts = ${if eq{$domain}{x}{10/8}}\n"
        "begin transports\nt:\n  driver = smtp\n  hosts_require_tls = 10.0.0/24\n"
    )
    found = understand_configuration("/etc/conf", lambda path: text).configuration
    assert sorted(problem.location.line for problem in host_item_problems(found)) == [1, 2, 3, 8, 13]
