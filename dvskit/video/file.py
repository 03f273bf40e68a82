"""Video files, through PyAV: frames in display order, with their times, and what is lost.

Losses show in what FFmpeg reports, packets that cannot be decoded and packets or frames that it
marks as corrupt; in times that do not increase, and gaps of time where bytes were skipped; and in
fewer packets and a shorter duration than the header announces.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import av
from numpy.typing import NDArray

from dvskit._checks import check_choice
from dvskit._files import open_regular
from dvskit._threads import thread_count
from dvskit.errors import MissingFileError, VideoError, count_of
from dvskit.events import Size, as_size
from dvskit.formats.image_list import MOST_VIDEO_PIXELS, frame_size
from dvskit.video.light import (
    Light,
    Orientation,
    color_frame,
    gray_frame,
    has_transparent_pixels,
    orientation_of,
    transfer_of,
)
from dvskit.video.source import (
    FileFrames,
    FrameLosses,
    SuspectedLossError,
    SuspectedLosses,
    nth_time_us,
)

Clock = Literal["first", "container"]

# Formats that FFmpeg derives from the suffix alone: text as terminal output, bytes as pixels.
_GUESSES = ("tty", "rawvideo", "bin", "xbin", "adf", "idf")
# Raw video streams without a container: FFmpeg invents their times.
_UNTIMED = ("h264", "hevc", "vvc", "m4v", "mpegvideo", "h263", "h261", "obu", "evc", "vc1",
            "cavsvideo", "dirac", "mjpeg", "dnxhd", "ipu")  # fmt: skip
# Containers whose headers announce the end: of the video stream, or of all streams together.
_VIDEO_ENDS, _ALL_END = ("mov",), ("matroska", "flv", "asf")
_SLACK_S = Fraction(3, 20)  # of the end of all streams: an audio packet may have no duration
_TRANSPORT_PACKETS = (188, 192, 204)  # lengths in bytes of packets in transport streams
# Containers with contiguous packets, so that bytes between two packets belong to none.
_CONTIGUOUS = ("matroska", "mpegts", "mpeg", "flv", "asf", "avi", "ogg")
_LARGEST_HEADER = 512  # container headers between two packets, in bytes
_LOOKED_AT = 64  # packets: B-frames, if any, appear sooner
# Codecs in which each packet shows one frame, so that a frame not shown is lost.
_ONE_FRAME_A_PACKET = ("h264", "hevc", "av1", "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "png")
# Codecs whose damage FFmpeg may not mark when several threads decode: MPEG-2 never marks some, and
# the others miss a mark about once in a thousand passes over damaged files.
_MARKED_BY_ONE_THREAD = ("mpeg1video", "mpeg2video", "mpeg4", "h264")
_GAP = Fraction(3, 2)  # usual intervals; a longer interval is a gap
_LAST_FRAME = Fraction(1, 2)  # of an interval: the header may round the end


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

    exact         whether one thread decodes: several may stop without reporting their losses
    packets_seen  of the video stream, without those excluded by an edit list
    end_s         the end of the last packet, by its stamps
    holes         ranges of bytes between packets that belong to none
    """

    path: Path
    container: Any
    stream: Any
    notes: tuple[str, ...]
    exact: bool
    packets_seen: int = 0
    end_s: Fraction | None = None
    holes: list[Hole] = field(default_factory=list)
    _read_to: int = 0
    _ends_known: bool = True

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
                self._ends_known &= bool(packet.duration)
                self.end_s = end if self.end_s is None else max(self.end_s, end)
            self._find_hole(packet, start)
        if packet.pos is not None and packet.pos >= 0:
            self._read_to = max(self._read_to, packet.pos + packet.size)
        if counts and not packet.is_discard:
            self.packets_seen += 1

    def _find_hole(self, packet: Any, start: Fraction) -> None:
        if self.format not in _CONTIGUOUS or packet.pos is None or not self._read_to:
            return
        length = packet.pos - self._read_to
        if length > _LARGEST_HEADER:
            self.holes.append(Hole(self._read_to, length, start))

    def missing_at_the_end(self) -> str | None:
        """Return what the file lacks compared with its header; None if it is complete."""
        length = self.path.stat().st_size
        if self.format == "mpegts" and all(length % each for each in _TRANSPORT_PACKETS):
            return f"ends within a transport packet (byte {length})"
        promised = self._promised_end()
        if promised is None:
            return None
        alone = self.format in _ALL_END and len(self.container.streams) == 1
        slack = (_LAST_FRAME if alone and self._ends_known else _GAP) * (self.frame_s or _SLACK_S)
        if not alone and self.format not in _VIDEO_ENDS:
            slack = max(slack, _SLACK_S)
        if self.end_s is None or promised - self.end_s > slack:
            ends = 0.0 if self.end_s is None else float(self.end_s)
            return f"ends at {ends:.3f} s, but its header states {float(promised):.3f} s"
        return None

    def _promised_end(self) -> Fraction | None:
        """Return the end of the stream, or of all streams, that the header announces (s)."""
        if self.format == "avi" and self.stream.frames and self.frame_s:
            return int(self.stream.frames) * self.frame_s  # also of frames that are left out
        if self.format in _VIDEO_ENDS and self.stream.duration:
            start = self.stream.start_time or 0
            return Fraction(start + self.stream.duration) * Fraction(self.stream.time_base)
        if self.format in _ALL_END and self.container.duration:
            return Fraction(self.container.duration, av.time_base)
        return None


