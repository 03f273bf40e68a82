"""Every public function and class has an example, and the example runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import dvskit
from tests.docstring_examples import check_examples
from tests.processes import run_in

PACKAGES = sorted(
    f"dvskit.{path.parent.name}" for path in Path(dvskit.__file__).parent.glob("*/__init__.py")
    if path.parent.name not in ("cli",)
)  # fmt: skip


@pytest.mark.slow(seconds=9)
@pytest.mark.parametrize("package", ["dvskit", *PACKAGES, "dvskit.render.plots"])
def test_each_public_object_has_an_example_that_runs(package, sample_folder, tmp_path):
    folder = shutil.copytree(sample_folder, tmp_path / "sample")
    code, printed = run_in(folder, check_examples, package)
    assert code == 0, printed
