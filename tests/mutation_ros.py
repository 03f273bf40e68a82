"""Small ROS containers of packets, for mutations: how each is made, and where its events are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import dvskit
from dvskit.formats.losses import Losses
from dvskit.formats.ros import messages, packing, writing
from dvskit.formats.ros.bag import BagFile
from dvskit.formats.ros.container import RosContainer
from dvskit.formats.ros.ros2 import Db3File, McapFile
from tests.mutation_places import Ints, Places, evt3, places, rows_of

_HEADS = {"bag": 13, "mcap": 8, "db3": 100}
_AHEAD = {"bag": 54, "mcap": 31, "db3": 24}  # bytes of a record or a row ahead of its message
_PAGE = 4096
_OPEN: dict[str, Callable[[Path], RosContainer]] = {
    "bag": BagFile,
    "mcap": McapFile,
    "db3": Db3File,
}
PACKET_US = 2000


class _Packet(NamedTuple):
    record: int  # where the record or the row of the message begins
    events: int  # where its events begin
    stop: int
    data: bytes


def container_of(kind: str, events: dvskit.Events) -> bytes:
    """A file of packets of 2 ms in many chunks: as evt3 where times are small, else libcaer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        before = packing.PACKET_US, writing.CHUNK_BYTES
        packing.PACKET_US, writing.CHUNK_BYTES = PACKET_US, 1000
        try:
            dvskit.save_events(events, path)
        finally:
            packing.PACKET_US, writing.CHUNK_BYTES = before
        return path.read_bytes()


def _packets(data: bytes, kind: str) -> list[_Packet]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(data)
        container = _OPEN[kind](path)
        losses = Losses(path, strict=True)
        found = []
        for message in container.messages(container.channels.keys(), losses):
            head = messages.read_packet(message.data, ros1=kind == "bag")
            first = data.index(bytes(message.data))  # of a database, places are rows
            start, stop = first + head.start, first + head.stop
            found.append(_Packet(first - _AHEAD[kind], start, stop, data[start:stop]))
        return found


def _page_head(data: bytes, kind: str, packet: _Packet) -> tuple[int, int]:
    """The head of a database's page, which says where its rows are; nothing elsewhere."""
    if kind != "db3":
        return packet.events, packet.events + 1
    start = packet.events // _PAGE * _PAGE
    return start, start + 8 + 2 * int.from_bytes(data[start + 3 : start + 5], "big")


def _heads(data: bytes, kind: str, packets: list[_Packet], of: Ints) -> list[Ints]:
    """For each event, whose packet `of` names: the head of its message, and of its page."""
    messages = np.array([(packet.record, packet.events) for packet in packets])
    pages = np.array([_page_head(data, kind, packet) for packet in packets])
    return [messages[of], pages[of]]


def _frames(packets: list[_Packet], of: Ints) -> Ints:
    return np.array([(packet.record, packet.stop) for packet in packets])[of]


def ros_rows(data: bytes, kind: str) -> Places:
    """Packets in libcaer: 8 bytes an event."""
    packets = _packets(data, kind)
    counts = [len(packet.data) // 8 for packet in packets]
    of = np.repeat(np.arange(len(packets)), counts)
    starts = np.concatenate([np.arange(packet.events, packet.stop, 8) for packet in packets])
    own = [rows_of(starts, 8), *_heads(data, kind, packets, of)]
    return places(_HEADS[kind], own, 1.0, framed=_frames(packets, of))


def ros_words(data: bytes, kind: str) -> Places:
    """Packets in evt3: joined, they are a RAW file."""
    packets = _packets(data, kind)
    head = b"% evt 3.0\n% end\n"
    joined = evt3(head + b"".join(packet.data for packet in packets))
    lengths = np.array([len(packet.data) for packet in packets])
    firsts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    files = np.array([packet.events for packet in packets])

    def placed(ranges: Ints) -> Ints:
        found = np.empty_like(ranges)
        for side in (0, 1):  # a range ends in the packet of its last byte
            at = ranges[..., side] - len(head)
            packet = np.searchsorted(firsts, at - side, "right") - 1
            found[..., side] = files[packet] + at - firsts[packet]
        return found

    of = np.searchsorted(firsts, joined.own[:, 0, 0] - len(head), "right") - 1
    own = placed(joined.own)
    ranges = [own[:, column] for column in range(own.shape[1])]
    return places(
        _HEADS[kind],
        [*ranges, *_heads(data, kind, packets, of)],
        joined.most,
        wide=placed(joined.wide),
        framed=_frames(packets, of),
    )
