"""Counters for everything that happens, each declared with a sentence of help (edge).

A counter is a row: its name, its help, its labels, the event that it counts and how the labels are read
from it. Label values come from the configuration or from small fixed sets, never from a peer, so that no
peer can make the number of series grow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily

from relay.mail import events
from relay.mail.events import Event
from relay.mail.facts import SessionFacts

PREFIX = "fingerpost_"

_TLS_VERSIONS = frozenset({"TLS1.2", "TLS1.3"})
_WHOSE = frozenset({"ours", "peer", "network"})
_COMMANDS = frozenset({"CONNECT", "HELO", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "VRFY", "EXPN", "ETRN"})


@dataclass(frozen=True, slots=True)
class Count:
    """One counter: `name` without prefix and `_total`, `labels` by name with what gives their value."""

    event: type[Any]
    name: str
    help: str
    labels: Mapping[str, Callable[[Any], str]]
    amount: Callable[[Any], float] | None = None
    """How much an event adds; None for one."""


def _version(session: SessionFacts) -> str:
    if session.tls is None:
        return "none"
    return session.tls.version if session.tls.version in _TLS_VERSIONS else "other"


def _certificate(session: SessionFacts) -> str:
    if session.tls is None or session.tls.peer is None:
        return "none"
    return "verified" if session.tls.is_verified else "unverified"


def _command(event: events.CommandRejected) -> str:
    words = event.command.split(None, 1)
    first = words[0].upper() if words else ""
    return first if first in _COMMANDS else "other"


COUNTS = (
    Count(
        events.Arrived,
        "messages_received",
        "Messages that were accepted and are on disk.",
        {
            "protocol": lambda event: event.session.protocol(),
            "certificate": lambda e: _certificate(e.session),
        },
    ),
    Count(
        events.Arrived,
        "received_octets",
        "Octets of the messages that were accepted.",
        {},
        lambda event: float(event.size),
    ),
    Count(
        events.AddressDelivered,
        "recipients_delivered",
        "Recipients whose next hop or mailbox has taken the message.",
        {
            "transport": lambda event: event.transport,
            "tls": lambda event: "yes" if event.outcome.tls else "no",
        },
    ),
    Count(
        events.AddressDeferred,
        "recipients_deferred",
        "Attempts after which a recipient has to wait, by the class of the error.",
        {"transport": lambda event: event.transport, "error": lambda event: event.outcome.error.value},
    ),
    Count(
        events.AddressFailed,
        "recipients_failed",
        "Recipients that were given up.",
        {"transport": lambda event: event.transport},
    ),
    Count(events.Completed, "messages_completed", "Messages that left the queue.", {}),
    Count(events.Frozen, "messages_frozen", "Messages that were held back.", {}),
    Count(events.MessageNote, "message_notes", "Other log lines about a message.", {}),
    Count(events.ChildrenComplete, "addresses_completed", "Addresses done with all that was made of them.", {}),
    Count(
        events.HostFailed,
        "host_failures",
        "Attempts on one host that failed, by the class of the error.",
        {"error": lambda event: event.outcome.error.value},
    ),
    Count(events.ConnectionOpened, "connections_opened", "Connections that clients made.", {}),
    Count(events.ConnectionClosed, "connections_closed", "Connections of clients that ended.", {}),
    Count(events.NoMail, "connections_without_mail", "Connections of clients that ended without a MAIL.", {}),
    Count(
        events.CommandRejected,
        "commands_rejected",
        "Commands and messages that policy or a limit refused.",
        {"command": _command, "temporary": lambda event: "yes" if event.temporary else "no"},
    ),
    Count(events.NameNotFound, "names_not_found", "Clients whose address has no name.", {}),
    Count(events.TransactionBroken, "transactions_broken", "Messages that clients gave up before their data.", {}),
    Count(events.ClientGone, "clients_gone", "Messages whose client was gone before it had its reply.", {}),
    Count(events.ClientNote, "client_notes", "Commands of clients beside those of a message.", {}),
    Count(
        events.RecipientDiscarded,
        "recipients_discarded",
        "Recipients that an ACL took and threw away.",
        {"by": lambda event: event.by},
    ),
    Count(
        events.SenderUnverified,
        "senders_unverified",
        "Senders that could not be verified.",
        {"temporary": lambda event: "yes" if event.temporary else "no"},
    ),
    Count(events.TooManyRecipients, "recipients_too_many", "Messages for more recipients than there may be.", {}),
    Count(events.ProtocolViolated, "protocol_violations", "Breaches of the protocol by clients.", {}),
    Count(
        events.TLSStarted,
        "tls_started",
        "TLS layers that came up on clients' connections.",
        {"version": lambda e: _version(e.session), "certificate": lambda e: _certificate(e.session)},
    ),
    Count(
        events.ConnectionRefused,
        "connections_refused",
        "Clients that were sent away before anything else.",
        {"temporary": lambda event: "yes" if event.temporary else "no"},
    ),
    Count(events.AuthenticationFailed, "authentications_failed", "AUTH commands that did not succeed.", {}),
    Count(events.TLSEnded, "tls_ended", "TLS layers that clients shut down to go on in clear.", {}),
    Count(
        events.TLSFailed,
        "tls_failures",
        "Handshakes that failed, by whose fault it was.",
        {"whose": lambda event: event.whose if event.whose in _WHOSE else "other"},
    ),
    Count(events.TLSUnusable, "tls_unusable", "Times that our own TLS set-up did not work.", {}),
    Count(
        events.TLSFileUnusable,
        "tls_files_unusable",
        "Certificates, keys and lists that were found unusable; counted again each hour while they are.",
        {},
    ),
    Count(events.WrittenByACL, "acl_log_lines", "Lines that ACLs wrote by logwrite.", {}),
    Count(events.Warned, "acl_warnings", "Warn statements with a log_message that matched.", {}),
    Count(events.DaemonNote, "daemon_notes", "Notes of the daemon: start, stop, reload, queue runs.", {}),
    Count(events.Trouble, "troubles", "Faults on our side that need an operator.", {}),
)


class Metrics:
    """An observer that counts. The registry is given, so that several can live in one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._by_event: dict[type[Any], list[Callable[[Any], None]]] = {}
        for count in COUNTS:
            counter = Counter(PREFIX + count.name, count.help, tuple(count.labels), registry=registry)
            self._by_event.setdefault(count.event, []).append(_adder(count, counter))

    def record(self, event: Event) -> None:
        """Adds the event to its counters."""
        for add in self._by_event[type(event)]:
            add(event)

    def counts(self) -> dict[str, float]:
        """All numbers, by the JSON text of name and labels: what a worker tells its parent."""
        return {
            json.dumps([sample.name, sample.labels], sort_keys=True): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }


