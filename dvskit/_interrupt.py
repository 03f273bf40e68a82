"""Ctrl-C, SIGTERM and SIGHUP end the command line within three seconds, at any moment.

Python turns a signal into a KeyboardInterrupt in the main thread. While torch is imported, and
while LLVM compiles, the process ends instead, as after the time limit.

Two things can lose the interrupt:

- Code called back from C (`__del__`, weak references, callbacks of ctypes and Cython) cannot raise.
  Python passes such errors to `sys.unraisablehook`; the hook here interrupts the main thread again.
- Long-running native code does not return to Python. A thread that waits for signals ends the
  process if the main thread has not ended it after `GRACE_S`.
"""

from __future__ import annotations

import _thread
import atexit
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from dvskit import _files

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
GRACE_S = 2.0  # for the main thread to clean up, before the process is ended
_CHILDREN_S = 0.5  # for processes that were started to end by themselves
_TWICE_S = 0.3  # closer signals count as one: a group and its leader may both get it
_AGAIN_S = 0.02  # before a lost interrupt is repeated, so that the code that lost it has ended
_AGAIN = b"\x00"  # in the pipe, which otherwise holds signal numbers
BEGIN_ANEW = "no output was written; run the same command again"


class _State:
    """The signal that arrived, and what the process does about it."""

    def __init__(self) -> None:
        self.received = 0  # its number; 0 for none
        self.raised = False  # whether the main thread was interrupted
        self.repeat = False  # whether the next interrupt repeats one that was lost
        self.advice = BEGIN_ANEW
        self.told = False
        self.finished: int | None = None  # exit code of a finished command


_state = _State()
_telling = threading.Lock()


def advise(text: str) -> None:
    """Set the advice of the line printed after an interrupt."""
    _state.advice = text


def caused(error: BaseException) -> bool:
    """Return whether an error is due to an interrupt.

    After an interrupt any error is: Python 3.11 raises a RuntimeError if one arrives while a class
    is made, and LLVM leaves a loop without its code, of which Numba complains later.
    """
    return isinstance(error, KeyboardInterrupt) or _state.raised


def exit_code() -> int:
    """Return the exit code of an interrupted command: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + int(_state.received or signal.SIGINT)


def report() -> None:
    """Print the line with the advice, once."""
    with _telling:
        if _state.told:
            return
        _state.told = True
        name = signal.Signals(_state.received or signal.SIGINT).name
        how = "interrupted" if name == "SIGINT" else f"ended by {name}"
        advice = _state.advice
        if advice == BEGIN_ANEW and (outputs := _files.outputs()):
            advice = f"{', '.join(map(str, outputs))} was already written"
        with suppress(OSError):  # stderr may be closed
            os.write(2, f"dvskit: {how}; {advice}\n".encode())


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals end the enclosed code; for the main thread of a command's process.

    Signals ignored by the parent process, as with nohup, stay ignored.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    watched = [each for each in STOPPING if signal.getsignal(each) is not signal.SIG_IGN]
    threading.Thread(target=_watch, args=(receiver, watched), daemon=True).start()
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for number in watched:
        signal.signal(number, _handle)
    plain = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            with suppress(OSError):
                sender.send(_AGAIN)
        else:
            plain(unraisable)

    sys.unraisablehook = hook
    code: object = None
    try:
        yield
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
        raise
    except BaseException as error:
        if caused(error):
            report()
            code = exit_code()
        raise
    finally:
        if not _state.received:  # only Python's own cleanup is left: a signal ends it at once
            _state.finished = code if isinstance(code, int) else 1
        elif isinstance(code, int):
            _leave(code)


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call another handler for the signals within; the time limit still applies."""
    before = {
        each: signal.signal(each, partial(_note, handler))
        for each in STOPPING
        if each == signal.SIGINT or signal.getsignal(each) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, plain in before.items():
            signal.signal(number, plain)


def _note(
    handler: Callable[[int, FrameType | None], None], number: int, frame: FrameType | None
) -> None:
    _state.received = _state.received or number
    handler(number, frame)


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.finished is not None:
        return
    first, _state.raised = not _state.raised, True
    if _state.repeat or first:
        _state.repeat, _state.received = False, _state.received or number
        if _loading("torch") or _compiles(frame):
            _end()
        raise KeyboardInterrupt


def _loading(name: str) -> bool:
    """Return whether a module is being imported. The C++ code of torch aborts on an error there."""
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def _compiles(frame: FrameType | None) -> bool:
    """Return whether LLVM has called a frame. It goes on after an error there, and may crash."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("llvmlite."):
            return True
        frame = frame.f_back
    return False


def _watch(receiver: socket.socket, watched: list[signal.Signals]) -> None:
    """End the process when its time is up, or at once on a second signal."""
    first: float | None = None
    while True:
        receiver.settimeout(None if first is None else max(0.0, first + GRACE_S - time.monotonic()))
        try:
            numbers = receiver.recv(64)
        except (TimeoutError, BlockingIOError):
            _end()
        signals = [number for number in numbers if number in watched]
        if signals:
            _state.received = _state.received or signals[0]  # the main thread may be elsewhere
            now = time.monotonic()
            if _state.finished is not None or (first is not None and now - first > _TWICE_S):
                _end()
            first = now if first is None else first
        elif _AGAIN[0] in numbers:
            time.sleep(_AGAIN_S)
            _state.repeat = True
            _thread.interrupt_main()


def _leave(code: int) -> NoReturn:
    """End an interrupted process that has unwound, without waiting for its threads.

    Python itself would end it by SIGINT if the interrupt passed through an extension module. An
    interrupt between the creation of a file and the code that removes it has left the file.
    """
    _files.discard_all()
    atexit._run_exitfuncs()
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or its reader gone
            stream.flush()


def _end() -> NoReturn:
    """End the process: remove unfinished outputs, and end its child processes."""
    if _state.finished is not None:
        _flush()
        os._exit(_state.finished)
    from dvskit import _files  # not earlier: a command that has loaded nothing has written nothing

    multiprocessing = sys.modules.get("multiprocessing")
    children = multiprocessing.active_children() if multiprocessing is not None else []
    for child in children:
        child.terminate()  # it removes its unfinished outputs
    until = time.monotonic() + _CHILDREN_S
    for child in children:
        child.join(max(0.0, until - time.monotonic()))
        child.kill()
    _files.discard_all()
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\r\x1b[?25h\x1b[K")  # bars hide the cursor
    report()
    os._exit(exit_code())


def begin_worker(threads: int) -> None:
    """Prepare a process that does jobs of its parent, in as many native threads.

    The parent handles signals, and ends the process by SIGTERM. The process ends when its parent
    has ended, too, without its unfinished files.
    """
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    os.environ["DVSKIT_THREADS"] = str(threads)

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            _files.discard_all()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
