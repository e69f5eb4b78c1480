"""Lookups and list files over real files: what real Exim answers, what is kept, and every way in which a file fails."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from relay.expand import lookups
from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import HostSubject, ListKind, compile_list
from relay.expand.scope import AddressView, Scope
from relay.expand.values import Quoted, Tainted, is_tainted
from relay.mail.ports import NotOpened, TemporaryFailure
from relay.net import tables
from relay.net.lookups import FileLookups, ListFiles, at_once

T = TypeVar("T")


def answer(question: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    question.close()
    raise AssertionError("the coroutine waits for something")


@dataclass
class Clock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time


@dataclass
class Calls:
    """Calls at once, and remembers what it was given."""

    names: list[str] = field(default_factory=list)

    async def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.names.append(getattr(function, "__name__", ""))
        return function(*args, **kwargs)


def find(kind: str, key: str, source: str | Path = "") -> str | None:
    """As an expansion asks."""
    found = answer(lookups.find(scope(), lookups.read_kind(kind), key, str(source)))
    return None if found is None else found.data


def scope(**changes: Any) -> Scope:
    clock = Clock()
    return Scope(lookups=FileLookups(at_once, clock), files=ListFiles(at_once, clock), **changes)


def expand(text: str, **changes: Any) -> str:
    try:
        return answer(compile_expansion(text).text(scope(**changes)))
    except (ExpansionFailed, TemporaryFailure) as error:
        return f"Failed: {error}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table"
    path.write_text(r"""# keys of every kind
a.example: one
b.example  two words
Mixed.Example : three
"quoted: key": four
"tab\tkey \x41\102" five
long:  first
   second

# gone
   third
bare
a.example: hidden by the first
*.wild.example: wild
*: default
*@mail.example: at mail
""")
    return path


@pytest.mark.parametrize(
    "key, found",
    [
        ("a.example", "one"),
        ("A.EXAMPLE", "one"),
        ("b.example", "two words"),
        ("mixed.example", "three"),
        ("quoted: key", "four"),
        ("tab\tkey AB", "five"),
        ("long", "first second"),
        ("bare", ""),
        ("absent", None),
        ("", None),
        ("#", None),
    ],
)
def test_lsearch(table: Path, key: str, found: str | None) -> None:
    assert find("lsearch", key, table) == found


@pytest.mark.parametrize(
    "kind, key, found",
    [
        ("lsearch,ret=full", "b.example", "b.example  two words"),
        ("lsearch,ret=full", "quoted: key", "quoted: key: four"),
        ("lsearch,ret=full", "long", "long:  first second"),
        ("lsearch,ret=key", "A.example", "A.example"),
        ("lsearch,ret=key", "absent", None),
        ("lsearch,cache=no", "a.example", "one"),
        ("lsearch*", "absent", "default"),
        ("lsearch*,ret=full", "absent", "*: default"),
        ("lsearch*@", "someone@mail.example", "at mail"),
        ("lsearch*@", "someone@other.example", "default"),
        ("lsearch", "x.wild.example", None),
        ("partial-lsearch", "x.wild.example", "wild"),
        ("partial-lsearch", "y.x.wild.example", "wild"),
        ("partial-lsearch", "wild.example", "wild"),
        ("partial3-lsearch", "x.wild.example", None),
        ("partial0-lsearch", "x.y", "default"),
        ("partial-lsearch", "x.y", None),
        ("partial()lsearch", "x.a.example", "one"),
    ],
)
def test_options_defaults_and_partial_keys(table: Path, kind: str, key: str, found: str | None) -> None:
    assert find(kind, key, table) == found


# FACTS: what real Exim answers


@pytest.fixture
def oracle(tmp_path: Path) -> Path:
    path = tmp_path / "F"
    path.write_text("a.example: one\n*.wild.example: three\n^re[0-9]+\\.example$: four\n")
    return path


@pytest.mark.parametrize(
    "key, kind, value",
    [
        ("a.example", "lsearch", "[one]"),
        ("x.wild.example", "lsearch", "none"),
        ("x.wild.example", "partial-lsearch", "[three]"),
        ("x.wild.example", "nwildlsearch", "[three]"),
        ("re42.example", "nwildlsearch", "[four]"),
        ("RE42.example", "nwildlsearch", "[four]"),
        ("rex.example", "nwildlsearch", "none"),
        ("x.wild.example", "wildlsearch", "[three]"),
    ],
)
def test_answers_of_real_exim(oracle: Path, key: str, kind: str, value: str) -> None:
    assert expand(f"${{lookup{{{key}}}{kind}{{{oracle}}}{{[$value]}}{{none}}}}") == value


def test_wildlsearch_expands_its_keys_and_so_fails_at_a_dollar(oracle: Path) -> None:
    said = expand(f"${{lookup{{re42.example}}wildlsearch{{{oracle}}}{{$value}}{{none}}}}")
    assert said.startswith('Failed: lookup of "re42.example" gave DEFER: failed to expand "^re[0-9]')


def test_wildlsearch_knows_text_that_is_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "F"
    path.write_text("\\N^re[0-9]+\\.example$\\N: four\n$primary_hostname: five\n")
    assert find("wildlsearch", "re42.example", path) == "four"
    with pytest.raises(TemporaryFailure, match="variables are not served"):
        find("wildlsearch", "other", path)


def test_a_wild_key_may_be_negated_and_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "F"
    path.write_text("x.example: exactly\n!*.example: elsewhere\n*: everything\n")
    assert find("nwildlsearch", "x.example", path) == "exactly"
    assert find("nwildlsearch", "y.example", path) == "everything"
    assert find("nwildlsearch", "y.test", path) == "elsewhere"


def test_a_broken_pattern_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "F"
    path.write_text("first: one\n^(: two\n")
    assert find("nwildlsearch", "first", path) == "one"
    with pytest.raises(TemporaryFailure, match="regular expression"):
        find("nwildlsearch", "second", path)


def test_a_missing_file_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "nonexistent"
    assert (
        expand(f"${{lookup{{k}}lsearch{{{path}}}{{$value}}{{none}}}}")
        == f"Failed: failed to open {path} for linear search: No such file or directory"
    )


# iplsearch


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    path = tmp_path / "N"
    path.write_text("""10.0.0.1: host
