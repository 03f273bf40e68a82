"""Draw what a camera and an event camera see of one scene: a frame, its events, and all events.

    python samples/make_emulator_figure.py figure.png                  # a scene drawn by dvskit
    python samples/make_emulator_figure.py figure.png --clip clip.mp4 --at-ms 800

Without --at-ms the frame is taken where most events happen.

The frame and the ON and OFF events about its time stand above each other; beside them are all
events of the clip in space and time, from the first (yellow) to the last (purple).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

import dvskit
from dvskit.events import Size
from dvskit.render import CloudView, cloud_image
from dvskit.scenes import PersonScene
from dvskit.scenes.person import Look, View
from dvskit.video import open_frames

ON, OFF, GROUND, INK = (213, 94, 0), (0, 114, 178), (251, 251, 249), "#1b1d26"
WIDTH_IN, DPI = 7.2, 400  # two columns of a journal
GAP, CAPTION = 0.012, 0.052  # of the figure's width and height


def scene() -> PersonScene:
    """Return the scene that is drawn without --clip: a waving hand."""
    look = Look(seed=2, skin=0.75, shirt=0.55, wall=0.32, walls="room", wall_contrast=0.15)
    return PersonScene(
        gesture="right_hand_wave", size=Size(480, 360), fps=400, duration_us=1_600_000, seed=6,
        look=look, view=View(height_m=1.25, x=0.08, y=0.46),
    )  # fmt: skip


def frame_of(
    frames: list[tuple[int, NDArray[np.generic]]],
    events: dvskit.Events,
    at_ms: float | None,
    window_us: int,
) -> tuple[int, NDArray[np.generic]]:
    """Return the frame (and its time) nearest to `at_ms`, or that with most events about it."""
    times = np.array([t_us for t_us, _ in frames])
    if at_ms is not None:
        return frames[int(np.argmin(np.abs(times - at_ms * 1000)))]
    ends = [np.searchsorted(events.t, times + side * window_us // 2) for side in (-1, 1)]
    return frames[int(np.argmax(ends[1] - ends[0]))]


def picture_of(events: dvskit.Events) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8: each pixel has the color of its last event."""
    picture = np.full((events.sensor_size.height, events.sensor_size.width, 3), GROUND, np.uint8)
    colors = np.array([OFF, ON], np.uint8)
    # Of several events at one pixel the last is written last.
    picture[events.y, events.x] = colors[events.p.astype(int)]
    return picture


def panel(figure: Figure, place: tuple[float, float, float, float], caption: str) -> Axes:
    """Return axes at (left, bottom, width, height) of the figure, with a caption below."""
    axes = figure.add_axes(place)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color="#9a9daa", linewidth=0.5)
    figure.text(
        place[0] + place[2] / 2, place[1] - 0.012, caption,
        ha="center", va="top", fontsize=8, color=INK,
    )  # fmt: skip
    return axes


def draw(
    frame: NDArray[np.generic], moment: dvskit.Events, events: dvskit.Events, window_us: int
) -> Figure:
    """Return the figure: the frame above the events of the moment, beside them the cloud."""
    left = (1 - GAP) / 3.05
    height = left * events.sensor_size.height / events.sensor_size.width
    total = 2 * (height + CAPTION * 0.55) + GAP
    figure = Figure(figsize=(WIDTH_IN, WIDTH_IN * total), dpi=DPI, facecolor="white")
    each, foot = height / total, CAPTION
    lower = panel(
        figure, (0.002, foot, left, each), f"(b) event camera: events of {window_us / 1000:g} ms"
    )
    lower.imshow(picture_of(moment), aspect="auto", interpolation="nearest")
    upper_at = (0.002, 1 - each - 0.002, left, each)
    upper = panel(figure, upper_at, "(a) camera: one frame")
    white = np.iinfo(frame.dtype).max  # a video's frames have 8 bits, a scene's 16
    upper.imshow(frame, cmap="gray", vmin=0, vmax=white, aspect="auto", interpolation="nearest")
    for name, color, at in (("ON", ON, 0.03), ("OFF", OFF, 0.13)):
        lower.text(
            at, 0.96, name, transform=lower.transAxes, va="top", fontsize=7.5, weight="bold",
            color=tuple(part / 255 for part in color),
        )  # fmt: skip
    place = (0.002 + left + GAP, foot, 1 - left - GAP - 0.004, 1 - foot - 0.002)
    right = panel(figure, place, "(c) all events in space and time")
    wide = round(place[2] * WIDTH_IN * DPI)
    high = round(place[3] * WIDTH_IN * total * DPI)
    view = CloudView(dark=False, text_scale=0.85, azimuth_deg=42, elevation_deg=20)
    cloud = cloud_image(events, view=view, width_px=wide, height_px=high)
    right.imshow(cloud, aspect="auto", interpolation="none")
    return figure


def main() -> None:
    """Emulate the clip and write the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--clip", type=Path, help="a video or a folder of images")
    parser.add_argument("--at-ms", type=float, help="time of the frame; else the busiest")
    parser.add_argument("--window-ms", type=float, default=10, help="of the events about it")
    parser.add_argument("--threshold", type=float, default=0.15)
    parser.add_argument("--dpi", type=int, default=DPI, help="of the figure, 183 mm wide")
    parser.add_argument("--fps", type=float, help="of a clip that has no time stamps")
    args = parser.parse_args()
    frames = list(scene() if args.clip is None else open_frames(args.clip, fps=args.fps))
    params = dvskit.EmulatorParams(threshold_on=args.threshold, threshold_off=args.threshold)
    source = dvskit.emulate(frames, params=params)
    events = dvskit.Events.concatenate(list(source), source.size)
    window_us = round(args.window_ms * 1000)
    at_us, frame = frame_of(frames, events, args.at_ms, window_us)
    first, last = np.searchsorted(events.t, [at_us - window_us // 2, at_us + window_us // 2])
    figure = draw(frame, events[first:last], events, window_us)
    figure.set_dpi(args.dpi)
    FigureCanvasAgg(figure).print_png(args.out)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
