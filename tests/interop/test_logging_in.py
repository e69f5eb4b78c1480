"""AUTH between our daemon and real servers: Exim in both roles, Postfix as a client; and who speaks for others.

Each logs in by each mechanism that both have, over TLS, and the message that is relayed says as whom.
"""

import smtplib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import daemons

import certs
from interop import exim, peers, postfix
from system import foreign_relay
from system.foreign_relay import OUTSIDE, PASSWORD, SENDER, USER, Relay

MECHANISMS: Mapping[str, str] = {
    "PLAIN": f"driver = plaintext\n  public_name = PLAIN\n  client_send = ^{USER}^{PASSWORD}",
    "LOGIN": f"driver = plaintext\n  public_name = LOGIN\n  client_send = : {USER} : {PASSWORD}",
    "CRAM-MD5": f"driver = cram_md5\n  public_name = CRAM-MD5\n  client_name = {USER}\n  client_secret = {PASSWORD}",
    "EXTERNAL": "driver = external\n  public_name = EXTERNAL\n  client_send = laptop.test",
}
AS_WHOM = {"CRAM-MD5": f"cram:{USER}", "EXTERNAL": "external:laptop.test"}


def message(subject: str) -> bytes:
    return f"From: <{SENDER}>\nTo: <{OUTSIDE}>\nSubject: {subject}\n\nGood morning.\n".encode()


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with foreign_relay.running(tmp_path_factory.mktemp("logins")) as one:
        yield one


# Exim to us


@pytest.mark.interop("exim")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_exim_logs_in(relay: Relay, mechanism: str) -> None:
    with exim.laptop(
        smarthost=relay.port,
        client=certs.laptop() if "EXTERNAL" in mechanism else None,
        server=certs.relay(),
        transport="hosts_require_auth = *",
        authenticators=f"one:\n  {MECHANISMS[mechanism]}",
    ) as laptop:
        laptop.submit(message(f"Exim {mechanism}"), sender=SENDER, recipients=[OUTSIDE])
        laptop.run_queue()
        assert laptop.waiting() == 0, laptop.log_text() + relay.daemon.log_text()
    relay.arrived(f"Exim {mechanism}")
    assert f"A={AS_WHOM.get(mechanism, f'{mechanism.lower()}:{USER}')} " in relay.log_line(f"Exim {mechanism}")


@pytest.mark.interop("exim")
def test_exim_with_a_wrong_password_is_refused(relay: Relay) -> None:
    block = MECHANISMS["PLAIN"].replace(PASSWORD, "wrong horse").replace(USER, "bob")
    with exim.laptop(
        smarthost=relay.port,
        client=None,
        server=certs.relay(),
        transport="hosts_require_auth = *",
        authenticators=f"one:\n  {block}",
    ) as laptop:
        laptop.submit(message("Exim, wrong"), sender=SENDER, recipients=[OUTSIDE])
        laptop.run_queue()
        assert "535" in laptop.log_text()
        assert laptop.waiting() == 1


# We to Exim

SERVERS = f"""
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{USER}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}
  server_set_id = $auth2

login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{USER}}}}}{{eq{{$auth2}}{{{PASSWORD}}}}}}}}}
  server_set_id = $auth1

cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq{{$auth1}}{{{USER}}}{{{PASSWORD}}}fail}}
  server_set_id = $auth1

external:
  driver = external
  public_name = EXTERNAL
  server_param2 = ${{certextract{{subject,CN}}{{$tls_in_peercert}}}}
  server_condition = ${{if and{{{{bool{{$tls_in_certificate_verified}}}}{{inlist{{$auth1}}{{:$auth2}}}}}}}}
  server_set_id = $auth2
"""
OURS = {**MECHANISMS, "EXTERNAL, empty": 'driver = external\n  public_name = EXTERNAL\n  client_send = ""'}


@pytest.fixture(scope="module")
def exim_relay() -> Iterator[exim.Relay]:
    anybody = "accept authenticated = *\n    logwrite = logged in by $sender_host_authenticated as $authenticated_id"
    with exim.relay(
        server=certs.relay(), trusted=[certs.laptop()], authenticators=SERVERS, relaying=anybody
    ) as peer:
        yield peer


