"""Samples emulated with other contrast thresholds: what another camera would have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dvskit.datasets import DrawnSamples, FileSamples, Sample, Samples
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.errors import ConfigError


def with_thresholds(samples: Samples, chosen: Sequence[Sample], factor: float) -> Samples:
    """Return samples emulated with the thresholds of their sensors multiplied by a factor.

    Noise, looks and all else that is drawn stay the same. Raises ConfigError where some of `chosen`
    are recordings, or anything else whose light is not known, and for thresholds out of range.
    """
    if isinstance(samples, FileSamples):
        wanted = set(chosen)
        for row, kind in zip(samples.rows, samples.kinds, strict=True):
            if kind == "recording" and row in wanted:
                raise _unknown_light(f"{row.where}: is a recording, whose light is gone")
        emulation = samples.reading.emulation
        params = scaled_thresholds(as_params(emulation.params), factor)
        reading = replace(samples.reading, emulation=replace(emulation, params=params))
        return FileSamples(samples.rows, reading, classes=samples.classes)
    if isinstance(samples, DrawnSamples):
        own = samples.sensor

        def sensor(rng: np.random.Generator) -> EmulatorParams:
            return scaled_thresholds(own(rng), factor)

        sensor.__qualname__ = f"{own.__qualname__} {factor}"  # tells such samples apart in a cache
        return samples.before(sensor)
    raise _unknown_light(f"{type(samples).__name__} cannot be emulated anew")


def scaled_thresholds(params: EmulatorParams, factor: float) -> EmulatorParams:
    """Return a sensor with both thresholds multiplied by a factor. Raises ConfigError."""
    return replace(
        params,
        threshold_on=params.threshold_on * factor,
        threshold_off=params.threshold_off * factor,
    )


def _unknown_light(why: str) -> ConfigError:
    return ConfigError(
        f"threshold: {why}: which events another threshold would have given cannot be told from "
        "these; give videos or depth clips, or corrupt by 'drop' (--corrupt drop)"
    )
