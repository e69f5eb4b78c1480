"""What the tests of AUTH share: blocks as a configuration gives them, ports that answer at once."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from relay.esmtp.sasl.scram_keys import salted_password
from relay.expand.evaluate import Expansion, compile_for_use
from relay.expand.scope import Scope
from relay.mail.facts import Certificate, Endpoint, SessionFacts, TLSFacts, Verified
from relay.policy.auth_limits import FailureLimits, LimitSettings
from relay.policy.authenticate import AuthPorts
from relay.policy.authenticators import Authenticator, build_authenticator

import certs

T = TypeVar("T")

CLIENT = Endpoint("192.0.2.7", 40000)
CLEAR = SessionFacts(peer=CLIENT)


def certificate(of: certs.CertKey) -> Certificate:
    return Certificate(of.der, "/CN=someone", "/CN=someone", of.fingerprint)


RELAY, LAPTOP = certificate(certs.relay()), certificate(certs.laptop())
TLS = TLSFacts(
    "TLS1.3",
    "TLS_AES_256_GCM_SHA384",
    256,
    ours=RELAY,
    peer=LAPTOP,
    verification=Verified("anchor"),
    binding=b"\7" * 32,
)
OUTGOING = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, ours=LAPTOP, peer=RELAY, binding=b"\7" * 32)
WITH_CERTIFICATE = SessionFacts(peer=CLIENT, tls=TLS)
WITH_TLS = SessionFacts(peer=CLIENT, tls=TLSFacts("TLS1.3", "S", 256, ours=RELAY, binding=b"\7" * 32))


@dataclass
class Block:
    """A block of options, each text an expansion where it is asked for as one."""

    name: str
    driver: str
    options: Mapping[str, str]

    def text(self, option: str) -> str:
        return self.options.get(option, "")

    def expansion(self, option: str) -> Expansion | None:
        text = self.options.get(option)
        return None if text is None else compile_for_use(text)

    def flag(self, option: str) -> bool:
        return self.options.get(option, "false") == "true"


def block(driver: str, name: str = "login", /, **options: str) -> Authenticator:
    return build_authenticator(Block(name, driver, options))


@dataclass
class Time:
    """Clock and sleep in one: who sleeps moves the clock."""

    at: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    async def timeout(self, seconds: float, question: Awaitable[T]) -> T:
        raise AssertionError("nothing here has a time limit of its own")

    async def gather(self, questions: Sequence[Awaitable[T]]) -> list[T]:
        raise AssertionError("nothing here asks two things at once")


class Work:
    """The thread, which is this one."""

    async def salted(self, hash_name: str, password: str, salt: bytes, iterations: int) -> bytes:
        return salted_password(hash_name, password, salt, iterations)


class Numbers:
    """Random text that is not."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"random{self.count}"


def ports(time: Time | None = None, settings: LimitSettings | None = None) -> AuthPorts:
    clock = time or Time()
    return AuthPorts(clock, clock, Work(), Numbers(), FailureLimits(settings), b"seed")


def scope(session: SessionFacts = CLEAR, **changes: object) -> Scope:
    return Scope(session=session, now=1000.0, main={"primary_hostname": "relay.test"}).child(**changes)