@pytest.mark.interop("exim")
@pytest.mark.parametrize("mechanism", OURS)
def test_we_log_in_to_exim(exim_relay: exim.Relay, mechanism: str, tmp_path: Path) -> None:
    port = peers.free_port()
    anchor = tmp_path / "relay.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    client = certs.laptop() if "EXTERNAL" in mechanism else None
    transport = f"tls_verify_certificates = {anchor}\n  hosts_require_auth = *"
    text = daemons.laptop_configuration(tmp_path, port, client, exim_relay.port, transport)
    text += f"\nbegin authenticators\n\none:\n  {OURS[mechanism]}\n"
    with daemons.running(tmp_path, text, port) as laptop:
        subject = f"to Exim {mechanism}"
        assert laptop.sendmail("-i", "-f", SENDER, OUTSIDE, message=message(subject)).returncode == 0
        laptop.wait_for_log("Completed")
        assert " A=one" in laptop.log_text()
    peers.wait_until("it in Exim's maildir", lambda: any(subject.encode() in each for each in exim_relay.messages()))
    name = mechanism.split(",")[0].lower().removesuffix("-md5")
    whom = "laptop.test" if "EXTERNAL" in mechanism else USER
    assert f"logged in by {name} as {whom}" in exim_relay.log_text()


@pytest.mark.interop("exim")
def test_exim_knows_us_by_our_certificate_alone(tmp_path: Path) -> None:
    """Its driver tls: no AUTH is said."""
    block = "known:\n  driver = tls\n  server_param1 = ${certextract{subject,CN}{$tls_in_peercert}}\n"
    block += "  server_condition = ${if eq{$auth1}{laptop.test}}\n  server_set_id = $auth1\n"
    anybody = "accept authenticated = known"
    with exim.relay(
        server=certs.relay(), trusted=[certs.laptop()], authenticators=block, relaying=anybody
    ) as peer:
        port = peers.free_port()
        transport = "hosts_require_tls = *"
        text = daemons.laptop_configuration(tmp_path, port, certs.laptop(), peer.port, transport)
        with daemons.running(tmp_path, text, port) as laptop:
            laptop.sendmail("-i", "-f", SENDER, OUTSIDE, message=message("by certificate"))
            laptop.wait_for_log("Completed")
        assert "A=known:laptop.test" in peer.log_text()


# Postfix to us


@pytest.mark.interop("postfix")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
def test_postfix_logs_in(relay: Relay, mechanism: str, tmp_path: Path) -> None:
    if not list(Path("/usr/lib").glob("*/sasl2/libscram.so")):
        pytest.skip("Cyrus SASL has no modules here (make peers)")
    passwords = f"[127.0.0.1]:{relay.port} {USER}:{PASSWORD}"
    main = f"""
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{{ {{ {passwords.replace(" ", " = ", 1)} }} }}
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = {mechanism}
"""
    with postfix.client(relayhost=relay.port, client=None, server=certs.relay(), main=main) as client:
        client.submit(message(f"Postfix {mechanism}"), sender=SENDER, recipients=[OUTSIDE])
        peers.wait_until("Postfix's queue to be empty", lambda: client.waiting() == 0)
        assert "status=sent" in client.log_text(), client.log_text()
    relay.arrived(f"Postfix {mechanism}")
    assert f":{USER}" in relay.log_line(f"Postfix {mechanism}").split(" A=")[1]


# Those who speak for others


@pytest.mark.interop("haproxy")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_stands_between(relay: Relay, version: str, tmp_path: Path) -> None:
    """The client that we see is its client, not itself."""
    port = peers.free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        "global\n  maxconn 10\n"
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
        f"listen mail\n  bind 127.0.0.1:{port}\n"
        f"  server relay {foreign_relay.PROXY}:{relay.port} source {foreign_relay.PROXY} {version}\n"
    )
    command = [peers.PROGRAMS["haproxy"], "-db", "-f", configuration]
    with (
        peers.running(command, port=port, output=tmp_path / "output", logs=tmp_path / "none"),
        smtplib.SMTP("127.0.0.1", port, "laptop.test", source_address=("127.0.0.7", 0), timeout=30) as smtp,
    ):
        smtp.sendmail(SENDER, ["you@relay.test"], message(version).replace(b"\n", b"\r\n"))
    relay.arrived(version)
    assert "[127.0.0.7]" in relay.log_line(version)
