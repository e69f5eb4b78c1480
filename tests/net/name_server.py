"""A name server on the loopback address: records as they stand in a zone file, and faults by name.

    with name_server(ZONE) as port:
        ...  # UDP and TCP

It answers in two threads. A fault stands in place of the records: `SERVFAIL`, `REFUSED`, `SILENCE` (no answer at all),
`TRUNCATED records…` (over UDP only that there is more), `SECURE records…` (with the AD bit, where it was asked for).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[str, Sequence[str]]
"""`name TYPE`: the records, a fault in front of them."""


class _Server:
    def __init__(self, zone: Zone) -> None:
        self._zone = {key.lower(): tuple(records) for key, records in zone.items()}
        self._names = {key.split()[0] for key in self._zone}

    def answer(self, question: bytes, *, by_tcp: bool) -> bytes | None:
        query = dns.message.from_wire(question)
        response = dns.message.make_response(query, recursion_available=True)
        name, kind = query.question[0].name, query.question[0].rdtype
        for _ in range(8):
            text = name.to_text(omit_final_dot=True).lower()
            fault, records = self._found(text, dns.rdatatype.to_text(kind))
            if fault == "SILENCE":
                return None
            if fault in ("SERVFAIL", "REFUSED"):
                response.set_rcode(dns.rcode.from_text(fault))
                return response.to_wire()
            if fault == "TRUNCATED" and not by_tcp:
                response.flags |= dns.flags.TC
                return response.to_wire()
            if fault == "SECURE" and query.flags & dns.flags.AD:
                response.flags |= dns.flags.AD
            if records:
                response.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, list(records)))
                return response.to_wire()
            _, alias = self._found(text, "CNAME")
            if not alias:
                if text not in self._names:
                    response.set_rcode(dns.rcode.NXDOMAIN)
                return response.to_wire()
            response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "CNAME", list(alias)))
            name = dns.name.from_text(alias[0])
        raise AssertionError("an alias that leads to itself")

    def _found(self, name: str, kind: str) -> tuple[str, tuple[str, ...]]:
        records = self._zone.get(f"{name} {kind}".lower(), ())
        if records and records[0] in ("SERVFAIL", "REFUSED", "SILENCE", "TRUNCATED", "SECURE"):
            return records[0], records[1:]
        return "", records

    def serve_datagrams(self, sock: socket.socket) -> None:
        while True:
            question, client = sock.recvfrom(4096)
            if not question:
                return
            response = self.answer(question, by_tcp=False)
            if response is not None:
                sock.sendto(response, client)

    def serve_connections(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                head = connection.recv(2)
                if not head:
                    return
                response = self.answer(connection.recv(struct.unpack("!H", head)[0]), by_tcp=True)
                if response is not None:
                    connection.sendall(struct.pack("!H", len(response)) + response)


@contextlib.contextmanager
def name_server(zone: Zone) -> Iterator[int]:
    """The port, the same for UDP and TCP. At the end both threads get an empty question, which ends them."""
    server = _Server(zone)
    with _bound() as (datagrams, listener):
        port: int = listener.getsockname()[1]
        threads = [
            threading.Thread(target=server.serve_datagrams, args=(datagrams,), daemon=True),
            threading.Thread(target=server.serve_connections, args=(listener,), daemon=True),
        ]
        for each in threads:
            each.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", port))
            socket.create_connection(("127.0.0.1", port)).close()
            for each in threads:
                each.join(10)


@contextlib.contextmanager
def _bound() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A port that the system chooses for TCP, and that is free for UDP as well."""
    for _ in range(20):
        listener = socket.create_server(("127.0.0.1", 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(listener.getsockname())
        except OSError:
            listener.close()
            datagrams.close()
            continue
        with listener, datagrams:
            yield datagrams, listener
        return
    raise AssertionError("no port is free for UDP and TCP")
