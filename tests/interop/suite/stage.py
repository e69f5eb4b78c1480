"""The directory in which tests are played: the suite's files, the program under test, the suite's own programs (edge).

    stage = set_up(suite, directory, program, words)
    stage.clear()  # before each test

It stands for the suite's own directory (DIR in scripts), which stays untouched: tests write into it and look at the
owners and modes of files. The suite's helpers are in C; they are compiled into `bin/`. Without a compiler there
are only a client and a server, which are ours.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from interop.suite.substitutions import Words

HELPERS = {
    "client": (),
    "client-ssl": ("-DHAVE_OPENSSL", "-lssl", "-lcrypto"),
    "client-gnutls": ("-DHAVE_GNUTLS", "-lgnutls"),
    "server": ("-D_GNU_SOURCE", "-DHAVE_OPENSSL_CRYPTO_H", "-lssl", "-lcrypto"),
    "fakens": (),
    "fd": (),
    "iefbr14": (),
    "mtpscript": (),
    "showids": (),
}
OWN_HELPERS = {"client": "client.py", "client-ssl": "client.py --tls", "server": "server.py"}
UTILITIES = (
    "exim_dbmbuild", "exim_dumpdb", "exim_lock", "exinext", "exigrep", "eximstats", "exiqgrep", "exim_msgdate",
    "exim_id_update",
)  # fmt: skip
LEFT_BEHIND = ("spool", "test-*")
NAMES = "test-names"
"""What has been asked of the suite's name server, a question a line."""


class StageError(Exception):
    """The suite is not there, or cannot be played on this machine."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program under test. `version`: that of the Exim it takes after, which becomes x.yz in output.

    `patched`: it is a real Exim, of which a copy is made that knows that it is being tested, as `patchexim` makes it;
    it runs with root's rights whoever starts it. `short_ids`: its message ids are those of before Exim 4.97, and count
    as later ones. `read_as`: what else of its own in the output is to be read as something of Exim's.
    """

    path: Path
    version: str
    patched: bool = False
    short_ids: bool = False
    read_as: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    suite: Path
    directory: Path
    program: Program
    words: Words

    def clear(self) -> None:
        """Nothing of the test before is left; the spool and the mail directory are new and empty."""
        for pattern in LEFT_BEHIND:
            for path in self.directory.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in ("test-stdout", "test-stderr"):
            # Who comes first may be root, by sudo; the caller goes on with them.
            self.write(name, "")
        self.write(NAMES, "")
        (self.directory / NAMES).chmod(0o666)
        self.make_directory("test-mail", self.words.caller_uid, self.words.caller_gid)
        self.make_directory("spool", self.words.exim_uid, self.words.exim_gid)

    def make_directory(self, name: str, uid: int, gid: int) -> None:
        path = self.directory / name
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
        _give(path, uid, gid)

    def read(self, name: str) -> str:
        return (self.suite / name).read_bytes().decode("latin-1")

    def saved(self, name: str) -> str:
        """What the suite expects of a file."""
        text = self.program_named(self.read(name)) if self.program.short_ids else self.read(name)
        # Where both are the same account nothing tells which of them is meant.
        return text.replace("EXIMUSER", "CALLER") if self.words.exim_user == self.words.caller else text

    def write(self, name: str, text: str, *, more: bool = False) -> None:
        """A file of the caller's, below the stage."""
        path = self.directory / name
        with path.open("ab" if more else "wb") as file:
            file.write(text.encode("latin-1"))
        _give(path, self.words.caller_uid, self.words.caller_gid)

    def program_named(self, text: str) -> str:
        """The text as the suite's Exim would have put it: with its version, its ids and its name."""
        if self.program.short_ids:
            text = re.sub(r"10Hm(\w\w)-0005vi-00(?!\d)", r"10Hm\1-000000005vi-0000", text)
        if self.program.patched:
            # Up to 4.96 no blank is before the colon behind which an address's error stands; later there is.
            text = re.sub(r"^([^\n]{20,45}\*\* [^\n]*?) : ", r"\1: ", text, flags=re.MULTILINE)
            text = re.sub(r"\]: (?=[SL]MTP error)", "] ", text)
        if not self.program.version:
            return text
        for own, other in self.program.read_as:
            text = text.replace(own, other)
        return re.sub(rf"([Ee]xim (?:version )?){re.escape(self.program.version)}\b", r"\1x.yz", text)

    def questions(self) -> tuple[str, ...]:
        """What the test has asked of the name server about others than this host."""
        path = self.directory / NAMES
        asked = set(path.read_text(errors="replace").splitlines()) if path.exists() else set()
        own = (self.words.host_name, "localhost", "127.in-addr.arpa", ".".join(reversed(self.words.ipv4.split("."))))
        return tuple(sorted(each for each in asked if not any(name in each for name in own)))

    def configure(self, test: str) -> None:
        """Writes `test-config` for the test."""
        text = self.words.put_into(self.read(f"confs/{test}"), test)
        included = self.suite / "aux-var-src/tls_conf_prefix"
        # An Exim that knows that it is being tested has another default here than its manual says.
        more = "" if self.program.patched or "smtputf8_advertise_hosts" in text else "smtputf8_advertise_hosts =\n"
        if not self.program.patched and included.exists():
            prefix = self.words.put_into(self.read(f"aux-var-src/{included.name}"), test)
            self.write(f"aux-var/{included.name}", prefix + more)
        self.write("test-config", text if "conf_prefix" in text else first_comment_as(more, text))
        if self.program.patched:
            # Exim, started by root, reads no file that belongs to somebody else.
            os.chown(self.directory / "test-config", 0, 0)


