"""The rules of the code's cut, each a function from a tree of modules to its violations.

The table of layers is the whole architecture: a module imports from lower layers and from its own
package, never from a sibling. `test_architecture.py` holds the real tree against every rule here, and
holds every rule against a small tree that breaks it.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "relay"

LAYERS: Mapping[str, int] = {
    "mail": 0,
    "esmtp": 1,
    "tls": 1,
    "dkim": 1,
    "expand": 1,
    "policy": 2,
    "trust": 2,
    "spool": 3,
    "reception": 4,
    "delivery": 4,
    "net": 5,
    "observe": 5,
    "config": 6,
    "daemon": 7,
    "cli": 8,
    "tap": 8,
    "__main__": 9,
}

KINDS = ("machine", "decision", "disk", "edge", "values")

# Who may import a library (or a package of ours) that the others may not.
RESERVED: Mapping[str, frozenset[str]] = {
    "twisted": frozenset({"net", "observe", "daemon", "cli", "tap"}),
    "OpenSSL": frozenset({"tls"}),
    "relay.config": frozenset({"config", "daemon", "cli"}),
}

# Where names of pyOpenSSL that are not its public interface may be used.
PRIVATE_OPENSSL = "relay.tls.engine"

# What waits, or looks at the world. Machines, decisions and values are given it by a port.
WORLD = frozenset({
    "apsw", "asyncio", "concurrent", "http", "multiprocessing", "psycopg", "select", "selectors", "shutil",
    "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "urllib.request",
})  # fmt: skip
# Conversions that happen to live there; imported by name they are no look at the world.
HARMLESS = frozenset({"socket.AF_INET", "socket.AF_INET6", "socket.inet_ntop", "socket.inet_pton"})
WORLDLESS_KINDS = frozenset({"machine", "decision", "values"})

# Below layer 5 time is an argument.
CLOCKS = frozenset({
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
})  # fmt: skip
FIRST_LAYER_WITH_CLOCK = 5

MODULE_LINES = 600
FUNCTION_LINES = 60


@dataclass(frozen=True, slots=True)
class Import:
    """`name` is the module (for `from m import n`: `m.n`, which may be a module or a name in one)."""

    name: str
    line: int
    at_module_level: bool


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its text, and what can be read out of it."""

    name: str
    is_package: bool
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def part(self) -> str:
        """The package, or module, directly under relay that this belongs to; empty for relay itself."""
        return part_of(self.name)

    @cached_property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @cached_property
    def kind(self) -> str | None:
        """The one kind that the docstring's first sentence names in brackets."""
        first_sentence = re.split(r"\.(?:\s|$)", self.docstring, maxsplit=1)[0]
        named = re.findall(rf"\(({'|'.join(KINDS)})\)", first_sentence)
        return named[0] if len(named) == 1 else None

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(self._imports_in(self.tree, at_module_level=True))

    def _imports_in(self, node: ast.AST, *, at_module_level: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import():
                    yield from (Import(alias.name, child.lineno, at_module_level) for alias in child.names)
                case ast.ImportFrom():
                    source = self._absolute(child)
                    yield from (
                        Import(f"{source}.{alias.name}", child.lineno, at_module_level)
                        for alias in child.names
                    )
                case ast.Call(
                    func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    yield Import(name, child.lineno, at_module_level)
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from self._imports_in(child, at_module_level=at_module_level and not in_function)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        parents = parents[: len(parents) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parents, *([node.module] if node.module else [])])


def part_of(name: str) -> str:
    """`mail` for `relay.mail.reply`, `tap` for `relay.tap.Options`, empty for `relay.__version__`."""
    head, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    return part if head == PACKAGE and part in LAYERS else ""


def read_tree(root: Path) -> tuple[Module, ...]:
    """Every module of the package whose directory is `root`."""
    modules = []
    for path in sorted(root.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, is_package, path.read_text(encoding="utf-8")))
    return tuple(modules)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def unknown_parts(modules: tuple[Module, ...]) -> Iterator[str]:
    """Every module has its place in the table of layers."""
    for module in modules:
        if module.name != PACKAGE and not module.part:
            yield f"{module.name}: not in the table of layers"


