"""Events while they arrive: from cameras, played clips and recordings, pipes and sockets.

`dvskit classify --live` decides on them, in one line that is rewritten; `dvskit view` shows them.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvskit import _interrupt
from dvskit.cli import _console
from dvskit.cli._clips import clip_notes, find_clip, open_shown
from dvskit.cli._console import describe_us
from dvskit.cli._options import CameraOptions, Reading, option
from dvskit.errors import ConfigError, count_of, one_line, printable
from dvskit.events import Events, Size
from dvskit.formats import Damage, Recording, open_sink
from dvskit.formats.addresses import ADDRESSES, LiveRecording
from dvskit.formats.keeping_up import KeepingUp, Pace
from dvskit.formats.recording import ReadOptions
from dvskit.formats.storage import Storage

if TYPE_CHECKING:
    from dvskit.evaluation import Live, LiveDecision, LiveRun
    from dvskit.evaluation.live import Arrival
    from dvskit.models import Model
    from dvskit.video import CameraFrames, FrameSource

_BEHIND_S = 0.05  # shorter delays are not shown
_GATHER_S = 0.001  # longest wait of an event for others: delays stay at a few milliseconds
_END_S = 1.5  # for the last block to be written


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
            self.assumptions += _dropped(
                self._camera, "the work on them; --size scales frames to a smaller sensor"
            )


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


def _dropped(camera: CameraFrames, slow: str) -> list[str]:
    """Return a note on the frames of a webcam that came faster than they were taken."""
    count = count_of(camera.dropped, "frame")
    return [f"left out: {count}, faster than {slow}"] if camera.dropped else []


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
        _console.refuse(("size",), why)
        return _from_camera(source, live)
    clip = find_clip(source, reading)
    if clip is None:
        return _from_recording(source, live, reading)
    _console.refuse(("size",), why)
    run, arrivals, size = _filmed(clip, live, Pace())
    how = f"emulated on {size}, played in real time"
    return LiveStream(run, arrivals, size, how, lambda: list(clip_notes(clip)), lambda: None)


def _from_camera(number: int, live: Live) -> LiveStream:
    from dvskit.video import CameraFrames

    camera = CameraFrames(number)
    run, arrivals, size = _filmed(camera, live, None)
    how = f"emulated on {size}"
    notes = lambda: _dropped(camera, "the decisions")  # noqa: E731
    return LiveStream(run, arrivals, size, how, notes, camera.stop)


def _filmed(
    frames: FrameSource, live: Live, pace: Pace | None
) -> tuple[LiveRun, Iterator[Arrival], Size]:
    """Return the run on emulated frames, which a pace plays; None for those that arrive."""
    from dvskit.datasets.files import frames_for
    from dvskit.evaluation.live import filmed

    how = live.model.emulation
    seen = frames_for(frames, how)
    return live.start(seen.size), filmed(seen, how, pace), seen.size


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


# --- decisions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Living:
    """The options of live decisions.

    live    Decide after each bin, while events arrive. A recording or a video is played in real
            time; -, an address ({addresses}) and a camera (--camera) are live.
    reject  With --live: the least confidence, 0 to 1, at which a class is named.
    """

    live: bool = False
    cameras: CameraOptions = field(default_factory=CameraOptions)
    reject: float | None = option(metavar="SHARE", min=0.0, max=1.0, shown="the model's, else 0.5")

    def check(self) -> None:
        """Raise ConfigError for options of --live without it."""
        if not self.live:
            _console.refuse(("camera", "bias", "reject"), "needs --live")

    def start(self, model: Model) -> Live:
        """Return a model on streams that names a class from --reject on."""
        from dvskit.evaluation import Live

        if self.reject is None:
            return Live(model)
        return Live(model, replace(model.reject, confidence=self.reject, how="--reject"))


def classify_live(source: Path | int, live: Live, reading: Reading, *, as_json: bool) -> None:
    """Decide on a source until it ends, or until Ctrl-C, with exit code 130."""
    from dvskit.evaluation.live import follow

    _console.announce_compiling()
    stream, summary = open_stream(source, live, reading), _Summary()
    _console.say(f"{name_of(source)}: {stream.how}; {window_words(live)}; Ctrl-C ends it")
    screen, stopped = _Screen(as_json=as_json), False
    try:
        for arrival, decisions in follow(stream.run, stream.arrivals):
            summary.add(arrival, decisions)
            screen.show(stream.run, arrival, decisions)
    except KeyboardInterrupt:
        stopped = True
    finally:
        screen.close()
        stream.close()
    for text in stream.notes():
        _console.note(f"{name_of(source)}: {text}")
    _console.say(summary.words)
    if stopped:
        _interrupt.advise("run the same command again to go on")
        raise KeyboardInterrupt


class _Screen:
    """Shows decisions: in one line of a terminal, which is rewritten, else a line for each.

    A line is text, whose times count from the first decision, or a JSON object.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json, self._rewrites = as_json, not as_json and sys.stdout.isatty()
        self._moved = time.perf_counter()  # time of the latest event
        self._first_us: int | None = None

    def show(self, run: LiveRun, arrival: Arrival | None, decisions: list[LiveDecision]) -> None:
        if arrival is not None and len(arrival.events):
            self._moved = arrival.at
        if not self._rewrites:
            for each in decisions:
                _console.put(
                    json.dumps(_values(each), ensure_ascii=False) if self._json
                    else self._words(run, arrival, each)
                )  # fmt: skip
        elif run.resting:
            silent = time.perf_counter() - self._moved
            self._rewrite(f"nothing (no events for {silent:.1f} s)")
        elif decisions:
            self._rewrite(self._words(run, arrival, decisions[-1]))

    def _rewrite(self, text: str) -> None:
        wide = shutil.get_terminal_size().columns - 1
        print(f"\r{printable(text)[:wide]}\x1b[K", end="", flush=True)

    def close(self) -> None:
        if self._rewrites:
            print(flush=True)

    def _words(self, run: LiveRun, arrival: Arrival | None, decision: LiveDecision) -> str:
        if self._first_us is None:
            self._first_us = decision.start_us
        since = (decision.stop_us - self._first_us) / 1e6
        given, wide = run.model.input, max(map(len, run.model.classes))
        best = f"{decision.best:<{wide}} ({100 * decision.confidence:3.0f} %)"
        said = (
            f"nothing: {decision.nothing:<10} {best}"
            if decision.nothing
            else f"{best:<{wide + 29}}"
        )
        text = f"{since:9.3f} s  {said}  {decision.rate:>11,.0f} events/s"
        text += (
            f"  delay {1e3 * decision.delay_s:.1f} ms after a bin of {given.bin_us / 1e3:g} ms, "
            f"window {given.window_us / 1e6:g} s"
        )
        if decision.steps < given.bins:
            text += f"  ({decision.steps} of {given.bins} bins seen)"
        if arrival is not None and arrival.behind_s > _BEHIND_S:
            text += f"  {arrival.behind_s:.1f} s behind"
        return text


