"""Expressions by hand: every item, operator, condition and list form that we serve, and their edges."""

from interop import corpus_files

ITEMS = r"""
$item$value
${value}
${reduce{a:b}{x}{y}}$value
${if eq{a}{a}}
${if eq{a}{b}}
${if eq{a}{a}{yes}}
${if eq{a}{b}{yes}}
${if eq{a}{b}{yes}{no}}
${if eq {a} {b} {yes} {no} }
${if eq{a}{b}{yes}fail}
${if eq{a}{a}{yes}fail}
${if eq{a}{b}{yes}flop}
${if eq{a}{b}{yes}{no}{more}}
${if eq{a}{b}{yes}{no}
${if eq{a}{b}{yes
${if eq{a}{b}
${if eq{a}
${if eq
${if
${if }
${if{eq{a}{b}}}
${if !eq{a}{b}{yes}{no}}
${if !!eq{a}{b}{yes}{no}}
${if ! eq{a}{b}{yes}{no}}
${if nosuch{a}{b}{yes}{no}}
${if eq{${if eq{1}{1}{x}}}{x}{nested}{not}}
${if match{abc}{(b)}{${if match{xyz}{(y)}{$1}}$1}}
$1
${1}
$0
${if match{abc}{(b)(c)}{$0,$1,$2,$3,${1}}}
a${if eq{a}{a}{b}}c${if eq{a}{b}{}{d}}e
${extract{1}{:}{a:b:c}}
${extract{2}{:}{a:b:c}}
${extract{-1}{:}{a:b:c}}
${extract{-3}{:}{a:b:c}}
${extract{-4}{:}{a:b:c}{x}{none}}
${extract{4}{:}{a:b:c}{x}{none}}
${extract{0}{:}{a:b:c}}
${extract{2}{:,}{a,b:c}{[$value]}}
${extract{2}{:}{a::c}{[$value]}{none}}
${extract{3}{:}{a:b:}{[$value]}{none}}
${extract{1}{:}{}{[$value]}{none}}
${extract{-1}{:}{}{[$value]}{none}}
${extract{-1}{:}{a:b:}{[$value]}{none}}
${extract{1}{}{abc}{[$value]}{none}}
${extract{2}{}{abc}{[$value]}{none}}
${extract{+1}{:}{a:b}{[$value]}{none}}
${extract{ 2 }{:}{a:b}{[$value]}{none}}
${extract{}{:}{a:b}{[$value]}{none}}
${extract{ }{a=b}}
${extract{2}{:}{a:b}
${extract{2}{:}}
${extract{2}}
${extract{a}{a=1 b=2}}
${extract{A}{a=1 b=2}}
${extract{b}{a=1 b=2}{[$value]}{none}}
${extract{c}{a=1 b=2}{[$value]}{none}}
${extract{c}{a=1 b=2}}
${extract{c}{a=1 b=2}{x}fail}
${extract{b}{a="x y" b="q\"r\\s"}}
${extract{b}{a = 1 b = 2}}
${extract{b}{a=1  b=}{[$value]}{none}}
${extract{b}{b}{[$value]}{none}}
${extract{b}{b=1,c=2}{[$value]}{none}}
${extract{a}{a="" b=2}{[$value]}{none}}
${extract{a}{a="unfinished b=2}{[$value]}{none}}
${extract{a}{a="x\ty\x41\102"}{[$value]}{none}}
${extract{a}{ä=1 a=ü}{[$value]}{none}}
${extract{1a}{1a=7}{[$value]}{none}}
${extract{${if eq{1}{1}{2}}}{:}{a:b:c}}
${extract{${if eq{1}{1}{k}}}{k=v}}
${extract json{a}{ \{"a":1, "b":"two"\} }}
${extract json{b}{ \{"a":1, "b":"two"\} }}
${extract jsons{b}{ \{"a":1, "b":"two"\} }}
${extract jsons{a}{ \{"a":1, "b":"two"\} }}
${extract json{c}{ \{"a":1, "b":"two"\} }{$value}{none}}
${extract json{A}{ \{"a":1\} }{$value}{none}}
${extract json{1}{[1,2,3]}}
${extract json{3}{[1,2,3]}{[$value]}{none}}
${extract json{4}{[1,2,3]}{[$value]}{none}}
${extract json{0}{[1,2,3]}{[$value]}{none}}
${extract json{-1}{[1,2,3]}{[$value]}{none}}
${extract json{2}{[ "a" , [1,2] , \{"x":1\} ]}}
${extract json{3}{[ "a" , [1,2] , \{"x":1\} ]}}
${extract jsons{1}{[ "a,b" , "c" ]}}
${extract jsons{1}{["a\\"b"]}}
${extract json{1}{1,2}}
${extract json{a}{[1]}}
${extract json{a}{nonsense}}
${extract xml{a}{b}}
${filter{a:b:c}{eq{$item}{b}}}
${filter{a:b:c}{!eq{$item}{b}}}
${filter{}{eq{$item}{b}}}
${filter{a::b:c}{match{$item}{b}}}
${filter{<, a,b,,c}{!eq{$item}{b}}}
${filter{<; a;b;c}{>{1}{0}}}
${filter{a:b:c}{eq{$item}{z}}}
${filter{a:b:c}{eq{$item}{b}}}$item
${filter{a:b:c}{nosuch{$item}}}
${filter{a:b:c}}
${filter{a:b:c}{eq{$item}{b}}
${hash{3}{monty}}
${hash{3}{62}{monty}}
${hash{10}{monty}}
${hash{0}{monty}}
${hash{3}{63}{monty}}
${hash{x}{monty}}
${hash{-3}{monty}}
${hash{3}}
${hmac{md5}{somesecret}{primary foo}}
${hmac{sha1}{somesecret}{primary foo}}
${hmac{md5}{}{}}
${hmac{sha1}{a very very very very very very very very very long secret, longer than one block}{x}}
${hmac{sha256}{a}{b}}
${hmac{md5}{a}}
${length{3}{abcdef}}
${length{0}{abcdef}}
${length{9}{abcdef}}
${length{-1}{abcdef}}
${length{x}{abcdef}}
${length{}{abcdef}}
${length{3}{äöü}}
${length{3}}
${listextract{1}{a:b:c}}
${listextract{-1}{a:b:c}}
${listextract{-3}{a:b:c}}
${listextract{-4}{a:b:c}{x}{none}}
${listextract{4}{a:b:c}{x}{none}}
${listextract{4}{a:b:c}}
${listextract{0}{a:b:c}{[$value]}{none}}
${listextract{2}{<, a,b,c}}
${listextract{2}{<; a;b;c}{[$value]}}
${listextract{2}{a::b:c}}
${listextract{x}{a:b:c}}
${listextract{}{a:b:c}}
${listextract{ 2 }{a:b:c}}
${listextract{2}{a: :c}{[$value]}{none}}
${listextract{2}{a:b:c}{x$value}fail}
${listextract{7}{a:b:c}{x$value}fail}
${listextract{1}{}{[$value]}{none}}
${listextract{2}}
${listquote{:}{ab:cd}}
${listquote{,}{ab,cd,,}}
${listquote{:}{}}
${listquote{}{abc}}
${listquote{:}}
${map{a:b:c}{[$item]}}
${map{<, a,b,c}{[$item]}}
${map{a:b:c}{$item:$item}}
${map{}{x}}
${map{a}{}}
${map{a:b}{}}
${map{a:b:c}{${if eq{$item}{b}{}{$item}}}}
${map{a:b:c}{x}}$item
${map{a::b:c}{$item}}
${map{ a : b }{<$item>}}
${map{<; ::1 ; fe80::1}{$item}}
${map{<\n a}{$item}}
${map{<:a:b}{$item!}}
${map{a: :b}{<$item>}}
${map{a:b:}{<$item>}}
${map{:a}{<$item>}}
${map{a:b}{${map{x:y}{$item}}}}
${map{<, x,y}{${map{a:b}{$item}}}}
${map{a:b}}
${map{a:b}{x}
${nhash{24}{monty}}
${nhash{8}{63}{monty python}}
${nhash{0}{monty}}
${nhash{8}{0}{monty}}
${nhash{1}{}}
${reduce{1:2:3}{0}{${eval:$value+$item}}}
${reduce{}{0}{x}}
${reduce{a:b}{}{$item$value}}
${reduce{<, 1,2,3}{0}{${if >{$item}{$value}{$item}{$value}}}}
${reduce {a:b} {x} {$value.$item} }
${reduce{a:b}{x}}
${sg{abcdefabcdef}{abc}{xyz}}
${sg{abcdef}{^(...)(...)\$}{\$2\$1}}
${sg{abcdef}{^(...)(...)\$}{$2$1}}
${sg{abc}{}{-}}
${sg{abc}{x*}{-}}
${sg{}{x}{y}}
${sg{}{^}{y}}
${sg{aaa}{a}{b}}
${sg{aaa}{a\$}{b}}
${sg{a.b.c}{\N\.\N}{-}}
${sg{a b  c}{\N\s+\N}{_}}
${sg{aBc}{(?i)b}{x}}
${sg{abc}{(}{x}}
${sg{abc}{b}{\\n}}
${sg{abc}{b}{\$0\$0}}
${sg{abc}{(x)?b}{[\$1]}}
${sg{äöü}{ö}{o}}
${sg{abc}{b}}
${sg{abcabc}{(?=b)}{-}}
${sg{abc}{(?<=b)}{-}}
${sg{abc}{\$}{-}}
${sg{a/b}{/}{}}
${sort{c:a:b}{lt}{$item}}
${sort{3:20:100}{<}{$item}}
${sort{3:20:100}{>}{$item}}
${sort{3:20:100}{lt}{$item}}
${sort{b:A:c}{lti}{$item}}
${sort{b:A:c}{lt}{$item}}
${sort{a1:b1:c0}{le}{${substr{1}{1}{$item}}}}
${sort{a1:b1:c0}{lt}{${substr{1}{1}{$item}}}}
${sort{a1:b1:c0}{gt}{${substr{1}{1}{$item}}}}
${sort{a1:b1:c0}{ge}{${substr{1}{1}{$item}}}}
${sort{a1:b1:c0}{gei}{${substr{1}{1}{$item}}}}
${sort{a1:b1:c0}{gti}{${substr{1}{1}{$item}}}}
${sort{a1:b1:c0}{lei}{${substr{1}{1}{$item}}}}
${sort{2:1:3}{>=}{$item}}
${sort{2:1:3}{<=}{$item}}
${sort{a:b}{<}{$item}}
${sort{a:b}{eq}{$item}}
${sort{a:b}{lt}{}}
${sort{}{lt}{$item}}
${sort{<, b,a}{lt}{$item}}
${sort{a:b}{lt}}
${substr{1}{2}{abcdef}}
${substr{-2}{2}{abcdef}}
${substr{-2}{1}{abcdef}}
${substr{-2}{abcdef}}
${substr{2}{abcdef}}
${substr{-9}{3}{abcdef}}
${substr{-7}{3}{abcdef}}
${substr{-9}{abcdef}}
${substr{9}{1}{abcdef}}
${substr{6}{1}{abcdef}}
${substr{0}{0}{abcdef}}
${substr{1}{-1}{abcdef}}
${substr{x}{1}{abcdef}}
${substr{}{1}{abcdef}}
${substr{1}{}{abcdef}}
${substr{1}{3}{äöü}}
${substr{ 1}{2}{abcdef}}
${substr{1 }{2}{abcdef}}
${substr{+1}{2}{abcdef}}
${substr{1}}
${tr{abcdea}{ac}{13}}
${tr{abcdea}{abc}{x}}
${tr{abcdea}{abc}{}}
${tr{abc}{}{x}}
${tr{aaa}{aa}{xy}}
${tr{abc}{a-c}{123}}
${tr{}{a}{b}}
${tr{abc}{a}}
${tr{abc}{a}{b}{c}}
${env{NOSUCHVARIABLE}}
${env{NOSUCHVARIABLE}{$value}{none}}
${env{NOSUCHVARIABLE}{$value}fail}
${certextract{subject}{$tls_in_peercert}{$value}{none}}
${certextract{subject}{$tls_in_peercert}}
${certextract{subject}{abc}{$value}{none}}
${nosuch{a}{b}}
${nosuch}
${nosuch:a}
$nosuch
$
a$
$$
$!
$ {a}
${}
${ }
${-}
${1a}
{}
}
a}b
{a
a\tb
a\\b
\x41\x4\xy
\101\60\7
\q\a\z
\N$nosuch\x\N!
\N${if
a\Nb\Nc\N
ä ö ü €
$primary_hostname
${primary_hostname}
${primary_hostname
$primary_hostname.x
$primary_hostnamex
$qualify_domain
$h_subject:
$h_Subject:
$rh_subject:|
$bh_subject:
$h_nosuch:x
$h_from:
$lh_x-twice:
$h_x-twice:
$rh_x-twice:|
$h_x-folded:
$rh_x-folded:|
$h_x-empty:|
${h_subject:}
$header_subject:
$rheader_subject:|
$bheader_to:
$lheader_to:
$tls_in_cipher|$tls_in_peerdn|$tls_in_sni|$tls_in_bits|$tls_in_certificate_verified
$sender_host_address|$sender_helo_name
$acl_c0$acl_m0$acl_c_foo$acl_m_bar
$acl_cx
$acl_x
$auth1$auth2$auth3
$auth4
$local_part$domain$address_data
"""

