"""Labelled samples from disk or drawn, split by person; the only package that imports tonic."""

from dvskit.datasets.cache import Cache
from dvskit.datasets.clips import Emulation, emulate_frames
from dvskit.datasets.dealing import Leak, check_leaks, find_leaks
from dvskit.datasets.drawn import DrawnSamples, sensor_like_dvs128
from dvskit.datasets.encode import ENCODERS, Encode, StillBatches
from dvskit.datasets.files import FileSamples, LeftOut
from dvskit.datasets.kept_samples import CachedSamples, key_of
from dvskit.datasets.kinds import likely_size, on_sensor
from dvskit.datasets.loader import Batches
from dvskit.datasets.opening import find_spans, open_samples
from dvskit.datasets.processes import BatchesDataset, EpochBatches
from dvskit.datasets.public_sets import GESTURES, PUBLIC_SETS, open_public
from dvskit.datasets.saccades import NOMINAL, Saccades, emulate_moved, emulate_saccades
from dvskit.datasets.samples import Part, Sample, Samples, Stills, class_names
from dvskit.datasets.shares import Share
from dvskit.datasets.skeletons import SkeletonSamples
from dvskit.datasets.splits import (
    Split,
    SplitSamples,
    k_fold,
    leave_one_group_out,
    split_as_listed,
    split_by_group,
    split_by_share,
    split_samples,
)
from dvskit.datasets.still_changes import StillChanges
from dvskit.datasets.stills import (
    FolderStills,
    IdxStills,
    Images,
    MovedStills,
    holds_stills,
    open_stills,
    read_idx,
    read_images,
)
from dvskit.datasets.tonic_sets import TonicSamples, from_tonic, in_tonic

__all__ = [
    "ENCODERS",
    "GESTURES",
    "NOMINAL",
    "PUBLIC_SETS",
    "Batches",
    "BatchesDataset",
    "Cache",
    "CachedSamples",
    "DrawnSamples",
    "Emulation",
    "Encode",
    "EpochBatches",
    "FileSamples",
    "FolderStills",
    "IdxStills",
    "Images",
    "Leak",
    "LeftOut",
    "MovedStills",
    "Part",
    "Saccades",
    "Sample",
    "Samples",
    "Share",
    "SkeletonSamples",
    "Split",
    "SplitSamples",
    "StillBatches",
    "StillChanges",
    "Stills",
    "TonicSamples",
    "check_leaks",
    "class_names",
    "emulate_frames",
    "emulate_moved",
    "emulate_saccades",
    "find_leaks",
    "find_spans",
    "from_tonic",
    "holds_stills",
    "in_tonic",
    "k_fold",
    "key_of",
    "leave_one_group_out",
    "likely_size",
    "on_sensor",
    "open_public",
    "open_samples",
    "open_stills",
    "read_idx",
    "read_images",
    "sensor_like_dvs128",
    "split_as_listed",
    "split_by_group",
    "split_by_share",
    "split_samples",
]
