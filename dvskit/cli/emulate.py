"""`dvskit emulate`: a video, or what a camera sees, becomes an event file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._options import (
    ClipOptions,
    ClockName,
    ClockOption,
    Force,
    FpsOfVideo,
    LightName,
    LightOption,
    SalvageVideo,
    ToOption,
    check_writable,
    clip_notes,
)
from dvskit.errors import ConfigError, did_you_mean
from dvskit.formats import is_standard, open_sink

if TYPE_CHECKING:
    from dvskit.emulator import EmulatedSource, EmulatorParams
    from dvskit.video import FrameSource


def emulate(
    video: Annotated[
        Path | None,
        typer.Argument(
            help="A video file, or a folder of images; left out with --camera.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Argument(
            help="The event file to write: its suffix tells the format. - is standard output, in "
            "EVT3 unless --to names another.",
            show_default=False,
        ),
    ] = None,
    camera: Annotated[
        int | None,
        typer.Option(help="Emulate what a camera sees, until Ctrl-C: its number, from 0."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="A sensor (clean, noisy, v2e, DVS128, DAVIS240, DAVIS346, Gen3, Gen4), or a "
            "preset file (.toml)."
        ),
    ] = "clean",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Contrast threshold, ON and OFF: the change of log intensity that makes an event.",
            show_default="the preset's",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another parameter of the sensor: NAME=VALUE, such as shot_hz=5; as often as you "
            "like.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Fixes all randomness: the same seed, the same events.")
    ] = 0,
    fps: FpsOfVideo = None,
    light: LightOption = LightName.luma,
    upsample: Annotated[
        bool,
        typer.Option(
            "--upsample", help="Add frames, so that nothing moves by more than a pixel between two."
        ),
    ] = False,
    time: ClockOption = ClockName.first,
    salvage: SalvageVideo = False,
    to: ToOption = None,
    force: Force = False,
) -> None:
    """Turn a video, or what a camera sees, into events. Ctrl-C keeps what is done."""
    if camera is not None:
        if video is not None and out is not None:
            raise ConfigError(f"{video}: name the output alone with --camera")
        video, out = None, video
    elif video is None:
        raise ConfigError("name a video and the event file to write; or --camera 0 and the file")
    if out is None:
        raise ConfigError(f"{video or '--camera'}: name the event file to write behind it")
    # What is wrong with the output is told before the kernels are loaded.
    check_writable(out, to)
    from dvskit.emulator import EmulatedSource, Emulator

    params = _params(preset, threshold, set_ or [])
    emulator = Emulator(params, seed)
    clip = ClipOptions(fps, light, time, salvage)
    frames = _frames(video, camera, clip, upsample)
    source = EmulatedSource(frames, emulator, frames.size)
    name = f"camera {camera}" if video is None else video.name
    with (
        _console.stoppable() as stop,
        open_sink(out, source.size, format=to, overwrite=force) as sink,
        _console.progress(name, frames.frame_count, "frames") as show,
    ):
        for block in source:
            sink.write(block)
            show(source.frames_done, f"{sink.count:,} events")
            if stop.asked:
                source.stop()
    for text in sink.notes:
        _console.note(f"{sink.path}: {text}")
    for text in _notes(source, frames, sink.count, stop.asked):
        _console.note(f"{name if video is None else video}: {text}")
    look = f"; look at them: dvskit cloud {out} -o {out.with_suffix('.html').name}"
    _console.say(
        f"{sink.path}: {sink.count:,} events on {sink.size} from {source.frames_done} frames"
        + ("" if is_standard(out) else look)
    )
    if stop.asked and camera is None:
        raise typer.Exit(130)


def _params(preset: str, threshold: float | None, settings: list[str]) -> EmulatorParams:
    from dvskit.emulator import EmulatorParams

    values: dict[str, float | int | str] = {}
    if threshold is not None:
        values = {"threshold_on": threshold, "threshold_off": threshold}
    known = {each.name: each.default for each in dataclasses.fields(EmulatorParams)}
    for text in settings:
        name, _, number = text.partition("=")
        if name not in known:
            raise ConfigError(f"--set {text}: unknown parameter; {did_you_mean(name, known)}")
        try:
            kind = type(known[name])
            values[name] = kind(number) if kind in (int, str) else float(number)
        except ValueError:
            raise ConfigError(f"--set {text}: {number!r} is no number for {name}") from None
    return dataclasses.replace(EmulatorParams.preset(preset), **values)  # type: ignore[arg-type]


def _frames(
    video: Path | None, camera: int | None, clip: ClipOptions, upsample: bool
) -> FrameSource:
    if video is None or camera is not None:
        if clip != ClipOptions() or upsample:
            raise ConfigError(
                "--fps, --light, --time, --salvage and --upsample are not for cameras"
            )
        from dvskit.video import CameraFrames

        return CameraFrames(camera or 0)
    frames = clip.open(video)
    if not upsample:
        return frames
    from dvskit.emulator.upsample import Upsampled

    return Upsampled(frames, frames.size)


def _notes(source: EmulatedSource, frames: FrameSource, count: int, stopped: bool) -> list[str]:
    from dvskit.video import CameraFrames

    notes = list(clip_notes(frames))
    if stopped:
        notes.append(f"stopped behind frame {source.frames_done - 1}; what was done is written")
    if isinstance(frames, CameraFrames) and frames.dropped:
        notes.append(f"{frames.dropped} frames came faster than they were emulated: left out")
    if not count:
        threshold = source.emulator.params.threshold_on
        notes.append(f"no events; the clip never changes by {threshold} e-folds")
    return notes
