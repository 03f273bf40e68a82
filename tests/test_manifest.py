"""The list of outputs of many files: reruns skip those of the same options."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import typer

from dvskit.cli._batch import Manifest, options_hash  # a command takes too long for each byte
from dvskit.cli._inputs import MANIFEST, FileJob
from dvskit.cli._workers import JobResult
from dvskit.errors import OutputError
from tests.laws import refused
from tests.many_jobs import copy_all
from tests.test_many import here, touch  # noqa: F401 (fixture)

NAMES = ["a.out", "x/b, c.out", 'd"\n.out', "\udce9.out"]


def done(manifest, folder, *names, reason=""):
    for name in names:
        manifest.add(FileJob(Path("i"), folder / name, 1), JobResult(reason, value=3, host="h"))


def rows(folder):
    with (folder / MANIFEST).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_the_last_row_without_an_error_counts(tmp_path):
    first = Manifest(tmp_path, "1")
    assert first.made_with(tmp_path / "a.out") is None
    done(first, tmp_path, *NAMES)
    second = Manifest(tmp_path, "2")
    done(second, tmp_path, "a.out", reason="is broken")
    done(second, tmp_path, "x/b, c.out")
    found = Manifest(tmp_path, "3")
    assert [found.made_with(tmp_path / name) for name in NAMES] == ["1", "2", "1", "1"]
    assert len(rows(tmp_path)) == 6
    assert list(rows(tmp_path)[4].values()) == ["a.out", "i", "2", "3", "0.000", "h", "is broken"]


def test_a_run_killed_at_any_byte_of_a_row_loses_that_row_only(tmp_path):
    done(Manifest(tmp_path, "1"), tmp_path, *NAMES)
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
    with refused(OutputError, MANIFEST):
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


def test_reruns_do_what_failed_and_skip_what_is_done(here, capsys):  # noqa: F811
    touch(here / "i", "a.in", "b-broken.in", "manifest.in")
    with pytest.raises(typer.Exit):
        copy_all("i", "o", to=".csv")
    assert "failed: i/manifest.in: " in capsys.readouterr().err
    assert [(row["file"], row["events"], row["error"]) for row in rows(here / "o")] == [
        ("a.csv", "1", ""), ("b-broken.csv", "", "is broken"),
    ]  # fmt: skip
    assert all(row["host"] and float(row["seconds"]) >= 0 for row in rows(here / "o"))
    (here / "i" / "manifest.in").unlink()
    touch(here / "o", "b-broken.csv")
    copy_all("i", "o", to=".csv")
    err = capsys.readouterr().err
    assert f"o: 1 existing file not in {MANIFEST}" in err
    assert "0 files written, 2 skipped" in err


@pytest.mark.slow
def test_outputs_of_other_options_are_an_error_until_force(here):  # noqa: F811
    touch(here / "i", "a.in")
    copy_all("i", "o")
    with refused(OutputError, "o/a.out", "1 file", "--force"):
        copy_all("i", "o", times=2)
    assert (here / "o" / "a.out").read_bytes() == b"1"
    copy_all("i", "o", times=2, force=True)
    assert (here / "o" / "a.out").read_bytes() == b"11"
    assert [row["events"] for row in rows(here / "o")] == ["1", "2"]
    copy_all("i", "o", times=2)  # skips it
    assert len(rows(here / "o")) == 2
