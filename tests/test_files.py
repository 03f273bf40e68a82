"""Outputs that are whole or not at all: who may read them, and what is left beside them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dvskit
from dvskit import _files
from dvskit.networks import ConvLIF
from dvskit.training import InputConfig, Model, save_model
from dvskit.training.checkpoint import Checkpoint, save_checkpoint
from tests.test_events import make


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def new_mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """The mode of a new file while a umask is set."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def test_all_outputs_follow_the_umask(tmp_path: Path, new_mode: int) -> None:
    network = ConvLIF(width=16, height=16, classes=2, channels=(4, 4), kernel=3)
    model = Model("m", network, network.build(), InputConfig(), ("a", "b"))
    save_model(tmp_path / "model", model)
    save_checkpoint(tmp_path / "model" / "checkpoint.safetensors", Checkpoint("", weights={
        "w": torch.zeros(3)}))  # fmt: skip
    for suffix in ("npz", "raw", "aedat4", "hdf5", "bag", "db3", "mcap", "csv"):
        dvskit.save_events(make(50), tmp_path / f"events.{suffix}")
    dvskit.render.page(make(50), tmp_path / "page.html")
    dvskit.render.cloud(make(50), tmp_path / "cloud.png", width_px=100, height_px=100)
    dvskit.render.video(make(50), tmp_path / "video.mp4")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 14
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    assert modes == dict.fromkeys(modes, new_mode)


def test_a_file_that_a_library_made_private_is_opened_and_nothing_stays_beside_it(
    tmp_path: Path, new_mode: int
) -> None:
    with _files.whole_file(tmp_path / "out.bin") as partial:
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == new_mode


@pytest.mark.parametrize("end", ["", ".mode", ".t", ".vx", "-journal"])
@pytest.mark.parametrize("name", ["out.npz", "out", "a.b.db3", "ü x.raw"])
def test_unfinished_files_are_known_by_their_names(tmp_path: Path, name: str, end: str) -> None:
    target = tmp_path / name
    partial = _files.begin(target)
    partial.with_name(partial.name + end).touch()
    found = [whole for _, whole in _files.unfinished(tmp_path)]
    assert found == [target.with_name(f"out{end}") if (name, end[:1]) == ("out", ".") else target]
    _files.discard(partial, target)
    assert list(tmp_path.iterdir()) == []


def folder_of(tmp_path: Path, text: str, *, overwrite: bool = False) -> Path:
    target = tmp_path / "out"
    with _files.whole_folder(target, is_own=lambda name: True, overwrite=overwrite) as partial:
        partial.mkdir()
        (partial / f"{text}.txt").write_text(text)
    return target


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_replaced_and_nothing_stays_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    if not swaps:  # as on Windows, and on file systems that cannot exchange two folders
        monkeypatch.setattr(_files, "_swap", lambda first, second: False)
    folder_of(tmp_path, "old")
    target = folder_of(tmp_path, "new", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in target.iterdir()] == ["new.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may rename twice")
def test_there_is_no_moment_without_the_old_folder_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder_of(tmp_path, "old")
    monkeypatch.delattr(Path, "rename")
    folder_of(tmp_path, "new", overwrite=True)
    assert [path.name for path in target.iterdir()] == ["new.txt"]


def test_an_interrupt_while_a_file_is_renamed_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        monkeypatch.setattr(Path, "unlink", unlink)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt), _files.whole_file(tmp_path / "out.bin") as partial:
        partial.touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("renamed", [True, False])
def test_an_output_counts_if_it_was_renamed_wherever_an_interrupt_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: bool
) -> None:
    replace = Path.replace

    def interrupted(partial: Path, target: Path) -> None:
        if renamed:
            replace(partial, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(_files, "written", {})
    monkeypatch.setattr(Path, "replace", interrupted)
    (tmp_path / "out.bin").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _files.write_whole(tmp_path / "out.bin", "new", overwrite=True)
    assert _files.outputs() == [tmp_path / "out.bin"] * renamed
    assert (tmp_path / "out.bin").read_text() == ("new" if renamed else "old")


def test_a_command_reports_what_killed_ones_left_of_its_output(run, tmp_path: Path) -> None:
    dvskit.save_events(make(50), tmp_path / "a.npz")
    for name in (".b.0123abcd.partial.npz", ".b.0123abcd.partial.npz.t", ".c.0123abcd.partial.npz"):
        (tmp_path / name).touch()
    code, _, err = run("-q", "convert", "a.npz", "b.npz")
    assert code == 0
    assert err == (
        "dvskit: note: b.npz: a killed command left .b.0123abcd.partial.npz, "
        ".b.0123abcd.partial.npz.t beside it; remove this if none writes it\n"
    )
    assert len(list(tmp_path.iterdir())) == 5
    (tmp_path / "other").mkdir()
    assert run("-q", "convert", "a.npz", "other/b.npz")[2] == ""
