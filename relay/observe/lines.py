"""Events as Exim's log lines: what is written, in which of the logs, in which order of fields (machine).

exigrep, eximstats and fail2ban's filters read these lines, so the order of the fields is Exim's to the
letter; `G=` (group), `FP=` (fingerprint) and `PEER=` (device) are ours, are written where a selector of ours
is on, and follow the other TLS fields. A line here has neither time nor line end; `logs` adds both.

Whatever a peer chose is made printable. In a field that ends at a space a peer's spaces are escaped as
well, and in a quoted field its quotes and backslashes: so a peer forges neither a line nor a field of one.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from relay.expand.values import is_tainted
from relay.mail.address import Address
from relay.mail.events import (
    AddressDeferred,
    AddressDelivered,
    AddressFailed,
    Arrived,
    AuthenticationFailed,
    ClientNote,
    CommandRejected,
    Completed,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
    DaemonNote,
    Event,
    Frozen,
    HostFailed,
    MessageNote,
    NameNotFound,
    ProtocolViolated,
    RecipientDiscarded,
    SenderUnverified,
    TLSEnded,
    TLSFailed,
    TLSFileUnusable,
    TLSStarted,
    TLSUnusable,
    TooManyRecipients,
    Trouble,
    Warned,
    WrittenByACL,
)
from relay.mail.facts import SessionFacts, TLSFacts
from relay.mail.outcome import DNSSEC, Deferred, Dialog, ErrorClass, RemoteHost
from relay.mail.text import printable
from relay.observe.selectors import LogSelectors
from relay.observe.words import TEXT_LIMIT, elapsed_time, free, full_host, quoted, word

_CONFIRMATION_LIMIT = 1024
_SUBJECT_LIMIT = 100
_RECIPIENTS_SHOWN = 5
# Exim's letters for fields that it knows.
_FIELD_TYPES = {
    "bcc": "B",
    "cc": "C",
    "from": "F",
    "message-id": "I",
    "received": "P",
    "reply-to": "R",
    "sender": "S",
    "to": "T",
}
# Verbs that a line has at most; Exim: SMTP_HBUFF_SIZE.
_HISTORY = 20


class Log(enum.Enum):
    """Exim's three log files; the value is what `%s` of `log_file_path` stands for."""

    MAIN = "main"
    REJECT = "reject"
    PANIC = "panic"


