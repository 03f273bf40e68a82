"""Scenes that dvskit draws itself: people who make gestures; planes and photographs that move.

    for t_us, frame in PersonScene.random("hand_clap", seed=7): ...

A PersonScene is a whole body in space with the eleven gestures of DVS128 Gesture, or moved by a
recorded skeleton. A DepthScene shows a depth clip of a real person in some light and clothes.
A PlaneScene holds textured planes and boxes in front of a moving camera, and knows the exact
motion of each pixel. A LayerScene shows photographs that slide, turn and zoom, and knows theirs.
A DiscScene holds discs and rectangles that move, cross, stop and go behind a bar, and knows their
exact places.

They stand in for a camera where there is none: in the demo, in tests, and as training material
whose label is known. They are drawings; nothing measured on them speaks for recordings of people.
"""

from dvskit.scenes.depth import DepthScene
from dvskit.scenes.depth_clip import DepthClip, read_depth_clip
from dvskit.scenes.discs import DiscScene, MovingShape, ShapeTruth
from dvskit.scenes.person import PERSON_GESTURES, PersonScene
from dvskit.scenes.photographs import (
    LayerPath,
    LayerScene,
    PhotoExposure,
    PhotoLayer,
    package_photographs,
    read_photograph,
)
from dvskit.scenes.planes import KeyframePath, MotionTruth, Patch, PlaneScene, SteadyPath, box

__all__ = [
    "PERSON_GESTURES",
    "DepthClip",
    "DepthScene",
    "DiscScene",
    "KeyframePath",
    "LayerPath",
    "LayerScene",
    "MotionTruth",
    "MovingShape",
    "Patch",
    "PersonScene",
    "PhotoExposure",
    "PhotoLayer",
    "PlaneScene",
    "ShapeTruth",
    "SteadyPath",
    "box",
    "package_photographs",
    "read_depth_clip",
    "read_photograph",
]
