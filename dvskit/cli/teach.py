"""`dvskit teach`: record clips of gestures in the browser, train on them, and see the answers."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path

from dvskit.cli import _console
from dvskit.cli._options import argument, option
from dvskit.errors import ConfigError


def teach(
    folder: Path = argument(
        "The folder of the clips, which has a folder for each class; it is made if it is missing.",
        default=Path("gestures"),
    ),
    output: Path = option(
        "The folder of the trained models.", "--output", "-o", default=Path("runs")
    ),
    port: int = option("The port to serve at; 0 takes a free one.", default=0),
    browser: bool = option("Open the page in the browser.", default=True),
) -> None:
    """Teach gestures in the browser: record clips, train, and see live answers; Ctrl-C ends it.

    The page is served only to this machine, and no data leaves it. Its address is printed on
    standard output. It takes the frames of the browser's camera, and videos. Clips are stored as
    FOLDER/CLASS/PERSON_t1.mkv, which dvskit train FOLDER takes, too.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port} is outside 0..65535")
    from dvskit.teach import ClipFolder, TeachTraining
    from dvskit.teach.server import TeachServer

    with ClipFolder(folder) as clips:
        for clip in clips.recovered:
            _console.say(f"recovered {clip.file}, whose recording was interrupted")
        training = TeachTraining(clips, output)
        try:
            with TeachServer(clips, training, port=port) as served:
                print(served.url, flush=True)
                _console.say("Ctrl-C ends it")
                if browser and _console.on_terminal():
                    webbrowser.open(served.url)
                threading.Event().wait()
        finally:
            training.close()
