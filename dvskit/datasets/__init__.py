"""Labeled samples from disk or drawn, split by person; the only package that imports tonic."""

from dvskit.datasets.batch_plan import BatchShare
from dvskit.datasets.batches import Batches, ImageBatches
from dvskit.datasets.cache import Cache, key_of
from dvskit.datasets.drawn import DrawnSamples, SkeletonSamples, sensor_like_dvs128
from dvskit.datasets.encode import Encode, ImageChanges
from dvskit.datasets.files import (
    Emulation,
    FileSamples,
    LeftOut,
    emulate_frames,
    likely_size,
    on_sensor,
)
from dvskit.datasets.folders import find_spans, open_samples
from dvskit.datasets.images import (
    FolderImages,
    IdxImages,
    Images,
    MovedImages,
    holds_images,
    open_images,
    read_idx,
    read_images,
)
from dvskit.datasets.public_layouts import GESTURES
from dvskit.datasets.public_sets import PUBLIC_SETS, PublicSet, open_public, register_public_set
from dvskit.datasets.samples import (
    AdaptedSamples,
    ImageSamples,
    LazySample,
    Part,
    Sample,
    Samples,
    SamplesDataset,
    class_names,
    collate_events,
    collate_tensors,
)
from dvskit.datasets.splits import (
    Leak,
    Split,
    SplitSamples,
    check_leaks,
    find_leaks,
    k_fold,
    leave_one_group_out,
    split_as_listed,
    split_by_group,
    split_by_share,
    split_samples,
)
from dvskit.datasets.tonic_sets import TonicSamples, from_tonic, in_tonic
from dvskit.emulator.saccades import NOMINAL, Saccades, emulate_moved, emulate_saccades

__all__ = [
    "GESTURES",
    "NOMINAL",
    "PUBLIC_SETS",
    "AdaptedSamples",
    "BatchShare",
    "Batches",
    "Cache",
    "DrawnSamples",
    "Emulation",
    "Encode",
    "FileSamples",
    "FolderImages",
    "IdxImages",
    "ImageBatches",
    "ImageChanges",
    "ImageSamples",
    "Images",
    "LazySample",
    "Leak",
    "LeftOut",
    "MovedImages",
    "Part",
    "PublicSet",
    "Saccades",
    "Sample",
    "Samples",
    "SamplesDataset",
    "SkeletonSamples",
    "Split",
    "SplitSamples",
    "TonicSamples",
    "check_leaks",
    "class_names",
    "collate_events",
    "collate_tensors",
    "emulate_frames",
    "emulate_moved",
    "emulate_saccades",
    "find_leaks",
    "find_spans",
    "from_tonic",
    "holds_images",
    "in_tonic",
    "k_fold",
    "key_of",
    "leave_one_group_out",
    "likely_size",
    "on_sensor",
    "open_images",
    "open_public",
    "open_samples",
    "read_idx",
    "read_images",
    "register_public_set",
    "sensor_like_dvs128",
    "split_as_listed",
    "split_by_group",
    "split_by_share",
    "split_samples",
]
