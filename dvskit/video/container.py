"""An open video file: its video stream, its packets, and the lengths in its header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from dvskit._files import open_regular
from dvskit._threads import thread_count
from dvskit.errors import MissingFileError, VideoError
from dvskit.formats.image_list import MOST_VIDEO_PIXELS, frame_size
from dvskit.video.source import FrameLosses

_HEAD = 4096  # bytes within which headers state the length of the file
_TRANSPORT_PACKET, _SYNC = 188, 0x47  # packet length in bytes, and the first byte (ISO/IEC 13818-1)
_SEGMENT = bytes.fromhex("18538067")  # contains a whole Matroska file (RFC 9559)
_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of ASF, section 3.2
_LAST_CHUNK = b"\0\0\0\0IEND"  # of PNG
_LAST_BLOCK = 0x3B  # of GIF
_UNKNOWN = 0xFFFFFFFF  # of lengths in RIFF
# Formats that FFmpeg derives from the suffix alone: text as terminal output, bytes as pixels.
_GUESSES = ("tty", "rawvideo", "bin", "xbin", "adf", "idf")
# Raw video streams without a container: FFmpeg invents their times.
UNTIMED = ("h264", "hevc", "vvc", "m4v", "mpegvideo", "h263", "h261", "obu", "evc", "vc1",
           "cavsvideo", "dirac", "mjpeg", "dnxhd", "ipu")  # fmt: skip
# Containers whose headers state the end: of the video stream, or of all streams together.
_VIDEO_ENDS, _ALL_END = ("mov",), ("matroska", "flv", "asf")
_SLACK_S = Fraction(3, 20)  # of the end of all streams: an audio packet may have no duration
# Containers with contiguous packets, so that bytes between two belong to none.
_ONE_BEHIND_ANOTHER = ("matroska", "mpegts", "mpeg", "flv", "asf", "avi", "ogg")
_LARGEST_HEADER = 512  # container headers between two packets, in bytes


def cut_short(path: Path, container: str) -> str | None:
    """Return what is missing at the end of a file; None if nothing is known to be missing.

    container  FFmpeg's name of it
    """
    there = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, there - _HEAD))
        tail = file.read()
    stated = _STATED[container](head) if container in _STATED else None
    if stated is not None and there < stated:
        return f"has {there:,} bytes, but its header states {stated:,}"
    if container == "mpegts" and there % _TRANSPORT_PACKET and _is_transport_stream(head):
        return f"ends within a transport packet (byte {there})"
    if container in ("apng", "png_pipe") and _LAST_CHUNK not in tail:
        return f"ends before its last chunk (byte {there})"
    if container == "gif" and tail.rstrip(b"\0")[-1:] != bytes([_LAST_BLOCK]):
        return f"ends before its last block (byte {there})"
    return None


def _riff_length(head: bytes) -> int | None:
    """Return the length of a RIFF file (AVI, WebP), or of its first part if it has several."""
    length = int.from_bytes(head[4:8], "little")
    # Files written to a pipe, or never finished, have the largest number there, or none.
    known = head[:4] == b"RIFF" and 0 < length < _UNKNOWN
    return length + 8 if known else None


def _segment_length(head: bytes) -> int | None:
    """Return the end of the segment of a Matroska file, if stated."""
    at = head.find(_SEGMENT)
    if at < 0 or at + 12 > len(head) or not head[at + 4]:
        return None
    width = 9 - head[at + 4].bit_length()  # bytes of the number, by its leading zeros
    most = (1 << 7 * width) - 1
    number = int.from_bytes(head[at + 4 : at + 4 + width], "big") & most
    return None if number == most else at + 4 + width + number


def _asf_length(head: bytes) -> int | None:
    at = head.find(_FILE_PROPERTIES)
    return None if at < 0 else int.from_bytes(head[at + 40 : at + 48], "little")


_STATED = {
    "avi": _riff_length,
    "webp": _riff_length,
    "matroska": _segment_length,
    "asf": _asf_length,
}


def _is_transport_stream(head: bytes) -> bool:
    """Return whether bytes are contiguous transport packets of 188 bytes."""
    places = range(0, min(len(head), 8 * _TRANSPORT_PACKET), _TRANSPORT_PACKET)
    return len(places) > 1 and all(head[place] == _SYNC for place in places)


def lacks_its_index(path: Path) -> bool:
    """Return whether a file begins like MP4 or MOV and has no moov box at its top level."""
    there, place = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(8)[4:] not in (b"ftyp", b"wide", b"mdat", b"free"):
            return False
        while place + 8 <= there:
            file.seek(place)
            size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            if kind == b"moov":
                return False
            if size == 1:
                size = int.from_bytes(file.read(8), "big")
            if size < 8:
                break
            place += size
    return True


def reason(error: Exception) -> str:
    """Return FFmpeg's message of an error, in one line."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


@dataclass(slots=True)
class Hole:
    """Bytes that belong to no packet: offset, length, and the time of the next packet (s)."""

    offset: int
    length: int
    seconds: Fraction


