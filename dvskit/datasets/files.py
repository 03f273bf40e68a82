"""Samples in files: recordings, and clips that are emulated on reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit._threads import one_thread, thread_count
from dvskit.datasets.kinds import KINDS, RECORDINGS, SampleKind, SampleReading
from dvskit.datasets.sample import Sample, named
from dvskit.datasets.samples import Samples
from dvskit.errors import DvskitError, FormatError, one_line
from dvskit.events import Events
from dvskit.formats.content import digest_of
from dvskit.formats.small_files import load_small

_HEAD_BYTES = 64
_POINTER = b"version https://git-lfs"
_PAGES = (b"<!doctype html", b"<html")


class LeftOut(NamedTuple):
    """A file or folder that could have been a sample but is not, with the reason in one line.

    `open_samples` with strict=False lists them in `left_out`.

        import shutil
        from pathlib import Path

        shutil.copytree("digits/0", "damaged/0")
        Path("damaged/0/broken.bin").write_bytes(b"")
        samples = dvskit.datasets.open_samples("damaged", strict=False)
        samples.left_out[0].path, samples.left_out[0].why  # damaged/0/broken.bin, "... is empty"
    """

    path: Path
    why: str


@dataclass(slots=True)
class Found:
    """The samples found in a folder or a list.

    rows      the samples
    others    files that are not samples, such as a read-me
    left_out  missing, empty or damaged files
    notes     assumptions, one line each
    """

    rows: list[Sample] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_head(path: Path) -> None:
    """Raise FormatError for a file that is empty, unreadable, or clearly without data."""
    if path.is_symlink() and not path.exists():
        raise FormatError(f"{path}: a link to {path.readlink()}, which is missing; remove it")
    if path.is_dir():
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read: {error.strerror or error}; change its permissions, or "
            "remove it"
        ) from error
    if not head:
        raise FormatError(f"{path}: is empty (0 bytes); copy it again, or remove it")
    if head.startswith(_POINTER):
        raise FormatError(f"{path}: is a pointer of Git LFS, not the file: fetch it (git lfs pull)")
    if head.lstrip().lower().startswith(_PAGES):
        raise FormatError(f"{path}: is a web page, not the file: download it again")


def failures(paths: Iterable[Path], how: SampleReading, *, opened: bool) -> dict[Path, DvskitError]:
    """Return the error of each file that has one, checked on all threads.

    opened  open each file and read header and first frame; otherwise only its first bytes
    """
    unique = list(dict.fromkeys(paths))

    def check(path: Path) -> DvskitError | None:
        try:
            check_head(path)
            if opened:
                with one_thread():
                    how.kind(path).check(path, how)
        except DvskitError as error:
            return error
        except OSError as error:
            return FormatError(f"{path}: cannot be read: {one_line(error)}")
        return None

    if not opened:
        found = [check(path) for path in unique]
    else:
        with ThreadPoolExecutor(thread_count()) as pool:
            found = list(pool.map(check, unique))
    return {path: error for path, error in zip(unique, found, strict=True) if error is not None}


_SEEDS = 1 << 63


class FileSamples(Samples):
    """Samples in files of any kind, each read or emulated when its events are requested.

    rows, classes, labels  as in `Samples`
    notes     assumptions made in finding them, one line each
    others    files among them that are not samples, such as a read-me
    left_out  damaged, missing or empty files, with strict=False; otherwise these raise
    kinds     the name of each sample's kind, such as "video"
    damage    with strict=False, the losses in samples read so far, by sample number

    A clip with no loss but its last frame is used without it, with a LastFrameWarning.

    The calling thread does all work for a sample, and the loops in it release Python's lock: use
    as many threads as there are processors. Raises FormatError for a row with a file of unknown
    kind.

        samples = dvskit.datasets.open_samples("digits")  # a FileSamples
        samples.rows[0].name, samples.rows[0].label  # ("0/00001.bin", "0")
        events, label = samples[0]
        zeros = samples.choose(samples.labels == 0)  # 20 samples
    """

    def __init__(
        self,
        rows: Iterable[Sample],
        reading: SampleReading | None = None,
        *,
        classes: Sequence[str] | None = None,
        notes: Iterable[str] = (),
        others: Iterable[Path] = (),
        left_out: Iterable[LeftOut] = (),
    ) -> None:
        super().__init__(rows, classes)
        self.reading = SampleReading() if reading is None else reading
        self.notes, self.others, self.left_out = tuple(notes), tuple(others), tuple(left_out)
        self.damage: dict[int, str] = {}
        kinds = {row.file: self.reading.kind(row.file).name.value for row in self.rows}
        # Names, not kinds: samples are also sent to other processes.
        self.kinds = tuple(kinds[row.file] for row in self.rows)
        drawn = any(KINDS[name].drawn for name in set(self.kinds))
        self.draws = drawn and self.reading.emulation.redraw

    def _kind(self, number: int) -> SampleKind:
        return KINDS[self.kinds[number]]

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample; with `redraw`, `rng` draws the noise of a clip."""
        row = self.rows[number]
        try:
            kind, how = self._kind(number), self.reading
            if rng and self.draws:
                seed = int(rng.integers(_SEEDS))
            else:
                seed = kind.seed(row.file, how.emulation, row.span)
            with one_thread():
                read = kind.read(row, how, seed)
        except DvskitError as error:
            raise named(error, row) from error
        except OSError as error:
            why = error.strerror or error
            raise FormatError(f"{row.where}: cannot be read: {why}") from error
        if read.damage:
            self.damage[number] = read.damage
        return read.events

    def events_together(self, numbers: Sequence[int]) -> list[Events | None]:
        """Return the events of small recordings, decoded in one call; None for other samples."""
        found: list[Events | None] = [None] * len(numbers)
        if not self.reading.strict or self.reading.format is not None:
            return found
        taken = [
            place for place, number in enumerate(numbers)
            if self.rows[number].span is None and self._kind(number) is RECORDINGS
        ]  # fmt: skip
        loaded = load_small([self.rows[numbers[place]].file for place in taken])
        for place, events in zip(taken, loaded, strict=True):
            found[place] = events
        return found

    def check(self) -> list[LeftOut]:
        """Return the files that cannot be opened, with reasons; reads header and first frame.

        A video takes about 10 ms, so this is much faster than reading everything.
        """
        wrong = failures((row.file for row in self.rows), self.reading, opened=True)
        return [LeftOut(path, one_line(error)) for path, error in wrong.items()]

    def fingerprint(self, number: int) -> str:
        """Return a digest of the file's bytes, the span and all parameters."""
        row, kind = self.rows[number], self._kind(number)
        return digest_of((kind.content(row.file), str(row.span), kind.identity(self.reading)))
