"""The one place that joins everything: a configuration becomes a relay, top to bottom (edge).

Nothing is started here and no file is opened but the logs on their first line. Each function builds one part from the
parts above it; there is no registry and nothing is looked up by a name that a peer could choose.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry
from twisted.internet.threads import deferToThreadPool

from relay import __version__
from relay.config.blocks import debug_prints
from relay.config.old_options import log_selector_text
from relay.config.read import Configuration
from relay.config.references import acl_options
from relay.daemon.addresses import local_addresses
from relay.daemon.callers import TrustedCallers, caller_of_reports, full_names, trusted_callers
from relay.daemon.callouts import host_callouts, smtp_transports
from relay.daemon.capacity import MachineCapacity
from relay.daemon.capacity_settings import capacity_limits
from relay.daemon.control import SubmissionFactory
from relay.daemon.event_actions import event_actions
from relay.daemon.hints import SpoolHints
from relay.daemon.listening import Listener, smtp_listeners
from relay.daemon.local_deliveries import LocalDeliveries, local_deliveries
from relay.daemon.logins import auth_ports, password_threads
from relay.daemon.maildrop import Maildrop, MaildropFolder
from relay.daemon.names import names_of
from relay.daemon.operator_rights import control_factory
from relay.daemon.operator_socket import ControlFactory
from relay.daemon.privileges import Identity, identity_of
from relay.daemon.queue_length import QueueLength, QueueSize
from relay.daemon.remote import remote_ports
from relay.daemon.reporting import frozen_rules, report_rules, retry_times, settle_rules
from relay.daemon.retry_file import RetryFile
from relay.daemon.routing import routing_ports
from relay.daemon.runner import DeliveryRunner
from relay.daemon.server_contexts import CachedContexts
from relay.daemon.session_rules import (
    delivery_fields,
    from_affixes,
    received_header,
    recipients_limit,
    session_rules,
    size_limit,
)
from relay.daemon.turns import QueueTurns
from relay.daemon.wishes import Shown, Wishes
from relay.delivery.attempt import AttemptPorts
from relay.delivery.first_pass import FirstPass
from relay.delivery.remote import SMTPTransport
from relay.delivery.schedule import Limits, Schedule
from relay.esmtp.server import ServerSettings
from relay.expand.scope import MessageView, Passwords, Scope
from relay.mail.address import Address
from relay.mail.events import ConnectionOpened
from relay.mail.facts import Endpoint, SessionFacts, make_connection_id
from relay.mail.header import Field
from relay.mail.ports import Journal, Watch
from relay.mail.source import ConfigurationError, Location, Problem
from relay.net.concurrency import TwistedConcurrency
from relay.net.crowd import Crowd
from relay.net.file_system import LocalFileSystem
from relay.net.host_watch import HostWatch
from relay.net.lookups import FileLookups, ListFiles
from relay.net.resolver import Names, SystemResolver
from relay.net.server import HANDSHAKE_TIMEOUT, ESMTPServerFactory
from relay.net.threads import ThreadedSpool
from relay.observe.files import PanicShown, open_logs
from relay.observe.journal import FanOut
from relay.observe.logs import LogSelectors, MainLog, parse_selector
from relay.observe.message_logs import MessageLogs
from relay.observe.metrics import Metrics
from relay.observe.watching import Watching, show
from relay.policy.acl import FileACLs
from relay.policy.acl_program import ConditionPorts
from relay.policy.address_verification import RoutedAddresses
from relay.policy.authenticate import AuthPorts
from relay.policy.event_action import EventActions
from relay.policy.hosts import matches_client
from relay.policy.routers.ports import RoutingPorts
from relay.policy.verification import Callouts
from relay.reception.fields import received_field
from relay.reception.header_id import HeaderId
from relay.reception.local_acls import LocalACLs
from relay.reception.rules import Ports, Rules
from relay.reception.session import Session, make_facts
from relay.reception.submission import Arrival, Submission, SubmissionPorts, SubmissionSettings
from relay.spool.engine import NoEngine, make_store
from relay.spool.store import Store
from relay.tls.faults import HandshakeGuard

# Seconds until a message that was only queued (-odq, queue_only) is tried, where no -q says otherwise.
QUEUE_INTERVAL = 1800.0
_OF_BODY = re.compile(
    r"\b(message_body(_end|_size)?|message_size|(message|body)_linecount|body_zerocount|max_received_linelength"
    r"|allow_filter|system_filter)\b"
)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reception:
    """What a session is made of."""

    rules: Rules
    ports: Ports
    settings: ServerSettings
    crowd: Crowd
    """The connections of all listeners."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Everything that one process runs, joined and not started."""

    reactor: Any
    reception: Reception
    contexts: CachedContexts
    listeners: tuple[Listener, ...]
    plain: ESMTPServerFactory
    secure: ESMTPServerFactory
    """Where TLS begins on connect."""
    spool: ThreadedSpool
    runner: DeliveryRunner
    submissions: SubmissionFactory
    callers: TrustedCallers
    control: ControlFactory
    queue_length: QueueLength
    maildrop: Maildrop
    maildrop_folder: MaildropFolder
    journal: Journal
    metrics: Metrics
    metrics_address: str
    logs: MainLog
    message_logs: MessageLogs | None
    clock: SystemClock
    identity: Identity | None
    deliveries: LocalDeliveries
    watch: HostWatch
    """Tells the runner of networks and sleep; it is started with the daemon."""
    spool_directory: str
    pid_file: str
    location: Location
    version: str


