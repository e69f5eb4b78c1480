"""The options event_action of a configuration, joined with what they ask (edge)."""

from __future__ import annotations

from relay.config.read import Configuration
from relay.mail.ports import Concurrency, Journal
from relay.policy.event_action import EventAction, EventActions


def event_actions(configuration: Configuration, journal: Journal, concurrency: Concurrency) -> EventActions:
    """The main one, and those of the transports that have one."""
    main = configuration.main.event_action
    acls = configuration.acls
    found = (
        (block.name, block.expansion("event_action")) for block in configuration.blocks if block.section == "transports"
    )
    return EventActions(
        None if main is None else EventAction(main, "", acls, journal, concurrency),
        {name: EventAction(text, name, acls, journal, concurrency) for name, text in found if text is not None},
    )
