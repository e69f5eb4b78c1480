"""The server machine against a model of a page, and against noise.

The model knows the commands of a session, one at a time, and says what code each gets and what the session hears
of. The noise is bytes of any kind: nothing raises, nothing grows without bound, and the end is an end. RELAY_FUZZ
in the environment is the number of noisy sessions (default 300; 100000 takes minutes).
"""

import os
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from esmtp.server_driver import ServerSettings, Session, codes
from relay.esmtp.commands import State
from relay.esmtp.extensions import Offers
from relay.esmtp.questions import BodyPiece, HangUp, MessageEnded

OFFERS = Offers(
    (("PIPELINING", ""), ("CHUNKING", ""), ("SIZE", "100"), ("STARTTLS", ""), ("AUTH", "PLAIN"), ("8BITMIME", ""))
)
LOCAL_PARTS = st.sampled_from(["a", "b", "no"])
TEXTS = st.lists(st.sampled_from([b"x", b"\r\n", b"NOOP\r\n", b"y" * 40]), max_size=4).map(b"".join)


class Model(RuleBasedStateMachine):
    """What a session is to a reader of RFC 5321 and RFC 3030."""

    def __init__(self) -> None:
        super().__init__()
        limits = ServerSettings(size_limit=100, max_syntax_errors=10**6, max_nonmail=10**6, recipients_max=3)
        self.session = Session(limits, offers=OFFERS)
        self.greeted = False
        self.sender = False
        self.recipients = 0
        self.chunks: bytes | None = None
        self.spoiled = False
        self.tls = False
        self.messages: list[bytes] = []

    def say(self, data: bytes, *expected: int) -> None:
        assert codes(self.session.send(data)) == list(expected)

    def forget(self) -> None:
        self.sender, self.recipients, self.chunks, self.spoiled = False, 0, None, False

    @property
    def is_chunking(self) -> bool:
        return self.chunks is not None or self.spoiled

    @rule(verb=st.sampled_from([b"EHLO", b"HELO"]))
    def hello(self, verb: bytes) -> None:
        self.say(b"EHLO laptop\r\n", 250)
        self.greeted = True
        self.forget()

    def out_of_order(self, line: bytes) -> None:
        """A command that is not legal between chunks spoils the message."""
        self.say(line, 503)
        if self.chunks is not None:
            self.chunks, self.spoiled = None, True

    @rule(name=LOCAL_PARTS)
    def mail(self, name: str) -> None:
        line = f"MAIL FROM:<{name}@b.example>\r\n".encode()
        if not self.greeted or self.sender:
            self.out_of_order(line)
        else:
            self.sender = name != "no"
            self.say(line, 250 if self.sender else 550)

    @rule(name=LOCAL_PARTS)
    def rcpt(self, name: str) -> None:
        line = f"RCPT TO:<{name}@b.example>\r\n".encode()
        if not self.sender or self.is_chunking:
            self.out_of_order(line)
        elif self.recipients >= 3:
            self.say(line, 452)
        else:
            self.recipients += name != "no"
            self.say(line, 250 if name != "no" else 550)

    @rule(text=TEXTS)
    def data(self, text: bytes) -> None:
        if not self.recipients or self.is_chunking:
            self.out_of_order(b"DATA\r\n")
            return
        self.say(b"DATA\r\n", 354)
        whole = text if text.endswith(b"\r\n") or not text else text + b"\r\n"
        self.say(whole + b".\r\n", 250 if len(whole) <= 100 else 552)
        if len(whole) <= 100:
            self.messages.append(whole)
        self.forget()

    @precondition(lambda self: self.greeted)
    @rule(text=TEXTS, last=st.booleans())
    def bdat(self, text: bytes, last: bool) -> None:
        line = b"BDAT %d%s\r\n%s" % (len(text), b" LAST" * last, text)
        if self.spoiled or not self.recipients:
            self.say(line, 503)
            if self.spoiled and last:
                self.forget()
        elif self.chunks is not None and not text and not last:
            self.say(line, 504)
            self.chunks, self.spoiled = None, True
        else:
            self.chunks = (self.chunks or b"") + text
            good = len(self.chunks) <= 100
            self.say(line, 250 if good else 552)
            if good and last:
                end = b"" if self.chunks.endswith(b"\r\n") or not self.chunks else b"\r\n"
                self.messages.append(self.chunks + end)
            if last:
                self.forget()
            elif not good:
                self.chunks, self.spoiled = None, True

    @rule()
    def rset(self) -> None:
        self.say(b"RSET\r\n", 250)
        self.forget()

    @rule()
    def noop(self) -> None:
        self.say(b"NOOP\r\n", 503 if self.spoiled else 250)

    @rule()
    def auth(self) -> None:
        ready = self.greeted and not self.sender
        if ready:
            self.say(b"AUTH PLAIN x\r\n", 502)
        else:
            self.out_of_order(b"AUTH PLAIN x\r\n")

    @rule(up=st.booleans())
    def change_layer(self, up: bool) -> None:
        self.session.server.layer_changed(2.0, up)
        self.session.run()
        self.greeted, self.tls = False, up
        self.forget()

    @precondition(lambda self: self.greeted and not self.is_chunking)
    @rule()
    def starttls(self) -> None:
        if self.tls:
            self.say(b"STARTTLS\r\n", 554)
            return
        self.say(b"STARTTLS\r\n", 220)
        self.session.server.switch_layer()
        self.change_layer(True)

    @invariant()
    def the_messages_are_those(self) -> None:
        pieces: list[bytes] = []
        done: list[bytes] = []
        for event in self.session.events:
            if isinstance(event, BodyPiece):
                pieces.append(event.data)
            elif isinstance(event, MessageEnded):
                done.append(b"".join(pieces))
                pieces.clear()
            elif "Spoiled" in type(event).__name__ or "Reset" in type(event).__name__:
                pieces.clear()
        assert done == self.messages
        assert self.session.hung_up is None


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestModel = Model.TestCase


