"""SMTP replies: the value, and each reply that we give, named once (values).

RFC 5321 4.2 (codes), RFC 3463 and RFC 2034 (enhanced status). The texts follow Exim's where clients and scripts
have come to know them. A reply never holds text from a peer that was not through `text.printable`.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.mail.text import printable, readable, to_wire

# RFC 5321 4.5.3.1.5: a reply line has at most 512 octets with code and CRLF.
LINE_LIMIT = 512
# RFC 4954 4: what a challenge of AUTH may need instead.
CHALLENGE_LIMIT = 12288


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of one or more lines. `enhanced` ("5.7.1") goes before each line if the session has negotiated it."""

    code: int
    enhanced: str = ""
    lines: tuple[str, ...] = ("",)
    insists: bool = False
    """The status was written in an ACL's message: it is part of the text for whoever reads that."""
    preface: int = 0
    """So many of the lines only lead up to the reply: what is wrong with the sender, before the refusal itself."""

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def as_sent(self) -> str:
        """The lines with code and status, as they come from a server; LF between them."""
        status = f"{self.enhanced} " if self.enhanced else ""
        last = len(self.lines) - 1
        return "\n".join(
            f"{self.code}{' ' if number == last else '-'}{status}{line}".rstrip(" ")
            for number, line in enumerate(self.lines)
        )

    @property
    def is_positive(self) -> bool:
        """2xx, and the 3xx that ask for more."""
        return 200 <= self.code < 400

    @property
    def is_transient(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    def with_text(self, *lines: str) -> Reply:
        """The same code and status with other text."""
        return Reply(self.code, self.enhanced, lines, self.insists)

    def encode(self, enhanced: bool = False, *, utf8: bool = False) -> bytes:
        """The octets for the wire; every line is escaped and cut to the limit of RFC 5321. `utf8`: letters outside
        US-ASCII stay, for a client that has said SMTPUTF8 (RFC 6531 3.7.4.1)."""
        status = f"{self.enhanced} " if self.enhanced and (enhanced or self.insists) else ""
        limit = CHALLENGE_LIMIT if self.code == 334 else LINE_LIMIT
        room = limit - 6 - len(status)
        if utf8 and not self.text.isascii():
            shown = [_cut(to_wire(readable(line)), room) for line in self.lines]
        elif len(self.lines) == 1:
            return to_wire(f"{self.code} {status}{printable(self.lines[0], room)}\r\n")
        else:
            shown = [printable(line, room).encode("ascii") for line in self.lines]
        last = len(shown) - 1
        return b"".join(
            to_wire(f"{self.code}{' ' if number == last else '-'}{status}") + line + b"\r\n"
            for number, line in enumerate(shown)
        )


def _cut(line: bytes, room: int) -> bytes:
    """At most `room` octets, and no half character."""
    return line if len(line) <= room else line[: room - 3].decode("utf-8", "ignore").encode("utf-8") + b"..."


def _reply(code: int, enhanced: str, *lines: str) -> Reply:
    return Reply(code, enhanced, lines)


# Session
SERVICE_READY = _reply(220, "", "ESMTP")  # RFC 5321 3.1; the session puts its banner here
CLOSING = _reply(221, "2.0.0", "closing connection")  # RFC 5321 4.1.1.10
SHUTTING_DOWN = _reply(421, "4.3.2", "Service not available - closing connection")  # RFC 5321 3.8
TOO_MANY_CONNECTIONS = _reply(421, "4.7.0", "Too many concurrent SMTP connections; please try again later")
TOO_MANY_FROM_HOST = _reply(
    421, "4.7.0", "Too many concurrent SMTP connections from this IP address; please try again later"
)
TIMED_OUT = _reply(421, "4.4.2", "SMTP command timeout - closing connection")
CLIENT_GONE = _reply(421, "4.4.2", "connection lost - closing connection")
DATA_TIMED_OUT = _reply(421, "4.4.2", "SMTP incoming data timeout - closing connection")
LOST_INPUT = _reply(421, "4.4.2", "lost input connection")
LOST_IN_PROTOCOL = _reply(554, "5.5.0", "SMTP synchronization error")
CONNECTION_REFUSED = _reply(554, "5.7.1", "SMTP service not available")
OK = _reply(250, "2.0.0", "OK")
RESET = _reply(250, "2.0.0", "Reset OK")  # RFC 5321 4.1.1.5
HELP = _reply(214, "2.0.0", "Commands supported:")
CANNOT_VERIFY = _reply(252, "2.5.0", "VRFY not available")  # RFC 5321 3.5.3

# Syntax and sequence
UNRECOGNIZED = _reply(500, "5.5.1", "unrecognized command")
LINE_TOO_LONG = _reply(500, "5.5.2", "Line too long")  # RFC 5321 4.5.3.1.4
BARE_LINE_END = _reply(500, "5.5.2", "bare CR or LF in command line")  # RFC 5321 2.3.8
NULS_NOT_ALLOWED = _reply(501, "5.5.2", "NUL characters are not allowed in SMTP commands")
BAD_ARGUMENTS = _reply(501, "5.5.4", "Syntactically invalid argument(s)")
BAD_HELLO = _reply(501, "5.5.4", "Syntactically invalid EHLO argument(s)")  # the verb as it was given
UNKNOWN_HELLO = _reply(451, "4.7.1", "EHLO argument does not match calling host")  # the DNS does not answer
UNTRUE_HELLO = _reply(550, "5.7.1", "EHLO argument does not match calling host")
NO_ARGUMENTS_ALLOWED = _reply(501, "5.5.4", "unexpected argument data")
EIGHT_BIT_IN_COMMAND = _reply(501, "5.5.2", "8-bit characters are not allowed in SMTP commands")  # RFC 5321 2.4
BAD_SEQUENCE = _reply(503, "5.5.1", "Command sequence error")
HELLO_FIRST = _reply(503, "5.5.1", "HELO or EHLO required")
SENDER_FIRST = _reply(503, "5.5.1", "sender not yet given")
SENDER_ALREADY = _reply(503, "5.5.1", "sender already given")
RECIPIENT_FIRST = _reply(503, "5.5.1", "valid RCPT command must precede DATA")
ALL_RECIPIENTS_REFUSED = "All RCPT commands were rejected with this error:"
"""The first line of that reply, the refusal behind it, where all got the same."""
NOT_IMPLEMENTED = _reply(502, "5.5.1", "Command not implemented")
TOO_MANY_SYNTAX_ERRORS = "Too many syntax or protocol errors"
"""The second line of the reply to the last of them, whose code it has."""
TOO_MANY_UNKNOWN = _reply(500, "5.5.1", "Too many unrecognized commands")
TOO_MANY_NONMAIL = _reply(554, "5.7.0", "Too many nonmail commands")
TOO_MANY_MESSAGES = _reply(421, "4.7.0", "too many messages in this connection")
ETRN_RUNNING = _reply(458, "4.3.0", "Already processing")  # with the argument behind it, RFC 1985 5.3
ETRN_FAILED = _reply(458, "4.3.0", "Internal failure")
ETRN_IN_TRANSACTION = _reply(503, "5.5.1", "ETRN is not permitted inside a transaction")
UNKNOWN_PARAMETER = _reply(555, "5.5.4", "unsupported MAIL or RCPT parameter")  # RFC 5321 4.1.1.11

# Transaction
SENDER_OK = _reply(250, "2.1.0", "OK")
RECIPIENT_OK = _reply(250, "2.1.5", "Accepted")
PRDR_BEGINS = _reply(353, "", "PRDR content analysis beginning")  # draft-hall-prdr-00 4
PRDR_RECIPIENT_TAKES = _reply(250, "2.1.5", "PRDR acceptance")
PRDR_RECIPIENT_WAITS = _reply(450, "4.7.0", "PRDR temporary refusal")
SEND_DATA = _reply(354, "", 'Enter message, ending with "." on a line by itself')  # RFC 5321 4.1.1.4
MESSAGE_ACCEPTED = _reply(250, "2.0.0", "OK")  # with id= behind it
TOO_MANY_RECIPIENTS = _reply(452, "4.5.3", "too many recipients")  # RFC 5321 4.5.3.1.10
TOO_MANY_RECIPIENTS_EVER = _reply(552, "5.5.3", "too many recipients")  # Exim: recipients_max_reject
TOO_MANY_FOR_MESSAGE = _reply(554, "5.5.3", "Too many recipients")
RECIPIENT_BEFORE_BDAT = _reply(503, "5.5.1", "valid RCPT command must precede BDAT")
CHUNK_RECEIVED = _reply(250, "2.0.0", "byte chunk received")  # with the number of octets before it
BDAT_NOT_ADVERTISED = _reply(503, "5.5.1", "BDAT command used when CHUNKING not advertised")
BAD_CHUNK_SIZE = _reply(501, "5.5.4", "missing size for BDAT command")
ZERO_CHUNK = _reply(504, "5.5.4", "zero size for BDAT command")
ONLY_BDAT = _reply(503, "5.5.1", "only BDAT permissible after non-LAST BDAT")
ONLY_RSET = _reply(503, "5.5.1", "only RSET accepted now")
BINARY_NEEDS_BDAT = _reply(503, "5.5.1", "a message with BODY=BINARYMIME can't be sent by DATA")  # RFC 3030 3
NOT_UTF8_MAIL = _reply(553, "5.6.7", "address with characters outside US-ASCII needs SMTPUTF8")  # RFC 6531 3.5
NO_VALID_RECIPIENTS = _reply(554, "5.5.1", "No valid recipients")
MESSAGE_TOO_BIG = _reply(552, "5.3.4", "Message size exceeds maximum permitted")  # RFC 1870 6.1
HEADER_TOO_BIG = _reply(552, "5.3.4", "Message header too big")
NO_SPACE = _reply(452, "4.3.1", "Insufficient system storage")
LOCAL_PROBLEM = _reply(451, "4.3.0", "Temporary local problem - please try later")
BARE_LINE_END_IN_DATA = _reply(554, "5.6.0", "bare CR or LF in message data")  # smuggling, RFC 5321 2.3.8
FIELD_TOO_LONG = _reply(552, "5.3.4", "A message header line is too long")  # Exim: header_line_maxsize
TOO_MANY_HOPS = _reply(550, "5.4.6", 'Too many "Received" headers - suspected mail loop')
UNQUALIFIED_ADDRESS = _reply(501, "5.1.3", "address must contain a domain")
RELAY_NOT_PERMITTED = _reply(550, "5.7.1", "relay not permitted")
ADMINISTRATIVE_PROHIBITION = _reply(550, "5.7.1", "Administrative prohibition")

# TLS, RFC 3207 4
TLS_GO_AHEAD = _reply(220, "2.0.0", "TLS go ahead")
TLS_NOT_AVAILABLE = _reply(454, "4.7.0", "TLS currently unavailable")
TLS_NOT_ADVERTISED = _reply(503, "5.5.1", "STARTTLS command used when not advertised")
TLS_ALREADY_UP = _reply(554, "5.5.1", "Already in TLS")
SECURITY_FAILURE = _reply(554, "5.7.0", "Security failure")

# AUTH, RFC 4954
AUTH_NOT_ADVERTISED = _reply(503, "5.5.1", "AUTH command used when not advertised")
AUTH_ALREADY = _reply(503, "5.5.1", "already authenticated")
AUTH_IN_TRANSACTION = _reply(503, "5.5.1", "not permitted in mail transaction")
AUTH_BAD_MECHANISM = _reply(501, "5.5.4", "invalid character in authentication mechanism name")
AUTH_CANCELLED = _reply(501, "5.7.0", "Authentication cancelled")
AUTH_LINE_TOO_LONG = _reply(500, "5.5.6", "Authentication line too long")  # RFC 4954 4


def challenge(text: str) -> Reply:
    """334: the exchange goes on. `text` in base64, as it goes over the wire."""
    return Reply(334, "", (text,))


# XCLIENT, as Postfix documents it
SMTPUTF8_NOT_ADVERTISED = _reply(501, "5.5.4", "SMTPUTF8 used when not advertised")  # RFC 6531 3.1
XCLIENT_NOT_ADVERTISED = _reply(501, "5.5.1", "XCLIENT command used when not advertised")
XCLIENT_IN_TRANSACTION = _reply(503, "5.5.1", "mail transaction in progress")
PROXY_HEADER_MISSING = _reply(503, "5.5.1", "Command refused, required Proxy negotiation failed")
XCLIENT_SUCCESS = _reply(220, "", "XCLIENT success")
