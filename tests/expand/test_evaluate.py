"""Expansions: the answers that Exim gives, and the rules that are ours."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.errors import ExpansionError, ForcedFailure
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import DEPTH_LIMIT, MessageView, Scope
from relay.expand.values import Tainted, is_tainted
from relay.mail.address import Address
from relay.mail.facts import Certificate, Endpoint, Hello, SessionFacts, TLSFacts
from relay.mail.ports import TemporaryFailure

CERTIFICATE = Certificate(b"not really DER", "/CN=laptop.test", "/CN=laptop.test", "C0FFEE")
FINGERPRINT = hashlib.sha256(CERTIFICATE.der).hexdigest().upper()
WITH_CERTIFICATE = SessionFacts(
    peer=Endpoint("192.0.2.1", 4711),
    hello=Hello("laptop.test", True),
    tls=TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, peer=CERTIFICATE),
)
WITHOUT_CERTIFICATE = SessionFacts(tls=TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256))

# What `exim -be` of Exim 4.96 answers.
ORACLE = [
    ("${sha256:abc}", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
    ("${if inlist{x}{a:b}{yes}{no}}", "no"),
    ("${if inlisti{B}{a : b : c}{yes:$item}{no}}", "yes:"),
    ("${if =={25}{25}{DEFAULT}{HIGH:!MD5:!SHA1}}", "DEFAULT"),
    ("${if =={26}{25}{DEFAULT}{HIGH:!MD5:!SHA1}}", "HIGH:!MD5:!SHA1"),
    ("${if match_ip{10.1.2.3}{10.0.0.0/8}{in}{out}}", "in"),
    ("${if match_ip{10.1.2.3}{!10.1.0.0/16 : 10.0.0.0/8}{in}{out}}", "out"),
    ("${if match_ip{127.0.0.1}{@[]}{in}{out}}", "in"),
    ("${if match_ip{::1}{<; ::1 ; 127.0.0.1}{in}{out}}", "in"),
    ("${if match_ip{host.name}{10.0.0.0/8}{in}{out}}", 'Failed: "host.name" is not an IP address'),
    ('${extract{o}{cn=foo o="a b" x=1}}', "a b"),
    ("${extract{-1}{:}{a:b:c}}", "c"),
    ("${extract{zz}{cn=foo}{found $value}fail}", 'Failed: "extract" failed and "fail" requested'),
    ("${if def:tls_in_peercert{yes}{no}}", "no"),
    ("${reduce {<, 1,2,3}{0}{${eval:$value+$item}}}", "6"),
    ("${if >={1K}{1024}{ge}{lt}}", "ge"),
    ("$nosuchvariable", 'Failed: unknown variable name "nosuchvariable"'),
]

# Further ones, not yet asked of a running Exim: some are in its test suite (test/stdout/0002), the others follow from
# its sources (expand.c).
FURTHER = [
    ("${unknown}", 'Failed: unknown variable in "${unknown}"'),
    ("${nosuch:x}", 'Failed: unknown expansion operator "nosuch"'),
    ("${if def:nosuch{a}}", 'Failed: unknown variable "nosuch" after "def:"'),
    (
        "${address_domain:x@y}",
        'Failed: unknown expansion operator "address_domain" ("address" does not take an _arg)',
    ),
    ("${if eq{a}{b}{c", "Failed: missing } at end of string"),
    ("$!", "Failed: $ not followed by letter, digit, or {"),
    ("a\\", "Failed: \\ at end of string"),
    ("\\x41\\102\\n\\N$x\\t{\\Nz", "AB\n$x\\t{z"),
    ("${if def:h_xyz}{y}{n}}", "Failed: missing or misplaced { or } - could be header name not terminated by colon"),
    ("${md5:}", hashlib.md5(b"").hexdigest()),
    ("${sha1:abc}", "A9993E364706816ABA3E25717850C26C9CD0D89D"),
    ("${hash_3:monty}", "jmg"),
    ("${nhash_24:monty}", "19"),
    ("${nhash_8_63:monty python}", "0/61"),
    ("${length_9:The quick brown}", "The quick"),
    ("${substr_-5_2:rhubarb}", "ub"),
    ("${substr_3:rhubarb}", "barb"),
    ("${substr_-1:12345}", "1234"),
    ("${substr_1_:12345}", 'Failed: non-digit after underscore in "substr_1_"'),
    ("${mask:192.168.10.206/28}", "192.168.10.192/28"),
    ("${mask:192.168.10.206/33}", 'Failed: mask value too big in "192.168.10.206/33"'),
    ("${mask:2a00:2:3:4:5:6:7:8/79}", "2a00.0002.0003.0004.0004.0000.0000.0000/79"),
    ("${ipv6norm:2a00:eadf:0:0:0:0:1:0}", "2a00:eadf::1:0"),
    ("${ipv6denorm:192.168.0.1}", "0000:0000:0000:0000:0000:ffff:c0a8:0001"),
    ("${eval:1+2*3}", "7"),
    ("${eval:0x10+010}", "24"),
    ("${eval10:010}", "10"),
    ("${eval:-7/2}", "-3"),
    (
        "${eval:}",
        'Failed: error in expression evaluation: expecting number or opening parenthesis (after processing "")',
    ),
    ("${eval:1/0}", 'Failed: error in expression evaluation: divide by zero (after processing "1/0")'),
    ("${if <{1z}{2}{a}}", 'Failed: invalid integer "1z"'),
    ("${if ={}{0}{zero}}", "zero"),
    ("${if bool{2x}{a}}", 'Failed: unrecognised boolean value "2x"'),
    ("${if bool{00}{a}{b}}", "b"),
    ("${if bool_lax{00}{a}{b}}", "a"),
    ("${if and{{eq{a}{a}}{or{{eq{1}{2}}{!eq{1}{2}}}}}{yes}{no}}", "yes"),
    ("${if and{eq{a}{a}}{x}}", 'Failed: each subcondition inside an "and{...}" condition must be in its own {}'),
    ("${if match{abcd}{^(a)(b)}{$2$1$0}fail}", "baab"),
    ("${if match{abcd}{^x}{y}}", ""),
    ("${if eq{a}{a}}", "true"),
    ("${if eq{a}{b}{x} fail}", 'Failed: "if" failed and "fail" requested'),
    ("${if eq{a}{a}{x} fail}", "x"),
    ("${if eq{a}{a}{x} flail}", 'Failed: syntax error in "if" item - "fail" expected'),
    ("${sg{abcdefabcdef}{abc}{\\$0x}}", "abcxdefabcxdef"),
    ("${sg{abc}{x*}{-}}", "-a-b-c-"),
    ("${tr{abcdea}{ac}{13}}", "1b3de1"),
    ("${tr{abc}{ab}{}}", "abc"),
    ("${map{<, a,b,c}{[$item]}}", "[a],[b],[c]"),
    ("${map{a:b}{:$item:}}", "::a::: ::b::"),
    ("${filter{a:b:c}{!eq{$item}{b}}}", "a:c"),
    ("${filter{<' a'b'c}{!eq{$item}{b}}}", "a'c"),
    ("${sort{3:2:1:4}{<}{$item}}", "1:2:3:4"),
    ("${listcount:a:b:c}", "3"),
    ("${listcount:<;a;b::;c}", "3"),
    ("${listextract{-1}{a:b:c}}", "c"),
    ("${listextract{4}{a:b:c}{x}{none}}", "none"),
    ("${listquote{:}{ab:cd}}", "ab::cd"),
    ("${if forany{a:b}{eq{$item}{b}}{yes}{no}}", "yes"),
    ("${if forall{}{eq{$item}{b}}{yes}{no}}", "no"),
    ("${extract{2}{,}{a,b,c}{<$value>}{none}}", "<b>"),
    ("${extract{7}{,}{a,b,c}{<$value>}{none}}", "none"),
    ('${extract json{b}{ \\{"a":1, "b": [2,3]\\} }}', "[2,3]"),
    ('${extract jsons{1}{["x"]}}', "x"),
    ("${quote:abc d}", '"abc d"'),
    ("${quote_local_part:x@y}", '"x@y"'),
    ("${rxquote:a.b}", "a\\.b"),
    ("${hexquote:a b}", "a\\x20b"),
    ("${str2b64:abcd}", "YWJjZA=="),
    ("${base64d:YWJjZA==}", "abcd"),
    ("${hex2b64:1a2b3c4d5e6g}", 'Failed: "1a2b3c4d5e6g" is not a hex string'),
    ("${strlen:\\xc3\\xbc}", "2"),
    ("${uc:abc\\xc3\\xbc}", "ABCü"),
    ("${time_eval:1d5m}", "86700"),
    ("${time_interval:86700}", "1d5m"),
    ("${local_part:Some One <a.b@c.d>}", "a.b"),
    ("${domain:Some One <a.b@c.d>}", "c.d"),
    ("${hmac{md5}{somesecret}{mail.example.com 2002-10-17 11:30:59}}", "dd97e3ba5d1a61b5006108f8c8252953"),
    ("${lc:${uc:abC}}", "abc"),
    ("${reverse_ip:192.0.2.4}", "4.2.0.192"),
    ("${tod_zulu}", "20010909014640Z"),
    ("$primary_hostname:$1:${2}:$value", "relay.test:::"),
    ("$acl_c_unset+$acl_m9", "+"),
    (
        "$acl_cx",
        (
            'Failed: unknown variable name "acl_cx" '
            "(6th character of a user-defined ACL variable must be a digit or underscore)"
        ),
    ),
]


@pytest.mark.parametrize("text, wanted", [*ORACLE, *FURTHER])
def test_answers_as_exim(expand, text, wanted):
    assert expand(text) == wanted


class TestCertificates:
    """The wiki page's condition, and the trap that Exim has and we have not."""

    def test_the_fingerprint_is_upper_case_hex(self, expand):
        assert expand("${sha256:$tls_in_peercert}", session=WITH_CERTIFICATE) == FINGERPRINT

    @pytest.mark.parametrize("session", [SessionFacts(), WITHOUT_CERTIFICATE])
    def test_without_a_certificate_it_is_empty(self, expand, session):
        assert expand("[${sha256:$tls_in_peercert}]", session=session) == "[]"

    @pytest.mark.parametrize("text", ["A : %s : B", "%s", "<; x ; %s"])
    def test_a_listed_certificate_is_found(self, expand, text):
        condition = "${if inlist{${sha256:$tls_in_peercert}}{" + text.replace("%s", FINGERPRINT) + "}}"
        assert expand(condition, session=WITH_CERTIFICATE) == "true"
        assert expand(condition, session=WITHOUT_CERTIFICATE) == ""

    @pytest.mark.parametrize("text", ["", ":", "A : : B", ": A", "$acl_c_list"])
    @pytest.mark.parametrize("name", ["inlist", "inlisti"])
    def test_no_certificate_is_in_no_list(self, expand, name, text):
        condition = "${if " + name + "{${sha256:$tls_in_peercert}}{" + text + "}}"
        assert expand(condition, session=WITHOUT_CERTIFICATE, acl_variables={"acl_c_list": "A : : B"}) == ""

    def test_an_empty_text_is_in_a_list_with_an_empty_item(self, expand):
        assert expand("${if inlist{}{A : : B}}") == "true"

    def test_as_text_it_is_a_word(self, expand):
        assert expand("$tls_in_peercert", session=WITH_CERTIFICATE) == "<cert>"

    def test_the_value_is_the_certificate(self, run):
        value = run(compile_expansion("$tls_in_peercert").value(Scope(session=WITH_CERTIFICATE)))
        assert value is CERTIFICATE

    def test_the_key_digest_is_ours(self, expand):
        assert expand("${spki:$tls_in_peercert}", session=WITH_CERTIFICATE) == "C0FFEE"

    def test_names_used_tells_of_sni(self):
        assert "tls_in_sni" in compile_expansion("/etc/${if def:tls_in_sni{$tls_in_sni}{x}}.pem").names_used


