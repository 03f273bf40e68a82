"""Parameters of an emulated sensor, named sensors, and v2e's names of the parameters."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from dvskit._checks import check_choice, check_fields, check_number, check_whole, checked
from dvskit._files import MOST_TOML, read_regular
from dvskit._toml import parse_toml
from dvskit.errors import ConfigError, MissingFileError, did_you_mean
from dvskit.events import Size, as_size
from dvskit.video.light import LIGHTS, MIDDLE_GRAY, Light

_PRESETS = Path(__file__).with_name("presets.toml")

MODELS = ("exact", "v2e")
_KNEES = {"linear": 1.0, "luma": 20.0}  # digital numbers
LEAST_LUMA = 1.5  # a lower knee would make the line from 0 flat

_OFFICE_LUX = 300.0
_ON_CHIP = 0.05  # share of a scene's illuminance that white brings to the chip, by a lens of f/2
_BESIDE = (  # keys of a preset besides its parameters
    "source", "summary", "size", "also", "sold", "least", "by_light",
)  # fmt: skip

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
    "dvs_emulator_seed": "seed= of emulate",
    "seed": "seed= of emulate",
    "dvs_params": "params= of emulate, the name of a preset",
    "preset": "params= of emulate, the name of a preset",
    "timestamp_resolution": "not needed: events have exact times between frames; dvskit emulate "
        "--upsample adds frames",
    "auto_timestamp_resolution": "dvskit emulate --upsample, which adds frames",
    "slomo_model": "dvskit emulate --upsample, which adds frames",
    "disable_slomo": "what happens without dvskit emulate --upsample",
    "slowdown_factor": "dvskit emulate --upsample, which adds frames",
    "output_width": "size= of emulate",
    "output_height": "size= of emulate",
    "input_frame_rate": "fps= of emulate",
    "input_slowmotion_factor": "fps= of emulate",
    "start_time": "the time start_us= of emulate",
    "stop_time": "the time stop_us= of emulate",
}  # fmt: skip


def answer_for(name: str) -> str:
    """Return the equivalent of a v2e name as text; an empty text for any other name."""
    meant = V2E_NAMES.get(name.strip().lstrip("-").lower().replace("-", "_"))
    return "" if meant is None else f"v2e's {name.strip()} is {meant}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorParams:
    """Parameters of the emulated sensor; the defaults are an ideal sensor.

    threshold_on, threshold_off  change of log intensity (e-folds) that makes an event; 0.01..10
    threshold_sigma  standard deviation of both from pixel to pixel, in e-folds; none below 0.01
    light            what the codes of integer frames stand for: "linear", the light that they
                     encode, or "luma", the codes themselves, as v2e takes them. Float frames are
                     taken as they are
    linear_below     digital number (of 255) below which the response is linear: of light along the
                     logarithm's tangent there, of luma from 0 (v2e); None for 1, of luma for 20
    log_offset       instead of that: L = ln(I + log_offset), in digital numbers; None for lin-log
    cutoff_hz        photoreceptor's low-pass at white; it falls with the light, as
                     (I + dark) / (255 + dark); 0 for none
    dark             digital number of the light that the dark current is worth; 20 in v2e
    follower_hz      source follower's low-pass, the same for all light; 0 for none
    leak_hz          ON events per second of a pixel that sees no change
    leak_spread      standard deviation of its logarithm to base 10 from pixel to pixel
    leak_jitter      standard deviation of each leak's rate, as a part of it
    shot_hz          noise events per second, of both polarities, of a dark pixel; 1/4 at white
    noise_sigma      in place of shot_hz: standard deviation of the photoreceptor's noise in the
                     dark, in e-folds; its events follow from thresholds, light, cutoff_hz and
                     follower_hz
    refractory_us    how long a pixel is held in reset after an event
    hot_fraction     share of the pixels that fire ON at random, at hot_hz events per second
    hot_hz           see hot_fraction
    dead_fraction    share of the pixels that never fire
    latency_us       delay of all events
    jitter_us        standard deviation of the delay from event to event; none is below 0
    readout_hz       most events per second of the readout: events wait for it, and a pixel that
                     waits loses its further ones; 0 for no limit
    scan_us          time of a scan of the whole sensor, whose events share its end as their time,
                     one of each pixel at most; 0 for a readout event by event
    surround_px      radius of the surround subtracted from each pixel's log intensity; 0 for none
    surround_gain    share of the surround that is subtracted
    model            "exact", or "v2e": one step per frame, as in v2e, without added frames

    Raises ConfigError for values out of range.

        params = dvskit.EmulatorParams(threshold_on=0.3, threshold_off=0.3, leak_hz=0.1)
        events = dvskit.emulate("video.mp4", params, seed=1).load()
        sensor = dvskit.EmulatorParams.preset("DAVIS346")    # of `EmulatorParams.presets()`
    """

    threshold_on: float = checked(check_number, 0.01, 10.0, default=0.2)
    threshold_off: float = checked(check_number, 0.01, 10.0, default=0.2)
    threshold_sigma: float = checked(check_number, 0.0, 1.0, default=0.0)
    light: Light = checked(check_choice, LIGHTS, default="linear")
    linear_below: float | None = checked(check_number, 0.01, 255.0, default=None)
    log_offset: float | None = checked(check_number, 1e-6, 1e6, default=None)
    cutoff_hz: float = checked(check_number, 0.0, 1e9, default=0.0)
    dark: float = checked(check_number, 1e-6, 1e6, default=20.0)
    follower_hz: float = checked(check_number, 0.0, 1e6, default=0.0)
    leak_hz: float = checked(check_number, 0.0, 1e4, default=0.0)
    leak_spread: float = checked(check_number, 0.0, 1.0, default=0.0)
    leak_jitter: float = checked(check_number, 0.0, 0.3, default=0.0)
    shot_hz: float = checked(check_number, 0.0, 1e4, default=0.0)
    noise_sigma: float = checked(check_number, 0.0, 1.0, default=0.0)
    refractory_us: int = checked(check_whole, 0, 1_000_000_000, default=0)
    hot_fraction: float = checked(check_number, 0.0, 1.0, default=0.0)
    hot_hz: float = checked(check_number, 0.0, 1e6, default=0.0)
    dead_fraction: float = checked(check_number, 0.0, 1.0, default=0.0)
    latency_us: int = checked(check_whole, 0, 1_000_000, default=0)
    jitter_us: float = checked(check_number, 0.0, 100_000.0, default=0.0)
    readout_hz: float = checked(check_number, 0.0, 1e12, default=0.0)
    scan_us: int = checked(check_whole, 0, 1_000_000, default=0)
    surround_px: float = checked(check_number, 0.0, 1000.0, default=0.0)
    surround_gain: float = checked(check_number, 0.0, 1.0, default=0.0)
    model: str = checked(check_choice, MODELS, default="exact")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.light == "luma" and self.knee < LEAST_LUMA:
            raise ConfigError(f"linear_below = {self.knee} is below {LEAST_LUMA}, luma's least")
        if self.noise_sigma and not (self.cutoff_hz and self.follower_hz):
            raise ConfigError("noise_sigma needs cutoff_hz and follower_hz, the noise's bandwidth")

    @property
    def knee(self) -> float:
        """The digital number below which the response is linear."""
        return _KNEES[self.light] if self.linear_below is None else self.linear_below

    @property
    def is_ideal(self) -> bool:
        """Whether the pixels only compare log intensity with two thresholds."""
        ideal = ("threshold_on", "threshold_off", "light", "linear_below", "log_offset")
        after = (
            "latency_us", "jitter_us", "readout_hz", "scan_us", "surround_px", "surround_gain",
            "hot_hz", "dark",
        )  # fmt: skip
        return all(
            getattr(self, each.name) == each.default
            for each in dataclasses.fields(self)
            if each.name not in ideal + after
        )

    @classmethod
    def preset(cls, name: str | PathLike[str], *, lux: float | None = None) -> EmulatorParams:
        """Return the parameters of a named sensor, in any case, or of a preset file (.toml).

        lux  the illuminance of the scene, 300 (a lit office) for None: it sets the low-pass, the
             noise and the leak of a camera's pixels; 0.01 to 1,000,000

        `presets` lists the names. Raises ConfigError for an unknown name, unknown or invalid
        values, and for `lux` with a sensor that is the same in all light; MissingFileError.
        """
        if str(name).endswith(".toml"):
            if lux is not None:
                raise ConfigError(f"lux: the numbers of {name} are of its own light")
            return read_preset(Path(name))
        known = preset_name(str(name))
        return _made(f"preset {known}", _at_lux(known, lux))

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Return the names of the named sensors."""
        return tuple(preset_table())


