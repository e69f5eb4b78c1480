"""Server name and ALPN out of real and of broken ClientHello messages, in as many records as a peer likes."""

import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from relay.tls.hello import (
    HELLO_LIMIT,
    RECORD_LIMIT,
    ClientHello,
    HelloReader,
    Resumption,
    Wish,
    parse_client_hello,
    protocol_fault,
    resumption,
)
from relay.tls.records import FRAGMENT_LIMIT, HEADER_SIZE, NotTLS

NAME, PROTOCOLS = "relay.example", ["smtp", "x-other"]


def of_python(name: str | None = NAME, protocols: list[str] | None = None, *, newest: bool = True) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def of_openssl(*, post_quantum: bool, name: str = NAME) -> bytes:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([each.encode() for each in PROTOCOLS])
    if not post_quantum:
        context.set_tmp_ecdh(ec.SECP256R1())
    client = SSL.Connection(context, None)
    client.set_tlsext_host_name(name.encode())
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(65536)


def message(stream: bytes) -> bytes:
    """The handshake message out of the one record that a client sends."""
    assert len(stream) == HEADER_SIZE + int.from_bytes(stream[3:5], "big")
    return stream[HEADER_SIZE:]


def in_records(octets: bytes, size: int) -> list[bytes]:
    pieces = [octets[position : position + size] for position in range(0, len(octets), size)]
    return [b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces]


def read(records: list[bytes]) -> ClientHello | None:
    """What the reader says to the last record; it must have said nothing before."""
    reader = HelloReader()
    for each in records[:-1]:
        assert reader.feed(each) is None
    found = reader.feed(records[-1])
    assert reader.records == records
    return found


# Every library asks for a ticket to resume with.
TICKET = frozenset({Wish.TICKET})


# What a hello is made of, for those that no library would send.


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def server_names(*names: tuple[int, bytes]) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for kind, name in names)))


def alpn(*protocols: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, each) for each in protocols)))


BEFORE_EXTENSIONS = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01\x13\x02") + vector(1, b"\x00")


def body(*extensions: bytes) -> bytes:
    return BEFORE_EXTENSIONS + vector(2, b"".join(extensions))


def as_message(octets: bytes) -> bytes:
    return b"\x01" + vector(3, octets)


@pytest.mark.parametrize("newest", [False, True])
def test_a_hello_of_pythons_ssl(newest: bool) -> None:
    assert read([of_python(NAME, PROTOCOLS, newest=newest)]) == ClientHello(NAME, tuple(PROTOCOLS), TICKET)
    assert read([of_python(NAME, newest=newest)]) == ClientHello(NAME, wishes=TICKET)
    assert read([of_python(None, newest=newest)]) == ClientHello(wishes=TICKET)


@pytest.mark.parametrize("post_quantum", [False, True])
@pytest.mark.parametrize("size", [1, 3, 100, 16384])
def test_a_hello_of_openssl_in_many_records(post_quantum: bool, size: int) -> None:
    octets = message(of_openssl(post_quantum=post_quantum))
    assert (len(octets) > 1216) is post_quantum  # an ML-KEM-768 share alone has 1184 octets
    if post_quantum and size == 1:
        size = 2  # see RECORD_LIMIT
    records = in_records(octets, size)
    assert size > 3 or len(records) > 60
    assert read(records) == ClientHello(NAME, tuple(PROTOCOLS), TICKET)


def test_hundreds_of_records() -> None:
    octets = message(of_openssl(post_quantum=True))
    records = in_records(octets, 3)
    assert len(records) > 400
    assert read(records) == ClientHello(NAME, tuple(PROTOCOLS), TICKET)


def test_cut_between_two_records_at_every_octet() -> None:
    octets = as_message(body(server_names((0, b"relay.example")), alpn(b"smtp")))
    for position in range(1, len(octets)):
        records = in_records(octets[:position], 16384) + in_records(octets[position:], 16384)
        assert read(records) == ClientHello("relay.example", ("smtp",))


def test_what_is_not_a_host_name_is_left_to_others_and_marked_by_nothing() -> None:
    """The name is tainted text: whoever uses it has to look at it."""
    assert parse_client_hello(body(server_names((0, b"../../etc/passwd")))).server_name == "../../etc/passwd"
    odd = parse_client_hello(body(server_names((0, b"caf\xe9\x00.example")))).server_name
    assert odd.encode("utf-8", "surrogateescape") == b"caf\xe9\x00.example"


