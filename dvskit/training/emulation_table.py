"""How the clips that a model learned from were emulated: the table [emulation] of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dvskit.datasets import Emulation
from dvskit.emulator import EmulatorParams
from dvskit.emulator.params import as_params
from dvskit.errors import DvskitError, ModelError, one_line

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
