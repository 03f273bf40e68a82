"""Labelled samples: what is on disk or drawn, split by person; the only place that knows tonic."""

from dvskit.datasets.checking import LeftOut
from dvskit.datasets.clips import Emulation, emulate_frames
from dvskit.datasets.files import FileSamples
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
from dvskit.datasets.opening import open_samples
from dvskit.datasets.samples import Part, Sample, Samples, Stills, class_names
from dvskit.datasets.splits import Split, split_samples
from dvskit.datasets.tonic_sets import from_tonic

__all__ = [
    "Binned",
    "Emulation",
    "FileSamples",
    "Images",
    "Labelled",
    "LeftOut",
    "Part",
    "Sample",
    "Samples",
    "Split",
    "Stills",
    "bin_labelled",
    "class_names",
    "count_window",
    "emulate_frames",
    "find_samples",
    "find_spans",
    "from_tonic",
    "likely_size",
    "load_labelled",
    "on_sensor",
    "open_samples",
    "passed_over",
    "read_idx",
    "read_images",
    "split_samples",
    "window_counts",
]
