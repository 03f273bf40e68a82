"""`dvskit emulate` and `calibrate`: videos into events, and the sensor of a recording."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit import _files, _interrupt
from dvskit.cli import _clips as clips
from dvskit.cli import _console
from dvskit.cli import _options as options
from dvskit.cli._batch import OUTPUT, Crew, on_many, write_events
from dvskit.cli._inputs import Inputs, Paths
from dvskit.errors import ConfigError, UnknownFormatError, VideoError, count_of, did_you_mean
from dvskit.events import Size, parse_size
from dvskit.formats import open_events, open_sink
from dvskit.formats.file_sink import is_standard
from dvskit.formats.found import PathKind, identify, is_image_folder
from dvskit.formats.table import CLIP_SUFFIXES

if TYPE_CHECKING:
    from dvskit.emulator import Emulator, EmulatorParams
    from dvskit.formats import Recording
    from dvskit.video import ClipPart, FrameSource


def _is_video(file: Path) -> bool:
    return identify(file) is PathKind.VIDEO


# A recording in a folder with images is one clip: its frames.
VIDEOS = Inputs("video", _is_video, is_image_folder, lambda: CLIP_SUFFIXES)


def _emulate_of_many(video: Path, out: Path, *, sensor: _Sensor, **given: Any) -> int:
    """Emulate a clip of many: its seed is that of a sample in a folder of them."""
    from dvskit.emulator import Emulator
    from dvskit.formats.content import content_digest, images_digest, own_seed

    content = images_digest(video) if video.is_dir() else content_digest(video)
    seed = own_seed(Emulator(seed=sensor.seed).seed, content)
    return _emulate(video, out, sensor=dataclasses.replace(sensor, seed=seed), **given)


class LightName(Enum):
    """How pixel values are read."""

    luma = "luma"
    linear = "linear"


@dataclass(frozen=True, slots=True)
class _Sensor:
    """The sensor of an emulation.

    preset     A sensor (clean, noisy, v2e, DVS128, DAVIS240, DAVIS346, DVXplorer, Gen3, Gen4, EVK4,
               GenX320), or a preset file (.toml). A camera's name brings its size. v2e takes one
               step a frame, as v2e does; no frames are added without --upsample. clean has no
               threshold mismatch; v2e's clean has 0.02 (--set threshold_sigma=0.02).
    threshold  Contrast threshold, ON and OFF: the change of log intensity that makes an event.
    set_       Set another parameter, such as shot_hz=5; may be repeated. Parameters: threshold_on,
               threshold_off, threshold_sigma, light, linear_below, log_offset, cutoff_hz, dark,
               follower_hz, leak_hz, leak_spread, leak_jitter, shot_hz, noise_sigma, refractory_us,
               hot_fraction, hot_hz, dead_fraction, latency_us, jitter_us, readout_hz, scan_us,
               surround_px, surround_gain, model.
    lux        The illuminance of the scene in lux, for a camera: its pixels are slower and noisier
               in the dark.
    light      What the codes of pixels stand for: linear, the light that they encode, or luma, the
               codes themselves, as v2e takes them.
    seed       The seed of all random numbers. For many inputs, each file's seed is derived from it
               and from the file's content.
    size       Scale the video to cover a sensor of WIDTHxHEIGHT, and cut off the rest at two of its
               sides. native keeps the video's size.
    """

    preset: str = options.option(default="clean", autocompletion=options.preset_names)
    threshold: float | None = options.option(shown="the preset's")
    set_: list[options.Setting] | None = None
    lux: float | None = options.option(shown="300, a lit office")
    light: LightName | None = options.option(shown="linear; luma with the preset v2e")
    seed: int = 0
    size: str | None = options.option(metavar="SIZE", shown="the preset's, else native")

    def emulator(self) -> Emulator:
        """Return the emulator of the sensor. Raises ConfigError."""
        from dvskit.emulator import Emulator

        params = _params(self.preset, self.lux, self.threshold, self.set_ or [])
        if self.light is not None:
            params = dataclasses.replace(params, light=self.light.value)
        return Emulator(params, self.seed)


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames of a clip that the sensor sees, and their reading.

    fps       Frames a second of the video or folder.
    upsample  Add frames so that nothing moves by more than a pixel from frame to frame.
    time      Time 0 of a video: first, its first frame, or container, the zero of its file.
    salvage   Read damaged videos: keep the undamaged frames, report the losses.
    """

    crop: options.CropOption = None
    span: options.Span = field(default_factory=options.Span)
    fps: float | None = options.option(shown="its own time stamps")
    upsample: bool = False
    time: clips.ClockName = clips.ClockName.first
    salvage: bool = False

    def part(self, sensor: _Sensor) -> ClipPart:
        """Return the part of a clip to emulate, and its size. Raises ConfigError."""
        from dvskit.emulator.params import sensor_size
        from dvskit.video import ClipPart

        size: str | Size | None = sensor.size
        if size not in (None, "native"):
            with options.as_usage("--size"):
                size = parse_size(str(size))
        return ClipPart(*self.span.times(), self.crop, *sensor_size(sensor.preset, size))

    def open(self, video: Path | None, camera: str | None) -> FrameSource:
        """Open the clip or the camera. Raises ConfigError for options that a camera lacks."""
        if video is not None and camera is None:
            return clips.ClipOptions(self.fps, self.time, self.salvage).open(video)
        of_clips = ("fps", "time", "salvage", "upsample", "start", "stop")
        _console.refuse(of_clips, "does not apply to a camera; leave it out")
        from dvskit.video import CameraFrames

        number = options.CameraOptions(camera).source()
        if not isinstance(number, int):
            raise ConfigError(
                f"--camera {camera} is an event camera; dvskit convert --camera {camera} OUT "
                "records its events"
            )
        return CameraFrames(number)


