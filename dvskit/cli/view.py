"""`dvskit view`: recordings in a browser, served from this machine alone."""

from __future__ import annotations

import functools
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._clips import open_shown
from dvskit.cli._options import FormatOption, Salvage, SizeOption
from dvskit.errors import ConfigError


def view(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Event files, videos or folders of images, shown side by side; without any the "
            "page is empty, and files can be dropped on it.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="The port to serve at; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    from_: FormatOption = None,
    size: SizeOption = None,
    salvage: Salvage = False,
) -> None:
    """Look at recordings of any length in the browser; Ctrl-C ends it.

    The page is served to this machine alone: nothing leaves it. Its address is printed on standard
    output. More event files and videos can be dropped on it. Videos are emulated.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port} is outside 0..65535")
    for file in files or []:
        _check_is_kept(file)
    opened = functools.partial(open_shown, from_=from_, size=size, salvage=salvage)
    for file in files or []:
        for text in opened(file).assumptions:
            _console.note(f"{file}: {text}")
    from dvskit.render.view import View, Viewed

    viewed = [Viewed(file.name, functools.partial(opened, file)) for file in files or []]
    title = ", ".join(file.name for file in files or []) or "dvskit"
    with View(viewed, title=title, port=port) as served:
        print(served.url, flush=True)
        _console.say("Ctrl-C ends it")
        if browser and _console.on_terminal():
            webbrowser.open(served.url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


def _check_is_kept(path: Path) -> None:
    """Raise ConfigError for what can be read once only."""
    address = str(path)
    pipe = path.exists() and not path.is_file() and not path.is_dir()
    if address == "-" or address.startswith("udp:") or pipe:
        raise ConfigError(f"{path}: is read once only; write it to a file first")
