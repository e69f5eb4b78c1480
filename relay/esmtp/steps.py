"""One step for each command: what its argument comes to, where it is legal now (machine).

A step looks at the argument and at what holds in the session (`Standing`) and changes neither. It comes to a
question for whoever decides, to a reply that needs no decision, or to a fault, which is told, answered and
counted. Order, counting, and the commands that move the session by themselves (RSET, BDAT) are the server
machine's, in `server.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.esmtp import commands, grammar
from relay.esmtp.extensions import NO_OFFERS, Offers, declared_body, declared_size
from relay.esmtp.limits import ServerSettings
from relay.esmtp.questions import (
    AuthAsked,
    DataAsked,
    EtrnAsked,
    ExpnAsked,
    HelloGiven,
    Question,
    QuitGiven,
    RecipientGiven,
    SenderGiven,
    TLSAsked,
    VrfyAsked,
    XclientGiven,
)
from relay.esmtp.xclient import BadAttribute, read_attributes
from relay.mail import reply as replies
from relay.mail.envelope import BodyType, Parameters
from relay.mail.reply import Reply
from relay.mail.text import to_wire

_SHOWN = 200
_MECHANISM = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True)
class Standing:
    """What holds in a session. It belongs to the server machine, which alone changes it."""

    settings: ServerSettings
    tls: bool
    offers: Offers = NO_OFFERS
    authenticated: bool = False
    sender: Parameters = field(default_factory=Parameters)
    """The parameters of the MAIL in force."""
    recipients: int = 0
    """Accepted in this transaction."""
    messages: int = 0
    """MAIL commands in this connection."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A syntax or protocol error: `what` is for the log."""

    reply: Reply
    what: str


Step = Question | Reply | Fault


def _ehlo(argument: str, standing: Standing) -> Step:
    return _hello(argument, standing, "EHLO")


def _helo(argument: str, standing: Standing) -> Step:
    return _hello(argument, standing, "HELO")


def _hello(argument: str, standing: Standing, verb: str) -> Step:
    settings = standing.settings
    if settings.helo_accept_junk or grammar.is_hello_name(argument, settings.helo_allow_chars):
        return HelloGiven(argument, verb == "EHLO")
    refusal = replies.BAD_HELLO.with_text(f"Syntactically invalid {verb} argument(s)")
    return Fault(refusal, "malformed greeting name")


def _starttls(argument: str, standing: Standing) -> Step:
    if standing.tls:
        return Fault(replies.TLS_ALREADY_UP, "STARTTLS inside TLS")
    if "STARTTLS" not in standing.offers:
        return Fault(replies.TLS_NOT_ADVERTISED, "STARTTLS when not advertised")
    return TLSAsked()


def _mail(argument: str, standing: Standing) -> Step:
    settings = standing.settings
    if 0 < settings.messages_max <= standing.messages:
        return replies.TOO_MANY_MESSAGES
    try:
        sender, parameters = grammar.read_mail(argument, "SMTPUTF8" in standing.offers)
        grammar.check_literal(sender, allowed=settings.domain_literals)
    except grammar.Malformed as error:
        return _bad_path(argument, error)
    if parameters.get("SMTPUTF8") is not None and "SMTPUTF8" not in standing.offers:
        return Fault(replies.SMTPUTF8_NOT_ADVERTISED, replies.SMTPUTF8_NOT_ADVERTISED.text)
    if wrong := standing.offers.wrong_mail_parameter(parameters):
        return Fault(wrong, wrong.text)
    if not argument.isascii() and parameters.get("SMTPUTF8") is None:
        return Fault(replies.NOT_UTF8_MAIL, "SMTPUTF8 missing")
    if 0 < settings.size_limit < declared_size(parameters):
        return replies.MESSAGE_TOO_BIG
    return SenderGiven(sender, parameters)


def told_too_big(argument: str, standing: Standing) -> tuple[str, bytes]:
    """Of a MAIL that was refused for its SIZE: what is wrong, and the sender."""
    sender, parameters = grammar.read_mail(argument, "SMTPUTF8" in standing.offers)
    what = f"message too big: size={declared_size(parameters)} max={standing.settings.size_limit}"
    return what, to_wire(str(sender))


