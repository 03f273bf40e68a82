"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from dvskit._files import check_standard_output
from dvskit.cli import _console
from dvskit.cli._console import parse_time_us
from dvskit.errors import ConfigError, GeometryError, ShapeError, UnknownFormatError, one_line
from dvskit.events import Size, parse_size
from dvskit.formats import (
    FileSink,
    Recording,
    RecordingPart,
    format_for_writing,
    is_standard,
    open_events,
)
from dvskit.formats.network import is_network
from dvskit.formats.table import named_format
from dvskit.streams import Intrinsics


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
    from dvskit.reconstruction.named import reconstructor_names

    return _completed(incomplete, reconstructor_names())


def preset_names(incomplete: str) -> list[str]:
    """Return the presets that complete a word, in any case."""
    from dvskit.emulator.params import preset_table

    return _completed(incomplete, preset_table())


REQUIRED = inspect.Parameter.empty


def option(words: str, *names: str, default: Any = None, shown: Any = True, **rest: Any) -> Any:
    """Return an option with its help text and its default.

    Use it as the default of a dataclass field, or of a parameter of a command; see `_binding`.

    words  the help; "{filters}" in it stands for the names of all filters: see `LISTS`
    names  as they are typed, if they differ from the field's name
    shown  the default in --help
    rest   passed to typer.Option
    """
    made = typer.Option(*names, help=words, show_default=shown, **rest)
    return field(default=default, metadata={"option": made})


def argument(words: str, *, default: Any = None, **rest: Any) -> Any:
    """Return an argument, like `option`."""
    made = typer.Argument(help=words, show_default=False, **rest)
    return field(default=default, metadata={"option": made})


def output(words: str, *, default: Any = None, shown: Any = False, **rest: Any) -> Any:
    """Return the option -o/--output, which is the same in all commands; see `option`."""
    return option(words, "-o", "--output", default=default, shown=shown, **rest)


FormatOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="The input's format, or FORMAT:VARIANT such as csv:x,y,t,p. Formats: {read}.",
        show_default="by its content, then its suffix",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        help="The sensor's size, WIDTHxHEIGHT, if the file lacks it or has a wrong one.",
        show_default="the file's",
    ),
]
Salvage = Annotated[
    bool,
    typer.Option(
        "--salvage", help="Read damaged files: keep the undamaged parts, report the losses."
    ),
]


def after(verb: str, of: str) -> str:
    """Return the help text of a time after the first event or frame."""
    return f"{verb} this long after the first {of}, such as 1.5s, 200ms or 30us."