def first_comment_as(option: str, text: str) -> str:
    """A configuration with an option in place of its first line, a comment: lines keep their numbers."""
    return option + text.partition("\n")[2] if option and text.startswith("#") else text


def set_up(
    suite: Path, directory: Path, program: Program, words: Words, *, names: bool = True, compiled: bool = True
) -> Stage:
    """Fills an empty directory. `names`: with the suite's name server; `compiled`: with
    the suite's own client and server in C, where there is a compiler, and not with ours."""
    if not (suite / "runtest").is_file():
        raise StageError(f"{suite} is not Exim's folder test/ (it has no runtest)")
    stage = Stage(suite, directory, program, words)
    directory.chmod(0o755)
    for name in ("aux-fixed", "confs"):
        shutil.copytree(suite / name, directory / name, symlinks=True)
    for name in ("scripts", "runtest"):
        (directory / name).symlink_to(suite / name)
    for name in ("aux-var", "dnszones"):
        _substituted(stage, name)
    (directory / "aux-var/sh").symlink_to("/bin/sh")
    _host_zones(stage)
    _program(stage)
    _helpers(stage, names=names, compiled=compiled)
    _note_questions(stage)
    _give_all(directory, words.caller_uid, words.caller_gid)
    if program.patched:
        _rights(stage)
    return stage


def _substituted(stage: Stage, folder: str) -> None:
    (stage.directory / folder).mkdir()
    for path in (stage.suite / f"{folder}-src").iterdir():
        if path.name.startswith(".") or not path.is_file():
            continue
        name = path.name.replace("V4NET", stage.words.ipv4_test_net)
        name = name.replace("V6NET", ".".join(reversed(stage.words.ipv6_test_net)))
        number = re.match(r"\d+", path.name)
        text = path.read_bytes().decode("latin-1")
        stage.write(f"{folder}/{name}", stage.words.put_into(text, number[0] if number else "0"))


def _host_zones(stage: Stage) -> None:
    """What the suite's name server knows about this host."""
    short, _, domain = stage.words.host_name.partition(".")
    name = f"dnszones/db.{domain}" if domain else "dnszones/db"
    stage.write(name, f"PASS ON NOT FOUND\n\n{short}  A  {stage.words.ipv4}\n{short}  AAAA  {stage.words.ipv6}\n")
    first, second, third, fourth = stage.words.ipv4.split(".")
    if first != "127":
        stage.write(f"dnszones/db.ip4.{first}", f"{fourth}.{third}.{second}  PTR  {stage.words.host_name}.\n")


def _program(stage: Stage) -> None:
    folder = stage.directory / "eximdir"
    folder.mkdir()
    program = stage.program
    if program.patched:
        (folder / "exim").write_bytes(patched(program.path.read_bytes()))
        shutil.copy(folder / "exim", folder / "exim_exim")
    else:
        (folder / "exim").symlink_to(program.path)
        (folder / "exim_exim").symlink_to(program.path)
    for name in UTILITIES:
        if (program.path.parent / name).exists():
            shutil.copy(program.path.parent / name, folder / name)


def patched(binary: bytes) -> bytes:
    """Exim's program as one that knows that it is being tested, and whose version is x.yz."""

    def shortened(found: re.Match[bytes]) -> bytes:
        return b"x.yz\0" + b"*" * (len(found[1]) - 5)

    binary = binary.replace(b">>>running<<<", b"<<<testing>>>")
    return re.sub(rb"(\d+[._]\d[\w._-]*\0<<eximversion>>)", shortened, binary)


def _helpers(stage: Stage, *, names: bool, compiled: bool) -> None:
    """Compiles what can be compiled; the client and the server are there in any case."""
    folder = stage.directory / "bin"
    folder.mkdir()
    for name, options in HELPERS.items():
        source = stage.suite / "src" / f"{name.partition('-')[0]}.c"
        if not compiled or not shutil.which("cc") or not source.exists() or (name == "fakens" and not names):
            continue
        flags = [each for each in options if each.startswith("-D")]
        libraries = [each for each in options if each.startswith("-l")]
        command = ["cc", "-w", "-O1", *flags, "-o", str(folder / name), str(source), *libraries, "-lresolv"]
        subprocess.run(command, capture_output=True, check=False)
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    for name, own in OWN_HELPERS.items():
        path = folder / name
        if not path.exists():
            path.write_text(f'#!/bin/sh\nexec {python} {Path(__file__).parent}/{own} "$@"\n')
            path.chmod(0o755)
    (folder / "client-anytls").symlink_to("client-ssl")


def _note_questions(stage: Stage) -> None:
    """Before the suite's name server answers, the question is written down."""
    folder = stage.directory / "bin"
    if (folder / "fakens").exists():
        (folder / "fakens").rename(folder / "fakens-real")
        script = f'#!/bin/sh\necho "$2 $3" >>{stage.directory}/{NAMES}\nexec {folder}/fakens-real "$@"\n'
        (folder / "fakens").write_text(script)
        (folder / "fakens").chmod(0o755)


def _rights(stage: Stage) -> None:
    words = stage.words
    os.chown(stage.directory / "eximdir", words.caller_uid, words.exim_gid)
    for name, uid, gid in (("exim", 0, 0), ("exim_exim", words.exim_uid, words.exim_gid)):
        os.chown(stage.directory / "eximdir" / name, uid, gid)
        (stage.directory / "eximdir" / name).chmod(0o4755 if uid == 0 else 0o6755)


def _give_all(directory: Path, uid: int, gid: int) -> None:
    for path in (directory, *directory.rglob("*")):
        if path.is_symlink():
            continue
        _give(path, uid, gid)
        path.chmod(path.stat().st_mode & ~0o022)


def _give(path: Path, uid: int, gid: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, uid, gid)
