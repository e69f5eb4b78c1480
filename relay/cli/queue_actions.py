"""`relay-sendmail -bp -bpc -M… -q -R -S`: the queue in Exim's words (edge).

What is printed, where, and with which exit status is Exim's (`queue_action`, `queue_list`). Deliveries are made by
this process, with the configuration that it was given, where the queue is the caller's; everything else goes through
the daemon while it runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from relay.cli.arguments import Action, Arguments, QueueRun
from relay.cli.handover import may_open_queue
from relay.cli.mailq import listing
from relay.cli.message_log import own_log
from relay.cli.queue_access import Denied, Place, QueueReading, all_entries, changing, reading
from relay.cli.reading import understand_configuration
from relay.cli.spool_form import data_file_head, header_file, unix_lines
from relay.daemon.callers import Credentials, TrustedCallers
from relay.daemon.orders import Answer, Order, Outcome, Run, Selection, Verb
from relay.delivery.scopes import glanced
from relay.delivery.scopes import message_scope as scope_of_message
from relay.expand.scope import Scope
from relay.mail.glance import BODY_VISIBLE, BodyGlance
from relay.mail.queue import QueuedMessage, QueueEntry
from relay.mail.text import printable

_VERBS = {
    Action.DELIVER: Verb.DELIVER,
    Action.DELIVER_IF_DUE: Verb.DELIVER_IF_DUE,
    Action.GIVE_UP: Verb.GIVE_UP,
    Action.FREEZE: Verb.FREEZE,
    Action.THAW: Verb.THAW,
    Action.REMOVE: Verb.REMOVE,
    Action.MARK_ALL_DELIVERED: Verb.MARK_ALL_DELIVERED,
    Action.MARK_DELIVERED: Verb.MARK_DELIVERED,
    Action.ADD_RECIPIENTS: Verb.ADD_RECIPIENTS,
    Action.EDIT_SENDER: Verb.SET_SENDER,
}
_DELIVERIES = (Action.DELIVER, Action.DELIVER_IF_DUE, Action.GIVE_UP)


def list_messages(arguments: Arguments, place: Place) -> int:
    """-bp and its letters; with message ids behind it only those. Raises Denied, NotServed, SpoolUnavailable."""
    queue = reading(place)
    try:
        entries = _named(queue, arguments.words) if arguments.words else all_entries(queue)
        for line in listing(entries, time.time(), arguments.listing):
            print(line)
    finally:
        queue.close()
    return 0


def count_messages(_arguments: Arguments, place: Place) -> int:
    """-bpc. Raises Denied, NotServed, SpoolUnavailable."""
    queue = reading(place)
    try:
        print(queue.count())
    finally:
        queue.close()
    return 0


def _named(queue: QueueReading, message_ids: tuple[str, ...]) -> Iterator[QueueEntry]:
    """What is in the listing of these messages."""
    for message_id in message_ids:
        message = queue.message(message_id)
        if message is not None:
            caller = message.facts.session.caller
            yield QueueEntry(
                message_id,
                message.sender,
                message.facts.received_at,
                message.size,
                message.frozen,
                message.due,
                message.recipients,
                caller.login if caller is not None else "",
            )


def run_queue(arguments: Arguments, place: Place) -> int:
    """-q… once, -R, -S. Raises Denied, NotServed, ConfigurationError."""
    if not may_open_queue(place.spool_directory):
        if not arguments.deliver_really:
            raise Denied
        queue = changing(place)
        for each in arguments.queue_runs:
            is_forced = each.force or bool(each.recipient or each.sender)
            queue.run(Run(_selection(each), each.first_only, is_forced, each.thaw), lambda _: None)
        return 0
    from relay.daemon import queue_run

    runs = tuple(
        queue_run.QueueRun(
            two_stage=each.two_stage,
            first_only=each.first_only,
            force=each.force,
            thaw=each.thaw,
            local_only=each.local_only,
            rehearsal=not arguments.deliver_really,
            start=each.start,
            stop=each.stop,
            selection=_selection(each),
        )
        for each in arguments.queue_runs
    )
    return queue_run.run(str(place.configuration), place.macros, runs, verbose=arguments.verbose)


def _selection(run: QueueRun) -> Selection:
    return Selection(
        recipient=run.recipient,
        sender=run.sender,
        recipient_is_pattern=run.recipient_is_pattern,
        sender_is_pattern=run.sender_is_pattern,
    )


def act(arguments: Arguments, place: Place) -> int:
    """-M and its letters; 1 where one of the messages could not be had. Raises Denied, NotServed."""
    action = arguments.action
    assert action is not None, "the mode is for an action"
    if action in (Action.SHOW_BODY, Action.SHOW_COPY, Action.SHOW_HEADER, Action.SHOW_LOG):
        return _show(action, arguments, place)
    orders = [Order(_VERBS[action], each, arguments.words) for each in arguments.message_ids]
    is_delivery = action in _DELIVERIES
    try:
        if not arguments.deliver_really and not (is_delivery and may_open_queue(place.spool_directory)):
            raise Denied
        how: dict[str, bool] = {"rehearsal": not arguments.deliver_really, "verbose": arguments.verbose}
        answers = changing(place, alone=is_delivery, **how).carry_out(orders)
    except Denied:
        if is_delivery:
            raise
        answers = (Answer(Outcome.DENIED),) * len(orders)
    if is_delivery:
        return _told_of_deliveries(orders, answers)
    for order, answer in zip(orders, answers, strict=True):
        for line in _words(order, answer):
            print(line)
    if action is Action.MARK_ALL_DELIVERED:
        print()
    return 0 if all(each.outcome is Outcome.DONE for each in answers) else 1


def _told_of_deliveries(orders: list[Order], answers: tuple[Answer, ...]) -> int:
    """Exim says nothing of a delivery that could not begin but in its log; here it is a line for people."""
    if any(each.outcome is Outcome.DENIED for each in answers):
        raise Denied
    for order, answer in zip(orders, answers, strict=True):
        what = {Outcome.MISSING: "is not in the queue", Outcome.LOCKED: "is being delivered"}.get(
            answer.outcome, answer.text
        )
        if answer.outcome is not Outcome.DONE and what:
            print(f"relay-sendmail: message {order.message_id} {printable(what)}", file=sys.stderr)
    return 0


def _words(order: Order, answer: Answer) -> Iterator[str]:
    message_id = order.message_id
    match answer.outcome:
        case Outcome.DENIED:
            yield "Permission denied"
        case Outcome.LOCKED:
            yield f"Message {message_id} is locked"
        case Outcome.MISSING:
            yield f"Spool data file for {message_id} does not exist"
            if order.verb is Verb.REMOVE:
                # Exim goes on to remove what else there may be.
                yield "Continuing, to ensure all files removed"
                yield f"Spool read error for {message_id}-H: No such file or directory"
                yield "Continuing to ensure all files removed"
                yield f"Message {message_id} has been removed or did not exist"
        case Outcome.DONE | Outcome.REFUSED:
            yield f"Message {message_id} {answer.text}"


# Showing


def _show(action: Action, arguments: Arguments, place: Place) -> int:
    """-Mvb, -Mvc, -Mvh, -Mvl."""
    (message_id,) = arguments.message_ids
    if arguments.words:
        print("*** Only one message can be listed at once")
        return 1
    try:
        queue = reading(place)
        message = queue.message(message_id)
    except Denied:
        print("Permission denied")
        return 1
    if message is None:
        directory, suffix = _FILES[action]
        print(f"Failed to open {directory} file for {message_id}{suffix}: No such file or directory")
        return 1
    sys.stdout.flush()
    try:
        _write(action, message, queue, place, sys.stdout.buffer)
    finally:
        queue.close()
    return 0


_FILES = {
    Action.SHOW_BODY: ("input", "-D"),
    Action.SHOW_HEADER: ("input", "-H"),
    Action.SHOW_COPY: ("input", "-D"),
    Action.SHOW_LOG: ("msglog", ""),
}


def _write(action: Action, message: QueuedMessage, queue: QueueReading, place: Place, output: BinaryIO) -> None:
    if action is Action.SHOW_HEADER:
        read = understand_configuration(place.configuration, place.macros).configuration
        own = TrustedCallers().identify(Credentials(os.geteuid(), os.getegid())).caller
        main, glance = read.main, _glance(queue, message.message_id)
        sets = main.untrusted_set_sender is not None
        output.write(header_file(message, glance, main.qualify_domain, own, anybody_sets_sender=sets))
        return
    if action is Action.SHOW_LOG:
        output.writelines(own_log(place, message.message_id))
        return
    if action is Action.SHOW_COPY:
        output.write(message.header.replace(b"\r\n", b"\n") + b"\n")
    else:
        output.write(data_file_head(message.message_id))
    output.writelines(unix_lines(queue.pieces(message.message_id)))


def _glance(queue: QueueReading, message_id: str) -> BodyGlance:
    glance = BodyGlance(BODY_VISIBLE)
    for piece in queue.pieces(message_id):
        glance.look(piece)
    return glance


def message_scope(arguments: Arguments, place: Place, base: Scope) -> Scope:
    """What strings to be expanded see of the message behind -Mset. Raises Denied, NotServed, SpoolUnavailable."""
    (message_id,) = arguments.message_ids
    queue = reading(place)
    try:
        message = queue.message(message_id)
        if message is None:
            print(f"Failed to load message {message_id}")
            return base
        glance = _glance(queue, message_id)
    finally:
        queue.close()
    scope = scope_of_message(message, base, time.time())
    if scope.message is not None:
        seen = glanced(scope.message, message, glance, BODY_VISIBLE)
        scope.message = replace(seen, recipients_visible=True)
    return scope