CropOption = Annotated[
    str | None,
    typer.Option(
        metavar="RECTANGLE",
        help="Keep a rectangle, X,Y,WIDTH,HEIGHT, in pixels of the input, before anything is "
        "scaled.",
        show_default="all",
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option("--to", help="The output's format: {written}.", show_default="by its suffix"),
]
CameraOption = Annotated[
    str | None,
    typer.Option(
        "--camera",
        help="The camera's calibration: calib.txt, or YAML of OpenCV, ROS, Kalibr or DSEC, with "
        ":NAME for one of several cameras.",
        show_default="the recording's, or calib.txt beside it",
    ),
]
LensOption = Annotated[
    str | None,
    typer.Option(
        "--lens",
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


_MODEL: dict[str, Any] = {
    "help": "A model folder, or a shipped model's name.",
    "show_default": False,
    "autocompletion": model_names,
}
ModelArgument = Annotated[str, typer.Argument(**_MODEL)]
ModelOption = Annotated[str, typer.Option(**_MODEL)]


@dataclass(frozen=True, slots=True)
class Spikes:
    """The encoder of still images: the options --encoder and --seed."""

    encoder: str | None = option(
        "The encoder of still images: {encoders}; by default the one that the model was trained "
        "with.",
        metavar="NAME", shown=False,
    )  # fmt: skip
    seed: int | None = option(
        "The seed of --encoder; by default that of the model's run.", min=0, shown=False
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """How recordings are opened: the options --from, --size and --salvage."""

    from_: FormatOption = None
    size: SizeOption = None
    salvage: Salvage = False

    def check(self) -> Size | None:
        """Return the size of --size. Raises ConfigError for its value and that of --from."""
        if self.from_ is not None:
            with as_usage("--from"):
                named_format(self.from_)
        return None if self.size is None else size_from(self.size)

    def open(self, file: Path, *, sort: bool = False) -> Recording:
        """Open a recording. Raises as `check` does, and the errors of `open_events`."""
        size = self.check()
        return open_events(file, format=self.from_, size=size, strict=not self.salvage, sort=sort)

    def refuse_for_images(self, path: Path) -> None:
        """Raise ConfigError if an option for recordings was given."""
        if self != Reading():
            raise ConfigError(
                f"{path}: --from, --size and --salvage do not apply to still images; leave them out"
            )


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a recording: the options --start and --stop."""

    start: str | None = option(after("Begin", "event"), "--start", shown="0s")
    stop: str | None = option(after("End", "event"), "--stop", shown="the end")

    def times(self) -> tuple[int | None, int | None]:
        """Return both in microseconds after the first event. Raises ConfigError."""
        begin, end = (
            None if text is None else parse_time_us(text, name)
            for name, text in (("--start", self.start), ("--stop", self.stop))
        )
        if end is not None and end <= (begin or 0):
            raise ConfigError(f"--stop {self.stop} is not after --start {self.start or '0s'}")
        return begin, end

    def titled(self, name: str) -> str:
        """Return a name with the part, as a title."""
        part = f", {self.start or 'start'} to {self.stop or 'end'}"
        return name + part if self.start or self.stop else name


@dataclass(frozen=True, slots=True)
class Written:
    """How events are written: the options --to and --force."""

    to: ToOption = None
    force: Force = False

    def options(self) -> dict[str, Any]:
        """Return both by their names."""
        return {"to": self.to, "force": self.force}


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


def camera_for(model: str, recording: Recording, path: str | None) -> Intrinsics | None:
    """Return the calibration for a rotation, in a file or the recording's own; None if none is.

    Raises ConfigError for a file with another model.
    """
    if model != "rotation":
        if path is not None:
            raise ConfigError(f"--camera {path} is for a rotation alone; leave it out of a {model}")
        return None
    if path is None:
        return recording.intrinsics()
    from dvskit.formats.calibration import read_camera

    return read_camera(path, size=recording.size)


def size_from(text: str, name: str = "--size") -> Size:
    """Return the Size in an option. Raises ConfigError."""
    with as_usage(name):
        return parse_size(text)


def rectangle_from(text: str) -> tuple[int, int, int, int]:
    """Return the x, y, width and height in --crop. Raises ConfigError."""
    try:
        x, y, width, height = (int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"--crop {text!r} is not X,Y,WIDTH,HEIGHT in pixels") from None
    return x, y, width, height


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


def waiting(sink: FileSink) -> FileSink:
    """Say that an output waits for a receiver, if it does; return it."""
    if sink.serves is not None:
        _console.say(f"{sink.serves}: waits for one receiver")
    return sink


def window_from(
    origin_us: int, after_us: int | None, until_us: int | None
) -> tuple[int | None, int | None]:
    """Return times relative to `origin_us` as absolute times; None stays None."""
    return (
        None if after_us is None else origin_us + after_us,
        None if until_us is None else origin_us + until_us,
    )


def stamps_of(
    recording: Recording, after_us: int | None, until_us: int | None
) -> tuple[int | None, int | None]:
    """Return times relative to the first event as time stamps; None stays None.

    Raises ConfigError for live events.
    """
    if after_us is None and until_us is None:
        return None, None
    if recording.live:
        raise ConfigError(f"{recording.path}: --start and --stop need a file; write one first")
    origin_us = next((int(block.t[0]) for block in recording), 0)
    return window_from(origin_us, after_us, until_us)


def part_of(
    recording: Recording, after_us: int | None, until_us: int | None
) -> Recording | RecordingPart:
    """Return the part between times after the first event, or the whole recording without any.

    Raises ConfigError for a part of live events.
    """
    if after_us is None and until_us is None:
        return recording
    return recording.between(*stamps_of(recording, after_us, until_us))
