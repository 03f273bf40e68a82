"""Output to the terminal: data on stdout, all else on stderr; a bar on a terminal, else lines."""

from __future__ import annotations

import json
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Protocol, Self

from dvskit import _interrupt
from dvskit._progress import Bar, Display, Nowhere, ProgressState, Terminal
from dvskit.errors import (
    ConfigError,
    FittedWarning,
    LastFrameWarning,
    LeftOutWarning,
    PackageError,
    ScaleWarning,
    UnitWarning,
    count_of,
    printable,
)

if TYPE_CHECKING:
    from dvskit.events import Events

# An address; a Path merges its slashes. Credentials may stand in front of @, and in the query.
_ADDRESS = re.compile(
    r"\b(s3|gs|gcs|https?|memory|file):/+(?:[^\s/@]*@)?([^\s?]*)(\?\S*?(?=:?(?:\s|$)))?"
)
_NOTED = (FittedWarning, ScaleWarning, LeftOutWarning, LastFrameWarning)
_LOG_S = 60.0  # between lines of a log

quiet = False
debug = False
# Set in a process that does one of many jobs: takes the messages in place of stderr.
reports: Reports | None = None
stand_ins: dict[str, str] = {}  # addresses by the temporary files that hold their content
_fitted: dict[str, list[FittedWarning]] = {}  # the recordings fitted in each way


class Reports(Display, Protocol):
    """Takes the messages of one of many jobs, and reports its result itself."""

    def note(self, said: str | Warning) -> None:
        """Take a note for the user."""

    def announce(self, text: str) -> None:
        """Take a message before long work."""


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


def note(said: str | Warning) -> None:
    """Print a note. It is never silenced, so that no loss stays unreported.

    Of recordings fitted in one way only the first is noted; `end_notes` sums up the others.
    """
    if reports is not None:
        reports.note(said)
        return
    if isinstance(said, FittedWarning):
        alike = _fitted.setdefault(said.how, [])
        alike.append(said)
        if len(alike) > 1:
            return
    _line(f"dvskit: note: {for_shell(str(said))}")


def end_notes() -> None:
    """Print a note on the recordings that were fitted like one before."""
    for how, (_, *more) in _fitted.items():
        if more:
            dropped, total = sum(each.dropped for each in more), sum(each.total for each in more)
            what = count_of(len(more), "more recording")
            _line(f"dvskit: note: {FittedWarning(what, how, dropped, total)}")
    _fitted.clear()


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print the library's warnings as notes, without UnitWarning: times have units here."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: object) -> None:
            if category in _NOTED:
                note(message)
            else:
                before(printable(str(message)), category, *where)  # type: ignore[arg-type]

        warnings.showwarning = show  # type: ignore[assignment]
        warnings.simplefilter("ignore", UnitWarning)
        for category in _NOTED:
            warnings.simplefilter("always", category)
        yield


def tell(text: str) -> None:
    """Print a message about a failed command. It is never silenced."""
    _line(f"dvskit: {text}")


def failed(text: str, trace: str = "") -> None:
    """Report that one of many has failed; never silenced. `trace` is printed with --debug."""
    tell(f"failed: {for_shell(text)}")
    if debug and trace:
        print(trace, file=sys.stderr)


def put(*lines: str) -> None:
    """Print lines of results on stdout."""
    print("\n".join(map(printable, lines)), flush=True)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    put(*json.dumps(value, indent=1, ensure_ascii=False).split("\n"))


def _line(text: str) -> None:
    print(printable(shown(text)), file=sys.stderr, flush=True)


