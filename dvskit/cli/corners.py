"""`dvskit corners`: the tracks of corners in a recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvskit.cli._options import (
    REQUIRED,
    Force,
    Json,
    Microseconds,
    Reading,
    Span,
    option,
    output,
)
from dvskit.cli._shown import ShownFile, TalliedMethod, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, VideoLook
from dvskit.errors import count_of


@dataclass(frozen=True, slots=True)
class _Linking:
    """How corners are found and linked.

    method  The filter that finds corners: arc_star or e_fast, fast; e_harris, the most exact with
            noise; luv_harris. Parameters follow its name, such as e_harris:threshold=6.
    near    A corner belongs to the nearest track at most this many pixels away.
    within  A track ends this long after its latest corner.
    """

    method: str = option(default="arc_star", metavar="NAME")
    near: float = 3.5
    within: Microseconds = option(default=Microseconds(25_000), shown="25ms")
    span: Span = field(default_factory=Span)


def corners(
    file: ShownFile,
    out: Path = output(default=REQUIRED),
    linking: _Linking = _Linking(),
    look: VideoLook = VideoLook(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
) -> None:
    """Find corners, and link them to tracks: a table of id, time, x and y, or a video.

    out  The tracks: .csv (- for standard output), .npz, or a video of them over the events (.mp4,
         .mkv, .mov, .gif).
    """
    kinds = Kind.TABLE | Kind.ARRAYS | Kind.VIDEO
    writer = OutputWriter(out, "tracks", kinds, look, force=force, json=json)
    limits: dict[str, Any] = {"within_px": linking.near, "within_us": linking.within}
    from dvskit.motion.corners import CornerLinks, corner_filter

    chosen = corner_filter(linking.method)
    with opened(file, reading, linking.span, writer) as shown:
        if writer.kind is Kind.VIDEO:
            from dvskit.render import CornerTracks

            style = TalliedMethod(CornerTracks(chosen, **limits))
            writer.video(shown, look, style=style)
            links = style.step.links
        else:
            step, links = chosen.start(shown.size), CornerLinks(shown.size, **limits)
            writer.table(links(step(block)) for block in shown)
    found, tracks = count_of(links.corners, "corner event"), count_of(links.tracks, "track")
    finish(
        writer, [shown], f"{found} of {count_of(shown.count, 'event')}, {tracks}",
        {
            "method": linking.method, "events": shown.count, "corners": links.corners,
            "tracks": links.tracks,
        },
    )  # fmt: skip
