"""Our daemon as a child process, on ports of the loopback address, with its files in a directory of the test.

    with daemons.running(directory, configuration) as daemon:
        ...  # daemon.log_text(), daemon.sendmail(...), daemon.queue()

`relay_configuration` and `laptop_configuration` write what most tests need: the relay ACL of the well-known wiki page
on one side, its laptop lines on the other.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from certs import CertKey
from interop import peers


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon; `port` is its plain SMTP port."""

    directory: Path
    configuration: Path
    port: int

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    @property
    def maildir(self) -> Path:
        return self.directory / "mail"

    def messages(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.maildir.glob("new/*"))]

    def log_text(self, name: str = "main") -> str:
        path = self.directory / "log" / f"{name}log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_log(self, text: str, seconds: float = 20.0) -> None:
        peers.wait_until(f"{text!r} in the log:\n{self.log_text()}", lambda: text in self.log_text(), seconds)

    def sendmail(self, *arguments: str, message: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """`relay-sendmail -C ...` as a program would call it."""
        return subprocess.run(
            [sys.executable, "-m", "relay.cli.sendmail", "-C", str(self.configuration), *arguments],
            input=message,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def pid(self) -> int:
        """Of the daemon; of the parent where there are several processes."""
        return int((self.spool / "daemon.pid").read_text())

    def workers(self) -> set[int]:
        """The processes whose parent is the daemon, courier left out."""
        parent = self.pid()
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                number, rest = path.read_text().split(" ", 1)
                if int(rest.rsplit(")", 1)[1].split()[1]) == parent:
                    found.add(int(number))
        return found

    def waiting(self) -> int:
        """How many messages are in the queue."""
        return int(self.sendmail("-bpc").stdout)


@contextlib.contextmanager
def running(directory: Path, configuration: str, port: int) -> Iterator[Daemon]:
    """Runs a daemon for as long as the block; it listens on `port` when the block begins."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("spool", "log"):
        (directory / name).mkdir(exist_ok=True)
    path = directory / "fingerpost.conf"
    path.write_text(configuration)
    command = [sys.executable, "-m", "relay", "run", "-C", str(path)]
    with peers.running(command, port=port, output=directory / "output", logs=directory / "log"):
        daemon = Daemon(directory, path, port)
        # The port is open a moment before the queue is; who connects meanwhile waits for the greeting.
        peers.wait_until("the daemon's own word that it has started", lambda: "daemon started" in daemon.log_text())
        yield daemon


def head(directory: Path, port: int, hostname: str) -> str:
    """The lines that every configuration begins with."""
    return f"""
primary_hostname = {hostname}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
log_selector = +smtp_connection +tls_peerdn +outgoing_port +fingerpost
enhanced_status_advertise_hosts = *
binarymime_advertise_hosts = *
"""


def relay_configuration(
    directory: Path, port: int, server: CertKey, known: Sequence[CertKey], *, trusted: Sequence[CertKey], main: str = ""
) -> str:
    """A relay: `known` certificates verify, those of them in `trusted` may relay, everybody reaches relay.test."""
    certificate, key = server.write(directory, "server")
    anchors = directory / "anchors"
    anchors.mkdir(exist_ok=True)
    for number, each in enumerate(known):
        (anchors / f"{number}.pem").write_bytes(each.cert_pem)
    return f"""
RELAY_FROM_CERTS = {" : ".join(each.fingerprint for each in trusted)}
{head(directory, port, "relay.test")}
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
tls_try_verify_hosts = *
tls_verify_certificates = {anchors}
acl_smtp_rcpt = acl_check_rcpt
{main}

begin acl

acl_check_rcpt:
    accept  domains       = relay.test

    accept  verify        = certificate
            condition     = ${{if inlist{{${{sha256:$tls_in_peercert}}}}{{RELAY_FROM_CERTS}}}}
            control       = submission
            control       = dkim_disable_verify

    warn    verify        = certificate
            condition     = ${{if !inlist{{${{sha256:$tls_in_peercert}}}}{{RELAY_FROM_CERTS}}}}
            logwrite      = Attempt to relay from a certificate which has not been explicitly allowed: \\
                            ${{sha256:$tls_in_peercert}}

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

begin retry
* * F,1h,1m
"""


def laptop_configuration(
    directory: Path, port: int, client: CertKey | None, smarthost: int, transport: str, host: str = "127.0.0.1"
) -> str:
    """A laptop that hands everything to a port of the loopback address; `transport` holds the TLS lines."""
    shown = ""
    if client is not None:
        certificate, key = client.write(directory, "client")
        shown = f"tls_certificate = {certificate}\n  tls_privatekey = {key}"
    return f"""
{head(directory, port, "laptop.test")}
tls_advertise_hosts =
acl_smtp_rcpt = acl_check_rcpt

begin acl

acl_check_rcpt:
    accept hosts = 127.0.0.1

begin routers

smarthost:
  driver = manualroute
  transport = to_relay
  route_list = * {host}::{smarthost}
  self = send

begin transports

to_relay:
  driver = smtp
  {shown}
  {transport}

begin retry
* * F,1h,1m
"""
