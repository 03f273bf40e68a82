"""Many files on the workers of a Dask scheduler: the bytes and messages of one machine."""

from __future__ import annotations

import random
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

import dvskit
from dvskit.cli import _workers
from dvskit.cli._inputs import FileJob
from dvskit.errors import ConfigError, OutputError
from tests.bars import blown_up, moving_bar
from tests.clusters import LocalCluster
from tests.conftest import skip_or_fail
from tests.laws import refused
from tests.many_jobs import copy_all
from tests.processes import wait_until
from tests.sample_files import recording
from tests.test_cli import usage_error
from tests.test_many import clip, files_in, here, recordings, touch  # noqa: F401


@pytest.fixture(scope="module")
def dask():
    if find_spec("distributed") is None:
        skip_or_fail("no Dask distributed: pip install '.[cluster]'")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, dask):
    with LocalCluster(tmp_path_factory.mktemp("dask")) as started:
        yield started


@pytest.mark.slow(seconds=4)
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


@pytest.mark.campaign
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


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("classify a.npz --model nmnist-signed-lif --cluster tcp://h:1", "--cluster"),
        ("classify a.npz - --model nmnist-signed-lif --cluster tcp://h:1", "-: "),
        ("convert a.npz b.csv --cluster tcp://h:1", "--cluster"),
        ("convert a.npz -o out/ --to csv --cluster there", "--cluster there"),
    ],
)
def test_a_mistake_is_one_line_and_asks_no_scheduler(run, tmp_path, words, named):
    recording(tmp_path / "a.npz")
    assert named in usage_error(run(*words.split()))
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz"}


def beside(work):
    """Begin work in a thread, which the command then has beside it."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.campaign
def test_files_of_killed_workers_are_complete_once(here, cluster, capsys):  # noqa: F811
    names = [f"{number:02}-nap" for number in range(30)]
    touch(here / "i", *(f"{name}.in" for name in names))
    dice = random.Random(5)

    def kill() -> None:
        for number, done in enumerate((1, 12)):
            wait_until(lambda done=done: len(list((here / "o").glob("[!.]*.out"))) >= done, 60)
            touch(here / "o", f".{number:02}-nap.0123abcd.partial.out")  # as of an unseen loss
            time.sleep(dice.uniform(0, 0.4))
            cluster.replace(number)

    killer = beside(kill)
    copy_all("i", "o", jobs=None, cluster=cluster.address)
    killer.join()
    assert files_in(here / "o") == {f"{name}.out": b"1" for name in names}
    assert capsys.readouterr().err.endswith("o: 30 files written\n")


@pytest.mark.campaign
def test_a_file_that_kills_its_workers_fails_alone(here, cluster, capsys):  # noqa: F811
    touch(here / "i", "a.in", "b-dies.in", "c.in")
    cluster.wait_for_workers()

    def revive() -> None:
        for number, worker in enumerate(cluster.workers):
            worker.wait(timeout=60)
            cluster.replace(number)

    reviver = beside(revive)
    with pytest.raises(typer.Exit):
        copy_all("i", "o", cluster=cluster.address)
    reviver.join()
    err = capsys.readouterr().err
    assert "failed: i/b-dies.in: 2 workers died" in err
    assert files_in(here / "o") == {"a.out": b"1", "c.out": b"1"}


@pytest.mark.campaign
def test_a_lost_scheduler_is_one_line(here, dask, tmp_path_factory):  # noqa: F811
    touch(here / "i", *(f"{number}-nap.in" for number in range(20)))

    def kill() -> None:
        wait_until(lambda: any((here / "o").glob("[!.]*.out")), 60)  # a whole one
        cluster.scheduler.kill()

    with LocalCluster(tmp_path_factory.mktemp("lost")) as cluster:
        killer = beside(kill)
        with refused(OutputError, "scheduler", "of 20 files are done"):
            copy_all("i", "o", jobs=None, cluster=cluster.address)
        killer.join()


def test_a_worker_with_several_threads_is_an_error_that_names_the_option(monkeypatch):
    client = SimpleNamespace(
        scheduler=SimpleNamespace(ncores=None), close=lambda timeout: None,
        sync=lambda function, callback_timeout: {"tcp://a:1": 1, "tcp://b:2": 8},
        get_executor=lambda pure: SimpleNamespace(shutdown=lambda wait: None),
    )  # fmt: skip
    monkeypatch.setattr(_workers, "_connected", lambda address: client)  # a scheduler is slow
    with refused(ConfigError, "tcp://b:2", "8 threads", "--nthreads 1"):
        _workers.Cluster("tcp://s:3", None)


def test_without_distributed_one_line_names_what_to_install(run, monkeypatch, tmp_path):
    recording(tmp_path / "a.npz")
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ("convert", "a.npz", "-o", "out/", "--to", "csv", "--cluster", "tcp://h:1")
    assert "pip install distributed" in usage_error(run(*words))


def done_there(file, out, folder=Path(), version=dvskit.__version__):
    return _workers.do_elsewhere(lambda job: None, FileJob(file, out, 1), folder, False, version)


def test_a_worker_reports_paths_it_does_not_see_and_another_version(tmp_path):
    touch(tmp_path, "a.in", "o/.keep")
    file, out = tmp_path / "a.in", tmp_path / "o" / "a.out"
    assert done_there(file, out).reason == ""
    assert done_there(Path("a.in"), Path("o/a.out"), folder=tmp_path).reason == ""
    for path, result in (
        (tmp_path / "no.in", done_there(tmp_path / "no.in", out)),
        (tmp_path / "none", done_there(file, tmp_path / "none" / "a.out")),
    ):
        assert str(path) in result.reason
    assert "0.0.0" in done_there(file, out, version="0.0.0").reason
