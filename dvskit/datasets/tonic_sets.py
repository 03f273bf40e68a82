"""Data sets of (events, target), such as tonic's, as Samples; filters for tonic's Compose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from dvskit.datasets.samples import Part, Sample, Samples, named
from dvskit.errors import ConfigError, EventsError, GeometryError, count_of
from dvskit.events import Events, Filter, Size, as_size
from dvskit.filters import Chain
from dvskit.filters.base import Function
from dvskit.formats.content import digest_of


class TonicSamples(Samples):
    """A data set of (events, target) as Samples: one of tonic, torch or Hugging Face, or a list.

    dataset  has a length, and `dataset[number]` is (events, target), or a dict with "events" and
             "label". Events are a structured array of t, x, y and p, as in tonic without a frame
             transform, a dict of these columns, or Events; times are whole microseconds. A target
             is a number or a text
    size     (width, height); default: the data set's `sensor_size`, or that of Events
    labels   the class of each sample; default: the data set's `targets`. Without either each sample
             is read once for its target
    part     of the data set, such as "test" for NMNIST(train=False)

    A class is the entry of the data set's `classes` for its target, and their order is kept, so
    that class numbers are those of tonic; else it is the target as text. A data set with `users`
    has them as groups. In torch's Subset (as from random_split) and ConcatDataset, samples keep
    what their own data set has, and their names. Raises ConfigError for other types of data sets,
    GeometryError without a size, and the errors of reading with the name of the sample.

        events = dvskit.load_events("digits/0/00001.bin")
        samples = dvskit.datasets.TonicSamples([(events, "zero"), (events[:100], "part")])
        samples.classes  # ("part", "zero")
    """

    draws = False

    def __init__(
        self,
        dataset: Any,
        *,
        size: tuple[int, int] | None = None,
        labels: Sequence[Any] | None = None,
        part: Part | None = None,
    ) -> None:
        self._pairs = pairs = _Pairs(dataset, size)
        count = len(pairs.places)
        given = [*map(pairs.target, range(count))] if labels is None else list(labels)
        if len(given) != count:
            raise ConfigError(f"{count_of(len(given), 'label')} for {count_of(count, 'sample')}")
        targets = [_plain(*each) for each in zip(given, pairs.names, strict=True)]
        rows = [
            Sample(name, owner.classes.get(target, str(target)), owner.group(k), part)
            for (owner, k), name, target in zip(pairs.places, pairs.names, targets, strict=True)
        ]
        classes = [name for owner in pairs.owners for name in owner.classes.values()]
        whole = not classes and all(type(target) is int for target in targets)
        others = sorted({row.label for row in rows}, key=int if whole else None)
        super().__init__(rows, tuple(dict.fromkeys([*classes, *others])))

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample. Raises errors of its array with its name."""
        return self._pairs.pair(number)[0]

    def fingerprint(self, number: int) -> str:
        """Return a digest of the events themselves, as tonic does not name their source."""
        events = self.events(number)
        columns = (events.t, events.x, events.y, events.p)
        return digest_of((str(events.sensor_size), *(column.tobytes().hex() for column in columns)))


class _Owner:
    """A data set that samples come from, through torch's wrappers.

    title    its name in the names of samples; `pairs` finishes it
    targets  of its samples; none if it does not list them as it returns them
    classes  the name of each target; tonic has a list of names, or numbers by names
    size     of the sensor; `pairs` sets it
    """

    size: Size

    def __init__(self, dataset: Any) -> None:
        self.title = type(dataset).__name__
        self.own_size = _member(dataset, "sensor_size")
        self.classes: dict[Any, str] = {}
        self.targets, self.users = [], _column(dataset, "users")
        if _member(dataset, "target_transform") is None:
            self.targets = _column(dataset, "targets")
            self.classes = _class_names(_member(dataset, "classes"))

    def group(self, number: int) -> str | None:
        """Return the user of a sample."""
        return str(self.users[number]) if self.users else None


class _Pairs:
    """The (events, target) of each sample of a data set.

    owners  the data sets that the samples come from, through torch's wrappers
    places  the owner of each sample, and its number there
    names   of each sample

    Raises ConfigError unless it is a map-style data set, GeometryError without a size.
    """

    def __init__(self, dataset: Any, size: tuple[int, int] | None) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise ConfigError(
                f"{type(dataset).__name__} is not a data set: it needs len(data) and data[number]"
            )
        self._dataset, found = dataset, _places(dataset)
        by_id = {id(data): data for data, _ in found}
        owner_of = {key: _Owner(data) for key, data in by_id.items()}
        self.owners = list(owner_of.values())
        titles = [owner.title for owner in self.owners]
        for number, owner in enumerate(self.owners):
            owner.title += f"-{number + 1}" if owner.title in titles[:number] else ""
        self.places = [(owner_of[id(data)], number) for data, number in found]
        self.names = [f"{owner.title}/{number}" for owner, number in self.places]
        firsts = {id(owner): k for k, (owner, _) in reversed([*enumerate(self.places)])}
        for owner in self.owners:
            owner.size = self._size(owner, firsts[id(owner)], size)
            self.pair(firsts[id(owner)])

    def _size(self, owner: _Owner, first: int, size: tuple[int, int] | None) -> Size:
        events = self._given(first)[0]
        own = events.sensor_size if isinstance(events, Events) else None
        known = next((each for each in (size, owner.own_size, own) if each is not None), None)
        if known is None:
            raise GeometryError(f"{owner.title} has no sensor_size; pass size=(width, height)")
        return as_size((int(known[0]), int(known[1])))

    @contextmanager
    def _naming(self, number: int) -> Iterator[None]:
        """Name the sample in errors."""
        try:
            yield
        except Exception as error:
            raise named(error, Sample(self.names[number], "")) from error

    def _given(self, number: int) -> tuple[Any, Any]:
        with self._naming(number):
            given = self._dataset[number]
            if isinstance(given, Mapping) and {"events", "label"} <= given.keys():
                return given["events"], given["label"]
            if not isinstance(given, tuple | list) or len(given) != 2:
                raise ConfigError(
                    f"is {type(given).__name__}; it must be (events, target), or a dict with "
                    "'events' and 'label'"
                )
            return given[0], given[1]

    def pair(self, number: int) -> tuple[Events, Any]:
        """Return the events and the target of a sample. Raises errors with its name."""
        events, target = self._given(number)
        with self._naming(number):
            return _as_events(events, self.places[number][0].size), target

    def target(self, number: int) -> Any:
        """Return the target of a sample, from the list of all if there is one."""
        owner, place = self.places[number]
        return owner.targets[place] if owner.targets else self._given(number)[1]


