"""Small files of every readable format, for mutations and the laws of formats: how each is made.

A row of SAMPLES is one line: a name, the format, and how to make the bytes.
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import dvskit
from dvskit.formats import aedat4
from dvskit.formats.ros import packing, writing
from tests.conftest import find_data

SIZE = (320, 240)

# By format: how many events around it a damaged byte may spoil, as times and rows come from words
# before them; and how many events a foreign byte may make.
REACH = {
    "aedat4": (100, 1.0),
    "evt2": (300, 1.0),
    "evt21": (300, 8.0),
    "evt3": (1000, 12.0),
    "evt4": (300, 8.0),
    "bag": (300, 1.0),
    "mcap": (300, 1.0),
    "db3": (1000, 1.0),
}


class Sample(NamedTuple):
    """A row of the table; `recording` names the real file that it is cut from, if it is."""

    name: str
    format: str
    make: Callable[[], bytes]
    recording: str | None = None
    stream: str = "events"

    @property
    def reach(self) -> int:
        return REACH.get(self.format, (10, 0.2))[0]

    @property
    def most(self) -> float:
        return REACH.get(self.format, (10, 0.2))[1]

    @property
    def steps(self) -> bool:
        """Whether the file stores the time from event to event."""
        return self.format in ("es", "nmnist")


Ints = NDArray[np.int64]


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


@contextmanager
def small_packets() -> Iterator[None]:
    """Packets and chunks are small, so that small files have many: no option sets their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "PACKET_US", 2000)
        patch.setattr(writing, "CHUNK_BYTES", 1000)
        patch.setattr(aedat4.writing, "PACKET_EVENTS", 100)
        yield


def written(format: str, events: dvskit.Events | None = None) -> bytes:
    """What dvskit writes of `stream`, or of other events."""
    with tempfile.TemporaryDirectory() as folder, small_packets():
        path = Path(folder) / "a"
        dvskit.save_events(stream() if events is None else events, path, format=format)
        return path.read_bytes()


def real(name: str, count: int | None = None) -> bytes:
    """The first `count` bytes of a real recording."""
    folder = find_data()
    if folder is None:
        raise FileNotFoundError("no recordings: set DVSKIT_DATA to their folder")
    return (folder / "recordings" / name).read_bytes()[:count]


def text_head(data: bytes, mark: bytes) -> int:
    """The bytes of the lines that begin with a mark."""
    at = 0
    while data.startswith(mark, at) and not data[:at].endswith(b"% end\n"):
        at = data.index(b"\n", at) + 1
    return at


def real_raw(name: str, count: int) -> bytes:
    """The head of a real RAW file and the first `count` bytes behind it."""
    data = real(name)
    return data[: text_head(data, b"%") + count]


def real_aedat2(name: str, chip: str, words: int) -> bytes:
    """The first words of a real AEDAT 2 file, behind a short head that names the chip."""
    data = real(name)
    start = text_head(data, b"#")
    head = f"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# AEChip: {chip}\r\n"
    return head.encode() + data[start : start + 8 * words]


def dat(version: int, kind: int) -> bytes:
    """A DAT file: version 1 has 9 and 8 bits for x and y; kind 0x0c CD, 0x00 2d, 0x0e triggers."""
    t, x, y, p = plain_rows(stream(size=(304, 240))).T
    word = x | y << 9 | p << 17 if version == 1 else x | y << 14 | p << 28
    if kind == 0x0E:
        word = p | x % 3 << 8
    head = f"% Data file containing events.\n% Version {version}\n% Height 240\n% Width 304\n"
    rows = np.stack([t, word], axis=1).astype("<u4")
    return head.encode() + bytes((kind, 8)) + rows.tobytes()


