"""Inspect a folder of labelled samples: kinds, classes, people, sizes and durations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._threads import one_thread, thread_count
from dvskit.datasets import Emulation, FileSamples, Sample, likely_size
from dvskit.datasets.files import DEPTH_CLIPS, RECORDINGS, used_clip
from dvskit.errors import ConfigError, FormatError, count_of
from dvskit.events import Size
from dvskit.formats import open_events
from dvskit.scenes import read_depth_clip
from dvskit.training.folder_notes import FolderNote
from dvskit.video import FrameSource

_MEASURED = 24  # samples that are read to measure sizes and durations
_FEW = 5  # samples of a class
_VIEW = (32, 24)  # pixels of a background
# Correlation of two clips. Clips of one person in one place reach 0.96, of two people in one place
# 0.86; drawn people in different places at most 0.66.
_SAME_BACKGROUND = 0.8


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The content of a folder, or of a list, of labelled samples.

    samples    all of them, opened
    classes    the number of samples of each class
    groups     the people, by name; () if they are not known
    sizes      of the sensors or pictures in the samples that were read, with the count of each
    durations  of the samples that were read, microseconds (n,) int64
    alike      classes in which all videos that were read, two or more, show one background
    """

    samples: FileSamples
    classes: Mapping[str, int]
    groups: tuple[str, ...]
    sizes: Mapping[Size, int]
    durations: NDArray[np.int64]
    alike: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[FolderNote]:
        """Notes on what may keep a model from recognising other samples."""
        found = []
        what = "clips" if self.clips == len(self.samples) else "samples"
        few = [name for name, count in self.classes.items() if count < _FEW]
        if few:
            text = (
                f"{self._named(few)} fewer than {_FEW} {what}: record more, of several people, if "
            )
            found.append(
                self._note(text + "others are to be recognised", "few clips", few, wanted=_FEW)
            )
        if self.alike:
            text = f"{self._named(self.alike)} one background in all clips that were looked at: "
            text += "record some at another place, or the model may learn the place"
            found.append(self._note(text, "one background", self.alike))
        return found

    def _note(self, text: str, kind: str, classes: Sequence[str], **values: int) -> FolderNote:
        every = len(classes) == len(self.classes)
        return FolderNote(text, kind, classes=list(classes), all=every, **values)

    def _named(self, classes: Sequence[str]) -> str:
        """Return the beginning of a sentence on what classes have."""
        if len(classes) == len(self.classes):
            return "each class has"
        shown = ", ".join(classes[:3]) + f" and {len(classes) - 3} more" * (len(classes) > 3)
        return f"class {shown} has" if len(classes) == 1 else f"classes {shown} have"

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
        people = f", {count_of(len(self.groups), 'person', 'people')}" if self.groups else ""
        length, count = f"{low:.2g} to {high:.2g} s", len(self.classes)
        return f"{what} of {sizes}, {length}; {count} classes of {each}{people}"


def inspect_samples(
    samples: FileSamples, folder: str | PathLike[str], *, without: tuple[str, ...] = ()
) -> FolderContents:
    """Read some samples of an opened folder, or list, whole.

    without  names of samples to skip

    Raises ConfigError for fewer than two classes, FormatError if no sample that was read has a
    duration, and the errors of reading.
    """
    rows = [row for row in samples.rows if row.name not in without]
    classes = dict(sorted(Counter(row.label for row in rows).items()))
    if len(classes) < 2:
        raise ConfigError(
            f"{folder}: one class, {', '.join(classes) or 'none'}; give a folder for each of two "
            "or more classes"
        )
    read = [rows[k] for k in np.unique(np.linspace(0, len(rows) - 1, _MEASURED).astype(int))]
    kinds = dict(zip(samples.rows, samples.kinds, strict=True))
    depth = [row for row in rows if kinds[row] == DEPTH_CLIPS.name]
    if depth and len(depth) < len(rows):
        other = next(row for row in rows if kinds[row] != DEPTH_CLIPS.name)
        raise FormatError(
            f"{depth[0].where}: is a depth clip, next to a {kinds[other]}, {other.where}; give "
            "depth clips their own folder (a damaged depth clip counts as a recording)"
        )

    def measured(row: Sample) -> _Measured:
        return _measured(row, kinds[row], samples.reading.strict)

    with ThreadPoolExecutor(thread_count()) as pool:
        found = list(pool.map(measured, read))
    durations = np.array([each.duration for each in found if each.duration > 0], np.int64)
    if not len(durations):
        raise FormatError(f"{folder}: the samples that were read have no duration; check them")
    groups = {row.group for row in rows}
    return FolderContents(
        samples,
        classes,
        () if None in groups else tuple(sorted(map(str, groups))),
        Counter(each.size for each in found),
        durations,
        _alike(read, found),
    )


class _Measured(NamedTuple):
    """The size of a sample, its duration in microseconds, and of a video its background.

    The background is (pixels,) float32, with a norm of 1: a small median over all frames.
    """

    size: Size
    duration: int
    background: NDArray[np.float32] | None = None


def _alike(rows: Sequence[Sample], found: Sequence[_Measured]) -> tuple[str, ...]:
    """Return the classes of two or more videos of one background."""
    views: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for row, each in zip(rows, found, strict=True):
        if each.background is not None:
            views[row.label].append(each.background)
    return tuple(
        label
        for label, seen in views.items()
        if len(seen) > 1 and float((np.stack(seen) @ np.stack(seen).T).min()) > _SAME_BACKGROUND
    )


def _measured(row: Sample, kind: str, strict: bool) -> _Measured:
    path: Path = row.file
    if kind == DEPTH_CLIPS.name:
        seen = read_depth_clip(path)
        return _Measured(Size(*seen.depth_m.shape[:0:-1]), int(seen.t_us[-1] - seen.t_us[0]))
    with one_thread():
        if kind == RECORDINGS.name:
            recording = open_events(path, strict=strict)
            events = recording.between(*row.span or (None, None)).load()
            length = int(events.t[-1] - events.t[0]) + 1 if len(events) else 0
            return _Measured(likely_size(recording, recording.size), length)
        frames, clip = used_clip(path, Emulation(), _small_frames, strict=strict)
    start, stop = row.span or (0, 1 << 62)
    if not frames:
        return _Measured(clip.size, 0)
    duration = min(frames[-1][0], stop) - max(frames[0][0], start)
    return _Measured(clip.size, duration, _background([small for _, small in frames]))


def _small_frames(clip: FrameSource) -> list[tuple[int, NDArray[np.float32]]]:
    """Return the times of frames, and the frames at the size of a background."""
    found = []
    for t_us, frame in clip:
        small = cv2.resize(frame.astype(np.float32), _VIEW, interpolation=cv2.INTER_AREA)
        found.append((t_us, np.asarray(small, np.float32)))
    return found


def _background(frames: Sequence[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """Return the median of frames about its mean, with a norm of 1; None for one gray."""
    median = np.median(np.stack(frames), 0).ravel()
    about = median - median.mean()
    norm = np.linalg.norm(about)
    return np.asarray(about / norm, np.float32) if norm > 1e-3 * np.abs(median).max() else None
