"""Many files on the workers of a Dask scheduler: the bytes and messages of one machine."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

import dvskit
from dvskit.cli import _cluster
from dvskit.cli._trees import FileJob
from dvskit.errors import ConfigError, OutputError
from tests.bars import blown_up, moving_bar, write_bars
from tests.clusters import LocalCluster, free_address, wait_until
from tests.conftest import skip_or_fail
from tests.many_jobs import copy
from tests.test_events import make
from tests.test_many import clip, files_in, here, recordings, touch  # noqa: F401


@pytest.fixture(scope="module")
def dask():
    if find_spec("distributed") is None:
        skip_or_fail("no Dask distributed: pip install 'dvskit[cluster]'")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, dask):
    with LocalCluster(tmp_path_factory.mktemp("dask")) as started:
        yield started


def run_copy(address, *words, jobs=None):
    copy(paths=list(words), output=None, jobs=jobs, cluster=address, to=".out", force=False)


@pytest.mark.slow(seconds=8)
def test_two_workers_write_the_bytes_and_messages_of_one_process(run, tmp_path, cluster):
    recordings(tmp_path / "r")
    touch(tmp_path / "r", "x/broken.npz")
    words = ("convert", "r", "o", "--to", "csv", "--stop", "5ms")
    alone = run(*words, "--jobs", "1")
    made = files_in(tmp_path / "o")
    (tmp_path / "o").rename(tmp_path / "alone")
    code, out, err = run(*words, "--cluster", cluster.address)
    assert files_in(tmp_path / "o") == made
    assert (code, out) == alone[:2] == (1, "")
    assert sorted(err.splitlines()) == sorted(alone[2].splitlines())
    assert "error: 1 of 9 files failed; o: 8 files written" in err


@pytest.mark.slow(seconds=8)
def test_clips_on_workers_draw_the_noise_of_one_process(run, tmp_path, cluster):
    for number, name in enumerate(["a", "b/c"]):
        clip(tmp_path / "v" / name, number)
    words = ("emulate", "v", "--preset", "noisy", "--fps", "100", "--to", "npz", "-o")
    assert run(*words, "here", "--jobs", "1")[0] == 0
    assert run(*words, "there", "--cluster", cluster.address)[0] == 0
    assert files_in(tmp_path / "there") == files_in(tmp_path / "here")
    assert set(files_in(tmp_path / "here")) >= {"a.npz", "b/c.npz"}


@pytest.mark.slow(seconds=14)
@pytest.mark.parametrize(
    "words",
    [("render", "r", "--scale", "1"), ("reconstruct", "r", "--model", "filter", "--to", "npz")],
)
def test_videos_and_images_of_many_files_are_those_of_one(run, tmp_path, cluster, words):
    for name in ("r/a.npz", "r/x/b.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        dvskit.save_events(make(300, seed=len(name)), name)
    touch(tmp_path / "r", "x/broken.npz", "x/old.mp4")
    cluster.wait_for_workers()
    for out, crew in (("two", ("--jobs", "2")), ("there", ("--cluster", cluster.address))):
        code, said, err = run(*words, "-o", out, *crew)
        assert (code, said, err.count("failed: ")) == (1, "", 1)
        assert "note: skipped, not recordings: 1 file (1 of .mp4)" in err
        assert f"error: 1 of 3 files failed; {out}: 2 files written" in err
    made = files_in(tmp_path / "two")
    assert files_in(tmp_path / "there") == made
    ending = "mp4" if words[0] == "render" else "npz"
    assert set(made) == {f"a.{ending}", f"x/b.{ending}"}
    rest = words[2:4]
    assert run(words[0], "r/a.npz", "-o", f"one.{ending}", *rest)[0] == 0
    assert (tmp_path / f"one.{ending}").read_bytes() == made[f"a.{ending}"]


@pytest.mark.slow(seconds=14)
def test_classes_of_many_recordings_are_those_of_one_process(run, tmp_path, trained, cluster):
    touch(tmp_path / "r", "broken.npz", "notes.md")
    for number, times in enumerate((1, 2, 2, 2)):
        made = blown_up(moving_bar(True, seed=number), times)
        dvskit.save_events(made, tmp_path / "r" / f"{number}.dat")
    with (tmp_path / "r" / "2.dat").open("ab") as cut:
        cut.write(b"cut")
    words = ("classify", "r", "r/1.dat", "--model", trained.folder, "--salvage")
    cluster.wait_for_workers()
    for more in ((), ("--json",)):
        alone = run(*words, *more)
        assert alone[0] == 1
        assert "error: 1 of 6 recordings could not be classified" in alone[2]
        assert "note: r/2.dat: " in alone[2]
        assert "3 more recordings of 32x32 fitted" in alone[2]
        assert run(*words, *more, "--cluster", cluster.address) == alone
    assert run(*words, *more, "--jobs", "2") == alone


@pytest.mark.slow(seconds=12)
def test_the_figures_of_eval_are_those_of_one_process(run, tmp_path, trained, cluster):
    root = write_bars(tmp_path / "mine", 30)  # more than are judged at a time
    for number, label in enumerate(("left", "right")):
        large = blown_up(moving_bar(label == "right", seed=number), 2)
        dvskit.save_events(large, root / label / "z.dat")
        with (root / label / "z.dat").open("ab") as cut:
            cut.write(b"cut")
    words = ("eval", trained.folder, "mine", "--split", "all", "--salvage")
    for more in ((), ("--json", "--over-time", "--operations", "--corrupt", "noise=0,1")):
        alone = run(*words, *more)
        assert alone[0] == 0
        assert "note: 2 recordings of 32x32 fitted to 16x16" in alone[2]
        assert alone[2].count("z.dat: ") == 2
        assert run(*words, *more, "--cluster", cluster.address) == alone
    (root / "right" / "1.npz").write_bytes(b"PK")
    alone = run(*words[:-1])
    assert (alone[0], alone[1], alone[2].count("error")) == (1, "", 1)
    assert run(*words[:-1], "--cluster", cluster.address) == alone


def test_live_and_single_recordings_need_no_other_processes(run, tmp_path):
    dvskit.save_events(make(9), tmp_path / "a.npz")
    for words, said in (
        (("a.npz",), "--cluster is for many inputs; name several recordings, or a folder"),
        (("--live", "a.npz"), "--jobs and --cluster are for many files; leave them out with"),
        (("a.npz", "-"), "-: cannot be mixed with files; give it alone"),
    ):
        made = run("classify", *words, "--model", "nmnist-signed-lif", "--cluster", "tcp://h:1")
        assert made[:2] == (2, "")
        assert said in made[2]


def beside(work):
    """Begin work in a thread, which the command then has beside it."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.slow(seconds=8)