class TestFailures:
    """An empty string, a forced failure and a failed lookup are three things."""

    def test_three_results(self, run, fake_lookups):
        scope = Scope(lookups=fake_lookups({("lsearch", "k", "/f"): None}))
        assert run(compile_expansion("${lookup{k}lsearch{/f}}").text(scope)) == ""
        with pytest.raises(ForcedFailure):
            run(compile_expansion("${lookup{k}lsearch{/f}{$value}fail}").text(scope))
        with pytest.raises(TemporaryFailure):
            run(compile_expansion("${lookup{k}lsearch{/nonexistent}{$value}{none}}").text(scope))

    def test_value_is_the_lookup_s_and_then_the_outer_one(self, expand, fake_lookups):
        lookups = fake_lookups({("lsearch", "k", "/f"): "one", ("lsearch", "x", "/f"): None})
        assert expand("${lookup{k}lsearch{/f}{[$value]}{none}}", lookups=lookups, value="outer") == "[one]"
        assert expand("${lookup{x}lsearch{/f}{[$value]}{<$value>}}", lookups=lookups, value="outer") == "<outer>"

    def test_query_style(self, expand, fake_lookups):
        lookups = fake_lookups({("dnsdb", "mx=a.test", ""): "10 m.test"})
        assert expand("${lookup dnsdb{mx=a.test}}", lookups=lookups) == "10 m.test"

    @pytest.mark.parametrize(
        "text, message",
        [
            ("${lookup{a}nosuch{/f}}", 'unknown lookup type "nosuch"'),
            ("${lookup lsearch{/f}}", 'missing {key} for single-key "lsearch" lookup'),
            ("${lookup{a}mysql{select}}", 'lookup type "mysql" is not available here'),
        ],
    )
    def test_bad_lookups_are_found_when_read(self, text, message):
        with pytest.raises(ExpansionError, match=message.replace("{", "\\{")):
            compile_expansion(text)

    def test_the_branch_not_taken_is_not_evaluated(self, expand, fake_lookups):
        assert expand("${if eq{a}{b}{${lookup{k}lsearch{/nonexistent}}}{other}}", lookups=fake_lookups()) == "other"

    def test_errors_say_where(self):
        with pytest.raises(ExpansionError) as caught:
            compile_expansion("abc ${lc:$nosuch} x")
        start, end = caught.value.span
        assert "abc ${lc:$nosuch} x"[start:end] == "$nosuch"
        assert caught.value.underline("abc ${lc:$nosuch} x").splitlines()[1] == " " * 9 + "^" * 7


