"""What a first decode costs in a new process, once `dvskit doctor --warm` has been run.

    python -m tests.benchmarks.start RECORDINGS_FOLDER

For each recording: seconds of importing dvskit and numba, of the first load, and of the second; the
difference of the last two is what compiled code costs to fetch from the cache on disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import json, sys, time
begun = time.perf_counter()
import dvskit, numba
told = [time.perf_counter() - begun]
for _ in range(2):
    begun = time.perf_counter()
    dvskit.load_events(sys.argv[1])
    told.append(time.perf_counter() - begun)
print(json.dumps(told))
"""


def main() -> None:
    folder = Path(sys.argv[1])
    subprocess.run([sys.executable, "-m", "dvskit", "doctor", "--warm"], check=True)
    print(f"{'recording':36} {'import':>8} {'first':>8} {'second':>8} {'start':>8}  seconds")
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".md"):
            continue
        runs = []
        for _ in range(3):
            done = subprocess.run(
                [sys.executable, "-c", CODE, str(path)], capture_output=True, text=True, check=True
            )
            runs.append(json.loads(done.stdout))
        imported, first, second = (sorted(column)[1] for column in zip(*runs, strict=True))
        print(
            f"{path.name:36} {imported:8.2f} {first:8.2f} {second:8.2f} {first - second:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
