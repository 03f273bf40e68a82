"""Calibrations of cameras in files: rpg's calib.txt, and YAML of OpenCV, ROS, Kalibr and DSEC."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from dvskit._files import read_regular
from dvskit._toml import check_nesting
from dvskit.errors import ConfigError, FormatError, MissingFileError, did_you_mean, one_line
from dvskit.streams import Intrinsics

_MATRIX = ("intrinsics", "camera_matrix", "cameraMatrix", "CameraMatrix", "K")
_DISTORTION = (
    "distortion_coeffs", "distortion_coefficients", "dist_coeffs", "distCoeffs", "D"
)  # fmt: skip
_MODELS = ("radtan", "plumb_bob", "none", "")
_SHAPE = "nine numbers fx fy cx cy k1 k2 p1 p2 k3 (the last five may be missing), or YAML"
CALIBRATION_NAME = "calib.txt"
_SUFFIXES = (".yaml", ".yml")
_MOST = 1e6
_LONGEST = 1 << 18  # bytes: the time of reading YAML may grow with their square


def read_camera(path: str | PathLike[str], *, size: tuple[int, int] | None = None) -> Intrinsics:
    """Return the calibration of a camera in a file.

    A text file holds fx fy cx cy k1 k2 p1 p2 k3, such as rpg's calib.txt; the last five may be
    missing. A YAML file is OpenCV's, a camera_info of ROS, Kalibr's camchain, or cam_to_cam of
    DSEC. If it holds several cameras, the path is followed by a colon and the name of one:
    "camchain.yaml:cam1".

    size  (width, height) of the sensor, compared with the resolution in the file if it has one; the
          center of a text file must be on it

    Raises MissingFileError, FormatError for other content, other distortion models and another
    resolution, ConfigError for a missing or unknown name of a camera.
    """
    file, name = _parted(str(path))
    try:
        text = read_regular(file, _LONGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        raise MissingFileError(file) from None
    except OSError as error:
        raise FormatError(f"{file}: cannot be read: {error.strerror or error}") from error
    if file.suffix.lower() not in _SUFFIXES:
        return _of_numbers(file, text, size)
    cameras = dict(_cameras("", _parsed(file, text)))
    if not cameras:
        raise FormatError(f"{file}: holds no camera; a camera has {' or '.join(_MATRIX[:2])}")
    if name and name not in cameras:
        raise ConfigError(f"{file}: has no camera {name!r}; {did_you_mean(name, cameras)}")
    if not name and len(cameras) > 1:
        raise ConfigError(
            f"{file}: holds {len(cameras)} cameras; name one, such as "
            f"{file.name}:{next(iter(cameras))}; choices: {', '.join(cameras)}"
        )
    return _of_table(file, cameras[name or next(iter(cameras))], size)


def camera_beside(path: Path) -> Intrinsics | None:
    """Return the calibration in `calib.txt` beside a file; None without it.

    Raises FormatError if that file is no calibration.
    """
    file = path.parent / CALIBRATION_NAME
    return read_camera(file) if file.is_file() else None


def _parted(path: str) -> tuple[Path, str]:
    """Return the path of a file, and the name of a camera after a colon, or ""."""
    found = re.fullmatch(r"(.+\.ya?ml):([^/\\:]+)", path, re.IGNORECASE)
    return (Path(found[1]), found[2]) if found else (Path(path), "")


def _of_numbers(file: Path, text: str, size: tuple[int, int] | None) -> Intrinsics:
    words = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not 4 <= len(numbers) <= 9:
        raise FormatError(f"{file}: does not hold {_SHAPE} ({', '.join(_SUFFIXES)})")
    known = _checked(file, numbers[:4], numbers[4:])
    if size is not None and not (0 <= known.cx < size[0] and 0 <= known.cy < size[1]):
        raise FormatError(
            f"{file}: its center, cx {known.cx:g} and cy {known.cy:g}, is not on a sensor of "
            f"{size[0]}x{size[1]}; pass the calibration of this camera"
        )
    return known


def _parsed(file: Path, text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import SafeConstructor
    from ruamel.yaml.error import YAMLError

    class WithoutMerges(SafeConstructor):
        """A merge copies what it names, and merges of merges take memory without end."""

        def flatten_mapping(self, node: Any) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise ValueError("merges (<<) are not read; write the values out")

    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = WithoutMerges
    # OpenCV writes "%YAML:1.0", which YAML does not allow, and a tag for mappings.
    plain = re.sub(r"\A\s*%YAML[^\n]*\n(---)?", "", text).replace("!!opencv-matrix", "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual numbers
            values = yaml.load(plain)
        check_nesting(values)
        return values
    except (YAMLError, ValueError, TypeError, RecursionError) as error:  # keys may be lists
        raise FormatError(
            f"{file}: is not YAML: {one_line(error)[:200]}; correct it, or write a .txt"
        ) from error


def _cameras(name: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the tables of cameras anywhere in the file, each with its name."""
    if not isinstance(value, Mapping):
        return
    if any(len(_numbers(value.get(key))) in (4, 9) for key in _MATRIX):
        yield name or "camera", value
        return
    for key, each in value.items():
        yield from _cameras(str(key), each)


def _of_table(where: Path, table: Mapping[str, Any], size: tuple[int, int] | None) -> Intrinsics:
    model = str(table.get("distortion_model", ""))
    kind = str(table.get("camera_model", "pinhole"))
    if model not in _MODELS or kind != "pinhole":
        raise FormatError(
            f"{where}: a camera of model {kind} with distortion {model or 'none'}; only pinhole "
            "with radtan (plumb_bob) is supported: calibrate with that model"
        )
    given = table.get("resolution") or [table.get("image_width"), table.get("image_height")]
    found = tuple(_numbers(given))
    if size is not None and len(found) == 2 and found != tuple(size):
        raise FormatError(
            f"{where}: is for a sensor of {found[0]:.0f}x{found[1]:.0f}, the recording has "
            f"{size[0]}x{size[1]}; pass the calibration of this camera"
        )
    matrix = next(n for key in _MATRIX if len(n := _numbers(table.get(key))) in (4, 9))
    if len(matrix) == 9:  # (3, 3) row by row
        matrix = [matrix[0], matrix[4], matrix[2], matrix[5]]
    distortion = next((_numbers(table[key]) for key in _DISTORTION if key in table), [])
    return _checked(where, matrix, distortion)


def _numbers(value: Any) -> list[float]:
    """Return the numbers of a list, of lists in it, or of OpenCV's matrix; [] for others."""
    if isinstance(value, Mapping):
        return _numbers(value.get("data"))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [float(value)]
    return [n for each in value for n in _numbers(each)] if isinstance(value, list) else []


def _checked(where: object, matrix: list[float], distortion: list[float]) -> Intrinsics:
    if any(distortion[5:]):
        raise FormatError(
            f"{where}: has {len(distortion)} distortion coefficients; k1 k2 p1 p2 k3 are supported"
        )
    known = Intrinsics(*matrix, *(distortion + [0.0] * 5)[:5])
    if not all(abs(each) < _MOST for each in known) or not (known.fx > 0 and known.fy > 0):
        raise FormatError(f"{where}: fx and fy must be above 0, and all numbers below {_MOST:g}")
    return known
