"""Samples: what each is, known before it is read, and its events or its image.

Folders of recordings or videos, public data sets and what dvskit draws are all `Samples`; who reads
them knows no other. Stills are the same for images: an encoder makes spikes of them, or they are
moved before an emulated sensor, which makes `Samples` of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, DvskitError, FormatError, did_you_mean, one_line
from dvskit.events import Events

Part = Literal["train", "validation", "test"]
_REST = "*"  # of `called`: all classes that are not named


class Sample(NamedTuple):
    """What is known of a sample before it is read.

    name   what it is called in its set, the names of folders set off by "/"; with the span it tells
           a sample from the others, and it does not depend on where the set lies
    label  the name of its class
    group  what it has in common with others, such as its person; a group is never split; None where
           that is not known
    part   what the data set itself keeps it for; None where it does not say
    path   the file that it is in; None for what is drawn
    span   start and stop in microseconds, half-open; None is the whole recording
    """

    name: str
    label: str
    group: str | None = None
    part: Part | None = None
    path: Path | None = None
    span: tuple[int, int] | None = None

    @property
    def where(self) -> str:
        """Return what errors call it: its file, else its name."""
        return str(self.path) if self.path is not None else self.name

    @property
    def file(self) -> Path:
        """Return its file. Raises FormatError for what is drawn."""
        if self.path is None:
            raise FormatError(f"{self.name}: is drawn, no file; give one that is on disk")
        return self.path


def named(error: Exception, sample: Sample) -> Exception:
    """Return an error that says which sample it is of.

    It begins with the sample's file; a note says it where an error is not dvskit's, or is made of
    more than its text, as DamagedFileError is.
    """
    if sample.where in str(error):
        return error
    plain = type(error).__init__ in (Exception.__init__, ValueError.__init__)
    if isinstance(error, DvskitError) and plain:
        return type(error)(f"{sample.where}: {one_line(error)}")
    error.add_note(f"while the sample {sample.where} was made ready")
    return error


def class_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the names of the classes, sorted."""
    return tuple(sorted({sample.label for sample in samples}))


