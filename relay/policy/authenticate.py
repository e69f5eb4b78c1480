"""One AUTH command on the server's side, from its line to its last reply (decision).

The mechanism is a machine that frees the client's octets of their form; here its strings become `$auth1` and on
(tainted), the options of the authenticator are expanded, and a failure is made to cost time. Whoever runs the session
calls `Login.start`, sends each `Prompt` behind 334, gives `Login.respond` the line that comes, and gets one `Granted`
or `Refused`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, assert_never

from relay.esmtp.sasl import coding, replies
from relay.esmtp.sasl.binding import bindings_of
from relay.esmtp.sasl.cram_md5 import CramServer
from relay.esmtp.sasl.external import ExternalServer
from relay.esmtp.sasl.plaintext import PlaintextServer
from relay.esmtp.sasl.scram import ScramServer, hash_of
from relay.esmtp.sasl.scram_keys import BadVerifier, ScramKeys, keys_from, read_verifier
from relay.esmtp.sasl.steps import Challenge, Complete, Failure, Fault, SecretWanted, ServerStep
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.expand.values import Tainted
from relay.mail.facts import Authentication
from relay.mail.ports import Clock, Concurrency, TemporaryFailure
from relay.mail.reply import Reply
from relay.mail.text import printable
from relay.policy.auth_limits import FailureLimits
from relay.policy.authenticators import (
    Authenticator,
    AuthRules,
    ByCertificate,
    CramMD5,
    External,
    Offer,
    Plaintext,
    Scram,
)

ITERATIONS = 4096
"""Of SCRAM where the configuration keeps passwords as they are (Exim: server_scram_iter)."""
_LONGEST_NAME = 255


class PasswordWork(Protocol):
    """Work that takes long enough to be done in a thread."""

    async def salted(self, hash_name: str, password: str, salt: bytes, iterations: int) -> bytes:
        """`relay.esmtp.sasl.scram_keys.salted_password`. Raises NotPreparable, TemporaryFailure."""
        ...


@dataclass(frozen=True, slots=True)
class AuthPorts:
    """What AUTH needs of the world. One for a process."""

    clock: Clock
    concurrency: Concurrency
    work: PasswordWork
    random: Callable[[], str]
    """Fresh text of at least 18 random octets in base64 or hex."""
    limits: FailureLimits
    seed: bytes
    """Secret octets that stay the same as long as possible: they make up salts for names that do not exist."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Goes to the client behind 334, in base64 already; the next line is its answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The client is who it says."""

    authentication: Authentication
    reply: Reply = replies.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not, or this could not be found out now. `log_text` stands behind "NAME authenticator failed for HOST: ",
    `identity` is $authenticated_fail_id."""

    reply: Reply
    log_text: str
    identity: str = ""


Outcome = Prompt | Granted | Refused


class _Unavailable(Exception):
    """435: no answer now. `shown` is told to the client, the text to the log."""

    def __init__(self, why: str, shown: str = "") -> None:
        super().__init__(why)
        self.shown = shown


class Login:
    """One AUTH command. `scope` is the session's as it stands."""

    def __init__(self, authenticator: Authenticator, offer: Offer, scope: Scope, ports: AuthPorts) -> None:
        self._authenticator = authenticator
        self._offer = offer
        self._scope = scope
        self._ports = ports
        self._exchange: PlaintextServer | CramServer | ExternalServer | ScramServer | None = None
        self._strings: tuple[str, ...] = ()
        self._address = scope.session.peer.address if scope.session.peer is not None else ""
        self._admitted: str | None = None
        self._asked_at = ports.clock.now()

    async def start(self, initial: str | None) -> Outcome:
        """The command came, with what stood behind the mechanism's name (None or "": nothing did)."""
        self._asked_at = self._ports.clock.now()
        if wait := self._ports.limits.address_wait(self._address, self._asked_at):
            return self._too_many(wait)
        data = coding.decode_initial(initial) if initial else None
        if initial and data is None:
            return Refused(replies.INVALID_BASE64, str(replies.INVALID_BASE64))
        tls = self._scope.session.tls
        if isinstance(self._authenticator.driver, External) and (tls is None or tls.peer is None):
            return await self._failed(Failure(Fault.WRONG, "there is no client certificate"))
        try:
            self._exchange = await self._make_exchange()
        except _Unavailable as error:
            return self._unavailable(error, "")
        return await self._go_on(self._exchange.start(data))

    async def respond(self, line: str) -> Outcome:
        """The client's answer to a prompt, without its line end."""
        assert self._exchange is not None
        self._asked_at = self._ports.clock.now()
        if line == coding.CANCEL:
            return await self._failed(Failure(Fault.CANCELLED))
        # curl answers our prompt of EXTERNAL with what RFC 4954 4 has for an initial response.
        is_external = isinstance(self._authenticator.driver, External)
        data = coding.decode_initial(line) if is_external else coding.decode(line)
        if data is None:
            return Refused(replies.INVALID_BASE64, str(replies.INVALID_BASE64))
        return await self._go_on(self._exchange.respond(data))

    async def _make_exchange(self) -> PlaintextServer | CramServer | ExternalServer | ScramServer:
        session, ports = self._scope.session, self._ports
        match self._authenticator.driver:
            case Plaintext(server_prompts):
                prompts = await self._text(server_prompts) if server_prompts is not None else ""
                return PlaintextServer(split_list(prompts).items)
            case CramMD5():
                host = self._scope.main.get("primary_hostname", "localhost")
                return CramServer(f"<{ports.random()}.{int(ports.clock.now())}@{host}>".encode())
            case External():
                return ExternalServer()
            case Scram() as scram:
                bindings = bindings_of(session.tls, session.tls.ours if session.tls is not None else None)
                return ScramServer(scram.mechanism, ports.random(), bindings, plus_offered=self._offer.has_plus)
            case ByCertificate():
                raise AssertionError("driver tls has no mechanism")
            case _ as never:
                assert_never(never)

    async def _go_on(self, step: ServerStep) -> Outcome:
        try:
            if isinstance(step, SecretWanted):
                self._strings = step.strings
                if wait := await self._admit():
                    return self._too_many(wait)
                step = await self._tell_secret(step)
            match step:
                case Challenge(data):
                    return Prompt(coding.encode(data))
                case Complete(strings):
                    self._strings = strings
                    if wait := await self._admit():
                        return self._too_many(wait)
                    return await self._judge()
                case Failure():
                    return await self._failed(step)
                case SecretWanted():
                    raise AssertionError("a secret is asked for once")
                case _ as never:
                    assert_never(never)
        except _Unavailable as error:
            self._give_back()
            return self._unavailable(error, await self._identity_or_none() or "")

    # Who it is

    async def _judge(self) -> Outcome:
        """Exim: check_serv_cond.c and smtp_in_auth."""
        driver = self._authenticator.driver
        if isinstance(driver, External):
            for option in (driver.server_param2, driver.server_param3 if driver.server_param2 else None):
                if option is not None:
                    self._strings = (*self._strings, await self._text(option, forced=""))
        if isinstance(driver, Scram) and self._acts_for_another():
            return await self._failed(Failure(Fault.WRONG, "it wants to act as somebody else"))
        try:
            await check_condition(self._authenticator.server_condition, self._inner_scope())
        except ForcedFailure:
            return await self._failed(Failure(Fault.WRONG))
        identity = await self._identity()
        if self._admitted is not None:
            self._ports.limits.succeeded(self._address, self._admitted, self._ports.clock.now())
            self._admitted = None
        found = self._authenticator
        return Granted(Authentication(found.name, identity, mechanism=found.public_name))

    def _acts_for_another(self) -> bool:
        """SCRAM: the client wants to act as somebody else, and no option looks at that (`$auth2`). RFC 5802 5.1."""
        name, acting = self._strings
        looked_at = (self._authenticator.server_condition, self._authenticator.server_set_id)
        return acting not in ("", name) and not any(
            option is not None and "auth2" in option.names_used for option in looked_at
        )

    async def _identity(self) -> str:
        """server_set_id; where it is not set, the paired device that the certificate belongs to."""
        if self._authenticator.server_set_id is None:
            by_certificate = isinstance(self._authenticator.driver, External | ByCertificate)
            return self._scope.session.peer_name if by_certificate else ""
        return printable(await self._text(self._authenticator.server_set_id), _LONGEST_NAME)

    async def _identity_or_none(self) -> str | None:
        try:
            return await self._identity()
        except _Unavailable:
            return None

    async def _text(self, option: Expansion, forced: str | None = None) -> str:
        """The expanded option; `forced` where it fails because it is to. Raises _Unavailable."""
        return await expand(option, self._inner_scope(), forced)

    def _inner_scope(self) -> Scope:
        return scope_with(self._scope, self._strings)

    # Secrets

    async def _tell_secret(self, wanted: SecretWanted) -> ServerStep:
        exchange = self._exchange
        match exchange, self._authenticator.driver:
            case CramServer(), CramMD5(server_secret=Expansion() as option):
                try:
                    return exchange.secret(await expand_strictly(option, self._inner_scope()))
                except ForcedFailure:
                    return exchange.secret(None)
            case ScramServer(), Scram() as scram:
                try:
                    keys = await self._keys(scram, wanted.name)
                except ForcedFailure:
                    keys = None
                return exchange.unknown(self._decoy(scram, wanted.name)) if keys is None else exchange.keys(keys)
            case _:
                raise AssertionError("the mechanism asks for no secret")

    async def _keys(self, scram: Scram, name: str) -> ScramKeys | None:
        """What the configuration knows of a name, None for nothing. Raises ForcedFailure, _Unavailable."""
        scope, hash_name = self._inner_scope(), hash_of(scram.mechanism)
        if scram.server_password is not None:
            password = await expand_strictly(scram.server_password, scope)
            if not password:
                return None
            if password.startswith("{SCRAM-"):
                return _verifier(password, hash_name)
            salt = await self._salt(scram, name, scope)
            iterations = await self._iterations(scram, scope)
            try:
                salted = await self._ports.work.salted(hash_name, password, salt, iterations)
            except ValueError as error:
                raise _Unavailable(f"the password of a name can't be used: {error}") from None
            except TemporaryFailure as error:
                raise _Unavailable(str(error)) from None
            return keys_from(hash_name, salted, salt, iterations)
        assert scram.server_stored_key is not None
        assert scram.server_key is not None
        stored = await _octets(scram.server_stored_key, scope)
        server = await _octets(scram.server_key, scope)
        size = hashlib.new(hash_name).digest_size
        if not stored or not server:
            return None
        if len(stored) != size or len(server) != size:
            raise _Unavailable(f"a key for {scram.mechanism} has the wrong length")
        salt = await self._salt(scram, name, scope)
        return ScramKeys(hash_name, salt, await self._iterations(scram, scope), stored, server)

    async def _salt(self, scram: Scram, name: str, scope: Scope) -> bytes:
        if scram.server_salt is not None and (salt := await _octets(scram.server_salt, scope)):
            return salt
        return self._made_up(b"salt", name, "sha256")[:16]

    async def _iterations(self, scram: Scram, scope: Scope) -> int:
        text = await expand(scram.server_iterations, scope, "") if scram.server_iterations is not None else ""
        if not text:
            return ITERATIONS
        if not (text.isascii() and text.isdigit()) or not 0 < int(text[:10]) < 10**9:
            raise _Unavailable(f'"{text}" in server_scram_iter is no number of iterations')
        return int(text)

    def _decoy(self, scram: Scram, name: str) -> ScramKeys:
        """Keys that nobody has, always the same for one name: that it is unknown shows at the end, as if it were known.

        Salt and keys that the configuration gives for known names are of other making; that can't be helped here.
        """
        hash_name = hash_of(scram.mechanism)
        constant = scram.server_iterations.constant if scram.server_iterations is not None else None
        iterations = int(constant) if constant and constant.isascii() and constant.isdigit() else ITERATIONS
        return ScramKeys(
            hash_name,
            self._made_up(b"salt", name, "sha256")[:16],
            iterations,
            self._made_up(b"stored", name, hash_name),
            self._made_up(b"server", name, hash_name),
        )

    def _made_up(self, what: bytes, name: str, hash_name: str) -> bytes:
        return hmac.digest(self._ports.seed, what + b"\0" + name.encode("utf-8", "surrogateescape"), hash_name)

    # Limits

    async def _admit(self) -> float:
        """Counts the attempt against its address and name, once. Seconds to wait instead, 0 where it may go on."""
        if self._admitted is not None:
            return 0.0
        if isinstance(self._authenticator.driver, External):
            return 0.0  # nothing is guessed: the certificate was proved by the handshake
        name = (await self._identity_or_none()) or next((each for each in self._strings if each), "")
        name = printable(name, _LONGEST_NAME).lower()
        wait = self._ports.limits.admit(self._address, name, self._ports.clock.now())
        if not wait:
            self._admitted = name
        return wait

    def _give_back(self) -> None:
        if self._admitted is not None:
            self._ports.limits.give_back(self._address, self._admitted, self._ports.clock.now())
            self._admitted = None

    async def _failed(self, failure: Failure) -> Refused:
        """The reply, late: whatever was wrong and however fast that was found, it takes the same time."""
        reply = replies.FOR_FAULT[failure.fault]
        identity = (await self._identity_or_none() or "") if self._strings else ""
        told = f" (set_id={identity})" if identity else ""
        detail = f": {failure.detail}" if failure.detail else ""
        if failure.fault is not Fault.WRONG:
            # An exchange that is broken off behind the secret's question stays counted: its salt was given away.
            return Refused(reply, f"{reply}{told}{detail}", identity)
        now = self._ports.clock.now()
        due = self._asked_at + self._ports.limits.pause(self._address, now)
        if due > now:
            await self._ports.concurrency.sleep(due - now)
        return Refused(reply, f"{reply}{told}{detail}", identity)

    def _too_many(self, wait: float) -> Refused:
        reply = replies.TOO_MANY_FAILURES
        return Refused(reply, f"{reply} (another try in {wait:.0f} s)")

    @staticmethod
    def _unavailable(error: _Unavailable, identity: str) -> Refused:
        reply = replies.UNAVAILABLE
        told = f" (set_id={identity})" if identity else ""
        shown = reply.with_text(f"{reply.text}: {error.shown}") if error.shown else reply
        return Refused(shown, f"{reply}{told}: {error}", identity)


