"""Every command, interrupted by Ctrl-C and SIGTERM at many moments and while it starts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import dvskit
from tests.benchmarks import reliability_parts as parts
from tests.benchmarks.reliability_campaign import Campaign, hidden
from tests.benchmarks.reliability_cases import Case
from tests.benchmarks.reliability_trials import Ended, Files, Moment, run, tree
from tests.processes import hear_signals

_LIMIT_S = 20.0
_WRONG = re.compile(
    r"Traceback|Exception ignored|Error\b|terminate called|Aborted|Fatal|core dumped"
)
_INTERRUPTED = re.compile(r"^dvskit: (interrupted|ended by SIG\w+); ", re.MULTILINE)
# These end with what there is so far, and with 0.
_ENDS_WELL = {"emulate", "reconstruct", "track", "motion", "view", "ros listen", "ros play"} | {
    "teach",
    "classify",
}
_OF_EVENTS = {"emulate", "view", "ros listen"}


def reading() -> list[Case]:
    """Return the commands that write nothing, and those that serve pages."""
    lines = {
        "info": "info ../inputs/a.raw",
        "filters": "filters",
        "classify": "classify ../inputs/bars --model ../inputs/run",
        "classify:--live": "classify --live ../inputs/bars/left/0.npz --model ../inputs/run --json",
        "cameras": "cameras",
        "doctor": "doctor",
        "view:page": "view ../inputs/a.npz --no-browser",
        "teach:page": "teach set --no-browser",
    }
    found = [Case(name, tuple(line.split()), (), "own", endless=name.endswith(":page"))
             for name, line in lines.items()]  # fmt: skip
    play = ("ros", "play", "../inputs/a.npz", "/events")
    return [*found, Case("ros play", play, (), "own", parts.play_to_stand_in)]


class Interrupts(Campaign):
    """Interrupts a command, and counts what is found."""

    def undisturbed(self) -> bool:
        if not super().undisturbed():
            return False
        parts.interrupts_itself = False
        if self.case.start in parts.INTERRUPT_THEMSELVES or self.case.endless:
            self.operations = 0  # without an interrupt it would not end
        return True

    def trial(self, moment: Moment, old: Files, *, again: bool = False) -> None:
        """Interrupt it at a moment, and judge its end."""
        self.begin(old)
        words = self.case.words + ("--force",) * bool(old)
        begun = time.monotonic()
        ended = run(self.case.start, words, self.folder, moment)
        took = time.monotonic() - begun - moment.seconds
        if moment.seconds and took > _LIMIT_S:
            self.wrong(moment, old, f"took {took:.1f} s")
        self.judge(moment, old, ended)

    def judge(self, moment: Moment, old: Files, ended: Ended) -> None:
        """Note what is wrong with the end of an interrupted command."""
        expected = 128 + moment.number
        self.counts["ended" if ended.code == 0 else "kills"] += 1
        told = len(_INTERRUPTED.findall(ended.err))
        state = self.state(tree(self.folder), old)
        for each in Path(os.environ["TMPDIR"]).glob("dvskit-*"):
            self.wrong(moment, old, f"left {each}")
            shutil.rmtree(each, ignore_errors=True)
        if ended.code == -moment.number and (state == "new" or not self.case.outputs):
            return  # in its last moment Python handles no signals: the command is done by then
        if ended.code not in (0, expected, self.code):
            self.wrong(moment, old, f"code {ended.code}: {ended.err.strip()[-300:]}")
        elif told != (ended.code == expected):
            self.wrong(moment, old, f"code {ended.code} with {told} lines: {ended.err[-300:]}")
        if _WRONG.search(ended.err):
            self.wrong(moment, old, f"stderr: {ended.err.strip()[-400:]}")
        found = tree(self.folder)
        left = [name for name in hidden(found, old) if ".partial" in name]
        if left:
            self.wrong(moment, old, f"left {', '.join(left)}")
        kept = self.case.command in _ENDS_WELL
        if state not in ("old", "new", "absent") and kept:
            state = "partly"  # what there was so far
            problem = self._unreadable() if self.case.command in _OF_EVENTS else ""
            if problem:
                self.wrong(moment, old, problem)
        if "no output was written" in ended.err and state in ("new", "partly"):
            self.wrong(moment, old, f"the output is {state}, but: {ended.err.strip()[-300:]}")
        self.counts[state] += 1
        if state not in ("old", "new", "absent", "partly"):
            self.wrong(moment, old, state)
        if ended.code == 0 and not kept and self.case.law == "file" and state != "new":
            self.wrong(moment, old, f"code 0, but the output is {state}")

    def _unreadable(self) -> str:
        ended = run(self._load, (), self.folder)
        return ended.err.strip()[-300:] if ended.code else ""

    def _load(self) -> None:
        for name in self.case.outputs:
            if Path(name).exists():
                dvskit.load_events(name)

    def starts(self, count: int) -> None:
        """Interrupt real processes of the command while they start."""
        if self.case.start is not parts.command_line:
            return
        for number in range(count):
            signaled = (signal.SIGINT, signal.SIGTERM)[number % 2]
            moment = Moment(seconds=3.0 * self.rng.random() ** 2 + 0.01, number=signaled)
            self.begin({})
            ended = _started(self.case.words, self.folder, moment)
            if ended.code < 0 and not ended.err:
                self.counts["ended"] += 1  # before or after Python handles signals
            elif ended.seconds > _LIMIT_S:
                self.wrong(moment, {}, f"a new process took {ended.seconds:.1f} s")
            else:
                self.judge(moment, {}, ended)


def _started(words: tuple[str, ...], folder: Path, moment: Moment) -> Ended:
    process = subprocess.Popen(
        [sys.executable, "-m", "dvskit", *words], cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=hear_signals,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    status = Path(f"/proc/{process.pid}/status")
    with suppress(OSError):
        while process.poll() is None and not _handles(status):
            time.sleep(0.005)
    time.sleep(moment.seconds)
    begun = time.monotonic()
    process.send_signal(moment.number)
    try:
        _, err = process.communicate(timeout=2 * _LIMIT_S)
    finally:
        process.kill()
    return Ended(process.returncode, err.decode("utf-8", "replace"), time.monotonic() - begun, 0)


def _handles(status: Path) -> bool:
    lines = dict(row.split(":\t") for row in status.read_text().splitlines() if ":\t" in row)
    return bool(int(lines["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)