def class_numbers(samples: Iterable[Sample], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each sample's class (N,) int64, its place among `classes`.

    Raises FormatError for a label that is not among them.
    """
    number = {name: place for place, name in enumerate(classes)}
    given = list(samples)
    for sample in given:
        if sample.label not in number:
            raise FormatError(
                f"{sample.where}: class {sample.label!r} is not among {', '.join(classes)}"
            )
    return np.array([number[sample.label] for sample in given], np.int64)


Images = NDArray[np.uint8] | list[NDArray[np.uint8]]
"""Gray images: (N, height, width) uint8, or a list of (height, width) of any sizes."""


class _Listed(ABC):
    """Rows of a set and the names of its classes."""

    def __init__(self, rows: Iterable[Sample], classes: Sequence[str] | None = None) -> None:
        self.rows: tuple[Sample, ...] = tuple(rows)
        self.classes: tuple[str, ...] = (
            class_names(self.rows) if classes is None else tuple(classes)
        )
        self.labels: NDArray[np.int64] = class_numbers(self.rows, self.classes)

    def __len__(self) -> int:
        return len(self.rows)

    @abstractmethod
    def fingerprint(self, number: int) -> str:
        """Return what tells the content of a sample from that of all others.

        It follows from the bytes of its file and from all parameters that its events or image
        depend on, so that what is kept on disk under it is never taken for another.
        """


class Samples(_Listed):
    """Labelled events.

    rows     what is known of each sample before it is read
    classes  names of the classes, sorted unless given
    labels   the number of each sample's class, (N,) int64
    draws    whether `events` draws anything from its generator; a set that never does says False,
             and what is made of its samples can be kept

    Reading is safe on several threads, and a sample is the same whenever and wherever it is read.
    """

    draws = True

    @abstractmethod
    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, on the sensor that saw it; time starts where it does.

        rng  draws what is left to chance, such as the path before an emulated sensor; without it
             the sample's own draw is returned, always the same

        Raises FormatError (or what reading raises) with the sample's file.
        """

    def choose(self, numbers: Sequence[int] | NDArray[np.int64]) -> Samples:
        """Return some of the samples, in the order given, of the same classes."""
        return _ChosenSamples(self, numbers, self.classes)

    def only(self, rows: Iterable[Sample]) -> Samples:
        """Return the samples of some of `rows`, in the order given, of the same classes."""
        return self.choose(_numbers_of(rows, self.rows))

    def among(self, classes: Sequence[str]) -> Samples:
        """Return the samples, their labels being the places of their classes among `classes`.

        Raises FormatError for a class that is not among them.
        """
        return _ChosenSamples(self, range(len(self)), classes)

    def called(self, names: Mapping[str, str]) -> Samples:
        """Return the samples, their classes being called otherwise; "*" names all the others.

        Raises ConfigError for a class that is not there.
        """
        rows = _renamed(self, names)
        return _ChosenSamples(self, range(len(self)), class_names(rows), rows)

    def settled(self) -> Samples:
        """Return the samples without chance: `events` gives the own draw of each, always."""
        return _SettledSamples(self, range(len(self)), self.classes) if self.draws else self


class Stills(_Listed):
    """Labelled images; rows, classes and labels as in `Samples`."""

    @abstractmethod
    def image(self, number: int) -> NDArray[np.uint8]:
        """Return the image of a sample, (height, width) uint8, gray."""

    def images(self, numbers: Sequence[int] | NDArray[np.int64]) -> Images:
        """Return the images of some samples; where all are of one size, that may be one array."""
        return [self.image(int(number)) for number in numbers]

    def choose(self, numbers: Sequence[int] | NDArray[np.int64]) -> Stills:
        """Return some of the samples, in the order given, of the same classes."""
        return _ChosenStills(self, numbers, self.classes)

    def only(self, rows: Iterable[Sample]) -> Stills:
        """Return the samples of some of `rows`, in the order given, of the same classes."""
        return self.choose(_numbers_of(rows, self.rows))

    def among(self, classes: Sequence[str]) -> Stills:
        """Return the samples, their labels being the places of their classes among `classes`.

        Raises FormatError for a class that is not among them.
        """
        return _ChosenStills(self, range(len(self)), classes)

    def called(self, names: Mapping[str, str]) -> Stills:
        """Return the samples, their classes being called otherwise, as `Samples.called` does."""
        rows = _renamed(self, names)
        return _ChosenStills(self, range(len(self)), class_names(rows), rows)


def _numbers_of(chosen: Iterable[Sample], rows: Sequence[Sample]) -> list[int]:
    number_of = {row: number for number, row in enumerate(rows)}
    return [number_of[row] for row in chosen]


def _renamed(samples: _Listed, names: Mapping[str, str]) -> list[Sample]:
    for name in names:
        if name != _REST and name not in samples.classes:
            raise ConfigError(
                f"no class {name!r} to be called {names[name]!r}; "
                f"{did_you_mean(name, samples.classes)}"
            )
    return [
        row._replace(label=names.get(row.label, names.get(_REST, row.label)))
        for row in samples.rows
    ]


class _ChosenSamples(Samples):
    def __init__(
        self,
        whole: Samples,
        numbers: Sequence[int] | NDArray[np.int64],
        classes: Sequence[str],
        rows: Sequence[Sample] | None = None,
    ) -> None:
        self._whole, self._numbers = whole, [int(number) for number in numbers]
        rows = whole.rows if rows is None else rows
        super().__init__((rows[number] for number in self._numbers), classes)
        self.draws = whole.draws

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        return self._whole.events(self._numbers[number], rng)

    def fingerprint(self, number: int) -> str:
        return self._whole.fingerprint(self._numbers[number])


class _SettledSamples(_ChosenSamples):
    def __init__(self, whole: Samples, numbers: Sequence[int], classes: Sequence[str]) -> None:
        super().__init__(whole, numbers, classes)
        self.draws = False

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        return super().events(number)


class _ChosenStills(Stills):
    def __init__(
        self,
        whole: Stills,
        numbers: Sequence[int] | NDArray[np.int64],
        classes: Sequence[str],
        rows: Sequence[Sample] | None = None,
    ) -> None:
        self._whole, self._numbers = whole, [int(number) for number in numbers]
        rows = whole.rows if rows is None else rows
        super().__init__((rows[number] for number in self._numbers), classes)

    def image(self, number: int) -> NDArray[np.uint8]:
        return self._whole.image(self._numbers[number])

    def images(self, numbers: Sequence[int] | NDArray[np.int64]) -> Images:
        return self._whole.images([self._numbers[number] for number in numbers])

    def fingerprint(self, number: int) -> str:
        return self._whole.fingerprint(self._numbers[number])
