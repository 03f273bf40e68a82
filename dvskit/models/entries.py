"""The sets that a model learns from: entries [[data]] of a configuration and of a model's file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from dvskit import datasets
from dvskit._arguments import check_arguments
from dvskit._toml import plain_values, section, table_of, typed
from dvskit.datasets import PUBLIC_SETS, ImageChanges, ImageSamples, Sample, Samples, SplitSamples
from dvskit.encoders.names import ENCODERS
from dvskit.errors import ConfigError, count_of, did_you_mean
from dvskit.filters import Vary
from dvskit.registry import Registry

_EACH = frozenset(
    ("kind", "name", "count", "validation", "test", "by", "skip", "limit", "balanced", "classes")
)
_EVENTS = _EACH | {"augment", "mirrored"}
_CLIPS = _EVENTS | {"path", "group", "preset", "size", "redraw"}
_VIDEOS = _CLIPS | {"without", "salvage", "whole", "upsample", "fps", "light", "threshold"}
TAKEN: Mapping[str, frozenset[str]] = {
    "recordings": _EVENTS | {"path", "group", "size", "set", "download", "salvage", "without"},
    "videos": _VIDEOS,
    "mixed": _VIDEOS,
    "depth": _CLIPS | {"without", "salvage"},
    "drawn": _EVENTS | {"each", "gestures", "size", "fps", "duration_us", "close", "seed"},
    "skeletons": _EVENTS | {"path", "each", "gestures", "size", "fps", "duration_us", "seed"},
    "images": _EVENTS | {"path", "encoder"},
    "saccades": _EVENTS | {"path", "size", "redraw"},
}
"""The keys that an entry of each kind takes."""
SPLITS = ("auto", "listed", "group", "share")


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """A set to learn from: an entry [[data]] of a configuration.

    kind        "recordings"; "videos", emulated, with folders of images; "mixed", a folder of both;
                "depth", depth clips, shaded and emulated; "drawn", people that dvskit draws;
                "skeletons", drawn people moved by recorded skeletons; "images", encoded as spikes;
                "saccades", images moved before an emulated sensor
    name        the name of its scores; default: the kind, for images the encoder
    path        a folder or a list of samples: see `dvskit.datasets.open_samples`; for images, a
                folder for `open_images`; none for "drawn"
    set         the public set of recordings in `path`, such as "dvs128-gesture": see
                `dvskit.datasets.open_public`. It sets classes, people, sizes and the test part
    download    whether `set` is downloaded if `path` does not hold it; not by torchrun's processes
    count       samples in each batch
    validation  the share held out to choose the best epoch; 0: none
    test        the share held out for the test at the end; a test part of the set itself replaces
                it
    by          the way to split: "listed", the parts of the set itself; "group", people whole;
                "share", of each class; "auto", the first of these that is possible
    group       the people: "auto", "none", or a pattern searched in names: see `open_samples`
    without     names of samples that are never used
    skip        number of samples that are never used, the first outside the set's test part
    limit       the most samples to train on, drawn by the seed; 0: all
    balanced    draw equally often from all classes
    classes     new names of classes, [data.classes]: wave = "right_hand_wave"; "*" = "other"
                names all others
    encoder     for images, such as "poisson", "latency" or "direct": see `dvskit.datasets.Encode`
    preset      for clips, the preset of the sensor; "": ideal
    threshold   for videos, of the sensor, ON and OFF; 0: the preset's
    salvage     whether damaged files are salvaged and files that cannot be opened are skipped, with
                a note for both; otherwise they are errors
    size        of the sensor, (width, height), for clips and for recordings that do not store
                theirs; (): the network's
    whole, upsample, fps, light   for videos: see `dvskit.datasets.Emulation`; fps 0: unchanged
    redraw      whether clips and moved images get new noise and new movements in each epoch;
                otherwise they are emulated once and kept on disk (`dvskit.datasets.Cache`)
    each        for "drawn": samples of each gesture; for "skeletons": people for each skeleton
    gestures    for "drawn": of `dvskit.scenes.PERSON_GESTURES`; for "skeletons": of its classes;
                (): all
    seed        for "drawn" and "skeletons": the seed of the people; 0: the run's
    duration_us, close, fps       for "drawn": see `dvskit.datasets.DrawnSamples`; for
                "skeletons": `SkeletonSamples`
    mirrored    whether a sample that `augment` flips left to right gets the class with the
                mirrored name: right_wave for left_wave, counter_clockwise for clockwise
    augment     random changes, [data.augment]: of events `dvskit.filters.Vary`, of images
                `dvskit.datasets.ImageChanges`

    The split depends only on the names of the samples, the shares and the run's seed. Raises
    ConfigError for values out of range and for keys that the kind does not take.

        digits = dvskit.training.DataConfig(path="digits", count=8, validation=0.1, test=0.2)
        videos = dvskit.training.DataConfig(
            kind="videos", path="gestures", by="group", augment=dvskit.filters.Vary(shift_px=4)
        )
    """

    kind: str = "recordings"
    name: str = ""
    path: str = ""
    set: str = ""
    download: bool = False
    count: int = 16
    validation: float = 0.1
    test: float = 0.2
    by: str = "auto"
    group: str = "auto"
    without: tuple[str, ...] = ()
    skip: int = 0
    limit: int = 0
    balanced: bool = False
    encoder: str = "poisson"
    preset: str = ""
    size: tuple[int, ...] = ()
    threshold: float = 0.0
    salvage: bool = False
    whole: bool = False
    upsample: bool = False
    fps: float = 0.0
    light: str = ""
    redraw: bool = False
    each: int = 100
    gestures: tuple[str, ...] = ()
    seed: int = 0
    duration_us: int = 1_450_000
    close: float = 0.0
    classes: Mapping[str, str] = field(default_factory=dict)
    mirrored: bool = False
    augment: Vary | ImageChanges = field(default_factory=Vary)

    def __post_init__(self) -> None:
        check_choice("data.kind", self.kind, TAKEN)
        changes = changes_of(self.kind)
        if self.augment == Vary():  # no change, for any kind
            object.__setattr__(self, "augment", changes())
        if not isinstance(self.augment, changes):
            raise ConfigError(
                f"data.{self.title}.augment = {self.augment}: kind {self.kind!r} takes a "
                f"{changes.__name__}"
            )
        for item in fields(self):
            if item.name not in TAKEN[self.kind] and getattr(self, item.name) != _default(item):
                raise ConfigError(
                    f"data.{self.title}.{item.name}: kind {self.kind!r} has no such key; "
                    f"it has {', '.join(sorted(TAKEN[self.kind]))}"
                )
        if self.download and not self.set:
            raise ConfigError(f"data.{self.title}.download needs set, the name of a public set")
        if self.set and (self.group != "auto" or self.size):
            raise ConfigError(
                f"data.{self.title}: the set {self.set!r} has its own groups and size; "
                "leave out group and size"
            )
        check_choice(f"data.{self.title}.by", self.by, SPLITS)
        self._check_numbers()

    def check_names(self) -> None:
        """Raise ConfigError for an unknown encoder or public set.

        A model is loaded without this check: what it learned from is not needed to use it.
        """
        check_choice(f"data.{self.title}.encoder", self.encoder, ENCODERS)
        if self.set:
            try:
                PUBLIC_SETS.find(self.set)
            except ConfigError as error:
                raise ConfigError(f"data.{self.title}.set: {error}") from None

    def _check_numbers(self) -> None:
        least_of = {"count": 1, "skip": 0, "limit": 0, "each": 1, "fps": 0, "threshold": 0}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value < least:
                raise ConfigError(
                    f"data.{self.title}.{name} = {value} is below {least}; leave out the entry "
                    "if its set is not to be used"
                )
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test < 1):
            raise ConfigError(
                f"data.{self.title}: validation = {self.validation} and test = {self.test}; give "
                "shares of at least 0 with a sum below 1"
            )
        if len(self.size) not in (0, 2):
            raise ConfigError(f"data.{self.title}.size = {self.size}; give (width, height)")

    @property
    def title(self) -> str:
        """The name of its scores."""
        return self.name or (self.encoder if self.kind == "images" else self.kind)

    def vary(self, *, always: bool = False) -> Vary | None:
        """Return the random changes of events, None if there are none and not `always`."""
        if isinstance(self.augment, ImageChanges) or (self.augment == Vary() and not always):
            return None
        return self.augment


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raise ConfigError for a value that is not among the choices of a key."""
    if isinstance(choices, Registry):
        try:
            choices.find(value)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from None
    elif value not in choices:
        raise ConfigError(f"{key}: no {value!r}; {did_you_mean(value, choices)}")


