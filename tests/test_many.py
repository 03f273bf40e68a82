"""Many files at once: the tree is kept, failures stop nothing, only whole files are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

import dvskit
from dvskit._files import partial_path
from dvskit.cli import _console
from dvskit.cli._many import command_of, do_one
from dvskit.cli._trees import FileJob, find_jobs
from dvskit.errors import ConfigError, FormatError, OutputError
from tests.many_jobs import copy
from tests.test_events import make

RECORDINGS = command_of("dvskit.cli.convert").inputs
VIDEOS = command_of("dvskit.cli.emulate").inputs


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


def outputs(plan):
    return {job.file.as_posix(): job.out.as_posix() for job in plan.jobs}


def files_in(folder):
    """What is in a folder, hidden or not, but for the list of what was written."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.csv")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Which files are meant, and where what becomes of them is put


def test_the_tree_is_kept_and_what_is_no_input_is_counted(here):
    touch(here / "v", "a/b.mp4", "a/c.d.AVI", "e.gif", "a/read.me", "x.raw", ".hidden.mp4")
    touch(here / "v", "Thumbs.db", "__MACOSX/y.mp4", ".git/z.mp4", "empty/.keep")
    clip(here / "v" / "images")
    plan = find_jobs(["v"], Path("out"), VIDEOS, ".raw")
    assert outputs(plan) == {
        "v/a/b.mp4": "out/a/b.raw",
        "v/a/c.d.AVI": "out/a/c.d.raw",
        "v/e.gif": "out/e.raw",
        "v/images": "out/images.raw",
    }
    assert [path.as_posix() for path in plan.others] == ["v/a/read.me", "v/x.raw"]
    assert plan.failures == []


def test_what_is_in_the_output_folder_is_not_read_though_it_lies_among_the_inputs(here):
    touch(here / "r", "a.raw", "out/b.raw")
    (here / "link").symlink_to(here / "r" / "out")
    for out in (Path("r/out"), Path("link")):
        assert outputs(find_jobs(["r"], out, RECORDINGS, ".npz")) == {"r/a.raw": f"{out}/a.npz"}
    with pytest.raises(ConfigError, match=r"^r: is the input folder; name another one"):
        find_jobs(["r"], Path("r"), RECORDINGS, ".npz")
    with pytest.raises(ConfigError, match=r"^r/a\.raw: is an input and would be overwritten"):
        find_jobs(["r/a.raw", "r/out/b.raw"], Path("r"), RECORDINGS, ".raw")


def test_links_in_a_circle_and_links_to_nothing_fail_alone(here):
    touch(here / "r", "a.raw", "b/c.raw")
    (here / "r" / "b" / "up").symlink_to(here / "r")
    (here / "r" / "gone.raw").symlink_to(here / "nowhere")
    plan = find_jobs(["r"], Path("out"), RECORDINGS, ".npz")
    assert set(outputs(plan)) == {"r/a.raw", "r/b/c.raw", "r/gone.raw"}  # which is told when tried
    assert [(str(file), why) for file, why in plan.failures] == [
        ("r/b/up", "is a link to a folder that contains it")
    ]


@pytest.mark.parametrize(
    "names", [("a.mp4", "a.avi"), ("a.mp4", "A.mp4"), ("\u00e9.mp4", "e\u0301.mp4")]
)
def test_inputs_whose_outputs_would_have_one_name_are_refused_both(here, names):
    touch(here / "v", "other.mp4", *names)
    plan = find_jobs(["v"], Path("out"), VIDEOS, ".raw")
    assert list(outputs(plan)) == ["v/other.mp4"]
    assert {file.name for file, _ in plan.failures} == set(names)
    for file, why in plan.failures:
        other = next(name for name in names if name != file.name)
        assert f"has the same output as v/{other}, out/" in why


def test_patterns_and_the_names_that_a_shell_makes_of_them_mean_the_same(here):
    touch(here / "v", "p1/a.mp4", "p2/b.mp4", "p2/deep/c.mp4", "d.mp4")
    named = find_jobs(["v/p1/a.mp4", "v/p2/b.mp4", "v/p1/a.mp4"], Path("o"), VIDEOS, ".raw")
    assert outputs(named) == {"v/p1/a.mp4": "o/p1/a.raw", "v/p2/b.mp4": "o/p2/b.raw"}
    assert outputs(find_jobs(["v/*/*.mp4"], Path("o"), VIDEOS, ".raw")) == outputs(named)
    deep = outputs(find_jobs(["v/**/*.mp4"], Path("o"), VIDEOS, ".raw"))
    assert sorted(deep.values()) == ["o/d.raw", "o/p1/a.raw", "o/p2/b.raw", "o/p2/deep/c.raw"]
    assert outputs(find_jobs(["v/p1", "v/p2"], Path("o"), VIDEOS, ".raw")) == {
        path: out for path, out in deep.items() if out != "o/d.raw"
    }
    assert outputs(find_jobs(["v/*"], Path("o"), VIDEOS, ".raw")) == deep
    with pytest.raises(FormatError, match="no file matches this pattern"):
        find_jobs(["v/*.mov"], Path("o"), VIDEOS, ".raw")