class TestTaint:
    """Text from outside stays marked through everything but hashes and numbers."""

    SCOPE = Scope(
        session=SessionFacts(hello=Hello("${lc:X}", True), peer=Endpoint("192.0.2.1", 25)),
        message=MessageView(sender=Address("a:b", "c.test")),
        main={"primary_hostname": "relay.test"},
    )

    @pytest.mark.parametrize(
        "text",
        [
            "$sender_helo_name",
            "x${lc:$sender_helo_name}y",
            "${sg{$sender_helo_name}{b}{x}}",
            "${sg{abc}{b}{$sender_address}}",
            "${map{a:b}{$item$sender_helo_name}}",
            "${extract{1}{ }{$sender_helo_name x}}",
            "${if match{$sender_helo_name}{^(.)}{$1}}",
            "${base64:$sender_helo_name}",
            "${reduce{a:b}{}{$value$sender_helo_name}}",
            "${listextract{1}{$sender_helo_name}}",
            "$sender_address",
            "${tr{abc}{a}{$sender_helo_name}}",
            "${substr{0}{3}{$sender_helo_name}}",
            "${local_part:$sender_address}",
            "${quote:$sender_address}",
        ],
    )
    def test_it_stays(self, run, text):
        assert is_tainted(run(compile_expansion(text).value(self.SCOPE)))

    @pytest.mark.parametrize(
        "text",
        [
            "$primary_hostname",
            "$sender_host_address",
            "${sha256:$sender_helo_name}",
            "${strlen:$sender_helo_name}",
            "${nhash_7:$sender_helo_name}",
            "${if eq{$sender_helo_name}{x}{a}{b}}",
            "${mask:$sender_host_address/24}",
        ],
    )
    def test_it_goes(self, run, text):
        assert not is_tainted(run(compile_expansion(text).value(self.SCOPE)))

    def test_text_from_outside_is_not_expanded(self, expand):
        session = SessionFacts(hello=Hello("$primary_hostname", True))
        assert expand("$sender_helo_name", session=session) == "$primary_hostname"
        assert expand("${expand:$sender_helo_name}", session=session).startswith("Failed: attempt to expand tainted")
        assert expand("${sg{abc}{b}{$sender_helo_name}}", session=session).startswith("Failed: attempt to expand")
        with pytest.raises(ExpansionError):
            compile_expansion(Tainted("$primary_hostname"))

    def test_text_from_outside_names_no_file(self, expand, fake_lookups):
        session = SessionFacts(hello=Hello("/etc/passwd", True))
        shown = expand("${lookup{root}lsearch{$sender_helo_name}}", session=session, lookups=fake_lookups())
        assert shown.startswith("Failed: tainted filename for search '/etc/passwd'")

    @given(st.text(max_size=30))
    @settings(max_examples=60)
    def test_any_text_comes_through_untouched(self, run, text):
        session = SessionFacts(hello=Hello(text, True))
        assert run(compile_expansion("<$sender_helo_name>").text(Scope(session=session))) == f"<{text}>"


