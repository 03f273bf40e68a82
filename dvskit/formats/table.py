"""The table of formats, and detection of a file's format."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from operator import methodcaller
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from dvskit.errors import ConfigError, FormatError, MissingFileError, UnknownFormatError
from dvskit.formats.file_bytes import FirstBytes, read_first
from dvskit.registry import Registry, named_errors, with_line


def starts_with(*magic: bytes) -> Callable[[bytes], bool]:
    """Return a function that tests for any of these beginnings."""
    return methodcaller("startswith", magic)


def never(head: bytes) -> bool:
    """Never match; another row detects this content."""
    return False


def raw_header_says(version: str, name: str) -> Callable[[bytes], bool]:
    """Return a function that tests for a RAW header of an EVT version."""

    def recognizes(head: bytes) -> bool:
        if not head.startswith(b"%"):
            return False
        lines = []
        for line in head.split(b"\n"):
            if not line.startswith(b"%"):
                break
            lines.append(line[1:].strip().decode("latin-1"))
        if any(line.partition(" ")[0] == "format" for line in lines):
            return any(
                line.partition(" ")[2].partition(";")[0].strip().upper() == name
                for line in lines
                if line.startswith("format ")
            )
        return any(line == f"evt {version}" for line in lines)

    return recognizes


def is_dat(head: bytes) -> bool:
    """Return whether a header is that of a DAT file of events."""
    if not head.startswith(b"%"):
        return False
    at = 0
    lines = []
    while head.startswith(b"%", at):
        stop = head.find(b"\n", at)
        if stop < 0:
            return False
        lines.append(head[at + 1 : stop].strip())
        at = stop + 1
    if any(line.startswith((b"evt ", b"format ")) for line in lines):
        return False
    named = any(line.startswith(b"Data file containing") for line in lines)
    return named or (bool(lines) and head[at : at + 2] in (b"\x00\x08", b"\x0c\x08", b"\x0e\x08"))


HEAD_BYTES = 4096
# Names of CSV's columns t, x, y and p that identify a file of events.
_COLUMNS = ((b"t", b"time", b"timestamp", b"ts"), (b"x",), (b"y",),
            (b"p", b"pol", b"on", b"polarity"))  # fmt: skip
_NUMBERS = re.compile(rb"\s*-?[\d.]+([,; \t]+-?[\d.]+){3}")  # the beginning of a text of events
_EMPTY = ("csv", "rpg")  # formats whose files may have 0 bytes
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")
# Common suffixes of files that FFmpeg opens.
CLIP_SUFFIXES = frozenset(
    (*VIDEO_SUFFIXES, ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts", ".ogv",
     ".ts", ".vob", ".asf", ".mxf", ".gif", ".y4m")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table.

    name        the value of `format=`
    suffixes    file name endings, with the dot; the first is the usual one
    module      imported when the format is used; a module with several formats is followed by a
                colon and the object with the functions of this one
    recognizes  whether the first 4096 bytes of a file are of this format; None if the format has no
                mark and only the suffix identifies it
    can         "r", "w" or "rw"
    summary     one line for users
    variants    description of the part after the name and a colon in `format=`; empty if none
    inside      the file of events in a folder of this format; empty if a recording is one file
    piped       "r", "w" or "rw": directions that work through a pipe; empty if the file has an
                index that is written last, or is not read in order

    See `register_format` for one of your own.

        row = dvskit.formats.find_format("events.raw")
        row.name, row.can, row.piped    # ('evt3', 'rw', 'rw')
        row.fits(b"#!AER-DAT4.0")       # False: these are the first bytes of another format
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    recognizes: Callable[[bytes], bool] | None
    can: Literal["r", "w", "rw"]
    summary: str
    variants: str = ""
    inside: str = ""
    piped: Literal["", "r", "w", "rw"] = ""

    def openers(self) -> Any:
        """Import and return the object with the format's open_recording, open_stream, open_sink."""
        name, _, inner = self.module.partition(":")
        module = import_module(name)
        return getattr(module, inner) if inner else module

    def named_errors(self, path: object) -> AbstractContextManager[None]:
        """Name the path and the format in errors of its code, unless it is one of dvskit's own."""
        if TABLE.is_own(self.name):
            return nullcontext()
        return named_errors(f"{path}: format {self.name}", FormatError)

    def fits(self, head: bytes) -> bool:
        """Return whether the format recognizes the first bytes of a file; if it fails, False."""
        try:
            return self.recognizes is not None and bool(self.recognizes(head))
        except Exception:
            if TABLE.is_own(self.name):
                raise
            return False


