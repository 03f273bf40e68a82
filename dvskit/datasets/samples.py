"""Samples: properties known before reading, and the events or image.

Folders of recordings or videos, public data sets and drawn samples are all `Samples`; other code
needs no other type. ImageSamples are the same for images, which are encoded as spikes, or moved in
front of an emulated sensor, which makes `Samples` of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.datasets.dataset import EventItems, ImageItems, SamplesDataset, Varying
from dvskit.datasets.sample import Sample, class_names, class_numbers
from dvskit.errors import ConfigError, count_of, did_you_mean, one_line
from dvskit.events import Events, Filter
from dvskit.filters.base import Function
from dvskit.tensors.representation import Representation

S = TypeVar("S")
Item = TypeVar("Item")
Numbers = Sequence[int] | NDArray[np.int64]
_SHOWN = 6  # classes in a repr
_REST = "*"  # in `called`: all classes that are not named


Rows = Sequence[Sample] | None
Images = NDArray[np.uint8] | list[NDArray[np.uint8]]
"""Gray images: (N, height, width) uint8, or a list of (height, width) of any sizes."""


class _Listed(ABC, Generic[S, Item]):
    """The rows and class names of a set; a sequence of its samples with their labels."""

    def __init__(self, rows: Iterable[Sample], classes: Sequence[str] | None = None) -> None:
        self.rows: tuple[Sample, ...] = tuple(rows)
        self.classes: tuple[str, ...] = (
            class_names(self.rows) if classes is None else tuple(classes)
        )
        self.labels: NDArray[np.int64] = class_numbers(self.rows, self.classes)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> tuple[Item, str]: ...
    @overload
    def __getitem__(self, number: slice | Numbers) -> S: ...
    def __getitem__(self, number: int | slice | Numbers) -> tuple[Item, str] | S:
        """Return a sample and the name of its class; for a slice or several, a set: see `choose`.

        A sample is read at each access; negative numbers count from the end. Raises IndexError past
        the end.
        """
        if isinstance(number, slice):
            return self.choose(range(len(self))[number])
        if np.ndim(number):
            return self.choose(cast(Numbers, number))
        place = self.place(cast(int, number))
        return self._content(place), self.rows[place].label

    def place(self, number: int) -> int:
        """Return the number of a sample from 0 on. Raises IndexError past the end."""
        try:
            return range(len(self))[number]
        except IndexError:
            raise IndexError(f"sample {number} of a set of {len(self):,}") from None

    def __iter__(self) -> Iterator[tuple[Item, str]]:
        """Yield each sample and its label, in order."""
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        names = ", ".join(self.classes[:_SHOWN]) + ", ..." * (len(self.classes) > _SHOWN)
        kind = type(self).__name__.lstrip("_")
        return f"<{kind}: {count_of(len(self), 'sample')}; classes: {names}>"

    @abstractmethod
    def _content(self, number: int) -> Item:
        """Return the events or the image of a sample."""

    @abstractmethod
    def fingerprint(self, number: int) -> str:
        """Return a text that identifies the content of a sample.

        It depends on the bytes of the file and on all parameters of its events or image, so
        cached results are never taken for another sample's.
        """

    @abstractmethod
    def _part(self, numbers: Numbers, classes: Sequence[str], rows: Rows = None) -> S:
        """Return some of the samples, with the given classes and, if given, other rows."""

    def choose(self, numbers: Numbers) -> S:
        """Return some of the samples, in the given order, with the same classes.

        numbers  of samples, negative ones from the end; or one boolean per sample, such as
                 `samples.labels == 2`

        Raises IndexError past the end and for anything else.
        """
        given = numbers if isinstance(numbers, np.ndarray) else list(numbers)
        try:
            places = np.arange(len(self))[given]
        except IndexError as error:
            raise IndexError(f"samples of a set of {len(self):,}: {one_line(error)}") from None
        return self._part(places, self.classes)

    def only(self, rows: Iterable[Sample]) -> S:
        """Return the samples of some of `rows`, in the given order, with the same classes."""
        number_of = {row: number for number, row in enumerate(self.rows)}
        return self.choose([number_of[row] for row in rows])

    def among(self, classes: Sequence[str]) -> S:
        """Return the samples with labels that are indices in `classes`.

        Raises FormatError for a class that is not in `classes`.
        """
        return self._part(range(len(self)), classes)

    def called(self, names: Mapping[str, str]) -> S:
        """Return the samples with renamed classes; "*" renames all the others.

        Raises ConfigError for an unknown class.
        """
        for name in names:
            if name != _REST and name not in self.classes:
                raise ConfigError(
                    f"no class {name!r} to rename to {names[name]!r}; "
                    f"{did_you_mean(name, self.classes)}"
                )
        rows = [
            row._replace(label=names.get(row.label, names.get(_REST, row.label)))
            for row in self.rows
        ]
        return self._part(range(len(self)), class_names(rows), rows)


class Samples(_Listed["Samples", Events]):
    """Labelled events: `samples[0]` is (events, label), `samples[:10]` the first ten samples.

    rows     properties of each sample known before reading
    classes  names of the classes; default: sorted labels
    labels   the number of each sample's class, (N,) int64
    draws    whether `events` uses its generator; if False, results computed from the samples can be
             cached

    Reading is safe on several threads, and a sample is the same at each reading. A subclass writes
    two methods, and passes its rows to the constructor:

        class Noise(dvskit.datasets.Samples):
            draws = False  # each sample is always the same

            def events(self, number, rng=None):
                draw = np.random.default_rng(number)
                t, x, y = np.sort(draw.integers(0, 1000, 50)), *draw.integers(0, 34, (2, 50))
                return dvskit.Events(x=x, y=y, p=draw.integers(0, 2, 50), t=t, size=(34, 34))

            def fingerprint(self, number):
                return f"noise {number}"

        Sample = dvskit.datasets.Sample
        samples = Noise(Sample(name=f"{number}", label="noise") for number in range(10))
        data = samples.dataset(dvskit.tensors.Counts(bins=5))
        counts, label = data[0]  # (5, 2, 34, 34), 0
    """

    draws = True

    @abstractmethod
    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, on its own sensor, with their original times.

        rng  draws random parts, such as the path in front of an emulated sensor; without it the
             sample's own fixed draw is returned

        Raises FormatError (or the errors of reading) with the sample's file.
        """

    def events_together(self, numbers: Sequence[int]) -> list[Events | None]:
        """Return the events of samples that are read faster together; None for the others.

        They are those of `events`, which also raises the errors.
        """
        return [None] * len(numbers)

    def _content(self, number: int) -> Events:
        return self.events(number)

    @overload
    def dataset(
        self,
        representation: None = None,
        *,
        size: tuple[int, int] | None = None,
        change: Filter | Function | Varying | None = None,
        seed: int = 0,
    ) -> SamplesDataset[Events]: ...
    @overload
    def dataset(
        self,
        representation: Representation | Callable[[Events], Tensor],
        *,
        size: tuple[int, int] | None = None,
        change: Filter | Function | Varying | None = None,
        start_us: int | None = None,
        seed: int = 0,
    ) -> SamplesDataset[Tensor]: ...
    @check_arguments
    def dataset(
        self,
        representation: Representation | Callable[[Events], Tensor] | None = None,
        *,
        size: tuple[int, int] | None = None,
        change: Filter | Function | Varying | None = None,
        start_us: int | None = None,
        seed: int = 0,
    ) -> SamplesDataset[Any]:
        """Return the samples as a data set of torch: (tensor, class number) of each.

            data = samples.dataset(Counts(bins=20), size=(64, 64), change=Vary(shift_px=4), seed=1)
            loader = DataLoader(data, 32, shuffle=True, num_workers=2, collate_fn=collate_tensors)
            for epoch in range(10):
                data.set_epoch(epoch)  # new random changes
                for counts, labels in loader: ...  # (20, B, 2, 64, 64) and (B,)

        representation  such as `dvskit.tensors.Counts`, or a function of Events; default: none,
                        for (Events, class number); `collate_events` makes their batches
        size            (width, height) of the sensor that events are fitted to
                        (`dvskit.filters.Fit`); default: each sample's own
        change          a filter or function of Events, applied after that; or a distribution such
                        as `dvskit.filters.Vary`, which draws a filter for each sample and epoch,
                        with times from `start_us` on
        start_us        the time at which the tensor begins; default: the first event of each sample
        seed            of all random draws: those of `Vary`, of samples that `draws`, and of the
                        events that a `PointSet` takes then

        Raises ConfigError for parameters that do not fit each other. `Batches` does the same on
        threads, without torch's DataLoader.
        """
        make = EventItems.of(self, representation, size, change, start_us)
        return SamplesDataset(self, make, seed)

    def settled(self) -> Samples:
        """Return the samples without chance: `events` always gives each sample's own draw."""
        return ChangedSamples(self) if self.draws else self

    def _part(self, numbers: Numbers, classes: Sequence[str], rows: Rows = None) -> Samples:
        return _PartOfSamples(self, numbers, classes, rows)


