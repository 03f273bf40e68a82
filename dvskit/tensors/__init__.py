"""Convert events to tensors.

A representation is a callable with frozen parameters: `VoxelGrid(bins=5)(events)`. See
`Representation` for the common interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError, check_known, did_you_mean
from dvskit.tensors.counts import MOST, Binary, Counts, EventFrames, Signed, bin_events
from dvskit.tensors.files import save_tensor
from dvskit.tensors.point_set import PointSet
from dvskit.tensors.representation import Representation
from dvskit.tensors.time_surface import (
    NEVER_US,
    AveragedTimeSurface,
    DecayedCounts,
    LastTimes,
    TimeSurface,
    Tore,
)
from dvskit.tensors.voxel_grid import VoxelGrid

if TYPE_CHECKING:
    from dvskit.tensors.clips import bin_clips

__all__ = [
    "NEVER_US",
    "AveragedTimeSurface",
    "Binary",
    "Counts",
    "DecayedCounts",
    "EventFrames",
    "LastTimes",
    "PointSet",
    "Representation",
    "Signed",
    "TimeSurface",
    "Tore",
    "VoxelGrid",
    "bin_clips",
    "bin_events",
    "representation_from",
    "save_tensor",
]


if not TYPE_CHECKING:  # which would accept any name

    def __getattr__(name: str) -> Any:
        # The emulator, PyAV and OpenCV are loaded when clips are binned.
        if name == "bin_clips":
            from dvskit.tensors.clips import bin_clips

            return bin_clips
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


REPRESENTATIONS: Mapping[str, type[Any]] = {
    "counts": Counts,
    "binary": Binary,
    "signed": Signed,
    "voxel_grid": VoxelGrid,
    "last_times": LastTimes,
    "time_surface": TimeSurface,
    "decayed_counts": DecayedCounts,
    "averaged_time_surface": AveragedTimeSurface,
    "tore": Tore,
    "event_frames": EventFrames,
    "point_set": PointSet,
}
_DTYPES = {str(each).removeprefix("torch."): each for each in MOST}


@check_arguments
def representation_from(name: str, **parameters: Any) -> Representation:
    """Return the representation with a name: `representation_from("voxel_grid", bins=5)`.

    A dtype may be given by its name, such as "uint8". Raises ConfigError for an unknown
    representation, parameter or dtype, a missing parameter, and invalid values.
    """
    check_known("representation", name, REPRESENTATIONS)
    kind = REPRESENTATIONS[name]
    known = parameters_of(name)
    for each in parameters:
        if each not in known:
            raise ConfigError(f"{name} has no parameter {each!r}; {did_you_mean(each, known)}")
    for each, needed in known.items():
        if needed and each not in parameters:
            raise ConfigError(f"{name} needs {each}")
    dtype = parameters.get("dtype")
    if isinstance(dtype, str):
        check_known("dtype", dtype, _DTYPES)
        parameters["dtype"] = _DTYPES[dtype]
    try:
        found: Representation = kind(**parameters)
    except ShapeError as error:
        raise ConfigError(f"{name}: {error}") from error
    return found


def parameters_of(name: str) -> dict[str, bool]:
    """Return the parameters of a representation, and whether each is required."""
    return {
        each.name: each.default is MISSING for each in fields(REPRESENTATIONS[name]) if each.init
    }