@on_many
def emulate(
    words: list[str] | None = options.argument(metavar="IN OUT"),
    out: str | None = options.output(OUTPUT),
    camera: str | None = None,
    sensor: _Sensor = _Sensor(),
    frames: _Frames = _Frames(),
    written: options.WritingOptions = options.WritingOptions(),
    crew: Crew = Crew(),
) -> None:
    """Turn a video, or the view of a webcam, into events. Ctrl-C keeps the events so far.

    words   A video file, a folder of images, a recording with frames, or - for a video on standard
            input (left out with --camera); and the event file to write: its suffix sets the format
            (- is standard output, in EVT3 unless --to names another). For many inputs: a folder of
            videos and the folder to write into, or several files, folders and patterns such as
            'videos/**/*.mp4' with -o FOLDER.
    camera  Emulate the view of a webcam until Ctrl-C: its number, from 0. Event cameras need none
            of this: dvskit convert --camera records them.
    """
    paths = Paths.from_words(
        words, out, VIDEOS, camera=None if camera is None else f"--camera {camera}",
        usage="name a video and the event file to write; or --camera 0 and the file",
    )  # fmt: skip
    given = {"camera": camera, "sensor": sensor, "frames": frames} | written.options()
    write_events(_emulate, paths, crew, given, usual=".raw", of_many=_emulate_of_many)


