"""AUTH against a real Exim: as a client of it, and as servers that are told the same lines."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from delivery.post import run
from policy.logins import OUTGOING, WITH_CERTIFICATE, block, ports, scope
from relay.mail.reply import Reply
from relay.policy.authenticate import Login, Outcome, Prompt
from relay.policy.authenticate_client import Abandoned, Attempt, Begin, Line, LoggedIn, Rejected
from relay.policy.authenticators import Authenticator, Offer

from interop import exim, peers

SERVERS: Mapping[str, Mapping[str, str]] = {
    "PLAIN": {
        "driver": "plaintext",
        "server_prompts": ":",
        "server_condition": "${if and{{eq{$auth2}{ada}}{eq{$auth3}{sec^ret}}}}",
        "server_set_id": "$auth2",
    },
    "LOGIN": {
        "driver": "plaintext",
        "server_prompts": "Username:: : Password::",
        "server_condition": "${if and{{eq{$auth1}{ada}}{eq{$auth2}{secret}}}}",
    },
    "CRAM-MD5": {"driver": "cram_md5", "server_secret": "${if eq{$auth1}{ada}{secret}fail}"},
    "EXTERNAL": {
        "driver": "external",
        "server_param2": "${uc:$auth1}",
        "server_condition": "${if eq{$auth2}{LAPTOP}}",
    },
    "TOLD": {"driver": "plaintext", "server_condition": "sleepy <$auth1> <$2>"},
    "BROKEN": {"driver": "plaintext", "server_condition": "${eval:1/0}"},
    "FORCED": {"driver": "plaintext", "server_condition": "${if eq{1}{2}{1}fail}"},
    "NAMELESS": {"driver": "plaintext", "server_condition": "1", "server_set_id": "${eval:1/0}"},
    "THREE": {
        "driver": "plaintext",
        "server_prompts": "<; a;b;c",
        "server_condition": "${if eq{$auth1$auth2$auth3}{abc}}",
    },
}
ADA = "AGFkYQBzZWNecmV0"


def ours(mechanism: str) -> Authenticator:
    options = dict(SERVERS[mechanism])
    return block(options.pop("driver"), mechanism.lower(), public_name=mechanism, **options)


@pytest.fixture(scope="module")
def configuration() -> Iterator[Path]:
    with peers.directory("exim-auth") as directory:
        for name in ("spool", "log"):
            peers.make_directory(directory / name, exim.USER)
        blocks = "".join(
            f"{name.lower().replace('-', '_')}:\n  public_name = {name}\n"
            + "".join(f"  {option} = {text}\n" for option, text in options.items())
            for name, options in SERVERS.items()
        )
        config = directory / "exim.conf"
        config.write_text(
            f"primary_hostname = relay.test\nspool_directory = {directory}/spool\nkeep_environment =\n"
            f"log_file_path = {directory}/log/%slog\nbegin authenticators\n{blocks}"
        )
        yield config


class Session:
    """SMTP with an Exim on a pipe."""

    def __init__(self, configuration: Path) -> None:
        self._process = subprocess.Popen(
            [peers.EXIM, "-C", configuration, "-oMa", "192.0.2.7.40000", "-bs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reply()
        self.say("EHLO laptop.test")

    def say(self, line: str) -> str:
        """The last line of the reply."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line[3:4] != "-":
                return line.rstrip("\r\n")
        raise AssertionError("Exim has gone")

    def close(self) -> None:
        self._process.communicate("QUIT\n", timeout=20)


@pytest.fixture
def session(configuration: Path) -> Iterator[Session]:
    one = Session(configuration)
    yield one
    one.close()


