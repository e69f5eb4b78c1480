"""The command line of `relay-sendmail`: sendmail's and Exim's options, read by hand (values).

They are no getopt: some take their value in the same word or in the next, some are words behind one dash, and
letters that mean something to an old mail program must be swallowed in silence. What is read here is only
what was asked for; whether the caller may have it is decided elsewhere. A word that is not understood is an
error, as in Exim.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

from relay.reception.request import DeliveryMode

_TIME = re.compile(r"(?:\d+[wdhms])+|\d+")
_QUEUE_RUN = re.compile(r"(q?)(i?)(f{0,2})(l?)(.*)")
_MESSAGE_ID = re.compile(r"[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})")
# Options of Exim's that a later version serves, as against slips.
_LATER = re.compile(r"b(?:rw|em|f|F|fd|fl|fp|fs|malware|w.*|I:.*)|oPX?|M[CG].*|qG.*")
_MACRO = re.compile(r"([A-Z][A-Za-z0-9_]*)\s*(?:=\s*(.*))?", re.DOTALL)


class UsageError(Exception):
    """A word of the command line is not understood; the text is the one line that the user gets."""


class Mode(enum.Enum):
    """What the command is to do."""

    MESSAGE = "message"
    DAEMON = "daemon"
    QUEUE_RUN = "queue run"
    LIST_QUEUE = "list queue"
    COUNT_QUEUE = "count queue"
    EXPAND = "expand"
    VERSION = "version"
    OPTIONS = "options"
    ALIASES = "aliases"
    SESSION = "SMTP on standard input"
    BATCH = "batched SMTP"
    PLAYED_SESSION = "SMTP as if from an address"
    TEST_ADDRESS = "test addresses"
    VERIFY_RECIPIENT = "verify recipients"
    VERIFY_SENDER = "verify senders"
    TEST_RETRY = "test retry rules"
    TEST_REWRITING = "test rewriting rules"
    ACT = "act on queued messages"
    HELP = "help"
    NOTE = "write a line to the log"
    LATER = "later"
    """An option of Exim's that a later version will serve."""


class Action(enum.Enum):
    """What is done to the messages behind -M; the values are its letters."""

    DELIVER = ""
    DELIVER_IF_DUE = "c"
    FREEZE = "f"
    GIVE_UP = "g"
    THAW = "t"
    REMOVE = "rm"
    MARK_ALL_DELIVERED = "mad"
    MARK_DELIVERED = "md"
    ADD_RECIPIENTS = "ar"
    EDIT_SENDER = "es"
    LOAD = "set"
    SHOW_BODY = "vb"
    SHOW_COPY = "vc"
    SHOW_HEADER = "vh"
    SHOW_LOG = "vl"


_MANY = (
    Action.DELIVER,
    Action.DELIVER_IF_DUE,
    Action.FREEZE,
    Action.GIVE_UP,
    Action.THAW,
    Action.REMOVE,
    Action.MARK_ALL_DELIVERED,
)
"""Behind these the rest of the command line is message ids; the others take one, and options and addresses follow."""


@dataclass(frozen=True, slots=True)
class QueueRun:
    """One `-q…`: letters and, for a repeated one, the interval in seconds."""

    two_stage: bool = False
    first_only: bool = False
    force: bool = False
    thaw: bool = False
    local_only: bool = False
    interval: int = 0
    """0: once, now."""
    start: str = ""
    stop: str = ""
    recipient: str = ""
    """-R: only messages that wait for such an address."""
    recipient_is_pattern: bool = False
    sender: str = ""
    """-S: only messages of such a sender."""
    sender_is_pattern: bool = False


