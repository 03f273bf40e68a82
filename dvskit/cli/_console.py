"""Output to the terminal: data on stdout, all else on stderr; a bar on a terminal, else lines."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import typer

from dvskit import _files, _interrupt
from dvskit._arguments import parse_us
from dvskit._progress import Bar, Display, Nowhere, ProgressState, Terminal
from dvskit.errors import (
    ConfigError,
    DvskitError,
    LastFrameWarning,
    LeftOutWarning,
    PackageError,
    ScaleWarning,
    UnitWarning,
    explained,
    one_line,
    printable,
)
from dvskit.formats.network import lost_senders

if TYPE_CHECKING:
    from dvskit.events import Events

# A Python keyword with its value, names of times, fps, or a function; then the option or command.
_PYTHON_AND_SHELL = re.compile(
    r"(?:\w+=(?:\([^()]*\)|\S+)|\w+_us(?: and \w+_us)*|fps|dvskit\.\w+) \(((?:--|dvskit )[^()]+)\)"
)

# An address; a Path merges its slashes. Credentials may stand in front of @, and in the query.
_ADDRESS = re.compile(
    r"\b(s3|gs|gcs|https?|memory|file):/+(?:[^\s/@]*@)?([^\s?]*)(\?\S*?(?=:?(?:\s|$)))?"
)

_LOST_SENDER = 3  # the exit code if the sender of a stream was lost

quiet = False
debug = False
# Set in a process that does one of many jobs: takes the messages in place of stderr.
reports: Reports | None = None

Function = TypeVar("Function", bound=Callable[..., Any])


class Reports(Display, Protocol):
    """Takes the messages of one of many jobs, and reports its result itself."""

    def note(self, text: str) -> None:
        """Take a note for the user."""

    def announce(self, text: str) -> None:
        """Take a message before long work."""


stand_ins: dict[str, str] = {}  # addresses by the temporary files that hold their content


def shown(text: str) -> str:
    """Return a text with addresses, for temporary files too, without the credentials in them."""
    for local, address in stand_ins.items():
        text = text.replace(local, address)
    return _ADDRESS.sub(lambda found: f"{found[1]}://{'/' * (found[1] == 'file')}{found[2]}", text)


def on_terminal() -> bool:
    """Return whether stderr is a terminal and -q was not given."""
    return not quiet and sys.stderr.isatty()


def say(text: str) -> None:
    """Print a message about finished work; -q silences it."""
    if not quiet and reports is None:
        _line(text)


def announce(text: str) -> None:
    """Print a message before long work, once for many jobs; -q silences it."""
    if reports is None:
        say(text)
    else:
        reports.announce(text)


def log(text: str) -> None:
    """Print a line about long work where there is no bar, for logs; -q silences it."""
    if not quiet and reports is None and not on_terminal():
        _line(f"dvskit: {text}")


def note(text: str) -> None:
    """Print a note. It is never silenced, so that no loss stays unreported."""
    if reports is None:
        _line(f"dvskit: note: {for_shell(text)}")
    else:
        reports.note(for_shell(text))


def tell(text: str) -> None:
    """Print a message about a failed command. It is never silenced."""
    _line(f"dvskit: {text}")


def put(*lines: str) -> None:
    """Print lines of results on stdout."""
    print("\n".join(map(printable, lines)), flush=True)


def _line(text: str) -> None:
    print(printable(shown(text)), file=sys.stderr, flush=True)


def failed(text: str, trace: str = "") -> None:
    """Report that one of many has failed; never silenced. `trace` is printed with --debug."""
    tell(f"failed: {text}")
    if debug and trace:
        print(trace, file=sys.stderr)


_NOTED = (ScaleWarning, LeftOutWarning, LastFrameWarning)


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print the library's warnings as notes, without UnitWarning: times have units here."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if category in _NOTED:
                note(str(message))
            else:
                before(printable(str(message)), category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        warnings.simplefilter("ignore", UnitWarning)
        for category in _NOTED:
            warnings.simplefilter("always", category)
        yield


def for_shell(text: str) -> str:
    """Return a message of the library in the words of the shell.

    The library names a fix for Python, then for the shell: "pass overwrite=True (--force)".
    """
    return _PYTHON_AND_SHELL.sub(r"\1", shown(text))


def announce_compiling() -> None:
    """Print a message, once, if loops are compiled from here on."""
    from dvskit._compiling import watch_compiling  # here because numba loads slowly

    watch_compiling(
        lambda: announce("compiling the loops of this command; later runs find them on disk")
    )


def print_json(value: object) -> None:
    put(*json.dumps(value, indent=1, ensure_ascii=False).split("\n"))


_LOG_S = 60.0  # between lines of a log
_FULL = (  # a disk of none of the outputs
    "; free some space, or name other folders for temporary files (TMPDIR) and for compiled loops "
    "(NUMBA_CACHE_DIR)"
)


def help_of(function: Callable[..., Any]) -> str:
    """Return a docstring as help text, without line breaks inside paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n"))


