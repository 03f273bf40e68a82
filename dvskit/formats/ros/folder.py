"""The folder of a ROS 2 recording: metadata.yaml, and the files that it lists, in order.

Files are .db3 or .mcap, or either compressed as a whole (`.zstd`, rosbag2's compression mode FILE).
Only the list of files is read from metadata.yaml, which is the same in versions 1 to 9; versions 1
to 3 put the name of the folder before those of the files.
Layout: github.com/ros2/rosbag2, rosbag2_storage/bag_metadata.hpp.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import zstandard

from dvskit import _files
from dvskit.errors import FormatError, MissingFileError, one_line
from dvskit.formats.decompression import ERRORS, MOST_WINDOW
from dvskit.formats.losses import Losses, Place
from dvskit.formats.ros.container import Message, RosContainer
from dvskit.formats.ros.ros2 import Db3File, McapFile

METADATA_NAME = "metadata.yaml"
_ZSTD = ".zstd"
_ENDINGS = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")
_LARGEST_METADATA = 1 << 24
_LARGEST_FILE = 1 << 48  # places from the start of a file to that of the next
_PIECE = 1 << 12  # of compressed bytes, which may become 128 MB
_LEAST_UNPACKED, _MOST_TIMES = 1 << 26, 1000  # bytes, and times its own length, of a .zstd file


def listed_files(text: str) -> list[str]:
    """Return the names under `relative_file_paths` in a metadata.yaml, without folders."""
    found = re.search(r"^\s*relative_file_paths:[ \t]*(\[[^\]]*\])?[^\n]*\n?", text, re.MULTILINE)
    if found is None:
        return []
    if found[1]:
        items = found[1][1:-1].split(",")
    else:
        items = []
        for line in text[found.end() :].splitlines():
            item = re.fullmatch(r"\s*-\s+(\S.*)", line)
            if item is None:
                break
            items.append(item[1])
    names = (re.sub(r"\s+#.*$", "", item).strip().strip("'\"") for item in items)
    return [PurePosixPath(name.replace("\\", "/")).name for name in names if name]


class _Part(NamedTuple):
    """A file of the folder, whose byte 0 is place `base` of the folder.

    numbers  the numbers of its channels, by those of the folder
    """

    path: Path
    base: int
    container: RosContainer
    numbers: dict[int, int]


class BagFolder(RosContainer):
    """The messages of all files of a folder, file after file.

    Raises MissingFileError and FormatError in strict mode. In salvage, files that are missing or
    cannot be opened are losses of each pass.
    """

    NAME = "rosbag2"

    def __init__(self, path: Path, *, strict: bool) -> None:
        super().__init__(path)
        self._strict = strict
        self._unpacked: Path | None = None
        self._parts: list[_Part] = []
        self._missing: list[str] = []
        base = 0
        names = self._names()
        known = {name.removesuffix(_ZSTD) for name in names}
        self._unlisted = [name for name in self._there() if name.removesuffix(_ZSTD) not in known]
        for name in names:
            try:
                found = self._find(name)
                file = self._decompressed(found) if found.suffix == _ZSTD else found
                container = _open(file)
            except FormatError as error:
                if strict:
                    raise
                self._missing.append(one_line(error).removeprefix(f"{path}: "))
                continue
            self._parts.append(_Part(found, base, container, self._declare_all(container)))
            base += _LARGEST_FILE
        if not self._parts:
            raise FormatError(f"{path}: none of its files can be read: {self._missing[0]}")

    @property
    def bytes(self) -> int:
        """The length of all files."""
        return sum(part.path.stat().st_size for part in self._parts)

    @property
    def state(self) -> str:
        """The lengths and modification times of the files."""
        found = [part.path.stat() for part in self._parts]
        return "".join(f" {each.st_size} {each.st_mtime_ns}" for each in found)

    @property
    def notes(self) -> list[str]:
        """Notes on the files that are not listed, and on those of the files."""
        notes = [f"{name} is left out: {METADATA_NAME} does not list it" for name in self._unlisted]
        for part in self._parts:
            notes += part.container.notes
        return notes

    def _names(self) -> list[str]:
        """Return the names of the files in order. Raises FormatError where there are none."""
        file = self.path / METADATA_NAME
        try:
            with file.open("rb") as opened:
                text = opened.read(_LARGEST_METADATA).decode("utf-8", "replace")
        except OSError as error:
            raise FormatError(f"{file}: cannot be read: {error.strerror or error}") from error
        names = listed_files(text)
        if not names and not self._strict:
            names = self._there()
        if not names:
            raise FormatError(
                f"{file}: lists no files under relative_file_paths; run ros2 bag reindex, or name "
                "a .db3 or .mcap file in the folder"
            )
        return names

    def _there(self) -> list[str]:
        """Return the names of the .db3 and .mcap files of the folder, in natural order."""
        names = (each.name for each in self.path.iterdir())
        return sorted((name for name in names if name.endswith(_ENDINGS)), key=_natural)

    def _find(self, name: str) -> Path:
        """Return the file of a name, compressed or not. Raises MissingFileError."""
        also = name.removesuffix(_ZSTD) if name.endswith(_ZSTD) else name + _ZSTD
        for file in (self.path / name, self.path / also):
            if file.is_file():
                return file
        raise MissingFileError(
            self.path / name,
            f"{METADATA_NAME} lists it; copy it there, or pass strict=False to read the other "
            "files",
        )

    def _decompressed(self, file: Path) -> Path:
        """Decompress a .zstd file into a temporary one, which exists as long as this object.

        In salvage, data before damage is kept, and the damage is a loss.
        """
        if self._unpacked is None:
            made = _files.temporary_folder()
            self._unpacked = Path(made.name)
            weakref.finalize(self, made.cleanup)
        target = self._unpacked / file.stem
        most = max(_LEAST_UNPACKED, _MOST_TIMES * file.stat().st_size)
        done, problem = 0, ""
        try:
            with file.open("rb") as packed, target.open("wb") as out:
                for piece in _unpacked(packed):
                    done += len(piece)
                    if done > most:
                        raise ValueError(f"it becomes more than {most:,} bytes")
                    out.write(piece)
        except ERRORS as error:
            problem = f"does not decompress: {one_line(error)}"
        if problem:
            if self._strict or not done:
                raise FormatError(f"{file}: {problem}; copy it anew")
            self._missing.append(f"{file.name} {problem} after {done:,} bytes")
        return target

    def _declare_all(self, container: RosContainer) -> dict[int, int]:
        """Declare the channels of a file; return their numbers by those of the folder.

        Equal channels of different files are one; channels of one file stay apart.
        """
        numbers: dict[int, int] = {}
        for own in container.channels.values():
            same = own._replace(number=0, definition="", type=own.type.replace("/msg/", "/"))
            known = (
                number
                for number, each in self.channels.items()
                if number not in numbers and each._replace(number=0, definition="") == same
            )
            number = next(known, len(self.channels))
            self.declare(own._replace(number=number))
            numbers[number] = own.number
        return numbers

    def cuts(self) -> list[int]:
        """Return the cuts of all files; empty if a file has none."""
        found = [[part.base + cut for cut in part.container.cuts()] for part in self._parts]
        return [cut for cuts in found for cut in cuts] if all(found) else []

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each channel."""
        found = dict.fromkeys(self.channels, 0)
        for part in self._parts:
            counts = part.container.counts()
            for number, own in part.numbers.items():
                found[number] += counts.get(own, 0)
        return found

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, file by file."""
        for problem in self._missing if not start else ():
            losses.lose(0, 0, problem)
        for part, following in zip(self._parts, [*self._parts[1:], None], strict=True):
            if following is not None and start >= following.base:
                continue
            own = {part.numbers[number]: number for number in wanted if number in part.numbers}
            shifted = losses.at(part.base.__add__)
            begin = max(0, start - part.base)
            for message in part.container.messages(own.keys(), shifted, begin):
                place = part.base + message.offset
                yield message._replace(channel=own[message.channel], offset=place)

    def locate(self, place: int) -> Place:
        """Return the file of a place, the byte in it (-1 if unknown), and what else tells it."""
        part = next(part for part in reversed(self._parts) if part.base <= place)
        return part.container.locate(place - part.base)._replace(file=part.path)


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of zstd frames. Raises ZstdError for damage, EOFError for a cut file."""
    reading = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
    frame, waiting = reading.decompressobj(), b""
    while data := waiting or file.read(_PIECE):
        yield frame.decompress(data)
        waiting = frame.unused_data
        if frame.eof:
            frame = reading.decompressobj()
            if not waiting:
                waiting = file.read(_PIECE)
                if not waiting:
                    return
    raise EOFError("the file is cut")


def _open(file: Path) -> RosContainer:
    try:
        with file.open("rb") as opened:
            head = opened.read(len(McapFile.MAGIC))
    except OSError as error:
        raise FormatError(f"{file}: cannot be read: {error.strerror or error}") from error
    return McapFile(file) if head == McapFile.MAGIC else Db3File(file)


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
