"""Expressions by hand that need more than their own text: files, passwords, other alphabets, the clock, the message."""

FILES = r"""
${readfile{$spool_directory/known}}
${readfile{$spool_directory/known}{}}
${readfile{$spool_directory/known}{+}}
${readfile{$spool_directory/known}{\n }}
${readfile{$spool_directory/nosuch}}
${readfile{/}}
${readfile{$h_x-folded:}}
${readfile}
${readfile{/etc/passwd}{}{}}
${if exists{/etc/passwd}{${readfile{$spool_directory/known}{,}}}{no}}
${if exists{$spool_directory}{yes}{no}}
${if exists{$spool_directory/known}{yes}{no}}
${if exists{$spool_directory/nosuch}{yes}{no}}
${if !exists{$spool_directory/nosuch}{yes}{no}}
${if exists{}{yes}{no}}
${if exists{relative/name}{yes}{no}}
${if exists{/etc/passwd}}
${extract{smode}{${stat:$spool_directory/known}}}
${extract{mode}{${stat:$spool_directory}}}
${extract{size}{${stat:$spool_directory/known}}}
${extract{links}{${stat:$spool_directory/known}}}
${extract{uid}{${stat:/}}},${extract{gid}{${stat:/}}}
${extract{inode}{${stat:/etc/passwd}}}
${extract{device}{${stat:/etc/passwd}}}
${extract{mtime}{${stat:/etc/passwd}}}
${extract{ctime}{${stat:/etc/passwd}}}
${stat:$spool_directory/nosuch}
${stat:}
${stat_x:/}
"""

SIGNED = r"""
${prvs{ann@relay.test}{secret}{1}}
${prvs{ann@relay.test}{secret}}
${prvs{ann@relay.test}{secret}{}}
${prvs{ann@relay.test}{secret}{12}}
${prvs{ann@relay.test}{secret}{x}}
${prvs{ann}{secret}{1}}
${prvs{@relay.test}{secret}{1}}
${prvs{ann@}{secret}{1}}
${prvs{a@b@relay.test}{secret}{1}}
${prvs{ann@relay.test}}
${prvs{ann@relay.test}{}{3}}
${prvs{ann@relay.test}{0123456789012345678901234567890123456789012345678901234567890123}{0}}
${prvs{ann@relay.test}{01234567890123456789012345678901234567890123456789012345678901234}{0}}
${prvscheck{${prvs{ann@relay.test}{secret}{1}}}{secret}{<$prvscheck_result|$prvscheck_address|$prvscheck_keynum>}}
${prvscheck{${prvs{ann@relay.test}{secret}{1}}}{secret}}/$prvscheck_result
${prvscheck{${prvs{ann@relay.test}{secret}{1}}}{secret}{}}/$prvscheck_result
${prvscheck{${prvs{ann@relay.test}{secret}{1}}}{other}{<$prvscheck_result|$prvscheck_address>}}/$prvscheck_result
${prvscheck{${prvs{ann@relay.test}{secret4}{4}}}{secret$prvscheck_keynum}{$prvscheck_result}}
${prvscheck{${lc:${prvs{ann@relay.test}{secret}{1}}}}{secret}{<$prvscheck_result>}}
${prvscheck{${uc:${prvs{ann@relay.test}{secret}{1}}}}{secret}{<$prvscheck_result|$prvscheck_address>}}
${prvscheck{prvs=0000000000=ann@relay.test}{secret}{<$prvscheck_result|$prvscheck_address>}}
${prvscheck{ann@relay.test}{secret}{<$prvscheck_result>}}
${prvscheck{ann@relay.test}{secret}}
${prvscheck{}{secret}}
${prvscheck{ann@relay.test}}
${prvscheck{ann@relay.test}{a}{b}{c}}
${prvscheck{ann@relay.test}{${if eq{a}{b}{}fail}}}
${if eq{a}{b}{${prvscheck{a}{b}{c}}}{no}}
<$prvscheck_result$prvscheck_address$prvscheck_keynum>
"""

PASSWORDS = r"""
crypteq{test}{\{md5\}CY9rzUYh03PK3k6DJie09g==}
crypteq{test}{\{MD5\}CY9rzUYh03PK3k6DJie09g==}
crypteq{test}{\{md5\}AY9rzUYh03PK3k6DJie09g==}
crypteq{test}{\{md5\}098f6bcd4621d373cade4e832627b4f6}
crypteq{test}{\{md5\}098F6BCD4621D373CADE4E832627B4F6}
crypteq{test}{\{md5\}098f6bcd4621d373cade4e832627b4f}
crypteq{test}{\{md5\}}
crypteq{abc}{\{sha1\}A9993E364706816ABA3E25717850C26C9CD0D89D}
crypteq{abc}{\{Sha1\}a9993e364706816aba3e25717850c26c9cd0d89d}
crypteq{abc}{\{sha1\}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=}
crypteq{abd}{\{sha1\}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=}
crypteq{abc}{\{nosuch\}abc}
crypteq{abc}{\{md5}
crypteq{abc}{}
crypteq{}{}
crypteq{abc}{x}
crypteq{abc}{xy}
crypteq{abc}{nothing that is a hash}
crypteq{fingerpost}{FPxSb.KTPSd5E}
crypteq{fingerpost}{\{crypt\}FPxSb.KTPSd5E}
crypteq{Fingerpost}{\{CRYPT\}FPxSb.KTPSd5E}
crypteq{fingerpost}{\{crypt\}}
crypteq{abc}
"""

