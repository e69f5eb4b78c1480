"""A queue of messages goes over one connection, each with a TLS handshake of its own, from our laptop to our relay."""

import subprocess
import sys
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
            laptop.sendmail("-qqf")
            laptop.wait_for_log("Completed", times=3)
            relay.wait_for_log("Completed", times=3)
            assert len(relay.messages()) == 3
            log = laptop.log_text()
            received = [line for line in relay.log_text().splitlines() if " <= " in line]
    delivered = [line for line in log.splitlines() if " => you@example.org" in line]
    assert len(delivered) == 3
    assert all(" X=TLS1.3:" in line and " CV=yes" in line for line in [*delivered, *received])
    assert sum(f":{relay_port}*" in line for line in delivered) == 2, log


def test_what_waits_for_a_host_goes_over_the_connection_of_the_first_that_got_through(tmp_path: Path) -> None:
    """Others that wait for the host come for the connection, whatever their retry times are."""
    port, relay_port = peers.free_port(), peers.free_port()
    (tmp_path / "relay").mkdir()
    (tmp_path / "laptop").mkdir()
    text = daemons.laptop_configuration(tmp_path / "laptop", port, None, relay_port, "hosts_avoid_tls = *")
    text = text.replace("begin retry\n* * F,1h,1m", "begin retry\n* * F,9h,1h")
    relay_text = daemons.relay_configuration(tmp_path / "relay", relay_port, certs.relay(), [], trusted=[])
    with daemons.running(tmp_path / "laptop", text, port) as laptop:
        for _ in range(4):
            assert laptop.sendmail("-i", "-f", "me@laptop.test", "you@relay.test", message=MESSAGE).returncode == 0
        peers.wait_until("all of them to wait", lambda: laptop.log_text().count(" == you@relay.test") == 4)
        first = laptop.sendmail("-bp").stdout.split()[2].decode()
        with daemons.running(tmp_path / "relay", relay_text, relay_port) as relay:
            command = [sys.executable, "-m", "relay", "queue", "run", "-C", laptop.configuration, first]
            subprocess.run(command, check=True, timeout=60)
            relay.wait_for_log("Completed", times=4)
            assert len(relay.messages()) == 4
            laptop.wait_for_log("Completed", times=4)
            assert laptop.waiting() == 0
        delivered = [line for line in laptop.log_text().splitlines() if " => you@relay.test" in line]
    assert sum(f":{relay_port}*" in line for line in delivered) == 3, delivered
