"""A drawn person who makes the gestures of DVS128 Gesture, or moves like a recorded skeleton.

    for t_us, frame in PersonScene.random("hand_clap", seed=7): ...

`gestures` defines the movements, `body` computes the joints, `figure` the visible and dressed
parts, `person_kernels` paints the parts on the wall, and `scene` makes the frames.
"""

from dvskit.scenes.person.body import Build
from dvskit.scenes.person.figure import Look, View
from dvskit.scenes.person.scene import (
    PERSON_GESTURES,
    GestureMotion,
    PersonMotion,
    PersonScene,
    SkeletonMotion,
    frames_with_skeleton,
    from_msr_action3d,
    mend,
    mirrored,
)

__all__ = [
    "PERSON_GESTURES",
    "Build",
    "GestureMotion",
    "Look",
    "PersonMotion",
    "PersonScene",
    "SkeletonMotion",
    "View",
    "frames_with_skeleton",
    "from_msr_action3d",
    "mend",
    "mirrored",
]
