"""Verdicts kept in files, and what they say together (machine, but for two functions that read and write).

    compared(ours, theirs)  # Markdown: a table by folder, causes by how many tests they fail, then each failure

The real Exim is seldom of the suite's own version, and fails tests too; those that it passes are the measure. They are
also counted without what differs on stderr, where Exim traces what it does in words that change with each version.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from interop.suite.comparing import Difference
from interop.suite.playing import Result, Verdict

_SAID = re.compile(r"(?:relay-sendmail|exim): (?:(?P<place>\S+:\d+(?::\d+)?): )?(?P<text>.*)")
_NOTE = re.compile(r"^note: |:\d+: note: ")
_STDERR = "stderr/"

Verdicts = Mapping[tuple[str, str], Verdict]


def save(path: Path, verdicts: Sequence[tuple[str, Verdict]]) -> None:
    lines = [json.dumps({"folder": folder, **asdict(each), "result": each.result.value}) for folder, each in verdicts]
    path.write_text("\n".join(lines) + "\n")


def load(path: Path) -> dict[tuple[str, str], Verdict]:
    found = {}
    for line in path.read_text().splitlines():
        values = json.loads(line)
        folder = values.pop("folder")
        values["result"] = Result(values["result"])
        values["differences"] = tuple(Difference(**each) for each in values["differences"])
        values |= {name: tuple(values.get(name, ())) for name in ("said", "asked")}
        found[folder, values["test"]] = Verdict(**values)
    return found


def compared(ours: Verdicts, theirs: Verdicts) -> str:
    return "\n".join((*table(ours, theirs), "", *causes(ours, theirs), "", *failures(ours, theirs), ""))


def table(ours: Verdicts, theirs: Verdicts) -> list[str]:
    """By folder how many tests are passed; in brackets: but for what differs on stderr.

    Then how many were skipped by us, and in how many the real one asked the suite's name server about other hosts.
    """
    lines = ["| folder | tests | real | ours | both | skipped | names |", "| --- |" + " ---: |" * 6]
    rows: dict[str, list[int]] = defaultdict(lambda: [0] * 9)
    for key, verdict in ours.items():
        they, we = (passed(each, key) for each in (theirs, ours))
        almost = [nearly_passed(each, key) for each in (theirs, ours)]
        rest = (verdict.result is Result.SKIPPED, key in theirs and bool(theirs[key].asked))
        marks = (True, they, almost[0], we, almost[1], they and we, all(almost), *rest)
        for name in (key[0], "**all**"):
            rows[name] = [count + mark for count, mark in zip(rows[name], marks, strict=True)]
    for name in sorted(rows, key=lambda each: (each == "**all**", each)):
        tests, *passes, skipped, names = rows[name]
        pairs = [f"{one} ({other})" for one, other in zip(passes[::2], passes[1::2], strict=True)]
        lines.append(f"| {name} | {tests} | " + " | ".join(pairs) + f" | {skipped} | {names} |")
    return lines


def passed(verdicts: Verdicts, key: tuple[str, str]) -> bool:
    return key in verdicts and verdicts[key].result is Result.PASSED


def nearly_passed(verdicts: Verdicts, key: tuple[str, str]) -> bool:
    """Passed, or nothing but stderr differs."""
    if key not in verdicts:
        return False
    verdict = verdicts[key]
    differs = verdict.result is Result.DIFFERS
    return passed(verdicts, key) or (differs and all(each.file.startswith(_STDERR) for each in verdict.differences))


def causes(ours: Verdicts, theirs: Verdicts) -> list[str]:
    """What our failures have in common, by how many tests fail of it that the real one passes.

    "alone": among them those in which nothing else was found, so far as a configuration is read to its end.
    """
    counted: Counter[str] = Counter()
    fair: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    for key, verdict in ours.items():
        if nearly_passed(ours, key):
            continue
        found = causes_of(verdict)
        for cause in found:
            counted[cause] += 1
            fair[cause] += nearly_passed(theirs, key)
            alone[cause] += nearly_passed(theirs, key) and len(found) == 1
            examples[cause].append(key[1])
    order = sorted(counted, key=lambda each: (-fair[each], -counted[each], each))
    lines = ["| passed by the real one | alone | all | cause | tests |", "| ---: | ---: | ---: | --- | --- |"]
    for each in order:
        cells = (fair[each], alone[each], counted[each], each.replace("|", "&#124;"), " ".join(examples[each][:12]))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def causes_of(verdict: Verdict) -> tuple[str, ...]:
    """The errors that the program itself has printed, or the kind of the first difference."""
    if verdict.result is Result.SKIPPED:
        return (f"skipped: {re.sub(r'^line [0-9]+: ', '', verdict.detail)}",)
    told = sorted({cause for line in verdict.said if (cause := told_by(line))})
    if told:
        return tuple(told)
    if verdict.result is Result.TIME:
        return ("out of time",)
    if verdict.result is Result.RETURNS:
        return (re.sub(r"^line \d+: ", "", verdict.detail),)
    first = next((each for each in verdict.differences if not each.file.startswith(_STDERR)), verdict.differences[0])
    return (f"differs: {kind_of(first)}",)


def told_by(line: str) -> str:
    """The cause that a line of our own errors tells; "" if it is none. Names that are the test's own are left out."""
    found = _SAID.match(line)
    if found and not _NOTE.search(found["text"]):
        text = re.sub(r"^\w+: (?=\S)", "", found["text"]) if found["place"] else found["text"]
        text = re.sub(r"(option -d)\S+| \(the first time is at .*", r"\1", text)
        return re.sub(r"/\S*/(?=[\w.-]+)", "", text)[:160]
    if re.match(r"\w+(?:\.\w+)*(?:Error|Exception)\b", line) and ": note: " not in line:
        return f"traceback: {line[:140]}"
    return ""


def kind_of(difference: Difference) -> str:
    """Which file, and of what the expected line speaks, without what is the test's own."""
    file = re.split(r"[/ ]", difference.file)[0]
    sides = []
    for line in (difference.expected, difference.got):
        text = re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line)
        text = re.sub(r"\b\w{6}-\w{6,11}-\w{2,4}\b", "ID", text)
        text = re.sub(r"\S+@\S+", "ADDRESS", text)
        sides.append(text[:60])
    return f"{file}: expected `{sides[0]}` got `{sides[1]}`"


def failures(ours: Verdicts, theirs: Verdicts) -> list[str]:
    """Each test that the real one passes and ours does not, with the first difference."""
    lines = ["Passed by the real one and not by ours, but for stderr:", ""]
    for key, verdict in sorted(ours.items()):
        if nearly_passed(theirs, key) and not nearly_passed(ours, key):
            why = verdict.detail or "; ".join(map(str, verdict.differences[:1]))
            lines.append(f"- {key[0]}/{key[1]} {verdict.title}: {verdict.result.value} {why}")
    return lines
