"""Events as Exim's log lines: what is written, in which of the logs, in which order of fields (machine).

exigrep, eximstats and fail2ban's filters read these lines, so the order of the fields is Exim's to the
letter; `G=` (group), `FP=` (fingerprint) and `PEER=` (device) are ours, are written where a selector of ours
is on, and follow the other TLS fields. A line here has neither time nor line end; `logs` adds both.

Whatever a peer chose is made printable. In a field that ends at a space a peer's spaces are escaped as
well, and in a quoted field its quotes and backslashes: so a peer forges neither a line nor a field of one.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import assert_never

from relay.mail.error_numbers import DEFER_NUMBERS, number_of, system_error
from relay.mail.events import (
    BY_NON_SMTP_ACL,
    AddressDeferred,
    AddressDelivered,
    AddressFailed,
    Arrived,
    AuthenticationFailed,
    ChildrenComplete,
    ClientGone,
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
    MessageFrame,
    MessageNote,
    NameNotFound,
    NoMail,
    ProtocolViolated,
    RecipientDiscarded,
    SenderUnverified,
    TLSEnded,
    TLSFailed,
    TLSFileUnusable,
    TLSStarted,
    TLSUnusable,
    TooManyRecipients,
    TransactionBroken,
    Trouble,
    Warned,
    WrittenByACL,
)
from relay.mail.facts import SessionFacts, TLSFacts
from relay.mail.outcome import DNSSEC, WAITS_FOR_RUN, Deferred, Dialog, ErrorClass, RemoteHost
from relay.observe.line import MAIN, MAIN_AND_PANIC, MAIN_AND_REJECT, Line, Log
from relay.observe.naming import address_with_original, addresses, driver_names, host_found, login, shadow_told
from relay.observe.rejections import REJECTED, field_lines, history, last_command, too_big, turned_away, what_happened
from relay.observe.selectors import LogSelectors
from relay.observe.words import TEXT_LIMIT, elapsed_time, free, full_host, mailbox, of_addresses, quoted, word

_CONFIRMATION_LIMIT = 1024
_SUBJECT_LIMIT = 100
_RECIPIENTS_SHOWN = 5

# What Exim writes in `defer (N)`: a system error by its number and text, its own by a negative number.
_RETRY_BASE = -51
"""From here on down Exim's numbers are for what was not tried."""
_DEFERS = {error: (f" defer ({number})", system_error(number)) for error, number in DEFER_NUMBERS.items()}
_BY_SYSTEM = {
    os.strerror(number): (f" defer ({number})", os.strerror(number))
    for number in (errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)
}

_UNREACHED = frozenset(
    {
        ErrorClass.CONNECTION_REFUSED,
        ErrorClass.TIMEOUT_CONNECT,
        ErrorClass.NO_NETWORK,
        ErrorClass.NO_ROUTE,
        ErrorClass.EVENT,
    }
)
"""No connection came about: the line of the host says with whom, that of the recipient what it was."""

_NOT_AT_A_HOST = _UNREACHED | {ErrorClass.AUTH_FAILED}
"""The line of the recipient does not name the host."""

_Judged = (
    CommandRejected
    | ClientNote
    | TransactionBroken
    | ClientGone
    | NameNotFound
    | RecipientDiscarded
    | TooManyRecipients
    | SenderUnverified
    | ConnectionRefused
    | AuthenticationFailed
)


def _reason(outcome: Deferred) -> str:
    """Why somebody waits. What was cut off between the final dot and its reply may have arrived, and come twice."""
    if outcome.error is ErrorClass.NO_NETWORK and outcome.host is not None and outcome.reason not in _BY_SYSTEM:
        return _DEFERS[outcome.error][1]
    reason = free(outcome.reason)
    return f"{reason} (possible duplicate)" if outcome.possible_duplicate else reason


def _of_delay(outcome: Deferred) -> tuple[Log, ...]:
    return MAIN_AND_PANIC if outcome.is_misconfigured else MAIN


