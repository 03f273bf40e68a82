"""`events.txt` of the event-camera dataset (UZH's Robotics and Perception Group): t x y p.

Times are decimal seconds, read digit by digit and rounded to the nearest microsecond; floats would
change some. A first line of two numbers is the sensor's width and height, as in E2VID's files.

images.txt, imu.txt and calib.txt in the folder of a file with that name are read as well, as
described by Mueggler et al. 2017 (The Event-Camera Dataset and Simulator), all on the clock of the
events. Damaged parts raise in strict mode; otherwise they are left out and noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dvskit.errors import FormatError, GeometryError, VideoError
from dvskit.events import Size, as_size
from dvskit.formats.calibration import CALIBRATION_NAME
from dvskit.formats.image_list import (
    IMAGES_NAME,
    SECONDS_AND_NAMES,
    Timed,
    read_image,
    read_names,
)
from dvskit.formats.recording import ReadOptions, SizeOrigin
from dvskit.formats.side_text import SideText, scaled
from dvskit.formats.text import line_kernels as k
from dvskit.formats.text.lines import (
    FirstLines,
    LineLayout,
    TextFormat,
    TextRecording,
    TextSink,
    no_lines,
)
from dvskit.streams import STANDARD_GRAVITY, Frame, Imu, Intrinsics

EVENTS_NAME, IMU_NAME = "events.txt", "imu.txt"
POSES_NAME = "groundtruth.txt"
_SECONDS = 6  # power of ten from seconds to microseconds
_MOST = 1e30
_SALVAGE = "pass strict=False to leave it out"


class RpgRecording(TextRecording):
    """Events of an `events.txt` file; the frames, IMU samples and calibration of its folder."""

    format = "rpg"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, lines: LineLayout
    ) -> None:
        # A file with another name may belong to another recording.
        self._folder = path.parent if path.name == EVENTS_NAME else None
        shown = _frame_size(path.parent) if self._folder is not None and origin == "data" else None
        if shown is not None and shown.width >= size.width and shown.height >= size.height:
            size, origin = shown, "frames"
        super().__init__(path, options, size, origin, lines)
        if origin == "frames":
            self._note(f"no sensor size in the file: {size} is that of its frames")
        if self._folder is not None and (self._folder / IMU_NAME).is_file():
            self._note(f"{IMU_NAME} is in seconds, m/s^2 ({STANDARD_GRAVITY} in 1 g) and rad/s")

    def _note(self, text: str | None) -> None:
        if text is not None and text not in self.assumptions:
            self.assumptions.append(text)

    def _text(
        self, name: str, error: type[FormatError] | type[VideoError] = FormatError
    ) -> SideText | None:
        """Return the lines of a file in the same folder; None if there is none."""
        if self._folder is None or not (self._folder / name).is_file():
            return None
        return SideText(self._folder / name, strict=self.strict, error=error, mend=_SALVAGE)

    def frames(self) -> Iterator[Frame]:
        """Yield the images of images.txt, on the clock of the events. Raises VideoError."""
        text = self._text(IMAGES_NAME, VideoError)
        if text is None:
            return
        first: tuple[int, ...] | None = None
        for t_us, file in self._images(text):
            frame = self._frame(t_us, file)
            if frame is None:
                continue
            if first is not None and frame.image.shape[:2] != first:
                self._lose(
                    f"{file}: is {frame.image.shape[1]}x{frame.image.shape[0]}, the first was "
                    f"{first[1]}x{first[0]}"
                )
                continue
            first = frame.image.shape[:2]
            yield frame

    def _images(self, text: SideText) -> Timed:
        there = []

        def look(image: Path) -> bool:
            there.append(image.is_file())
            return False

        read_names(SideText(text.path, strict=False, error=VideoError), SECONDS_AND_NAMES, look)
        if there and not any(there):  # events are often kept without the images
            self._note(f"no frames: none of the images of {text.path.name} exists")
            return []
        images = read_names(text, SECONDS_AND_NAMES)
        self._note(text.lost)
        return images

    def _frame(self, t_us: int, file: Path) -> Frame | None:
        try:
            image = read_image(file)
        except VideoError as error:
            self._lose(str(error))
            return None
        if image.dtype not in (np.uint8, np.uint16):
            self._lose(f"{file}: pixels are {image.dtype}; they must be uint8 or uint16")
            return None
        # OpenCV's channels are blue, green, red (and alpha).
        return Frame(t_us, t_us, image if image.ndim == 2 else image[:, :, 2::-1].copy())

    def _lose(self, problem: str) -> None:
        if self.strict:
            raise VideoError(f"{problem}; {_SALVAGE}")
        self._note(f"frame left out: {problem}")

    def imu(self) -> Imu:
        """Return the samples of imu.txt, in g and degrees per second. Raises FormatError."""
        text = self._text(IMU_NAME)
        if text is None:
            return Imu.empty()
        found: list[tuple[int, int, list[float]]] = []
        for number, line in text:
            words = line.split()
            named = _names_of_columns(text.comments)
            if named and len(words) == 8:  # numbered lines, with or without a comment on them
                words = words[1:]
            t_us, values = scaled(words[0], _SECONDS), _numbers(words[1:])
            if len(words) != 7:
                text.lose(number, f"has {len(words)} columns, not t ax ay az gx gy gz")
            elif t_us is None or not values:
                text.lose(number, f"is {line[:60]!r}; it must be seven numbers")
            else:
                found.append((number, t_us, values))
        kept = text.in_order(found)
        self._note(text.lost)
        table = np.array([values for _, values in kept], np.float64).reshape(-1, 6)
        parts = table[:, :3], table[:, 3:]
        named = _names_of_columns(text.comments)
        if 0 <= named.find("ang_vel") < named.find("lin_acc"):
            parts = parts[::-1]
        return Imu.from_si(np.array([t_us for t_us, _ in kept], np.int64), *parts)

    def intrinsics(self) -> Intrinsics | None:
        """Return the calibration in calib.txt. Raises FormatError."""
        text = self._text(CALIBRATION_NAME)
        if text is None:
            return None
        words = [(number, word) for number, line in text for word in line.split()]
        values = _numbers([word for _, word in words])
        if len(values) == 9 and values[0] > 0 < values[1]:
            return Intrinsics(*values)
        problem = (
            f"{text.path}: line {words[-1][0] if words else 1}: {len(words)} words in all, not the "
            "nine numbers fx fy cx cy k1 k2 p1 p2 k3, fx and fy above 0"
        )
        if self.strict:
            raise FormatError(f"{problem}; {_SALVAGE}")
        self._note(f"left out: {problem}")
        return None

    def other_streams(self) -> Mapping[str, int]:
        """Count the poses in groundtruth.txt. Raises FormatError."""
        text = self._text(POSES_NAME)
        poses = 0 if text is None else sum(1 for _ in text)
        return {"poses of groundtruth.txt": poses} if poses else {}


def _frame_size(folder: Path) -> Size | None:
    """Return the size of the first image; None if none is readable."""
    file = folder / IMAGES_NAME
    if not file.is_file():
        return None
    try:
        images = read_names(SideText(file, strict=False, error=VideoError), SECONDS_AND_NAMES)
        height, width = read_image(images[0][1]).shape[:2] if images else (0, 0)
        return as_size((width, height)) if width else None
    except (VideoError, GeometryError):
        return None  # reading the frames reports it


def _names_of_columns(comments: list[str]) -> str:
    """Return the comment that names the columns, as in the UZH-FPV dataset; "" for none."""
    return next((line.lower() for line in comments if "ang_vel" in line.lower()), "")


def _numbers(words: list[str]) -> list[float]:
    """Return the words as numbers; none unless all are finite numbers."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return []
    return values if all(abs(value) < _MOST for value in values) else []


