"""Samples: properties known before reading, and the events or image.

Folders of recordings or videos, public data sets and drawn samples are all `Samples`; other code
needs no other type. ImageSamples are the same for images, which are encoded as spikes, or moved in
front of an emulated sensor, which makes `Samples` of them. Samples are wrapped one way,
`Samples.adapted`: by a function of a sample that is not read yet, which returns its events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    cast,
    overload,
    runtime_checkable,
)

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate

from dvskit._checks import check_known, check_seed, check_whole
from dvskit.datasets.cache import Cache, CachedEvents
from dvskit.errors import (
    ConfigError,
    DvskitError,
    FormatError,
    ShapeError,
    count_of,
    one_line,
)
from dvskit.events import Events, Filter, as_size
from dvskit.filters import Chain, Fit
from dvskit.filters.base import Function
from dvskit.tensors.point_set import PointSet
from dvskit.tensors.representation import Representation

Part = Literal["train", "validation", "test"]


class Sample(NamedTuple):
    """The properties of a sample that are known before it is read.

    name   unique in its set together with the span, with "/" between the names of folders; it does
           not depend on the location of the set
    label  the name of its class
    group  shared with related samples, such as those of one person; a split keeps it whole; None if
           not known
    part   the part of the data set that it belongs to; None if the set has no parts
    path   its file; None for drawn samples
    span   start and stop in microseconds, half-open; None is the whole recording

        from pathlib import Path

        path = Path("digits/0/00001.bin")
        row = dvskit.datasets.Sample(name="zero", label="0", path=path)
        first = row._replace(name="start of zero", span=(0, 100_000))  # its first 100 ms
        samples = dvskit.datasets.FileSamples([row, first])
    """

    name: str
    label: str
    group: str | None = None
    part: Part | None = None
    path: Path | None = None
    span: tuple[int, int] | None = None

    @property
    def where(self) -> str:
        """The name of the sample in errors: its file, else its name."""
        return str(self.path) if self.path is not None else self.name

    @property
    def times(self) -> str:
        """The span of the sample in errors, after its name; "" for the whole recording."""
        return "" if self.span is None else f" from {self.span[0]} to {self.span[1]} us"

    @property
    def title(self) -> str:
        """The name of the sample and its span, which are unique in a set."""
        return f"{self.name}{self.times}"

    @property
    def file(self) -> Path:
        """Return its file. Raises FormatError for drawn samples."""
        if self.path is None:
            raise FormatError(f"{self.name}: is drawn and has no file; give one from a file")
        return self.path


def named(error: Exception, sample: Sample) -> Exception:
    """Return an error that names its sample.

    Its message begins with the sample's file and span. A note names the file if the error is not
    dvskit's, or has more than a text, like DamagedFileError.
    """
    if sample.where in str(error):
        return error
    plain = type(error).__init__ in (Exception.__init__, ValueError.__init__)
    if isinstance(error, DvskitError) and plain:
        return type(error)(f"{sample.where}{sample.times}: {one_line(error)}")
    error.add_note(f"while reading the sample {sample.where}")
    return error


def class_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the names of the classes, sorted.

    They are the labels of the samples, each once.

        rows = dvskit.datasets.open_samples("gestures").rows
        dvskit.datasets.class_names(rows)  # ("arm_roll", "hand_clap", "right_hand_wave")
    """
    return tuple(sorted({sample.label for sample in samples}))


S = TypeVar("S")
Item = TypeVar("Item")
Numbers = Sequence[int] | NDArray[np.int64]
Rows = Sequence[Sample] | None
_SHOWN = 6  # classes in a repr
_REST = "*"  # in `rename_classes`: all classes that are not named

GrayImages = NDArray[np.uint8] | list[NDArray[np.uint8]]
"""Gray images: (N, height, width) uint8, or a list of (height, width) of any sizes."""

Adapt = Callable[["LazySample"], Events]
"""Returns the events of a sample that is not read yet."""


