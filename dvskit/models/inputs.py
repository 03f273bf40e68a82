"""Inputs of networks: settings, representations, and events and images in batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dvskit import datasets
from dvskit._checks import check_fields, check_whole, checked
from dvskit.datasets import AdaptedSamples, ImageSamples, LazySample, Samples
from dvskit.datasets.batches import Fitted
from dvskit.encoders.names import Encoder
from dvskit.errors import ConfigError, FittedWarning
from dvskit.events import Events, Size, Source, as_size, as_source, file_name
from dvskit.filters import Fit
from dvskit.filters.fit import Placement
from dvskit.formats import open_events
from dvskit.networks import Network, PointNet
from dvskit.networks.kinds import is_custom
from dvskit.tensors import Representation, representation_from
from dvskit.tensors.names import parameters_of

POINTS = "point_set"
"""The representation of networks of points; no other network takes it."""
_FEATURES, _FITTED = "features", "fitted"
FITTED_FILE = "features.safetensors"
"""The file in a model's folder that holds the features of its input."""
_WEIGHED = "counts"  # only its values depend on how many pixels were merged into one
_MOST_INPUT = 1 << 32  # bytes of the input of one sample


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

        input = dvskit.models.InputConfig(bins=20, bin_us=15_000)
        input.window_us  # 300000
        time_surface = dvskit.models.InputConfig(
            representation="time_surface", parameters={"tau_us": 3000.0}
        )
    """

    bins: int = checked(check_whole, 1, default=20)
    bin_us: int = checked(check_whole, 1, default=15_500)
    representation: str = "counts"
    channels: int = checked(check_whole, 1, default=2)
    points: int = checked(check_whole, 1, default=1024)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.parameters, Mapping):
            raise ConfigError(
                f"InputConfig: parameters = {self.parameters!r} is not a table of values"
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
        f"InputConfig: parameters.{key} is {type(value).__name__}; give a number, a text, true or "
        "false, or a list of these"
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
        images = given.channels > 2 and "channels = " in str(error)
        raise ConfigError(f"input: {error}{alone if images else ''}") from error


def check_input(given: InputConfig, network: Network) -> tuple[int, ...]:
    """Return the shape of the input of a network. Raises ConfigError if they do not fit."""
    for key in ("name", "width", "height", "classes", "build"):
        if not hasattr(network, key):
            raise ConfigError(
                f"network = {type(network).__name__} has no {key}; describe a module with "
                "dvskit.networks.ModuleNetwork, or pass it to train(module, samples)"
            )
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
    if not is_custom(network) and of_points != (given.representation == POINTS):
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


def encode_of(
    encoder: str | Encoder,
    given: InputConfig,
    size: tuple[int, int],
    changes: datasets.ImageChanges | None = None,
) -> datasets.Encode:
    """Return the encoder of a network's input of still images. Raises ConfigError."""
    if given.representation == POINTS:
        raise ConfigError(
            "a network of points takes only recordings, since encoded images are no events; use a "
            "network of tensors, such as conv-lif, for still images"
        )
    return datasets.Encode(
        encoder, given.bins, size, given.channels, changes or datasets.ImageChanges()
    )


def input_of(
    given: InputConfig, events: Events, weight: float | None, start_us: int | None = None
) -> Tensor:
    """Return the input of events from `start_us` on, (bins, channels, H, W) or (points, 4) float32.

    start_us  default: the first event; events after the last bin are left out
    weight    of each event, if they were fitted to the sensor
    """
    tensor = representation_of(given)(events, start_us=start_us).float()
    return tensor if weight is None or not is_weighed(given) else tensor * weight


class SensorFit:
    """Fits the events of one recording to a network's sensor, block by block, by `Fit`.

    source_size  of the events, which it checks
    weight       of each fitted event; None if both sizes are equal
    """

    def __init__(self, source_size: Size, size: Size) -> None:
        self.source_size, self._total = source_size, 0
        self._step = Fit(size).start(source_size)
        self.weight = None if source_size == size else self._step.placement.weight

    def __call__(self, events: Events) -> Events:
        """Return the next events on the network's sensor."""
        self._total += len(events)
        return self._step(events)

    @property
    def how(self) -> str | None:
        """How events are fitted, for people; None if both sizes are equal."""
        return None if self.weight is None else str(self._step.placement)

    @property
    def dropped(self) -> int:
        """The number of events that were dropped at the edges."""
        return self._step.dropped

    def warn(self, what: str) -> None:
        """Give a FittedWarning about `what`, if its size is another."""
        if self.how is not None:
            _warn_fitted(what, self.how, self.dropped, self._total)


def blocks_on_sensor(source: Source, size: Size) -> Iterator[Events]:
    """Yield the blocks of a source, at unchanged positions on a sensor of `size`: `likely_size`."""
    return (datasets.on_sensor(block, size) for block in source)


