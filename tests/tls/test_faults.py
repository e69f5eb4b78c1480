"""Failed handshakes: whose fault, what to do, and how often one address may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.tls.faults import (
    FAILURE_COST,
    LOG_WINDOW,
    LOGGED_LINES,
    NETWORK,
    OURS,
    PEER,
    Fault,
    HandshakeGuard,
    explain,
)


@pytest.mark.parametrize(
    ("reason", "by_peer", "whose", "remedy"),
    [
        ("tlsv1 alert unknown ca", True, PEER, "does not trust our certificate"),
        ("sslv3 alert certificate unknown", True, PEER, "does not trust our certificate"),
        ("tls alert certificate expired", True, PEER, "our certificate has expired"),
        ("clear text where a TLS record was expected", False, PEER, "without TLS"),
        ("a TLS record of 65000 octets, longer than the protocol allows", False, PEER, "does not speak TLS"),
        ("a ClientHello in too many pieces", False, PEER, "does not speak TLS"),
        ("no shared cipher", False, PEER, "tls_require_ciphers"),
        ("no suitable key share", False, PEER, "tls_eccurve"),
        ("peer did not return a certificate", False, PEER, "tls_verify_hosts"),
        ("the certificate has expired on 2026-01-01 00:00 UTC: /CN=a", False, PEER, "renewed"),
        ("Bad ALPN presented (h2)", False, PEER, "another service"),
        ("timed out", True, NETWORK, "nothing more"),
        ("the peer closed the connection during the handshake", True, NETWORK, "hung up"),
        ("no TLS context for this client: /x: no such file (make it)", False, OURS, ""),
        ("something new", True, PEER, ""),
        ("something new", False, OURS, ""),
    ],
)
def test_whose_fault_and_what_to_do(reason: str, by_peer: bool, whose: str, remedy: str) -> None:
    fault = explain(reason, by_peer)
    assert (fault.whose, fault.what) == (whose, reason)
    assert remedy in fault.remedy
    assert fault.line.count("\n") == 0


def test_the_line() -> None:
    assert Fault(PEER, "no shared cipher", "do this").line == (
        "(SSL_accept): error:no shared cipher (the client's side: do this)"
    )
    assert Fault(OURS, "x").line == "(SSL_accept): error:x (our side)"
    assert Fault(NETWORK, "x").line == "(SSL_accept): error:x (the network)"


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("timed out", "(tls lib accept fn): timed out"),
        ("the peer closed the connection during the handshake", "(tls lib accept fn): TCP connection closed by peer"),
        ("Bad ALPN presented (h2)", "(handshake): Bad ALPN presented (h2)"),
        ("ALPN required but not negotiated", "(handshake): ALPN required but not negotiated"),
    ],
)
def test_what_exim_has_words_for(reason: str, line: str) -> None:
    assert explain(reason, True).line == line


@given(st.text(max_size=60), st.booleans())
def test_any_reason_has_a_line(reason: str, by_peer: bool) -> None:
    assert reason in explain(f"{reason}.", by_peer).line or "tls lib" in explain(f"{reason}.", by_peer).line


def begun(guard: HandshakeGuard, address: str, now: float, tries: int = 1000) -> int:
    return sum(guard.may_begin(address, now) for _ in range(tries))


def test_so_many_in_a_minute() -> None:
    guard = HandshakeGuard(60)
    assert begun(guard, "192.0.2.1", 0.0) == 60
    assert begun(guard, "192.0.2.1", 10.0) == 10
    assert begun(guard, "192.0.2.2", 10.0) == 60
    assert begun(guard, "192.0.2.1", 1000.0) == 60


def test_no_limit() -> None:
    assert begun(HandshakeGuard(0), "192.0.2.1", 0.0) == 1000


def test_a_certificate_that_verifies_costs_nothing() -> None:
    guard = HandshakeGuard(10)
    for _ in range(1000):
        assert guard.may_begin("192.0.2.1", 0.0)
        guard.verified("192.0.2.1", 0.0)
    assert begun(guard, "192.0.2.1", 0.0) == 10


def test_a_failure_costs_more() -> None:
    guard = HandshakeGuard(60)
    failed = 0
    while guard.may_begin("192.0.2.1", 0.0):
        guard.failed("192.0.2.1", 0.0)
        failed += 1
    assert failed == 60 / (1 + FAILURE_COST)


def test_a_network_of_ipv6_is_one_address() -> None:
    guard = HandshakeGuard(10)
    assert begun(guard, "2001:db8::1", 0.0) == 10
    assert begun(guard, "2001:db8:0:0:1::2", 0.0) == 0
    assert begun(guard, "2001:db8:0:1::1", 0.0) == 10
    assert begun(guard, "::1", 0.0) == 10


def test_noise_is_counted_and_not_written() -> None:
    guard = HandshakeGuard()
    said = [guard.failed("192.0.2.1", float(number)) for number in range(20)]
    assert said == [0] * LOGGED_LINES + [None] * (20 - LOGGED_LINES)
    assert guard.failed("192.0.2.2", 20.0) == 0
    assert guard.failed("192.0.2.1", LOG_WINDOW + 1) == 20 - LOGGED_LINES
    assert guard.failed("192.0.2.1", LOG_WINDOW + 2) == 0


def test_memory_is_bounded() -> None:
    guard = HandshakeGuard(5, addresses=10)
    for number in range(100):
        guard.may_begin(f"192.0.2.{number}", 0.0)
    assert begun(guard, "192.0.2.99", 0.0) == 4
    assert begun(guard, "192.0.2.0", 0.0) == 5


def test_a_clock_that_steps_back_gives_nothing() -> None:
    guard = HandshakeGuard(5)
    assert begun(guard, "192.0.2.1", 100.0) == 5
    assert begun(guard, "192.0.2.1", 50.0) == 0