class _SampleSet(ABC, Generic[S, Item]):
    """The rows and class names of a set; a sequence of its samples with their labels.

    Raises FormatError for a label that is not in `classes`.
    """

    def __init__(self, rows: Iterable[Sample], classes: Sequence[str] | None = None) -> None:
        self.rows: tuple[Sample, ...] = tuple(rows)
        self.classes = class_names(self.rows) if classes is None else tuple(classes)
        number_of = {name: number for number, name in enumerate(self.classes)}
        for row in self.rows:
            if row.label not in number_of:
                names = ", ".join(self.classes)
                raise FormatError(f"{row.where}: class {row.label!r} is not among {names}")
        self.labels = np.array([number_of[row.label] for row in self.rows], np.int64)

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
    def _subset(self, numbers: Numbers, classes: Sequence[str], rows: Rows = None) -> S:
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
        return self._subset(places, self.classes)

    def only(self, rows: Iterable[Sample]) -> S:
        """Return the samples of some of `rows`, in the given order, with the same classes."""
        number_of = {row: number for number, row in enumerate(self.rows)}
        return self.choose([number_of[row] for row in rows])

    def with_classes(self, classes: Sequence[str]) -> S:
        """Return the samples with `classes`, in their order, as the classes of the set.

        Raises FormatError for a class that is not in `classes`.
        """
        return self._subset(range(len(self)), classes)

    def rename_classes(self, names: Mapping[str, str]) -> S:
        """Return the samples with renamed classes; "*" renames all the others.

        Raises ConfigError for an unknown class.
        """
        for name in names:
            check_known("class", name, (*self.classes, _REST))
        rows = [
            row._replace(label=names.get(row.label, names.get(_REST, row.label)))
            for row in self.rows
        ]
        return self._subset(range(len(self)), class_names(rows), rows)


class Samples(_SampleSet["Samples", Events]):
    """Labeled events: `samples[0]` is (events, label), `samples[:10]` the first ten samples.

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
        if representation is not None and not callable(representation):
            raise ConfigError(
                f"representation is {representation!r}; pass one such as tensors.Counts(bins=20)"
            )
        if start_us is not None and not isinstance(representation, Representation):
            raise ConfigError(f"start_us = {start_us} needs a representation such as Counts")
        filters: list[Filter | Function] = [] if size is None else [Fit(as_size(size))]
        vary = change if isinstance(change, Varying) else None
        if change is not None and not isinstance(change, Varying):
            filters.append(change)
        make = _EventItems(self, representation, Chain(*filters), vary, start_us)
        return SamplesDataset(self, make, seed)

    def adapted(self, adapt: Adapt, *, mark: str = "") -> AdaptedSamples:
        """Return the samples, each read through a function; all wrappers are such functions.

        adapt  adapt(sample) -> Events. `sample.events()` reads the sample and `sample.row` has its
               properties, so it can change the events, count them, or return kept ones
        mark   follows the fingerprints, so changed events are not taken for others in a cache

        Results do not depend on threads, on earlier passes, or on samples being chosen before or
        after, if those of `adapt` do not.

            def only_on(sample):
                events = sample.events()
                return events[events.p]

            samples = dvskit.datasets.open_samples("digits")
            events, label = samples.adapted(only_on, mark=" ON")[0]  # only ON events
        """
        return AdaptedSamples(self, adapt=adapt, mark=mark)

    def cached(self, cache: Cache) -> AdaptedSamples:
        """Return the samples, with their events kept in a cache.

        This pays for events that are emulated or slow to decode (text, HDF5, bags). Samples with
        new draws at each reading are not kept. The bytes of a file are read once for its key: make
        a new object after files change.

            samples = dvskit.datasets.open_samples("gestures")
            cached = samples.cached(dvskit.datasets.Cache("cache"))
            events, label = cached[0]  # emulates the video; later readings take it from the cache
        """
        return self.adapted(CachedEvents(cache))

    def without_draws(self) -> Samples:
        """Return the samples without chance: `events` always gives each sample's own draw."""
        return AdaptedSamples(self, draws=False) if self.draws else self

    def _subset(self, numbers: Numbers, classes: Sequence[str], rows: Rows = None) -> Samples:
        return AdaptedSamples(self, numbers, classes, rows)


