"""ACLs and the dialogs that they decide, played by the real Exim and by ours."""

import difflib
import functools
import re

import pytest

from relay.policy.acl_values import Verb

from interop import acl_corpus, acl_oracle
from interop.acl_oracle import Difference

YOUNGER = "Exim has changed this since 4.96"
IN_A_LIST = "Exim writes a line of its own about a list that can't be expanded; ours has it in the refusal"
WORDS = "Exim cuts the words of `acl =` at blanks even inside of braces"
ASCII_ONLY = "what is not printable US-ASCII is escaped in replies and in the log"
ONE_LINE = "a line break in a text for the log is escaped"
ADDED = "the line breaks of $headers_added are those of a text from outside: blanks where fields or replies are made"
EMPTY_LINE = "the log text begins with an empty line, of which Exim leaves the colon"
NO_NAME = "that a name was looked for in vain is seen by the next expansion, not by the same one"
INNER = "ours names the mistake, Exim that there was one"
STRICT = "Exim shows `<@DOMAIN>` where EXPN has no argument"
UNOFFERED = "parameters that HELO does not allow get 555 (RFC 5321 4.1.1.11), from Exim a complaint of the address"
CASES = "$original_local_part is there in ACLs too"
UNTRUE = "a greeting that was refused names nobody in later lines"
FOLDED = "Received: is not folded before the address where there are a name, a greeting and an ident"
QUIT = "texts of the ACLs for the end: codes in them are taken as anywhere, a refusal's text is not shown"
LENIENT = "blanks around the names of logs are no mistake, and neither is an empty text"
ROUNDING = "the rate falls by a few milliseconds' worth between two commands"

DEFERS = "an ACL that defers inside of an expansion is a forced failure there, which lets an accept hold; ours defers"

# What stands in the case (ACLs, their texts, options), a differing line ("-" Exim's, "+" ours), and the reason.
EXPECTED_DIFFERENCES = (
    (r"(?s)acl\{\{?CASE_later|\$\{(if )?acl\{.*\bdefer\b", r"^[-+] ", DEFERS),
    (r"", r"^[-+] .*Warning: ACL .warn. statement skipped", YOUNGER),
    (r"", r"^\+ qualify/rewrite: ", YOUNGER),
    (r"encrypted = ", r"^[-+] (250 .* Hello|451 |550 |.*rejected EHLO or HELO)", YOUNGER),
    (r"expn|EXPN", r"^[-+] 55[03] \S+ is undeliverable", YOUNGER),
    (r"lsearch\{DIR/none\}", r"^- failed to expand \"\$\{lookup.* while checking a list", IN_A_LIST),
    (r"acl = (\$\{if|CASE_in \$sender_address \$\{lc:A B)", r"^[-+] ", WORDS),
    (r"[\r\t]|\\[rt]|\xfc|\xe4", r"^[-+] .*(one|gr|Subj).*", ASCII_ONLY),
    (r"\\n|long ", r"^[-+] configured error code|^- EHLO/HELO response must not contain newlines", ONE_LINE),
    (r"551 5\.7\.1 long", r"^[-+] .*temporarily rejected", ONE_LINE),
    (r"headers_added|add_header|h_x-", r"^[-+] .*(X-A|X-B|X-ACL-Warn|two|\[?one$)", ADDED),
    (r"message = \\none", r"^[-+] .* rejected RCPT", EMPTY_LINE),
    (r"sender_host_name|verify = helo|reverse_host", r"^[-+] .*zz -1 0 <> <[01]>", NO_NAME),
    (r"acl\{(CASE_|nosuch)", r"^[-+] .*(ERROR from acl|unknown ACL verb)", INNER),
    (r"EXPN", r"^[-+] (501 empty|250 <@)", STRICT),
    (r"SIZE=", r"^[-+] (501 .*SIZE=|555 )", UNOFFERED),
    (r"original_local_part", r"^[-+] ", CASES),
    (r"logwrite = :(reject(\||$)| main)", r"^[-+] ", LENIENT),
    # What sessions say beside their ACLs
    (r"helo_verify_hosts", r"^[-+] .*no HELO/EHLO given", UNTRUE),
    (r"at data", r"^[-+] reject: (P Received: from|\t\()", FOLDED),
    (r"^quit", r"^[-+] (221|250) ", QUIT),
    (r"^notquit", r"^[-+] 421 ", QUIT),
    (r"ratelimit = 1\$", r"is not a time value$", INNER),
    (r"ratelimit", r"^[-+] .*(over \S+ \d+|under \d+/\d+/\S+)$", ROUNDING),
)


def _described(difference: Difference) -> str:
    case = difference.case
    return "|".join((*case.acls, *case.acls.values(), case.more, case.options, *case.say))


def reasons(difference: Difference) -> set[str]:
    """Why each of the lines may differ; with an empty one where nobody knows."""
    described = _described(difference)
    found = set()
    for theirs, ours in (
        (difference.theirs.replies, difference.ours.replies),
        (difference.theirs.log, difference.ours.log),
    ):
        for line in difflib.ndiff(theirs, ours):
            if line[0] in "-+":
                matching = (
                    why
                    for inside, pattern, why in EXPECTED_DIFFERENCES
                    if re.search(inside, described) and re.search(pattern, line)
                )
                found.add(next(matching, ""))
    return found


def test_every_verb_and_many_acls_occur() -> None:
    cases = acl_corpus.cases()
    assert len(cases) > 2500
    written = "\n".join(text for each in cases for text in each.acls.values())
    for verb in Verb:
        assert re.search(rf"^{verb.value}\b", written, re.MULTILINE), verb


@functools.cache
def _differences(*, alone: bool) -> tuple[Difference, ...]:
    return tuple(acl_oracle.differences([each for each in acl_corpus.cases() if each.alone is alone]))


@pytest.mark.interop("exim")
@pytest.mark.parametrize("alone", [False, True], ids=["in one session", "in sessions of their own"])
def test_acls(alone: bool) -> None:
    unexpected = [each for each in _differences(alone=alone) if "" in reasons(each)]
    assert not unexpected, "\n\n".join(map(str, unexpected))


@pytest.mark.interop("exim")
def test_what_is_expected_occurs() -> None:
    found = {why for alone in (False, True) for each in _differences(alone=alone) for why in reasons(each)}
    # How much time goes by between two commands is not the same each time.
    unused = {why for *_, why in EXPECTED_DIFFERENCES} - found - {ROUNDING}
    assert not unused, "some differ no longer"
