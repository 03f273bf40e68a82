"""An installed package extends dvskit: its parts work in Python, in TOML and on the command line.

Each kind of part is one module of tests/extension_package/garden.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import registry
from dvskit.datasets import Encode, open_samples
from dvskit.datasets.opening import find_spans
from dvskit.errors import UnknownFormatError
from dvskit.filters import filter_from, filter_names
from dvskit.formats import find_format, formats
from dvskit.formats.found import PathKind, find_recordings, identify, identify_named
from dvskit.networks import Layered, network_from
from dvskit.tensors import representation_from
from tests.conftest import skip_or_fail
from tests.laws import refused
from tests.processes import run_in

SOURCE = Path(__file__).parent / "extension_package"
EVENTS = dvskit.Events(
    t=np.arange(0, 40_000, 100), x=np.arange(400) % 16, y=np.arange(400) // 40,
    p=np.arange(400) % 3 == 0, size=(16, 12),
)  # fmt: skip
SEED = (
    b"SEED" + np.array(EVENTS.size, "<i8").tobytes()
    + np.stack([EVENTS.t, EVENTS.x, EVENTS.y, EVENTS.p], 1).astype("<i8").tobytes()
)  # fmt: skip
CONFIG = """
output = "run"
[network]
name = "layers"
layers = ["4", "lif", "2", "lif", "membrane"]
width = 16
height = 12
classes = 2
[input]
bins = 4
bin_us = 10_000
[loop]
epochs = 1
[[data]]
path = "classes"
"""


# --- installed by pip, used in a process of its own -----------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
import dvskit
from dvskit.cli import main

def command(*words):
    sys.argv = ["dvskit", *words]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, words

if __name__ == "__main__":  # processes of many files import the script
    from dvskit.datasets import open_public
    from dvskit.training import load_model
    events = dvskit.load_events("in.npz")
    command("convert", "in.npz", "in.seed")
    assert dvskit.load_events("in.seed") == events
    command("convert", "classes", "seeds", "--to", "seed", "--jobs", "2", "--filter", "every_other")
    assert dvskit.load_events("seeds/left/0.seed") == events[::2]
    sets = ("data.0.path=seeds", "input.representation=on_minus_off", "input.channels=1",
            "network.inputs=1", 'network.layers=["4","quadratic","2","lif","membrane"]')
    command("train", "run.toml", *[f"--set={word}" for word in sets])
    assert type(load_model("run").module[2]).__name__ == "Quadratic"
    command("classify", "in.seed", "--model", "run")
    text = Path("run.toml").read_text().replace('name = "layers"', 'name = "mean-of-pixels"')
    lines = [line for line in text.splitlines() if not line.startswith("layers")]
    Path("own.toml").write_text("\\n".join(lines).replace('output = "run"', 'output = "own"') +
        "\\n[network.arguments]\\npixels = 192\\nclasses = 2\\n")
    command("train", "own.toml")
    command("eval", "own", "classes", "--split", "all")
    Path("named").mkdir()
    for number, file in enumerate(sorted(Path("classes").glob("*/*.npz"))):
        Path("named", f"{file.parent.name}_{number}.npz").write_bytes(file.read_bytes())
    assert open_public("named-recordings", "named").classes == ("left", "right")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package as pip installs it, without the network."""
    if importlib.util.find_spec("setuptools") is None or importlib.util.find_spec("pip") is None:
        skip_or_fail("pip and setuptools are not installed")
    work = tmp_path_factory.mktemp("extension")
    shutil.copytree(SOURCE, work / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "--target", work / "site", work / "source"],
        check=True, timeout=200,
    )  # fmt: skip
    return work / "site"


def places(site: Path) -> list[str]:
    """Where Python finds the package and dvskit."""
    return [str(site), str(Path(dvskit.__file__).parents[1])]


def run_script(site: Path, file: Path) -> None:
    """Run a script with the package installed, for processes that it starts, too."""
    sys.path[:0] = places(site)
    os.environ["PYTHONPATH"] = os.pathsep.join(places(site))
    runpy.run_path(file, run_name="__main__")