WORDS = (
    b"EHLO a|HELO a|EHLO|MAIL FROM:<a@b>|MAIL FROM:<a@b> BODY=BINARYMIME|MAIL FROM:<> SMTPUTF8|MAIL FROM:|"
    b"RCPT TO:<c@d>|RCPT TO:<no@d>|RCPT TO:<@a,@b:c@d>|DATA|.|..|RSET|QUIT|STARTTLS|NOOP|HELP|VRFY x|"
    b"EXPN \xc3\xa4 SMTPUTF8|ETRN #x|TURN|AUTH PLAIN|AUTH X =|"
    b"*|more|BDAT 3|BDAT 0 LAST|BDAT 7 LAST|BDAT 99999999999|BDAT x|"
    b"XCLIENT ADDR=::1|XCLIENT|\0|\xff|x|(((((|<<>>|"
).split(b"|")
ENDS = [b"\r\n"] * 12 + [b"\n", b"\r", b"", b"\r\n.\r\n", b"\r\n.\n", b" "]
ALL = Offers(
    (
        *OFFERS.items,
        ("BINARYMIME", ""),
        ("SMTPUTF8", ""),
        ("DSN", ""),
        ("XCLIENT", "ADDR"),
        ("ENHANCEDSTATUSCODES", ""),
    )
)


def noise(chance: random.Random) -> bytes:
    match chance.randrange(12):
        case 0:
            return chance.randbytes(chance.randrange(40))
        case 1:
            return chance.choice(WORDS) + b"(" * chance.randrange(300) + b"\r\n"
        case 2:
            return b"A" * chance.randrange(400)
        case _:
            return chance.choice(WORDS) + chance.choice(ENDS)


def listen(seed: int) -> None:
    chance = random.Random(seed)
    limits = ServerSettings(
        line_limit=128,
        auth_line_limit=200,
        size_limit=200,
        wasted_limit=1000,
        enforce_sync=chance.random() < 0.2,
        local=chance.random() < 0.1,
        max_syntax_errors=50,
        max_unknown=50,
        max_nonmail=50,
    )
    session = Session(limits, offers=ALL)
    for _ in range(chance.randrange(60)):
        data = b"".join(noise(chance) for _ in range(chance.randrange(1, 6)))
        session.send(*(data[at : at + 7] for at in range(0, len(data), 7)) if chance.random() < 0.3 else (data,))
        if session.server.state is not State.SWITCHING:
            assert len(session.server._dialog.lines) <= 200
        else:
            session.server.switch_layer()
            session.server.layer_changed(2.0, True)
        if chance.random() < 0.02:
            session.server.layer_changed(2.0, False)
        elif chance.random() < 0.005:
            session.server.expire(10.0**9)
            session.run()
    session.server.receive_eof()
    session.run()
    assert isinstance(session.events[-1], HangUp)
    assert session.server.next_event() is None
    assert session.sent.endswith(b"\r\n")
    assert session.sent.isascii()


def test_noise_raises_nothing() -> None:
    for seed in range(int(os.environ.get("RELAY_FUZZ", "300"))):
        try:
            listen(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
