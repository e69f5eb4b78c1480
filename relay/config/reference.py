"""The reference page of all options, printed from their tables (machine).

`python -m relay.config.reference > docs/reference/options.md` writes it; a test holds the page against the
tables. What is said of an option is the sentence of its row, so there is no second place to keep it right.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS, SYNONYMS
from relay.config.options import Option, Standing

_HEAD = """\
# Options

Every option that a configuration may set, with its type and its default. Those that Exim has mean what its manual
says; those of ours say so. The last column says what becomes of an option:

used
: It does what the sentence says.

no effect
: Nothing here depends on it. It is accepted, and `relay check` remarks on it.

refused
: Without it a decision or a delivery would be another, so that a configuration which sets it is refused, with its
  line. Setting it to nothing, or to its default, is no error.

Blanks in front of a unit of time or size are not allowed: `5m30s`, `50M`. `name` alone sets a boolean, `no_name` or
`not_name` unsets it. `hide` in front of a setting keeps its value from those who are no administrators. The same
tables make the answers of `relay-sendmail -bP`.
"""

_TITLES = {
    "names": "Names",
    "places": "Places",
    "users": "Users",
    "log": "Log",
    "listening": "Listening",
    "sessions": "Sessions",
    "tls": "TLS as a server",
    "old": "Of older Exims",
    "acl": "ACLs",
    "messages": "Messages",
    "queue": "Queue",
    "reports": "Reports to senders",
    "ours": "Ours",
    "exim": "Known by name",
}
_SHORT_STANDING = {Standing.USED: "used", Standing.IGNORED: "no effect", Standing.UNSUPPORTED: "refused"}


def reference_page() -> str:
    """The whole page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    yield "## Main section\n"
    groups = dict.fromkeys(option.group for option in MAIN_OPTIONS.values())
    for group in groups:
        yield f"### {_TITLES[group]}\n"
        yield from _table(option for option in MAIN_OPTIONS.values() if option.group == group)
    for old, new in SYNONYMS.items():
        yield f"`{old}` is another name of `{new}`.\n"
    for section, options in GENERIC.items():
        one = section.removesuffix("s")
        yield f"## {section.capitalize()}\n"
        yield f"### Every {one}\n"
        yield from _table(options.values())
        for driver in DRIVERS.values():
            if driver.section != section:
                continue
            yield f"### {one.capitalize()} driver {driver.name}\n"
            if not driver.served:
                yield f"Not served yet: {driver.why}.\n"
            if driver.options:
                yield from _table(driver.options.values())
            else:
                yield "It has no options of its own.\n"


def _table(options: Iterable[Option]) -> Iterator[str]:
    yield "| Option | Type | Default | What it is | |"
    yield "| --- | --- | --- | --- | --- |"
    for option in options:
        default = f"`{_cell(option.default)}`" if option.default else "unset"
        text = f"{_cell(option.text)} Not in Exim." if option.ours else _cell(option.text)
        standing = _SHORT_STANDING[option.standing]
        yield f"| `{option.name}` | {option.kind.value} | {default} | {text} | {standing} |"
    yield ""


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", "\\n")


if __name__ == "__main__":
    sys.stdout.write(reference_page())
