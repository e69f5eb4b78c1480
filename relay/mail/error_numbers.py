"""The numbers by which Exim's logs and variables name what went wrong with a delivery (values).

A system error has its own number, which is above zero; Exim's are below.
"""

from __future__ import annotations

import os

from relay.mail.outcome import Deferred, ErrorClass

DEFER_NUMBERS = {
    ErrorClass.CONNECTION_REFUSED: 111,
    ErrorClass.TIMEOUT_CONNECT: 110,
    ErrorClass.TIMEOUT: 110,
    ErrorClass.NO_NETWORK: 101,
    ErrorClass.NO_ROUTE: 113,
    ErrorClass.LOST_CONNECTION: -18,
    ErrorClass.MALFORMED: -19,
    ErrorClass.QUOTA: -22,
    ErrorClass.HELD: -23,
    ErrorClass.FILTER: -24,
    ErrorClass.QUEUED: -56,
    ErrorClass.ROUTED_ONLY: 0,
    ErrorClass.ROUTED_ONLY_DOMAIN: -1,
    ErrorClass.LOCAL_ONLY: -55,
    ErrorClass.NOT_DUE_FOR_ROUTING: -52,
    ErrorClass.NOT_DUE_HERE: -53,
    ErrorClass.LOOKUP: -36,
    ErrorClass.TLS_FAILED: -37,
    ErrorClass.TLS_REQUIRED: -38,
    ErrorClass.AUTH_FAILED: -42,
    ErrorClass.RCPT_4XX: -44,
    ErrorClass.MAIL_4XX: -45,
    ErrorClass.DATA_4XX: -46,
    ErrorClass.JUDGED_4XX: 0,
    ErrorClass.EVENT: -58,
    ErrorClass.LOCAL: -1,
    ErrorClass.CREATION: -34,
    ErrorClass.COMMAND: 0,
    ErrorClass.TRANSPORT: -30,
    ErrorClass.REDIRECTION: -17,
    ErrorClass.OTHER: -1,
}

# What is wrong with a mailbox
EXISTENCE_UNCLEAR = -3
NOT_REGULAR = -4
WRONG_OWNER = -6
WRONG_MODE = -7
INODE_CHANGED = -8
LOCK_FAILED = -9
FORMAT_UNKNOWN = -33


def number_of(deferred: Deferred) -> int:
    """The number that stands in the log."""
    return deferred.errno or DEFER_NUMBERS[deferred.error]


def system_error(number: int) -> str:
    """What the system calls it, "" where it is none of the system's."""
    return os.strerror(number) if number > 0 else ""


def with_system_error(deferred: Deferred) -> str:
    """The reason with the system's words behind it, as a line about a host has them."""
    words = system_error(number_of(deferred))
    return f"{deferred.reason}: {words}" if words and not deferred.reason.endswith(words) else deferred.reason
