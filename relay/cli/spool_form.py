"""A queued message in the shape of Exim's spool files, as far as it can be told (values).

Exim: "Format of spool files". Programs read what `-Mvh` prints. What we do not keep (when the last octet
came) is left out or stands as if it had never been.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from relay.mail.facts import DroppedField, LocalCaller, SessionFacts, Verified
from relay.mail.glance import BodyGlance
from relay.mail.header import Field, split_header
from relay.mail.queue import QueuedMessage, QueuedRecipient, RecipientState
from relay.mail.text import printable, to_wire

_LETTERS = {
    b"received": "P",
    b"to": "T",
    b"cc": "C",
    b"bcc": "B",
    b"from": "F",
    b"sender": "S",
    b"reply-to": "R",
    b"message-id": "I",
}
_UNTRUSTED = "-sender_set_untrusted"
_NOTIFY = {"NEVER": 2, "SUCCESS": 4, "FAILURE": 8, "DELAY": 16}


def header_file(
    message: QueuedMessage,
    body: BodyGlance,
    qualify_domain: str,
    originator: LocalCaller,
    *,
    anybody_sets_sender: bool = False,
) -> bytes:
    """What Exim has in `ID-H`; `originator` stands for who brought it where it came over the network. Whether a caller
    has set the sender can be told where not everybody may: then a rule has written another one."""
    fields, _ = split_header(message.header)
    lines = [*_envelope(message, fields, body, qualify_domain, originator)]
    if _UNTRUSTED in lines and not (anybody_sets_sender or message.sender.is_null):
        lines.remove(_UNTRUSTED)
    text = "".join(f"{line}\n" for line in lines)
    return to_wire(text) + b"\n" + b"".join(_header(fields, message.facts.dropped))


def data_file_head(message_id: str) -> bytes:
    """The line before the body in `ID-D`."""
    return f"{message_id}-D\n".encode("ascii")


def unix_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of a body with LF as the line end, also where one ends between CR and LF."""
    held = b""
    for piece in pieces:
        data = held + piece
        held = b"\r" if data.endswith(b"\r") else b""
        yield (data[:-1] if held else data).replace(b"\r\n", b"\n")
    if held:
        yield held


def _header(fields: Sequence[Field], dropped: Sequence[DroppedField]) -> Iterator[bytes]:
    """The fields, and those that were taken out, which have a star for their kind."""
    waiting = deque(dropped)
    for place, field in enumerate((*fields, None)):
        while waiting and (waiting[0].behind >= len(fields) - place or field is None):
            text = waiting.popleft().raw.replace(b"\r\n", b"\n")
            yield f"{len(text):03d}* ".encode("ascii") + text
        if field is not None:
            yield _stored(field)


def _stored(field: Field) -> bytes:
    """A field as Exim keeps it: its length, the letter of its kind, its text."""
    text = field.raw.replace(b"\r\n", b"\n")
    name = field.name.encode("ascii", "replace").lower()
    letter = _LETTERS.get(name.removeprefix(b"resent-"), " ")
    return f"{len(text):03d}{letter} ".encode("ascii") + text


def _envelope(
    message: QueuedMessage, fields: Sequence[Field], body: BodyGlance, qualify_domain: str, originator: LocalCaller
) -> Iterator[str]:
    session = message.facts.session
    at = message.facts.received_at
    caller = session.caller
    yield f"{message.message_id}-H"
    brought = caller or originator
    yield f"{brought.login} {brought.uid} {brought.gid}"
    yield f"<{_one_line(str(message.sender))}>"
    yield f"{int(at)} {message.warnings}"
    micro = int(at * 1_000_000) % 1_000_000
    yield f"-received_time_usec .{micro:06d}"
    yield f"-received_time_complete {int(at)}.{micro:06d}"
    yield from _client(session)
    for name, value in sorted(message.facts.acl_variables.items()):
        text = to_wire(value)
        kind = name.removeprefix("acl_")
        yield f"-acl{kind[:1]} {kind[1:].removeprefix('_') or kind} {len(text)}\n{value}"
    yield f"-body_linecount {body.lines}"
    header_longest = message.facts.longest_header_line
    if header_longest is None:
        # Of what we added ourselves two fields can be told: the trace, and an id made of the message's own.
        ours = f"<E{message.message_id}@".encode("ascii")
        received = [each.raw for each in fields if not (each.is_named("Received") or ours in each.raw)]
        header_longest = max((len(line.rstrip(b"\r")) for raw in received for line in raw.split(b"\n")), default=0)
    yield f"-max_received_linelength {max(body.longest, header_longest)}"
    if body.zeros:
        yield f"-body_zerocount {body.zeros}"
    yield from _login(session, qualify_domain)
    if message.attempts == 0:
        yield "-deliver_firsttime"
    if message.frozen:
        yield f"-frozen {int(message.due)}"
    if caller is not None:
        yield "-local"
    if message.facts.local_scan_data:
        yield f"--local_scan {_one_line(message.facts.local_scan_data)}"
    if caller is not None and not caller.trusted and message.sender.local_part != caller.login:
        yield _UNTRUSTED
    yield from _tls(session)
    if (envid := message.parameters.get("ENVID")) is not None:
        yield f"-dsn_envid {_one_line(envid)}"
    if (ret := message.parameters.get("RET")) is not None:
        yield f"-dsn_ret {1 if ret.upper() == 'FULL' else 2}"
    yield from _tree(sorted({str(address) for address in _done(message.recipients)}))
    yield str(len(message.recipients))
    for each in message.recipients:
        yield _recipient(each, message.recipients)