@pytest.mark.parametrize(
    "extensions, expected",
    [
        ([], ClientHello()),
        ([extension(43, b"\x02\x03\x04"), extension(0xFFFF, b"")], ClientHello()),
        ([server_names()], ClientHello()),
        ([server_names((7, b"odd kind"), (0, b"relay.example"))], ClientHello("relay.example")),
        ([server_names((7, b"odd kind"))], ClientHello()),
        ([alpn()], ClientHello()),
        ([alpn(b"smtp", b"\xff\x00")], ClientHello("", ("smtp", "\xff\x00"))),
        ([alpn(b"smtp"), extension(10, bytes(300)), server_names((0, b"a"))], ClientHello("a", ("smtp",))),
    ],
)
def test_extensions(extensions: list[bytes], expected: ClientHello) -> None:
    assert parse_client_hello(body(*extensions)) == expected


def test_a_hello_without_extensions_is_legal() -> None:
    assert parse_client_hello(BEFORE_EXTENSIONS) == ClientHello()


def test_a_hello_cut_short_anywhere_is_refused() -> None:
    whole = body(server_names((0, b"relay.example")), alpn(b"smtp"))
    for length in range(len(whole)):
        if length == len(BEFORE_EXTENSIONS):
            continue  # no extensions
        with pytest.raises(NotTLS):
            parse_client_hello(whole[:length])


@pytest.mark.parametrize(
    "extensions",
    [
        extension(0, b"\x00"),
        extension(0, b"\x00\x05\x00\x00\x09abc"),
        extension(0, b"\xff\xff"),
        extension(16, b"\x00\x03\x09ab"),
        b"\x00\x00\xff\xff",
        b"\x00",
    ],
)
def test_lengths_that_lie(extensions: bytes) -> None:
    with pytest.raises(NotTLS):
        parse_client_hello(body(extensions))


@pytest.mark.parametrize("kind", [20, 21, 23])
def test_another_record_than_a_handshake(kind: int) -> None:
    with pytest.raises(NotTLS):
        HelloReader().feed(bytes([kind, 3, 1, 0, 2, 1, 0]))


def test_an_alert_between_the_pieces_of_a_hello() -> None:
    reader = HelloReader()
    assert reader.feed(in_records(message(of_python()), 20)[0]) is None
    with pytest.raises(NotTLS):
        reader.feed(b"\x15\x03\x01\x00\x02\x01\x00")


@pytest.mark.parametrize("first", [0, 2, 3, 11, 255])
def test_another_message_than_a_client_hello_is_told_by_its_first_octet(first: int) -> None:
    with pytest.raises(NotTLS):
        HelloReader().feed(b"\x16\x03\x01\x00\x01" + bytes([first]))


def test_an_empty_record_is_refused() -> None:
    """RFC 8446 5.1; else somebody could send nothing for ever."""
    with pytest.raises(NotTLS):
        HelloReader().feed(b"\x16\x03\x01\x00\x00")


def test_an_over_long_hello_is_refused_by_its_length_alone() -> None:
    assert HelloReader().feed(b"\x16\x03\x01\x00\x04\x01" + HELLO_LIMIT.to_bytes(3, "big")) is None
    with pytest.raises(NotTLS, match=str(HELLO_LIMIT + 1)):
        HelloReader().feed(b"\x16\x03\x01\x00\x04\x01" + (HELLO_LIMIT + 1).to_bytes(3, "big"))


def test_too_many_pieces() -> None:
    octets = as_message(body(extension(21, bytes(2000))))
    reader, records = HelloReader(), in_records(octets, 1)
    for each in records[:RECORD_LIMIT]:
        assert reader.feed(each) is None
    with pytest.raises(NotTLS):
        reader.feed(records[RECORD_LIMIT])


@given(octets=st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: BEFORE_EXTENSIONS + tail))
def test_noise_raises_nothing_but_not_tls(octets: bytes) -> None:
    try:
        parse_client_hello(octets)
    except NotTLS:
        pass


EXTENSIONS = st.lists(
    st.one_of(
        st.builds(extension, st.sampled_from([0, 16, 43]), st.binary(max_size=40)),
        st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=3).map(lambda n: server_names(*n)),
        st.lists(st.binary(max_size=20), max_size=3).map(lambda protocols: alpn(*protocols)),
    ),
    max_size=6,
)


