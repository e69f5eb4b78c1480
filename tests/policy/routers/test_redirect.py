"""Addresses that stand for others: aliases, forward files, and what they may say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import run
from policy.routers.routing_world import Disk, Offering, accept, offer, redirect, when
from relay.expand.evaluate import compile_expansion
from relay.mail.address import NULL_SENDER, Address, address_from_text
from relay.mail.outcome import ErrorClass
from relay.policy.routers.answers import Direct, Discarded, Redirected, Routed, RouteDeferred, Unroutable
from relay.policy.routers.items import AddressItem, top_item
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import USUAL_ITEMS, FileRules, Item
from relay.policy.routing import route


def children(answer: object) -> list[str]:
    """Addresses as they are, the others by what they are."""
    assert isinstance(answer, Redirected), answer
    return [child.text if isinstance(child, Direct) else str(child.address) for child in answer.children]


def test_an_alias_stands_for_several_in_their_order() -> None:
    answer = offer(redirect("carl, Dora <dora@far.test>\n# nobody\n|/bin/cat -, /var/log/mail"))
    assert children(answer) == ["carl@home.test", "dora@far.test", "|/bin/cat -", "/var/log/mail"]


def test_children_know_where_they_come_from() -> None:
    answer = offer(redirect("carl@far.test"))
    assert isinstance(answer, Redirected)
    (child,) = answer.children
    assert isinstance(child, AddressItem)
    assert [(str(each.address), each.router) for each in child.ancestors()] == [("bert@far.test", "aliases")]
    assert str(child.top.address) == "bert@far.test"


def test_nothing_declines() -> None:
    assert isinstance(offer(redirect("${if eq{a}{b}{x}}"), accept()), Routed)
    assert isinstance(offer(redirect("${if eq{a}{b}{x}fail}"), accept()), Routed)
    assert isinstance(offer(redirect(" # nobody\n (nobody)"), accept()), Routed)
    assert isinstance(offer(redirect("", more=False), accept()), Unroutable)


# Loops


def test_an_address_that_leads_to_itself_is_offered_to_the_next_router() -> None:
    router = redirect("bert@far.test")
    answer = offer(router)
    assert isinstance(answer, Redirected)
    (child,) = answer.children
    assert isinstance(child, AddressItem)
    assert child.has_namesake
    answer = offer(router, accept(), to=child)
    assert isinstance(answer, Routed)
    assert answer.router == "local"


def test_a_circle_of_two_ends() -> None:
    router = redirect("${if eq{$local_part}{bert}{carl@far.test}{bert@far.test}}")
    item = top_item(Address("bert", "far.test"))
    seen = []
    for _ in range(10):
        answer = offer(router, to=item)
        if not isinstance(answer, Redirected):
            break
        (item,) = answer.children  # type: ignore[assignment]
        seen.append(str(item.address))
    assert seen == ["carl@far.test", "bert@far.test"]
    assert isinstance(answer, Unroutable)


def test_no_repeat_use_keeps_a_router_from_its_own_children() -> None:
    router = redirect("$local_part.x@far.test", repeat_use=False)
    answer = offer(router)
    assert isinstance(answer, Redirected)
    assert isinstance(offer(router, to=answer.children[0]), Unroutable)  # type: ignore[arg-type]
    again = offer(replace(router, repeat_use=True), to=answer.children[0])  # type: ignore[arg-type]
    assert isinstance(again, Redirected)


def test_addresses_that_grow_for_ever_are_stopped() -> None:
    router = redirect("$local_part.x@far.test")
    item: Any = top_item(Address("b", "far.test"))
    for _ in range(200):
        answer = offer(router, to=item)
        if not isinstance(answer, Redirected):
            break
        (item,) = answer.children
    assert isinstance(answer, RouteDeferred)
    assert "routing loop" in answer.reason


def test_check_ancestor_leaves_the_address_instead() -> None:
    first = offer(redirect("anna@far.test"), to="bert@far.test")
    assert isinstance(first, Redirected)
    back = redirect("BERT@far.test", name="forward", check_ancestor=True)
    answer = offer(back, to=first.children[0])  # type: ignore[arg-type]
    assert children(answer) == ["anna@far.test"]


# Words


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (":fail: gone, with\nall", Unroutable("gone, with\nall", "aliases", "gone, with\nall")),
        (":fail:", Unroutable("forced rejection", "aliases", "")),
        (":defer: later", RouteDeferred("later", "aliases", user_message="later")),
        (":defer:", RouteDeferred("forced defer", "aliases")),
        (":blackhole:", Discarded("aliases")),
        ("carl, :blackhole:", Discarded("aliases")),
    ],
)
def test_words(data: str, expected: object) -> None:
    assert offer(redirect(data, allowed=USUAL_ITEMS | Item.FAIL | Item.DEFER)) == expected


@pytest.mark.parametrize("data", [":fail: x", ":defer: x"])
def test_words_that_are_not_permitted(data: str) -> None:
    answer = offer(redirect(data))
    assert isinstance(answer, RouteDeferred)
    assert answer.reason == f'error in redirect data: "{data}" is not permitted'
    assert answer.error is ErrorClass.REDIRECTION


def test_a_reply_code_may_be_left_out() -> None:
    allowed = USUAL_ITEMS | Item.FAIL
    kept = offer(redirect(":fail: 450 4.7.1 no", allowed=allowed))
    assert isinstance(kept, Unroutable)
    assert kept.reason == "450 4.7.1 no"
    cut = offer(redirect(":fail: 450 4.7.1 no", allowed=allowed, forbid_smtp_code=True))
    assert isinstance(cut, Unroutable)
    assert cut.reason == "no"


# Files and commands


def test_a_command_has_its_transport_and_the_users_identity() -> None:
    router = redirect("|/bin/cat, /box/, /box/file", preconditions=when(check_local_user=True))
    answer = offer(router, to="anna@far.test")
    assert isinstance(answer, Redirected)
    ends = [child.answer for child in answer.children if isinstance(child, Direct)]
    assert [end.transport for end in ends if isinstance(end, Routed)] == ["pipe", "maildir", "file"]
    assert all(isinstance(end, Routed) and (end.user, end.home_directory) == (1001, "/home/anna") for end in ends)


def test_what_is_forbidden_fails_and_what_can_not_be_set_up_waits() -> None:
    answer = offer(redirect("|/bin/cat", allowed=Item.ADDRESS))
    assert isinstance(answer, Redirected)
    (child,) = answer.children
    assert isinstance(child, Direct)
    assert child.answer == Unroutable("delivery to pipe forbidden", "aliases", transport="pipe")
    unset = replace(redirect("|/bin/cat"), pipe_transport=None)
    answer = offer(unset)
    assert isinstance(answer, Redirected)
    (child,) = answer.children
    assert isinstance(child, Direct)
    assert child.answer == RouteDeferred("pipe_transport unset in aliases router", "aliases", ErrorClass.TRANSPORT)


# Files of addresses

LIST = Disk({"/etc/list": "carl, dora@far.test", "/home/anna/.forward": "\\anna, carl"})


def test_a_file() -> None:
    assert children(offer(redirect(file="/etc/list"), disk=LIST)) == ["carl@home.test", "dora@far.test"]
    assert isinstance(offer(redirect(file="/etc/none"), accept(), disk=LIST), Routed)


def test_a_forward_file_of_a_user() -> None:
    router = redirect(file="$home/.forward", preconditions=when(check_local_user=True))
    answer = offer(router, to="anna@far.test", disk=LIST)
    assert children(answer) == ["anna@far.test", "carl@home.test"]


@pytest.mark.parametrize(
    ("rules", "disk", "complaint"),
    [
        (FileRules(), replace(LIST, mode=0o100666), "bad mode (0100666) for /etc/list: 022 bit(s) unexpected"),
        (FileRules(), replace(LIST, mode=0o40755), "/etc/list is not a regular file"),
        (FileRules(check_owner=True), replace(LIST, owner=7), "bad owner for /etc/list"),
        (FileRules(check_group=True, groups=frozenset({5})), LIST, "bad group for /etc/list"),
        (FileRules(), replace(LIST, trouble=PermissionError(13, "Permission denied")), "Permission denied"),
    ],
)
def test_files_that_must_not_be_used(rules: FileRules, disk: Disk, complaint: str) -> None:
    answer = offer(redirect(file="/etc/list", file_rules=rules), disk=disk)
    assert isinstance(answer, RouteDeferred)
    assert complaint in answer.reason


def test_a_file_that_may_not_be_read_can_be_taken_for_none() -> None:
    disk = replace(LIST, trouble=PermissionError(13, "Permission denied"))
    router = redirect(file="/etc/list", file_rules=FileRules(ignore_eacces=True))
    assert isinstance(offer(router, accept(), disk=disk), Routed)


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("list", '"list" is not an absolute path'),
        ("/etc/$local_part", "Tainted name '/etc/bert' for file read not permitted"),
        ("/nowhere/list", "failed to stat /nowhere/."),
    ],
)
def test_names_that_must_not_be_used(file: str, complaint: str) -> None:
    answer = offer(redirect(file=file), disk=LIST)
    assert isinstance(answer, RouteDeferred)
    assert complaint in answer.reason


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (":include:/etc/list", "included files not permitted"),
        (":include:list", "is not an absolute path"),
        (":include:", "file name missing after :include:"),
    ],
)
def test_includes_that_are_not_permitted(data: str, complaint: str) -> None:
    answer = offer(redirect(data, allowed=Item.ADDRESS), disk=LIST)
    assert isinstance(answer, RouteDeferred)
    assert complaint in answer.reason


def test_includes() -> None:
    disk = Disk({"/etc/a": "one, :include:/etc/b", "/etc/b": "two", "/etc/c": ":include:/etc/c"})
    assert children(offer(redirect("zero, :include:/etc/a"), disk=disk)) == [
        "zero@home.test", "one@home.test", "two@home.test",
    ]  # fmt: skip
    answer = offer(redirect(":include:/etc/c"), disk=disk)
    assert isinstance(answer, RouteDeferred)
    assert "a loop?" in answer.reason
    outside = offer(redirect(":include:/etc/a", include_directory="/lists"), disk=disk)
    assert isinstance(outside, RouteDeferred)
    assert "is not in directory /lists" in outside.reason


def test_filters_are_refused() -> None:
    answer = offer(redirect("# Exim filter\ndeliver x"))
    assert isinstance(answer, RouteDeferred)
    assert answer.reason == "error in filter data: filtering not enabled"
    answer = offer(redirect("#Sieve filter\nkeep;", allowed=USUAL_ITEMS | Item.FILTER))
    assert isinstance(answer, RouteDeferred)
    assert "Sieve filters are not served here" in answer.reason


# Mistakes


def test_an_item_with_a_mistake_holds_all_or_is_passed_over() -> None:
    answer = offer(redirect("carl, a b c@d"))
    assert isinstance(answer, RouteDeferred)
    assert answer.reason.startswith("error in redirect data: ")
    assert children(offer(redirect("carl, a b c@d", skip_syntax_errors=True))) == ["carl@home.test"]
    assert isinstance(offer(redirect("a b c@d", skip_syntax_errors=True)), Unroutable)


def test_what_is_passed_over_is_told() -> None:
    offering = Offering()
    told: list[str] = []
    ports = replace(offering.ports(), note=told.append)
    router = redirect("carl, a b c@d", skip_syntax_errors=True)
    run(route(top_item(address_from_text("bert@far.test")), (router,), offering.scope(), ports, Purpose.DELIVER))
    (line,) = told
    assert line.startswith("aliases router: skipped error: ")
    assert line.endswith(' in "a b c@d"')


# What goes along


def test_domains_for_those_without() -> None:
    assert children(offer(redirect("carl", qualify_preserve_domain=True))) == ["carl@far.test"]
    other = redirect(r"carl, \\dora", qualify_domain=compile_expansion("other.test"))
    assert children(offer(other)) == ["carl@other.test", "dora@far.test"]


def test_headers_and_data_go_along() -> None:
    router = redirect(
        "carl@far.test",
        headers_add=(compile_expansion("X-Way: $local_part"), compile_expansion("${if eq{a}{b}{X: y}}")),
        headers_remove=(compile_expansion("X-Old : X-Older"),),
        address_data=compile_expansion("data"),
    )
    answer = offer(router)
    assert isinstance(answer, Redirected)
    (child,) = answer.children
    assert isinstance(child, AddressItem)
    assert child.carried.headers_add == ("X-Way: bert",)
    assert child.carried.headers_remove == ("X-Old", "X-Older")
    assert child.carried.address_data == "data"


@pytest.mark.parametrize(
    ("errors_to", "expected", "ignores"),
    [
        ("owner@far.test", Address("owner", "far.test"), False),
        ("", NULL_SENDER, True),
        ("nobody@else.test", None, False),
        ("not an address", None, False),
    ],
)
def test_who_is_told_of_failures(errors_to: str, expected: Address | None, ignores: bool) -> None:
    """An address that mail can't be routed to is passed over."""
    local = accept(preconditions=when(domains="far.test"))
    answer = offer(
        redirect("carl@far.test", errors_to=compile_expansion(errors_to), preconditions=when(local_parts="bert")), local
    )
    assert isinstance(answer, Redirected)
    (child,) = answer.children
    assert isinstance(child, AddressItem)
    assert (child.carried.errors_to, child.carried.ignores_errors) == (expected, ignores)


