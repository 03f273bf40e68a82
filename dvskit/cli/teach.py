"""`dvskit teach`: record clips of gestures in the browser, train on them, and see the answers."""

from __future__ import annotations

from pathlib import Path

from dvskit.cli import _console
from dvskit.cli._options import argument, output
from dvskit.cli._serving import BrowserOption, PortOption, check_port, serve


def teach(
    folder: Path = argument(default=Path("gestures")),
    output: Path = output("The folder of the trained models.", default=Path("runs"), shown=True),
    port: PortOption = 0,
    browser: BrowserOption = True,
) -> None:
    """Teach gestures in the browser: record clips, train, and see live answers; Ctrl-C ends it.

    The page is served only to this machine, and no data leaves it. Its address is printed on
    standard output. It takes the frames of the browser's camera, and videos. Clips are stored as
    FOLDER/CLASS/PERSON_t1.mkv, which dvskit train FOLDER takes, too. The next start has the same
    address if its port is free, so an open page goes on by itself.

    folder  The folder of the clips, which has a folder for each class; it is made if it is missing.
    """
    _console.check_torch()
    check_port(port)
    from dvskit.teach import ClipFolder, TeachTraining
    from dvskit.teach.kept_address import address_file
    from dvskit.teach.server import TeachServer

    with ClipFolder(folder) as clips:
        for clip in clips.recovered:
            _console.say(f"recovered {clip.file}: its recording was interrupted")
        training = TeachTraining(clips, output)
        try:
            with TeachServer(clips, training, port=port, kept=address_file(folder)) as served:
                serve(served, browser)
        finally:
            training.close()