class SystemClock:
    """The wall clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class ThreadCalls:
    """Blocking calls in the thread pool of a reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or its exception."""
        result: T = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *args, **kwargs)
        return result


@dataclass(frozen=True, slots=True)
class World:
    """What nothing but the operating system stands behind."""

    reactor: Any
    clock: SystemClock
    random: random.Random
    journal: Journal
    logs: MainLog
    message_logs: MessageLogs | None
    retry_file: RetryFile | None
    metrics: Metrics
    calls: ThreadCalls
    resolver: Names
    concurrency: TwistedConcurrency
    events: EventActions
    watch: Watch | None = None


def make_world(configuration: Configuration, reactor: Any, shown: Shown = Shown.NOTHING) -> World:
    """Raises ConfigurationError for logs that can't be."""
    clock = SystemClock()
    selectors = _selectors(configuration)
    calls = ThreadCalls(reactor)
    logs, metrics = _logs(configuration, clock, selectors, shown), Metrics(CollectorRegistry())
    message_logs = _message_logs(configuration, clock, selectors)
    watch = show if shown is Shown.EVERYTHING else None
    # Hosts that share a queue share what is remembered, and no file.
    is_embedded = configuration.main.queue.startswith("sqlite:")
    retry_file = RetryFile(configuration.main.spool_directory) if is_embedded else None
    watching = Watching(watch, selectors) if watch is not None else None
    observers: tuple[Journal | None, ...] = (logs, metrics, message_logs, retry_file, watching)
    journal, concurrency = FanOut([each for each in observers if each is not None]), TwistedConcurrency(reactor)
    return World(
        reactor=reactor,
        clock=clock,
        random=random.SystemRandom(),
        journal=journal,
        logs=logs,
        message_logs=message_logs,
        retry_file=retry_file,
        metrics=metrics,
        calls=calls,
        resolver=names_of(configuration, SystemResolver(reactor), FileLookups(calls.call, clock)),
        concurrency=concurrency,
        events=event_actions(configuration, journal, concurrency),
        watch=watch,
    )