def test_children_may_begin_at_another_router() -> None:
    first, second = redirect("carl@far.test", redirect_router="third"), accept("second")
    answer = offer(first, second, accept("third"))
    assert isinstance(answer, Redirected)
    end = offer(first, second, accept("third"), to=answer.children[0])  # type: ignore[arg-type]
    assert isinstance(end, Routed)
    assert end.router == "third"


# Copies


def test_an_unseen_redirection_leaves_a_copy_to_the_next_router() -> None:
    router = redirect("carl@far.test", unseen=True)
    answer = offer(router, accept())
    assert children(answer) == ["bert@far.test", "carl@far.test"], "the copy goes first, as in Exim"
    assert isinstance(answer, Redirected)
    clone = answer.children[0]
    assert isinstance(clone, AddressItem)
    assert (clone.start, clone.has_namesake) == ("local", True)


def test_an_unseen_delivery_and_its_copy_are_two() -> None:
    answer = offer(accept(unseen=True), accept("second"))
    assert isinstance(answer, Routed)
    assert answer.item.unique == "bert@far.test/local"
    assert answer.clone is not None
    end = offer(accept(unseen=True), accept("second"), to=answer.clone)
    assert isinstance(end, Routed)
    assert end.router == "second"


def test_the_last_router_has_nobody_to_leave_a_copy_to() -> None:
    answer = offer(accept(unseen=True))
    assert isinstance(answer, Routed)
    assert answer.clone is None


def test_rewriting_is_asked_for_where_there_are_rules() -> None:
    assert children(offer(redirect("carl@far.test", rewrite=True), purpose=Purpose.TEST)) == ["carl@far.test"]
