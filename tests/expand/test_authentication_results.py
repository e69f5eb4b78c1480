"""`${authresults{…}}`."""

from __future__ import annotations

import pytest

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
            SessionFacts(peer=PEER, authentication=Authentication("plain_server", "ann")),
            {"authenticator_public_name": "PLAIN", "authenticated_sender": "ann@relay.test"},
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