_OWN = (
    Format("npz", (".npz",), "dvskit.formats.npz", starts_with(b"PK\x03\x04"), "rw",
           "NumPy archive of the columns t, x, y, p and size"),
    Format("npy", (".npy",), "dvskit.formats.npy", starts_with(b"\x93NUMPY"), "r",
           "NumPy array of events, structured or N x 4",
           "columns, such as x,y,t_s,p (t_s: seconds)"),
    Format("nmnist", (".bin",), "dvskit.formats.nmnist", None, "r",
           "N-MNIST / N-Caltech101 recording (ATIS, 5 bytes per event)"),
    Format("evt3", (".raw",), "dvskit.formats.prophesee.evt:EVT3",
           raw_header_says("3.0", "EVT3"), "rw", "Prophesee RAW, EVT 3.0", piped="rw"),
    Format("evt2", (".raw",), "dvskit.formats.prophesee.evt:EVT2",
           raw_header_says("2.0", "EVT2"), "rw", "Prophesee RAW, EVT 2.0", piped="rw"),
    Format("evt21", (".raw",), "dvskit.formats.prophesee.evt:EVT21",
           raw_header_says("2.1", "EVT21"), "rw", "Prophesee RAW, EVT 2.1", piped="rw"),
    Format("evt4", (".raw",), "dvskit.formats.prophesee.evt:EVT4",
           raw_header_says("4.0", "EVT4"), "rw", "Prophesee RAW, EVT 4.0", piped="rw"),
    Format("dat", (".dat",), "dvskit.formats.prophesee.dat", is_dat, "rw",
           "Prophesee DAT (8 bytes per event)", piped="rw"),
    Format("aedat4", (".aedat4",), "dvskit.formats.aedat4", starts_with(b"#!AER-DAT4.0"), "rw",
           "iniVation AEDAT 4", "the number of an event stream, if there are several"),
    Format("es", (".es",), "dvskit.formats.es", starts_with(b"Event Stream"), "rw",
           "Event Stream 2: DVS, ATIS, color and generic events", piped="w"),
    Format("aedat2", (".aedat", ".aedat2"), "dvskit.formats.aedat2",
           starts_with(b"#!AER-DAT1.0", b"#!AER-DAT2.0", b"# This is a raw AE data file"), "rw",
           "jAER AEDAT 1 and 2 (DVS128, DAVIS, DVS640)", "a chip, such as DVS128 or DAVIS346",
           piped="w"),
    Format("aedat31", (".aedat",), "dvskit.formats.aedat31", starts_with(b"#!AER-DAT3.1"), "r",
           "cAER AEDAT 3.1"),
    Format("dsec", (".h5",), "dvskit.formats.hdf5:DSEC", never, "rw",
           "HDF5 in the layout of DSEC, for h5py with hdf5plugin"),
    Format("hdf5", (".hdf5", ".h5"), "dvskit.formats.hdf5", starts_with(b"\x89HDF\r\n\x1a\n"),
           "rw", "HDF5: Prophesee (gzip); ECF, DSEC, RVT, v2e, rpg_e2vid, M3ED, MVSEC are read"),
    Format("hdf5-ecf", (".hdf5",), "dvskit.formats.hdf5:ECF", never, "rw",
           "HDF5 in the layout of Prophesee with ECF, for Metavision"),
    Format("bag", (".bag",), "dvskit.formats.ros:BAG", starts_with(b"#ROSBAG V2.0"), "rw",
           "ROS 1 bag of EventPacket or EventArray messages", "a topic, such as bag:/dvs/events"),
    Format("db3", (".db3",), "dvskit.formats.ros:DB3", starts_with(b"SQLite format 3\0"), "rw",
           "ROS 2 recording in a database", "a topic, such as db3:/event_camera/events"),
    Format("mcap", (".mcap",), "dvskit.formats.ros:MCAP", starts_with(b"\x89MCAP0\r\n"), "rw",
           "ROS 2 (or 1) recording in MCAP", "a topic, such as mcap:/event_camera/events"),
    Format("rosbag2", (), "dvskit.formats.ros:FOLDER",
           starts_with(b"rosbag2_bagfile_information:"), "r",
           "the folder of a ROS 2 recording: metadata.yaml and its .db3 or .mcap files",
           "a topic, such as rosbag2:/event_camera/events", inside="metadata.yaml"),
    Format("csv", (".csv",), "dvskit.formats.text.csv", None, "rw",
           "text, one event per line: t,x,y,p in microseconds, or as a header names",
           "columns, such as x,y,t_s,p (t_s: seconds, -: left out)", piped="rw"),
    Format("rpg", (".txt",), "dvskit.formats.text.rpg", None, "rw",
           "text, one event per line: t x y p in seconds (event-camera dataset); or its folder",
           inside="events.txt", piped="rw"),
    Format("udp", (), "dvskit.formats.udp", None, "r",
           "datagrams of faery or AEStream, at udp://HOST:PORT",
           "t64_x16_y16_on8, t32_x16_y15_on1 or spif"),
)  # fmt: skip
TABLE: Registry[Format] = Registry("format", {row.name: row for row in _OWN}, UnknownFormatError)


