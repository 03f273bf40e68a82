"""Calibrations of cameras in files: every kind gives the same numbers, and wrong ones are named."""

import cv2
import numpy as np
import pytest

from dvskit.errors import ConfigError, FormatError, MissingFileError
from dvskit.filters import Undistort
from dvskit.formats.calibration import read_camera
from dvskit.streams import Intrinsics
from tests.laws import refused

CAMERA = Intrinsics(199.5, 198.25, 132.0, 110.5, -0.37, 0.15, -0.0003, 0.0007, 0.0)
LINE = " ".join(map(repr, CAMERA))
KALIBR = """cam0:
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [-0.37, 0.15, -0.0003, 0.0007]
  distortion_model: radtan
  intrinsics: [199.5, 198.25, 132.0, 110.5]
  resolution: [240, 180]
  rostopic: /dvs/image
"""
DSEC = """extrinsics:
  T_10: [[1.0, 0.0], [0.0, 1.0]]
intrinsics:
  cam0:
    camera_matrix: [199.5, 198.25, 132.0, 110.5]
    camera_model: pinhole
    distortion_coeffs: [-0.37, 0.15, -0.0003, 0.0007]
    distortion_model: radtan
"""
ROS = """image_width: 240
image_height: 180
camera_name: dvs
camera_matrix:
  rows: 3
  cols: 3
  data: [199.5, 0, 132.0, 0, 198.25, 110.5, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.37, 0.15, -0.0003, 0.0007, 0.0]
"""


def by_opencv(path):
    """Write a calibration as OpenCV writes it."""
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("image_width", 240)
    file.write("image_height", 180)
    file.write("camera_matrix", CAMERA.matrix)
    file.write("distortion_coefficients", CAMERA.distortion[None])
    file.release()


@pytest.mark.parametrize(
    ("name", "text"),
    [("calib.txt", LINE), ("kalibr.yaml", KALIBR), ("dsec.yml", DSEC), ("c.YAML", ROS)],
)
def test_every_kind_of_file_gives_the_same_camera(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_camera(tmp_path / name) == CAMERA


def test_a_file_of_opencv_itself_gives_the_same_camera(tmp_path):
    by_opencv(tmp_path / "calibration.yaml")
    assert read_camera(tmp_path / "calibration.yaml", size=(240, 180)) == pytest.approx(CAMERA)


def test_one_of_several_cameras_is_named(tmp_path):
    path = tmp_path / "chain.yaml"
    path.write_text(KALIBR + KALIBR.replace("cam0", "cam1").replace("199.5", "300"))
    with refused(ConfigError, "chain.yaml:cam0"):
        read_camera(path)
    assert read_camera(f"{path}:cam1").fx == 300
    with refused(ConfigError, "'cam7'"):
        read_camera(f"{path}:cam7")


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.txt", "1 2 3 4 5 6 7 8 9 10", "nine numbers"),
        ("a.txt", "0 2 3 4", "fx and fy"),
        ("a.yaml", "camera_matrix: [1, 2, 3]", "holds no camera"),
        ("a.yaml", KALIBR.replace("radtan", "equidistant"), "distortion equidistant"),
        ("a.yaml", KALIBR.replace("pinhole", "omni"), "a camera of model omni"),
        ("a.yaml", KALIBR.replace("0.0007]", "0.0007, 0, 0.1]"), "has 6 distortion coefficients"),
    ],
)
def test_other_content_is_refused_with_the_reason(tmp_path, name, text, named):
    (tmp_path / name).write_text(text)
    with refused(FormatError, name, named):
        read_camera(tmp_path / name)


def test_the_calibration_of_another_sensor_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "k.yaml").write_text(KALIBR)
    assert Undistort.read(tmp_path / "k.yaml") == Undistort(*CAMERA)
    with refused(FormatError, "240x180", "346x260"):
        read_camera(tmp_path / "k.yaml", size=(346, 260))
    with refused(MissingFileError, "no.yaml"):
        read_camera(tmp_path / "no.yaml:cam0")


def test_directions_and_pixels_are_inverse_and_opencvs(tmp_path):
    y, x = np.mgrid[:180:7, :240:7].astype(np.float64)
    ideal_x, ideal_y, found = CAMERA.directions(x, y)
    assert found.all()
    back = CAMERA.pixels(ideal_x, ideal_y)
    assert np.allclose(back, (x, y), atol=1e-6)
    rays = np.stack([ideal_x, ideal_y, np.ones_like(x)], -1).reshape(-1, 3)
    seen, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), CAMERA.matrix, CAMERA.distortion)
    assert np.allclose(seen[:, 0], np.stack([x, y], -1).reshape(-1, 2), atol=1e-6)