class SharedMetrics:
    """The counters of several processes, as a collector of a registry. `counts` gives the sums, as `Metrics.counts`."""

    def __init__(self, counts: Callable[[], Mapping[str, float]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What the registry asks for."""
        told: dict[str, list[tuple[dict[str, str], float]]] = {}
        for key, number in self._counts().items():
            name, labels = json.loads(key)
            told.setdefault(name, []).append((labels, number))
        for count in COUNTS:
            name = PREFIX + count.name
            family = CounterMetricFamily(name, count.help, labels=tuple(count.labels))
            for labels, number in told.get(f"{name}_total", ()):
                family.add_metric([labels[label] for label in count.labels], number)
            yield family


def _adder(count: Count, counter: Counter) -> Callable[[Any], None]:
    amount = count.amount
    readers = tuple(count.labels.values())
    if not readers:
        return (lambda event: counter.inc(amount(event))) if amount else (lambda event: counter.inc())
    # A child of each set of label values is looked up once; the sets are few.
    children: dict[tuple[str, ...], Counter] = {}

    def add(event: Any) -> None:
        values = tuple(read(event) for read in readers)
        child = children.get(values)
        if child is None:
            child = children[values] = counter.labels(*values)
        child.inc(amount(event) if amount else 1.0)

    return add
