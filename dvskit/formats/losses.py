"""Losses in reading a file: raised in strict mode, listed and counted in salvage mode."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, DvskitError, count_of

Lose = Callable[[int, int, str], None]  # takes offset, length and problem of a loss


class Loss(NamedTuple):
    """A stretch of a file without events: offset in bytes (-1: unknown), length, and reason.

    `Damage.losses` lists them.

        from pathlib import Path

        Path("short.dat").write_bytes(Path("recordings/b.dat").read_bytes()[:-3])
        recording = dvskit.open_events("short.dat", strict=False)
        events = recording.load()
        offset, length, problem = recording.damage.losses[0]    # length is 5
    """

    offset: int
    length: int
    problem: str


@dataclass(slots=True)
class Damage:
    """The losses of one pass over a file. The first `kept` ones are listed, all are counted.

    Those of a live source, which have no place, are in `tallies`: numbers by name and reason.

        from pathlib import Path

        Path("cut.dat").write_bytes(Path("recordings/b.dat").read_bytes()[:-3])
        recording = dvskit.open_events("cut.dat", strict=False)
        events = recording.load()
        str(recording.damage)    # '5 bytes lost in 1 place, ...'
    """

    kept: int = 1000
    losses: list[Loss] = field(default_factory=list)
    count: int = 0
    lost_bytes: int = 0
    tallies: dict[tuple[str, str], int] = field(default_factory=dict)

    def tally(self, number: int, name: str, why: str) -> None:
        """Count a number of lost things: 3, "packet" and "lost" become "3 packets lost"."""
        if number:
            self.tallies[name, why] = self.tallies.get((name, why), 0) + number

    def add(self, offset: int, length: int, problem: str) -> None:
        """Count a loss of `length` bytes at byte `offset`."""
        self.count += 1
        self.lost_bytes += length
        if len(self.losses) < self.kept:
            self.losses.append(Loss(offset, length, problem))

    def __bool__(self) -> bool:
        return self.count > 0 or bool(self.tallies)

    def __str__(self) -> str:
        if not self:
            return "no damage"
        if not self.losses:
            return self.extent
        first = self.losses[0]
        place = f" at byte {first.offset}" if first.offset >= 0 else ""
        return f"{self.extent}, the first{place}: {first.problem}"

    @property
    def extent(self) -> str:
        """The amount of the loss, in words."""
        counts = self.tallies.items()
        said = [f"{count_of(number, name)} {why}" for (name, why), number in counts]
        if self.count or not said:
            said.append(self._places)
        return "; ".join(said)

    @property
    def _places(self) -> str:
        places = count_of(self.count, "place")
        if not self.lost_bytes:
            return f"damage in {places}, no bytes lost"
        return f"{count_of(self.lost_bytes, 'byte')} lost in {places}"


class Place(NamedTuple):
    """The place of a loss: a file, the byte in it (-1: unknown), and words ahead of the problem."""

    file: Path
    offset: int
    prefix: str = ""


class Losses:
    """Raises DamagedFileError in strict mode, adds to `damage` in salvage mode.

    sortable   whether events out of time order can be sorted
    any_order  whether they will be sorted, so time that runs back is no loss
    locate     returns the place of an offset; None: the byte of the file at `path`
    """

    def __init__(
        self,
        path: Path,
        *,
        strict: bool,
        damage: Damage | None = None,
        sortable: bool = False,
        any_order: bool = False,
        locate: Callable[[int], Place] | None = None,
    ) -> None:
        self.path, self.strict = path, strict
        self._locate = locate or partial(Place, path)
        self.sortable, self.any_order = sortable, any_order
        self.damage = Damage() if damage is None else damage

    def at(self, offset_of: Callable[[int], int]) -> Losses:
        """Return these losses for a part with bytes of its own; `offset_of` maps them to here."""
        part = copy(self)
        part._locate = lambda offset: self._locate(offset_of(offset))
        return part

    def lose(self, offset: int, length: int, problem: str) -> None:
        """Count `length` bytes at byte `offset`; 0 if the data there is used after all."""
        if self.strict:
            raise self.error(offset, problem)
        file, at, prefix = self._locate(offset)
        named = f"{file.name}: " if file != self.path else ""
        self.damage.add(at, length, f"{named}{prefix}{problem}")

    def error(self, offset: int, problem: str) -> DamagedFileError:
        """Return the error of strict mode for a loss at byte `offset`."""
        file, at, prefix = self._locate(offset)
        return DamagedFileError(file, at, prefix + problem)

    def lose_all(
        self, offsets: NDArray[Any], lengths: NDArray[Any], problem: Callable[[int], str]
    ) -> None:
        """Call `lose` for many losses: `problem(i)` is the problem of number i.

        Those beyond the listed ones are only counted: there may be millions.
        """
        damage = self.damage
        listed = 1 if self.strict else max(0, damage.kept - len(damage.losses))
        for number in range(min(listed, len(offsets))):
            self.lose(int(offsets[number]), int(lengths[number]), problem(number))
        damage.count += len(offsets[listed:])
        damage.lost_bytes += int(lengths[listed:].sum())


class FormatOrderError(DamagedFileError):
    """Blocks of a recording that run back in time: an error of the reader or of the file."""

    def __init__(self, path: Path, last: int, start: int) -> None:
        DvskitError.__init__(
            self, f"{path}: time runs back from {last} to {start} us between blocks"
        )
        self.path, self.offset, self.problem = str(path), -1, "time runs back"
