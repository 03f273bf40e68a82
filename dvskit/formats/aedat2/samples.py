"""Other data of a DAVIS: external events, IMU samples, frames.

Layout: iniVation, AEDAT 2.0, docs.inivation.com. Scales: InvenSense MPU-6100A; signs: jAER's, seen
from the camera: x to the right, y up, z to the scene, turns to the right and clockwise positive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat2 import word_kernels as k
from dvskit.formats.aedat2.chips import APS, DAVIS, EXTERNAL, IMU, AddressLayout, Chip
from dvskit.formats.aedat2.words import Clock, WordBlock, scan_words
from dvskit.streams import Frame, Imu, Triggers

_LONGEST_STEP_US = 1 << 30
_VALUES = 7  # words per sample: acceleration x, y, z, temperature, rotation about x, y, z
_SIGNS = np.array([-1, 1, 1, 1, -1, 1, -1], np.float32)
_STEPS_PER_G = {2: 16384.0, 4: 8192.0, 8: 4096.0, 16: 2048.0}
_STEPS_PER_DEG_S = {250: 131.0, 500: 65.5, 1000: 32.8, 2000: 16.4}
_USUAL_G, _USUAL_DEG_S = 8, 1000  # jAER's defaults
_STEPS_PER_DEG_C, _DEG_C_AT_0 = 340.0, 35.0


class Scales(NamedTuple):
    """Full scales of an inertial measurement unit, and whether the file has both."""

    g: int
    deg_s: int
    told: bool


def find_scales(preferences: Mapping[str, str], chip: str) -> Scales:
    """Return the scales in jAER's preferences, those of `chip` first."""
    found: dict[str, int] = {}
    own_first = sorted(preferences.items(), key=lambda item: not item[0].startswith(chip))
    for key, value in own_first:
        number = re.search(r"(\d+)$", value)
        kind = "Accel" if "Accel" in key else "Gyro"
        known = _STEPS_PER_G if kind == "Accel" else _STEPS_PER_DEG_S
        if number and int(number[1]) in known:
            found.setdefault(kind, int(number[1]))
    return Scales(
        found.get("Accel", _USUAL_G), found.get("Gyro", _USUAL_DEG_S), told=len(found) == 2
    )


class _Chosen(NamedTuple):
    """The words of one kind, in order of the file, with their times."""

    address: NDArray[np.uint32]
    t: NDArray[np.int64]


def choose(blocks: Iterable[WordBlock], layout: AddressLayout, kind: int) -> Iterator[_Chosen]:
    """Yield the words of one kind; all words advance the clock."""
    clock = Clock(_LONGEST_STEP_US)
    for block in blocks:
        base_us = clock.goes_on(scan_words(block.raw, 0))
        t = clock.count_on(block.t) if base_us is None else None
        address = block.address
        places = np.flatnonzero(address & np.uint32(layout.other))
        places = places[layout.decode(address[places]).kind == kind]
        if not len(places):
            continue
        times = block._replace(raw=block.raw[places]).t if t is None else t[places]
        yield _Chosen(address[places], times + (base_us or 0))


def read_triggers(blocks: Iterable[WordBlock], chip: Chip) -> Triggers:
    """Return external events in time order, as rising edges of input 0: none are stored."""
    parts = []
    for words in choose(blocks, chip.layout, EXTERNAL):
        count = len(words.t)
        parts.append(Triggers(words.t, np.zeros(count, np.int16), np.ones(count, np.bool_)))
    return Triggers.in_order(parts)


def has_samples(chip: Chip) -> bool:
    """Return whether a chip may send frames and IMU samples."""
    return chip.layout is DAVIS