def _client(session: SessionFacts) -> Iterator[str]:
    if session.hello is not None:
        yield f"--helo_name {_one_line(session.hello.name)}"
    if session.peer is not None:
        yield f"-host_address [{session.peer.address}]:{session.peer.port}"
        if session.peer_host:
            yield f"--host_name {_one_line(session.peer_host)}"
    if session.authentication is not None:
        if session.authentication.mechanism:  # both names are the configuration's
            yield f"-host_auth {_one_line(session.authentication.authenticator)}"
            yield f"-host_auth_pubname {_one_line(session.authentication.mechanism)}"
        else:
            yield f"--host_auth {_one_line(session.authentication.authenticator)}"
    if session.local is not None:
        yield f"-interface_address [{session.local.address}]:{session.local.port}"
    if session.user:
        yield f"-ident {_one_line(session.user)}"
    yield f"-received_protocol {session.protocol()}"


def _login(session: SessionFacts, qualify_domain: str) -> Iterator[str]:
    if session.authentication is not None:
        yield f"--auth_id {_one_line(session.authentication.identity)}"
    elif session.caller is not None:
        login = session.caller.login
        yield f"-auth_id {login}"
        yield f"-auth_sender {login}@{qualify_domain}"
        yield "-allow_unqualified_recipient"
        yield "-allow_unqualified_sender"


def _tls(session: SessionFacts) -> Iterator[str]:
    tls = session.tls
    if tls is None:
        return
    if isinstance(tls.verification, Verified):
        yield "-tls_certificate_verified"
    yield f"-tls_cipher {_one_line(f'{tls.version}:{tls.suite}:{tls.bits}')}"
    if tls.peer is not None:
        yield f"--tls_peerdn {_one_line(tls.peer.subject)}"
    if tls.sni:
        yield f"--tls_sni {_one_line(tls.sni)}"
    yield f"-tls_ver {tls.version}"


def _done(recipients: Sequence[QueuedRecipient]) -> Iterator[str]:
    """Addresses that get no further attempt: recipients, and what they stand for."""
    for each in recipients:
        if each.state is not RecipientState.PENDING:
            yield str(each.recipient.address)
        yield from (key.partition("\t")[0] for key in each.done)


def _tree(names: Sequence[str]) -> Iterator[str]:
    """The addresses that are done, as a binary tree: two letters say whether there is a left and a right branch."""
    if not names:
        yield "XX"
        return
    middle = (len(names) - 1) // 2
    left, right = names[:middle], names[middle + 1 :]
    yield f"{'Y' if left else 'N'}{'Y' if right else 'N'} {_one_line(names[middle])}"
    for branch in (left, right):
        if branch:
            yield from _tree(branch)


def _recipient(queued: QueuedRecipient, recipients: Sequence[QueuedRecipient]) -> str:
    address = _one_line(str(queued.recipient.address))
    errors_to = "" if queued.recipient.errors_to is None else _one_line(str(queued.recipient.errors_to))
    original = queued.recipient.original
    parent = next((each.number for each in recipients if each.recipient.address == original), -1)
    parameters = queued.recipient.parameters
    orcpt = _one_line(parameters.get("ORCPT") or "")
    notify = parameters.get("NOTIFY")
    flags = sum(_NOTIFY.get(word, 0) for word in notify.upper().split(",")) if notify else 0
    is_plain = not (orcpt or flags or errors_to) and parent < 0
    return address if is_plain else f"{address} {orcpt} {len(orcpt)},{flags} {errors_to} {len(errors_to)},{parent}#3"


def _one_line(text: str) -> str:
    return printable(text) if any(ord(each) < 32 for each in text) else text