def _values(decision: LiveDecision) -> dict[str, Any]:
    """Return a decision as plain values for JSON."""
    return {
        "start_us": decision.start_us,
        "stop_us": decision.stop_us,
        "class": decision.answer,
        "nothing": decision.nothing,
        "confidence": decision.confidence,
        "probabilities": decision.probabilities,
        "events": decision.events,
        "events_per_second": decision.rate,
        "bins": decision.steps,
        "delay_ms": round(1e3 * decision.delay_s, 3),
    }


class _Summary:
    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._delays = array("d")
        self._events = 0
        self._behind_s = 0.0

    def add(self, arrival: Arrival | None, decisions: list[LiveDecision]) -> None:
        self._delays.extend(each.delay_s for each in decisions)
        if arrival is not None:
            self._events += len(arrival.events)
            self._behind_s = max(self._behind_s, arrival.behind_s)

    @property
    def words(self) -> str:
        seconds = time.perf_counter() - self._began
        text = (
            f"{count_of(len(self._delays), 'decision')} in {seconds:.1f} s, "
            f"{count_of(self._events, 'event')}"
        )
        if self._delays:
            middle, most = 1e3 * np.quantile(np.array(self._delays), [0.5, 0.95])
            text += (
                f"; delay after each bin {middle:.1f} ms (median), {most:.1f} ms (95 %), "
                f"{1e3 * max(self._delays):.1f} ms (longest)"
            )
        if self._behind_s > _BEHIND_S:
            text += f"; up to {self._behind_s:.1f} s behind"
        return text


# --- events that are shown ------------------------------------------------------------------------


class ShownArrivals:
    """Live events for a page, read by a thread of its own; the iterator yields them.

    out      a file that all of them are written to, if it is given
    written  their number
    skipped  the number of events that a page too slow for them did not get

    The thread waits neither for the page nor for a decision, so that the file misses nothing.
    """

    def __init__(self, recording: Recording, out: Path | None, *, overwrite: bool = False) -> None:
        self.size, self.out = recording.size, out
        self.written = self.skipped = 0
        self._recording, self._overwrite = recording, overwrite
        self._closed = threading.Event()
        self._keeping = KeepingUp(
            self._blocks() if out is None else self._written(out), self._skip, self._end
        )
        self._keeping.start()

    def __iter__(self) -> Iterator[Events]:
        for block in self._keeping.until_quiet():
            yield Events.empty(self.size) if block is None else block

    @property
    def error(self) -> BaseException | None:
        """The error of reading or writing, which has ended both; None without one."""
        return self._keeping.error

    def close(self) -> None:
        """End reading and complete the file. A reader that waits for a pipe is left waiting."""
        self._end()
        self._keeping.join(_END_S)

    def notes(self) -> list[str]:
        """Return what was skipped, lost and assumed, a line each."""
        found = list(self._recording.assumptions)
        if self._recording.damage:
            found.append(str(self._recording.damage))
        if self.error is not None:
            found.append(one_line(self.error))
        if self.skipped:
            found.append(f"not shown: {count_of(self.skipped, 'event')}, faster than the page"
                         + (f"; {self.out} has them" if self.out else ""))  # fmt: skip
        return found

    def _written(self, out: Path) -> Iterator[Events]:
        with open_sink(out, self.size, overwrite=self._overwrite) as sink:
            sink.keeps = True
            for block in self._blocks():
                sink.write(block)
                self.written = sink.count
                yield block

    def _blocks(self) -> Iterator[Events]:
        for block in self._recording:
            yield block
            if self._closed.is_set():
                return

    def _skip(self, count: int) -> None:
        self.skipped += count

    def _end(self) -> None:
        self._closed.set()
        if isinstance(self._recording, LiveRecording):
            self._recording.close()