def register_format(row: Format) -> None:
    """Add a format: its files are then read and written like all others, in any command.

        import numpy as np
        from dvskit import Events, Size, register_format
        from dvskit.formats import Format, Recording

        class Dots(Recording):
            format = "dots"

            def _blocks(self, damage, storage):
                t, x, y, p = np.fromfile(self.path, "<i8", offset=4).reshape(-1, 4).T
                yield Events(t=t, x=x, y=y, p=p, size=self.size)

        def open_recording(path, options):
            return Dots(path, options, options.size or Size(64, 48), "format")

        register_format(Format("dots", (".dots",), __name__,
                               lambda head: head.startswith(b"DOTS"), "r", "rows of int64"))

    The guide "Extending dvskit" shows a format that is also written and salvaged. Content that
    one of dvskit's own formats recognizes is never read as another. A suffix may be one that other
    formats have: content decides on reading, and writing takes the first row that can, dvskit's
    own before registered ones; `format=` (`--to`) names another. Raises ConfigError for a taken
    name and for wrong fields.
    """
    if not isinstance(row, Format):
        raise ConfigError(f"register_format takes a Format, not {row!r}; pass Format(name, ...)")
    ends = row.suffixes if isinstance(row.suffixes, tuple) else ("",)
    for good, fix in (
        (all(re.fullmatch(r"\.[^.\sA-Z]+", str(each)) for each in ends),
         "suffixes is a tuple of lower-case endings, such as ('.foo',)"),
        (ends or "w" not in row.can, "a format that is written has a suffix, such as ('.foo',)"),
        (isinstance(row.module, str), "module is a name, such as __name__"),
        (row.recognizes is None or callable(row.recognizes),
         "recognizes is a function of bytes, such as lambda head: head.startswith(b'FOO')"),
        (row.can in ("r", "w", "rw"), "can is 'r', 'w' or 'rw'"),
    ):  # fmt: skip
        if not good:
            raise ConfigError(f"format {row.name!r}: {fix}")
    TABLE.register(row.name, row, row.module)


def list_formats() -> tuple[Format, ...]:
    """Return the table, in order of names, with the formats of installed packages.

    Each row is a `Format`.

        [row.name for row in dvskit.formats.list_formats() if "w" in row.can]    # formats to write
    """
    return tuple(row for _, row in sorted(TABLE.complete().items()))


def is_suffix(suffix: str, can: str = "") -> bool:
    """Return whether files of a format have a suffix. can: "r" or "w", only formats that can it."""

    def known() -> bool:
        return any(suffix in row.suffixes and can in row.can for row in TABLE.values())

    return known() or (bool(suffix) and bool(TABLE.complete()) and known())


