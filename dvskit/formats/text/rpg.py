"""`events.txt` of the event-camera dataset (UZH's Robotics and Perception Group): t x y p.

Times are decimal seconds, read digit by digit and rounded to the nearest microsecond; floats would
move some. A first line of two numbers is the sensor's width and height, as in E2VID's files.
What else the data set has in its folder stands beside the events: see `rpg_folder`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dvskit.errors import FormatError
from dvskit.events import Size, as_size
from dvskit.formats.input_stream import InputStream
from dvskit.formats.recording import ReadOptions, SizeOrigin
from dvskit.formats.text import line_kernels as k
from dvskit.formats.text.decoding import Lines
from dvskit.formats.text.reading import (
    Head,
    TextRecording,
    TextStream,
    known_size,
    peek_head,
    read_head,
    stream_size,
    with_odd,
)
from dvskit.formats.text.rpg_folder import EVENTS_NAME, IMU_NAME, RpgFolder
from dvskit.formats.text.writing import TextSink
from dvskit.streams import STANDARD_GRAVITY, Frame, Imu, Intrinsics

_ORDER = (k.TIME, k.COLUMN, k.ROW, k.POLARITY)


class RpgRecording(TextRecording):
    """Events of an `events.txt` file; the frames, IMU samples and calibration of its folder."""

    format = "rpg"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, lines: Lines
    ) -> None:
        beside = None
        if path.name == EVENTS_NAME:  # another name may stand beside files of another recording
            beside = RpgFolder(path.parent, strict=options.strict, note=self._note)
        shown = beside.frame_size() if beside is not None and origin == "data" else None
        if shown is not None and shown.width >= size.width and shown.height >= size.height:
            size, origin = shown, "frames"
        super().__init__(path, options, size, origin, lines)
        self._beside = beside
        if origin == "frames":
            self._note(f"no sensor size in the file: {size} is that of its frames")
        if beside is not None and (path.parent / IMU_NAME).is_file():
            self._note(f"{IMU_NAME} is in seconds, m/s^2 ({STANDARD_GRAVITY} in 1 g) and rad/s")

    def _note(self, text: str) -> None:
        if text not in self.assumptions:
            self.assumptions.append(text)

    def frames(self) -> Iterator[Frame]:
        """Yield the images of images.txt, on the clock of the events. Raises VideoError."""
        return iter(()) if self._beside is None else self._beside.frames()

    def imu(self) -> Imu:
        """Return the samples of imu.txt. Raises FormatError."""
        return Imu.empty() if self._beside is None else self._beside.imu()

    def intrinsics(self) -> Intrinsics | None:
        """Return the calibration in calib.txt. Raises FormatError."""
        return None if self._beside is None else self._beside.intrinsics()

    def other_streams(self) -> Mapping[str, int]:
        """Count the poses in groundtruth.txt."""
        poses = 0 if self._beside is None else self._beside.poses()
        return {"poses of groundtruth.txt": poses} if poses else {}


class RpgSink(TextSink):
    """Writes an `events.txt` file: seconds with six decimals, x, y and polarity."""

    format = "rpg"
    head = b""
    separator = b" "
    seconds = True


def _layout(name: str, head: Head) -> Lines:
    lines = [
        (start, line, head.following(place))
        for place, (start, line) in enumerate(head.lines)
        if line and line[0] not in "#%"
    ]
    if not lines:
        raise FormatError(f"{name}: holds no line of events")
    size, start = None, lines[0][0]
    first = lines[0][1].split()
    if len(first) == 2 and all(part.isdecimal() and int(part) > 1 for part in first):
        size = as_size((int(first[0]), int(first[1])))
        start = lines[0][2]
        lines = lines[1:]
    if lines and not any(set(line.split()[0]) & set(".eE") for _, line, _ in lines):
        raise FormatError(
            f"{name}: times such as {lines[0][1].split()[0]} have no decimals and rpg means "
            "seconds; name the format csv (format=, --from) to read them as microseconds"
        )
    return Lines(start, _ORDER, True, size)


def open_recording(path: Path, options: ReadOptions) -> RpgRecording:
    """Open an `events.txt` file. Raises FormatError for times that are no decimal seconds."""
    head = read_head(path, strict=options.strict)
    lines = with_odd(_layout(str(path), head), head)
    size, origin = known_size(path, options, lines)
    return RpgRecording(path, options, size, origin, lines)


def open_stream(stream: InputStream, options: ReadOptions) -> TextStream:
    """Open lines that arrive on a pipe.

    Raises FormatError for times that are no decimal seconds, GeometryError for no size.
    """
    head = peek_head(stream, strict=options.strict)
    lines = with_odd(_layout(stream.name, head), head)
    return TextStream(stream, options, *stream_size(stream, options, lines), lines, "rpg")


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RpgSink:
    """Return a Sink that writes an `events.txt` file."""
    return RpgSink(path, size, overwrite=overwrite)
