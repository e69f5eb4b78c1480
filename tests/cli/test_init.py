"""`relay init`: everything or nothing."""

import json
import os
import stat
from pathlib import Path

import click
import pytest

from relay.cli import init, main, places, templates
from relay.tls import files, make

import certs


def init_relay(directory: Path, *more: str) -> int:
    return main.main(["init", "relay", "--dir", str(directory), "--hostname", "relay.example", *more])


def init_laptop(directory: Path, *more: str) -> int:
    words = ["init", "laptop", "--dir", str(directory), "--hostname", "laptop.example"]
    return main.main([*words, "--smarthost", "relay.example", *more])


@pytest.mark.smoke
def test_a_relay_out_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "relay"
    assert init_relay(target) == 0
    assert sorted(each.name for each in target.iterdir()) == [
        "certificate.pem",
        "fingerpost.conf",
        "key.pem",
        "log",
        "mail",
        "spool",
        "trusted",
    ]
    assert stat.S_IMODE((target / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((target / "spool").stat().st_mode) == (0o755 if os.geteuid() == 0 else 0o700)
    (certificate,) = files.read_certificates(str(target / "certificate.pem"))
    assert files.key_matches(certificate, files.read_private_key(str(target / "key.pem")))
    said = capsys.readouterr().out
    assert make.describe(certificate).fingerprint in said
    assert f"relay run -C {target}/fingerpost.conf" in said
    assert os.listdir(target.parent) == ["relay"]


def test_the_configuration_names_what_was_made(tmp_path: Path) -> None:
    target = tmp_path / "relay"
    assert init_relay(target, "--port", "2525", "--address", "127.0.0.1") == 0
    macros = templates.defined_macros((target / "fingerpost.conf").read_text())
    assert macros["HOSTNAME"] == "relay.example"
    assert macros["CONFDIR"] == str(target)
    assert macros["SPOOL"] == str(target / "spool")
    assert macros["MAILDIR"] == str(target / "mail")
    assert macros["LOGDIR"] == str(target / "log")
    assert (macros["PORT"], macros["INTERFACES"]) == ("2525", "127.0.0.1")
    assert macros["RELAY_FROM_CERTS"] == ""


@pytest.mark.parametrize("uid, port", [(0, "25 : 465 : 587"), (1000, "2525")])
def test_without_root_the_port_is_one_that_can_be_opened(
    uid: int, port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert init_relay(tmp_path / "relay") == 0
    text = (tmp_path / "relay/fingerpost.conf").read_text()
    assert templates.defined_macros(text)["PORT"] == port
    assert ("\ntrusted_users = 1000\n" in text) is (uid != 0)


@pytest.mark.parametrize(
    "smarthost, macros",
    [
        ("relay.example", ("relay.example", "587", "smtp")),
        ("relay.example:465", ("relay.example", "465", "smtps")),
        ("[2001:db8::1]:25", ("[2001::db8::::1]", "25", "smtp")),
    ],
)
def test_the_protocol_of_a_laptop_follows_from_the_port(
    smarthost: str, macros: tuple[str, str, str], tmp_path: Path
) -> None:
    assert init_laptop(tmp_path / "laptop", "--smarthost", smarthost) == 0
    found = templates.defined_macros((tmp_path / "laptop/fingerpost.conf").read_text())
    assert (found["SMARTHOST"], found["SMARTHOST_PORT"], found["SMARTHOST_PROTOCOL"]) == macros
    assert not (tmp_path / "laptop/mail").exists()


def test_a_relay_that_trusts_a_laptop_from_the_start(tmp_path: Path) -> None:
    laptop = certs.laptop()
    (tmp_path / "laptop.pem").write_bytes(laptop.cert_pem)
    assert init_relay(tmp_path / "relay", "--trust", str(tmp_path / "laptop.pem")) == 0
    macros = templates.defined_macros((tmp_path / "relay" / "fingerpost.conf").read_text())
    assert macros["RELAY_FROM_CERTS"] == laptop.fingerprint
    (copy,) = (tmp_path / "relay" / "trusted").iterdir()
    assert files.read_certificates(str(copy)) == [laptop.certificate]
    assert b"PRIVATE" not in copy.read_bytes()


def test_a_trusted_file_with_a_key_in_it_gives_away_only_the_certificate(tmp_path: Path) -> None:
    laptop = certs.laptop()
    (tmp_path / "laptop.pem").write_bytes(laptop.key_pem + laptop.cert_pem)
    assert init_relay(tmp_path / "relay", "--trust", str(tmp_path / "laptop.pem")) == 0
    (copy,) = (tmp_path / "relay" / "trusted").iterdir()
    assert copy.read_bytes() == laptop.cert_pem


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init_laptop(tmp_path / "laptop", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["role"] == "laptop"
    assert said["hostname"] == "laptop.example"
    assert Path(said["configuration"]).is_file()
    (certificate,) = files.read_certificates(said["certificate"])
    assert said["fingerprint"] == make.describe(certificate).fingerprint
    assert any("relay.example" in step for step in said["next"])


def test_nothing_that_exists_is_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init_relay(tmp_path / "relay") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "relay").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert init_relay(tmp_path / "relay") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"relay: {tmp_path}/relay: is there already")
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in (tmp_path / "relay").rglob("*") if path.is_file()} == before


def test_an_empty_directory_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    assert init_relay(tmp_path / "relay") == 0
    assert os.listdir(tmp_path) == ["relay"]


@pytest.mark.parametrize("step", ["rename", "hardlink_to", "mkdir"])
def test_whatever_fails_leaves_nothing(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = getattr(Path, step)

    def fail(self: Path, *arguments: object, **more: object) -> object:
        # The workshop itself can be made; what comes in it can't.
        if step == "mkdir" and self.parent == tmp_path / "deep":
            return done(self, *arguments, **more)
        if step == "mkdir" and self == tmp_path / "deep":
            return done(self, *arguments, **more)
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, step, fail)
    assert init_relay(tmp_path / "deep" / "relay") == 1
    error = capsys.readouterr().err
    assert "no space left on device (make room on the disk)" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_default_installation_keeps_the_queue_out_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main.main(["init", "relay", "--hostname", "relay.example"]) == 0
    assert places.default_configuration() == tmp_path / "config/fingerpost/fingerpost.conf"
    assert (tmp_path / "state/fingerpost/spool").is_dir()
    assert not (tmp_path / "config/fingerpost/spool").exists()


def test_a_default_installation_that_fails_leaves_no_queue_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Path, "rename", fail)
    assert main.main(["init", "relay", "--hostname", "relay.example"]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, said",
    [
        (["relay", "--hostname", "not a name"], "is no host name"),
        (["relay", "--port", "0"], "'--port'"),
        (["laptop", "--smarthost", "relay.example:x"], "is no host with an optional port"),
        (["laptop"], "'--smarthost'"),
        (["laptop", "--smarthost", "a b"], "is no host name"),
        (["relay", "--address", "localhost"], "is no IP address"),
        (["relay", "--dir", "a:b"], "can't be named in a configuration"),
    ],
)
def test_wrong_command_lines(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name = [] if "--hostname" in words else ["--hostname", "a.example"]
    where = [] if "--dir" in words else ["--dir", "d"]
    assert main.main(["init", *words, *name, *where]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_trusted_file_that_is_no_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    assert init_relay(tmp_path / "relay", "--trust", str(tmp_path / "x.pem")) == 1
    assert f"relay: {tmp_path}/x.pem: holds no certificate" in capsys.readouterr().err
    assert not (tmp_path / "relay").exists()


@pytest.mark.parametrize(
    "text, host, port",
    [
        ("relay.example", "relay.example", 587),
        ("relay.example:465", "relay.example", 465),
        ("192.0.2.1:25", "192.0.2.1", 25),
        ("[2001:db8::1]:465", "2001:db8::1", 465),
        ("[2001:db8::1]", "2001:db8::1", 587),
        ("2001:db8::1", "2001:db8::1", 587),
    ],
)
def test_hosts_with_ports(text: str, host: str, port: int) -> None:
    assert init.parse_host_and_port(text, 587) == (host, port)


@pytest.mark.parametrize("text", ["", ":25", "a:0", "a:65536", "a:x", "a:²"])
def test_hosts_with_wrong_ports(text: str) -> None:
    with pytest.raises(click.BadParameter):
        init.parse_host_and_port(text, 587)
