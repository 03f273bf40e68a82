"""Small hostile files: each asks for much memory or time, or is what no input may be.

A row of HOSTILE is one line; `ended` runs it, for the test and for the table of memory.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import struct
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
import zstandard
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from PIL import Image

import dvskit
from dvskit import cli
from dvskit.formats import open_sink
from dvskit.networks.model_folder import find_model
from tests.benchmarks.measured import memory_mb
from tests.mutation_parsers import text_file
from tests.processes import run_in

_PIECE = bytes(1 << 20)
_LIMIT_BYTES = 12 << 30
_MUCH = 1 << 29  # bytes that most of the files become
_ZEROS = np.zeros(1 << 20, np.int64)
_EVENTS = dvskit.Events(t=_ZEROS, x=_ZEROS, y=_ZEROS, p=_ZEROS, size=(9, 9))


class Hostile(NamedTuple):
    """A row.

    kind, words, file  of the input, the command, and the input in it
    make               writes the file
    named              what the output must say, besides the file
    most_mb            the memory that the limits of such files allow (SECURITY.md)
    read               whether the file is sound, and read to its end; otherwise it is refused
    """

    kind: str
    words: str
    file: str
    make: Callable[[Path], object]
    named: str = ""
    most_mb: int = 0
    read: bool = False


def ended(row: Hostile, folder: Path) -> tuple[int, str, float, float]:
    """Run the command of a row in a process of its own, which works in a folder.

    Returns its exit code, what it printed, its seconds, and the MB that it took.
    """
    events = dvskit.Events(t=[1, 2], x=[1, 2], y=[1, 2], p=[1, 0], size=(16, 16))
    dvskit.save_events(events, folder / "e.npz")
    if row.file.startswith("model/"):
        shutil.copytree(find_model("dvs128-gestures"), folder / "model")
    path = folder / row.file
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    row.make(path)
    begun = time.monotonic()
    code, printed = run_in(folder, _command, row.words.format(row.file))
    *lines, mb = (line for line in printed.splitlines() if not line.startswith("compiling the "))
    return code, "\n".join(lines), time.monotonic() - begun, float(mb)


def _command(words: str) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_LIMIT_BYTES, _LIMIT_BYTES))
    os.environ["DVSKIT_THREADS"] = "2"
    before = memory_mb("VmRSS")
    sys.argv = ["dvskit", *words.split()]
    try:
        cli.main()
    finally:
        print(memory_mb("VmHWM") - before)


def with_hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 2 << 30)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def packed(wbits: int, head: bytes = b"", times: int = 1) -> bytes:
    """A stream of `head` and zeros, without its end."""
    packer = zlib.compressobj(9, wbits=wbits)
    first, piece = (
        packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH) for data in (head, _PIECE)
    )
    return first + piece * (times * _MUCH >> 20)


def npz(path: Path, **arrays: tuple[tuple[int, ...], str]) -> None:
    """An archive of zeros, by shape and dtype."""
    np.savez_compressed(path, **{name: np.zeros(*given) for name, given in arrays.items()})


def mat(path: Path, kind: int) -> None:
    """A variable of a class by its number, packed, that says of itself to have 2^30 items."""
    parts = (6, struct.pack("<II", kind, 0)), (5, struct.pack("<II", 1, 1 << 30)), (1, b"d_depth")
    head = b"".join(
        struct.pack("<II", number, len(data)) + data.ljust(-len(data) // 8 * -8, b"\0")
        for number, data in parts
    )
    head += struct.pack("<II", 4, 0 if kind == 4 else _MUCH)  # 4: text
    data = packed(15, struct.pack("<II", 14, len(head)) + head, times=int(kind != 4))
    path.write_bytes(
        b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(data)) + data
    )


def hdf5(path: Path) -> None:
    """A file of MATLAB 7.3 with a chunk that becomes longer than chunks are."""
    with h5py.File(path, "w", userblock_size=512) as file:
        rows = file.create_dataset("d_depth", (9, 9), "u2", chunks=(9, 9), compression="gzip")
        rows.id.write_direct_chunk((0, 0), packed(15))
    with path.open("r+b") as opened:
        opened.write(b"MATLAB 7.3".ljust(124) + b"\0\2IM")


def idx(path: Path) -> None:
    path.mkdir()
    for part, kind in (("train", "images-idx3"), ("t10k", "images-idx3"), ("t10k", "labels-idx1")):
        (path / f"{part}-{kind}-ubyte.gz").write_bytes(packed(31, times=3))


def db3(path: Path, messages: str, topics: str = "TABLE topics(id, name TEXT, type TEXT)") -> None:
    with sqlite3.connect(path) as base:
        base.executescript(f"CREATE {topics}; CREATE {messages}")
    base.close()


def mcap(path: Path, kind: CompressionType) -> None:
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=_MUCH, compression=kind)
        writer.start()
        schema = writer.register_schema("event_camera_msgs/msg/EventPacket", "ros2msg", b"")
        channel = writer.register_channel("/e", "cdr", schema)
        for _ in range(_MUCH >> 20):
            writer.add_message(channel, 0, _PIECE, 0)
        writer.finish()


def rosbag2(path: Path) -> None:
    path.mkdir()
    text_file(path, "metadata.yaml", _BAG)
    (path / "b.db3.zstd").write_bytes(zstandard.compress(_PIECE * (_MUCH >> 20)))


def events(path: Path) -> None:
    with open_sink(path, _EVENTS.sensor_size) as sink:
        for _ in range(_MUCH >> 24):
            sink.write(_EVENTS)


def image(path: Path, height: int = 8193) -> None:
    Image.new("L", (8192, height)).save(path)


def stills(path: Path) -> None:
    path.mkdir()
    cv2.imwrite(str(path / "a.png"), np.zeros((8192, 8192, 4), np.uint16))
    text_file(path, "images.txt", "0 a.png\n")


def radiance(path: Path, height: int = 4096) -> None:
    row = b"\2\2\x20\0" + (b"\xff\0" * 64 + b"\xc0\0") * 4
    path.write_bytes(
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X 8192\n" % height + row * height
    )


def video(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 30, (8192, 4096))
    for _ in range(4):
        writer.write(np.zeros((4096, 8192, 3), np.uint8))
    writer.release()


def header(path: Path, length: int = 0, **tensors: tuple[list[int], list[int]]) -> None:
    """The header of a file of safetensors, which names shapes and places of bytes."""
    named = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": at}
        for name, (shape, at) in tensors.items()
    }
    data = json.dumps(named).encode()
    path.write_bytes(
        struct.pack("<Q", length or len(data)) + data + bytes(8 * ("8]" in str(named)))
    )


def network(path: Path, nodes: str) -> None:
    """An image network with a state; `nodes` make `image` of `mean`."""
    import onnx.parser

    path.write_bytes(onnx.parser.parse_model(_NETWORK % nodes).SerializeToString())


_NETWORK = """<ir_version: 8, opset_import: ["": 13]>
g (float[1,5,H,W] v, float[1,2,H,W] a) => (float[1,1,H,W] image, float[1,2,H,W] a_next)
<int64 most = {4611686018427387904}, bool yes = {1}, int64[2] sides = {50000, 30000}>
{ mean = ReduceMean<axes = [1]>(v) a_next = Identity(a) %s }"""
LOOP = """image = Loop(most, yes, mean)
<body = b (int64 i, bool c, float x) => (bool d, float y) { d = Identity(c) y = Identity(x) }>"""
_LARGE = "big = ConstantOfShape(sides) sum = ReduceSum<keepdims = 0>(big) image = Add(mean, sum)"
_MERGES = "a0: &a0 {k: 1, l: 2}\n" + "".join(
    f"a{n}: &a{n}\n  KEY: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
_ENDLESS = "AS WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r) SELECT *, "
_ROWS = "TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB"
_BAG = "rosbag2_bagfile_information:\n  relative_file_paths:\n    - b.db3.zstd\n"
_DEPTH = {"near_mm": ((), "u1"), "step_mm": ((), "u1"), "corner": ((2,), "u1")}
_MANY = (_MUCH >> 3,)
_TENSORS = {f"t{n}": ([0], [0, 0]) for n in range(50_000)}
_PIXELS_MB, _IDX_MB, _PACKETS_MB = 1074, 1074, 268
_INFO, _CLASSIFY = "info {}", "classify {} --model dvs128-gestures"
_MODEL, _LENS = "classify e.npz --model model", "convert e.npz o.npz --filter undistort:{}"
_EMULATE, _MASK = "emulate {} o.raw --size 64x64", "convert e.npz o.npz --filter mask:{}"
_DIGIT = "classify {} --model nmnist-signed-lif --encoder latency"
_DIGITS, _SIZED = "eval nmnist-signed-lif {} --encoder latency", "convert {} o.npz --size 9x9"
_IMAGES = "reconstruct e.npz -o o.npz --model {}"
_WEIGHTS, _LIKENESS = "model/weights.safetensors", "model/likeness.safetensors"
_TABLE, _SPLIT = "model/model.toml", "model/split.csv"
_BESIDE = (  # files that must be regular
    ("models", _MODEL, _WEIGHTS), ("models", _MODEL, _LIKENESS), ("models", _MODEL, _SPLIT),
    ("calibrations", _LENS, "a.yaml"), ("calibrations", _LENS, "calib.txt"),
    ("archives", "convert set out --to npz", "set/a.raw"), ("images", _MASK, "a.png"),
    ("images", _EMULATE, "a.gif"), ("images", _EMULATE, "a.mkv"), ("texts", "train {}", "a.toml"),
    ("texts", "emulate e.npz o.raw --preset {}", "b.toml"),
    ("texts", "eval dvs128-gestures {}", "a.csv"), ("texts", "info e.npz", "e_labels.csv"),
    ("networks", _IMAGES, "a.onnx"),
)  # fmt: skip
HOSTILE = (
    *(Hostile(*beside, os.mkfifo) for beside in _BESIDE),
    *(Hostile(*beside, device) for beside in _BESIDE[2:9:3]),
    Hostile("models", _MODEL, _WEIGHTS, partial(header, length=1 << 62), "header"),
    Hostile("models", _MODEL, _WEIGHTS, partial(header, a=([1 << 31, 9], [0, 8])), "offset"),
    Hostile("models", _MODEL, _WEIGHTS, partial(header, a=([2], [0, 8]), b=([2], [0, 8])),
            "offset"),
    Hostile("models", _MODEL, _WEIGHTS, partial(header, **_TENSORS), "more tensors"),
    Hostile("models", _MODEL, _WEIGHTS, with_hole),
    Hostile("models", _MODEL, _TABLE, with_hole, "16,777,216"),
    Hostile("models", _MODEL, _LIKENESS, partial(header, mean=([1 << 40], [0, 8]))),
    Hostile("models", _MODEL, _LIKENESS, with_hole, "67,108,864"),
    Hostile("models", _MODEL, _SPLIT, with_hole, "268,435,456"),
    *(Hostile("calibrations", _LENS, "a.yaml", partial(Path.write_text, data=text), named)
      for text, named in (
        (_MERGES.replace("KEY", "<<"), "merges"),
        (_MERGES.replace("KEY", "!<tag:yaml.org,2002:merge> x"), "merges"),
        ("K: &k [*k, 1, 1, 1]", "nested"),
        ("[" * 900, "YAML"),
        ("K: " + "9" * 200_000, "digits"),
        ("K: [.inf, 1, 1, .nan]", "numbers"),
        ("K: !!python/object/apply:os.system [ls]", "tag"),
    )),
    Hostile("calibrations", _LENS, "a.yaml", with_hole, "262,144"),
    Hostile("calibrations", _LENS, "calib.txt", with_hole, "262,144"),
    *(Hostile("archives", words, "a.npz", partial(npz, **arrays), *rest)
      for words, arrays, *rest in (
        (_INFO, {"t_us": (_MANY, "i8"), "images": ((*_MANY, 1, 1), "u1")}, "4,194,304"),
        (_INFO, {"t_us": (1, "i8"), "images": ((1, 8193, 8192), "u1")}, "67,108,864"),
        (_EMULATE, {"t_us": (1, "i8"), "images": ((1, 8192, 8192), "f8")}, "1 frame", _PIXELS_MB),
        (_CLASSIFY, {"depth": ((65, 1024, 1024), "u1")} | _DEPTH, "67,108,864"),
        (_CLASSIFY, {"depth": ((1 << 25, 1, 1), "u1")} | _DEPTH, "67,108,864"),
        (_INFO, {"t": (_MANY, "i8")} | dict.fromkeys("xyp", (_MANY, "u1")), "67,108,864", 0,
         True),
    )),
    Hostile("archives", _CLASSIFY, "a_depth.mat", partial(mat, kind=11), "268,435,456"),
    Hostile("archives", _CLASSIFY, "a_depth.mat", partial(mat, kind=4), "no numbers"),
    Hostile("archives", _CLASSIFY, "b_depth.mat", hdf5, "162"),
    Hostile("archives", _DIGITS, "set", idx, "1,073,741,824", _IDX_MB),
    *(Hostile("archives", _INFO, "a.db3", partial(db3, messages=messages, **topics), named)
      for messages, named, topics in (
        (f"VIEW messages {_ENDLESS} 1 AS topic_id, '' AS data FROM r", "authorized", {}),
        (f"{_ROWS} AS (zeroblob(120000000)))", "computed", {}),
        (f"{_ROWS})", "authorized",
         {"topics": f"VIEW topics {_ENDLESS} '/e' AS name, 'a/b' AS type FROM r"}),
    )),
    Hostile("archives", _INFO, "a", rosbag2, "67,108,864"),
    Hostile("archives", _SIZED, "a.mcap", partial(mcap, kind=CompressionType.ZSTD), "134217728"),
    Hostile("archives", _SIZED, "b.mcap", partial(mcap, kind=CompressionType.LZ4), "134217728"),
    Hostile("archives", _INFO, "a.aedat4", events, "33,554,432", _PACKETS_MB, True),
    Hostile("images", _MASK, "a.png", image, "67,108,864"),
    Hostile("images", _DIGIT, "a.png", image, "67,108,864"),
    Hostile("images", _MASK, "a.hdr", partial(radiance, height=4097), "33,554,432"),
    Hostile("images", _MASK, "a.hdr", radiance, "no pixel", _PIXELS_MB),
    Hostile("images", _EMULATE, "a.gif", partial(image, height=4097), "33,554,432"),
    Hostile("images", _EMULATE, "a.gif", partial(image, height=4096), "1 frame", _PIXELS_MB),
    Hostile("images", _INFO, "a", stills, "8192x8192", _PIXELS_MB, True),
    Hostile("images", _EMULATE, "a.mkv", video, "8192x4096", _PIXELS_MB, True),
    Hostile("texts", "train {}", "a.toml", with_hole, "16,777,216"),
    Hostile("texts", "info e.npz", "e_labels.csv", with_hole, "268,435,456"),
    Hostile("networks", _IMAGES, "a.onnx", partial(network, nodes=_LARGE)),
)  # fmt: skip
