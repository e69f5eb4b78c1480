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
    ErrorClass.CONNECTION_REFUSED: "{host} could be reached, but does not accept mail connections.",
    ErrorClass.TIMEOUT_CONNECT: "{host} did not answer.",
    ErrorClass.TIMEOUT: "{host} stopped answering before the message was delivered.",
    ErrorClass.LOST_CONNECTION: "The connection to {host} was lost before the message was delivered.",
    ErrorClass.LOOKUP: "The address of {host} could not be found.",
    ErrorClass.NO_NETWORK: "This server had no connection to the network.",
    ErrorClass.QUOTA: "There is no room for the message: the mailbox or the disk is full.",
    ErrorClass.LOCAL: "The mailbox could not be written to. The operator of this server has to mend that.",
    ErrorClass.MAIL_4XX: "{host} answered that it can't take the message now.",
    ErrorClass.RCPT_4XX: "{host} answered that it can't take mail for this address now.",
    ErrorClass.DATA_4XX: "{host} answered that it can't take the message now.",
}

_STATUS_OF_ERROR: dict[ErrorClass, str] = {
    ErrorClass.AUTH_FAILED: "4.7.8",
    ErrorClass.CONNECTION_REFUSED: "4.4.1",
    ErrorClass.TIMEOUT_CONNECT: "4.4.1",
    ErrorClass.TIMEOUT: "4.4.2",
    ErrorClass.LOST_CONNECTION: "4.4.2",
    ErrorClass.TLS_REQUIRED: "4.7.10",
    ErrorClass.TLS_FAILED: "4.7.5",
    ErrorClass.LOOKUP: "4.4.3",
    ErrorClass.NO_NETWORK: "4.4.1",
    ErrorClass.QUOTA: "4.2.2",
    ErrorClass.LOCAL: "4.3.0",
}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def server_named(host: RemoteHost | None) -> str:
    """The server in the middle of a sentence."""
    return f"the server {printable(host.name, 255)}" if host else "the mail server for this address"


def beginning(sentence: str) -> str:
    """With a capital letter in front."""
    return sentence[:1].upper() + sentence[1:]


def in_plain_words(error: ErrorClass, host: RemoteHost | None) -> str:
    """A sentence, or nothing where none fits."""
    return beginning(_PLAIN_WORDS.get(error, "").format(host=server_named(host)))


def status_of(failure: Failed | Deferred, usual: str) -> str:
    """The enhanced status, RFC 3463: the remote server's own where it gave one, else the nearest that fits."""
    reply = failure.reply
    if reply is not None:
        if _STATUS.fullmatch(reply.enhanced):
            return reply.enhanced
        return f"{reply.code // 100 if reply.code // 100 in (4, 5) else 5}.0.0"
    if isinstance(failure, Deferred):
        return _STATUS_OF_ERROR.get(failure.error, usual)
    return failure.status or usual
