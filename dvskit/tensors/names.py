"""Representations by name: dvskit's own, and those that are registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from dvskit._checks import check_choice, check_known, check_whole
from dvskit.errors import REGISTER_FIRST, ConfigError, ShapeError, did_you_mean
from dvskit.events import Events, Source, as_size, as_source, cut
from dvskit.events.sources import read_all
from dvskit.registry import Registry, named_errors
from dvskit.tensors.counts import MOST, Binary, Counts, EventFrames, Signed, VoxelGrid
from dvskit.tensors.features import FeatureCounts
from dvskit.tensors.point_set import PointSet
from dvskit.tensors.representation import (
    OUTSIDE,
    Outside,
    Representation,
    check_out,
    refuse_outside,
)
from dvskit.tensors.time_surface import (
    AveragedTimeSurface,
    DecayedCounts,
    LastTimes,
    TimeSurface,
    Tore,
)

REPRESENTATIONS: Registry[Callable[..., Any]] = Registry(
    "representation",
    {
        "counts": Counts,
        "binary": Binary,
        "signed": Signed,
        "voxel_grid": VoxelGrid,
        "last_times": LastTimes,
        "time_surface": TimeSurface,
        "decayed_counts": DecayedCounts,
        "averaged_time_surface": AveragedTimeSurface,
        "tore": Tore,
        "event_frames": EventFrames,
        "point_set": PointSet,
        "features": FeatureCounts,
    },
    hint=f"; for one of your own, {REGISTER_FIRST}",
)
_OWN = frozenset(REPRESENTATIONS.values())
_DTYPES = {str(each).removeprefix("torch."): each for each in MOST}
_WINDOW = ("bins", "bin_us")
_PROBED_US = 1000  # between the two events, without a window
_GIVEN = ("start_us", "out", "outside")  # dvskit handles them for functions


def register_representation(name: str, kind: Callable[..., Any]) -> None:
    """Add a representation of your own: for `representation_from`, configurations and --as.

    A function is called for each tensor, kind(events, *, parameters), and returns it:

        import numpy as np
        import torch
        from dvskit.tensors import register_representation, representation_from

        def on_minus_off(events, *, bins=5, bin_us=10_000):
            width, height = events.sensor_size
            frames = np.zeros((bins, 1, height, width), np.float32)
            place = events.t // bin_us, 0, events.y, events.x
            np.add.at(frames, place, 2.0 * events.p - 1)
            return torch.from_numpy(frames)

        register_representation("on_minus_off", on_minus_off)
        signed = representation_from("on_minus_off", bins=8, outside="ignore")
        tensor = signed(dvskit.load_events("events.raw"))    # (8, 1, H, W) float32

    It gets all `Events` from the start on; their times count from the start. If it has both
    parameters bins and bin_us, it gets the events of the window, 0 <= t < bins * bin_us; `outside`
    is then a parameter too, as of `Counts`. It returns a float32 tensor. Its shape depends only on
    the size of the sensor and the parameters; dvskit learns it from a call with two events, at both
    ends of the window and the sensor. No events give zeros, without a call. tonic's transforms take
    events.to_array("tonic").

    A class is called once, kind(*, parameters), and makes a `Representation`. That has any dtype,
    and takes a Source block by block.

    Parameters are passed by name; a value has the type of the default. A parameter tau_us is
    tau=50ms on the command line. The same events give the same tensor, for any blocks of a Source,
    in each call and on several threads at once: keep no state, and draw from a generator with a
    fixed seed. Caches keep the events, not the tensors, since your code may change.

    Raises ConfigError for a name that is taken, and for any other kind. Calls raise it for values
    of a function that are not finite.
    """
    _check_kind(name, kind)
    REPRESENTATIONS.register(name, kind)


def _check_kind(name: str, kind: Any) -> None:
    """Raise ConfigError for anything but a class or a function of events, with named values."""
    is_class, fits, more = isinstance(kind, type), False, ""
    with suppress(TypeError, ValueError):  # it has no signature, or another
        more = str(inspect.signature(kind))
        parameters = list(inspect.signature(kind).parameters.values())
        if is_class:
            inspect.signature(kind.__call__).bind(None, None, start_us=None, out=None)
            fits = {"shape", "__call__"} <= set(dir(kind))
        elif parameters:
            first = parameters.pop(0)
            by_place = first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
            fits = by_place and first.default is first.empty
        fits = fits and all(
            each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
            and (is_class or each.name not in _GIVEN)
            for each in parameters
        )
    if not fits:
        raise ConfigError(
            f"representation {name!r} is {getattr(kind, '__name__', repr(kind))}{more}; register a "
            "function mine(events, *, bins=5, ...) with named parameters other than start_us, out "
            "and outside, or a class with shape(size) and __call__(events, *, start_us, out)"
        )


def parameters_of(name: str) -> dict[str, bool]:
    """Return the parameters of a representation, and whether each is required.

    Raises ConfigError for an unknown representation.
    """
    found = {key: each.default is each.empty for key, each in _parameters(name).items()}
    in_window = not isinstance(REPRESENTATIONS[name], type) and found.keys() >= set(_WINDOW)
    return found | ({"outside": False} if in_window else {})


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    kind = REPRESENTATIONS.find(name)
    every = list(inspect.signature(kind).parameters.values())
    return {each.name: each for each in (every if isinstance(kind, type) else every[1:])}


def representation_from(name: str, /, **parameters: Any) -> Representation:
    """Return the representation with a name: `representation_from("voxel_grid", bins=5)`.

    A dtype may be given by its name, such as "uint8". Raises ConfigError for an unknown
    representation, parameter or dtype, a missing parameter, and invalid values.

        grid = dvskit.tensors.representation_from("voxel_grid", bins=5)
        voxels = grid(dvskit.load_events("events.raw"))    # (5, 1, 128, 128) float32
    """
    known = parameters_of(name)
    for each in parameters:
        if each not in known:
            raise ConfigError(f"{name} has no parameter {each!r}; {did_you_mean(each, known)}")
    for each, needed in known.items():
        if needed and each not in parameters:
            raise ConfigError(f"{name} needs {each}; give {each}=VALUE")
    dtype = parameters.get("dtype")
    if isinstance(dtype, str):
        check_known("dtype", dtype, _DTYPES)
        parameters["dtype"] = _DTYPES[dtype]
    kind = REPRESENTATIONS[name]
    if REPRESENTATIONS.is_own(name):
        return kind(**parameters)  # type: ignore[no-any-return]
    defaults = {key: each.default for key, each in _parameters(name).items()}
    for key, value in parameters.items():
        _check_type(name, key, value, defaults.get(key))
    if not isinstance(kind, type):
        return _made_of(name, kind, defaults | parameters)
    with named_errors(f"representation {name!r}"):
        found = kind(**parameters)
    if not isinstance(found, Representation):
        raise ConfigError(f"representation {name!r}: {kind.__name__} has no dtype; add one")
    return found


def is_own(representation: Representation) -> bool:
    """Return whether a representation is of dvskit: its tensors depend only on the version."""
    return type(representation) in _OWN


def _check_type(name: str, key: str, value: Any, default: Any) -> None:
    """Raise ConfigError for a value of another type than the default; whole numbers are floats."""
    for kind, numbers in ((bool, bool), (int, Integral), (float, Real), (str, str)):
        if type(default) is not kind or value is None:
            continue
        if not isinstance(value, numbers) or isinstance(value, bool) != (kind is bool):
            raise ConfigError(
                f"{name}: {key} = {value!r} is {type(value).__name__}; give {kind.__name__}"
            )


def _made_of(name: str, kind: Callable[..., Tensor], values: dict[str, Any]) -> FunctionOfEvents:
    given = {key: value for key, value in values.items() if key != "outside"}
    outside, window_us = values.get("outside", "error"), None
    check_choice("outside", outside, OUTSIDE, owner=name)
    if given.keys() >= set(_WINDOW) and None not in (given["bins"], given["bin_us"]):
        for key in _WINDOW:
            check_whole(key, given[key], 1, owner=name)
        window_us = int(given["bins"]) * int(given["bin_us"])
    return FunctionOfEvents(name, kind, given, window_us, outside)


@dataclass(frozen=True, slots=True, repr=False)
class FunctionOfEvents:
    """A registered function with its parameters, as a representation."""

    name: str
    function: Callable[..., Tensor]
    parameters: Mapping[str, Any]
    window_us: int | None
    outside: Outside
    dtype: ClassVar[torch.dtype] = torch.float32

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.parameters.items())
        return f"{self.name}({values})"

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of the tensor of two events, at both ends of window and sensor."""
        width, height = as_size(size)
        t = [0, (self.window_us or _PROBED_US) - 1]
        ends = Events(t=t, x=[0, width - 1], y=[0, height - 1], p=[False, True], size=size)
        return tuple(self._tensor(ends).shape)

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the tensor of the events; see `Representation`."""
        whole = read_all(as_source(events))
        if start_us is None:
            start_us = int(whole.t[0]) if len(whole) else 0
        if self.window_us is None:
            seen = cut(whole, start_us, None)
        else:
            stop_us = start_us + self.window_us
            seen = cut(whole, start_us, stop_us)
            refuse_outside(len(whole) - len(seen), (start_us, stop_us), self.outside)
        seen = Events.from_checked(seen.t - start_us, seen.x, seen.y, seen.p, seen.sensor_size)
        tensor = self._tensor(seen) if len(seen) else torch.zeros(self.shape(seen.sensor_size))
        if out is None:
            return tensor
        try:
            check_out(out, tuple(tensor.shape), self.dtype)
        except ShapeError as error:
            raise ShapeError(
                f"representation {self.name!r}: {error}; its shape must not depend on the events"
            ) from None
        return out.copy_(tensor)

    def _tensor(self, events: Events) -> Tensor:
        with named_errors(f"representation {self.name!r}"):
            tensor = self.function(events, **self.parameters)
        if isinstance(tensor, Tensor) and tensor.dtype == self.dtype:
            if not tensor.numel():
                raise ShapeError(
                    f"representation {self.name!r} returns {tuple(tensor.shape)}, nothing"
                )
            bad = ~tensor.detach().isfinite()
            if bool(bad.any()):
                where = tuple(bad.nonzero()[0].tolist())
                raise ConfigError(
                    f"representation {self.name!r}: value {tensor[where].item():g} at {where}; "
                    "return finite values: torch.nan_to_num(tensor)"
                )
            return tensor.detach()
        what = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        fix = "tensor.float()" if isinstance(tensor, Tensor) else "torch.from_numpy(array).float()"
        raise ShapeError(
            f"representation {self.name!r} returns {what}; return a float32 tensor: {fix}"
        )
