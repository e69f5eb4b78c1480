"""The limits of a server's session, and the counting against them (machine).

`ServerSettings` is what an operator sets; `Tally` counts what one client does wrong or does without sending
mail, and says when that is too much.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.esmtp.commands import COMMANDS, Command, Counting


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The limits of a session. Times in seconds, sizes in octets."""

    line_limit: int = 4096
    """Of a command with its CRLF; RFC 5321 4.5.3.1.4 asks for 512, extensions add to that."""
    auth_line_limit: int = 12288
    """Of a line of an AUTH exchange, and of any command where AUTH is offered. RFC 4954 4."""
    input_limit: int = 262144
    """More than this is not to be received while nothing is taken, see `Server.is_full`."""
    size_limit: int = 52428800
    """Exim: message_size_limit; 0 for none."""
    wasted_limit: int = 104857600
    """What is read of a message beyond its limit, to stay in step; after that the connection ends."""
    recipients_max: int = 1000
    """Exim: recipients_max; RFC 5321 4.5.3.1.8 asks for at least 100. 0 for no limit."""
    messages_max: int = 0
    """MAIL commands in one connection (Exim: smtp_accept_max_per_connection); 0 for no limit."""
    max_syntax_errors: int = 3
    """Exim: smtp_max_synprot_errors."""
    max_unknown: int = 3
    """Exim: smtp_max_unknown_commands."""
    max_nonmail: int = 10
    """Exim: smtp_accept_max_nonmail."""
    command_timeout: float = 300.0
    """For a whole command, from the reply before it: octets that trickle in do not prolong it."""
    data_timeout: float = 300.0
    """For the next `data_step` octets of a message, or its end. RFC 5321 4.5.3.2.5."""
    data_step: int = 1024
    """Fewer octets than this do not prolong the time of a message."""
    enforce_sync: bool = True
    """Exim: smtp_enforce_sync. Input that has not waited for a reply it must wait for ends the connection."""
    local: bool = False
    """A pipe or a terminal: LF ends a line, and there is nothing to synchronise."""
    host_name: str = ""
    """Ours, for replies that name us without a question before them (421); "" leaves it out."""
    helo_allow_chars: str = ""
    """Exim: helo_allow_chars."""
    helo_accept_junk: bool = False
    """Exim: helo_accept_junk_hosts, where this client is one of them."""
    helo_required: bool = True
    """Exim: hosts_require_helo, where this client is one of them."""
    remember_esmtp: bool = False
    """Exim: tls_remember_esmtp. MAIL with its parameters is obeyed after STARTTLS without a greeting before it."""
    domain_literals: bool = True
    """Addresses like `<user@[192.0.2.1]>` are taken (Exim: allow_domain_literals, which is off unless said)."""
    auth_unadvertised: bool = False
    """AUTH is obeyed where it was not offered (Exim: control = allow_auth_unadvertised)."""


FREE_ONCE = frozenset(verb for verb, each in COMMANDS.items() if each.counting is Counting.ONCE_A_MESSAGE)


class Tally:
    """What one client has used up."""

    def __init__(self) -> None:
        self._errors = 0
        self._unknown = 0
        self._nonmail = 0
        self._free = set(FREE_ONCE)

    def is_last_error(self, settings: ServerSettings) -> bool:
        """Counts a syntax or protocol error; True: it was one too many."""
        self._errors += 1
        return self._errors > settings.max_syntax_errors

    def is_last_unknown(self, settings: ServerSettings) -> bool:
        """Counts an unknown command; True: it was one too many."""
        self._unknown += 1
        return self._unknown > settings.max_unknown

    def is_last_nonmail(self, command: Command, settings: ServerSettings) -> bool:
        """Counts a command; True: it was one too many of those that carry no mail."""
        if command.counting is Counting.MAIL:
            return False
        if command.verb in self._free:
            self._free.discard(command.verb)
            return False
        return self.is_last_idle(settings)

    def is_last_idle(self, settings: ServerSettings) -> bool:
        """The same for something that carries no mail, whatever its verb."""
        self._nonmail += 1
        return self._nonmail > settings.max_nonmail

    def message_ended(self) -> None:
        """RSET, a greeting and STARTTLS are free once for each message, as with Exim."""
        self._free = set(FREE_ONCE)

    def layer_changed(self) -> None:
        """A greeting and an AUTH in a new layer are not counted, as with Exim."""
        self._free |= {"EHLO", "HELO", "AUTH"}