MAIN = (Log.MAIN,)
MAIN_AND_REJECT = (Log.MAIN, Log.REJECT)
MAIN_AND_PANIC = (Log.MAIN, Log.PANIC)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the logs that it goes to, the message it is about ("" for none), the text behind the two."""

    logs: tuple[Log, ...]
    message_id: str
    text: str
    header: tuple[str, ...] = ()
    """Further lines, for the reject log alone."""
    more: tuple[str, ...] = ()
    """Further lines in every log."""


# What Exim writes in `defer (N)`: a system error by its number and text, its own by a negative number.
_DEFER_NUMBERS = {
    ErrorClass.CONNECTION_REFUSED: 111,
    ErrorClass.TIMEOUT_CONNECT: 110,
    ErrorClass.TIMEOUT: 110,
    ErrorClass.NO_NETWORK: 101,
    ErrorClass.LOST_CONNECTION: -18,
    ErrorClass.QUOTA: -22,
    ErrorClass.HELD: -23,
    ErrorClass.LOOKUP: -36,
    ErrorClass.TLS_FAILED: -37,
    ErrorClass.TLS_REQUIRED: -38,
    ErrorClass.AUTH_FAILED: -42,
    ErrorClass.RCPT_4XX: -44,
    ErrorClass.MAIL_4XX: -45,
    ErrorClass.DATA_4XX: -46,
    ErrorClass.LOCAL: -1,
    ErrorClass.REDIRECTION: -17,
    ErrorClass.OTHER: -1,
}
_DEFERS = {
    error: (f" defer ({number})", os.strerror(number) if number > 0 else "") for error, number in _DEFER_NUMBERS.items()
}


_UNREACHED = frozenset({ErrorClass.CONNECTION_REFUSED, ErrorClass.TIMEOUT_CONNECT})
"""No connection came about: the line of the host says with whom, that of the recipient what it was."""

_Judged = (
    CommandRejected
    | ClientNote
    | NameNotFound
    | RecipientDiscarded
    | TooManyRecipients
    | SenderUnverified
    | ConnectionRefused
    | AuthenticationFailed
)


def _reason(outcome: Deferred) -> str:
    """Why somebody waits. What was cut off between the final dot and its reply may have arrived, and come twice."""
    reason = free(outcome.reason)
    return f"{reason} (possible duplicate)" if outcome.possible_duplicate else reason


class EximLines:
    """Turns events into lines by the selectors that are on. It holds nothing but them."""

    def __init__(self, selectors: LogSelectors) -> None:
        self._selectors = selectors
        self._millisec = "millisec" in selectors
        self._incoming_interface = "incoming_interface" in selectors
        self._incoming_port = "incoming_port" in selectors
        self._outgoing_port = "outgoing_port" in selectors
        self._dnssec = "dnssec" in selectors
        self._cipher = "tls_cipher" in selectors
        self._verified = "tls_certificate_verified" in selectors
        self._peer_dn = "tls_peerdn" in selectors
        self._sni = "tls_sni" in selectors
        self._resumption = "tls_resumption" in selectors
        self._fingerprint = "tls_fingerprint" in selectors
        self._group = "tls_group" in selectors
        self._client_certificate = "tls_client_certificate" in selectors
        self._peer_name = "peer_name" in selectors
        self._confirmation = "smtp_confirmation" in selectors
        self._pipelining = "pipelining" in selectors
        self._deliver_time = "deliver_time" in selectors
        self._overall_time = "queue_time_overall" in selectors
        self._message_id = "msg_id" in selectors
        self._subject = "subject" in selectors
        self._received_recipients = "received_recipients" in selectors
        self._received_sender = "received_sender" in selectors
        self._connections = "smtp_connection" in selectors
        self._lost_connections = "lost_incoming_connection" in selectors
        self._protocol_errors = "smtp_protocol_error" in selectors
        self._lookup_failures = "host_lookup_failed" in selectors
        self._rejected_header = "rejected_header" in selectors
        self._syntax_errors = "smtp_syntax_error" in selectors

    def line(self, event: Event) -> Line | None:
        """The line of an event; None where the selectors leave it out or Exim writes nothing for it."""
        match event:
            case Arrived():
                return Line(MAIN, event.message_id, self._arrived(event))
            case AddressDelivered():
                return Line(MAIN, event.message_id, self._delivered(event))
            case Completed():
                return Line(MAIN, event.message_id, self._completed(event))
            case AddressDeferred():
                return Line(MAIN, event.message_id, self._deferred(event))
            case AddressFailed():
                return Line(MAIN, event.message_id, self._failed(event))
            case (
                CommandRejected()
                | ClientNote()
                | NameNotFound()
                | RecipientDiscarded()
                | TooManyRecipients()
                | SenderUnverified()
                | ConnectionRefused()
                | AuthenticationFailed()
            ):
                return self._judged(event)
            case ConnectionOpened() | ConnectionClosed():
                return self._connection(event)
            case TLSStarted():
                return self._certificate_shown(event.session)
            case TLSEnded():
                return None
            case TLSFailed() | TLSUnusable() | TLSFileUnusable():
                return self._tls_trouble(event)
            case ProtocolViolated():
                return self._violated(event)
            case HostFailed():
                return Line(MAIN, event.message_id, self._host_failed(event.outcome))
            case Frozen():
                return Line(MAIN, event.message_id, f"Frozen ({free(event.why)})" if event.why else "Frozen")
            case MessageNote():
                return Line(MAIN, event.message_id, free(event.text))
            case WrittenByACL():
                logs = tuple(log for log in Log if log.value in event.logs)
                return Line(logs, event.message_id, free(event.text)) if logs else None
            case Warned():
                return Line(MAIN, "", f"{self._host(event.session)} Warning: {free(event.text)}")
            case DaemonNote():
                wanted = not event.selector or event.selector in self._selectors
                more = (f" {free(event.advice)}",) if event.advice else ()
                return Line(MAIN, "", free(event.text), more=more) if wanted else None
            case Trouble():
                remedy = f" ({event.remedy})" if event.remedy else ""
                return Line(MAIN_AND_PANIC, event.message_id, free(event.text + remedy))
            case _ as never:
                assert_never(never)

    def _judged(self, event: _Judged) -> Line | None:
        """What became of what a client has asked for."""
        match event:
            case CommandRejected():
                logs = tuple(log for log in Log if log.value in event.logs)
                header = self._refused(event)
                return Line(logs, event.message_id, self._rejected(event), header) if logs else None
            case ClientNote():
                client = self._host(event.session) if event.with_ident else self._from(event.session)
                why = f" ({free(event.why)})" if event.why else ""
                return Line(MAIN, "", f"{free(event.text)} {client}{why}")
            case RecipientDiscarded():
                return Line(MAIN_AND_REJECT, "", self._discarded(event))
            case NameNotFound():
                return self._no_name(event)
            case TooManyRecipients():
                text = f"too many recipients: {event.what}: sender=<{word(str(event.sender))}>"
                return Line(MAIN_AND_REJECT, "", f"{text} {self._host(event.session)}")
            case SenderUnverified():
                return Line(MAIN_AND_REJECT, "", self._unverified(event))
            case ConnectionRefused():
                refused = "temporarily refused" if event.temporary else "refused"
                text = f"{refused} connection from {self._from(event.session)} ({free(event.why)})"
                return Line(MAIN if event.temporary else MAIN_AND_REJECT, "", text)
            case AuthenticationFailed():
                text = f"{event.authenticator} authenticator failed for {self._host(event.session)}"
                return Line(MAIN_AND_REJECT, "", f"{text}: {free(event.reason)}")
            case _ as never:
                assert_never(never)

    # Fields that several lines share.

    def _host(self, session: SessionFacts) -> str:
        """`H=…` of a network session, `U=…` of a local one (Exim: host_and_ident)."""
        host = full_host(session, port=self._incoming_port)
        if not host:
            return f"U={word(session.user)}" if session.user else "U=unknown"
        interface = self._interface(session)
        user = f" U={word(session.user)}" if session.user else ""
        return f"H={host}{interface}{user}"

    def _from(self, session: SessionFacts) -> str:
        """The client in the middle of a sentence: the same without the field's name in front."""
        return self._host(session)[2:]

    def _interface(self, session: SessionFacts) -> str:
        if not self._incoming_interface or session.local is None:
            return ""
        shown = f" I=[{session.local.address}]"
        return f"{shown}:{session.local.port}" if self._incoming_port else shown

    def _tls(self, tls: TLSFacts | None, device: str, *, outgoing: bool = False) -> str:
        """`X= CV= DN= SNI= FP= PEER=`, each with a space before it."""
        if tls is None:
            return ""
        fields = ""
        if self._cipher:
            fields = f" X={tls.cipher}*" if self._resumption and tls.resumed else f" X={tls.cipher}"
        peer = tls.peer
        if self._verified and (peer is not None or outgoing):
            fields += " CV=yes" if tls.is_verified else " CV=no"
        if self._peer_dn and peer is not None:
            fields += f" DN={quoted(peer.subject)}"
        if self._sni and tls.sni and not outgoing:
            fields += f" SNI={word(tls.sni)}"
        if self._group and tls.group:
            fields += f" G={tls.group}"
        if self._fingerprint and peer is not None:
            fields += f" FP={peer.fingerprint}"
        if self._peer_name and device:
            fields += f" PEER={word(device)}"
        return fields

    def _remote(self, host: RemoteHost | None, *, continued: bool = False, marks_dnssec: bool = True) -> str:
        """` H=name DS [address]:port*` of a server that we spoke to; DS where the DNS has vouched for the way to it."""
        if host is None:
            return ""
        port = f":{host.port}" if self._outgoing_port else ""
        signed = " DS" if self._dnssec and marks_dnssec and host.dnssec is DNSSEC.YES else ""
        return f" H={word(host.name)}{signed} [{host.address}]{port}{'*' if continued else ''}"

    def _arrived(self, event: Arrived) -> str:
        session = event.session
        text = f"{'(=' if event.denied else '<='} {word(str(event.sender)) or '<>'}"
        if event.bounce_of:
            text += f" R={event.bounce_of}"
        host = full_host(session, port=self._incoming_port)
        if host:
            text += f" H={host}{self._interface(session)}"
        if session.user:
            text += f" U={word(session.user)}"
        text += f" P={session.protocol()}{self._tls(session.tls, session.peer_name)}"
        text += f"{_login(session)} S={event.size}"
        if self._message_id and event.header_message_id:
            text += f" id={word(event.header_message_id.strip().removeprefix('<').removesuffix('>'))}"
        if self._subject and event.subject:
            text += f" T={quoted(event.subject, _SUBJECT_LIMIT)}"
        if self._received_sender:
            text += f" from <{word(str(event.sender))}>"
        if self._received_recipients and event.recipients:
            text += f" for {_addresses(event.recipients)}"
        return text

    def _delivered(self, event: AddressDelivered) -> str:
        outcome = event.outcome
        text = (
            f"{'=>' if event.first else '->'} {_named(event)}"
            f"{_names(event.router, event.transport)}"
            f"{self._remote(outcome.host, continued=outcome.continued)}"
            f"{self._tls(outcome.tls, '', outgoing=True)}"
            f"{self._dialog(outcome.dialog)}"
        )
        with_server = outcome.host is not None or outcome.dialog is not None
        if self._confirmation and with_server and outcome.confirmation:
            text += f" C={quoted(outcome.confirmation, _CONFIRMATION_LIMIT)}"
        return text + self._duration(event.elapsed)

    def _dialog(self, dialog: Dialog | None) -> str:
        """` A=` with whom we were logged in as, ` L` for commands in groups, ` K` for chunks."""
        if dialog is None:
            return ""
        login = f" A={word(dialog.login)}" if dialog.login else ""
        groups = " L" if dialog.in_groups and self._pipelining else ""
        return f"{login}{groups}{' K' if dialog.by_chunks else ''}"

    def _duration(self, seconds: float) -> str:
        return f" DT={elapsed_time(seconds, millisec=self._millisec)}" if self._deliver_time else ""

    def _completed(self, event: Completed) -> str:
        spent = elapsed_time(event.elapsed, millisec=self._millisec)
        return f"Completed QT={spent}" if self._overall_time else "Completed"

    def _deferred(self, event: AddressDeferred) -> str:
        outcome = event.outcome
        number, error = _DEFERS[outcome.error]
        reason = _reason(outcome)
        if error:
            number = f"{number}: {error}"
            reason = "" if reason == error else reason
        names = _names(event.router, event.transport)
        if not names and outcome.error is not ErrorClass.HELD:
            names = " routing"
        if outcome.not_before is not None:
            # Nobody was spoken to. Exim: ERRNO_HRETRY.
            return f"== {_named(event)}{names} defer (-54): {free(outcome.reason)}"
        host = "" if outcome.error in _UNREACHED else self._remote(outcome.host)
        text = f"== {_named(event)}{names}{number}{host}"
        return f"{text}: {reason}" if reason else text

    def _failed(self, event: AddressFailed) -> str:
        if event.outcome.is_expired:
            # The line of the last delay stands before it, and names the rest.
            return f"** {_named(event)}: retry timeout exceeded"
        names = _names(event.router, event.transport)
        host = self._remote(event.outcome.host)
        return f"** {_named(event)}{names}{host} : {free(event.outcome.reason)}"

    def _host_failed(self, outcome: Deferred) -> str:
        host = self._remote(outcome.host, marks_dnssec=False).lstrip()
        if outcome.host is None:
            return _reason(outcome)
        if outcome.error in _UNREACHED or outcome.error is ErrorClass.NO_NETWORK:
            return f"{host} {_reason(outcome)}"
        error = _DEFERS[outcome.error][1]
        return f"{host}: {_reason(outcome)}{': ' if error else ''}{error}"

    def _discarded(self, event: RecipientDiscarded) -> str:
        who = f"{self._host(event.session)} F=<{word(str(event.sender))}> RCPT {free(event.recipient)}"
        return f"{who}: discarded by {event.by} ACL{': ' if event.reason else ''}{free(event.reason)}"

    def _no_name(self, event: NameNotFound) -> Line | None:
        if event.session.peer is None or not self._lookup_failures:
            return None
        return Line(MAIN, "", f"no host name found for IP address {event.session.peer.address}")

    def _unverified(self, event: SenderUnverified) -> str:
        how = "defer" if event.temporary else "fail"
        text = f"{self._host(event.session)} sender verify {how} for <{word(event.sender)}>"
        return f"{text}: {free(event.reason)}" if event.reason else text

    def _refused(self, event: CommandRejected) -> tuple[str, ...]:
        """Envelope and header of a refused message.

        Each line begins with the type of its field or with a blank: none can look like a line of the log.
        """
        message = event.message
        if message is None or not self._rejected_header:
            return ()
        lines = [f"Envelope-from: <{word(str(event.sender or ''))}>"]
        for number, each in enumerate(message.recipients[:_RECIPIENTS_SHOWN]):
            lines.append(f"{'   ' if number else 'Envelope-to:'} <{word(str(each))}>")
        if len(message.recipients) > _RECIPIENTS_SHOWN:
            lines.append("    ...")
        left = TEXT_LIMIT
        for field in message.header:
            shown = _field_lines(field)
            left -= sum(map(len, shown))
            if left < 0:
                return (*lines, "*** truncated ***")
            lines += shown
        return tuple(lines)

    def _rejected(self, event: CommandRejected) -> str:
        session = event.session
        sender = ""
        if event.sender is not None:
            sender = f" F=<{word(str(event.sender))}>{_login(session)}"
        rejected = "temporarily rejected" if event.temporary else "rejected"
        return (
            f"{self._host(session)}{self._tls(session.tls, session.peer_name)}{sender}"
            f" {rejected} {free(event.command)}{': ' if event.reason else ''}{free(event.reason)}"
        )

    def _connection(self, event: ConnectionOpened | ConnectionClosed) -> Line | None:
        client = self._from(event.session)
        if isinstance(event, ConnectionOpened):
            if not self._connections:
                return None
            count = f"(TCP/IP connection count = {event.count})"
            return Line(MAIN, "", f"SMTP connection from {client} {count}")
        lasted = f"D={elapsed_time(event.elapsed, millisec=self._millisec)}"
        if event.how.startswith("timed out"):
            text = f"SMTP command timeout on{' TLS' if event.session.tls else ''} connection from {client} {lasted}"
            return Line(MAIN, "", text) if self._lost_connections else None
        if event.how == "lost" and event.in_transaction:
            what = "EOF" if event.session.peer is None else "disconnection"
            text = f"unexpected {what} while reading SMTP command from {client} {lasted}"
            return Line(MAIN, "", text) if self._lost_connections else None
        if not self._connections:
            return None
        how = free(event.how)
        ended = f"lost {lasted}" if how == "lost" else f"{lasted} closed {how}"
        return Line(MAIN, "", f"SMTP connection from {client} {ended}")

    def _certificate_shown(self, session: SessionFacts) -> Line | None:
        """Every certificate that a client shows, by what an operator would trust it, with what is wrong with it."""
        tls = session.tls
        if not self._client_certificate or tls is None or tls.peer is None:
            return None
        peer, verified = tls.peer, "yes" if tls.is_verified else "no"
        text = f"TLS client certificate from {self._from(session)} CV={verified} DN={quoted(peer.subject)}"
        text += f" FP={peer.fingerprint} KEY={peer.key_digest}"
        return Line(MAIN, "", text if tls.is_verified else f"{text}: {free(tls.why_unverified)}")

    def _tls_trouble(self, event: TLSFailed | TLSUnusable | TLSFileUnusable) -> Line:
        if isinstance(event, TLSFileUnusable):
            return Line(MAIN_AND_PANIC, "", f"TLS, {event.consequence}: {free(event.fault)}")
        text = f"TLS error on connection from {self._from(event.session)} "
        if isinstance(event, TLSUnusable):
            return Line(MAIN_AND_PANIC, "", f"{text}(our own set-up): {free(event.reason)}")
        return Line(MAIN, "", text + free(event.reason))

    def _violated(self, event: ProtocolViolated) -> Line | None:
        """The three forms that fail2ban's filters look for, then the plain one."""
        what, client = free(event.what), self._host(event.session)
        if what.startswith("synchronization error ("):
            return Line(MAIN_AND_REJECT, "", f"SMTP protocol {what} {client} next input={quoted(event.input, 128)}")
        if "synchronization" in what:
            detail = "input sent without waiting for greeting" if what == "synchronization error" else what
            text = f"SMTP protocol synchronization error ({detail}): rejected connection from {client}"
            return Line(MAIN_AND_REJECT, "", f"{text} input={quoted(event.input, 128)}")
        if what in _REJECTED:
            return Line(MAIN_AND_REJECT, "", _REJECTED[what](event.input, client))
        if what.lower().startswith("too many"):
            text = f"SMTP call from {self._from(event.session)} dropped: {what}"
            return Line(MAIN_AND_REJECT, "", text + _last_command(what, event))
        if what.startswith("unqualified "):
            text = f"{what} rejected: <{word(event.input)}> {client}"
            return Line(MAIN_AND_REJECT, "", text) if self._syntax_errors else None
        if not (self._syntax_errors if event.is_syntax else self._protocol_errors):
            return None
        kind = "syntax" if event.is_syntax else "protocol"
        return Line(MAIN, "", f"SMTP {kind} error in {quoted(event.input, 128)} {client} {what}")


