"""Header fields that a message came with and does not go on with."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mail.facts import DroppedField
from relay.mail.header import Field, make_field
from relay.reception.dropped import dropped_fields

FROM, TO, BCC, TEXT = (make_field(name, "x") for name in ("From", "To", "Bcc", "Subject"))
NEW_FROM, NEW_TO, ID = make_field("From", "x@there"), make_field("To", "x@there"), make_field("Message-Id", "<1>")


def test_nothing_is_dropped() -> None:
    assert dropped_fields((FROM, TO), (FROM, TO, ID)) == ()


def test_a_field_that_was_taken_out_stays_behind_its_neighbour() -> None:
    assert dropped_fields((TO, BCC), (TO, ID)) == (DroppedField(1, BCC.raw),)
    assert dropped_fields((BCC, TO), (TO, ID)) == (DroppedField(2, BCC.raw),)
    assert dropped_fields((TO, BCC), (TO,)) == (DroppedField(0, BCC.raw),)


def test_a_field_that_was_written_anew_has_the_old_one_in_front() -> None:
    assert dropped_fields((FROM, TO), (ID, NEW_FROM, TO)) == (DroppedField(2, FROM.raw),)


def test_over_several_steps() -> None:
    found = dropped_fields((FROM, BCC, TO), (FROM, TO, ID), (NEW_FROM, NEW_TO, ID))
    assert found == (DroppedField(3, FROM.raw), DroppedField(2, BCC.raw), DroppedField(2, TO.raw))


def test_no_more_than_fits() -> None:
    long = make_field("X-Long", "x" * 65_000)
    other = make_field("X-Other", "y" * 1_000)
    assert dropped_fields((long, other, BCC), ()) == (DroppedField(0, long.raw),)


@settings(max_examples=100)
@given(st.lists(st.sampled_from([FROM, TO, BCC, TEXT, NEW_FROM, NEW_TO, ID])), st.data())
def test_all_that_is_missing_is_told_once(before: list[Field], data: st.DataObject) -> None:
    kept = [each for each in before if data.draw(st.booleans())]
    found = dropped_fields(before, kept)
    assert len(found) == len(before) - len(kept)
    assert all(0 <= each.behind <= len(kept) for each in found)
    behind = [each.behind for each in found]
    assert behind == sorted(behind, reverse=True)
