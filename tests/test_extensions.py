"""An installed package extends dvskit: its parts work in Python, in TOML and on the command line.

Each kind of part is one module of tests/extension_package/garden.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import registry
from dvskit.datasets import Encode, open_samples
from dvskit.datasets.folders import find_spans
from dvskit.errors import UnknownFormatError
from dvskit.filters import filter_from, filter_names
from dvskit.formats import find_format
from dvskit.formats.found import PathKind, find_recordings, identify, identify_named
from dvskit.networks import Layered, network_from
from dvskit.tensors import representation_from
from tests.laws import refused

SOURCE = Path(__file__).parent / "extension_package"
EVENTS = dvskit.Events(
    t=np.arange(0, 40_000, 100), x=np.arange(400) % 16, y=np.arange(400) // 40,
    p=np.arange(400) % 3 == 0, size=(16, 12),
)  # fmt: skip
SEED = (
    b"SEED" + np.array(EVENTS.sensor_size, "<i8").tobytes()
    + np.stack([EVENTS.t, EVENTS.x, EVENTS.y, EVENTS.p], 1).astype("<i8").tobytes()
)  # fmt: skip


# --- installed by pip, used in a process of its own -----------------------------------------------


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
    for name in ("a", "set/left/a", "set/right/b", "labeled/a", "whole/events"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.seed").write_bytes(SEED)
    (tmp_path / "magic").write_bytes(SEED)
    (tmp_path / "other.bin").write_bytes(SEED)
    (tmp_path / "other.txt").write_bytes(SEED)
    (tmp_path / "labeled" / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n1,0,9\n")
    monkeypatch.chdir(tmp_path)
    dvskit.save_events(EVENTS, "in.npz")
    yield about.parent
    for name in [name for name in sys.modules if name.partition(".")[0] == "garden"]:
        del sys.modules[name]


NETWORK = {
    "name": "mean-of-pixels", "width": 2, "height": 2, "classes": 3,
    "arguments": {"pixels": 4, "classes": 3},
}  # fmt: skip
LOOKS = {
    "load_events": lambda: dvskit.load_events("a.seed") == EVENTS,
    "load_events(format=)": lambda: dvskit.load_events("magic", format="seed") == EVENTS,
    "load_events of a folder": lambda: dvskit.load_events("whole") == EVENTS,
    "find_format": lambda: find_format("magic").name == "seed",
    "find_format of N-MNIST's suffix": lambda: find_format("other.bin").name == "seed",
    "find_format of a text's suffix": lambda: find_format("other.txt").name == "seed",
    "identify": lambda: identify(Path("a.seed")) is PathKind.RECORDING,
    "identify_named": lambda: identify_named(Path("magic")) is PathKind.RECORDING,
    "find_recordings": lambda: len(find_recordings(Path("set")).recordings) == 2,
    "open_samples": lambda: open_samples("set").classes == ("left", "right"),
    "find_spans": lambda: [row.label for row in find_spans("labeled")] == ["1"],
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
    "convert in.npz b.seed": "",
    "convert in.npz b.raw --filter every_other:3": "every_other:3: 266 events",
    "convert --help": "every_other|seed|on_minus_off",
    "convert in.npz a.npy --as on_minus_off:bins=9": "on_minus_off (9, 1, 12, 16) float32",
    "train --help": "mean-of-pixels|quadratic|named-recordings",
    "filters": "every_other:of=2",
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


def test_doctor_lists_the_parts_of_packages_and_names_the_fix_of_a_broken_one(
    garden, run, monkeypatch
):
    for name in ("_kernels", "_networks", "_models", "_cache"):  # they take seconds
        monkeypatch.setattr(f"dvskit.cli.doctor.{name}", lambda: "skipped")
    declared = "[dvskit]\none = garden.filters\ntwo = garden.no\n"
    (garden / "garden-0.3.dist-info" / "entry_points.txt").write_text(declared)
    code, out, err = run("doctor", "--json")
    assert code == 1
    found, problem = json.loads(out), "ModuleNotFoundError: No module named 'garden.no'"
    assert found["garden 0.3 garden.filters"] == {"ok": True, "detail": "filter every_other"}
    assert found["garden 0.3 garden.no"] == {"ok": False, "detail": problem}
    assert f"garden 0.3 cannot be imported: {problem}" in err
    assert "dvskit: note: package garden 0.3 " in run("filters")[2]
    with refused(UnknownFormatError, "garden 0.3"):
        find_format("magic")
