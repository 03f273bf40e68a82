"""Parameters of an emulated sensor, named sensors, and v2e's names of the parameters."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from dvskit._arguments import check_arguments, check_fields, checked, in_range
from dvskit._toml import parse_toml
from dvskit.errors import ConfigError, MissingFileError, check_known, did_you_mean
from dvskit.events import Size, as_size
from dvskit.video.light import Light, checked_light

_PRESETS = Path(__file__).with_name("presets.toml")

MODELS = ("exact", "v2e")
_KNEES = {"exact": 1.0, "v2e": 20.0}  # digital numbers
_WORDS = ("model", "light")  # parameters that are no numbers

_BESIDE = ("source", "summary", "size")  # keys of a preset besides its parameters

V2E_NAMES = {
    "pos_thres": "threshold_on",
    "neg_thres": "threshold_off",
    "sigma_thres": "threshold_sigma",
    "leak_rate_hz": "leak_hz",
    "leak_jitter_fraction": "leak_jitter",
    "noise_rate_cov_decades": "leak_spread",
    "shot_noise_rate_hz": "shot_hz",
    "refractory_period": "refractory_us, in microseconds",
    "refractory_period_s": "refractory_us, in microseconds",
    "cs_lambda_pixels": "surround_px",
    "dvs_emulator_seed": "the seed (seed=, --seed)",
    "seed": "the seed (seed=, --seed)",
    "dvs_params": "a preset (EmulatorParams.preset, --preset)",
    "preset": "a preset (EmulatorParams.preset, --preset)",
    "timestamp_resolution": "not needed: events have exact times between frames; dvskit emulate "
        "--upsample adds frames",
    "auto_timestamp_resolution": "dvskit emulate --upsample, which adds frames",
    "slomo_model": "dvskit emulate --upsample, which adds frames",
    "disable_slomo": "what happens without dvskit emulate --upsample",
    "slowdown_factor": "dvskit emulate --upsample, which adds frames",
    "output_width": "the size (size=, --size WIDTHxHEIGHT)",
    "output_height": "the size (size=, --size WIDTHxHEIGHT)",
    "input_frame_rate": "the rate of frames (fps=, --fps)",
    "input_slowmotion_factor": "the rate of frames (fps=, --fps)",
    "start_time": "dvskit emulate --start",
    "stop_time": "dvskit emulate --stop",
}  # fmt: skip


def answer_for(name: str) -> str:
    """Return the equivalent of a v2e name as text; an empty text for any other name."""
    meant = V2E_NAMES.get(name.strip().lstrip("-").lower().replace("-", "_"))
    return "" if meant is None else f"v2e's {name.strip()} is {meant}"


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorParams:
    """Parameters of the emulated sensor; the defaults are those of an ideal one.

    threshold_on, threshold_off  change of log intensity (e-folds) that makes an event; 0.01..10
    threshold_sigma  standard deviation of both from pixel to pixel, in e-folds; none below 0.01
    light            what the codes of integer frames stand for: "linear", the light that they
                     encode, or "luma", the codes themselves, as v2e takes them. Float frames are
                     taken as they are
    linear_below     digital number (of 255) below which the response is linear, the tangent of the
                     logarithm there; None for 1. In model "v2e" the line ends at 0; None for 20
    log_offset       instead of that: L = ln(I + log_offset), in digital numbers; None for lin-log
    cutoff_hz        photoreceptor's low-pass at white; it falls with the light, as
                     (I + 20) / 275 (v2e); 0 for none
    follower_hz      source follower's low-pass, the same for all light; 0 for none
    leak_hz          ON events per second of a pixel that sees no change
    leak_spread      standard deviation of its logarithm to base 10 from pixel to pixel
    leak_jitter      standard deviation of each leak's rate, as a part of it
    shot_hz          noise events per second, of both polarities, of a dark pixel; 1/4 at white
    refractory_us    how long a pixel is held in reset after an event
    hot_fraction     share of the pixels that fire ON at random, at hot_hz events per second
    hot_hz           see hot_fraction
    dead_fraction    share of the pixels that never fire
    latency_us       delay of all events
    jitter_us        standard deviation of the delay from event to event; none is below 0
    surround_px      radius of the surround subtracted from each pixel's log intensity; 0 for none
    surround_gain    share of the surround that is subtracted
    model            "exact", or "v2e": one step per frame, as in v2e, without added frames

    Parameter names of v2e, such as pos_thres, raise an error with the name used here.

    Raises ConfigError for values out of range.

        params = dvskit.EmulatorParams(threshold_on=0.3, threshold_off=0.3, leak_hz=0.1)
        events = dvskit.emulate("video.mp4", params, seed=1).load()
        sensor = dvskit.EmulatorParams.preset("DAVIS346")    # of `EmulatorParams.presets()`
    """

    threshold_on: float = checked(in_range, 0.01, 10.0, default=0.2)
    threshold_off: float = checked(in_range, 0.01, 10.0, default=0.2)
    threshold_sigma: float = checked(in_range, 0.0, 1.0, default=0.0)
    light: Light = "linear"
    linear_below: float | None = checked(in_range, 0.01, 255.0, default=None)
    log_offset: float | None = checked(in_range, 1e-6, 255.0, default=None)
    cutoff_hz: float = checked(in_range, 0.0, 1e6, default=0.0)
    follower_hz: float = checked(in_range, 0.0, 1e6, default=0.0)
    leak_hz: float = checked(in_range, 0.0, 1e4, default=0.0)
    leak_spread: float = checked(in_range, 0.0, 1.0, default=0.0)
    leak_jitter: float = checked(in_range, 0.0, 0.3, default=0.0)
    shot_hz: float = checked(in_range, 0.0, 1e4, default=0.0)
    refractory_us: int = checked(in_range, 0, 1_000_000_000, default=0)
    hot_fraction: float = checked(in_range, 0.0, 1.0, default=0.0)
    hot_hz: float = checked(in_range, 0.0, 1e6, default=0.0)
    dead_fraction: float = checked(in_range, 0.0, 1.0, default=0.0)
    latency_us: int = checked(in_range, 0, 1_000_000, default=0)
    jitter_us: float = checked(in_range, 0.0, 100_000.0, default=0.0)
    surround_px: float = checked(in_range, 0.0, 1000.0, default=0.0)
    surround_gain: float = checked(in_range, 0.0, 1.0, default=0.0)
    model: str = "exact"
    other_names: ClassVar[Callable[[str], str]] = answer_for

    def __post_init__(self) -> None:
        check_fields(self)
        check_known("model", self.model, MODELS)
        checked_light(self.light)
        if self.model == "v2e" and self.knee < 1.5:
            raise ConfigError(f"linear_below = {self.knee} is below 1.5, the least of model v2e")
        for name in ("refractory_us", "latency_us"):
            if getattr(self, name) != int(getattr(self, name)):
                raise ConfigError(f"{name} = {getattr(self, name)} is not a whole number")

    @property
    def knee(self) -> float:
        """The digital number below which the response is linear."""
        return _KNEES[self.model] if self.linear_below is None else self.linear_below

    @property
    def is_ideal(self) -> bool:
        """Whether the pixels only compare log intensity with two thresholds."""
        ideal = ("threshold_on", "threshold_off", "light", "linear_below", "log_offset")
        after = ("latency_us", "jitter_us", "surround_px", "surround_gain", "hot_hz")
        return all(
            getattr(self, each.name) == each.default
            for each in dataclasses.fields(self)
            if each.name not in ideal + after
        )

    @classmethod
    @check_arguments
    def preset(cls, name: str | PathLike[str]) -> EmulatorParams:
        """Return the parameters of a named sensor, in any case, or of a preset file (.toml).

        `presets` lists the names. Raises ConfigError for an unknown name and unknown or invalid
        values, MissingFileError.
        """
        if str(name).endswith(".toml"):
            return read_preset(Path(name))
        return presets()[preset_name(str(name))]

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Return the names of the named sensors."""
        return tuple(presets())


