"""What a calibration found: parameters, each with its uncertainty and what it rests on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from dvskit.emulator.params import EmulatorParams, write_preset


@dataclass(frozen=True, slots=True)
class Estimate:
    """A parameter of the sensor, as estimated.

    name         of EmulatorParams
    value        None where it cannot be known from what was given: it is left as by default
    uncertainty  standard error of the value; of an unknown one, None
    samples      how many observations it rests on
    how          what was observed, or why it cannot be known
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


@dataclass(frozen=True, slots=True)
class Calibration:
    """The sensor that a recording came from.

    params  for the emulator; what is unknown is as by default
    table   an Estimate for each parameter that was looked for
    notes   what was taken for granted, for people
    hot     (n, 2) int: x, y of the hot pixels, as a tuple of pairs
    """

    params: EmulatorParams
    table: tuple[Estimate, ...]
    notes: tuple[str, ...] = ()
    hot: tuple[tuple[int, int], ...] = ()

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of a parameter. Raises KeyError."""
        for each in self.table:
            if each.name == name:
                return each
        raise KeyError(name)

    def lines(self) -> list[str]:
        """Return the table for people."""
        head = f"{'parameter':16} {'value':>10} {'':12} {'samples':>11}  from"
        return [head, *(each.line() for each in self.table), *(f"note: {n}" for n in self.notes)]

    def preset_text(self) -> str:
        """Return a preset file (.toml) that the emulator takes, the table as its comment."""
        return write_preset(self.params, "\n".join(["Made by dvskit calibrate.", *self.lines()]))

    def as_dict(self) -> dict[str, Any]:
        """Return parameters, table, notes and hot pixels, for JSON."""
        return {
            "params": dataclasses.asdict(self.params),
            "estimates": [dataclasses.asdict(each) for each in self.table],
            "notes": list(self.notes),
            "hot_pixels": [list(pair) for pair in self.hot],
        }
