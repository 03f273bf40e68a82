"""Time two workers of a Dask scheduler on this machine against two processes of one command.

    python -m tests.benchmarks.cluster [rounds]

It converts 200 small recordings and 10 large ones, alternately with both, and compares the bytes.
Both have run once before the first round, so that compiled loops and files are cached. The time is
that of the whole command; its start, and that of the workers of --jobs, count.

    python -m tests.benchmarks.cluster kills [count]

kills workers at random moments while one command converts the small recordings again and again, and
checks that each output is complete, once, and equal.
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

SETS = {"200 small files": (200, 20_000), "10 large files": (10, 2_000_000)}


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
    words = "convert", str(folder), str(out), "--to", "evt3", *options
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dvskit", "-q", *words], check=True)
    return time.perf_counter() - begun_s


def data(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".raw"}


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


def kill(root: Path, cluster: LocalCluster, count: int) -> None:
    folder = root / "small"
    write(folder, *SETS["200 small files"])
    convert(folder, root / "alone", "--jobs", "2")
    wanted, dice, done, runs = data(root / "alone"), random.Random(1), threading.Event(), 0

    def killer() -> None:
        for number in range(count):
            time.sleep(dice.uniform(1, 6))
            cluster.replace(number % 2)
        done.set()

    thread = threading.Thread(target=killer)
    thread.start()
    while not done.is_set():
        convert(folder, root / "there", "--cluster", cluster.address)
        runs += 1
        assert data(root / "there") == wanted
        names = [row.split(",")[0] for row in (root / "there/manifest.csv").read_text().split()[1:]]
        assert sorted(names) == sorted(wanted), "a row a file"
        assert {path.name for path in (root / "there").iterdir()} == {*wanted, "manifest.csv"}
    thread.join()
    print(
        f"{count} workers killed in {runs} runs of {len(wanted)} files: all complete, once, equal"
    )


def main() -> None:
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, LocalCluster(Path(folder)) as cluster:
        if words[:1] == ["kills"]:
            kill(Path(folder), cluster, int(words[1]) if words[1:] else 50)
        else:
            compare(Path(folder), cluster, int(words[0]) if words else 5)


if __name__ == "__main__":
    main()