@contextmanager
def open_video(path: Path, *, exact: bool) -> Iterator[OpenVideo]:
    """Open a video file for one pass.

    exact  decode with one thread, which continues after damage and marks all of it; otherwise with
           one thread per core where damage is marked then too

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
        raise VideoError(f"{path}: is not a video that can be opened ({reason(error)})") from error
    with container:
        if container.format.name in _GUESSES:
            raise VideoError(f"{path}: is not a video that can be opened (plain text or raw data)")
        stream, notes = _video_stream(path, container)
        exact |= thread_count() == 1 or stream.codec_context.name in _MARKED_BY_ONE_THREAD
        if exact:
            stream.codec_context.thread_count = 1
        else:
            stream.thread_type = "AUTO"
        # Frames may be larger than the header says.
        options = {"max_pixels": str(MOST_VIDEO_PIXELS), "err_detect": "explode"}
        stream.codec_context.options = options
        yield OpenVideo(path, container, stream, notes, exact)


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


def look_ahead(packets: Iterator[Any]) -> tuple[list[Any], Iterator[Any]]:
    """Return the first packets, and an iterator over all of them."""
    first: list[Any] = []
    for packet in packets:
        first.append(packet)
        if len(first) >= _LOOKED_AT or packet is None or not packet.size:
            break

    def every() -> Iterator[Any]:
        yield from first
        yield from packets

    return first, every()


def stamps_are_of_decoding(container: str, reorders: bool, first: list[Any]) -> bool:
    """Return whether time stamps are those of decoding, not of display.

    container  FFmpeg's name of it
    reorders   whether the codec may display frames in another order than they are decoded
    first      the first packets; with reordering, the two stamps of a packet differ
    """
    if container == "avi":
        return True
    stamped = [packet for packet in first if packet is not None and packet.size]
    return reorders and len(stamped) > 1 and all(p.pts == p.dts is not None for p in stamped)


class ShownStamps:
    """Times of frames that carry their display time stamp."""

    def sent(self, packet: Any) -> None:
        """Register a packet that is decoded next."""

    def of(self, frame: Any) -> Fraction | None:
        """Return the time of a frame in seconds; None without a stamp."""
        if frame.pts is None or frame.time_base is None:
            return None
        return int(frame.pts) * Fraction(frame.time_base)


class DecodingStamps:
    """Times of frames by their position among the decoding stamps.

    A frame comes out with the stamp of the packet that pushed it out, which is as many packets
    later as frames wait in the decoder. Packets that show nothing are therefore skipped.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._stamps: list[int] = []
        self._place: dict[int, int] = {}
        self._waiting: int | None = None
        self._next = 0

    def sent(self, packet: Any) -> None:
        """Register a packet that is decoded next."""
        if packet.size and packet.dts is not None and not packet.is_discard:
            self._place.setdefault(packet.dts, len(self._stamps))
            self._stamps.append(packet.dts)

    def of(self, frame: Any) -> Fraction | None:
        """Return the time of a frame in seconds; None when the stamps are used up."""
        pushed_by = self._place.get(frame.dts)
        place = self._next
        if pushed_by is not None:
            if self._waiting is None:
                self._waiting = pushed_by
            place = max(place, pushed_by - self._waiting)
        self._next = place + 1
        if place >= len(self._stamps):
            return None
        return self._stamps[place] * self._time_base


