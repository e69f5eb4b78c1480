"""Options as -bP prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import showing
from relay.config.driver_options import DRIVERS
from relay.config.main_options import MAIN_OPTIONS
from relay.config.read import Configuration, understand_configuration
from relay.config.showing import Viewer
from relay.policy.words import read_time

ALL = Viewer(sees_hidden=True)
SOME = Viewer(sees_hidden=False)


def understand(text: str) -> Configuration:
    return understand_configuration("/etc/conf", lambda path: text, host_name="here.test").configuration


def line(text: str, name: str, viewer: Viewer = ALL) -> str | None:
    return showing.main_line(understand(text), name, viewer)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("", "primary_hostname", "primary_hostname = here.test"),
        ("qualify_domain = a.test", "qualify_recipient", "qualify_recipient = a.test"),
        ("", "smtp_accept_max", "smtp_accept_max = 20"),
        ("no_smtp_enforce_sync", "smtp_enforce_sync", "no_smtp_enforce_sync"),
        ("log_timezone = yes", "log_timezone", "log_timezone"),
        ("auto_thaw = 90m", "auto_thaw", "auto_thaw = 1h30m"),
        ("", "timeout_frozen_after", "timeout_frozen_after = 0s"),
        ("delay_warning = 1h:25h", "delay_warning", "delay_warning = 1h:1d1h"),
        ("bounce_return_size_limit = 3072", "bounce_return_size_limit", "bounce_return_size_limit = 3K"),
        ("bounce_return_size_limit = 2M", "bounce_return_size_limit", "bounce_return_size_limit = 2M"),
        ("bounce_return_size_limit = 1000", "bounce_return_size_limit", "bounce_return_size_limit = 1000"),
        ("check_spool_space = 3G", "check_spool_space", "check_spool_space = 3G"),
        ("check_spool_space = 2100", "check_spool_space", "check_spool_space = 2K"),
        ("check_spool_space = 0", "check_spool_space", "check_spool_space = 0"),
        ("queue_only_load = 2.50", "queue_only_load", "queue_only_load = 2.5"),
        ("queue_only_load = 7", "queue_only_load", "queue_only_load = 7.0"),
        ("", "queue_only_load", "queue_only_load ="),
        ("", "admin_groups", "admin_groups ="),
        ("trusted_users = one : two", "trusted_users", "trusted_users = one:two"),
        ("helo_allow_chars = \"_\\t\"", "helo_allow_chars", "helo_allow_chars = _\\t"),
        ("smtp_banner = ${if bad", "smtp_banner", "smtp_banner = ${if bad"),
        ("host_lookup = a :  b", "host_lookup", "host_lookup = a :  b"),
        ("acl_smtp_rcpt = accept", "acl_smtp_rcpt", "acl_smtp_rcpt = accept"),
        ("", "acl_smtp_data_prdr", "acl_smtp_data_prdr = accept"),
        ("daemon_smtp_port = 26", "daemon_smtp_ports", "daemon_smtp_ports = 26"),
        ("errors_reply_to = \u00e4", "errors_reply_to", "errors_reply_to = \\303\\244"),
        ("", "no_such_option", None),
    ],
)  # fmt: skip
def test_a_main_option(text: str, name: str, expected: str | None) -> None:
    assert line(text, name) == expected


def test_what_is_hidden_is_for_administrators() -> None:
    text = "hide smtp_banner = secret\nhide queue_only\nhide hostlist h = 192.0.2.1"
    assert line(text, "smtp_banner") == "smtp_banner = secret"
    assert line(text, "smtp_banner", SOME) == "smtp_banner = <value not displayable>"
    assert line(text, "queue_only", SOME) == "queue_only = <value not displayable>"
    assert list(showing.named_list_lines(understand(text), "h", SOME)) == ["hostlist h = <value not displayable>"]
    values = Viewer(sees_hidden=False, labels=False)
    assert line(text, "smtp_banner", values) == "<value not displayable>"


def test_all_options_stand_in_the_order_of_their_names() -> None:
    lines = list(showing.main_lines(understand("hide smtp_banner = x"), SOME))
    names = [each.partition(" ")[0].removeprefix("no_") for each in lines]
    assert names == sorted(names)
    assert len(names) > 280
    assert {"tls_certificate", "exim_path", "peers_directory"} <= set(names)


def test_values_alone() -> None:
    assert line("smtp_accept_max = 7", "smtp_accept_max", Viewer(sees_hidden=True, labels=False)) == "7"


def test_lists_of_one_name_and_several_kinds() -> None:
    text = "hostlist x = 192.0.2.1\ndomainlist x = a.test :  b.test\nlocalpartlist y = z"
    lines = list(showing.named_list_lines(understand(text), "x", ALL))
    assert lines == ["domainlist x = a.test :  b.test", "hostlist x = 192.0.2.1"]
    assert list(showing.named_list_lines(understand(text), "y", ALL)) == ["localpartlist y = z"]


def shown(text: str, viewer: Viewer = ALL) -> dict[str, str]:
    """The options of the one block, by name."""
    (block,) = understand(text).blocks
    lines = list(showing.block_lines(block, viewer))
    return {each.partition(" =")[0].removeprefix("no_"): each for each in lines}


def test_a_block_that_is_not_served() -> None:
    found = shown(
        "begin transports\nt:\ndriver = pipe\ncommand = /bin/cat\numask = 077\nmax_output = 4K\ntimeout = 75s"
    )
    assert found["command"] == "command = /bin/cat"
    assert found["umask"] == "umask = 077"
    assert found["max_output"] == "max_output = 4K"
    assert found["timeout"] == "timeout = 1m15s"
    assert found["use_shell"] == "no_use_shell"
    assert found["retry_use_local_part"] == "retry_use_local_part"
    assert found["message_suffix"] == "message_suffix = \\n"


def test_generic_options_come_first() -> None:
    lines = list(showing.block_lines(understand("begin routers\nr:\ndriver = redirect\ndata = x").blocks[0], ALL))
    assert lines[0] == "address_data = "
    assert lines.index("verify_sender") < lines.index("no_allow_defer") < lines.index("data = x")


def test_what_two_settings_come_to() -> None:
    found = shown(
        "begin routers\nr:\ndriver = redirect\ncondition = a\ncondition = b\nheaders_add = X: 1\nheaders_add = Y: 2\n"
        "headers_remove = a\nheaders_remove = b\nset = r_x = 1\nset = r_y = 2\nno_verify\nlocal_parts = a"
    )
    assert found["condition"] == "condition = ${if and{{bool_lax{a}}{bool_lax{b}}}}"
    assert found["headers_add"] == "headers_add = X: 1\\nY: 2"
    assert found["headers_remove"] == "headers_remove = a:b"
    assert found["set"] == "set = r_x = 1;r_y = 2"
    assert (found["verify_sender"], found["verify_recipient"]) == ("no_verify_sender", "no_verify_recipient")
    assert found["retry_use_local_part"] == "retry_use_local_part"


def test_a_mailbox_has_what_exim_writes_around_its_messages() -> None:
    file = shown("begin transports\nt:\ndriver = appendfile\nfile = /f")
    assert file["check_string"] == "check_string = From "
    assert shown("begin transports\nt:\ndriver = appendfile\nfile = /f\nuse_bsmtp")["escape_string"] == (
        "escape_string = .."
    )
    assert shown("begin transports\nt:\ndriver = appendfile\ndirectory = /d")["check_string"] == "check_string = "


def test_every_driver_can_be_printed() -> None:
    for section, driver in DRIVERS:
        text = f"begin {section}\nx:\ndriver = {driver}"
        if driver in ("accept", "dnslookup", "ipliteral"):
            text += "\ntransport = t"
        assert len(shown(text)) >= 8, driver


def test_the_text_as_it_was_read() -> None:
    text = 'A = secret\ntimezone =   a   "b  c"\nhide queue_only\nbegin routers\nr:\n  driver = accept\n  transport = t'
    found = understand_configuration("/etc/conf", lambda path: text, host_name="h").configuration
    assert list(showing.text_lines(found.listing, ALL)) == [
        '# 1 "/etc/conf"', "A = secret", 'timezone = a "b  c"', "hide queue_only", "", "begin routers", "",
        "  r:", "    driver = accept", "    transport = t",
    ]  # fmt: skip
    assert list(showing.text_lines(found.listing, Viewer(sees_hidden=False, labels=False))) == [
        '# 1 "/etc/conf"', "A = <value not displayable>", 'timezone = a "b  c"', "<value not displayable>",
        "begin routers", "r:", "driver = accept", "transport = t",
    ]  # fmt: skip


@given(st.integers(0, 10**9))
def test_a_time_is_printed_as_it_can_be_read(seconds: int) -> None:
    assert read_time(showing.duration(seconds)) == seconds


@given(st.text(max_size=30))
def test_what_is_printed_is_printable(text: str) -> None:
    assert showing.printed(text).isprintable()
    assert showing.printed(text).isascii()


def test_every_main_option_can_be_printed() -> None:
    found = understand("")
    for name in MAIN_OPTIONS:
        assert showing.main_line(found, name, ALL) is not None