def changes_of(kind: str) -> type[Vary] | type[ImageChanges]:
    """Return the class of random changes for a kind of entries."""
    return ImageChanges if kind == "images" else Vary


def _default(item: Any) -> Any:
    return item.default if item.default is not MISSING else item.default_factory()


def data_from(values: Mapping[str, Any]) -> DataConfig:
    """Return an entry [[data]]. Raises ConfigError for unknown keys and wrong values."""
    given = dict(values)
    dot = f"data.{title_of(values)}"
    if "augment" in given:
        table = table_of(f"{dot}.augment", given["augment"])
        given["augment"] = section(f"{dot}.augment", changes_of(kind_of(values)), table)
    if "classes" in given:
        for name, called in table_of(f"{dot}.classes", given["classes"]).items():
            typed(f"{dot}.classes.{name}", "str", called)
    entry: DataConfig = section(dot, DataConfig, given)
    return entry


def kind_of(entry: Mapping[str, Any]) -> str:
    """Return the kind of a table [[data]]."""
    return str(entry.get("kind", DataConfig().kind))


def title_of(entry: Mapping[str, Any]) -> str:
    """Return the name of the scores of a table [[data]]."""
    if entry.get("name"):
        return str(entry["name"])
    encoder = entry.get("encoder", DataConfig().encoder)
    return str(encoder) if kind_of(entry) == "images" else kind_of(entry)


def data_values(entry: DataConfig) -> dict[str, Any]:
    """Return an entry [[data]] as plain values: only the keys of its kind."""
    values = {key: value for key, value in plain_values(entry).items() if key in TAKEN[entry.kind]}
    if "augment" in values:
        values["augment"] = plain_values(entry.augment)
    values["classes"] = dict(entry.classes)
    return values


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
    left_out = set(kept[: entry.skip])
    left_out |= {k for k, row in enumerate(samples.rows) if row.name in entry.without}
    if left_out:
        samples = samples.choose([k for k in range(len(samples)) if k not in left_out])
    by = _way(samples.rows) if entry.by == "auto" else entry.by
    if by == "listed":
        listed = any(row.part == "validation" for row in samples.rows)
        return datasets.split_as_listed(
            samples, validation=0 if listed else entry.validation, seed=seed
        )
    split = datasets.split_by_group if by == "group" else datasets.split_by_share
    return split(samples, validation=entry.validation, test=entry.test, seed=seed)


def _way(rows: Sequence[Sample]) -> str:
    if any(row.part is not None for row in rows):
        return "listed"
    return "group" if all(row.group is not None for row in rows) else "share"
