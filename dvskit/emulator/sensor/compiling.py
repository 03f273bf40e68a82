"""The sensor's loops compiled ahead of their first use, by two processes at once.

Numba compiles one function at a time in a process, and keeps the result on disk. So another process
compiles the half that follows pixels from event to event, while this one compiles the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import DTypeLike

import dvskit
from dvskit.emulator.crossings import Crossings
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.sensor._kernels import _changes, _draw, _finish, _wake, advance_tiles
from dvskit.emulator.sensor.blocks._kernels import _refresh, _settle
from dvskit.emulator.sensor.firing._kernels import Follower
from dvskit.emulator.sensor.lanes import Lanes
from dvskit.emulator.sensor.pixels import Hits, Pixels, Scratch, Tables, Weights
from dvskit.emulator.sensor.run import SensorPixels
from dvskit.emulator.sensor.signal._kernels import MODEL_FIELDS, fill_poles
from dvskit.events import Size

typeof: Any = numba.typeof
_CODES, _FOLLOWER = 4, 19  # places among the arguments of the outermost loop
_SIDE = 16  # of a sensor on which the loops are called
_NOISY = EmulatorParams(
    threshold_sigma=0.03, cutoff_hz=30.0, leak_hz=0.1, leak_spread=0.1, leak_jitter=0.1, shot_hz=5.0
)


def is_compiled(params: EmulatorParams, dtype: DTypeLike) -> bool:
    """Tell whether the loops for frames of a type are compiled already, here or on disk."""
    outermost: Any = advance_tiles
    try:
        stored = [key[0] for key in outermost._cache._cache_file._load_index()]
    except (AttributeError, OSError):
        return True  # another numba: what it has on disk is not known; nothing is said or done
    wanted = typeof(np.zeros(1, _code_type(dtype))), typeof(_follower(params))
    known = [*stored, *outermost.overloads]
    return any((types[_CODES], types[_FOLLOWER]) == wanted for types in known)


def compile_ahead(params: EmulatorParams, dtype: DTypeLike) -> None:
    """Compile the loops for frames of a type, but for the outermost one, on two processors.

    Where no other process can be started, they are compiled on first use.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        return
    paths = [str(Path(dvskit.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    given = f"{np.dtype(dtype).name!r}, {_follower(params)}"
    with subprocess.Popen(
        [sys.executable, "-c", f"import {__name__} as ahead; ahead.compile_firing({given})"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as other:  # fmt: skip
        try:
            compile_rest(dtype)
        except BaseException:
            other.kill()
            raise


def _follower(params: EmulatorParams) -> Follower:
    return True if params.follower_hz > 0 else None


class _Called:
    """The arguments of the loops on a small sensor, of the types that they always have."""

    def __init__(self, dtype: DTypeLike) -> None:
        size = _SIDE * _SIDE
        self.codes = np.zeros(size, _code_type(dtype))
        self.model, self.hot = np.zeros(MODEL_FIELDS), np.zeros(0, np.int64)
        self.tables, self.scratch = Tables(*np.zeros((5, 256))), Scratch.of()
        self.pixels, self.weights = Pixels.of(size, follower=False), Weights.of(size)
        self.hits, self.lanes = Hits.of(1 << 10), Lanes.of()
        self.times, self.marks = np.zeros(4, np.int32), np.zeros(4, np.int64)


def _code_type(dtype: DTypeLike) -> DTypeLike:
    """Return the type of the codes of frames of a type: floats become levels."""
    return np.int32 if np.dtype(dtype).kind == "f" else dtype


def compile_firing(dtype: DTypeLike, follower: Follower) -> None:
    """Compile what follows pixels from event to event, and what puts events in order."""
    the = _Called(dtype)
    _finish(
        0, 0, 0, 0.0, 1.0, the.codes, the.tables, the.model, 0, the.pixels, the.hits, the.scratch,
        the.lanes, the.times, the.marks, 0, follower,
    )  # fmt: skip
    Crossings(Size(_SIDE, _SIDE), 0, 1, [the.times], [the.marks], by_pixel=False).events()


def compile_rest(dtype: DTypeLike) -> None:
    """Compile the rest: what pixels begin with, noise, calm blocks."""
    the = _Called(dtype)
    codes, pixels, scratch = the.codes, the.pixels, the.scratch
    _changes(codes, codes, scratch.changed)
    _draw(
        0, codes.size, 0, 0, 1.0, the.model, 0, codes, the.tables, the.hot, 0.0, pixels,
        the.weights, the.hits.t, the.hits.choice, the.hits.start, scratch,
    )  # fmt: skip
    _wake(0, 1, 0.0, scratch.words, pixels, the.hits.choice, 0, scratch.wakes)
    _refresh(0, 0, 1, 0, codes, the.tables, the.model, 0, pixels)
    _settle(0, 1, codes, the.tables, the.model, 1.0, pixels)
    SensorPixels(_NOISY, Size(_SIDE, _SIDE), 0, threads=1).begin(
        codes, the.tables.level.astype(np.int32)
    )
    fill_poles(the.tables.light, the.model, 1.0, *the.tables[2:])
