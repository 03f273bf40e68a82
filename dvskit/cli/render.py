"""`dvskit render`: a video of events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from dvskit.cli import _console
from dvskit.cli._batch import Crew, on_many, suffix_option, write_pictures
from dvskit.cli._clips import ClipOptions, ClockName, clip_notes
from dvskit.cli._inputs import RECORDINGS, Paths
from dvskit.cli._options import (
    REQUIRED,
    CameraOptions,
    Duration,
    Force,
    LensOption,
    Reading,
    Span,
    argument,
    lens_for,
    option,
    output,
)
from dvskit.cli._shown import ShownRecording, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, VideoLook
from dvskit.errors import ConfigError, count_of

if TYPE_CHECKING:
    from dvskit.motion import Stabilized
    from dvskit.render import FrameStyle

_LONG_FRAMES = 36_000  # ten minutes of 60 a second
_SHORT_S = 0.25
_LEFT = 0.005  # the least share of events outside the picture that a note reports
_MOTION_US = 20_000

StabilizeName = StrEnum("StabilizeName", ["translation", "rotation"])
StyleName = StrEnum("StyleName", ["polarity", "count", "decay", "linear", "surface", "objects"])


@dataclass(frozen=True, slots=True)
class _FrameOptions:
    """The content, style and coding of frames.

    style      What a frame shows: decay or linear, fading events; polarity, that of the latest
               event; count, the number of events; surface, the time since the latest event;
               objects, boxes and trails of moving objects over fading events.
    window     How long events stay visible, such as 20ms; for decay, surface and objects the time
               in which they fade to 37 %.
    stabilize  Remove the motion of the camera, estimated in windows of 20 ms: translation or
               rotation.
    beside     A video, a folder of images, or a recording with frames, to show beside the events.
    time       Time 0 of a video: first, its first frame, or container, the zero of its file.
    footer     Show time code and event rates below the events.
    effort     x264's preset, from ultrafast to veryslow: slower presets make smaller files.
    crf        x264's crf: 0 is lossless, 51 the coarsest; 5 more make files a quarter smaller.
    """

    cameras: CameraOptions = field(default_factory=CameraOptions)
    style: StyleName = option(default=StyleName.decay, metavar="STYLE")
    window: Duration | None = option(shown="some frames")
    span: Span = field(default_factory=Span)
    stabilize: StabilizeName | None = option(shown="no")
    lens: LensOption = None
    beside: Path | None = None
    time: ClockName = ClockName.first
    look: VideoLook = field(default_factory=VideoLook)
    footer: bool = True
    effort: str = "ultrafast"
    crf: float = 15.0

    def frames(self) -> dict[str, Any]:
        """Return options of a VideoView. Raises ConfigError for them and for wrong values."""
        from dvskit.render import ObjectTracks, styles

        objects = self.style is StyleName.objects
        style: FrameStyle = (
            ObjectTracks(tau_us=self.window) if objects else styles[self.style.value](self.window)
        )
        named = {"style": style, "footer": self.footer, "crf": self.crf, "preset": self.effort}
        self.look.view(**named)
        return named


_SUFFIXES = (".mp4", ".mkv", ".mov", ".gif")


@on_many
def render(
    words: list[str] | None = argument(metavar="FILE"),
    out: str = output(default=REQUIRED),
    drawn: _FrameOptions = _FrameOptions(),
    reading: Reading = Reading(),
    force: Force = False,
    to: str | None = suffix_option(_SUFFIXES),
    crew: Crew = Crew(),
) -> None:
    """Turn events into a video: MP4, GIF, or PNG files in a folder.

    Of live events, such as those of --camera evk4, Ctrl-C completes the video with those so far.

    words  An event file or its folder, - for standard input, or an address ({addresses}). A video
           or a folder of images is emulated first. Or many: folders of recordings, several files,
           and patterns such as 'rec/**/*.raw'.
    out    The video: .mp4, .mkv, .mov, .gif, or a folder for PNG files (no suffix). For many
           inputs, the folder to write into.
    """
    paths = Paths(tuple(words or ()), out, RECORDINGS)
    given = {"drawn": drawn, "reading": reading, "force": force}
    write_pictures(_render, paths, crew, given, to=to, suffixes=_SUFFIXES, single="beside")


def _render(
    file: Path | None, out: Path, *, drawn: _FrameOptions, reading: Reading, force: bool
) -> int:
    writer = OutputWriter(out, "videos", Kind.VIDEO | Kind.FOLDER, force=force)
    if drawn.lens is not None and drawn.stabilize is None:
        raise ConfigError(f"--lens {drawn.lens} is for --stabilize rotation; give both")
    frames, look = drawn.frames(), drawn.look
    shown_fps = look.fps or (25 if out.suffix.lower() == ".gif" else 60)
    after_us, until_us = drawn.span.times()
    begun = monotonic()
    with opened(file, reading, drawn.span, writer, cameras=drawn.cameras, unit="frames") as shown:
        stable = None if drawn.stabilize is None else _stabilized(shown, drawn)
        stop_us = shown.stop_us
        if stop_us is not None and not any(map(len, shown.recording.between(stop_us, None))):
            stop_us = None  # the video ends with the recording
        total = None
        if stop_us is not None:
            total = ((until_us or 0) - (after_us or 0)) * 1e-6 * look.slow * shown_fps
        images = None
        if drawn.beside is not None:
            images = ClipOptions(time=drawn.time, salvage=reading.salvage).open(drawn.beside)

        def on_frame(count: int, t_us: int) -> None:
            shown.progress(count, t_us, total)
            if count == _LONG_FRAMES:
                _console.say(
                    f"{out}: {count_of(count, 'frame')} took {monotonic() - begun:.0f} s, and "
                    "there are more; --slow 0.1 takes a tenth, --start and --stop render a part"
                )

        zero_us = None if shown.start_us is None else shown.start_us - (after_us or 0)
        report = writer.video(
            stable or shown, look, beside=images, on_frame=on_frame, start_us=shown.start_us,
            stop_us=stop_us, zero_us=zero_us, **frames,
        )  # fmt: skip
    if shown.stop_us is not None and stop_us is None:
        ends_us = shown.last_us - shown.stop_us + (until_us or 0)
        _console.note(f"{shown.file}: ends at {_console.describe_us(ends_us)}, before --stop; the "
                      "video ends there")  # fmt: skip
    for text in () if images is None else clip_notes(images):
        _console.note(f"{drawn.beside}: {text}")
    if stable is not None:
        _note_left(stable, writer, report.events)
    lasts_s = report.frames / shown_fps
    if lasts_s < _SHORT_S:
        slower = 10.0 ** math.ceil(math.log10(look.slow / lasts_s))  # it then lasts 1 to 10 s
        _console.note(
            f"{out}: lasts {lasts_s:.2g} s; --slow {slower:g} makes it a few seconds long"
        )
    frame_count, events = count_of(report.frames, "frame"), count_of(report.events, "event")
    finish(writer, [shown], f"{frame_count} of {report.size}, {events}")
    return report.events


def _stabilized(shown: ShownRecording, drawn: _FrameOptions) -> Stabilized:
    """Return the events without the motion of the camera."""
    if shown.live:
        raise ConfigError(f"{shown.file}: --stabilize needs a file; write one first")
    from dvskit.motion import Stabilized, motion_over_time

    model = str(drawn.stabilize)
    lens = lens_for(model, shown.recording, drawn.lens)
    motions = motion_over_time(
        shown, model, window_us=_MOTION_US, camera=lens,  # type: ignore[arg-type]
        on_window=lambda count, t_us: shown.progress(count, t_us, unit="windows"),
    )  # fmt: skip
    return Stabilized(shown, motions, camera=lens)


def _note_left(stable: Stabilized, writer: OutputWriter, count: int) -> None:
    """Note the shares of events that a stabilized video of `count` events lacks."""
    whole = max(stable.left_by_undistortion + stable.left_by_motion + count, 1)
    for left, reason in (
        (stable.left_by_undistortion, "by undistortion alone"),
        (stable.left_by_motion, "when the motion was removed; --start and --stop render a shorter "
                                "part"),
    ):  # fmt: skip
        if left / whole > _LEFT:
            _console.note(
                f"{writer.path}: {left / whole:.0%} of the events left the picture {reason}"
            )
