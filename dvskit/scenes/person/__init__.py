"""A drawn person who makes the gestures of DVS128 Gesture, or moves like a recorded skeleton.

    for t_us, frame in PersonScene.random("hand_clap", seed=7): ...

`motion` and `gestures` define the movements, `body` computes the joints, `figure` the visible and
dressed parts, and `painting_kernels` paints them on the wall.
"""

from dvskit.scenes.person.body import Build
from dvskit.scenes.person.look import Look, View
from dvskit.scenes.person.motion import (
    PERSON_GESTURES,
    GestureMotion,
    PersonMotion,
    SkeletonMotion,
    frames_with_skeleton,
    from_msr_action3d,
    mend,
    mirrored,
)
from dvskit.scenes.person.scene import PersonScene

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
