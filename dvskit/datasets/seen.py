"""Samples seen by several sensors: clips emulated again and again, each time by another one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dvskit.datasets.files import FileSamples
from dvskit.datasets.kinds import Reading, named_kind
from dvskit.datasets.samples import Samples
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.events import Events
from dvskit.formats.content import own_seed

_SPREAD = 1.6  # of the thresholds, to either side, as a factor


def sensor_about(params: EmulatorParams, rng: np.random.Generator) -> EmulatorParams:
    """Return a sensor whose thresholds are about those of another: up to 1.6 times more or less.

    Mismatch, low-pass, leak, shot noise and refractory period are drawn too, as those of cameras
    that are set well: little noise, so that what a few clips have in common is not lost in it.
    """

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    factor = between(1 / _SPREAD, _SPREAD)
    return replace(
        params,
        threshold_on=max(params.threshold_on * factor, 0.01),
        threshold_off=max(params.threshold_off * factor * between(0.8, 1.25), 0.01),
        threshold_sigma=rng.uniform(0.01, 0.04),
        cutoff_hz=between(60, 600),
        leak_hz=between(0.01, 0.2),
        leak_spread=0.2,
        leak_jitter=0.1,
        shot_hz=between(0.01, 0.5),
        refractory_us=int(between(50, 2000)),
    )


class SeenSamples(Samples):
    """The samples of files, each as often as there are sensors: sample n is row n % len(files).

    files    recordings and clips, which `reading` says how to read
    sensors  how many; each clip is before others (`sensor_about` that of the files' `reading`),
             which follow from the seed and from the clip's bytes. Recordings are what they are

    `damage` is as that of `FileSamples`.
    """

    draws = False

    def __init__(self, files: Samples, reading: Reading, sensors: int) -> None:
        super().__init__(files.rows * sensors, files.classes)
        self._one = FileSamples(files.rows, reading, classes=files.classes)
        self.damage: dict[int, str] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, as its sensor sees it."""
        seen = self._seen(number)
        events = seen.events(0)
        if seen.damage:
            self.damage[number % len(self._one)] = seen.damage[0]
        return events

    def fingerprint(self, number: int) -> str:
        """Return a digest of the file's bytes and of all that the sensor is like."""
        return self._seen(number).fingerprint(0)

    def _seen(self, number: int) -> FileSamples:
        look, at = divmod(number, len(self._one))
        row, reading = self.rows[number], self._one.reading
        kind = named_kind(self._one.kinds[at])
        if kind.drawn:
            how = reading.emulation
            seed = own_seed(how.seed, f"{kind.content(row.file)} sensor {look}", row.span)
            params = sensor_about(as_params(how.params), np.random.default_rng(seed))
            reading = replace(reading, emulation=replace(how, params=params, seed=seed))
        return FileSamples([row], reading)
