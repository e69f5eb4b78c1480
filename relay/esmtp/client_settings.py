"""How a client machine is to talk: limits, times, what to use of what is offered (values)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.mail.outcome import RemoteHost


class Protocol(enum.Enum):
    """What is spoken (Exim: protocol, an option of the smtp transport)."""

    SMTP = "smtp"
    LMTP = "lmtp"


class ALabels(enum.Enum):
    """When a domain outside US-ASCII goes out in ASCII, RFC 5890 2.3.2.1. The values are those of Exim:
    utf8_downconvert."""

    NEVER = 0
    ALWAYS = 1
    WHERE_NEEDED = -1
    """To a server that does not offer SMTPUTF8."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to talk. Times in seconds, each for one reply as a whole. RFC 5321 4.5.3.2."""

    name: str
    """What EHLO says (Exim: helo_data)."""
    protocol: Protocol = Protocol.SMTP
    host: RemoteHost | None = None
    """Goes into the outcomes."""
    extended: bool = True
    """False: the greeting is HELO (Exim: hosts_avoid_esmtp)."""
    pipelining: bool = True
    """False: one command at a time, whatever is offered (Exim: hosts_avoid_pipelining)."""
    chunking: bool = False
    """True: messages go by BDAT where CHUNKING and PIPELINING are offered (Exim: hosts_try_chunking). Binary ones do
    in any case."""
    chunk_size: int = 65536
    prdr: bool = False
    """True: several recipients each have a reply of their own where PRDR is offered (Exim: hosts_try_prdr)."""
    a_labels: ALabels = ALabels.WHERE_NEEDED
    line_limit: int = 4096
    auth_line_limit: int = 12296
    """Of a reply to AUTH, RFC 4954 4."""
    reply_lines: int = 200
    command_timeout: float = 300.0
    data_timeout: float = 300.0
    """Between two pieces of the body."""
    final_timeout: float = 600.0
    """For the reply to the final dot."""

    def hello(self, extended: bool) -> str:
        """The greeting."""
        verb = "LHLO" if self.protocol is Protocol.LMTP else "EHLO" if extended else "HELO"
        return f"{verb} {self.name}"
