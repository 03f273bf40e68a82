"""Time two workers of a Dask scheduler on this machine against two processes of one command.

    python -m tests.benchmarks.cluster [rounds]

It converts 200 small recordings and 10 large ones, alternately with both, and compares the bytes.
Both have run once before the first round, so that compiled loops and files are cached. The time is
that of the whole command; its start, and that of the workers of --jobs, count.

    python -m tests.benchmarks.cluster kills|scheduler|command [count] [seed]

kills workers, the scheduler, or the command itself at random moments while the command converts the
small recordings again and again. After a kill of the scheduler, which is started again, or of the
command, the same command runs again. Each output must be complete, once, and equal.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np

import dvskit
from tests.clusters import LocalCluster

_PATIENCE_S = 10.0
SETS = {"200 small files": (200, 20_000), "10 large files": (10, 2_000_000)}
COMMAND = (sys.executable, "-m", "dvskit", "-q", "convert")
TO = ("--to", "evt3")


def write(folder: Path, files: int, events: int) -> None:
    folder.mkdir()
    for seed in range(files):
        dice = np.random.default_rng(seed)
        x, y = (dice.integers(0, side, events, dtype=np.int16) for side in (320, 240))
        t, p = np.sort(dice.integers(0, 1_000_000, events)), dice.random(events) < 0.5
        made = dvskit.Events(t=t, x=x, y=y, p=p, size=(320, 240))
        dvskit.save_events(made, folder / f"{seed:03}.npz")


def convert(folder: Path, out: Path, *options: str) -> float:
    """Convert a folder; return the seconds of the command."""
    shutil.rmtree(out, ignore_errors=True)
    begun_s = time.perf_counter()
    subprocess.run([*COMMAND, str(folder), str(out), *TO, *options], check=True)
    return time.perf_counter() - begun_s


def data(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".raw"}


def check(folder: Path, wanted: dict[str, bytes], *, unfinished: bool) -> int:
    """Check the outputs; return the number of unfinished ones, which need not be allowed."""
    # If the machine with the result of a done file is lost, another may be doing it again.
    until = time.monotonic() + (0.0 if unfinished else _PATIENCE_S)
    while (found := data(folder)) and time.monotonic() < until:
        if not any(name.startswith(".") for name in found):
            break
        time.sleep(0.1)
    left = [name for name in found if name.startswith(".")]
    assert unfinished or not left, f"unfinished: {left}"
    missing, more = sorted(wanted.keys() - found), sorted(found.keys() - wanted.keys() - {*left})
    assert missing == more == [], f"missing {missing}, more {more}"
    other = [name for name in wanted if found[name] != wanted[name]]
    assert not other, f"other bytes: {other}"
    names = [row.split(",")[0] for row in (folder / "manifest.csv").read_text().split()[1:]]
    assert len(set(names)) == len(names), "rows are there twice"
    assert unfinished or sorted(names) == sorted(wanted), "a row a file"
    return len(left)


def compare(root: Path, cluster: LocalCluster, rounds: int) -> None:
    ways = {"--jobs 2": ("--jobs", "2"), "two workers": ("--cluster", cluster.address)}
    for name, (files, events) in SETS.items():
        folder = root / name.replace(" ", "-")
        write(folder, files, events)
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, options in ways.items():
                seconds = convert(folder, root / way.replace(" ", ""), *options)
                if number:
                    taken[way].append(seconds)
        outs = [data(root / way.replace(" ", "")) for way in ways]
        assert outs[0] == outs[1], "the bytes differ"
        assert len(outs[0]) == files
        times = {way: median(each) for way, each in taken.items()}
        ratio = times["two workers"] / times["--jobs 2"]
        said = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in times.items())
        print(f"{name}: {said}, ratio {ratio:.2f}, the same bytes; load {os.getloadavg()[0]:.1f}")
        print("  each round:", {way: [round(s, 2) for s in each] for way, each in taken.items()})


def kill(root: Path, cluster: LocalCluster, wanted: dict[str, bytes], dice: random.Random,
         count: int) -> None:  # fmt: skip
    done, runs = threading.Event(), 0

    def killer() -> None:
        for number in range(count):
            time.sleep(dice.uniform(1, 6))
            cluster.replace(number % 2)
        done.set()

    thread = threading.Thread(target=killer, daemon=True)
    thread.start()
    while not done.is_set():
        convert(root / "small", root / "there", "--cluster", cluster.address)
        runs += 1
        check(root / "there", wanted, unfinished=False)
    thread.join()
    print(f"{count} workers killed in {runs} runs of {len(wanted)} files")


def interrupt(root: Path, cluster: LocalCluster, wanted: dict[str, bytes], dice: random.Random,
              count: int, what: str) -> None:  # fmt: skip
    """Kill the scheduler or the command of a run, and run the command again."""
    there, left, partly = root / "there", 0, 0
    words = (*COMMAND, str(root / "small"), str(there), *TO, "--cluster", cluster.address)
    begun_s = time.perf_counter()
    subprocess.run(words, check=True)
    limit_s = time.perf_counter() - begun_s
    for _ in range(count):
        shutil.rmtree(there)
        command = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        time.sleep(dice.uniform(0, limit_s))
        (cluster.scheduler if what == "scheduler" else command).kill()
        said = command.communicate(timeout=60)[1]
        if what == "scheduler":
            assert command.returncode == 0 or (command.returncode, said.count("\n")) == (1, 1), said
            cluster.scheduler.wait()
            cluster.start_scheduler()
            for number in range(len(cluster.workers)):
                cluster.replace(number)
            cluster.wait_for_workers()
        partly += 0 < len([*there.glob("[!.]*.raw")]) < len(wanted)
        subprocess.run(words, check=True)
        left += check(there, wanted, unfinished=True)
    print(
        f"{what} killed {count} times, {partly} with some of {len(wanted)} files done: the same "
        f"command completes them; {left} unfinished files left, until a run an hour later"
    )


def main() -> None:
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, LocalCluster(Path(folder), deaths=99) as cluster:
        root = Path(folder)
        if words[:1] not in (["kills"], ["scheduler"], ["command"]):
            compare(root, cluster, int(words[0]) if words else 5)
            return
        what, count, seed = (*words, *("50", "1")[len(words) - 1 :])[:3]
        write(root / "small", *SETS["200 small files"])
        convert(root / "small", root / "alone", "--jobs", "2")
        wanted, dice = data(root / "alone"), random.Random(int(seed))
        if what == "kills":
            kill(root, cluster, wanted, dice, int(count))
        else:
            interrupt(root, cluster, wanted, dice, int(count), what)
        print("all complete, once, equal")


if __name__ == "__main__":
    main()
