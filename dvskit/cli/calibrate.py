"""`dvskit calibrate`: estimate the sensor of a recording, as a preset of the emulator."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit import _files
from dvskit.cli import _clips as clips
from dvskit.cli import _console
from dvskit.cli import _options as options
from dvskit.errors import ConfigError, UnknownFormatError, VideoError
from dvskit.formats import open_events

if TYPE_CHECKING:
    from dvskit.formats import Recording


@dataclass(frozen=True, slots=True)
class _Pictures:
    """How the frames are opened.

    offset  Delay of the frames against their time stamps, on the clock of the events, such as 3ms.
            For a video: the time of its first frame, such as 1.5s.
    """

    fps: clips.FpsOfVideo = None
    offset: options.Microseconds | None = options.option(
        shown="estimated, 20 ms either way at most"
    )
    light: clips.LightOption = None
    time: clips.ClockOption = clips.ClockName.first


def calibrate(
    recording: Path,
    frames: Path | None = options.argument(),
    out: Path | None = options.output("The preset file (.toml) to write.", shown=True),
    json: options.Json = False,
    reading: options.Reading = options.Reading(),
    how: _Pictures = _Pictures(),
    force: options.Force = False,
) -> None:
    """Estimate a sensor's thresholds, low-pass and noise from a recording and its frames.

    recording  An event file or its folder, - for standard input, or an address ({addresses}).
    frames     The frames: a video, a folder of images, or a recording with frames; by default the
               recording's own.
    """
    if out is not None:
        if out.suffix != ".toml":
            raise ConfigError(f"{out}: a preset file ends in .toml")
        _files.check_output(out, overwrite=force)
    source = reading.open(recording)
    clip = clips.ClipOptions(how.fps, how.time, reading.salvage)
    pictures = _frames(source, frames, clip)
    from dvskit.emulator.calibration import calibrate as calibrated

    with _console.progress(recording.name, None, "stages") as show:
        stages = count()

        def begin(stage: str) -> None:
            show(next(stages), stage)
            _console.log(f"{recording.name}: {stage}")

        found = calibrated(
            source,
            pictures,
            offset_us=how.offset,
            light=how.light.value if how.light else "linear",
            on_stage=begin,
        )
    from dvskit.video import FrameSource

    for text in clips.clip_notes(pictures) if isinstance(pictures, FrameSource) else ():
        _console.note(f"{frames}: {text}")
    if json:
        _console.print_json(found.as_dict())
    else:
        _console.put(*found.lines())
    if out is not None:
        _files.write_whole(out, found.preset_text(), overwrite=force)
        preset = shlex.quote(str(out))
        _console.say(f"{out}: use it: dvskit emulate VIDEO OUT --preset {preset}")


def _frames(source: Recording, frames: Path | None, clip: clips.ClipOptions) -> Iterable[Any]:
    if frames is None:
        return source.frames()
    if not frames.is_dir() and frames.exists():
        with suppress(UnknownFormatError):  # no recording: a video
            found = list(open_events(frames).frames())
            if not found:
                raise VideoError(f"{frames}: a recording without frames; name a video")
            return found
    return clip.open(frames)