def _places(dataset: Any) -> list[tuple[Any, int]]:
    if isinstance(dataset, Subset):
        inner = _places(dataset.dataset)
        return [inner[number] for number in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [place for part in dataset.datasets for place in _places(part)]
    return [(dataset, number) for number in range(len(dataset))]


def _member(dataset: Any, name: str) -> Any:
    """Return a member of a data set, or of the one in a cache of tonic; None without it."""
    while dataset is not None:
        if getattr(dataset, name, None) is not None:
            return getattr(dataset, name)
        dataset = getattr(dataset, "dataset", None)
    return None


def _column(dataset: Any, name: str) -> list[Any]:
    """Return a member with a value per sample; nothing if it has none."""
    values = _member(dataset, name)
    return list(values) if values is not None and len(values) == len(dataset) else []


def _as_events(given: Any, size: Size) -> Events:
    if isinstance(given, Events):
        if given.sensor_size != size:
            raise GeometryError(f"has size {given.sensor_size}, the data set {size}")
        return given
    if isinstance(given, Mapping):
        try:
            columns = list(map(np.asarray, given.values()))
            given = np.rec.fromarrays(columns, names=cast(Any, list(given)))
        except ValueError as error:
            raise EventsError(f"columns {', '.join(given)}: {error}") from None
    if not isinstance(given, np.ndarray):
        raise ConfigError(
            f"events are {type(given).__name__}; they must be a structured array, a dict of the "
            "columns t, x, y and p, or Events"
        )
    return Events.from_array(given, size=size)


def _plain(target: Any, name: str) -> int | float | str:
    """Return a target as a number or a text. Raises ConfigError with the name of the sample."""
    if hasattr(target, "item") and prod(target.shape) == 1:
        target = target.item()
    if not isinstance(target, int | float | str):
        raise ConfigError(
            f"{name}: target is {type(target).__name__}, not a class; pass labels=, a number or "
            "text per sample"
        )
    return target


def _class_names(classes: Any) -> dict[Any, str]:
    """Return the name of each target: tonic has a list of names, or numbers by names."""
    if isinstance(classes, dict):
        ordered = sorted(classes.items(), key=lambda item: item[1])
        return {_plain(number, name): str(name) for name, number in ordered}
    return dict(enumerate(map(str, classes))) if isinstance(classes, (list, tuple)) else {}


def from_tonic(
    dataset: Any, *, size: tuple[int, int] | None = None
) -> Iterator[tuple[Events, Any]]:
    """Return an iterator of (Events, target) of a data set, with unchanged targets.

    `size` and errors are those of TonicSamples.

        recordings = [(dvskit.load_events("digits/0/00001.bin"), "zero")]  # or a data set of tonic
        for events, target in dvskit.datasets.from_tonic(recordings):
            counts = dvskit.tensors.Counts(bins=20)(events)  # (20, 2, 34, 34)
    """
    pairs = _Pairs(dataset, size)
    return map(pairs.pair, range(len(pairs.places)))


def in_tonic(
    chosen: Filter | Function, sensor_size: Sequence[int]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a filter as a transform for tonic: `Compose([in_tonic(Crop(...), size), ...])`.

    sensor_size  tonic's (width, height, polarities), or (width, height)

    The transform takes and returns structured arrays with the fields t, x, y and p, in any order
    and of any types, which it keeps.

        events = np.zeros(5, [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
        events["x"] = [0, 5, 10, 15, 20]
        crop = dvskit.filters.Crop(x=0, y=0, width=12, height=12)
        crop = dvskit.datasets.in_tonic(crop, (34, 34, 2))
        crop(events)["x"]  # [0, 5, 10]
    """
    size = as_size((int(sensor_size[0]), int(sensor_size[1])))

    def transform(array: NDArray[Any]) -> NDArray[Any]:
        kept = Chain(chosen)(Events.from_array(array, size=size))
        made = np.empty(len(kept), array.dtype)
        for field in array.dtype.names or ():
            made[field] = getattr(kept, field)
        return made

    return transform
