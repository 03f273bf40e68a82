"""Tracked objects as a page shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.tracking import OBJECT_ROW

_MOST_ROWS = 100_000  # about 3 MB


def check_objects(rows: NDArray[Any]) -> None:
    """Raise ConfigError unless rows are of `tracking.OBJECT_ROW`."""
    if rows.dtype != OBJECT_ROW or rows.ndim != 1:
        raise ConfigError(f"objects are {rows.dtype}; pass the rows of a tracker (OBJECT_ROW)")


def described_objects(rows: NDArray[Any], start_us: int, span_us: int) -> dict[str, Any]:
    """Return the objects of a page: the step of their times, and columns for each.

    Times are in microseconds after `start_us`; rows outside the span are dropped. Of more than
    100,000 rows, every 2nd, 3rd, ... place of an object is kept, and its last.
    """
    rows = rows[(rows["t"] >= start_us) & (rows["t"] <= start_us + span_us)]
    rows = rows[np.lexsort((rows["t"], rows["id"]))]
    each = np.split(rows, np.flatnonzero(np.diff(rows["id"])) + 1) if len(rows) else []
    every = -(-len(rows) // _MOST_ROWS)
    steps = np.diff(np.unique(rows["t"]))
    return {
        "step_us": float(np.median(steps)) * every if len(steps) else 0.0,
        "tracks": [_columns(_thinned(track, every), start_us) for track in each],
    }


def _thinned(track: NDArray[Any], every: int) -> NDArray[Any]:
    kept: NDArray[Any] = track[np.append(np.arange(0, len(track) - 1, every), len(track) - 1)]
    return kept


def _columns(track: NDArray[Any], start_us: int) -> dict[str, Any]:
    speed = np.hypot(track["vx"], track["vy"])
    return {
        "id": int(track["id"][0]),
        "t": (track["t"] - start_us).tolist(),
        "x": track["x"].round(1).tolist(),
        "y": track["y"].round(1).tolist(),
        "w": track["width"].round(1).astype(float).round(1).tolist(),
        "h": track["height"].round(1).astype(float).round(1).tolist(),
        "speed": np.rint(speed).astype(int).tolist(),
        "seen": track["seen"].astype(int).tolist(),
    }