def test_a_folder_that_is_one_recording_or_clip_stays_one(here):
    touch(here / "r", "one/events.txt", "one/images.txt")
    assert outputs(find_jobs(["r"], Path("o"), RECORDINGS, ".npz")) == {"r/one": "o/one.npz"}
    clip(here / "v" / "clip.1")
    assert outputs(find_jobs(["v/clip.1"], Path("o"), VIDEOS, ".raw")) == {
        "v/clip.1": "o/clip.1.raw"
    }
    touch(here / "v" / "clip.1", "beside.mp4")  # now the images are pictures beside a video
    assert list(outputs(find_jobs(["v"], Path("o"), VIDEOS, ".raw"))) == ["v/clip.1/beside.mp4"]


# What the words of a command line mean


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("emulate", "v", "out.raw"), "v: is a folder of videos; name a folder for the outputs"),
        (("emulate", "v/a.mp4", "v/b.mp4", "out"), "3 paths without -o; name the folder"),
        (
            ("emulate", "v/a.mp4", "v/b.mp4", "-o", "o.raw"),
            "o.raw: is a file name; for several inputs name a folder",
        ),
        (("emulate", "v/a.mp4", "-", "-o", "out"), "-: cannot be mixed with files; give it alone"),
        (("emulate", "v", "out", "--jobs", "0"), "Invalid value for '--jobs'"),
        (("emulate", "v", "out", "--seed", "-1"), "seed = -1 is outside"),
        (("convert", "r"), "r: name the file to write after it, or a folder with -o"),
        (("convert", "r", "out"), "name the output format with --to"),
        (("convert", "r", "out", "--to", "aedat44"), "--to: unknown format"),
        (("convert", "r", "out", "--to", "nmnist"), "nmnist is only read"),
        (("convert", "r", "out", "--to", "evt3", "--stop", "5"), "--stop '5' is not a time"),
        (("render", "r", "-o", "x.mp4"), "r: stands for several recordings; name a folder for"),
        (("render", "r/*", "-o", "x.gif"), "r/*: stands for several recordings; name a folder"),
        (("render", "r", "-o", "x", "--to", "png"), "--to png: for several inputs, name one of"),
        (("render", "r", "-o", "x", "--beside", "v"), "--beside is for one input; leave it out"),
        (("render", "r/a.raw", "-o", "x.mp4", "--to", "gif"), "--to is for many inputs; the suff"),
        (("reconstruct", "r", "-o", "x", "--json"), "--json is for one input; leave it out for"),
    ],
)
def test_a_mistake_in_the_words_is_one_line_and_leaves_nothing(run, tmp_path, words, said):
    touch(tmp_path, "v/a.mp4", "v/b.mp4", "r/a.raw")
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"v", "r"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("emulate", "v/*.mp4", "-o", "taken/"), "taken: is a file; name a folder"),
        (("emulate", "v", "no/where"), "the folder no does not exist; make it first"),
        (
            ("emulate", "empty", "out"),
            "empty: contains no videos, which are files of .3gp, .asf, .avi",
        ),
        (("emulate", "v", "/proc/nowhere"), "/proc/nowhere: No such file or directory; choose"),
        (("convert", "v/*.nix", "-o", "out", "--to", "evt3"), "no file matches this pattern"),
    ],
)
def test_what_cannot_be_read_or_written_at_all_is_one_line(run, tmp_path, words, said):
    touch(tmp_path, "v/a.mp4", "taken", "empty/.keep")
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert said in err
    assert err.count("\n") == 1


def test_one_recording_and_a_folder_give_images_and_with_to_a_video_in_the_folder(run, tmp_path):
    dvskit.save_events(make(50), "a.npz")
    (tmp_path / "there").mkdir()
    assert run("render", "a.npz", "-o", "there", "--scale", "1")[0] == 0
    assert "frame_000000.png" in files_in(tmp_path / "there")
    assert run("render", "a.npz", "-o", "films/", "--scale", "1", "--to", ".gif")[0] == 0
    assert list(files_in(tmp_path / "films")) == ["a.gif"]
    code, out, err = run("render", "a.npz", "-o", "b", "--cluster", "tcp://h:1")
    assert (code, out, "--cluster is for many inputs" in err) == (2, "", True)


