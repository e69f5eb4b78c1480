"""A queue of messages goes over one connection, each with a TLS handshake of its own, from our laptop to our relay."""

from pathlib import Path

import daemons

import certs
from interop import peers

MESSAGE = b"From: <me@laptop.test>\nTo: <you@relay.test>\nSubject: x\n\nhello\n"


def test_many_messages_one_connection(tmp_path: Path) -> None:
    port, relay_port = peers.free_port(), peers.free_port()
    anchor = tmp_path / "relay.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    (tmp_path / "relay").mkdir()
    relay_text = daemons.relay_configuration(
        tmp_path / "relay", relay_port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()]
    )
    lines = f"hosts_require_tls = *\n  tls_verify_certificates = {anchor}\n  serialize_hosts = *"
    with daemons.running(tmp_path / "relay", relay_text, relay_port) as relay:
        (tmp_path / "laptop").mkdir()
        text = daemons.laptop_configuration(tmp_path / "laptop", port, certs.laptop(), relay_port, lines)
        with daemons.running(tmp_path / "laptop", text, port) as laptop:
            for _ in range(3):
                sent = laptop.sendmail("-odq", "-i", "-f", "me@laptop.test", "you@example.org", message=MESSAGE)
                assert sent.returncode == 0
            laptop.sendmail("-qf")
            peers.wait_until("three messages at the relay", lambda: len(relay.messages()) == 3)
            log = laptop.log_text()
            received = [line for line in relay.log_text().splitlines() if " <= " in line]
    delivered = [line for line in log.splitlines() if " => you@example.org" in line]
    assert len(delivered) == 3
    assert all(" X=TLS1.3:" in line and " CV=yes" in line for line in [*delivered, *received])
    assert sum(f":{relay_port}*" in line for line in delivered) == 2, log