class TestBounds:
    def test_nesting(self):
        deep = "${lc:" * 500 + "x" + "}" * 500
        with pytest.raises(ExpansionError, match="nested too deeply"):
            compile_expansion(deep)

    def test_nesting_that_is_allowed_can_be_evaluated(self, expand):
        assert expand("${if eq{a}{a}{" * 60 + "x" + "}}" * 60) == "x"

    def test_expansions_of_expansions(self, expand):
        again = "${expand:$acl_c0}"
        assert "too deeply" in expand(again, acl_variables={"acl_c0": again})
        assert DEPTH_LIMIT < 100

    def test_size(self, expand):
        items = ":".join("a" for _ in range(60))
        assert expand("${reduce{" + items + "}{aaaa}{$value$value}}").startswith(
            "Failed: the expanded string is too long"
        )

    def test_steps(self, expand):
        items = ":".join("a" for _ in range(300))
        inner = "${map{$acl_c0}{${map{$acl_c0}{${map{$acl_c0}{${if eq{$item}{b}{x}}}}}}}}"
        assert expand("${strlen:" + inner + "}", acl_variables={"acl_c0": items}).startswith(
            "Failed: the expansion takes too many steps"
        )

    def test_patterns(self, expand):
        slow = expand("${if match{$acl_c0}{^(a|aa)+\\$}{y}}", acl_variables={"acl_c0": "a" * 80 + "b"})
        assert slow == 'Failed: regular expression "^(a|aa)+$" takes too long to match'


