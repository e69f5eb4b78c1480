"""The sample configurations are Exim's language: a real Exim reads them, bare and as `relay init` fills them."""

import subprocess
from pathlib import Path

import pytest

from relay.cli.init import LAPTOP, RELAY, Role, laptop_macros, make_installation, relay_macros
from relay.cli.places import places_under

from interop import exim, peers

SAMPLES = Path(__file__).parents[2] / "conf"


def read_by_exim(configuration: Path) -> subprocess.CompletedProcess[str]:
    with exim.trusted_config(configuration):
        return subprocess.run(
            [peers.EXIM, "-C", configuration, "-bV"], capture_output=True, text=True, timeout=60, check=False
        )


@pytest.mark.interop("exim")
@pytest.mark.parametrize("name", ["relay.conf", "laptop.conf"])
def test_the_samples(name: str) -> None:
    with peers.directory("samples") as directory:
        copy = directory / name
        copy.write_text((SAMPLES / name).read_text())
        copy.chmod(0o644)
        done = read_by_exim(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.interop("exim")
@pytest.mark.parametrize(
    "role",
    [
        Role(RELAY, relay_macros("25 : 465 : 587", "")),
        Role(RELAY, relay_macros("2525", "127.0.0.1")),
        Role(LAPTOP, laptop_macros("relay.example.org", 587, 2525)),
    ],
    ids=["relay", "relay on one address", "laptop"],
)
def test_what_init_makes(role: Role) -> None:
    with peers.directory("samples") as directory:
        places = places_under(directory / "made")
        make_installation(role, places, "host.example.org")
        done = read_by_exim(places.configuration)
    assert done.returncode == 0, done.stdout + done.stderr
