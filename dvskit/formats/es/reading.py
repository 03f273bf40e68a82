"""Event Stream files as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, as_size
from dvskit.formats.es import _kernels as k
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage

MAGIC = b"Event Stream"
HEADER_BYTES = 20
DVS = 1
_LOSSES = 4096
_KINDS = {
    0: "generic events, which have no pixels",
    2: "ATIS events, where times of exposure are mixed with changes",
    3: "display events, which have levels of brightness",
    4: "colour events, which have red, green and blue instead of a polarity",
}


class EsRecording(Recording):
    """Events of an Event Stream of type DVS.

    Times build on each other: in salvage mode, those behind a loss lack the time of the lost bytes.
    """

    format = "es"

    def header(self) -> Mapping[str, str]:
        """Return the version and the type."""
        with self.path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        return {"version": ".".join(str(part) for part in head[12:15]), "type": "dvs"}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        data = np.memmap(self.path, np.uint8, "r")
        state = np.zeros(k.STATE_FIELDS, np.int64)
        losses = np.empty((_LOSSES, 4), np.int64)
        count = min(BLOCK_EVENTS, len(data) // k.EVENT_BYTES + 1)
        at, before = HEADER_BYTES, -1
        while at < len(data) and at != before:  # it stays where the last event is cut
            t, p = np.empty(count, np.int64), np.empty(count, np.bool_)
            x, y = np.empty(count, np.int16), np.empty(count, np.int16)
            state[k.S_EVENTS] = 0
            while at < len(data) and at != before and state[k.S_EVENTS] < count:
                before = at
                at = k.decode(data, at, *self.size, self.strict, state, t, x, y, p, losses)
                self._take_losses(damage, losses[: state[k.S_LOSSES]])
                state[k.S_LOSSES] = 0
            n = int(state[k.S_EVENTS])
            yield Events.from_checked(t[:n], x[:n], y[:n], p[:n], self.size)
        if at < len(data):
            cut = len(data) - at
            self._lose(damage, at, cut, f"the last event has {cut} of {k.EVENT_BYTES} bytes")

    def _take_losses(self, damage: Damage, losses: NDArray[np.int64]) -> None:
        for place, length, x, y in losses.tolist():
            problem = f"event at ({x}, {y}), y from the bottom, is off the {self.size} sensor"
            self._lose(damage, place, length, problem)

    def _lose(self, damage: Damage, offset: int, length: int, problem: str) -> None:
        if self.strict:
            raise DamagedFileError(self.path, offset, problem)
        damage.add(offset, length, problem)


def open_recording(path: Path, options: ReadOptions) -> EsRecording:
    """Open an Event Stream. Its size is the argument, else the header's.

    Raises FormatError for another version than 2 and for streams that are not of type DVS,
    GeometryError for a size in the header that is none.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if not head.startswith(MAGIC):
        raise FormatError(f"{path}: starts with {head[:12]!r}, an Event Stream with {MAGIC!r}")
    if len(head) < 16:
        raise FormatError(f"{path}: ends within its header, at byte {len(head)}")
    version = ".".join(str(part) for part in head[12:15])
    if head[12] != 2:
        raise FormatError(
            f"{path}: is an Event Stream of version {version}; version 2 is read, "
            "so convert it with the tool that wrote it"
        )
    if head[15] != DVS:
        kind = _KINDS.get(head[15], f"the unknown type {head[15]}")
        raise FormatError(f"{path}: is an Event Stream of {kind}; DVS events (type 1) are read")
    if len(head) < HEADER_BYTES:
        raise FormatError(f"{path}: ends within its header, at byte {len(head)}")
    size = options.size
    if size is None:
        width, height = np.frombuffer(head[16:20], "<u2").tolist()
        try:
            size = as_size((width, height))
        except GeometryError as error:
            raise GeometryError(
                f"{path}: the header's sensor size cannot be used ({error}); "
                "pass size=(width, height)"
            ) from None
    origin: SizeOrigin = "header" if options.size is None else "argument"
    recording = EsRecording(path, options, size, origin)
    recording.assumptions.append(
        f"y is counted from the bottom in the file: row 0 here is y = {size.height - 1} there"
    )
    return recording