def only_waits(outcome: Deferred) -> bool:
    """Whether nobody was asked this time (Exim: retry_defer)."""
    return outcome.not_before is not None or number_of(outcome) <= _RETRY_BASE


class EximLines:
    """Turns events into lines by the selectors that are on. It holds nothing but them."""

    def __init__(self, selectors: LogSelectors) -> None:
        self._selectors = selectors
        self._millisec = "millisec" in selectors
        self._incoming_interface = "incoming_interface" in selectors
        self._both_interfaces = self._incoming_interface and "outgoing_interface" in selectors
        self._incoming_port = "incoming_port" in selectors
        self._outgoing_port = "outgoing_port" in selectors
        self._dnssec = "dnssec" in selectors
        self._steps = "protocol_detail" in selectors
        self._on_connect = "tls_on_connect" in selectors
        self._cipher = "tls_cipher" in selectors
        self._verified = "tls_certificate_verified" in selectors
        self._peer_dn = "tls_peerdn" in selectors
        self._sni = "tls_sni" in selectors
        self._resumption = "tls_resumption" in selectors
        self._fingerprint = "tls_fingerprint" in selectors
        self._group = "tls_group" in selectors
        self._client_certificate = "tls_client_certificate" in selectors
        self._peer_name = "peer_name" in selectors
        self._proxy = "proxy" in selectors
        self._confirmation = "smtp_confirmation" in selectors
        self._oversize = "size_reject" in selectors
        self._pipelining = "pipelining" in selectors
        self._all_parents = "all_parents" in selectors
        self._deliver_time = "deliver_time" in selectors
        self._delivery_size = "delivery_size" in selectors
        self._connection_ids = "connection_id" in selectors
        self._queue_time = "queue_time" in selectors
        self._overall_time = "queue_time_overall" in selectors
        self._message_id = "msg_id" in selectors
        self._made_message_id = "msg_id_created" in selectors
        self._shown_sender = "sender_on_delivery" in selectors
        self._shown_return_path = "return_path_on_delivery" in selectors
        self._subject = "subject" in selectors
        self._received_recipients = "received_recipients" in selectors
        self._received_sender = "received_sender" in selectors
        self._connections = "smtp_connection" in selectors
        self._lost_connections = "lost_incoming_connection" in selectors
        self._protocol_errors = "smtp_protocol_error" in selectors
        self._lookup_failures = "host_lookup_failed" in selectors
        self._rejected_header = "rejected_header" in selectors
        self._syntax_errors = "smtp_syntax_error" in selectors
        self._etrn = "etrn" in selectors
        self._retry_defers = "retry_defer" in selectors
        self._refusals = "connection_reject" in selectors
        self._broken = "smtp_incomplete_transaction" in selectors
        self._mail_auth = "smtp_mailauth" in selectors
        self._declared_body = "8bitmime" in selectors
        self._no_mail = "smtp_no_mail" in selectors

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
                if only_waits(event.outcome) and not self._retry_defers:
                    return None
                return Line(_of_delay(event.outcome), event.message_id, self._deferred(event))
            case AddressFailed():
                return Line(MAIN, event.message_id, self._failed(event))
            case (
                CommandRejected()
                | ClientNote()
                | ClientGone()
                | TransactionBroken()
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
            case NoMail():
                return Line(MAIN, "", self._without_mail(event)) if self._no_mail else None
            case TLSStarted():
                return self._certificate_shown(event.session)
            case TLSEnded() | ChildrenComplete():
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
                return self._written(event)
            case Warned():
                return Line(MAIN, event.message_id, f"{self._host(event.session)} Warning: {free(event.text)}")
            case DaemonNote():
                wanted = not event.selector or event.selector in self._selectors
                more = (f" {free(event.advice)}",) if event.advice else ()
                return Line(MAIN, "", free(event.text), more=more) if wanted else None
            case Trouble():
                text = f"{event.text} ({event.remedy})" if event.remedy else event.text
                return Line(MAIN_AND_PANIC, event.message_id, free(text), more=tuple(map(free, event.more)))
            case _ as never:
                assert_never(never)

    def _written(self, event: WrittenByACL) -> Line | None:
        logs = tuple(log for log in Log if log.value in event.logs)
        # Exim: a tab makes no line.
        return Line(logs, event.message_id, "\t".join(map(free, event.text.split("\t")))) if logs else None

    def _judged(self, event: _Judged) -> Line | None:
        """What became of what a client has asked for."""
        match event:
            case CommandRejected():
                logs = tuple(log for log in Log if log.value in event.logs)
                if event.command.startswith("connection "):
                    logs = self._of_refusal(logs)
                header = self._refused(event)
                return Line(logs, event.message_id, self._rejected(event), header) if logs else None
            case ClientNote() if event.text.startswith("ETRN ") and not self._etrn:
                return None
            case ClientNote():
                client = self._host(event.session) if event.with_ident else self._from(event.session)
                why = f" ({free(event.why)})" if event.why else ""
                return Line(MAIN, "", f"{free(event.text)} {client}{why}")
            case TransactionBroken():
                return Line(MAIN, "", self._given_up(event)) if self._broken else None
            case ClientGone():
                client = f"{self._host(event.session)} P={event.session.protocol(self._on_connect)}"
                return Line(MAIN, event.message_id, f"SMTP connection lost after final dot {client}")
            case RecipientDiscarded():
                return Line(MAIN_AND_REJECT, "", self._discarded(event))
            case NameNotFound():
                return self._no_name(event)
            case TooManyRecipients():
                text = f"too many recipients: {event.what}: sender=<{mailbox(event.sender)}>"
                return Line(MAIN_AND_REJECT, "", f"{text} {self._host(event.session)}")
            case SenderUnverified():
                return Line(MAIN_AND_REJECT, event.message_id, self._unverified(event))
            case ConnectionRefused():
                logs = self._of_refusal(MAIN if event.temporary else MAIN_AND_REJECT)
                return Line(logs, "", turned_away(event, self._host(event.session))) if logs else None
            case AuthenticationFailed():
                text = f"{event.authenticator} authenticator failed for {self._host(event.session)}"
                return Line(MAIN_AND_REJECT, "", f"{text}: {free(event.reason)}")
            case _ as never:
                assert_never(never)

    def _of_refusal(self, logs: tuple[Log, ...]) -> tuple[Log, ...]:
        """Where a connection that is refused is told of: in the reject log always (Exim: connection_reject)."""
        return logs if self._refusals else tuple(log for log in logs if log is not Log.MAIN)

    # Fields that several lines share.

    def _named(self, event: AddressDelivered | AddressDeferred | AddressFailed) -> str:
        return address_with_original(event, all_parents=self._all_parents)

    def _host(self, session: SessionFacts) -> str:
        """`H=…` of a network session, `U=…` of a local one (Exim: host_and_ident)."""
        host = full_host(session, port=self._incoming_port)
        number = self._connection_id(session)
        if not host:
            return f"U={word(session.user) or 'unknown'}{number}"
        interface = self._interface(session)
        user = f" U={word(session.user)}" if session.user else ""
        return f"H={host}{interface}{user}{number}"

    def _connection_id(self, session: SessionFacts) -> str:
        return f" Ci={session.connection_id}" if self._connection_ids and session.connection_id else ""

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

    def _remote(self, host: RemoteHost | None, *, continued: bool = False, alone: bool = False) -> str:
        """` H=name DS [address]:port* I=[address]:port` of a server that we spoke to, and of our own end; DS where the
        DNS has vouched for the way to it. `alone`: of the host itself, whoever was to be delivered to."""
        if host is None:
            return ""
        port = f":{host.port}" if self._outgoing_port else ""
        signed = " DS" if self._dnssec and not alone and host.dnssec is DNSSEC.YES else ""
        ours = ""
        if self._both_interfaces and not alone and host.our_end is not None:
            ours = f" I=[{host.our_end[0]}]{f':{host.our_end[1]}' if self._outgoing_port else ''}"
        return f" H={word(host.name)}{signed} [{host.address}]{port}{'*' if continued else ''}{ours}"

    def _arrived(self, event: Arrived) -> str:
        session = event.session
        text = f"{'(=' if event.denied else '<='} {mailbox(event.sender) or '<>'}"
        if event.bounce_of:
            text += f" R={event.bounce_of}"
        host = full_host(session, port=self._incoming_port)
        if host:
            text += f" H={host}{self._interface(session)}"
        if session.user:
            text += f" U={word(session.user)}"
        protocol = session.protocol(self._on_connect)
        text += f"{self._connection_id(session)} P={protocol}{self._tls(session.tls, session.peer_name)}"
        proxy = f" PRX={session.proxy.internal.address}" if self._proxy and session.proxy else ""
        chunks = " K" if event.by_chunks else ""
        prdr = " PRDR" if event.prdr else ""
        text += f"{login(session, with_sender=self._mail_auth)}{prdr}{proxy}{chunks} S={event.size}"
        if self._declared_body:
            text += f" M8S={event.body[:1] or 0}"
        text += self._header_message_id(event)
        if self._subject and event.subject:
            text += f" T={quoted(event.subject, _SUBJECT_LIMIT)}"
        if self._received_sender:
            text += f" from <{mailbox(event.sender)}>"
        if self._received_recipients and event.recipients:
            text += f" for {addresses(event.named or event.recipients)}"
        return text

    def _header_message_id(self, event: Arrived) -> str:
        """` id=`, with a star where the id is our own making."""
        made = event.made_message_id if self._made_message_id else ""
        text = event.header_message_id or made
        if not self._message_id or not text:
            return ""
        star = "" if event.header_message_id else "*"
        return f" id{star}={word(text.strip().removeprefix('<').removesuffix('>'))}"

    def _delivered(self, event: AddressDelivered) -> str:
        outcome = event.outcome
        text = (
            f"{'*>' if outcome.is_bypassed else '=>' if event.first else '->'} {self._named(event)}"
            f"{self._frame(event.about) if event.transport else ''}"
            f"{driver_names(event.router, event.transport)}"
            f"{f' S={outcome.size}' if self._delivery_size and event.transport else ''}"
            f"{host_found(event.named)}{shadow_told(outcome)}{self._remote(outcome.host, continued=outcome.continued)}"
            f"{self._protocol_detail(event)}{self._tls(outcome.tls, '', outgoing=True)}"
            f"{self._dialog(outcome.dialog)}"
        )
        with_server = outcome.host is not None or outcome.dialog is not None
        if self._confirmation and with_server and outcome.confirmation:
            text += f" C={quoted(outcome.confirmation, _CONFIRMATION_LIMIT)}"
        if self._queue_time and event.about is not None:
            text += f" QT={elapsed_time(event.about.queued_for, millisec=self._millisec)}"
        return text + self._duration(event.elapsed)

    def _frame(self, about: MessageFrame | None) -> str:
        """` F=<sender> P=<return path>`."""
        if about is None:
            return ""
        sender = f" F=<{mailbox(about.sender)}>" if self._shown_sender else ""
        if about.return_path is None or not self._shown_return_path:
            return sender
        return f"{sender} P=<{mailbox(about.return_path)}>"

    def _protocol_detail(self, event: AddressDelivered) -> str:
        """` PS=` of the first recipient of a transaction, which has it alone."""
        dialog = event.outcome.dialog
        return f" PS={dialog.steps}" if self._steps and event.first and dialog is not None and dialog.steps else ""

    def _dialog(self, dialog: Dialog | None) -> str:
        """` A=` with whom we were logged in as, ` L` for commands in groups, ` K` for chunks."""
        if dialog is None:
            return ""
        sender = f":{word(dialog.sender)}" if self._mail_auth and dialog.sender and ":" in dialog.login else ""
        logged_in = f" A={word(dialog.login)}{sender}" if dialog.login else ""
        groups = " L" if dialog.in_groups and self._pipelining else ""
        return f"{logged_in}{groups}{' PRDR' if dialog.prdr else ''}{' K' if dialog.by_chunks else ''}"

    def _duration(self, seconds: float) -> str:
        return f" DT={elapsed_time(seconds, millisec=self._millisec)}" if self._deliver_time else ""

    def _completed(self, event: Completed) -> str:
        spent = elapsed_time(event.elapsed, millisec=self._millisec)
        return f"Completed QT={spent}" if self._overall_time else "Completed"

    def _deferred(self, event: AddressDeferred) -> str:
        outcome = event.outcome
        number, error = _BY_SYSTEM.get(outcome.reason, _DEFERS[outcome.error])
        if outcome.errno:
            number, error = f" defer ({outcome.errno})", system_error(outcome.errno)
        number = " defer (0)" if outcome.error is ErrorClass.OTHER and outcome.reply is not None else number
        reason = _reason(outcome)
        if error:
            number = f"{number}: {error}"
            reason = "" if reason == error else reason
        reason = "" if outcome.error is ErrorClass.EVENT else reason
        names = driver_names(event.router, event.transport)
        if not names and outcome.error is not ErrorClass.HELD:
            names = " routing"
        if outcome.not_before is not None:
            # Nobody was spoken to. Exim: ERRNO_HRETRY.
            return f"== {self._named(event)}{names} defer (-54): {free(outcome.reason)}"
        is_unspoken = outcome.error in _NOT_AT_A_HOST or outcome.error in WAITS_FOR_RUN
        host = "" if is_unspoken else self._remote(outcome.host, continued=outcome.continued)
        text = f"== {self._named(event)}{names}{number}{host}"
        return f"{text}: {reason}" if reason else text

    def _failed(self, event: AddressFailed) -> str:
        if event.outcome.is_expired:
            # The line of the last delay stands before it, and names the rest.
            return f"** {self._named(event)}: retry timeout exceeded"
        names = driver_names(event.router, event.transport)
        steps = f" PS={event.outcome.steps}" if self._steps and event.outcome.steps else ""
        host = self._remote(event.outcome.host, continued=event.outcome.continued)
        host = f"{host}{steps}{self._tls(event.outcome.tls, '', outgoing=True)}"
        return f"** {self._named(event)}{self._frame(event.about)}{names}{host} : {free(event.outcome.reason)}"

    def _host_failed(self, outcome: Deferred) -> str:
        host = self._remote(outcome.host, alone=True).lstrip()
        if outcome.host is None:
            return _reason(outcome)
        if outcome.error in _UNREACHED:
            return f"{host} {_reason(outcome)}"
        error = _DEFERS[outcome.error][1]
        return f"{host}: {_reason(outcome)}{': ' if error else ''}{error}"

    def _discarded(self, event: RecipientDiscarded) -> str:
        who = f"{self._host(event.session)} F=<{mailbox(event.sender)}> RCPT {of_addresses(event.recipient)}"
        return f"{who}: discarded by {event.by} ACL{': ' if event.reason else ''}{free(event.reason)}"

    def _given_up(self, event: TransactionBroken) -> str:
        recipients = " ".join(("for", *map(mailbox, event.recipients))) if event.recipients else ""
        what = f"incomplete transaction ({event.how}) from <{mailbox(event.sender)}>"
        return f"{self._host(event.session)} {what} {recipients}".rstrip()

    def _no_name(self, event: NameNotFound) -> Line | None:
        if event.session.peer is None or not self._lookup_failures:
            return None
        return Line(MAIN, "", f"no host name found for IP address {event.session.peer.address}")

    def _unverified(self, event: SenderUnverified) -> str:
        how = "defer" if event.temporary else "fail"
        text = f"{self._host(event.session)} sender verify {how} for <{mailbox(event.sender)}>"
        return f"{text}: {free(event.reason)}" if event.reason else text

    def _refused(self, event: CommandRejected) -> tuple[str, ...]:
        """Envelope and header of a refused message.

        Each line begins with the type of its field or with a blank: none can look like a line of the log.
        """
        message = event.message
        if message is None or not self._rejected_header:
            return ()
        lines = [f"Envelope-from: <{mailbox(event.sender or '')}>"]
        for number, each in enumerate(message.recipients[:_RECIPIENTS_SHOWN]):
            lines.append(f"{'   ' if number else 'Envelope-to:'} <{mailbox(each)}>")
        if len(message.recipients) > _RECIPIENTS_SHOWN:
            lines.append("    ...")
        left = TEXT_LIMIT
        for field in message.header:
            shown = field_lines(field)
            left -= sum(map(len, shown))
            if left < 0:
                return (*lines, "*** truncated ***")
            lines += shown
        return tuple(lines)

    def _rejected(self, event: CommandRejected) -> str:
        session = event.session
        sender = ""
        if event.sender is not None:
            sender = f" F=<{mailbox(event.sender)}>{login(session)}"
        client = f"{self._host(session)}{self._tls(session.tls, session.peer_name)}"
        if event.command == BY_NON_SMTP_ACL and sender:
            client, sender = "", sender.lstrip()
        why = f": {free(event.reason)}" if event.reason else ""
        return f"{client}{sender} {what_happened(event)}{why}"

    def _connection(self, event: ConnectionOpened | ConnectionClosed) -> Line | None:
        if isinstance(event, ConnectionOpened):
            if not self._connections:
                return None
            count = f" (TCP/IP connection count = {event.count})"
            text = f"SMTP connection from {self._from(event.session)}{count}" if event.count else self._whose(event)
            return Line(MAIN, "", text)
        client, connection = self._from(event.session), self._whose(event)
        if event.cut is not None:
            if not (self._lost_connections or self._connections):
                return None
            where = f" ({event.cut.where})" if event.cut.where else ""
            return Line(MAIN, event.cut.message_id, f"{connection} lost while reading message data{where}")
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
        ended = f"lost {lasted}" if event.how == "lost" else f"{lasted} closed {free(event.how)}"
        return Line(MAIN, "", f"{connection} {ended}")

    def _without_mail(self, event: NoMail) -> str:
        session = event.session
        lasted = f"D={elapsed_time(event.elapsed, millisec=self._millisec)}"
        more = f"{login(session)}{self._tls(session.tls, session.peer_name)}{history(event.commands)}"
        return f"no MAIL in SMTP connection from {self._from(session)} {lasted}{more}"

    def _whose(self, event: ConnectionOpened | ConnectionClosed) -> str:
        """Here the id stands in front of the client (Exim: smtp_get_connection_info)."""
        client = self._from(replace(event.session, connection_id=""))
        return f"SMTP connection{self._connection_id(event.session)} from {client}"

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
        if what.startswith("message too big"):
            return Line(MAIN_AND_REJECT, event.message_id, too_big(event, client)) if self._oversize else None
        if what in REJECTED:
            return Line(MAIN_AND_REJECT, "", REJECTED[what](event.input, client))
        if what.lower().startswith("too many"):
            text = f"SMTP call from {self._from(event.session)} dropped: {what}"
            return Line(MAIN_AND_REJECT, "", text + last_command(what, event))
        if what.startswith("unqualified "):
            text = f"{what} rejected: <{mailbox(event.input)}> {client}"
            return Line(MAIN_AND_REJECT, "", text) if self._syntax_errors else None
        if not (self._syntax_errors if event.is_syntax else self._protocol_errors):
            return None
        kind = "syntax" if event.is_syntax else "protocol"
        return Line(MAIN, "", f"SMTP {kind} error in {quoted(event.input, 128)} {client} {what}")
