"""Diffie-Hellman parameters out of files, and ones of our own that are made beside the daemon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relay.tls.dh_groups import named_group, size_in_bits
from relay.tls.files import TLSFileError
from relay.tls.parameters import ParameterCache, make_parameters, read_parameters


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "dh.pem"
    path.write_bytes(b"# made by hand\n" + named_group("ike14"))
    assert read_parameters(str(path)) == named_group("ike14")


@pytest.mark.parametrize(
    "octets", [b"", b"garbage", b"-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n"]
)
def test_a_broken_file(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "dh.pem"
    path.write_bytes(octets)
    with pytest.raises(TLSFileError):
        read_parameters(str(path))


def test_parameters_that_are_there_are_used(tmp_path: Path) -> None:
    cache = ParameterCache(str(tmp_path))
    assert cache.path(2048) == str(tmp_path / "gnutls-params-2048")
    Path(cache.path(2048)).write_bytes(named_group("ike14"))
    assert cache.parameters(2048) == named_group("ike14")


def test_what_is_not_there_is_made_beside_us_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Maker:
        def __init__(self, command: list[str], **_: object) -> None:
            started.append(command)

        def poll(self) -> int | None:
            return None

        def terminate(self) -> None:
            started.append(["terminated"])

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Maker)
    cache = ParameterCache(str(tmp_path))
    assert cache.parameters(3072) == named_group("ffdhe3072")
    assert cache.parameters(3072) == named_group("ffdhe3072")
    assert started == [[sys.executable, "-m", "relay.tls.parameters", "3072", cache.path(3072)]]
    cache.stop()
    assert started[1:] == [["terminated"]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_they_are_put_into_their_place_by_a_rename(tmp_path: Path) -> None:
    path = tmp_path / "gnutls-params-512"
    path.write_bytes(b"old")
    make_parameters(512, path)
    assert size_in_bits(path.read_bytes()) == 512
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
