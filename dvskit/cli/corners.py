"""`dvskit corners`: the tracks of corners in a recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvskit.cli import _console
from dvskit.cli._clips import CountedEvents, ShownFile, note_assumptions, open_shown
from dvskit.cli._options import (
    REQUIRED,
    Force,
    Json,
    Reading,
    Span,
    option,
    part_of,
)
from dvskit.cli._tables import VIDEOS, FilmOptions, check_table, open_table, save_columns
from dvskit.errors import count_of
from dvskit.events import Size, Source

if TYPE_CHECKING:
    from dvskit.motion import CornerLinks
    from dvskit.render import CornerTracks
    from dvskit.render.colormap import Theme
    from dvskit.render.frames.corner_tracks import TracksRun

_SUFFIXES = (".csv", ".npz", *VIDEOS)
_COLUMNS = {"id": "id", "t_us": "t", "x": "x", "y": "y"}


@dataclass(frozen=True, slots=True)
class _Linking:
    """How corners are found and linked: the options --method, --within and --near."""

    method: str = option(
        "The filter that finds corners: arc_star or e_fast, fast; e_harris, the most exact with "
        "noise; luv_harris. Parameters follow its name, such as e_harris:threshold=6.",
        default="arc_star", metavar="NAME",
    )  # fmt: skip
    near: float = option(
        "A corner belongs to the nearest track at most this many pixels away.", default=3.5
    )
    within: str = option("A track ends this long after its latest corner.", default="25ms")
    span: Span = field(default_factory=Span)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of `motion.link_corners`. Raises ConfigError."""
        return {
            "within_px": self.near,
            "within_us": _console.parse_time_us(self.within, "--within"),
        }


def corners(
    file: ShownFile,
    out: Path = option(
        "The tracks: .csv (- for standard output), .npz, or a video of them over the events (.mp4, "
        ".mkv, .mov, .gif).",
        "-o", "--out", default=REQUIRED, shown=False,
    ),
    linking: _Linking = _Linking(),
    film: FilmOptions = FilmOptions(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
) -> None:  # fmt: skip
    """Find corners, and link them to tracks: a table of id, time, x and y, or a video."""
    check_table(out, "tracks", _SUFFIXES, json, force)
    film.check(out)
    times, parameters = linking.span.times(), linking.parameters()
    from dvskit.motion.corners import CornerLinks, corner_filter

    chosen = corner_filter(linking.method)
    recording = open_shown(file, reading)
    part = part_of(recording, *times)
    _console.announce_compiling()
    with _console.progress(out.name, None, "events") as show:
        events = CountedEvents(part, file, show)
        if out.suffix.lower() in VIDEOS:
            from dvskit.render import CornerTracks

            links = _draw(events, out, CornerTracks(chosen, **parameters), film, force)
        else:
            step, links = chosen.start(events.size), CornerLinks(events.size, **parameters)
            rows = (links(step(block)) for block in events)
            if out.suffix.lower() == ".npz":
                save_columns(rows, _COLUMNS, out, force)
            else:
                _write_table(rows, out, force)
    note_assumptions(file, recording, part)
    facts = {
        "file": str(file), "out": str(out), "method": linking.method, "events": events.count,
        "corners": links.corners, "tracks": links.tracks,
    }  # fmt: skip
    if json:
        _console.print_json(facts)
    else:
        found = count_of(links.corners, "corner event")
        tracks = count_of(links.tracks, "track")
        _console.say(f"{out}: {found} of {count_of(events.count, 'event')}, {tracks}")


@dataclass(slots=True)
class _Watched:
    """A style of frames that remembers its latest run."""

    style: CornerTracks
    run: TracksRun | None = None

    def start(self, size: Size, frame_us: float) -> TracksRun:
        self.run = self.style.start(size, frame_us)
        return self.run

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        return self.style.palette(theme)


def _draw(
    events: Source, out: Path, style: CornerTracks, film: FilmOptions, force: bool
) -> CornerLinks:
    """Write a video; return its links."""
    from dvskit.render import video

    watched = _Watched(style)
    video(events, out, view=film.view(watched), overwrite=force)
    assert watched.run is not None  # there are events
    return watched.run.links


def _write_table(rows: Iterator[NDArray[Any]], out: Path, force: bool) -> None:
    """Write rows as CSV, block by block."""
    with open_table(out, "id,t_us,x,y", force) as file:
        for block in rows:
            file.writelines(f"{i},{t},{x},{y}\n" for i, t, x, y in block.tolist())
