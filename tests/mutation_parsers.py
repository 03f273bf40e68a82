"""Small sound inputs of every kind besides event files, for mutations: how each is made and read.

A row of PARSERS is one line. `read` returns a value that is compared with that of the sound files,
and what reading said of damage and assumptions.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch

import dvskit
from dvskit import video
from dvskit.video.writing import LosslessWriter

_HIGH, _WIDE, _FRAMES = 48, 64, 12
_FRAME_US = 33_333

Read = tuple[Any, str]


class Parser(NamedTuple):
    """A kind of input.

    make     writes sound files into a folder, and returns the path that is read
    read     reads them
    targets  patterns of the files that are mutated; the path itself if empty
    text     whether the files are text
    checked  whether the files hold checksums, so that no damage goes unnoticed
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Read]
    targets: tuple[str, ...] = ()
    text: bool = False
    checked: bool = False


def digest(value: Any) -> Any:
    """Return a comparable form of arrays, tensors and containers of them."""
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, zlib.crc32(np.ascontiguousarray(value).tobytes())
    if isinstance(value, dict):
        return tuple((key, digest(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(digest, value))
    return repr(value)


# --- videos, images, depth ------------------------------------------------------------------------


def frames() -> Iterable[tuple[int, np.ndarray]]:
    """A bright disc that moves over a textured ground."""
    ground = np.random.default_rng(1).integers(60, 120, (_HIGH, _WIDE), dtype=np.uint8)
    for number in range(_FRAMES):
        picture = ground.copy()
        cv2.circle(picture, (8 + 4 * number, 24), 7, 220, -1)
        yield number * _FRAME_US, picture


def encoded(folder: Path, suffix: str, codec: str, pix_fmt: str) -> Path:
    path = folder / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = _WIDE, _HIGH, pix_fmt
        for _, picture in frames():
            rgb = np.repeat(picture[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def ffv1(folder: Path) -> Path:
    path = folder / "a.mkv"
    writer = LosslessWriter(path, (_WIDE, _HIGH))
    for t_us, picture in frames():
        writer.add(t_us, picture)
    writer.close()
    return path


def image_folder(folder: Path, suffix: str, times: str) -> Path:
    place = folder / "images"
    place.mkdir()
    lines = []
    for t_us, picture in frames():
        name = f"frame_{t_us:09d}{suffix}"
        assert cv2.imwrite(str(place / name), picture)
        lines.append(f"{t_us / 1e6:.6f} {name}\n" if times == "images.txt" else f"{t_us}\n")
    (place / times).write_text("".join(lines))
    return place


def image_arrays(folder: Path) -> Path:
    times, pictures = zip(*frames(), strict=True)
    path = folder / "a.npz"
    np.savez_compressed(path, t_us=np.array(times), images=np.array(pictures))
    return path


def read_frames(path: Path) -> Read:
    notes: list[str] = []
    values: list[Any] = []
    for strict in (False, True):
        clip = video.open_frames(path, strict=strict)
        values = [(t_us, digest(frame)) for t_us, frame in clip]
        notes += [str(clip.damage) if clip.damage else "", *clip.notes]
        if any(after[0] < before[0] for before, after in pairwise(values)):
            raise AssertionError("times of frames decrease")
    return (str(clip.size), values), "; ".join(filter(None, notes))


def picture(folder: Path, suffix: str) -> Path:
    path = folder / f"a{suffix}"
    assert cv2.imwrite(str(path), next(iter(frames()))[1])
    return path


def read_picture(path: Path) -> Read:
    from dvskit.datasets.images import read_gray
    from dvskit.formats.image_list import read_image

    return digest([read_gray(path), read_image(path)]), ""


def depth(folder: Path, suffix: str) -> Path:
    millimeters = np.zeros((4, 240, 320), np.uint16)
    for number in range(4):
        millimeters[number, 40:220, 140 + number : 180 + number] = 2500
    path = folder / f"a1_s1_t1_depth{suffix}"
    if suffix == ".npz":
        steps = (millimeters[:, 30:230, 120:200] > 0).astype(np.uint8) * 100
        np.savez_compressed(path, depth=steps, near_mm=2000, step_mm=5, corner=np.array([120, 30]))
        return path
    from scipy.io import savemat

    savemat(path, {"d_depth": millimeters.transpose(1, 2, 0)})
    return path


def read_depth(path: Path) -> Read:
    from dvskit.scenes import read_depth_clip

    clip = read_depth_clip(path)
    return digest([getattr(clip, name) for name in clip.__dataclass_fields__]), ""


def idx(folder: Path, suffix: str) -> Path:
    pixels = np.random.default_rng(2).integers(0, 256, (20, 9, 7), dtype=np.uint8)
    data = struct.pack(">HBBIII", 0, 8, 3, *pixels.shape) + pixels.tobytes()
    path = folder / f"images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(data, mtime=0) if suffix else data)
    return path


def read_idx_file(path: Path) -> Read:
    from dvskit.datasets.images import read_idx

    return digest(read_idx(path)), ""


# --- configurations, lists, calibrations ----------------------------------------------------------


def text_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def config(folder: Path) -> Path:
    from dvskit.networks.model_folder import find_model

    return Path(shutil.copy(find_model("dvs128-gestures") / "config.toml", folder))


def read_config(path: Path) -> Read:
    from dvskit.training import load_config

    return repr(load_config(path)), ""


def read_calibration(path: Path) -> Read:
    from dvskit.formats.calibration import read_camera

    return repr(read_camera(path, size=(240, 180))), ""


def sample_list(folder: Path) -> Path:
    events = dvskit.Events(t=[1, 2, 3], x=[0, 1, 2], y=[0, 1, 2], p=[1, 0, 1], size=(4, 4))
    for name in ("a", "b", "c"):
        dvskit.save_events(events, folder / f"{name}.npz")
    return text_file(folder, "list.csv", LIST)


def read_list(path: Path) -> Read:
    from dvskit.datasets import open_samples

    return repr(list(open_samples(path).rows)), ""


def read_label_file(path: Path) -> Read:
    from dvskit.formats.labels import read_labels

    return repr(read_labels(path)), ""


# --- models ---------------------------------------------------------------------------------------


def model(folder: Path, name: str) -> Path:
    """A shipped model, without the file that no reader opens."""
    from dvskit.networks.model_folder import find_model

    path = folder / "model"
    shutil.copytree(find_model(name), path, ignore=shutil.ignore_patterns("README.md"))
    return path


def read_model(path: Path) -> Read:
    from dvskit.models import load_model

    found = load_model(path)
    state = {key: digest(value) for key, value in found.module.state_dict().items()}
    known = None if found.likeness is None else digest([found.likeness.mean, found.likeness.scale])
    about = found.name, found.network, found.input, found.classes, found.used, dict(found.about)
    return (state, known, repr(about), found.emulation, found.reject), ""


def read_images_model(path: Path) -> Read:
    from dvskit.reconstruction.network import load_reconstruction_model

    found = load_reconstruction_model(path)
    return {key: digest(value) for key, value in found.module.state_dict().items()}, ""


def onnx(folder: Path) -> Path:
    from tests.image_networks import FIRE_NAMES, FireShaped, export, seeded

    return export(seeded(FireShaped, channels=2), folder / "a.onnx", FIRE_NAMES)


def read_onnx(path: Path) -> Read:
    from dvskit.reconstruction import load_reconstructor

    run = load_reconstructor(f"{path}:firenet+").start(dvskit.Size(24, 16))
    t = np.arange(100)
    run.add(dvskit.Events(t=t, x=t % 24, y=t % 16, p=t % 2 == 0, size=(24, 16)))
    return digest(run.image(100)), ""


CALIB = "199.5 198.25 132.0 110.5 -0.37 0.15 -0.0003 0.0007 0.0  # fx fy cx cy k1 k2 p1 p2 k3\n"
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.37, 0.15, -0.0003, 0.0007]
  distortion_model: radtan
  intrinsics: [199.5, 198.25, 132.0, 110.5]
  resolution: [240, 180]
"""
LABELS = "start_us,stop_us,name\n0,1000,wave\n1000,2500,clap\n4000,9000,arm roll\n12000,13000,x\n"
LIST = "path,label,group,part\na.npz,wave,anna,train\nb.npz,clap,anna,train\nc.npz,wave,bo,test\n"


def _text(name: str, file: str, text: str, read: Callable[[Path], Read]) -> Parser:
    return Parser(name, partial(text_file, name=file, text=text), read, text=True)


def _video(name: str, suffix: str, codec: str, pix_fmt: str) -> Parser:
    return Parser(name, partial(encoded, suffix=suffix, codec=codec, pix_fmt=pix_fmt), read_frames)


_MODEL_FILES = ("model.toml", "weights.safetensors")
PARSERS: tuple[Parser, ...] = (
    _video("mp4-h264", ".mp4", "libx264", "yuv420p"),
    _video("mov-hevc", ".mov", "libx265", "yuv420p"),
    _video("avi-mjpeg", ".avi", "mjpeg", "yuvj420p"),
    _video("webm-vp9", ".webm", "libvpx-vp9", "yuv420p"),
    _video("mkv-av1", ".mkv", "libsvtav1", "yuv420p"),
    _video("gif", ".gif", "gif", "rgb8"),
    Parser("mkv-ffv1", ffv1, read_frames),
    Parser("images-png", partial(image_folder, suffix=".png", times="images.txt"), read_frames,
           ("*.png", "images.txt")),
    Parser("images-jpg", partial(image_folder, suffix=".jpg", times="timestamps.txt"), read_frames,
           ("*.jpg", "timestamps.txt")),
    Parser("images-npz", image_arrays, read_frames, checked=True),
    *(Parser(f"image{suffix}", partial(picture, suffix=suffix), read_picture)
      for suffix in (".png", ".jpg", ".bmp", ".tiff", ".webp", ".pgm")),
    Parser("depth-npz", partial(depth, suffix=".npz"), read_depth, checked=True),
    Parser("depth-mat", partial(depth, suffix=".mat"), read_depth),
    Parser("idx", partial(idx, suffix=""), read_idx_file),
    Parser("idx-gz", partial(idx, suffix=".gz"), read_idx_file, checked=True),
    Parser("config", config, read_config, text=True),
    _text("calib.txt", "calib.txt", CALIB, read_calibration),
    _text("calib-kalibr", "a.yaml", KALIBR, read_calibration),
    Parser("list", sample_list, read_list, text=True),
    _text("labels", "a_labels.csv", LABELS, read_label_file),
    Parser("model", partial(model, name="dvs128-gestures"), read_model,
           (*_MODEL_FILES, "likeness.safetensors", "split.csv")),
    Parser("model-text", partial(model, name="nmnist-signed-lif"), read_model, ("model.toml",),
           text=True),
    Parser("model-images", partial(model, name="reconstruct"), read_images_model, _MODEL_FILES),
    Parser("onnx", onnx, read_onnx),
)  # fmt: skip
