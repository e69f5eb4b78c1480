"""Recipients followed to all that they come to: aliases, circles, duplicates, and what an earlier attempt has done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import make_message, make_recipient, run
from policy.routers.routing_world import Offering, accept, manual, redirect, when
from relay.delivery.family import Family, Leaf, in_order_of_delivery, in_order_of_routing, route_recipients, routed_as
from relay.delivery.scopes import local_address
from relay.expand.scope import Scope
from relay.mail.address import Address, address_from_text
from relay.mail.queue import RecipientState
from relay.policy.routers.answers import Direct, Discarded, Routed, Unroutable
from relay.policy.routers.items import top_item
from relay.policy.routers.settings import USUAL_ITEMS, Affixes, Item, Preconditions

ALIASES = {
    "team": "anna@here.test, bert@here.test, carl@192.test",
    "chiefs": "team, anna@here.test",
    "round": "round2",
    "round2": "round",
    "self": "self, anna@here.test",
    "no": ":fail: gone",
    "hole": ":blackhole:",
    "log": "|/bin/log a, /box/log",
}
DATA = (
    "${sg{" + "".join(f"${{if eq{{$local_part}}{{{name}}}{{{text}}}}}" for name, text in ALIASES.items()) + "}{x}{x}}"
)
ROUTERS = (
    redirect(
        DATA, preconditions=when(domains="here.test"), allowed=USUAL_ITEMS | Item.FAIL, qualify_preserve_domain=True
    ),
    accept(preconditions=when(domains="here.test", local_parts="anna : bert : self")),
    manual("192.test 192.0.2.1"),
)


def family(*recipients: Any, routers: Any = ROUTERS) -> Family:
    offering = Offering()
    message = make_message(*recipients)
    return run(route_recipients(message, routers, offering.scope(), offering.ports()))


def ends(found: Family) -> list[str]:
    return [f"{leaf.item.address} {shown(leaf)}" for leaf in found.leaves]


def shown(leaf: Leaf) -> str:
    match leaf.end:
        case Routed() as routed:
            return routed.text or routed.transport
        case Discarded():
            return "discarded"
        case Unroutable(reason):
            return reason
    raise AssertionError(leaf.end)


def test_an_alias_comes_to_two_mailboxes_and_a_host() -> None:
    found = family("team@here.test")
    assert ends(found) == ["anna@here.test maildir", "bert@here.test maildir", "carl@192.test smtp"]
    assert [(leaf.recipient.number, str(leaf.original)) for leaf in found.leaves] == [(0, "team@here.test")] * 3
    assert [leaf.origins[0].key for leaf in found.leaves] == ["anna@here.test", "bert@here.test", "carl@192.test"]


def test_a_recipient_that_is_routed_itself_needs_no_key() -> None:
    (leaf,) = family("anna@here.test").leaves
    assert (leaf.origins[0].key, str(leaf.original)) == ("", "anna@here.test")


def test_two_ways_to_a_mailbox_are_one_delivery() -> None:
    found = family("chiefs@here.test", "anna@here.test")
    assert ends(found) == ["anna@here.test maildir", "bert@here.test maildir", "carl@192.test smtp"]
    anna = found.leaves[0]
    assert [(origin.recipient.number, origin.key) for origin in anna.origins] == [(0, "anna@here.test"), (1, "")]


def test_a_circle_ends() -> None:
    assert ends(family("round@here.test")) == ["round@here.test Unrouteable address"]


def test_an_address_that_stands_for_itself_too() -> None:
    found = family("self@here.test")
    assert ends(found) == ["self@here.test maildir", "anna@here.test maildir"]
    assert found.leaves[0].origins[0].key == "self@here.test/maildir"


def test_files_and_commands_belong_to_their_recipient() -> None:
    found = family("log@here.test")
    assert ends(found) == ["log@here.test |/bin/log a", "log@here.test /box/log"]
    assert found.leaves[0].origins[0].key == "|/bin/log a:log@here.test"


@pytest.mark.parametrize(("name", "end"), [("no", "gone"), ("hole", "discarded")])
def test_words(name: str, end: str) -> None:
    assert ends(family(f"{name}@here.test")) == [f"{name}@here.test {end}"]


# What has been done


def test_what_is_done_is_not_done_again() -> None:
    row = replace(make_recipient("team@here.test"), done=("anna@here.test", "carl@192.test"))
    assert ends(family(row)) == ["bert@here.test maildir"]


def test_a_recipient_that_is_done_counts_for_others() -> None:
    team, anna = make_recipient("team@here.test", 0), make_recipient("anna@here.test", 1)
    anna = replace(anna, state=RecipientState.DELIVERED)
    assert ends(family(team, anna)) == ["bert@here.test maildir", "carl@192.test smtp"]


def test_nothing_is_left() -> None:
    row = replace(make_recipient("self@here.test"), done=("self@here.test/maildir", "anna@here.test"))
    found = family(row)
    assert found.leaves == ()
    assert found.finished == (row,)


def test_an_unseen_delivery_and_its_copy() -> None:
    routers = (accept("first", unseen=True, preconditions=when(domains="here.test")), accept("second", "file"))
    found = family("anna@here.test", routers=routers)
    assert ends(found) == ["anna@here.test maildir", "anna@here.test file"]
    keys = [leaf.origins[0].key for leaf in found.leaves]
    assert keys == ["anna@here.test/first", "anna@here.test/file"]
    row = replace(make_recipient("anna@here.test"), done=(keys[0],))
    assert ends(family(row, routers=routers)) == ["anna@here.test file"]


def test_the_last_generation_is_delivered_first() -> None:
    found = family("anna@here.test", "log@here.test", "team@here.test")
    assert [shown(leaf) + " " + str(leaf.item.address) for leaf in in_order_of_delivery(found.leaves)] == [
        "maildir bert@here.test",
        "smtp carl@192.test",
        "/box/log log@here.test",
        "|/bin/log a log@here.test",
        "maildir anna@here.test",
    ]


def test_recipients_are_routed_from_the_last_to_the_first() -> None:
    found = family("no@here.test", "hole@here.test", "chiefs@here.test")
    assert [str(leaf.item.address) for leaf in in_order_of_routing(found.leaves)] == [
        "hole@here.test",
        "no@here.test",
        "carl@192.test",
        "bert@here.test",
        "anna@here.test",
    ]


def test_a_copy_is_delivered_before_what_it_is_a_copy_of() -> None:
    routers = (accept("first", unseen=True, preconditions=when(domains="here.test")), accept("second", "file"))
    found = family("anna@here.test", routers=routers)
    assert [shown(leaf) for leaf in in_order_of_delivery(found.leaves)] == ["file", "maildir"]


def test_the_copy_of_an_unseen_redirection_is_delivered_before_what_it_has_made() -> None:
    routers = (
        redirect("one@here.test, two@here.test", unseen=True, preconditions=when(local_parts="all")),
        accept("box"),
    )
    leaves = in_order_of_delivery(family("all@here.test", routers=routers).leaves)
    assert [str(leaf.item.address) for leaf in leaves] == ["all@here.test", "one@here.test", "two@here.test"]


def test_what_must_not_be_is_told_in_the_order_of_its_recipients() -> None:
    refused = Unroutable("delivery to file forbidden", "r")
    leaves = []
    for name in ("anna", "bert"):
        item = top_item(address_from_text(f"{name}@here.test"))
        direct = Direct(item, f"/{name}", f"/{name}", refused, is_hidden=name == "bert")
        leaves.append(Leaf(item, refused, direct=direct))
    assert [leaf.text for leaf in in_order_of_routing(leaves)] == ["/anna", "/bert"]
    assert [leaf.is_hidden for leaf in leaves] == [False, True]


@pytest.mark.parametrize(
    ("to", "caseful", "is_here", "with_affixes", "name"),
    [
        ("anna@here.test", False, False, False, ""),
        ("Anna@HERE.test", False, False, False, "anna@here.test"),
        ("Anna@HERE.test", True, False, False, "Anna@here.test"),
        ("Anna@HERE.test", False, True, False, "anna"),
        ("list-anna@here.test", False, False, False, "anna@here.test"),
        ("list-anna@here.test", False, False, True, ""),
        ("list-anna@here.test", False, True, True, "list-anna"),
    ],
)
def test_a_log_line_names_what_the_router_saw(
    to: str, caseful: bool, is_here: bool, with_affixes: bool, name: str
) -> None:
    router = accept(is_caseful=caseful, preconditions=Preconditions(prefix=Affixes(("list-",), is_optional=True)))
    (leaf,) = family(make_recipient(to), routers=(router,)).leaves
    end = leaf.end
    assert isinstance(end, Routed)
    leaf = replace(leaf, end=replace(end, logs_local_part=is_here))
    assert routed_as(leaf, is_here=is_here, with_affixes=with_affixes) == name


def test_a_transport_knows_the_recipient_as_the_message_came_for_it() -> None:
    (leaf,) = family(make_recipient("Anna@HERE.test"), routers=(accept(),)).leaves
    assert isinstance(leaf.end, Routed)
    assert local_address(Scope(), leaf.recipient.recipient, leaf.end).original == Address("Anna", "HERE.test")


def test_a_log_line_of_an_address_that_was_not_routed_has_a_domain_in_lower_case() -> None:
    (leaf,) = family(make_recipient("Who@ELSE.test")).leaves
    assert routed_as(leaf, is_here=False, with_affixes=False) == "Who@else.test"
