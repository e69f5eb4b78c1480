"""The condition `verify` in all its forms (decision).

What the session knows is answered from it (a certificate), what the message says from its header; names and addresses
are asked of the resolver, whether mail could be routed, and what the hosts of a route say, of the `Addresses` port,
and what becomes of a peer's key of `Inquiries`. Exim: acl.c, acl_verify.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace

from relay.esmtp.grammar import Malformed, read_address
from relay.esmtp.header_addresses import Unreadable
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.list_items import confirmed_names
from relay.expand.scope import Scope
from relay.mail.address import NULL_SENDER, Address
from relay.mail.header import Field
from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.mail.text import printable
from relay.policy import acl_notes
from relay.policy.acl_program import ACLBroken, Holds, Run
from relay.policy.acl_steps import Argument, Compiled, Mistake, only_in
from relay.policy.acl_values import Where
from relay.policy.header_checks import bad_field_name, bad_syntax, header_senders, is_blind
from relay.policy.verification import Finding, Role, Verified, VerifyOptions
from relay.policy.verify_options import incomplete, read_options
from relay.policy.words import nearest

_WITH_DATA = only_in(Where.DATA, Where.MIME, Where.NOT_SMTP)
_BEFORE_DATA = frozenset({Where.MAIL, Where.RCPT, Where.PREDATA})
_WITH_SENDER = only_in(Where.MAIL, Where.RCPT, Where.PREDATA, Where.DATA, Where.NOT_SMTP)

_Kind = Callable[[Argument, tuple[str, ...]], Compiled]
"""Compiles one form from its options (for `sender`: the address before them)."""


def _complain(run: Run, complaint: str) -> Holds:
    """A fault of the message: for the log, and for the client where it may know."""
    run.log_message = complaint
    run.tell_verify_message(complaint)
    if run.context.ports.tells_details:
        run.user_message = f"Rejected after DATA: {complaint}"
    return Holds.NO


# What the session knows


def _certificate(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """Holds when the certificate of the TLS layer now in force was verified (Exim: verify = certificate)."""

    async def test(run: Run) -> Holds:
        tls = run.scope.session.tls
        if tls is not None and tls.is_verified:
            return Holds.YES
        run.user_message = "no verified certificate"
        return Holds.NO

    return Compiled(test)


async def _client_names(scope: Scope) -> tuple[str, ...]:
    """The confirmed names of the client, none where it has none. Raises TemporaryFailure."""
    session = scope.session
    if session.peer_host:
        return (session.peer_host,)
    if scope.client_names is not None:
        return await scope.client_names()
    if scope.resolver is None or session.peer is None:
        raise TemporaryFailure("nobody asks the DNS here")
    return await confirmed_names(session.peer.address, scope.resolver)


def _reverse_host_lookup(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """Holds when the client has a name that leads back to its address."""
    defer_ok = any(each.lower() == "defer_ok" for each in options)

    async def test(run: Run) -> Holds:
        if run.scope.session.peer is None:
            return Holds.YES
        try:
            if await _client_names(run.scope):
                return Holds.YES
        except TemporaryFailure:
            if defer_ok:
                return Holds.YES
            raise TemporaryFailure("host lookup deferred for reverse lookup check") from None
        run.log_message = "host lookup failed for reverse lookup check (failed to find host name from IP address)"
        return Holds.NO

    return Compiled(test)


def _helo(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """Holds when the name of the greeting is the client's: its address, a name of it, or a name with its address."""

    async def test(run: Run) -> Holds:
        return Holds.YES if await judge_greeting(run.scope) is Greeting.TRUE else Holds.NO

    return Compiled(test)


class Greeting(enum.Enum):
    """What the name in a greeting is worth."""

    TRUE = "true"
    UNTRUE = "untrue"
    UNKNOWN = "unknown"
    """The DNS does not answer now."""


