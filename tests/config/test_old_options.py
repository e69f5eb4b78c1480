"""Options of Exim 3 and of old GnuTLS builds: what they become, and where they can't stand."""

from __future__ import annotations

import pytest

from relay.config.old_options import RELAY_ACL, TLS_ACL, log_selector_text, relay_statements
from relay.config.read import Configuration, read_configuration
from relay.mail.source import ConfigurationError, Severity


def read(text: str) -> Configuration:
    return read_configuration("/etc/conf", lambda path: text, host_name="relay.test")


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return [each.what for each in caught.value.problems if each.severity is Severity.ERROR]


def shown(configuration: Configuration, name: str) -> list[str]:
    return [step.text for step in configuration.acls[name].steps]


def test_the_relay_options_become_statements() -> None:
    found = read("host_accept_relay = 192.0.2.0/24\ntls_host_accept_relay = *\nhost_auth_accept_relay = 10.0.0.0/8\n")
    reference = found.main.acl_smtp_rcpt
    assert reference is not None
    assert reference.acl is found.acls[RELAY_ACL]
    assert relay_statements(found.main, found.named_lists).splitlines() == [
        "accept domains = @",
        "accept hosts = 192.0.2.0/24",
        "accept hosts = 10.0.0.0/8",
        "authenticated = *",
        "accept hosts = *",
        "encrypted = *",
        "deny message = relaying to <$local_part@$domain> prohibited by administrator",
    ]
    assert any("encrypted" in line for line in shown(found, RELAY_ACL))
    assert len(found.acls[RELAY_ACL].statements) == 5


def test_local_domains_are_those_of_the_list_of_that_name() -> None:
    found = read("domainlist local_domains = a.test : b.test\nhost_accept_relay = 192.0.2.1\n")
    assert relay_statements(found.main, found.named_lists).startswith("accept domains = +local_domains\n")


@pytest.mark.parametrize("option", ["host_accept_relay", "host_auth_accept_relay", "tls_host_accept_relay"])
def test_beside_an_acl_of_ones_own_they_are_an_error(option: str) -> None:
    (error,) = errors(f"{option} = *\nacl_smtp_rcpt = accept\n")
    assert option in error
    assert "acl_smtp_rcpt" in error


def test_without_them_nothing_is_made() -> None:
    assert read("").acls == {}
    assert read("").main.acl_smtp_rcpt is None


def test_tls_hosts_refuses_mail_in_clear() -> None:
    found = read("tls_hosts = 192.0.2.0/24\n")
    reference = found.main.acl_smtp_mail
    assert reference is not None
    assert reference.acl is found.acls[TLS_ACL]
    assert [len(each.steps) for each in reference.acl.statements] == [2, 0]
    assert "503 Use of TLS required" in repr(reference.acl.statements[0])


def test_tls_hosts_stands_before_an_acl_for_mail() -> None:
    text = "tls_hosts = *\nacl_smtp_mail = mine\nbegin acl\nmine:\n  deny senders = a@b.test\n  accept\n"
    found = read(text)
    assert found.main.acl_smtp_mail is not None
    acl = found.main.acl_smtp_mail.acl
    assert acl is not None
    assert acl.statements[1:] == found.acls["mine"].statements
    (error,) = errors("tls_hosts = *\nacl_smtp_mail = ${if eq{1}{1}{a}{b}}\nbegin acl\na:\n accept\nb:\n accept\n")
    assert "tls_hosts" in error


@pytest.mark.parametrize(
    "line",
    [
        "tls_hosts = *",
        "host_accept_relay = *",
        "tls_verify_ciphers = HIGH",
        "tls_log_cipher = false",
        "tls_log_peerdn",
        "gnutls_require_kx = DHE",
        "gnutls_require_mac = SHA",
        "gnutls_require_protocols = TLS1",
    ],
)
def test_each_says_what_one_writes_today(line: str) -> None:
    (note,) = [each for each in read(line).problems if "today one writes" in each.what]
    assert note.severity is Severity.NOTE
    assert line.split()[0] in note.what


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("", ""),
        ("tls_log_cipher = false", "-tls_cipher "),
        ("tls_log_peerdn", "+tls_peerdn "),
        ("no_tls_log_cipher\ntls_log_peerdn\nlog_selector = +tls_sni", "-tls_cipher +tls_peerdn +tls_sni"),
    ],
)
def test_what_is_logged(text: str, selector: str) -> None:
    assert log_selector_text(read(text).main) == selector


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("openssl_options = +bogus", "bogus"),
        ("openssl_options = no_tlsv1", "+ or -"),
        ("tls_require_ciphers = NORMAL:+VERS-TLS1.0", "no equal"),
        ("tls_verify_ciphers = EXPORT", "weak"),
        ("tls_dhparam = bogus", "Diffie-Hellman"),
        ("tls_handshakes_per_host = -1", "negative"),
    ],
)
def test_constants_that_are_wrong_are_found_when_the_file_is_read(line: str, why: str) -> None:
    (error,) = errors(line)
    assert why in error
