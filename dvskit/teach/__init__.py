"""Record clips of classes, train on them, and answer live: what a page needs, without a server.

folder = ClipFolder("gestures")
folder.add_class("wave")
recorder = ClipRecorder(folder, "wave", "anna", size=(320, 240))
recorder.add(t_us, gray)                                # for each frame of the camera
clip = recorder.finish()                                # gestures/wave/anna_t1.mkv
training = TeachTraining(folder, "runs")
training.start({"minutes": 2})
training.state()                                        # progress, curve, result
answers = LiveAnswers(training.model, size=(320, 240))
answers.add(t_us, gray).answer                          # "wave", or None: nothing

All methods may be called from several threads.
"""

from dvskit.teach.answers import LiveAnswer, LiveAnswers
from dvskit.teach.clip_folder import Clip, ClipFolder
from dvskit.teach.commands import saved_commands
from dvskit.teach.hidden import DeletedItem
from dvskit.teach.recorder import ClipRecorder
from dvskit.teach.teach_training import TeachTraining

__all__ = [
    "Clip",
    "ClipFolder",
    "ClipRecorder",
    "DeletedItem",
    "LiveAnswer",
    "LiveAnswers",
    "TeachTraining",
    "saved_commands",
]
