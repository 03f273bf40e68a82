"""What a model learned from: entries [[data]], also of a configuration, and the samples of its run.

split.csv in a model's folder lists the samples by part.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, cast, get_args

import numpy as np

from dvskit import datasets
from dvskit._checks import (
    check_choice,
    check_fields,
    check_flag,
    check_known,
    check_number,
    check_seed,
    check_whole,
    checked,
)
from dvskit._files import read_regular
from dvskit._tables import read_table, table_of
from dvskit.datasets import (
    PUBLIC_SETS,
    ImageChanges,
    ImageSamples,
    Part,
    Sample,
    Samples,
    Split,
    SplitSamples,
)
from dvskit.datasets.files import known_kind
from dvskit.encoders.names import ENCODERS
from dvskit.errors import ConfigError, ModelError, count_of
from dvskit.filters import Vary
from dvskit.registry import named_errors

SPLITS = ("auto", "listed", "group", "share")
_MOST = 10**9  # samples


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """A set to learn from: an entry [[data]] of a configuration. Each kind has its own class.

    kind        "recordings", the default of an entry: `RecordingData`; "videos", emulated, with
                folders of images: `VideoData`; "mixed", a folder of both: `MixedData`; "depth",
                depth clips, shaded and emulated: `DepthData`; "drawn", people that dvskit draws:
                `DrawnData`; "skeletons", drawn people moved by recorded skeletons:
                `SkeletonData`; "images", encoded as spikes: `ImageData`; "saccades", images moved
                before an emulated sensor: `SaccadeData`
    name        the name of its scores; default: the kind, for images the encoder
    count       samples in each batch
    validation  the share held out to choose the best epoch; 0: none
    test        the share held out for the test at the end; a test part of the set itself replaces
                it
    by          the way to split: "listed", the parts of the set itself; "group", people whole;
                "share", of each class; "auto", the first of these that is possible
    skip        number of samples that are never used, the first outside the set's test part
    limit       the most samples to train on, drawn by the seed; 0: all
    balanced    draw equally often from all classes
    classes     new names of classes, [data.classes]: wave = "right_hand_wave"; "*" = "other"
                names all others
    mirrored    whether a sample that `augment` flips left to right gets the class with the
                mirrored name: right_wave for left_wave, counter_clockwise for clockwise

    The split depends only on the names of the samples, the shares and the run's seed. Raises
    ConfigError for values out of range.

        digits = dvskit.training.RecordingData(path="digits", validation=0.1, test=0.2)
        videos = dvskit.training.VideoData(
            path="gestures", by="group", augment=dvskit.filters.Vary(shift_px=4)
        )
    """

    kind: ClassVar[str] = ""

    name: str = ""
    count: int = checked(check_whole, 1, _MOST, default=16)
    validation: float = checked(check_number, 0, below=1, default=0.1)
    test: float = checked(check_number, 0, below=1, default=0.2)
    by: str = checked(check_choice, SPLITS, default="auto")
    skip: int = checked(check_whole, 0, _MOST, default=0)
    limit: int = checked(check_whole, 0, _MOST, default=0)
    balanced: bool = checked(check_flag, default=False)
    classes: Mapping[str, str] = field(default_factory=dict)
    mirrored: bool = checked(check_flag, default=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.validation + self.test < 1:
            raise ConfigError(
                f"{type(self).__name__}: validation = {self.validation} and test = {self.test}; "
                "give shares with a sum below 1"
            )

    def check_names(self) -> None:
        """Raise ConfigError for an unknown encoder or public set.

        A model is loaded without this check: what it learned from is not needed to use it.
        """

    def vary(self, *, always: bool = False) -> Vary | None:
        """Return the random changes of events, None if there are none and not `always`."""
        return None

    @property
    def title(self) -> str:
        """The name of its scores."""
        return self.name or self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class _EventData(DataConfig):
    """A set of recordings, or of samples that become events.

    augment  random changes of events, [data.augment]
    """

    augment: Vary = field(default_factory=Vary)

    def vary(self, *, always: bool = False) -> Vary | None:
        """Return the random changes of events, None if there are none and not `always`."""
        return self.augment if always or self.augment != Vary() else None


def check_size(name: str, value: Sequence[int], *, owner: str = "") -> None:
    """Raise ConfigError unless a value is a sensor's (width, height), or empty."""
    if len(value) not in (0, 2):
        raise ConfigError(f"{owner}: {name} = {value}; give (width, height)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileData(_EventData):
    """A set of files with events or clips.

    path     a folder or a list of samples: see `dvskit.datasets.open_samples`
    group    the people: "auto", "none", or a pattern searched in names: see `open_samples`
    without  names of samples that are never used; of spans the `dvskit.datasets.Sample.title`
    salvage  whether damaged files are salvaged and files that cannot be opened are skipped, with a
             note for both; otherwise they are errors
    size     of the sensor, (width, height), for clips and for recordings that do not store theirs;
             (): the network's
    """

    path: str = ""
    group: str = "auto"
    without: tuple[str, ...] = ()
    salvage: bool = checked(check_flag, default=False)
    size: tuple[int, ...] = checked(check_size, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingData(FileData):
    """A set of recordings: an entry of kind "recordings".

    set       the public set of recordings in `path`, such as "dvs128-gesture": see
              `dvskit.datasets.open_public`. It sets classes, people, sizes and the test part
    download  whether `set` is downloaded if `path` does not hold it; not by torchrun's processes

    Other fields are those of `DataConfig` and of all files: path, group, without, salvage, size.

        digits = dvskit.training.RecordingData(path="digits", by="share", count=8)
        digits.title  # "recordings", the name of its scores
    """

    kind = "recordings"

    set: str = ""
    download: bool = checked(check_flag, default=False)

    def __post_init__(self) -> None:
        FileData.__post_init__(self)
        if self.download and not self.set:
            raise ConfigError("RecordingData: download needs set, the name of a public set")
        if self.set and (self.group != "auto" or self.size):
            raise ConfigError(
                f"RecordingData: set = {self.set!r} has its own groups and size; leave out group "
                "and size"
            )

    def check_names(self) -> None:
        """Raise ConfigError for an unknown public set."""
        if self.set:
            with named_errors(f"data.{self.title}.set"):
                PUBLIC_SETS.find(self.set)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipData(FileData):
    """A set of emulated clips.

    preset  of the sensor; "": ideal
    redraw  whether clips get new noise in each epoch; otherwise they are emulated once and kept on
            disk (`dvskit.datasets.Cache`)
    """

    preset: str = ""
    redraw: bool = checked(check_flag, default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthData(ClipData):
    """A set of depth clips, shaded and emulated: an entry of kind "depth".

    Fields are those of `DataConfig`, of all files (path, group, without, salvage, size) and of all
    clips (preset, redraw).

        clips = dvskit.training.DepthData(path="arms", preset="DVS128", by="group")
    """

    kind = "depth"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoData(ClipData):
    """A set of videos and folders of images, emulated: an entry of kind "videos".

    threshold                   of the sensor, ON and OFF; 0: the preset's
    whole, upsample, fps, light see `dvskit.datasets.Emulation`; fps 0: unchanged

    Other fields are those of `DepthData`.

        videos = dvskit.training.VideoData(path="gestures", threshold=0.45, whole=True)
    """

    kind = "videos"

    threshold: float = checked(check_number, 0, default=0.0)
    whole: bool = checked(check_flag, default=False)
    upsample: bool = checked(check_flag, default=False)
    fps: float = checked(check_number, 0, default=0.0)
    light: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedData(VideoData):
    """A set of recordings, videos and folders of images: an entry of kind "mixed".

    Fields are those of `VideoData`, which recordings do not need.

        mixed = dvskit.training.MixedData(path="gestures", threshold=0.45)
    """

    kind = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _PeopleData(_EventData):
    """A set of drawn people.

    seed  of the people; 0: the run's
    size  of the sensor, (width, height); (): the network's
    fps, duration_us  see `dvskit.datasets.DrawnSamples`; fps 0: its default
    """

    each: int = checked(check_whole, 1, _MOST, default=100)
    gestures: tuple[str, ...] = ()
    seed: int = checked(check_seed, default=0)
    size: tuple[int, ...] = checked(check_size, default=())
    fps: float = checked(check_number, 0, default=0.0)
    duration_us: int = checked(check_whole, 1, default=1_450_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnData(_PeopleData):
    """A set of people that dvskit draws: an entry of kind "drawn".

    each      samples of each gesture
    gestures  of `dvskit.scenes.PERSON_GESTURES`; (): all
    seed      of the people; 0: the run's
    size      of the sensor, (width, height); (): the network's
    fps, duration_us, close  see `dvskit.datasets.DrawnSamples`; fps 0: its default

    Other fields are those of `DataConfig`.

        people = dvskit.training.DrawnData(each=20, gestures=("hand_clap", "arm_roll"), fps=100)
    """

    kind = "drawn"

    close: float = checked(check_number, 0, 1, default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkeletonData(_PeopleData):
    """A set of drawn people moved by recorded skeletons: an entry of kind "skeletons".

    path      a folder or an .npz of skeletons
    each      people for each skeleton
    gestures  of its classes; (): all
    seed      of the people; 0: the run's
    size      of the sensor, (width, height); (): the network's
    fps, duration_us  see `dvskit.datasets.SkeletonSamples`; fps 0: its default

    Other fields are those of `DataConfig`.

        actions = dvskit.training.SkeletonData(path="joints.npz", each=1, classes={"*": "other"})
    """

    kind = "skeletons"

    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaccadeData(_EventData):
    """A set of images moved before an emulated sensor: an entry of kind "saccades".

    path    a folder for `dvskit.datasets.open_images`
    size    of the sensor, (width, height); (): the network's
    redraw  whether moved images get new movements in each epoch; otherwise they are emulated once
            and kept on disk (`dvskit.datasets.Cache`)

    Other fields are those of `DataConfig`.

        moved = dvskit.training.SaccadeData(path="images", redraw=True)
    """

    kind = "saccades"

    path: str = ""
    size: tuple[int, ...] = checked(check_size, default=())
    redraw: bool = checked(check_flag, default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageData(DataConfig):
    """A set of images encoded as spikes: an entry of kind "images".

    path     a folder for `dvskit.datasets.open_images`
    encoder  such as "poisson", "latency" or "direct": see `dvskit.datasets.Encode`
    augment  random changes of images, [data.augment]

    Other fields are those of `DataConfig`.

        images = dvskit.training.ImageData(path="images", encoder="latency")
        images.title  # "latency"
    """

    kind = "images"

    path: str = ""
    encoder: str = "poisson"
    augment: ImageChanges = field(default_factory=ImageChanges)

    def check_names(self) -> None:
        """Raise ConfigError for an unknown encoder."""
        with named_errors(f"data.{self.title}.encoder"):
            ENCODERS.find(self.encoder)

    @property
    def title(self) -> str:
        """The name of its scores."""
        return self.name or self.encoder


DATA_KINDS: Mapping[str, type[DataConfig]] = {
    each.kind: each
    for each in (RecordingData, VideoData, MixedData, DepthData, DrawnData, SkeletonData,
                 ImageData, SaccadeData)
}  # fmt: skip
"""The classes of entries by kind."""


def data_from(values: Mapping[str, Any]) -> DataConfig:
    """Return an entry [[data]]. Raises ConfigError for unknown keys and wrong values."""
    given = dict(table_of(values, "data"))
    kind = given.pop("kind", RecordingData.kind)
    check_known("data.kind", kind, DATA_KINDS)
    return read_table(DATA_KINDS[kind], given, f"data.{title_of(values)}")


def title_of(values: Mapping[str, Any]) -> str:
    """Return the name of the scores of a table [[data]]."""
    kind = values.get("kind", RecordingData.kind)
    known = values.get("encoder", ImageData().encoder) if kind == ImageData.kind else kind
    return str(values.get("name") or known)


def data_values(entry: DataConfig) -> dict[str, Any]:
    """Return an entry [[data]] as plain values."""
    return {"kind": entry.kind, **asdict(entry)}


Parts = SplitSamples[Samples] | SplitSamples[ImageSamples]
_Set = TypeVar("_Set", Samples, ImageSamples)
_CHOICE = 1  # seed of the choice of samples for `limit`


def parts_of(samples: _Set, entry: DataConfig, seed: int) -> SplitSamples[_Set]:
    """Return the training, validation and test samples of a set, by its entry.

    Raises ConfigError.
    """
    parts = _split(samples, entry, seed)
    count = len(parts.train)
    if not entry.limit or entry.limit >= count:
        return parts
    rng = np.random.default_rng((seed, _CHOICE))
    return parts._replace(train=parts.train.choose(np.sort(rng.permutation(count)[: entry.limit])))


def _split(samples: _Set, entry: DataConfig, seed: int) -> SplitSamples[_Set]:
    kept = [k for k, row in enumerate(samples.rows) if row.part != "test"]
    if entry.skip and entry.skip >= len(kept):
        raise ConfigError(
            f"data.{entry.title}.skip = {entry.skip} of {count_of(len(kept), 'sample')}; give fewer"
        )
    skipped = set(kept[: entry.skip])
    without = entry.without if isinstance(entry, FileData) else ()
    skipped |= {k for k, row in enumerate(samples.rows) if is_among(row, without)}
    if skipped:
        samples = samples.choose([k for k in range(len(samples)) if k not in skipped])
    by = _way(samples.rows) if entry.by == "auto" else entry.by
    if by == "listed":
        listed = any(row.part == "validation" for row in samples.rows)
        return datasets.split_as_listed(
            samples, validation=0 if listed else entry.validation, seed=seed
        )
    split = datasets.split_by_group if by == "group" else datasets.split_by_share
    return split(samples, validation=entry.validation, test=entry.test, seed=seed)


def is_among(row: Sample, names: Container[str]) -> bool:
    """Return whether a sample is one of `names`: of files with all their spans, or of spans."""
    return row.name in names or row.title in names


def _way(rows: Sequence[Sample]) -> str:
    if any(row.part is not None for row in rows):
        return "listed"
    return "group" if all(row.group is not None for row in rows) else "share"


_HASHED_BYTES = 1 << 16
_COLUMNS = ("part", "class", "recording", "start_us", "stop_us", "fingerprint")
_WITH_GROUPS = (*_COLUMNS, "group")


class Used(NamedTuple):
    """A recording of a model's run, or a span of one, identified by its fingerprint."""

    part: Part
    label: str
    name: str
    span: tuple[int, int] | None
    fingerprint: str
    group: str | None = None


def used_samples(split: Split | SplitSamples[Samples]) -> tuple[Used, ...]:
    """Return the record of a run's samples."""
    rows = split.rows if isinstance(split, SplitSamples) else split
    return tuple(
        Used(
            part,
            sample.label,
            sample.file.name,
            sample.span,
            fingerprint(sample.file),
            sample.group,
        )
        for part, samples in zip(get_args(Part), rows, strict=True)
        for sample in samples
    )


def fingerprint(path: Path) -> str:
    """Return the length of a recording and a digest of its two ends.

    Copies under other names have the same fingerprint; other formats of the same events do not.
    """
    if path.is_dir():  # a folder of images, or of events
        return f"folder-{known_kind(path).content(path)}"
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_HASHED_BYTES))
        length = file.seek(0, os.SEEK_END)
        file.seek(max(_HASHED_BYTES, length - _HASHED_BYTES))
        digest.update(file.read())
    return f"{length}-{digest.hexdigest()[:24]}"


def split_text(used: Iterable[Used]) -> str:
    """Return the text of a split.csv: one recording, or span of one, per line.

    It has a column of groups if any group is known.
    """
    text = io.StringIO()
    rows = list(used)
    grouped = any(row.group is not None for row in rows)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_WITH_GROUPS if grouped else _COLUMNS)
    for part, label, name, span, digest, group in rows:
        known = (part, label, name, *(span or ("", "")), digest)
        writer.writerow((*known, group or "") if grouped else known)
    return text.getvalue()


def read_split(path: Path) -> tuple[Used, ...]:
    """Return the lines of a split.csv; none without the file. Raises ModelError for others."""
    if not path.exists():
        return ()
    try:
        return split_from(read_regular(path).decode("utf-8"))
    except (OSError, ValueError, csv.Error) as error:
        raise ModelError(
            f"{path}: is not a list of training samples: {error}; remove it"
        ) from error


def split_from(text: str) -> tuple[Used, ...]:
    """Return the rows of a split.csv. Raises ValueError for another text."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or tuple(rows[0]) not in (_COLUMNS, _WITH_GROUPS):
        raise ValueError(f"its first line is not {','.join(_COLUMNS)}")
    return tuple(_used(row) for row in rows[1:])


def _used(row: list[str]) -> Used:
    part, label, name, start, stop, digest, group = row if len(row) > 6 else (*row, "")
    if part not in get_args(Part):
        raise ValueError(f"{part!r} is no part")
    span = (int(start), int(stop)) if start else None
    return Used(cast(Part, part), label, name, span, digest, group or None)
