"""`dvskit convert`, `merge` and `ros`: event files in other formats, tensors, topics of ROS 2."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli import _options as options
from dvskit.cli._batch import OUTPUT, Crew, on_many, run_one, write_events
from dvskit.cli._binding import CommandGroup
from dvskit.cli._inputs import RECORDINGS, Paths
from dvskit.cli._options import Microseconds, Reading, Span, option
from dvskit.cli._shown import CountedEvents
from dvskit.errors import ConfigError, FormatError, OutputError, ShapeError, count_of, one_line
from dvskit.events import Events, Size, Source
from dvskit.events.window import parse_us
from dvskit.formats import Damage, FileSink, MergedSource, Recording, RecordingPart, open_sink
from dvskit.formats import merge as merged
from dvskit.formats.addresses import LiveRecording
from dvskit.formats.beside import TriggersAlong, hand_over
from dvskit.formats.file_sink import is_standard
from dvskit.formats.keeping_up import KeepingUp
from dvskit.formats.network import is_network, lost_senders
from dvskit.streams import Triggers

if TYPE_CHECKING:
    from dvskit.cli._filtered import FilteredEvents
    from dvskit.filters import FilteredSource
    from dvskit.tensors import Representation


class _ChangedEvents:
    """Recordings with --crop, --filter and --fit applied: the events to write.

    part  of a recording, or several recordings merged
    """

    def __init__(self, part: RecordingPart | MergedSource, kept: Conversion) -> None:
        self.part = part
        self.parts = part.recordings if isinstance(part, MergedSource) else [part]
        self._filtered: FilteredEvents | None = None
        self._fitted: FilteredSource | None = None
        self.source: Source = part
        if isinstance(part, RecordingPart) and (kept.crop or kept.filters or kept.fit):
            self._change(part, kept)

    def _change(self, part: RecordingPart, kept: Conversion) -> None:
        from dvskit.cli._filtered import FilteredEvents
        from dvskit.filters import Crop, FilteredSource, Fit, Placement

        if kept.crop is not None:
            with options.as_usage("--crop"):
                self.source = FilteredSource(part, Crop(*kept.crop))
        if kept.filters:
            with options.as_usage("--filter"):
                self._filtered = FilteredEvents(self.source, kept.filters, part)
                self.source = self._filtered
        if kept.fit is not None:
            self._placement = Placement.of(self.source.size, kept.fit)
            self.source = self._fitted = FilteredSource(self.source, Fit(kept.fit))

    @property
    def keeps_times(self) -> bool:
        """Whether filters keep the times of events, so that triggers and frames still fit."""
        tally = [] if self._filtered is None else self._filtered.tally()
        return not any(getattr(each.filter, "moves_times", False) for each in tally)

    def write(self, sink: FileSink, show: Callable[[int], None]) -> list[str]:
        """Write the events and the data beside them; return notes on data that is left out."""
        part, live = self.part, isinstance(self.part, _Arriving)
        along = TriggersAlong(part, sink) if self.keeps_times else None
        notes = [] if live or along is None else hand_over(part, sink)
        for block in self.source:
            if along is not None:
                along.hand_over()
            sink.write(block)
            show(sink.count)
        if along is not None:
            return [*notes, *along.end()]
        beside = [part.triggers()] if live else [part.triggers(), part.imu()]
        if any(map(len, beside)) or (not live and any(True for _ in part.frames())):
            what = "triggers" if live else "triggers, IMU samples and frames"
            return [f"{what} are left out: the filters move the times of events"]
        return []

    def notes(self) -> list[str]:
        """Return notes on the events that filters and --fit dropped or added."""
        notes = [] if self._filtered is None else list(self._filtered.notes())
        if self._fitted is not None:
            dropped = count_of(self._fitted.dropped, "event")
            notes.append(f"{self._placement}; {dropped} at the edges left out")
        return notes


@dataclass(frozen=True, slots=True)
class TensorOptions:
    """The tensor to write instead of events.

    bins  Write a tensor of this many time bins: event counts (bins, 2, height, width), OFF then ON,
          as .npy, .npz, .pt (for torch.load) or .safetensors.
    bin_  The length of a bin, such as 10ms; without --bins, as many bins as the recording needs.
    as_   The tensor: {representations}. Parameters follow, such as counts:dtype=uint8.
    """

    bins: int | None = option(shown=False)
    bin_: Microseconds | None = option(shown=False)
    as_: str | None = option(metavar="NAME[:KEY=VALUE,...]", shown="counts")

    def output(self, out: Path, to: str | None) -> _TensorOutput | None:
        """Return the requested tensor; None for events. Raises ConfigError."""
        if self == TensorOptions():
            return None
        from dvskit.tensors import representation_from
        from dvskit.tensors.representation import tensor_suffix

        if to is not None:
            raise ConfigError(
                "--to names an event format; for a tensor the suffix of the output sets the format"
            )
        try:
            tensor_suffix(out)
        except OutputError as error:
            raise ConfigError(one_line(error)) from error
        name, parameters = _parse(self.as_ or "counts")
        for key, value in (("bins", self.bins), ("bin_us", self.bin_)):
            if value is not None:
                if key in parameters:
                    raise ConfigError(
                        f"{key} is set by --as {self.as_} and by an option; give it once"
                    )
                parameters[key] = value
        return _TensorOutput(name, representation_from(name, **parameters))


@dataclass(frozen=True, slots=True)
class _InputOptions:
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
class Conversion:
    """The part of the events to write, and their changes.

    fit      Scale the events, or those that --crop keeps, to another sensor, undistorted.
    frames   Write the recording's frames, not its events: PNG files and images.txt, their times,
             into the folder OUT. This is the default without --to if OUT ends in / or is a folder.
    filters  Apply a filter, NAME or NAME:ARGUMENTS, such as background_activity:5ms or
             noise:hz=0.1,seed=3; or one of your own, FILE.py:NAME or FILE.py:NAME:ARGUMENTS, whose
             file is run. Several apply in order. `dvskit filters` lists all of them: {filters}.
    """

    span: options.Span = field(default_factory=options.Span)
    crop: options.CropOption = None
    fit: Size | None = None
    frames: bool = False
    filters: list[str] | None = option("", "--filter", metavar="FILTER", shown="none")


def _write_frames(
    file: Path,
    out: Path,
    *,
    read: _InputOptions,
    kept: Conversion,
    force: bool,
    **_: object,
) -> None:
    """Write the frames of a recording into a folder."""
    from dvskit.video import write_images

    _console.refuse(("crop", "fit", "filters", "to"), "for events; leave it out with --frames")
    recording = read.open(file)
    part = kept.span.cut(recording)
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
    read: _InputOptions = _InputOptions(),
    kept: Conversion = Conversion(),
    tensors: TensorOptions = TensorOptions(),
    written: options.WritingOptions = options.WritingOptions(),
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
    file: Path | None, out: Path, *, read: _InputOptions, kept: Conversion, tensors: TensorOptions,
    to: str | None, force: bool,
) -> int | None:  # fmt: skip
    """Convert a file, or what a camera sends; return the number of events, None for a tensor."""
    tensor = tensors.output(out, to)
    if tensor is None:
        options.check_writable(out, to)
    kept.span.times()  # which checks them before anything is read
    recording = read.open(file)
    part: RecordingPart
    if recording.live:
        part = _Arriving(recording, kept.span, waits=not is_network(out))
    else:
        part = kept.span.cut(recording)
    changed = _ChangedEvents(part, kept)
    if tensor is None:
        written = options.WritingOptions(to, force)
        return _write_events(changed, recording.path.name, out, written)
    if recording.live:
        raise ConfigError(
            f"{recording.path}: a tensor cannot be made of live events; write a file first"
        )
    begin = part.start_us if changed.keeps_times else None
    said = tensor.write(changed.source, begin, out, force=force)
    _note(changed, out)
    _console.say(said)
    return None


def _write_events(
    changed: _ChangedEvents, title: str, out: Path, written: options.WritingOptions
) -> int:
    size, to, force = changed.source.size, written.to, written.force
    with (
        options.waiting(open_sink(out, size, format=to, overwrite=force)) as sink,
        _console.progress(f"{title} -> {out.name}", None, "events") as show,
    ):
        sink.keeps = changed.part.live
        try:
            left = changed.write(sink, show)
        except Exception:
            if changed.part.live:
                _note(changed)  # the losses up to the error
            raise
        if lost_senders and is_network(out):  # the receiver loses its sender, too
            raise FormatError(f"{lost_senders[0]}: the sender was lost; start both again")
    _note(changed, sink.path, *left, *sink.notes)
    if not sink.count:
        _console.note(f"{sink.path}: holds no events; the requested part has none")
    several = f" of {len(changed.parts)} files" if len(changed.parts) > 1 else ""
    events = count_of(sink.count, "event") + several
    _console.say(f"{sink.path}: {events} on {sink.size}, {sink.format}")
    return sink.count


def _note(changed: _ChangedEvents, out: Path | None = None, *notes: str) -> None:
    """Print notes on the recordings, and on an output."""
    for each in changed.parts:
        path = each.recording.path if isinstance(each, RecordingPart) else each.path
        for text in options.notes_on(each):
            _console.note(f"{path}: {text}")
    for text in () if out is None else (*changed.notes(), *notes):
        _console.note(f"{out}: {text}")


class _Arriving(RecordingPart):
    """The part of live events in a span; Ctrl-C ends it early.

    waits  whether a camera's events wait for the output; if not, some may be dropped, and counted
    """

    def __init__(self, recording: Recording, span: options.Span, *, waits: bool) -> None:
        super().__init__(recording, None, None)
        self._source: Recording | KeepingUp = recording
        if isinstance(recording, LiveRecording):
            recording.limit_us = span.stop
            if not waits:
                self._source = KeepingUp.of(recording, "receiver was")
        self._span = span

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
        if self.recording.format == "udp":  # nothing shows whether there is a sender
            _console.say(f"{self.recording.path}: waits for events; Ctrl-C ends it")
        with _console.stoppable() as stop:
            for number, block in enumerate(stop.until(self._source)):
                if number == 0:
                    self.start_us, self.stop_us = self._span.times(int(block.t[0]))
                yield block.between(self.start_us, self.stop_us)
                if self.stop_us is not None and block.t[-1] >= self.stop_us:
                    return
            if stop.asked:
                _console.note("stopped; the events so far are written")
                if isinstance(self._source, KeepingUp) and (count := self._source.waiting):
                    _console.note(
                        f"{count_of(count, 'event')} left out that waited for the receiver"
                    )


# --- tensors --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _TensorOutput:
    """A tensor to write instead of events."""

    name: str
    representation: Representation

    def write(self, source: Source, start_us: int | None, out: Path, *, force: bool) -> str:
        """Write the tensor of a source; return the message. Raises ShapeError, OutputError."""
        from dvskit.tensors import save_tensor

        check_output(out, overwrite=force)
        with _console.progress(f"{out.name}", None, "events") as show:
            shown = CountedEvents(source, show=show)
            try:
                tensor = self.representation(shown, start_us=start_us)
            except ShapeError as error:
                hint = f" (--as {self.name}:outside=ignore)" if "outside=" in str(error) else ""
                raise ShapeError(f"{one_line(error)}{hint}") from error
        notes = {"representation": repr(self.representation), "sensor": str(source.size)}
        save_tensor(tensor, out, name=self.name, notes=notes, overwrite=force)
        shape = ", ".join(map(str, tensor.shape))
        dtype = str(tensor.dtype).removeprefix("torch.")
        return f"{out}: {self.name} ({shape}) {dtype} of {shown.words}"


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the parameters of NAME[:KEY=VALUE,...]. Raises ConfigError."""
    from dvskit.tensors.names import parameters_of

    name, _, rest = text.partition(":")
    known = parameters_of(name)
    parameters: dict[str, Any] = {}
    for word in rest.split(",") if rest else ():
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(f"--as {text!r} is not NAME[:KEY=VALUE,...]: see {word!r}")
        key = key.strip()
        bare, time_us = key.removesuffix("_us"), parse_us(value)
        if f"{bare}_us" not in known or (key in known and (key == bare or time_us is None)):
            parameters[key] = _literal(value.strip())
        elif key != bare or time_us is None:
            raise ConfigError(
                f"--as {name}:{word} is not a time with its unit; write "
                f"{bare}=3ms or {bare}_us=3000"
            )
        else:
            parameters[f"{bare}_us"] = round(time_us)
    return name, parameters