def test_one_file_is_one_file_however_its_output_is_named(run, tmp_path):
    dvskit.save_events(make(50), "a.npz")
    assert run("convert", "a.npz", "b.npz")[0] == 0
    assert run("convert", "a.npz", "-o", "c.npz")[0] == 0
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    assert "exists already" in run("convert", "a.npz", "-o", "c.npz")[2]


# What is done


def recordings(folder):
    """Eight recordings, each other than the others; and what a single command makes of them."""
    for number, name in enumerate(["a", "b", "x/c", "x/d", "x/y/é ü", "x/y/f", "z/g", "z/h.i"]):
        path = folder / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        dvskit.save_events(make(200 + number), path)
    return files_in(folder)


@pytest.mark.slow
def test_a_hostile_tree_gives_what_single_commands_give_and_lists_what_fails(run, tmp_path):
    good = recordings(tmp_path / "r")
    touch(tmp_path / "r", "x/broken.npz", "read.me", "twice.aedat4", "twice.raw")
    (tmp_path / "r" / "gone.raw").symlink_to("nowhere")
    touch(tmp_path / "o", "z")  # a file where a folder is needed
    words = ("convert", "r", "o", "--to", "csv", "--stop", "5ms")
    code, out, err = run(*words, "--jobs", "2")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[-1] == "dvskit: error: 6 of 12 files failed; o: 6 files written"
    failed = {line.split(": ")[2]: line for line in lines if line.startswith("dvskit: failed: ")}
    assert set(failed) == {
        "r/x/broken.npz", "r/gone.raw", "r/twice.aedat4", "r/twice.raw", "r/z/g.npz", "r/z/h.i.npz"
    }  # fmt: skip
    assert "no such file" in failed["r/gone.raw"]
    assert "File exists" in failed["r/z/g.npz"]
    notes = [line for line in lines if line.startswith("dvskit: note: ")]
    assert notes[0].endswith("skipped, not recordings: 1 file (1 of .me)")
    assert "o/a.csv and 5 more: a csv file cannot store" in notes[1]  # once for all
    assert len(notes) == 2
    made = files_in(tmp_path / "o")
    (tmp_path / "single").mkdir()
    names = [name.removesuffix(".npz") for name in good if not name.startswith("z/")]
    assert set(made) == {"z", *(f"{name}.csv" for name in names)}
    for name in names:
        single = f"single/{Path(name).name}.csv"
        assert run("convert", f"r/{name}.npz", single, "--stop", "5ms")[0] == 0
        assert (tmp_path / single).read_bytes() == made[f"{name}.csv"]
    # The same command goes on with what has failed, and with nothing else.
    for path in ("o/z", "r/x/broken.npz", "r/gone.raw", "r/twice.raw", "r/twice.aedat4"):
        (tmp_path / path).unlink()
    os.utime(tmp_path / "o" / "a.csv", (0, 0))
    (tmp_path / "o" / "b.csv").write_text("mine")
    code, _, err = run(*words, "--jobs", "1")
    assert code == 0
    assert "o: 1 existing file is older than its input; --force replaces all" in err
    assert (
        err.splitlines()[-1] == "o: 2 files written, 6 skipped as they exist (--force replaces all)"
    )
    assert (tmp_path / "o" / "b.csv").read_text() == "mine"
    code, _, err = run("-q", *words, "--force", "--jobs", "2")
    assert code == 0
    assert "written" not in err
    again = files_in(tmp_path / "o")
    assert {name: again[name] for name in made if name != "z"} == {
        name: data for name, data in made.items() if name != "z"
    }


@pytest.mark.slow
def test_clips_of_a_tree_give_what_single_commands_give(run, tmp_path):
    for number, name in enumerate(["a", "b/c"]):
        clip(tmp_path / "v" / name, number)
    assert run("emulate", "v", "out", "--fps", "100", "--to", "npz", "--jobs", "2")[0] == 0
    for name in ("a", "b/c"):
        assert run("emulate", f"v/{name}", f"{Path(name).name}.npz", "--fps", "100")[0] == 0
        made = (tmp_path / "out" / f"{name}.npz").read_bytes()
        assert made == (tmp_path / f"{Path(name).name}.npz").read_bytes()


def test_each_clip_draws_its_own_noise_as_the_samples_of_a_folder_do(here, monkeypatch):
    for number, name in enumerate(["k/a", "k/b", "l/c"]):
        clip(here / "v" / name, number % 2)  # c has the images of a
        (here / "v" / name / "timestamps.txt").write_text("0\n0.01\n0.02\n0.03\n0.04\n")
    monkeypatch.setattr(_console, "quiet", True)
    options = {"preset": "noisy", "seed": 3, "to": None, "force": False}
    made = {}
    for name in ("k/a", "k/b", "l/c"):
        out = here / f"{Path(name).name}.npz"
        do_one("dvskit.cli.emulate", options, FileJob(here / "v" / name, out, 0))
        made[name] = dvskit.load_events(out)
    assert made["k/a"] == made["l/c"] != made["k/b"]  # whatever they are called
    samples = dvskit.datasets.open_samples(here / "v", params="noisy", seed=3)
    assert [samples.events(n) == made[f"{row.file.parent.name}/{row.file.name}"]
            for n, row in enumerate(samples.rows)] == [True] * 3  # fmt: skip
    same = dvskit.emulate(here / "v" / "k" / "a", "noisy", seed=3).load()
    assert same != made["k/a"]


