"""The properties of a sample that are known before it is read, and the names of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DvskitError, FormatError, one_line

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
    def file(self) -> Path:
        """Return its file. Raises FormatError for drawn samples."""
        if self.path is None:
            raise FormatError(f"{self.name}: is drawn and has no file; give one from a file")
        return self.path


def named(error: Exception, sample: Sample) -> Exception:
    """Return an error that names its sample.

    Its message begins with the sample's file. A note names the file if the error is not dvskit's,
    or has more than a text, like DamagedFileError.
    """
    if sample.where in str(error):
        return error
    plain = type(error).__init__ in (Exception.__init__, ValueError.__init__)
    if isinstance(error, DvskitError) and plain:
        return type(error)(f"{sample.where}: {one_line(error)}")
    error.add_note(f"while reading the sample {sample.where}")
    return error


def class_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the names of the classes, sorted.

    They are the labels of the samples, each once.

        rows = dvskit.datasets.open_samples("gestures").rows
        dvskit.datasets.class_names(rows)  # ("arm_roll", "hand_clap", "right_hand_wave")
    """
    return tuple(sorted({sample.label for sample in samples}))


def class_numbers(samples: Iterable[Sample], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each sample's class (N,) int64, its index in `classes`.

    Raises FormatError for a label that is not in `classes`.
    """
    number = {name: place for place, name in enumerate(classes)}
    given = list(samples)
    for sample in given:
        if sample.label not in number:
            raise FormatError(
                f"{sample.where}: class {sample.label!r} is not among {', '.join(classes)}"
            )
    return np.array([number[sample.label] for sample in given], np.int64)
