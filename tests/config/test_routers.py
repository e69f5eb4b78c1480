"""Blocks of the routers section become routers, and what is wrong in them is told with its line."""

from __future__ import annotations

import pytest

from relay.config.read import read_configuration, understand_configuration
from relay.mail.source import ConfigurationError, Severity
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import (
    Accept,
    Affixes,
    DNSLookup,
    Fallback,
    FileRules,
    IPLiteral,
    Item,
    Manualroute,
    Redirect,
    Reroute,
    Router,
)

TRANSPORTS = "\nbegin transports\nt:\ndriver = smtp\n"


def made(block: str, more: str = "") -> Router:
    text = f"begin routers\nr:\n{block}\n{more}{TRANSPORTS}"
    read = read_configuration("/etc/conf", lambda path: text, host_name="here.test")
    return read.routers[0]


def complaints(block: str) -> list[str]:
    text = f"begin routers\nr:\n{block}\n{TRANSPORTS}"
    with pytest.raises(ConfigurationError) as caught:
        read_configuration("/etc/conf", lambda path: text, host_name="here.test")
    return [str(each) for each in caught.value.problems if each.severity is Severity.ERROR]


def test_each_driver_makes_its_router() -> None:
    assert isinstance(made("driver = accept\ntransport = t"), Accept)
    assert isinstance(made("driver = dnslookup\ntransport = t"), DNSLookup)
    assert isinstance(made("driver = ipliteral\ntransport = t"), IPLiteral)
    assert isinstance(made("driver = manualroute\ntransport = t\nroute_list = * a.test"), Manualroute)
    assert isinstance(made("driver = redirect\ndata = a@b.test"), Redirect)


@pytest.mark.parametrize(
    ("option", "left_out"),
    [
        ("verify_only", {Purpose.DELIVER, Purpose.TEST, Purpose.EXPAND}),
        ("no_address_test", {Purpose.TEST}),
        ("no_verify", {Purpose.VERIFY_SENDER, Purpose.VERIFY_RECIPIENT}),
        ("no_verify_sender", {Purpose.VERIFY_SENDER}),
        ("no_expn", {Purpose.EXPAND}),
    ],
)
def test_what_a_router_is_run_for(option: str, left_out: set[Purpose]) -> None:
    router = made(f"driver = accept\ntransport = t\n{option}")
    assert frozenset(Purpose) - router.preconditions.purposes == left_out


def test_conditions_of_addresses() -> None:
    router = made(
        "driver = accept\ntransport = t\nlocal_part_prefix = real- : *-\nlocal_part_suffix = +*\n"
        "local_part_suffix_optional\nrequire_files = /a : !/b/$local_part\ncheck_local_user\ncaseful_local_part"
    )
    conditions = router.preconditions
    assert conditions.prefix == Affixes(("real-", "*-"))
    assert conditions.suffix == Affixes(("+*",), is_optional=True)
    assert [each.source for each in conditions.require_files] == ["/a", "!/b/$local_part"]
    assert conditions.check_local_user
    assert router.is_caseful


@pytest.mark.parametrize("written", ["Bert : *x", "<; Bert ; *x"])
def test_local_parts_mind_the_case_where_the_router_does(written: str) -> None:
    router = made(f"driver = accept\ntransport = t\ncaseful_local_part\nlocal_parts = {written}")
    assert router.preconditions.local_parts is not None
    assert router.preconditions.local_parts.written == ("+caseful", "Bert", "*x")


def test_variables() -> None:
    router = made("driver = accept\ntransport = t\nset = r_one = a ; r_two = $domain\nset = r_three =")
    assert [(each.name, each.value.source) for each in router.variables] == [
        ("one", "a"), ("two", "$domain"), ("three", ""),
    ]  # fmt: skip
    assert "sets no variable" in complaints("driver = accept\ntransport = t\nset = one = a")[0]


@pytest.mark.parametrize(
    ("written", "action"),
    [("freeze", Fallback.FREEZE), ("send", Fallback.SEND), ("reroute: other.test", Reroute("other.test"))],
)
def test_self(written: str, action: object) -> None:
    assert made(f"driver = dnslookup\ntransport = t\nself = {written}").self_action == action


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("driver = dnslookup\ntransport = t\nself = decline", "/etc/conf:5: r router: decline is not valid"),
        ("driver = dnslookup\ntransport = t\nself = reroute:rewrite:a", "header lines are not rewritten"),
        ("driver = redirect", 'r router: one of "file" or "data" must be specified'),
        ("driver = redirect\ndata = a\nfile = /b", 'r router: only one of "file" or "data"'),
        ("driver = redirect\ndata = a\none_time\nheaders_add = X: y", '"headers_remove" are not permitted with'),
        ("driver = redirect\ndata = a\nqualify_domain = b\nqualify_preserve_domain", "only one of"),
        ("driver = redirect\nfile = /a\nowners = 1 : nobody-of-that-name", "was not found"),
        ("driver = manualroute\ntransport = t", "neither route_list nor route_data"),
        ("driver = accept\ntransport = t\npass_router = x", 'pass_router: there is no router "x"'),
        ("driver = accept\ntransport = t\npass_router = r", '"r" does not follow it'),
        ("driver = redirect\ndata = a\nfile_transport = x", 'there is no transport "x"'),
        ("driver = accept\ntransport = t\ntranslate_ip_address = x", "is not supported"),
    ],
)
def test_what_can_not_be_made(block: str, complaint: str) -> None:
    assert any(complaint in each for each in complaints(block)), complaints(block)


def test_a_manualroute_without_transport_is_warned_of() -> None:
    text = f"begin routers\nr:\ndriver = manualroute\nroute_list = * a.test{TRANSPORTS}"
    read = understand_configuration("/etc/conf", lambda path: text, host_name="here.test")
    assert read.obstacles == ()
    (warning,) = read.configuration.problems
    assert "no transport is set" in warning.what


def test_what_a_redirection_may_have() -> None:
    router = made("driver = redirect\ndata = a\nallow_fail\nforbid_pipe\nforbid_include\nallow_filter")
    assert isinstance(router, Redirect)
    assert router.allowed == Item.ADDRESS | Item.FILE | Item.BLACKHOLE | Item.FAIL | Item.FILTER
    once = made("driver = redirect\ndata = a\none_time")
    assert isinstance(once, Redirect)
    assert not once.allowed & (Item.PIPE | Item.FILE)
    assert (once.one_time, router.one_time) == (True, False)


def test_rules_on_files_follow_from_other_options() -> None:
    def rules(options: str) -> FileRules:
        router = made(f"driver = redirect\nfile = /a\n{options}")
        assert isinstance(router, Redirect)
        return router.file_rules

    assert rules("") == FileRules()
    assert rules("check_local_user") == FileRules(check_owner=True)
    assert rules("check_local_user\nmodemask = 002") == FileRules(modemask=2, check_owner=True, check_group=True)
    assert rules("owners = 7 : root") == FileRules(check_owner=True, owners=frozenset({0, 7}))
    assert rules("check_local_user\nno_check_owner") == FileRules()
