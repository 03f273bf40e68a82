"""Samples in files: recordings, and clips that are emulated when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dvskit._threads import one_thread
from dvskit.datasets.checking import LeftOut, failures
from dvskit.datasets.kinds import Kind, Reading, named_kind
from dvskit.datasets.samples import Sample, Samples, named
from dvskit.errors import DvskitError, FormatError, one_line
from dvskit.events import Events
from dvskit.formats.content import digest_of, own_seed

_SEEDS = 1 << 63


class FileSamples(Samples):
    """Samples of files of any kind, each read, or emulated, when its events are asked for.

    rows, classes, labels  as in `Samples`
    notes     what was taken for granted in finding them, a line each
    others    files among them that are no samples, such as a read-me
    left_out  what is damaged, missing or empty, with strict=False, which raises otherwise
    kinds     the name of each sample's kind, such as "video"
    damage    with strict=False, what the samples that were read so far have lost, by their number

    All that is done for a sample is done by the thread that asks for it, and the loops in it do not
    hold Python's lock: ask from as many threads as there are processors. Raises FormatError for a
    row whose file no kind reads.
    """

    def __init__(
        self,
        rows: Iterable[Sample],
        reading: Reading | None = None,
        *,
        classes: Sequence[str] | None = None,
        notes: Iterable[str] = (),
        others: Iterable[Path] = (),
        left_out: Iterable[LeftOut] = (),
    ) -> None:
        super().__init__(rows, classes)
        self.reading = Reading() if reading is None else reading
        self.notes, self.others, self.left_out = tuple(notes), tuple(others), tuple(left_out)
        self.damage: dict[int, str] = {}
        kinds = {row.file: self.reading.kind(row.file).name for row in self.rows}
        # Names, not kinds: other processes get the samples too.
        self.kinds = tuple(kinds[row.file] for row in self.rows)
        drawn = any(named_kind(name).drawn for name in set(self.kinds))
        self.draws = drawn and self.reading.emulation.redraw

    def _kind(self, number: int) -> Kind:
        return named_kind(self.kinds[number])

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample; with `redraw`, `rng` draws the noise of a clip."""
        row = self.rows[number]
        try:
            seed = int(rng.integers(_SEEDS)) if rng and self.draws else self._seed(number)
            with one_thread():
                read = self._kind(number).read(row, self.reading, seed)
        except DvskitError as error:
            raise named(error, row) from error
        except OSError as error:
            why = error.strerror or error
            raise FormatError(f"{row.where}: cannot be read: {why}") from error
        if read.damage:
            self.damage[number] = read.damage
        return read.events

    def check(self) -> list[LeftOut]:
        """Return the files that cannot be opened, and why: header and first frame are looked at.

        A video takes about 10 ms, so this is quick where reading all is not.
        """
        wrong = failures((row.file for row in self.rows), self.reading, opened=True)
        return [LeftOut(path, one_line(error)) for path, error in wrong.items()]

    def fingerprint(self, number: int) -> str:
        """Return a digest of the file's bytes, the span and all parameters."""
        row, kind = self.rows[number], self._kind(number)
        return digest_of((kind.content(row.file), str(row.span), kind.identity(self.reading)))

    def _seed(self, number: int) -> int:
        row, kind = self.rows[number], self._kind(number)
        if not kind.drawn:
            return 0
        return own_seed(self.reading.emulation.seed, kind.content(row.file), row.span)
