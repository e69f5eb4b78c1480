"""What is fed with noise: one function a target, which takes octets and raises nothing unless something is wrong.

`test_targets.py` calls them with what Hypothesis thinks of, `fuzz/drive.py` with what atheris finds by looking at the
branches that are taken. The octets are cut into pieces by `pieces`, so that a fuzzer decides over the splits as well.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from esmtp.server_driver import ServerSettings, Session
from relay.esmtp.chunks import Chunk, ChunkReader, ChunkWriter, read_chunk
from relay.esmtp.client import Client, ClientSettings
from relay.esmtp.client_events import BodyWanted, Greeted, HelloAccepted, Settled, Stage, TLSGoAhead, TLSRefused
from relay.esmtp.commands import State
from relay.esmtp.data import DataReader, DataWriter, LocalDataReader
from relay.esmtp.extensions import Offers, read_offers
from relay.esmtp.grammar import Malformed, is_hello_name, read_address, read_mail, read_rcpt
from relay.esmtp.header_addresses import locate_mailboxes, read_address_list
from relay.esmtp.parameters import decode_xtext, encode_xtext, read_limits
from relay.esmtp.proxy import ProxyReader
from relay.esmtp.questions import HangUp
from relay.esmtp.sasl import coding
from relay.esmtp.xclient import BadAttribute, read_attributes
from relay.expand.headers import decode_words, encode_words, wrap
from relay.mail.address import Address
from relay.mail.envelope import Envelope, Recipient
from relay.mail.facts import TLSFacts
from relay.mail.header import join_fields, split_header
from relay.mail.outcome import RemoteHost
from relay.tls.contexts import TLSContext, make_client_context, make_server_context
from relay.tls.hello import HelloReader
from relay.tls.policy import ClientTLS, ServerTLS
from relay.tls.records import HEADER_SIZE, NotTLS, RecordCutter
from relay.tls.stack import ContextNeeded, PlainReceived, Stack

import certs

Target = Callable[[bytes], None]

CRLF = b"\r\n"
NAMES = "PIPELINING CHUNKING BINARYMIME 8BITMIME SMTPUTF8 DSN STARTTLS ENHANCEDSTATUSCODES"
ALL = Offers(
    (
        *((name, "") for name in NAMES.split()),
        ("SIZE", "200"),
        ("AUTH", "PLAIN"),
        ("XCLIENT", "ADDR"),
        ("FUTURERELEASE", "60 2030-01-01T00:00:00Z"),
    )
)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TLS = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256)


def pieces(data: bytes) -> Iterator[bytes]:
    """The first octet says how long the pieces of the rest are; 0: all at once."""
    if not data:
        return
    step = data[0] % 16 or len(data)
    for start in range(1, len(data), step):
        yield data[start : start + step]


# SMTP


def server(data: bytes) -> None:
    """A session that says yes to nearly everything, its layers changed now and then."""
    limits = ServerSettings(
        line_limit=128, auth_line_limit=200, size_limit=200, wasted_limit=1000, enforce_sync=data[:1] > b"\xc0",
        max_syntax_errors=50, max_unknown=50, max_nonmail=50,
    )  # fmt: skip
    session = Session(limits, offers=ALL)
    for piece in pieces(data):
        session.send(piece)
        if session.server.state is State.SWITCHING:
            session.server.switch_layer()
            session.server.layer_changed(2.0, True)
            session.run()
    session.server.receive_eof()
    session.run()
    assert isinstance(session.events[-1], HangUp)
    assert session.server.next_event() is None
    assert session.sent.isascii()
    assert session.sent.endswith(CRLF)
    assert b"\n" not in session.sent.replace(CRLF, b"")


def client(data: bytes) -> None:
    """Replies of any kind: each transaction ends once, with an outcome for each recipient."""
    recipients = (Recipient(Address("c", "d.example")), Recipient(Address("e", "f.example")))
    mail = Envelope(Address("a", "b.example"), recipients)
    one = Client(ClientSettings("laptop", host=RemoteHost("relay.example", "192.0.2.1", 25)), 0.0)
    started = settled = 0
    wants_tls = data[:1] > b"\x80"

    def drain() -> None:
        nonlocal started, settled, wants_tls
        while (event := one.next_event()) is not None:
            match event:
                case Greeted() | TLSRefused():
                    one.hello()
                case HelloAccepted() if wants_tls:
                    one.starttls()
                    wants_tls = False
                case HelloAccepted():
                    one.transact(mail)
                    started += 1
                case TLSGoAhead():
                    one.switch_layer()
                    one.layer_changed(2.0, TLS)
                    one.hello()
                case BodyWanted():
                    one.body(b".x\r\n")
                    one.end_body()
                case Settled(outcomes):
                    settled += 1
                    assert len(outcomes) == 2

    for piece in pieces(data):
        one.receive(piece, 1.0)
        drain()
        one.data_to_send()
    one.receive_eof()
    drain()
    assert settled == started
    assert one.stage is Stage.CLOSED


def data_section(data: bytes) -> None:
    """What is read without a fault is written so that it is read again; a pipe never gives a bare line end."""
    for reader in (DataReader(), LocalDataReader()):
        body = b""
        for piece in pieces(data):
            if not reader.ended:
                body += reader.feed(piece)
        if reader.fault is None:
            assert not has_bare_line_end(body)
        if reader.ended and reader.fault is None:
            writer, again = DataWriter(), DataReader()
            assert again.feed(writer.encode(body) + writer.end()) == body
            assert again.ended
            assert again.rest == b""


def has_bare_line_end(text: bytes) -> bool:
    rest = text.replace(CRLF, b"")
    return b"\r" in rest or b"\n" in rest


def chunks(data: bytes) -> None:
    read_chunk(data.decode("latin-1"))
    for binary, local in ((False, False), (True, False), (False, True)):
        reader = ChunkReader(binary=binary, local=local)
        body = b""
        for piece in pieces(data):
            reader.begin(Chunk(len(piece)))
            body += reader.feed(piece)
        body += reader.end()
        if not binary and reader.fault is None:
            assert not has_bare_line_end(body)
        writer = ChunkWriter(16, binary)
        wire = b"".join(writer.encode(piece) for piece in pieces(data)) + writer.end()
        written = sent_in_chunks(wire)
        assert written == data[1:] if binary else not has_bare_line_end(written)


def sent_in_chunks(wire: bytes) -> bytes:
    """What a server has of it."""
    body = b""
    while wire:
        line, _, wire = wire.partition(CRLF)
        chunk = read_chunk(line.decode().removeprefix("BDAT "))
        assert chunk is not None
        body, wire = body + wire[: chunk.size], wire[chunk.size :]
        assert chunk.is_last == (not wire)
    return body


# Addresses and header fields


def addresses(data: bytes) -> None:
    """What is understood is written so that it is understood the same."""
    for utf8, text in ((False, data.decode("latin-1")), (True, data.decode("utf-8", "surrogateescape"))):
        is_hello_name(text)
        for read in (read_mail, read_rcpt):
            try:
                found, _ = read(text, utf8)
            except Malformed:
                continue
            if found.domain:
                assert read_address(str(found), utf8=utf8) == found
        try:
            read_address(text, utf8=utf8)
        except Malformed:
            pass


def address_lists(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        read_address_list(text)
    except Malformed:
        pass
    for each in locate_mailboxes(text):
        assert each is not None


def headers(data: bytes) -> None:
    """A header section is cut into fields, and they are the section again; encoded words of any kind are text."""
    fields, rest = split_header(data)
    joined = join_fields(fields)
    assert data in (joined + rest, joined + b"\n" + rest, joined + CRLF + rest)
    for field in fields:
        decode_words(field.raw)
    text = data.decode("latin-1")
    assert encode_words(text, "utf-8").isascii()
    wrap(text, 10, 100)


def words(data: bytes) -> None:
    """Values of parameters and of EHLO."""
    text = data.decode("latin-1")
    read_limits(text)
    read_offers(text.split("\n"))
    coding.decode_initial(text)
    assert decode_xtext(encode_xtext(text)) == text


# Those who speak for others


def proxy(data: bytes) -> None:
    for start in (b"", b"PROXY ", SIGNATURE):
        reader = ProxyReader()
        for piece in (start, *pieces(data)):
            if reader.result is None:
                reader.receive(piece)
        reader.receive_eof()
        assert reader.result is not None


def xclient(data: bytes) -> None:
    text = data.decode("latin-1")
    for argument in (text, f"NAME={text}", f"ADDR={text}", f"LOGIN={text}"):
        try:
            read_attributes(argument)
        except BadAttribute:
            pass


# TLS


def records(data: bytes) -> None:
    """Nothing is lost and nothing is made up."""
    cutter, given = RecordCutter(), b""
    try:
        for piece in pieces(data):
            cutter.feed(piece)
            while (record := cutter.next_record()) is not None:
                assert len(record) >= HEADER_SIZE
                given += record
    except NotTLS:
        return
    assert given + cutter.take_rest() == data[1:]


def hello(data: bytes) -> None:
    reader = HelloReader()
    for start in range(0, len(data), 500):
        piece = data[start : start + 500]
        try:
            if reader.feed(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece):
                break
        except NotTLS:
            break


def stack(data: bytes) -> None:
    """Before a handshake is done no octet comes out, on either side."""
    for as_server in (True, False):
        one = Stack()
        if as_server:
            one.accept()
        else:
            one.connect(_contexts()[1].ssl)
        for piece in (*pieces(data), None):
            if piece is None:
                one.receive_eof()
            else:
                one.receive(piece)
            while (event := one.next_event()) is not None:
                assert not isinstance(event, PlainReceived)
                if isinstance(event, ContextNeeded):
                    one.use_context(_contexts()[0].ssl)
        one.data_to_send()


@cache
def _contexts() -> tuple[TLSContext, TLSContext]:
    with tempfile.TemporaryDirectory() as name:
        certificate, key = certs.relay().write(Path(name), "relay")
        return make_server_context(ServerTLS(str(certificate), str(key))), make_client_context(
            ClientTLS(verify_certificates=str(certificate))
        )


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """A target, and words that bring a fuzzer to where something happens."""

    target: Target
    words: tuple[bytes, ...] = ()

    def seeds(self) -> tuple[bytes, ...]:
        """Inputs to begin with: the words in a row, whole and in pieces, and what is hard to think of."""
        text = b"".join(self.words)
        more = {hello: (client_hello()[5:],), stack: (b"\0" + client_hello(), b"\7" + client_hello())}
        return (b"\0" + text, b"\3" + text, *more.get(self.target, ()))


def client_hello() -> bytes:
    one = Stack()
    one.connect(_contexts()[1].ssl, server_name="relay.test")
    return one.data_to_send()


_DIALOG = (
    b"EHLO a|HELO a|MAIL FROM:<a@b>|MAIL FROM:<> BODY=BINARYMIME|MAIL FROM:<a@b> SMTPUTF8 SIZE=9|RCPT TO:<c@d>|"
    b"RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;c@d|DATA|.|RSET|QUIT|STARTTLS|NOOP|VRFY x|EXPN x|ETRN #x|AUTH PLAIN|"
    b"AUTH PLAIN =|*|BDAT 3|BDAT 0 LAST|BDAT 99999999999|XCLIENT ADDR=::1|Subject: x|..| HOLDFOR=1| ENVID=+41"
)
_REPLIES = (
    b"220 a|250 OK|250-PIPELINING|250-CHUNKING|250-STARTTLS|250-SIZE 9|250 HELP|354 go|550 5.1.1 no|421 bye|451 4.0.0 x"
)
_PATHS = (
    b'FROM:<a@b>|TO:<@a,@b:c@d>|TO:<"a b"@c>|<>|[127.0.0.1]|[IPv6:::1]| SIZE=1| BODY=8BITMIME| SMTPUTF8|(|\\|"|,|;|:'
)
_LIST = b'<|>|@|,|;|:|(|)|"|\\|a@b|=?'
_PROXY = b"TCP4 1.1.1.1 2.2.2.2 1 2\r\n|TCP6 ::1 ::2 1 2\r\n|UNKNOWN\r\n|\x21\x11\0\x0c"
_RECORDS = b"\x16\x03\x01\0\x05|\x01\0\0|\x15\x03\x03\0\x02\x02\x28|\x15\x03\x03\0\x02\x01\0|\x17\x03\x03"
TARGETS: Mapping[str, Fuzzed] = {
    "server": Fuzzed(server, tuple(word + CRLF for word in _DIALOG.split(b"|"))),
    "client": Fuzzed(client, tuple(word + CRLF for word in _REPLIES.split(b"|"))),
    "data_section": Fuzzed(data_section, (CRLF, b"\r\n.\r\n", b"..", b"\r", b"\n", b"\0")),
    "chunks": Fuzzed(chunks, (CRLF, b"3 LAST", b"LAST", b"\r", b"\n", b"Content-Type: ")),
    "addresses": Fuzzed(addresses, tuple(_PATHS.split(b"|"))),
    "address_lists": Fuzzed(address_lists, tuple(_LIST.split(b"|"))),
    "headers": Fuzzed(headers, (CRLF, b"\n", b": ", b" ", b"Received:", b"=?utf-8?q?", b"=?x?B?", b"?=")),
    "words": Fuzzed(words, (b"MAILMAX=1", b"RCPTMAX=", b"+41", b"=", b"AUTH=LOGIN", b"SIZE 1")),
    "proxy": Fuzzed(proxy, tuple(_PROXY.split(b"|"))),
    "xclient": Fuzzed(xclient, (b"ADDR=", b"NAME=", b"HELO=", b"PROTO=ESMTP", b"PORT=1", b"[UNAVAILABLE]", b"+41")),
    "records": Fuzzed(records, tuple(_RECORDS.split(b"|"))),
    "hello": Fuzzed(hello, (b"\x01\0\0", b"\x03\x03", b"\0\0\0\x0b", b"\0\x10", b"\0\x2b", b"\0\x2d")),
    "stack": Fuzzed(stack, tuple(_RECORDS.split(b"|"))),
}
