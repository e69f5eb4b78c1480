"""What servers get of a message, through a running daemon: header edits, return path, AUTH, LMTP over TCP; and what the
log says of it."""

from __future__ import annotations

from pathlib import Path

import daemons
from net.odd_peer import Oddness, OddPeer, odd_peer

import certs
from interop import peers

MESSAGE = b"From: <me@laptop.test>\nSubject: hello\nX-Secret: inside\nX-Other: too\n\nGood morning.\n"
PLAIN = Oddness(
    offers=(b"PIPELINING", b"8BITMIME", b"IGNOREQUOTA", b"AUTH PLAIN"),
    certificates=(certs.relay(),),
    replies_in_tls={b"AUTH": b"235 welcome"},
)
BOX = Oddness(
    offers=(b"PIPELINING", b"IGNOREQUOTA"), replies={b".": b"250 2.1.5 in a's box\r\n452 4.2.2 b's box is full"}
)

EDITS = """headers_add = X-Transport: $domain
  headers_remove = x-secret : x-router
  headers_rewrite = *@laptop.test $local_part@home.test f
  return_path = bounces@laptop.test
  return_path_add
  envelope_to_add"""


def configuration(directory: Path, port: int, server: OddPeer, box: OddPeer) -> str:
    anchor = directory / "relay.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    return f"""
{daemons.head(directory, port, "laptop.test")}
tls_advertise_hosts =

begin routers

away:
  driver = manualroute
  transport = ${{if eq{{$domain}}{{box.test}}{{box}}{{server}}}}
  route_list = <; box.test 127.0.0.1::{box.port} ; * 127.0.0.1::{server.port}
  self = send
  headers_add = X-Router: $domain
  headers_remove = x-other

begin transports

server:
  driver = smtp
  tls_verify_certificates = {anchor}
  hosts_require_tls = *
  hosts_require_auth = *
  {EDITS}

box:
  driver = smtp
  protocol = lmtp
  hosts_avoid_tls = *
  lmtp_ignore_quota
  {EDITS}

begin authenticators

plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^me^secret

begin retry
* * F,1h,1m
"""


def test_edits_and_logins(tmp_path: Path) -> None:
    for name in ("server", "box"):
        (tmp_path / name).mkdir()
    with odd_peer(PLAIN, tmp_path / "server") as server, odd_peer(BOX, tmp_path / "box") as box:
        port = peers.free_port()
        with daemons.running(tmp_path, configuration(tmp_path, port, server, box), port) as laptop:
            for recipients in (["a@far.test"], ["a@box.test", "b@box.test"]):
                done = laptop.sendmail("-i", "-f", "me@laptop.test", *recipients, message=MESSAGE)
                assert done.returncode == 0, done.stderr
            laptop.wait_for_log("=> a@far.test")
            laptop.wait_for_log("== b@box.test")
            log = laptop.log_text()
    for peer, domain, names in ((server, "far.test", ["a"]), (box, "box.test", ["a", "b"])):
        ((text, _),) = peer.messages
        lines = text.split(b"\r\n\r\n")[0].decode().split("\r\n")
        shown = ",\r\n ".join(f"{name}@{domain}" for name in names).split("\r\n")
        assert lines[: 1 + len(shown)] == ["Return-path: <bounces@laptop.test>", "Envelope-to: " + shown[0], *shown[1:]]
        assert lines[-2:] == [f"X-Router: {domain}", f"X-Transport: {domain}"]
        assert "From: <me@home.test>" in lines
        assert not [line for line in lines if line.lower().startswith(("x-secret", "x-other"))]
    (line,) = [line for line in log.splitlines() if "=> a@far.test" in line]
    order = [" R=away T=server H=127.0.0.1 [", " X=TLS1.", " CV=yes", " DN=", " A=plain", ' C="250 OK id=odd"']
    assert [line.index(each) for each in order] == sorted(line.index(each) for each in order)
    assert " K " not in line
    assert "=> a@box.test R=away T=box" in log
    assert """ C="250 2.1.5 in a's box\"""" in log
    assert "452 4.2.2 b's box is full" in log
    assert box.connections[0].words[0] == "LHLO"
    assert "AUTH" in server.connections[0].words
    assert b"AUTH" not in bytes(server.connections[0].in_clear)
