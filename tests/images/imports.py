"""Which modules a step imports, directly and through our own, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.images.containerfile import ROOT

_OURS = "argotune"
# Loaded by name: argotune.steps.nodes.providers.load_provider.
_BY_NAME = {"argotune.steps.nodes.providers.load_provider": "steps/nodes"}
_ASKING = {"importlib.import_module", "importlib.util.find_spec"}


@cache
def modules_of(package: str) -> frozenset[str]:
    """Our own modules that the package's modules need, and its own."""
    waiting = [_name(path) for path in sorted((ROOT / package).rglob("*.py"))]
    assert waiting, package
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        waiting += [name for name in imports_of(module) if name.split(".")[0] == _OURS]
        for name in _BY_NAME.keys() & set(_imported_names(module)):
            waiting += [_name(path) for path in (ROOT / _BY_NAME[name]).rglob("*.py")]
    return frozenset(seen)


@cache
def third_party_of(package: str) -> frozenset[str]:
    """Dotted modules that are neither ours nor the standard library's."""
    known = {_OURS, *sys.stdlib_module_names}
    return frozenset(
        name
        for module in modules_of(package)
        for name in imports_of(module)
        if name.split(".")[0] not in known
    )


@cache
def optional_of(package: str) -> frozenset[str]:
    """Dotted modules that are asked for by a written name: what an image may lack."""
    return frozenset(
        argument.value
        for module in modules_of(package)
        for node in ast.walk(ast.parse(_path(module).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _ASKING
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    )


def imports_of(module: str) -> Iterator[str]:
    """Modules that the module imports when it runs, wherever in it."""
    for node in _running(ast.parse(_path(module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            if node.module.split(".")[0] == _OURS:
                yield from _submodules(node)


def _imported_names(module: str) -> Iterator[str]:
    """MODULE.NAME of what the module imports from others; who only has a module loads nothing."""
    for node in _running(ast.parse(_path(module).read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes without what stands under `if TYPE_CHECKING:`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield from _running(child)


def _submodules(node: ast.ImportFrom) -> Iterator[str]:
    for alias in node.names:
        name = f"{node.module}.{alias.name}"
        if _path(name).exists():
            yield name


def _path(module: str) -> Path:
    path = ROOT / module.removeprefix(f"{_OURS}.").replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _name(path: Path) -> str:
    name = ".".join([_OURS, *path.relative_to(ROOT).with_suffix("").parts])
    return name.removesuffix(".__init__")
