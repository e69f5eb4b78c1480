"""`relay check`: everything at once, each with its line, and the exit status."""

import json
from pathlib import Path

import pytest

from relay.cli import init, main
from relay.cli.init import Role, make_installation
from relay.cli.places import Places, places_under

import certs


@pytest.fixture
def relay(tmp_path: Path) -> Places:
    places = places_under(tmp_path / "relay")
    make_installation(Role("relay", init.relay_macros(str(2525), "127.0.0.1")), places, "relay.example")
    return places


@pytest.fixture
def laptop(tmp_path: Path, relay: Places) -> Places:
    places = places_under(tmp_path / "laptop")
    role = Role("laptop", init.laptop_macros("127.0.0.1", 2525, 2526))
    make_installation(role, places, "laptop.example", trust=[relay.certificate])
    return places


def check(places: Places, *more: str) -> int:
    return main.main(["check", "-C", str(places.configuration), *more])


def line_of(places: Places, start: str) -> int:
    lines = places.configuration.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(start))


def test_what_init_makes_is_good(relay: Places, laptop: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(laptop) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == f"{laptop.configuration}: configuration is good (port 2526, 1 ACL, 1 router, 1 transport)\n"
    assert check(relay) == 0
    said = capsys.readouterr()
    assert said.err == ""
    note, good = said.out.splitlines()
    assert "nobody is trusted" in note
    assert "configuration is good" in good


def test_what_will_fail_is_not_called_good(relay: Places, capsys: pytest.CaptureFixture[str]) -> None:
    text = relay.configuration.read_text()
    relay.configuration.write_text(text.replace("verify        = certificate", "condition = $tls_in_fingerprnt", 1))
    assert check(relay) == 0
    *warnings, summary = capsys.readouterr().out.splitlines()
    line = f"{relay.configuration}:{line_of(relay, 'accept condition')}: warning: "
    assert [each for each in warnings if each.startswith(line) and "tls_in_fingerprnt" in each]
    assert f"{relay.configuration}: configuration can be used, with 1 warning (" in summary


def test_every_mistake_at_once_and_in_order(relay: Places, capsys: pytest.CaptureFixture[str]) -> None:
    text = relay.configuration.read_text()
    text = text.replace("tls_advertise_hosts = *", "tls_advertize_hosts = *")
    relay.configuration.write_text(text.replace("verify        = certificate", "verify        = nonsense", 1))
    assert check(relay) == 1
    said = capsys.readouterr()
    assert said.out == ""
    first, second, summary = said.err.splitlines()
    assert first.startswith(f"{relay.configuration}:{line_of(relay, 'tls_advertize')}: ")
    assert "tls_advertise_hosts" in first
    assert second.startswith(f"{relay.configuration}:{line_of(relay, 'accept verify')}: ")
    assert summary == f"{relay.configuration}: 2 errors"


def test_a_key_that_does_not_fit(relay: Places, capsys: pytest.CaptureFixture[str]) -> None:
    relay.key.write_bytes(certs.laptop().key_pem)
    assert check(relay) == 1
    line = line_of(relay, "tls_certificate")
    assert f"{relay.configuration}:{line}: {relay.key}: is not the key of" in capsys.readouterr().err


def test_our_own_key_readable_by_everybody(relay: Places, capsys: pytest.CaptureFixture[str]) -> None:
    relay.key.chmod(0o644)
    assert check(relay) == 1
    assert f"everybody can read this key (chmod o-rwx {relay.key})" in capsys.readouterr().err


def test_the_files_of_a_transport_are_looked_at_too(laptop: Places, capsys: pytest.CaptureFixture[str]) -> None:
    laptop.certificate.unlink()
    assert check(laptop) == 1
    start = f"{laptop.configuration}:{line_of(laptop, 'tls_certificate')}: "
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith(start)]
    assert f"{laptop.certificate}, which does not exist" in error


def test_both_pairs_of_a_list_are_looked_into(
    relay: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = certs.self_signed("relay.example", days=300).write(tmp_path, "second")
    text = relay.configuration.read_text()
    text = text.replace("CONFDIR/certificate.pem", f"CONFDIR/certificate.pem : {certificate}")
    relay.configuration.write_text(text.replace("CONFDIR/key.pem", f"CONFDIR/key.pem : {key}"))
    assert check(relay) == 0
    key.write_bytes(certs.laptop().key_pem)
    assert check(relay) == 1
    assert f"{key}: is not the key of {certificate}" in capsys.readouterr().err


def test_json(relay: Places, capsys: pytest.CaptureFixture[str]) -> None:
    relay.key.unlink()
    assert check(relay, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["good"] is False
    (error,) = [each for each in said["problems"] if each["severity"] == "error"]
    assert error["file"] == str(relay.configuration)
    assert error["line"] == line_of(relay, "tls_certificate")
    assert error["remedy"]


def test_a_macro_of_the_command_line(relay: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(relay, "-D", "PORT=2626") == 0
    assert "(port 2626, " in capsys.readouterr().out


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "-C", str(tmp_path / "no.conf")]) == 1
    assert capsys.readouterr().err.startswith(f"relay: {tmp_path}/no.conf: no such file (")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00", b"begin nowhere\n", b"primary_hostname = ${\n"])
def test_whatever_is_in_the_file_there_is_no_traceback(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.conf"
    path.write_bytes(content)
    assert main.main(["check", "-C", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(str(path))
    assert "unexpected" not in error
