"""Without torch and tonic, which `samples/light.txt` leaves out, all but networks works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from dvskit.cli import MODULES
from tests.sample_files import folder, video
from tests.tree import SAMPLES, text_of

LEFT_OUT = {"torch", "tonic"}
pytestmark = pytest.mark.timeout(390)  # the first test waits for all commands, which compile loops
# What the process of all these commands does first: an import of torch fails as if it were missing.
DRIVER = """
import contextlib, importlib.machinery, io, json, sys

class Hiding(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, *given):
        hidden = name.partition(".")[0] in ("torch", "tonic")
        return None if hidden else super().find_spec(name, *given)

before = importlib.machinery.PathFinder
sys.meta_path[:] = [Hiding if finder is before else finder for finder in sys.meta_path]

from dvskit import cli

def result_of(words):
    sys.argv = ["dvskit", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code or 0
            except BaseException as error:
                code = repr(error)
    return code, out.getvalue(), err.getvalue()

if __name__ == "__main__":  # and not in a process that a command starts
    print(json.dumps([result_of(words) for words in json.loads(sys.argv[1])]))
"""
NEEDED = "pip install torch tonic"
RUN = (
    "emulate v.mp4 e.raw",
    "info e.raw",
    "convert e.raw e.npz --filter hot_pixel",
    "convert many out --to csv",
    "merge e.raw e.npz -o m.raw",
    "filters",
    "sample drawn",
    "cloud e.raw -o e.html",
    "cloud v.mp4 -o v.png",
    "cloud e.raw -o images.html --images filter",
    "render e.raw -o e.mp4",
    "motion e.raw -o m.csv --window 200ms",
    "flow e.raw -o f.npz",
    "track e.raw -o t.csv",
    "corners e.raw -o c.csv",
    "plot rate e.raw -o p.png",
    "reconstruct e.raw -o r.mp4 --model filter",
    "doctor",
    "view none.raw",
)
NEED_TORCH = (
    "train many",
    "train many/none.toml",
    "classify e.raw --model nmnist-signed-lif",
    "classify v.mp4 --live --model nmnist-signed-lif",
    "eval nmnist-signed-lif many",
    "teach",
    "demo",
    "reconstruct e.raw -o net.mp4",
    "convert e.raw e.npy --bins 5",
    "view e.raw --model nmnist-signed-lif",
)


def requirements(lines: list[str]) -> set[str]:
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def test_the_list_of_the_light_install_is_that_of_the_full_one_without_torch_and_tonic() -> None:
    full = tomllib.loads(text_of("pyproject.toml"))["project"]["dependencies"]
    names = {re.match(r"[\w.-]+", each)[0]: each for each in full}  # type: ignore[index]
    light = (SAMPLES / "light.txt").read_text("utf-8").splitlines()
    assert requirements(light) == {text for name, text in names.items() if name not in LEFT_OUT}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, str, str]]:
    """The exit codes and outputs of all commands, run in one process and one folder."""
    place = tmp_path_factory.mktemp("light")
    video(place / "v.mp4", frames=12)
    folder(place / "many", "a.npz", "b.npz")
    (place / "driver.py").write_text(DRIVER)
    lines = (*RUN, *NEED_TORCH)
    done = subprocess.run(
        [sys.executable, "driver.py", json.dumps([line.split() for line in lines])],
        cwd=place, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=380,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, json.loads(done.stdout), strict=True))


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("line", RUN)
def test_without_torch_and_tonic_it_runs(results, line: str) -> None:
    code, _, err = results[line]
    assert code == (1 if line == "view none.raw" else 0), err  # up to where it would serve


@pytest.mark.slow
@pytest.mark.parametrize("line", NEED_TORCH)
def test_a_command_that_needs_torch_ends_with_the_line_that_installs_it(results, line: str) -> None:
    code, out, err = results[line]
    assert (code, out) == (2, "")
    assert NEEDED in err


PARTS = """
import driver, dvskit
for name in dvskit.__all__:
    try:
        getattr(dvskit, name)
    except ImportError as error:
        assert isinstance(error, dvskit.DvskitError) and error.name == "torch"
        print(name, error, sep=": ")
"""


@pytest.mark.slow(seconds=4)
def test_a_part_that_needs_torch_says_so_in_python(tmp_path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, "-c", PARTS], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert {"tensors", "networks", "neurons", "training"} <= set(said)
    assert all(NEEDED in text for text in said.values())


@pytest.mark.slow
def test_doctor_calls_an_install_without_torch_and_tonic_light(results) -> None:
    lines = results["doctor"][1].splitlines()
    rows = {line[4:].split()[0]: line for line in lines}
    assert all(rows[name].startswith("ok ") and "light" in rows[name] for name in LEFT_OUT)
    assert "networks" not in rows


def test_every_command_runs_without_torch_or_names_it() -> None:
    tried = {line.split()[0] for line in (*RUN, *NEED_TORCH)}
    assert set(MODULES) - tried == {"calibrate", "cameras", "ros"}  # slow, and without devices
