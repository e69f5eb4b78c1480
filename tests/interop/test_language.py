"""Our language gives the real Exim's answers: expressions by hand, and as many as one likes from a seed.

    FINGERPOST_SEED=whatever pytest tests/interop/test_language.py

Where both fail the words may differ; how often is recorded with the test, for those who want to bring it down.
"""

import os
import re
from collections.abc import Callable

import pytest

from relay.expand import conditions, forms, items, operators

from interop import corpus, grammar, oracle

Record = Callable[[str, object], None]

SEED = os.environ.get("FINGERPOST_SEED", "fingerpost")
COUNT = 2000

# `spki` is ours, `headerwrap` is newer than the Exim that is asked; ACLs are compared by the tests of a relay.
NOT_IN_EXIM = frozenset({"headerwrap", "spki"})
NOT_COMPARED = frozenset({"acl"})

EXIM_DIES = "Exim's process ends there (division by zero, a panic); ours says what is wrong, or does without it"
GARBLED = "4.96 gives a garbled $value for address lists, which later versions of Exim do not"
NEWER = "this is Exim 4.96; ours follows later versions"
NOT_EVALUATED = "Exim evaluates some conditions in a part that it then leaves out; ours leaves that part alone"
NO_PROGRAMS = "no program is run for an expansion"
STRICT_JSON = "ours refuses JSON that is none"

# Expression by expression: what differs in the corpus.
EXPECTED_DIFFERENCES = {
    '${extract jsons{1}{[ "a,b" , "c" ]}}': "4.96 cuts JSON strings at a comma, later versions do not",
    "${hash{-3}{monty}}": EXIM_DIES,
    "${nhash{0}{monty}}": EXIM_DIES,
    "${nhash{8}{0}{monty}}": EXIM_DIES,
    "${hash_3_0:monty}": EXIM_DIES,
    "${nhash_0:monty}": EXIM_DIES,
    "${nhash_8_0:monty}": EXIM_DIES,
    "${if forany_json{x}{eq{$item}{2}}{yes}{no}}": EXIM_DIES,
    "${if match_domain{relay.test}{^[}{yes [$value]}{no}}": EXIM_DIES,
    "${if match_domain{relay.test}{^[}{$0|$1|$2}}": EXIM_DIES,
    "${if match_domain{relay.test}{/nonexistent/file}{yes [$value]}{no}}": EXIM_DIES,
    "${if match_domain{relay.test}{/nonexistent/file}{$0|$1|$2}}": EXIM_DIES,
    "${readfile{/}}": "a directory has no contents, and ours says so",
    "${stat_x:/}": NEWER,
    "${utf8_domain_from_alabel:}": EXIM_DIES,
    "${imapfolder{/}}": EXIM_DIES,
    "${run{/bin/true}}": NO_PROGRAMS,
    "${srs_encode{a}{b}{c}}": "SRS is not served",
    "${if pam{a:b}{yes}{no}}": "PAM is not asked, and ours says so",
    "$compile_number$runrc": "it counts compilations",
    "${authresults{me}}": "RFC 8601 2.2 wants `none` where there is no result",
    "${ipv6norm:0:0:0:0:0:0:0:0}": "Exim shows the address of zeros as one colon, which is no address",
    "${lc_x:ABC}": NEWER,
    "${md5:$tls_in_peercert}": "without a certificate Exim takes the hash of the variable's name, ours is empty",
    "${rfc2047:äöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöü}": NEWER,
    "${rfc2047d:=?nosuch?Q?a?=}": "a word in an unknown character set stays as it is",
    "${xtextd:a+2Bb}": NEWER,
    "${xtextd:a+3D}": NEWER,
    "${xtextd:abc}": NEWER,
    "${xtextd:a+2}": NEWER,
    "${xtextd:a+zz}": NEWER,
    "${xtextd:}": NEWER,
    "${if match_address{ann@relay.test}{*@relay.test}{yes [$value]}{no}}": GARBLED,
    "${if match_address{ann@relay.test}{*nn@relay.test}{yes [$value]}{no}}": GARBLED,
    "${if match_address{bob@other.test}{+people}{yes [$value]}{no}}": GARBLED,
    "${if match_address{ann@relay.test}{*@+ours}{yes [$value]}{no}}": GARBLED,
    "${if match_address{ann@relay.test}{*@@}{yes [$value]}{no}}": GARBLED,
    "${if match_ip{11.0.0.1}{10.0.0.1/}{yes [$value]}{no}}": "a mask without a number lets nobody in",
}
# Items that leave a part of theirs out.
LEAVES_OUT = r"\$\{\s*(if|(list)?extract|lookup|map|filter|reduce|prvscheck)\b"
# What the seed may bring up: a pattern for the expression, one for Exim's answer, one for ours, and the reason.
EXPECTED_OF_SEED = (
    (r"hash|json|utf8_domain_from|imapfolder|match_|prvscheck", r"Exim has died of it", r"", EXIM_DIES),
    (r"\$\{extract jsons?\{", r"", r"Failed: (bad|missing).* JSON", STRICT_JSON),
    (r"for(any|all)|filter|bool(_lax)?\{", r"Failed: .*(inside|boolean|curly)", r"(?!Failed)", NOT_EVALUATED),
    (r"for(any|all)\S*\{.*\$[0-9]", r"(?!Failed)", r"(?!Failed)", NOT_EVALUATED),
    (
        r"(reduce|map|filter)\{\}",
        r"",
        r"(?!Failed)",
        "Exim evaluates what a loop over nothing holds, and keeps what it set",
    ),
    (r"imapfolder", r"Failed: IMAP folder separator", r"(?!Failed)", NOT_EVALUATED),
    (r"match_address\{.*\$value", r"(?!Failed)", r"(?!Failed)", GARBLED),
    (r"\$\{addresses:", r"(?!Failed)", r"(?!Failed)", "words before a colon that begins no group are skipped"),
    (r"\$\{sort\{", r"(?!Failed)", r"Failed: comparator", "mistakes in parts that are left out are mistakes"),
    (LEAVES_OUT, r"(?!Failed)", r"Failed: unknown ", "mistakes in parts that are left out are mistakes"),
    (r"\^\*", r"Failed: regular expression", r"(?!Failed)", "the engine for patterns takes a repeated anchor"),
    (
        r"(match|sg)\{.*\[\\?:alpha:",
        r"Failed: regular expression",
        r"(?!Failed)",
        "the engine for patterns takes a class outside of a set",
    ),
    (r"ipv6norm:[0-9.]+\}", r"(?!Failed)", r"(?!Failed)", "Exim puts an octet of zeros behind an address that it maps"),
    (r"base64d:", r"(?!Failed)", r"(?!Failed)", "an octet of zeros ends a text in C"),
    (r"\$\{sort\{::", r"(?!Failed)", r"(?!Failed)", "Exim joins sorted items otherwise than those of other lists"),
    (r"\$\{sort\{a: :b\}", r"(?!Failed)", r"(?!Failed)", "Exim loses an empty item when it sorts"),
    (r"_[a-z0-9A-Z!]*:", r"(?!Failed)", r"Failed: .*does not take an _arg", NEWER),
)


