"""What a daemon's parent process and its workers say to each other: a JSON object a line (values).

    parent -> worker    Order (the first line), Recover, Detach
    worker -> parent    Ready, Counted

A worker reads from its standard input and writes to descriptor 3. The end of either is the end of the other side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

# Where a worker writes.
REPORTS = 3
# The first descriptor of what a worker inherits.
FIRST_INHERITED = 4


@dataclass(frozen=True, slots=True)
class SharedPort:
    """A listening socket that a worker inherits."""

    descriptor: int
    family: str
    """`inet`, `inet6` or `unix`."""
    tls_on_connect: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do. `index` counts from 0; worker 0 empties the maildrop."""

    configuration: str
    macros: Mapping[str, str]
    queue_interval: float
    index: int
    ports: tuple[SharedPort, ...]
    submissions: SharedPort
    control: SharedPort
    crowd: int
    """The descriptor of the shared memory of `net.crowd`."""
    crowd_key: str
    """Hexadecimal."""
    self_signed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where no certificate is named: the one for this host name, in PEM with its key. It is in this line alone."""


@dataclass(frozen=True, slots=True)
class Recover:
    """A worker has died: what it had claimed is due for the others."""

    owner: str = ""
    """Under which it held its claims, as it had told; empty where it had not."""


@dataclass(frozen=True, slots=True)
class Detach:
    """The daemon goes on in the background: nothing more goes to the standard error of who started it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker serves."""

    owner: str
    """The id under which it holds claims in the queue."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The worker's counters: name and label values (a JSON text), and the number."""

    counts: Mapping[str, float]


Line = Order | Recover | Detach | Ready | Counted
_KINDS = {kind.__name__: kind for kind in (Order, Recover, Detach, Ready, Counted)}


def encode(line: Line) -> bytes:
    """The line with its line feed."""
    return json.dumps({"kind": type(line).__name__, **asdict(line)}).encode() + b"\n"


def decode(line: bytes) -> Line:
    """Raises ValueError for what neither side says."""
    try:
        told = json.loads(line)
        kind = _KINDS[told.pop("kind")]
        if kind is Order:
            told["ports"] = tuple(SharedPort(**port) for port in told["ports"])
            told["submissions"] = SharedPort(**told["submissions"])
            told["control"] = SharedPort(**told["control"])
        made: Line = kind(**told)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a line between parent and worker: {error}") from error
    return made
