"""The interface of reading in format modules: a Recording."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from dvskit.errors import FormatError
from dvskit.events import Events, ReadableSource, Size
from dvskit.events.even_blocks import even_blocks
from dvskit.events.sources import blocks_between, part_words
from dvskit.events.window import check_window
from dvskit.formats.calibration import camera_beside
from dvskit.formats.labels import labels_beside
from dvskit.formats.losses import Damage, FormatOrderError, Losses
from dvskit.formats.own_code import named_blocks
from dvskit.formats.storage import ReusedStorage, Storage, WholeStorage
from dvskit.streams import Frame, Imu, Intrinsics, Labels, Triggers

SizeOrigin = Literal["argument", "header", "camera", "format", "frames", "data"]

BLOCK_EVENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of reading: a `size` that overrides the file's, `strict` or salvage.

    `variant` is the part after the format's name and a colon, such as columns or a chip.
    `any_order` reads a `sortable` file whose events are out of time order, and sorts them.

        options = dvskit.formats.ReadOptions(size=dvskit.Size(640, 480), strict=False)
        with open("events.raw", "rb", buffering=0) as raw:
            stream = dvskit.formats.InputStream(raw, "events.raw")
            recording = dvskit.formats.open_stream(stream, None, options)
            recording.size, recording.size_origin    # (Size(width=640, height=480), 'argument')
    """

    size: Size | None = None
    strict: bool = True
    variant: str | None = None
    any_order: bool = False