def _login(session: SessionFacts) -> str:
    """` A=` with the authenticator, and the identity behind a colon."""
    login = session.authentication
    if login is None or not login.authenticator:
        # A caller may name an identity alone (-oMai); nobody has asked for proof of it.
        return ""
    return f" A={login.authenticator}:{word(login.identity)}" if login.identity else f" A={login.authenticator}"


def _last_command(what: str, event: ProtocolViolated) -> str:
    """Exim shows the verb alone where only the number of commands is wrong."""
    command = event.input
    if "syntax" in what.lower():
        return f" (last command was {quoted(command, 128)}, {_history(event.commands)})"
    if "nonmail" in what:
        command = command.split(None, 1)[0] if command.split() else ""
    return f" (last was {quoted(command, 128)})"


def _history(commands: tuple[str, ...]) -> str:
    """` C=` with the verbs of the last commands; Exim keeps twenty of them."""
    if not commands:
        return ""
    return f" C={'...' if len(commands) >= _HISTORY else ''}{','.join(commands)}"


def _field_lines(field: str) -> list[str]:
    """A field with its type in front, printable line by line."""
    first, *others = field.split("\n")
    kind = _FIELD_TYPES.get(first.partition(":")[0].strip().lower(), " ")
    folded = ("\t" if other.startswith("\t") else " " for other in others)
    return [
        f"{kind} {printable(first.rstrip())}",
        *(f"{blank}{printable(other[1:].rstrip())}" for blank, other in zip(folded, others, strict=True)),
    ]


