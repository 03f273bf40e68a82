"""Photographs that move, with exact flow: a background, and cut-out photographs in front of it.

scene = LayerScene.random([*package_photographs().values()], seed=3)
events = dvskit.emulate(scene)
scene.truth(5_000)                   # px/s at t = 5 ms, (H, W, 2)
"""

from dvskit.scenes.photographs.exposure import PhotoExposure
from dvskit.scenes.photographs.files import package_photographs, read_photograph
from dvskit.scenes.photographs.path import LayerPath
from dvskit.scenes.photographs.scene import LayerScene, PhotoLayer

__all__ = [
    "LayerPath",
    "LayerScene",
    "PhotoExposure",
    "PhotoLayer",
    "package_photographs",
    "read_photograph",
]