async def judge_greeting(scope: Scope) -> Greeting:
    """Whether the greeting names the client; a local one is believed. Exim: smtp_verify_helo."""
    session = scope.session
    if session.hello is None:
        return Greeting.UNTRUE
    if session.peer is None:
        return Greeting.TRUE
    otherwise = Greeting.UNTRUE
    name, address = session.hello.name.lower(), session.peer.address.lower()
    if name.startswith("["):
        literal = name[1:].removesuffix("]").removeprefix("ipv6:").removeprefix("ipv4:")
        return Greeting.TRUE if literal == address else Greeting.UNTRUE
    try:
        if any(each.lower() == name for each in await _client_names(scope)):
            return Greeting.TRUE
    except TemporaryFailure:
        otherwise = Greeting.UNKNOWN  # the other direction may still tell
    if scope.resolver is None:
        return otherwise
    try:
        found = await scope.resolver.addresses(session.hello.name)
    except HostNotFound:
        return otherwise
    except TemporaryFailure:
        return Greeting.UNKNOWN
    return Greeting.TRUE if session.peer.address in found else otherwise


# What the message says


def _fields(run: Run) -> tuple[Field, ...]:
    message = run.scope.message
    return message.header if message is not None else ()


def _header_syntax(argument: Argument, options: tuple[str, ...]) -> Compiled:
    async def test(run: Run) -> Holds:
        # A local caller's addresses without a domain get ours.
        complaint = bad_syntax(_fields(run), allow_unqualified=run.scope.session.peer is None)
        return _complain(run, complaint) if complaint else Holds.YES

    return Compiled(test, forbidden=_WITH_DATA)


def _header_names_ascii(argument: Argument, options: tuple[str, ...]) -> Compiled:
    async def test(run: Run) -> Holds:
        complaint = bad_field_name(_fields(run))
        return _complain(run, complaint) if complaint else Holds.YES

    return Compiled(test, forbidden=_WITH_DATA)


def _not_blind(argument: Argument, options: tuple[str, ...]) -> Compiled:
    caseless = any(each.lower() == "case_insensitive" for each in options)

    async def test(run: Run) -> Holds:
        message = run.scope.message
        recipients = message.recipients if message is not None else ()
        if any(is_blind(_fields(run), each, caseless=caseless) for each in recipients):
            return _complain(run, "bcc recipient detected")
        return Holds.YES

    return Compiled(test, forbidden=_WITH_DATA)


# Addresses


async def _verified(address: Address, role: Role, run: Run, options: VerifyOptions) -> Verified:
    addresses = run.context.ports.addresses
    if addresses is None:
        raise TemporaryFailure("addresses can't be verified here")
    found = await addresses.verify(address, role, run.scope, options)
    if found.callout_address:
        run.learn(callout_address=found.callout_address)
    return found


