"""Labelled recordings and images on disk, split by a seed; the only file that knows tonic."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import le
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit.errors import ConfigError, DvskitError, FormatError, GeometryError, ShapeError
from dvskit.events import Events, Size, Source, as_size
from dvskit.formats import Recording, open_events
from dvskit.formats.found import TEXTS, is_recording, readable_suffixes
from dvskit.formats.labels import LABELS_ENDING, Part, find_labelled
from dvskit.tensors import bin_events

_IDX_TYPES: dict[int, np.dtype[Any]] = {
    code: np.dtype(name)
    for code, name in ((8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8"))
}


class Sample(NamedTuple):
    """A recording on disk, or a span of one, and the name of its class.

    span  start and stop in microseconds, half-open; None is the whole recording
    part  what the data set itself keeps it for; None where it does not say
    """

    path: Path
    label: str
    span: tuple[int, int] | None = None
    part: Part | None = None


class Split(NamedTuple):
    """Samples to train on, to choose by, and to report on."""

    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]


@dataclass(frozen=True, slots=True)
class Binned:
    """Samples as tensors: counts (N, T, 2, H, W), labels (N,) int64, names of the classes.

    Counts are uint8, or float32 where events of some samples weigh more or less than 1.
    """

    counts: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Samples as events: one Events each, labels (N,) int64, names of the classes.

    weights  what an event of each counts, where recordings were fitted to another sensor; () is 1
    """

    events: tuple[Events, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    weights: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.events)

    def weight(self, row: int) -> float | None:
        """Return what an event of a sample counts; None where none of them is weighed."""
        return self.weights[row] if self.weights else None

    def part(self, rows: slice) -> Labelled:
        """Return some of the samples."""
        return Labelled(self.events[rows], self.labels[rows], self.classes, self.weights[rows])


class Images(NamedTuple):
    """Gray images (N, height, width) uint8 and their labels (N,) int64."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def find_samples(folder: str | PathLike[str], *, anything: bool = False) -> list[Sample]:
    """Return the recordings `folder/<class>/<file>`, sorted by class and file name.

    A folder's name is its class; any format that dvskit reads will do. Names that start with a dot
    are passed over, and so are files that are no recordings, which `passed_over` lists; with
    `anything` they are taken too, for a format that is named. A folder of recordings with labels
    beside them gives a sample a label: see `find_spans`. Raises FormatError for a missing folder, a
    class without recordings, recordings beside the classes, and folders among the recordings.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FormatError(
            f"{root}: no such folder; one with a folder of recordings a class is meant"
        )
    entries = _visible(root)
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes and any(entry.name.endswith(LABELS_ENDING) for entry in entries):
        return find_spans(root)
    marked = readable_suffixes() - TEXTS
    strays = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in marked]
    if strays and not classes:
        raise FormatError(
            f"{root}: holds recordings, not a folder of them a class; name the folder above, or "
            f"move them to {root}/<class>/"
        )
    if strays:
        raise FormatError(
            f"{strays[0]}: a recording beside the classes; move it to {root}/<class>/"
        )
    if not classes:
        raise FormatError(f"{root}: holds no folder; make one a class, named after it")
    samples = []
    for kind in classes:
        files = _recordings(kind, anything)
        if not files:
            raise FormatError(
                f"{kind}: holds no recordings; put some in it (files of "
                f"{', '.join(sorted(readable_suffixes()))}) or remove it"
            )
        samples += [Sample(file, kind.name) for file in files]
    return samples


def passed_over(folder: str | PathLike[str]) -> list[Path]:
    """Return the files among the recordings of `find_samples` that are none, such as a read-me."""
    root = Path(folder)
    return [
        file
        for kind in (_visible(root) if root.is_dir() else [])
        if kind.is_dir()
        for file in _visible(kind)
        if not is_recording(file)
    ]


def _recordings(kind: Path, anything: bool) -> list[Path]:
    files = _visible(kind)
    folders = [file for file in files if file.is_dir()]
    if folders:
        raise FormatError(
            f"{folders[0]}: a folder among the recordings of class {kind.name}; "
            f"move its recordings to {kind}"
        )
    return [file for file in files if anything or is_recording(file)]


