"""The authenticators of a configuration: what each one is, which are offered, which may be used (decision).

An authenticator is a block of Exim's: a driver, the name of the mechanism, and options of which some make it a server
and some a client. Its conversation is `authenticate.py` (server) or `authenticate_client.py`. SCRAM is served under the
name that it has in Exim, driver `gsasl` with `server_mech`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from relay.esmtp.sasl.binding import bindings_of
from relay.esmtp.sasl.scram import PLUS
from relay.esmtp.sasl.scram_keys import HASHES
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion, compile_for_use
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.mail.facts import SessionFacts
from relay.policy.hosts import matches_client


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Exim: driver plaintext."""

    server_prompts: Expansion | None = None
    client_send: tuple[Expansion, ...] = ()
    ignores_invalid_base64: bool = False


@dataclass(frozen=True, slots=True)
class CramMD5:
    """Exim: driver cram_md5."""

    server_secret: Expansion | None = None
    client_name: Expansion | None = None
    client_secret: Expansion | None = None


@dataclass(frozen=True, slots=True)
class External:
    """Exim: driver external. Here it needs a client certificate in the TLS layer in force."""

    server_param2: Expansion | None = None
    server_param3: Expansion | None = None
    client_send: Expansion | None = None


@dataclass(frozen=True, slots=True)
class ByCertificate:
    """Exim: driver tls. It has no mechanism: it runs once after each handshake with a verified certificate."""

    server_params: tuple[Expansion, ...] = ()


@dataclass(frozen=True, slots=True)
class Scram:
    """Exim: driver gsasl with one of the SCRAM mechanisms; `mechanism` in upper case."""

    mechanism: str
    server_password: Expansion | None = None
    """A password, or a verifier as `relay password --kind scram` makes it."""
    server_stored_key: Expansion | None = None
    server_key: Expansion | None = None
    server_salt: Expansion | None = None
    server_iterations: Expansion | None = None
    client_username: Expansion | None = None
    client_password: Expansion | None = None
    client_salted_password: Expansion | None = None
    client_authz: Expansion | None = None

    @property
    def is_plus(self) -> bool:
        return self.mechanism.endswith(PLUS)


Driver = Plaintext | CramMD5 | External | ByCertificate | Scram


@dataclass(frozen=True, slots=True)
class Authenticator:
    """One instance. The generic options have Exim's names."""

    name: str
    public_name: str
    driver: Driver
    server_advertise_condition: Expansion | None = None
    server_condition: Expansion | None = None
    server_set_id: Expansion | None = None
    server_mail_auth_condition: Expansion | None = None
    client_condition: Expansion | None = None
    client_set_id: Expansion | None = None

    @property
    def is_server(self) -> bool:
        """Its mechanism can be offered. As in Exim an option makes it so."""
        match self.driver:
            case Plaintext() | External() | Scram():
                return self.server_condition is not None
            case CramMD5(server_secret):
                return server_secret is not None
            case ByCertificate():
                return False
            case _ as never:
                assert_never(never)

    @property
    def is_client(self) -> bool:
        """It can be used towards a server."""
        match self.driver:
            case Plaintext(client_send=items):
                return bool(items)
            case External(client_send=identity):
                return identity is not None
            case CramMD5(client_secret=secret):
                return secret is not None
            case Scram() as scram:
                return scram.client_username is not None and (
                    scram.client_password is not None or scram.client_salted_password is not None
                )
            case ByCertificate():
                return False
            case _ as never:
                assert_never(never)


# From a configuration's block


class Options(Protocol):
    """A block as the configuration's reader gives it; `expansion` is None where the option is not set."""

    @property
    def name(self) -> str: ...

    @property
    def driver(self) -> str: ...

    def text(self, option: str) -> str: ...

    def expansion(self, option: str) -> Expansion | None: ...

    def flag(self, option: str) -> bool: ...


