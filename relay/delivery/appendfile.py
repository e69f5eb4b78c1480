"""The appendfile transport: which file or directory, and under which rules (decision)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace

from relay.delivery.carrying import Naming
from relay.delivery.jobs import (
    Append,
    CreateFile,
    FilterEnd,
    Job,
    Locking,
    NewFile,
    Place,
    Quota,
    Report,
    Verdict,
    Written,
    misconfigured,
)
from relay.delivery.local import Errand, LocalRules
from relay.delivery.option_text import expanded, no_taint
from relay.delivery.quota import Amount, read_amount
from relay.expand.errors import ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.expand.values import is_tainted
from relay.mail.outcome import Deferred, ErrorClass, Outcome
from relay.mail.ports import Clock
from relay.mail.text import printable

_WHAT = "file or directory name"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRules:
    """Exim's options about quotas, compiled."""

    quota: Expansion | None = None
    filecount: Expansion | None = None
    threshold: Expansion | None = None
    """Exim: quota_warn_threshold."""
    warning: Expansion | None = None
    """Exim: quota_warn_message; None: no threshold."""
    directory: Expansion | None = None
    mailbox_size: Expansion | None = None
    mailbox_filecount: Expansion | None = None
    size_regex: str = ""
    size_file: bool | Expansion = False
    directory_regex: str = ""
    is_inclusive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendfileRules:
    """The options of one appendfile transport, named and with defaults as in Exim."""

    common: LocalRules
    file: Expansion | None = None
    directory: Expansion | None = None
    maildir_format: bool = False
    maildir_tag: Expansion | None = None
    folder_regex: str = ""
    directory_file: Expansion | None = None
    place: Place = field(default_factory=Place)
    """Its `home` is set where create_file names a directory."""
    locking: Locking = field(default_factory=Locking)
    quota: QuotaRules = field(default_factory=QuotaRules)
    formats: tuple[tuple[str, str], ...] = ()
    file_must_exist: bool = False
    allow_symlink: bool = False
    allow_fifo: bool = False
    check_owner: bool = True
    check_group: bool = False
    mode_fail_narrower: bool = True

    @property
    def name(self) -> str:
        return self.common.name