def build(configuration: Configuration, reactor: Any, path: str, wishes: Wishes, crowd: Crowd | None = None) -> Relay:
    """Joins a relay; `crowd` counts its connections where others do so as well.

    Raises ConfigurationError for what can only be seen now (no such user, a bad log path).
    """
    world = make_world(configuration, reactor, wishes.shown)
    clock, journal, main, calls = world.clock, world.journal, configuration.main, world.calls.call
    spool = ThreadedSpool(reactor, queue_store(configuration), journal)
    passwords = password_threads(reactor)
    scope = base_scope(configuration, world, passwords).child(queue_size=QueueSize(spool, clock).now)
    here = scope.local_addresses
    routing = routing_ports(configuration, world.resolver, calls, journal, world.concurrency, here, world.watch)
    schedule = Schedule(Limits())
    identity = identity_of(main.exim_user, main.exim_group, configuration.place("exim_user"), main.spool_directory)
    auth = auth_ports(passwords, clock, world.concurrency, main.spool_directory, identity)
    deliveries = local_deliveries(configuration, reactor, world.calls, clock, journal, identity)
    retrying = (configuration.retry, auth, retry_times(main), world.retry_file, world.events, world.watch)
    remote, summons = remote_ports(reactor, clock, journal, world.random, spool, schedule, *retrying)
    transports = smtp_transports(configuration, deliveries.with_filters(remote), scope)
    attempts = _attempt_ports(configuration, world, spool, scope, transports, deliveries, routing, identity, wishes)
    runner = DeliveryRunner(reactor, clock, spool, schedule, attempts, journal, frozen_rules(main))
    summons.answered_by(runner.begin_waiting)
    callouts = host_callouts(configuration, transports, remote, SpoolHints(spool, clock))
    conditions = _conditions(configuration, world, spool, scope, routing, callouts)
    crowd = crowd if crowd is not None else Crowd(main.smtp_accept_max)
    contexts = CachedContexts(clock, journal, main.spool_directory)
    reception = _reception(configuration, world, scope, spool, runner, conditions, wishes, auth, crowd, contexts)
    plain, secure = (_server_factory(configuration, reception, world, scope, tls_on_connect=on) for on in (False, True))
    submit = _submission(configuration, world, spool, runner, scope, reception.ports, wishes).submit
    callers, folder = _callers(configuration), MaildropFolder(main.spool_directory)
    deliveries.replies.open(submit, callers, runner.is_awaited)
    return Relay(
        reactor=reactor,
        reception=reception,
        contexts=contexts,
        listeners=smtp_listeners(configuration, wishes),
        plain=plain,
        secure=secure,
        spool=spool,
        runner=runner,
        submissions=SubmissionFactory(reactor, submit, callers, journal),
        callers=callers,
        control=control_factory(configuration, scope, spool, runner, world),
        queue_length=QueueLength(reactor, spool, journal, main.queue_length_warning),
        maildrop=Maildrop(reactor, folder, submit, callers, journal, clock, calls),
        maildrop_folder=folder,
        journal=journal,
        metrics=world.metrics,
        metrics_address=main.metrics_address,
        logs=world.logs,
        message_logs=world.message_logs,
        clock=clock,
        identity=identity,
        deliveries=deliveries,
        watch=HostWatch(reactor, runner.network_changed, runner.clock_set_back),
        spool_directory=main.spool_directory,
        pid_file=wishes.pid_file or main.pid_file_path,
        location=Location(path),
        version=__version__,
    )


def _callers(configuration: Configuration) -> TrustedCallers:
    """Whom to believe: those who are named, and the user that the daemon runs as."""
    main = configuration.main
    believed = (*main.trusted_users, main.exim_user) if main.exim_user else main.trusted_users
    return trusted_callers(believed, main.trusted_groups, full_names(configuration))


def queue_store(configuration: Configuration) -> Store:
    """The queue that the main option `queue` names (ours), not opened. Raises ConfigurationError."""
    main = configuration.main
    try:
        return make_store(main.queue, elapsed=time.monotonic, pause=time.sleep, lease=float(main.queue_lease))
    except NoEngine as error:
        raise ConfigurationError(Problem(configuration.place("queue"), str(error), error.remedy)) from None


# What everybody sees


def _logs(configuration: Configuration, clock: SystemClock, selectors: LogSelectors, shown: Shown) -> MainLog:
    main = configuration.main
    try:
        sink = open_logs(main.log_file_path, main.spool_directory)
    except ValueError as error:
        raise ConfigurationError(Problem(configuration.place("log_file_path"), str(error))) from None
    if shown is Shown.PANIC:
        sink = PanicShown(sink)
    return MainLog(sink, clock, selectors, zone=main.log_timezone, rejects=main.write_rejectlog)