10.0.0.0/8: net
10.5.5.0/24: never, the wider net is before it
nonsense: never
172.16.0.0/12: private
"2001:db8::/32": six
*: star
""")
    return path


@pytest.mark.parametrize(
    "kind, key, found",
    [
        ("iplsearch", "10.0.0.1", "host"),
        ("iplsearch", "10.9.9.9", "net"),
        ("iplsearch", "10.5.5.5", "net"),
        ("iplsearch", "172.31.0.1", "private"),
        ("iplsearch", "2001:db8::5", "six"),
        ("iplsearch", "192.0.2.1", None),
        ("iplsearch*", "192.0.2.1", "star"),
        ("iplsearch", "*", "star"),
    ],
)
def test_iplsearch(networks: Path, kind: str, key: str, found: str | None) -> None:
    assert find(kind, key, networks) == found


def test_a_name_is_no_key_of_iplsearch(networks: Path) -> None:
    with pytest.raises(TemporaryFailure, match="is not a valid iplsearch key"):
        find("iplsearch", "host.example", networks)


@pytest.mark.parametrize(
    "item, address, is_in",
    [
        ("net-lsearch", "10.0.0.1", True),
        ("net-lsearch", "10.9.9.9", False),
        ("net8-lsearch", "10.9.9.9", True),
        ("net24-lsearch", "10.5.5.9", True),
        ("net24-lsearch", "10.5.6.9", False),
        ("net-iplsearch", "172.20.1.1", True),
        ("net-iplsearch", "2001:db8::77", True),
        ("net-iplsearch", "192.0.2.1", False),
    ],
)
def test_host_lists(networks: Path, item: str, address: str, is_in: bool) -> None:
    hosts = compile_list(ListKind.HOST, f"{item};{networks}")
    assert (answer(hosts.match(HostSubject(address), scope())) is not None) is is_in


# dsearch


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "D"
    (path / "sub").mkdir(parents=True)
    (path / "sub" / "inner").touch()
    (path / "file").touch()
    (path / "link").symlink_to("nowhere")
    return path


@pytest.mark.parametrize(
    "kind, key, found",
    [
        ("dsearch", "file", "file"),
        ("dsearch", "sub", "sub"),
        ("dsearch", "link", "link"),
        ("dsearch", "absent", None),
        ("dsearch", "..", ".."),
        ("dsearch", "nul\0", None),
        ("dsearch,filter=file", "file", "file"),
        ("dsearch,filter=file", "sub", None),
        ("dsearch,filter=file", "link", None),
        ("dsearch,filter=dir", "sub", "sub"),
        ("dsearch,filter=dir", "file", None),
        ("dsearch,filter=dir", ".", "."),
        ("dsearch,filter=subdir", "sub", "sub"),
        ("dsearch,filter=subdir", "..", None),
        ("dsearch,key=path", "sub/inner", "sub/inner"),
    ],
)
def test_dsearch(directory: Path, kind: str, key: str, found: str | None) -> None:
    assert find(kind, key, directory) == found


def test_dsearch_unties_a_name_from_outside(directory: Path) -> None:
    name = find("dsearch", Tainted("file"), directory)
    whole = find("dsearch,ret=full", Tainted("file"), directory)
    assert (name, whole) == ("file", f"{directory}/file")
    assert not is_tainted(name or "")
    assert not is_tainted(whole or "")


@pytest.mark.parametrize(
    "kind, key, why",
    [
        ("dsearch", "sub/inner", "contains a slash"),
        ("dsearch", "../F", "contains a slash"),
        ("dsearch,key=path", "sub/../file", "bad component"),
        ("dsearch,key=path", "../F", "bad component"),
        ("dsearch", "x" * 300, "lstat: File name too long"),
    ],
)
def test_keys_that_dsearch_refuses(directory: Path, kind: str, key: str, why: str) -> None:
    with pytest.raises(TemporaryFailure, match=why):
        find(kind, key, directory)


def test_dsearch_needs_a_directory(directory: Path) -> None:
    with pytest.raises(TemporaryFailure, match="is not a directory"):
        find("dsearch", "x", directory / "file")
    with pytest.raises(TemporaryFailure, match=r"failed to open .* for directory search: No such file or directory"):
        find("dsearch", "x", directory / "absent")


# sqlite


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "db.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("""
        CREATE TABLE people(name TEXT, mail TEXT, age INTEGER, weight REAL);
        INSERT INTO people VALUES
            ('ann', 'ann@x.example', 40, 60), ('bob', 'bob smith', NULL, 70.25), ('eve', '', 1, 1);
    """)
    connection.close()
    return path


@pytest.mark.parametrize(
    "query, found",
    [
        ("SELECT mail FROM people WHERE name='ann'", "ann@x.example"),
        ("SELECT mail FROM people WHERE name='nobody'", None),
        ("SELECT mail FROM people WHERE name='eve'", ""),
        ("SELECT name FROM people ORDER BY name", "ann\nbob\neve"),
        ("SELECT age FROM people WHERE name='bob'", "<NULL>"),
        ("SELECT weight FROM people WHERE name<>'eve' ORDER BY name", "60.0\n70.25"),
        ("SELECT name, age FROM people WHERE name='ann'", "name=ann age=40 "),
        ("SELECT mail, age FROM people WHERE name='bob'", 'mail="bob smith" age=<NULL> '),
        ("SELECT mail, 'a\"b\\ c' AS q FROM people WHERE name='eve'", 'mail="" q="a\\"b\\\\ c" '),
    ],
)
def test_sqlite(database: Path, query: str, found: str | None) -> None:
    assert find(f"sqlite,file={database}", query) == found
    assert find("sqlite", f"{database} {query}") == found


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO people(name) VALUES ('mallory')",
        "DELETE FROM people",
        "ATTACH DATABASE '{other}' AS other",
        "VACUUM INTO '{other}'",
        "PRAGMA writable_schema=1",
        "SELECT name FROM people; DROP TABLE people",
        "SELECT nonsense FROM people",
        "no sql at all",
        "SELECT 'lone \udfff surrogate'",
        "SELECT '\ud800'",
    ],
)
def test_nothing_but_a_good_select_is_let_through(database: Path, statement: str) -> None:
    other = database.with_name("other")
    before = database.read_bytes()
    with pytest.raises(TemporaryFailure, match="sqlite lookup in"):
        find(f"sqlite,file={database}", statement.format(other=other))
    assert database.read_bytes() == before
    assert not other.exists()


def test_a_query_without_end_is_given_up(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "QUERY_STEPS", 100)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(TemporaryFailure, match="interrupted"):
        find(f"sqlite,file={database}", endless)


def test_a_result_without_end_is_given_up(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULT_LIMIT", 1000)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n"
    with pytest.raises(TemporaryFailure, match="too long"):
        find(f"sqlite,file={database}", endless)


def test_no_database_is_made(tmp_path: Path) -> None:
    with pytest.raises(TemporaryFailure, match="unable to open"):
        find(f"sqlite,file={tmp_path}/absent", "SELECT 1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind, query", [("sqlite", "SELECT 1"), ("sqlite,file=relative", "SELECT 1")])
def test_a_query_needs_a_database(kind: str, query: str) -> None:
    with pytest.raises(TemporaryFailure, match='absolute file name expected for "sqlite" lookup'):
        find(kind, query)


# Other types


@pytest.fixture
def structured(tmp_path: Path) -> Path:
    path = tmp_path / "data.json"
    path.write_text(
        '{"name": "ann", "n": 3, "x": 1.5, "yes": true, "no": false, "nil": null, "list": ["a", {"b": "c"}],'
        ' "7": "seven", "text": "\\u00fc"}'
    )
    return path


@pytest.mark.parametrize(
    "key, found",
    [
        ("name", "ann"),
        ("n", "3"),
        ("x", "1.500000"),
        ("yes", "true"),
        ("no", "false"),
        ("nil", None),
        ("list:0", "a"),
        ("list : 1 : b", "c"),
        ("list:2", None),
        ("list:b", None),
        ("list:1", '{"b": "c"}'),
        ("<, list, 1", '{"b": "c"}'),
        ("7", None),
        ("absent", None),
        ("name:x", None),
        ("text", "ü"),
    ],
)
def test_json(structured: Path, key: str, found: str | None) -> None:
    assert find("json", key, structured) == found


@pytest.mark.parametrize("content", ["{", "[NaN]", "[" * 100_000])
def test_json_that_is_none(structured: Path, content: str) -> None:
    structured.write_text(content)
    with pytest.raises(NotOpened, match="json error on open"):
        find("json", "a", structured)


def test_passwd() -> None:
    entry = pwd.getpwuid(0)
    shown = f"*:0:{entry.pw_gid}:{entry.pw_gecos}:{entry.pw_dir}:{entry.pw_shell}"
    assert find("passwd", entry.pw_name) == shown
    assert find("passwd", f" {entry.pw_name}") == shown
    for name in ("no such user", "nul\0", "\udcff", ""):
        assert find("passwd", name) is None


def test_testdb() -> None:
    assert find("testdb", "anything") == "anything"
    assert find("testdb", "fail") is None
    with pytest.raises(TemporaryFailure, match='lookup of "defer" gave DEFER: testdb lookup forced DEFER'):
        find("testdb", "defer")


def test_no_rd_looks_at_once(table: Path) -> None:
    port = FileLookups(at_once, Clock())
    assert answer(port.find("lsearch", "a.example", str(table))) == "one"
    table.with_name("new").write_text("a.example: changed\n")
    table.with_name("new").replace(table)
    assert answer(port.find("lsearch", "a.example", str(table))) == "one"
    assert answer(port.find("lsearch,cache=no_rd", "a.example", str(table))) == "changed"


def test_relative_names_are_no_tables() -> None:
    with pytest.raises(NotOpened, match=r"dirname '\.' for dsearch is not absolute"):
        find("dsearch", "a", ".")


# Taint


def test_a_file_name_from_outside_is_refused(table: Path) -> None:
    address = AddressView(local_part="x", domain=str(table))
    text = "${lookup{a.example}lsearch{$domain}{$value}{none}}"
    said = expand(text, address=address)
    assert said.startswith(f"Failed: tainted filename for search '{table}' (a name from outside has to be found first")


def test_the_port_itself_refuses_a_file_name_from_outside(table: Path, database: Path) -> None:
    with pytest.raises(TemporaryFailure, match="tainted filename"):
        answer(FileLookups(at_once, Clock()).find("lsearch", "a.example", Tainted(table)))
    with pytest.raises(ExpansionFailed, match="tainted filename"):
        answer(lookups.find(scope(), lookups.read_kind("sqlite"), Tainted(f"{database} SELECT 1"), ""))


def test_what_is_found_is_not_tainted(table: Path, database: Path) -> None:
    for found in (
        find("lsearch", Tainted("a.example"), table),
        find("lsearch,ret=key", Tainted("a.example"), table),
        find(f"sqlite,file={database}", Quoted("SELECT name FROM people WHERE age=40")),
    ):
        assert found
        assert not is_tainted(found)


def test_a_query_with_text_from_outside_has_to_be_quoted(database: Path) -> None:
    def asked(local_part: str, query: str) -> str:
        text = f"${{lookup sqlite,file={database}{{{query}}}{{<$value>}}{{none}}}}"
        return expand(text, address=AddressView(local_part=local_part))

    quoted = "SELECT mail FROM people WHERE name='${quote_sqlite:$local_part}'"
    assert asked("ann", quoted) == "<ann@x.example>"
    assert asked("x' OR '1'='1", quoted) == "none"
    said = asked("x' OR '1'='1", "SELECT mail FROM people WHERE name='$local_part'")
    assert said.startswith("Failed: tainted search query is not properly quoted: SELECT mail")
    assert "quote_sqlite" in said
    quoted = "${quote_sqlite:$local_part}"
    for other in (f"${{lc:{quoted}}}", f"{quoted}$local_part", "${quote:$local_part}"):
        assert asked("ann", f"SELECT mail FROM people WHERE name='{other}'").startswith("Failed: tainted search query")


# Faults of files


def test_a_relative_name(table: Path) -> None:
    with pytest.raises(TemporaryFailure, match='absolute file name expected for "lsearch" lookup'):
        find("lsearch", "a", table.name)


def test_a_directory_and_a_pipe_are_no_tables(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(TemporaryFailure, match="is not a regular file"):
            find("lsearch", "a", path)


def test_no_permission(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tables.os, "open", refuse)
    with pytest.raises(TemporaryFailure, match=r"for linear search: Permission denied \(euid=\d+ egid=\d+\)"):
        find("lsearch", "a", table)


def test_a_file_that_is_too_large(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FILE_LIMIT", 10)
    with pytest.raises(TemporaryFailure, match="larger than"):
        find("lsearch", "a", table)


def test_a_type_that_is_not_served(table: Path) -> None:
    with pytest.raises(TemporaryFailure, match="is not served"):
        answer(FileLookups(at_once, Clock()).find("nonsense", "a", str(table)))


# What is kept


def test_a_file_is_looked_at_again_after_a_second(table: Path) -> None:
    clock, calls = Clock(), Calls()
    port = FileLookups(calls, clock)

    def now_found() -> str | None:
        return answer(port.find("lsearch", "a.example", str(table)))

    assert now_found() == "one"
    replacement = table.with_name("new")
    replacement.write_text("a.example: changed\n")
    replacement.replace(table)
    clock.time += 0.9
    assert now_found() == "one"
    assert len(calls.names) == 1
    clock.time += 0.2
    assert now_found() == "changed"
    assert len(calls.names) == 2


def test_an_unchanged_file_is_not_read_again(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    port = FileLookups(at_once, clock)
    answer(port.find("lsearch", "a.example", str(table)))

    def refuse(*_: Any) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(tables, "read_file", refuse)
    clock.time += 5
    assert answer(port.find("lsearch", "a.example", str(table))) == "one"


def test_a_clock_that_goes_back_does_not_keep_a_file(table: Path) -> None:
    clock, calls = Clock(), Calls()
    port = FileLookups(calls, clock)
    for _ in range(2):
        answer(port.find("lsearch", "a.example", str(table)))
        clock.time -= 100
    assert len(calls.names) == 2


def test_an_empty_key_is_in_no_table(tmp_path: Path) -> None:
    path = tmp_path / "F"
    path.write_text(": empty\n*: default\n")
    assert find("lsearch", "", path) is None
    assert find("nwildlsearch", "", path) is None
    assert find("dsearch", "", tmp_path) is None
    assert find("lsearch*", "", path) == "default"


def test_a_file_that_goes_is_no_answer_until_it_comes_back(table: Path) -> None:
    clock = Clock()
    port = FileLookups(at_once, clock)
    text = table.read_text()
    answer(port.find("lsearch", "a.example", str(table)))
    table.unlink()
    clock.time += 2
    for _ in range(2):
        with pytest.raises(TemporaryFailure, match="No such file"):
            answer(port.find("lsearch", "a.example", str(table)))
    table.write_text(text)
    assert answer(port.find("lsearch", "a.example", str(table))) == "one"


class Later:
    """Calls when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []

    async def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.waiting.append(Deferred())
        await self.waiting[-1]
        return function(*args, **kwargs)

    def go_on(self) -> None:
        self.waiting.pop(0).callback(None)


