"""What commands that draw plots share: their files, looked at ahead of the work and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dvskit._files import check_output
from dvskit.cli import _console

if TYPE_CHECKING:
    from dvskit.render.plots import Plot


def check_picture(out: Path, force: bool) -> None:
    """Raise what is wrong with a picture's file, before anything is read."""
    from dvskit.render.plots.style import check_suffix

    check_output(check_suffix(out), overwrite=force)


def save_picture(figure: Plot, out: Path, force: bool) -> None:
    """Write a plot, and say so."""
    from dvskit.render import plots

    plots.save(figure, out, overwrite=force)
    _console.say(f"{out}: written")
