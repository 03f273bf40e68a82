"""What commands that judge recordings and images share: how they are opened, and what is said."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from dvskit.cli import _console
from dvskit.cli._matrix import matrix_lines
from dvskit.cli._options import check_reading, open_file
from dvskit.errors import ConfigError, FittedWarning
from dvskit.formats import Recording

if TYPE_CHECKING:
    from dvskit.datasets import FileSamples
    from dvskit.training import Result
    from dvskit.training.judging import Judging


class PartName(Enum):
    """Which of the recordings of a folder a model is judged by."""

    held_out = "held-out"
    all = "all"
    train = "train"
    validation = "validation"
    test = "test"


SplitOption = Annotated[
    PartName,
    typer.Option(
        metavar="PART",
        help="Which recordings to judge: all, train, validation or test of its run, or held-out, "
        "those that the model was neither trained on nor chosen by; of MNIST, its test images.",
    ),
]


@contextmanager
def fits_noted() -> Iterator[None]:
    """Say how recordings of another size were fitted: in a note, and those alike in another."""
    alike: dict[str, list[FittedWarning]] = defaultdict(list)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not isinstance(message, FittedWarning):
            before(message, category, filename, lineno, file, line)
            return
        alike[message.how].append(message)
        if len(alike[message.how]) == 1:
            _console.note(str(message))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", FittedWarning)
            before, warnings.showwarning = warnings.showwarning, show
            yield
    finally:
        for how, (_, *more) in alike.items():
            if more:
                what = f"{len(more):,} more recording{'s' if len(more) > 1 else ''}"
                dropped = sum(each.dropped for each in more)
                total = sum(each.total for each in more)
                _console.note(str(FittedWarning(what, how, dropped, total)))


@dataclass(slots=True)
class Reader:
    """Opens recordings as --from, --size and --salvage say, and says what they have lost.

    Raises ConfigError, ahead of opening any, for wrong values of the options.
    """

    from_: str | None = None
    size: str | None = None
    salvage: bool = False
    opened: list[Recording] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_reading(self.from_, self.size)

    def __call__(self, file: Path) -> Recording:
        """Open a recording."""
        recording = open_file(file, self.from_, self.size, self.salvage)
        if self.salvage:  # else damage is an error
            self.opened.append(recording)
        return recording

    def refuse_for_images(self, path: Path) -> None:
        """Raise ConfigError where an option was given that says how recordings are opened."""
        if self.from_ is not None or self.size is not None or self.salvage:
            raise ConfigError(
                f"{path}: still images, for which --from, --size and --salvage mean nothing; "
                "leave them out"
            )

    def say(self) -> None:
        """Say what the recordings that were opened since the last time have lost."""
        for recording in self.opened:
            if recording.damage:
                _console.note(f"{recording.path}: {recording.damage}")
        self.opened.clear()


def say_passed_over(files: list[Path]) -> None:
    """Say which files are no recordings."""
    if files:
        others = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
        _console.note(f"{files[0]}{others}: passed over, for no recording")


@dataclass(frozen=True, slots=True)
class Spikes:
    """What makes spikes of still images, as --encoder and --seed say."""

    encoder: str | None = None
    seed: int | None = None


def score_lines(result: Result) -> list[str]:
    """Return how often a model is right, with its error, and its confusion matrix, a line each."""
    return [f"accuracy {result}", *matrix_lines(result)]


@dataclass(frozen=True, slots=True)
class Folder:
    """A model and what of a folder it is judged by; `files` are all recordings of the folder."""

    judging: Judging
    files: FileSamples | None = None

    def judge(self) -> Result:
        """Judge the model, and say all there is to say of it."""
        from dvskit.training.evaluation import judge_opened

        with fits_noted():
            result = judge_opened(self.judging)
        if self.files is not None:
            for number, damage in sorted(self.files.damage.items()):
                _console.note(f"{self.files.rows[number].where}: {damage}")
        for text in result.notes:
            _console.note(text)
        return result


def judge_folder(model: str, data: Path, split: PartName, reader: Reader, spikes: Spikes) -> Result:
    """Judge a model by a folder of recordings or images, and say all there is to say of them."""
    return open_folder(model, data, split, reader, spikes).judge()


def open_folder(model: str, data: Path, split: PartName, reader: Reader, spikes: Spikes) -> Folder:
    """Open a folder of recordings or images to judge a model by; say what is left out of it."""
    from dvskit.datasets import holds_stills
    from dvskit.training import load_model
    from dvskit.training.judging import open_for, open_judging

    network = load_model(model)
    if holds_stills(data):
        reader.refuse_for_images(data)
    elif spikes == Spikes():
        size = check_reading(reader.from_, reader.size) or network.emulation.size
        samples = open_for(network, data, size=size, format=reader.from_, strict=not reader.salvage)
        for file, why in samples.left_out:
            _console.note(f"{file}: left out: {why}")
        say_passed_over(list(samples.others))
        return Folder(open_judging(network, samples, split=split.value), samples)
    return Folder(
        open_judging(network, data, split=split.value, encoder=spikes.encoder, seed=spikes.seed)
    )