@dataclass(slots=True)
class OpenVideo:
    """A video file that is open for one pass.

    packets_seen  of the video stream, without those excluded by an edit list
    end_s         the end of the last packet, by its stamps
    holes         ranges of bytes between packets that belong to none
    """

    path: Path
    container: Any
    stream: Any
    notes: tuple[str, ...]
    packets_seen: int = 0
    end_s: Fraction | None = None
    holes: list[Hole] = field(default_factory=list)
    _read_to: int = 0

    @property
    def format(self) -> str:
        """FFmpeg's name of the container, the first of several."""
        return str(self.container.format.name).split(",")[0]

    @property
    def frame_s(self) -> Fraction | None:
        """The usual time between frames in seconds, from the header."""
        rate = self.stream.average_rate
        return Fraction(1) / Fraction(rate) if rate else None

    def packets(self, losses: FrameLosses) -> Iterator[Any]:
        """Yield the packets of the video stream, and an empty one at the end."""
        try:
            for packet in self.container.demux():
                if packet.size:
                    self._follow(packet)
                if packet.stream.index == self.stream.index:
                    yield packet
        except av.error.FFmpegError as error:
            losses.lose(f"cannot be read after byte {self._read_to} ({reason(error)})")
            yield None

    def _follow(self, packet: Any) -> None:
        """Record how far a packet extends in the file, and which bytes it skips."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        counts = packet.stream.index == self.stream.index
        if stamp is not None and packet.time_base:
            start = stamp * Fraction(packet.time_base)
            if counts or self.format not in _VIDEO_ENDS:
                end = start + (packet.duration or 0) * Fraction(packet.time_base)
                self.end_s = end if self.end_s is None else max(self.end_s, end)
            self._find_hole(packet, start)
        if packet.pos is not None and packet.pos >= 0:
            self._read_to = max(self._read_to, packet.pos + packet.size)
        if counts and not packet.is_discard:
            self.packets_seen += 1

    def _find_hole(self, packet: Any, start: Fraction) -> None:
        if self.format not in _ONE_BEHIND_ANOTHER or packet.pos is None or not self._read_to:
            return
        length = packet.pos - self._read_to
        if length > _LARGEST_HEADER:
            self.holes.append(Hole(self._read_to, length, start))

    def missing_at_the_end(self) -> str | None:
        """Return what the file lacks compared with its header; None if it is complete."""
        cut = cut_short(self.path, self.format)
        promised = self._promised_end()
        if cut is not None or promised is None:
            return cut
        slack = Fraction(3, 2) * (self.frame_s or _SLACK_S)
        if self.format not in _VIDEO_ENDS:
            slack = max(slack, _SLACK_S)
        if self.end_s is None or promised - self.end_s > slack:
            ends = 0.0 if self.end_s is None else float(self.end_s)
            return f"ends at {ends:.3f} s, but its header states {float(promised):.3f} s"
        return None

    def _promised_end(self) -> Fraction | None:
        """Return the end of the stream, or of all streams, stated in the header."""
        if self.format in _VIDEO_ENDS and self.stream.duration:
            start = self.stream.start_time or 0
            return Fraction(start + self.stream.duration) * Fraction(self.stream.time_base)
        if self.format in _ALL_END and self.container.duration:
            return Fraction(self.container.duration, av.time_base)
        return None


@contextmanager
def open_video(path: Path, *, exact: bool) -> Iterator[OpenVideo]:
    """Open a video file for one pass.

    exact  decode with one thread, continuing after damage and marking it; otherwise with one thread
           per core, which may miss marks: any damage is an error

    Raises MissingFileError, and VideoError for a file that is not a video or has none.
    """
    if not path.exists():
        raise MissingFileError(path)
    try:
        with open_regular(path):
            container = av.open(str(path))
    except FileNotFoundError:  # deleted meanwhile
        raise MissingFileError(path) from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        why = reason(error)
        if isinstance(error, av.error.InvalidDataError) and lacks_its_index(path):
            why = "cut short: it lacks its index, the moov box, which comes last"
        raise VideoError(f"{path}: is not a video that can be opened ({why})") from error
    with container:
        if container.format.name in _GUESSES:
            raise VideoError(f"{path}: is not a video that can be opened (plain text or raw data)")
        stream, notes = _video_stream(path, container)
        if exact or thread_count() == 1:
            stream.codec_context.thread_count = 1
        else:
            stream.thread_type = "AUTO"
        # Frames may be larger than the header says.
        options = {"max_pixels": str(MOST_VIDEO_PIXELS)}
        stream.codec_context.options = options if exact else options | {"err_detect": "explode"}
        yield OpenVideo(path, container, stream, notes)


def _video_stream(path: Path, container: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the stream of moving images, and a note on the choice."""
    found = list(container.streams.video)
    moving = [stream for stream in found if not _is_cover(stream)]
    if not moving:
        only = "only a cover image" if found else "no video stream"
        raise VideoError(f"{path}: has {only}")
    moving = [stream for stream in moving if stream.codec_context is not None]
    if not moving:
        raise VideoError(f"{path}: has a codec that FFmpeg cannot decode; convert it first")
    best = container.streams.best("video")
    stream = best if best in moving else moving[0]
    if not stream.width or not stream.height:
        raise VideoError(f"{path}: is not a video that can be opened (no frame size)")
    frame_size(path, stream.width, stream.height, MOST_VIDEO_PIXELS)
    if len(moving) == 1:
        return stream, ()
    return stream, (f"has {len(moving)} video streams; stream {stream.index} is read",)


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in stream.disposition.name if stream.disposition else False
