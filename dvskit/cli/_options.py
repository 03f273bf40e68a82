"""Values that options take, and the options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NewType

import typer

from dvskit._files import check_standard_output
from dvskit.cli import _console
from dvskit.errors import ConfigError, GeometryError, ShapeError, UnknownFormatError, one_line
from dvskit.events import Size, parse_size
from dvskit.events.window import parse_us
from dvskit.formats import FileSink, Recording, RecordingPart, open_events
from dvskit.formats.file_sink import is_standard
from dvskit.formats.for_writing import format_for_writing
from dvskit.formats.network import is_network
from dvskit.formats.table import named_format
from dvskit.formats.usb_driver import CAMERAS, UsbAddress
from dvskit.streams import Intrinsics

REQUIRED = inspect.Parameter.empty


def option(
    words: str = "", *names: str, default: Any = None, shown: Any = True, **rest: Any
) -> Any:
    """Return an option that needs more than a type, a default, and help in a docstring.

    Use it as the default of a dataclass field, or of a parameter of a command; see `_binding`.

    words  the help, if it is not in the docstring; "{filters}" in it stands for the names of all
           filters: see `LISTS`
    names  as they are typed, if they differ from the field's name
    shown  the default in --help
    rest   passed to typer.Option
    """
    made = typer.Option(*names, help=words, show_default=shown, **rest)
    return field(default=default, metadata={"option": made})


def argument(words: str = "", *, default: Any = None, **rest: Any) -> Any:
    """Return an argument, like `option`."""
    made = typer.Argument(help=words, show_default=False, **rest)
    return field(default=default, metadata={"option": made})


def output(words: str = "", *, default: Any = None, shown: Any = False, **rest: Any) -> Any:
    """Return the option -o/--output, which is the same in all commands; see `option`."""
    return option(words, "-o", "--output", default=default, shown=shown, **rest)


# --- values ---------------------------------------------------------------------------------------


Microseconds = NewType("Microseconds", int)
"""A time with its unit, such as 1.5s, 200ms or 30us."""
Duration = NewType("Duration", int)
"""A time of a microsecond or more."""
FormatName = NewType("FormatName", str)
"""The name of a format to read, also with a variant."""


class Rectangle(NamedTuple):
    """A rectangle in pixels, typed as X,Y,WIDTH,HEIGHT."""

    x: int
    y: int
    width: int
    height: int


class Setting(NamedTuple):
    """A name and its value, typed as NAME=VALUE."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


def time_from(text: str) -> Microseconds:
    """Return the microseconds of a text such as 1.5s, 200ms or 30us. Raises ConfigError."""
    exact_us = parse_us(text)
    if exact_us is None:
        raise ConfigError(f"{text!r} is not a time with a unit, such as 1.5s, 200ms or 30us")
    return Microseconds(round(exact_us))


def _duration_from(text: str) -> Duration:
    time_us = time_from(text)
    if time_us < 1:
        raise ConfigError(f"{text} is no duration; give one such as 20ms")
    return Duration(time_us)


def _format_from(text: str) -> FormatName:
    named_format(text)
    return FormatName(text)


def _rectangle_from(text: str) -> Rectangle:
    try:
        x, y, width, height = (int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"{text!r} is not X,Y,WIDTH,HEIGHT in pixels") from None
    return Rectangle(x, y, width, height)


def _setting_from(text: str) -> Setting:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"{text!r} is not NAME=VALUE")
    return Setting(name, value)


PARSERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    Microseconds: ("TIME", time_from),
    Duration: ("TIME", _duration_from),
    FormatName: ("FORMAT", _format_from),
    Size: ("WIDTHxHEIGHT", parse_size),
    Rectangle: ("X,Y,WIDTH,HEIGHT", _rectangle_from),
    Setting: ("NAME=VALUE", _setting_from),
}
"""The word in the help, and the function that reads the text of an option, by its type."""


# --- completions of a shell -----------------------------------------------------------------------


class _Word(str):
    """A completion for typer, which compares the case; this one does not."""

    __slots__ = ()

    def startswith(self, *typed: Any) -> bool:
        return self.casefold().startswith(str(typed[0]).casefold())


def _completed(incomplete: str, names: Iterable[str]) -> list[str]:
    words = [_Word(name) for name in names]
    return [word for word in words if word.startswith(incomplete)]


