"""Labelled samples: what is on disk or drawn, split by person; the only place that knows tonic."""

from dvskit.datasets.cache import Cache
from dvskit.datasets.cache_keys import key_of
from dvskit.datasets.cached_samples import CachedSamples
from dvskit.datasets.folders import find_samples, find_spans, passed_over
from dvskit.datasets.idx import Images, read_idx, read_images
from dvskit.datasets.labelled import (
    Binned,
    Labelled,
    bin_labelled,
    count_window,
    likely_size,
    load_labelled,
    on_sensor,
    window_counts,
)
from dvskit.datasets.loader import Batches
from dvskit.datasets.samples import Part, Sample, Samples, Stills, class_names
from dvskit.datasets.shares import Share
from dvskit.datasets.splits import Split, split_samples
from dvskit.datasets.tonic_sets import from_tonic
from dvskit.datasets.torch_set import BatchesDataset, EpochBatches

__all__ = [
    "Batches",
    "BatchesDataset",
    "Binned",
    "Cache",
    "CachedSamples",
    "EpochBatches",
    "Images",
    "Labelled",
    "Part",
    "Sample",
    "Samples",
    "Share",
    "Split",
    "Stills",
    "bin_labelled",
    "class_names",
    "count_window",
    "find_samples",
    "find_spans",
    "from_tonic",
    "key_of",
    "likely_size",
    "load_labelled",
    "on_sensor",
    "passed_over",
    "read_idx",
    "read_images",
    "split_samples",
    "window_counts",
]
