"""Blocks of the drivers appendfile, autoreply, lmtp and pipe become what local deliveries work with (machine).

What Exim refuses when it reads such a block is refused here, with the line: two names for one place, no locking
at all, a word that is none of an option's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from relay.config.blocks import DriverBlock
from relay.config.options import split_items
from relay.delivery.appendfile import AppendfileRules, QuotaRules
from relay.delivery.autoreply import AutoreplyRules
from relay.delivery.command_line import CommandLine, TooManyWords, compile_command
from relay.delivery.filtering import FilterRules
from relay.delivery.header_edits import HeaderEdits
from relay.delivery.jobs import CreateFile, Locking, Place
from relay.delivery.lmtp import LMTPRules
from relay.delivery.local import LocalRules, MessageRules
from relay.delivery.pipe import DEFAULT_PATH, PipeRules
from relay.delivery.quota_warning import USUAL_MESSAGE
from relay.expand.errors import ExpansionError
from relay.expand.evaluate import Expansion, compile_expansion, compile_for_use
from relay.expand.splitting import split_list
from relay.mail.source import ConfigurationError, Problem
from relay.policy.rewrite import RewriteRule, parse_rewrite_rules

_FROM_LINE = "From ${if def:return_path{$return_path}{MAILER-DAEMON}} ${tod_bsdinbox}\n"
_PREFIX = compile_expansion(_FROM_LINE)
_SUFFIX = compile_expansion("\n")
_REPLY_TEXTS = (
    "from", "reply_to", "to", "cc", "bcc", "subject", "headers", "text", "file", "log", "once", "once_repeat",
)  # fmt: skip
_ESCAPES: Mapping[str, str] = {"From ": ">From "}


def wrong(block: DriverBlock, option: str, what: str, remedy: str) -> ConfigurationError:
    """The complaint about a block, at the line of an option."""
    return ConfigurationError(Problem(block.place(option), f"{block.name}: {what}", remedy))


def header_edits(block: DriverBlock) -> HeaderEdits:
    """The options of any transport that change the header."""
    return HeaderEdits(
        return_path_add=block.flag("return_path_add"),
        envelope_to_add=block.flag("envelope_to_add"),
        delivery_date_add=block.flag("delivery_date_add"),
        headers_add=block.expansions("headers_add"),
        headers_remove=block.expansions("headers_remove"),
        headers_rewrite=_rewrite_rules(block),
    )


def _rewrite_rules(block: DriverBlock) -> tuple[RewriteRule, ...]:
    """Lines as in the rewrite section, between colons. Raises ConfigurationError."""
    place, text = block.place("headers_rewrite"), block.text("headers_rewrite")
    return parse_rewrite_rules((place, item) for item in split_list(text).items if item)


def appendfile(block: DriverBlock) -> AppendfileRules:
    """`driver = appendfile`. Raises ConfigurationError."""
    file, directory = block.expansion("file"), block.expansion("directory")
    if file is not None and directory is not None:
        raise wrong(block, "directory", 'only one of "file" or "directory" can be specified', "remove one of them")
    _check_appendfile(block)
    is_mailbox = directory is None and not block.flag("maildir_format")
    return AppendfileRules(
        common=_common(block, _text(block, is_mailbox=is_mailbox)),
        file=file,
        directory=directory,
        maildir_format=block.flag("maildir_format"),
        maildir_tag=block.expansion("maildir_tag"),
        folder_regex=_regex(block, "maildirfolder_create_regex"),
        directory_file=_compiled(block, "directory_file"),
        place=_place(block),
        locking=_locking(block),
        quota=QuotaRules(
            quota=block.expansion("quota"),
            filecount=block.expansion("quota_filecount"),
            threshold=block.expansion("quota_warn_threshold"),
            warning=_quota_warning(block),
            directory=block.expansion("quota_directory"),
            mailbox_size=block.expansion("mailbox_size"),
            mailbox_filecount=block.expansion("mailbox_filecount"),
            size_regex=_regex(block, "quota_size_regex"),
            size_file=block.flag_or_expansion("maildir_use_size_file"),
            directory_regex=_regex(block, "maildir_quota_directory_regex"),
            is_inclusive=block.flag("quota_is_inclusive"),
        ),
        formats=_formats(block),
        file_must_exist=block.flag("file_must_exist"),
        allow_symlink=block.flag("allow_symlink"),
        allow_fifo=block.flag("allow_fifo"),
        check_owner=block.flag("check_owner"),
        check_group=block.flag("check_group"),
        mode_fail_narrower=block.flag("mode_fail_narrower"),
    )


def _quota_warning(block: DriverBlock) -> Expansion | None:
    if block.expansion("quota_warn_threshold") is None:
        return None
    return block.expansion("quota_warn_message") or compile_expansion(USUAL_MESSAGE)


def _check_appendfile(block: DriverBlock) -> None:
    """What Exim refuses of quotas."""
    for option in ("quota_filecount", "quota_directory"):
        if option not in block.set_at:
            continue
        if "file" in block.set_at:
            raise wrong(block, option, f'{option} must not be set without "directory"', "remove it")
        if "directory" in block.set_at and "quota" not in block.set_at:
            raise wrong(block, option, f"quota must be set if {option} is set", "set quota")
    if block.flag("maildir_format") and "file" in block.set_at:
        raise wrong(block, "file", 'maildir_format requires "directory" to be specified', "write directory = …")


def pipe(block: DriverBlock) -> PipeRules:
    """`driver = pipe`. Raises ConfigurationError."""
    for one, other in (("return_output", "return_fail_output"), ("log_output", "log_fail_output")):
        if block.flag(one) and block.flag(other):
            raise wrong(block, one, f"both {one} and {other} are set", "remove one of them")
    errors = block.text("temp_errors").strip()
    if errors != "*" and not re.fullmatch(r"[0-9: ]*", errors):
        raise wrong(block, "temp_errors", "temp_errors must be a list of numbers or an asterisk", "write 75:73")
    return PipeRules(
        common=_common(block, _text(block, is_mailbox=False, has_around=True)),
        command=_command(block),
        force_command=block.flag("force_command"),
        path=block.expansion("path") or DEFAULT_PATH,
        environment=block.expansion("environment"),
        allow_commands=block.expansion("allow_commands"),
        restrict_to_path=block.flag("restrict_to_path"),
        umask=block.number("umask"),
        timeout=block.number("timeout"),
        timeout_defer=block.flag("timeout_defer"),
        max_output=block.number("max_output"),
        temp_errors=() if errors == "*" else tuple(int(each) for each in split_items(errors)),
        all_errors_are_temporary=errors == "*",
        ignore_status=block.flag("ignore_status"),
        freeze_exec_fail=block.flag("freeze_exec_fail"),
        freeze_signal=block.flag("freeze_signal"),
        permit_coredump=block.flag("permit_coredump"),
        return_output=block.flag("return_output"),
        return_fail_output=block.flag("return_fail_output"),
        log_output=block.flag("log_output"),
        log_fail_output=block.flag("log_fail_output"),
        log_defer_output=block.flag("log_defer_output"),
    )


def lmtp(block: DriverBlock) -> LMTPRules:
    """`driver = lmtp`. Raises ConfigurationError."""
    command, socket = _command(block), block.expansion("socket")
    if (command is None) is (socket is None):
        option = "command" if "command" in block.set_at else "socket"
        what = "one (and only one) of command or socket must be set"
        raise wrong(block, option, what, "name the server's socket, or the command")
    text = MessageRules(use_crlf=True, body_only=block.flag("body_only"), headers_only=block.flag("headers_only"))
    return LMTPRules(
        common=_common(block, text),
        command=command,
        socket=socket,
        timeout=block.number("timeout"),
        ignore_quota=block.flag("ignore_quota"),
    )


def autoreply(block: DriverBlock) -> AutoreplyRules:
    """`driver = autoreply`. Raises ConfigurationError."""
    if block.text("user") and not block.text("group") and block.text("user").isdigit():
        raise wrong(block, "user", f"user set without group for the {block.name} transport", "set group as well")
    form = MessageRules(body_only=block.flag("body_only"), headers_only=block.flag("headers_only"))
    named = ((option, block.expansion(option)) for option in _REPLY_TEXTS)
    return AutoreplyRules(
        common=_common(block, form),
        texts={option: text for option, text in named if text is not None},
        file_expand=block.flag("file_expand"),
        file_optional=block.flag("file_optional"),
        mode=block.number("mode"),
        never_mail=block.matching("never_mail"),
        once_file_size=block.number("once_file_size"),
        return_message=block.flag("return_message"),
    )


# What all have


def _common(block: DriverBlock, text: MessageRules) -> LocalRules:
    if text.body_only and text.headers_only:
        raise wrong(block, "body_only", "only one of body_only and headers_only can be set", "remove one of them")
    if block.text("user") and not block.text("group") and block.text("user").isdigit():
        raise wrong(block, "user", "a user by number is set without a group", "set group, or name the user")
    return LocalRules(
        name=block.name,
        user=_compiled(block, "user"),
        group=_compiled(block, "group"),
        initgroups=block.flag("initgroups"),
        home_directory=block.expansion("home_directory"),
        current_directory=block.expansion("current_directory"),
        return_path=block.expansion("return_path"),
        header=header_edits(block),
        text=text,
        message_size_limit=block.expansion("message_size_limit"),
        filter=transport_filter(block),
        batch_max=max(block.number("batch_max"), 1) if "batch_max" in block.options else 1,
        batch_id=block.expansion("batch_id") if "batch_id" in block.options else None,
        rcpt_include_affixes=block.flag("rcpt_include_affixes"),
        names_used=_names(block),
        shadow_transport=block.text("shadow_transport"),
        shadow_condition=block.expansion("shadow_condition"),
    )


def _names(block: DriverBlock) -> frozenset[str]:
    """Variables that any option mentions, also in options that are no expansions yet."""
    names: set[str] = set()
    for name, written in block.written.items():
        if name != "batch_id":
            names |= set(re.findall(r"\$\{?([a-z_0-9]+)", written.text))
    return frozenset(names)


def _text(block: DriverBlock, *, is_mailbox: bool, has_around: bool = False) -> MessageRules:
    """A mailbox file has its `From ` lines, a pipe gets one, batched SMTP has its own rules."""
    bsmtp = block.flag("use_bsmtp")
    around = (is_mailbox or has_around) and not bsmtp
    prefix, suffix = block.expansion("message_prefix"), block.expansion("message_suffix")
    check, escape = block.text("check_string"), block.text("escape_string")
    if is_mailbox and not bsmtp:
        check = check if "check_string" in block.set_at else "From "
        escape = escape if "escape_string" in block.set_at else _ESCAPES.get(check, ">From ")
    return MessageRules(
        prefix=prefix if "message_prefix" in block.set_at or not around else _PREFIX,
        suffix=suffix if "message_suffix" in block.set_at or not around else _SUFFIX,
        check_string=check,
        escape_string=escape,
        use_crlf=block.flag("use_crlf"),
        use_bsmtp=bsmtp,
        body_only=block.flag("body_only"),
        headers_only=block.flag("headers_only"),
    )


def _compiled(block: DriverBlock, option: str) -> Expansion | None:
    text = block.text(option)
    if not text:
        return None
    try:
        found = compile_for_use(text)
    except ExpansionError as error:
        raise wrong(block, option, f"{option}: {error.message}", "correct the expansion") from None
    block.told(option, found)
    return found


def transport_filter(block: DriverBlock) -> FilterRules | None:
    """The filter of any transport. Raises ConfigurationError."""
    command = _command(block, "transport_filter")
    return None if command is None else FilterRules(command, block.number("transport_filter_timeout"))


def _command(block: DriverBlock, option: str = "command") -> CommandLine | None:
    text = block.text(option)
    if not text.strip():
        return None
    try:
        found = compile_command(text)
    except TooManyWords:
        raise wrong(block, option, f"the {option} has too many arguments", "put them into a script") from None
    except ExpansionError as error:
        raise wrong(block, option, f"{option}: {error.message}", "quote an argument that has blanks") from None
    block.told(option, *found.expansions)
    return found


def _place(block: DriverBlock) -> Place:
    word = block.text("create_file")
    create, home = CreateFile.ANYWHERE, ""
    if word.startswith("/"):
        create, home = CreateFile.BELOW_HOME, word
    else:
        try:
            create = CreateFile(word or "anywhere")
        except ValueError:
            what = f'invalid value given for "create_file": "{word[:40]}"'
            raise wrong(block, "create_file", what, "use anywhere, belowhome, inhome or a directory") from None
    return Place(
        create=create,
        home=home,
        create_directory=block.flag("create_directory"),
        directory_mode=block.number("directory_mode"),
        mode=block.number("mode"),
    )


def _locking(block: DriverBlock) -> Locking:
    flock = block.flag("use_flock_lock")
    by_fcntl = block.flag("use_fcntl_lock") and ("use_fcntl_lock" in block.set_at or not flock)
    if not (flock or by_fcntl or block.flag("use_lockfile")):
        raise wrong(block, "use_lockfile", "no locking configured", "leave one of the ways to lock a mailbox")
    return Locking(
        use_lockfile=block.flag("use_lockfile"),
        use_fcntl_lock=by_fcntl,
        use_flock_lock=flock,
        lock_retries=max(block.number("lock_retries"), 1),
        lock_interval=block.number("lock_interval"),
        lock_fcntl_timeout=block.number("lock_fcntl_timeout") if by_fcntl else 0,
        lock_flock_timeout=block.number("lock_flock_timeout") if flock else 0,
        lockfile_timeout=block.number("lockfile_timeout"),
        lockfile_mode=block.number("lockfile_mode"),
    )


def _regex(block: DriverBlock, option: str) -> str:
    text = block.text(option)
    try:
        re.compile(text)
    except re.error as error:
        raise wrong(block, option, f"{option}: {error}", "correct the pattern") from None
    return text


def _formats(block: DriverBlock) -> tuple[tuple[str, str], ...]:
    text = block.text("file_format")
    if not text:
        return ()
    items = [each.strip() for each in text.replace("::", "\0").split(":")]
    items = [each.replace("\0", ":") for each in items]
    if len(items) % 2:
        raise wrong(block, "file_format", "file_format is no list of pairs", "write START : TRANSPORT : …")
    return tuple(zip(items[::2], items[1::2], strict=True))
