"""Inspect a folder of samples before choosing: kinds, sizes, durations, classes and people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import one_thread, thread_count
from dvskit.datasets import FileSamples, Sample, likely_size, open_samples
from dvskit.datasets.kinds import DEPTH_CLIPS, RECORDINGS
from dvskit.errors import ConfigError, FormatError, count_of
from dvskit.events import Size
from dvskit.formats import open_events
from dvskit.scenes import read_depth_clip
from dvskit.video import open_frames

_LOOKED_AT = 24  # samples that are read to measure sizes and durations


@dataclass(frozen=True, slots=True)
class Look:
    """The content of a folder, or of a list, of labelled samples.

    samples    all of them, opened
    classes    the number of samples of each class
    groups     the people, by name; () if they are not known
    sizes      of the sensors or pictures in the samples that were read, with the count of each
    durations  of the samples that were read, microseconds (n,) int64
    """

    samples: FileSamples
    classes: Mapping[str, int]
    groups: tuple[str, ...]
    sizes: Mapping[Size, int]
    durations: NDArray[np.int64]

    @property
    def clips(self) -> int:
        """The number of emulated samples: videos, folders of images, depth clips."""
        return sum(kind != RECORDINGS.name for kind in self.samples.kinds)

    @property
    def kind(self) -> str:
        """The kind of the entry [[data]] that opens them."""
        if DEPTH_CLIPS.name in self.samples.kinds:
            return "depth"
        if self.clips == len(self.samples):
            return "videos"
        return "mixed" if self.clips else "recordings"

    @property
    def words(self) -> str:
        """One line for people."""
        kinds = Counter(self.samples.kinds)
        what = " and ".join(count_of(count, kind) for kind, count in sorted(kinds.items()))
        sizes = ", ".join(map(str, sorted(self.sizes)[:3])) + ", ..." * (len(self.sizes) > 3)
        low, high = (self.durations.min() / 1e6, self.durations.max() / 1e6)
        few, many = min(self.classes.values()), max(self.classes.values())
        each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        people = (
            f", {len(self.groups):,} {'person' if len(self.groups) == 1 else 'people'}"
            if self.groups
            else ""
        )
        return (
            f"{what} of {sizes}, {low:.2g} to {high:.2g} s; {len(self.classes)} classes of {each}"
            + people
        )


def look_at(
    folder: str | PathLike[str], *, salvage: bool = False, without: tuple[str, ...] = ()
) -> Look:
    """Open a folder, or a list, of samples, and read some of them whole.

    salvage  whether the whole parts of damaged files are read and unreadable files left out
    without  names of samples to skip

    Raises ConfigError for fewer than two classes, FormatError if no sample that was read has a
    duration, and the errors of opening and reading.
    """
    samples = open_samples(folder, strict=not salvage)
    rows = [row for row in samples.rows if row.name not in without]
    classes = dict(sorted(Counter(row.label for row in rows).items()))
    if len(classes) < 2:
        raise ConfigError(
            f"{folder}: one class, {', '.join(classes) or 'none'}; give a folder for each of two "
            "or more classes"
        )
    read = [rows[k] for k in np.unique(np.linspace(0, len(rows) - 1, _LOOKED_AT).astype(int))]
    kinds = dict(zip(samples.rows, samples.kinds, strict=True))
    depth = [row for row in rows if kinds[row] == DEPTH_CLIPS.name]
    if depth and len(depth) < len(rows):
        other = next(row for row in rows if kinds[row] != DEPTH_CLIPS.name)
        raise FormatError(
            f"{depth[0].where}: is a depth clip, next to a {kinds[other]}, {other.where}; give "
            "depth clips their own folder (a damaged depth clip counts as a recording)"
        )

    def measured(row: Sample) -> tuple[Size, int]:
        return _measured(row, kinds[row], not salvage)

    with ThreadPoolExecutor(thread_count()) as pool:
        found = list(pool.map(measured, read))
    durations = np.array([duration for _, duration in found if duration > 0], np.int64)
    if not len(durations):
        raise FormatError(f"{folder}: the samples that were read have no duration; check them")
    groups = {row.group for row in rows}
    return Look(
        samples,
        classes,
        () if None in groups else tuple(sorted(map(str, groups))),
        Counter(size for size, _ in found),
        durations,
    )


def _measured(row: Sample, kind: str, strict: bool) -> tuple[Size, int]:
    """Return the size and the duration of a sample, in microseconds."""
    path: Path = row.file
    if kind == DEPTH_CLIPS.name:
        seen = read_depth_clip(path)
        return Size(*seen.depth_m.shape[:0:-1]), int(seen.t_us[-1] - seen.t_us[0])
    with one_thread():
        if kind == RECORDINGS.name:
            recording = open_events(path, strict=strict)
            events = recording.between(*row.span or (None, None)).load()
            length = int(events.t[-1] - events.t[0]) + 1 if len(events) else 0
            return likely_size(recording, recording.size), length
        clip = open_frames(path, strict=strict)
        times = [t_us for t_us, _ in clip]
    start, stop = row.span or (0, 1 << 62)
    return clip.size, min(times[-1], stop) - max(times[0], start) if times else 0
