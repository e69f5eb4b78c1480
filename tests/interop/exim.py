"""Real Exim on both sides: as the relay that trusts fingerprints, and as the laptop with a smarthost.

    with exim.relay(server=certs.relay(), trusted=[certs.laptop()]) as peer:
        ...  # peer.port, peer.messages(), peer.log

    with exim.laptop(smarthost=port, client=certs.laptop(), server=certs.relay()) as peer:
        peer.submit(b"From: <me@laptop.test>...", sender="me@laptop.test", recipients=["you@example.org"])
        peer.run_queue()

Debian's Exim is built with GnuTLS. Started with -C it keeps root, which it needs to deliver as another user,
only if the file is named in /etc/exim4/trusted_configs; our line there goes when the server goes.
"""

import contextlib
import fcntl
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from certs import CertKey
from interop import peers

TRUSTED_CONFIGS = Path("/etc/exim4/trusted_configs")
USER = "Debian-exim"
LOG_SELECTOR = (
    "+all_parents +smtp_connection +smtp_protocol_error +smtp_syntax_error +smtp_confirmation +tls_cipher "
    "+tls_certificate_verified +tls_peerdn +tls_sni +received_recipients +incoming_port +outgoing_port"
)


def missing() -> str:
    return peers.missing("exim")


def available() -> bool:
    return not missing()


