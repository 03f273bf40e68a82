"""A `dvskit train` in a process of its own, which outlives this one and is found again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvskit import _files
from dvskit.errors import ConfigError, ProcessError
from dvskit.teach.hidden import own_folder, writing
from dvskit.teach.locks import take_lock

_DVSKIT = (sys.executable, "-m", "dvskit")
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_PATIENCE_S = 10.0  # for an interrupted process to end


class TrainProcess:
    """The latest training of a folder: its command, and the process that runs it.

    The files lie in FOLDER/.training: run.json (the values in `about`), result.json (the output of
    the command), notes.txt (its messages), and a lock that the process holds until it ends.
    """

    def __init__(self, folder: Path) -> None:
        self._path = own_folder(folder / ".training")
        self._process: subprocess.Popen[bytes] | None = None
        self.about = _read(self._path / "run.json")

    @property
    def running(self) -> bool:
        """Whether a process works on it, started by this process or by an earlier one."""
        if self._process is not None:
            return self._process.poll() is None
        held = take_lock(self._path / "lock")
        if held is not None:
            os.close(held)
        return held is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that this one started; None if it runs, or was not."""
        return None if self._process is None else self._process.poll()

    @property
    def result(self) -> dict[str, Any]:
        """The result of a finished training; {} before."""
        return _read(self._path / "result.json")

    def forget_result(self) -> None:
        """Remove the result, before `about` changes to another training."""
        (self._path / "result.json").unlink(missing_ok=True)

    @property
    def notes(self) -> list[str]:
        """The messages of the command so far, a line each."""
        try:
            text = (self._path / "notes.txt").read_text("utf-8", "replace")
        except OSError:
            return []
        return text.splitlines()

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The notes of the command that have a kind: see `dvskit.training.folder.RunNotes`."""
        output = self.about.get("output")
        return list(_read(Path(output) / "notes.json").get("notes", [])) if output else []

    def note(self, **about: Any) -> None:
        """Change values of `about`, on disk too."""
        self.about |= about
        _files.write_whole(self._path / "run.json", json.dumps(self.about), overwrite=True)

    def start(self, arguments: list[str]) -> None:
        """Run `dvskit` with these arguments. Raises ConfigError while another process runs."""
        with writing(self._path):
            held = take_lock(self._path / "lock")
        if held is None:
            raise ConfigError("a training is running; stop it first")
        try:
            with (
                writing(self._path),
                (self._path / "result.json").open("wb") as result,
                (self._path / "notes.txt").open("wb") as notes,
            ):
                self._process = subprocess.Popen(
                    [*_DVSKIT, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=result,
                    stderr=notes,
                    pass_fds=() if sys.platform == "win32" else (held,),
                )
        finally:
            os.close(held)
        self.note(pid=self._process.pid)

    def end(self) -> None:
        """Interrupt the process, and wait until it has ended; after ten seconds kill it.

        Raises ProcessError if it still runs ten seconds later.
        """
        began = time.monotonic()
        while self.running:
            waited = time.monotonic() - began
            if waited > 2 * _PATIENCE_S:
                raise ProcessError(f"process {self.about.get('pid')} does not end; end it yourself")
            self._signal(_KILL if waited > _PATIENCE_S else signal.SIGTERM)
            time.sleep(0.05)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(OSError):  # it has just ended
            if self._process is not None:
                self._process.send_signal(number)
            elif "pid" in self.about:  # it holds the lock, so the number is still its own
                os.kill(self.about["pid"], number)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