def model_names(incomplete: str) -> list[str]:
    """Return the shipped models that complete a word, in any case."""
    try:
        from dvskit.networks.model_folder import shipped_models
    except ModuleNotFoundError:  # in a light install, without torch
        return []
    return _completed(incomplete, shipped_models())


def reconstructor_names(incomplete: str) -> list[str]:
    """Return the reconstructors that complete a word, in any case."""
    from dvskit.reconstruction.reconstructed import reconstructor_names

    return _completed(incomplete, reconstructor_names())


def preset_names(incomplete: str) -> list[str]:
    """Return the presets that complete a word, in any case."""
    from dvskit.emulator.params import preset_table

    return _completed(incomplete, preset_table())


# --- options --------------------------------------------------------------------------------------


CropOption = Annotated[
    Rectangle | None,
    typer.Option(
        help="Keep a rectangle, in pixels of the input, before anything is scaled.",
        show_default="all",
    ),
]
LensOption = Annotated[
    str | None,
    typer.Option(
        help="The calibration of the camera: calib.txt, or YAML of OpenCV, ROS, Kalibr or DSEC, "
        "with :NAME for one of several cameras.",
        show_default="the recording's, or calib.txt beside it",
    ),
]
DarkOption = Annotated[
    bool, typer.Option("--dark/--bright", help="Light on dark, or dark on light.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="The port to serve at; 0 takes a free one.")
]
BrowserOption = Annotated[bool, typer.Option(help="Open the page in the browser.")]
_MODEL: dict[str, Any] = {
    "help": "A model folder, or a shipped model's name.",
    "show_default": False,
    "autocompletion": model_names,
}
ModelArgument = Annotated[str, typer.Argument(**_MODEL)]
ModelOption = Annotated[str, typer.Option(**_MODEL)]


@dataclass(frozen=True, slots=True)
class Spikes:
    """The encoder of still images.

    encoder  The encoder of still images: {encoders}; by default the one that the model was trained
             with.
    seed     The seed of --encoder; by default that of the model's run.
    """

    encoder: str | None = option(metavar="NAME", shown=False)
    seed: int | None = option(min=0, shown=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """How recordings are opened.

    from_    The input's format, or FORMAT:VARIANT such as csv:x,y,t,p. Formats: {read}.
    size     The sensor's size, if the file lacks it or has a wrong one.
    salvage  Read damaged files: keep the undamaged parts, report the losses.
    """

    from_: FormatName | None = option(shown="by its content, then its suffix")
    size: Size | None = option(shown="the file's")
    salvage: bool = False

    def open(self, file: Path, *, sort: bool = False) -> Recording:
        """Open a recording. Raises the errors of `open_events`."""
        strict = not self.salvage
        return open_events(file, format=self.from_, size=self.size, strict=strict, sort=sort)


def refuse_for_images() -> None:
    """Raise ConfigError if an option for recordings was typed."""
    _console.refuse(READING, "does not apply to still images; leave it out")


READING = ("from_", "size", "salvage")
"""The options of `Reading`."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a recording.

    start  Begin this long after the first event or frame, such as 1.5s, 200ms or 30us.
    stop   End this long after the first event or frame, such as 1.5s, 200ms or 30us.
    """

    start: Microseconds | None = option(shown="0s")
    stop: Microseconds | None = option(shown="the end")

    def times(self, origin_us: int = 0) -> tuple[int | None, int | None]:
        """Return both as time stamps, for a first event at `origin_us`. Raises ConfigError."""
        if self.stop is not None and self.stop <= (self.start or 0):
            begin, end = map(_console.typed_us, (self.start or 0, self.stop))
            raise ConfigError(f"--stop {end} is not after --start {begin}")
        return (
            None if self.start is None else origin_us + self.start,
            None if self.stop is None else origin_us + self.stop,
        )

    def cut(self, recording: Recording) -> RecordingPart:
        """Return the part of a recording. Raises ConfigError for live events."""
        if self == Span():
            return recording.between()
        if recording.live:
            raise ConfigError(f"{recording.path}: --start and --stop need a file; write one first")
        origin_us = next((int(block.t[0]) for block in recording), 0)
        return recording.between(*self.times(origin_us))

    def titled(self, name: str) -> str:
        """Return a name with the part, as a title."""
        begin = "start" if self.start is None else _console.typed_us(self.start)
        end = "end" if self.stop is None else _console.typed_us(self.stop)
        return name if self == Span() else f"{name}, {begin} to {end}"


@dataclass(frozen=True, slots=True)
class WritingOptions:
    """How events are written.

    to     The output's format: {written}.
    force  Replace the output if it exists.
    """

    to: str | None = option(shown="by its suffix")
    force: bool = False

    def options(self) -> dict[str, Any]:
        """Return both by their names."""
        return {"to": self.to, "force": self.force}


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """A camera in place of the input.

    camera  Read a camera until Ctrl-C: a USB event camera ({cameras}; with :SERIAL for one of
            several, see dvskit cameras), or the view of a webcam, emulated: its number, from 0.
    bias    Set a bias of the USB event camera, such as diff_on=20; may be repeated.
    """

    camera: str | None = option(metavar="CAMERA", shown=False)
    bias: list[Setting] | None = option(shown=False)

    def source(self) -> int | Path | None:
        """Return a webcam's number, or the address of an event camera; None without --camera.

        Raises ConfigError for anything else, and for --bias without an event camera.
        """
        biases = dict(self.bias or ())
        if self.camera is not None and self.camera.isdecimal():
            if biases:
                raise ConfigError(f"--bias does not apply to a webcam, --camera {self.camera}")
            return int(self.camera)
        if self.camera is None:
            if biases:
                raise ConfigError("--bias needs --camera, which names an event camera")
            return None
        name, _, serial = self.camera.partition(":")
        if name not in CAMERAS or serial.strip("/?") != serial:
            raise ConfigError(
                f"--camera {self.camera}: is neither a webcam's number, from 0, nor an event "
                f"camera: {', '.join(CAMERAS)}, or with its serial number evk4:SERIAL; a "
                "calibration is --lens FILE"
            )
        return replace(UsbAddress(name, serial or None), biases=biases).path()

    def event_camera(self) -> Path | None:
        """Return the address of an event camera; None without --camera.

        Raises ConfigError for a webcam, and as `source` does.
        """
        camera = self.source()
        if isinstance(camera, int):
            raise ConfigError(
                f"--camera {camera} is a webcam; dvskit emulate --camera {camera} OUT writes the "
                "events of its view"
            )
        return camera


@contextmanager
def as_usage(name: str) -> Iterator[None]:
    """Turn errors about the value of an option into ConfigError, an error of usage."""
    try:
        yield
    except (GeometryError, ShapeError, UnknownFormatError) as error:
        raise ConfigError(f"{name}: {one_line(error)}") from error


def lens_for(model: str, recording: Recording, lens: str | None) -> Intrinsics | None:
    """Return the calibration for a rotation, that of --lens or of the recording; None if none is.

    Raises ConfigError for --lens with another model of motion.
    """
    if model != "rotation":
        if lens is not None:
            raise ConfigError(f"--lens {lens} is for a rotation alone; leave it out of a {model}")
        return None
    if lens is None:
        return recording.intrinsics()
    from dvskit.formats.calibration import read_camera

    return read_camera(lens, size=recording.size)


def check_writable(out: Path, to: str | None) -> None:
    """Raise ConfigError unless events can be written by `to`, or by the suffix of `out`."""
    if to is None and not out.suffix and not (is_standard(out) or is_network(out)):
        raise ConfigError(
            f"{out}: has no suffix of a format; add one, or name the format with --to"
        )
    try:
        format_for_writing(out, to)
    except UnknownFormatError as error:
        raise ConfigError(one_line(error)) from error
    if is_standard(out):
        check_standard_output()


def notes_on(part: Recording | RecordingPart) -> list[str]:
    """Return the assumptions about a recording, and the losses in the part, a line each."""
    whole = part.recording if isinstance(part, RecordingPart) else part
    return [*whole.assumptions, *([str(part.damage)] if part.damage else [])]


def waiting(sink: FileSink) -> FileSink:
    """Say that an output waits for a receiver, if it does; return it."""
    if sink.serves is not None:
        _console.say(f"{sink.serves}: waits for one receiver")
    return sink