class ShownFrame(NamedTuple):
    """A frame, its index in the file, and microseconds since the first shown (None: unknown)."""

    number: int
    t_us: int | None
    frame: Any


class VideoDecoding:
    """One pass over an open video file: iterates over its frames in display order.

    timed    whether stamps are needed; otherwise they may be missing or wrong
    first_s  container time of the first frame, once known
    leading  frames before it that cannot be shown, because their references are missing

    Damage goes to the losses: packets that cannot be decoded, frames that the decoder marks as
    corrupt, frames whose time does not increase, gaps where bytes of the file were skipped, and the
    missing end.
    """

    def __init__(self, video: OpenVideo, losses: FrameLosses, *, timed: bool) -> None:
        self._video, self._losses = video, losses
        self._timed = timed
        first, self._packets = look_ahead(video.packets(losses))
        context = video.stream.codec_context
        decoding = stamps_are_of_decoding(video.format, bool(context.has_b_frames), first)
        time_base = Fraction(video.stream.time_base)
        self._clock = DecodingStamps(time_base) if decoding else ShownStamps()
        self._stamp = attrgetter("dts" if decoding else "pts")
        seen = [p for p in first if p is not None and p.size and not p.is_discard]
        stamps = [self._stamp(packet) for packet in seen]
        self._first_stamps = sorted(stamp for stamp in stamps if stamp is not None)
        self._shown = 0
        self._interlaced = self._build_on_lost = self._key_lost = False
        self._last: Fraction | None = None
        self.leading = 0
        self.first_s: Fraction | None = None

    def __iter__(self) -> Iterator[ShownFrame]:
        for frame in self._decoded():
            seconds = self._clock.of(frame)
            self._interlaced |= bool(frame.interlaced_frame)
            if self._is_sound(frame, seconds) and not self._builds_on_a_lost_key_frame(frame):
                if not self._shown:
                    self.first_s = seconds
                    self._count_leading(seconds)
                t_us = None if seconds is None else self._since_first(seconds)
                yield ShownFrame(self._shown + self._losses.frames, t_us, frame)
                self._shown += 1
                self._last = seconds
        self._check_end()

    def _decoded(self) -> Iterator[Any]:
        for packet in self._packets:
            if packet is not None:
                self._clock.sent(packet)
                # Transport streams that were joined have such packets, which are whole.
                if packet.is_corrupt and self._video.format != "mpegts":
                    self._losses.lose(f"{self._named_packet(packet)} is damaged", frames=1)
                    self._lost(key=packet.is_keyframe)
                    continue
            try:
                yield from self._video.stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                where = "the last packets" if packet is None else self._named_packet(packet)
                self._losses.lose(f"{where} cannot be decoded ({reason(error)})", frames=1)
                self._lost(key=packet is not None and packet.is_keyframe)

    def _lost(self, *, key: bool) -> None:
        """Record that frames depend on a lost one, until the next key frame."""
        self._build_on_lost, self._key_lost = True, self._key_lost or key

    def _builds_on_a_lost_key_frame(self, frame: Any) -> bool:
        """Return whether a frame is to be dropped because its key frame was lost.

        A frame that depends on another lost frame may show its damage, which is reported.
        """
        if frame.key_frame:
            self._build_on_lost = self._key_lost = False
        elif self._key_lost:
            self._losses.frames += 1
        elif self._build_on_lost:
            self._losses.doubtful += 1
        return self._key_lost

    def _is_sound(self, frame: Any, seconds: Fraction | None) -> bool:
        """Return whether a frame is whole and in order; otherwise it is counted as lost."""
        if frame.is_corrupt:
            self._losses.lose(f"{self._named(seconds)} is damaged", frames=1)
            self._lost(key=bool(frame.key_frame))
            return False
        if not self._timed:
            return True
        if seconds is None:
            raise VideoError(
                f"{self._video.path}: frame {self._shown} has no time stamp; pass fps="
            )
        if self._last is None:
            return True
        if self._since_first(seconds) <= self._since_first(self._last):
            self._losses.lose(
                f"{self._named(seconds)} is not after the previous one, at "
                f"{self._from_start(self._last):.6f} s; pass fps= to count frames instead",
                frames=1,
            )
            return False
        self._check_gap(self._last, seconds)
        return True

    def _check_gap(self, last: Fraction, seconds: Fraction) -> None:
        """Report a loss between two frames if bytes were skipped there."""
        usual = self._video.frame_s or seconds - last
        if seconds - last <= _GAP * usual:
            return
        for hole in self._video.holes:
            if last - usual <= hole.seconds <= seconds + usual:
                self._losses.lose(
                    f"frames between {self._from_start(last):.3f} s and "
                    f"{self._from_start(seconds):.3f} s are missing: {hole.length:,} bytes at byte "
                    f"{hole.offset} cannot be read",
                    frames=round((seconds - last) / usual) - 1,
                )
                self._lost(key=False)
                return

    def _count_leading(self, seconds: Fraction | None) -> None:
        """Count the frames before the first one shown: their references are missing."""
        if isinstance(self._clock, ShownStamps) and seconds is not None:
            start = seconds / Fraction(self._video.stream.time_base)
            self.leading = bisect_left(self._first_stamps, start) - self._losses.frames
        self.leading = max(self.leading, 0)

    def _check_end(self) -> None:
        unseen = self._video.packets_seen - self._shown - self._losses.frames - self.leading
        missing = self._video.missing_at_the_end()
        if missing is not None:
            self._losses.lose(f"{missing}: {count_of(self._shown, 'frame')} decoded")
        elif unseen > 0 and (self._shows_each_packet() or not self._video.exact):
            self._losses.lose(
                f"{unseen} of {self._video.packets_seen} frames were not shown by the decoder",
                frames=unseen,
            )

    def _shows_each_packet(self) -> bool:
        """Return whether each packet shows a frame: none is a field, or hidden."""
        codec = self._video.stream.codec_context.name
        return codec in _ONE_FRAME_A_PACKET and not self._interlaced

    def _since_first(self, seconds: Fraction) -> int:
        return round((seconds - (self.first_s or 0)) * 1_000_000)

    def _from_start(self, seconds: Fraction) -> float:
        start = self._first_stamps[0] if self._first_stamps else 0
        return float(seconds - start * Fraction(self._video.stream.time_base))

    def _named(self, seconds: Fraction | None) -> str:
        number = self._shown + self._losses.frames
        if seconds is None:
            return f"frame {number}"
        return f"frame {number} (at {self._from_start(seconds):.6f} s)"

    def _named_packet(self, packet: Any) -> str:
        """Return a name for the frame of a packet: its time, and its byte offset."""
        byte = "" if packet.pos is None else f", byte {packet.pos}"
        stamp = self._stamp(packet)
        if stamp is None:
            return f"the frame after frame {self._shown}{byte}"
        seconds = stamp * Fraction(self._video.stream.time_base)
        return f"the frame at {self._from_start(seconds):.6f} s{byte}"


