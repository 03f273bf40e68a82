"""Files that were dropped on a view: kept in a temporary folder, opened or emulated, then shown."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from dvskit.emulator import emulate
from dvskit.errors import DvskitError, one_line
from dvskit.formats import open_events, open_sink, save_events
from dvskit.render.view.viewed import Viewed

_COPY_BYTES = 1 << 20


@dataclass(slots=True)
class Job:
    """A file on its way to be shown; `words` say how far it is, or why it failed."""

    name: str
    state: Literal["running", "done", "failed"] = "running"
    words: str = "being opened"

    def status(self) -> dict[str, str]:
        """Return it as the page is told."""
        return {"name": self.name, "state": self.state, "words": self.words}


class Inbox:
    """Takes files, and calls `show` with each recording that they become."""

    def __init__(self, show: Callable[[Viewed], None]) -> None:
        self.jobs: list[Job] = []
        self._show = show
        self._folder = Path(tempfile.mkdtemp(prefix="dvskit-view-"))
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def take(self, name: str, stream: IO[bytes], length: int) -> None:
        """Keep `length` bytes of a stream as a file, and begin to open it."""
        number = len(self.jobs)
        # Nothing of the name but its ending reaches the file system.
        ending = Path(name).suffix[:12] if Path(name).suffix[1:].isalnum() else ""
        path = self._folder / f"{number}{ending}"
        job = Job(name)
        self.jobs.append(job)
        try:
            with path.open("wb") as file:
                _copy(stream, file, length)
        except OSError as error:
            job.state, job.words = "failed", f"could not be kept: {error}"
            return
        thread = threading.Thread(target=self._open, args=(job, path), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _open(self, job: Job, path: Path) -> None:
        try:
            self._show(self._viewed(job, path))
            job.state, job.words = "done", "shown"
        except (DvskitError, OSError, MemoryError) as error:
            job.state, job.words = "failed", one_line(error).replace(str(path), job.name)

    def _viewed(self, job: Job, path: Path) -> Viewed:
        try:
            return Viewed(job.name, lambda: open_events(path))
        except DvskitError as not_events:
            try:
                made = self._emulated(job, path)
            except DvskitError as not_video:
                raise type(not_video)(
                    f"{path} is no event file ({not_events}) and no video ({not_video})"
                ) from not_video
        return Viewed(f"{job.name}, emulated", lambda: open_events(made))

    def _emulated(self, job: Job, path: Path) -> Path:
        source = emulate(path)
        made = path.with_name(f"{path.stem}-events.npz")
        with open_sink(made, source.size) as sink:
            for block in source:
                sink.write(block)
                job.words = f"emulated {source.frames_done:,} frames"
                if self._closed.is_set():
                    raise DvskitError("the view was closed")
        return made

    def converted(self, source: Any, format: str, suffix: str) -> Path:
        """Write a recording in another format into the folder; return where."""
        target = self._folder / f"converted-{threading.get_ident()}{suffix}"
        save_events(source, target, format=format, overwrite=True)
        return target

    def close(self) -> None:
        """Stop what is on its way and remove the folder."""
        self._closed.set()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)


def _copy(stream: IO[bytes], file: IO[bytes], length: int) -> None:
    while length > 0:
        data = stream.read(min(length, _COPY_BYTES))
        if not data:
            raise OSError("the transfer broke off")
        file.write(data)
        length -= len(data)