@given(extensions=EXTENSIONS, position=st.integers(0), value=st.integers(0, 255), size=st.integers(1, 60))
def test_a_damaged_hello_raises_nothing_but_not_tls(
    extensions: list[bytes], position: int, value: int, size: int
) -> None:
    octets = bytearray(as_message(body(*extensions)))
    octets[position % len(octets)] = value
    reader = HelloReader()
    try:
        for each in in_records(bytes(octets), size):
            if reader.feed(each) is not None:
                break
    except NotTLS:
        pass


@given(records=st.lists(st.binary(max_size=80).map(lambda piece: b"\x16\x03\x01" + vector(2, piece)), max_size=8))
def test_any_records_raise_nothing_but_not_tls(records: list[bytes]) -> None:
    reader = HelloReader()
    try:
        for each in records:
            reader.feed(each)
    except NotTLS:
        pass


@given(sizes=st.lists(st.integers(1, FRAGMENT_LIMIT), max_size=40), said=st.integers(0, 2 * HELLO_LIMIT))
def test_no_more_is_kept_than_a_hello_may_have(sizes: list[int], said: int) -> None:
    """However a client cuts what it calls a ClientHello, and however long it says that it is."""
    reader, message = HelloReader(), b"\x01" + said.to_bytes(3, "big") + bytes(sum(sizes))
    try:
        for size in sizes:
            piece, message = message[:size], message[size:]
            if reader.feed(b"\x16\x03\x01" + vector(2, piece)) is not None:
                break
    except NotTLS:
        pass
    assert sum(map(len, reader.records)) <= 4 + HELLO_LIMIT + FRAGMENT_LIMIT + 5 * len(sizes)


# What else a client asks for


def test_wishes() -> None:
    assert parse_client_hello(body(extension(5, b"\x01\0\0\0\0"))).wishes == {Wish.STAPLE}
    assert parse_client_hello(body(extension(35, b""))).wishes == {Wish.TICKET}
    assert parse_client_hello(body(extension(35, b"old ticket"))).wishes == {Wish.TICKET, Wish.RESUMPTION}
    assert parse_client_hello(body(extension(45, b"\x01\x01"))).wishes == {Wish.TICKET}
    assert parse_client_hello(body(extension(41, b"whatever"))).wishes == {Wish.RESUMPTION}
    assert parse_client_hello(body(extension(13, b""))).wishes == set()


@pytest.mark.parametrize(
    ("offered", "required", "fault"),
    [
        ((), False, ""),
        ((), True, "ALPN required"),
        (("smtp",), True, ""),
        (("esmtp",), False, ""),
        (("h2",), False, "h2"),
        (("smtp", "h2"), False, "smtp:h2"),
        (("smtp", "esmtp"), False, "smtp:esmtp"),
        (("smt",), False, "smt"),
    ],
)
def test_which_protocols_a_client_may_offer(offered: tuple[str, ...], required: bool, fault: str) -> None:
    """Exim: one name, and one of tls_alpn; anything else is somebody who was led here."""
    found = protocol_fault(ClientHello(alpn=offered), ("smtp", "esmtp"), required=required)
    assert (fault in found) if fault else found == ""
    assert protocol_fault(ClientHello(alpn=offered), (), required=required) == ""


ASKED = frozenset({Wish.TICKET})
AGAIN = frozenset({Wish.TICKET, Wish.RESUMPTION})


@pytest.mark.parametrize(
    ("wishes", "allowed", "resumed", "version", "bits"),
    [
        (frozenset(), True, False, "TLS1.3", 1),
        (ASKED, False, False, "TLS1.3", 1),
        (ASKED, True, False, "TLS1.2", 1 + 2 + 8),
        (AGAIN, True, False, "TLS1.3", 1 + 2 + 4 + 8),
        (AGAIN, True, True, "TLS1.2", 1 + 2 + 4 + 16),
        (AGAIN, True, True, "TLS1.3", 1 + 2 + 4 + 8 + 16),
    ],
)
def test_the_bits_of_resumption(wishes: frozenset[Wish], allowed: bool, resumed: bool, version: str, bits: int) -> None:
    hello = ClientHello(wishes=wishes)
    assert resumption(hello, allowed=allowed, resumed=resumed, version=version) == Resumption(bits)