class Recording(ReadableSource, ABC):
    """A file of events: a Source that starts from the beginning at each iteration.

    size         the sensor's size, and `size_origin`, its source
    assumptions  made in reading (chip, y origin, inferred size), as text
    damage       losses of the latest pass; always empty in strict mode, which raises instead
    live         whether events arrive while they are read: they are then read once, and other data
                 (triggers) is known after them
    along        whether a pass gives triggers (`new_triggers`) and counts (`passed_streams`) too
    late         events of the latest pass that were before earlier ones in time, if it sorts

        from pathlib import Path

        class Rows(dvskit.formats.Recording):
            format = "rows"

            def _blocks(self, damage, storage):
                t, x, y, p = np.fromfile(self.path, "<i8").reshape(-1, 4).T
                yield dvskit.Events(t=t, x=x, y=y, p=p, size=self.size)

        np.array([[0, 3, 2, 1], [40, 7, 5, 0]], "<i8").tofile("two.rows")
        options = dvskit.formats.ReadOptions()
        rows = Rows(Path("two.rows"), options, dvskit.Size(8, 6), "argument")
        rows.load().t    # [0, 40]
    """

    format: str
    live = False
    along = False
    sortable = False  # whether events out of time order can be sorted
    white: int | None = None  # the value of white in frames, if not that of their type
    _mapped: os.stat_result | None = None  # of a mapped file, when it was mapped

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, size_origin: SizeOrigin
    ) -> None:
        self.path = path
        self.strict = options.strict
        self._any_order, self.late = options.any_order, 0
        self.size = size
        self.size_origin: SizeOrigin = size_origin
        self.assumptions: list[str] = []
        self.damage = Damage()
        if size_origin == "data":
            self.assumptions.append(
                f"no sensor size in the file: {size} is the smallest that holds its events"
            )

    def __iter__(self) -> Iterator[Events]:
        return self._read(Storage())

    def blocks(
        self,
        *,
        count: int | None = None,
        duration_us: int | None = None,
        reuse: bool = False,
    ) -> Iterator[Events]:
        """Yield the events in blocks of `count` events or of `duration_us` microseconds each.

        By default blocks have the size of fastest decoding. Time spans begin at the first event;
        empty ones are left out. `reuse` decodes into the same arrays each time, which is faster: a
        block is valid until the next one is requested. Raises ConfigError for both, and below 1.
        """
        blocks = self._read(ReusedStorage() if reuse else Storage())
        return even_blocks(blocks, count=count, duration_us=duration_us)

    def between(self, start_us: int | None = None, stop_us: int | None = None) -> RecordingPart:
        """Return the part of the recording with start_us <= t < stop_us, a Source itself.

        None leaves that side open. If the format allows, earlier data is not read, and damage there
        not detected. Gives a UnitWarning if microseconds look like seconds.
        """
        return RecordingPart(self, *check_window(start_us, stop_us))

    def load(self) -> Events:
        """Return all events, decoded directly into the result."""
        storage = WholeStorage(self._room())
        for block in self._read(storage):
            storage.keep(block)
        return storage.events(self.size)

    def _room(self) -> int:
        # If events take fewer than 2 bytes, or the length is not known, columns grow.
        try:
            status = self.path.stat()
        except OSError:
            return BLOCK_EVENTS
        return status.st_size // 2 + 1024 if stat.S_ISREG(status.st_mode) else BLOCK_EVENTS

    def _read(self, storage: Storage) -> Iterator[Events]:
        """Yield the blocks of one pass; `damage` is then that of this pass."""
        self.damage = Damage()
        yield from self._ordered(self.damage, storage)

    def _losses(self, damage: Damage | None = None) -> Losses:
        """Return the handler of errors: it raises, or adds to `damage` in salvage mode."""
        return Losses(
            self.path,
            strict=self.strict,
            damage=damage,
            sortable=self.sortable,
            any_order=self._any_order,
        )

    def _ordered(
        self, damage: Damage, storage: Storage, start_us: int | None = None
    ) -> Iterator[Events]:
        """Yield nonempty blocks in time order, from any place before `start_us` on."""
        storage = self._held_storage(storage)
        if self._any_order:
            read = partial(self._sorted, damage)
        elif start_us is None:
            read = partial(self._blocks, damage, storage)
        else:
            read = partial(self._blocks_from, start_us, damage, storage)
        last: int | None = None
        self._check_map()
        for block in named_blocks(self, read):
            if not len(block):
                continue
            if last is not None and block.t[0] < last:
                raise FormatOrderError(self.path, last, int(block.t[0]))
            last = int(block.t[-1])
            yield block
            self._check_map()

    def _held_storage(self, storage: Storage) -> Storage:
        """Return a storage whose blocks stay valid in salvage, which holds them back."""
        return storage if self.strict else Storage()

    def _note_map(self) -> None:
        """Note the length of a file that is mapped now."""
        self._mapped = self.path.stat()

    def _check_map(self) -> None:
        """Raise FormatError if a mapped file has become shorter.

        Reading the pages that it had would end the process (SIGBUS).
        """
        if self._mapped is None:
            return
        with suppress(OSError):  # deleted: its pages stay
            now = self.path.stat()
            if now.st_ino == self._mapped.st_ino and now.st_size < self._mapped.st_size:
                raise FormatError(f"{self.path}: became shorter while it was read; open it again")

    def _sorted(self, damage: Damage) -> Iterator[Events]:
        """Yield all events, sorted by time; equal times keep their order."""
        storage = WholeStorage(self._room())
        blocks = self._blocks(damage, self._held_storage(storage))
        events, self.late = storage.sorted_events(blocks, self.size)
        note = f"{self.late:,} of its events stood behind later ones; all were sorted by time"
        if self.late and note not in self.assumptions:
            self.assumptions.append(note)
        for first in range(0, len(events), BLOCK_EVENTS):
            yield events[first : first + BLOCK_EVENTS]

    @abstractmethod
    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        """Yield the events from the start of the file, in time order.

        In strict mode the first invalid unit raises DamagedFileError; in salvage mode invalid ones
        are added to `damage`. Blocks may be decoded into columns of `storage`.
        """

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        """Yield the events from any place before the first with t >= start_us on."""
        return self._blocks(damage, storage)

    def triggers(self) -> Triggers:
        """Return all external triggers; none if the format or the file has none."""
        return Triggers.empty()

    def new_triggers(self) -> Triggers:
        """Return the triggers that the latest pass has met since the last call."""
        return Triggers.empty()

    def passed_streams(self) -> Mapping[str, int]:
        """Return the result of `other_streams` up to where the latest pass is."""
        return {}

    def imu(self) -> Imu:
        """Return all samples of the inertial measurement unit; none if there are none."""
        return Imu.empty()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in time order, one at a time; none if there are none."""
        return iter(())

    def intrinsics(self) -> Intrinsics | None:
        """Return the camera's calibration, of the file or in `calib.txt` beside it; or None.

        Raises FormatError if that file is no calibration.
        """
        return None if self.live else camera_beside(self.path)

    def labels(self) -> Labels:
        """Return the labels in `<name>_labels.csv` beside the file; none without it.

        Raises FormatError if that file is not a table of labels.
        """
        return labels_beside(self.path)

    def header(self) -> Mapping[str, str]:
        """Return the file's own description as text."""
        return {}

    def other_streams(self) -> Mapping[str, int]:
        """Return other data of the file, besides events and triggers: names and counts."""
        return {}

    def about(self) -> list[tuple[str, str]]:
        """Return the file and its format."""
        return [("file", str(self.path)), ("format", self.format)]

    def __repr__(self) -> str:
        return f"<{self.format} recording {self.path} {self.size} (from {self.size_origin})>"