def as_params(params: EmulatorParams | str | PathLike[str] | None) -> EmulatorParams:
    """Return the given parameters, the parameters of a preset, or a clean sensor for None.

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
    for key in values:
        if key not in known:
            hint = answer_for(key) or did_you_mean(key, known)
            raise ConfigError(f"{where}: unknown parameter {key!r}; {hint}")
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
        values = parse_toml(read_regular(path, MOST_TOML).decode("utf-8"))
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
    """Return the name of a sensor given in any case, or by another name. Raises ConfigError."""
    written = {
        each.casefold(): known
        for known, values in preset_table().items()
        for each in (known, *values.get("also", ()))
    }
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
    return own, f'{why}; size="native" keeps the clip\'s own'


def preset_size(name: str | PathLike[str]) -> Size | None:
    """Return the size of a named sensor; None if it has none, and for a preset file."""
    if str(name).endswith(".toml"):
        return None
    size = preset_table()[preset_name(str(name))].get("size")
    return None if size is None else as_size(tuple(size))


def _at_lux(name: str, lux: float | None) -> dict[str, Any]:
    """Return the values of a named sensor, with those that follow from the light of the scene.

    `by_light` has lux on the chip: the bandwidth of a photoreceptor is proportional to its current
    (Lichtsteiner et al. 2008), leak rises with the light (Nozaki and Delbruck 2017); the same for
    all pixels. Raises ConfigError.
    """
    values = preset_table()[name]
    by_light = values.get("by_light")
    if by_light is None:
        if lux is not None:
            named = ", ".join(each for each, known in preset_table().items() if "by_light" in known)
            raise ConfigError(f"lux: {name} is the same in all light; it is for {named}")
        return values
    lux = _OFFICE_LUX if lux is None else lux
    check_number("lux", lux, 0.01, 1e6)
    white, dark = _ON_CHIP * lux, by_light["dark_lux"]
    return values | {
        "cutoff_hz": by_light["hz_per_lux"] * (white + dark),
        "log_offset": 255 * dark / white,
        "dark": 255 * dark / white,
        "leak_hz": by_light["leak_hz"] + by_light["leak_hz_per_lux"] * white * MIDDLE_GRAY,
    }


@cache
def preset_table() -> dict[str, dict[str, Any]]:
    """Return the table of named sensors: values, `summary` and `source` of each."""
    return tomllib.loads(_PRESETS.read_text(encoding="utf-8"))
