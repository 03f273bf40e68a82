"""Damaged configurations, lists, calibrations, images and models are errors of one line."""

from __future__ import annotations

import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dvskit import video
from dvskit.datasets import open_samples
from dvskit.datasets.images import read_gray, read_idx
from dvskit.emulator import EmulatorParams
from dvskit.errors import ConfigError, FormatError, ModelError, VideoError
from dvskit.formats.calibration import read_camera
from dvskit.models import load_model, save_model
from dvskit.networks.model_folder import WEIGHTS
from dvskit.reconstruction import load_reconstructor
from dvskit.scenes import read_depth_clip
from dvskit.training import load_config
from tests.laws import refused
from tests.mutation_parsers import CALIB, depth, idx, model, onnx, picture

_DEEP = ".".join("a" * 4000) + " = 1\n"
_MANY = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 9)
)
TEXTS = [
    (load_config, ConfigError, _DEEP, "nested"),
    (load_config, ConfigError, "a." * 20_000 + "a = 1\n", "10,000"),
    (EmulatorParams.preset, ConfigError, f"threshold_on = {10**400}\n", "threshold_on"),
    (read_camera, FormatError, _MANY, "1,000,000"),
    (read_camera, FormatError, "? [1, 2]\n: 3\n" + CALIB, "YAML"),
    (open_samples, FormatError, f"path,label\n{'a' * 5000},x\n", "line 2"),
]
SUFFIXES = {read_camera: ".yaml", open_samples: ".csv"}


@pytest.mark.parametrize(("read", "kind", "text", "named"), TEXTS)
def test_hostile_texts_are_errors_of_one_line(tmp_path, read, kind, text, named):
    path = tmp_path / f"a{SUFFIXES.get(read, '.toml')}"
    path.write_text(text)
    with refused(kind, path.name, named):
        read(path)


def cut(path: Path, length: int) -> Path:
    path.write_bytes(path.read_bytes()[:length])
    return path


def high(folder: Path) -> Path:
    path = picture(folder, ".pgm")
    path.write_bytes(path.read_bytes().replace(b"64 48", b"64 4800000000"))
    return path


def no_array(folder: Path) -> Path:
    path = depth(folder, ".npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("near", b"2000")
    return path


def longer(folder: Path) -> Path:
    """A member has more bytes than its array."""
    path = depth(folder, ".npz")
    with np.load(path) as arrays:
        held = dict(arrays)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in held.items():
            file = BytesIO()
            np.lib.format.write_array(file, array)
            archive.writestr(f"{name}.npy", file.getvalue() + b"x" * (name == "depth"))
    return path


def large_frame(folder: Path) -> Path:
    """The second frame of an animation has another size."""
    path = folder / "a.gif"
    small, large = np.zeros((2, 8, 8), np.uint8)
    Image.fromarray(small).save(path, save_all=True, append_images=[Image.fromarray(large + 255)])
    data = bytearray(path.read_bytes())
    place = data.rindex(b"\x2c")  # the descriptor of the last frame: its left, top, width, height
    data[place + 5 : place + 9] = b"\xff\x0f\xff\x0f"
    path.write_bytes(data)
    return path


def other_name(folder: Path) -> Path:
    path = onnx(folder)
    path.write_bytes(path.read_bytes().replace(b"h1.next", b"h\xb3.next"))
    return path


def load_onnx(path: Path) -> None:
    load_reconstructor(str(path))


def list_frames(path: Path) -> None:
    list(video.open_frames(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "read", "kind", "named"),
    [
        (lambda folder: cut(idx(folder, ""), 9), read_idx, FormatError, "byte 9"),
        (lambda folder: cut(depth(folder, ".npz"), 200), read_depth_clip, FormatError, ".npz"),
        (lambda folder: cut(depth(folder, ".mat"), 200), read_depth_clip, FormatError, ".mat"),
        (no_array, read_depth_clip, FormatError, ".npz"),
        (longer, read_depth_clip, FormatError, "depth.npy"),
        (lambda folder: cut(picture(folder, ".png"), 40), read_gray, FormatError, "a.png"),
        (high, read_gray, FormatError, "pixels"),
        (large_frame, list_frames, VideoError, "frame 1"),
        (other_name, load_onnx, ConfigError, "UTF-8"),
    ],
)
def test_damaged_files_are_errors_of_one_line(tmp_path, make, read, kind, named):
    path = make(tmp_path)
    with refused(kind, path.name, named):
        read(path)


def test_a_damaged_onnx_file_writes_nothing_to_standard_output(tmp_path, capfd):
    path = onnx(tmp_path)
    data = path.read_bytes()
    at = data.index(b"head.weight")
    path.write_bytes(data[:at] + b"\xff\xff" + data[at + 2 :])
    with refused(FormatError, "a.onnx"):
        load_onnx(path)
    assert capfd.readouterr().out == ""


def test_weights_that_are_not_those_of_the_model_file_are_refused(tmp_path):
    folder = model(tmp_path, "nmnist-signed-lif")
    found = load_model(folder)
    whole = (folder / WEIGHTS).read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    (folder / WEIGHTS).write_bytes(flipped)
    with refused(ModelError, WEIGHTS):
        load_model(folder)
    next(found.module.parameters()).data += 1
    shutil.copy(save_model(tmp_path / "other", found) / WEIGHTS, folder)
    with refused(ModelError, WEIGHTS):
        load_model(folder)
