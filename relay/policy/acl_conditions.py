"""The conditions of ACLs, one function each and a table at the end (decision).

A compile function looks at its argument once: what is constant is judged there, what is not becomes a
closure. The larger conditions have files of their own: `acl_verify.py`, `acl_hints.py`, `dnslists.py`.
Exim: acl.c, acl_check_condition.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.expand.list_items import NoSuchList
from relay.expand.lists import HostSubject, ListKind, ListMatch
from relay.expand.values import Tainted
from relay.mail.address import NULL_SENDER, Address
from relay.mail.ports import TemporaryFailure
from relay.policy.acl_hints import compile_ratelimit, compile_seen
from relay.policy.acl_program import ACLBroken, Holds, Run
from relay.policy.acl_steps import Argument, Compiled, Mistake, Row, anywhere_but, not_supported, only_in
from relay.policy.acl_values import Where
from relay.policy.acl_verify import compile_verify
from relay.policy.dnslists import compile_dnslists
from relay.policy.words import read_switch

_NOT_SMTP = (Where.NOT_SMTP, Where.NOT_SMTP_START)
_WITH_RECIPIENT = only_in(Where.RCPT, Where.VRFY, Where.PRDR)
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
            run.show(constant)
            return answer

        return Compiled(fixed)

    async def test(run: Run) -> Holds:
        text = await argument.expanded(expansion, run.scope)
        run.show(text)
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
            try:
                found = await matches.match(about, run.scope)
            except NoSuchList as error:
                # Not for now: a warning that is skipped for it might be what a later statement refuses by.
                raise ACLBroken(str(error)) from None
            if found is None:
                return Holds.NO
            _learn_match(run, data, found)
            return Holds.YES

        return Compiled(test, unknown_lists=argument.unknown_lists(matches))

    return compile_test


def _learn_match(run: Run, data: str, found: ListMatch) -> None:
    """What the list found, and $0 and on for what follows. The parts are a peer's words."""
    changes: dict[str, object] = {}
    if data and getattr(run.scope, data) != (found.data or ""):
        changes[data] = found.data or ""
    if found.captures and found.captures != run.scope.captures:
        changes["captures"] = tuple(map(Tainted, found.captures))
    if changes:
        run.scope = run.scope.child(**changes)


def _client(run: Run) -> HostSubject:
    peer = run.scope.session.peer
    return HostSubject(peer.address if peer else "")


def _recipient(run: Run) -> Address | None:
    address = run.scope.address
    return Address(address.original_local_part or address.local_part, address.domain) if address else None


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
        called = await argument.expanded(name, run.scope)
        values = tuple([await argument.expanded(each, run.scope) for each in arguments])
        run.show(" ".join((called, *values)))
        return await run.nest(run, called, values)

    return Compiled(test, (name.constant,) if name.constant is not None else ())


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
    Row("dnslists", compile_dnslists),
    Row("domains", _in_list(ListKind.DOMAIN, _recipient_domain, "domain_data"), _WITH_RECIPIENT),
    Row("encrypted", _in_list(ListKind.STRING, _cipher), anywhere_but(*_NOT_SMTP, Where.CONNECT)),
    Row("hosts", _in_list(ListKind.HOST, _client, "host_data"), anywhere_but(*_NOT_SMTP)),
    Row("local_parts", _in_list(ListKind.LOCAL_PART, _recipient_local_part, "local_part_data"), _WITH_RECIPIENT),
    Row("malware", _SCANNING),
    Row("mime_regex", _SCANNING),
    Row("ratelimit", compile_ratelimit),
    Row("recipients", _in_list(ListKind.ADDRESS, _recipient, "recipient_data"), only_in(Where.RCPT)),
    Row("regex", _SCANNING),
    Row("seen", compile_seen),
    Row("sender_domains", _in_list(ListKind.DOMAIN, _sender_domain), _WITH_SENDER),
    Row("senders", _in_list(ListKind.ADDRESS, _sender, "sender_data"), _WITH_SENDER),
    Row("spam", _SCANNING),
    Row("spf", not_supported("SPF is not checked here")),
    Row("spf_guess", not_supported("SPF is not checked here")),
    Row("verify", compile_verify),
)
