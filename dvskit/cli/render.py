"""`dvskit render`: a video of events."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._batch import Crew, on_many, suffix_option, write_pictures
from dvskit.cli._clips import (
    SHOWN_FILE,
    ClipOptions,
    ClockName,
    ClockOption,
    CountedEvents,
    UntilStopped,
    clip_notes,
    note_assumptions,
    open_shown,
)
from dvskit.cli._inputs import RECORDINGS, Paths
from dvskit.cli._options import (
    REQUIRED,
    CameraOptions,
    DarkOption,
    Force,
    Reading,
    Span,
    argument,
    camera_for,
    option,
    output,
    stamps_of,
)
from dvskit.errors import ConfigError, count_of

if TYPE_CHECKING:
    from dvskit.formats import Recording, RecordingPart
    from dvskit.motion import Stabilised
    from dvskit.render import FrameStyle


_LONG_FRAMES = 36_000  # ten minutes of 60 a second
_SHORT_S = 0.25
_MOTION_US = 20_000


StabiliseName = StrEnum("StabiliseName", ["translation", "rotation"])
StyleName = StrEnum("StyleName", ["polarity", "count", "decay", "linear", "surface", "objects"])


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The content, style and coding of frames: the options --style to --crf."""

    style: StyleName = option(
        "What a frame shows: decay or linear, fading events; polarity, that of the latest event; "
        "count, the number of events; surface, the time since the latest event; objects, boxes and "
        "trails of moving objects over fading events.",
        default=StyleName.decay, metavar="STYLE",
    )  # fmt: skip
    fps: float | None = option("Frames a second of the video.", shown="60, GIF 25")
    slow: float = option("Slow motion: 1000 shows a millisecond in a second.", default=1.0)
    window: str | None = option(
        "How long events stay visible, such as 20ms; for decay, surface and objects the time in "
        "which they fade to 37 %.",
        shown="some frames",
    )
    span: Span = field(default_factory=Span)
    stabilise: StabiliseName | None = option(
        "Remove the motion of the camera, estimated in windows of 20 ms: translation or rotation.",
        shown="no",
    )
    camera: str | None = option(
        "The camera's calibration: calib.txt, or YAML of OpenCV, ROS, Kalibr or DSEC, with :NAME "
        "for one of several cameras. Without FILE: a USB event camera, such as evk4, which is "
        "rendered until Ctrl-C.",
        shown="the recording's, or calib.txt beside it",
    )  # fmt: skip
    beside: Path | None = option(
        "A video, a folder of images, or a recording with frames, to show beside the events."
    )
    time: ClockOption = ClockName.first
    dark: DarkOption = True
    scale: int | None = option(
        "Draw each pixel of the sensor as N x N pixels.", shown="more for small sensors"
    )
    footer: bool = option("Show time code and event rates below the events.", default=True)
    effort: str = option(
        "x264's preset, from ultrafast to veryslow: slower presets make smaller files.",
        default="ultrafast",
    )
    crf: float = option(
        "x264's crf: 0 is lossless, 51 the coarsest; 5 more make files a quarter smaller.",
        default=15.0,
    )


_SUFFIXES = (".mp4", ".mkv", ".mov", ".gif")


@on_many
def render(
    words: list[str] | None = argument(
        f"{SHOWN_FILE} Or many: folders of recordings, several files, and patterns such as "
        "'rec/**/*.raw'.",
        metavar="FILE",
    ),
    out: str = output(
        "The video: .mp4, .mkv, .mov, .gif, or a folder for PNG files (no suffix). For many "
        "inputs, the folder to write into.",
        default=REQUIRED,
    ),
    drawn: _Drawn = _Drawn(),
    reading: Reading = Reading(),
    force: Force = False,
    to: str | None = suffix_option(_SUFFIXES),
    crew: Crew = Crew(),
) -> None:
    """Turn events into a video: MP4, GIF, or PNG files in a folder.

    Of live events, such as those of --camera evk4, Ctrl-C completes the video with those so far.
    """
    paths = Paths(tuple(words or ()), out, RECORDINGS)
    given = {"drawn": drawn, "reading": reading, "force": force}
    write_pictures(
        _render, paths, crew, given, to=to, suffixes=_SUFFIXES, single={"--beside": drawn.beside}
    )