def _literal(text: str) -> Any:
    """Return a number, true or false if the text is one, else the text."""
    try:
        value = ast.literal_eval(text.title() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float) else text


# --- merge ----------------------------------------------------------------------------------------


def merge(
    files: list[Path] = options.argument(default=options.REQUIRED, metavar="IN IN OUT"),
    out: Path | None = options.output("The file to write, instead of the last word."),
    reading: options.Reading = options.Reading(),
    written: options.WritingOptions = options.WritingOptions(),
) -> None:  # fmt: skip
    """Merge event files into one, in order of time; equal times keep the order of the files.

    The files share one sensor size and one clock. Triggers, IMU samples and frames are merged too,
    if the output's format has them.

    files  Two event files or more (or folders that are one recording; - is standard input), and the
           file to write, whose suffix sets the format (- is standard output, in EVT3 unless --to
           names another).
    """
    inputs, target = (files, out) if out is not None else (files[:-1], files[-1])
    if len(inputs) < 2:
        raise ConfigError(f"{inputs[0] if inputs else target}: name two files to merge, and OUT")
    if sum(map(is_standard, inputs)) > 1:
        raise ConfigError("-: standard input is one of the files; it can be named once")
    options.check_writable(target, written.to)
    source = merged(*(reading.open(file) for file in inputs))
    title = f"{inputs[0].name} + {len(inputs) - 1}"
    _write_events(_ChangedEvents(source, Conversion()), title, target, written)


