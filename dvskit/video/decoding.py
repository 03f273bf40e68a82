"""The frames of a video file in display order, with their times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from operator import attrgetter
from typing import Any, NamedTuple

import av

from dvskit.errors import VideoError, count_of
from dvskit.video.container import OpenVideo, reason
from dvskit.video.source import FrameLosses

_LOOKED_AT = 64  # packets: B-frames, if any, appear sooner
# Codecs in which each packet shows one frame, so that a frame not shown is lost.
_ONE_FRAME_A_PACKET = ("h264", "hevc", "av1", "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "png")
_GAP = Fraction(3, 2)  # usual intervals; a longer interval is a gap


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
    exact    whether one thread decodes: several may stop without reporting their losses
    first_s  container time of the first frame, once known
    leading  frames before it that cannot be shown, because their references are missing

    Damage goes to the losses: packets that cannot be decoded, frames that the decoder marks as
    corrupt, frames whose time does not increase, gaps where bytes of the file were skipped, and the
    missing end.
    """

    def __init__(self, video: OpenVideo, losses: FrameLosses, *, timed: bool, exact: bool) -> None:
        self._video, self._losses = video, losses
        self._timed, self._exact = timed, exact
        first, self._packets = look_ahead(video.packets(losses))
        context = video.stream.codec_context
        decoding = stamps_are_of_decoding(video.format, bool(context.has_b_frames), first)
        time_base = Fraction(video.stream.time_base)
        self._clock = DecodingStamps(time_base) if decoding else ShownStamps()
        self._stamp = attrgetter("dts" if decoding else "pts")
        seen = [p for p in first if p is not None and p.size and not p.is_discard]
        stamps = [self._stamp(packet) for packet in seen]
        self._first_stamps = sorted(stamp for stamp in stamps if stamp is not None)
        self._all_stamps: list[int] | None = None
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
        elif unseen > 0 and (self._shows_each_packet() or not self._exact):
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
        """Return a name for the frame of a packet: its index, time, and byte offset."""
        byte = "" if packet.pos is None else f", byte {packet.pos}"
        stamp = self._stamp(packet)
        if stamp is None:
            return f"the frame after frame {self._shown}{byte}"
        if self._all_stamps is None:
            self._all_stamps = _stamps(self._video, self._stamp)
        seconds = stamp * Fraction(self._video.stream.time_base)
        number = bisect_left(self._all_stamps, stamp)
        return f"frame {number} (at {self._from_start(seconds):.6f} s{byte})"


def _stamps(video: OpenVideo, stamp: Any) -> list[int]:
    """Return the stamps of all packets of a video in order, from a separate pass."""
    with av.open(str(video.path)) as container:
        stream = container.streams[video.stream.index]
        try:
            found = [
                stamp(packet)
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
        except av.error.FFmpegError:
            return []
    return sorted(each for each in found if each is not None)