class Appendfile:
    """The driver."""

    def __init__(self, rules: AppendfileRules, clock: Clock, hostname: str, pid: int) -> None:
        self._rules = rules
        self._clock = clock
        self._hostname = hostname
        self._pid = pid
        self._place = f"P{pid}.{re.sub(r'[/:]', _octal, hostname)}"

    async def job(self, errand: Errand, number: int) -> tuple[Job, Naming | None] | Report:
        """A file to append to, or a new one. Raises NotDelivered."""
        rules = self._rules
        path, is_directory = await self._path(errand)
        if rules.maildir_format and not is_directory:
            raise misconfigured(f'maildir_format requires "directory" to be specified for the {rules.name} transport')
        if not path.startswith("/") or "\0" in path:
            raise misconfigured(f'appendfile: file or directory name "{printable(path, 200)}" is not absolute')
        if path == "/dev/null" and not is_directory:
            return Report(Verdict.DELIVERED, path)
        place = self._placed(errand)
        path = no_taint(_below_home(path, place), _WHAT, rules.name)
        quota = await self._quota(errand.scope)
        if is_directory:
            return self._new_file(errand, path, place, quota, number)
        return self._append(errand, path, place, quota), None

    def outcome(self, report: Report, errand: Errand) -> Outcome:
        """As the report says; the path is the confirmation. That there is no room the sender may know."""
        outcome = report.outcome()
        if isinstance(outcome, Deferred) and outcome.error is ErrorClass.QUOTA:
            return replace(outcome, told="mailbox is full")
        return outcome

    def logs_output(self, report: Report) -> bool:
        """There is none."""
        return False

    def filter_failed(self, end: FilterEnd, job: Job) -> Report:
        """It is tried again; the line names the file."""
        path = job.path if isinstance(job, Append) else job.directory if isinstance(job, NewFile) else ""
        return misconfigured(end.text(where=f" while writing to {printable(path)}"), ErrorClass.FILTER).report

    async def _path(self, errand: Errand) -> tuple[str, bool]:
        """The name as it was expanded, and whether it is a directory's."""
        rules, named = self._rules, errand.first.file
        option = rules.file or rules.directory
        if option is None:
            if not named:
                raise misconfigured(f"Mandatory file or directory option missing from {rules.name} transport")
            return named, named.endswith("/") or rules.maildir_format
        try:
            return await expanded(option, errand.scope, _WHAT, rules.name), rules.file is None
        except ForcedFailure as error:
            raise misconfigured(f"Expansion of the {_WHAT} for {rules.name} transport failed: {error}") from error

    def _placed(self, errand: Errand) -> Place:
        given = self._rules.place
        return Place(
            create=given.create,
            home=given.home or errand.home,
            create_directory=given.create_directory,
            directory_mode=given.directory_mode,
            mode=given.mode,
        )

    def _append(self, errand: Errand, path: str, place: Place, quota: Quota) -> Job:
        rules = self._rules
        return Append(
            transport=rules.name,
            path=path,
            place=place,
            locking=rules.locking,
            quota=quota,
            message_size=errand.message.size,
            file_must_exist=rules.file_must_exist,
            allow_symlink=rules.allow_symlink,
            allow_fifo=rules.allow_fifo,
            check_owner=rules.check_owner,
            check_group=rules.check_group,
            mode_fail_narrower=rules.mode_fail_narrower,
            is_redirected=bool(errand.first.file),
            formats=rules.formats,
            hostname=self._hostname,
        )

    def _new_file(
        self, errand: Errand, path: str, place: Place, quota: Quota, number: int
    ) -> tuple[Job, Naming | None]:
        rules = self._rules
        unique = self._unique(self._clock.now(), number)
        naming: Naming | None = None
        final = spare = ""
        if not rules.maildir_format:
            temporary = f"temp.{self._pid}.{number}.{self._hostname.replace('/', '_')}"
            naming = self._directory_file(errand)
        else:
            temporary = os.path.join("tmp", unique)
            if rules.maildir_tag is None:
                final = os.path.join("new", unique)
            else:
                spare = os.path.join("new", unique)
                naming = self._tagged(errand, spare, rules.maildir_tag)
        job = NewFile(
            transport=rules.name,
            directory=path,
            temporary=temporary,
            final=final,
            spare=spare,
            maildir=rules.maildir_format,
            folder_regex=rules.folder_regex if rules.maildir_format else "",
            place=place,
            quota=quota,
            message_size=errand.message.size,
        )
        return job, naming

    def _unique(self, now: float, number: int) -> str:
        """Unique among all processes that deliver here: time, process, a count, host (the maildir convention)."""
        seconds = int(now)
        return f"{seconds}.M{int((now - seconds) * 1_000_000):06d}Q{number}{self._place}"

    def _tagged(self, errand: Errand, name: str, tag: Expansion) -> Naming:
        async def naming(written: Written) -> str:
            scope = self._known(errand.scope, written)
            try:
                text = await expanded(tag, scope, "maildir_tag", self._rules.name)
            except ForcedFailure:
                return name
            shown = "".join(each for each in text if "!" <= each <= "~" and each != "/")
            separator = ":" if shown[:1].isalnum() else ""
            return f"{name}{separator}{shown}"

        return naming

    def _directory_file(self, errand: Errand) -> Naming:
        async def naming(written: Written) -> str:
            option, name = self._rules.directory_file, self._rules.name
            assert option is not None
            scope = self._known(errand.scope, written).child(now=self._clock.now())
            try:
                leaf = await expanded(option, scope, "directory_file", name)
            except ForcedFailure as error:
                raise misconfigured(f"Expansion of directory_file for {name} transport failed: {error}") from error
            no_taint(leaf, "directory_file", name)
            if not leaf or "\0" in leaf or ".." in leaf.split("/") or leaf.startswith("/"):
                raise misconfigured(f'directory_file "{printable(leaf, 200)}" of {name} transport is no file name')
            return leaf

        return naming

    def _known(self, scope: Scope, written: Written) -> Scope:
        message = replace(scope.message, size=written.size) if scope.message is not None else None
        return scope.child(message=message, more={**scope.more, "inode": str(written.inode)})

    # Quotas

    async def _quota(self, scope: Scope) -> Quota:
        rules = self._rules.quota
        size = await self._amount(rules.quota, "quota", scope)
        has_size_file = await self._has_size_file(scope)
        threshold = await self._threshold(scope, size.value)
        if size.value <= 0 and not has_size_file and threshold <= 0:
            return Quota()
        files = await self._amount(rules.filecount, "quota_filecount", scope)
        directory = await self._text(rules.directory, "quota_directory", scope)
        if directory and not directory.startswith("/"):
            raise misconfigured(f'appendfile: quota_directory name "{printable(directory, 200)}" is not absolute')
        known_size = await self._amount(rules.mailbox_size, "mailbox_size", scope, -1)
        known_files = await self._amount(rules.mailbox_filecount, "mailbox_filecount", scope, -1)
        return Quota(
            size=size.value,
            files=files.value,
            is_inclusive=rules.is_inclusive,
            ignores_size=size.no_check,
            ignores_files=files.no_check,
            size_regex=rules.size_regex,
            directory=no_taint(directory, "quota_directory", self._rules.name),
            mailbox_size=known_size.value,
            mailbox_files=known_files.value,
            has_size_file=has_size_file,
            directory_regex=rules.directory_regex,
            threshold=threshold,
        )

    async def _threshold(self, scope: Scope, size: int) -> int:
        """In octets; it may be given in per cent of the quota."""
        option = self._rules.quota.threshold
        if option is None:
            return 0
        text = (await self._text(option, "quota_warn_threshold", scope)).strip()
        percent = re.fullmatch(r"(\d{1,9}(?:\.\d*)?)\s*%", text, re.ASCII)
        if percent is None:
            return (await self._amount(option, "quota_warn_threshold", scope)).value
        if float(percent.group(1)) > 100:
            what = f"Invalid quota_warn_threshold percentage ({percent.group(1)})"
            raise misconfigured(f"{what} for {self._rules.name} transport")
        return int(size * float(percent.group(1)) / 100)

    async def _has_size_file(self, scope: Scope) -> bool:
        option = self._rules.quota.size_file
        if isinstance(option, bool):
            return option
        text = (await self._text(option, "maildir_use_size_file", scope)).strip().lower()
        if text not in ("", "false", "no", "true", "yes"):
            what = f'"{printable(text, 40)}" is not a valid value for the "maildir_use_size_file" option'
            raise misconfigured(f"{what} in the {self._rules.name} transport")
        return text in ("true", "yes")

    async def _amount(self, option: Expansion | None, what: str, scope: Scope, otherwise: int = 0) -> Amount:
        if option is None:
            return Amount(otherwise)
        text = await self._text(option, what, scope)
        try:
            return read_amount(text) if text.strip() else Amount(otherwise)
        except ValueError:
            shown, source = printable(text, 100), printable(option.source, 200)
            name = self._rules.name
            raise misconfigured(f'Malformed value "{shown}" (expansion of "{source}") in {name} transport') from None

    async def _text(self, option: Expansion | None, what: str, scope: Scope) -> str:
        if option is None:
            return ""
        try:
            return await expanded(option, scope, what, self._rules.name)
        except ForcedFailure as error:
            raise misconfigured(f"Expansion of {what} for {self._rules.name} transport failed: {error}") from error


def _below_home(path: str, place: Place) -> str:
    """A name that leads below the directory that `create_file` holds it in is as good as one of ours; links are
    looked at when the file is made."""
    home = place.home.rstrip("/")
    is_held = place.create is CreateFile.BELOW_HOME and home and ".." not in path.split("/")
    if is_held and is_tainted(path) and path.startswith(home + "/"):
        return "/" + path[1:]
    return path


def _octal(found: re.Match[str]) -> str:
    return f"\\{ord(found.group()):03o}"