def _selectors(configuration: Configuration) -> LogSelectors:
    try:
        return parse_selector(log_selector_text(configuration.main))
    except ValueError as error:
        raise ConfigurationError(Problem(configuration.place("log_selector"), str(error))) from None


def _message_logs(configuration: Configuration, clock: SystemClock, selectors: LogSelectors) -> MessageLogs | None:
    """None where hosts share the queue: each would have a part of a message's log, and nobody would remove it."""
    main = configuration.main
    if not main.message_logs or not main.queue.startswith("sqlite:"):
        return None
    return MessageLogs(
        main.spool_directory, clock, selectors, zone=main.log_timezone, preserve=main.preserve_message_logs
    )


def base_scope(configuration: Configuration, world: World, passwords: Passwords) -> Scope:
    """What every expansion of this process can see."""
    return Scope(
        main=configuration.static,
        local_addresses=local_addresses(),
        pid=os.getpid(),
        lookups=FileLookups(world.calls.call, world.clock),
        resolver=world.resolver,
        dns=world.resolver,
        files=ListFiles(world.calls.call, world.clock),
        file_system=LocalFileSystem(world.calls.call),
        may_read_files=configuration.main.expand_reads_files,
        passwords=passwords,
        named_lists=configuration.named_lists,
    )


# Reception


def _reception(
    configuration: Configuration,
    world: World,
    scope: Scope,
    spool: ThreadedSpool,
    runner: DeliveryRunner,
    conditions: ConditionPorts,
    wishes: Wishes,
    auth: AuthPorts,
    crowd: Crowd,
    contexts: CachedContexts,
) -> Reception:
    main = configuration.main
    rules = session_rules(configuration, scope, wishes.queue_interval or QUEUE_INTERVAL)
    assert rules.server_settings is not None
    ports = Ports(
        clock=world.clock,
        journal=world.journal,
        intake=spool,
        concurrency=world.concurrency,
        contexts=contexts,
        handshakes=HandshakeGuard(main.tls_handshakes_per_host),
        runner=runner,
        random=world.random,
        resolver=world.resolver,
        lookups=scope.lookups,
        files=scope.files,
        conditions=conditions,
        auth=auth,
        passwords=scope.passwords,
        file_system=scope.file_system,
        crowd=crowd,
        turns=QueueTurns(world.reactor, runner),
        events=world.events,
        capacity=MachineCapacity(capacity_limits(configuration), world.calls, world.clock, lambda: crowd.count),
    )
    return Reception(rules, ports, rules.server_settings, crowd)


def _conditions(
    configuration: Configuration,
    world: World,
    spool: ThreadedSpool,
    scope: Scope,
    routing: RoutingPorts,
    callouts: Callouts,
) -> ConditionPorts:
    """Whom the conditions of ACLs may ask."""
    return ConditionPorts(
        records=world.resolver,
        hints=SpoolHints(spool, world.clock),
        addresses=RoutedAddresses(configuration.routers, routing, callouts),
        files=FileACLs(scope.files, configuration.named_lists) if scope.files is not None else None,
        tells_details=configuration.main.smtp_return_error_details,
    )


def _server_factory(
    configuration: Configuration,
    reception: Reception,
    world: World,
    scope: Scope,
    *,
    tls_on_connect: bool,
) -> ESMTPServerFactory:
    main, unlogged = configuration.main, configuration.main.hosts_connection_nolog

    def make_session(peer: Endpoint, local: Endpoint, on_connect: bool) -> Session:
        number = make_connection_id(reception.ports.clock.now(), reception.ports.random)
        facts = make_facts(peer, local, tls_on_connect=on_connect, connection_id=number)
        if unlogged is None or unlogged.is_empty:
            world.journal.record(ConnectionOpened(facts, reception.crowd.count))
        return Session(reception.rules, reception.ports, facts)

    async def is_proxy(peer: Endpoint) -> bool:
        assert main.hosts_proxy is not None
        return await matches_client(main.hosts_proxy, scope.child(session=SessionFacts(peer=peer)))

    return ESMTPServerFactory(
        world.reactor,
        make_session,
        reception.settings,
        tls_on_connect=tls_on_connect,
        crowd=reception.crowd,
        is_proxy=is_proxy if main.hosts_proxy is not None and not main.hosts_proxy.is_empty else None,
        proxy_timeout=float(main.proxy_protocol_timeout),
        handshake_timeout=min(HANDSHAKE_TIMEOUT, reception.settings.command_timeout),
    )