def as_params(params: EmulatorParams | str | PathLike[str] | None) -> EmulatorParams:
    """Return the given parameters, those of a preset name or file, or a clean sensor for None.

    Raises ConfigError for anything else.
    """
    if params is None or isinstance(params, EmulatorParams):
        return params or EmulatorParams()
    if isinstance(params, str | PathLike):
        return EmulatorParams.preset(params)
    rate = f"; a rate is fps={params}" if isinstance(params, int | float) else ""
    raise ConfigError(f"params is {params!r}; EmulatorParams or a preset name is expected{rate}")


def _made(where: str, values: dict[str, Any]) -> EmulatorParams:
    known = {each.name for each in dataclasses.fields(EmulatorParams)}
    values = {key: value for key, value in values.items() if key not in _BESIDE}
    for key, value in values.items():
        if key not in known:
            hint = answer_for(key) or did_you_mean(key, known)
            raise ConfigError(f"{where}: unknown parameter {key!r}; {hint}")
        if key not in _WORDS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{where}: {key} = {value!r} is not a number")
    try:
        return EmulatorParams(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def read_preset(path: Path) -> EmulatorParams:
    """Read a preset file: a line `parameter = value` for each non-default value.

    The table [calibration] describes a calibration and holds no parameters. Raises ConfigError,
    MissingFileError.
    """
    try:
        values = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: is not a preset file ({error})") from None
    if isinstance(values.get("calibration"), dict):
        del values["calibration"]
    return _made(str(path), values)


def write_preset(
    params: EmulatorParams, comment: str, calibration: Mapping[str, float] | None = None
) -> str:
    """Return the text of a preset file, with each line of `comment` before it after a #.

    calibration  numbers for the table [calibration], which are not parameters
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    for each in dataclasses.fields(params):
        value = getattr(params, each.name)
        if value is not None and (value != each.default or each.name == "light"):
            lines.append(f"{each.name} = {value!r}")
    if calibration:
        lines += ["", "[calibration]", *(f"{key} = {calibration[key]!r}" for key in calibration)]
    return "\n".join(lines) + "\n"


def preset_name(name: str) -> str:
    """Return the spelling of a named sensor given in any case. Raises ConfigError."""
    written = {known.casefold(): known for known in preset_table()}
    if name.casefold() not in written:
        raise ConfigError(f"unknown preset {name!r}; {did_you_mean(name, preset_table())}")
    return written[name.casefold()]


def sensor_size(
    params: EmulatorParams | str | PathLike[str] | None, size: tuple[int, int] | str | None
) -> tuple[Size | None, str]:
    """Return the size that clips are scaled to, the given one or a preset's, and a note on it.

    It is None, which keeps the clip's, for "native" and for a sensor without a size. Raises
    GeometryError.
    """
    if size == "native":
        return None, ""
    if size is not None:
        return as_size(size), ""  # type: ignore[arg-type]
    own = None if params is None or isinstance(params, EmulatorParams) else preset_size(params)
    if own is None:
        return None, ""
    why = f", the size of {preset_name(str(params))}"
    return own, f'{why}; size="native" (--size native) keeps the clip\'s own'


def preset_size(name: str | PathLike[str]) -> Size | None:
    """Return the size of a named sensor; None if it has none, and for a preset file."""
    if str(name).endswith(".toml"):
        return None
    size = preset_table()[preset_name(str(name))].get("size")
    return None if size is None else as_size(tuple(size))


@cache
def presets() -> dict[str, EmulatorParams]:
    """Return the named sensors."""
    return {name: _made(f"preset {name}", values) for name, values in preset_table().items()}


@cache
def preset_table() -> dict[str, dict[str, Any]]:
    """Return the table of named sensors: values, `summary` and `source` of each."""
    return tomllib.loads(_PRESETS.read_text(encoding="utf-8"))