class ImageSamples(_SampleSet["ImageSamples", NDArray[np.uint8]]):
    """Labeled images; rows, classes, labels and indexing as in `Samples`.

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
        return SamplesDataset(self, _ImageItems(self, encode), seed)

    def images(self, numbers: Numbers) -> GrayImages:
        """Return the images of some samples; one array if all have the same size."""
        return [self.image(int(number)) for number in numbers]

    def _subset(self, numbers: Numbers, classes: Sequence[str], rows: Rows = None) -> ImageSamples:
        return _ImageSubset(self, numbers, classes, rows)


class LazySample(NamedTuple):
    """A sample that is not read yet: a number of a set, and the generator of its random parts.

    rng  None if the set has no chance, or if the sample's own fixed draw is wanted

        samples = dvskit.datasets.open_samples("digits")
        sample = dvskit.datasets.LazySample(samples, 3)
        sample.row.label  # known without reading
        sample.events()  # reads the file
    """

    whole: Samples
    number: int
    rng: np.random.Generator | None = None

    @property
    def row(self) -> Sample:
        """The properties of the sample."""
        return self.whole.rows[self.number]

    def events(self) -> Events:
        """Read and return its events. Raises the errors of reading."""
        return self.whole.events(self.number, self.rng)


class _Subset(_SampleSet[S, Item]):
    """Samples of another set, by their numbers there; default: all, with its rows and classes."""

    def __init__(
        self,
        whole: Any,
        numbers: Numbers | None = None,
        classes: Sequence[str] | None = None,
        rows: Rows = None,
    ) -> None:
        self.whole = whole
        chosen = range(len(whole)) if numbers is None else numbers
        self._numbers = [int(number) for number in chosen]
        rows = whole.rows if rows is None else rows
        classes = whole.classes if classes is None else classes
        super().__init__((rows[number] for number in self._numbers), classes)

    def fingerprint(self, number: int) -> str:
        """Return a text that identifies the content of a sample."""
        return str(self.whole.fingerprint(self._numbers[number]))


class AdaptedSamples(_Subset[Samples, Events], Samples):
    """Samples of another set, each read through a function: see `Samples.adapted`.

    whole  the other set
    adapt  the function; None: samples are as they were
    mark   follows fingerprints
    draws  False: each sample's own fixed draw

        samples = dvskit.datasets.open_samples("digits")
        flipped = samples.adapted(lambda sample: dvskit.filters.Flip("x")(sample.events()))
        flipped.whole is samples, flipped[0]  # True, and the flipped events of the first sample
    """

    whole: Samples

    def __init__(
        self, *part: Any, adapt: Adapt | None = None, mark: str = "", draws: bool = True
    ) -> None:
        super().__init__(*part)
        self.adapt, self.mark = adapt, mark
        self.draws = draws and self.whole.draws

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, through the function."""
        sample = LazySample(self.whole, self._numbers[number], rng if self.draws else None)
        return sample.events() if self.adapt is None else self.adapt(sample)

    def events_together(self, numbers: Sequence[int]) -> list[Events | None]:
        """Return the events of samples that are read faster together and are not adapted."""
        if self.adapt is not None:
            return super().events_together(numbers)
        return self.whole.events_together([self._numbers[number] for number in numbers])

    def fingerprint(self, number: int) -> str:
        """Return a text that identifies the content of a sample."""
        return super().fingerprint(number) + self.mark


class _ImageSubset(_Subset[ImageSamples, NDArray[np.uint8]], ImageSamples):
    whole: ImageSamples

    def image(self, number: int) -> NDArray[np.uint8]:
        return self.whole.image(self._numbers[number])

    def images(self, numbers: Numbers) -> GrayImages:
        return self.whole.images([self._numbers[number] for number in numbers])


@runtime_checkable
class Varying(Protocol):
    """A distribution of filters, such as `dvskit.filters.Vary`."""

    def draw(self, rng: np.random.Generator) -> Filter:
        """Return a filter; the same for the same generator state."""


