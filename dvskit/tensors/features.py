"""Events -> features of the time surface around them, learned without labels; files and counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dvskit._checks import check_choice, check_fields, check_number, check_whole, checked
from dvskit._files import open_regular, write_whole
from dvskit._threads import run_parts
from dvskit.errors import (
    ConfigError,
    DvskitError,
    EventsError,
    FormatError,
    MissingFileError,
    one_line,
)
from dvskit.events import Events, Size, Source, as_size, as_source
from dvskit.events.even_blocks import even_blocks
from dvskit.tensors.feature_kernels import ABREAST, ROW, feature_pass
from dvskit.tensors.representation import (
    BinnedPart,
    BinnedPlanes,
    Bins,
    Planes,
    PlanesFill,
    threads_for,
)

Array = NDArray[Any]
Columns = tuple[Array, Array, Array, Array]
"""t, x, y, and the channel of each event: its polarity, or its feature of the layer before."""
_LEARNED_AT_ONCE = 1 << 16  # events; a number of its own, so that blocks have no meaning
_NO_RATES = (np.float32(0), np.float32(0), np.float32(0))
_LONG_AGO_US = -(1 << 62)
_MOST = 1 << 26  # values of the features of a layer
Surfaces = Literal["separate", "joined", "merged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLayer:
    """Parameters of a layer of features, and of how they are learned.

    The surface of a channel holds exp(-age / tau) of the latest event of each pixel, 0 without one.
    The patch of an event is the square around it at its time, scaled to length 1. Channels are the
    polarities OFF and ON, in further layers the features of the layer before.

    n_features  the number of features; of each channel for "separate"
    patch       the side of a patch in pixels, odd
    tau_us      the age at which 1/e is left, in microseconds
    surfaces    "separate": each channel has its own surface and its own features
                "joined": a patch holds the surfaces of all channels, one after the other
                "merged": one surface and its features for the events of all channels
    eta         the share by which a feature moves towards a patch that it won
    delta_i     the amount by which its threshold then shrinks
    delta_e     the amount by which all thresholds grow after a patch that no feature won

    Raises ConfigError for values out of range.

        layer = dvskit.tensors.FeatureLayer(n_features=16, patch=7, tau_us=20_000)
        layer.shape(channels=2)    # (2, 16, 1, 49): 16 features of 7 x 7 pixels for OFF, 16 for ON
    """

    n_features: int = checked(check_whole, 1, default=100)
    patch: int = checked(check_whole, 1, default=11)
    tau_us: float = checked(check_number, above=0, default=30_000.0)
    surfaces: Surfaces = checked(check_choice, get_args(Surfaces), default="separate")
    eta: float = checked(check_number, 0, 1, default=0.001)
    delta_i: float = checked(check_number, 0, 1, default=0.001)
    delta_e: float = checked(check_number, 0, 1, default=0.003)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.patch % 2 == 0:
            raise ConfigError(f"FeatureLayer: patch = {self.patch} has no middle; take an odd side")

    def shape(self, channels: int) -> tuple[int, int, int, int]:
        """Return the shape of the features: (groups, n_features, planes, patch * patch).

        channels  of the events. Each group has features of its own, and a patch has `planes` planes

        Raises ConfigError for more than 64 Mi values.
        """
        groups = channels if self.surfaces == "separate" else 1
        planes = channels if self.surfaces == "joined" else 1
        shape = groups, int(self.n_features), planes, int(self.patch) ** 2
        if np.prod(shape, dtype=float) > _MOST:
            raise ConfigError(f"features of shape {shape} are too large; take fewer")
        return shape


@dataclass(frozen=True, slots=True, eq=False)
class FittedLayer:
    """A layer with its features.

    layer       its parameters
    weights     the features, (groups, n_features, planes, patch * patch) float32, each of length 1
    thresholds  (groups, n_features) float32: the largest distance 1 - w.d of a patch that it wins
    missed      the share of the patches that no feature won, in the last pass of learning

        digit = dvskit.load_events("digits/1/00001.bin")
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        fitted = dvskit.tensors.fit_features(digit, layer).layers[0]
        fitted.weights.shape, fitted.missed    # ((2, 8, 1, 25), a share from 0 to 1)
    """

    layer: FeatureLayer
    weights: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    missed: float

    @property
    def channels(self) -> int:
        """The number of features of all groups: the channels of the next layer."""
        return int(self.thresholds.size)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Layers of fitted features: a function from events to the number of a feature each.

    A feature of group g has the number g * n_features + its place in the group; OFF is group 0.
    Made by `fit_features` and `load_features`.

        digit = dvskit.load_events("digits/1/00001.bin")
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        features = dvskit.tensors.fit_features(digit, layer)
        features.images.shape                     # (16, 1, 5, 5)
        found = features.transform(digit)         # (events,) int32
        np.bincount(found[found >= 0], minlength=16)    # how often each feature occurs
    """

    layers: tuple[FittedLayer, ...]

    def __repr__(self) -> str:
        return f"Features({', '.join(map(repr, (each.layer for each in self.layers)))})"

    @property
    def count(self) -> int:
        """The number of features of the last layer."""
        return self.layers[-1].channels

    @property
    def images(self) -> NDArray[np.float32]:
        """The features of the last layer, (count, planes, patch, patch)."""
        fitted = self.layers[-1]
        side, planes = fitted.layer.patch, fitted.weights.shape[2]
        return fitted.weights.reshape(self.count, planes, side, side)

    def start(self, size: tuple[int, int]) -> Callable[[Events], NDArray[np.int32]]:
        """Return the step of one pass over a stream: events -> the feature of each, int32."""
        step = _chain(self.layers, as_size(size))
        return lambda events: step(_columns(events))

    def transform(self, events: Events | Source) -> NDArray[np.int32]:
        """Return the nearest feature of each event, (events,) int32; -1 if it has none.

        It is the feature with the largest product w.d; thresholds serve learning alone. An event
        has none if its patch leaves the sensor, in any layer.
        """
        source = as_source(events)
        step = self.start(as_size(source.size))
        found = [step(block) for block in source]
        return np.concatenate(found) if found else np.empty(0, np.int32)


