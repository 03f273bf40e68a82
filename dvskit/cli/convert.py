"""`dvskit convert`: write an event file in another format, a part of it, or a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvskit.cli import _console
from dvskit.cli import _options as options
from dvskit.cli._batch import OUTPUT, Crew, on_many, run_one, write_events
from dvskit.cli._filtered import FilteredEvents, FiltersOption
from dvskit.cli._inputs import RECORDINGS, Paths
from dvskit.cli._tensors import TensorOptions
from dvskit.errors import ConfigError, FormatError, count_of
from dvskit.events import Events, Size, Source
from dvskit.filters import Crop, FilteredSource, Fit, Placement
from dvskit.formats import (
    Damage,
    FileSink,
    Recording,
    RecordingPart,
    TriggersAlong,
    hand_over,
    open_sink,
)
from dvskit.formats.addresses import LiveRecording
from dvskit.formats.keeping_up import KeepingUp
from dvskit.formats.network import is_network, lost_senders
from dvskit.streams import Triggers

_MOVED = "the filters move the times of events"


class _Changed:
    """A part of a recording with --crop, --filter and --fit applied: the events to write.

    rectangle  of --crop
    texts      of --filter
    target     the size of --fit
    """

    def __init__(
        self, part: RecordingPart, rectangle: Crop | None, texts: Sequence[str], target: Size | None
    ) -> None:
        self.part = part
        self._filtered: FilteredEvents | None = None
        self._fitted: FilteredSource | None = None
        source: Source = part
        if rectangle is not None:
            with options.as_usage("--crop"):
                source = FilteredSource(part, rectangle)
        if texts:
            with options.as_usage("--filter"):
                source = self._filtered = FilteredEvents(source, texts, part.recording)
        if target is not None:
            self._placement = Placement.of(source.size, target)
            source = self._fitted = FilteredSource(source, Fit(target))
        self.source = source

    @property
    def keeps_times(self) -> bool:
        """Whether filters keep the times of events, so that triggers and frames still fit."""
        tally = [] if self._filtered is None else self._filtered.tally()
        return not any(getattr(each.filter, "moves_times", False) for each in tally)

    def hand_over(self, sink: FileSink) -> list[str]:
        """Hand over triggers, IMU samples and frames of a file; return notes on those left out."""
        part = self.part
        if part.recording.live:
            return []
        if self.keeps_times:
            return hand_over(part, sink)
        if not (len(part.triggers()) or len(part.imu()) or any(True for _ in part.frames())):
            return []
        return [f"triggers, IMU samples and frames are left out: {_MOVED}"]

    def write(self, sink: FileSink, show: Callable[[int], None]) -> list[str]:
        """Write the events; return notes on data that is left out."""
        notes = self.hand_over(sink)
        along = TriggersAlong(self.part, sink) if self.keeps_times else None
        for block in self.source:
            if along is not None:
                along.hand_over()
            sink.write(block)
            show(sink.count)
        if along is not None:
            notes += along.end()
        elif self.part.recording.live and (count := len(self.part.recording.triggers())):
            notes.append(f"left out: {count_of(count, 'trigger')}: {_MOVED}")
        return notes

    def notes(self) -> list[str]:
        """Return notes on the events that filters and --fit dropped or added."""
        notes = [] if self._filtered is None else list(self._filtered.notes())
        if self._fitted is not None:
            dropped = count_of(self._fitted.dropped, "event")
            notes.append(f"{self._placement}; {dropped} at the edges left out")
        return notes


@dataclass(frozen=True, slots=True)
class _Read:
    """How the input is read.

    sort  Sort the events by time if it runs back (csv, rpg, npy, npz, hdf5). All events are held in
          memory: 50 bytes each.
    """

    cameras: options.CameraOptions = field(default_factory=options.CameraOptions)
    reading: options.Reading = field(default_factory=options.Reading)
    sort: bool = False

    def open(self, file: Path | None) -> Recording:
        """Open the input, or the camera. Raises as `options.Reading.open` does."""
        given = file or self.cameras.event_camera()
        assert given is not None
        return self.reading.open(given, sort=self.sort)


@dataclass(frozen=True, slots=True)
class Kept:
    """The part of the events to write, and their changes.

    fit     Scale the events, or those that --crop keeps, to another sensor, undistorted.
    frames  Write the recording's frames, not its events: PNG files and images.txt, their times,
            into the folder OUT. This is the default without --to if OUT ends in / or is a folder.
    """

    span: options.Span = field(default_factory=options.Span)
    crop: options.CropOption = None
    fit: Size | None = None
    frames: bool = False
    filters: FiltersOption = None


def _write_frames(
    file: Path, out: Path, *, read: _Read, kept: Kept, to: str | None, force: bool, **_: object
) -> None:
    """Write the frames of a recording into a folder."""
    from dvskit.video import write_images

    if (kept.crop, kept.fit, kept.filters) != (None, None, None) or to is not None:
        raise ConfigError("--crop, --fit, --filter and --to are for events; --frames takes none")
    recording = read.open(file)
    part = recording.between(*options.stamps_of(recording, *kept.span.times()))
    if next(part.frames(), None) is None:
        raise ConfigError(
            f"{file}: holds no frames{' there' * (kept.span != options.Span())}; to write its "
            f"events to {out}, name their format with --to"
        )
    written = write_images(part, out, overwrite=force)
    if len(written.sizes) > 1:
        sizes = ", ".join(map(str, written.sizes))
        _console.note(f"{out}: frames are of {len(written.sizes)} sizes: {sizes}")
    _console.say(
        f"{out}: {count_of(written.images, 'frame')} of {written.sizes[0]} (PNG), with times in "
        "images.txt; --to writes events"
    )


@on_many
def convert(
    words: list[str] | None = options.argument(metavar="IN OUT"),
    out: str | None = options.output(OUTPUT),
    read: _Read = _Read(),
    kept: Kept = Kept(),
    tensors: TensorOptions = TensorOptions(),
    written: options.Written = options.Written(),
    crew: Crew = Crew(),
) -> None:
    """Convert an event file, or live events, to another format, a part, or a tensor.

    Live events are written until Ctrl-C or --stop, which leave a complete file. An error
    (a full disk, a time that the format cannot hold) leaves one of the events before it.
    If the sender of a stream is lost, the events so far are written, and the exit code is 3.
    The token of a tcp:// or ws:// address may be in DVSKIT_TOKEN, or in a file that
    DVSKIT_TOKEN_FILE names.

    --bins, --bin and --as write a tensor. Without them events are written, also as .npy and .npz.

    words  An event file or its folder, - for standard input, or an address ({addresses}; left out
           with --camera); and the file to write: its suffix sets the format (- is standard output,
           and tcp:// or ws://HOST:PORT serves one receiver, in EVT3 unless --to names another). For
           many inputs, which need --to: a folder and the folder to write into, or several files,
           folders and patterns such as 'rec/**/*.raw' with -o FOLDER. One recording and a folder,
           without --to: its frames.
    """
    camera = read.cameras.event_camera()
    paths = Paths.from_words(
        words, out, RECORDINGS, camera=None if camera is None else str(camera),
        usage="name a recording and the file to write; or --camera evk4 and the file",
    )  # fmt: skip
    given = {"read": read, "kept": kept, "tensors": tensors} | written.options()
    no_events = kept.frames or (written.to is None and tensors == TensorOptions())
    if paths.is_one_folder("--frames" if kept.frames else "") and no_events:
        run_one(_write_frames, paths, crew, given)
    else:
        write_events(_convert, paths, crew, given)


def _convert(
    file: Path | None, out: Path, *, read: _Read, kept: Kept, tensors: TensorOptions,
    to: str | None, force: bool,
) -> int | None:  # fmt: skip
    """Convert a file, or what a camera sends; return the number of events, None for a tensor."""
    tensor = tensors.output(out, to)
    if tensor is None:
        options.check_writable(out, to)
    after_us, until_us = kept.span.times()
    rectangle = None if kept.crop is None else Crop(*kept.crop)
    recording = read.open(file)
    part: RecordingPart
    if recording.live:
        part = _Arriving(recording, after_us, until_us, waits=not is_network(out))
    else:
        part = recording.between(*options.stamps_of(recording, after_us, until_us))
    changed = _Changed(part, rectangle, kept.filters or [], kept.fit)
    if tensor is not None:
        if recording.live:
            raise ConfigError(
                f"{recording.path}: a tensor cannot be made of live events; write a file first"
            )
        begin = part.start_us if changed.keeps_times else None
        said = tensor.write(changed.source, begin, out, force=force)
        _notes(out, [*changed.notes(), *recording.assumptions], part)
        _console.say(said)
        return None
    with (
        options.waiting(open_sink(out, changed.source.size, format=to, overwrite=force)) as sink,
        _console.progress(f"{recording.path.name} -> {out.name}", None, "events") as show,
    ):
        if recording.format == "udp":  # nothing shows whether there is a sender
            _console.say(f"{recording.path}: waits for events; Ctrl-C ends it")
        sink.keeps = recording.live
        try:
            left = changed.write(sink, show)
        except Exception:
            if recording.live:
                _notes(sink.path, [], part)  # the losses up to the error
            raise
        if lost_senders and is_network(out):  # the receiver loses its sender, too
            raise FormatError(f"{lost_senders[0]}: the sender was lost; start both again")
    _notes(sink.path, [*left, *changed.notes(), *recording.assumptions, *sink.notes], part)
    if not sink.count:
        _console.note(f"{sink.path}: holds no events; the requested part has none")
    _console.say(f"{sink.path}: {count_of(sink.count, 'event')} on {sink.size}, {sink.format}")
    return sink.count


def _notes(out: Path, notes: list[str], part: RecordingPart) -> None:
    for text in notes:
        _console.note(f"{out}: {text}")
    if part.damage:
        _console.note(f"{part.recording.path}: {part.damage}")


class _Arriving(RecordingPart):
    """Live events from `after_us` to `until_us` after the first; Ctrl-C ends them early.

    waits  whether a camera's events wait for the output; if not, some may be dropped, and counted
    """

    def __init__(
        self, recording: Recording, after_us: int | None, until_us: int | None, *, waits: bool
    ) -> None:
        super().__init__(recording, None, None)
        self._source: Recording | KeepingUp = recording
        if isinstance(recording, LiveRecording):
            recording.limit_us = until_us
            if not waits:
                self._source = KeepingUp.of(recording, "receiver was")
        self._after_us, self._until_us = after_us, until_us
        self._origin_us: int | None = None

    @property
    def damage(self) -> Damage:
        """The losses so far."""
        return self.recording.damage

    @damage.setter
    def damage(self, damage: Damage) -> None:
        """Do nothing: the recording counts the losses."""

    def new_triggers(self) -> Triggers:
        """Return the triggers that the pass has met since the last call."""
        return self._source.new_triggers().between(self.start_us, self.stop_us)

    def __iter__(self) -> Iterator[Events]:
        with _console.stoppable() as stop:
            for block in stop.until(self._source):
                if self._origin_us is None:
                    self._origin_us = int(block.t[0])
                    times = (self._after_us, self._until_us)
                    self.start_us, self.stop_us = options.window_from(self._origin_us, *times)
                yield block.between(self.start_us, self.stop_us)
                if self.stop_us is not None and block.t[-1] >= self.stop_us:
                    return
            if stop.asked:
                _console.note("stopped; the events so far are written")
                if isinstance(self._source, KeepingUp) and (count := self._source.waiting):
                    _console.note(
                        f"{count_of(count, 'event')} left out that waited for the receiver"
                    )