# Values in messages of the library: text, a pair, a number, true or false; none, as in "size=".
_VALUE = r"""'[^']*'|"[^"]*"|\([^()]*\)|-?\d+(?:\.\d+)?|True|False|(?=[\s;,)]|$)"""
_KEYWORD = re.compile(rf"(?<![\w:,.=-])(\w+)=({_VALUE})")
_WRONG = re.compile(r"(?:\b[A-Za-z]\w+: )?\b(\w+) = (?=\S+ is n)")
_UNIT = re.compile(r"_(?:us|ms|s|hz|px|mm)$")
# Parameters of the library that are options of another name.
_LIBRARY = {"strict": "salvage", "overwrite": "force", "format": "from_", "camera": "lens"}
# Options of one command that errors of others name.
_ELSEWHERE = {"sort": "dvskit convert --sort"}

options: dict[str, str] = {}  # of the running command, by its parameters
typed: set[str] = set()  # those parameters that were typed


def for_shell(text: str) -> str:
    """Return a message of the library with the options of the command for Python's parameters.

    "pass overwrite=True" becomes "pass --force", and "Style: width_mm = 1.0 is not a number above
    20" becomes "--width 1.0 is not a number above 20" if that was typed.
    """
    return _WRONG.sub(_wrong_for_shell, _KEYWORD.sub(_keyword_for_shell, shown(text)))


def _keyword_for_shell(found: re.Match[str]) -> str:
    name, value = found.groups()
    quoted = re.search(r"--[\w-]+ '?$", found.string[: found.start()])  # --set seed=3
    option = options.get(_parameter(name), _ELSEWHERE.get(name))
    if option is None or quoted:
        return found[0]
    if value.startswith("("):
        value = "x".join(word.strip() for word in value[1:-1].upper().split(","))
    return f"{option} {value.strip(chr(39) + chr(34))}" if value[:1] not in "TF" else option


def _wrong_for_shell(found: re.Match[str]) -> str:
    name = _parameter(found[1])
    return f"{options[name]} " if name in typed else found[0]


def _parameter(name: str) -> str:
    """Return the parameter of the command for a parameter of the library."""
    names = (_LIBRARY.get(name, ""), name, f"{name}_", _UNIT.sub("", name))
    return next((each for each in names if each in options), "")


def refuse(names: Iterable[str], why: str) -> None:
    """Raise ConfigError, with the reason, if one of these options of the command was typed."""
    given = [options[name] for name in names if name in typed]
    if given:
        raise ConfigError(f"{', '.join(given)}: {why}")


def announce_compiling() -> None:
    """Print a message, once, if loops are compiled from here on."""
    from dvskit._compiling import watch_compiling  # here because numba loads slowly

    watch_compiling(
        lambda: announce("compiling the loops of this command; later runs find them on disk")
    )


def check_torch() -> None:
    """Raise ConfigError unless torch is installed, for commands that load it late."""
    if find_spec("torch") is None:
        raise PackageError("torch")


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

    def show(
        self, title: str, total: float | None, unit: str, done: float, remark: str = ""
    ) -> None:
        """Show the amount done in the bar with that title, a new one if it differs."""
        if title != self._title:
            self.close()
            self._bar = self._stack.enter_context(progress(title, total, unit))
            self._title, self.any = title, True
        self._bar(done, remark)

    def close(self) -> None:
        self._stack.close()
        self._title = ""


def serve(url: str, browser: bool) -> None:
    """Print the address of a page, open it if there is a terminal, and wait for Ctrl-C."""
    print(url, flush=True)
    say("Ctrl-C ends it")
    if browser and on_terminal():
        import webbrowser  # here because it loads slowly

        webbrowser.open(url)
    threading.Event().wait()


def typed_us(time_us: int) -> str:
    """Return a time as it is typed, such as 1.5s, 200ms or 30us."""
    for unit, scale in (("s", 1_000_000), ("ms", 1_000)):
        if abs(time_us) >= scale:
            return f"{time_us / scale:.6f}".rstrip("0").rstrip(".") + unit
    return f"{time_us}us"


def describe_us(time_us: int) -> str:
    if abs(time_us) >= 1_000_000:
        return f"{time_us / 1e6:,.3f} s"
    if abs(time_us) >= 1_000:
        return f"{time_us / 1e3:,.3f} ms"
    return f"{time_us} us"
