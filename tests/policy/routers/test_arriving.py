"""What an address must be like for a router to be run, and what is known of it then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.routers.routing_world import Disk, accept, expansion, manual, offer, taken, when
from relay.expand.evaluate import compile_expansion
from relay.policy.routers.answers import Routed, RouteDeferred, Unroutable
from relay.policy.routers.arriving import split_prefix, split_suffix
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import Affixes, Variable

# Affixes


@pytest.mark.parametrize(
    ("items", "local_part", "found"),
    [
        (("real-",), "real-anna", ("real-", "")),
        (("real-",), "REAL-anna", ("REAL-", "")),
        (("real-",), "anna", None),
        (("*-",), "a-b-anna", ("a-b-", "a-b")),
        (("x", "*-"), "l-anna", ("l-", "l")),
        (("owner-", "*-"), "owner-list", ("owner-", "")),
    ],
)
def test_prefixes(items: tuple[str, ...], local_part: str, found: object) -> None:
    assert split_prefix(local_part, Affixes(items)) == found


@pytest.mark.parametrize(
    ("items", "local_part", "found"),
    [
        (("-request",), "list-request", ("-request", "")),
        (("-request",), "-request", None),
        (("+*",), "anna+a+b", ("+a+b", "a+b")),
        (("-s1", "+*"), "anna-s1", ("-s1", "")),
        (("+*",), "anna", None),
    ],
)
def test_suffixes(items: tuple[str, ...], local_part: str, found: object) -> None:
    assert split_suffix(local_part, Affixes(items)) == found


TEXTS = st.text("ab+-", max_size=6)


@given(TEXTS, st.sampled_from(["+*", "*+", "a", "-b", "*-", "-*"]))
def test_what_is_taken_off_was_there(local_part: str, item: str) -> None:
    before = split_prefix(local_part, Affixes((item,)))
    assert before is None or local_part.startswith(before[0])
    behind = split_suffix(local_part, Affixes((item,)))
    assert behind is None or local_part.endswith(behind[0])


def test_an_affix_is_taken_off_for_the_options_that_follow() -> None:
    conditions = when(local_parts="bert", suffix=Affixes(("+*",), is_optional=True))
    data = compile_expansion("$local_part|$local_part_suffix|$local_part_suffix_v|$original_local_part")
    router = accept(preconditions=conditions, address_data=data)
    assert taken(offer(router, to="Bert+News@far.test")).carried.address_data == "bert|+news|news|bert+news"
    assert isinstance(offer(router, to="bert@far.test"), Routed)
    required = replace(router, preconditions=replace(conditions, suffix=Affixes(("+*",))))
    assert isinstance(offer(required, to="bert@far.test"), Unroutable)


def test_case_is_minded_where_the_router_says_so() -> None:
    conditions = when(local_parts="Bert")
    shown = compile_expansion("$local_part@$domain")
    assert taken(offer(accept(address_data=shown), to="Bert@FAR.test")).carried.address_data == "bert@far.test"
    caseful = accept(address_data=shown, is_caseful=True)
    assert taken(offer(caseful, to="Bert@FAR.test")).carried.address_data == "Bert@far.test"
    assert isinstance(offer(accept(preconditions=conditions), to="bert@far.test"), Routed)
    minding = accept(preconditions=when(local_parts="+caseful : Bert"), is_caseful=True)
    assert isinstance(offer(minding, to="bert@far.test"), Unroutable)
    assert isinstance(offer(minding, to="Bert@far.test"), Routed)


# What it is run for


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_router_is_run_for_what_it_is_for(purpose: Purpose) -> None:
    only = accept(preconditions=when(purposes=frozenset({purpose})))
    assert isinstance(offer(only, purpose=purpose), Routed)
    others = accept(preconditions=when(purposes=frozenset(Purpose) - {purpose}))
    assert isinstance(offer(others, purpose=purpose), Unroutable)


def test_what_is_taken_may_still_fail_verification() -> None:
    router = accept(fail_verify=frozenset({Purpose.VERIFY_RECIPIENT}))
    answer = offer(router, purpose=Purpose.VERIFY_RECIPIENT)
    assert answer == Unroutable("local router forced verify failure", "local")
    assert isinstance(offer(router, purpose=Purpose.VERIFY_SENDER), Routed)


# Users and files


def test_a_local_user() -> None:
    data = compile_expansion("$home $local_user_uid $local_user_gid $local_part_data")
    router = accept(preconditions=when(check_local_user=True), address_data=data)
    answer = taken(offer(router, to="anna@far.test"))
    assert answer.carried.address_data == "/home/anna 1001 101 anna"
    assert (answer.user, answer.group, answer.home_directory) == (1001, 101, "/home/anna")
    assert answer.local_part_data == "anna"
    assert isinstance(offer(router, to="bert@far.test"), Unroutable)


def test_the_routers_own_home() -> None:
    conditions = when(home=compile_expansion("/box/$local_part"))
    router = accept(preconditions=conditions, address_data=compile_expansion("$home"))
    answer = taken(offer(router))
    assert (answer.carried.address_data, answer.home_directory) == ("/box/bert", "/box/bert")


@pytest.mark.parametrize(
    ("items", "takes"),
    [
        (["/etc/there"], True),
        (["/etc/missing"], False),
        (["!/etc/missing", "/etc/there"], True),
        (["!/etc/there"], False),
        ([""], True),
        (["${if eq{a}{b}{x}fail}"], True),
        (["anna", "/etc/there"], True),
    ],
)
def test_files_that_must_be_there(items: list[str], takes: bool) -> None:
    disk = Disk({"/etc/there": ""}, mode=0o100755)
    router = accept(preconditions=when(require_files=tuple(map(compile_expansion, items))))
    assert isinstance(offer(router, disk=disk), Routed) is takes


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ("un/qualified", 'require_files: "un/qualified" is not absolute'),
        ("nobody-here", 'user "nobody-here" for require_files not found'),
        ("12", "group missing after numerical uid 12 for require_files"),
        ("anna,nothing", 'group "nothing" for require_files not found'),
    ],
)
def test_files_that_can_not_be_looked_at(item: str, complaint: str) -> None:
    router = accept(preconditions=when(require_files=(compile_expansion(item),)))
    answer = offer(router)
    assert isinstance(answer, RouteDeferred)
    assert answer.reason == complaint


def test_a_file_that_its_reader_may_not_read() -> None:
    disk = Disk({"/etc/secret": ""}, owner=0, mode=0o100700)
    items = tuple(map(compile_expansion, ["anna", "/etc/secret"]))
    answer = offer(accept(preconditions=when(require_files=items)), disk=disk)
    assert isinstance(answer, RouteDeferred)
    assert "Permission denied" in answer.reason
    lenient = (items[0], compile_expansion("+/etc/secret"))
    assert isinstance(offer(accept(preconditions=when(require_files=lenient)), disk=disk), Unroutable)


# Variables


def test_variables_stay_with_the_address_over_routers() -> None:
    variable = Variable(name="way", value=compile_expansion("by $router_name"))
    declines = manual("else.test hub.test", variables=(variable,))
    router = accept(address_data=compile_expansion("$r_way"))
    answer = taken(offer(declines, router))
    assert answer.carried.address_data == "by smarthost"
    assert answer.view.router_variables == {"way": "by smarthost"}


def test_a_forced_failure_of_a_variable_declines() -> None:
    variable = Variable(name="x", value=compile_expansion("${if eq{a}{b}{x}fail}"))
    assert taken(offer(accept(variables=(variable,)), accept("second"))).router == "second"
    assert isinstance(offer(accept(variables=(variable,), more=False), accept("second")), Unroutable)


def test_what_a_domain_pattern_stood_for() -> None:
    router = accept(preconditions=when(domains="*.test"), address_data=compile_expansion("$1"))
    assert taken(offer(router)).carried.address_data == "far"


def test_more_and_unseen_must_be_booleans() -> None:
    answer = offer(manual("else.test hub.test", more=expansion("${if eq{a}{a}{perhaps}}")))
    assert isinstance(answer, RouteDeferred)
    assert answer.reason == '"perhaps" is not a valid value for the "more" option in the smarthost router'