class _Pass:
    """One pass of a stream through a layer: its surfaces, and its features as kernels take them."""

    def __init__(
        self, layer: FeatureLayer, weights: Array, thresholds: Array, channels: int, size: Size
    ) -> None:
        self._layer, self._weights, self._thresholds = layer, weights, thresholds
        self._layout = size.width, size.height, int(layer.patch), float(layer.tau_us)
        pixels = size.width * size.height * (channels if layer.surfaces == "joined" else 1)
        groups = len(weights)
        self._surfaces = [np.zeros(pixels + ROW, np.float32) for _ in range(groups)]
        self._origins = [np.array([_LONG_AGO_US]) for _ in range(groups)]

    def learn(self, columns: Columns) -> tuple[int, int]:
        """Adapt features and thresholds; return how many patches there were, and were missed."""
        rates = self._layer.eta, self._layer.delta_i, self._layer.delta_e
        done = self._run(columns, tuple(map(np.float32, rates)), None)
        return sum(seen for seen, _ in done), sum(missed for _, missed in done)

    def find(self, columns: Columns) -> NDArray[np.int32]:
        """Return the nearest feature of each event, int32; -1 near the border."""
        found = np.empty(len(columns[0]), np.int32)
        self._run(columns, _NO_RATES, found)
        return found

    def _run(
        self, columns: Columns, rates: tuple[Any, ...], found: Array | None
    ) -> list[tuple[int, int]]:
        groups, count = self._thresholds.shape
        done = [(0, 0)] * groups

        def run(group: int) -> None:
            t, x, y, channel = columns
            which: Any = slice(None)
            if self._layer.surfaces == "separate":
                which = np.flatnonzero(channel == group)
                t, x, y = t[which], x[which], y[which]
            if not len(t):
                return
            if self._layer.surfaces != "joined":
                channel = np.zeros(len(t), np.int32)
            some = np.empty(0 if found is None else len(t), np.int32)
            done[group] = feature_pass(
                (t, x, y, channel),
                (self._surfaces[group], self._origins[group]),
                self._layout,
                (self._weights[group], self._thresholds[group]),
                rates,
                some,
            )
            if found is not None:
                found[which] = np.where(some < 0, some, some + group * count)

        run_parts(run, groups, threads_for(len(columns[0]) * self._weights.shape[2]))
        return done


