"""The programs of the documentation, run against each other as they are printed there."""

import subprocess
import sys
from pathlib import Path

import pytest

import certs
from interop import peers

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the documentation is not beside the tests")


def test_the_two_programs_talk_to_each_other(tmp_path: Path) -> None:
    certificate, key = certs.relay().write(tmp_path, "relay")
    client_certificate, client_key = certs.laptop().write(tmp_path, "laptop")
    port = peers.free_port()
    output = tmp_path / "output"
    receive = [
        sys.executable,
        str(EXAMPLES / "receive.py"),
        str(port),
        str(certificate),
        str(key),
        str(client_certificate),
    ]
    with peers.running(receive, port=port, output=output, logs=tmp_path / "none"):
        send = [
            sys.executable,
            str(EXAMPLES / "send.py"),
            str(port),
            str(client_certificate),
            str(client_key),
            str(certificate),
        ]
        done = subprocess.run(send, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "the server is Verified(by='itself')" in done.stdout
        assert "Delivered(confirmation=" in done.stdout
        peers.wait_until("the message at the receiver", lambda: "from me@laptop.example" in output.read_text())


@pytest.mark.parametrize("name", ["receive.py", "send.py"])
def test_they_stay_short(name: str) -> None:
    lines = [line for line in (EXAMPLES / name).read_text().splitlines() if line.strip()]
    assert len(lines) <= 35