def _render(
    file: Path | None,
    out: Path,
    *,
    drawn: _Drawn,
    reading: Reading,
    force: bool,
) -> int:
    if file is None:
        file, drawn = _camera_of(drawn)
    if str(out) == "-":
        raise ConfigError("-: videos are not written to standard output; name a file or a folder")
    beside, slow = drawn.beside, drawn.slow
    window_us = None if drawn.window is None else _console.parse_time_us(drawn.window, "--window")
    times = drawn.span.times()
    recording = open_shown(file, reading)
    start_us, stop_us = stamps_of(recording, *times)
    after_us = times[0] or 0
    part = _Part(file, recording, start_us, stop_us)
    stable = None
    if drawn.stabilise is None and drawn.camera is not None:
        raise ConfigError(f"--camera {drawn.camera} is for --stabilise rotation; give both")
    if drawn.stabilise is not None:
        stable = _stabilised(file, recording, part.part, drawn)
        part.events = CountedEvents(stable, file)
    from dvskit import render as pictures

    view = pictures.VideoView(
        style=_style(drawn.style, window_us), fps=drawn.fps, slow=slow, dark=drawn.dark,
        scale=drawn.scale, footer=drawn.footer, start_us=start_us, stop_us=part.stop_us,
        crf=drawn.crf, preset=drawn.effort,
        zero_us=None if start_us is None else start_us - after_us,
    )  # fmt: skip
    images = None
    if beside is not None:
        images = ClipOptions(time=drawn.time, salvage=reading.salvage).open(beside)
    shown_fps = drawn.fps or (25 if out.suffix.lower() == ".gif" else 60)
    total = None
    if part.stop_us is not None:
        total = ((times[1] or 0) - after_us) * 1e-6 * slow * shown_fps
    begun = monotonic()
    with (
        _console.progress(out.name, total, "frames") as show,
        _console.stoppable() if recording.live else nullcontext() as stop,
    ):
        if stop is not None:  # Ctrl-C completes the video
            part.events = CountedEvents(UntilStopped(part.part, stop), file)

        def on_frame(count: int, t_us: int) -> None:
            show(count, _console.describe_us(t_us))
            if count == _LONG_FRAMES:
                _console.say(
                    f"{out}: {count_of(count, 'frame')} took {monotonic() - begun:.0f} s, and "
                    "there are more; --slow 0.1 takes a tenth, --start and --stop render a part"
                )

        report = pictures.video(
            part.events, out, view=view, beside=images, overwrite=force, on_frame=on_frame
        )
    note_assumptions(file, recording, part.part)
    if stop_us is not None and part.stop_us is None:
        ends_us = part.events.last_us - stop_us + (times[1] or 0)
        _console.note(f"{file}: ends at {_console.describe_us(ends_us)}, before --stop; the video "
                      "ends there")  # fmt: skip
    for text in () if images is None else clip_notes(images):
        _console.note(f"{beside}: {text}")
    frames, events = count_of(report.frames, "frame"), count_of(report.events, "event")
    _console.say(f"{out}: {frames} of {report.size}, {events}")
    if stable is not None:
        for text in _left_the_picture(stable, part.events.count):
            _console.note(f"{out}: {text}")
    if report.frames < _SHORT_S * shown_fps:
        slower = _slower(slow, report.frames / shown_fps)
        _console.note(f"{out}: lasts {report.frames / shown_fps:.2g} s; --slow {slower:g} makes "
                      "it a few seconds long")  # fmt: skip
    if stop is not None and stop.asked:
        _interrupt.advise(f"{out} holds the frames so far")
        raise KeyboardInterrupt
    return report.events


def _camera_of(drawn: _Drawn) -> tuple[Path, _Drawn]:
    """Return the address of the camera in place of a file, and the other options."""
    camera = CameraOptions(drawn.camera).event_camera()
    if camera is None:
        raise ConfigError("name an event file or a video; or an event camera: --camera evk4")
    return camera, replace(drawn, camera=None)


def _stabilised(
    file: Path, recording: Recording, part: Recording | RecordingPart, drawn: _Drawn
) -> Stabilised:
    """Return a part of a recording without the motion of the camera."""
    if recording.live:
        raise ConfigError(f"{recording.path}: --stabilise needs a file; write one first")
    from dvskit.motion import Stabilised, motion_over_time

    model = str(drawn.stabilise)
    camera = camera_for(model, recording, drawn.camera)
    events = CountedEvents(part, file)
    with _console.progress(f"motion of {file.name}", None, "windows") as show:
        motions = motion_over_time(
            events, model, window_us=_MOTION_US, camera=camera,  # type: ignore[arg-type]
            on_window=lambda count, t_us: show(count, _console.describe_us(t_us - events.first_us)),
        )  # fmt: skip
    return Stabilised(part, motions, camera=camera)


def _left_the_picture(stable: Stabilised, count: int) -> Iterator[str]:
    """Yield notes on events that a stabilized video lacks; none for less than 0.5 %.

    count  the events of the video
    """
    whole = max(stable.left_by_undistortion + stable.left_by_motion + count, 1)
    for left, reason in (
        (stable.left_by_undistortion, "by undistortion alone"),
        (stable.left_by_motion, "when the motion was removed; --start and --stop render a shorter "
                                "part"),
    ):  # fmt: skip
        if left / whole > 0.005:
            yield f"{left / whole:.0%} of the events left the picture {reason}"


class _Part:
    """The shown part of a recording: its events, and the end of the video.

    stop_us  None if the recording ends earlier: the video ends with it
    """

    def __init__(
        self, file: Path, recording: Recording, start_us: int | None, stop_us: int | None
    ) -> None:
        whole = start_us is None and stop_us is None
        self.part = recording if whole else recording.between(start_us, stop_us)
        self.events = CountedEvents(self.part, file)
        goes_on = stop_us is not None and any(map(len, recording.between(stop_us, None)))
        self.stop_us = stop_us if goes_on else None


def _slower(slow: float, seconds: float) -> float:
    """Return a round factor that makes a short video last 1 to 10 s."""
    return float(10.0 ** math.ceil(math.log10(slow / seconds)))


def _style(name: StyleName, window_us: int | None) -> FrameStyle:
    from dvskit.render import ObjectTracks, styles

    if window_us is not None and window_us < 1:
        raise ConfigError(f"--window is {window_us} us; the least is 1us")
    if name is StyleName.objects:
        return ObjectTracks(tau_us=window_us)
    return styles[name.value](window_us)
