"""Blocks of the `authenticators` section become what AUTH works with, as a server and as a client (machine)."""

from __future__ import annotations

from relay.config.blocks import DriverBlock
from relay.expand.errors import ExpansionError
from relay.mail.source import ConfigurationError, Problem
from relay.policy.authenticators import Authenticator, BadAuthenticator, Plaintext, build_authenticator


def make_authenticator(block: DriverBlock) -> Authenticator:
    """The authenticator that a block describes. Raises ConfigurationError."""
    try:
        found = build_authenticator(block)
        if isinstance(found.driver, Plaintext):
            block.told("client_send", *found.driver.client_send)
        return found
    except BadAuthenticator as error:
        problem = Problem(block.place(error.option), f"{block.name}: {error.what}", error.remedy)
    except ExpansionError as error:
        problem = Problem(block.place("client_send"), f"{block.name}: {error.message}", "correct the expansion")
    raise ConfigurationError(problem)
