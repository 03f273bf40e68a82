"""Labelled samples: what is on disk or drawn, split by person; the only place that knows tonic."""

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
from dvskit.datasets.samples import Part, Sample, Samples, Stills, class_names
from dvskit.datasets.splits import Split, split_samples
from dvskit.datasets.tonic_sets import from_tonic

__all__ = [
    "Binned",
    "Images",
    "Labelled",
    "Part",
    "Sample",
    "Samples",
    "Split",
    "Stills",
    "bin_labelled",
    "class_names",
    "count_window",
    "find_samples",
    "find_spans",
    "from_tonic",
    "likely_size",
    "load_labelled",
    "on_sensor",
    "passed_over",
    "read_idx",
    "read_images",
    "split_samples",
    "window_counts",
]