def test_files_of_killed_workers_are_complete_once(here, cluster, capsys):  # noqa: F811
    names = [f"{number:02}-nap" for number in range(30)]
    touch(here / "i", *(f"{name}.in" for name in names))
    dice = random.Random(5)

    def kill() -> None:
        for number, done in enumerate((1, 12)):
            wait_until(lambda done=done: len(list((here / "o").glob("[!.]*.out"))) >= done)
            touch(here / "o", f".{number:02}-nap.0123abcd.partial.out")  # as of an unseen loss
            time.sleep(dice.uniform(0, 0.4))
            cluster.replace(number)

    killer = beside(kill)
    run_copy(cluster.address, "i", "o")
    killer.join()
    assert files_in(here / "o") == {f"{name}.out": b"1" for name in names}
    assert capsys.readouterr().err.endswith("o: 30 files written\n")


@pytest.mark.slow(seconds=6)
def test_a_file_that_kills_its_workers_fails_alone(here, cluster, capsys):  # noqa: F811
    touch(here / "i", "a.in", "b-dies.in", "c.in")
    cluster.wait_for_workers()

    def revive() -> None:
        for number, worker in enumerate(cluster.workers):
            worker.wait(timeout=60)
            cluster.replace(number)

    reviver = beside(revive)
    with pytest.raises(typer.Exit):
        run_copy(cluster.address, "i", "o", jobs=1)
    reviver.join()
    err = capsys.readouterr().err
    assert "failed: i/b-dies.in: 2 workers died with this file in line" in err
    assert files_in(here / "o") == {"a.out": b"1", "c.out": b"1"}


@pytest.mark.slow(seconds=8)
def test_a_rerun_completes_once_a_lost_scheduler_is_back(here, cluster, capsys):  # noqa: F811
    names = [f"{number}-nap" for number in range(20)]
    touch(here / "i", *(f"{name}.in" for name in names))
    cluster.wait_for_workers()

    def kill() -> None:
        wait_until(lambda: any((here / "o").glob("[!.]*.out")))  # a whole one
        cluster.scheduler.kill()

    killer = beside(kill)
    with pytest.raises(OutputError, match="the scheduler has ended or is out of reach; ") as err:
        run_copy(cluster.address, "i", "o")
    assert "of 20 files are done; run the same command again to continue" in str(err.value)
    killer.join()
    cluster.scheduler.wait()
    cluster.start_scheduler()
    for number in range(len(cluster.workers)):
        cluster.replace(number)
    cluster.wait_for_workers()
    run_copy(cluster.address, "i", "o")
    made = files_in(here / "o")
    assert {f"{name}.out" for name in names} <= set(made)
    said = capsys.readouterr().err
    assert "skipped as they exist" in said
    assert "Traceback" not in said  # of tornado, which logs connections that break
    assert not logging.getLogger("tornado.application").isEnabledFor(logging.ERROR)