DIALOGS: Sequence[Sequence[str]] = (
    ("PLAIN " + ADA,),
    ("PLAIN " + ADA + "AA==",),
    ("PLAIN", ADA),
    ("PLAIN", ""),
    ("PLAIN", "="),
    ("PLAIN =",),
    ("PLAIN", "*"),
    ("PLAIN ?",),
    ("PLAIN AAAA=",),
    ("PLAIN", "AAA"),
    ("PLAIN AGFkYQB3cm9uZw==",),
    ("LOGIN", "YWRh", "c2VjcmV0"),
    ("LOGIN YWRh", "c2VjcmV0"),
    ("LOGIN YWRhAHNlY3JldA==",),
    ("LOGIN =", "c2VjcmV0"),
    ("LOGIN", "YWRhAHNlY3JldA=="),
    ("LOGIN", "YWRh", "*"),
    ("LOGIN", "YWRh", ""),
    ("CRAM-MD5 YQ==",),
    ("CRAM-MD5 =",),
    ("EXTERNAL bGFwdG9w",),
    ("EXTERNAL", "bGFwdG9w"),
    ("EXTERNAL =",),
    ("TOLD",),
    ("TOLD YQBi",),
    ("BROKEN",),
    ("FORCED",),
    ("NAMELESS",),
    ("THREE", "YQ==", "Yg==", "Yw=="),
    ("THREE YQBi", "Yw=="),
    ("THREE YQ==", "YgBj"),
    ("THREE YQBiAGMAZA==",),
)


def reply_of(outcome: Outcome) -> str:
    return f"334 {outcome.text}" if isinstance(outcome, Prompt) else str(outcome.reply)


@pytest.mark.interop("exim")
@pytest.mark.parametrize("dialog", DIALOGS, ids=" / ".join)
def test_the_same_lines_get_the_same_replies(dialog: Sequence[str], session: Session) -> None:
    mechanism, _, initial = dialog[0].partition(" ")
    one = ours(mechanism)
    login = Login(one, Offer((one,)), scope(WITH_CERTIFICATE), ports())
    said = [session.say(f"AUTH {dialog[0]}"), *(session.say(line) for line in dialog[1:])]
    outcome = run(login.start(initial or None))
    told = [reply_of(outcome)]
    for line in dialog[1:]:
        outcome = run(login.respond(line))
        told.append(reply_of(outcome))
    assert [each.rstrip() for each in said] == [each.rstrip() for each in told]


CLIENTS = {
    "plain": (block("plaintext", public_name="PLAIN", client_send="^ada^sec^^ret"), LoggedIn),
    "plain, prompted": (block("plaintext", public_name="PLAIN", client_send=": ^ada^sec^^ret"), LoggedIn),
    "login": (block("plaintext", public_name="LOGIN", client_send=": ada : secret"), LoggedIn),
    "login at once": (block("plaintext", public_name="LOGIN", client_send="ada : secret"), LoggedIn),
    "login, wrong": (block("plaintext", public_name="LOGIN", client_send=": ada : wrong"), Rejected),
    "cram": (block("cram_md5", public_name="CRAM-MD5", client_name="ada", client_secret="secret"), LoggedIn),
    "cram, wrong": (block("cram_md5", public_name="CRAM-MD5", client_name="bob", client_secret="x"), Rejected),
    "external": (block("external", public_name="EXTERNAL", client_send="laptop"), LoggedIn),
    "external, empty": (block("external", public_name="EXTERNAL", client_send=""), Rejected),
}


@pytest.mark.interop("exim")
@pytest.mark.parametrize("name", CLIENTS)
def test_it_lets_us_in(name: str, session: Session) -> None:
    authenticator, ending = CLIENTS[name]
    attempt = Attempt(authenticator, tuple(SERVERS), scope(tls_out=OUTGOING), ports())
    move = run(attempt.start())
    assert isinstance(move, Begin)
    said = session.say(f"AUTH {move.mechanism}" + (f" {move.initial}" if move.initial is not None else ""))
    while said.startswith("334"):
        move = run(attempt.challenged(said[4:]))
        assert isinstance(move, Line | Abandoned)
        said = session.say(move.text if isinstance(move, Line) else "*")
    assert isinstance(run(attempt.answered(Reply(int(said[:3]), "", (said[4:],)))), ending)
