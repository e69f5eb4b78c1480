"""Files that expansions name: not from outside, and only where they are permitted."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

import pytest

from relay.expand.scope import FileStatus
from relay.mail.facts import Hello, SessionFacts


@dataclass
class FakeFileSystem:
    """Knows its files; others are not there. Remembers what it was asked."""

    contents_of: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def status(self, path: str) -> FileStatus:
        self.asked.append(path)
        if path not in self.contents_of:
            raise FileNotFoundError(errno.ENOENT, "there is none")
        return FileStatus(0o100640, 7, 8, 1, 0, 12, len(self.contents_of[path]), 1, 2, 3)

    async def contents(self, path: str, limit: int) -> bytes:
        await self.status(path)
        return self.contents_of[path][:limit]


@pytest.fixture
def files() -> FakeFileSystem:
    return FakeFileSystem({"/known": b"one\ntwo\n"})


def test_exists(expand, files) -> None:
    assert expand("${if exists{/known}{y}{n}}${if exists{/nosuch}{y}{n}}", file_system=files) == "yn"
    assert files.asked == ["/known", "/nosuch"]


def test_exists_where_nobody_can_look(expand) -> None:
    assert expand("${if exists{/known}{y}{n}}") == "Failed: /known can't be looked at here"


@pytest.mark.parametrize("text", ["${if exists{$sender_helo_name}{y}{n}}", "${readfile{$sender_helo_name}}"])
def test_a_name_from_outside(expand, files, text: str) -> None:
    session = SessionFacts(hello=Hello("/known", True))
    answer = expand(text, file_system=files, may_read_files=True, session=session)
    assert answer == "Failed: Tainted filename '/known'"
    assert files.asked == []


def test_contents(expand, files) -> None:
    given = {"file_system": files, "may_read_files": True}
    assert expand("<${readfile{/known}}>", **given) == "<one\ntwo\n>"
    assert expand("<${readfile{/known}{,}}>", **given) == "<one,two,>"
    assert expand("<${readfile{/known}{}}>", **given) == "<onetwo>"
    assert expand("${readfile{/nosuch}}", **given) == "Failed: failed to open /nosuch: No such file or directory"


def test_status(expand, files) -> None:
    given = {"file_system": files, "may_read_files": True}
    wanted = "mode=0640 smode=-rw-r----- inode=7 device=8 links=1 uid=0 gid=12 size=8 atime=1 mtime=2 ctime=3"
    assert expand("${stat:/known}", **given) == wanted
    assert expand("${stat:/nosuch}", **given) == "Failed: stat(/nosuch) failed: No such file or directory"


@pytest.mark.parametrize("text", ["${readfile{/known}}", "${stat:/known}"])
def test_what_is_not_permitted_says_how_to_permit_it(expand, files, text: str) -> None:
    answer = expand(text, file_system=files)
    assert "not permitted" in answer
    assert "expand_reads_files = true" in answer
    assert files.asked == []
