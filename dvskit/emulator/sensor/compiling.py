"""Compile the sensor's loops before their first use, in two processes.

Numba compiles one function at a time in a process, and caches the result on disk. Another process
compiles the half that follows pixels from event to event, while this one compiles the movement of
tiles; then it compiles sorting and writing of events, while this one compiles the loop over tiles.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import DTypeLike

import dvskit
from dvskit._compiling import watch_compiling
from dvskit.emulator.crossings import Crossings
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.sensor.block_kernels import foresee, move, settle_idle
from dvskit.emulator.sensor.compiled import spans_type
from dvskit.emulator.sensor.firing_kernels import Follower, Lanes, fire
from dvskit.emulator.sensor.pixels import Hits, Pixels, Scratch, Tables, Weights
from dvskit.emulator.sensor.run import SensorPixels, model_of
from dvskit.emulator.sensor.signal_kernels import fill_poles
from dvskit.emulator.sensor.tile_kernels import _changes, _draw, _wake, advance_tiles
from dvskit.events import Events, Size
from dvskit.formats import save_events

typeof: Any = numba.typeof
_CODES, _FOLLOWER = 1, 5  # positions among the arguments of the outermost loop
_SIDE = 16  # sensor size for the calls
_NOISY = EmulatorParams(
    threshold_sigma=0.03, cutoff_hz=30.0, leak_hz=0.1, leak_spread=0.1, leak_jitter=0.1, shot_hz=5.0
)


def is_compiled(params: EmulatorParams, dtype: DTypeLike) -> bool:
    """Return whether the loops for frames of a dtype are compiled, in memory or on disk."""
    outermost: Any = advance_tiles
    try:
        stored = [key[0] for key in outermost._cache._cache_file._load_index()]
    except (AttributeError, OSError):
        return True  # unsupported numba version with an unknown cache: do nothing
    wanted = typeof(np.zeros(1, _code_type(dtype))), typeof(_follower(params))
    known = [*stored, *outermost.overloads]
    return any((types[_CODES][0], types[_FOLLOWER]) == wanted for types in known)


def compile_ahead(params: EmulatorParams, dtype: DTypeLike, written: str | None = None) -> None:
    """Compile the loops for frames of a dtype, on two processors.

    written  the name of a format, whose writer is compiled too

    If no other process can be started, they are compiled on first use.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        return
    paths = [str(Path(dvskit.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    given = f"{np.dtype(dtype).name!r}, {_follower(params)}, {written!r}"
    with subprocess.Popen(
        [sys.executable, "-c", f"import {__name__} as ahead; ahead.compile_beside({given})"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as other:  # fmt: skip
        try:
            the = _Called(dtype)
            _compile_tiles(the)
            assert other.stdout is not None
            other.stdout.readline()  # the firing loop is on disk, or the other process has ended
            work = the.hits, the.scratch, the.lanes, the.marks, (the.times, the.marks)
            codes, follower = (the.codes, the.codes), _follower(params)
            called = the.step, codes, the.sensor, the.noise, work, follower
            outermost: Any = advance_tiles
            outermost.compile(tuple(map(typeof, called)))
        except BaseException:
            other.kill()
            raise


def compile_beside(dtype: DTypeLike, follower: Follower, written: str | None) -> None:
    """Compile the outermost loop's callee in the other process; report it; then the rest."""
    watch_compiling()
    the = _Called(dtype)
    known, work = (the.model, the.pixels), (the.hits, the.lanes)
    _compile(fire, (0, 0), the.step, known, work, (the.times, the.marks), follower)
    _compile(settle_idle, 0, the.scratch.later, the.codes, the.tables, 0.0, the.pixels)
    sys.stdout.write("\n")
    sys.stdout.flush()
    events = _compile_ends(the)
    if written is not None:
        with tempfile.TemporaryDirectory() as folder:
            save_events(events, Path(folder) / "events", format=written)


def _follower(params: EmulatorParams) -> Follower:
    return True if params.follower_hz > 0 else None


class _Called:
    """The arguments of the loops on a small sensor, with their usual types."""

    def __init__(self, dtype: DTypeLike) -> None:
        size = _SIDE * _SIDE
        self.codes = np.zeros(size, _code_type(dtype))
        self.model, self.hot = model_of(_NOISY, 0), np.zeros(0, np.int64)
        self.tables, self.scratch = Tables(*np.zeros((5, 256))), Scratch.of()
        self.pixels, self.weights = Pixels.of(size, follower=False), Weights.of(size)
        self.hits, self.lanes = Hits.of(1 << 10), Lanes.of()
        self.times, self.marks = np.zeros(4, np.int32), np.zeros(4, np.int64)
        self.step, self.run = (0, 0, 0.0, 1.0), (0, 0, 1)
        self.sensor = self.tables, self.model, self.pixels
        self.noise = self.hot, self.weights


def _code_type(dtype: DTypeLike) -> DTypeLike:
    """Return the dtype of the codes of frames of a dtype: floats become levels."""
    return np.int32 if np.dtype(dtype).kind == "f" else dtype


def _compile(loop: Any, *given: Any) -> None:
    """Compile a loop that others call with these arguments, with arrays as spans."""
    loop.compile(tuple(spans_type(typeof(each)) for each in given))


def _compile_tiles(the: _Called) -> None:
    """Compile the other callees of the outermost loop: noise, calm blocks and moved blocks."""
    codes, scratch, hits = the.codes, the.scratch, the.hits
    _compile(_changes, codes, codes, scratch.changed)
    _compile(_draw, 0, the.step, codes, the.sensor, the.noise, (hits, scratch))
    _compile(_wake, 0, 1, 0.0, the.pixels, hits, scratch)
    _compile(foresee, the.run, the.step, (codes, codes), the.sensor, hits, scratch)
    work = hits, scratch, the.lanes
    _compile(move, the.run, the.step, codes, the.sensor, work, (0, 0, 0, 0))


def _compile_ends(the: _Called) -> Events:
    """Compile the initial state of pixels, and sorting and writing of events; return some."""
    SensorPixels(_NOISY, Size(_SIDE, _SIDE), 0, threads=1).begin(
        the.codes, the.tables.level.astype(np.int32)
    )
    fill_poles(the.tables.light, the.model, 1.0, *the.tables[2:])
    crossings = Crossings(Size(_SIDE, _SIDE), 0, 1, [the.times], [the.marks], by_pixel=False)
    return crossings.events()[0]
