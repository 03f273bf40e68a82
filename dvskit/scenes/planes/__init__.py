"""Textured planes and boxes in front of a moving camera, with known motion, flow and depth.

    scene = PlaneScene.random(seed=3)
    events = dvskit.emulate(scene)
    scene.truth(5_000).flow              # px/s at t = 5 ms, (H, W, 2)

Axes are those of computer vision: x right, y down, z forward; lengths are in metres. `path` holds
the motion of the camera, `patches` the textured rectangles, and `casting_kernels` draws them.
"""

from dvskit.scenes.planes.patches import Patch, box, noise_texture, polygon_texture
from dvskit.scenes.planes.path import CameraPath, CameraPose, KeyframePath, SteadyPath
from dvskit.scenes.planes.scene import MotionTruth, PlaneScene

__all__ = [
    "CameraPath",
    "CameraPose",
    "KeyframePath",
    "MotionTruth",
    "Patch",
    "PlaneScene",
    "SteadyPath",
    "box",
    "noise_texture",
    "polygon_texture",
]
