"""`relay check` beyond the text: files, directories, likely mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.config.check import TLSFiles, check_configuration
from relay.config.read import Configuration, read_configuration
from relay.mail.source import Location, Problem, Severity

RCPT = "acl_smtp_rcpt = accept\n"
CREATE = " (create it, or correct the name)"


def read(tmp_path: Path, text: str) -> Configuration:
    file = tmp_path / "conf"
    (tmp_path / "spool").mkdir(exist_ok=True)
    (tmp_path / "log").mkdir(exist_ok=True)
    head = f"spool_directory = {tmp_path}/spool\nlog_file_path = {tmp_path}/log/%slog\n{RCPT}"
    file.write_text(head + text)
    return read_configuration(str(file), lambda path: Path(path).read_text("utf-8"), host_name="here.test")


def remarks(tmp_path: Path, text: str) -> list[str]:
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in check_configuration(read(tmp_path, text))]


def test_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    text = f"tls_certificate = {tmp_path}/cert.pem\ntls_verify_certificates = {tmp_path}"
    assert remarks(tmp_path, text) == []


def test_files_that_are_not_there(tmp_path: Path) -> None:
    text = (
        f"tls_certificate = {tmp_path}/no.pem\ntls_privatekey = key.pem\nbegin transports\nt:\ndriver = smtp\n"
        f"tls_certificate = {tmp_path}/$host.pem\ntls_verify_certificates = {tmp_path}/none"
    )
    assert remarks(tmp_path, text) == [
        f"conf:4: main section: tls_certificate names {tmp_path}/no.pem, which does not exist{CREATE}",
        "conf:4: main section: tls_privatekey names key.pem, which is not an absolute path (name it whole)",
        f"conf:9: transport t: tls_verify_certificates names {tmp_path}/none, which does not exist{CREATE}",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    (tmp_path / "cert.pem").chmod(0)
    (remark,) = remarks(tmp_path, f"tls_certificate = {tmp_path}/cert.pem")
    assert "can't be read" in remark


def test_files_that_are_there_are_looked_into(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    seen: list[TLSFiles] = []

    def look(files: TLSFiles) -> list[Problem]:
        seen.append(files)
        return [Problem(files.location, "the key is another's")]

    text = f"tls_certificate = {tmp_path}/cert.pem\ntls_privatekey = {tmp_path}/key.pem"
    found = check_configuration(read(tmp_path, text), look)
    place = Location(f"{tmp_path}/conf", 4)
    assert seen == [
        TLSFiles(place, "main section", f"{tmp_path}/cert.pem", f"{tmp_path}/key.pem", "system", eccurve="auto")
    ]
    assert found == [Problem(place, "the key is another's")]


def test_a_spool_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = read(tmp_path, "tls_advertise_hosts =")
    text = (tmp_path / "conf").read_text().replace(f"{tmp_path}/spool", f"{tmp_path}/file/spool")
    (tmp_path / "conf").write_text(text)
    found = read_configuration(f"{tmp_path}/conf", lambda path: Path(path).read_text("utf-8"))
    (problem,) = check_configuration(found)
    assert problem.location.line == 1
    assert problem.what == f"spool_directory: {tmp_path}/file is not a directory"


def test_what_makes_a_server_useless(tmp_path: Path) -> None:
    (first,) = remarks(tmp_path, "")
    assert "a self-signed certificate is made at each start" in first
    (second,) = remarks(
        tmp_path, f"tls_advertise_hosts =\ntls_on_connect_ports = 465\ntls_certificate = {tmp_path}/conf"
    )
    assert second.startswith("conf:5: warning: tls_on_connect_ports names 465, which nobody listens on")


def test_a_mailbox_whose_name_comes_from_outside(tmp_path: Path) -> None:
    text = (
        "tls_advertise_hosts =\nbegin transports\n"
        f"t:\ndriver = appendfile\nmaildir_format\ndirectory = {tmp_path}/$local_part"
    )
    (remark,) = remarks(tmp_path, text)
    assert "warning: transport t: $local_part comes from outside" in remark
    assert "use $local_part_data" in remark


@pytest.mark.parametrize(
    ("style", "name", "warned"),
    [
        ("openssl", "/C=DE/CN=laptop", False),
        ("openssl", "CN=laptop,O=Us", True),
        ("openssl", "CN=laptop", True),
        ("rfc2253", "/C=DE/CN=laptop", True),
        ("rfc2253", "CN=laptop,O=Us", False),
    ],
)
def test_names_in_the_other_style(tmp_path: Path, style: str, name: str, warned: bool) -> None:
    text = (
        f"tls_advertise_hosts =\ntls_dn_style = {style}\nbegin acl\n"
        f"a:\naccept condition = ${{if eq{{$tls_in_peerdn}}{{{name}}}}}"
    )
    found = check_configuration(read(tmp_path, text))
    assert [(problem.location.line, problem.severity) for problem in found] == [(8, Severity.WARNING)] * warned


@pytest.mark.parametrize(
    "main, lines, remark",
    [
        ("", "driver = appendfile\nfile = /m\nuser = no-such-user", 'there is no user "no-such-user"'),
        ("", "driver = pipe\ncommand = /x\nuser = root", "no local delivery runs as root (never_users)"),
        ("never_users = mail\n", "driver = pipe\nuser = mail", "no local delivery runs as mail (never_users)"),
        ("", "driver = appendfile\nfile = m", "transport t: m is not an absolute path"),
        ("", "driver = appendfile\nfile = /m/$local_part", "$local_part comes from outside and can't be part"),
    ],
)
def test_local_transports(tmp_path: Path, main: str, lines: str, remark: str) -> None:
    found = remarks(tmp_path, f"{main}begin transports\nt:\n{lines}")
    assert any(remark in each for each in found), found


def test_events_that_nobody_tells_of(tmp_path: Path) -> None:
    """In Exim a text for tls:cert refuses the certificate: who relies on that has to hear that nothing asks it here."""
    action = "event_action = ${if eq{$event_name}{%s}{no}}\n"
    transport = "driver = smtp\nhosts = mail.test\n"
    good, bad = action % "tcp:connect", action % "tls:cert"
    silent = f"{good}begin transports\nt:\n{transport}{good}"
    assert not any("event_action" in each for each in remarks(tmp_path, silent))
    for text in (f"{bad}begin transports\nt:\n{transport}{good}", f"{good}begin transports\nt:\n{transport}{bad}"):
        (remark,) = [each for each in remarks(tmp_path, text) if "event_action" in each]
        assert "warning: event_action is not told of tls:cert, and refuses no certificate" in remark


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could run a command as root")
def test_a_command_that_would_run_as_root(tmp_path: Path) -> None:
    text = "begin transports\nt:\ndriver = pipe\ncommand = /x"
    assert any("no command is run as root" in each for each in remarks(tmp_path, text))
    assert not any("as root" in each for each in remarks(tmp_path, f"exim_user = nobody\n{text}"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_another_user_asked_of_a_daemon_that_is_not_root(tmp_path: Path) -> None:
    text = "begin transports\nt:\ndriver = appendfile\nfile = /m\nuser = daemon"
    assert any("only a daemon that root starts can deliver as daemon" in each for each in remarks(tmp_path, text))
