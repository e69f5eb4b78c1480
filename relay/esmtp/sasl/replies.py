"""The replies to what an AUTH exchange came to; those to the command stand in `mail/reply.py` (values).

RFC 4954 6 for codes and enhanced status, Exim (smtp_in.c) for codes and texts where it has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.esmtp.sasl.steps import Fault
from relay.mail.reply import AUTH_CANCELLED, Reply

SUCCEEDED = Reply(235, "2.7.0", ("Authentication succeeded",))
WRONG_CREDENTIALS = Reply(535, "5.7.8", ("Incorrect authentication data",))
UNAVAILABLE = Reply(435, "4.7.0", ("Unable to authenticate at present",))
INVALID_BASE64 = Reply(501, "5.5.2", ("Invalid base64 data",))
MALFORMED = Reply(501, "5.5.4", ("Malformed authentication data",))
INITIAL_UNEXPECTED = Reply(553, "5.5.4", ("Initial data not expected",))
UNKNOWN_MECHANISM = Reply(504, "5.5.4", ("authentication mechanism not supported",))  # the name goes before it
TOO_MANY_FAILURES = Reply(454, "4.7.0", ("Too many failed authentications, try again later",))

FOR_FAULT: Mapping[Fault, Reply] = {
    Fault.WRONG: WRONG_CREDENTIALS,
    Fault.MALFORMED: MALFORMED,
    Fault.CANCELLED: AUTH_CANCELLED,
    Fault.UNEXPECTED: INITIAL_UNEXPECTED,
}


def unknown_mechanism(name: str) -> Reply:
    """504 with the name that the client gave."""
    return UNKNOWN_MECHANISM.with_text(f"{name} {UNKNOWN_MECHANISM.text}")
