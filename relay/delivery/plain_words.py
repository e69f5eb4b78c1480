"""Why a message has not arrived, in words that need no knowledge of mail, and as an enhanced status (values)."""

from __future__ import annotations

import re

from relay.mail.outcome import Deferred, ErrorClass, Failed, RemoteHost
from relay.mail.text import printable

# `{host}` is the server, or "the mail server for this address".
_PLAIN_WORDS: dict[ErrorClass, str] = {
    ErrorClass.TLS_REQUIRED: (
        "A private (encrypted) connection to {host} is required for this message, and the server could not "
        "provide one. To keep your message private, no part of it was sent."
    ),
    ErrorClass.TLS_FAILED: (
        "A private (encrypted) connection to {host} could not be set up: either the two servers could not "
        "agree, or the server could not prove that it is the right one. To keep your message private, no "
        "part of it was sent."
    ),
    ErrorClass.AUTH_FAILED: "{host} did not accept the credentials of this server, so the message was not sent.",
    ErrorClass.NO_NETWORK: "This server had no connection to the network.",
}

_STATUS_OF_ERROR: dict[ErrorClass, str] = {
    ErrorClass.AUTH_FAILED: "7.8",
    ErrorClass.TLS_REQUIRED: "7.10",
    ErrorClass.TLS_FAILED: "7.5",
}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def in_plain_words(error: ErrorClass | None, host: RemoteHost | None) -> str:
    """A sentence, or nothing where Exim's words are all that there is to say."""
    if error not in _PLAIN_WORDS:
        return ""
    server = f"the server {printable(host.name, 255)}" if host else "the mail server for this address"
    sentence = _PLAIN_WORDS[error].format(host=server)
    return sentence[:1].upper() + sentence[1:]


def status_of(failure: Failed | Deferred, kind: str, error: ErrorClass | None = None) -> str:
    """The enhanced status, RFC 3463: the remote server's own where it gave one of that kind (4 or 5), or what is
    particular about the failure; else the general one, as in Exim."""
    reply = failure.reply
    if reply is not None and _STATUS.fullmatch(reply.enhanced) and reply.enhanced[0] == kind:
        return reply.enhanced
    if error in _STATUS_OF_ERROR:
        return f"{kind}.{_STATUS_OF_ERROR[error]}"
    return f"{kind}.0.0"


def for_sender(outcome: Failed | Deferred, *, is_routed: bool) -> str:
    """What a sender is told: what is meant for people, what a server said, or why there was no way to deliver. What
    went wrong in a delivery here is for the log alone."""
    if outcome.told:
        return outcome.told
    if outcome.reply is not None or (isinstance(outcome, Failed) and not is_routed):
        return outcome.reason
    return ""


def diagnostic_of(outcome: Failed | Deferred) -> str:
    """What a server said, for programs."""
    if outcome.reply is None or outcome.host is None:
        return ""
    said = outcome.reason.partition(": ")[2]
    return f"smtp; {said}" if said else ""
