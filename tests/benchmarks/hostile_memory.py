"""The most memory and time that small hostile files take.

    python -m tests.benchmarks.hostile_memory           # the files of tests/hostile.py
    python -m tests.benchmarks.hostile_memory archives  # those of one kind

Each command runs in a process of its own, on two threads.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.hostile import HOSTILE, ended


def main() -> None:
    print(
        "| kind | command and word of its output | file, MB | limit, MB | memory, MB | s | code |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in HOSTILE:
        if sys.argv[1:] and row.kind not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as top:
            (folder := Path(top) / "here").mkdir()
            code, _, seconds, mb = ended(row, folder)
            place = folder / row.file
            files = place.rglob("*") if place.is_dir() else [place]
            size = sum(file.stat().st_blocks for file in files) * 512 / 1e6
        command = f"`{row.words.format(row.file)}`: {row.named or row.file}"
        print(f"| {row.kind} | {command} | {size:.1f} | {row.most_mb} | {mb:.0f} | {seconds:.1f} | "
              f"{code} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
