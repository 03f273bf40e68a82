"""Data sets of (events, target), such as tonic's, as Samples; filters for tonic's Compose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from dvskit._arguments import check_arguments
from dvskit.datasets.samples import Part, Sample, Samples, named
from dvskit.errors import ConfigError, EventsError, GeometryError, count_of
from dvskit.events import Events, Filter, Size, as_size
from dvskit.filters import chain
from dvskit.filters.base import Function
from dvskit.formats.content import digest_of


@check_arguments
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
        if labels is None:
            given = [pairs.target(number) for number in range(len(pairs))]
        else:
            given = list(labels)
        if len(given) != len(pairs):
            have = count_of(len(given), "label")
            raise ConfigError(f"{have} for {count_of(len(pairs), 'sample')}")
        targets = [_plain(*each) for each in zip(given, pairs.names, strict=True)]
        known = [_class_names(owner) for owner in pairs.owners]
        rows = [
            Sample(pairs.names[k], known[owner].get(target, str(target)), pairs.group(k), part)
            for k, ((owner, _), target) in enumerate(zip(pairs.places, targets, strict=True))
        ]
        classes = [name for names in known for name in names.values()]
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
        return digest_of((str(events.size), *(column.tobytes().hex() for column in columns)))


class _Pairs:
    """The (events, target) of each sample of a data set.

    owners  the data sets that the samples come from, through torch's wrappers
    places  the number of its owner, and its number there, of each sample
    names   of each sample

    Raises ConfigError unless it is a map-style data set, GeometryError without a size.
    """

    def __init__(self, dataset: Any, size: tuple[int, int] | None) -> None:
        kind = type(dataset).__name__
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise ConfigError(f"{kind} is not a data set: it needs len(data) and data[number]")
        found = _places(dataset)
        self._dataset = dataset
        self.owners = list({id(owner): owner for owner, _ in found}.values())
        number_of = {id(owner): number for number, owner in enumerate(self.owners)}
        self.places = [(number_of[id(owner)], number) for owner, number in found]
        titles: list[str] = []
        for number, owner in enumerate(self.owners):
            title = type(owner).__name__
            titles.append(f"{title}-{number + 1}" if title in titles else title)
        self.names = [f"{titles[owner]}/{number}" for owner, number in self.places]
        firsts = {owner: k for k, (owner, _) in reversed(list(enumerate(self.places)))}
        self._sizes = [self._size(firsts[owner], size) for owner in range(len(titles))]
        for first in firsts.values():
            self.pair(first)
        self._targets = [_column(owner, "targets") for owner in self.owners]
        self._users = [_column(owner, "users") for owner in self.owners]

    def __len__(self) -> int:
        return len(self.places)

    def _size(self, number: int, size: tuple[int, int] | None) -> Size:
        """Return the sensor size of the data set of a sample."""
        first, owner = self._given(number)[0], self.owners[self.places[number][0]]
        own = first.size if isinstance(first, Events) else None
        known = _member(owner, "sensor_size", own) if size is None else size
        if known is None:
            raise GeometryError(
                f"{type(owner).__name__} has no sensor_size; pass size=(width, height)"
            )
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
            return _as_events(events, self._sizes[self.places[number][0]]), target

    def target(self, number: int) -> Any:
        """Return the target of a sample, from the list of all if there is one."""
        owner, place = self.places[number]
        known = self._targets[owner]
        return known[place] if known else self._given(number)[1]

    def group(self, number: int) -> str | None:
        """Return the user of a sample."""
        owner, place = self.places[number]
        users = self._users[owner]
        return str(users[place]) if users else None


def _places(dataset: Any) -> list[tuple[Any, int]]:
    if isinstance(dataset, Subset):
        inner = _places(dataset.dataset)
        return [inner[number] for number in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [place for part in dataset.datasets for place in _places(part)]
    return [(dataset, number) for number in range(len(dataset))]


def _member(dataset: Any, name: str, default: Any = None) -> Any:
    """Return a member of a data set, or of the one in a cache of tonic."""
    while dataset is not None:
        if getattr(dataset, name, None) is not None:
            return getattr(dataset, name)
        dataset = getattr(dataset, "dataset", None)
    return default


def _column(dataset: Any, name: str) -> list[Any]:
    """Return a value per sample; nothing if the data set does not list them as it returns them."""
    if name == "targets" and _member(dataset, "target_transform") is not None:
        return []
    values = list(_member(dataset, name, ()))
    return values if len(values) == len(dataset) else []


def _as_events(given: Any, size: Size) -> Events:
    if isinstance(given, Events):
        if given.size != size:
            raise GeometryError(f"has size {given.size}, the data set {size}")
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


def _class_names(dataset: Any) -> dict[Any, str]:
    """Return the name of each target: tonic has a list of names, or numbers by names."""
    given = None if _member(dataset, "target_transform") else _member(dataset, "classes")
    if isinstance(given, dict):
        ordered = sorted(given.items(), key=lambda item: item[1])
        return {_plain(number, name): str(name) for name, number in ordered}
    if isinstance(given, (list, tuple)):
        return {number: str(name) for number, name in enumerate(given)}
    return {}


@check_arguments
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
    return map(pairs.pair, range(len(pairs)))


@check_arguments
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
        kept = chain(chosen)(Events.from_array(array, size=size))
        made = np.empty(len(kept), array.dtype)
        for field in array.dtype.names or ():
            made[field] = getattr(kept, field)
        return made

    return transform
