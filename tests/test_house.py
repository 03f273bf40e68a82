"""The architecture: imports run one way, the public names stand, importing stays light."""

from __future__ import annotations

import ast
import graphlib
import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import dvskit

PACKAGE = Path(dvskit.__file__).parent

# A part imports from parts above it only (DESIGN's list, foundations first).
ORDER = [
    "errors",
    "registry",
    "_arguments",
    "_threads",
    "_compiling",
    "_random_kernels",
    "_files",
    "_toml",
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
    "training",
    "evaluation",
    "teach",
    "cli",
    "__main__",
]
BEFORE_TORCH = ORDER[: ORDER.index("render") + 1]


def part_of(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_names(file: Path) -> set[str]:
    """The names that `file` imports, anywhere but for type checkers."""
    names = set()
    for node in nodes_at_run_time(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parts_imported(file: Path) -> set[str]:
    found = set()
    for name in imported_names(file):
        words = name.split(".")
        if words[0] == "dvskit" and len(words) > 1 and words[1] in ORDER:
            found.add(words[1])
    return found


SOURCES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


def test_every_file_stands_in_the_order():
    assert len(SOURCES) > 30
    assert {part_of(file) for file in SOURCES} <= set(ORDER)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_only_run_down(file):
    here = ORDER.index(part_of(file))
    above = {name for name in parts_imported(file) if ORDER.index(name) > here}
    assert not above, f"{file.relative_to(PACKAGE)} imports {above}, which stand above it"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_torch_begins_at_tensors_and_tonic_has_one_door(file):
    roots = {name.split(".")[0] for name in imported_names(file)}
    if part_of(file) in BEFORE_TORCH:
        assert "torch" not in roots
    if part_of(file) != "datasets":
        assert "tonic" not in roots


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def test_a_class_name_is_used_once_unless_it_is_private():
    names = Counter(
        node.name
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, uses in names.items() if uses > 1] == []


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node`, except those of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from nodes_at_run_time(child)


def modules_imported(file: Path, modules: set[str]) -> set[str]:
    """The modules of dvskit that `file` imports, anywhere but for type checkers."""
    found = set()
    for node in nodes_at_run_time(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules else str(node.module))
    return found & modules


def test_no_module_imports_itself_through_others():
    files = {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): file
        for file in SOURCES
    }
    graph = {name: modules_imported(file, set(files)) - {name} for name, file in files.items()}
    assert sum(map(len, graph.values())) > 500
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a circle


def test_nothing_lies_deeper_than_two_folders():
    deep = [path for path in PACKAGE.rglob("*") if len(path.relative_to(PACKAGE).parts) > 3]
    assert [path for path in deep if "__pycache__" not in path.parts] == []


def test_no_folder_holds_one_file():
    alone = [
        folder
        for folder in {file.parent for file in SOURCES}
        if len([*folder.glob("*.py"), *folder.glob("*/__init__.py")])
        < 2 + (folder / "__init__.py").exists()
    ]
    assert alone == []


@pytest.mark.slow
@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_compiled_loops_lie_in_files_named_for_what_they_do(file):
    decorators = {
        name.id
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        for name in ast.walk(decorator)
        if isinstance(name, ast.Name)
    }
    if decorators & {"njit", "vectorize", "kernel", "inner", "merged", "inlined"}:
        assert file.name.endswith("_kernels.py")
        assert file.name != "_kernels.py"


def loaded(packages: str, *heavy: str) -> str:
    """Which of the `heavy` modules an import of packages loads, beside those loaded before."""
    code = (
        f"import sys; before = set(sys.modules); import {packages}; "
        f"print(*set({heavy}) & set(sys.modules) - before)"
    )
    return run_python(code).strip()


def test_importing_dvskit_loads_no_large_library():
    heavy = ("torch", "numba", "av", "cv2", "matplotlib", "rich", "importlib.metadata", "hashlib")
    assert loaded("dvskit", *heavy) == ""


def test_importing_filters_tensors_and_networks_loads_no_library_of_videos():
    heavy = ("av", "cv2", "PIL", "matplotlib", "h5py", "rosbags", "tonic", "torch._dynamo")
    assert loaded("dvskit.filters, dvskit.tensors, dvskit.networks, dvskit.learning", *heavy) == ""


def test_the_command_line_loads_only_the_command_that_runs_and_neither_torch_nor_numba():
    code = (
        "import sys; from dvskit.cli import app; from dvskit.cli._commands import MODULES; "
        "app(['merge', '--help'], standalone_mode=False); "
        "loaded = [each for each in MODULES if f'dvskit.cli.{each}' in sys.modules]; "
        "app(['--help'], standalone_mode=False); "
        "print(loaded, 'dvskit.cli.evaluate' in sys.modules, "
        "[m for m in ('torch', 'numba') if m in sys.modules])"
    )
    assert run_python(code).splitlines()[-1] == "['merge'] True []"


def test_importing_the_command_line_loads_neither_torch_nor_numba():
    assert loaded("dvskit.cli", "torch", "numba", "matplotlib", "av", "cv2") == ""


def test_the_page_of_teach_is_shown_before_torch_is_loaded():
    assert loaded("dvskit.teach", "torch", "numba", "matplotlib") == ""


def test_a_decision_needs_neither_the_compiler_of_torch_nor_a_drawing_library():
    code = (
        "import sys, torch; from dvskit import evaluation, neurons; "
        "neurons.LIF(0.9)(torch.ones(3, 2, requires_grad=True)).sum().backward(); "
        "print([m for m in ('torch._dynamo', 'sympy', 'matplotlib') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_the_public_names_stand():
    assert sorted(dvskit.__all__) == [
        "DvskitError",
        "Emulator",
        "EmulatorParams",
        "Events",
        "Filter",
        "Frame",
        "Imu",
        "Labels",
        "Sink",
        "Size",
        "Source",
        "Triggers",
        "__version__",
        "datasets",
        "emulate",
        "emulator",
        "encoders",
        "evaluation",
        "filters",
        "formats",
        "layers",
        "learning",
        "load_events",
        "merge",
        "motion",
        "networks",
        "neurons",
        "open_events",
        "progress",
        "reconstruction",
        "register_format",
        "render",
        "save_events",
        "scenes",
        "tensors",
        "tracking",
        "training",
        "video",
    ]
    for name in dvskit.__all__:
        assert getattr(dvskit, name) is not None


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("open_events", "(path, *, format=None, size=None, strict=True, sort=False)"),
        ("load_events", "(path, *, format=None, size=None, strict=True, sort=False)"),
        ("save_events", "(events_or_source, path, *, format=None, overwrite=False)"),
        ("merge", "(*events_or_sources)"),
        ("Events", "(*, t, x, y, p, size)"),
        (
            "emulate",
            "(video_or_frames, params=None, seed=0, *, fps=None, t_us=None, white=None, "
            "light='luma', clock='first', strict=True, size=None, crop=None, start_us=None, "
            "stop_us=None)",
        ),
        (
            "tensors.bin_events",
            "(events, *, bins=None, bin_us=None, start_us=None, outside='error')",
        ),
        ("Events.between", "(self, start_us=None, stop_us=None)"),
        ("Events.blocks", "(self, *, count=None, duration_us=None)"),
        ("events.ReadableSource.load", "(self)"),
        ("events.ReadableSource.between", "(self, start_us=None, stop_us=None)"),
        ("events.ReadableSource.blocks", "(self, *, count=None, duration_us=None)"),
        ("filters.chain", "(*filters)"),
        (
            "motion.maximise_contrast",
            "(events, model='translation', *, camera=None, objective='variance', start=None)",
        ),
        ("motion.warped_image", "(events, motion, *, camera=None)"),
        (
            "reconstruction.reconstruct",
            "(events_or_source, reconstructor, times, *, frames=None, exposure=None)",
        ),
        ("EmulatorParams.presets", "()"),
        ("render.page", None),
        ("render.cloud", None),
        ("render.frames", None),
        ("render.video", None),
        ("neurons.LIF", None),
        ("neurons.SignedLIF", None),
        ("layers.Sequence", None),
        ("layers.checkpointed", None),
        ("encoders.poisson", None),
        ("encoders.latency", None),
        ("encoders.rank_order", "(values, steps, *, dims=2, silent=None)"),
        ("encoders.population", "(values, fields)"),
        ("encoders.delta", "(signal, *, threshold=0.1, threshold_off=None)"),
        ("encoders.temporal_contrast", "(signal, *, factor=1.0)"),
        ("encoders.step_forward", "(signal, *, threshold)"),
        ("encoders.moving_window", "(signal, *, window, threshold)"),
        ("encoders.hsa", "(signal, *, response)"),
        ("encoders.bsa", "(signal, *, response, threshold=0.955)"),
        ("encoders.signed_poisson", "(values, steps, *, generator=None)"),
        ("datasets.open_samples", None),
        ("training.train", None),
        ("evaluation.evaluate", None),
        ("training.load_model", None),
    ],
)
def test_the_public_signatures_stand(name, signature):
    value = dvskit
    for word in name.split("."):
        value = getattr(value, word)
    assert callable(value)
    if signature is not None:
        plain = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in inspect.signature(value).parameters.values()
        ]
        assert str(inspect.Signature(plain)) == signature


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_here"):
        dvskit.nothing_here  # noqa: B018


def test_nothing_else_stands_at_the_top():
    top = PACKAGE.parent
    if not (top / "pyproject.toml").is_file():
        pytest.skip("an installed package has no top")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=top, capture_output=True, text=True, check=True
    ).stdout
    names = {line.split("/")[0] for line in listed.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.bib",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "mkdocs.yml",
        "dvskit",
        "models",
        "samples",
        "tests",
    }
