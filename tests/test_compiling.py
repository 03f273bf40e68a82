"""The sensor's loops are compiled ahead by two processes, and what both made is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dvskit

CODE = """
import numpy as np
import dvskit
from dvskit.emulator.sensor import _kernels as loops
from dvskit.emulator.sensor import compiling

params = dvskit.EmulatorParams.preset("noisy")
print(compiling.is_compiled(params, np.uint8))
compiling.compile_ahead(params, np.uint8)
rng = np.random.default_rng(0)
frames = [(k * 10_000, rng.integers(0, 256, (8, 8), dtype=np.uint8)) for k in range(3)]
print(len(dvskit.events.read_all(dvskit.emulate(frames, params))) > 0)
followed = dvskit.EmulatorParams(follower_hz=100.0)
print(compiling.is_compiled(params, np.uint8), compiling.is_compiled(params, np.uint16),
      compiling.is_compiled(followed, np.uint8))
print(sum(loops._finish.stats.cache_misses.values()), len(loops._finish.stats.cache_hits),
      len(loops._draw.overloads), len(loops.advance_tiles.overloads))
"""


def test_what_two_processes_compiled_is_used(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=Path(dvskit.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    # The firing loop came from the other process; nothing was compiled for a type never met.
    assert done.stdout.split() == ["False", "True", "True", "False", "False", "0", "1", "1", "1"]
