"""Tonic's data sets as Samples, and filters inside tonic's Compose: the one door to tonic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.datasets.samples import Part, Sample, Samples
from dvskit.errors import ConfigError, DvskitError, GeometryError, count_of
from dvskit.events import Events, Filter, Size, as_size
from dvskit.filters import chain
from dvskit.formats.content import digest_of


@check_arguments
class TonicSamples(Samples):
    """A tonic data set as Samples.

    dataset  a `tonic.dataset.Dataset` that gives structured arrays (no frame transform)
    size     (width, height); the data set's `sensor_size` unless given
    labels   the class of each sample; the data set's `targets` unless given. Without either each
             sample is read once for its target
    part     what the data set is kept for, such as "test" for NMNIST(train=False)

    A class is the name that the data set's `classes` gives to its target, else the target as text;
    a data set with `users` has them as groups. Raises ConfigError for anything but a tonic data
    set or what subclasses it, GeometryError without a size, and what reading raises with the number
    of the sample.
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
        self._dataset, self._size = _checked(dataset), _sensor(dataset, size)
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
        """Return the events of a sample. Raises what its array is wrong with, with its number."""
        return _events(self._dataset[number][0], self._size, self.rows[number].name)

    def fingerprint(self, number: int) -> str:
        """Return a digest of the events themselves: tonic does not say what they come from."""
        events = self.events(number)
        columns = (events.t, events.x, events.y, events.p)
        return digest_of((str(self._size), *(column.tobytes().hex() for column in columns)))


def _checked(dataset: Any) -> Any:
    from tonic.dataset import Dataset

    if not isinstance(dataset, Dataset):
        raise ConfigError(f"{type(dataset).__name__} is no tonic data set (tonic.dataset.Dataset)")
    return dataset


def _sensor(dataset: Any, size: tuple[int, int] | None) -> Size:
    if size is None:
        known = getattr(dataset, "sensor_size", None)
        if known is None:
            raise GeometryError("this tonic data set has no sensor_size; pass size=(width, height)")
        size = (int(known[0]), int(known[1]))
    return as_size(size)


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
    """Yield (Events, target) for each sample of a tonic data set, the target as tonic has it.

    `size` and errors are those of TonicSamples.
    """
    whole = _sensor(_checked(dataset), size)
    for number in range(len(dataset)):
        array, target = dataset[number]
        yield _events(array, whole, f"sample {number}"), target


def _events(array: Any, size: Size, name: str) -> Events:
    try:
        return Events.from_array(array, size=size)
    except DvskitError as error:
        raise type(error)(f"{name}: {error}") from error


@check_arguments
def in_tonic(chosen: Filter, sensor_size: Sequence[int]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a filter as a transform of tonic's: `Compose([in_tonic(Crop(...), size), ...])`.

    sensor_size  tonic's (width, height, polarities), or (width, height)

    The transform takes and gives structured arrays of the fields t, x, y and p, whatever their
    order and types, which are kept.
    """
    size = as_size((int(sensor_size[0]), int(sensor_size[1])))

    def transform(array: NDArray[Any]) -> NDArray[Any]:
        kept = chain(chosen)(Events.from_array(array, size=size))
        made = np.empty(len(kept), array.dtype)
        for field in array.dtype.names or ():
            made[field] = getattr(kept, field)
        return made

    return transform