def upward_imports(modules: tuple[Module, ...]) -> Iterator[str]:
    """A module imports from lower layers and from its own package; siblings leave each other alone."""
    for module in modules:
        own = LAYERS.get(module.part, -1)
        for each in module.imports:
            target = part_of(each.name)
            if not target or target == module.part:
                continue
            if LAYERS[target] > own:
                yield f"{module.name}:{each.line}: imports {each.name} from the higher layer {LAYERS[target]}"
            elif LAYERS[target] == own:
                yield f"{module.name}:{each.line}: imports {each.name} from its sibling {target}"


def reserved_imports(modules: tuple[Module, ...]) -> Iterator[str]:
    """Twisted stays at the edges, OpenSSL in tls, and the configuration with those who build."""
    for module in modules:
        for each in module.imports:
            for library, allowed in RESERVED.items():
                if is_within(each.name, library) and module.part not in allowed:
                    who = ", ".join(sorted(allowed))
                    yield f"{module.name}:{each.line}: imports {each.name}; only {who} may"


def private_openssl_names(modules: tuple[Module, ...]) -> Iterator[str]:
    """pyOpenSSL's private names are used in one file."""
    for module in modules:
        if module.name == PRIVATE_OPENSSL:
            continue
        for each in module.imports:
            if is_within(each.name, "OpenSSL") and any(p.startswith("_") for p in each.name.split(".")):
                yield f"{module.name}:{each.line}: imports {each.name}, a private name of pyOpenSSL"
        if not any(is_within(each.name, "OpenSSL") for each in module.imports):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and _is_private(node):
                yield f"{module.name}:{node.lineno}: uses {ast.unparse(node)}; only {PRIVATE_OPENSSL} may"


def _is_private(node: ast.Attribute) -> bool:
    of_ourselves = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
    return node.attr.startswith("_") and not node.attr.startswith("__") and not of_ourselves


def module_level_reactor(modules: tuple[Module, ...]) -> Iterator[str]:
    """To import the reactor is to install one: it is an argument, or is imported where it is used."""
    for module in modules:
        for each in module.imports:
            if each.at_module_level and is_within(each.name, "twisted.internet.reactor"):
                yield f"{module.name}:{each.line}: imports the reactor at module level"


def worldly_imports(modules: tuple[Module, ...]) -> Iterator[str]:
    """Machines, decisions and values touch no file, socket, thread or process."""
    for module in modules:
        if module.kind not in WORLDLESS_KINDS:
            continue
        for each in module.imports:
            if each.name not in HARMLESS and any(is_within(each.name, library) for library in WORLD):
                yield f"{module.name}:{each.line}: a {module.kind} imports {each.name}"


def clocks_read(modules: tuple[Module, ...]) -> Iterator[str]:
    """Below layer 5 nobody looks at the clock or sleeps."""
    for module in modules:
        if LAYERS.get(module.part, -1) >= FIRST_LAYER_WITH_CLOCK:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCKS:
                yield f"{module.name}:{node.lineno}: uses {ast.unparse(node)}; time is an argument here"
        for each in module.imports:
            if each.name in CLOCKS and each.name.startswith("time."):
                yield f"{module.name}:{each.line}: imports {each.name}; time is an argument here"


def unnamed_kinds(modules: tuple[Module, ...]) -> Iterator[str]:
    """The first sentence of a module says which kind it is; a package's says what its journey is."""
    for module in modules:
        if not module.docstring:
            yield f"{module.name}: has no docstring"
        elif not module.is_package and module.kind is None:
            yield f"{module.name}: the docstring's first sentence names no kind ({', '.join(KINDS)})"


def long_modules(modules: tuple[Module, ...], allowed: Mapping[str, str]) -> Iterator[str]:
    """`allowed` maps the name of a module that may be longer to the reason."""
    for module in modules:
        lines = len(module.text.splitlines())
        if lines > MODULE_LINES and module.name not in allowed:
            yield f"{module.name}: {lines} lines, more than {MODULE_LINES}"


def long_functions(modules: tuple[Module, ...], allowed: Mapping[str, str]) -> Iterator[str]:
    """`allowed` maps `module:function` to the reason."""
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES and f"{module.name}:{node.name}" not in allowed:
                yield f"{module.name}:{node.lineno}: {node.name}, {lines} lines, more than {FUNCTION_LINES}"


RULES = (
    unknown_parts,
    upward_imports,
    reserved_imports,
    private_openssl_names,
    module_level_reactor,
    worldly_imports,
    clocks_read,
    unnamed_kinds,
)
