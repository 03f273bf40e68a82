"""The result of a calibration: parameters, their uncertainties, and their evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dvskit.emulator.params import EmulatorParams, write_preset
from dvskit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of a sensor parameter.

    name         of EmulatorParams
    value        None if unknown from the input: the default is kept
    uncertainty  standard error of the value; None if unknown
    samples      the number of observations
    how          the observation used, or why the value is unknown
    """

    name: str
    value: float | None
    uncertainty: float | None
    samples: int
    how: str

    def line(self) -> str:
        """Return the estimate as a line of a table."""
        value = "unknown" if self.value is None else f"{self.value:.4g}"
        spread = "" if self.uncertainty is None else f"+- {self.uncertainty:.2g}"
        return f"{self.name:16} {value:>10} {spread:12} {self.samples:>11,}  {self.how}"


def unknown(name: str, why: str, samples: int = 0) -> Estimate:
    """Return the estimate of a parameter that cannot be known."""
    return Estimate(name, None, None, samples, why)


def params_of(table: Iterable[Estimate]) -> tuple[EmulatorParams, tuple[Estimate, ...]]:
    """Return the parameters of a table, and the table; unusable values become unknown."""
    names = {each.name for each in dataclasses.fields(EmulatorParams)}
    values: dict[str, Any] = {}
    possible = []
    for each in table:
        if each.value is None or each.name not in names:
            possible.append(each)
            continue
        value: float | int = float(f"{each.value:.4g}")
        if each.name == "refractory_us":
            value = round(each.value)
        try:
            EmulatorParams(**{each.name: value})  # type: ignore[arg-type]
        except ConfigError as error:
            possible.append(unknown(each.name, str(error), each.samples))
        else:
            values[each.name] = value
            possible.append(each)
    return EmulatorParams(**values), tuple(possible)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of an emulation with the recording, over the span of the frames.

    counts       number of events of the emulation, relative to the recording
    correlation  of signed events of each pixel in bins of 5 ms, smoothed with sigma 1 pixel
    on_recorded, on_emulated  ON shares of the events
    events       of the recording there
    seconds      of the comparison
    """

    counts: float
    correlation: float
    on_recorded: float
    on_emulated: float
    events: int
    seconds: float

    def line(self) -> str:
        """Return the agreement as a line of a table."""
        return (
            f"agreement: emulated with these, {self.counts:.2f} times the events, "
            f"{self.on_emulated:.1%} of them ON (recorded {self.on_recorded:.1%}), correlation "
            f"{self.correlation:.2f} (signed events in 5 ms, smoothed by 1 px), over "
            f"{self.events:,} events in {self.seconds:.2g} s"
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """The estimated sensor of a recording.

    params  for the emulator; unknown ones have their defaults
    table   an Estimate for each parameter, and for offset_us: how the frames shift on the events'
            clock, relative to the middle of the exposure if a frame has one, else to its only stamp
    notes   assumptions, as text
    hot     (n, 2) int: x, y of the hot pixels, as a tuple of pairs
    agreement  of an emulation of the frames with it; None without frames
    """

    params: EmulatorParams
    table: tuple[Estimate, ...]
    notes: tuple[str, ...] = ()
    hot: tuple[tuple[int, int], ...] = ()
    agreement: Agreement | None = None

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of a parameter. Raises KeyError."""
        for each in self.table:
            if each.name == name:
                return each
        raise KeyError(name)

    def lines(self) -> list[str]:
        """Return the table as lines of text."""
        head = f"{'parameter':16} {'value':>10} {'':12} {'samples':>11}  from"
        lines = [head, *(each.line() for each in self.table), *(f"note: {n}" for n in self.notes)]
        return lines if self.agreement is None else [*lines, self.agreement.line()]

    def preset_text(self) -> str:
        """Return a preset file (.toml) for the emulator, with the table as its comment."""
        comment = "\n".join(["Made by dvskit calibrate.", *self.lines()])
        return write_preset(self.params, comment, self._about())

    def _about(self) -> dict[str, float]:
        """Return additional numbers for the table [calibration] of a preset file."""
        offset = next((each for each in self.table if each.name == "offset_us"), None)
        about: dict[str, float] = {}
        if offset is not None and offset.value is not None:
            about["offset_us"] = round(offset.value)
        if self.agreement is not None:
            about["counts"] = round(self.agreement.counts, 4)
            about["correlation"] = round(self.agreement.correlation, 4)
        return about

    def as_dict(self) -> dict[str, Any]:
        """Return parameters, table, notes and hot pixels, for JSON."""
        return {
            "params": dataclasses.asdict(self.params),
            "estimates": [dataclasses.asdict(each) for each in self.table],
            "notes": list(self.notes),
            "hot_pixels": [list(pair) for pair in self.hot],
            "agreement": None if self.agreement is None else dataclasses.asdict(self.agreement),
        }
