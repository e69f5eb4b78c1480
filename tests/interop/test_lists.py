"""Lists and lookups of every form, answered by the real Exim and by ours in one run."""

import re

import pytest

from relay.expand import lookups
from relay.expand.lists import ListKind

from interop import list_corpus, list_oracle, lookup_corpus
from interop.list_oracle import Difference

GARBLED = "Exim puts as much of the item into $sender_data as the sender's local part is long; ours what the item says"
LEFT_OVER = "at the end of a list Exim's $sender_data is what an item that did not match has left there; ours is empty"
BAD_QUERY = "to Exim a failed SQLite query is a key that is not there; ours defers"
EXIM_DIES = "Exim's process ends there; ours does without what is not there"
# A pattern for the list, the kinds of both answers, and the reason.
EXPECTED = (
    (ListKind.ADDRESS, r"\*[^:]*@|^\+people", "yes", "yes", GARBLED),
    (ListKind.ADDRESS, r"^!(\+people|DIR/addresses|@@)", "yes", "yes", LEFT_OVER),
    (ListKind.HOST, r"^sqlite,.*\$sender_host_address", "no", "deferred", BAD_QUERY),
)
# Expressions with lookups, where the values differ.
EXPECTED_VALUES = ((r"^\$\{lookup\{\}partial0-lsearch\{", EXIM_DIES),)


def reason(difference: Difference) -> str:
    """Why the answers may differ; empty where nobody knows."""
    question = difference.question
    for kind, pattern, theirs, ours, why in EXPECTED:
        if (
            question.kind is kind
            and re.search(pattern, question.text)
            and difference.theirs.partition(" ")[0] == theirs
            and difference.ours.partition(" ")[0] == ours
        ):
            return why
    return ""


def test_all_types_of_lookup_occur() -> None:
    """But for those that the real Exim does not have."""
    asked = "\n".join((*(each.text for each in list_corpus.questions()), *lookup_corpus.expressions()))
    for name in (lookups.SINGLE_KEY | lookups.QUERY_STYLE) - {"dnsdb", "json", "testdb"}:
        assert re.search(rf"(?<![a-z]){name}[^A-Za-z]", asked), name


@pytest.mark.interop("exim")
def test_lists() -> None:
    asked = list_corpus.questions()
    assert len(asked) > 2000
    found = list_oracle.differences(asked)
    unexpected = [each for each in found if not reason(each)]
    assert not unexpected, "\n".join(map(str, unexpected))
    unused = {why for *_, why in EXPECTED} - {reason(each) for each in found}
    assert not unused, "some differ no longer"


@pytest.mark.interop("exim")
def test_lookups_in_expansions() -> None:
    found = [each for each in list_oracle.lookup_differences(lookup_corpus.expressions()) if not each.is_of_messages]
    unexpected = [
        each for each in found if not any(re.search(pattern, each.expression) for pattern, _ in EXPECTED_VALUES)
    ]
    assert not unexpected, "\n".join(map(str, unexpected))
