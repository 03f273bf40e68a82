"""Data sets of (events, target), such as tonic's, as Samples; filters for tonic's Compose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.datasets.sample import Part, Sample
from dvskit.datasets.samples import Samples
from dvskit.errors import ConfigError, DvskitError, GeometryError, count_of
from dvskit.events import Events, Filter, Size, as_size
from dvskit.filters import chain
from dvskit.filters.base import Function
from dvskit.formats.content import digest_of


@check_arguments
class TonicSamples(Samples):
    """A data set of (events, target) as Samples: one of tonic, of torch, or a list.

    dataset  has a length, and `dataset[number]` is (events, target): events as a structured array
             of t, x, y and p, as in tonic without a frame transform, or as Events
    size     (width, height); default: the data set's `sensor_size`, or that of Events
    labels   the class of each sample; default: the data set's `targets`. Without either each sample
             is read once for its target
    part     of the data set, such as "test" for NMNIST(train=False)

    A class is the entry of the data set's `classes` for its target, else the target as text; a data
    set with `users` has them as groups. Raises ConfigError for other types of data sets,
    GeometryError without a size, and the errors of reading with the number of the sample.
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
        self._dataset, self._size = dataset, _checked(dataset, size)
        targets = _targets(dataset) if labels is None else list(labels)
        if len(targets) != len(dataset):
            have = count_of(len(targets), "label")
            raise ConfigError(f"{have} for {count_of(len(dataset), 'sample')}")
        users = list(getattr(dataset, "users", []))
        groups = [str(user) for user in users] if len(users) == len(targets) else None
        name = type(dataset).__name__
        names = _class_names(dataset)
        rows = [
            Sample(
                f"{name}/{number}",
                names.get(_plain(target), str(_plain(target))),
                group=None if groups is None else groups[number],
                part=part,
            )
            for number, target in enumerate(targets)
        ]
        super().__init__(rows)

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample. Raises errors of its array with its number."""
        return _pair(self._dataset, number, self._size)[0]

    def fingerprint(self, number: int) -> str:
        """Return a digest of the events themselves, as tonic does not name their source."""
        events = self.events(number)
        columns = (events.t, events.x, events.y, events.p)
        return digest_of((str(self._size), *(column.tobytes().hex() for column in columns)))


def _checked(dataset: Any, size: tuple[int, int] | None) -> Size:
    """Return the sensor size of a data set, from its attributes or first sample.

    Raises ConfigError unless it is a map-style data set, GeometryError without a size.
    """
    kind = type(dataset).__name__
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ConfigError(f"{kind} is not a data set: it needs len(data) and data[number]")
    first = _given(dataset, 0)[0] if len(dataset) else None
    if size is None:
        known = getattr(dataset, "sensor_size", first.size if isinstance(first, Events) else None)
        if known is None:
            raise GeometryError(f"{kind} has no sensor_size; pass size=(width, height)")
        size = (int(known[0]), int(known[1]))
    whole = as_size(size)
    if first is not None:
        _pair(dataset, 0, whole)
    return whole


def _given(dataset: Any, number: int) -> tuple[Any, Any]:
    given = dataset[number]
    name = f"{type(dataset).__name__}/{number}"
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ConfigError(f"{name}: is {type(given).__name__}; it must be (events, target)")
    if not isinstance(given[0], Events | np.ndarray):
        raise ConfigError(f"{name}: events are {type(given[0]).__name__}; they must be an array")
    return given[0], given[1]


def _pair(dataset: Any, number: int, size: Size) -> tuple[Events, Any]:
    """Return the events and the target of a sample. Raises errors with its number."""
    name = f"{type(dataset).__name__}/{number}"
    events, target = _given(dataset, number)
    if isinstance(events, Events):
        if events.size != size:
            raise GeometryError(f"{name}: has size {events.size}, the data set {size}")
        return events, target
    try:
        return Events.from_array(events, size=size), target
    except DvskitError as error:
        raise type(error)(f"{name}: {error}") from error


def _plain(target: Any) -> Any:
    return target.item() if isinstance(target, np.generic) else target


def _targets(dataset: Any) -> list[Any]:
    known = list(getattr(dataset, "targets", []))
    if len(known) == len(dataset):
        return known
    return [dataset[number][1] for number in range(len(dataset))]


def _class_names(dataset: Any) -> dict[Any, str]:
    """Return the name of each target: tonic has a list of names, or numbers by names."""
    given = getattr(dataset, "classes", None)
    if isinstance(given, dict):
        return {_plain(number): str(name) for name, number in given.items()}
    if isinstance(given, (list, tuple)):
        return {number: str(name) for number, name in enumerate(given)}
    return {}


@check_arguments
def from_tonic(
    dataset: Any, *, size: tuple[int, int] | None = None
) -> Iterator[tuple[Events, Any]]:
    """Return an iterator of (Events, target) of a data set, with unchanged targets.

    `size` and errors are those of TonicSamples.
    """
    whole = _checked(dataset, size)
    return (_pair(dataset, number, whole) for number in range(len(dataset)))


@check_arguments
def in_tonic(
    chosen: Filter | Function, sensor_size: Sequence[int]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a filter as a transform for tonic: `Compose([in_tonic(Crop(...), size), ...])`.

    sensor_size  tonic's (width, height, polarities), or (width, height)

    The transform takes and returns structured arrays with the fields t, x, y and p, in any order
    and of any types, which it keeps.
    """
    size = as_size((int(sensor_size[0]), int(sensor_size[1])))

    def transform(array: NDArray[Any]) -> NDArray[Any]:
        kept = chain(chosen)(Events.from_array(array, size=size))
        made = np.empty(len(kept), array.dtype)
        for field in array.dtype.names or ():
            made[field] = getattr(kept, field)
        return made

    return transform
