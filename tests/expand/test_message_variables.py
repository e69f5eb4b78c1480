"""Variables of the message: the body on one line, counts, what the caller gives."""

from __future__ import annotations

from relay.expand.scope import AddressView, MessageView

MESSAGE = MessageView(
    body_start=b"one\ntwo\0\n",
    body_end=b"end\n",
    body_lines=2,
    body_zeros=1,
    body_size=9,
    lines=7,
    longest_line=60,
    is_internationalised=True,
)


def test_the_body(expand) -> None:
    assert expand("<$message_body|$message_body_end>", message=MESSAGE) == "<one two  |end >"
    main = {"message_body_newlines": "true"}
    assert expand("<$message_body|$message_body_end>", message=MESSAGE, main=main) == "<one\ntwo \n|end\n>"
    assert expand("<$message_body$message_body_end>") == "<>"


def test_counts(expand) -> None:
    text = "$body_linecount $body_zerocount $message_body_size $message_linecount $max_received_linelength"
    assert expand(text, message=MESSAGE) == "2 1 9 7 60"
    assert expand(text) == "0 0 0 0 0"
    assert expand("$message_smtputf8", message=MESSAGE) + expand("$message_smtputf8") == "yesno"


def test_the_body_is_from_outside(expand) -> None:
    answer = expand("${expand:$message_body}", message=MESSAGE)
    assert answer.startswith("Failed: attempt to expand tainted string")


def test_what_the_stars_of_affixes_stood_for(expand) -> None:
    address = AddressView(prefix="x-ann-", prefix_wild="ann-", suffix="+y", suffix_wild="y")
    assert expand("$local_part_prefix_v|$local_part_suffix_v", address=address) == "ann-|y"