def find_spans(folder: str | PathLike[str]) -> list[Sample]:
    """Return a sample for each label of the recordings in a folder, by file name and start.

    Labels stand in `<recording>_labels.csv`, as in DVS128 Gesture, whose lists of what to train and
    to test on count where they are: see `dvskit.formats.labels`. Raises FormatError as
    `find_labelled` there does.
    """
    samples = []
    for path, labels, part in find_labelled(Path(folder), readable_suffixes() - TEXTS):
        spans = zip(labels.start_us.tolist(), labels.stop_us.tolist(), strict=True)
        samples += [
            Sample(path, name, span, part) for name, span in zip(labels.name, spans, strict=True)
        ]
    return samples


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def class_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the names of the classes, sorted."""
    return tuple(sorted({sample.label for sample in samples}))


def split_samples(samples: Sequence[Sample], *, validation: float, test: float, seed: int) -> Split:
    """Split each class into train, validation and test, by a seed.

    `validation` and `test` are shares of all; each class gives its share, rounded so that the
    totals are right to one sample. The split depends on the seed and on class and file names, not
    on the folder they lie in nor on the order of `samples`. Where samples say what they are kept
    for, that decides what is tested, and `validation` is a share of the rest.
    Raises ConfigError for shares below 0 or that leave nothing to train on.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ConfigError(
            f"validation = {validation} and test = {test}: shares of at least 0 whose sum is "
            "below 1 are meant"
        )
    rng = np.random.default_rng(seed)
    parts = Split([], [], [])
    done = 0
    if any(sample.part for sample in samples):
        kept = [sample for sample in samples if sample.part == "test"]
        parts.test.extend(sorted(kept, key=_place))
        samples = [sample for sample in samples if sample.part != "test"]
        test = 0.0
    for kind in class_names(samples):
        members = sorted((sample for sample in samples if sample.label == kind), key=_place)
        order = [members[i] for i in rng.permutation(len(members))]
        # Rounding the running total keeps the error of the sum below one sample.
        held = round((done + len(order)) * test) - round(done * test)
        chosen = round((done + len(order)) * validation) - round(done * validation)
        parts.test.extend(order[:held])
        parts.validation.extend(order[held : held + chosen])
        parts.train.extend(order[held + chosen :])
        done += len(order)
    return parts


def _place(sample: Sample) -> tuple[str, tuple[int, int]]:
    return sample.path.name, sample.span or (0, 0)


def load_labelled(
    samples: Sequence[Sample],
    classes: Sequence[str] | None = None,
    *,
    size: Size | None = None,
    read: Callable[[Path], Recording] = open_events,
) -> Labelled:
    """Read the events of samples. `classes` gives the order of labels; sorted names without it.

    `read` opens a file; one that does not say its sensor's size has `size`, if that holds it.

    Raises FormatError for a label that is not among the classes, a bad file, and a span without
    events.
    """
    names = class_names(samples) if classes is None else tuple(classes)
    labels = _labels(samples, names)
    return Labelled(tuple(_load(sample, size, read) for sample in samples), labels, names)


def _load(sample: Sample, size: Size | None, read: Callable[[Path], Recording]) -> Events:
    recording = read(sample.path)
    start, stop = sample.span or (None, None)
    events = recording.between(start, stop).load() if sample.span else recording.load()
    if sample.span and not len(events):
        raise FormatError(
            f"{sample.path}: no events from {start} to {stop} us, which are labelled {sample.label}"
        )
    return events if size is None else on_sensor(events, likely_size(recording, size))


def likely_size(source: Source, size: Size) -> Size:
    """Return the size of a recording: `size` where it is only inferred from events that fit it."""
    inferred = getattr(getattr(source, "recording", source), "size_origin", None) == "data"
    return size if inferred and all(map(le, source.size, size)) else source.size


def on_sensor(events: Events, size: Size) -> Events:
    """Return events on a sensor that holds them, each where it is."""
    return Events.from_checked(events.t, events.x, events.y, events.p, size)


def _labels(samples: Sequence[Sample], names: tuple[str, ...]) -> NDArray[np.int64]:
    number = {name: i for i, name in enumerate(names)}
    for sample in samples:
        if sample.label not in number:
            raise FormatError(
                f"{sample.path}: class {sample.label!r} is not among {', '.join(names)}"
            )
    return np.array([number[sample.label] for sample in samples], np.int64)