# What goes wrong


def run_copy(*words, jobs=2, force=False):
    copy(paths=list(words), output=None, jobs=jobs, cluster=None, to=".out", force=force)


@pytest.mark.slow
def test_a_process_that_dies_and_a_bug_fail_alone_and_leave_nothing(here, capsys):
    touch(here / "i", "a.in", "b-dies.in", "c-bug.in", "d-broken.in", "e.in")
    with pytest.raises(typer.Exit) as ended:
        run_copy("i", "o")
    assert ended.value.exit_code == 1
    err = capsys.readouterr().err
    assert "failed: i/b-dies.in: its process died (code 7)" in err
    assert "failed: i/c-bug.in: KeyError: 'a mistake'\n" in err
    assert "failed: i/d-broken.in: is broken\n" in err
    assert "is said by the command for all" not in err
    # A thread that still ends while Python does may print an error.
    assert not any("Executor" in type(each).__name__ for each in threading.enumerate())
    assert "error: 3 of 5 files failed; o: 2 files written" in err
    assert files_in(here / "o") == {"a.out": b"1", "e.out": b"1"}


def test_a_full_disk_stops_all_with_one_line(here, capsys):
    touch(here / "i", "a.in", "b-full.in", "c-slow.in", "d.in", "sub/e.in")
    with pytest.raises(OutputError) as stopped:
        run_copy("i", "o", jobs=1)
    assert str(stopped.value) == (
        "o/b-full.out: No space left on device; choose another place; "
        "1 of 5 files are done; run the same command again to continue"
    )
    assert capsys.readouterr().err == "dvskit: note: o/a.out: was copied\n"
    assert files_in(here / "o") == {"a.out": b"1"}
    assert not (here / "o" / "sub").exists()


@pytest.mark.slow
def test_what_a_killed_run_has_left_is_removed_once_it_is_old(here, capsys):
    touch(here / "i", "a.in")
    touch(here / "o", "mine.partial.out", ".a.0123.partial.out")
    left = partial_path(here / "o" / "a.out")
    for name, age_s in ((left.name, 4000), (partial_path(left.with_name("a.out")).name, 60)):
        (here / "o" / name).write_bytes(b"half")
        os.utime(here / "o" / name, (time.time() - age_s,) * 2)
    run_copy("i", "o")
    assert (
        f"note: o/{left.name}: removed; a killed run left it unfinished" in capsys.readouterr().err
    )
    kept = files_in(here / "o")
    assert left.name not in kept
    assert len(kept) == 4


CODE = """
import sys, typer
from dvskit import _interrupt
from dvskit.cli import _console
from tests.many_jobs import copy
with _interrupt.interruptible():
    try:
        given = dict(paths=["i", "o"], output=None, jobs=2, cluster=None, to=".out", force=False)
        _console.command(copy)(**given)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_signal_leaves_whole_files_only_and_the_same_command_goes_on(tmp_path, number):
    touch(tmp_path / "i", "a.in", "b-slow.in", "c-slow.in", "d.in")
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
    )  # fmt: skip

    def unfinished():
        return sum(path.name.startswith(".") for path in (tmp_path / "o").glob(".*"))

    begun = time.monotonic()
    while time.monotonic() - begun < 60 and not (
        (tmp_path / "o/a.out").is_file() and unfinished() == 2
    ):
        time.sleep(0.01)
    if number == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes get it
    else:
        process.send_signal(getattr(signal, number))
    _, err = process.communicate(timeout=60)
    while time.monotonic() - begun < 60 and unfinished():
        time.sleep(0.01)  # those whose beginner was killed find out by themselves
    assert files_in(tmp_path / "o") == {"a.out": b"1"}
    if number == "SIGKILL":
        assert process.returncode == -9
        assert "Traceback" not in err  # Python tells of semaphores that it removes
        return
    assert process.returncode == (130 if number == "SIGINT" else 143)
    how = "interrupted" if number == "SIGINT" else "ended by SIGTERM"
    assert err == (
        "dvskit: note: o/a.out: was copied\n"
        f"dvskit: {how}; 1 of 4 files are done; run the same command again to continue\n"
    )
