"""Our daemon as a child process, on ports of the loopback address, with its files in a directory of the test.

    with daemons.running(directory, configuration) as daemon:
        ...  # daemon.log_text(), daemon.sendmail(...), daemon.queue()

`relay_configuration` and `laptop_configuration` write what most tests need: the relay ACL of the well-known wiki page
on one side, its laptop lines on the other.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nursery
from certs import CertKey
from interop import peers

_STARTED = "daemon started"
"""What it logs when its ports and its queue are open."""


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

    def wait_for_log(self, text: str, seconds: float = 20.0, *, log: str = "main", times: int = 1) -> None:
        """Until the text is in that log, so many times. Lines of several logs are in the main log first."""

        def is_there() -> bool:
            return self.log_text(log).count(text) >= times

        try:
            peers.wait_until(f"{text!r} in the {log} log", is_there, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_text(log)}") from None

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
        """How many messages are in the queue: `relay-sendmail -bpc`."""
        return int(nursery.run("relay.cli.sendmail", ["-C", str(self.configuration), "-bpc"]).stdout)


@contextlib.contextmanager
def running(
    directory: Path,
    configuration: str,
    port: int,
    network: str = "",
    environment: Mapping[str, str] | None = None,
    *,
    from_scratch: bool = False,
) -> Iterator[Daemon]:
    """Runs a daemon for as long as the block; it has started when the block begins, and nobody has connected to it.

    `network` names the network namespace that it is to run in, where it is not the test's own. `environment` is added
    to the test's own. `from_scratch`: an interpreter of its own, as an operator starts it; who measures wants that.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("spool", "log"):
        (directory / name).mkdir(exist_ok=True)
    path = directory / "fingerpost.conf"
    path.write_text(configuration)
    daemon = Daemon(directory, path, port)
    before = daemon.log_text().count(_STARTED)
    with (directory / "output").open("ab") as output:
        if from_scratch or network or environment:
            # Into another network or under another clock goes only a program from its very beginning.
            process = peers.begin(_command(path, network, environment or {}), output)
        else:
            process = nursery.start("relay", _words(path), output=output)
    with peers.supervised(process):
        # Its own word: to look whether somebody listens would be a client more, which it counts and logs.
        peers.wait_for_start(
            process,
            lambda: daemon.log_text().count(_STARTED) > before,
            [directory / "output", *sorted(directory.glob("log/*"))],
        )
        yield daemon


def _words(configuration: Path) -> list[str]:
    return ["run", "-C", str(configuration)]


def _command(configuration: Path, network: str, environment: Mapping[str, str]) -> list[str]:
    command = [sys.executable, "-m", "relay", *_words(configuration)]
    if environment:
        command = ["env", *(f"{name}={value}" for name, value in environment.items()), *command]
    if network:
        command = ["ip", "netns", "exec", network, *command]
    return command


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