def check_torch() -> None:
    """Raise ConfigError unless torch is installed, for commands that load it late."""
    if find_spec("torch") is None:
        raise PackageError("torch")


def command(function: Function, interrupted: str = _interrupt.BEGIN_ANEW) -> Function:
    """Turn the exceptions of a command into one line on stderr and an exit code.

    interrupted  how to continue after Ctrl-C
    """

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _interrupt.advise(interrupted)
        _files.written = {}
        lost_senders.clear()
        try:
            result = function(*args, **kwargs)
        except BrokenPipeError:
            # The reader of a pipe has seen enough; python must not complain while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (KeyboardInterrupt, Exception) as error:
            if _interrupt.caused(error):
                _interrupt.report()
                raise typer.Exit(_interrupt.exit_code()) from None
            known = explained(error)
            if debug or not isinstance(known, DvskitError | OSError | MemoryError):
                raise
            fix = _FULL if isinstance(known, OSError) and known.errno == errno.ENOSPC else ""
            _line(f"dvskit: error: {for_shell(one_line(known))}{fix}")
            # ConfigError includes wrong option values, which the parser cannot detect.
            code = 2 if isinstance(known, ConfigError) else 1
            raise typer.Exit(_LOST_SENDER if lost_senders else code) from None
        finally:
            _note_left_over()
        if lost_senders:
            tell(f"error: {lost_senders[0]}: the sender was lost; its events so far were used")
            raise typer.Exit(_LOST_SENDER)
        return result

    return guarded  # type: ignore[return-value]


def _note_left_over() -> None:
    for target, paths in _files.left_over():
        names = ", ".join(path.name for path in paths)
        note(f"{target}: a killed command left {names} beside it; remove this if none writes it")


class Stop:
    """Whether a signal asked the command to stop: `asked`."""

    def __init__(self) -> None:
        self.asked = False
        self.waiting = False  # whether a signal may interrupt the main thread at once

    def handle(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if first and self.waiting:
            raise KeyboardInterrupt

    def until(self, blocks: Iterable[Events]) -> Iterator[Events]:
        """Yield blocks until their end, or until Ctrl-C.

        Only waiting is interrupted: the work on a block is completed.
        """
        waited = iter(blocks)
        while not self.asked:
            self.waiting = True
            try:
                block = next(waited, None)
            except KeyboardInterrupt:
                self.asked = True
                return
            finally:
                self.waiting = False
            if block is None:
                return
            yield block


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let Ctrl-C stop the work between two blocks, so that the output is complete up to there.

    One job of many is interrupted as usual: its output would look complete.
    """
    stop = Stop()
    if reports is not None:
        yield stop
        return
    with _interrupt.handled_by(stop.handle):
        yield stop


class _LogLines:
    """Writes a line on stderr every minute, for a log: `dvskit: clip.mp4: 12/40 frames, ...`."""

    def __init__(self) -> None:
        self._next_s = _LOG_S

    def show(self, state: ProgressState) -> None:
        if state.seconds >= self._next_s and not state.ended:
            self._next_s = state.seconds + _LOG_S
            _line(f"dvskit: {state.title}: {state.words}")


def progress(title: str, total: float | None, unit: str) -> Bar:
    """Show progress: call with the amount done so far, and a remark.

    A bar on a terminal, else a line a minute, nothing with -q.
    """
    if reports is not None:
        return Bar(title, total, unit, display=reports)
    display = Nowhere() if quiet else Terminal() if on_terminal() else _LogLines()
    return Bar(title, total, unit, display=display)


class Bars:
    """Progress bars, one after the other, each shown at its first report."""

    def __init__(self) -> None:
        self._stack, self._title = ExitStack(), ""
        self.any = False  # whether a bar was shown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, title: str, total: float, unit: str, done: float, remark: str = "") -> None:
        """Show the amount done in the bar with that title, a new one if it differs."""
        if title != self._title:
            self.close()
            self._bar = self._stack.enter_context(progress(title, total, unit))
            self._title, self.any = title, True
        self._bar(done, remark)

    def close(self) -> None:
        self._stack.close()
        self._title = ""


def parse_time_us(text: str, option: str = "") -> int:
    """Return the microseconds of a text such as 1.5s, 200ms or 30us.

    Raises ConfigError, with the name of the `option`.
    """
    exact_us = parse_us(text)
    if exact_us is None:
        words = f"{option} {text!r}".lstrip()
        raise ConfigError(f"{words} is not a time with a unit, such as 1.5s, 200ms or 30us")
    return round(exact_us)


def parse_duration_us(text: str, option: str) -> int:
    """Return the microseconds of a text, at least 1. Raises ConfigError."""
    time_us = parse_time_us(text, option)
    if time_us < 1:
        raise ConfigError(f"{option} {text} is no duration; give one such as 20ms")
    return time_us


def describe_us(time_us: int) -> str:
    if abs(time_us) >= 1_000_000:
        return f"{time_us / 1e6:,.3f} s"
    if abs(time_us) >= 1_000:
        return f"{time_us / 1e3:,.3f} ms"
    return f"{time_us} us"
