"""Blocks of the `transports` section become what delivery works with (machine).

One function for each driver that is served, listed in `_TRANSPORT_MAKERS`; routers have a module of their own,
`routers.py`. What can't be made of a block is a `ConfigurationError` with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay.config import local_transports, smtp_transport
from relay.config.blocks import DriverBlock
from relay.delivery.appendfile import AppendfileRules
from relay.delivery.autoreply import AutoreplyRules
from relay.delivery.lmtp import LMTPRules
from relay.delivery.pipe import PipeRules
from relay.delivery.smtp_rules import SMTPRules
from relay.mail.source import ConfigurationError, Problem

Transport = SMTPRules | AppendfileRules | PipeRules | LMTPRules | AutoreplyRules


def make_transport(block: DriverBlock) -> Transport:
    """The transport that a block describes. Raises ConfigurationError."""
    return _TRANSPORT_MAKERS[block.driver](block)


def _wrong(block: DriverBlock, option: str, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(Problem(block.place(option), f"{block.name}: {what}", remedy))


# Transports

_TRANSPORT_MAKERS: Mapping[str, Callable[[DriverBlock], Transport]] = {
    "smtp": smtp_transport.smtp,
    "appendfile": local_transports.appendfile,
    "pipe": local_transports.pipe,
    "lmtp": local_transports.lmtp,
    "autoreply": local_transports.autoreply,
}