class RecordingPart(ReadableSource):
    """The part of a recording with start_us <= t < stop_us; `damage` is that of the latest pass.

    It is a Source; `Recording.between` makes it. Triggers, IMU samples, frames and labels are those
    of the part. None leaves a side open.

        part = dvskit.open_events("davis").between(200_000, 400_000)
        events = part.load()
        turning = part.imu().gyroscope    # (n, 3) float32, degrees per second
        frames = list(part.frames())
    """

    def __init__(self, recording: Recording, start_us: int | None, stop_us: int | None) -> None:
        self.recording, self.start_us, self.stop_us = recording, start_us, stop_us
        self.size, self.live = recording.size, recording.live
        self.damage = Damage()

    @property
    def along(self) -> bool:
        """Whether a pass also gives all triggers: those of a file only if it is read whole."""
        whole = self.start_us is None and self.stop_us is None
        return self.recording.along and (whole or self.live)

    def __iter__(self) -> Iterator[Events]:
        self.damage = Damage()
        blocks = self.recording._ordered(self.damage, Storage(), self.start_us)
        yield from blocks_between(blocks, self.start_us, self.stop_us, live=self.live)

    def about(self) -> list[tuple[str, str]]:
        """Return the part's limits, and its recording."""
        return [("part", part_words(self.start_us, self.stop_us)), *self.recording.about()]

    def triggers(self) -> Triggers:
        """Return the external triggers of the part."""
        return self.recording.triggers().between(self.start_us, self.stop_us)

    def new_triggers(self) -> Triggers:
        """Return the triggers in the part that the latest pass has met since the last call."""
        return self.recording.new_triggers().between(self.start_us, self.stop_us)

    def passed_streams(self) -> Mapping[str, int]:
        """Return the result of `other_streams` up to where the latest pass is."""
        return self.recording.passed_streams()

    def imu(self) -> Imu:
        """Return the samples of the inertial measurement unit in the part."""
        return self.recording.imu().between(self.start_us, self.stop_us)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that begin in the part, in time order."""
        for frame in self.recording.frames():
            if self.stop_us is not None and frame.t_us >= self.stop_us:
                return
            if self.start_us is None or frame.t_us >= self.start_us:
                yield frame

    def intrinsics(self) -> Intrinsics | None:
        """Return the camera's calibration; None if there is none."""
        return self.recording.intrinsics()

    def labels(self) -> Labels:
        """Return the labels with spans that overlap the part."""
        return self.recording.labels().between(self.start_us, self.stop_us)

    def other_streams(self) -> Mapping[str, int]:
        """Return other data of the whole recording: names and counts."""
        return self.recording.other_streams()
