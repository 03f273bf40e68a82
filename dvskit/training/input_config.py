"""How events become the input of a network: its settings, and the representation they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError
from dvskit.networks import Network, PointNet, is_own
from dvskit.tensors import Representation, representation_from
from dvskit.tensors.names import parameters_of

POINTS = "point_set"
"""The representation of networks of points; no other network takes it."""
_FEATURES, _FITTED = "features", "fitted"
FITTED_FILE = "features.safetensors"
"""The file in a model's folder that holds the features of its input."""
_WEIGHED = "counts"  # only its values depend on how many pixels were merged into one
_MOST_INPUT = 1 << 32  # bytes of the input of one sample


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig:
    """How events become tensors: `bins` of `bin_us` microseconds from the first event on.

    representation  its name: see `dvskit.tensors.representation_from`; "": none, the network takes
                    only encoded still images
    channels        2: OFF, ON; 1: both together; for encoded images 1 is the image alone. Other
                    numbers for representations and encoders that have them
    points          for "point_set": the number of events drawn from the window, drawn again each
                    time in training
    parameters      further parameters of the representation, [input.parameters]: tau_us = 3000.
                    Numbers, texts, booleans and lists of them, which become tuples

        input = dvskit.training.InputConfig(bins=20, bin_us=15_000)
        input.window_us  # 300000
        time_surface = dvskit.training.InputConfig(
            representation="time_surface", parameters={"tau_us": 3000.0}
        )
    """

    bins: int = 20
    bin_us: int = 15_500
    representation: str = "counts"
    channels: int = 2
    points: int = 1024
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.parameters, Mapping):
            raise ConfigError(
                f"input.parameters = {self.parameters!r} is not a table; write [input.parameters]"
            )
        values = {key: _plain(key, value) for key, value in self.parameters.items()}
        object.__setattr__(self, "parameters", values)

    @property
    def window_us(self) -> int:
        """The length of all bins together, in microseconds."""
        return self.bins * self.bin_us

    @property
    def values(self) -> dict[str, Any]:
        """The settings as plain values, without an empty table of parameters."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        if not self.parameters:  # versions without it read the model, and runs of them continue
            del found["parameters"]
        return found


def fitted_file(given: InputConfig) -> Path | None:
    """Return the file of fitted features that an input needs; None if it needs none."""
    found = given.parameters.get(_FITTED) if given.representation == _FEATURES else None
    return None if found is None else Path(str(found))


def with_fitted(given: InputConfig, path: Path) -> InputConfig:
    """Return an input with another file of fitted features, if it needs one."""
    if fitted_file(given) is None:
        return given
    return replace(given, parameters={**given.parameters, _FITTED: str(path)})


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(key, each) for each in value)
    if isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(
        f"input.parameters.{key} is {type(value).__name__}; give a number, a text, true or false, "
        "or a list of these"
    )


def is_weighed(given: InputConfig) -> bool:
    """Return whether the input is multiplied by the weight of fitted events."""
    return given.representation == _WEIGHED


def representation_of(given: InputConfig) -> Representation:
    """Return the representation of a network's input, (bins, channels, H, W).

    For a network of points (points, 4), from the events of a window as long as all bins.

    Raises ConfigError for an unknown one, and for wrong parameters.
    """
    if not given.representation:
        raise ConfigError(
            "the network takes only encoded still images; for events, name an input.representation"
        )
    fixed: dict[str, Any]
    if given.representation == POINTS:
        fixed = {"points": given.points, "duration_us": given.window_us}
    else:
        known = parameters_of(given.representation)
        wanted = {
            "bins": given.bins,
            "bin_us": given.bin_us,
            "outside": "ignore",
            "channels": given.channels,
            "dtype": "float32",
        }
        fixed = {key: value for key, value in wanted.items() if key in known}
    for key in fixed.keys() & given.parameters.keys():
        where = f"set input.{key} instead" if hasattr(given, key) else "leave it out"
        raise ConfigError(f"input.parameters.{key}: the input sets it, to {fixed[key]!r}; {where}")
    try:
        return representation_from(given.representation, **fixed, **given.parameters)
    except ConfigError as error:
        alone = (
            '; for encoded images alone set input.representation = "" and network.inputs = '
            f"{given.channels}"
        )
        images = given.channels > 2 and "channels=" in str(error)
        raise ConfigError(f"input: {error}{alone if images else ''}") from error


def check_input(given: InputConfig, network: Network) -> tuple[int, ...]:
    """Return the shape of the input of a network. Raises ConfigError if they do not fit."""
    for key in ("bins", "bin_us", "points", "channels"):
        value = getattr(given, key)
        if value <= 0:
            raise ConfigError(f"input.{key} = {value} is not above 0")
    _check_size(given, network)
    inputs = getattr(network, "inputs", 2)
    if inputs != given.channels:
        fix = (
            "make network.inputs equal"
            if hasattr(network, "inputs")
            else "only networks of layers (layers = [...]) and your own have the key inputs"
        )
        raise ConfigError(
            f"input.channels = {given.channels}, but network {network.name!r} takes {inputs}; {fix}"
        )
    of_points = isinstance(network, PointNet)
    if not is_own(network) and of_points != (given.representation == POINTS):
        fix = (
            f"takes points; set it to {POINTS!r}"
            if of_points
            else "takes tensors of bins; name another representation, or a network of points"
        )
        raise ConfigError(
            f"input.representation = {given.representation!r}, but network {network.name!r} {fix}"
        )
    wanted = (given.bins, given.channels, network.height, network.width)
    if not given.representation and not given.parameters:
        return wanted
    shape = tuple(representation_of(given).shape((network.width, network.height)))
    if given.representation != POINTS and shape != wanted:
        raise ConfigError(
            f"input.representation = {given.representation!r} gives {shape}; network "
            f"{network.name!r} takes (bins, channels, height, width) = {wanted}"
        )
    return shape


def _check_size(given: InputConfig, network: Network) -> None:
    """Check that the input of one sample fits into memory."""
    numbers = given.bins * given.channels * network.width * network.height
    numbers = given.points * 4 if given.representation == POINTS else numbers
    if 4 * numbers > _MOST_INPUT:
        raise ConfigError(
            f"the input of one sample, {given.bins:,} bins of {network.width:,}x"
            f"{network.height:,} pixels, takes {4 * numbers / 1e9:,.0f} GB, above the limit of "
            f"{_MOST_INPUT / 1e9:.0f} GB; take fewer bins, points or pixels"
        )