class VideoFrames(FileFrames):
    """Gray frames of a video file, at its own times, in display orientation.

    light   "luma": uint8, or uint16 for more than 8 bits, the file's own luma, gamma-coded;
            "linear": float32, the luminance of its colors as linear light, 1.0 for white
    clock   "first": time 0 is the first frame; "container": the times in the container
    strict  whether damage raises; otherwise damaged frames are skipped and listed in `damage`

    `fps` replaces the time stamps by a steady rate. `notes` describes the conversions of the frames
    and their limits, `container_start_us` is the container time of the first frame. Raises
    VideoError for a file that is not a video, or is damaged.

        frames = dvskit.video.VideoFrames("video.mp4", light="linear")
        t_us, frame = next(iter(frames))
        t_us, frame.shape, frame.dtype    # 0, (128, 128), float32
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        fps: float | None = None,
        light: Light = "luma",
        clock: Clock = "first",
        strict: bool = True,
    ) -> None:
        check_choice("clock", clock, get_args(Clock))
        self._clock = clock
        super().__init__(path, fps=fps, light=light, strict=strict)

    def _look(self) -> None:
        with open_video(self.path, exact=True) as video:
            if self._fps is None and video.format in _UNTIMED:
                raise VideoError(f"{self.path}: raw {video.format} holds no times; pass fps=")
            decoding = VideoDecoding(video, self._no_losses(), timed=self._fps is None)
            frames = iter(decoding)
            first = next(frames, None)
            if first is None:
                raise VideoError(f"{self.path}: holds no frame that can be decoded")
            stated = int(video.stream.frames)  # an unfinished header states any number
            self.frame_count = stated if 0 < stated <= self.path.stat().st_size else None
            if self._fps is None and video.format.endswith("_pipe") and next(frames, None):
                raise VideoError(f"{self.path}: frames without times; pass fps=")
            self.notes = (*video.notes, *self._look_at(first, decoding, video.stream))

    def _look_at(self, first: ShownFrame, decoding: VideoDecoding, stream: Any) -> list[str]:
        """Store size, orientation and time of the first frame; return notes on it."""
        start_s = decoding.first_s
        self.container_start_us = None if start_s is None else round(start_s * 1_000_000)
        self._turn, turned = orientation_of(first.frame)
        self.transfer = transfer_of(first.frame)
        self._coded = Size(first.frame.width, first.frame.height)
        self.size = as_size(self._turn.size(self._coded))
        return [text for text in (turned, *_notes(first.frame, stream)) if text] + (
            [f"not shown: {count_of(decoding.leading, 'frame')} before its first key frame"]
            if decoding.leading
            else []
        )

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(lambda frame: gray_frame(frame, self._light))

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same frames as RGB, (height, width, 3) uint8; gray ones as (height, width)."""
        return self._pass(color_frame)

    def _pass(self, picture: Callable[[Any], NDArray[Any]]) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = self._no_losses()
        done = 0
        if self.strict:
            try:
                for shown in self._shown(SuspectedLosses(self.path, True), exact=False):
                    yield self._time_us(shown), self._upright(picture(shown.frame))
                    done += 1
                return
            except SuspectedLossError:
                pass  # one thread continues where several failed: it knows the losses
        for shown in islice(self._shown(losses, exact=True), done, None):
            yield self._time_us(shown), self._upright(picture(shown.frame))

    def _shown(self, losses: FrameLosses, *, exact: bool) -> Iterator[ShownFrame]:
        """Yield the frames of one pass that have the size of the first."""
        with open_video(self.path, exact=exact) as video:
            for shown in VideoDecoding(video, losses, timed=self._fps is None):
                if self._has_size(shown, losses):
                    yield shown

    def _has_size(self, shown: ShownFrame, losses: FrameLosses) -> bool:
        size = Size(shown.frame.width, shown.frame.height)
        if size != self._coded:
            losses.lose(
                f"frame {shown.number} is {size}, the first was {self._coded} (bring all to one "
                "size first)",
                frames=1,
            )
        return size == self._coded

    def _time_us(self, shown: ShownFrame) -> int:
        if self._fps is not None:
            return nth_time_us(shown.number, self._fps)
        assert shown.t_us is not None  # a pass that needs times has raised already
        start_us = self.container_start_us or 0
        return shown.t_us + (start_us if self._clock == "container" else 0)

    def _upright(self, picture: NDArray[Any]) -> NDArray[Any]:
        return picture if self._turn == Orientation() else self._turn(picture)


def _notes(frame: Any, stream: Any) -> Iterator[str]:
    """Yield notes on a video, from its first frame."""
    shape = stream.sample_aspect_ratio
    if shape and shape != 1:
        yield (
            f"its pixels are {shape.numerator}:{shape.denominator}, not square: events are on its "
            f"{frame.width}x{frame.height} pixels as they are"
        )
    if frame.interlaced_frame:
        yield (
            "interlaced: odd and even lines have different times, which gives events at edges; "
            "deinterlace it first (ffmpeg -i IN -vf bwdif OUT)"
        )
    if has_transparent_pixels(frame):
        yield "transparent pixels are shown on black"
    elif str(stream.metadata.get("alpha_mode", "0")) == "1":
        yield "its transparency is ignored"