def _rcpt(argument: str, standing: Standing) -> Step:
    try:
        address, parameters = grammar.read_rcpt(argument, "SMTPUTF8" in standing.offers)
        grammar.check_literal(address, allowed=standing.settings.domain_literals)
    except grammar.Malformed as error:
        return _bad_path(argument, error)
    if wrong := standing.offers.wrong_rcpt_parameter(parameters):
        return Fault(wrong, wrong.text)
    if not argument.isascii() and standing.sender.get("SMTPUTF8") is None:
        return Fault(replies.NOT_UTF8_MAIL, "SMTPUTF8 missing")
    if 0 < standing.settings.recipients_max <= standing.recipients:
        # RFC 5321 4.5.3.1.10: for now; the client sends the rest in another transaction.
        return replies.TOO_MANY_RECIPIENTS
    return RecipientGiven(address, parameters)


def _bad_path(argument: str, error: grammar.Malformed) -> Fault:
    shown = argument.partition(":")[2].strip()[:_SHOWN]
    text = f"{shown}: {error.reason}" if shown else error.reason
    return Fault(replies.BAD_ARGUMENTS.with_text(text), error.reason)


def _data(argument: str, standing: Standing) -> Step:
    if declared_body(standing.sender) is BodyType.BINARYMIME:
        return Fault(replies.BINARY_NEEDS_BDAT, "DATA for a binary message")
    return DataAsked()


def _noop(argument: str, standing: Standing) -> Step:
    return replies.OK


def _help(argument: str, standing: Standing) -> Step:
    offered = frozenset(keyword for keyword, _ in standing.offers.items)
    return replies.HELP.with_text(replies.HELP.text, " ".join(commands.supported(offered)))


def _vrfy(argument: str, standing: Standing) -> Step:
    return _named(argument, standing, VrfyAsked)


def _expn(argument: str, standing: Standing) -> Step:
    return _named(argument, standing, ExpnAsked)


def _named(argument: str, standing: Standing, ask: type[VrfyAsked] | type[ExpnAsked]) -> Step:
    """RFC 6531 3.7.4.2: SMTPUTF8 may stand behind the name, where it is offered."""
    name, blank, last = argument.rpartition(" ")
    if blank and last.upper() == "SMTPUTF8" and "SMTPUTF8" in standing.offers:
        return ask(name.strip())
    if not argument.isascii():
        return Fault(replies.EIGHT_BIT_IN_COMMAND, "8-bit characters in a command")
    return ask(argument)


def _etrn(argument: str, standing: Standing) -> Step:
    return EtrnAsked(argument)


def _turn(argument: str, standing: Standing) -> Step:
    return replies.NOT_IMPLEMENTED


def _auth(argument: str, standing: Standing) -> Step:
    if "AUTH" not in standing.offers and not standing.settings.auth_unadvertised:
        return Fault(replies.AUTH_NOT_ADVERTISED, replies.AUTH_NOT_ADVERTISED.text)
    if standing.authenticated:
        return Fault(replies.AUTH_ALREADY, replies.AUTH_ALREADY.text)
    mechanism, blank, initial = argument.partition(" ")
    if not _MECHANISM.fullmatch(mechanism):
        return Fault(replies.AUTH_BAD_MECHANISM, replies.AUTH_BAD_MECHANISM.text)
    return AuthAsked(mechanism, initial.strip() if blank else None)


def _xclient(argument: str, standing: Standing) -> Step:
    if "XCLIENT" not in standing.offers:
        return Fault(replies.XCLIENT_NOT_ADVERTISED, "XCLIENT when not advertised")
    try:
        return XclientGiven(read_attributes(argument))
    except BadAttribute as error:
        return Fault(replies.BAD_ARGUMENTS.with_text(str(error)), str(error))


def _quit(argument: str, standing: Standing) -> Step:
    return QuitGiven()


# The peer's word only ever selects a row of this table.
STEPS: Mapping[str, Callable[[str, Standing], Step]] = {
    "EHLO": _ehlo,
    "HELO": _helo,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _data,
    "VRFY": _vrfy,
    "EXPN": _expn,
    "HELP": _help,
    "NOOP": _noop,
    "QUIT": _quit,
    "STARTTLS": _starttls,
    "AUTH": _auth,
    "ETRN": _etrn,
    "TURN": _turn,
    "XCLIENT": _xclient,
}

# These say themselves what is wrong with characters outside US-ASCII.
READS_EIGHT_BIT = frozenset({"EHLO", "HELO", "MAIL", "RCPT", "VRFY", "EXPN"})
