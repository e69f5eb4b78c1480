"""Real Postfix on both sides: as the relay that trusts fingerprints, and as a client with a relayhost.

    with postfix.relay(server=certs.relay(), trusted=[certs.laptop()]) as peer:
        ...  # peer.port, peer.messages(), peer.log

    with postfix.client(relayhost=port, client=certs.laptop(), server=certs.relay()) as peer:
        peer.submit(message, sender="me@laptop.test", recipients=["you@example.org"])

Each is an instance of its own with its own queue; `master` stays in the foreground as our child.
"""

import contextlib
import grp
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from certs import CertKey
from interop import peers

ROOT = peers.PEERS / "postfix"
USER = "postfix"
DROP_GROUP = "postdrop"

# name, type, private, unprivileged, wakeup, limit, program: services that every instance needs. None is in a
# chroot, which would have to be filled first.
SERVICES = """
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
tlsproxy unix - - n - 0 tlsproxy
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str:
    return peers.missing("postfix")


def available() -> bool:
    return not missing()


@dataclass(frozen=True, slots=True)
class Relay:
    """A Postfix that listens on `port` of the loopback address; what it accepts goes into `maildir`."""

    port: int
    config: Path
    log: Path
    maildir: Path

    def messages(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.maildir.glob("new/*"))]

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class Client:
    """A Postfix that sends all that it is given to its relayhost. `port` is its own listener, for tests."""

    port: int
    config: Path
    log: Path

    def submit(self, message: bytes, *, sender: str, recipients: Sequence[str]) -> None:
        """Queued, and at once on its way."""
        self._command("sendmail", "-i", "-f", sender, *recipients, stdin=message)

    def flush(self) -> None:
        """Tries at once whatever is deferred."""
        self._command("postqueue", "-f")

    def waiting(self) -> int:
        """How many messages are in the queue."""
        return len(self._command("postqueue", "-j").splitlines())

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def _command(self, name: str, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            [ROOT / "usr/sbin" / name, *arguments],
            input=stdin,
            env={"MAIL_CONFIG": str(self.config.parent), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.returncode}\n{done.stderr.decode(errors='replace')}"
        return done.stdout.decode(errors="replace")


@contextlib.contextmanager
def relay(*, server: CertKey, trusted: Sequence[CertKey], main: str = "") -> Iterator[Relay]:
    """Relays for clients whose certificate's fingerprint is listed, and for nobody else.

    `main` holds further lines of main.cf.
    """
    with peers.directory("postfix-relay") as directory:
        certificate, key = server.write(directory, "server")
        mail = peers.make_directory(directory / "mail", peers.MAIL_USER)
        listed = directory / "relay_clientcerts"
        listed.write_text("".join(f"{each.fingerprint_with_colons} trusted\n" for each in trusted))
        everything = directory / "everything"
        everything.write_text("/./ ok\n")
        user = pwd.getpwnam(peers.MAIL_USER)
        port = peers.free_port()
        config = _write_config(
            directory,
            port,
            f"""
myhostname = relay.test
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_ask_ccert = yes
smtpd_tls_fingerprint_digest = sha256
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
relay_clientcerts = texthash:{listed}
smtpd_relay_restrictions = permit_tls_clientcerts, reject
smtpd_recipient_restrictions =
virtual_mailbox_domains = regexp:{everything}
virtual_mailbox_maps = static:Maildir/
virtual_mailbox_base = {mail}
virtual_mailbox_limit = 0
virtual_uid_maps = static:{user.pw_uid}
virtual_gid_maps = static:{user.pw_gid}
{main}
""",
        )
        with _running(directory, config, port):
            yield Relay(port, config, _log(directory), mail / "Maildir")


@contextlib.contextmanager
def client(*, relayhost: int, client: CertKey | None, server: CertKey, main: str = "") -> Iterator[Client]:
    """Sends everything to the loopback port `relayhost`, only over TLS and only to `server`.

    `client` is the certificate to show (None: none). `main` holds further lines of main.cf.
    """
    with peers.directory("postfix-client") as directory:
        shown = ""
        if client:
            certificate, key = client.write(directory, "client")
            shown = f"smtp_tls_cert_file = {certificate}\nsmtp_tls_key_file = {key}"
        port = peers.free_port()
        config = _write_config(
            directory,
            port,
            f"""
myhostname = laptop.test
relayhost = [{peers.HOST}]:{relayhost}
smtp_host_lookup = native
smtp_tls_security_level = fingerprint
smtp_tls_fingerprint_digest = sha256
smtp_tls_fingerprint_cert_match = {server.fingerprint_with_colons}
smtp_tls_loglevel = 1
{shown}
smtpd_relay_restrictions = reject
minimal_backoff_time = 1s
queue_run_delay = 1s
{main}
""",
        )
        with _running(directory, config, port):
            yield Client(port, config, _log(directory))


def _log(directory: Path) -> Path:
    return directory / "log" / "mail.log"


def _write_config(directory: Path, port: int, lines: str) -> Path:
    etc, queue = directory / "etc", directory / "queue"
    for path in (etc, queue, directory / "log"):
        path.mkdir()
    _log(directory).touch()
    for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private"):
        peers.make_directory(queue / name, USER, "root", 0o700)
    for name in ("saved", "trace"):
        peers.make_directory(queue / name, USER, "root", 0o700)
    peers.make_directory(queue / "pid", "root")
    peers.make_directory(queue / "public", USER, DROP_GROUP, 0o710)
    peers.make_directory(queue / "maildrop", USER, DROP_GROUP, 0o730)
    peers.make_directory(directory / "data", USER, mode=0o700)
    shutil.copy(ROOT / "usr/share/postfix/dynamicmaps.cf", etc)
    (etc / "main.cf").write_text(
        f"""
compatibility_level = 3.6
command_directory = {ROOT}/usr/sbin
daemon_directory = {ROOT}/usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = {etc}
sendmail_path = {ROOT}/usr/sbin/sendmail
mailq_path = {ROOT}/usr/sbin/sendmail
newaliases_path = {ROOT}/usr/sbin/sendmail
queue_directory = {queue}
data_directory = {directory}/data
mail_owner = {USER}
setgid_group = {DROP_GROUP}
maillog_file = {_log(directory)}
maillog_file_prefixes = {directory}
multi_instance_name = fingerpost
inet_interfaces = {peers.HOST}
inet_protocols = ipv4
disable_dns_lookups = yes
mydestination =
mynetworks =
alias_maps =
alias_database =
local_recipient_maps =
notify_classes =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
{lines}
"""
    )
    (etc / "master.cf").write_text(f"{peers.HOST}:{port} inet n - n - - smtpd\n{SERVICES}")
    return etc / "main.cf"


@contextlib.contextmanager
def _running(directory: Path, config: Path, port: int) -> Iterator[None]:
    grp.getgrnam(DROP_GROUP)  # KeyError here says more than Postfix would
    command = [ROOT / "usr/lib/postfix/sbin/master", "-c", config.parent, "-d"]
    with peers.running(command, port=port, output=directory / "output", logs=directory / "log"):
        yield
