"""The suite's name server as a real one, for a program that asks the system's resolver (edge).

    with answering(stage.directory):
        ...  # 127.0.0.113 answers, port 53

The suite's own `fakens` is a program that Exim, when it knows that it is being tested, starts for each question, and
that prints the answer's packet but for the question. Here it is asked for what comes in over the network; what it does
not know does not exist. Only root may listen there.
"""

import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.rdatatype

ADDRESS = "127.0.0.113"
PORT = 53

_HEADER = struct.Struct("!6H")
_RESPONSE, _RECURSION = 0x8000, 0x0180
_KEPT_FLAGS = 0x0420  # authoritative answer, authentic data
_SERVER_FAILURE, _NO_SUCH_NAME, _REFUSED = 2, 3, 5
_CODES = {0: 0, 1: _NO_SUCH_NAME, 2: _SERVER_FAILURE, 3: _REFUSED, 4: 0, 5: _NO_SUCH_NAME}
"""What `fakens` returns, and the response code that says so."""


def answer(directory: Path, query: bytes) -> bytes | None:
    """The response to the query; None if it is none."""
    try:
        message = dns.message.from_wire(query)
        question = message.question[0]
    except (dns.exception.DNSException, IndexError):
        return None
    name = question.name.to_text(omit_final_dot=True)
    done = subprocess.run(
        [directory / "bin/fakens", directory, name, dns.rdatatype.to_text(question.rdtype)],
        capture_output=True,
        check=False,
    )
    return response(message.id, dns.message.make_query(question.name, question.rdtype), done.returncode, done.stdout)


def response(number: int, question: dns.message.Message, code: int, packet: bytes) -> bytes:
    """The packet that `fakens` has printed, with the question in it."""
    _, flags, _, answers, authorities, _ = _HEADER.unpack(packet[:12]) if len(packet) >= 12 else (0,) * 6
    if len(packet) < 12 or _CODES.get(code, _SERVER_FAILURE) not in (0, _NO_SUCH_NAME):
        answers = authorities = 0
        packet = b""
    flags = _RESPONSE | _RECURSION | (flags & _KEPT_FLAGS) | _CODES.get(code, _SERVER_FAILURE)
    asked = question.to_wire()[12:]
    return _HEADER.pack(number, flags, 1, answers, authorities, 0) + asked + packet[12:]


@contextlib.contextmanager
def answering(directory: Path, address: str = ADDRESS, port: int = PORT) -> Iterator[int]:
    """Answers for as long as the block, over UDP and TCP; gives the port."""
    with socket.create_server((address, port)) as listener, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        port = listener.getsockname()[1]
        datagrams.bind((address, port))
        for serve, by in ((_serve_datagrams, datagrams), (_serve_connections, listener)):
            threading.Thread(target=serve, args=(directory, by), daemon=True).start()
        yield port


def _serve_datagrams(directory: Path, by: socket.socket) -> None:
    while by.fileno() >= 0:
        with contextlib.suppress(OSError):
            query, peer = by.recvfrom(4096)
            found = answer(directory, query)
            if found and len(found) > 512:
                # Cut short, so that the question comes again over TCP.
                number, flags, *_ = _HEADER.unpack(found[:12])
                found = response(number, dns.message.from_wire(query), 4, b"")
                found = found[:2] + struct.pack("!H", flags | 0x0200) + found[4:]
            if found:
                by.sendto(found, peer)


def _serve_connections(directory: Path, by: socket.socket) -> None:
    while by.fileno() >= 0:
        with contextlib.suppress(OSError, struct.error):
            peer, _ = by.accept()
            with peer:
                peer.settimeout(5)
                while True:
                    [size] = struct.unpack("!H", peer.recv(2, socket.MSG_WAITALL))
                    found = answer(directory, peer.recv(size, socket.MSG_WAITALL)) or b""
                    peer.sendall(struct.pack("!H", len(found)) + found)