def read_imu(blocks: Iterable[WordBlock], chip: Chip, scales: Scales) -> Imu:
    """Return the complete samples, all seven words present, in order of time."""
    parts = []
    kept = _Chosen(np.empty(0, np.uint32), np.empty(0, np.int64))
    for words in choose(blocks, chip.layout, IMU):
        address = np.concatenate([kept.address, words.address])
        t = np.concatenate([kept.t, words.t])
        code = (address >> 28 & 7).astype(np.int64)
        starts = np.flatnonzero(code == 0)
        waiting = starts[starts > len(code) - _VALUES]
        starts = starts[starts <= len(code) - _VALUES]
        whole = (code[starts[:, None] + np.arange(_VALUES)] == np.arange(_VALUES)).all(axis=1)
        starts = starts[whole]
        kept_from = int(waiting[0]) if len(waiting) else len(code)
        kept = _Chosen(address[kept_from:], t[kept_from:])
        raw = (address[starts[:, None] + np.arange(_VALUES)] >> 12).astype(np.uint16)
        parts.append(_imu(t[starts], raw.view(np.int16), scales))
    return Imu.in_order(parts)


def _imu(t: NDArray[np.int64], raw: NDArray[np.int16], scales: Scales) -> Imu:
    values = raw.astype(np.float32) * _SIGNS
    return Imu(
        t=t,
        accelerometer=values[:, 0:3] / np.float32(_STEPS_PER_G[scales.g]),
        gyroscope=values[:, 4:7] / np.float32(_STEPS_PER_DEG_S[scales.deg_s]),
        temperature=values[:, 3] / np.float32(_STEPS_PER_DEG_C) + np.float32(_DEG_C_AT_0),
        magnetometer=np.full((len(t), 3), np.nan, np.float32),
    )


class FrameAssembly:
    """Assembles the samples of frames: the drop by light from the level after a reset.

    Pixels are uint16: 10 bits, brighter is larger. x is counted from the left, unlike in events. A
    part of the sensor that was read alone is a frame at its position. Times are those of the
    readout: the exposure starts when the last pixel has been reset (the first, with a rolling
    shutter) and stops when the first is read.

    incomplete  number of frames with missing pixels
    """

    def __init__(self, blocks: Iterable[WordBlock], chip: Chip) -> None:
        self._blocks, self._layout = blocks, chip.layout
        self._width, self._height = chip.size
        self._level = np.zeros((self._height, self._width), np.uint16)
        self.incomplete = 0
        self._clear()

    def _clear(self) -> None:
        self._image = np.zeros((self._height, self._width), np.uint16)
        self._seen = np.zeros((self._height, self._width), np.uint8)
        self._state = np.array(
            [0, k.NEVER, k.NEVER, k.NEVER, self._width, -1, self._height, -1], np.int64
        )

    def __iter__(self) -> Iterator[Frame]:
        for words in choose(self._blocks, self._layout, APS):
            yield from self._add(words)
        yield from self._take()

    def _add(self, words: _Chosen) -> Iterator[Frame]:
        """Take samples; yield the frames that end within them."""
        at, ended = 0, True
        while ended:
            at = k.add_samples(*words, at, self._level, self._image, self._seen, self._state)
            full = self._state[k.F_SIGNALS] == self._width * self._height
            ended = full or at < len(words.t)
            if ended:
                yield from self._take()

    def _take(self) -> Iterator[Frame]:
        """Yield the frame if it is complete, and begin the next."""
        state = self._state
        signals, left, right = (int(state[i]) for i in (k.F_SIGNALS, k.F_LEFT, k.F_RIGHT))
        top, bottom = int(state[k.F_TOP]), int(state[k.F_BOTTOM])
        if signals and signals == (right - left + 1) * (bottom - top + 1):
            # With a global shutter the exposure begins when all are reset, else with the first.
            stop_us = int(state[k.F_FIRST_SIGNAL])
            all_reset = int(state[k.F_LAST_RESET])
            start_us = all_reset if all_reset <= stop_us else int(state[k.F_FIRST_RESET])
            image = self._image[top : bottom + 1, left : right + 1]
            yield Frame(start_us, stop_us, np.ascontiguousarray(image), left, top)
        elif signals:
            self.incomplete += 1
        self._clear()
