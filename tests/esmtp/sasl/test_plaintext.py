"""PLAIN and LOGIN: prompts that are asked, prompts that are saved, and the client's items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.sasl.plaintext import PlaintextClient, PlaintextServer, unescape
from relay.esmtp.sasl.steps import Challenge, Complete, GiveUp, ItemWanted, Respond

LOGIN = ("Username:", "Password:")


def test_plain_in_the_command() -> None:
    assert PlaintextServer(("",)).start(b"\0ada\0secret") == Complete(("", "ada", "secret"))


def test_plain_behind_a_prompt() -> None:
    server = PlaintextServer(("",))
    assert server.start(None) == Challenge(b"")
    assert server.respond(b"\0ada\0secret") == Complete(("", "ada", "secret"))


def test_login() -> None:
    server = PlaintextServer(LOGIN)
    assert server.start(None) == Challenge(b"Username:")
    assert server.respond(b"ada") == Challenge(b"Password:")
    assert server.respond(b"secret") == Complete(("ada", "secret"))


def test_a_string_that_came_saves_its_prompt() -> None:
    server = PlaintextServer(LOGIN)
    assert server.start(b"ada") == Challenge(b"Password:")
    server = PlaintextServer(LOGIN)
    assert server.start(None) == Challenge(b"Username:")
    assert server.respond(b"ada\0secret") == Complete(("ada", "secret"))


def test_an_empty_answer_is_an_answer() -> None:
    server = PlaintextServer(LOGIN)
    server.start(None)
    assert server.respond(b"") == Challenge(b"Password:")
    assert server.respond(b"") == Complete(("", ""))


def test_without_prompts_nothing_is_asked() -> None:
    assert PlaintextServer(()).start(None) == Complete(())


def test_prompts_end() -> None:
    server = PlaintextServer(["?"] * 50)
    step: object = server.start(None)
    for _ in range(20):
        assert isinstance(step, Challenge)
        step = server.respond(b"x")
    assert step == Complete(("x",) * 20)


@pytest.mark.parametrize(
    "text, data",
    [
        ("^ada^secret", b"\0ada\0secret"),
        ("a^^b", b"a^b"),
        ("^^^", b"^\0"),
        ("a^", b"a\0"),
        ("", b""),
        ("ü^", b"\xc3\xbc\0"),
    ],
)
def test_the_caret_is_a_zero_octet(text: str, data: bytes) -> None:
    assert unescape(text) == data


def test_an_empty_first_item_leaves_the_prompting_to_the_server() -> None:
    client = PlaintextClient(2)
    assert client.start() == ItemWanted(0, ())
    assert client.item("") == Respond(None)
    assert client.challenge(b"Username:") == ItemWanted(1, ("Username:",))
    assert client.item("") == Respond(b"")


def test_too_few_items_end_the_exchange() -> None:
    client = PlaintextClient(1)
    client.start()
    client.item("a")
    assert client.challenge(b"") == GiveUp("Too few items in client_send")


def test_no_step_shows_a_password() -> None:
    assert "secret" not in repr(Complete(("secret",)))
    assert "secret" not in repr(Respond(b"secret"))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0^"), max_size=12)


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_both_halves_agree(items: list[str]) -> None:
    server, client = PlaintextServer(["?"] * len(items)), PlaintextClient(len(items))
    wanted: object = client.start()
    step: object = None
    while True:
        assert isinstance(wanted, ItemWanted)
        data = client.item(items[wanted.number]).data
        step = server.start(data) if step is None else server.respond(data or b"")
        if step == Challenge(b"?") and wanted.number == 0 and data is None and len(items) == 1:
            return  # the first item is empty and no other is there: the client has nothing for the prompt
        if isinstance(step, Complete):
            break
        assert isinstance(step, Challenge)
        wanted = client.challenge(step.data)
        if isinstance(wanted, GiveUp):
            assert items[0] == ""
            return
    assert step.strings == tuple(items)
