"""Blocks of appendfile and pipe: what they come to, and what Exim refuses."""

from __future__ import annotations

import pytest

from relay.config.drivers import Transport
from relay.config.read import read_configuration
from relay.delivery.appendfile import AppendfileRules
from relay.delivery.autoreply import AutoreplyRules
from relay.delivery.jobs import CreateFile, Locking
from relay.delivery.lmtp import LMTPRules
from relay.delivery.pipe import PipeRules
from relay.mail.source import ConfigurationError
from relay.policy.rewrite import Flag


def read(driver: str, *lines: str) -> Transport:
    text = f"begin transports\nt:\ndriver = {driver}\n" + "\n".join(lines)
    return read_configuration("/etc/conf", lambda _: text).transports["t"]


def appendfile(*lines: str) -> AppendfileRules:
    rules = read("appendfile", *lines)
    assert isinstance(rules, AppendfileRules)
    return rules


def pipe(*lines: str) -> PipeRules:
    rules = read("pipe", *lines)
    assert isinstance(rules, PipeRules)
    return rules


def refused(driver: str, *lines: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(driver, *lines)
    return str(caught.value)


def test_a_mailbox_file_has_its_forms_by_default() -> None:
    rules = appendfile("file = /m/$local_part_data")
    text = rules.common.text
    assert text.prefix is not None
    assert text.prefix.source.startswith("From ${if def:return_path")
    assert text.suffix is not None
    assert (text.suffix.constant, text.check_string, text.escape_string) == ("\n", "From ", ">From ")
    assert rules.locking == Locking()
    assert rules.common.batch_max == 1
    assert rules.common.names_used == {"local_part_data"}


@pytest.mark.parametrize(
    "lines", [("directory = /m", "maildir_format"), ("directory = /m",), ("file = /m", "use_bsmtp")]
)
def test_other_forms_have_none(lines: tuple[str, ...]) -> None:
    text = appendfile(*lines).common.text
    assert (text.prefix, text.suffix, text.check_string, text.escape_string) == (None, None, "", "")


def test_what_is_set_comes_before_the_defaults() -> None:
    rules = appendfile("file = /m", "message_prefix = a", "message_suffix =", "check_string =", "escape_string =")
    text = rules.common.text
    assert text.prefix is not None
    assert text.prefix.constant == "a"
    assert (text.suffix and text.suffix.constant, text.check_string, text.escape_string) == ("", "", "")
    assert appendfile("file = /m", "escape_string = |From ").common.text.check_string == "From "


def test_locking() -> None:
    flock = appendfile("file = /m", "use_flock_lock").locking
    assert (flock.use_fcntl_lock, flock.use_flock_lock) == (False, True)
    both = appendfile("file = /m", "use_flock_lock", "use_fcntl_lock").locking
    assert (both.use_fcntl_lock, both.use_flock_lock) == (True, True)
    assert appendfile("file = /m", "lock_retries = 0", "lock_fcntl_timeout = 5s").locking.lock_fcntl_timeout == 5
    assert "no locking configured" in refused("appendfile", "file = /m", "no_use_lockfile", "no_use_fcntl_lock")


def test_create_file() -> None:
    assert appendfile("file = /m", "create_file = inhome").place.create is CreateFile.IN_HOME
    place = appendfile("file = /m", "create_file = /var/mail").place
    assert (place.create, place.home) == (CreateFile.BELOW_HOME, "/var/mail")


def test_users() -> None:
    rules = appendfile("file = /m", "user = ${lookup{x}lsearch{/y}}", "group = mail", "initgroups").common
    assert rules.user is not None
    assert rules.group is not None
    assert rules.group.constant == "mail"
    assert rules.initgroups


def test_a_threshold_has_a_message() -> None:
    assert appendfile("file = /m", "quota_warn_message = x").quota.warning is None
    usual = appendfile("file = /m", "quota_warn_threshold = 90%").quota
    assert usual.threshold is not None
    assert usual.warning is not None
    assert usual.warning.source.startswith("To: ")
    own = appendfile("file = /m", "quota_warn_threshold = 1M", "quota_warn_message = x").quota
    assert own.warning is not None
    assert own.warning.source == "x"


def test_formats() -> None:
    rules = appendfile("file = /m", 'file_format = "From : t : \\\\1\\\\1::x : other"')
    assert rules.formats == (("From", "t"), ("\\1\\1:x", "other"))


@pytest.mark.parametrize(
    "lines, words",
    [
        (("file = /m", "directory = /d"), 'only one of "file" or "directory"'),
        (("file = /m", "quota_filecount = 5"), 'must not be set without "directory"'),
        (("directory = /m", "quota_directory = /x"), "quota must be set if quota_directory is set"),
        (("file = /m", "maildir_format"), 'requires "directory"'),
        (("file = /m", "create_file = somewhere"), 'invalid value given for "create_file": "somewhere"'),
        (("file = /m", "quota_size_regex = ("), "quota_size_regex"),
        (("file = /m", "file_format = a : b : c"), "file_format"),
        (("file = /m", "body_only", "headers_only"), "only one of body_only and headers_only"),
        (("file = /m", "user = 77"), "without a group"),
        (("file = /m", "user = ${run{/bin/id}}"), "user: "),
        (("file = /m", "mailstore_format"), 'option "mailstore_format" is not supported'),
        (("directory = /m", "maildir_format", "maildir_quota_directory_regex = ("), "maildir_quota_directory_regex"),
        (("file = /m", "transport_filter = ${perl{x}}"), "transport_filter: "),
    ],
)
def test_what_is_refused_of_appendfile(lines: tuple[str, ...], words: str) -> None:
    assert words in refused("appendfile", *lines)


def test_a_pipe() -> None:
    rules = pipe("command = /bin/x '$local_part' \"a b\"", "temp_errors = *", "max_output = 1K", "umask = 077")
    assert rules.command is not None
    assert [each.source for each in rules.command.expansions] == ["/bin/x", "$local_part", "a b"]
    assert rules.all_errors_are_temporary
    assert (rules.max_output, rules.umask, rules.timeout) == (1024, 0o77, 3600)
    assert rules.common.text.prefix is not None
    assert rules.common.text.check_string == ""
    assert pipe("temp_errors = 1 : 2").temp_errors == (1, 2)
    assert pipe().temp_errors == (75, 73)
    assert pipe("use_bsmtp", "batch_max = 9").common.text.prefix is None


@pytest.mark.parametrize(
    "lines, words",
    [
        (("command = /x", "return_output", "return_fail_output"), "both return_output and return_fail_output"),
        (("command = /x", "log_output", "log_fail_output"), "both log_output and log_fail_output"),
        (("command = /x", "temp_errors = soon"), "temp_errors must be a list of numbers"),
        (("command = /x ${perl{x}}",), "command: "),
        (("command = " + "x " * 61,), "too many arguments"),
        (("command = /x", "use_shell"), 'option "use_shell" is not supported'),
        (("command = /x", "pipe_as_creator"), 'option "pipe_as_creator" is not supported'),
    ],
)
def test_what_is_refused_of_pipe(lines: tuple[str, ...], words: str) -> None:
    assert words in refused("pipe", *lines)


@pytest.mark.parametrize("line, fails", [("user = ${if", True), ("command = /y ${if eq{a}", True), ("user = x", False)])
def test_what_can_not_be_expanded_fails_when_it_is_used(line: str, fails: bool) -> None:
    lines = (line,) if line.startswith("command") else ("command = /x", line)
    rules = pipe(*lines)
    assert rules.command is not None
    found = (rules.common.user, *rules.command.expansions)
    assert any(each is not None and each.fault is not None for each in found) is fails


def test_autoreply() -> None:
    lines = ("once = /o", "once_file_size = 2K", "mode = 640", "never_mail = a@b.test", "text = hi", "return_message")
    rules = read("autoreply", *lines, "to = $sender_address", "body_only")
    assert isinstance(rules, AutoreplyRules)
    assert sorted(rules.texts) == ["once", "text", "to"]
    assert (rules.once_file_size, rules.mode, rules.return_message) == (2048, 0o640, True)
    assert rules.never_mail is not None
    assert rules.common.text.body_only
    assert rules.common.batch_max == 1
    assert "user set without group" in refused("autoreply", "user = 12")


def test_lmtp() -> None:
    def lmtp(*lines: str) -> LMTPRules:
        rules = read("lmtp", *lines)
        assert isinstance(rules, LMTPRules)
        return rules

    rules = lmtp("socket = /run/box", "timeout = 7s", "ignore_quota", "batch_max = 20", "body_only")
    assert rules.socket is not None
    assert (rules.socket.source, rules.timeout, rules.ignore_quota, rules.common.batch_max) == ("/run/box", 7, True, 20)
    assert (rules.common.text.use_crlf, rules.common.text.body_only, rules.common.text.prefix) == (True, True, None)
    rules = lmtp("command = /bin/box $local_part")
    assert rules.command is not None
    assert (rules.timeout, rules.ignore_quota, rules.common.batch_max) == (300, False, 1)
    for lines in ((), ("socket = /x", "command = /y")):
        assert "one (and only one) of command or socket must be set" in refused("lmtp", *lines)


def test_headers_rewrite() -> None:
    rules = appendfile("file = /m", "headers_rewrite = a@b c@d f : x@y w@z")
    assert [(each.pattern.source.split()[-1], each.flags) for each in rules.common.header.headers_rewrite] == [
        ("a@b", Flag.FROM),
        ("x@y", Flag.EVERYWHERE),
    ]
    assert "missing rewrite replacement" in refused("appendfile", "file = /m", "headers_rewrite = a@b")
