"""`dvskit view`: recordings in a browser, served from this machine alone."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from dvskit.cli import _console
from dvskit.cli._completion import model_names
from dvskit.cli._judging import Reader
from dvskit.cli._options import FormatOption, Salvage, SizeOption
from dvskit.cli._viewed import viewed_from
from dvskit.errors import ConfigError


def view(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Event files, videos or folders of images, shown side by side; without any the "
            "page is empty, and files can be dropped on it. With --model also one of "
            "udp://HOST:PORT and -, as its events come.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model folder, or a shipped model's name: beside each cloud stands what it is "
            "taken for, and how sure that is.",
            show_default=False,
            autocompletion=model_names,
        ),
    ] = None,
    camera: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default=False,
            help="With --model: emulate what a camera sees and decide on it; its number, from 0.",
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
    viewed = viewed_from(files or [], camera, model, Reader(from_, size, salvage))
    from dvskit.render.view import View

    title = ", ".join(each.name for each in viewed) or "dvskit"
    with View(viewed, title=title, port=port) as served:
        print(served.url, flush=True)
        _console.say("Ctrl-C ends it")
        if browser and _console.on_terminal():
            webbrowser.open(served.url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return
