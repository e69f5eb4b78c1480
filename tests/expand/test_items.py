"""What is refused when the text is read, and some edges of items and operators."""

from __future__ import annotations

import pytest

from relay.expand.errors import ExpansionError
from relay.expand.evaluate import compile_expansion
from relay.expand.variables import find, hint, names
from relay.mail.facts import LocalCaller, SessionFacts


@pytest.mark.parametrize(
    "text, why",
    [
        ("${run{/bin/true}}", "running a command is not permitted"),
        ("${run,preexpand {/bin/true}{a}{b}}", "running a command is not permitted"),
        ("${readsocket{/run/x}{y}}", "socket insertions are not permitted"),
        ("${dlfunc{/x.so}{f}}", "not included in this binary"),
        ("${perl{f}}", "not included in this binary"),
        ("${srs_encode{a}{b}{c}}", "SRS is not served here"),
        ("${if inbound_srs{a}{b}{y}}", 'support for "inbound_srs" not compiled'),
        ("${if pam{a:b}{y}}", 'support for "pam" not compiled'),
        ("${if radius{a:b}{y}}", 'support for "radius" not compiled'),
        ("${if ldapauth{x}{y}}", 'support for "ldapauth" not compiled'),
        ("${if pwcheck{a:b}{y}}", 'support for "pwcheck" not compiled'),
        ("${if saslauthd{{a}{b}}{y}}", 'support for "saslauthd" not compiled'),
        ("${quote_mysql:x}", 'unknown lookup type "mysql"'),
        ("${quote_sqlite_x:x}", '"x" unrecognized after "${quote_sqlite"'),
        ("$spf_result", "SPF, DKIM, DMARC and ARC are not checked here"),
        ("${dkim_verify_status}", "SPF, DKIM, DMARC and ARC are not checked here"),
        ("$spam_score", "messages are not scanned here"),
        ("${if def:mime_filename{y}}", "messages are not scanned here"),
    ],
)
def test_what_is_refused_when_it_is_read(text: str, why: str) -> None:
    with pytest.raises(ExpansionError) as raised:
        compile_expansion(text)
    assert why in raised.value.message


def test_a_variable_is_there_or_says_why_not() -> None:
    assert not [name for name in names() if find(name) is None or (hint(name) and "acl" not in name)]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("${randint:1}${randint:0}", "00"),
        ("${randint:}", 'Failed: integer expected but "" found'),
        ("${if <{${randint:3}}{3}{y}{n}}", "y"),
        ("${headerwrap_24:one two three four five six}", "one two three four five\n\tsix"),
        ("${headerwrap_40_3:one two}", "one two"),
        ("${sg{abc}{x}{\\$<}}", "abc"),
        ("${extract{1}{:}{a:b}{x}{y}{z}}", "Failed: missing '}' closing extract"),
        ("${map{<} a,b}{$item}}", "Failed: missing '{' for last arg of map"),
        ("${map{<\\} a\\}b}{[$item]}}", "[a]}[b]"),
        ("${map{<", "Failed: missing } at end of string"),
        ("${if match{abc}{(b)}{${if match_domain{a}{b}{}{[$0|$1]}}}}", "[|]"),
        ("${if match{abc}{(b)}{${if match_domain{a}{!a}{}{[$0|$1]}}}}", "[a|]"),
        ("${if match{abc}{(b)}{${if match_domain{a}{}{}{[$0|$1]}}}}", "[b|b]"),
        ("${if match{abc}{(b)}{${if match_address{a@b}{*@b}{[$0|$1]}}}}", "[|]"),
        ("${if match{abc}{(b)}{${if match_ip{10.0.0.1}{10.0.0.1}{[$0|$1]}}}}", "[b|b]"),
        ("${if match_address{ann}{^a}{y}{n}}", "n"),
        ("$bounce_return_size_limit $smtp_active_hostname", "102400 relay.test"),
        ("$local_user_uid $spool_space $load_average", "4294967295 -1 -1"),
        ("<$received_protocol$authenticated_id$authenticated_sender>", "<>"),
    ],
)
def test_edges(expand, text: str, wanted: str) -> None:
    assert expand(text) == wanted


def test_a_local_caller_is_the_authenticated_one(expand) -> None:
    session = SessionFacts(caller=LocalCaller("ann", 1, 1))
    described = SessionFacts(given_protocol="scanned-ok")
    assert expand("$received_protocol", session=described) == "scanned-ok"
    text = "$authenticated_id $authenticated_sender $received_protocol"
    assert expand(text, session=session) == "ann ann@relay.test local"
    given = {"session": session, "more": {"authenticated_sender": "bob@other.test"}}
    assert expand("$authenticated_sender", **given) == "bob@other.test"


def test_the_caller_s_values(expand) -> None:
    more = {"spool_space": "17", "smtp_count_at_connection_start": "5", "atrn_host": "x.test"}
    assert expand("$spool_space $smtp_count_at_connection_start $atrn_host", more=more) == "17 5 x.test"


def test_the_length_of_the_queue(expand) -> None:
    async def counted() -> int:
        return 3

    assert expand("${if >{$queue_size}{2}{$queue_size}}", queue_size=counted) == "3"
    assert expand("<$queue_size>") == "<>"
    assert expand("$config_dir", main={"config_file": "/etc/relay/relay.conf"}) == "/etc/relay"
