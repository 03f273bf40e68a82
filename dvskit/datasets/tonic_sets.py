"""Data sets of tonic: the one door to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dvskit.errors import ConfigError, DvskitError, GeometryError
from dvskit.events import Events, as_size


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