@dataclass(frozen=True, slots=True)
class GivenFacts:
    """What the caller says of the client that a message came from (Exim: -oM…, -bh). Addresses as they were written."""

    address: str = ""
    interface: str = ""
    host: str = ""
    ident: str = ""
    protocol: str = ""
    authenticator: str = ""
    authenticated_id: str = ""
    authenticated_sender: str = ""
    message: str = ""

    def items(self) -> tuple[tuple[str, str], ...]:
        """What was said of the client, as a submission's request has it."""
        said = ((each.name, str(getattr(self, each.name))) for each in fields(self))
        return tuple((name, text) for name, text in said if text)


@dataclass(frozen=True, slots=True)
class Arguments:
    """All that was asked for."""

    mode: Mode = Mode.MESSAGE
    words: tuple[str, ...] = ()
    """Behind the options: recipients, strings to expand, message ids."""
    configuration: str = ""
    macros: tuple[tuple[str, str], ...] = ()
    sender: str | None = None
    full_name: str | None = None
    extract_recipients: bool = False
    dot_ends: bool = True
    delivery: DeliveryMode = DeliveryMode.BACKGROUND
    delivery_asked: bool = False
    """-od… was given."""
    routes_only: bool = False
    """-odqs: the first attempt leaves what goes to other hosts."""
    fix_header: bool = True
    qualify: bool = True
    verbose: bool = False
    debug: bool = False
    """-d: what is told of an address is told in full; there is no other debugging."""
    deliver_really: bool = True
    """False with -N."""
    errors_end_well: bool = False
    """-oee: status 0 where the sender was told."""
    listing: str = ""
    """What follows -bp: u, a, i, r in front of them."""
    foreground: bool = False
    interfaces: str | None = None
    """-oX."""
    pid_file: str = ""
    """-oP: where the daemon writes its process id, instead of pid_file_path."""
    queue_runs: tuple[QueueRun, ...] = ()
    action: Action | None = None
    message_ids: tuple[str, ...] = ()
    """What -M… acts on."""
    given: GivenFacts = GivenFacts()
    tls_on_connect: bool = False
    certificate: str = ""
    """--cert of -bh: a file with the certificate that the client shows. Ours."""
    note: str = ""
    """-z: what is to be written to the log."""
    labels: bool = True
    """False with -n: values without the names of their options."""
    option: str = ""
    """The word that chose the mode, for messages."""


# Names that the program may have, and what each stands for.
_CALLED_AS = {
    "mailq": Arguments(mode=Mode.LIST_QUEUE, option="-bp"),
    "newaliases": Arguments(mode=Mode.ALIASES, option="-bi"),
    "runq": Arguments(mode=Mode.QUEUE_RUN, queue_runs=(QueueRun(),), option="-q"),
    "rmail": Arguments(dot_ends=False, errors_end_well=True),
}


def read_arguments(program: str, words: Sequence[str]) -> Arguments:
    """Reads the command line of a program that was called by this name. Raises UsageError."""
    start = _CALLED_AS.get(program.rpartition("/")[2], Arguments())
    return _Reader(start, words).read()