def _emulate(
    video: Path | None, out: Path, *, camera: str | None, sensor: _Sensor, frames: _Frames,
    to: str | None, force: bool,
) -> int:  # fmt: skip
    """Emulate a clip, or the view of a webcam; return the number of events."""
    # Check the output before the kernels are loaded.
    options.check_writable(out, to)
    emulator, part = sensor.emulator(), frames.part(sensor)
    clip = frames.open(video, camera)
    with options.as_usage("--crop"):
        seen: FrameSource = part.of(clip)
    work = _Work(clip, seen, emulator, upsample=frames.upsample)
    name = f"camera {camera}" if video is None else str(video)
    _console.announce_compiling()
    with (
        _console.stoppable() as stop,
        options.waiting(open_sink(out, work.source.size, format=to, overwrite=force)) as sink,
        _console.progress(Path(name).name, seen.frame_count, "frames") as show,
    ):
        for block in work.source:
            sink.write(block)
            show(work.done, count_of(sink.count, "event"))
            if stop.asked:
                work.source.stop()
    for text in sink.notes:
        _console.note(f"{sink.path}: {text}")
    for text in work.notes(sink.count, stop.asked):
        _console.note(f"{name}: {text}")
    done = f"{sink.path}: {count_of(sink.count, 'event')} on {sink.size} from "
    done += count_of(work.done, "frame")
    if sink.count and not (is_standard(out) or sink.serves):
        written, page = shlex.quote(str(out)), shlex.quote(out.with_suffix(".html").name)
        done += f"; look at them: dvskit cloud {written} -o {page}"
    _console.say(done)
    if stop.asked and camera is None:
        _interrupt.advise("--force emulates the whole clip")
        raise KeyboardInterrupt
    return sink.count


class _Work:
    """The events of a clip, or of a part of it, while they are emulated."""

    def __init__(
        self, clip: FrameSource, part: FrameSource, emulator: Emulator, *, upsample: bool
    ) -> None:
        from dvskit.emulator import EmulatedSource
        from dvskit.emulator.upsample import Upsampled

        self._clip = clip
        self._added = Upsampled(part, part.size) if upsample else None
        self.source = EmulatedSource(self._added or part, emulator, part.size)

    @property
    def done(self) -> int:
        """The number of emulated frames of the clip, without added ones."""
        return self.source.frames_done if self._added is None else self._added.done

    def notes(self, events: int, stopped: bool) -> list[str]:
        """Return notes on the frames and the events, one line each."""
        clip = self._clip
        notes = [*self.source.notes, *list(clips.clip_notes(clip))[len(clip.notes) :]]
        if stopped:
            notes.append(f"stopped after frame {self.done - 1}; its events are written")
        if not events:
            threshold = self.source.emulator.params.threshold_on
            notes.append(f"no events; the clip never changes by {threshold} e-folds")
        return notes


def _params(
    preset: str, lux: float | None, threshold: float | None, settings: list[options.Setting]
) -> EmulatorParams:
    from dvskit.emulator import EmulatorParams
    from dvskit.emulator.params import answer_for

    values: dict[str, float | int | str] = {}
    if threshold is not None:
        values = {"threshold_on": threshold, "threshold_off": threshold}
    known = {each.name: each.default for each in dataclasses.fields(EmulatorParams)}
    for name, number in settings:
        if name not in known:
            hint = answer_for(name) or did_you_mean(name, known)
            raise ConfigError(f"--set {name}={number}: unknown parameter; {hint}")
        try:
            kind = type(known[name])
            values[name] = kind(number) if kind in (int, str) else float(number)
        except ValueError:
            raise ConfigError(f"--set {name}={number}: {number!r} is not a number") from None
    sensor = EmulatorParams.preset(preset, lux=lux)
    return dataclasses.replace(sensor, **values)  # type: ignore[arg-type]


# --- calibrate ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pictures:
    """How the frames are opened.

    fps     Frames a second of the video or folder.
    offset  Delay of the frames against their time stamps, on the clock of the events, such as 3ms.
            For a video: the time of its first frame, such as 1.5s.
    light   What the codes of pixels stand for: linear, the light that they encode, or luma, the
            codes themselves, as v2e takes them.
    time    Time 0 of a video: first, its first frame, or container, the zero of its file.
    """

    fps: float | None = options.option(shown="its own time stamps")
    offset: options.Microseconds | None = options.option(
        shown="estimated, 20 ms either way at most"
    )
    light: LightName | None = options.option(shown="linear")
    time: clips.ClockName = clips.ClockName.first


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