class SamplesDataset(Dataset[tuple[Item, int]], Generic[Item]):
    """Samples for torch's DataLoader, Subset, random_split and ConcatDataset.

    data[number] is a tensor (or Events) and the number of the sample's class. `Samples.dataset` and
    `ImageSamples.dataset` make it.

    classes  names of the classes
    targets  the number of each sample's class, (N,) int64

    All random draws for a sample depend only on the seed, its number and the epoch, so they are the
    same for any number of workers and in any order.

        samples = dvskit.datasets.open_samples("digits")
        data = samples.dataset(dvskit.tensors.Counts(bins=20), size=(34, 34), seed=1)
        counts, label = data[0]  # (20, 2, 34, 34), 0
        loader = torch.utils.data.DataLoader(
            data, 8, shuffle=True, collate_fn=dvskit.datasets.collate_tensors
        )
        counts, labels = next(iter(loader))  # (20, 8, 2, 34, 34), (8,)
    """

    def __init__(
        self,
        samples: Samples | ImageSamples,
        make: Callable[[int, np.random.Generator], Item],
        seed: int,
    ) -> None:
        check_seed("seed", seed)
        self.samples, self.seed, self._make = samples, seed, make
        self.classes, self.targets = samples.classes, samples.labels
        # In shared memory: the processes of a DataLoader see a later change.
        self._epoch = _shared(torch.zeros((), dtype=torch.int64))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _shared(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from which other random draws follow; at first it is 0.

        Call it before each pass of a DataLoader; processes that it keeps see the change.
        """
        check_whole("epoch", epoch)
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.samples!r}>"

    def __getitem__(self, number: int) -> tuple[Item, int]:
        """Return the tensor and the class of a sample. Raises IndexError past the end.

        Other errors name the sample.
        """
        place = self.samples.place(number)
        rng = np.random.default_rng((self.seed, int(self._epoch), place))
        try:
            return self._make(place, rng), int(self.targets[place])
        except Exception as error:
            raise named(error, self.samples.rows[place]) from error


def _shared(tensor: Tensor) -> Tensor:
    """Return the same tensor, moved to shared memory."""
    return tensor.share_memory_()  # type: ignore[no-untyped-call, no-any-return]


@dataclass(frozen=True, slots=True)
class _EventItems:
    """Makes the events of a sample, or a representation of them.

    before  the first filter; `vary` draws another one after it
    """

    samples: Samples
    represent: Representation | Callable[[Events], Tensor] | None
    before: Chain
    vary: Varying | None
    start_us: int | None

    def __call__(self, number: int, rng: np.random.Generator) -> Any:
        """Return the tensor of a sample, or its events."""
        draws, start_us = self.samples.draws, self.start_us
        events = self.before(self.samples.events(number, rng if draws else None))
        if self.vary is not None:
            events = Chain(self.vary.draw(rng))(from_zero(events, start_us))
            start_us = 0
        if not isinstance(self.represent, Representation):
            return events if self.represent is None else self.represent(events)
        represent = self.represent
        if isinstance(represent, PointSet) and (draws or self.vary is not None):
            represent = represent.drawn(rng)
        return represent(events, start_us=start_us)


@dataclass(frozen=True, slots=True)
class _ImageItems:
    """Makes the spikes of an image."""

    samples: ImageSamples
    encode: Callable[[NDArray[np.uint8], np.random.Generator], Tensor]

    def __call__(self, number: int, rng: np.random.Generator) -> Tensor:
        """Return the tensor of an image."""
        return self.encode(self.samples.image(number), rng)


def from_zero(events: Events, start_us: int | None = None) -> Events:
    """Return events with times from `start_us`, or from the first event, on."""
    if not len(events):
        return events
    t = events.t - (events.t[0] if start_us is None else start_us)
    return Events.from_checked(t, events.x, events.y, events.p, events.sensor_size)


def collate_tensors(batch: Sequence[tuple[Any, Any]]) -> tuple[Tensor, Any]:
    """Return a batch of tensors, (T, B, ...), and their labels, (B,) int64.

        samples = dvskit.datasets.open_samples("digits")
        data = samples.dataset(dvskit.tensors.Counts(bin_us=10_000))  # 31 or more bins
        collate = dvskit.datasets.collate_tensors
        loader = torch.utils.data.DataLoader(data, 8, collate_fn=collate)
        counts, labels = next(iter(loader))  # (T, 8, 2, 34, 34) for the longest sample

    batch  (tensor, label) of each sample; tensors (T, ...) or arrays, as tonic's transforms return

    Tensors of fewer time steps are padded with zeros at the end, which are steps without events, up
    to the longest one. Raises ShapeError if the other dimensions or the dtypes differ.
    """
    tensors = [torch.as_tensor(tensor).to_dense() for tensor, _ in batch]
    kinds = {(tuple(tensor.shape[1:]), tensor.dtype) for tensor in tensors}
    if len(kinds) > 1 or not tensors[0].ndim:
        shown = " and ".join(sorted(f"(T, {str(shape)[1:]} {dtype}" for shape, dtype in kinds))
        raise ShapeError(f"a batch of {shown}; the samples must differ in T only: pass size=")
    return pad_sequence(tensors), default_collate([label for _, label in batch])


def collate_events(batch: Sequence[tuple[Events, Any]]) -> tuple[list[Events], Any]:
    """Return a list of the events of each sample, and their labels, (B,) int64.

    DataLoader(samples.dataset(), 32, collate_fn=collate_events)

        samples = dvskit.datasets.open_samples("digits")
        loader = torch.utils.data.DataLoader(
            samples.dataset(), 8, collate_fn=dvskit.datasets.collate_events
        )
        events, labels = next(iter(loader))  # a list of 8 Events, (8,)
    """
    return [events for events, _ in batch], default_collate([label for _, label in batch])