class BadAuthenticator(Exception):
    """A block, or the blocks together, make no sense; `option` is the one at fault, "" for the block."""

    def __init__(self, what: str, option: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.option = option
        self.remedy = remedy


def build_authenticator(block: Options) -> Authenticator:
    """The authenticator of a block. Raises BadAuthenticator, ExpansionError (an item of client_send)."""
    driver = _driver(block)
    if isinstance(driver, Scram) and block.expansion("server_password") is None and _wants_server(block):
        keys = ("server_skey", "server_key", "server_scram_salt")
        if any(block.expansion(each) is None for each in keys):
            raise BadAuthenticator(
                "nothing says what the server knows of a name",
                "server_condition",
                "set server_password, or server_skey, server_key and server_scram_salt",
            )
    return Authenticator(
        block.name,
        block.text("public_name") or block.name,
        driver,
        *(
            block.expansion(option)
            for option in (
                "server_advertise_condition",
                "server_condition",
                "server_set_id",
                "server_mail_auth_condition",
                "client_condition",
                "client_set_id",
            )
        ),
    )


def _wants_server(block: Options) -> bool:
    return block.expansion("server_condition") is not None


def _driver(block: Options) -> Driver:
    option = block.expansion
    match block.driver:
        case "plaintext":
            return Plaintext(
                option("server_prompts"), _items(option("client_send")), block.flag("client_ignore_invalid_base64")
            )
        case "cram_md5":
            return CramMD5(option("server_secret"), option("client_name"), option("client_secret"))
        case "external":
            return External(option("server_param2"), option("server_param3"), option("client_send"))
        case "tls":
            first = option("server_param1") or option("server_param")
            params = (first, option("server_param2"), option("server_param3"))
            return ByCertificate(tuple(each for each in params if each is not None))
        case "gsasl":
            return _scram(block)
        case other:
            raise BadAuthenticator(f'authenticator driver "{other}" is not served', "driver")


def _scram(block: Options) -> Scram:
    mechanism = block.text("server_mech").upper()
    if mechanism.removesuffix(PLUS) not in HASHES:
        raise BadAuthenticator(
            f'mechanism "{mechanism}" is not served by driver gsasl',
            "server_mech",
            f"there are {', '.join(HASHES)}, each also with {PLUS}; PLAIN and LOGIN have the driver plaintext",
        )
    option = block.expansion
    return Scram(
        mechanism,
        option("server_password"),
        option("server_skey"),
        option("server_key"),
        option("server_scram_salt"),
        option("server_scram_iter"),
        option("client_username"),
        option("client_password"),
        option("client_spassword"),
        option("client_authz"),
    )


def _items(send: Expansion | None) -> tuple[Expansion, ...]:
    """Exim cuts client_send before it expands it, item by item."""
    return tuple(compile_for_use(item) for item in split_list(send.source).items) if send is not None else ()


def check_together(authenticators: Sequence[Authenticator]) -> None:
    """Raises BadAuthenticator where two cannot be told apart (Exim: auths_init)."""
    for number, one in enumerate(authenticators):
        for other in authenticators[number + 1 :]:
            if one.public_name.upper() != other.public_name.upper():
                continue
            for role, both in (
                ("client", one.is_client and other.is_client),
                ("server", one.is_server and other.is_server),
            ):
                if both:
                    raise BadAuthenticator(
                        f"two {role} authenticators ({one.name} and {other.name}) have the same public name"
                        f" ({one.public_name})",
                        "public_name",
                    )


# What is offered


@dataclass(frozen=True, slots=True)
class AuthRules:
    """All that a configuration says of AUTH as a server and as a client."""

    authenticators: tuple[Authenticator, ...] = ()
    advertise_hosts: MatchList | None = None
    """Exim: auth_advertise_hosts; None: every host."""
    over_tls_hosts: MatchList | None = None
    """Hosts that AUTH is offered to inside TLS alone; ours. None: no host."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What AUTH offers in one session; it holds from the greeting to the next one."""

    authenticators: tuple[Authenticator, ...] = ()
    troubles: tuple[str, ...] = field(default=(), compare=False)
    """Conditions that could not be evaluated, for the log."""

    @property
    def mechanisms(self) -> str:
        """The text behind AUTH in the reply to EHLO; "" where it is not offered."""
        return " ".join(dict.fromkeys(each.public_name.upper() for each in self.authenticators))

    def find(self, mechanism: str) -> Authenticator | None:
        """The authenticator for a name that a client gave."""
        wanted = mechanism.upper()
        return next((each for each in self.authenticators if each.public_name.upper() == wanted), None)

    @property
    def has_plus(self) -> bool:
        """Whether any mechanism is offered with channel binding."""
        return any(isinstance(each.driver, Scram) and each.driver.is_plus for each in self.authenticators)


async def offer(rules: AuthRules, scope: Scope) -> Offer:
    """What to offer to the client in `scope`. Raises TemporaryFailure where a host list can't be asked.

    Once a certificate has authenticated the client (driver tls), EXTERNAL alone stays: some mail programs show their
    certificate only with it, others complain where a password is asked for.
    """
    session = scope.session
    choice: Iterable[Authenticator] = (each for each in rules.authenticators if each.is_server)
    if session.authentication is not None:
        if not is_by_certificate(rules, session):
            return Offer()
        choice = (each for each in choice if isinstance(each.driver, External))
    candidates = [each for each in choice if _is_possible(each.driver, session)]
    if not candidates or not await _is_offered_here(rules, scope):
        return Offer()
    found, troubles = [], []
    for each in candidates:
        trouble: list[str] = []
        if await holds(each.server_advertise_condition, scope, trouble):
            found.append(each)
        troubles += [f"{each.name} authenticator, server_advertise_condition: {text}" for text in trouble]
    return Offer(tuple(found), tuple(troubles))


async def _is_offered_here(rules: AuthRules, scope: Scope) -> bool:
    # On a pipe nobody can listen, even where a caller of ours says whom it speaks for (-oMa).
    session = scope.session
    in_clear = session.tls is None and session.peer is not None and session.caller is None
    if in_clear and rules.over_tls_hosts is not None and await matches_client(rules.over_tls_hosts, scope):
        return False
    return rules.advertise_hosts is None or await matches_client(rules.advertise_hosts, scope)


def _is_possible(driver: Driver, session: SessionFacts) -> bool:
    """Whether the TLS layer in force has what the mechanism stands on."""
    match driver:
        case External():
            return session.tls is not None and session.tls.peer is not None
        case Scram(is_plus=True):
            return bool(bindings_of(session.tls, session.tls.ours if session.tls is not None else None))
        case _:
            return True


def is_by_certificate(rules: AuthRules, session: SessionFacts) -> bool:
    """The client is authenticated, and by its certificate without AUTH: then AUTH EXTERNAL is still allowed."""
    given = session.authentication
    return given is not None and any(
        each.name == given.authenticator and isinstance(each.driver, ByCertificate) for each in rules.authenticators
    )


async def holds(condition: Expansion | None, scope: Scope, troubles: list[str]) -> bool:
    """A condition that is true where it is not set, and false where it can't be expanded, which `troubles` then tells.

    Raises TemporaryFailure. Exim: expand_check_condition.
    """
    if condition is None:
        return True
    try:
        text = await condition.text(scope)
    except ForcedFailure:
        return False
    except ExpansionFailed as error:
        troubles.append(f'failed to expand condition "{condition.source}": {error}')
        return False
    return text not in ("", "0") and text.lower() not in ("no", "false")


async def believes_mail_auth(rules: AuthRules, scope: Scope) -> bool:
    """Whether AUTH= of MAIL is taken over where there is no acl_smtp_mailauth, or it accepts.

    Exim: server_mail_auth_condition of the authenticator that let the client in. Raises TemporaryFailure.
    """
    given = scope.session.authentication
    found = next((each for each in rules.authenticators if given and each.name == given.authenticator), None)
    return found is None or await holds(found.server_mail_auth_condition, scope, [])
