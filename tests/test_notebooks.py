"""The notebooks run from an empty folder, and are stored with the outputs of a run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail
from tests.test_online_rules_samples import sample

NOTEBOOKS = sorted(
    (Path(__file__).resolve().parent.parent / "samples" / "notebooks").glob("*.ipynb")
)
ABSOLUTE = re.compile(r"(?<![\w.:/<])/(?:tmp|home|root|work|usr|Users|private|opt)/|[A-Z]:\\\\")
QUICK = "02_emulation"  # the others are a campaign


@pytest.fixture
def runner(monkeypatch):
    try:
        import ipykernel  # noqa: F401
        import nbclient  # noqa: F401
    except ImportError:
        skip_or_fail("no nbclient and ipykernel to run a notebook with")
    return sample("run_notebooks", monkeypatch)


def kinds_of(notebook):
    """Return the kinds of the outputs of each cell of code."""
    return [
        [sorted(output.get("data", [output.output_type])) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=pytest.mark.slow if path.stem == QUICK else pytest.mark.campaign,
        )
        for path in NOTEBOOKS
    ],
)
def test_a_notebook_runs_in_an_empty_folder_and_its_outputs_are_those_of_a_run(
    path, runner, sample_folder, tmp_path
):
    # The first one writes the sample folder; the others find it, as if they were opened later.
    if path != NOTEBOOKS[0]:
        shutil.copytree(sample_folder, tmp_path / "dvskit-sample")
    done = runner.stored(runner.execute(path, tmp_path))
    assert (tmp_path / "dvskit-sample" / "events.raw").is_file()
    stored = runner.nbformat.read(path, as_version=4)
    assert kinds_of(done) == kinds_of(stored)
    assert [cell.source for cell in done.cells] == [cell.source for cell in stored.cells]
    assert all(output.get("name") != "stderr" for cell in done.cells
               for output in cell.get("outputs", ()))  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_has_outputs_without_errors_and_places_of_a_machine(path, runner):
    notebook = runner.nbformat.read(path, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    for output in [output for cell in codes for output in cell.outputs]:
        assert output.output_type != "error"
        data = output.get("data", {"text/plain": output.get("text", "")})
        assert not any(ABSOLUTE.search(data[kind]) for kind in data if kind.startswith("text/"))
    assert not any(ABSOLUTE.search(cell.source) for cell in notebook.cells)
