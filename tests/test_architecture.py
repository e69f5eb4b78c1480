"""Holds the tree against every rule of `architecture.py`, and each rule against a tree that breaks it."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import architecture

# The reason stands beside each name. Both are empty as long as we keep to our own limits.
LONG_MODULES: Mapping[str, str] = {}
LONG_FUNCTIONS: Mapping[str, str] = {}

FAST_COMMAND = "relay.cli.sendmail"
SLOW_LIBRARIES = ("twisted", "OpenSSL", "cryptography")


@pytest.fixture(scope="module")
def package() -> tuple[architecture.Module, ...]:
    spec = importlib.util.find_spec("relay")
    assert spec is not None
    assert spec.origin is not None
    return architecture.read_tree(Path(spec.origin).parent)


def tree(tmp_path: Path, files: Mapping[str, str]) -> tuple[architecture.Module, ...]:
    """A small package; a file that is given no docstring of its own becomes a machine's."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.startswith('"""') else f'"""A file (machine)."""\n{text}', "utf-8")
    return architecture.read_tree(tmp_path)


@pytest.mark.parametrize("rule", architecture.RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(package: tuple[architecture.Module, ...], rule) -> None:
    assert list(rule(package)) == []


def test_no_module_is_too_long(package: tuple[architecture.Module, ...]) -> None:
    assert list(architecture.long_modules(package, LONG_MODULES)) == []


def test_no_function_is_too_long(package: tuple[architecture.Module, ...]) -> None:
    assert list(architecture.long_functions(package, LONG_FUNCTIONS)) == []


def test_every_exception_is_needed(package: tuple[architecture.Module, ...]) -> None:
    too_long = [*architecture.long_modules(package, {}), *architecture.long_functions(package, {})]
    assert len(too_long) == len(LONG_MODULES) + len(LONG_FUNCTIONS)


def modules_loaded_by(statement: str, *, path: Path | None = None) -> set[str]:
    """The top-level names in sys.modules after a fresh interpreter has run the statement."""
    script = (
        f"import json, sys; sys.path[:0] = {[str(path)] if path else []}; before = set(sys.modules); "
        f"{statement}; "
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout))


def test_handing_over_a_message_loads_neither_twisted_nor_openssl() -> None:
    assert modules_loaded_by(f"import {FAST_COMMAND}").isdisjoint(SLOW_LIBRARIES)


def test_what_a_statement_loads_is_seen(tmp_path: Path) -> None:
    (tmp_path / "indirect_one.py").write_text("import cryptography.x509\n")
    (tmp_path / "direct_one.py").write_text("import indirect_one\n")
    assert "cryptography" in modules_loaded_by("import direct_one", path=tmp_path)


# Each rule can fail.


def test_a_module_outside_of_the_table(tmp_path: Path) -> None:
    found = list(
        architecture.unknown_parts(tree(tmp_path, {"__init__.py": "", "mail/a.py": "", "utils.py": ""}))
    )
    assert found == ["relay.utils: not in the table of layers"]


@pytest.mark.parametrize(
    "statement",
    [
        "from relay.policy.acl import Verdict",
        "from relay.policy import acl",
        "from relay import policy",
        "import relay.policy.acl",
        "from ..policy import acl",
        "from .. import policy",
        "def f():\n    from relay.policy import acl",
        "import importlib\nimportlib.import_module('relay.policy.acl')",
    ],
)
def test_an_import_from_a_higher_layer(tmp_path: Path, statement: str) -> None:
    found = list(architecture.upward_imports(tree(tmp_path, {"mail/reply.py": statement})))
    assert len(found) == 1
    assert "from the higher layer 2" in found[0]


def test_an_import_from_a_sibling(tmp_path: Path) -> None:
    found = list(
        architecture.upward_imports(tree(tmp_path, {"tls/stack.py": "from relay.esmtp import server"}))
    )
    assert found == ["relay.tls.stack:2: imports relay.esmtp.server from its sibling esmtp"]


def test_a_package_imports_from_above(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from relay.mail import reply",
        "spool/__init__.py": "from ..delivery import settle",
    }
    assert len(list(architecture.upward_imports(tree(tmp_path, files)))) == 2


def test_imports_from_below_and_from_the_own_package_are_allowed(tmp_path: Path) -> None:
    statements = (
        "from relay.mail import reply\nfrom . import stack\nfrom relay.tls.engine import Engine\nimport relay"
    )
    assert list(architecture.upward_imports(tree(tmp_path, {"tls/contexts.py": statements}))) == []


@pytest.mark.parametrize(
    ("file", "statement", "allowed"),
    [
        ("esmtp/server.py", "from twisted.internet.defer import Deferred", False),
        ("config/read.py", "import twisted", False),
        ("net/server.py", "from twisted.internet import protocol", True),
        ("tap.py", "from twisted.python import usage", True),
        ("trust/certificate.py", "from OpenSSL import crypto", False),
        ("tls/engine.py", "from OpenSSL import SSL", True),
        ("net/server.py", "from relay.config import read", False),
        ("tap.py", "from relay.config.read import read", False),
        ("daemon/build.py", "from relay.config import read", True),
        ("mail/reply.py", "import twistedness", True),
    ],
)
def test_who_may_import_what(tmp_path: Path, file: str, statement: str, allowed: bool) -> None:
    found = list(architecture.reserved_imports(tree(tmp_path, {file: statement})))
    assert (found == []) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "from OpenSSL._util import lib",
        "from OpenSSL.SSL import _lib",
        "from OpenSSL import SSL\nSSL._lib.SSL_new",
        "from OpenSSL import SSL\ndef f(connection):\n    return connection._ssl",
    ],
)
def test_private_names_of_pyopenssl(tmp_path: Path, text: str) -> None:
    files = {"tls/stack.py": text, "tls/engine.py": text}
    found = list(architecture.private_openssl_names(tree(tmp_path, files)))
    assert len(found) == 1
    assert found[0].startswith("relay.tls.stack:")


def test_own_private_names_are_ones_own_affair(tmp_path: Path) -> None:
    text = "from OpenSSL import SSL\nclass Stack:\n    def up(self):\n        return self._engine"
    assert list(architecture.private_openssl_names(tree(tmp_path, {"tls/stack.py": text}))) == []


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("from twisted.internet import reactor", False),
        ("import twisted.internet.reactor", False),
        ("class Runner:\n    from twisted.internet import reactor", False),
        ("if True:\n    from twisted.internet import reactor", False),
        ("def run():\n    from twisted.internet import reactor", True),
        ("from twisted.internet.interfaces import IReactorTCP", True),
    ],
)
def test_the_reactor_at_module_level(tmp_path: Path, statement: str, allowed: bool) -> None:
    found = list(architecture.module_level_reactor(tree(tmp_path, {"daemon/runner.py": statement})))
    assert (found == []) is allowed


def test_a_machine_that_looks_at_the_world(tmp_path: Path) -> None:
    files = {
        "esmtp/lines.py": "import socket",
        "esmtp/grammar.py": "from socket import AF_INET6, inet_pton",
        "policy/acl.py": '"""Rules (decision)."""\nfrom concurrent.futures import Future',
        "spool/sqlite.py": '"""The queue (disk)."""\nimport apsw',
    }
    found = list(architecture.worldly_imports(tree(tmp_path, files)))
    assert found == [
        "relay.esmtp.lines:2: a machine imports socket",
        "relay.policy.acl:2: a decision imports concurrent.futures.Future",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.time()",
        "from time import monotonic",
        "from datetime import datetime\ndatetime.now()",
    ],
)
def test_a_clock_below_the_edges(tmp_path: Path, text: str) -> None:
    files = {"delivery/schedule.py": text, "net/threads.py": text}
    found = list(architecture.clocks_read(tree(tmp_path, files)))
    assert len(found) == 1
    assert found[0].startswith("relay.delivery.schedule:")


@pytest.mark.parametrize(
    ("docstring", "kind"),
    [
        ("Cuts lines (machine).", "machine"),
        ("Cuts lines, as RFC 5321 4.5.2\n    says (values).\n\nMore.", "values"),
        ("Cuts lines.\n\nIt is a (machine).", None),
        ("Cuts lines (gadget).", None),
        ("Cuts (machine) and decides (decision).", None),
    ],
)
def test_the_kind_of_a_module(tmp_path: Path, docstring: str, kind: str | None) -> None:
    modules = tree(tmp_path, {"esmtp/lines.py": f'"""{docstring}"""\n'})
    assert modules[0].kind == kind
    assert len(list(architecture.unnamed_kinds(modules))) == (1 if kind is None else 0)


def test_a_package_needs_a_docstring_but_no_kind(tmp_path: Path) -> None:
    modules = tree(tmp_path, {"mail/__init__.py": '"""The journey."""\n', "tls/__init__.py": '""""""\n'})
    assert list(architecture.unnamed_kinds(modules)) == ["relay.tls: has no docstring"]


def test_a_module_that_is_too_long(tmp_path: Path) -> None:
    modules = tree(tmp_path, {"mail/long.py": "x = 1\n" * 600, "mail/short.py": "x = 1\n" * 599})
    assert list(architecture.long_modules(modules, {})) == ["relay.mail.long: 601 lines, more than 600"]
    assert list(architecture.long_modules(modules, {"relay.mail.long": "a table"})) == []


def test_a_function_that_is_too_long(tmp_path: Path) -> None:
    body = (
        "class C:\n    async def long(self):\n"
        + "        x = 1\n" * 60
        + "    def short(self):\n"
        + "        x = 1\n" * 59
    )
    modules = tree(tmp_path, {"mail/a.py": body})
    assert list(architecture.long_functions(modules, {})) == [
        "relay.mail.a:3: long, 61 lines, more than 60",
    ]
    assert list(architecture.long_functions(modules, {"relay.mail.a:long": "a table"})) == []
