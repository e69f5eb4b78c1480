"""ACLs and the dialogs that they decide, played by the real Exim and by ours."""

import difflib
import functools
import re

import pytest

from relay.policy.acl_values import Verb

from interop import acl_corpus, acl_oracle
from interop.acl_oracle import Difference

YOUNGER = "Exim has changed this since 4.96"
UNREADABLE = "to Exim a file that can't be opened is a mistake of the configuration, to ours a lookup without an answer"
IN_A_LIST = "Exim writes a line of its own about a list that can't be expanded; ours has it in the refusal"
WORDS = "Exim cuts the words of `acl =` at blanks even inside of braces"
ASCII_ONLY = "what is not printable US-ASCII is escaped in replies and in the log"
ONE_LINE = "a line break in a text for the log is escaped"
ADDED = "the line breaks of $headers_added are those of a text from outside: blanks where fields or replies are made"
EMPTY_LINE = "the log text begins with an empty line, of which Exim leaves the colon"
NO_NAME = "Exim looks for the client's name as soon as an expansion names it, and says that there is none"
INNER = "ours names the mistake, Exim that there was one"
CONTROL = "Exim takes options of `control = queue` that it does not know for none"
STRICT = "arguments that are no addresses are refused alike, by other words or at another place"
COMMAND = "$smtp_command and $smtp_command_argument are not there yet"
SIZES = "sizes and counts of lines are those of what came, with CRLF and our trace field"
CASES = "$original_local_part is there in ACLs too"
HISTORY = "the line about a client that makes too many mistakes lacks the commands and the ident"
SYNTAX = "what is logged of syntax errors: Exim has greetings, ours has addresses without a domain"
TOO_MANY = "other words in the log about too many recipients"
BANNER = "the usual banner has the primary host name"
UNTRUE = "other words in the log about a greeting that is not true, and the next command gets another 503"
REJECTED_HEADER = "ours does not write the header of a refused message into the log"
PROTOCOL = "a client that was given by -oMa has the protocol of a local one"
QUIT = "texts of the ACLs for the end: codes in them are taken as anywhere, a refusal's text is not shown"
LENIENT = "blanks around the names of logs are no mistake, and neither is an empty text"
ROUNDING = "the rate falls by a few milliseconds' worth between two commands"
AT_DATA = "the reply to DATA behind refused recipients names their refusal"
PASSES_ON = "the text of a redirection's :defer: is not passed on to the client"
HEADER = "a line whose name is not US-ASCII ends the header section; an empty address is allowed"

DEFERS = "an ACL that defers inside of an expansion is a forced failure there, which lets an accept hold; ours defers"

# What stands in the case (ACLs, their texts, options), a differing line ("-" Exim's, "+" ours), and the reason.
EXPECTED_DIFFERENCES = (
    (r"(?s)acl\{\{?CASE_later|\$\{(if )?acl\{.*\bdefer\b", r"^[-+] ", DEFERS),
    (r"", r"^[-+] .*Warning: ACL .warn. statement skipped", YOUNGER),
    (r"encrypted = ", r"^[-+] (250 .* Hello|451 |550 |.*rejected EHLO or HELO)", YOUNGER),
    (r"expn|EXPN", r"^[-+] 55[03] \S+ is undeliverable", YOUNGER),
    (r"lsearch\{DIR/none\}", r"^- failed to expand \"\$\{lookup.* while checking a list", IN_A_LIST),
    (r"warn[^|]*lsearch\{DIR/none\}|deny condition = \$\{lookup\{x\}lsearch\{DIR/none", r"^[-+] ", UNREADABLE),
    (r"acl = (\$\{if|CASE_in \$sender_address \$\{lc:A B)", r"^[-+] ", WORDS),
    (r"[\r\t]|\\[rt]|\xfc", r"^[-+] .*(one|gr).*", ASCII_ONLY),
    (r"\\n|long ", r"^[-+] configured error code|^- EHLO/HELO response must not contain newlines", ONE_LINE),
    (r"551 5\.7\.1 long", r"^[-+] .*temporarily rejected", ONE_LINE),
    (r"headers_added|add_header|h_x-", r"^[-+] .*(X-A|X-B|X-ACL-Warn|two|\[?one$)", ADDED),
    (r"message = \\none", r"^[-+] .* rejected RCPT", EMPTY_LINE),
    (r"sender_host_name|verify = helo|reverse_host", r"^- .*no host name found|^[-+] .*zz -1 0 <> <[01]>", NO_NAME),
    (r"acl\{(CASE_|nosuch)", r"^[-+] .*(ERROR from acl|unknown ACL verb)", INNER),
    (r"control = queue/x", r"^[-+] ", CONTROL),
    (r"vrfy|expn|etrn", r"^[-+] (501 |250 <|458 <>|.*ETRN |252 <)", STRICT),
    (r"smtp_command", r"^[-+] ", COMMAND),
    (r"message_linecount", r"^[-+] ", SIZES),
    (r"original_local_part", r"^[-+] ", CASES),
    (r"logwrite = :(reject(\||$)| main)", r"^[-+] ", LENIENT),
    # What sessions say beside their ACLs
    (r"", r"^[-+] .*dropped: too many (syntax|unrecognized)", HISTORY),
    (r"", r"^- rejected [EH]..O from .*: syntactically invalid|^[-+] .*address must contain a domain$", SYNTAX),
    (r"recipients_max", r"^[-+] .*(too many recipients: excess|excess recipients: too many)", TOO_MANY),
    (r"smtp_active_hostname", r"^[-+] 220 ", BANNER),
    (r"helo_verify_hosts", r"^[-+] (503|.*(no HELO/EHLO given|rejected \"EHLO|no host name))", UNTRUE),
    (r"acl_smtp_mail|helo", r"^[-+] 503", AT_DATA),
    (r"at data", r"^- reject: ", REJECTED_HEADER),
    (r"", r"^[-+] main: <= .* P=(local-)?smtp S=N$", PROTOCOL),
    (r"^quit", r"^[-+] (221|250) ", QUIT),
    (r"^notquit", r"^[-+] 421 ", QUIT),
    (r"ratelimit = 1\$", r"is not a time value$", INNER),
    (r"ratelimit", r"^[-+] .*over \S+ \d+$", ROUNDING),
    (r"log_message = \$headers_added", r"^[-+] 503", AT_DATA),
    (
        r"verify = recipient",
        r"^[-+] (451 |550 |.* )(ask again|Temporary local|Administrative|rejected RCPT <x@later.test>)",
        PASSES_ON,
    ),
    (r"header_(names_ascii|syntax|sender)", r"^[-+] (.* rejected after DATA|550 )", HEADER),
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