# --- topics of ROS 2 ------------------------------------------------------------------------------


def _listen(
    topic: str,
    out: Path,
    span: Span = Span(),
    written: options.WritingOptions = options.WritingOptions(),
) -> None:
    """Write the events of a topic to a file of any format, until Ctrl-C.

    The topic carries event_camera_msgs/EventPacket or dvs_msgs/EventArray. Missing messages are
    counted by their numbers, and reported. All other commands take ros://TOPIC in place of a file.

    topic  The topic, such as /event_camera/events.
    out    The event file to write, such as out.mcap or out.raw.
    """
    from dvskit.formats.ros.live import topic_of

    address = Path(f"ros:/{topic_of(topic)}")
    options.check_writable(out, written.to)
    _console.say(f"{topic}: waits for messages; Ctrl-C ends it")
    convert([str(address)], str(out), kept=Conversion(span), written=written)


def _play(file: Path, topic: str, rate: float = 1.0, reading: Reading = Reading()) -> None:
    """Publish a recording on a topic as event_camera_msgs/EventPacket, in its own time.

    file   An event file or its folder.
    topic  The topic to publish on.
    rate   Speed: 2 is twice as fast as recorded.
    """
    from dvskit.formats.keeping_up import Pace
    from dvskit.formats.ros.live import play, topic_of

    if not rate > 0:
        raise ConfigError(f"--rate {rate:g} must be above 0")
    name, recording, pace = topic_of(topic), reading.open(file), Pace()
    behind_s = 0.0

    def wait(t_us: int) -> None:
        nonlocal behind_s
        behind_s = max(behind_s, pace.wait(round(t_us / rate)))

    with _console.stoppable() as stop:
        source = CountedEvents(recording, stop=stop)
        sent = play(source, name, wait)
    if recording.damage:
        _console.note(f"{file}: {recording.damage}")
    late = f", up to {behind_s:.1f} s late" if behind_s > 0.05 else ""
    _console.say(f"{name}: {count_of(sent, 'message')} published{late}")


ros = CommandGroup(
    "Listen to topics of ROS 2, or play recordings to them.", {"listen": _listen, "play": _play}
)
