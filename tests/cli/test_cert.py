"""`relay cert`: what is shown, and what a new pair takes the place of."""

import json
from pathlib import Path

import pytest

from relay.cli import main
from relay.tls import files, make

import certs


def test_people_see_fingerprint_name_and_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laptop = certs.laptop()
    path, _ = laptop.write(tmp_path, "laptop")
    assert main.main(["cert", "show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(path)
    assert lines[1].split() == ["fingerprint", laptop.fingerprint]
    assert any(line.split()[:2] == ["valid", "until"] for line in lines)


def test_json_has_a_list_whatever_the_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [certs.laptop(), certs.relay()]
    (tmp_path / "both.pem").write_bytes(b"".join(each.cert_pem for each in both))
    assert main.main(["cert", "show", "--json", str(tmp_path / "both.pem")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["fingerprint"] for each in said] == [each.fingerprint for each in both]
    assert {each["file"] for each in said} == {str(tmp_path / "both.pem")}


def test_a_subject_can_not_move_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = certs.self_signed("evil\x1b[2J\nfingerprint  0000").write(tmp_path, "evil")
    assert main.main(["cert", "show", str(path)]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert sum(line.strip().startswith("fingerprint") for line in said.splitlines()) == 1


@pytest.mark.parametrize("role", ["relay", "laptop"])
def test_our_own_is_what_the_configuration_names(role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--smarthost", "relay.example"] if role == "laptop" else []
    main.main(["init", role, "--dir", str(tmp_path / "d"), "--hostname", "a.example", "--json", *more])
    made = json.loads(capsys.readouterr().out)
    assert main.main(["cert", "show", "-C", made["configuration"], "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["fingerprint"] == made["fingerprint"]


@pytest.mark.parametrize("text, said", [(None, "no such file"), ("tls_advertise_hosts =\n", "names no certificate")])
def test_a_configuration_without_certificates(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.conf"
    if text is not None:
        path.write_text(text)
    assert main.main(["cert", "show", "-C", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"relay: {path}: {said}")


@pytest.mark.parametrize(
    "content, said",
    [(None, "no such file"), (b"nothing", "holds no certificate"), (b"", "holds no certificate")],
)
def test_a_file_without_a_certificate(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_bytes(content)
    assert main.main(["cert", "show", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"relay: {path}: {said}")
    assert error.count("\n") == 1


def new(directory: Path, *more: str) -> int:
    return main.main(["cert", "new", "-C", str(directory / "fingerpost.conf"), *more])


def test_a_new_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, "--hostname", "a.example", "--address", "192.0.2.1", "--days", "30", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    (certificate,) = files.read_certificates(said["file"])
    described = make.describe(certificate)
    assert said["fingerprint"] == described.fingerprint
    assert (described.names, described.addresses) == (("a.example",), ("192.0.2.1",))
    assert (described.not_after - described.not_before).days == 30
    assert files.key_matches(certificate, files.read_private_key(said["key_file"]))


def test_nothing_is_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, "--hostname", "a.example") == 0
    before = (tmp_path / "certificate.pem").read_bytes()
    capsys.readouterr()
    assert new(tmp_path) == 1
    assert "say --replace" in capsys.readouterr().err
    assert (tmp_path / "certificate.pem").read_bytes() == before


def test_a_replacement_has_the_same_name(tmp_path: Path) -> None:
    assert new(tmp_path, "--hostname", "a.example") == 0
    before = (tmp_path / "certificate.pem").read_bytes()
    assert new(tmp_path, "--replace") == 0
    assert (tmp_path / "certificate.pem.old").read_bytes() == before
    (certificate,) = files.read_certificates(str(tmp_path / "certificate.pem"))
    assert make.describe(certificate).names == ("a.example",)


@pytest.mark.parametrize("more", [[], ["--hostname", "no name"], ["--hostname", "a", "--address", "x"]])
def test_wrong_command_lines(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, *more) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
