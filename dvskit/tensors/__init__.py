"""Convert events to tensors.

A representation is a callable with frozen parameters: `VoxelGrid(bins=5)(events)`. See
`Representation` for the common interface, and `register_representation` to add one of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dvskit.tensors.counts import Binary, Counts, EventFrames, Signed, bin_events
from dvskit.tensors.feature_counts import FeatureCounts
from dvskit.tensors.feature_files import load_features, save_features
from dvskit.tensors.features import FeatureLayer, Features, FittedLayer, fit_features
from dvskit.tensors.files import save_tensor
from dvskit.tensors.names import register_representation, representation_from
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
    "FeatureCounts",
    "FeatureLayer",
    "Features",
    "FittedLayer",
    "LastTimes",
    "PointSet",
    "Representation",
    "Signed",
    "TimeSurface",
    "Tore",
    "VoxelGrid",
    "bin_clips",
    "bin_events",
    "fit_features",
    "load_features",
    "register_representation",
    "representation_from",
    "save_features",
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