def _bad_greeting(command: str, client: str) -> str:
    verb, _, name = command.partition(" ")
    shown = free(name.strip()) or "(no argument given)"
    return f"rejected {free(verb.upper())} from {client[2:]}: syntactically invalid argument(s): {shown}"


# Lines that begin with what was rejected, by the violation; from the command and the client.
_REJECTED: Mapping[str, Callable[[str, str], str]] = {
    "malformed greeting name": _bad_greeting,
    "no HELO/EHLO given": lambda command, client: f"rejected MAIL from {client[2:]}: no HELO/EHLO given",
    "untrue greeting": lambda command, client: f'rejected "{free(command)}" from {client[2:]}',
    "too many messages": lambda command, client: f"rejected MAIL command {client}: too many messages in one connection",
}


def _named(event: AddressDelivered | AddressDeferred | AddressFailed) -> str:
    """The address, or what stands for it, and the recipient that it was made of (Exim: string_log_address)."""
    named = event.named
    if named is None:
        return word(str(event.address))
    original = event.address if named.original is None else named.original
    if not named.shown:
        address = word(str(event.address))
        return address if original == event.address else f"{address} <{word(str(original))}>"
    # A command has spaces, which an operator or a user wrote; those of a peer are escaped.
    shown = word(named.shown) if is_tainted(named.shown) else free(named.shown)
    return f"{shown} <{word(str(original))}>"


def _names(router: str, transport: str) -> str:
    return (f" R={router}" if router else "") + (f" T={transport}" if transport else "")


def _addresses(addresses: Iterable[Address]) -> str:
    return " ".join(word(str(each)) for each in addresses)
