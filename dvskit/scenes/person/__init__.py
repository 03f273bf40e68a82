"""A drawn person who makes the gestures of DVS128 Gesture, or does what a recorded skeleton did.

    for t_us, frame in PersonScene.random("hand_clap", seed=7): ...

A motion (`motion`, `gestures`) says what a body does, `body` where its joints are then,
`figure` what of it is seen and how it is dressed, `painting_kernels` paint that on the wall.
"""

from dvskit.scenes.person.body import Build
from dvskit.scenes.person.look import Look, View
from dvskit.scenes.person.motion import (
    PERSON_GESTURES,
    GestureMotion,
    Motion,
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
    "Motion",
    "PersonScene",
    "SkeletonMotion",
    "View",
    "frames_with_skeleton",
    "from_msr_action3d",
    "mend",
    "mirrored",
]
