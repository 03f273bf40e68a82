"""Tensors in files: what is written, and what is refused without leaving anything behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

import dvskit
from dvskit.errors import OutputError
from dvskit.tensors import (
    Counts,
    FeatureCounts,
    FeatureLayer,
    PointSet,
    TimeSurface,
    VoxelGrid,
    bin_events,
    fit_features,
    save_features,
    save_tensor,
)
from tests.laws import refused, refused_command
from tests.test_cli import left_behind
from tests.test_tensors import random_events

SUFFIXES = ("npy", "npz", "pt", "pth", "safetensors")


@pytest.fixture
def events(tmp_path):
    made = random_events(2_000, seed=1)
    dvskit.save_events(made, tmp_path / "a.npz")
    return made


def test_counts_are_written_as_each_suffix_says(run, tmp_path, events):
    expected = bin_events(events, bins=5)
    for suffix in SUFFIXES:
        code, out, err = run("convert", "a.npz", f"c.{suffix}", "--bins", "5")
        assert (code, out) == (0, "")
        assert f"c.{suffix}: counts (5, 2, 7, 13) int32 of 2,000 events" in err
    assert np.array_equal(np.load(tmp_path / "c.npy"), expected)
    with np.load(tmp_path / "c.npz") as archive:
        assert archive.files == ["counts"]
        assert np.array_equal(archive["counts"], expected)
    for name in ("c.pt", "c.pth"):
        assert torch.equal(torch.load(tmp_path / name, weights_only=True), expected)
    with safe_open(tmp_path / "c.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("counts"), expected)
        assert file.metadata()["sensor"] == "13x7"


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["--bin", "10ms"], Counts(bin_us=10_000)),
        (["--bins", "9", "--bin", "6ms"], Counts(bins=9, bin_us=6_000)),
        (["--as", "counts:dtype=uint8,channels=1", "--bins", "3"],
         Counts(bins=3, dtype=torch.uint8, channels=1)),
        (["--as", "voxel_grid:bins=4,duration=60ms"], VoxelGrid(bins=4, duration_us=60_000)),
        (["--as", "time_surface:tau=5ms", "--bin", "7ms"], TimeSurface(tau_us=5_000, bin_us=7_000)),
        (["--as", "time_surface:tau_us=2.5"], TimeSurface(tau_us=2.5)),
        (["--as", "point_set:points=64,seed=3"], PointSet(points=64, seed=3)),
    ],
)  # fmt: skip
def test_a_tensor_is_what_the_library_gives(run, tmp_path, events, words, chosen):
    assert run("convert", "a.npz", "c.npy", *words)[0] == 0
    assert np.array_equal(np.load(tmp_path / "c.npy"), chosen(events).numpy())


def test_counts_of_features_are_written(run, tmp_path, events):
    features = fit_features(events, FeatureLayer(n_features=2, patch=3))
    save_features(features, tmp_path / "f.safetensors")
    words = ("convert", "a.npz", "c.npy", "--as", "features:fitted=f.safetensors,bins=2")
    assert run(*words)[0] == 0
    expected = FeatureCounts(fitted=features, bins=2)(events)
    assert np.array_equal(np.load(tmp_path / "c.npy"), expected.numpy())
    (tmp_path / "f.safetensors").unlink()
    refused_command(run(*words, "--force"), "f.safetensors")


def test_a_part_begins_where_start_says(run, tmp_path, events):
    words = ("--start", "10ms", "--stop", "40ms", "--crop", "2,1,8,5", "--bins", "3")
    assert run("convert", "a.npz", "c.npy", *words)[0] == 0
    first = int(events.t[0])
    part = dvskit.filters.Crop(2, 1, 8, 5)(events.between(first + 10_000, first + 40_000))
    expected = bin_events(part, bins=3, start_us=first + 10_000)
    assert np.array_equal(np.load(tmp_path / "c.npy"), expected)


def test_events_outside_of_the_bins_are_refused_with_the_way_out(run, tmp_path, events):
    words = ("convert", "a.npz", "c.npy", "--bins", "2", "--bin", "1ms")
    refused_command(run(*words), "window", "--as counts:outside=ignore")
    assert left_behind(tmp_path) == {"a.npz"}
    assert run(*words, "--as", "counts:outside=ignore")[0] == 0
    assert np.load(tmp_path / "c.npy").sum() == len(events.between(None, events.t[0] + 2_000))


def test_what_exists_is_replaced_only_when_told(run, tmp_path, events):
    (tmp_path / "c.npy").write_bytes(b"kept")
    refused_command(run("convert", "a.npz", "c.npy", "--bins", "2"), "c.npy", "--force")
    assert (tmp_path / "c.npy").read_bytes() == b"kept"
    assert run("convert", "a.npz", "c.npy", "--bins", "2", "--force")[0] == 0
    assert np.load(tmp_path / "c.npy").shape == (2, 2, 7, 13)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("c.csv --bins 3", ["c.csv"]),
        ("- --bins 3", [".npz"]),
        ("c.npy --bins 0", ["--bins 0"]),
        ("c.npy --bins 3 --to evt3", ["--to"]),
        ("c.npy --as voxelgrid", ["'voxel_grid'"]),
        ("c.npy --as counts:dtype=int8 --bins 3", ["'int8'"]),
        ("c.npy --as voxel_grid", ["voxel_grid", "bins"]),
        ("c.npy --as voxel_grid:5", ["'5'"]),
        ("c.npy --as tore:deep=5", ["tore", "'deep'"]),
        ("c.npy --as counts:bins=5 --bins 3", ["bins", "counts:bins=5"]),
        ("c.npy --as time_surface:tau=5", ["tau=5", "tau_us=3000"]),
        ("c.npy --as event_frames:count=9 --bin 3ms", ["'bin_us'"]),
        ("c.npy --as time_surface:tau_us=3ms", ["tau_us=3ms"]),
        ("c.npy --bins 1099511627776 --bin 1us", ["GiB"]),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(run, tmp_path, events, words, named):
    result = run("convert", "a.npz", *words.split())
    refused_command(result, *named)
    assert result[0] == (1 if "GiB" in named else 2)
    assert left_behind(tmp_path) == {"a.npz"}


def test_the_same_tensor_gives_the_same_bytes_and_a_failure_leaves_nothing(tmp_path):
    tensor = torch.arange(6).reshape(2, 3).T
    for suffix in SUFFIXES:
        with refused(OutputError, "none"):
            save_tensor(tensor, tmp_path / "none" / f"c.{suffix}")
    with refused(OutputError, "c.txt"):
        save_tensor(tensor, tmp_path / "c.txt")
    assert left_behind(tmp_path) == set()
    for suffix in SUFFIXES:
        one, two = (tmp_path / turn / f"c.{suffix}" for turn in ("one", "two"))
        for path in (one, two):
            path.parent.mkdir(exist_ok=True)
            save_tensor(tensor, path, name="x", notes={"a": "b"})
        assert one.read_bytes() == two.read_bytes()
