"""What a test has left behind against what the suite says it leaves (machine).

    first_difference(expected, munged, truncated=False, deliveries_sorted=False)

Texts are those of whole files, munged. The rules are those of the suite's `check_file`.
"""

import re
from dataclasses import dataclass

END = "(the end)"
_CUT = "*** truncated ***"
_DELIVERY = re.compile(r"[-\d]{10}\s[:\d]{8}(\.\d{3})?\s[-A-Za-z\d]{23}\s[-=*]>")
_SORTED_NOTE = "**NOTE: The delivery lines in this file have been sorted.\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first line in which a file differs; `line` counts from 1; `END` stands for the end of the file."""

    file: str
    line: int
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: expected {self.expected!a} got {self.got!a}"


def first_difference(
    file: str, expected: str, munged: str, *, truncated: bool = False, deliveries_sorted: bool = False
) -> Difference | None:
    wanted, found = _lines(expected), _lines(munged)
    if truncated:
        found = without_cut_lines(wanted, found)
    if deliveries_sorted:
        found = [_SORTED_NOTE, *with_sorted_deliveries(found)]
    for number in range(max(len(wanted), len(found))):
        ours = found[number] if number < len(found) else END
        theirs = wanted[number] if number < len(wanted) else END
        if ours != theirs:
            return Difference(file, number + 1, theirs.rstrip("\n"), ours.rstrip("\n"))
    return None


def without_cut_lines(wanted: list[str], found: list[str]) -> list[str]:
    """Where a long entry was cut depends on the lengths of names: lines before the cut that the other has not go."""
    found = list(found)
    place = saved = 0
    while place < len(found):
        if _CUT in found[place]:
            saved = next((each for each in range(saved, len(wanted)) if _CUT in wanted[each]), len(wanted))
            if saved == len(wanted):
                break
            same = [each for each in range(place) if found[each] == wanted[saved - 1]]
            if not same or same[-1] == 0:
                break
            del found[same[-1] + 1 : place]
            place = same[-1] + 1
        place += 1
    return found


def with_sorted_deliveries(lines: list[str]) -> list[str]:
    """Each row of delivery lines in the order of the alphabet: parallel deliveries end in any order."""
    done: list[str] = []
    row: list[str] = []
    for line in lines:
        if _DELIVERY.match(line):
            row.append(line)
            continue
        done += [*sorted(row), line]
        row = []
    return done + sorted(row)


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+$", text)
