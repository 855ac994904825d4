"""The order of the parts: imports only point to the same layer or below, and never in a circle.

The layers are the table in docs/architecture.md.  Imports for type checkers (``if TYPE_CHECKING:``) do
not count, since nothing runs them.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flambeau"
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
# The package's front door gathers the public names of all layers.
FRONT = ("__init__.py", "__main__.py")
# scipy is slow to import, and a process that finds its kernels on disk needs no LLVM: a function may import what only
# it needs of these.
LATE = {"llvmlite", "scipy"}
REQUIRED = {"flambeau", "llvmlite", "ml_dtypes", "numpy", *sys.stdlib_module_names}


class Import(NamedTuple):
    line: int
    target: str  # dotted name of a file of the package, or of a package elsewhere
    late: bool  # inside a function
    runs: bool  # False for type checkers only


@cache
def layers() -> dict[str, int]:
    """Layer by path relative to the package; folders end in "/"."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    return {path: int(layer) for layer, cell in rows for path in re.findall(r"`([^`]+)`", cell)}


def layer(path: str) -> int | None:
    """The layer of a file: of its own row, else of the innermost folder that has one."""
    if path in FRONT:
        return max(layers().values()) + 1
    parts = path.split("/")
    candidates = [path, *("/".join(parts[:n]) + "/" for n in range(len(parts) - 1, 0, -1))]
    return next((layers()[c] for c in candidates if c in layers()), None)


def module_path(dotted: str) -> str | None:
    """The file of module ``flambeau.a.b``, relative to the package; None when there is none."""
    stem = "/".join(dotted.split(".")[1:])
    candidates = [f"{stem}.py", f"{stem}/__init__.py"] if stem else ["__init__.py"]
    return next((c for c in candidates if (PACKAGE / c).is_file()), None)


def _is_type_checking(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _targets(node: ast.Import | ast.ImportFrom, path: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        folder = ["flambeau", *Path(path).parent.parts]
        base = ".".join([*folder[: len(folder) - node.level + 1], *([node.module] if node.module else [])])
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full.startswith("flambeau.") and module_path(full) else base


@cache
def imports(path: str) -> tuple[Import, ...]:
    """Every import statement of a file."""
    found: list[Import] = []

    def visit(node: ast.AST, late: bool, runs: bool) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.extend(Import(node.lineno, target, late, runs) for target in _targets(node, path))
        if isinstance(node, ast.If) and _is_type_checking(node):
            for child in node.body:
                visit(child, late, False)
            for child in node.orelse:
                visit(child, late, runs)
            return
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, late, runs)

    visit(ast.parse((PACKAGE / path).read_text()), False, True)
    return tuple(found)


@pytest.mark.parametrize("path", FILES)
def test_imports_point_down(path: str) -> None:
    own = layer(path)
    assert own is not None, f"{path} stands in no row of the table in docs/architecture.md: add it"
    for found in imports(path):
        other = module_path(found.target) if found.target.split(".")[0] == "flambeau" and found.runs else None
        if other is None or path in FRONT:
            continue
        other_layer = layer(other)
        assert other_layer is not None and other_layer <= own, (
            f"{path}:{found.line} (layer {own}) imports {found.target} (layer {other_layer}), which lies above it"
        )


@pytest.mark.parametrize("path", FILES)
def test_imports_stand_at_the_top(path: str) -> None:
    for found in imports(path):
        top = found.target.split(".")[0]
        assert not found.late or top in LATE or top not in REQUIRED, (
            f"{path}:{found.line} imports {found.target} inside a function; only optional packages may be"
        )


def test_the_package_never_imports_its_reference() -> None:
    assert not [(path, i.line) for path in FILES for i in imports(path) if i.target.split(".")[0] == "torch"]


def test_no_cycles() -> None:
    depends = {
        path: {
            other
            for found in imports(path)
            if found.runs and not found.late and found.target.split(".")[0] == "flambeau"
            if (other := module_path(found.target)) is not None and other != path
        }
        for path in FILES
    }
    try:
        TopologicalSorter(depends).prepare()
    except CycleError as error:
        pytest.fail("imports go in a circle: " + " -> ".join(reversed(error.args[1])))


def test_every_row_of_the_table_exists() -> None:
    missing = [path for path in layers() if not (PACKAGE / path).exists()]
    assert not missing, f"docs/architecture.md lists {missing}, which do not exist"


def test_what_plans_and_compiles_is_imported_when_it_is_first_needed() -> None:
    late = ("flambeau.graph.plan", "flambeau.graph.schedule", "flambeau.loop.verify", "llvmlite", "scipy")
    code = f"import sys, flambeau; print(*(m for m in {late} if m in sys.modules))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.split() == []
