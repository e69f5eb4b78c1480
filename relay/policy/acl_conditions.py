"""The conditions of ACLs, one function each and a table at the end (decision).

A compile function looks at its argument once: what is constant is judged there, what is not becomes a
closure. Conditions that would dial, route or keep state ask the `Inquiries` port and are "not served" where
that is missing. Exim: acl.c, acl_check_condition.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.expand.lists import HostSubject, ListKind
from relay.mail.address import NULL_SENDER, Address
from relay.mail.ports import TemporaryFailure
from relay.policy.acl_steps import (
    ACLBroken,
    Argument,
    Compiled,
    Holds,
    Mistake,
    Row,
    Run,
    Test,
    anywhere_but,
    not_supported,
    only_in,
)
from relay.policy.acl_values import Where
from relay.policy.words import nearest, read_switch

_NOT_SMTP = (Where.NOT_SMTP, Where.NOT_SMTP_START)
_WITH_RECIPIENT = only_in(Where.RCPT, Where.VRFY)
_WITH_SENDER = anywhere_but(
    Where.AUTH,
    Where.CONNECT,
    Where.HELO,
    Where.MAILAUTH,
    Where.QUIT,
    Where.ETRN,
    Where.EXPN,
    Where.STARTTLS,
    Where.VRFY,
)
_WITH_DATA = only_in(Where.DATA, Where.MIME, Where.NOT_SMTP)


def _answer(holds: bool) -> Holds:
    return Holds.YES if holds else Holds.NO


# condition


def _condition(argument: Argument) -> Compiled:
    expansion = argument.expansion()
    constant = expansion.constant
    if constant is not None:
        known = read_switch(constant)
        if known is None:
            raise Mistake(f'invalid "condition" value "{constant}"', "it must become true, false, or a number")
        answer = _answer(known)

        async def fixed(run: Run) -> Holds:
            run.shown = constant
            return answer

        return Compiled(fixed)

    evaluate = expansion.text

    async def test(run: Run) -> Holds:
        run.shown = text = await evaluate(run.scope)
        holds = read_switch(text)
        if holds is None:
            raise TemporaryFailure(f'invalid "condition" value "{text}"')
        return Holds.YES if holds else Holds.NO

    return Compiled(test)


# Lists

_Subject = Callable[[Run], "str | Address | HostSubject | None"]


def _in_list(kind: ListKind, subject: _Subject, data: str = "") -> Callable[[Argument], Compiled]:
    """The compiler of a condition that holds when its subject is in its list.

    `data` is the scope's field that what the list found goes into. Where there is no subject, it does not
    hold.
    """

    def compile_test(argument: Argument) -> Compiled:
        matches = argument.list(kind)

        async def test(run: Run) -> Holds:
            about = subject(run)
            if about is None:
                return Holds.NO
            found = await matches.match(about, run.scope)
            if found is None:
                return Holds.NO
            if data and getattr(run.scope, data) != (found.data or ""):
                run.scope = run.scope.child(**{data: found.data or ""})
            return Holds.YES

        return Compiled(test)

    return compile_test


def _client(run: Run) -> HostSubject:
    peer = run.scope.session.peer
    return HostSubject(peer.address if peer else "")


def _recipient(run: Run) -> Address | None:
    address = run.scope.address
    return Address(address.local_part, address.domain) if address else None


def _recipient_domain(run: Run) -> str | None:
    address = run.scope.address
    return address.domain if address else None


def _recipient_local_part(run: Run) -> str | None:
    address = run.scope.address
    return (address.original_local_part or address.local_part) if address else None


def _sender(run: Run) -> Address:
    message = run.scope.message
    return (message.sender if message else None) or NULL_SENDER


def _sender_domain(run: Run) -> str:
    return _sender(run).domain


def _authenticator(run: Run) -> str | None:
    authentication = run.scope.session.authentication
    return authentication.authenticator if authentication else None


def _cipher(run: Run) -> str | None:
    tls = run.scope.session.tls
    return tls.suite if tls else None


# acl


def _words(text: str) -> list[str]:
    """The words of `acl = name arg…`: separated by white space, or in double quotes."""
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
        elif text[position] == '"':
            end = position + 1
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            words.append(text[position + 1 : end].replace('\\"', '"').replace("\\\\", "\\"))
            position = end + 1
        else:
            end = position
            depth = 0
            while end < len(text) and (depth > 0 or not text[end].isspace()):
                depth += (text[end] == "{") - (text[end] == "}")
                end += 1
            words.append(text[position:end])
            position = end
    return words


ARGUMENT_LIMIT = 9


def _acl(argument: Argument) -> Compiled:
    words = _words(argument.text)
    if not words:
        raise Mistake("the name of an ACL is missing", "write acl = NAME")
    if len(words) > ARGUMENT_LIMIT + 1:
        raise Mistake("an ACL takes nine arguments at most", "put several values into one argument")
    name, *arguments = [argument.expansion(word) for word in words]

    async def test(run: Run) -> Holds:
        called = await name.text(run.scope)
        values = tuple([await each.text(run.scope) for each in arguments])
        run.shown = " ".join((called, *values))
        return await run.nest(run, called, values)

    return Compiled(test, (name.constant,) if name.constant is not None else ())


# verify


def _verify_certificate(argument: Argument, options: tuple[str, ...]) -> Compiled:
    """Holds when the certificate of the TLS layer now in force was verified (Exim: verify = certificate)."""

    async def test(run: Run) -> Holds:
        tls = run.scope.session.tls
        if tls is not None and tls.is_verified:
            return Holds.YES
        run.user_message = "no verified certificate"
        return Holds.NO

    return Compiled(test)


def _inquire(
    subject: str, forbidden: frozenset[Where] = frozenset()
) -> Callable[[Argument, tuple[str, ...]], Compiled]:
    """The compiler of a condition that asks the `Inquiries` port."""

    def compile_test(argument: Argument, options: tuple[str, ...]) -> Compiled:
        expansions = tuple(argument.expansion(option) for option in options)

        async def test(run: Run) -> Holds:
            context = run.context
            inquiries = context.inquiries
            if inquiries is None or not inquiries.serves(subject):
                raise ACLBroken(f'"{subject}" is not served yet')
            context.scope = run.scope
            values = tuple([await each.text(run.scope) for each in expansions])
            answer = await inquiries.ask(subject, values, context)
            run.scope = context.scope
            if answer.user_message:
                run.user_message = answer.user_message
            if answer.log_message:
                run.log_message = answer.log_message
            return Holds.YES if answer.holds else Holds.NO

        return Compiled(test, inquiry=subject, forbidden=forbidden)

    return compile_test


_NO_OPTIONS: tuple[str, ...] = ()
_ADDRESS_OPTIONS = (
    "callout",
    "callout_defer_ok",
    "check_postmaster",
    "defer_ok",
    "no_details",
    "quota",
    "success_on_redirect",
)

# What may be verified: its compiler, and the options that may follow it behind slashes.
_VERIFY: dict[str, tuple[Callable[[Argument, tuple[str, ...]], Compiled], tuple[str, ...]]] = {
    "certificate": (_verify_certificate, _NO_OPTIONS),
    "header_names_ascii": (_inquire("verify = header_names_ascii", _WITH_DATA), _NO_OPTIONS),
    "header_sender": (_inquire("verify = header_sender", _WITH_DATA), _ADDRESS_OPTIONS),
    "header_syntax": (_inquire("verify = header_syntax", _WITH_DATA), _NO_OPTIONS),
    "helo": (_inquire("verify = helo"), _NO_OPTIONS),
    "not_blind": (_inquire("verify = not_blind", _WITH_DATA), ("case_insensitive",)),
    "peer": (_inquire("verify = peer"), _NO_OPTIONS),
    "recipient": (_inquire("verify = recipient", only_in(Where.RCPT)), _ADDRESS_OPTIONS),
    "reverse_host_lookup": (_inquire("verify = reverse_host_lookup"), ("defer_ok",)),
    "sender": (
        _inquire("verify = sender", only_in(Where.MAIL, Where.RCPT, Where.PREDATA, Where.DATA, Where.NOT_SMTP)),
        _ADDRESS_OPTIONS,
    ),
}
_VERIFY_UNSUPPORTED = ("arc", "csa")


def _compile_verify(argument: Argument, text: str) -> Compiled:
    """One form of `verify` from its text. Raises Mistake."""
    kind, *options = [part.strip() for part in text.split("/")]
    word, sign, address = kind.partition("=")
    name = word.strip().lower()
    if name in _VERIFY_UNSUPPORTED:
        raise Mistake(f'"verify = {name}" is not supported', "remove the line and decide by other means")
    if name not in _VERIFY or (sign and name != "sender"):
        raise Mistake(f'"{text}" is nothing that can be verified', nearest(name, _VERIFY))
    compiler, allowed = _VERIFY[name]
    for option in options:
        stem = option.partition("=")[0].strip().lower()
        if not allowed:
            raise Mistake(f'unexpected "/" in "{text}": this verify item has no options', "remove the options")
        if stem not in allowed:
            raise Mistake(f'unknown option "{option}" in "verify = {text}"', nearest(stem, allowed))
    return compiler(argument, (address.strip(), *options) if name == "sender" else tuple(options))


def _verify(argument: Argument) -> Compiled:
    if "$" not in argument.text.partition("/")[0].partition("=")[0]:
        # The kind is known, so is nearly everything; `$` may stand in an option or in the address of a sender.
        return _compile_verify(argument, argument.text)
    expansion = argument.expansion()

    async def test(run: Run) -> Holds:
        run.shown = text = await expansion.text(run.scope)
        try:
            compiled = _compile_verify(argument, text)
        except Mistake as mistake:
            raise ACLBroken(mistake.what) from None
        if run.context.where in compiled.forbidden:
            raise ACLBroken(f"cannot verify {text} in ACL for {run.context.where.value}")
        return await compiled.test(run)

    return Compiled(test)


def _state(name: str) -> Callable[[Argument], Compiled]:
    """The compiler of a condition whose whole argument is for the `Inquiries` port."""
    ask = _inquire(name)

    def compile_test(argument: Argument) -> Compiled:
        return ask(argument, (argument.text,))

    return compile_test


def _rows(*rows: Row) -> dict[str, Row]:
    return {row.name: row for row in rows}


_SCANNING = not_supported("messages are not scanned here")

CONDITIONS = _rows(
    Row("acl", _acl),
    Row(
        "authenticated",
        _in_list(ListKind.STRING, _authenticator),
        anywhere_but(*_NOT_SMTP, Where.CONNECT, Where.HELO),
    ),
    Row("condition", _condition),
    Row("decode", _SCANNING),
    Row("dkim_signers", not_supported("signatures are not verified yet")),
    Row("dkim_status", not_supported("signatures are not verified yet")),
    Row("dmarc_status", not_supported("DMARC is not checked here")),
    Row("dnslists", _state("dnslists")),
    Row("domains", _in_list(ListKind.DOMAIN, _recipient_domain, "domain_data"), _WITH_RECIPIENT),
    Row("encrypted", _in_list(ListKind.STRING, _cipher), anywhere_but(*_NOT_SMTP, Where.CONNECT)),
    Row("hosts", _in_list(ListKind.HOST, _client, "host_data"), anywhere_but(*_NOT_SMTP)),
    Row("local_parts", _in_list(ListKind.LOCAL_PART, _recipient_local_part, "local_part_data"), _WITH_RECIPIENT),
    Row("malware", _SCANNING),
    Row("mime_regex", _SCANNING),
    Row("ratelimit", _state("ratelimit")),
    Row("recipients", _in_list(ListKind.ADDRESS, _recipient, "recipient_data"), only_in(Where.RCPT)),
    Row("regex", _SCANNING),
    Row("seen", _state("seen")),
    Row("sender_domains", _in_list(ListKind.DOMAIN, _sender_domain), _WITH_SENDER),
    Row("senders", _in_list(ListKind.ADDRESS, _sender, "sender_data"), _WITH_SENDER),
    Row("spam", _SCANNING),
    Row("spf", not_supported("SPF is not checked here")),
    Row("spf_guess", not_supported("SPF is not checked here")),
    Row("verify", _verify),
)

__all__ = ["CONDITIONS", "Test"]
