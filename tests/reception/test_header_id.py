"""What options put into a Message-Id: that is made here."""

from typing import Any

import pytest

from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.reception.fixups import Fixing, HeaderNeeds, fix_header
from relay.reception.header_id import HeaderId

NEEDS = HeaderNeeds(
    fixing=Fixing.COMPLETE,
    message_id="1abcde-0000000000a-0001",
    id_domain="relay.test",
    now=0.0,
    sender=Address("anne", "relay.test"),
    originator=Address("anne", "relay.test"),
    full_name="",
    name_in_from=False,
    drop_sender_field=False,
    drop_bcc=False,
)


def answer(question: Any) -> Any:
    try:
        question.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@pytest.mark.parametrize(
    ("domain", "text", "tail"),
    [
        (None, None, "@relay.test"),
        ("mail.test", None, "@mail.test"),
        ("", "", "@relay.test"),
        (None, "a@b c", ".a-b-c@relay.test"),
        ("x_y", "${if eq{a}{a}{z}}", ".z@x-y"),
        ("${if eq{a}{b}{c}fail}", None, "@relay.test"),
    ],
)
def test_what_stands_in_it(domain: str | None, text: str | None, tail: str) -> None:
    compiled = [None if each is None else compile_expansion(each) for each in (domain, text)]
    needs = answer(HeaderId(*compiled).completed(NEEDS, Scope))
    ids = [field.value.decode() for field in fix_header((), needs).fields if field.is_named("Message-ID")]
    assert ids == [f"<E{NEEDS.message_id}{tail}>"]
