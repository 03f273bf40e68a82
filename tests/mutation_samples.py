"""Small files of every readable format, for mutations: how each is made, and where its events are.

A row of SAMPLES is one line: a name, the format, how to make the bytes, and where the events are in
them (None where that is unknown: then only the safety of reading is judged, not what is kept).
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit.formats import aedat4
from tests.conftest import find_data
from tests.mutation_places import (
    Ints,
    Where,
    aedat2_words,
    aedat4_packets,
    aedat31_head,
    aedat31_packets,
    comment_head,
    dat_rows,
    davis_event,
    dvs128_event,
    es_dvs,
    evt,
    evt3,
    hdf5_chunks,
    nmnist_marked_rows,
    nmnist_rows,
    npy_columns,
    npy_rows,
    npz_members,
    raw_head,
    text_lines,
)
from tests.mutation_ros import container_of, ros_rows, ros_words

SIZE = (320, 240)


class Sample(NamedTuple):
    """A row of the table; `recording` names the real file that it is cut from, if it is."""

    name: str
    format: str
    make: Callable[[], bytes]
    where: Where | None
    recording: str | None = None
    stream: str = "events"


def mixed(count: int, salt: int) -> Ints:
    """Return `count` numbers of 0..2^62 that are the same on all machines (splitmix64)."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(salt * 0x632BE59BD9B4E019 & (1 << 64) - 1)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return ((z ^ z >> np.uint64(31)) >> np.uint64(2)).astype(np.int64)


def stream(count: int = 3000, size: tuple[int, int] = SIZE, start_us: int = 1_000_000):
    """Events as a camera sends them: some alone, some in a row of one time, row and polarity."""
    width, height = size
    length = np.where(mixed(count, 1) % 3 == 0, mixed(count, 2) % 8 + 1, 1)
    group = np.repeat(np.arange(count), length)[:count]
    within = np.arange(count) - np.searchsorted(group, group)
    t = start_us + np.cumsum(mixed(count, 3) % 45)[group]
    x = (mixed(count, 4) % (width - 8))[group] + within
    y = (mixed(count, 5) % height)[group]
    p = (mixed(count, 6) % 2 == 0)[group]
    return dvskit.Events(
        t=t, x=x.astype(np.int16), y=y.astype(np.int16), p=p.astype(np.bool_), size=size
    )


