"""The tables [reject] and [emulation] of a model's file.

[reject] says when "nothing happens" is the answer: what is too unsure, or too quiet, to be named;
[emulation] how the clips that the model learned from were emulated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dvskit._arguments import check_arguments
from dvskit.datasets import Emulation
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.errors import ConfigError, DvskitError, ModelError, one_line

HALF = "more sure than of all other classes together; no validation data chose it"
_KEYS = ("confidence", "events_per_second", "how")


@check_arguments
@dataclass(frozen=True, slots=True)
class Reject:
    """Below what a decision is withheld.

    confidence         the least probability of the likeliest class
    events_per_second  the least rate of events in the window, as the network sees them: on its
                       sensor, each with its weight where they were fitted to it; 0: any but none
    how                how both were chosen, for people

    A model that does not say has the default. Raises ConfigError for values out of range.
    """

    confidence: float = 0.5
    events_per_second: float = 0.0
    how: str = HALF

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ConfigError(f"reject: confidence = {self.confidence} is outside 0..1")
        if not 0 <= self.events_per_second < math.inf:
            raise ConfigError(
                f"reject: events_per_second = {self.events_per_second} is no rate; a finite number "
                "of at least 0 is meant"
            )

    def why(self, confidence: float, events_per_second: float) -> str:
        """Return why a decision is withheld, "few events" or "unsure"; "" where it is not."""
        if not events_per_second or events_per_second < self.events_per_second:
            return "few events"
        return "unsure" if confidence < self.confidence else ""


def reject_from(about: Mapping[str, Any], where: str) -> Reject:
    """Return what [reject] of a model's file says, the default where there is none.

    Raises ModelError, which names the file as `where`, for a table that says something else.
    """
    table = about.get("reject", {})
    try:
        unknown = [key for key in table if key not in _KEYS]
        if unknown:
            raise ConfigError(f"unknown key reject.{unknown[0]}")
        return Reject(**table)
    except (ConfigError, TypeError, AttributeError) as error:
        raise ModelError(f"{where}: [reject]: {error}") from error


def reject_values(reject: Reject) -> dict[str, Any]:
    """Return the table [reject] of a model's file."""
    return asdict(reject)


_PLAIN = ("whole", "upsample", "seed", "light")


def emulation_values(how: Emulation) -> dict[str, Any]:
    """Return an emulation as plain values; of the sensor, what is not as that of an ideal one."""
    params = as_params(how.params)
    sensor = {
        each.name: getattr(params, each.name)
        for each in fields(EmulatorParams)
        if getattr(params, each.name) != each.default
    }
    size = [] if how.size is None else list(how.size)
    plain = {name: getattr(how, name) for name in _PLAIN}
    return {"size": size, **plain, "fps": how.fps or 0.0, "sensor": sensor}


def emulation_from(about: Mapping[str, Any], size: tuple[int, int], where: str) -> Emulation:
    """Return the emulation that a model's tables say, that of an ideal sensor where they do not.

    size  of the model's sensor. Raises ModelError for a table that says what cannot be.
    """
    values = about.get("emulation", {})
    try:
        return Emulation(
            params=EmulatorParams(**values.get("sensor", {})),
            size=tuple(values.get("size", ())) or size,
            fps=values.get("fps") or None,
            **{name: values[name] for name in _PLAIN if name in values},
        )
    except (DvskitError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{where}: [emulation] is wrong: {one_line(error)}") from error
