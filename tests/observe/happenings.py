"""Facts and events that the tests of the observers share."""

from relay.mail import events
from relay.mail.address import NULL_SENDER, Address
from relay.mail.facts import (
    Authentication,
    Certificate,
    Endpoint,
    Hello,
    LocalCaller,
    SessionFacts,
    TLSFacts,
    Unverified,
    Verified,
)
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, RemoteHost
from relay.mail.reply import RELAY_NOT_PERMITTED

NOW = 1795255200.0
ID = "1xUfyz-0002Cc-2k"
LAPTOP = Certificate(b"der", "/C=DE/CN=laptop", "/CN=us", "AB" * 32)
FP = LAPTOP.fingerprint
TLS = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, sni="relay.example", peer=LAPTOP, verification=Verified("peer"))
UNKNOWN = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, peer=LAPTOP, verification=Unverified("self-signed"))
SESSION = SessionFacts(
    peer=Endpoint("192.0.2.7", 40000),
    local=Endpoint("192.0.2.1", 25),
    hello=Hello("laptop.example", extended=True),
    tls=TLS,
    peer_name="laptop",
)
PLAIN = SessionFacts(peer=Endpoint("192.0.2.7", 40000), hello=Hello("laptop.example", extended=True))
LOCAL = SessionFacts(caller=LocalCaller("anne", 1000, 1000))
ANNE = Address("anne", "example.org")
BOB = Address("bob", "there.example")
HOST = RemoteHost("mx.there.example", "198.51.100.9", 25)
SERVER_TLS = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, sni="mx", peer=LAPTOP, verification=Verified("anchor"))

ARRIVED = events.Arrived(ID, ANNE, SESSION, 1234, "<x@y>", "Hello", (BOB,))
DELIVERED = events.AddressDelivered(
    ID, BOB, "smart", "smtp", Delivered('250 OK "id=1"', HOST, SERVER_TLS), elapsed=0.25
)
DEFERRED = events.AddressDeferred(
    ID, BOB, "smart", "smtp", Deferred("SMTP error from remote mail server", ErrorClass.RCPT_4XX, host=HOST)
)
FAILED = events.AddressFailed(ID, BOB, "smart", "smtp", Failed("Unrouteable address"))
REJECTED = events.CommandRejected(SESSION, "RCPT <bob@there.example>", "relay not permitted", ANNE)

ALL: tuple[events.Event, ...] = (
    ARRIVED,
    events.Arrived(ID, NULL_SENDER, LOCAL, 10, bounce_of=ID),
    events.Arrived(ID, ANNE, SessionFacts(peer=Endpoint("::1", 1), authentication=Authentication("a", "b")), 1),
    DELIVERED,
    DEFERRED,
    FAILED,
    events.Completed(ID, 12.5),
    events.Frozen(ID, "by anne"),
    events.MessageNote(ID, "removed by root"),
    events.ChildrenComplete(ID, BOB),
    events.HostFailed(ID, Deferred("Connection refused", ErrorClass.CONNECTION_REFUSED, host=HOST)),
    events.ConnectionOpened(PLAIN, 3),
    events.ConnectionClosed(PLAIN, "by QUIT"),
    events.NoMail(PLAIN, 2.0, ("EHLO", "QUIT")),
    REJECTED,
    events.ConnectionRefused(PLAIN, "host_reject_connection"),
    events.AuthenticationFailed(PLAIN, "plain", "535 Incorrect authentication data (set_id=anna)"),
    events.ProtocolViolated(PLAIN, "SMTP synchronization error", "EHLO x\r\n"),
    events.TLSStarted(SESSION),
    events.TLSEnded(PLAIN),
    events.TLSFailed(PLAIN, "peer", "no shared cipher"),
    events.TLSUnusable(PLAIN, "/etc/key.pem: No such file"),
    events.WrittenByACL("seen", ("main", "reject")),
    events.Warned(SESSION, "unlisted certificate"),
    events.ClientNote(SESSION, "ETRN #a received from", False),
    events.TransactionBroken(SESSION, Address("a", "b.test"), (Address("c", "d.test"),), "RSET"),
    events.ClientGone(SESSION, ID),
    events.RecipientDiscarded(SESSION, ANNE, "<bob@there.example>", "RCPT", "spam"),
    events.SenderUnverified(SESSION, "anna@far.test", "Unrouteable address"),
    events.TooManyRecipients(SESSION, "message rejected", ANNE),
    events.NameNotFound(SESSION),
    events.DaemonNote("started"),
    events.TLSFileUnusable("/etc/relay.crt: no such file (make it)", "what was good before stays in force"),
    events.Trouble("disk full", "make room", ID),
)
REPLY = RELAY_NOT_PERMITTED
