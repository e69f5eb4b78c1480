"""Blocks: options of drivers that are served and of those that are not; mistakes and obstacles."""

from __future__ import annotations

from relay.config.blocks import DriverBlock, Written
from relay.config.read import Understood, understand_configuration
from relay.expand.evaluate import Expansion
from relay.mail.source import Severity
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import EVERY_PURPOSE


def understand(text: str) -> Understood:
    return understand_configuration("/etc/conf", lambda path: text, host_name="h.test")


def block(text: str) -> DriverBlock:
    (found,) = understand(text).configuration.blocks
    return found


def test_options_of_a_driver_that_is_not_served_are_typed() -> None:
    found = block("begin transports\nt:\ndriver = autoreply\nmode = 0640\nto = $sender_address\nonce_file_size = 1K")
    assert found.number("mode") == 0o640
    assert found.number("once_file_size") == 1024
    assert isinstance(found.expansion("to"), Expansion)
    assert found.flag("return_message") is False


def test_what_was_written_is_kept() -> None:
    found = block('begin transports\nt:\ndriver = pipe\nhide command = "/bin/a \\"b\\""\nno_use_shell')
    assert found.written["command"] == Written('/bin/a "b"', hidden=True)
    assert found.written["use_shell"] == Written("")
    assert found.place("command").line == 4


def test_settings_that_may_be_repeated() -> None:
    found = block("begin routers\nr:\ndriver = redirect\nheaders_add = A: 1\nheaders_add = B: $domain\nset = r_a = 1")
    assert [each.constant for each in found.expansions("headers_add")] == ["A: 1", None]
    assert found.items("set") == ("r_a = 1",)
    assert found.expansions("headers_remove") == ()


def test_verify_is_two_options() -> None:
    found = block("begin routers\nr:\ndriver = redirect\nverify = false\nverify_sender")
    assert (found.flag("verify_recipient"), found.flag("verify_sender")) == (False, True)


def obstacles(text: str) -> list[tuple[int, str]]:
    return [(problem.location.line, problem.what) for problem in understand(text).obstacles]


def test_what_is_not_served_is_no_mistake() -> None:
    text = (
        "begin transports\nt:\ndriver = smtp\nhosts = a.test\nsocks_proxy = 192.0.2.1\n"
        "u:\ndriver = queuefile\ndirectory = /s"
    )
    assert obstacles(text) == [
        (5, 'option "socks_proxy" is not supported'),
        (7, 'transport driver "queuefile" is not served yet: mail that it is for would not be delivered'),
    ]
    found = understand(text).configuration
    assert set(found.transports) == {"t"}
    assert [each.name for each in found.blocks] == ["t", "u"]


def test_an_expansion_that_will_fail_is_a_warning() -> None:
    text = "smtp_banner = ${nosuch:x}\nbegin transports\nt:\ndriver = smtp\nhelo_data = $nosuch"
    assert obstacles(text) == []
    found = understand(text).configuration
    assert [(each.location.line, each.severity) for each in found.problems] == [
        (1, Severity.WARNING),
        (5, Severity.WARNING),
    ]
    assert "it will fail when it is used" in found.problems[0].what
    assert found.main.smtp_banner is not None
    assert found.main.smtp_banner.fault is not None


def test_what_is_not_served_is_more_than_a_warning() -> None:
    """In Exim it would do something, and not fail."""
    text = "smtp_banner = ${run{/bin/date}}\nhost_reject_connection = $spf_result\nbegin transports\nt:\n"
    assert [line for line, _ in obstacles(f"{text}driver = smtp\nhelo_data = ${{if pam{{x}}}}")] == [1, 2, 6]


def test_setting_what_is_the_default_asks_for_nothing() -> None:
    text = "acl_smtp_data_prdr = accept\nno_mua_wrapper\nbegin transports\nt:\ndriver = smtp\n"
    text += "no_authenticated_sender_force"
    assert obstacles(text) == []
    assert understand(text).configuration.problems == ()


def test_a_router_that_only_verifies_delivers_nothing() -> None:
    text = "begin routers\nv:\ndriver = accept\nverify_only\nr:\ndriver = accept\ntransport = t\nbegin transports\n"
    found = understand(text + "t:\ndriver = smtp")
    only, both = found.configuration.routers
    assert Purpose.DELIVER not in only.preconditions.purposes
    assert Purpose.VERIFY_SENDER in only.preconditions.purposes
    assert both.preconditions.purposes == EVERY_PURPOSE
    assert found.obstacles == ()


def test_users_that_can_not_be_told_now_are_none() -> None:
    found = understand("trusted_users = ${lookup{a}lsearch{/etc/users}}")
    assert found.configuration.main.trusted_users == ()
    assert [problem.location.line for problem in found.obstacles] == [1]


def test_names_are_cut_before_they_are_expanded() -> None:
    text = "begin routers\nr:\ndriver = redirect\nheaders_remove = a : ${if def::h_b:: {b}}\nheaders_remove = c"
    found = block(text).expansions("headers_remove")
    assert [each.source for each in found] == ["a", "${if def:h_b: {b}}", "c"]
    assert block("begin routers\nr:\ndriver = redirect\nheaders_remove =").expansions("headers_remove") == ()
