"""What stands behind the slashes of `verify`, and the words for what came of a callout (machine).

Exim: acl.c, acl_verify; the lines for clients are those of smtp_in.c and verify.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.mail.address import Address
from relay.mail.text import printable, readable
from relay.policy.acl_steps import Mistake
from relay.policy.verification import CalloutOptions, MailFrom, Objection, Role, Verified, VerifyOptions, Ways
from relay.policy.words import nearest, read_time

# Options

_OPTIONS = ("callout", "callout_defer_ok", "check_postmaster", "defer_ok", "no_details", "quota", "success_on_redirect")
_DETAILS = (
    "connect",
    "defer_ok",
    "fullpostmaster",
    "hold",
    "mailfrom",
    "maxwait",
    "no_cache",
    "postmaster",
    "postmaster_mailfrom",
    "random",
    "use_postmaster",
    "use_sender",
    "use_tptsender",
)
_WITH_VALUE = ("connect", "mailfrom", "maxwait", "postmaster_mailfrom")


def read_options(kind: str, options: Sequence[str]) -> VerifyOptions:
    """What stands behind the slashes of `verify = kind`. Raises Mistake."""
    found = VerifyOptions()
    for option in options:
        name, sign, text = option.partition("=")
        stem = name.strip().lower()
        if sign and stem not in ("callout", "quota"):
            stem = option.lower()
        match stem:
            case "defer_ok":
                found = replace(found, defer_ok=True)
            case "no_details":
                found = replace(found, no_details=True)
            case "success_on_redirect":
                found = replace(found, success_on_redirect=True)
            case "callout_defer_ok":
                found = replace(found, callout_defer_ok=True, callout=found.callout or CalloutOptions())
            case "check_postmaster":
                found = replace(found, callout=replace(found.callout or CalloutOptions(), postmaster_from=""))
            case "callout":
                found = _with_callout(found, kind, text)
            case "quota":
                raise Mistake(f'"verify = {kind}/quota" is not supported', "remove the option")
            case _:
                raise Mistake(f'unknown option "{option}" in "verify = {kind}"', nearest(stem, _OPTIONS))
    sender = found.callout.sender if found.callout is not None else MailFrom.NOBODY
    if sender is not MailFrom.NOBODY and kind == "sender":
        raise Mistake(
            "use_sender, use_tptsender or use_postmaster cannot be used for a sender verify callout",
            "a sender is asked about with the null sender",
        )
    return found


def _with_callout(found: VerifyOptions, kind: str, text: str) -> VerifyOptions:
    callout = found.callout or CalloutOptions()
    for item in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        word = name.lower()
        if word in _WITH_VALUE and "=" not in item:
            raise Mistake(f'"=" expected after "{word}" in "verify = {kind}/callout={text}"', f"write {word}=…")
        match word:
            case "defer_ok":
                found = replace(found, callout_defer_ok=True)
            case "no_cache":
                callout = replace(callout, ways=callout.ways | Ways.NO_CACHE)
            case "random":
                callout = replace(callout, ways=callout.ways | Ways.RANDOM)
            case "fullpostmaster":
                callout = replace(callout, ways=callout.ways | Ways.FULL_POSTMASTER, postmaster_from="")
            case "postmaster":
                callout = replace(callout, postmaster_from="")
            case "postmaster_mailfrom":
                callout = replace(callout, postmaster_from=value)
            case "mailfrom":
                if kind != "header_sender":
                    raise Mistake(
                        '"mailfrom" is allowed as a callout option only for verify=header_sender', "remove the option"
                    )
                callout = replace(callout, mail_from=value)
            case "use_sender" | "use_postmaster" | "use_tptsender":
                callout = replace(callout, sender=_sender(callout.sender, MailFrom(word)))
            case "hold":
                pass  # nothing is handed on from a callout to a delivery
            case "connect":
                callout = replace(callout, connect=_seconds(value))
            case "maxwait":
                callout = replace(callout, maxwait=_seconds(value))
            case _:
                callout = replace(callout, timeout=_seconds(item))
    return replace(found, callout=callout)


def _sender(known: MailFrom, further: MailFrom) -> MailFrom:
    if known not in (MailFrom.NOBODY, further):
        what = "only one of use_sender, use_tptsender and use_postmaster can be set for a recipient callout"
        raise Mistake(what, "keep one of them")
    return further


def _seconds(text: str) -> float:
    seconds = read_time(text)
    if seconds is None:
        raise Mistake(
            f'"{text}" is neither an option of a callout nor a time',
            nearest(text, _DETAILS) or "write a time such as 30s",
        )
    return float(seconds)


# Words


_POSTMASTER = (
    "Several RFCs state that you are required to have a postmaster",
    "mailbox for each mail domain. This host does not accept mail",
    "from domains whose servers reject the postmaster address.",
)
_SETUP = (
    "The initial connection, or a HELO or MAIL FROM:<> command was",
    "rejected. Refusing MAIL FROM:<> does not help fight spam, disregards",
    "RFC requirements, and stops you from receiving standard bounce",
    "messages. This host does not accept mail from domains whose servers",
    "refuse bounces.",
)


def sender_lines(sender: str, found: Verified) -> tuple[str, ...]:
    """What a client is told of its sender that did not pass, before the refusal itself; nothing where nothing is
    known that it might be told. The words are Exim's: filters and people know them."""
    if not found.user_message:
        return ()
    shown, said = readable(sender), found.user_message.split("\n")
    match found.objection:
        case Objection.POSTMASTER:
            return (f"Postmaster verification failed while checking <{shown}>", *said, *_POSTMASTER)
        case Objection.SETUP:
            return (f"Callback setup failed while verifying <{shown}>", *said, *_SETUP)
        case Objection.ADDRESS:
            return (f"Verification failed for <{shown}>", *said)


def incomplete(role: Role) -> str:
    """What is said where nobody could be asked to the end."""
    return f"Could not complete {role.value} verify callout"


def unreachable(address: Address, role: Role) -> str:
    """The same for a client that may know details."""
    outlook = "the address will never be accepted."
    if role is Role.SENDER:
        outlook = (
            "you need to change the address or create an MX record for its domain\n"
            "if it is supposed to be generally accessible from the Internet.\n"
            "Talk to your mail administrator for details."
        )
    return (
        f"{incomplete(role)} for <{printable(str(address))}>.\n"
        "The mail server(s) for the domain may be temporarily unreachable, or\n"
        "they may be permanently unreachable from this server. In the latter case,\n"
        f"{outlook}"
    )