def _columns(events: Events) -> Columns:
    return events.t, events.x, events.y, events.p.astype(np.int32)


def _padded(weights: Array) -> NDArray[np.float32]:
    """Return features as kernels take them: (groups, n, d), with rows and columns of zeros."""
    groups, count = weights.shape[:2]
    flat = weights.reshape(groups, count, -1)
    shape = groups, -(-count // ABREAST) * ABREAST, -(-flat.shape[2] // ROW) * ROW
    padded = np.zeros(shape, np.float32)
    padded[:, :count, : flat.shape[2]] = flat
    return padded


def _chain(layers: Sequence[FittedLayer], size: Size) -> Callable[[Columns], NDArray[np.int32]]:
    """Return the step of one pass through layers: the events of each go on as its features."""
    passes, channels = [], 2
    for each in layers:
        padded = _padded(each.weights)
        passes.append(_Pass(each.layer, padded, each.thresholds, channels, size))
        channels = each.channels

    def step(columns: Columns) -> NDArray[np.int32]:
        found = columns[3]
        for each in passes:
            found = _through(columns, found, each.find)
        return found

    return step


def _through(
    columns: Columns, found: NDArray[np.int32], find: Callable[[Columns], NDArray[np.int32]]
) -> NDArray[np.int32]:
    """Return the features that a layer finds for the events with a feature; -1 for the others."""
    whole = (*columns[:3], found)
    kept = found >= 0
    if kept.all():
        return find(whole)
    deeper = np.full(len(found), -1, np.int32)
    t, x, y, channel = (each[kept] for each in whole)
    deeper[kept] = find((t, x, y, channel))
    return deeper


Recordings = Events | Source | Iterable[Events | Source | tuple[Events, Any]]


def fit_features(
    recordings: Recordings,
    layers: FeatureLayer | Sequence[FeatureLayer] | None = None,
    *,
    epochs: int = 1,
    seed: int = 0,
) -> Features:
    """Learn features from events, without labels, and return them.

    recordings  events, a Source, or several of them; `Samples` too. Surfaces start anew in each
    layers      one after the other; a further layer learns from the features of the one before.
                `FeatureLayer()` by default. With tau_us and patch growing from layer to layer, and
                surfaces "joined", they are layers as of HOTS (Lagorce et al. 2017, "HOTS: a
                hierarchy of event-based time-surfaces for pattern recognition")
    epochs      passes over all recordings, of each layer
    seed        of the first features

    The nearest feature within its threshold, by the distance 1 - w.d, wins a patch d: it becomes
    (1 - eta) w + eta d, scaled to length 1, and its threshold shrinks by delta_i. Without such a
    feature all thresholds of the group grow by delta_e, and the patch is missed (Afshar et al.
    2020, "Event-based feature extraction using adaptive selection thresholds"). First features and
    thresholds are uniform between 0 and 1. Patches that leave the sensor are left out.

    Raises EventsError if there is no patch to learn from, ConfigError for too many features.

        digits = [dvskit.load_events(f"digits/{name}/00001.bin") for name in "012"]
        layers = [
            dvskit.tensors.FeatureLayer(n_features=8, patch=5, tau_us=10_000, surfaces="merged"),
            dvskit.tensors.FeatureLayer(n_features=12, patch=7, tau_us=40_000, surfaces="joined"),
        ]
        features = dvskit.tensors.fit_features(digits, layers)
        features.count    # 12
    """
    check_whole("epochs", epochs, 1)
    rng = np.random.default_rng(seed)
    chosen = (layers or FeatureLayer(),) if isinstance(layers, FeatureLayer | None) else layers
    again = _again(recordings)
    fitted: list[FittedLayer] = []
    for layer in chosen:
        fitted.append(_fit_layer(layer, tuple(fitted), again, epochs, rng))
    if not fitted:
        raise ConfigError("layers is empty; give at least one FeatureLayer")
    return Features(tuple(fitted))


def _again(recordings: Recordings) -> Callable[[], Iterator[Source]]:
    """Return a function that yields all recordings, at each call."""
    if isinstance(recordings, Events) or hasattr(recordings, "size"):
        source = as_source(recordings)  # type: ignore[arg-type]
        return lambda: iter((source,))
    # A generator yields its recordings only once.
    several: Any = list(recordings) if iter(recordings) is recordings else recordings
    return lambda: (as_source(each[0] if isinstance(each, tuple) else each) for each in several)


def _fit_layer(
    layer: FeatureLayer,
    before: tuple[FittedLayer, ...],
    recordings: Callable[[], Iterator[Source]],
    epochs: int,
    rng: np.random.Generator,
) -> FittedLayer:
    channels = before[-1].channels if before else 2
    shape = layer.shape(channels)
    weights = rng.random(shape, np.float32)
    weights /= np.sqrt((weights**2).sum((2, 3), keepdims=True))
    thresholds = rng.random(shape[:2], np.float32)
    padded, seen, missed = _padded(weights), 0, 0
    for _ in range(epochs):
        seen = missed = 0
        for source in recordings():
            size = as_size(source.size)
            step = _chain(before, size)
            learning = _Pass(layer, padded, thresholds, channels, size)
            for block in even_blocks(source, count=_LEARNED_AT_ONCE):
                columns = _columns(block)
                if before:
                    found = step(columns)
                    t, x, y, channel = (each[found >= 0] for each in (*columns[:3], found))
                    columns = t, x, y, channel
                patches, lost = learning.learn(columns)
                seen, missed = seen + patches, missed + lost
        if not seen:
            raise EventsError(
                f"no event is {layer.patch // 2} pixels from the border, so there is no patch to "
                "learn from; give other recordings, or a smaller patch"
            )
    flat = padded[:, : shape[1], : shape[2] * shape[3]]
    return FittedLayer(layer, flat.reshape(shape).copy(), thresholds, missed / seen)


_KEY = "dvskit features"
_LENGTH = 1e-3  # the largest difference of a feature's length from 1


def save_features(
    features: Features, path: str | PathLike[str], *, overwrite: bool = False
) -> None:
    """Write features to a safetensors file, whole or not at all: see `load_features`.

    Raises OutputError for an existing file unless `overwrite`, and for errors of the operating
    system.

        digit = dvskit.load_events("digits/1/00001.bin")
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        features = dvskit.tensors.fit_features(digit, layer)
        dvskit.tensors.save_features(features, "saved.safetensors")
    """
    tensors, layers = {}, []
    for number, each in enumerate(features.layers):
        tensors[f"weights.{number}"] = np.ascontiguousarray(each.weights)
        tensors[f"thresholds.{number}"] = np.ascontiguousarray(each.thresholds)
        layers.append({**asdict(each.layer), "missed": each.missed})
    write_whole(path, save(tensors, {_KEY: json.dumps(layers)}), overwrite=overwrite)


def load_features(path: str | PathLike[str]) -> Features:
    """Return the features in a file of `save_features`.

    Raises MissingFileError without the file, FormatError for any other content.

        digit = dvskit.load_events("digits/1/00001.bin")
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        fitted = dvskit.tensors.fit_features(digit, layer)
        dvskit.tensors.save_features(fitted, "features.safetensors")
        features = dvskit.tensors.load_features("features.safetensors")
        features.count    # 16
    """
    try:
        about = Path(path).stat()
    except FileNotFoundError as error:
        raise MissingFileError(path, "write it with dvskit.tensors.save_features") from error
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _loaded(str(path), about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)  # a representation is made anew for each live decision
def _loaded(path: str, _changed_ns: int, _bytes: int) -> Features:
    try:
        with open_regular(path), safe_open(path, "np") as file:
            stored = json.loads((file.metadata() or {})[_KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return _features(stored, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, DvskitError) as error:
        missing = isinstance(error, KeyError)
        problem = f"it has no {error.args[0]}" if missing else one_line(error)[:200]
        raise FormatError(
            f"{path}: holds no features: {problem}; write it with dvskit.tensors.save_features"
        ) from error


def _features(stored: list[dict[str, Any]], tensors: dict[str, NDArray[Any]]) -> Features:
    layers: list[FittedLayer] = []
    for number, values in enumerate(stored):
        missed = float(values.pop("missed"))
        layer = FeatureLayer(**values)
        shape = layer.shape(layers[-1].channels if layers else 2)
        weights, thresholds = (tensors[f"{key}.{number}"] for key in ("weights", "thresholds"))
        for key, array, wanted in (
            ("weights", weights, shape),
            ("thresholds", thresholds, shape[:2]),
        ):
            if array.shape != wanted or array.dtype != np.float32:
                raise ValueError(
                    f"{key}.{number} is {array.shape} of {array.dtype}, not {wanted} of float32"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{key}.{number} holds values that are not finite")
        lengths = np.sqrt((weights.astype(np.float64) ** 2).sum((2, 3)))
        if abs(lengths - 1).max() > _LENGTH:
            raise ValueError(f"weights.{number} holds features of another length than 1")
        if not (isfinite(missed) and 0 <= missed <= 1):
            raise ValueError(f"missed = {missed} is no share")
        layers.append(FittedLayer(layer, weights, thresholds, missed))
    if not layers:
        raise ValueError("it has no layers")
    return Features(tuple(layers))


class _FeatureFill(PlanesFill):
    in_order = True

    def __init__(self, made: Any, bins: Bins, planes: Planes, size: Size) -> None:
        super().__init__(made, bins, planes, size)
        self.step, self.cell = made.fitted.start(size), int(made.cell_px)
        self.lines, self.columns = made.bin_shape(size)[1:]
        planes.clear_rest()  # no plane holds events yet

    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        found, events = self.step(part.events), part.events
        at = np.arange(part.first, part.first + len(part.borders) - 1) * self.planes.step
        at = np.repeat(at, np.diff(part.borders))
        row, column = events.y // self.cell, events.x // self.cell
        at += (found * np.int64(self.lines) + row) * self.columns + column
        np.add.at(self.planes.flat, at[found >= 0], np.float32(1))

    def finish(self) -> None:
        """Do nothing: all planes were cleared at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCounts(BinnedPlanes):
    """Count events per time bin, feature and cell: (bins, features, H / cell_px, W / cell_px).

    float32; sides are rounded up. An event counts for the feature that `Features.transform` finds;
    surfaces start empty at the first event, and go on from bin to bin. Events without a feature,
    near the border, do not count. With one bin and a cell as large as the sensor the counts are a
    histogram of features.

    fitted   the features of `fit_features`, or a file of `save_features`
    bins     the number of bins, 1 by default; without `bin_us` they divide the time between the
             first event and the last
    bin_us   the length of a bin in microseconds
    cell_px  the side of a cell: 1, a pixel
    outside  "error" or "ignore", for events outside a window given by bins and bin_us

    Raises MissingFileError and FormatError for the file.

        digits = [dvskit.load_events(f"digits/{name}/00001.bin") for name in "012"]
        layer = dvskit.tensors.FeatureLayer(n_features=8, patch=5)
        features = dvskit.tensors.fit_features(digits, layer)
        counts = dvskit.tensors.FeatureCounts(fitted=features, cell_px=34)
        histogram = counts(digits[0])    # (1, 16, 1, 1) float32: 8 features each of OFF and ON
    """

    fitted: Features | str | PathLike[str]
    cell_px: int = checked(check_whole, 1, default=1)
    dtype: ClassVar[torch.dtype] = torch.float32
    _fill = _FeatureFill
    _one_bin = True

    def __post_init__(self) -> None:
        BinnedPlanes.__post_init__(self)
        if not isinstance(self.fitted, Features):
            object.__setattr__(self, "fitted", load_features(self.fitted))

    @property
    def channels(self) -> int:
        """The number of features."""
        assert isinstance(self.fitted, Features)
        return self.fitted.count

    def bin_shape(self, size: Size) -> tuple[int, ...]:
        """Return the shape of a bin: features, and rows and columns of cells."""
        cell = int(self.cell_px)
        return self.channels, -(-size.height // cell), -(-size.width // cell)