@pytest.mark.campaign
def test_the_parts_of_an_installed_package_work_in_commands_and_their_processes(site, tmp_path):
    dvskit.save_events(EVENTS, tmp_path / "in.npz")
    for at, name in enumerate(["left"] * 6 + ["right"] * 6):
        (tmp_path / "classes" / name).mkdir(parents=True, exist_ok=True)
        dvskit.save_events(EVENTS[at:], tmp_path / "classes" / name / f"{at}.npz")
    (tmp_path / "run.toml").write_text(CONFIG)
    (tmp_path / "script.py").write_text(SCRIPT)
    code, printed = run_in(tmp_path, run_script, site, tmp_path / "script.py")
    assert code == 0, printed


# --- the same package on sys.path, imported anew by each test -------------------------------------


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """The package, not yet imported, and files of its format in the working folder."""
    about = tmp_path / "site" / "garden-0.3.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: garden\nVersion: 0.3\n")
    (about / "entry_points.txt").write_text("[dvskit]\ngarden = garden.parts\n")
    monkeypatch.syspath_prepend(about.parent)
    monkeypatch.syspath_prepend(SOURCE)
    monkeypatch.setattr(registry, "_packages", None)
    for name in ("tensors", "encoders", "neurons", "networks", "datasets"):
        import_module(f"dvskit.{name}")  # has a registry, too
    for each in registry._REGISTRIES:
        monkeypatch.setattr(each, "_parts", dict(each))
        monkeypatch.setattr(each, "_places", {})
    for name in ("a", "set/left/a", "set/right/b", "labelled/a", "whole/events"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.seed").write_bytes(SEED)
    (tmp_path / "magic").write_bytes(SEED)
    (tmp_path / "other.bin").write_bytes(SEED)
    (tmp_path / "other.txt").write_bytes(SEED)
    (tmp_path / "list.csv").write_text("path,class\na.seed,left\nset/right/b.seed,right\n")
    (tmp_path / "labelled" / "a_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n1,0,9\n"
    )
    monkeypatch.chdir(tmp_path)
    dvskit.save_events(EVENTS, "in.npz")
    yield about.parent
    for name in [name for name in sys.modules if name.partition(".")[0] == "garden"]:
        del sys.modules[name]


@pytest.mark.slow
def test_known_names_import_neither_packages_nor_what_finds_them(garden, tmp_path):
    code = (
        SCRIPT.partition("if __name__")[0]
        + """
command("--version")
assert "importlib.metadata" not in sys.modules
command("convert", "in.npz", "a.raw", "--filter", "flip")
assert "garden" not in sys.modules
command("convert", "in.npz", "b.seed")
assert "garden" in sys.modules
"""
    )
    path = os.pathsep.join([*places(garden), str(SOURCE)])
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, timeout=200, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


NETWORK = {
    "name": "mean-of-pixels", "width": 2, "height": 2, "classes": 3,
    "arguments": {"pixels": 4, "classes": 3},
}  # fmt: skip
LOOKS = {
    "load_events": lambda: dvskit.load_events("a.seed") == EVENTS,
    "load_events(format=)": lambda: dvskit.load_events("magic", format="seed") == EVENTS,
    "load_events of a folder": lambda: dvskit.load_events("whole") == EVENTS,
    "save_events": lambda: dvskit.save_events(EVENTS, "b.seed") is None,
    "find_format": lambda: find_format("magic").name == "seed",
    "find_format of N-MNIST's suffix": lambda: find_format("other.bin").name == "seed",
    "find_format of a text's suffix": lambda: find_format("other.txt").name == "seed",
    "formats": lambda: "seed" in [row.name for row in formats()],
    "identify": lambda: identify(Path("a.seed")) is PathKind.RECORDING,
    "identify a folder": lambda: identify(Path("whole")) is PathKind.RECORDING,
    "identify_named": lambda: identify_named(Path("magic")) is PathKind.RECORDING,
    "find_recordings": lambda: len(find_recordings(Path("set")).recordings) == 2,
    "open_samples": lambda: open_samples("set").classes == ("left", "right"),
    "open_samples of a list": lambda: len(open_samples("list.csv")) == 2,
    "find_spans": lambda: [row.label for row in find_spans("labelled")] == ["1"],
    "filter_from": lambda: filter_from("every_other:3")(EVENTS) == EVENTS[::3],
    "filter_names": lambda: "every_other" in filter_names(),
    "representation_from": lambda: representation_from("on_minus_off", bins=7).shape((4, 4)),
    "Encode": lambda: Encode("burst", 5, (8, 6)).steps == 5,
    "Layered": lambda: Layered(layers=("quadratic", "10"), width=9, height=9).build(),
    "network_from": lambda: network_from(NETWORK).classes == 3,
}


@pytest.mark.parametrize("look", LOOKS)
def test_each_look_for_a_name_finds_that_of_a_package(garden, look):
    assert "garden" not in sys.modules
    assert LOOKS[look]()


COMMANDS = {
    "info a.seed": "seed",
    "info magic --from seed": "seed",
    "convert a.seed b.raw": "",
    "convert in.npz b.seed": "",
    "convert in.npz -o b.seed": "",
    "convert in.npz b --to seed": "",
    "convert in.npz b.raw --filter every_other:3": "every_other:3: 266 events",
    "convert --help": "every_other|seed|on_minus_off",
    "convert in.npz a.npy --as on_minus_off:bins=9": "on_minus_off (9, 1, 12, 16) float32",
    "eval --help": "burst",
    "train --help": "mean-of-pixels|quadratic|named-recordings",
    "render --help": "seed",
    "filters": "every_other:of=2",
    "filters every-other": "default 2",
    "render a.seed -o a.gif": "",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_finds_the_names_of_a_package(garden, run, words):
    code, out, err = run(*words.split())
    assert code == 0
    for word in COMMANDS[words].split("|"):
        assert word in re.sub(r" {5,}", " ", out + err)


def test_known_files_and_names_import_no_package(garden):
    Path("known").mkdir()
    for name in ("a.raw", "a.csv", "a.txt", "a.npz"):
        dvskit.save_events(EVENTS, Path("known", name))
        find_format(Path("known", name))
    Path("known", "notes.txt").write_text("Notes.\n")
    assert len(find_recordings(Path("known")).recordings) == 4
    Path("clip.mp4").write_bytes(bytes(99))
    assert identify_named(Path("clip.mp4")) is PathKind.VIDEO
    filter_from("flip")(EVENTS)
    assert "garden" not in sys.modules


@pytest.fixture
def doctor(run, monkeypatch):
    """Run the command without the checks that take seconds; returns its code, report and error."""
    for name in ("_kernels", "_networks", "_models", "_cache"):
        monkeypatch.setattr(f"dvskit.cli.doctor.{name}", lambda: "skipped")

    def doctor():
        code, out, err = run("doctor", "--json")
        return code, json.loads(out), err

    return doctor


@pytest.mark.parametrize(
    ("declared", "listed"),
    [
        (
            "garden = garden.parts",
            {
                "garden 0.3": "encoder burst, filter every_other, format seed, network mean-of-"
                "pixels, neuron quadratic, public set named-recordings, representation on_minus_off"
            },
        ),
        (
            "one = garden.filters\ntwo = garden.formats",
            {
                "garden 0.3 garden.filters": "filter every_other",
                "garden 0.3 garden.formats": "format seed",
            },
        ),
    ],
)
def test_doctor_lists_each_module_of_a_package_with_its_parts(garden, doctor, declared, listed):
    (garden / "garden-0.3.dist-info" / "entry_points.txt").write_text(f"[dvskit]\n{declared}\n")
    found = doctor()[1]
    assert {name: found[name]["detail"] for name in listed} == listed


def test_doctor_names_the_fix_of_a_broken_package(garden, doctor, run):
    (garden / "garden-0.3.dist-info" / "entry_points.txt").write_text("[dvskit]\ng = garden.no\n")
    code, found, err = doctor()
    assert code == 1
    problem = "ModuleNotFoundError: No module named 'garden.no'"
    assert found["garden 0.3"] == {"ok": False, "detail": problem}
    assert f"garden 0.3 cannot be imported: {problem}" in err
    assert "dvskit: note: package garden 0.3 " in run("filters")[2]
    with refused(UnknownFormatError, "garden 0.3"):
        find_format("magic")
