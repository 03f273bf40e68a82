"""Files to and from Events: one table of formats, one module each, imported on first use.

A format module defines what its row in the table says it can do:

    open_recording(path: Path, options: ReadOptions) -> Recording
    open_small(path: Path, file: FirstBytes, options: ReadOptions) -> Recording     the same, of a
                                                        small file whose bytes are read already
    decode_small(data: NDArray[np.uint8], spans: Sequence[tuple[int, int]]) -> list[Events | None]
                                                        of whole small files, the bytes of `data`
                                                        in spans (start, stop) that follow one
                                                        another; None for damaged ones
    open_stream(stream: InputStream, options: ReadOptions) -> Recording      where it can be piped
    open_sink(path: Path, size: Size, *, overwrite: bool) -> FileSink

`open_events(path)` asks each row of `table.TABLE` whether it recognizes the first 4,096 bytes; if
none does, the suffix decides. All reading builds on `_blocks` of a `Recording`, which yields
`Events` in time order; `_blocks_from` may start at a time without reading the data before it.
`_write` of a `FileSink` gets such blocks, and writes to a temporary file, which is renamed at the
end. `register_format` adds a format of your own.

- Times are int64: an event with a time that does not fit is lost. A sink states the longest gap
  and duration that it can hold (`_longest_gap_us`, `_longest_us`), and raises EventsError for other
  events that it cannot. It writes the same bytes however the events are cut, so a format of blocks
  gathers events over several `_write`. Data known only at the end goes into `_finish`, before
  `super()._finish()`, which closes the file.
- A decoder yields a `validate.DecodedBlock`: unchecked columns and the rows that it lost. A
  `validate.Validator` checks the sensor's size and the order of times, with `strict` as a flag. In
  salvage mode it keeps the most events that are in order, and judges each by the next 4,096
  (`look_ahead`, larger if one number moves more events). `sortable = True` lets `sort=True` sort
  a file with events out of order.
- `lose` raises in strict mode and counts in salvage mode. It takes the first byte, the number of
  bytes (0 if they are counted elsewhere), and the problem. Yield the rest that the validator holds
  before it.
- `choose_size` returns the size and its origin: that of the options, else the header's, else the
  result of `of_events()`.

dvskit's own formats are modules, or folders with `layout` (the meaning of the bytes, and its
source), `reading`, `writing` and `*_kernels` (compiled loops over plain arrays). They share:

- `file_bytes` reads bytes of files and pipes, `feed` words, a window at a time, `unaligned`
  numbers at any byte; `decompression` decompresses up to a limit; `storage` holds decoded columns
- `losses` raises losses, or lists and counts them; `validate` and `order_kernels` drop and report
  events off the sensor, back in time or out of step
- `index_cache` keeps places where reading can begin; `sensor_size` finds the size; `content`
  computes digests

A new one (`es` is a plain example) needs a row in `table.py`; a sample in
`tests/mutation_samples.py`, read in the units of `SMALL` in `tests/arriving.py`; a real recording
with known content; and another reader to compare with.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import cast

from dvskit._progress import WatchedSource
from dvskit.errors import ConfigError, FormatError, LeftOutWarning, UnknownFormatError, warn
from dvskit.events import Events, Source, as_size, as_source
from dvskit.formats.addresses import opener_of, scheme_of
from dvskit.formats.beside import Beside, TriggersAlong, hand_over, left_behind
from dvskit.formats.file_bytes import InputStream, NamedPipe, is_named_pipe
from dvskit.formats.file_sink import FileSink, is_standard
from dvskit.formats.for_writing import format_for_writing
from dvskit.formats.losses import Damage, Loss
from dvskit.formats.merging import MergedSource, merge
from dvskit.formats.network import LiveAddress, connect, is_network
from dvskit.formats.recording import ReadOptions, Recording, RecordingPart
from dvskit.formats.table import (
    HEAD_BYTES,
    TABLE,
    Format,
    find_beginning,
    find_by_columns,
    find_by_head,
    find_format,
    list_formats,
    named_format,
    register_format,
)

__all__ = [
    "Damage",
    "FileSink",
    "Format",
    "InputStream",
    "Loss",
    "MergedSource",
    "ReadOptions",
    "Recording",
    "RecordingPart",
    "find_format",
    "list_formats",
    "load_events",
    "merge",
    "open_events",
    "open_sink",
    "open_stream",
    "register_format",
    "save_events",
]


def open_events(
    path: str | PathLike[str],
    *,
    format: str | None = None,
    size: tuple[int, int] | None = None,
    strict: bool = True,
    sort: bool = False,
) -> Recording:
    """Open an event file, or its folder, as a Source that starts anew at each iteration.

    `format` names a row of the table, or a row and its variant (`csv:x,y,t,p`); without it the
    content decides, then the suffix. A path of "-" is standard input, and named pipes are read like
    it; tcp://HOST:PORT and ws://HOST:PORT connect to another program and read what a pipe would
    hold; udp://HOST:PORT receives datagrams in a layout of faery or AEStream (`udp:spif`);
    usb://CAMERA is a USB event camera (`usb://evk4:SERIAL?diff_on=20`), ros://TOPIC a topic of
    ROS 2: all are read once. `size` (width, height) overrides the file's own. `strict=False`
    salvages: damage is skipped, counted and listed in `.damage` instead of raised. `sort` sorts
    events by time (stable) in formats whose files may be unsorted (csv, rpg, npy, npz, hdf5): each
    pass holds all events in memory.

    Raises FormatError and its children, GeometryError, ConfigError to sort another format.

        recording = dvskit.open_events("events.raw")
        recording.size, recording.format          # (Size(width=128, height=128), 'evt3')
        for events in recording.blocks(duration_us=100_000):
            rate_hz = len(events) / 0.1
        last = recording.between(1_500_000).load()
    """
    known_size = None if size is None else as_size(size)
    recording = _open(path, format, ReadOptions(known_size, strict=strict, any_order=sort))
    if sort and not recording.sortable:
        raise ConfigError(
            f"{path}: {recording.format} is not sorted; sort=True is for csv, rpg, npy, npz, hdf5"
        )
    return recording


def _open(path: str | PathLike[str], format: str | None, options: ReadOptions) -> Recording:
    row = None
    if format is not None:
        row, variant = named_format(format)
        options = replace(options, variant=variant)
    if is_standard(path):
        raw = io.FileIO(sys.stdin.fileno(), closefd=False)
        return open_stream(InputStream(raw, "standard input"), row, options)
    if is_network(path):
        return _open_network(path, row, options)
    if (scheme := scheme_of(path)) is not None:
        if row is not None and row.name != scheme:
            comes = "in datagrams; udp does" if scheme == "udp" else f"at {scheme}://; leave it out"
            raise UnknownFormatError(f"{path}: {row.name} does not come {comes}")
        return cast(Recording, opener_of(scheme).open_recording(Path(path), options))
    if is_named_pipe(path):
        return open_stream(InputStream(NamedPipe(path), str(path)), row, options)
    path, first = find_beginning(path if isinstance(path, Path) else Path(path))
    if row is not None and row.name in ("db3", "mcap") and path.name == TABLE["rosbag2"].inside:
        row = TABLE["rosbag2"]  # a topic of the folder, named as of its files
    if row is None:
        row = find_by_head(path, first.data[:HEAD_BYTES])
    if "r" not in row.can:
        raise UnknownFormatError(f"{path}: {row.name} is only written")
    with row.named_errors(path):
        module = row.openers()
        if first.state is not None and hasattr(module, "open_small"):
            return _checked(module.open_small(path, first, options))
        return _checked(module.open_recording(path, options))


def _open_network(path: str | PathLike[str], row: Format | None, options: ReadOptions) -> Recording:
    incoming = connect(path)
    # Data cannot be sent again: damage is counted, and the events so far are kept.
    stream = InputStream(incoming, incoming.name)
    try:
        recording = open_stream(stream, row, replace(options, strict=False))
    except BaseException:
        incoming.close()
        raise
    recording.path = LiveAddress(incoming.name)  # a Path merges both slashes
    recording.assumptions += incoming.notes
    incoming.notes = recording.assumptions
    incoming.lost = lambda words: recording.damage.tally(1, "early end", f"of the sender ({words})")
    return recording


def _checked(opened: object) -> Recording:
    if not isinstance(opened, Recording):
        raise FormatError(f"open_recording returns {type(opened).__name__}; return a Recording")
    return opened


def open_stream(stream: InputStream, row: Format | None, options: ReadOptions) -> Recording:
    """Open events that arrive on a stream, as a Source that can be read once.

    Without a `row` of the table, the first bytes decide. Raises UnknownFormatError, FormatError.

        with open("events.raw", "rb", buffering=0) as raw:
            stream = dvskit.formats.InputStream(raw, "events.raw")
            recording = dvskit.formats.open_stream(stream, None, dvskit.formats.ReadOptions())
            events = recording.load()
    """
    if row is None:
        row = _find_in(stream)
    with row.named_errors(stream.name):
        module = row.openers()
        if not hasattr(module, "open_stream"):
            raise UnknownFormatError(
                f"{stream.name}: {row.name} is not read from a pipe; save it to a file first"
            )
        return _checked(module.open_stream(stream, options))


def _find_in(stream: InputStream) -> Format:
    head = b""
    while len(more := stream.peek_more()) > len(head) and len(more) < HEAD_BYTES:
        head = more
        fitting = [row for row in TABLE.values() if row.fits(head)]
        if len(fitting) == 1:
            return fitting[0]
        if (columns := find_by_columns(head)) is not None:
            return columns
    return find_by_head(LiveAddress(stream.name), more[:HEAD_BYTES])


def load_events(
    path: str | PathLike[str],
    *,
    format: str | None = None,
    size: tuple[int, int] | None = None,
    strict: bool = True,
    sort: bool = False,
) -> Events:
    """Return all events of a file.

    Arguments and errors are those of `open_events`, whose blocks suit files that do not fit into
    memory: events take 13 bytes each.

        events = dvskit.load_events("recordings/c.csv")
        events.t, events.x, events.y, events.p    # int64 microseconds, int16, int16, bool
    """
    return open_events(path, format=format, size=size, strict=strict, sort=sort).load()


def open_sink(
    path: str | PathLike[str],
    size: tuple[int, int],
    *,
    format: str | None = None,
    overwrite: bool = False,
) -> FileSink:
    """Return a Sink that writes `path`, in the format that `format` or the suffix names.

    A path of "-" is standard output, tcp:// and ws://HOST:PORT a port that serves one receiver, in
    EVT3 where `format` names none. Raises UnknownFormatError, OutputError for an existing file
    unless `overwrite`, ConfigError for an address that is malformed, or is open to other machines
    without a token (tcp://TOKEN@HOST:PORT, or DVSKIT_TOKEN).

        recording = dvskit.open_events("events.raw")
        with dvskit.formats.open_sink("on.aedat4", recording.size) as sink:
            for block in recording:
                sink.write(block[block.p])
        sink.count    # the number of ON events
    """
    row = format_for_writing(path, format)
    with row.named_errors(path):
        opened = row.openers().open_sink(Path(path), as_size(size), overwrite=overwrite)
        if not isinstance(opened, FileSink):
            raise FormatError(f"open_sink returns {type(opened).__name__}; return a FileSink")
        return opened


def save_events(
    events_or_source: Events | Source,
    path: str | PathLike[str],
    *,
    format: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write all events to a file, whole or not at all; triggers too, where the format has them.

    The suffix of `path` chooses the format, or its name in `format`. Gives a LeftOutWarning for
    other data of a recording that the format cannot hold. Raises UnknownFormatError, OutputError
    for an existing file unless `overwrite`, and the errors of the source.

        recording = dvskit.open_events("events.raw")
        dvskit.save_events(recording, "events.csv")                         # block by block
        dvskit.save_events(recording.between(0, 500_000), "start.aedat4")
    """
    source = as_source(events_or_source)
    # Other data than events comes from the recording, whether or not a bar watches its reading.
    whole = source.source if isinstance(source, WatchedSource) else source
    with open_sink(path, source.size, format=format, overwrite=overwrite) as sink:
        if isinstance(whole, Beside):
            left = hand_over(whole, sink)
            along = TriggersAlong(whole, sink)
        else:
            left, along = left_behind(whole), None
        for block in source:
            if along is not None:
                along.hand_over()
            sink.write(block)
        left += [] if along is None else along.end()
    for text in left:
        warn(f"{path}: {text}", LeftOutWarning)