class ImageSamples(_Listed["ImageSamples", NDArray[np.uint8]]):
    """Labelled images; rows, classes, labels and indexing as in `Samples`.

    A subclass writes two methods, and passes its rows to the constructor:

        class Noise(dvskit.datasets.ImageSamples):
            def image(self, number):
                return np.random.default_rng(number).integers(0, 256, (28, 28), dtype=np.uint8)

            def fingerprint(self, number):
                return f"noise {number}"

        Sample = dvskit.datasets.Sample
        images = Noise(Sample(name=f"{number}", label="noise") for number in range(10))
        image, label = images[0]  # (28, 28) uint8 and "noise"
    """

    @abstractmethod
    def image(self, number: int) -> NDArray[np.uint8]:
        """Return the image of a sample, (height, width) uint8, gray."""

    def _content(self, number: int) -> NDArray[np.uint8]:
        return self.image(number)

    @check_arguments
    def dataset(
        self, encode: Callable[[NDArray[np.uint8], np.random.Generator], Tensor], *, seed: int = 0
    ) -> SamplesDataset[Tensor]:
        """Return the images as a data set of torch: (tensor, class number) of each.

            data = images.dataset(Encode("poisson", 20, (28, 28)), seed=1)

        encode  encode(image, rng) -> a tensor, of an image (height, width) uint8
        seed    of all random draws; `data.set_epoch` draws anew

        Raises ConfigError for a representation, which takes events.
        """
        if isinstance(encode, Representation):
            raise ConfigError("images have no events; pass an Encode, not a representation")
        return SamplesDataset(self, ImageItems(self, encode), seed)

    def images(self, numbers: Numbers) -> Images:
        """Return the images of some samples; one array if all have the same size."""
        return [self.image(int(number)) for number in numbers]

    def _part(self, numbers: Numbers, classes: Sequence[str], rows: Rows = None) -> ImageSamples:
        return _PartOfImages(self, numbers, classes, rows)