ALPHABETS = r"""
${utf8_domain_to_alabel:relay.test}
${utf8_domain_to_alabel:Relay.Test}
${utf8_domain_to_alabel:straße.test}
${utf8_domain_to_alabel:STRAßE.Test}
${utf8_domain_to_alabel:bücher.test}
${utf8_domain_to_alabel:BÜCHER.test}
${utf8_domain_to_alabel:日本語.test}
${utf8_domain_to_alabel:пример.test}
${utf8_domain_to_alabel:a.b.ü}
${utf8_domain_to_alabel:\xff.test}
${utf8_domain_to_alabel:}
${utf8_domain_from_alabel:xn--strae-oqa.test}
${utf8_domain_from_alabel:xn--bcher-kva.test}
${utf8_domain_from_alabel:relay.xn--bcher-kva}
${utf8_domain_from_alabel:XN--bcher-kva}
${utf8_domain_from_alabel:relay.test}
${utf8_domain_from_alabel:}
${utf8_domain_from_alabel:xn--wgv71a119e.test}
${utf8_localpart_to_alabel:ann}
${utf8_localpart_to_alabel:Jörg}
${utf8_localpart_to_alabel:ü}
${utf8_localpart_to_alabel:日本}
${utf8_localpart_to_alabel:}
${utf8_localpart_to_alabel:\xff}
${utf8_localpart_from_alabel:xn--jrg-sna}
${utf8_localpart_from_alabel:xn--Jrg-sna}
${utf8_localpart_from_alabel:jrg}
${utf8_localpart_from_alabel:}
${imapfolder{Foo/Bar}}
${imapfolder{Foo/Bar}{.}{/}}
${imapfolder{Räksmörgås}}
${imapfolder{plain}}
${imapfolder{}}
${imapfolder{/}}
${imapfolder{/a}}
${imapfolder{a/}}
${imapfolder{a//b}}
${imapfolder{a.b}}
${imapfolder{a.b}{.}}
${imapfolder{a/b}{.}}
${imapfolder{a&b}}
${imapfolder{a#b}{/}{#}}
${imapfolder{a/b}{/}{/}}
${imapfolder{ä/ö}}
${imapfolder{aäöb日c}}
${imapfolder{a}{..}}
${imapfolder{a}{}}
${imapfolder}
${imapfolder{a\tb}}
${imapfolder{\xff}}
${imapfolder{a~b c}}
"""

OTHERS = r"""
${randint:1}
${randint:0}
${randint:}
${randint:x}
${randint:-1}
${if <{${randint:10}}{10}{yes}{no}}
${if >={${randint:10}}{0}{yes}{no}}
${if <{${randint:1k}}{1024}{yes}{no}}
${authresults}
${authresults{me}}
${randint: }
${run{/bin/true}}
${readsocket{/nosuch}{x}}
${srs_encode{a}{b}{c}}
${srs_encode{a}{b}}
${dlfunc{/nosuch}{x}}
${perl{nosuch}}
${if pam{a:b}{yes}{no}}
${if radius{a:b}{yes}{no}}
${if ldapauth{user=a}{yes}{no}}
${if pwcheck{a:b}{yes}{no}}
${if saslauthd{{a}{b}}{yes}{no}}
$body_linecount
$body_zerocount
$message_body
$message_body_end
$message_body_size
$max_received_linelength
$message_smtputf8
$compile_number$runrc
$bounce_return_size_limit $return_size_limit
$config_dir
$config_file
$spool_directory
$smtp_active_hostname
$smtp_count_at_connection_start
$sender_helo_dnssec $sender_host_dnssec
$host_lookup_failed$host_lookup_deferred$authentication_failed
$local_user_uid $local_user_gid
$localhost_number
$sending_port
$prdr_requested
$proxy_session$proxy_local_port
$tls_in_cipher_std$tls_out_cipher_std
$tls_out_dane$tls_out_tlsa_usage
$queue_name$queue_size
$event_name$event_data$event_defer_errno
$warnmsg_delay$warnmsg_recipients
$thisaddress$inode$csa_status$mailstore_basename
$local_part_prefix_v$local_part_suffix_v
$n1
$sn1
$acl_narg$acl_arg1$acl_arg9
${if def:prvscheck_result{yes}{no}}
${if def:message_body{yes}{no}}
${quote_lsearch:a'b}
${quote_sqlite:a'b}
${quote_sqlite_x:a'b}
${quote_nosuch:a'b}
${quote_passwd:a'b}
${quote_:a'b}
${sg{abc}{x}{\$<}}
${sg{ABC}{\N\d\N}{[\$<]}}
${extract{1}{:}{a:b}{x}{y}{z}}
${extract{1}{:}{a:b}failing}
${map{a}{${extract{1}{:}{$item}{x}{y}{z}}}}
${rfc2047:one two}
${rfc2047:<one two>}
"""


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def expressions() -> list[str]:
    """All of them."""
    found = [line for part in (FILES, SIGNED, ALPHABETS, OTHERS) for line in _lines(part)]
    return found + [f"${{if {condition}{{yes}}{{no}}}}" for condition in _lines(PASSWORDS)]
