"""Events while they arrive: from cameras, played clips and recordings, pipes and sockets.

`open_seen` opens them to be shown, `open_stream` for the decisions of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit.cli import _console
from dvskit.cli._clips import clip_notes, find_clip, open_shown
from dvskit.cli._console import describe_us
from dvskit.cli._options import CameraOptions, Reading, notes_on
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Size
from dvskit.formats import Damage, Recording
from dvskit.formats.addresses import ADDRESSES, LiveRecording
from dvskit.formats.keeping_up import KeepingUp, Pace
from dvskit.formats.recording import ReadOptions
from dvskit.formats.storage import Storage

if TYPE_CHECKING:
    from dvskit.evaluation import Live, LiveRun
    from dvskit.evaluation.live import Arrival
    from dvskit.models import Model
    from dvskit.video import FrameSource

_GATHER_S = 0.001  # longest wait of an event for others: delays stay at a few milliseconds


# --- one source -----------------------------------------------------------------------------------


def one_source(files: Sequence[Path], cameras: CameraOptions) -> Path | int:
    """Return the one file or address that is named, or the number of a webcam.

    Raises ConfigError for none, several, or a mixture.
    """
    camera = cameras.source()
    count = len(files) + (camera is not None)
    if count > 1:
        raise ConfigError(f"{files[0]}: is one of {count} sources; name one, or --camera alone")
    if camera is not None:
        _console.refuse(("from_", "salvage"), "does not apply to a camera; leave it out")
        return camera
    if not files:
        raise ConfigError(
            f"name an event file, a video, - or an address ({ADDRESSES}); or a camera: --camera "
            "evk4, a webcam: --camera 0"
        )
    return files[0]


def name_of(source: Path | int) -> str:
    """Return the name of a source in messages."""
    return f"camera {source}" if isinstance(source, int) else str(source)


class _CameraEvents(LiveRecording):
    """The events of a webcam's view, emulated as its frames come; read once."""

    format = "emulated"

    def __init__(self, number: int, size: Size | None) -> None:
        from dvskit.emulator import EmulatedSource, Emulator
        from dvskit.video import CameraFrames, resized

        self._camera = CameraFrames(number)
        frames = resized(self._camera, size)
        super().__init__(Path(f"camera {number}"), ReadOptions(), frames.size, "frames")
        self._source = EmulatedSource(frames, Emulator(), frames.size)
        self.assumptions.append("is a webcam: its frames are emulated for an ideal sensor")

    def close(self) -> None:
        """End reading after the waiting frames."""
        self._camera.stop()

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        try:
            yield from self._source
        finally:
            fix = "--size scales frames to a smaller sensor"
            self.assumptions += (f"{text}; {fix}" for text in clip_notes(self._camera))


def open_seen(
    file: Path | None, cameras: CameraOptions, reading: Reading, model: Model | None = None
) -> tuple[Path, Recording]:
    """Open a recording, a clip, or a camera to show; return its name in messages, too.

    For a model, clips are emulated as its training clips were.

    Raises ConfigError for both or neither, and the errors of opening.
    """
    source = one_source([] if file is None else [file], cameras)
    if isinstance(source, int):
        recording: Recording = _CameraEvents(source, reading.size)
        return recording.path, recording
    recording = open_shown(source, reading, model)
    return recording.path if file is None else source, recording


# --- the stream of a model ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LiveStream:
    """An open source, and a pass of a model over it.

    size   of the arriving events
    how    how the source is read, for people
    notes  returns the notes at the end, one line each
    close  ends it
    """

    run: LiveRun
    arrivals: Iterator[Arrival]
    size: Size
    how: str
    notes: Callable[[], list[str]]
    close: Callable[[], Any]


def open_stream(source: Path | int, live: Live, reading: Reading) -> LiveStream:
    """Open a source. Raises the errors of opening, and ConfigError for a folder of recordings."""
    why = "frames are scaled to the model's size; leave it out"
    if isinstance(source, int):
        from dvskit.video import CameraFrames

        _console.refuse(("size",), why)
        camera = CameraFrames(source)
        return _from_frames(camera, live, None, camera.stop)
    clip = find_clip(source, reading)
    if clip is None:
        return _from_recording(source, live, reading)
    _console.refuse(("size",), why)
    return _from_frames(clip, live, Pace(), lambda: None)


def _from_frames(
    frames: FrameSource, live: Live, pace: Pace | None, close: Callable[[], Any]
) -> LiveStream:
    """Return the stream of emulated frames, which a pace plays; None for those that arrive."""
    from dvskit.datasets.files import frames_for
    from dvskit.evaluation.live import filmed

    emulation = live.model.emulation
    seen = frames_for(frames, emulation)
    how = f"emulated on {seen.size}" + (", played in real time" if pace else "")
    run, arrivals = live.start(seen.size), filmed(seen, emulation, pace)
    return LiveStream(run, arrivals, seen.size, how, lambda: list(clip_notes(frames)), close)


def _from_recording(file: Path, live: Live, reading: Reading) -> LiveStream:
    from dvskit.datasets import likely_size
    from dvskit.evaluation.live import piped, played, received
    from dvskit.models.inputs import blocks_on_sensor

    recording = reading.open(file)
    size, given = likely_size(recording, live.model.size), live.model.input
    run = live.start(size)
    close: Callable[[], Any] = lambda: None  # noqa: E731
    if isinstance(recording, LiveRecording):
        recording.gather_s, close = _GATHER_S, recording.close
        quiet_s = given.bins * given.bin_us / 1e6
        keeping = KeepingUp.of(recording, "decisions were")
        coming, how = received(keeping, size, quiet_s), "as they arrive"
    elif recording.live:
        coming, how = piped(blocks_on_sensor(recording, size)), "as they are read"
    else:
        blocks = blocks_on_sensor(recording, size)
        coming = played(blocks, given.bin_us, Pace())
        how = "played in real time"
    if run.fit.how is not None:
        how = f"{run.fit.how}, {how}"

    def notes() -> list[str]:
        found = notes_on(recording)
        if run.fit.dropped:
            found.append(f"left out at the edges: {count_of(run.fit.dropped, 'event')}")
        return found

    return LiveStream(run, coming, size, how, notes, close)


def window_words(live: Live) -> str:
    """Return a model's step and window, for people."""
    given = live.model.input
    return (
        f"{live.model.name} decides every {describe_us(given.bin_us)} on the last "
        f"{describe_us(given.bins * given.bin_us)}"
    )
