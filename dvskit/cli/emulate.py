"""`dvskit emulate`: a video becomes an event file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._options import Force
from dvskit.formats import format_for_writing, open_sink


def emulate(
    video: Annotated[
        Path, typer.Argument(help="A video file, or a folder of images.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="The event file to write.", show_default=False)],
    preset: Annotated[str, typer.Option(help="Named parameters.")] = "clean",
    threshold: Annotated[
        float | None,
        typer.Option(help="Contrast threshold, ON and OFF: change of log intensity an event."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes all randomness.")] = 0,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second, in place of the video's own time stamps.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="The output's format; else its suffix.")] = None,
    force: Force = False,
) -> None:
    """Turn a video into events, by the brightness-threshold rule."""
    # What is wrong with the output is told before the kernels are loaded.
    format_for_writing(out, to)
    from dvskit.emulator import EmulatedSource, Emulator, EmulatorParams
    from dvskit.video import open_frames

    params = EmulatorParams.preset(preset)
    if threshold is not None:
        params = dataclasses.replace(params, threshold_on=threshold, threshold_off=threshold)
    frames = open_frames(video, fps=fps)
    source = EmulatedSource(frames, Emulator(params, seed), frames.size)
    with (
        open_sink(out, source.size, format=to, overwrite=force) as sink,
        _console.progress(video.name, frames.frame_count, "frames") as show,
    ):
        for block in source:
            sink.write(block)
            show(source.frames_done, f"{sink.count:,} events")
    for text in sink.notes:
        _console.note(f"{out}: {text}")
    if not sink.count:
        _console.note(f"{out}: no events; the clip never changes by {params.threshold_on} e-folds")
    _console.say(
        f"{out}: {sink.count:,} events on {sink.size} from {source.frames_done} frames; "
        f"look at them: dvskit cloud {out} -o {out.with_suffix('.html').name}"
    )
