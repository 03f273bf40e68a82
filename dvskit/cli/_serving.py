"""Serve a page until Ctrl-C: what `view` and `teach` share."""

from __future__ import annotations

import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from dvskit.cli import _console
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.render.serving import LocalServer

PortOption = Annotated[int, typer.Option(help="The port to serve at; 0 takes a free one.")]
BrowserOption = Annotated[bool, typer.Option(help="Open the page in the browser.")]


def check_port(port: int) -> None:
    """Raise ConfigError for an impossible port."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port} is outside 0..65535")


def serve(served: LocalServer, browser: bool) -> None:
    """Print the address of a page, open it if there is a terminal, and wait for Ctrl-C."""
    print(served.url, flush=True)
    _console.say("Ctrl-C ends it")
    if browser and _console.on_terminal():
        webbrowser.open(served.url)
    threading.Event().wait()
