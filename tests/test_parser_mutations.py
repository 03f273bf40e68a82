"""Hostile input besides event files: configurations, lists, calibrations, clips, images, models."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dvskit import video
from dvskit.datasets import open_samples
from dvskit.datasets.images import read_gray, read_idx
from dvskit.emulator import EmulatorParams
from dvskit.errors import ConfigError, FormatError, ModelError, VideoError
from dvskit.formats.calibration import read_camera
from dvskit.formats.image_list import read_image
from dvskit.networks.model_folder import WEIGHTS
from dvskit.reconstruction import load_reconstructor
from dvskit.scenes import read_depth_clip
from dvskit.training import load_config, load_model, save_model
from tests.mutation_parser_bench import ParserBench
from tests.mutation_parsers import CALIB, PARSERS, depth, idx, onnx, picture, small_model
from tests.mutations import Reader

_DEEP = ".".join("a" * 4000) + " = 1\n"


@pytest.fixture(scope="module")
def reader():
    with Reader() as reader:
        yield reader


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_mutated_inputs_are_read_safely(reader, parser):
    faults = [each for number in range(3000, 3034) for each in reader.judge(parser, number).faults]
    assert faults == []


def test_the_judge_sees_foreign_errors_and_silent_changes(tmp_path):
    def fail(path):
        data = path.read_bytes()
        if data != sound:
            raise KeyError("x")
        return data, ""

    made = next(parser for parser in PARSERS if parser.name == "calib.txt")
    sound = CALIB.encode()
    foreign = ParserBench(made._replace(read=fail), tmp_path).judge(1)
    assert foreign.faults[0][0] == "foreign"
    assert "KeyError" in foreign.faults[0][1]
    silent = made._replace(read=lambda path: (path.read_bytes(), ""), checked=True)
    assert ParserBench(silent, tmp_path).judge(1).faults[0][0] == "silent"


def test_deep_and_long_tables_are_one_line_and_take_no_time(tmp_path):
    path = tmp_path / "a.toml"
    for text in (_DEEP, "a = " + "[" * 3000, "a." * 20_000 + "a = 1\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"nested too deeply|more than 10,000 characters"):
            load_config(path)
        with pytest.raises(ConfigError, match=r"nested too deeply|more than 10,000 characters"):
            EmulatorParams.preset(path)


def test_a_calibration_with_aliases_that_multiply_is_refused(tmp_path):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9)]
    path = tmp_path / "a.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(FormatError, match="more than 1,000,000 values"):
        read_camera(path)
    path.write_text("a: &a [*a]")
    with pytest.raises(FormatError, match="nested too deeply"):
        read_camera(path)


def test_a_list_that_names_an_impossible_file_is_one_line(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f"path,label\n{'a' * 5000},x\n")
    with pytest.raises(FormatError, match=r"line 2.*names a file that cannot be found"):
        open_samples(path)


def test_a_header_of_idx_that_ends_early_is_one_line(tmp_path):
    path = idx(tmp_path, "")
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(FormatError, match="ends at byte 9, in its header of 16"):
        read_idx(path)


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_a_damaged_depth_clip_is_one_line(tmp_path, suffix):
    path = depth(tmp_path, suffix)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match="is not a readable"):
        read_depth_clip(path)


def test_a_depth_clip_with_a_member_that_is_no_array_is_one_line(tmp_path):
    path = depth(tmp_path, ".npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("near", b"2000")
    with pytest.raises(FormatError, match=r"is not a readable \.npz"):
        read_depth_clip(path)


def test_a_depth_clip_with_a_smaller_array_than_its_bytes_is_noticed(tmp_path):
    path = depth(tmp_path, ".npz")
    with np.load(path) as arrays:
        held = dict(arrays)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in held.items():
            file = BytesIO()
            np.lib.format.write_array(file, array)
            archive.writestr(f"{name}.npy", file.getvalue() + b"x" * (name == "depth"))
    with pytest.raises(FormatError, match=r"depth\.npy goes on after its array"):
        read_depth_clip(path)


def test_numbers_beyond_floats_and_pictures_of_impossible_sizes_are_one_line(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(f"threshold_on = {10**400}\n")
    with pytest.raises(ConfigError, match="threshold_on"):
        EmulatorParams.preset(path)
    path = picture(tmp_path, ".pgm")
    path.write_bytes(path.read_bytes().replace(b"64 48", b"64 4800000000"))
    with pytest.raises(FormatError, match="pixels; scale it down"):
        read_gray(path)
    path = tmp_path / "a.yaml"
    path.write_text("? [1, 2]\n: 3\n" + CALIB)
    with pytest.raises(FormatError, match="is not YAML"):
        read_camera(path)
    path.write_text("#" * (1 << 19))
    with pytest.raises(FormatError, match="more than 262,144 characters"):
        read_camera(path)


def test_a_later_frame_of_another_size_ends_an_animation_with_its_place(tmp_path):
    path = tmp_path / "a.gif"
    small, large = np.zeros((2, 8, 8), np.uint8)
    Image.fromarray(small).save(path, save_all=True, append_images=[Image.fromarray(large + 255)])
    data = bytearray(path.read_bytes())
    place = data.rindex(b"\x2c")  # the descriptor of the last frame: its left, top, width, height
    data[place + 5 : place + 9] = b"\xff\x0f\xff\x0f"
    path.write_bytes(data)
    with pytest.raises(VideoError, match="frame 1"):
        list(video.open_frames(path))


def test_a_damaged_onnx_file_writes_nothing_to_standard_output(tmp_path, capfd):
    path = onnx(tmp_path)
    data = path.read_bytes()
    at = data.index(b"head.weight")
    path.write_bytes(data[:at] + b"\xff\xff" + data[at + 2 :])
    with pytest.raises(FormatError, match="is no ONNX file that onnxruntime can run"):
        load_reconstructor(str(path))
    assert capfd.readouterr().out == ""


def test_a_name_in_an_onnx_file_that_is_no_text_is_one_line(tmp_path):
    path = onnx(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"h1.next", b"h\xb3.next"))
    with pytest.raises(ConfigError, match="is not UTF-8: it is damaged"):
        load_reconstructor(str(path))


def test_a_flipped_bit_in_the_weights_of_a_model_is_noticed(tmp_path):
    folder = small_model(tmp_path)
    load_model(folder)
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match=r"is not the file that model\.toml was written with"):
        load_model(folder)


def test_weights_of_a_killed_save_are_not_taken_for_the_model_before(tmp_path):
    first, second = (small_model(tmp_path / name) for name in "ab")
    module = load_model(second)
    next(module.module.parameters()).data += 1
    save_model(second, module, overwrite=True)
    shutil.copy(second / WEIGHTS, first / WEIGHTS)
    with pytest.raises(ModelError, match="of another model"):
        load_model(first)


def test_a_header_of_too_many_pixels_takes_no_memory(tmp_path):
    path = picture(tmp_path, ".png")
    data = bytearray(path.read_bytes())
    data[16:24] = (20_000).to_bytes(4, "big") * 2  # IHDR: width and height, then its checksum
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(FormatError, match="more than 100,000,000 pixels; scale it down"):
        read_gray(path)
    with pytest.raises(VideoError, match="more than 100,000,000 pixels; scale it down"):
        read_image(path)


def test_pictures_that_cannot_be_read_are_one_line(tmp_path):
    path = picture(tmp_path, ".png")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FormatError, match="is not a readable image"):
        read_gray(path)