OPERATORS = r"""
${address:Ann <ann@relay.test>}
${address:ann@relay.test}
${address:ann@relay.test (comment)}
${address:"a b"@relay.test}
${address:<@route:ann@relay.test>}
${address:}
${address:ann}
${address:Ann B. C <ann@relay.test>}
${address:ann@}
${address:@relay.test}
${address:ann@relay..test}
${address:ann@relay.test.}
${address:ann@-relay.test}
${address:a..b@relay.test}
${address:.a@relay.test}
${address:ann@[10.0.0.1]}
${address:ann@relay.test, bob@relay.test}
${addresses:Ann <ann@relay.test>, bob@other.test}
${addresses:>& ann@a.test, bob@b.test}
${addresses:ann@a.test}
${addresses:}
${addresses:friends: ann@a.test, bob@b.test;}
${addresses:"x, y" <ann@a.test>, bob@b.test}
${addresses:ann@a.test, broken@, bob@b.test}
${addresses:a@[IPv6::::1], b@c}
${addresses:>}
${addresses:>: a@b, c@d}
${addresses:$h_to:}
${base32:0}
${base32:1}
${base32:31}
${base32:32}
${base32:123456789}
${base32:x}
${base32:}
${base32:-1}
${base32d:b}
${base32d:ba}
${base32d:aaab}
${base32d:7}
${base32d:1}
${base32d:}
${base32d:B}
${base62:0}
${base62:61}
${base62:62}
${base62:123456789}
${base62:x}
${base62:}
${base62:12345678901234}
${base62d:00000z}
${base62d:8M0kX}
${base62d:}
${base62d:-}
${base62d:zzzzzz}
${base64:}
${base64:a}
${base64:ab}
${base64:abc}
${base64:äöü}
${base64d:YWJj}
${base64d:YWI=}
${base64d:YQ==}
${base64d:YQ}
${base64d:Y}
${base64d:%}
${base64d:YW Jj}
${base64d:}
${str2b64:abc}
${str2b64:}
${domain:ann@relay.test}
${domain:Ann <ann@RELAY.test>}
${domain:ann}
${domain:}
${domain:ann@[10.0.0.1]}
${escape:abc}
${escape:a\tb\nc\rd}
${escape:a\\b}
${escape:\x01\x7f\x80}
${escape:äöü}
${escape:}
${escape8bit:äöü}
${escape8bit:a\tb}
${escape8bit:a\\b\x7f}
${eval:1+1}
${eval:}
${eval:1}
${eval: 1 + 2 }
${eval:2*3+4}
${eval:2+3*4}
${eval:(2+3)*4}
${eval:7/2}
${eval:-7/2}
${eval:7%3}
${eval:-7%3}
${eval:7%-3}
${eval:1/0}
${eval:1%0}
${eval:0x1f}
${eval:0X1F}
${eval:010}
${eval:08}
${eval:0x}
${eval:0xg}
${eval:1k}
${eval:1K+1M}
${eval:1G}
${eval:1g*1g}
${eval:~1}
${eval:-(1+2)}
${eval:--1}
${eval:- -1}
${eval:+1}
${eval:1<<4}
${eval:1<<63}
${eval:1<<64}
${eval:256>>4}
${eval:-256>>4}
${eval:6&3}
${eval:6|3}
${eval:6^3}
${eval:1|2^3&4}
${eval:1+2<<3}
${eval:1<<2+3}
${eval:9223372036854775807}
${eval:9223372036854775808}
${eval:99999999999999999999}
${eval:9223372036854775807+1}
${eval:-9223372036854775807-2}
${eval:9223372036854775807-1}
${eval:-9223372036854775807+-2}
${eval:9223372036854775807*2}
${eval:(1}
${eval:1)}
${eval:1 2}
${eval:1+}
${eval:a}
${eval:1+a}
${eval:1 +2 )}
${eval:1<2}
${eval:()}
${eval:1k2}
${eval:(1k)}
${eval: ( 1 + 2 ) * 3 }
${eval:0}
${eval:00}
${eval:-0}
${eval:5 ^ 5}
${eval10:010}
${eval10:08+1}
${eval10:0x10}
${eval10:1k}
${eval10:}
${eval10:10%4}
${expand:\$primary_hostname}
${expand:\${lc:ABC\}}
${expand:abc}
${expand:}
${expand:\$nosuch}
${expand:\${if eq\{a\}\{b\}\{x\}fail\}}
${from_utf8:äöü}
${from_utf8:abc}
${from_utf8:€}
${from_utf8:\xff}
${h_3:monty}
${hash_3:monty}
${hash_3_62:monty python}
${hash_3_63:monty}
${hash:monty}
${hash_:monty}
${hash_x:monty}
${hash_30:monty}
${hash_0:monty}
${hash_3_0:monty}
${hash_3_:monty}
${hex2b64:616263}
${hex2b64:6162}
${hex2b64:abc}
${hex2b64:xyz}
${hex2b64:}
${hex2b64:ABCDEF}
${hexquote:a b~\x7f}
${hexquote:äöü}
${hexquote:}
${ipv6denorm:::1}
${ipv6denorm:2001:db8::1}
${ipv6denorm:10.0.0.1}
${ipv6denorm:x}
${ipv6norm:::1}
${ipv6norm:2001:0db8:0:0:0:0:0:1}
${ipv6norm:1:0:0:2:0:0:0:3}
${ipv6norm:1:0:0:2:0:0:3:4}
${ipv6norm:0:0:0:0:0:0:0:0}
${ipv6norm:1:2:3:4:5:6:7:0}
${ipv6norm:0:1:2:3:4:5:6:7}
${ipv6norm:1:0:2:3:4:5:6:7}
${ipv6norm:::ffff:10.0.0.1}
${ipv6norm:10.0.0.1}
${ipv6norm:fe80::1%eth0}
${ipv6norm:x}
${ipv6norm:}
${l_3:abcdef}
${length_3:abcdef}
${length_0:abcdef}
${length_9:abcdef}
${length:abcdef}
${length_x:abcdef}
${length_-1:abcdef}
${length_3_2:abcdef}
${lc:ABC}
${lc:ÄÖÜ}
${lc:}
${lc:ABC
${lc}
${lc :ABC}
${lc: ABC }
${lc_x:ABC}
${uc:abc}
${uc:äöü}
${listcount:a:b:c}
${listcount:}
${listcount:a}
${listcount: }
${listcount:a:}
${listcount:a::b}
${listcount:<,a,b}
${listcount:<;a;b;;c}
${listcount:::}
${listcount: : }
${listnamed:ours}
${listnamed_d:ours}
${listnamed:+ours}
${listnamed:nested}
${listnamed_d:nested}
${listnamed_h:near}
${listnamed_a:people}
${listnamed_l:roles}
${listnamed:near}
${listnamed:nosuch}
${listnamed_d:near}
${listnamed_x:ours}
${local_part:ann@relay.test}
${local_part:Ann <ann@relay.test>}
${local_part:"a b"@relay.test}
${local_part:ann}
${local_part:}
${mask:10.1.2.3/8}
${mask:10.1.2.3/0}
${mask:10.1.2.3/32}
${mask:10.1.2.3/33}
${mask:10.1.2.3}
${mask:10.1.2.3/}
${mask:10.1.2.3/x}
${mask:2001:db8::1/32}
${mask_n:2001:db8::1/32}
${mask_n:10.1.2.3/8}
${mask:2001:db8::1/128}
${mask:2001:db8::1/129}
${mask:x/8}
${mask:}
${md5:}
${md5:abc}
${md5:äöü}
${md5:$tls_in_peercert}
${nh_24:monty}
${nhash_24:monty}
${nhash_8_63:monty python}
${nhash_0:monty}
${nhash_8_0:monty}
${nhash:monty}
${nhash_1:}
${quote:abc}
${quote:a b}
${quote:a"b\\c}
${quote:}
${quote:a.b-c_d}
${quote:a@b}
${quote:a\nb\tc}
${quote:äöü}
${quote:!}
${quote_sqlite:it's}
${quote_lsearch:it's}
${quote_nosuch:it's}
${quote_local_part:ann}
${quote_local_part:a b}
${quote_local_part:a.b}
${quote_local_part:.a}
${quote_local_part:a.}
${quote_local_part:a..b}
${quote_local_part:}
${quote_local_part:a"b}
${quote_local_part:a\\b}
${quote_local_part:a@b}
${quote_local_part:äöü}
${quote_local_part:!#$$%}
${reverse_ip:10.1.2.3}
${reverse_ip:2001:db8::1}
${reverse_ip:x}
${reverse_ip:}
${reverse_ip:10.1.2.3/8}
${rfc2047:abc}
${rfc2047:a b}
${rfc2047:äöü}
${rfc2047:äöü abc}
${rfc2047:a_b}
${rfc2047:a=b?}
${rfc2047:}
${rfc2047:a b. <c>}
${rfc2047:(a) ä}
${rfc2047:a "b" c}
${rfc2047:äöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöü}
${rfc2047d:=?utf-8?Q?gr=C3=BC=C3=9Fe?=}
${rfc2047d:=?utf-8?B?w7w=?=}
${rfc2047d:=?iso-8859-1?Q?=FC?=}
${rfc2047d:=?utf-8?Q?a?= =?utf-8?Q?b?=}
${rfc2047d:a =?utf-8?Q?b_c?= d}
${rfc2047d:abc}
${rfc2047d:=?x}
${rfc2047d:=?nosuch?Q?a?=}
${rxquote:a.b*c}
${rxquote:abc1}
${rxquote:äöü}
${rxquote:}
${s_1_2:abcdef}
${substr_1_2:abcdef}
${substr_-2_1:abcdef}
${substr_-2:abcdef}
${substr_3:abcdef}
${substr_9:abcdef}
${substr_-9_3:abcdef}
${substr:abcdef}
${substr_1_:abcdef}
${substr__1:abcdef}
${substr_1_-1:abcdef}
${substr_x:abcdef}
${substr_1_2_3:abcdef}
${substr_1_2:äöü}
${sha1:}
${sha1:abc}
${sha2:abc}
${sha2_256:abc}
${sha2_384:abc}
${sha2_512:abc}
${sha2_1:abc}
${sha256:}
${sha256:abc}
${sha256:äöü}
${sha3:abc}
${sha3_224:abc}
${sha3_256:abc}
${sha3_384:abc}
${sha3_512:abc}
${sha3_1:abc}
${strlen:}
${strlen:abc}
${strlen:äöü}
${strlen: a }
${time_eval:1w2d3h4m5s}
${time_eval:1d}
${time_eval:90m}
${time_eval:0s}
${time_eval:1}
${time_eval:}
${time_eval:1s1m}
${time_eval:1d x}
${time_eval:-1d}
${time_interval:0}
${time_interval:1}
${time_interval:60}
${time_interval:788645}
${time_interval:604800}
${time_interval:x}
${time_interval:}
${time_interval:-1}
${utf8clean:abc}
${utf8clean:äöü}
${utf8clean:\xff}
${utf8clean:a\xc3}
${utf8clean:\xc3\x28}
${utf8clean:\xe2\x82}
${utf8clean:\xe2\x82x}
${utf8clean:\xf4\x90\x80\x80}
${utf8clean:\xed\xa0\x80}
${utf8clean:\xc3\xc3\xa4}
${utf8clean:\xe2\x82\xc3\xa4}
${utf8clean:\xf0\x9f\x98\x80}
${utf8clean:\xf0\x80\x80\x80}
${utf8clean:\xc0\x80a\xf9b}
${utf8clean:\xe0\x80\x80}
${xtextd:a+2Bb}
${xtextd:a+3D}
${xtextd:abc}
${xtextd:a+2}
${xtextd:a+zz}
${xtextd:}
${lc:${uc:aBc}}
${lc:a}b}
${uc:a{b}c}
"""