def _peer(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """`verify = peer` (ours): judged by whoever knows the peers. Raises ACLBroken where nobody does."""
    subject = "verify = peer"

    async def test(run: Run) -> Holds:
        context = run.context
        inquiries = context.ports.inquiries
        if inquiries is None or not inquiries.serves(subject):
            raise ACLBroken(f'"{subject}" is not served yet')
        context.scope = run.scope
        answer = await inquiries.ask(subject, (str(_sender_of(run)),), context)
        run.scope = context.scope
        run.user_message = answer.user_message or run.user_message
        run.log_message = answer.log_message or run.log_message
        return Holds.YES if answer.holds else Holds.NO

    return Compiled(test, inquiry=subject)


def _recipient(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """Holds when mail to the recipient could be routed, and where a callout is wanted its host takes it."""
    wanted = read_options("recipient", options)

    async def test(run: Run) -> Holds:
        view = run.scope.address
        if view is None:
            raise ACLBroken("cannot verify recipient: there is none")
        recipient = Address(view.original_local_part or view.local_part, view.domain)
        found = await _verified(recipient, Role.RECIPIENT, run, wanted)
        acl_notes.verified(run.scope.notes)
        run.scope = run.scope.child(address=replace(view, address_data=found.address_data))
        run.learn(recipient_verify_failure=found.failure)
        if found.finding is not Finding.GOOD:
            # Also where it is taken all the same: that is what a refusal further on is worded with, as in Exim.
            run.log_message = found.reason
            run.user_message = found.user_message or found.reason
        if _is_taken(found, wanted):
            return Holds.YES
        if found.finding is Finding.BAD:
            return Holds.NO
        run.details = found.is_from_callout or bool(found.user_message) or run.context.ports.tells_details
        raise TemporaryFailure(found.reason)

    return Compiled(test, forbidden=only_in(Where.RCPT))


def _is_taken(found: Verified, wanted: VerifyOptions) -> bool:
    return found.finding is Finding.GOOD or (found.finding is Finding.UNKNOWN and wanted.passes(found))


def _sender(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """Holds when a bounce to the sender, or to the address behind `sender =`, could be routed."""
    given, *rest = options
    other = argument.expansion(given) if given else None
    wanted = read_options("sender", rest)

    async def test(run: Run) -> Holds:
        address = _sender_of(run) if other is None else _read(await other.text(run.scope))
        if address.is_null:
            return Holds.YES
        if wanted.no_details:
            run.context.memory.sender_told = True
        found = await _verified_sender(address, run, wanted)
        run.learn(sender_address_data=found.address_data, sender_verify_failure=found.failure)
        if other is None and found.rewritten is not None and run.context.where in _BEFORE_DATA:
            _rewrite_sender(found, run)
        if _is_taken(found, wanted):
            return Holds.YES
        run.context.memory.failed_sender = (str(address if found.rewritten is None else found.rewritten), found)
        if found.finding is Finding.BAD:
            run.user_message = run.log_message = "Sender verify failed"
            return Holds.NO
        run.user_message = run.log_message = "Could not complete sender verify"
        run.details = found.is_from_callout or run.context.ports.tells_details
        if found.is_from_callout:
            run.log_message = incomplete(Role.SENDER)
            run.user_message = found.user_message or run.log_message
        raise TemporaryFailure(run.log_message)

    return Compiled(test, forbidden=_WITH_SENDER)


def _rewrite_sender(found: Verified, run: Run) -> None:
    """From now on the message has the sender that was verified, as in Exim; it is not rewritten again."""
    message, memory = run.scope.message, run.context.memory
    if message is None or memory.rewritten_sender is not None or found.rewritten is None:
        return
    memory.rewritten_sender = found.rewritten
    memory.senders[str(found.rewritten)] = replace(found, rewritten=None)
    run.scope = run.scope.child(message=replace(message, sender=found.rewritten))


def _sender_of(run: Run) -> Address:
    message = run.scope.message
    return (message.sender if message else None) or NULL_SENDER


def _read(text: str) -> Address:
    """An address of the configuration's own making. Raises ACLBroken."""
    try:
        return read_address(text.strip(), allow_null=True) if text.strip() else NULL_SENDER
    except Malformed as error:
        raise ACLBroken(f'"{printable(text, 100)}" is no address to verify: {error}') from None


async def _verified_sender(address: Address, run: Run, wanted: VerifyOptions) -> Verified:
    """Once in a message, but for callouts, which may have other options each time; they have a cache of their own."""
    known = run.context.memory.senders
    found = known.get(str(address)) if wanted.callout is None else None
    if found is None:
        found = await _verified(address, Role.SENDER, run, wanted)
        acl_notes.verified(run.scope.notes)
        if not found.is_from_callout:
            known[str(address)] = found
    else:
        acl_notes.verified(run.scope.notes, before=True)
    return found


async def _verified_in_header(address: Address, text: str, run: Run, wanted: VerifyOptions) -> Verified:
    """A sender that stands in the header as `text`; what the envelope's has come to holds for that very text."""
    found = run.context.memory.senders.get(text) if wanted.callout is None else None
    if found is None:
        return await _verified(address, Role.SENDER, run, wanted)
    acl_notes.known_from_envelope(run.scope.notes)
    return found


def _header_sender(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """Holds when one of the senders that the header names could be routed to."""
    wanted = read_options("header_sender", options)

    async def test(run: Run) -> Holds:
        unknown = None
        details = run.context.ports.tells_details
        for name, found, text in header_senders(_fields(run)):
            acl_notes.header_sender(run.scope.notes, name, text)
            if isinstance(found, Unreadable):
                shown = f"{printable(name)}:"
                what = f"syntax error in '{shown}' header when scanning for sender: {found.reason}"
                return _complain(run, f'{what} in "{printable(text, 1000)}"')
            verified = await _verified_in_header(found.address, text, run, wanted)
            run.learn(sender_verify_failure=verified.failure)
            if verified.finding is Finding.GOOD:
                return Holds.YES
            if verified.finding is Finding.UNKNOWN:
                unknown = verified
            if details:
                which = f'could not verify "{printable(name)}:" header address'
                address = printable(str(found.address))
                run.user_message = f"Rejected after DATA: {which}\n{address}: {verified.reason}"
        run.log_message = "there is no valid sender in any header line"
        if unknown is None:
            return _complain(run, run.log_message) if not run.user_message else Holds.NO
        if wanted.passes(unknown):
            return Holds.YES
        run.details = details or unknown.is_from_callout
        run.log_message = "all attempts to verify a sender in a header line deferred"
        raise TemporaryFailure(run.log_message)

    return Compiled(test, forbidden=_WITH_DATA)


# The forms

_READS_ITS_OWN = None

# What may be verified: its compiler, and the options that may follow it behind slashes; None: it reads them itself.
_KINDS: dict[str, tuple[_Kind, tuple[str, ...] | None]] = {
    "certificate": (_certificate, ()),
    "header_names_ascii": (_header_names_ascii, ()),
    "header_sender": (_header_sender, _READS_ITS_OWN),
    "header_syntax": (_header_syntax, ()),
    "helo": (_helo, ()),
    "not_blind": (_not_blind, ("case_insensitive",)),
    "peer": (_peer, ()),
    "recipient": (_recipient, _READS_ITS_OWN),
    "reverse_host_lookup": (_reverse_host_lookup, ("defer_ok",)),
    "sender": (_sender, _READS_ITS_OWN),
}
_UNSUPPORTED = ("arc", "csa")


def _compile_form(argument: Argument, text: str) -> Compiled:
    """One form of `verify` from its text. Raises Mistake."""
    kind, *options = [part.strip() for part in text.split("/")]
    word, sign, address = kind.partition("=")
    name = word.strip().lower()
    if name in _UNSUPPORTED:
        raise Mistake(f'"verify = {name}" is not supported', "remove the line and decide by other means")
    if name not in _KINDS or (sign and name != "sender"):
        raise Mistake(f'"{text}" is nothing that can be verified', nearest(name, _KINDS))
    compiler, allowed = _KINDS[name]
    for option in options if allowed is not None else ():
        stem = option.lower()
        if not allowed:
            raise Mistake(f'unexpected "/" in "{text}": this verify item has no options', "remove the options")
        if stem not in allowed:
            raise Mistake(f'unknown option "{option}" in "verify = {text}"', nearest(stem, allowed))
    compiled = compiler(argument, (address.strip(), *options) if name == "sender" else tuple(options))
    test = compiled.test

    async def one_deeper(run: Run) -> Holds:
        with acl_notes.deeper(run.scope.notes):
            holds = await test(run)
        if run.user_message:
            run.tell_verify_message(run.user_message)
        return holds

    return replace(compiled, test=one_deeper)


class _Expanded(Argument):
    """An argument that was expanded already: a peer had a hand in it, and it is not expanded again."""

    __slots__ = ()

    def expansion(self, text: str | None = None) -> Expansion:
        source = self.text if text is None else text
        return compile_expansion(source.replace("\\", "\\\\").replace("$", "\\$"))


def compile_verify(argument: Argument) -> Compiled:
    """`verify = form / option / option`."""
    text = argument.text
    kind, _, options = text.partition("/")
    if "{" not in text and "$" not in options and "$" not in kind.partition("=")[0]:
        # All is known but perhaps the address of a sender.
        return _compile_form(argument, text)
    expansion = argument.expansion()

    async def test(run: Run) -> Holds:
        found = await expansion.text(run.scope)
        run.show(found)
        expanded = _Expanded(argument.location, argument.name, found, argument.verb, argument.named_lists)
        try:
            compiled = _compile_form(expanded, found)
        except Mistake as mistake:
            raise ACLBroken(mistake.what) from None
        if run.context.where in compiled.forbidden:
            raise ACLBroken(f"cannot verify {found} in ACL for {run.context.where.value}")
        return await compiled.test(run)

    return Compiled(test)