# Submission


def _submission(
    configuration: Configuration,
    world: World,
    spool: ThreadedSpool,
    runner: DeliveryRunner,
    scope: Scope,
    ports: Ports,
    wishes: Wishes,
) -> Submission:
    """`ports` are those of sessions, some of which are shared."""
    main = configuration.main
    template = received_header(configuration)

    async def trace_field(arrival: Arrival) -> Field:
        view = MessageView(sender=arrival.sender, recipients=arrival.recipients, message_id=arrival.message_id)
        seen = scope.child(session=arrival.session, now=arrival.received_at, message=view)
        if len(arrival.recipients) == 1:
            seen.more = {"received_for": str(arrival.recipients[0])}
        return await received_field(template, seen, arrival.received_at)

    async def may_set_sender(address: Address) -> bool:
        allowed = main.untrusted_set_sender
        return allowed is not None and await allowed.match(str(address), scope) is not None

    return Submission(
        SubmissionSettings(
            primary_hostname=main.primary_hostname,
            qualify_domain=main.qualify_domain,
            qualify_recipient=main.qualify_recipient,
            message_size_limit=size_limit(main.message_size_limit),
            header_maxsize=main.header_maxsize,
            header_line_maxsize=main.header_line_maxsize,
            header_id=HeaderId(main.message_id_header_domain, main.message_id_header_text),
            recipients_max=recipients_limit(main.recipients_max),
            received_headers_max=main.received_headers_max,
            extract_addresses_remove_arguments=main.extract_addresses_remove_arguments,
            local_from_check=main.local_from_check,
            local_sender_retain=main.local_sender_retain,
            from_affixes=from_affixes(main),
            delivery_fields=delivery_fields(main),
            rewrite=configuration.rewrite,
            local_acls=LocalACLs(dict(acl_options(main)), configuration.acls, ports.conditions),
            queue_only_override=main.queue_only_override,
            allow_domain_literals=main.allow_domain_literals,
            queue_interval=wishes.queue_interval or QUEUE_INTERVAL,
        ),
        SubmissionPorts(
            intake=spool,
            clock=world.clock,
            journal=world.journal,
            trace_field=trace_field,
            may_set_sender=may_set_sender,
            deliveries=runner,
            random_source=world.random,
            scope=scope,
            concurrency=world.concurrency,
            capacity=ports.capacity,
        ),
    )


# Delivery


def _body_visible(configuration: Configuration) -> int | None:
    """How much of a body deliveries are to look at, None where nothing asks: it costs reading each body once more.

    A filter is read when it is run, and may ask for anything.
    """
    asks = any(_OF_BODY.search(line) for line in configuration.listing)
    return configuration.main.message_body_visible if asks else None


def _attempt_ports(
    configuration: Configuration,
    world: World,
    spool: ThreadedSpool,
    scope: Scope,
    remote: Mapping[str, SMTPTransport],
    deliveries: LocalDeliveries,
    routing: RoutingPorts,
    identity: Identity | None,
    wishes: Wishes,
) -> AttemptPorts:
    queue_interval = wishes.queue_interval or QUEUE_INTERVAL
    return AttemptPorts(
        clock=world.clock,
        journal=world.journal,
        outgoing=spool,
        source=world.random,
        scope=scope,
        routing=routing,
        routers=configuration.routers,
        retry_rules=configuration.retry,
        remote=remote,
        local=deliveries.transports,
        settling=settle_rules(configuration.main, queue_interval),
        reports=report_rules(configuration, caller_of_reports(identity), queue_interval),
        watch=world.watch,
        body_visible=_body_visible(configuration),
        debug_prints=debug_prints(configuration.blocks),
        first_pass=FirstPass(smtp_domains=configuration.main.queue_smtp_domains),
        events=world.events,
    )