CONDITIONS = r"""
={1}{1}
={1}{2}
=={1}{1}
= {1} {1}
={}{0}
={ 1 }{1}
={1k}{1024}
={1K}{1024}
={1m}{1048576}
={1G}{1073741824}
={-1}{-1}
={+1}{1}
={0x10}{16}
={010}{10}
={010}{8}
={1z}{1}
={a}{1}
={1}{a}
={1 2}{1}
={99999999999999999999}{1}
={9223372036854775807}{9223372036854775807}
={9223372036854775807k}{1}
={1}
<{1}{2}
<{2}{1}
<{-5}{3}
<={2}{2}
<={3}{2}
>{2}{1}
>{1}{2}
>={2}{2}
>={1}{2}
>={1M}{1024K}
eq{a}{a}
eq{a}{A}
eq{}{}
eq{ä}{ä}
eqi{a}{A}
eqi{ä}{Ä}
eqi{a}{b}
ge{b}{a}
ge{a}{b}
ge{a}{a}
ge{A}{a}
gei{A}{a}
gei{B}{a}
gt{b}{a}
gt{a}{a}
gt{ab}{a}
gti{B}{a}
gti{A}{a}
le{a}{b}
le{a}{a}
le{b}{a}
lei{A}{b}
lei{B}{a}
lt{a}{b}
lt{a}{a}
lt{}{a}
lt{ä}{z}
lti{A}{b}
lti{b}{A}
lti{a}{AB}
gti{a}{AB}
lti{AB}{a}
gei{}{}
lei{}{a}
bool{true}
bool{yes}
bool{no}
bool{false}
bool{TRUE}
bool{Yes}
bool{}
bool{ }
bool{0}
bool{1}
bool{-1}
bool{00}
bool{42}
bool{maybe}
bool{1x}
bool{ true }
bool{tr}
bool{-}
bool_lax{true}
bool_lax{no}
bool_lax{}
bool_lax{0}
bool_lax{00}
bool_lax{-0}
bool_lax{1}
bool_lax{maybe}
bool_lax{ false }
bool_lax{FALSE}
bool_lax{n}
bool_lax{-}
isip{10.0.0.1}
isip{::1}
isip{10.0.0}
isip{10.0.0.256}
isip{010.0.0.1}
isip{10.0.0.1/8}
isip{}
isip{x}
isip{::ffff:10.0.0.1}
isip{1:2:3:4:5:6:7:8}
isip{1:2:3:4:5:6:7:8:9}
isip{1::2::3}
isip{fe80::1%eth0}
isip{:::}
isip{12345::}
isip{ 10.0.0.1}
isip4{10.0.0.1}
isip4{::1}
isip4{1.2.3.4.5}
isip6{10.0.0.1}
isip6{::1}
isip6{::}
isip6{1:2}
isip6{[::1]}
def:primary_hostname
def:sender_host_address
def:nosuch
def:
def:h_subject:
def:header_subject:
def:h_nosuch:
def:h_x-empty:
def:h_subject
def:tls_in_peercert
def:tls_in_cipher
def:acl_c0
def:acl_c_foo
def:acl_x
def:1
first_delivery
queue_running
match{abc}{b}
match{abc}{^b}
match{abc}{B}
match{abc}{(?i)B}
match{abc}{(}
match{}{^\$}
match{äöü}{ö}
match{abc}{\N^a.c$\N}
match{abc}{\Q.\E}
match{a1b}{[[:digit:]]}
match{a1b}{\N\d\N}
match{aab}{\N^(a)\1b$\N}
match{abc}{^(?<x>a)}
match{abc}{[[a]}
match{abc}{a++b}
match{abc}{(?>a)b}
match{a b}{(?x)a\\ b}
match{abc}{[}
match{abc}{*}
match{abc}
inlist{a}{a:b}
inlist{c}{a:b}
inlist{A}{a:b}
inlist{}{a:b}
inlist{}{a: :b}
inlist{}{}
inlist{a}{<, a,b}
inlist{a:b}{a::b:c}
inlist{a}{ a : b }
inlist{*}{a:*}
inlisti{A}{a:b}
inlisti{ä}{Ä}
inlisti{c}{a:b}
and{{eq{a}{a}}{eq{b}{b}}}
and{{eq{a}{a}}{eq{b}{c}}}
and{}
and{{}}
and{eq{a}{a}}
and{{eq{a}{a}}
and { {eq{a}{a}} {eq{b}{b}} }
and{{eq{a}{b}}{nosuch{a}}}
and{{eq{a}{b}}{={x}{1}}}
and{{eq{a}{a}}{={x}{1}}}
or{{eq{a}{b}}{eq{b}{b}}}
or{{eq{a}{b}}{eq{b}{c}}}
or{}
or{{eq{a}{a}}{={x}{1}}}
or{{!eq{a}{b}}}
!and{{eq{a}{a}}{eq{b}{b}}}
and{{or{{eq{a}{b}}{eq{a}{a}}}}{eq{b}{b}}}
and{{match{abc}{(b)}}{eq{$1}{b}}}
and{{eq{a}{a}}eq{b}{b}}
forany{a:b}{eq{$item}{b}}
forany{a:b}{eq{$item}{c}}
forany{}{eq{$item}{c}}
forany{<, a,b}{eq{$item}{b}}
forall{a:b}{match{$item}{[ab]}}
forall{a:b}{eq{$item}{b}}
forall{}{eq{$item}{b}}
!forall{}{eq{$item}{b}}
forany{a:b}{forany{x:b}{eq{$item}{b}}}
forany{a:b}{nosuch{$item}}
forany{a:b}
forany{a:b}{eq{$item}{b}
forany_json{[1,2]}{eq{$item}{2}}
forany_json{["a","b"]}{eq{$item}{"b"}}
forany_jsons{["a","b"]}{eq{$item}{b}}
forany_json{[]}{eq{$item}{2}}
forany_json{x}{eq{$item}{2}}
forall_json{[1,2]}{<{$item}{3}}
forall_jsons{["a","b"]}{match{$item}{[ab]}}
forall_jsons{[1,2]}{match{$item}{[ab]}}
forall_json{[]}{eq{$item}{2}}
"""