@dataclass(frozen=True, slots=True)
class Relay:
    """An Exim that listens on `port` of the loopback address; what it accepts goes into `maildir`."""

    port: int
    config: Path
    log: Path
    maildir: Path

    def messages(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.maildir.glob("new/*"))]

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass(frozen=True, slots=True)
class Laptop:
    """An Exim that listens nowhere; it queues what it is given and sends it all to its smarthost."""

    config: Path
    log: Path

    def submit(self, message: bytes, *, sender: str, recipients: Sequence[str]) -> None:
        """Into the queue; no delivery is tried yet."""
        self._exim("-odq", "-oi", "-f", sender, *recipients, stdin=message)

    def talk(self, octets: bytes) -> str:
        """SMTP on its standard input, as it is; what it says. Messages are queued only."""
        return self._exim("-odq", "-bs", stdin=octets)

    def run_queue(self) -> None:
        """One run over all messages in two phases, so that a connection can be passed on to the next one."""
        self._exim("-qqff")
        # What goes over a passed-on connection is done by processes that outlive the queue run.
        peers.wait_until("Exim to finish its deliveries", lambda: not peers.processes_with(str(self.config)))

    def waiting(self) -> int:
        """How many messages are in the queue."""
        return int(self._exim("-bpc"))

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _exim(self, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            [peers.EXIM, "-C", self.config, *arguments],
            input=stdin,
            capture_output=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"exim {arguments}: {done.returncode}\n{done.stderr.decode(errors='replace')}"
        return done.stdout.decode(errors="replace")


@contextlib.contextmanager
def relay(
    *,
    server: CertKey,
    trusted: Sequence[CertKey],
    main: str = "",
    tls_require_ciphers: str = "",
    relaying: str = "",
    authenticators: str = "",
) -> Iterator[Relay]:
    """Relays for clients whose certificate verifies and whose fingerprint is listed, and for nobody else.

    `main` holds further lines for the main section, `relaying` statements of the ACL for RCPT that come first,
    `authenticators` the blocks of their section; `tls_require_ciphers` is a GnuTLS priority string, such
    as NORMAL:-VERS-TLS1.3.
    """
    with peers.directory("exim-relay") as directory:
        certificate, key = _readable(server, directory, "server")
        anchors = directory / "trusted.crt"
        anchors.write_bytes(b"".join(each.cert_pem for each in trusted))
        maildir = peers.make_directory(directory / "mail", peers.MAIL_USER) / "Maildir"
        port = peers.free_port()
        config = write_config(
            directory,
            f"""
RELAY_FROM_CERTS = {" : ".join(each.fingerprint for each in trusted)}
primary_hostname = relay.test
qualify_domain = relay.test
local_interfaces = {peers.HOST}
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
tls_try_verify_hosts = *
tls_verify_certificates = {anchors}
{f"tls_require_ciphers = {tls_require_ciphers}" if tls_require_ciphers else ""}
acl_smtp_rcpt = may_relay
acl_smtp_data = accept
{main}

begin acl

may_relay:
  {relaying}
  accept
    encrypted = *
    verify = certificate
    condition = ${{if inlist{{${{sha256:$tls_in_peercert}}}}{{RELAY_FROM_CERTS}}}}
    logwrite = trusted $tls_in_peerdn ${{sha256:$tls_in_peercert}}
  deny
    message = relay not permitted
    log_message = relay not permitted to ${{if def:tls_in_peercert{{${{sha256:$tls_in_peercert}}}}{{nobody}}}}

begin routers

everything:
  driver = accept
  transport = maildir

begin transports

maildir:
  driver = appendfile
  directory = {maildir}
  maildir_format
  create_directory
  user = {peers.MAIL_USER}
  group = {peers.MAIL_USER}
  envelope_to_add
  return_path_add

begin authenticators

{authenticators}
""",
        )
        with (
            trusted_config(config),
            peers.running(
                [peers.EXIM, "-bdf", "-q1m", "-C", config],
                port=port,
                output=directory / "output",
                logs=directory / "log",
            ),
        ):
            yield Relay(port, config, directory / "log" / "mainlog", maildir)


@contextlib.contextmanager
def laptop(
    *,
    smarthost: int,
    client: CertKey | None,
    server: CertKey,
    transport: str = "",
    close_tls_between_messages: bool = True,
    authenticators: str = "",
) -> Iterator[Laptop]:
    """Sends everything to the loopback port `smarthost`, only over TLS and only to `server`.

    `client` is the certificate to show (None: none). Between two messages of one connection Exim shuts TLS
    down and makes it anew, or else keeps it up in a process of its own. `transport` holds further options,
    `authenticators` the blocks of that section.
    """
    with peers.directory("exim-laptop") as directory:
        shown = ""
        if client:
            certificate, key = _readable(client, directory, "client")
            shown = f"tls_certificate = {certificate}\n  tls_privatekey = {key}"
        anchor = directory / "relay.crt"
        anchor.write_bytes(server.cert_pem)
        config = write_config(
            directory,
            f"""
primary_hostname = laptop.test
qualify_domain = laptop.test
tls_advertise_hosts =
trusted_users = root
acl_smtp_rcpt = accept
queue_run_max = 1
remote_max_parallel = 1

begin routers

smarthost:
  driver = manualroute
  transport = to_smarthost
  route_list = * {peers.HOST} byname
  self = send

begin transports

to_smarthost:
  driver = smtp
  allow_localhost
  port = {smarthost}
  {shown}
  hosts_require_tls = *
  tls_verify_certificates = {anchor}
  tls_verify_hosts = *
  tls_verify_cert_hostnames = :
  {"hosts_noproxy_tls = *" if close_tls_between_messages else ""}
  {transport}

begin retry

* * F,1h,1s

begin authenticators

{authenticators}
""",
        )
        with trusted_config(config):
            yield Laptop(config, directory / "log" / "mainlog")


def write_config(directory: Path, sections: str) -> Path:
    """A configuration with its spool and its logs below `directory`."""
    for name in ("spool", "log"):
        peers.make_directory(directory / name, USER)
    config = directory / "exim.conf"
    config.write_text(
        f"""
exim_path = {peers.EXIM}
exim_user = {USER}
exim_group = {USER}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/daemon.pid
never_users =
host_lookup =
rfc1413_hosts =
keep_environment =
local_from_check = false
log_selector = {LOG_SELECTOR}
{sections}
"""
    )
    config.chmod(0o644)
    return config


def _readable(pair: CertKey, directory: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key where Exim's user, who does the handshakes, can read them."""
    certificate, key = pair.write(directory, name)
    key.chmod(0o644)
    return certificate, key


@contextlib.contextmanager
def trusted_config(config: Path) -> Iterator[None]:
    _edit_trusted(add=str(config))
    try:
        yield
    finally:
        _edit_trusted(remove=str(config))


def _edit_trusted(*, add: str = "", remove: str = "") -> None:
    """Under a lock: tests may run side by side."""
    TRUSTED_CONFIGS.parent.mkdir(exist_ok=True)
    with TRUSTED_CONFIGS.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        lines = [line for line in file.read().splitlines() if line and line != remove]
        file.seek(0)
        file.truncate()
        file.write("".join(f"{line}\n" for line in [*lines, *([add] if add else [])]))