def test_while_one_looks_the_others_are_answered(table: Path) -> None:
    clock, calls = Clock(), Later()
    port = FileLookups(calls, clock)
    results: list[str | None] = []

    def ask() -> None:
        Deferred.fromCoroutine(port.find("lsearch", "a.example", str(table))).addBoth(results.append)

    ask()
    calls.go_on()
    replacement = table.with_name("new")
    replacement.write_text("a.example: changed\n")
    replacement.replace(table)
    clock.time += 2
    ask()
    ask()
    assert results == ["one", "one"]
    assert len(calls.waiting) == 1
    calls.go_on()
    ask()
    assert results == ["one", "one", "changed", "changed"]
    assert not calls.waiting


def test_files_that_nobody_asks_for_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.net.lookups.FILES_LIMIT", 2)
    for name in "abc":
        (tmp_path / name).write_text(f"k: {name}\n")
    calls = Calls()
    port = FileLookups(calls, Clock())
    for name in "abaca":
        assert answer(port.find("lsearch", "k", f"{tmp_path}/{name}")) == name
    assert len(calls.names) == 3
    answer(port.find("lsearch", "k", f"{tmp_path}/b"))
    assert len(calls.names) == 4


def test_patterns_are_compared_in_a_thread(oracle: Path) -> None:
    calls = Calls()
    answer(FileLookups(calls, Clock()).find("nwildlsearch", "x.wild.example", str(oracle)))
    assert "matching" in calls.names