# A word of the condition, a subject and a list in each line.
LISTS = r"""
match_domain{relay.test}{relay.test}
match_domain{RELAY.test}{relay.TEST}
match_domain{relay.test}{other.test : relay.test}
match_domain{a.relay.test}{*.relay.test}
match_domain{relay.test}{*.relay.test}
match_domain{relay.test}{*relay.test}
match_domain{relay.test}{!relay.test}
match_domain{relay.test}{!other.test}
match_domain{relay.test}{!relay.test : *}
match_domain{relay.test}{* : !relay.test}
match_domain{relay.test}{}
match_domain{relay.test}{:}
match_domain{}{}
match_domain{}{:}
match_domain{}{*}
match_domain{}{ : }
match_domain{relay.test}{@}
match_domain{other.test}{@}
match_domain{[127.0.0.1]}{@[]}
match_domain{[10.9.8.7]}{@[]}
match_domain{relay.test}{^relay}
match_domain{relay.test}{^RELAY}
match_domain{RELAY.Test}{^(rel)}
match_domain{A.Relay.Test}{*.relay.test}
match_domain{relay.test}{\N^relay\.test$\N}
match_domain{relay.test}{^[}
match_domain{relay.test}{+ours}
match_domain{a.relay.test}{+ours}
match_domain{x.test}{+ours}
match_domain{x.test}{!+ours}
match_domain{relay.test}{!+ours}
match_domain{no.relay.test}{+nested}
match_domain{other.test}{+nested}
match_domain{yes.relay.test}{+nested}
match_domain{relay.test}{+nosuch}
match_domain{relay.test}{x.test : +nosuch}
match_domain{relay.test}{relay.test : +nosuch}
match_domain{relay.test}{<; x.test ; relay.test}
match_domain{relay.test}{ ! relay.test : *}
match_domain{relay.test}{$primary_hostname}
match_domain{relay.test}{rel*}
match_domain{relay.test}{/nonexistent/file}
match_local_part{ann}{ann}
match_local_part{ANN}{ann}
match_local_part{ann}{Ann}
match_local_part{ANN}{+caseful : ann}
match_local_part{ann}{+caseful : ann}
match_local_part{ann}{a*}
match_local_part{ann}{*n}
match_local_part{ann}{^a}
match_local_part{ann}{bob : ann}
match_local_part{ann}{!bob}
match_local_part{postmaster}{+roles}
match_local_part{ann}{+roles}
match_local_part{}{ann}
match_local_part{}{}
match_local_part{}{:}
match_local_part{a@b}{a@b}
match_address{ann@relay.test}{ann@relay.test}
match_address{ANN@RELAY.test}{ann@relay.test}
match_address{ann@relay.test}{*@relay.test}
match_address{ann@relay.test}{relay.test}
match_address{ann@relay.test}{*.test}
match_address{ann@relay.test}{ann@*}
match_address{ann@relay.test}{ann@*.test}
match_address{ann@relay.test}{*nn@relay.test}
match_address{ann@relay.test}{a*@relay.test}
match_address{ann@relay.test}{^ann@}
match_address{ann@relay.test}{^ANN@}
match_address{ann@relay.test}{!ann@relay.test : *}
match_address{ann@relay.test}{!bob@relay.test}
match_address{ann@relay.test}{*}
match_address{ann@relay.test}{+people}
match_address{bob@other.test}{+people}
match_address{bob@relay.test}{+people}
match_address{ann@relay.test}{*@+ours}
match_address{ann@relay.test}{ann@+ours}
match_address{ann@relay.test}{bob@+ours}
match_address{ann@x.test}{*@+ours}
match_address{ann@relay.test}{+caseful : ANN@relay.test}
match_address{ANN@relay.test}{+caseful : ANN@relay.test}
match_address{}{}
match_address{}{:}
match_address{}{*}
match_address{}{ann@relay.test}
match_address{ann}{ann}
match_address{ann}{ann@relay.test}
match_address{ann@relay.test}{ann@@}
match_address{ann@relay.test}{*@@}
match_address{ann@relay.test}{}
match_address{ann@relay.test}{bob@relay.test : ann@relay.test}
match_ip{10.1.2.3}{10.1.2.3}
match_ip{10.1.2.3}{10.0.0.0/8}
match_ip{11.1.2.3}{10.0.0.0/8}
match_ip{10.1.2.3}{!10.1.0.0/16 : 10.0.0.0/8}
match_ip{10.2.2.3}{!10.1.0.0/16 : 10.0.0.0/8}
match_ip{11.2.2.3}{!10.1.0.0/16}
match_ip{10.2.2.3}{10.0.0.0/8 : !10.1.0.0/16}
match_ip{11.2.2.3}{10.0.0.0/8 : !10.1.0.0/16}
match_ip{::1}{<; ::1 ; 127.0.0.1}
match_ip{::1}{::::1}
match_ip{2001:db8::5}{<; 2001:db8::/32}
match_ip{2001:db9::5}{<; 2001:db8::/32}
match_ip{::ffff:10.1.2.3}{10.0.0.0/8}
match_ip{10.1.2.3}{<; ::ffff:10.0.0.0/104}
match_ip{127.0.0.1}{@[]}
match_ip{10.9.8.7}{@[]}
match_ip{10.1.2.3}{*}
match_ip{10.1.2.3}{}
match_ip{10.1.2.3}{:}
match_ip{}{}
match_ip{}{:}
match_ip{}{*}
match_ip{}{10.0.0.0/8}
match_ip{host.name}{10.0.0.0/8}
match_ip{10.0.0.1}{10.0.0.1/33}
match_ip{10.0.0.2}{10.0.0.1/33}
match_ip{10.0.0.2}{10.0.0.1/0}
match_ip{10.0.0.1}{10.0.0/24}
match_ip{11.0.0.1}{10.0.0.1/}
match_ip{10.0.0.1}{300.1.1.1}
match_ip{10.0.0.1}{10.0.0.1/255.0.0.0}
match_ip{10.0.0.1}{+near}
match_ip{11.0.0.1}{+near}
match_ip{11.0.0.1}{!+near}
match_ip{10.0.0.1}{+nosuch}
match_ip{10.0.0.1}{*.relay.test}
match_ip{10.0.0.1}{^relay}
match_ip{10.0.0.1}{+ignore_unknown : *.relay.test : 10.0.0.1}
match_ip{10.0.0.1}{+include_unknown : *.relay.test}
match_ip{10.0.0.1}{<, 11.0.0.1, 10.0.0.1}
match_ip{fe80::1%eth0}{<; fe80::/10}
"""


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def expressions() -> list[str]:
    """All of them; conditions and lists show what they set as well."""
    found = _lines(ITEMS) + _lines(OPERATORS)
    found += [f"${{if {condition}{{yes}}{{no}}}}" for condition in _lines(CONDITIONS)]
    found += [f"${{if {condition}{{yes [$value]}}{{no}}}}" for condition in _lines(LISTS)]
    found += [f"${{if {line}{{$0|$1|$2}}}}" for line in _lines(LISTS) if line.startswith(("match_d", "match_l"))]
    return found + corpus_files.expressions()