def aedat4_of(compression: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder, small_packets():
        path, kind = Path(folder) / "a.aedat4", aedat4.Compression[compression]
        with aedat4.Aedat4Sink(path, dvskit.Size(*SIZE), compression=kind) as sink:
            sink.write(stream())
        return path.read_bytes()


def aedat4_real() -> bytes:
    """The first packets of a real file, whose header says that there is no packet table."""
    data = real("dvxplorer_320x240_lz4.aedat4")
    table = struct.pack("<q", 945243)
    return data[:2334].replace(table, struct.pack("<q", -1)) + data[2334:28715]


def cut_packets(name: str, count: int) -> bytes:
    """The first whole packets of an AEDAT 3.1 file."""
    data = real(name)
    at = text_head(data, b"#")
    while at < count:
        size, capacity = struct.unpack_from("<i8xi", data, at + 4)
        at += 28 + size * capacity
    return data[:at]


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def plain_rows(events: dvskit.Events) -> Ints:
    return np.stack([getattr(events, name).astype(np.int64) for name in "txyp"], axis=1)


def nmnist() -> bytes:
    """ATIS rows whose clock runs past 13 bits by rows of overflow."""
    rows, passed = [], 0
    for t, x, y, p in plain_rows(stream(size=(304, 240), start_us=0)).tolist():
        while t - passed >= 1 << 13:
            rows.append(bytes((0, 240, 0, 0, 0)))
            passed += 1 << 13
        rest = t - passed
        rows.append(bytes((x % 250, y, p << 7 | rest >> 16, rest >> 8 & 255, rest & 255)))
    return b"".join(rows)


def csv_seconds() -> bytes:
    lines = ["% geometry:320,240", "x,y,polarity,t_s"]
    for t, x, y, p in plain_rows(stream()).tolist():
        lines.append(f"{x},{y},{p * 2 - 1},{t / 1e6:.6f}")
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


def npz_deflated() -> bytes:
    events, file = stream(), io.BytesIO()
    np.savez_compressed(file, **{name: getattr(events, name) for name in "txyp"})
    return file.getvalue()


def _of(name: str, format: str, make: Callable[..., bytes], *given: Any) -> Sample:
    return Sample(name, format, partial(make, *given))


def _real(name: str, format: str, make: Callable[..., bytes], file: str, *given: Any) -> Sample:
    return Sample(name, format, partial(make, file, *given), file)


def _ros(kind: str) -> Iterator[Sample]:
    """Packets in libcaer, and in evt3 where times are small."""
    for name, start_us in (("libcaer", 1_700_000_000_000_000), ("evt3", 1000)):
        yield _of(f"{kind}-{name}", kind, written, kind, stream(start_us=start_us))


SAMPLES: tuple[Sample, ...] = (
    _of("evt2", "evt2", written, "evt2"),
    _real("evt2-real", "evt2", real_raw, "evt2_gen3_640x480.raw", 20_000),
    _of("evt3", "evt3", written, "evt3"),
    _real("evt3-vectors", "evt3", real_raw, "evt3_gen41_1280x720.raw", 20_000),
    _real("evt3-triggers", "evt3", real_raw, "evt3_triggers_640x480.raw", 30_000),
    _of("evt21", "evt21", written, "evt21"),
    _real("evt21-real", "evt21", real_raw, "evt21_synthetic_1280x720.raw", 20_000),
    _of("evt4", "evt4", written, "evt4"),
    _real("evt4-real", "evt4", real_raw, "evt4_synthetic_1280x720.raw", 20_000),
    _of("dat", "dat", written, "dat"),
    _of("dat-v1", "dat", dat, 1, 0x0C),
    _of("dat-2d", "dat", dat, 2, 0x00),
    _of("dat-triggers", "dat", dat, 2, 0x0E)._replace(stream="triggers"),
    _real("dat-real", "dat", real, "ncars_type0.dat"),
    _of("aedat4-none", "aedat4", aedat4_of, "NONE"),
    _of("aedat4-lz4", "aedat4", aedat4_of, "LZ4"),
    _of("aedat4-zstd", "aedat4", aedat4_of, "ZSTD"),
    Sample("aedat4-real", "aedat4", aedat4_real, "dvxplorer_320x240_lz4.aedat4"),
    _real("aedat2-guessed", "aedat2", real, "dvs128_translating_bar.aedat"),
    _real("aedat2-signed", "aedat2", real_aedat2, "dvs128_signed_time.aedat", "DVS128", 3000),
    _real("aedat2-davis", "aedat2", real_aedat2, "davis240c_aps_imu.aedat", "DAVIS240C", 4000),
    _real("aedat31", "aedat31", cut_packets, "aedat31_synthetic_dvs128.aedat", 25_000),
    _of("es", "es", written, "es"),
    _real("es-real", "es", real, "dvs_320x240.es", 20_020),
    _of("nmnist", "nmnist", nmnist),
    _real("nmnist-real", "nmnist", real, "nmnist_34x34.bin"),
    _of("hdf5", "hdf5", written, "hdf5"),
    _of("hdf5-ecf", "hdf5-ecf", written, "hdf5-ecf"),
    _of("hdf5-columns", "hdf5", hdf5_columns),
    _of("dsec", "dsec", written, "dsec"),
    _of("npy", "npy", npy, stream().to_array()),
    _of("npy-plain", "npy", npy, plain_rows(stream())),
    _of("npy-columns", "npy", npy, np.asfortranarray(plain_rows(stream()))),
    _of("npz", "npz", written, "npz"),
    _of("npz-deflated", "npz", npz_deflated),
    *_ros("bag"),
    *_ros("db3"),
    *_ros("mcap"),
    _of("csv", "csv", written, "csv"),
    _of("csv-seconds", "csv", csv_seconds),
    _of("rpg", "rpg", written, "rpg"),
)
