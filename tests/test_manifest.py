"""The list of outputs of many files: reruns skip those of the same options."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import typer

import dvskit
from dvskit.cli._jobs import JobResult
from dvskit.cli._manifest import Manifest, options_hash
from dvskit.cli._trees import MANIFEST, FileJob
from dvskit.errors import OutputError
from tests.many_jobs import copy
from tests.test_events import make
from tests.test_many import touch

NAMES = ["a.out", "x/b, c.out", 'd"\n.out', "\udce9.out"]


def done(manifest, folder, name, reason=""):
    manifest.add(FileJob(Path("i"), folder / name, 1), JobResult(reason, value=3, host="h"))


def rows(folder):
    with (folder / MANIFEST).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_the_last_row_without_an_error_counts(tmp_path):
    first = Manifest(tmp_path, "1")
    assert first.made_with(tmp_path / "a.out") is None
    for name in NAMES:
        done(first, tmp_path, name)
    second = Manifest(tmp_path, "2")
    done(second, tmp_path, "a.out", reason="is broken")
    done(second, tmp_path, "x/b, c.out")
    found = Manifest(tmp_path, "3")
    assert [found.made_with(tmp_path / name) for name in NAMES] == ["1", "2", "1", "1"]
    assert len(rows(tmp_path)) == 6
    assert rows(tmp_path)[4] == {
        "file": "a.out", "input": "i", "options": "2", "events": "3", "seconds": "0.000",
        "host": "h", "error": "is broken",
    }  # fmt: skip


def test_a_run_killed_at_any_byte_of_a_row_loses_that_row_only(tmp_path):
    manifest = Manifest(tmp_path, "1")
    for name in NAMES:
        done(manifest, tmp_path, name)
    whole = (tmp_path / MANIFEST).read_bytes()
    for length in range(len(whole)):
        (tmp_path / MANIFEST).write_bytes(whole[:length])
        again = Manifest(tmp_path, "2")
        listed = [name for name in NAMES if again.made_with(tmp_path / name)]
        assert listed == NAMES[: max(0, whole[:length].count(b"\n") - 1)]
        done(again, tmp_path, "new.out")
        found = Manifest(tmp_path, "3")
        assert found.made_with(tmp_path / "new.out") == "2"
        assert [name for name in NAMES if found.made_with(tmp_path / name)] == listed


def test_another_file_of_that_name_is_not_touched(tmp_path):
    (tmp_path / MANIFEST).write_text("mine,1\n")
    with pytest.raises(OutputError, match=r"manifest\.csv: is not a list of files that dvskit"):
        Manifest(tmp_path, "1")
    assert (tmp_path / MANIFEST).read_text() == "mine,1\n"


def test_the_hash_is_of_options_and_of_the_preset_that_they_name(tmp_path):
    preset = tmp_path / "mine.toml"
    preset.write_text("leak_hz = 1")
    options = {"seed": 1, "preset": str(preset), "to": None}
    hashes = [
        options_hash("emulate", options),
        options_hash("convert", options),
        options_hash("emulate", options | {"seed": 2}),
    ]
    assert options_hash("emulate", dict(reversed(options.items()))) == hashes[0]
    preset.write_text("leak_hz = 2")
    hashes.append(options_hash("emulate", options))
    assert len(set(hashes)) == 4


def run_copy(jobs=1, to=".out", **given):
    words = {"paths": ["i", "o"], "output": None, "cluster": None, "force": False}
    copy(jobs=jobs, to=to, **words | given)


@pytest.mark.slow(seconds=4)
def test_reruns_do_what_failed_and_skip_what_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "i", "a.in", "b-broken.in")
    with pytest.raises(typer.Exit):
        run_copy()
    assert [(row["file"], row["events"], row["error"]) for row in rows(tmp_path / "o")] == [
        ("a.out", "1", ""), ("b-broken.out", "", "is broken"),
    ]  # fmt: skip
    assert all(row["host"] and float(row["seconds"]) >= 0 for row in rows(tmp_path / "o"))
    touch(tmp_path / "o", "b-broken.out")
    capsys.readouterr()
    run_copy()
    assert capsys.readouterr().err == (
        "dvskit: note: o: 1 existing file is not in manifest.csv, so its options are unknown; "
        "--force replaces all\n"
        "o: 0 files written, 2 skipped as they exist (--force replaces all)\n"
    )


@pytest.mark.slow(seconds=3)
def test_outputs_of_other_options_are_an_error_until_force(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "i", "a.in")
    run_copy()
    said = r"^o/a\.out: was made with other options \(1 file in o\); choose another folder, or --f"
    with pytest.raises(OutputError, match=said):
        run_copy(times=2)
    assert (tmp_path / "o" / "a.out").read_bytes() == b"1"
    run_copy(times=2, force=True)
    assert (tmp_path / "o" / "a.out").read_bytes() == b"11"
    assert [row["events"] for row in rows(tmp_path / "o")] == ["1", "2"]
    run_copy(times=2)  # skips it
    assert len(rows(tmp_path / "o")) == 2


@pytest.mark.slow(seconds=2)
def test_an_output_named_as_the_manifest_fails_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "i", "a.in", "manifest.in")
    with pytest.raises(typer.Exit):
        run_copy(to=".csv")
    said = "failed: i/manifest.in: its output would replace o/manifest.csv"
    assert said in capsys.readouterr().err
    assert [row["file"] for row in rows(tmp_path / "o")] == ["a.csv"]


def test_the_manifest_of_inputs_is_not_reported_as_skipped(run, tmp_path):
    (tmp_path / "r").mkdir()
    dvskit.save_events(make(10), tmp_path / "r" / "a.npz")
    (tmp_path / "r" / MANIFEST).write_text("file,input,options,events,seconds,host,error\n")
    code, _, err = run("convert", "r", "o/", "--to", "npz")
    assert code == 0
    assert "skipped" not in err
