"""Events and images as what a network takes, as a configuration or a model says."""

from __future__ import annotations

from torch import Tensor

from dvskit.datasets import Encode, StillChanges
from dvskit.datasets.stills import Encoder
from dvskit.errors import ConfigError
from dvskit.events import Events
from dvskit.tensors import PointSet, Representation, representation_from
from dvskit.tensors.names import parameters_of
from dvskit.training.config import POINTS, InputConfig

_WEIGHED = "counts"  # its height depends on how many pixels became one; that of others does not


def representation_of(given: InputConfig) -> Representation:
    """Return the representation of a network's input: (bins, channels, H, W) float32.

    Of a network of points (points, 4), of the events of as long a window as all bins take.

    Raises ConfigError for an unknown one, and for one of another shape.
    """
    if given.representation == POINTS:
        return PointSet(points=given.points, duration_us=given.bins * given.bin_us)
    wanted = {
        "bins": given.bins,
        "bin_us": given.bin_us,
        "outside": "ignore",
        "channels": given.channels,
        "dtype": "float32",
    }
    try:
        known = parameters_of(given.representation)
    except KeyError:
        known = dict.fromkeys(wanted, False)  # unknown: said below
    parameters = {key: value for key, value in wanted.items() if key in known}
    found = representation_from(given.representation, **parameters)
    if found.shape((1, 1))[:2] != (given.bins, given.channels):
        raise ConfigError(
            f"input.representation = {given.representation!r} gives {found.shape((1, 1))} for one "
            f"pixel; ({given.bins}, {given.channels}, 1, 1), bins and channels, is meant"
        )
    return found


def encode_of(
    encoder: str | Encoder,
    given: InputConfig,
    size: tuple[int, int],
    changes: StillChanges | None = None,
) -> Encode:
    """Return what makes a network's input of still images, changed first. Raises ConfigError."""
    if given.representation == POINTS:
        raise ConfigError(
            "a network of points takes recordings alone: encoded images are no events; take a "
            "network of tensors, such as conv-lif, for still images"
        )
    return Encode(encoder, given.bins, size, given.channels, changes or StillChanges())


def is_weighed(given: InputConfig) -> bool:
    """Return whether the input is multiplied by what an event weighs that was fitted."""
    return given.representation == _WEIGHED


def input_of(
    given: InputConfig, events: Events, weight: float | None, start_us: int | None = None
) -> Tensor:
    """Return the input of events from `start_us` on, (bins, channels, H, W) or (points, 4) float32.

    start_us  the first event unless given; what is behind the last bin is left out
    weight    what each event counts, where they were fitted to the sensor
    """
    tensor = representation_of(given)(events, start_us=start_us).float()
    return tensor if weight is None or not is_weighed(given) else tensor * weight
