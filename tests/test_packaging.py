"""The wheel and the source archive hold what they should, and one gives the other."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail
from tests.tree import TOP, text_of

METADATA = tomllib.loads(text_of("pyproject.toml"))


def tracked() -> set[str]:
    """Return the files that git holds; skip without a repository."""
    if not (TOP / ".git").exists():
        pytest.skip("no repository to compare with")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout
    return {name for name in listed.split("\0") if name and (TOP / name).exists()}


def test_all_that_stands_at_the_top_goes_into_the_source_archive() -> None:
    included = {*METADATA["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    tops = {name.split("/")[0] for name in tracked() if not name.startswith(".")}
    assert tops - included == {"pyproject.toml"}  # which is in it anyway


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, and a wheel that was built from it."""
    tracked()
    if not all(map(find_spec, ("build", "hatchling", "twine"))):
        skip_or_fail("no build, hatchling and twine to make packages with")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(TOP)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.campaign
@pytest.mark.slow(seconds=6)
def test_the_wheel_holds_the_package_and_the_models_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    models = {f"dvskit/shipped_{name}" for name in tracked() if name.startswith("models/")}
    assert names == {name for name in tracked() if name.startswith("dvskit/")} | models
    assert {"dvskit/py.typed", "dvskit/render/web/page.html"} <= names


@pytest.mark.campaign
@pytest.mark.slow
def test_the_source_archive_holds_the_repository_but_hidden_files(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert names - {"PKG-INFO", ".gitignore"} == {
        name for name in tracked() if not name.startswith(".")
    }
