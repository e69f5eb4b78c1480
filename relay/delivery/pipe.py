"""The pipe transport: which command with which arguments and environment, and what its end means (decision)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from relay.delivery.carrying import Naming
from relay.delivery.command_line import AddressPipe, AllAddresses, CommandLine, TooManyWords, split_command
from relay.delivery.jobs import Command, FilterEnd, Job, Report, Verdict, deferred, failed, misconfigured
from relay.delivery.local import Errand, LocalRules, bland
from relay.delivery.option_text import expanded, no_taint
from relay.delivery.transports import BlockingCalls
from relay.expand.errors import ForcedFailure
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.scope import AddressView, Scope
from relay.expand.splitting import split_list
from relay.mail.outcome import Delivered, ErrorClass, Failed, Outcome
from relay.mail.text import printable

_MOST_VARIABLES = 48
DEFAULT_PATH = compile_expansion("/bin:/usr/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeRules:
    """The options of one pipe transport, named and with defaults as in Exim."""

    common: LocalRules
    command: CommandLine | None = None
    force_command: bool = False
    path: Expansion = DEFAULT_PATH
    environment: Expansion | None = None
    allow_commands: Expansion | None = None
    restrict_to_path: bool = False
    umask: int = 0o022
    timeout: int = 3600
    timeout_defer: bool = False
    max_output: int = 20480
    temp_errors: tuple[int, ...] = (75, 73)
    all_errors_are_temporary: bool = False
    ignore_status: bool = False
    freeze_exec_fail: bool = False
    freeze_signal: bool = False
    permit_coredump: bool = False
    return_output: bool = False
    return_fail_output: bool = False
    log_output: bool = False
    log_fail_output: bool = False
    log_defer_output: bool = False

    @property
    def name(self) -> str:
        return self.common.name


class Pipe:
    """The driver."""

    def __init__(self, rules: PipeRules, calls: BlockingCalls) -> None:
        self._rules = rules
        self._calls = calls

    async def job(self, errand: Errand, _number: int) -> tuple[Job, Naming | None] | Report:
        """The command with everything it gets. Raises NotDelivered."""
        rules = self._rules
        if errand.identity.uid == 0:
            raise deferred(f"User 0 set for {rules.name} transport is on the never_users list (set user = …)")
        path = no_taint(await self._text(rules.path, "path", errand.scope), "path", rules.name)
        text, arguments = await self._arguments(errand)
        if any("\0" in each for each in arguments):
            raise failed(f"a NUL in the command of {rules.name} transport")
        await self._check_allowed(arguments[0], text, errand.scope)
        program = await self._calls.call(_found, arguments[0], split_list(path).items)
        if program is None:
            raise failed(f'"{printable(arguments[0], 200)}" command not found for {rules.name} transport')
        job = Command(
            transport=rules.name,
            command=text,
            arguments=(program, *arguments[1:]),
            environment=await self._environment(errand, path),
            umask=rules.umask,
            timeout=rules.timeout,
            timeout_defer=rules.timeout_defer,
            max_output=rules.max_output,
            temp_errors=rules.temp_errors,
            all_errors_are_temporary=rules.all_errors_are_temporary,
            ignore_status=rules.ignore_status,
            freeze_exec_fail=rules.freeze_exec_fail,
            freeze_signal=rules.freeze_signal,
            permit_coredump=rules.permit_coredump,
        )
        return job, None

    def outcome(self, report: Report, errand: Errand) -> Outcome:
        """What a command has written goes to the sender where that was asked for, and where there is one."""
        rules, outcome = self._rules, report.outcome()
        returns = bool(report.output) and not errand.return_path.is_null
        if returns and rules.return_output:
            reason = outcome.reason if not isinstance(outcome, Delivered) else ""
            return Failed(reason or "return message generated", told=_told(reason), output=report.output)
        if isinstance(outcome, Failed):
            return bland(outcome, report.output if returns and rules.return_fail_output else "")
        return outcome

    def logs_output(self, report: Report) -> bool:
        """As log_output, log_fail_output and log_defer_output say."""
        rules = self._rules
        return (
            rules.log_output
            or (rules.log_fail_output and report.verdict is Verdict.FAILED)
            or (rules.log_defer_output and report.verdict is Verdict.DEFERRED)
        )

    def filter_failed(self, end: FilterEnd, _job: Job) -> Report:
        """It is tried again; for one that takes too long, timeout_defer decides."""
        if not end.is_late:
            return misconfigured(f"T{end.text()[1:]}", ErrorClass.FILTER).report
        why = f"{end.text()} while writing to pipe"
        return (deferred(why, ErrorClass.COMMAND) if self._rules.timeout_defer else failed(why)).report

    # The command

    async def _arguments(self, errand: Errand) -> tuple[str, list[str]]:
        """The command as it was written, and its words."""
        rules, named = self._rules, errand.first.pipe
        if named and not rules.force_command:
            text = no_taint(named, "command", rules.name).lstrip(" \t")
            arguments = list(self._split(text))
        elif rules.command is not None:
            text, arguments = rules.command.text, await self._expanded(rules.command, errand)
        else:
            text, arguments = "", []
        if not arguments or not arguments[0]:
            raise deferred(f"no command specified for {rules.name} transport", ErrorClass.COMMAND)
        return text, arguments

    def _split(self, text: str) -> Sequence[str]:
        try:
            return split_command(text)
        except TooManyWords:
            what = f'Too many arguments in command "{printable(text, 200)}" in {self._rules.name} transport'
            raise failed(what) from None

    async def _expanded(self, command: CommandLine, errand: Errand) -> list[str]:
        name, arguments = self._rules.name, list[str]()
        for word in command.words:
            match word:
                case AllAddresses():
                    arguments += [str(each.recipient.address) for each in errand.addresses]
                case AddressPipe():
                    arguments += self._split(no_taint(errand.first.pipe, "command", name))
                case Expansion():
                    what = f'from command "{printable(command.text, 200)}"'
                    try:
                        text = await expanded(word, errand.scope, what, name)
                    except ForcedFailure as error:
                        source = printable(word.source, 200)
                        text = f'Expansion of "{source}" {what} in {name} transport failed: {error}'
                        raise misconfigured(text) from error
                    arguments.append(no_taint(text, f"argument {len(arguments)} of the command", name))
                case _ as never:
                    assert_never(never)
        return arguments

    async def _check_allowed(self, program: str, text: str, scope: Scope) -> None:
        rules = self._rules
        if rules.allow_commands is not None:
            allowed = split_list(await self._text(rules.allow_commands, "allow_commands", scope)).items
            if program in allowed:
                return
        if rules.restrict_to_path:
            if "/" in program:
                shown = printable(text, 200)
                what = f'"/" found in "{shown}" (command for {rules.name} transport)'
                raise failed(f"{what} - failed for security reasons")
        elif rules.allow_commands is not None:
            raise failed(f'"{printable(program, 200)}" command not permitted by {rules.name} transport')

    async def _text(self, option: Expansion, what: str, scope: Scope) -> str:
        try:
            return await expanded(option, scope, what, self._rules.name)
        except ForcedFailure as error:
            raise misconfigured(f"failed to expand {what} for {self._rules.name} transport: {error}") from error

    # The environment

    async def _environment(self, errand: Errand, path: str) -> tuple[str, ...]:
        scope, rules = errand.scope, self._rules
        view = scope.address or AddressView()
        recipient = errand.first.recipient.address
        local_part = view.local_part or recipient.local_part
        domain = view.domain or recipient.domain
        variables = {
            "LOCAL_PART": local_part,
            "LOGNAME": local_part,
            "USER": local_part,
            "LOCAL_PART_PREFIX": view.prefix,
            "LOCAL_PART_SUFFIX": view.suffix,
            "DOMAIN": domain,
            "HOME": errand.home,
            "MESSAGE_ID": errand.message.message_id,
            "PATH": path,
            "RECIPIENT": f"{view.prefix}{local_part}{view.suffix}@{domain}",
            "QUALIFY_DOMAIN": scope.main.get("qualify_domain", ""),
            "SENDER": str(errand.message.sender),
            "SHELL": "/bin/sh",
        }
        if scope.host is not None:
            variables["HOST"] = scope.host.name
        if timezone := scope.main.get("timezone", ""):
            variables["TZ"] = timezone
        more = await self._text(rules.environment, "environment", scope) if rules.environment is not None else ""
        given = [each for each in split_list(more).items if "=" in each]
        if len(variables) + len(given) > _MOST_VARIABLES:
            raise deferred(f"too many environment settings for {rules.name} transport", errno=errno.E2BIG)
        return tuple(each.replace("\0", "") for each in (*(f"{key}={text}" for key, text in variables.items()), *given))


def _told(reason: str) -> str:
    return "local delivery failed" if reason else ""


def _found(program: str, path: Sequence[str]) -> str | None:
    """The file of a command; None where no directory of the path has it. Blocking."""
    if program.startswith("/"):
        return program
    for directory in path:
        candidate = os.path.join(directory, program)
        if directory.startswith("/") and os.path.exists(candidate):
            return candidate
    return None