def describe_source(source: Source) -> str:
    """Return the name of a recording for a FittedWarning."""
    name = file_name(source) or "the recording"
    inferred = getattr(source, "size_origin", None) == "data"
    return f"{name}, its size inferred from its events," if inferred else name


def fit_recording(events: Events, size: Size) -> tuple[Events, float | None]:
    """Return the events of one recording on a sensor of `size`, and the weight of each.

    Events of another size are fitted, with a FittedWarning. Otherwise the weight is None.
    """
    fit = SensorFit(events.sensor_size, size)
    fitted = fit(events)
    fit.warn("the recording")
    return fitted, fit.weight


def _warn_fitted(what: str, how: str, dropped: int, total: int) -> None:
    warnings.warn(FittedWarning(what, how, dropped, total), stacklevel=4)


def as_recording(recording: Events | Source | str | PathLike[str]) -> Source:
    """Return a Source as given, of Events, or of an event file.

    Raises EventsError for anything else, and the errors of `open_events`.
    """
    if isinstance(recording, str | PathLike):
        return open_events(recording)
    return as_source(recording)


AnyBatches = datasets.Batches | datasets.ImageBatches
JUDGED_AT_ONCE = 50
"""The number of samples judged at a time."""


def judged_batches(
    samples: Samples, given: InputConfig, size: tuple[int, int], cache: datasets.Cache | None = None
) -> datasets.Batches:
    """Return batches of samples in their order, each once and without random changes: epoch 0.

    They give no FittedWarning; `Overlooked.warn` gives one for all.
    """
    return datasets.Batches(
        samples.without_draws().adapted(WindowCounter(given.window_us)),
        representation_of(given),
        size=size,
        batch_size=JUDGED_AT_ONCE,
        shuffle=False,
        weigh=is_weighed(given),
        cache=cache,
        warn_fitted=False,
    )


def judged_images(
    images: ImageSamples, encode: datasets.Encode, seed: int
) -> datasets.ImageBatches:
    """Return batches of still images in their order, each once: epoch 0.

    The encoder's draws depend on the seed, the images and their order.
    """
    share = datasets.BatchShare(samples=images, count=JUDGED_AT_ONCE, encode=encode)
    return datasets.ImageBatches([share], seed=seed, shuffle=False)


class WindowCounter:
    """Counts the events of samples after the judged window: for `Samples.adapted`."""

    def __init__(self, window_us: int) -> None:
        self.window_us = window_us
        self._counts: dict[int, tuple[int, int]] = {}

    def __call__(self, sample: LazySample) -> Events:
        """Return the events of a sample."""
        events = sample.events()
        if len(events):
            behind = events.between(int(events.t[0]) + self.window_us, None)
            self._counts[sample.number] = len(events), len(behind)
        return events

    def unlooked(self) -> NDArray[np.int64]:
        """Return counts so far: samples with later events, these events, and all events."""
        counts = np.array([*self._counts.values()], np.int64).reshape(-1, 2)
        return np.array([np.count_nonzero(counts[:, 1]), counts[:, 1].sum(), counts[:, 0].sum()])


@dataclass(frozen=True, slots=True)
class Overlooked:
    """The events of judged recordings that were fitted, dropped, or came after the window.

    size, window_us  of the model's input
    fitted           the samples of each other size
    unlooked         as of `WindowCounter.unlooked`
    """

    size: Size
    window_us: int
    fitted: dict[Size, Fitted]
    unlooked: NDArray[np.int64]

    def __add__(self, other: Overlooked) -> Overlooked:
        fitted = dict(self.fitted)
        for size, more in other.fitted.items():
            known = fitted.get(size, (0, 0, 0))
            fitted[size] = Fitted(*map(sum, zip(known, more, strict=True)))
        return replace(self, fitted=fitted, unlooked=self.unlooked + other.unlooked)

    def warn(self) -> None:
        """Give a FittedWarning for each other size, with the counts of all its samples."""
        for size, found in self.fitted.items():
            how = str(Placement.of(size, self.size))
            what = f"{found.samples:,} recording{'s' if found.samples > 1 else ''}"
            _warn_fitted(what, how, found.dropped, found.total)

    @property
    def note(self) -> str:
        """A line on the events after the judged windows; "" if there are none."""
        longer, behind, total = self.unlooked.tolist()
        return (
            ""
            if not longer
            else (
                f"{longer:,} recordings are longer than the model's window of "
                f"{self.window_us / 1000:g} ms: only their first window is judged, without "
                f"{behind:,} of {total:,} events"
            )
        )


def overlooked_by(batches: AnyBatches) -> Overlooked | None:
    """Return the events that `judged_batches` have overlooked so far; None for images."""
    if isinstance(batches, datasets.ImageBatches):
        return None
    samples = batches.shares[0].samples
    assert isinstance(samples, AdaptedSamples)
    counter = samples.adapt
    assert isinstance(counter, WindowCounter)
    return Overlooked(as_size(batches.size), counter.window_us, batches.fitted, counter.unlooked())
