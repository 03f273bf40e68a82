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
    labelled_from,
    likely_size,
    load_labelled,
    on_sensor,
    window_counts,
)
from dvskit.datasets.leaks import Leak, check_leaks, find_leaks
from dvskit.datasets.opening import open_samples
from dvskit.datasets.samples import Part, Sample, Samples, Stills, class_names
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
from dvskit.datasets.tonic_sets import from_tonic

__all__ = [
    "Binned",
    "Emulation",
    "FileSamples",
    "Images",
    "Labelled",
    "Leak",
    "LeftOut",
    "Part",
    "Sample",
    "Samples",
    "Split",
    "SplitSamples",
    "Stills",
    "bin_labelled",
    "check_leaks",
    "class_names",
    "count_window",
    "emulate_frames",
    "find_leaks",
    "find_samples",
    "find_spans",
    "from_tonic",
    "k_fold",
    "labelled_from",
    "leave_one_group_out",
    "likely_size",
    "load_labelled",
    "on_sensor",
    "open_samples",
    "passed_over",
    "read_idx",
    "read_images",
    "split_as_listed",
    "split_by_group",
    "split_by_share",
    "split_samples",
    "window_counts",
]