# Files of lists


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"one\n\n# two\n \xff three")
    assert answer(ListFiles(at_once, Clock()).lines(str(path))) == ("one", "", "# two", " \udcff three")
    path.write_bytes(b"")
    assert answer(ListFiles(at_once, Clock()).lines(str(path))) == ()


def test_a_list_with_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("!10.1.0.0/16\n10.0.0.0/8  # all the others\n")
    hosts = compile_list(ListKind.HOST, str(path))
    assert answer(hosts.match(HostSubject("10.2.2.3"), scope())) is not None
    assert answer(hosts.match(HostSubject("10.1.2.3"), scope())) is None
    path.unlink()
    with pytest.raises(TemporaryFailure, match=f"failed to open {path} when checking a list: No such file"):
        answer(hosts.match(HostSubject("10.2.2.3"), scope()))


def test_a_domain_list_with_a_lookup(table: Path) -> None:
    domains = compile_list(ListKind.DOMAIN, f"!b.example : lsearch;{table}")
    found = answer(domains.match("A.example", scope()))
    assert found is not None
    assert found.data == "one"
    assert answer(domains.match("b.example", scope())) is None


# Any content


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_content_is_a_table(data: bytes) -> None:
    table = tables.LinearTable(data)
    for record in table.records:
        found = table.exact(record.key)
        assert found is not None
        assert tables.octets(found.key).lower() == tables.octets(record.key).lower()


@settings(max_examples=100)
@given(st.dictionaries(st.text("abcxyz.@", min_size=1, max_size=8), st.text('abc :#"', max_size=8), max_size=6))
def test_what_is_written_is_found(entries: dict[str, str]) -> None:
    table = tables.LinearTable("".join(f'"{key}": {data}\n' for key, data in entries.items()).encode())
    for key, data in entries.items():
        found = table.exact(key)
        assert found is not None
        assert found.data == data.strip()
