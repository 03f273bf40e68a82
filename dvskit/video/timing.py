"""When each frame of a video is shown, from the stamps of its packets.

Frames leave a decoder in the order in which they are shown. Most containers hold the time at which
each is shown; AVI, and MP4 files of some recorders, hold the order of decoding alone. There the
k-th frame that is shown has the k-th stamp, as players show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

_LOOKED_AT = 64  # packets: B-frames, where there are any, come sooner


def look_ahead(packets: Iterator[Any]) -> tuple[list[Any], Iterator[Any]]:
    """Return the first packets, and all of them."""
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
    """Return whether stamps tell the order of decoding, not of showing.

    container  FFmpeg's name of it
    reorders   whether the codec may show frames in another order than they are decoded in
    first      the first packets: of a codec that reorders, the two stamps of a packet differ
    """
    if container == "avi":
        return True
    stamped = [packet for packet in first if packet is not None and packet.size]
    return reorders and len(stamped) > 1 and all(p.pts == p.dts is not None for p in stamped)


class ShownStamps:
    """Times of frames that hold the stamp at which they are shown."""

    def sent(self, packet: Any) -> None:
        """Take note of a packet that is decoded next."""

    def of(self, frame: Any) -> Fraction | None:
        """Return the time of a frame in seconds; None where it has no stamp."""
        if frame.pts is None or frame.time_base is None:
            return None
        return int(frame.pts) * Fraction(frame.time_base)


class DecodingStamps:
    """Times of frames by their place among the stamps of decoding.

    A frame comes out with the stamp of the packet that pushed it out, which is as many packets
    behind as frames wait in the decoder. So the packets that show nothing are passed over.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._stamps: list[int] = []
        self._place: dict[int, int] = {}
        self._waiting: int | None = None
        self._next = 0

    def sent(self, packet: Any) -> None:
        """Take note of a packet that is decoded next."""
        if packet.size and packet.dts is not None and not packet.is_discard:
            self._place.setdefault(packet.dts, len(self._stamps))
            self._stamps.append(packet.dts)

    def of(self, frame: Any) -> Fraction | None:
        """Return the time of a frame in seconds; None where stamps are used up."""
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
