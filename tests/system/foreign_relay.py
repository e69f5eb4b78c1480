"""A relay that lets clients in by every way that it has: certificate, each mechanism of AUTH, PROXY header, XCLIENT.

    with foreign_relay.running(directory) as relay:
        relay.port, relay.tls_port          # STARTTLS, TLS on connect
        relay.arrived("a subject")          # the message, as soon as it is there

Who may relay is anna with PASSWORD by any mechanism, and the laptop by its certificate. Connections from PROXY begin
with a PROXY header, those from XCLIENT may say for whom they speak, those from LATE are greeted a second late.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import daemons

import certs
from interop import peers

USER, PASSWORD = "anna", "correct horse"
SENDER, OUTSIDE, INSIDE = "anna@relay.test", "you@example.org", "you@relay.test"
PROXY, XCLIENT, LATE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@dataclass(frozen=True, slots=True)
class Relay:
    """The daemon, and the files that its clients need."""

    daemon: daemons.Daemon
    port: int
    tls_port: int
    anchor: Path
    certificate: Path
    key: Path

    def arrived(self, subject: str, number: int = 1) -> bytes:
        """The message with this subject; there are `number` of them, and no more."""
        line = f"Subject: {subject}\n".encode()

        def found() -> list[bytes]:
            return [each for each in self.daemon.messages() if line in each]

        peers.wait_until(f"{subject!r} in the maildir:\n{self.daemon.log_text()}", lambda: len(found()) >= number)
        assert len(found()) == number
        return found()[0]

    def log_line(self, subject: str) -> str:
        """The line of its reception."""
        peers.wait_until("the line of its reception", lambda: self._log_lines(subject))
        (line,) = self._log_lines(subject)
        return line

    def _log_lines(self, subject: str) -> list[str]:
        return [each for each in self.daemon.log_text().splitlines() if f'T="{subject}"' in each]


@contextlib.contextmanager
def running(directory: Path, main: str = "") -> Iterator[Relay]:
    certificate, key = certs.laptop().write(directory, "laptop")
    port, tls_port = peers.free_port(), peers.free_port()
    text = _configuration(directory, port, tls_port, main)
    with daemons.running(directory, text, port) as daemon:
        yield Relay(daemon, port, tls_port, directory / "server.crt", certificate, key)


def _configuration(directory: Path, port: int, tls_port: int, main: str) -> str:
    certificate, key = certs.relay().write(directory, "server")
    secret = f"${{if eq{{$auth1}}{{{USER}}}{{{PASSWORD}}}fail}}"
    return f"""
primary_hostname = relay.test
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
local_interfaces = <; 127.0.0.1 ; [127.0.0.1]:{tls_port} ; {PROXY} ; {XCLIENT}
daemon_smtp_ports = {port}
tls_on_connect_ports = {tls_port}
log_selector = +smtp_connection +tls_peerdn +subject +received_recipients +proxy +pipelining +fingerpost
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
tls_try_verify_hosts = *
tls_verify_certificates = {directory}/laptop.crt
auth_over_tls_hosts = !127.0.0.9
dsn_advertise_hosts = *
helo_accept_junk_hosts = *
hosts_proxy = {PROXY}
hosts_xclient = {XCLIENT}
recipients_max = 5000
trusted_users = root
acl_smtp_connect = connect
acl_smtp_rcpt = rcpt
{main}

begin acl

connect:
    accept  hosts         = {LATE}
            delay         = 1s
    accept

rcpt:
    accept  domains       = relay.test
    accept  authenticated = *
    accept  verify        = certificate
    deny    message       = relay not permitted

begin routers

everything:
  driver = accept
  transport = maildir

begin transports

maildir:
  driver = appendfile
  directory = {directory}/mail
  maildir_format
  envelope_to_add
  return_path_add

begin authenticators

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
  server_secret = {secret}
  server_set_id = $auth1

external:
  driver = external
  public_name = EXTERNAL
  server_param2 = ${{certextract{{subject,CN}}{{$tls_in_peercert}}}}
  server_condition = ${{if and{{{{bool{{$tls_in_certificate_verified}}}}{{inlist{{$auth1}}{{:$auth2}}}}}}}}
  server_set_id = $auth2

scram:
  driver = gsasl
  public_name = SCRAM-SHA-256
  server_mech = SCRAM-SHA-256
  server_password = {secret}
  server_condition = true
  server_set_id = $auth1

scram_plus:
  driver = gsasl
  public_name = SCRAM-SHA-256-PLUS
  server_mech = SCRAM-SHA-256-PLUS
  server_password = {secret}
  server_condition = true
  server_set_id = $auth1
"""