def bin_labelled(data: Labelled, *, bins: int, bin_us: int) -> Binned:
    """Bin each recording from its first event; events behind bins * bin_us are left out.

    Raises GeometryError for recordings of different sizes, ShapeError for counts above 255 where
    no events are weighed.
    """
    sizes = {events.size for events in data.events}
    if len(sizes) > 1:
        raise GeometryError(
            f"recordings of {' and '.join(map(str, sorted(sizes)))}; put them on one size first: "
            "dvskit.filters.Fit"
        )
    counts = [
        window_counts(events, data.weight(row), bins=bins, bin_us=bin_us)
        for row, events in enumerate(data.events)
    ]
    stacked = torch.stack(counts) if counts else torch.empty(0, bins, 2, 1, 1, dtype=torch.uint8)
    return Binned(stacked, torch.from_numpy(data.labels), data.classes)


def window_counts(
    events: Events, weight: float | None, *, bins: int, bin_us: int, start_us: int | None = None
) -> Tensor:
    """Return the counts of `count_window`; with a weight, as float32 of any height, times it."""
    if weight is None:
        return count_window(events, bins=bins, bin_us=bin_us, start_us=start_us)
    counts = bin_events(events, bins=bins, bin_us=bin_us, start_us=start_us, outside="ignore")
    return counts.float() * weight


def count_window(events: Events, *, bins: int, bin_us: int, start_us: int | None = None) -> Tensor:
    """Return counts (bins, 2, H, W) uint8 from `start_us`, else from the first event on.

    Events outside bins * bin_us are left out. Raises ShapeError for a count above 255.
    """
    counts = bin_events(events, bins=bins, bin_us=bin_us, start_us=start_us, outside="ignore")
    if counts.numel() and int(counts.max()) > 255:
        raise ShapeError(
            f"{int(counts.max())} events of one polarity in one pixel and bin; "
            "255 fit: take shorter bins"
        )
    return counts.to(torch.uint8)


def read_idx(path: str | PathLike[str]) -> NDArray[Any]:
    """Return the array of an IDX file, plain or gzip (MNIST's format). Raises FormatError."""
    file = Path(path)
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{file}: cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise FormatError(f"{file}: starts with {data[:4]!r}, which is no IDX header")
    start = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    dtype = _IDX_TYPES[data[2]]
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(shape) != data[3] or len(data) != expected:
        raise FormatError(f"{file}: {len(data)} bytes where shape {shape} needs {expected}")
    array: NDArray[Any] = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array


def read_images(folder: str | PathLike[str], part: str) -> Images:
    """Return MNIST-style images and labels: `part` is "train" or "t10k". Raises FormatError."""
    root = Path(folder)
    pixels = read_idx(_one_of(root, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_one_of(root, f"{part}-labels-idx1-ubyte"))
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or labels.shape != pixels.shape[:1]:
        raise FormatError(
            f"{root}: images {pixels.shape} {pixels.dtype} do not fit labels {labels.shape}"
        )
    return Images(pixels, labels.astype(np.int64))


def _one_of(root: Path, name: str) -> Path:
    for path in (root / f"{name}.gz", root / name):
        if path.is_file():
            return path
    raise FormatError(f"{root}: holds neither {name}.gz nor {name}; download it to that folder")


def from_tonic(
    dataset: Any, *, size: tuple[int, int] | None = None
) -> Iterator[tuple[Events, Any]]:
    """Yield (Events, target) for each sample of a tonic data set: the one door to tonic.

    The data set must give structured arrays (no frame transform). `size` is (width, height); it is
    the data set's `sensor_size` unless given. Raises ConfigError for anything but a tonic data set
    or what subclasses it, GeometryError without a size.
    """
    from tonic.dataset import Dataset

    if not isinstance(dataset, Dataset):
        raise ConfigError(f"{type(dataset).__name__} is no tonic data set (tonic.dataset.Dataset)")
    if size is None:
        known = getattr(dataset, "sensor_size", None)
        if known is None:
            raise GeometryError("this tonic data set has no sensor_size; pass size=(width, height)")
        size = (int(known[0]), int(known[1]))
    whole = as_size(size)
    for number in range(len(dataset)):
        array, target = dataset[number]
        try:
            yield Events.from_array(array, size=whole), target
        except DvskitError as error:
            raise type(error)(f"sample {number}: {error}") from error
