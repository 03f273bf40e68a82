"""The architecture: imports run one way, importing stays light."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dvskit

PACKAGE = Path(dvskit.__file__).parent

# A part imports from parts above it only (DESIGN's list, foundations first).
ORDER = [
    "errors",
    "_checks",
    "registry",
    "_threads",
    "_compiling",
    "_random_kernels",
    "_files",
    "_toml",
    "_tables",
    "_interrupt",
    "events",
    "streams",
    "_progress",
    "formats",
    "video",
    "scenes",
    "emulator",
    "filters",
    "motion",
    "tracking",
    "render",
    "tensors",
    "encoders",
    "neurons",
    "layers",
    "learning",
    "networks",
    "reconstruction",
    "datasets",
    "models",
    "evaluation",  # inference needs no training
    "training",
    "teach",
    "cli",
    "__main__",
]
BEFORE_TORCH = ORDER[: ORDER.index("render") + 1]


SOURCES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")
MODULES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in SOURCES
}


def part_of(module: str) -> str:
    """The part of dvskit that a module belongs to, as ORDER lists it."""
    return module.split(".")[1]


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node`, except those of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from nodes_at_run_time(child)


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imported(module: str) -> set[str]:
    """The modules that a module imports at any time, and the packages of other projects."""
    found = set()
    for node in nodes_at_run_time(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


def test_every_file_stands_in_the_order():
    assert len(SOURCES) > 30
    assert {part_of(module) for module in MODULES} <= set(ORDER)


def test_imports_only_run_down():
    wrong = [
        (module, name)
        for module in MODULES
        for name in imported(module) & MODULES.keys()
        if ORDER.index(part_of(name)) > ORDER.index(part_of(module))
    ]
    assert wrong == []


def test_torch_begins_at_tensors_and_tonic_has_one_door():
    for module in MODULES:
        roots = {name.split(".")[0] for name in imported(module)}
        assert "torch" not in roots or part_of(module) not in BEFORE_TORCH, module
        assert "tonic" not in roots or part_of(module) == "datasets", module


@pytest.mark.slow
def test_a_class_name_is_used_once_unless_it_is_private():
    names = Counter(
        node.name
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, uses in names.items() if uses > 1] == []


def test_no_module_imports_itself_through_others():
    graph = {module: imported(module) & MODULES.keys() - {module} for module in MODULES}
    assert sum(map(len, graph.values())) > 500
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a circle


# Each line prints the modules that must not be loaded at this point and are.
WITHOUT_TORCH = """
import sys
before = set(sys.modules)
def show(*heavy):
    print(sorted(set(heavy) & set(sys.modules) - before))
import dvskit
show("torch", "numba", "av", "cv2", "matplotlib", "rich", "importlib.metadata", "hashlib")
from dvskit.cli import app
show("torch", "numba", "av", "cv2", "matplotlib")
app(["info", "--help"], standalone_mode=False)
show("torch", "numba", "dvskit.cli.convert", "dvskit.cli.emulate", "dvskit.cli.train")
app(["--help"], standalone_mode=False)
show("torch", "numba", "av", "cv2", "h5py")
import dvskit.teach
show("torch", "numba", "matplotlib")
import dvskit.teach.server
show("torch")
"""
WITH_TORCH = """
import sys
def show(*heavy):
    print(sorted(set(heavy) & set(sys.modules)))
import dvskit.filters, dvskit.tensors, dvskit.networks, dvskit.learning
show("av", "cv2", "PIL", "matplotlib", "h5py", "rosbags", "tonic", "torch._dynamo")
import torch
from dvskit import evaluation, neurons
neurons.LIF(0.9)(torch.ones(3, 2, requires_grad=True)).sum().backward()
show("torch._dynamo", "sympy", "matplotlib", "dvskit.training")
"""


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("code", [WITHOUT_TORCH, WITH_TORCH])
def test_importing_loads_no_large_library_before_it_is_used(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert found == ["[]"] * code.count("\nshow(")
