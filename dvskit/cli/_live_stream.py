"""Live sources: cameras, played clips and recordings, pipes and sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit.cli._clips import find_clip, open_shown
from dvskit.cli._console import describe_us
from dvskit.cli._options import CameraOptions, Reading
from dvskit.errors import ConfigError, count_of
from dvskit.events import Events, Size
from dvskit.formats import Damage, Recording
from dvskit.formats.addresses import ADDRESSES, LiveRecording
from dvskit.formats.keeping_up import KeepingUp
from dvskit.formats.recording import ReadOptions
from dvskit.formats.storage import Storage

if TYPE_CHECKING:
    from dvskit.evaluation import Live, LiveRun
    from dvskit.evaluation.arrivals import Arrival
    from dvskit.models import Model
    from dvskit.video import FrameSource

_GATHER_S = 0.001  # longest wait of an event for others: delays stay at a few milliseconds


@dataclass(frozen=True, slots=True)
class LiveSource:
    """The source on the command line: a path, an address, - or the number of a camera."""

    file: Path | None
    camera: int | None

    @property
    def name(self) -> str:
        """The name in notes."""
        return f"camera {self.camera}" if self.file is None else str(self.file)


def live_source(files: list[Path], cameras: CameraOptions, reading: Reading) -> LiveSource:
    """Return the single source. Raises ConfigError for none, several, or a mixture."""
    camera = cameras.source()
    if camera is not None:
        if files:
            raise ConfigError(f"{files[0]}: --camera is a second source; give only one")
        if reading != Reading():
            raise ConfigError(
                "--from, --size and --salvage do not apply to a camera; leave them out"
            )
        return LiveSource(None, camera) if isinstance(camera, int) else LiveSource(camera, None)
    if not files:
        raise ConfigError(
            f"--live: name a recording, a video, - or an address ({ADDRESSES}), or a camera: "
            "--camera 0"
        )
    if len(files) > 1:
        raise ConfigError(f"--live takes one source, but {len(files)} are given; name one")
    return LiveSource(files[0], None)


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


def open_stream(source: LiveSource, live: Live, reading: Reading) -> LiveStream:
    """Open a source. Raises the errors of opening, and ConfigError for a folder of recordings."""
    if source.file is None:
        return _camera(source.camera or 0, live)
    clip = find_clip(source.file, reading)
    if clip is not None:
        return _clip(clip, live, reading)
    return _recording(source.file, live, reading)


def _camera(number: int, live: Live) -> LiveStream:
    from dvskit.video import CameraFrames

    camera = CameraFrames(number)

    def notes() -> list[str]:
        dropped = count_of(camera.dropped, "frame")
        return [f"left out: {dropped}, faster than the decisions"] if camera.dropped else []

    return _filmed(camera, live, notes, camera.stop, played=False)


def _clip(clip: FrameSource, live: Live, reading: Reading) -> LiveStream:
    from dvskit.cli._clips import clip_notes

    if reading.size is not None:
        raise ConfigError(
            "--size does not apply to a video, which is scaled to the model's size; leave it out"
        )
    return _filmed(clip, live, lambda: list(clip_notes(clip)), lambda: None, played=True)


def _filmed(
    frames: FrameSource, live: Live, notes: Callable[[], list[str]], close: Callable[[], Any],
    *, played: bool,
) -> LiveStream:  # fmt: skip
    from dvskit.datasets.files import frames_for
    from dvskit.evaluation.arrivals import filmed
    from dvskit.formats.keeping_up import Pace

    how = live.model.emulation
    seen = frames_for(frames, how)
    run = live.start(seen.size)
    words = f"emulated on {seen.size}" + (", played in real time" if played else "")
    arrivals = filmed(seen, how, Pace() if played else None)
    return LiveStream(run, arrivals, seen.size, words, notes, close)


def _recording(file: Path, live: Live, reading: Reading) -> LiveStream:
    from dvskit.datasets import likely_size
    from dvskit.evaluation import arrivals
    from dvskit.formats.keeping_up import Pace
    from dvskit.models.inputs import blocks_on_sensor

    recording = reading.open(file)
    size, given = likely_size(recording, live.model.size), live.model.input
    run = live.start(size)
    close: Callable[[], Any] = lambda: None  # noqa: E731
    if isinstance(recording, LiveRecording):
        recording.gather_s, close = _GATHER_S, recording.close
        quiet_s = given.bins * given.bin_us / 1e6
        keeping = KeepingUp.of(recording, "decisions were")
        coming, how = arrivals.received(keeping, size, quiet_s), "as they arrive"
    elif recording.live:
        coming, how = arrivals.piped(blocks_on_sensor(recording, size)), "as they are read"
    else:
        blocks = blocks_on_sensor(recording, size)
        coming = arrivals.played(blocks, given.bin_us, Pace())
        how = "played in real time"
    if run.fit.how is not None:
        how = f"{run.fit.how}, {how}"

    def notes() -> list[str]:
        found = list(recording.assumptions)
        if recording.damage:
            found.append(str(recording.damage))
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
            if self._camera.dropped:
                dropped = count_of(self._camera.dropped, "frame")
                self.assumptions.append(f"left out: {dropped}, faster than the work on them; "
                                        "--size scales frames to a smaller sensor")  # fmt: skip


def open_seen(
    file: Path | None, cameras: CameraOptions, reading: Reading, model: Model | None = None
) -> tuple[Path, Recording]:
    """Open a recording, a clip, or a camera to show; return its name in messages, too.

    For a model, clips are emulated as its training clips were.

    Raises ConfigError for both or neither, and the errors of opening.
    """
    camera = cameras.source()
    if camera is None:
        if file is None:
            raise ConfigError(f"name an event file, a video, - or an address ({ADDRESSES}); or a "
                              "camera: --camera evk4, a webcam: --camera 0")  # fmt: skip
        return file, open_shown(file, reading, model)
    if file is not None:
        raise ConfigError(f"{file}: --camera is a second source; give only one")
    if reading.from_ is not None or reading.salvage:
        raise ConfigError("--from and --salvage do not apply to a camera; leave them out")
    recording = (
        _CameraEvents(camera, reading.size) if isinstance(camera, int) else reading.open(camera)
    )
    return recording.path, recording