def written(format: str, size: tuple[int, int] = SIZE) -> bytes:
    """What dvskit writes of `stream`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        dvskit.save_events(stream(size=size), path, format=format)
        return path.read_bytes()


def real(name: str, count: int | None = None) -> bytes:
    """The first `count` bytes of a real recording."""
    folder = find_data()
    if folder is None:
        raise FileNotFoundError("no recordings: set DVSKIT_DATA to their folder")
    return (folder / "recordings" / name).read_bytes()[:count]


def real_raw(name: str, count: int) -> bytes:
    """The head of a real RAW file and the first `count` bytes behind it."""
    data = real(name)
    return data[: raw_head(data) + count]


def real_aedat2(name: str, chip: str, words: int) -> bytes:
    """The first words of a real AEDAT 2 file, behind a short head that names the chip."""
    data = real(name)
    start = comment_head(data)
    head = f"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# AEChip: {chip}\r\n"
    return head.encode() + data[start : start + 8 * words]


def dat(version: int, kind: int) -> bytes:
    """A DAT file: version 1 has 9 and 8 bits for x and y; kind 0x0c CD, 0x00 2d, 0x0e triggers."""
    events = stream(size=(304, 240))
    x, y, p = (getattr(events, name).astype(np.int64) for name in "xyp")
    word = x | y << 9 | p << 17 if version == 1 else x | y << 14 | p << 28
    if kind == 0x0E:
        word = p | x % 3 << 8
    head = f"% Data file containing events.\n% Version {version}\n% Height 240\n% Width 304\n"
    rows = np.stack([events.t, word], axis=1).astype("<u4")
    return head.encode() + bytes((kind, 8)) + rows.tobytes()


def aedat4_of(compression: str) -> bytes:
    """An AEDAT 4 file of packets of 100 events."""
    events = stream()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.aedat4"
        before = aedat4.writing.PACKET_EVENTS
        aedat4.writing.PACKET_EVENTS = 100
        try:
            with aedat4.Aedat4Sink(
                path, events.size, compression=aedat4.Compression[compression]
            ) as sink:
                sink.write(events)
        finally:
            aedat4.writing.PACKET_EVENTS = before
        return path.read_bytes()


def aedat4_real() -> bytes:
    """The first packets of a real file, whose header says that there is no packet table."""
    data = real("dvxplorer_320x240_lz4.aedat4")
    table = struct.pack("<q", 945243)
    return data[:2334].replace(table, struct.pack("<q", -1)) + data[2334:28715]


def cut_packets(name: str, count: int) -> bytes:
    """The first whole packets of an AEDAT 3.1 file."""
    data = real(name)
    at = aedat31_head(data)
    while at < count:
        at += (
            28
            + struct.unpack_from("<i", data, at + 4)[0] * struct.unpack_from("<i", data, at + 16)[0]
        )
    return data[:at]


def npy(array: NDArray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def plain_rows() -> Ints:
    events = stream()
    return np.stack([getattr(events, name).astype(np.int64) for name in "txyp"], axis=1)


def npy_structured() -> bytes:
    return npy(stream().to_array())


def npy_plain() -> bytes:
    return npy(plain_rows())


def npy_by_columns() -> bytes:
    return npy(np.asfortranarray(plain_rows()))


def nmnist() -> bytes:
    """ATIS rows whose clock runs past 13 bits by rows of overflow."""
    events = stream(size=(304, 240), start_us=0)
    rows, passed = [], 0
    for t, x, y, p in zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True):
        while t - passed >= 1 << 13:
            rows.append(bytes((0, 240, 0, 0, 0)))
            passed += 1 << 13
        rest = t - passed
        rows.append(bytes((x % 250, y, p << 7 | rest >> 16, rest >> 8 & 255, rest & 255)))
    return b"".join(rows)


def es_long() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.es"
        events = stream()
        slow = dvskit.Events(t=events.t * 5, x=events.x, y=events.y, p=events.p, size=SIZE)
        dvskit.save_events(slow, path)
        return path.read_bytes()


def csv_seconds() -> bytes:
    events = stream()
    lines = ["% geometry:320,240", "x,y,polarity,t_s"]
    for t, x, y, p in zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True):
        lines.append(f"{x},{y},{int(p) * 2 - 1},{t / 1e6:.6f}")
    return ("\n".join(lines) + "\n").encode()


def hdf5_columns() -> bytes:
    """Columns in chunks of 100 events, each with a checksum."""
    events, made = stream(), io.BytesIO()
    with h5py.File(made, "w") as file:
        for name in "xytp":
            column = getattr(events, name)
            file.create_dataset(
                f"events/{name}", data=column, chunks=(100,), compression="gzip", fletcher32=True
            )
        file["events/width"], file["events/height"] = SIZE
    return made.getvalue()


def npz(compressed: bool) -> bytes:
    events = stream()
    if not compressed:
        return written("npz")
    file = io.BytesIO()
    np.savez_compressed(file, **{name: getattr(events, name) for name in "txyp"})
    return file.getvalue()


_EVT2 = partial(evt, high=0x8, one=(0, 1), many=(), units=1)
_EVT4 = partial(evt, high=0xE, one=(0xA, 0xB), many=(0xC, 0xD), units=1)
_EVT21 = partial(evt, high=0x8, one=(), many=(0, 1), units=2)
_DVS128 = partial(aedat2_words, is_event=dvs128_event)
_DAVIS = partial(aedat2_words, is_event=davis_event)


def _real(name: str, format: str, file: str, count: int | None, where: Where) -> Sample:
    return Sample(name, format, partial(real, file, count), where, file)


def _raw(name: str, format: str, file: str, count: int, where: Where) -> Sample:
    return Sample(name, format, partial(real_raw, file, count), where, file)


def _aedat2(name: str, file: str, chip: str, words: int, where: Where) -> Sample:
    return Sample(name, "aedat2", partial(real_aedat2, file, chip, words), where, file)


def _ros(kind: str, start_us: int) -> bytes:
    return container_of(kind, stream(start_us=start_us))


def _ros_rows(kind: str) -> Sample:
    make, where = partial(_ros, kind, 1_700_000_000_000_000), partial(ros_rows, kind=kind)
    return Sample(f"{kind}-libcaer", kind, make, where)


def _ros_words(kind: str) -> Sample:
    return Sample(f"{kind}-evt3", kind, partial(_ros, kind, 1000), partial(ros_words, kind=kind))


SAMPLES: tuple[Sample, ...] = (
    Sample("evt2", "evt2", partial(written, "evt2"), _EVT2),
    _raw("evt2-real", "evt2", "evt2_gen3_640x480.raw", 20_000, _EVT2),
    Sample("evt3", "evt3", partial(written, "evt3"), evt3),
    _raw("evt3-vectors", "evt3", "evt3_gen41_1280x720.raw", 20_000, evt3),
    _raw("evt3-triggers", "evt3", "evt3_triggers_640x480.raw", 30_000, evt3),
    Sample("evt21", "evt21", partial(written, "evt21"), _EVT21),
    _raw("evt21-real", "evt21", "evt21_synthetic_1280x720.raw", 20_000, _EVT21),
    Sample("evt4", "evt4", partial(written, "evt4"), _EVT4),
    _raw("evt4-real", "evt4", "evt4_synthetic_1280x720.raw", 20_000, _EVT4),
    Sample("dat", "dat", partial(written, "dat"), dat_rows),
    Sample("dat-v1", "dat", partial(dat, 1, 0x0C), dat_rows),
    Sample("dat-2d", "dat", partial(dat, 2, 0x00), dat_rows),
    Sample("dat-triggers", "dat", partial(dat, 2, 0x0E), dat_rows, None, "triggers"),
    _real("dat-real", "dat", "ncars_type0.dat", None, dat_rows),
    Sample("aedat4-none", "aedat4", partial(aedat4_of, "NONE"), aedat4_packets),
    Sample("aedat4-lz4", "aedat4", partial(aedat4_of, "LZ4"), aedat4_packets),
    Sample("aedat4-zstd", "aedat4", partial(aedat4_of, "ZSTD"), aedat4_packets),
    Sample("aedat4-real", "aedat4", aedat4_real, aedat4_packets, "dvxplorer_320x240_lz4.aedat4"),
    _real("aedat2-guessed", "aedat2", "dvs128_translating_bar.aedat", None, _DAVIS),
    _aedat2("aedat2-signed", "dvs128_signed_time.aedat", "DVS128", 3000, _DVS128),
    _aedat2("aedat2-davis", "davis240c_aps_imu.aedat", "DAVIS240C", 4000, _DAVIS),
    Sample(
        "aedat31",
        "aedat31",
        partial(cut_packets, "aedat31_synthetic_dvs128.aedat", 25_000),
        aedat31_packets,
        "aedat31_synthetic_dvs128.aedat",
    ),
    Sample("es", "es", partial(written, "es"), es_dvs),
    Sample("es-slow", "es", es_long, es_dvs),
    _real("es-real", "es", "dvs_320x240.es", 20_020, es_dvs),
    Sample("nmnist", "nmnist", nmnist, nmnist_marked_rows),
    _real("nmnist-real", "nmnist", "nmnist_34x34.bin", None, nmnist_rows),
    Sample("hdf5", "hdf5", partial(written, "hdf5"), hdf5_chunks),
    Sample("hdf5-gzip", "hdf5-gzip", partial(written, "hdf5-gzip"), hdf5_chunks),
    Sample("hdf5-columns", "hdf5", hdf5_columns, hdf5_chunks),
    Sample("dsec", "dsec", partial(written, "dsec"), hdf5_chunks),
    Sample("npy", "npy", npy_structured, partial(npy_rows, width=13)),
    Sample("npy-plain", "npy", npy_plain, partial(npy_rows, width=32)),
    Sample("npy-columns", "npy", npy_by_columns, npy_columns),
    Sample("npz", "npz", partial(npz, False), npz_members),
    Sample("npz-deflated", "npz", partial(npz, True), npz_members),
    _ros_rows("bag"),
    _ros_words("bag"),
    _ros_rows("db3"),
    _ros_words("db3"),
    _ros_rows("mcap"),
    _ros_words("mcap"),
    Sample("csv", "csv", partial(written, "csv"), partial(text_lines, head=1)),
    Sample("csv-seconds", "csv", csv_seconds, partial(text_lines, head=2)),
    Sample("rpg", "rpg", partial(written, "rpg"), partial(text_lines, head=0)),
)
