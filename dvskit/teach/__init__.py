"""Record clips of classes, train on them, and answer live: what a page needs, without a server.

    folder = ClipFolder("gestures")
    folder.add_class("wave")
    recorder = ClipRecorder(folder, "wave", "anna", size=(320, 240))
    recorder.add(t_us, gray)  # for each frame of the camera
    clip = recorder.finish()  # gestures/wave/anna_t1.mkv
    training = TeachTraining(folder, "runs")
    training.start({"minutes": 2})
    training.state()  # progress, curve, result
    answers = LiveAnswers(training.model, size=(320, 240))
    answers.add(t_us, gray).answer  # "wave", or None: nothing

All methods may be called from several threads.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvskit.teach.clip_files import Clip
from dvskit.teach.clip_folder import ClipFolder, ClipRecorder
from dvskit.teach.hidden import DeletedItem
from dvskit.teach.plain_words import SavedCommand, saved_commands
from dvskit.teach.teach_training import TeachTraining

if TYPE_CHECKING:
    from dvskit.teach.answers import LiveAnswer, LiveAnswers

__all__ = [
    "Clip",
    "ClipFolder",
    "ClipRecorder",
    "DeletedItem",
    "LiveAnswer",
    "LiveAnswers",
    "SavedCommand",
    "TeachTraining",
    "saved_commands",
]

_LATER = ("LiveAnswer", "LiveAnswers")  # they load torch, which takes seconds

if not TYPE_CHECKING:  # which would accept any name

    def __getattr__(name: str) -> Any:
        if name in _LATER:
            return getattr(import_module("dvskit.teach.answers"), name)
        raise AttributeError(f"module 'dvskit.teach' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
