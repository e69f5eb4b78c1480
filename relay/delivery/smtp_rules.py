"""The options of one smtp transport, compiled (values).

Names and meaning: Exim, chapter "The smtp transport". Lists of hosts are held against the host that is dialled; where a
list is None, the option is not set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.delivery.filtering import FilterRules
from relay.delivery.link import Timeouts
from relay.delivery.remote_copy import CopyRules
from relay.expand.evaluate import Expansion
from relay.expand.lists import ListKind, MatchList, compile_list
from relay.policy.authenticators import AuthRules
from relay.policy.tls import ClientTLSRules

EVERY_HOST = compile_list(ListKind.HOST, "*")
EVERY_DOMAIN = compile_list(ListKind.DOMAIN, "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """Where to, and in which order."""

    hosts: Expansion | None = None
    """For addresses that were routed without hosts."""
    override: bool = False
    """`hosts` holds for all addresses."""
    fallback: Expansion | None = None
    """Tried after all others were in vain (Exim: fallback_hosts)."""
    dnssec_request: MatchList | None = EVERY_DOMAIN
    """Which of them the DNS is asked about, and whether it has validated what it says."""
    dnssec_require: MatchList | None = None
    """Those that only signed records lead to."""
    by_name: bool = False
    """The system is asked for their addresses, not the DNS (Exim: gethostbyname)."""
    qualify_single: bool = True
    """A name of one label gets the default domain (Exim: dns_qualify_single)."""
    search_parents: bool = False
    """The domains of the search list are tried (Exim: dns_search_parents)."""
    randomize: bool = False
    allow_localhost: bool = False
    max_try: int = 5
    """Addresses that are tried and fail, in one delivery."""
    max_try_hardlimit: int = 50
    """Addresses that are looked at, in one delivery."""
    include_address: bool = True
    """What is remembered of failures is remembered of addresses, not of hosts (Exim: retry_include_ip_address)."""
    delay_after_cutoff: bool = True
    """A host that has failed for too long is left alone until its next time, for new messages too."""
    serialize: MatchList | None = None
    """Hosts that get one connection at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassingRules:
    """What becomes of a connection when its message is through and another one waits for that host."""

    max_messages: int = 500
    """Messages in one connection, 0: no limit (Exim: connection_max_messages)."""
    no_pass: MatchList | None = None
    """Hosts whose connections are not passed on once they had TLS (Exim: hosts_nopass_tls)."""
    new_handshake: MatchList | None = EVERY_HOST
    """Hosts with which each message has its own TLS session; with the others TLS stays up (Exim: hosts_noproxy_tls,
    whose default is empty)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRules:
    """AUTH with the servers (Exim: hosts_require_auth, hosts_try_auth, authenticated_sender)."""

    rules: AuthRules = field(default_factory=AuthRules)
    require: MatchList | None = None
    try_: MatchList | None = None
    sender: Expansion | None = None
    sender_force: bool = False


@dataclass(frozen=True, slots=True)
class SMTPRules:
    """The options of one smtp transport, compiled."""

    name: str
    tls: ClientTLSRules = field(default_factory=ClientTLSRules)
    helo_data: Expansion | None = None
    port: int = 0
    """0: the port of the protocol."""
    port_text: Expansion | None = None
    """The port, where only the delivery shows which."""
    max_rcpt: int = 100
    timeouts: Timeouts = field(default_factory=Timeouts)
    lmtp: bool = False
    hosts: HostRules = field(default_factory=HostRules)
    passing: PassingRules = field(default_factory=PassingRules)
    login: LoginRules = field(default_factory=LoginRules)
    interface: Expansion | None = None
    multi_domain: bool = True
    """Recipients of several domains may share a transaction."""
    size_addition: int = 1024
    """Octets more than the message has, said to servers with SIZE; negative: SIZE is not said."""
    lmtp_ignore_quota: bool = False
    keepalive: bool = True
    includes_affixes: bool = False
    """Servers get to see the prefix and the suffix of a local part (Exim: rcpt_include_affixes)."""
    avoid_esmtp: MatchList | None = None
    avoid_pipelining: MatchList | None = None
    verify_avoid_tls: MatchList | None = None
    """Hosts that callouts ask in clear, unless TLS is a must (Exim: hosts_verify_avoid_tls)."""
    try_chunking: MatchList | None = EVERY_HOST
    try_prdr: MatchList | None = EVERY_HOST
    downconvert: Expansion | None = None
    """Whether domains outside US-ASCII go out in ASCII: 1, 0, or -1 where the server wants it (Exim:
    utf8_downconvert)."""
    host_name_extract: Expansion | None = None
    """What a server calls itself in its greeting, so that sessions are resumed with the right one of several."""
    resumption_hosts: MatchList | None = None
    """Hosts whose TLS sessions are resumed (Exim: tls_resumption_hosts)."""
    copy: CopyRules = field(default_factory=CopyRules)
    filter: FilterRules | None = None
    """What the message goes through first; it is then not sent in chunks, since its size is not known (Exim:
    transport_filter)."""