def named_format(name: str, can: str = "") -> tuple[Format, str | None]:
    """Return the row of `name` or `name:variant`, and the variant.

    can  "r" or "w": the message about an unknown name offers only formats that can it
    """
    name, colon, variant = name.partition(":")
    row = TABLE.find(name, lambda row: can in row.can)
    if colon and not row.variants:
        raise UnknownFormatError(f"format {name} has no variants such as {variant!r}; use {name}")
    return row, variant if colon else None


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file. Raises FormatError if it cannot be read."""
    return _beginning_of(path).data[:HEAD_BYTES]


def find_beginning(path: Path) -> tuple[Path, FirstBytes]:
    """Return the file of events at a path, and its first bytes. Raises as `read_head` does."""
    return TABLE.search(lambda: (file := file_of_events(path), _beginning_of(file)))


def _beginning_of(path: Path) -> FirstBytes:
    """Return the first bytes of a file, all of a small one. Raises as `read_head` does."""
    try:
        return read_first(path, HEAD_BYTES)
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except IsADirectoryError:
        named = " or ".join(row.inside for row in TABLE.values() if row.inside)
        raise UnknownFormatError(
            f"{path}: is a folder without {named}; name a file in it"
        ) from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def file_of_events(path: Path) -> Path:
    """Return the file of events in a folder of some format; `path` itself for other paths."""
    if not path.is_dir():
        return path
    for row in TABLE.values():
        file = path / row.inside
        if not row.inside or not file.is_file():
            continue
        if row.recognizes is None or row.fits(_start(file)):
            return file
    return path


def _start(file: Path) -> bytes:
    try:
        return read_head(file)
    except FormatError:
        return b""


def find_format(path: str | PathLike[str]) -> Format:
    """Return the format of a file or a folder: by its content first, by its suffix second.

    Installed packages that extend dvskit are imported if no known format recognizes the content,
    also for the suffix of N-MNIST. Raises UnknownFormatError if none or several match, FormatError
    if it cannot be read.

        dvskit.formats.find_format("events.raw").name     # 'evt3', by its header
        dvskit.formats.find_format("davis").summary
    """
    file, first = find_beginning(Path(path))
    return find_by_head(file, first.data[:HEAD_BYTES])


def find_by_columns(head: bytes) -> Format | None:
    """Return CSV if the first line names the columns t, x, y and p, else None."""
    line, newline, _ = head.partition(b"\n")
    names = re.split(rb"[,; \t]+", line.strip().lower())
    named = [re.sub(rb"@\d+$|[_\[(](us|s)[\])]?$", b"", name.strip(b'"')) for name in names]
    if newline and all(any(name in named for name in ways) for ways in _COLUMNS):
        return TABLE["csv"]
    return None


def _is_text_of_events(head: bytes) -> bool:
    return _NUMBERS.match(head) is not None or find_by_columns(head) is not None


def find_by_head(path: Path, head: bytes) -> Format:
    """Return the format of a file that begins with `head`, as `find_format` does."""
    try:
        return TABLE.search(lambda: known_by_head(path, head))
    except UnknownFormatError as error:
        raise UnknownFormatError(f"{error}{_failures(head)}") from None


def _failures(head: bytes) -> str:
    """Return the errors of formats that fail to recognize a file, as part of a message."""
    text = ""
    for row in TABLE.values():
        try:
            if row.recognizes is not None:
                row.recognizes(head)
        except Exception as error:
            text += f"; recognizes of format {row.name} fails: {with_line(error)}"
    return text


def _fitting(head: bytes) -> list[Format]:
    rows = TABLE.values()
    try:  # without a call of a method for each row: data sets have many small files
        return [row for row in rows if row.recognizes is not None and row.recognizes(head)]
    except Exception:
        return [row for row in rows if row.fits(head)]


def known_by_head(path: Path, head: bytes) -> Format:
    """Return the format of a file that begins with `head`.

    Installed packages are imported only where a suffix would decide, unless the file is a text of
    events: the content of their formats decides before a suffix.
    """
    if not head:
        row = next((row for row in TABLE.values() if path.suffix.lower() in row.suffixes), None)
        if row is not None and row.name in _EMPTY:
            return row
        raise FormatError(f"{path}: is empty (0 bytes); an event file has at least a header")
    fitting = _fitting(head)
    if not fitting:
        suffix = path.suffix.lower()
        fitting = [
            row for row in TABLE.values() if row.recognizes is None and suffix in row.suffixes
        ]
        if fitting and not (fitting[0].name in _EMPTY and _is_text_of_events(head)):
            known = len(TABLE)
            fitting = (len(TABLE.complete()) > known and _fitting(head)) or fitting
    if not fitting:
        expected = [row.name for row in TABLE.values() if row.recognizes and suffix in row.suffixes]
        if expected:
            raise UnknownFormatError(
                f"{path}: starts with {head[:16]!r}, not with a header of "
                f"{' or '.join(expected)}; pass the right format= if the suffix misleads"
            )
    if not fitting and (row := find_by_columns(head)):
        return row
    if not fitting and head.startswith(b"MATLAB 5.0 MAT-file"):
        raise UnknownFormatError(
            f"{path}: is a MATLAB file, which is not read; in Python: "
            f"import dvskit, scipy.io; m = scipy.io.loadmat({path.name!r}, squeeze_me=True); "
            "dvskit.save_events(dvskit.Events(t=m['t'], x=m['x'], y=m['y'], p=m['p'] > 0, "
            "size=SIZE), 'events.npz'), with the names of its variables and (width, height) as SIZE"
        )
    if not fitting and path.suffix.lower() in VIDEO_SUFFIXES:
        raise UnknownFormatError(
            f"{path}: is a video, not events; dvskit emulate turns it into events"
        )
    if not fitting:
        raise UnknownFormatError(
            f"{path}: starts with {head[:16]!r}, which matches no format; "
            f"name one by format= ({', '.join(sorted(TABLE))})"
        )
    fitting = [row for row in fitting if TABLE.is_own(row.name)] or fitting
    if len(fitting) > 1:
        names = ", ".join(row.name for row in fitting)
        raise UnknownFormatError(f"{path}: could be {names}; name one by format=")
    return fitting[0]