class TestVariables:
    def test_session(self, expand):
        text = "$sender_host_address:$sender_host_port $sender_helo_name $received_protocol $tls_in_cipher $tls_in_bits"
        assert expand(text, session=WITH_CERTIFICATE) == (
            "192.0.2.1:4711 laptop.test esmtps TLS1.3:TLS_AES_256_GCM_SHA384:256 256"
        )

    def test_old_names_are_the_inbound_ones(self, expand):
        assert expand("$tls_peerdn|$tls_certificate_verified", session=WITH_CERTIFICATE) == "/CN=laptop.test|0"

    def test_full_host(self, expand):
        named = SessionFacts(peer=Endpoint("192.0.2.1", 1), peer_host="a.test", hello=Hello("b.test", True))
        assert expand("$sender_fullhost|$sender_rcvhost", session=named) == (
            "a.test (b.test) [192.0.2.1]|a.test ([192.0.2.1] helo=b.test)"
        )
        unnamed = SessionFacts(peer=Endpoint("192.0.2.1", 1), hello=Hello("[192.0.2.1]", True))
        assert expand("$sender_fullhost|$sender_rcvhost", session=unnamed) == "([192.0.2.1]) [192.0.2.1]|[192.0.2.1]"

    def test_what_the_log_selector_says_of_ports_and_protocols(self, expand):
        main = {"log_incoming_port": "true", "log_tls_on_connect": "true"}
        session = SessionFacts(peer=Endpoint("192.0.2.1", 7), hello=Hello("b.test", True))
        text = "$sender_fullhost|$sender_rcvhost"
        assert expand(text, session=session, main=main) == "(b.test) [192.0.2.1]:7|[192.0.2.1] (port=7 helo=b.test)"
        named = replace(session, peer_host="a.test")
        assert expand(text, session=named, main=main) == (
            "a.test (b.test) [192.0.2.1]:7|a.test ([192.0.2.1]:7 helo=b.test)"
        )
        secure = replace(WITH_CERTIFICATE, tls_on_connect=True)
        assert expand("$received_protocol", session=secure) == "esmtps"
        assert expand("$received_protocol", session=secure, main=main) == "essmtp"

    def test_the_host_name_is_looked_up_and_confirmed(self, expand, fake_resolver):
        session = SessionFacts(peer=Endpoint("192.0.2.1", 1))
        forward = {"a.test": ("192.0.2.1",), "b.test": ("192.0.2.9",)}
        resolver = fake_resolver(forward, {"192.0.2.1": ("b.test", "a.test")})
        assert expand("$sender_host_name", session=session, resolver=resolver) == "a.test"

    def test_times(self, expand):
        main = {"timezone": "utc"}
        assert expand("$tod_full|$tod_log|$tod_epoch", main=main) == (
            "Sun, 09 Sep 2001 01:46:40 +0000|2001-09-09 01:46:40|1000000000"
        )