async def login_by_certificate(rules: AuthRules, scope: Scope, ports: AuthPorts) -> Granted | Refused | None:
    """What the authenticator of driver tls says of a certificate that has just been verified; None: nothing.

    To be asked once after each handshake, behind acl_smtp_auth. The client is told nothing: a refusal is for the log.
    Exim: smtp_setup_msg, TLS_AUTH_CMD.
    """
    tls = scope.session.tls
    if tls is None or tls.peer is None or not tls.is_verified:
        return None
    found = next((each for each in rules.authenticators if isinstance(each.driver, ByCertificate)), None)
    if found is None:
        return None
    assert isinstance(found.driver, ByCertificate)
    strings: tuple[str, ...] = ()
    try:
        for option in found.driver.server_params:
            strings += (await expand(option, scope, ""),)
        inner = scope_with(scope, strings)
        await check_condition(found.server_condition, inner)
        identity = scope.session.peer_name
        if found.server_set_id is not None:
            identity = printable(await expand(found.server_set_id, inner, None), _LONGEST_NAME)
    except ForcedFailure:
        return Refused(replies.WRONG_CREDENTIALS, str(replies.WRONG_CREDENTIALS))
    except _Unavailable as error:
        return Refused(replies.UNAVAILABLE, f"{replies.UNAVAILABLE}: {error}")
    return Granted(Authentication(found.name, identity, mechanism=found.public_name))


