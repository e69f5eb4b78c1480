"""Every value that goes into a column comes back as it was, and nothing in a column takes the queue down."""

import dataclasses
import json
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.values import Tainted, is_tainted
from relay.mail.address import Address
from relay.mail.envelope import BodyType, Parameters, Recipient
from relay.mail.facts import (
    Authentication,
    Certificate,
    DroppedField,
    Endpoint,
    Hello,
    LocalCaller,
    MessageFacts,
    NotAsked,
    SessionFacts,
    TLSFacts,
    Unverified,
    Verified,
)
from relay.mail.queue import NewMessage
from relay.mail.text import from_wire
from relay.spool import codec
from spool.samples import message

# Whatever a peer may send: any octets, as our strings hold them.
texts = st.binary(max_size=20).map(from_wire)
numbers = st.integers(0, 2**31)
certificates = st.builds(Certificate, st.binary(max_size=50), texts, texts, texts)
verifications = st.one_of(st.builds(Verified, texts), st.builds(Unverified, texts), st.just(NotAsked()))
tls_facts = st.builds(
    TLSFacts,
    version=texts,
    suite=texts,
    bits=numbers,
    group=texts,
    sni=texts,
    alpn=texts,
    resumed=st.booleans(),
    ocsp=numbers,
    resumption=numbers,
    ours=st.none() | certificates,
    peer=st.none() | certificates,
    verification=verifications,
    binding=st.binary(max_size=32),
)
endpoints = st.builds(Endpoint, texts, numbers)
sessions = st.builds(
    SessionFacts,
    peer=st.none() | endpoints,
    local=st.none() | endpoints,
    caller=st.none() | st.builds(LocalCaller, texts, numbers, numbers, st.booleans()),
    peer_host=texts,
    hello=st.none() | st.builds(Hello, texts, st.booleans()),
    tls=st.none() | tls_facts,
    tls_on_connect=st.booleans(),
    authentication=st.none() | st.builds(Authentication, texts, texts, texts, texts),
    peer_name=texts,
    batched=st.booleans(),
    ident=texts,
    given_protocol=texts,
    smtputf8=st.booleans(),
)
facts = st.builds(
    MessageFacts,
    session=sessions,
    received_at=st.floats(0, 1e11),
    acl_variables=st.dictionaries(texts, texts, max_size=3),
    local_scan_data=texts,
    longest_header_line=st.none() | st.integers(0, 10**6),
    is_rehearsal=st.booleans(),
    dropped=st.lists(st.builds(DroppedField, st.integers(0, 9), st.binary(max_size=9)), max_size=3).map(tuple),
)
addresses = st.builds(Address, texts, texts)
parameters = st.builds(Parameters, st.lists(st.tuples(texts, texts), max_size=3).map(tuple))


@settings(max_examples=200)
@given(facts)
def test_facts_come_back(value: MessageFacts) -> None:
    text = codec.encode_facts(value)

    assert codec.decode_facts(text) == value
    assert text.isascii()
    assert text.isprintable()


def filled(hint: Any, name: str) -> Any:
    """A value of a type that is the default of no field; a dataclass has all of its fields filled in this way."""
    if get_origin(hint) is tuple:
        return (filled(get_args(hint)[0], name),)
    kinds = [kind for kind in get_args(hint) or (hint,) if kind not in (NoneType, NotAsked)]
    kind = get_origin(hint) if get_origin(hint) is dict else kinds[0]
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{each.name: filled(hints[each.name], each.name) for each in dataclasses.fields(kind)})
    return {str: name, int: 7, float: 7.5, bool: True, bytes: name.encode(), dict: {name: name}}[kind]


def test_no_fact_is_forgotten() -> None:
    """A field that is added to the facts and not to the codec comes back as its default."""
    value = filled(MessageFacts, "")

    assert codec.decode_facts(codec.encode_facts(value)) == value


@settings(max_examples=100)
@given(addresses, st.sampled_from(BodyType), parameters, facts)
def test_envelopes_come_back(sender: Address, body_type: BodyType, given: Parameters, reception: MessageFacts) -> None:
    new = NewMessage("id", sender, (), b"", reception, body_type, parameters=given)

    local = reception.session.caller
    caller = local.login if local is not None and not local.trusted else ""
    assert codec.decode_envelope(codec.encode_envelope(new)) == (sender, body_type, given, caller)


@settings(max_examples=100)
@given(st.builds(Recipient, addresses, parameters, st.none() | addresses, st.none() | addresses))
def test_recipients_come_back(recipient: Recipient) -> None:
    assert codec.decode_recipient(codec.encode_recipient(recipient)) == recipient


@settings(max_examples=200)
@given(texts)
def test_any_text_fits_a_column(text: str) -> None:
    column = codec.column_text(text)

    assert codec.text_of_column(column) == text
    assert column.isascii()
    assert "\0" not in column


@given(texts, texts)
def test_two_texts_are_never_one_column(one: str, other: str) -> None:
    assert (codec.column_text(one) == codec.column_text(other)) == (one == other)


def test_unknown_keys_are_passed_over_and_missing_ones_have_their_default() -> None:
    text = codec.encode_facts(message().facts)
    fields = json.loads(text)
    fields["later"] = {"a": 1}
    fields["s"]["later"] = [1]

    assert codec.decode_facts(json.dumps(fields)) == message().facts
    assert codec.decode_facts('{"at": 1, "s": {}}') == MessageFacts(SessionFacts(), 1.0)


def test_a_format_of_a_newer_version_is_refused_by_its_number() -> None:
    with pytest.raises(codec.Unreadable, match="format 2, this one knows 1"):
        codec.decode_facts('{"v": 2, "at": 1, "s": {}}')


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"x"', "{}", '{"at":1}', '{"at":"x","s":{}}', '{"at":1,"s":[]}',
        '{"at":1,"s":{"peer":1}}', '{"at":1,"s":{"tls":{}}}', '{"at":1,"s":{"caller":{"login":"x"}}}',
        '{"v":"2","at":1,"s":{}}', '{"s":[],"a":["x"],"at":1}', '{"s":["a","b"],"a":["a","b"],"b":"X","p":[1]}',
    ],
)  # fmt: skip
def test_damaged_text_is_unreadable_and_nothing_worse(text: str) -> None:
    for decode in (codec.decode_facts, codec.decode_envelope, codec.decode_recipient):
        with pytest.raises(codec.Unreadable):
            decode(text)


def test_text_from_outside_stays_so_in_the_queue() -> None:
    variables = {"acl_m0": Tainted("../x"), "acl_m1": "ours"}
    facts = dataclasses.replace(message().facts, acl_variables=variables)
    found = codec.decode_facts(codec.encode_facts(facts)).acl_variables
    assert found == variables
    assert {name for name, value in found.items() if is_tainted(value)} == {"acl_m0"}