# Where ours once differed from what Exim 4.96 answers (tests/interop/test_language.py asks it).
LEARNT = [
    ("${address:a.}", "a."),
    ("${local_part:a\\\\xb@c}", "a\\xb"),
    ("${base62d:zzzzzzzzzzz}", "-3303671537291560961"),
    ("${if gti{}{x}{yes}{no}}", "yes"),
    ("${if lti{a}{AB}{yes}{no}}", "no"),
    ("${length{}{abcdef}}", ""),
    ("${substr{+1}{2}{abcdef}}", "bc"),
    ("${substr{}{1}{abcdef}}", "a"),
    ("${sort{a:b}{<}{$item}}", "a:b"),
    ("${sort{a:b}{lt}{}}", 'Failed: field-extract in sort: ""'),
    ("${listextract{-4}{a:b:c}{x}{none}}", "none"),
    ("${listextract{-9}{a:b:c}}", "a"),
    ("${address:ann@relay..test}", ""),
    ("${address:ann@relay.test.}", ""),
    ("${address:a..b@relay.test}", "a..b@relay.test"),
    ("${base32:}", ""),
    ("${base32:-1}", "p777777777777"),
    ("${base62:}", "000000"),
    ("${base62:12345678901234}", "LrOWLi"),
    ("${base62d:-}", 'Failed: argument for base62d operator is "-", which is not a base 62 number'),
    ("${escape:a\\tb\\nc}", "a\tb\\nc"),
    ("${eval:0x}", "0"),
    ("${eval:0xg}", "0"),
    ("${eval:-9223372036854775807-2}", "9223372036854775807"),
    (
        "${eval:9223372036854775807-1}",
        'Failed: error in expression evaluation: overflow in difference (after processing "9223372036854775807-1")',
    ),
    ("${hash_:monty}", ""),
    ("${length_3_2:abcdef}", 'Failed: non-digit after underscore in "length_3_2"'),
    ("${ipv6norm:1:2:3:4:5:6:7:0}", "1:2:3:4:5:6:7::"),
    ("${ipv6norm:0:1:2:3:4:5:6:7}", "::1:2:3:4:5:6:7"),
    ("${mask:10.1.2.3/}", "0.0.0.0/0"),
    ("${rfc2047:äöü}", "=?UTF-8?Q?=C3=A4=C3=B6=C3=BC?="),
    (f"${{rfc2047:{'ä' * 13}}}", f"=?UTF-8?Q?{'=C3=A4' * 10}?= =?UTF-8?Q?{'=C3=A4' * 3}?="),
    ("${time_eval:1s1m}", "61"),
    ("${utf8clean:\\xe2\\x82x\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80}", "?x??"),
    ("${if bool{-}{yes}{no}}", "no"),
    ("${if match_address{ann@relay.test}{relay.test}{$value}}", "@relay.test"),
    ("${if match_address{ann}{ann}{yes}{no}}", "no"),
    ("${if match_address{ann}{!x@y.test : *}{yes}{no}}", "no"),
    ("${if match_domain{relay.test}{^re(l)}{$0|$1}}", "relay.test|l"),
    ("${filter{a}{nosuch{b}}}", 'Failed: unknown condition "nosuch" inside "filter" item'),
    ("${filter{a}{={x}{1}}}", 'Failed: integer expected but "x" found inside "filter" condition'),
    (
        "${map{a}{${time_eval:x}}}",
        'Failed: string "x" is not an Exim time interval in "time_eval" operator inside "map" item',
    ),
    ("${if and{{={x}{1}}}{a}}", 'Failed: integer expected but "x" found inside "and{...}" condition'),
    ("${if forany{a}{={x}{1}}{a}}", 'Failed: integer expected but "x" found inside "forany" condition'),
    (
        "${expand:\\${if eq\\{a\\}\\{b\\}\\{x\\}fail\\}}",
        'Failed: internal expansion of "${if eq{a}{b}{x}fail}" failed: "if" failed and "fail" requested',
    ),
]


@pytest.mark.parametrize("text, value", LEARNT)
def test_answers_learnt_from_exim(text, value, expand):
    assert expand(text) == value