def reason(difference: oracle.Difference) -> str:
    """Why the answers to an expression of the seed may differ; empty where nobody knows."""
    given = (
        difference.expression,
        difference.theirs.decode(errors="replace"),
        difference.ours.decode(errors="replace"),
    )
    for *patterns, why in EXPECTED_OF_SEED:
        finds = (re.search, re.match, re.match)
        if all(find(pattern, text) for find, pattern, text in zip(finds, patterns, given, strict=True)):
            return why
    return ""


def shown(found: list[oracle.Difference]) -> str:
    return "\n".join(map(str, found))


@pytest.mark.parametrize(
    "start, names",
    [
        (r"\$\{", {*items.CALLS, "sg", *items.CHOICES, "extract", "listextract", "filter", "map", "reduce", "sort"}),
        (r"\$\{", {name for name in operators.OPERATORS if name not in NOT_IN_EXIM}),
        (r"[\s!{]", {*conditions.CHECKS, *forms.GROUPS, *forms.LIST_MEMBERSHIP, *forms.QUANTIFIERS} - NOT_COMPARED),
    ],
    ids=["items", "operators", "conditions"],
)
def test_all_that_we_serve_occurs(start: str, names: set[str]) -> None:
    expressions = corpus.expressions()
    for name in sorted(names):
        used = re.compile(rf"{start}{re.escape(name)}(?![A-Za-z0-9=])")
        assert any(used.search(each) for each in expressions), name


@pytest.mark.interop("exim")
def test_expressions_by_hand(record_property: Record) -> None:
    found = oracle.differences(corpus.expressions())
    values = [each for each in found if not each.is_of_messages]
    record_property("messages that differ", len(found) - len(values))
    unexpected = [each for each in values if each.expression not in EXPECTED_DIFFERENCES]
    assert not unexpected, shown(unexpected)
    assert set(EXPECTED_DIFFERENCES) == {each.expression for each in values}, "some differ no longer"


@pytest.mark.interop("exim")
@pytest.mark.slow
def test_expressions_of_a_seed(record_property: Record) -> None:
    found = oracle.differences(grammar.Grammar(SEED).expressions(COUNT))
    values = [each for each in found if not each.is_of_messages]
    record_property("messages that differ", len(found) - len(values))
    unexpected = [each for each in values if not reason(each)]
    assert not unexpected, f"seed {SEED}\n{shown(unexpected)}"
    assert len(values) <= COUNT // 100, f"seed {SEED}\n{shown(values)}"