@pytest.mark.slow(seconds=8)
def test_the_same_command_completes_what_a_killed_one_began(run, tmp_path, cluster):
    for number in range(40):
        dvskit.save_events(make(3000, seed=number), tmp_path / f"{number}.npz")
    words = ("convert", "*.npz", "o", "--to", "csv", "--cluster", cluster.address)
    cluster.wait_for_workers()
    command = subprocess.Popen([sys.executable, "-m", "dvskit", *words], stderr=subprocess.DEVNULL)
    wait_until(lambda: any((tmp_path / "o").glob("[!.]*.csv")))
    command.kill()
    command.wait()
    assert len(list((tmp_path / "o").glob("[!.]*.csv"))) < 40
    code, _, err = run(*words)
    assert (code, "skipped as they exist" in err) == (0, True)
    rows = (tmp_path / "o" / "manifest.csv").read_text().splitlines()
    assert len({row.split(",")[0] for row in rows}) == len(rows)
    assert run("convert", "*.npz", "alone", "--to", "csv", "--jobs", "1")[0] == 0
    assert files_in(tmp_path / "o") == files_in(tmp_path / "alone")


def test_a_worker_with_several_threads_is_an_error_that_names_the_option(monkeypatch):
    client = SimpleNamespace(
        scheduler=SimpleNamespace(ncores=None), close=lambda timeout: None,
        sync=lambda function, callback_timeout: {"tcp://a:1": 1, "tcp://b:2": 8},
        get_executor=lambda pure: SimpleNamespace(shutdown=lambda wait: None),
    )  # fmt: skip
    monkeypatch.setattr(_cluster, "_connected", lambda address: client)
    with pytest.raises(ConfigError, match="tcp://b:2 has 8 threads; start it with --nthreads 1"):
        _cluster.Cluster("tcp://s:3", None)


@pytest.mark.slow(seconds=6)
def test_a_wrong_address_is_one_line_with_the_address_and_leaves_nothing(run, tmp_path, dask):
    dvskit.save_events(dvskit.Events(t=[1], x=[0], y=[0], p=[True], size=(2, 2)), "a.npz")
    wrong = free_address()
    for address, code, said in (
        (wrong, 1, f"dvskit: error: {wrong}: no scheduler answers in 5 s; start one with: "),
        ("there", 2, "dvskit: error: --cluster there: is no address such as tcp://host:8786\n"),
    ):
        words = ("convert", "a.npz", "-o", "out/", "--to", "csv", "--cluster", address)
        ended, out, err = run(*words)
        assert (ended, out) == (code, "")
        assert err.startswith(said)
        assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz"}


def test_without_distributed_one_line_names_what_to_install(run, monkeypatch):
    dvskit.save_events(dvskit.Events(t=[1], x=[0], y=[0], p=[True], size=(2, 2)), "a.npz")
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ("convert", "a.npz", "-o", "out/", "--to", "csv", "--cluster", "tcp://h:1")
    said = "dvskit: error: --cluster needs Dask distributed; pip install 'dvskit[cluster]'\n"
    assert run(*words) == (2, "", said)
    code, _, err = run("convert", "a.npz", "b.csv", "--cluster", "tcp://h:1")
    assert (code, "--cluster is for many inputs" in err) == (2, True)


def done_there(file, out, folder=Path(), version=dvskit.__version__):
    return _cluster._do(lambda job: None, FileJob(file, out, 1), folder, False, version)


def test_a_worker_reports_paths_it_does_not_see_and_another_version(tmp_path):
    touch(tmp_path, "a.in", "o/.keep")
    file, out = tmp_path / "a.in", tmp_path / "o" / "a.out"
    assert done_there(file, out).reason == ""
    assert done_there(Path("a.in"), Path("o/a.out"), folder=tmp_path).reason == ""
    for path, result in (
        (tmp_path / "no.in", done_there(tmp_path / "no.in", out)),
        (tmp_path / "none", done_there(file, tmp_path / "none" / "a.out")),
    ):
        assert f" does not see {path}; all machines need the folders" in result.reason
    assert "install one version on all" in done_there(file, out, version="0.0.0").reason
