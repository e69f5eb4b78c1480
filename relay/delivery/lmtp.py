"""The lmtp transport: which server, a socket or a command, gets the message for whom (decision).

It is a local transport: it runs as a user, and several recipients go together as `batch_max` says. LMTP over TCP is the
smtp transport with `protocol = lmtp`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from relay.delivery.carrying import Naming
from relay.delivery.command_line import CommandLine
from relay.delivery.jobs import Command, FilterEnd, Job, LMTPJob, Report, misconfigured
from relay.delivery.local import Errand, LocalRules, shown_recipient
from relay.delivery.option_text import expanded, no_taint
from relay.delivery.pipe import Pipe, PipeRules
from relay.delivery.transports import BlockingCalls
from relay.expand.errors import ForcedFailure
from relay.expand.evaluate import Expansion
from relay.mail.outcome import Delivered, Dialog, ErrorClass, Failed, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class LMTPRules:
    """The options of one lmtp transport, named and with defaults as in Exim. One of `command` and `socket` is set."""

    common: LocalRules
    command: CommandLine | None = None
    socket: Expansion | None = None
    timeout: int = 300
    ignore_quota: bool = False

    @property
    def name(self) -> str:
        return self.common.name


class LMTP:
    """The driver."""

    def __init__(self, rules: LMTPRules, calls: BlockingCalls, hostname: str) -> None:
        self._rules = rules
        self._hostname = hostname
        self._pipe = Pipe(PipeRules(common=rules.common, command=rules.command, force_command=True), calls)

    async def job(self, errand: Errand, number: int) -> tuple[Job, Naming | None] | Report:
        """The server, and what it is to be told. Raises NotDelivered."""
        rules = self._rules
        affixes = rules.common.rcpt_include_affixes
        job = LMTPJob(
            transport=rules.name,
            hostname=self._hostname,
            sender=str(errand.return_path),
            recipients=tuple(str(shown_recipient(each, affixes=affixes)) for each in errand.addresses),
            timeout=rules.timeout,
            ignore_quota=rules.ignore_quota,
        )
        if rules.socket is not None:
            return replace(job, socket=await self._socket(rules.socket, errand)), None
        made = await self._pipe.job(errand, number)
        assert isinstance(made, tuple)
        command = made[0]
        assert isinstance(command, Command)
        return replace(job, arguments=command.arguments, environment=command.environment), None

    async def _socket(self, option: Expansion, errand: Errand) -> str:
        name, what = self._rules.name, "socket setting"
        try:
            path = no_taint(await expanded(option, errand.scope, what, name), what, name)
        except ForcedFailure as error:
            raise misconfigured(f"{what} for {name} transport failed to expand: {error}") from error
        if not path.startswith("/") or "\0" in path:
            raise misconfigured(f"{what} for {name} transport is no absolute path")
        return path

    def outcome(self, report: Report, errand: Errand) -> Outcome:
        """What the server said is the sender's to know."""
        outcome = report.outcome()
        if isinstance(outcome, Failed):
            return replace(outcome, told=outcome.reason)
        return replace(outcome, dialog=Dialog()) if isinstance(outcome, Delivered) else outcome

    def logs_output(self, report: Report) -> bool:
        """There is none."""
        return False

    def filter_failed(self, end: FilterEnd, _job: Job) -> Report:
        """It is tried again."""
        return misconfigured(end.text(), ErrorClass.FILTER).report