_ORDER = (k.TIME, k.COLUMN, k.ROW, k.POLARITY)


class RpgSink(TextSink):
    """Writes an `events.txt` file: seconds with six decimals, x, y and polarity."""

    format = "rpg"
    head = b""
    separator = b" "
    seconds = True


def _find_layout(name: str, head: FirstLines, options: ReadOptions) -> LineLayout:
    lines = [
        (start, line, head.following(place))
        for place, (start, line) in enumerate(head.lines)
        if line and line[0] not in "#%"
    ]
    if not lines:
        return no_lines(name, head, options, _ORDER, seconds=True)
    size, start = None, lines[0][0]
    first = lines[0][1].split()
    if len(first) == 2 and all(part.isdecimal() and int(part) > 1 for part in first):
        size = as_size((int(first[0]), int(first[1])))
        start = lines[0][2]
        lines = lines[1:]
    if lines and not any(set(line.split()[0]) & set(".eE") for _, line, _ in lines):
        raise FormatError(
            f"{name}: times such as {lines[0][1].split()[0]} have no decimals, but rpg times are "
            "seconds; pass format='csv' to read them as microseconds"
        )
    return LineLayout(start, _ORDER, True, size)


_FORMAT = TextFormat(RpgRecording, _find_layout)
open_recording, open_stream, open_sink = _FORMAT.open_recording, _FORMAT.open_stream, RpgSink
