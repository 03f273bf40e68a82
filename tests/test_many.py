"""Many files at once: the tree is kept, failures stop nothing, only whole files are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

import dvskit
from dvskit._files import partial_path
from dvskit.errors import OutputError
from tests.laws import refused, refused_command
from tests.many_jobs import copy_all
from tests.processes import wait_until
from tests.sample_files import recording


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    return folder


def clip(folder, seed=0):
    """A folder of five images without times."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(5):
        image = rng.integers(0, 256, (12, 16), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def recordings(folder):
    """Eight recordings, each other than the others; return their bytes."""
    for seed, name in enumerate(["a", "b", "x/c", "x/d", "x/y/é ü", "x/y/f", "z/g", "z/h.i"]):
        recording(folder / f"{name}.npz", seed)
    return files_in(folder)


def files_in(folder):
    """What is in a folder, hidden or not, but for the list of what was written."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.csv")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def convert(run):
    """Convert files whose outputs exist, so that no process starts; return what was said.

    An output elsewhere would be an input that fails, or one that is not counted.
    """

    def convert(*words, made, failed=0, out="out"):
        touch(Path(out), *made)
        code, said, err = run("convert", *words, "-o", out, "--to", "csv")
        assert (code, said) == (int(failed > 0), "")
        assert f"{len(made)} skipped as they exist" in err
        assert f"{failed} of {failed + len(made)} files failed" in err or not failed
        return err

    return convert


# --- which files are meant, and where the outputs are put -----------------------------------------


def test_the_tree_is_kept_and_other_files_are_counted(convert, tmp_path):
    touch(tmp_path / "r", "a/b.raw", "a/c.d.RAW", "e.dat", "a/read.me", ".hidden.raw")
    touch(tmp_path / "r", "Thumbs.db", "__MACOSX/y.raw", ".git/z.raw", "empty/.keep")
    assert "1 file (1 of .me)" in convert("r", made=["a/b.csv", "a/c.d.csv", "e.csv"])


@pytest.mark.parametrize("out", ["r/out", "link"])
def test_an_output_folder_among_the_inputs_is_not_read(convert, tmp_path, out):
    touch(tmp_path / "r", "a.raw", "out/b.raw")
    (tmp_path / "link").symlink_to(tmp_path / "r" / "out")
    convert("r", made=["a.csv"], out=out)


def test_links_in_a_circle_fail_alone(convert, tmp_path):
    touch(tmp_path / "r", "a.raw", "b/c.raw")
    (tmp_path / "r" / "b" / "up").symlink_to(tmp_path / "r")
    assert "failed: r/b/up: " in convert("r", made=["a.csv", "b/c.csv"], failed=1)


@pytest.mark.parametrize(
    "names", [("a.raw", "a.dat"), ("a.raw", "A.raw"), ("\u00e9.raw", "e\u0301.raw")]
)
def test_inputs_whose_outputs_would_have_one_name_are_both_refused(convert, tmp_path, names):
    touch(tmp_path / "r", "other.raw", *names)
    err = convert("r", made=["other.csv"], failed=2)
    for name, other in (names, names[::-1]):
        assert f"failed: r/{name}: has the same output as r/{other}" in err


TWO = ["p1/a.csv", "p2/b.csv"]
DEEP = "p2/deep/c.csv"


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (["v/*/*.raw"], TWO),
        (["v/p1", "v/p2"], [*TWO, DEEP]),
        (["v/*"], ["d.csv", *TWO, DEEP]),
    ],
)
def test_patterns_and_the_names_that_a_shell_makes_of_them_mean_the_same(
    convert, tmp_path, words, made
):
    touch(tmp_path / "v", "p1/a.raw", "p2/b.raw", "p2/deep/c.raw", "d.raw", "Thumbs.db")
    convert(*words, made=made)


def test_a_folder_that_is_one_recording_or_clip_stays_one(convert, run, tmp_path):
    touch(tmp_path / "r", "one/events.txt", "one/images.txt")
    convert("r", made=["one.csv"])
    clip(tmp_path / "v" / "clip.1")
    words = ("--fps", "100", "--to", "npz", "-o", "out")
    touch(tmp_path / "out", "clip.1.npz", "clip.1/beside.npz")
    assert "1 skipped" in run("emulate", "v", *words)[2]
    touch(tmp_path / "v" / "clip.1", "beside.mp4")  # now the images are pictures beside a video
    assert "1 skipped" in run("emulate", "v", *words)[2]


# The words of a command, its exit code, and the names and places that its error has.
WRONG = [
    ("emulate v out.raw", 2, "v: "),
    ("emulate v/a.mp4 v/b.mp4 out", 2, "-o"),
    ("emulate v/a.mp4 v/b.mp4 -o o.raw", 2, "o.raw"),
    ("emulate v/a.mp4 - -o out", 2, "-: "),
    ("emulate v out --jobs 0", 2, "'--jobs'"),
    ("convert r", 2, "r: "),
    ("convert r out", 2, "--to"),
    ("convert r out --to nmnist", 2, "nmnist"),
    ("convert r -o r --to npz", 2, "r: "),
    ("convert r/a.raw r/b.raw -o r --to evt3", 2, "r/a.raw: "),
    ("render r -o x.mp4", 2, "r: "),
    ("render r -o x --to png", 2, "--to png"),
    ("render r -o x --beside v", 2, "--beside"),
    ("render r/a.raw -o x.mp4 --to gif", 2, "--to"),
    ("render r/a.raw -o b --cluster tcp://h:1", 2, "--cluster"),
    ("reconstruct r -o x --json", 2, "--json"),
    ("emulate v/*.mp4 -o taken/", 1, "taken: "),
    ("emulate v no/where", 1, "no "),
    ("emulate empty out", 1, "empty: "),
    ("convert v/*.nix -o out --to evt3", 1, "v/*.nix"),
]


@pytest.mark.parametrize(("words", "code", "named"), WRONG)
def test_a_mistake_is_one_line_and_leaves_nothing(run, tmp_path, words, code, named):
    touch(tmp_path, "v/a.mp4", "v/b.mp4", "r/a.raw", "r/b.raw", "taken", "empty/.keep")
    before = set(tmp_path.rglob("*"))
    result = run(*words.split())
    assert result[0] == code
    refused_command(result, named)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_one_file_is_one_file_however_its_output_is_named(run, tmp_path):
    recording(tmp_path / "a.npz")
    assert run("convert", "a.npz", "b.npz")[0] == 0
    assert run("convert", "a.npz", "-o", "c.npz")[0] == 0
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    (tmp_path / "there").mkdir()
    assert run("render", "a.npz", "-o", "there", "--scale", "1")[0] == 0
    assert "frame_000000.png" in files_in(tmp_path / "there")
    assert run("render", "a.npz", "-o", "films/", "--scale", "1", "--to", ".gif")[0] == 0
    assert list(files_in(tmp_path / "films")) == ["a.gif"]


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.slow(seconds=4)
def test_a_hostile_tree_gives_what_single_commands_give_and_lists_what_fails(run, tmp_path):
    good = recordings(tmp_path / "r")
    touch(tmp_path / "r", "x/broken.npz", "read.me", "twice.aedat4", "twice.raw")
    (tmp_path / "r" / "gone.raw").symlink_to("nowhere")
    touch(tmp_path / "o", "z")  # a file where a folder is needed
    words = ("convert", "r", "o", "--to", "csv", "--stop", "4ms")
    code, out, err = run(*words, "--jobs", "2")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[-1] == "dvskit: error: 6 of 12 files failed; o: 6 files written"
    failed = {line.split(": ")[2] for line in lines if line.startswith("dvskit: failed: ")}
    assert failed == {
        "r/x/broken.npz", "r/gone.raw", "r/twice.aedat4", "r/twice.raw", "r/z/g.npz", "r/z/h.i.npz"
    }  # fmt: skip
    notes = [line for line in lines if line.startswith("dvskit: note: ")]
    assert len(notes) == 2  # of other files, and what csv cannot store, once for all
    made = files_in(tmp_path / "o")
    (tmp_path / "single").mkdir()
    names = [name.removesuffix(".npz") for name in good if not name.startswith("z/")]
    assert set(made) == {"z", *(f"{name}.csv" for name in names)}
    for name in names:
        single = f"single/{Path(name).name}.csv"
        assert run("convert", f"r/{name}.npz", single, "--stop", "4ms")[0] == 0
        assert (tmp_path / single).read_bytes() == made[f"{name}.csv"]
    # The same command goes on with what has failed, and with nothing else.
    for path in ("o/z", "r/x/broken.npz", "r/gone.raw", "r/twice.raw", "r/twice.aedat4"):
        (tmp_path / path).unlink()
    os.utime(tmp_path / "o" / "a.csv", (0, 0))
    (tmp_path / "o" / "b.csv").write_text("mine")
    code, _, err = run(*words, "--jobs", "1")
    assert code == 0
    assert "1 existing file older than the input" in err
    assert "o: 2 files written, 6 skipped as they exist" in err
    assert (tmp_path / "o" / "b.csv").read_text() == "mine"


@pytest.mark.slow
def test_each_clip_draws_its_own_noise_as_a_single_command_and_samples_do(run, tmp_path):
    for number, name in enumerate(["k/a", "k/b", "l/c"]):
        clip(tmp_path / "v" / name, number % 2)  # c has the images of a
        times = tmp_path / "v" / name / "timestamps.txt"
        times.write_text("0\n0.01\n0.02\n0.03\n0.04\n")
    options = ("--preset", "noisy", "--seed", "3")
    assert run("emulate", "v", "out", *options, "--to", "npz", "--jobs", "1")[0] == 0
    made = [dvskit.load_events(tmp_path / f"out/{name}.npz") for name in ("k/a", "k/b", "l/c")]
    assert made[0] == made[2] != made[1]  # whatever they are called
    samples = dvskit.datasets.open_samples(tmp_path / "v", params="noisy", seed=3)
    assert [samples.events(number) for number in range(3)] == made
    assert dvskit.emulate(tmp_path / "v" / "k" / "a", "noisy", seed=3).load() != made[0]


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_process_that_dies_and_a_bug_fail_alone_and_leave_nothing(here, capsys):
    touch(here / "i", "a.in", "b-dies.in", "c-bug.in", "d-broken.in", "e.in")
    with pytest.raises(typer.Exit) as ended:
        copy_all("i", "o", jobs=2)
    assert ended.value.exit_code == 1
    err = capsys.readouterr().err
    for name, why in (("b-dies", "code 7"), ("c-bug", "KeyError"), ("d-broken", "is broken")):
        (line,) = [line for line in err.splitlines() if f"failed: i/{name}.in: " in line]
        assert why in line
    assert "error: 3 of 5 files failed; o: 2 files written" in err
    assert files_in(here / "o") == {"a.out": b"1", "e.out": b"1"}


@pytest.mark.slow
def test_a_full_disk_stops_all_with_one_line(here, capsys):
    touch(here / "i", "a.in", "b-full.in", "c-slow.in", "d.in", "sub/e.in")
    with refused(OutputError, "o/b-full.out", "No space left on device", "1 of 5 files are done"):
        copy_all("i", "o")
    assert capsys.readouterr().err == "dvskit: note: o/a.out: was copied\n"
    assert files_in(here / "o") == {"a.out": b"1"}
    assert not (here / "o" / "sub").exists()


def test_old_files_of_a_killed_run_are_removed(here, capsys):
    touch(here / "i", "a.in")
    touch(here / "o", "mine.partial.out", ".a.0123.partial.out")
    left = partial_path(here / "o" / "a.out")
    for name, age_s in ((left.name, 4000), (partial_path(left.with_name("a.out")).name, 60)):
        (here / "o" / name).write_bytes(b"half")
        os.utime(here / "o" / name, (time.time() - age_s,) * 2)
    copy_all("i", "o")
    assert left.name in capsys.readouterr().err
    kept = files_in(here / "o")
    assert left.name not in kept
    assert len(kept) == 4


CODE = """
import sys, typer
from dvskit import _interrupt
from dvskit.cli import _binding
from tests.many_jobs import copy_all
with _interrupt.interruptible():
    try:
        with _binding.errors_in_one_line():
            copy_all("i", "o", jobs=2)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.campaign),
    ],
)
def test_a_signal_leaves_whole_files_only(tmp_path, number, code):
    touch(tmp_path / "i", "a.in", "b-slow.in", "c-slow.in", "d.in")
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
    )  # fmt: skip

    def unfinished():
        return sum(path.name.startswith(".") for path in (tmp_path / "o").glob(".*"))

    wait_until(lambda: (tmp_path / "o/a.out").is_file() and unfinished() == 2, 60)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: all processes get it
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    wait_until(lambda: not unfinished(), 60)  # those whose beginner was killed find out themselves
    assert files_in(tmp_path / "o") == {"a.out": b"1"}
    assert process.returncode == code
    assert "Traceback" not in err
    assert ("1 of 4 files are done" in err) == (code > 0)
