"""The TLS contexts of a running daemon: kept, made when they are asked for, their troubles told (edge).

Files are looked at when a client needs them (`tls.contexts`); what is wrong with them goes to the log and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.mail.events import DaemonNote, TLSFileUnusable
from relay.mail.ports import Clock, Journal
from relay.policy.tls import ServerTLSRules
from relay.tls.contexts import FileTrouble, ServerContexts, TLSContext
from relay.tls.files import TLSFileError
from relay.tls.identity import from_pem
from relay.tls.names import read_certificate
from relay.tls.parameters import ParameterCache
from relay.tls.policy import ServerTLS

_NO_CERTIFICATE = DaemonNote(
    "Warning: No server certificate defined; will use a selfsigned one.",
    advice="Suggested action: either install a certificate or change tls_advertise_hosts option",
)


class CachedContexts:
    """The `TLSContexts` port: contexts are made here when they are not there yet. Told of files that can't be used."""

    def __init__(self, clock: Clock, journal: Journal, spool_directory: str) -> None:
        self._cache = ServerContexts(ParameterCache(spool_directory), self._tell)
        self._clock = clock
        self._journal = journal

    def _tell(self, trouble: FileTrouble) -> None:
        self._journal.record(TLSFileUnusable(str(trouble.fault), trouble.consequence))

    async def server(self, policy: ServerTLS) -> TLSContext:
        """Raises TLSFileError, BadCipherList."""
        return self._cache.get(policy, self._clock.now())

    def start(self, rules: ServerTLSRules, *, on_connect: bool = False) -> None:
        """Makes the certificate of a set-up that names none, and says what it is known by to who wants to pin it.

        `on_connect`: a port begins with TLS, whatever the rules say.
        """
        lists = (rules.advertise_hosts, rules.hosts)
        is_offered = any(hosts is not None and not hosts.is_empty for hosts in lists)
        if rules.certificate is not None or not (on_connect or rules.on_connect_ports or is_offered):
            return
        try:
            made = self._cache.make_self_signed(rules.host_name, self._clock.now())
        except TLSFileError as error:
            self._journal.record(TLSFileUnusable(str(error), "clients that ask for TLS are told that there is none"))
            return
        if is_offered:
            self._journal.record(_NO_CERTIFICATE)
        shown = read_certificate(made.chain[0])
        what = f"a self-signed one is made for {rules.host_name} until the daemon stops"
        note = f"tls_certificate is not set: {what}: FP={shown.fingerprint} KEY={shown.key_digest}"
        self._journal.record(DaemonNote(note, "configuration_notes"))

    def adopt(self, self_signed: Mapping[str, str]) -> None:
        """Certificates that the parent of this process has made, by host name: all its workers show the same one."""
        for name, pem in self_signed.items():
            self._cache.adopt_self_signed(name, from_pem(pem))

    def stop(self) -> None:
        """Ends what is being made in the background."""
        self._cache.stop()