def read_time(text: str) -> int:
    """Exim's times: `90` and `1m30s` are ninety seconds. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    if text.isdigit():
        return int(text)
    sizes = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * sizes[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text))


@dataclass(slots=True)
class _Reader:
    result: Arguments
    words: Sequence[str]
    position: int = 0
    word: str = field(default="")

    def read(self) -> Arguments:
        while self.position < len(self.words):
            self.word = self.words[self.position]
            if self.word == "--":
                self.position += 1
                break
            if not self.word.startswith("-") or self.word == "-":
                break
            self.position += 1
            self._option(self.word[1:])
        self._set(words=tuple(self.words[self.position :]))
        self._check()
        return self.result

    def _check(self) -> None:
        if self.result.mode is Mode.MESSAGE and self.result.queue_runs:
            self._set(mode=Mode.QUEUE_RUN)
        if self.result.mode is Mode.QUEUE_RUN and any(run.interval for run in self.result.queue_runs):
            self._set(mode=Mode.DAEMON)
        if self.result.certificate and self.result.mode is not Mode.PLAYED_SESSION:
            raise UsageError("--cert stands for a client's certificate and needs -bh")

    def _set(self, **changes: object) -> None:
        self.result = replace(self.result, **changes)  # type: ignore[arg-type]  # the field's name says its type

    def _bad(self) -> UsageError:
        return UsageError(f"unknown, malformed, or incomplete option {self.word}")

    def _value(self, rest: str) -> str:
        """The value behind the letter, or the next word."""
        return rest or self._next()

    def _next(self) -> str:
        if self.position >= len(self.words):
            raise self._bad()
        self.position += 1
        return self.words[self.position - 1]

    def _option(self, text: str) -> None:
        if text in _WHOLE_WORDS:
            self._set(**_WHOLE_WORDS[text])
            if "mode" in _WHOLE_WORDS[text]:
                self._set(option=self.word)
            return
        for start, read in _BEGINNINGS:
            if text.startswith(start):
                read(self, text[len(start) :])
                return
        raise self._bad()

    def _mode(self, mode: Mode) -> None:
        self._set(mode=mode, option=self.word)

    # One method for each beginning of a word; `rest` is what follows it.

    def swallow(self, rest: str) -> None:
        """A value that means nothing here."""
        self._value(rest)

    def ignore(self, rest: str) -> None:
        """Letters that mean nothing here, whatever follows them in the word."""

    def in_full(self, rest: str) -> None:
        """-d and whatever it selects."""
        self._set(debug=True)

    def values_only(self, rest: str) -> None:
        """-n, and what an old mail program may have written behind it."""
        self._set(labels=False)

    def configuration(self, rest: str) -> None:
        self._set(configuration=self._value(rest))

    def macro(self, rest: str) -> None:
        match = _MACRO.fullmatch(rest.lstrip())
        if match is None:
            raise UsageError("macro name set by -D must start with an upper case letter")
        name, value = match.group(1), match.group(2) or ""
        if name in dict(self.result.macros):
            raise UsageError(f"duplicated -D in command line: {name}")
        self._set(macros=(*self.result.macros, (name, value)))

    def sender(self, rest: str) -> None:
        self._set(sender=self._value(rest))

    def note(self, rest: str) -> None:
        """-z: a line for the log, whatever else was asked for."""
        if rest:
            raise self._bad()
        self._mode(Mode.NOTE)
        self._set(note=self._next())

    def full_name(self, rest: str) -> None:
        self._set(full_name=self._value(rest))

    def hop_count(self, rest: str) -> None:
        if not self._value(rest).isdigit():
            raise self._bad()

    def messages_per_connection(self, rest: str) -> None:
        if not rest and self.position < len(self.words) and self.words[self.position][:1].isdigit():
            rest = self._next()
        if rest and not rest.isdigit():
            raise UsageError("number expected after -oB")

    def timeout(self, rest: str) -> None:
        self._time(self._value(rest))

    def interfaces(self, rest: str) -> None:
        if rest:
            raise self._bad()
        self._set(interfaces=self._next())

    def pid_file(self, rest: str) -> None:
        if rest:
            self.later(rest)
        else:
            self._set(pid_file=self._next())

    def listing(self, rest: str) -> None:
        if rest == "c":
            self._mode(Mode.COUNT_QUEUE)
        elif re.fullmatch(r"r?[uai]?", rest):
            self._mode(Mode.LIST_QUEUE)
            self._set(listing=rest)
        else:
            raise self._bad()

    def given(self, rest: str) -> None:
        """-oM and its letters: the next word is the value."""
        name = _GIVEN.get(rest)
        if name is None:
            raise self._bad()
        value = self._next()
        if name == "message" and not _MESSAGE_ID.fullmatch(value):
            raise UsageError("-oMm must be a valid message ID")
        self._set(given=replace(self.result.given, **{name: value}))

    def played_session(self, rest: str) -> None:
        if rest not in ("", "c"):
            raise self._bad()
        self._mode(Mode.PLAYED_SESSION)
        self._set(given=replace(self.result.given, address=self._next()))

    def certificate(self, rest: str) -> None:
        if rest:
            raise self._bad()
        self._set(certificate=self._next())

    def later(self, rest: str) -> None:
        if not _LATER.fullmatch(self.word.removeprefix("-")):
            raise self._bad()
        self._mode(Mode.LATER)

    def act(self, rest: str) -> None:
        """-M and its letters."""
        try:
            action = Action(rest)
        except ValueError:
            self.later(rest)
            return
        if self.position >= len(self.words):
            raise UsageError(f"no message ids given after {self.word} option")
        option, end = self.word, len(self.words) if action in _MANY else self.position + 1
        ids = tuple(self.words[self.position : end])
        for each in ids:
            if not _MESSAGE_ID.fullmatch(each):
                raise UsageError(f"malformed message id {each} after {option} option")
        self.position = end
        self._set(action=action, message_ids=ids)
        if action is not Action.LOAD:
            self._mode(Mode.ACT)

    def of_recipient(self, rest: str) -> None:
        """-R: a queue run for some addresses."""
        self._select("recipient", rest)

    def of_sender(self, rest: str) -> None:
        """-S: a queue run for some senders."""
        self._select("sender", rest)

    def _select(self, name: str, rest: str) -> None:
        """`f`, `ff`, `r`, `rf`, `rff` are options if they are all that is behind the letter."""
        match = re.fullmatch(r"(r?)(f{0,2})", rest)
        pattern, force = match.groups() if match else ("", "")
        text = "" if match else rest
        if not text:
            if self.position >= len(self.words):
                raise UsageError(f"string expected after -{name[0].upper()}")
            text = self._next()
        *before, run = self.result.queue_runs or (QueueRun(),)
        run = replace(run, force=run.force or bool(force), thaw=run.thaw or force == "ff")
        run = replace(run, **{name: text, f"{name}_is_pattern": bool(pattern)})  # type: ignore[arg-type]  # two kinds
        self._set(queue_runs=(*before, run))
        if self.result.mode is Mode.MESSAGE:
            self._mode(Mode.QUEUE_RUN)

    def queue_run(self, rest: str) -> None:
        match = _QUEUE_RUN.fullmatch(rest)
        assert match is not None
        stages, first, force, local, tail = match.groups()
        if tail[:1] == "G":
            self._mode(Mode.LATER)
            return
        if tail[:1] in ("R", "S"):
            run = QueueRun(bool(stages), bool(first), bool(force), force == "ff", bool(local))
            self._set(queue_runs=(*self.result.queue_runs, run))
            self._select("recipient" if tail[0] == "R" else "sender", tail[1:])
            return
        interval, start, stop = 0, "", ""
        if tail:
            interval = self._time(tail)
        elif (following := self._following()) and not following.startswith("-"):
            if _MESSAGE_ID.fullmatch(following):
                start = self._next()
                stop = self._next() if _MESSAGE_ID.fullmatch(self._following()) else ""
            else:
                interval = self._time(self._next())
        run = QueueRun(bool(stages), bool(first), bool(force), force == "ff", bool(local), interval, start, stop)
        self._set(queue_runs=(*self.result.queue_runs, run))
        if self.result.mode is Mode.MESSAGE:
            self._mode(Mode.QUEUE_RUN)

    def _following(self) -> str:
        return self.words[self.position] if self.position < len(self.words) else ""

    def _time(self, text: str) -> int:
        try:
            return read_time(text)
        except ValueError:
            raise UsageError(f"bad time value {text}: abandoned") from None


_GIVEN = {
    "a": "address",
    "aa": "authenticator",
    "ai": "authenticated_id",
    "as": "authenticated_sender",
    "i": "interface",
    "m": "message",
    "r": "protocol",
    "s": "host",
    "t": "ident",
}
_QUEUE: dict[str, object] = {"delivery": DeliveryMode.QUEUE, "delivery_asked": True}
_INTERACTIVE: dict[str, object] = {"delivery": DeliveryMode.INTERACTIVE, "delivery_asked": True}

# Words that are complete in themselves (the dash left out) and what they set. {} means: swallowed.
_WHOLE_WORDS: dict[str, dict[str, object]] = {
    "-help": {"mode": Mode.HELP},
    "-version": {"mode": Mode.VERSION},
    "Ac": {},
    "Am": {},
    "G": {"fix_header": False},
    "N": {"deliver_really": False, "verbose": True},
    "bS": {"mode": Mode.BATCH},
    "bs": {"mode": Mode.SESSION},
    "bP": {"mode": Mode.OPTIONS},
    "bV": {"mode": Mode.VERSION},
    "bd": {"mode": Mode.DAEMON},
    "bdf": {"mode": Mode.DAEMON, "foreground": True},
    "be": {"mode": Mode.EXPAND},
    "bi": {"mode": Mode.ALIASES},
    "bm": {"mode": Mode.MESSAGE},
    "brt": {"mode": Mode.TEST_RETRY},
    "brw": {"mode": Mode.TEST_REWRITING},
    "bt": {"mode": Mode.TEST_ADDRESS},
    "bv": {"mode": Mode.VERIFY_RECIPIENT},
    "bvs": {"mode": Mode.VERIFY_SENDER},
    "bnq": {"qualify": False},
    "ee": {"errors_end_well": True},
    "em": {},
    "ep": {},
    "eq": {},
    "ew": {},
    "i": {"dot_ends": False},
    "m": {},
    "odb": {"delivery": DeliveryMode.BACKGROUND, "delivery_asked": True},
    "odf": _INTERACTIVE,
    "odi": _INTERACTIVE,
    "odq": _QUEUE,
    "odqs": {"routes_only": True, "delivery_asked": True},
    "oee": {"errors_end_well": True},
    "oem": {},
    "oep": {},
    "oeq": {},
    "oew": {},
    "oi": {"dot_ends": False},
    "oitrue": {"dot_ends": False},
    "om": {},
    "oo": {},
    "ov": {"verbose": True},
    "oY": {},
    "t": {"extract_recipients": True},
    "ti": {"extract_recipients": True, "dot_ends": False},
    "tls-on-connect": {"tls_on_connect": True},
    "v": {"verbose": True},
    "x": {},
}

# Beginnings of words that something follows, the longer ones first where one begins another.
_BEGINNINGS: tuple[tuple[str, Callable[[_Reader, str], None]], ...] = (
    ("bp", _Reader.listing),
    ("bh", _Reader.played_session),
    ("-cert", _Reader.certificate),
    ("b", _Reader.later),
    ("oA", _Reader.swallow),
    ("oB", _Reader.messages_per_connection),
    ("oM", _Reader.given),
    ("oP", _Reader.pid_file),
    ("or", _Reader.timeout),
    ("os", _Reader.timeout),
    ("oX", _Reader.interfaces),
    ("B", _Reader.swallow),
    ("C", _Reader.configuration),
    ("D", _Reader.macro),
    ("F", _Reader.full_name),
    ("L", _Reader.swallow),
    ("M", _Reader.act),
    ("O", _Reader.swallow),
    ("R", _Reader.of_recipient),
    ("S", _Reader.of_sender),
    ("U", _Reader.ignore),
    ("X", _Reader.swallow),
    ("d", _Reader.in_full),
    ("f", _Reader.sender),
    ("h", _Reader.hop_count),
    ("n", _Reader.values_only),
    ("p", _Reader.swallow),
    ("q", _Reader.queue_run),
    ("r", _Reader.sender),
    ("z", _Reader.note),
)
