"""The text of a configuration: joining, comments, macros, conditionals, includes, sections."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config.syntax import ConfigurationText, read_text
from relay.mail.source import Location


def read(
    text: str, files: Mapping[str, str] | None = None, macros: tuple[tuple[str, str], ...] = (), **options: object
) -> ConfigurationText:
    known = {"/etc/conf": text, **(files or {})}

    def reader(path: str) -> str:
        if path not in known:
            raise FileNotFoundError(path)
        if known[path] == "forbidden":
            raise PermissionError(13, "Permission denied")
        return known[path]

    return read_text("/etc/conf", reader, macros, {"_HAVE_TLS": "y", "_HAVE_TLS_RESUME": "y"})


def lines(text: str, **options: object) -> list[str]:
    found = read(text, **options)  # type: ignore[arg-type]
    assert found.problems == ()
    return [line.text for line in found.section("")]


def complaints(text: str, **options: object) -> list[str]:
    return [str(problem) for problem in read(text, **options).problems]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2\n", ["a = 1", "b = 2"]),
        ("  a = 1  \n\n\t\n b = 2", ["a = 1", "b = 2"]),
        ("# no\n  # no\na = # yes", ["a = # yes"]),
        ("a = 1 \\\n     2", ["a = 1 2"]),
        ("a = 1\\\n     2", ["a = 12"]),
        ("a = 1\\   \n2", ["a = 12"]),
        ("a = 1 : \\\n# a comment in between\n  2", ["a = 1 : 2"]),
        ("a = 1 \\\n\nb = 2", ["a = 1", "b = 2"]),
        ("a = 1 \\\n  \\\n  2", ["a = 1 2"]),
        ("a = 1 \\", ["a = 1"]),
        ("a = 1\r\nb = 2\r\n", ["a = 1", "b = 2"]),
        ("\\\n\\\n", []),
        ("", []),
    ],
)
def test_logical_lines(text: str, expected: list[str]) -> None:
    assert lines(text) == expected


def test_a_line_knows_where_it_begins() -> None:
    found = read("\na = 1 \\\n 2\n.include more\nb = 3", {"/etc/more": "\n\nc = 4"})
    assert [(line.location, line.text) for line in found.section("")] == [
        (Location("/etc/conf", 2), "a = 1 2"),
        (Location("/etc/more", 3), "c = 4"),
        (Location("/etc/conf", 5), "b = 3"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X = 1\na = X", ["a = 1"]),
        ("X = 1\na = bXcX", ["a = b1c1"]),
        ("X = 1\n a = X\\\nX", ["a = 11"]),
        # A longer name that is defined first is replaced first.
        ("AB = 1\nA = 2\na = AB A", ["a = 1 2"]),
        # The text of a macro is replaced by macros that are defined behind it, and by its own when it is defined.
        ("A = 1\nB = A A\na = B", ["a = 1 1"]),
        ("A = B\nB = 1\na = A", ["a = 1"]),
        ("A = A\na = A", ["a = A"]),
        ("A = 1\nA == 2\na = A", ["a = 2"]),
        ("A =\na = <A>", ["a = <>"]),
        ("A = b = 1\nA", ["b = 1"]),
        ("A = # comment\nA\na = 1", ["a = 1"]),
        ("A   =   1\na=A", ["a=1"]),
        ("A = x\\\n   y\na = A", ["a = xy"]),
        ("a = _HAVE_TLS", ["a = y"]),
    ],
)
def test_macros(text: str, expected: list[str]) -> None:
    assert lines(text) == expected


def test_macros_of_the_command_line_win() -> None:
    assert lines("X = 1\nX == 2\na = X", macros=(("X", "9"),)) == ["a = 9"]


def test_macros_may_stand_between_acls_and_drivers_and_not_in_retry_rules() -> None:
    found = read("begin acl\none:\nX = accept\nX\nbegin retry\nX\nY = 1")
    assert [line.text for line in found.section("acl")] == ["one:", "accept"]
    assert [line.text for line in found.section("retry")] == ["accept", "Y = 1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".ifdef X\na\n.endif\nb", ["b"]),
        (".ifndef X\na\n.endif\nb", ["a", "b"]),
        ("X = 1\n.ifdef X\na\n.else\nb\n.endif", ["a"]),
        ("X =\n.ifdef X\na\n.else\nb\n.endif", ["a"]),
        (".ifdef X\na\n.else\nb\n.endif", ["b"]),
        ("Y = 1\n.ifdef X\na\n.elifdef Y\nb\n.else\nc\n.endif", ["b"]),
        ("X = 1\nY = 1\n.ifdef X\na\n.elifdef Y\nb\n.else\nc\n.endif", ["a"]),
        (".ifdef X\na\n.elifndef Y\nb\n.else\nc\n.endif", ["b"]),
        (".ifdef X\n.ifndef X\na\n.else\nb\n.endif\n.else\nc\n.endif", ["c"]),
        (".ifndef X\n.ifdef X\na\n.else\nb\n.endif\n.else\nc\n.endif", ["b"]),
        (".ifdef X\nY = 1\n.endif\n.ifdef Y\na\n.endif", []),
        (".ifdef _HAVE_TLS\na\n.endif", ["a"]),
        (".ifdef _HAVE_GNUTLS\na\n.endif", []),
        ("a = 1 \\\n.ifdef X\n 2 \\\n.endif\n 3", ["a = 1 3"]),
        (".ifdef X\n.include /nowhere\n.endif", []),
    ],
)
def test_conditionals(text: str, expected: list[str]) -> None:
    assert lines(text) == expected


def test_includes() -> None:
    files = {"/etc/more": "b\n.include deeper", "/etc/deeper": "c", "/other": "d"}
    text = 'a\n.include more\n.include "/other"\n.include_if_exists /nowhere\n.include_if_exists /other\ne'
    assert lines(text, files=files) == ["a", "b", "c", "d", "d", "e"]


def test_an_include_may_change_the_section() -> None:
    found = read(".include acls\nbegin routers\nr:", {"/etc/acls": "begin acl\na:"})
    assert [(section.name, [line.text for line in section.lines]) for section in found.sections] == [
        ("", []),
        ("acl", ["a:"]),
        ("routers", ["r:"]),
    ]


@pytest.mark.parametrize("written", ["acl", "ACL", "acls", "router", "routers", "Transports", "rewrite"])
def test_names_of_sections(written: str) -> None:
    found = read(f"begin  {written}\nx")
    assert found.problems == ()
    assert found.sections[1].name.startswith(written.lower()[:5].removesuffix("s"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("X = 1\nX = 2", '/etc/conf:2: macro "X" is already defined (use "==" to redefine it)'),
        ("X == 1", '/etc/conf:1: macro "X" is not defined yet (use "=" to define it)'),
        ("A = 1\nAB = 2", '/etc/conf:2: "AB" cannot be a macro'),
        (".ifdef X\na", "/etc/conf:1: .endif is missing"),
        (".endif", "/etc/conf:1: .endif without .ifdef"),
        (".else", "/etc/conf:1: .else without .ifdef"),
        (".inclued x", '/etc/conf:1: unknown directive ".inclued" (did you mean ".include"?)'),
        ("\ufeffexim_path = x", "/etc/conf:1: found unexpected BOM (Byte Order Mark)"),
        (".include nowhere", "/etc/conf:1: failed to open included configuration file /etc/nowhere"),
        (".include /forbidden", "/etc/conf:1: failed to open included configuration file /forbidden (Permission"),
        (".include_if_exists more", '/etc/conf:1: .include specifies a non-absolute path "more"'),
        (".include /etc/conf", "/etc/conf:1: /etc/conf is included too deeply or too often"),
        ("begin routrs", '/etc/conf:1: unknown section "routrs" (did you mean "routers"?)'),
        ("begin acl\nbegin acl", '/etc/conf:2: section "acl" begins a second time'),
        ("X" * 64 + " = 1", "/etc/conf:1: macro name too long (maximum is 63 characters)"),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    found = complaints(text, files={"/forbidden": "forbidden"})
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_all_complaints_at_once() -> None:
    assert [each.split(" ")[0] for each in complaints(".endif\nX == 1\na = 1\n.include b\nbegin no")] == [
        "/etc/conf:1:",
        "/etc/conf:2:",
        "/etc/conf:4:",
        "/etc/conf:5:",
    ]


def test_a_file_that_is_not_there() -> None:
    def reader(path: str) -> str:
        raise FileNotFoundError(path)

    found = read_text("/nowhere", reader)
    assert [problem.location for problem in found.problems] == [Location("/nowhere")]


def test_macros_that_grow_are_stopped() -> None:
    text = "M0 = 0123456789\n" + "".join(f"M{n} = M{n - 1}M{n - 1}\n" for n in range(1, 10))
    text += "".join(f"N{n} = {'N' + str(n - 1) if n else 'M9'}{'N' + str(n - 1) if n else 'M9'}\n" for n in range(9))
    text += "O = N8N8\nP = OOOOOOOOOOOOOO\n a = P"
    found = complaints(text)
    assert found
    assert all("too long after macro" in each for each in found)


def test_files_that_include_each_other_are_stopped() -> None:
    files = {"/etc/a": ".include b\n.include b", "/etc/b": ".include a\n.include a"}
    assert complaints(".include a", files=files)


WORDS = st.sampled_from([
    "X", "AB", "A", " = ", " == ", ".ifdef ", ".else", ".endif", ".include ", "/etc/more", "begin ", "acl",
    "\\", "\n", "#", "text", " ", '"', "_HAVE_TLS", ".elifdef ", ":", "\x00", "\udc80", "é",
])  # fmt: skip


@given(st.one_of(st.text(max_size=300), st.lists(WORDS, max_size=60).map("".join)))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_lines_and_problems(text: str) -> None:
    found = read(text, {"/etc/more": text})
    assert all(line.text.strip(" \t\r\v\f") for section in found.sections for line in section.lines)


def test_all_that_was_read_is_listed() -> None:
    files = {"/etc/a": "x = 1\n.include /etc/b\ny = 2\n", "/etc/b": "b = 1\n"}
    text = "# comment\nM = 1\n.include /etc/a\n.include_if_exists /etc/none\nz = \\\n  M\nbegin acl\na:\n  accept"
    assert read(text, files).listing == (
        '# 1 "/etc/conf"', "M = 1", '# 3 "/etc/conf"', '# 1 "/etc/a"', "x = 1", '# 2 "/etc/a"', '# 1 "/etc/b"',
        "b = 1", '# 2 "/etc/a"', "y = 2", '# 3 "/etc/conf"', "z = 1", "begin acl", "a:", "accept",
    )  # fmt: skip


def test_built_in_names_are_looked_for_where_an_underscore_comes_first() -> None:
    assert lines(".ifdef _HAVE_TLS\na\n.endif\n.ifdef X_HAVE_TLS\nb\n.endif\nc = d_HAVE_TLS") == ["a", "c = dy"]