# Expansions of an authenticator


def scope_with(scope: Scope, strings: tuple[str, ...]) -> Scope:
    """The scope in which `$auth1` and on, and `$1` and on, are strings from a peer."""
    tainted = tuple(Tainted(each) for each in strings)
    return scope.child(auth=tainted, captures=("", *tainted))


async def expand_strictly(option: Expansion, scope: Scope) -> str:
    """The text of an option. Raises ForcedFailure, and _Unavailable for any other failure."""
    try:
        return await option.text(scope)
    except ForcedFailure:
        raise
    except (ExpansionFailed, TemporaryFailure) as error:
        raise _Unavailable(str(error)) from None


async def expand(option: Expansion, scope: Scope, forced: str | None) -> str:
    """The same, with `forced` for a forced failure, which without it is a failure as any other."""
    try:
        return await expand_strictly(option, scope)
    except ForcedFailure as error:
        if forced is None:
            raise _Unavailable(str(error)) from None
        return forced


async def check_condition(condition: Expansion | None, scope: Scope) -> None:
    """Returns where a server_condition lets the client in. Raises ForcedFailure where it does not, _Unavailable.

    Exim: auth_check_some_cond. A text that is neither yes nor no is told to the client.
    """
    if condition is None:
        return
    text = await expand_strictly(condition, scope)
    if text in ("", "0") or text.lower() in ("no", "false"):
        raise ForcedFailure("the condition is false")
    if text != "1" and text.lower() not in ("yes", "true"):
        raise _Unavailable(text, text)


async def _octets(option: Expansion, scope: Scope) -> bytes:
    """Base64 of an option. Raises ForcedFailure, _Unavailable."""
    data = coding.decode(await expand_strictly(option, scope))
    if data is None:
        raise _Unavailable(f'"{option.source}" gives no base64')
    return data


def _verifier(text: str, hash_name: str) -> ScramKeys:
    try:
        keys = read_verifier(text)
    except BadVerifier as error:
        raise _Unavailable(str(error)) from None
    if keys.hash != hash_name:
        raise _Unavailable(f"the verifier is one of {keys.hash}, the mechanism needs {hash_name}")
    return keys
