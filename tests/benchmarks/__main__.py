"""Run benchmarks and write their tables to the page.

    python -m tests.benchmarks                  # lists them, with the state of each table
    python -m tests.benchmarks formats filters  # runs these, and writes their tables
    python -m tests.benchmarks --all            # all that can run here: about two hours
    python -m tests.benchmarks --mark           # marks tables that are older than their code

A benchmark is a module of this folder. Its table is its standard output; details go to standard
error. Recordings come from the folder in DVSKIT_DATA. The options of a module are in its first
lines.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tests.benchmarks import measured

DATA = Path(os.environ.get("DVSKIT_DATA", measured.TOP.parent / "shared" / "data"))


@dataclass(frozen=True)
class Benchmark:
    """A module of this folder: its words, the parts of dvskit that it measures, and its peers.

    In `words` the text DATA stands for the folder of recordings.
    """

    words: str
    code: tuple[str, ...]
    peers: tuple[str, ...] = ()

    def command(self, name: str) -> list[str]:
        words = self.words.replace("DATA", str(DATA)).split()
        return [sys.executable, "-m", f"tests.benchmarks.{name}", *words]


BENCHMARKS = {
    "formats": Benchmark(
        "DATA/recordings --million 10", ("formats", "events"),
        ("faery", "evutils", "eventcv", "expelliarmus"),
    ),
    "emulator": Benchmark("", ("emulator", "_random_kernels.py"), ("eventcv",)),
    "render": Benchmark("", ("render", "video"), ("faery",)),
    "tensors": Benchmark("", ("tensors",), ("tonic", "eventcv", "spikingjelly")),
    "filters": Benchmark("--cpu --million 4", ("filters",), ("eventcv", "faery", "tonic")),
    "loader": Benchmark("DATA/nmnist-700", ("datasets", "tensors"), ("torch", "tonic")),
    "neurons": Benchmark(
        "--only lif --neurons 100000 --no-memory", ("neurons",),
        ("torch", "spikingjelly", "snntorch"),
    ),
    "training": Benchmark(
        "DATA/nmnist-700", ("training", "neurons", "layers"), ("torch", "snntorch", "spikingjelly"),
    ),
    "encoders": Benchmark("", ("encoders",), ("snntorch", "innuce-spikify")),
    "motion": Benchmark("", ("motion",), ("eventcv",)),
    "motion_corners": Benchmark(
        "DATA/recordings/evt2_gen3_640x480.raw DATA/recordings/evt3_gen41_1280x720.raw "
        "DATA/recordings/davis240c_aps_imu.aedat DATA/recordings/dvs_320x240.es "
        "DATA/davis/davis346_street.aedat4",
        ("motion", "filters"), ("eventcv", "dv-processing"),
    ),
    "motion_flow": Benchmark("", ("motion",), ("eventcv",)),
    "motion_dense": Benchmark("", ("motion",), ("eventcv",)),
    "tracking": Benchmark("", ("tracking",), ("eventcv",)),
    "reconstruction": Benchmark("", ("reconstruction",), ("dv-processing", "eventcv")),
    "light": Benchmark("", ("emulator", "video/light.py")),
    "realism": Benchmark("", ("emulator", "video/light.py"), ("torch", "eventcv")),
    "calibration": Benchmark("--seed 23", ("emulator",)),
    "calibration_twins": Benchmark("", ("emulator",)),
    "features": Benchmark(
        "DATA/davis/davis346_street.aedat4", ("tensors",), ("eventcv",),
    ),
    "fitting": Benchmark("DATA/mnist", ("filters",)),
    "saccades": Benchmark("DATA", ("emulator/saccades.py", "emulator")),
    "camera": Benchmark("", ("formats",)),
    "prophesee_damage": Benchmark("DATA/recordings", ("formats/prophesee",)),
    "cluster": Benchmark("", ("cli",), ("distributed",)),
    "live": Benchmark("", ("evaluation", "neurons")),
    "page": Benchmark("", ("render",)),
    "hostile_memory": Benchmark(
        "", ("formats", "video", "scenes/depth.py", "scenes/depth_clip.py", "_files.py"),
        ("opencv-python-headless", "pillow", "av", "onnxruntime", "h5py", "torch"),
    ),
}  # fmt: skip


def run(name: str) -> str:
    """Run a benchmark; return its table and a line with the conditions."""
    benchmark = BENCHMARKS[name]
    conditions = [measured.machine(), f"{date.today():%d %B %Y}"]
    begun = time.monotonic()
    done = subprocess.run(
        benchmark.command(name), cwd=measured.TOP, text=True, stdout=subprocess.PIPE
    )
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}")
    conditions.append(f"{(time.monotonic() - begun) / 60:.0f} min")
    said = "; ".join([measured.versions(("dvskit", *benchmark.peers)), *conditions])
    return f"{measured.shown(done.stdout)}\n\n{said}: `python -m tests.benchmarks {name}`."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--mark", action="store_true")
    asked = parser.parse_args()
    if unknown := set(asked.names) - BENCHMARKS.keys():
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; choices: {', '.join(BENCHMARKS)}")
    for name in BENCHMARKS if asked.all else asked.names:
        text, digest = run(name), measured.digest_of(BENCHMARKS[name].code)
        page = measured.PAGE.read_text("utf-8")
        measured.PAGE.write_text(measured.replaced(page, name, digest, text), "utf-8")
        print(f"{name}: measured", flush=True)
    page = measured.PAGE.read_text("utf-8")
    digests = {name: measured.digest_of(each.code) for name, each in BENCHMARKS.items()}
    if asked.names or asked.all or asked.mark:
        measured.PAGE.write_text(measured.marked(page, digests), "utf-8")
        return
    tables = measured.blocks_of(page)
    for name in BENCHMARKS:
        digest = tables[name][0]
        state = "not measured" if digest == measured.NEVER else "older than its code"
        print(f"{name:16} {'measured' if digest == digests[name] else state}")


if __name__ == "__main__":
    main()
