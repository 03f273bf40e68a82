"""Events to a video: MP4 (H.264), GIF, or a folder of PNG."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from pathlib import Path

from dvskit._checks import (
    LATEST_US,
    check_choice,
    check_fields,
    check_number,
    check_whole,
    checked,
)
from dvskit._files import whole_file, whole_folder
from dvskit.errors import VideoError
from dvskit.events import Events, Size, Source
from dvskit.render._numbers import check_suffix
from dvskit.render.colormap import DARK, LIGHT
from dvskit.render.flow_cells import FlowCells
from dvskit.render.frames import frames
from dvskit.render.frames.canvas import (
    Beside,
    Canvas,
    CanvasLayout,
    Dithered,
    Images,
    lay_out,
    whole_palette,
)
from dvskit.render.frames.flow_style import FlowArrows, FlowColors
from dvskit.render.frames.styles import Decay, FrameStyle
from dvskit.render.frames.writers import (
    CRF_LIMITS,
    FPS_LIMITS,
    MOVING_SUFFIXES,
    PRESETS,
    TIMES_FILE,
    Film,
    InThread,
    output_fps,
)

_OF_SPEED = (FlowArrows, FlowColors)
_OWN = re.compile(rf"{re.escape(TIMES_FILE)}|frame_\d{{6,}}\.png")  # files of an earlier video


@dataclass(frozen=True, slots=True)
class VideoView:
    """Options for a video of events.

    style             of a frame, such as Decay()
    fps               frames per second of the video; None: 60, GIF 25
    slow              seconds of video per second of events: 1000 shows 1 ms in 1 s
    dark              light on dark, or dark on light
    scale             each pixel of the sensor as scale x scale; None enlarges small sensors
    footer            time code, speed, and the rates of ON and OFF events, below the picture (not
                      below one narrower than 200 pixels)
    start_us, stop_us the part to show; None leaves a side open
    zero_us           the zero of the time code; None: the start of the video
    crf, preset       quality (0 lossless .. 51) and effort of x264. Events come and go, so that its
                      motion search finds little. Here "ultrafast" uses B-frames and fine rounding,
                      unlike x264's own

        view = dvskit.render.VideoView(fps=30, slow=4, stop_us=100_000, dark=False)
        dvskit.render.video(dvskit.load_events("events.raw"), "slow.mp4", view=view)
    """

    style: FrameStyle = field(default_factory=Decay)
    fps: float | None = checked(check_number, *FPS_LIMITS, default=None)
    slow: float = checked(check_number, 1e-4, 10**6, default=1.0)
    dark: bool = True
    scale: int | None = checked(check_whole, 1, 64, default=None)
    footer: bool = True
    start_us: int | None = checked(check_number, -LATEST_US, LATEST_US, default=None)
    stop_us: int | None = checked(check_number, -LATEST_US, LATEST_US, default=None)
    zero_us: int | None = checked(check_number, -LATEST_US, LATEST_US, default=None)
    crf: float = checked(check_number, *CRF_LIMITS, default=15.0)
    preset: str = checked(check_choice, PRESETS, default="ultrafast")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class VideoReport:
    """The result of `video`: the number of frames of `size` pixels, and of the events in them.

    A GIF has 25 frames a second by default, other videos 60.

        events = dvskit.load_events("events.raw").between(0, 200_000)
        report = dvskit.render.video(events, "start.gif")
        report.frames, report.events  # (5, 2989)
    """

    path: Path
    frames: int
    events: int
    size: Size


def _arrow_px(style: FrameStyle, layout: CanvasLayout) -> int | None:
    """Return the length of the arrow of full speed, for a style with arrows."""
    if not isinstance(style, FlowArrows):
        return None
    return FlowCells.on(layout.sensor, style.cell_px).cell_px * layout.scale


def video(
    events_or_source: Events | Source,
    path: str | PathLike[str],
    *,
    view: VideoView | None = None,
    beside: Images | None = None,
    overwrite: bool = False,
    on_frame: Callable[[int, int], None] | None = None,
) -> VideoReport:
    """Write a video of events: .mp4, .mkv, .mov, .gif, or a folder of PNG (a path without suffix).

    beside    (t_us, image) in time order, gray or RGB like the first of them, such as a FrameSource
              (in its colours): shown at the right of the events, at any time the latest image that
              is not later. A GIF has 94 colours for it, dithered
    on_frame  is called with the number of frames so far and the time of the latest in us

    Frames are streamed; the file is written whole or not at all. Raises ConfigError for another
    suffix, VideoError without events, OutputError.

        events = dvskit.load_events("events.raw").between(0, 500_000)
        dvskit.render.video(events, "events.mp4")
        clip = dvskit.video.open_frames("video.mp4")
        dvskit.render.video(events, "beside.mp4", beside=clip)
    """
    target, view = Path(path), VideoView() if view is None else view
    suffix = target.suffix.lower()
    if suffix:
        check_suffix(target, MOVING_SUFFIXES, "a video (without a suffix: a folder)")
    gif = suffix == ".gif"
    fps = output_fps(view.fps, gif=gif, usual=60)
    theme = DARK if view.dark else LIGHT
    source_frames = frames(
        events_or_source, style=view.style, fps=float(fps * Fraction(view.slow)),
        start_us=view.start_us, stop_us=view.stop_us, theme=theme,
    )  # fmt: skip
    images = None if beside is None else Beside(beside)
    colours = None if images is None else images.colours
    palette = whole_palette(source_frames.palette, theme, image=colours if gif else None)
    in_colour = colours is not None and not gif
    shown = None if images is None else images.size
    layout = lay_out(source_frames.size, view.scale, beside=shown, footer=view.footer)
    canvas = Canvas(
        layout, float(source_frames.period_us), slow=view.slow, beside=images,
        dithered=Dithered(palette) if gif and colours is not None else None, zero_us=view.zero_us,
        full_px_s=view.style.full_px_s if isinstance(view.style, _OF_SPEED) else None,
        arrow_px=_arrow_px(view.style, layout),
    )  # fmt: skip
    size = Size(layout.width, layout.height)
    film = Film(suffix, size, palette, fps, view.crf, view.preset, in_colour)
    count = events = 0
    opened = (
        whole_file(target, overwrite=overwrite)
        if suffix
        else whole_folder(
            target, overwrite=overwrite, is_own=lambda name: bool(_OWN.fullmatch(name))
        )
    )
    with (
        opened as partial,
        InThread(film.writer(partial), str(target)) as out,
    ):
        for moment in source_frames.moments():
            picture = canvas.draw(moment)
            out.write(moment.t_us, canvas.in_colour(palette) if in_colour else picture)
            count, events = count + 1, events + moment.on + moment.off
            if on_frame is not None:
                on_frame(count, moment.t_us)
        if not events:
            raise VideoError(f"{target}: there are no events to show")
    return VideoReport(target, count, events, size)
