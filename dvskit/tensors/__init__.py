"""Convert events to tensors.

A representation is a callable with frozen parameters: `VoxelGrid(bins=5)(events)`. See
`Representation` for the common interface, and `register_representation` to add one of your own.
"""

from __future__ import annotations

from dvskit.tensors.counts import (
    Binary,
    Counts,
    EventFrames,
    Signed,
    VoxelGrid,
    bin_clips,
    bin_events,
)
from dvskit.tensors.features import (
    FeatureCounts,
    FeatureLayer,
    Features,
    FittedLayer,
    fit_features,
    load_features,
    save_features,
)
from dvskit.tensors.names import register_representation, representation_from
from dvskit.tensors.point_set import PointSet
from dvskit.tensors.representation import Representation, save_tensor
from dvskit.tensors.time_surface import (
    NEVER_US,
    AveragedTimeSurface,
    DecayedCounts,
    LastTimes,
    TimeSurface,
    Tore,
)

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