class _Part(_Listed[S, Item]):
    """Some of the samples of a set, by their numbers."""

    def __init__(
        self, whole: Any, numbers: Numbers, classes: Sequence[str], rows: Rows = None
    ) -> None:
        self._whole, self._numbers = whole, [int(number) for number in numbers]
        rows = whole.rows if rows is None else rows
        super().__init__((rows[number] for number in self._numbers), classes)

    def fingerprint(self, number: int) -> str:
        return str(self._whole.fingerprint(self._numbers[number]))


class _PartOfSamples(_Part[Samples, Events], Samples):
    def __init__(self, whole: Samples, *given: Any) -> None:
        super().__init__(whole, *given)
        self.draws = whole.draws

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        events: Events = self._whole.events(self._numbers[number], rng)
        return events

    def events_together(self, numbers: Sequence[int]) -> list[Events | None]:
        own = [self._numbers[number] for number in numbers]
        found: list[Events | None] = self._whole.events_together(own)
        return found


class _PartOfImages(_Part[ImageSamples, NDArray[np.uint8]], ImageSamples):
    def image(self, number: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._whole.image(self._numbers[number])
        return image

    def images(self, numbers: Numbers) -> Images:
        images: Images = self._whole.images([self._numbers[number] for number in numbers])
        return images


class WrappedSamples(Samples):
    """Other samples with cached, changed or observed events; the base of such wrappers."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(samples.rows, samples.classes)
        self.samples, self.draws = samples, samples.draws

    def fingerprint(self, number: int) -> str:
        """Return a text that identifies the content of a sample."""
        return self.samples.fingerprint(number)


class ChangedSamples(WrappedSamples):
    """Other samples without chance: each sample's own draw, optionally changed by a function.

    change  returns the events of a sample from its row and its own draw
    mark    distinguishes them from the others in fingerprints
    """

    def __init__(
        self,
        samples: Samples,
        change: Callable[[Sample, Events], Events] | None = None,
        mark: str = "",
    ) -> None:
        super().__init__(samples)
        self._change, self._mark, self.draws = change, mark, False

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, always the same."""
        events = self.samples.events(number)
        return events if self._change is None else self._change(self.rows[number], events)

    def fingerprint(self, number: int) -> str:
        """Return a text that identifies the content of a sample."""
        return super().fingerprint(number) + self._mark
