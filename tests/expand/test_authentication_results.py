"""`${authresults{…}}`."""

from __future__ import annotations

import pytest

from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.expand.values import is_tainted
from relay.mail.facts import Authentication, Endpoint, Hello, LocalCaller, SessionFacts

PEER = Endpoint("192.0.2.1", 25)
BY_CERTIFICATE = Authentication("tls", "ann")
NAMELESS = Authentication("tls", "")
FIELD = "Authentication-Results: relay.test"


@pytest.mark.parametrize(
    "session, more, wanted",
    [
        (SessionFacts(peer=PEER), {}, "; none"),
        (
            SessionFacts(peer=PEER, peer_host="mx.test"),
            {},
            ";\n\tiprev=pass (mx.test) smtp.remote-ip=192.0.2.1",
        ),
        (SessionFacts(peer=PEER), {"host_lookup_failed": "1"}, ";\n\tiprev=fail smtp.remote-ip=192.0.2.1"),
        (SessionFacts(peer=PEER), {"host_lookup_deferred": "1"}, ";\n\tiprev=temperror smtp.remote-ip=192.0.2.1"),
        (
            SessionFacts(peer=PEER, authentication=Authentication("plain_server", "ann", mechanism="PLAIN")),
            {"authenticated_sender": "ann@relay.test"},
            ";\n\tauth=pass (PLAIN) smtp.auth=ann smtp.mailfrom=ann@relay.test",
        ),
        (SessionFacts(peer=PEER, authentication=Authentication("x", "")), {}, ";\n\tauth=pass (x, no id saved)"),
        (SessionFacts(peer=PEER, authentication=BY_CERTIFICATE), {}, ";\n\tauth=pass (tls) x509.auth=ann"),
        (SessionFacts(peer=PEER, authentication=NAMELESS), {}, ";\n\tauth=pass (tls) reason=x509.auth"),
        (SessionFacts(caller=LocalCaller("ann", 1, 1)), {}, ";\n\tlocal=pass (non-smtp, relay.test) u=ann"),
        (SessionFacts(caller=LocalCaller("ann", 1, 1), hello=Hello("x", True)), {}, "; none"),
    ],
)
def test_results(expand, session: SessionFacts, more: dict[str, str], wanted: str) -> None:
    assert expand("${authresults{$primary_hostname}}", session=session, more=more) == FIELD + wanted


def test_its_folds_stay_where_lines_are_told_apart_and_a_peer_has_none() -> None:
    """Where the field is added to a header; a break in what a peer says is no fold."""
    session = SessionFacts(peer=PEER, peer_host="mx.test\n\nX-Trusted: yes")
    coroutine = compile_expansion("X-A: ${authresults{relay.test}}").lines(Scope(session=session))
    with pytest.raises(StopIteration) as found:
        coroutine.send(None)
    text = found.value.value
    assert text == f"X-A: {FIELD};\n\tiprev=pass (mx.test  X-Trusted: yes) smtp.remote-ip=192.0.2.1"
    assert is_tainted(text)
