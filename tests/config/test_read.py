"""Whole configurations: what becomes of them, and that every mistake is told with its line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config.read import Configuration, read_configuration, understand_configuration
from relay.delivery.appendfile import AppendfileRules
from relay.delivery.smtp_rules import SMTPRules
from relay.mail.source import ConfigurationError, Location, Problem, Severity
from relay.policy.acl import ACLReference
from relay.policy.rewrite import Flag
from relay.policy.routers.settings import Accept, Fallback, Manualroute

CONF = Path(__file__).parents[2] / "conf"


def read(text: str, files: Mapping[str, str] | None = None, **options: object) -> Configuration:
    known = {"/etc/conf": text, **(files or {})}

    def reader(path: str) -> str:
        if path not in known:
            raise FileNotFoundError(2, "No such file or directory", path)
        return known[path]

    return read_configuration("/etc/conf", reader, host_name="here.test", **options)  # type: ignore[arg-type]


def complaints(text: str, files: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, files)
    return [str(problem) for problem in caught.value.problems if problem.severity is Severity.ERROR]


def remarks(text: str) -> list[str]:
    return [str(problem) for problem in read(text).problems]


# The main section


def test_nothing_at_all_is_a_configuration() -> None:
    main = read("").main
    assert main.primary_hostname == main.qualify_domain == main.qualify_recipient == "here.test"
    assert main.daemon_smtp_ports == (25,)
    assert main.local_interfaces == ("::0", "0.0.0.0")
    assert main.tls_certificate is None
    assert main.tls_advertise_hosts is not None
    assert main.tls_advertise_hosts.matches_all
    assert main.tls_verify_hosts is None
    assert main.acl_smtp_rcpt is None
    assert main.smtp_receive_timeout == 300
    assert main.recipients_max is not None
    assert main.recipients_max.constant == "50000"
    assert main.message_size_limit is not None
    assert main.message_size_limit.constant == "50M"


def test_main_options() -> None:
    found = read(
        "primary_hostname = relay.test\nspool_directory = /var/spool/$primary_hostname\n"
        "queue = sqlite:$spool_directory/q\ntls_certificate = /etc/$tls_in_sni.pem\ntls_try_verify_hosts = *\n"
        "daemon_smtp_ports = 25 : 465\ntls_on_connect_ports = 465\nhide trusted_users = mail : root\nno_queue_only\n"
        "smtp_accept_max = 2K\ntls_advertise_hosts =\nlocal_interfaces =\nqualify_recipient = $primary_hostname.x"
    )
    main = found.main
    assert main.qualify_domain == "relay.test"
    assert main.qualify_recipient == "relay.test.x"
    assert main.spool_directory == "/var/spool/relay.test"
    assert main.queue == "sqlite:/var/spool/relay.test/q"
    assert main.tls_certificate is not None
    assert main.tls_certificate.names_used == {"tls_in_sni"}
    assert main.tls_on_connect_ports == (465,)
    assert main.trusted_users == ("mail", "root")
    assert main.queue_only is False
    assert main.smtp_accept_max == 2048
    assert main.tls_advertise_hosts is not None
    assert main.tls_advertise_hosts.is_empty
    assert main.local_interfaces == ()
    assert found.settings["trusted_users"].hidden
    assert found.place("queue") == Location("/etc/conf", 3)
    assert found.place("qualify_domain") == Location("/etc/conf")
    assert found.static["spool_directory"] == "/var/spool/relay.test"


def test_macros_of_the_command_line() -> None:
    assert read("daemon_smtp_ports = PORT", macros={"PORT": "2525"}).main.daemon_smtp_ports == (2525,)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tls_certifcate = x", '/etc/conf:1: main option "tls_certifcate" unknown (did you mean "tls_certificate"?)'),
        ("queue_only = perhaps", '/etc/conf:1: "perhaps" is not a valid value for the boolean option queue_only'),
        ("queue_only\nqueue_only", '/etc/conf:2: "queue_only" option set for the second time (the first time is at'),
        ("no_smtp_banner", '/etc/conf:1: "no_" can\'t stand before smtp_banner'),
        ("smtp_banner", '/etc/conf:1: "=" is missing after smtp_banner'),
        ("smtp_banner x", '/etc/conf:1: "=" is missing after smtp_banner'),
        ("smtp_banner = ${run{x}}", "/etc/conf:1: smtp_banner: "),
        ("Smtp_banner", '/etc/conf:1: malformed macro definition "Smtp_banner"'),
        ("system_filter = /f", '/etc/conf:1: option "system_filter" is not supported: without it other mail'),
        ("mua_wrapper", '/etc/conf:1: option "mua_wrapper" is not supported'),
        ("tls_dn_style = x500", '/etc/conf:1: "x500" is not a style of names'),
        ("log_selector = +everything", "/etc/conf:1: unknown log_selector setting"),
        ("log_file_path = /var/log/main", '/etc/conf:1: log_file_path "/var/log/main" does not contain "%s"'),
        ("queue = mysql:x", '/etc/conf:1: "mysql:x" names no database'),
        ("spool_directory = spool", '/etc/conf:1: spool_directory "spool" is not an absolute path'),
        ("smtp_ratelimit_mail = 2,1s", "/etc/conf:1: smtp_ratelimit_mail: four values are expected"),
        ("smtp_etrn_command = turn $domain", "/etc/conf:1: smtp_etrn_command does not begin with an absolute path"),
        ("smtp_accept_max = -1", "/etc/conf:1: smtp_accept_max is negative"),
        ("tls_verify_hosts = +nosuch", '/etc/conf:1: tls_verify_hosts: unknown named host list "+nosuch"'),
        ("domainlist a = +b", '/etc/conf:1: domain list a: unknown named domain list "+b"'),
        ("domainlist a = b\ndomainlist a = c", '/etc/conf:2: domainlist "a" is defined a second time'),
        ("domainlist a", '/etc/conf:1: "=" is missing after "a"'),
        ("acl_smtp_rcpt = accept hots = *", "/etc/conf:1: inline ACL: unknown ACL condition"),
        ("begin acl\naccept", "/etc/conf:2: ACL name missing"),
        ("begin acl\na: accept", '/etc/conf:2: extra characters follow ACL name "a"'),
        ("begin acl\na:\nb:\na:", '/etc/conf:4: there are two ACLs called "a"'),
        ("begin rewrite\n*@*", "/etc/conf:2: rewrite rule: missing rewrite replacement string"),
        ("begin rewrite\n*@* a@b X", '/etc/conf:2: rewrite rule: unknown rewrite flag character "X"'),
        ("begin local_scan\nx", "/etc/conf:2: local_scan section: there is no local_scan function here"),
        ("begin retry\n* * F,x,1m", "/etc/conf:2: "),
        ("begin routers\ndriver = accept", "/etc/conf:2: router name missing"),
        ("begin routers\na:\ntransport = t", "/etc/conf:2: no driver is set for router a"),
        (
            "begin routers\na:\ndriver = acept",
            '/etc/conf:3: there is no router driver "acept" (did you mean "accept"?)',
        ),
        ("begin routers\na:\ndriver = iplookup", '/etc/conf:3: router driver "iplookup" is not served yet'),
        ("begin routers\na:\ndriver = accept", "/etc/conf:2: a router: a transport is required for this router"),
        ("begin routers\na:\ndriver = accept\ntransport = t", '/etc/conf:2: router a: there is no transport "t"'),
        ("begin routers\na:\ndriver = manualroute\ntransport = t", "/etc/conf:2: a router: neither route_list nor"),
        (
            "begin transports\nt:\ndriver = smtp\nhosts_requir_tls = *",
            '"hosts_requir_tls" unknown (did you mean "hosts_',
        ),
        ("begin transports\nt:\ndriver = smtp\nprotocol = ftp", '/etc/conf:4: t: "ftp" is not a protocol'),
        ("begin transports\nt:\ndriver = smtp\nport = http", '/etc/conf:4: t: "http" is not a port'),
        ("begin transports\nt:\ndriver = smtp\ntls_pins = AB", '/etc/conf:4: t: "AB" is not a SHA-256 fingerprint'),
        (
            "begin transports\nt:\ndriver = smtp\nhosts_require_dane = *",
            '/etc/conf:4: option "hosts_require_dane" is not',
        ),
        ("begin transports\nt:\ndriver = appendfile\nfile = /f\nmbx_format", '/etc/conf:5: option "mbx_format" is not'),
        ("begin transports\nt:\ndriver = queuefile", '/etc/conf:3: transport driver "queuefile" is not served yet'),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    found = complaints(text)
    assert any(complaint in each for each in found), found


def test_all_mistakes_at_once_in_the_order_of_the_file() -> None:
    text = (
        "tls_certifcate = x\n.include more\nsmtp_receive_timeout = 5\nbegin acl\na:\nhots = *\n"
        "begin routers\nr:\ndriver = accept\ntransport = t\ndomian = x\nbegin transports\nt:\ndriver = smpt"
    )
    found = complaints(text, {"/etc/more": "\nqueue_only = 5x"})
    assert [each.split(": ")[0] for each in found] == [
        "/etc/conf:1",
        "/etc/conf:3",
        "/etc/conf:6",
        "/etc/conf:11",
        "/etc/conf:14",
        "/etc/more:2",
    ]


def test_rewriting_rules() -> None:
    found = read("domainlist ours = a.test\nbegin rewrite\n*@+ours \\\n  $1@b.test \\\n  Fh\nc@d.test *").rewrite
    assert [rule.location.line for rule in found] == [3, 6]
    assert found[0].flags == Flag.ENVELOPE_FROM | Flag.HEADERS
    assert found[0].replacement is not None
    assert found[1].replacement is None
    assert read("").rewrite == ()


def test_options_without_effect_are_remarked_on() -> None:
    text = "exim_path = /a\nkeep_environment =\nrfc1413_hosts = *\ntls_early_banner_hosts = *\nno_prdr_enable"
    assert remarks(text) == [
        '/etc/conf:1: note: option "exim_path" has no effect here',
        '/etc/conf:3: note: option "rfc1413_hosts" has no effect here',
        '/etc/conf:4: note: option "tls_early_banner_hosts" has no effect here',
    ]


def test_an_option_that_is_not_supported_may_be_switched_off() -> None:
    assert remarks("no_mua_wrapper\nno_allow_domain_literals\nsystem_filter =") == []


def test_conditions_that_are_not_served_yet_are_remarked_on() -> None:
    (remark,) = remarks("begin acl\na:\nrequire verify = peer\naccept")
    assert remark.startswith('/etc/conf:3: warning: "verify = peer" is not served yet')


def test_a_named_list_that_is_not_there_is_found_out_when_it_is_used() -> None:
    (remark,) = remarks("begin acl\na:\naccept domains = +nosuch : x.test")
    assert remark.startswith('/etc/conf:3: warning: there is no domain list "+nosuch"')


def test_steps_without_effect_are_remarked_on() -> None:
    assert remarks("begin acl\na:\naccept control = debug/tag=x\n queue = slow\n control = dscp/ef") == [
        '/etc/conf:3: note: "control = debug" has no effect here',
        "/etc/conf:4: note: named queues are not served yet: the message waits with all others",
        '/etc/conf:5: note: "control = dscp" has no effect here',
    ]


def test_an_acl_that_is_not_there_is_found_out_when_it_is_used() -> None:
    text = "acl_smtp_rcpt = chekc\nacl_smtp_mail = /etc/none\nbegin acl\ncheck:\naccept acl = other"
    found = remarks(text)
    assert found[0].startswith('/etc/conf:1: warning: there is no ACL "chekc"')
    assert 'did you mean "check"?' in found[0]
    assert found[1].startswith('/etc/conf:2: warning: there is no ACL "/etc/none"')
    assert found[2].startswith('/etc/conf:5: warning: there is no ACL "other"')
    reference = read(text).main.acl_smtp_rcpt
    assert reference is not None
    assert reference.acl is None


def test_what_can_not_be_decided_where_it_stands_is_remarked_on() -> None:
    text = "acl_smtp_etrn = a\nacl_not_smtp = b\nbegin acl\na:\naccept senders = x@y.test\nb:\ndeny hosts = *"
    assert [each.partition(": ")[2].partition(": what")[0] for each in remarks(text)] == [
        "warning: cannot test senders in ETRN ACL",
        "warning: cannot test hosts in non-SMTP ACL",
    ]


def test_every_acl_of_the_dialog_is_served() -> None:
    options = ["auth", "etrn", "vrfy", "expn", "quit", "notquit"]
    text = "".join(f"acl_smtp_{name} = accept\n" for name in options)
    assert remarks(f"{text}acl_not_smtp = accept\nacl_not_smtp_start = accept") == []


def test_authenticators_are_read() -> None:
    found = read(
        "begin authenticators\nplain:\ndriver = plaintext\npublic_name = PLAIN\nserver_prompts = :\n"
        "server_condition = yes\nscram:\ndriver = gsasl\nserver_mech = SCRAM-SHA-256\nserver_password = x\n"
        "server_condition = yes"
    )
    assert [(block.name, block.driver, block.text("public_name")) for block in found.authenticators] == [
        ("plain", "plaintext", "PLAIN"),
        ("scram", "gsasl", ""),
    ]
    assert [(each.name, each.is_server) for each in found.auth] == [("plain", True), ("scram", True)]
    assert found.problems == ()


def test_an_authenticator_that_is_not_served_is_remarked_on() -> None:
    found = read("begin authenticators\ndove:\ndriver = dovecot\nserver_socket = /run/auth")
    assert found.auth == ()
    assert {problem.severity for problem in found.problems} == {Severity.WARNING}


def test_an_authenticator_that_makes_no_sense_is_an_error() -> None:
    (complaint,) = complaints("begin authenticators\na:\ndriver = gsasl\nserver_mech = NTLM")
    assert complaint.startswith('/etc/conf:4: a: mechanism "NTLM" is not served by driver gsasl')


# ACLs


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("accept logwrite = HELO <$sender_helo_name>", 1),
        ("!accept logwrite = $tls_in_sni", None),
        ("${if def:tls_in_sni{accept}{deny}}", None),
        ("accept ${if def:tls_in_sni{hosts = *}}", None),
        ("acl_$tls_in_sni", None),
    ],
)
def test_the_statements_of_an_option_that_shows_what_a_client_says(text: str, statements: int | None) -> None:
    reference = read(f"acl_smtp_helo = {text}\n").main.acl_smtp_helo
    assert isinstance(reference, ACLReference)
    assert reference.acl is None
    found = reference.as_written
    assert (None if found is None else len(found.statements)) == statements


def test_acls_by_name_inline_and_from_a_file() -> None:
    found = read(
        'acl_smtp_rcpt = check\nacl_smtp_mail = accept\nacl_smtp_helo = "deny hosts = 10.0.0.1\\naccept"\n'
        "acl_smtp_data = /etc/acl\nacl_smtp_connect = ${if eq{$received_port}{25}{check}{accept}}\n"
        "begin acl\ncheck:\naccept hosts = 10.0.0.1\ndeny",
        {"/etc/acl": "# from a file\naccept\n"},
    )
    main = found.main
    assert main.acl_smtp_rcpt is not None
    assert main.acl_smtp_rcpt.acl is found.acls["check"]
    assert len(found.acls["check"].statements) == 2
    assert main.acl_smtp_mail is not None
    assert main.acl_smtp_mail.acl is not None
    assert len(main.acl_smtp_mail.acl.statements) == 1
    assert main.acl_smtp_helo is not None
    assert main.acl_smtp_helo.acl is not None
    assert len(main.acl_smtp_helo.acl.statements) == 2
    assert main.acl_smtp_data is not None
    assert main.acl_smtp_data.acl is found.acls["/etc/acl"]
    assert found.acls["/etc/acl"].statements[0].location.file == "/etc/acl"
    assert main.acl_smtp_connect is not None
    assert main.acl_smtp_connect.acl is None


# Drivers


def test_routers() -> None:
    found = read(
        "domainlist ours = here.test\nbegin routers\n"
        "local:\n  driver = accept\n  domains = +ours\n  transport = box\n  condition = yes\n  condition = 1\n"
        "away:\n  driver = manualroute\n  domains = !+ours\n  route_list = * relay.test::587 ; a b byname\n"
        "  transport = smtp\n  host_find_failed = defer\n  self = send\n  no_more\n"
        "begin transports\nbox:\n driver = appendfile\n directory = /m\n maildir_format\nsmtp:\n driver = smtp"
    )
    local, away = found.routers
    assert isinstance(local, Accept)
    assert (local.name, local.location) == ("local", Location("/etc/conf", 3))
    assert len(local.preconditions.conditions) == 2
    assert local.preconditions.domains is not None
    assert isinstance(away, Manualroute)
    assert isinstance(away.routes, tuple)
    assert away.routes[0].hosts.constant == "relay.test::587"
    assert (away.host_find_failed, away.self_action, away.more) == (Fallback.DEFER, Fallback.SEND, False)


def test_transports() -> None:
    pin = "ab" * 32
    found = read(
        "begin transports\n"
        "away:\n driver = smtp\n protocol = smtps\n hosts_require_tls = *\n tls_certificate = /c\n"
        " tls_privatekey = /k\n"
        f" tls_verify_certificates = /t\n no_tls_tempfail_tryclear\n max_rcpt = 5\n tls_pins = {pin}\n port = 2465\n"
        "box:\n driver = appendfile\n directory = /m/$local_part_data\n maildir_format\n mode = 0640\n"
        " no_create_directory\n return_path_add"
    )
    away, box = found.transports["away"], found.transports["box"]
    assert isinstance(away, SMTPRules)
    assert away.tls.on_connect
    assert away.tls.require_tls is not None
    assert away.tls.certificate is not None
    assert away.tls.certificate.constant == "/c"
    assert away.tls.pins == (pin.upper(),)
    assert away.tls.tempfail_tryclear is False
    assert away.tls.verify_hosts is away.tls.try_verify_hosts is None
    assert (away.port, away.max_rcpt, away.timeouts.final) == (2465, 5, 600)
    assert isinstance(box, AppendfileRules)
    assert box.directory is not None
    assert box.directory.names_used == {"local_part_data"}
    assert (box.place.mode, box.place.create_directory) == (0o640, False)
    assert (box.common.header.return_path_add, box.common.header.envelope_to_add) == (True, False)


def test_the_laptop_lines_of_the_wiki_page() -> None:
    found = read(
        "begin transports\nremote_smtp:\n    driver = smtp\n    tls_certificate = /etc/ssl/certs/client.pem\n"
        "    tls_privatekey = /etc/ssl/private/client.pem\n    hosts_require_tls =\n"
        "    tls_verify_certificates = /etc/ssl/certs/server.pem"
    )
    rules = found.transports["remote_smtp"]
    assert isinstance(rules, SMTPRules)
    assert rules.tls.verify_certificates is not None


def test_the_server_lines_of_the_wiki_page() -> None:
    found = read(
        f"RELAY_FROM_CERTS = {'AB' * 32} : {'CD' * 32}\ntls_verify_certificates = /etc/ssl/certs/\n"
        "tls_try_verify_hosts = *\nacl_smtp_rcpt = acl_check_rcpt\nbegin acl\nacl_check_rcpt:\n"
        "    accept  verify        = certificate\n"
        "            condition     = ${if inlist{${sha256:$tls_in_peercert}}{RELAY_FROM_CERTS}}\n"
        "            control       = submission\n            control       = dkim_disable_verify\n\n"
        "    warn    verify        = certificate\n"
        "            condition     = ${if !inlist{${sha256:$tls_in_peercert}}{RELAY_FROM_CERTS}}\n"
        "            logwrite      = Attempt to relay: ${sha256:$tls_in_peercert}\n"
        "    deny message = relay not permitted\n"
    )
    assert [statement.verb.value for statement in found.acls["acl_check_rcpt"].statements] == ["accept", "warn", "deny"]
    assert found.problems == ()


def test_retry_rules() -> None:
    assert len(read("begin retry\n* * F,1h,1m; G,2d,1h,1.5\nexample.org timeout F,1d,1h").retry) == 2


# The samples


@pytest.mark.parametrize("name", ["relay.conf", "laptop.conf"])
def test_the_samples_are_good(name: str) -> None:
    found = read_configuration(str(CONF / name), lambda path: Path(path).read_text("utf-8"))
    assert found.problems == ()


def test_the_sample_of_a_relay_is_no_open_relay() -> None:
    found = read_configuration(str(CONF / "relay.conf"), lambda path: Path(path).read_text("utf-8"))
    assert found.main.acl_smtp_rcpt is not None
    acl = found.acls["acl_check_rcpt"]
    accepting = [[step.name for step in each.steps] for each in acl.statements if each.verb.value == "accept"]
    assert accepting == [["domains"], ["verify", "condition", "control"]]
    assert acl.statements[-1].verb.value == "deny"


# Anything

PIECES = st.sampled_from([
    "begin ", "acl", "routers", "transports", "retry", "authenticators", "\n", "a:", "b:", "driver = ", "smtp",
    "accept", "manualroute", "appendfile", "route_list = ", "* ", "tls_certificate = ", "${if ", "}", "{",
    "$domain", "domainlist ", "x = ", "+x", "acl_smtp_rcpt = ", "a", "deny ", "hosts = ", "transport = ",
    "F,1h,1m", "no_", "queue_only", '"', "X", " = ", "daemon_smtp_ports = ", "1", "\\", "log_selector = +",
    "message_size_limit = ", "hide ", "port = ", "local_",
])  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=50).map("".join)))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_configuration_or_problems(text: str) -> None:
    found: tuple[Problem, ...] = ()
    try:
        found = read(text, {"/etc/a": text}).problems
        assert not any(problem.severity is Severity.ERROR for problem in found)
    except ConfigurationError as error:
        found = error.problems
    assert all(str(problem) and problem.location.file for problem in found)


# What is looked at and not served


def test_obstacles_are_errors_for_those_who_serve() -> None:
    text = "smtp_banner = ${run{x}}\nbegin routers\nr:\ndriver = iplookup\nhosts = x"
    found = understand_configuration("/etc/conf", lambda path: text, host_name="here.test")
    assert [problem.location.line for problem in found.obstacles] == [1, 4]
    assert found.configuration.main.primary_hostname == "here.test"
    assert [line.partition(": ")[0] for line in complaints(text)] == ["/etc/conf:1", "/etc/conf:4"]


def test_of_a_mistake_nothing_else_is_told_to_those_who_look() -> None:
    text = "smtp_banner = ${run{x}}\nexim_path = /x\nnosuch = 1"
    with pytest.raises(ConfigurationError) as caught:
        understand_configuration("/etc/conf", lambda path: text, host_name="here.test")
    assert [problem.location.line for problem in caught.value.problems] == [3]
    assert len(complaints(text)) == 2


@pytest.mark.parametrize(
    ("setting", "lmtp", "at_once"),
    [
        ("", False, False),
        ("protocol = SMTP", False, False),
        ("protocol = LMTP", True, False),
        ("protocol = smtps", False, True),
        ("protocol = Submissions", False, True),
    ],
)
def test_protocols(setting: str, lmtp: bool, at_once: bool) -> None:
    transport = read(f"begin transports\nt:\ndriver = smtp\n{setting}").transports["t"]
    assert isinstance(transport, SMTPRules)
    assert (transport.lmtp, transport.tls.on_connect, transport.port) == (lmtp, at_once, 0)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("max_rcpt = ${if eq{a}{b}{1}{2}}", "max_rcpt is not expanded here"),
        ("max_rcpt = many", "integer expected for max_rcpt"),
        ("protocol = uucp", '"uucp" is not a protocol'),
    ],
)
def test_values_of_a_transport_that_can_not_be_served(setting: str, complaint: str) -> None:
    text = f"begin transports\nt:\ndriver = smtp\n{setting}"
    (told,) = complaints(text)
    assert complaint in told
    assert understand_configuration("/etc/conf", lambda path: text, host_name="h").obstacles


def test_an_option_under_two_names() -> None:
    assert read("daemon_smtp_port = 26\ndaemon_smtp_ports = 27").main.daemon_smtp_ports == (27,)
    assert read("return_size_limit = 2K").main.bounce_return_size_limit == 2048
    (told,) = complaints("daemon_smtp_port = 26\ndaemon_smtp_port = 27")
    assert '"daemon_smtp_port" option set for the second time' in told
