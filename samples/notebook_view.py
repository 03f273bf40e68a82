"""A picture of what a notebook shows of events, recordings, clips and work that goes on."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import dvskit
from dvskit._progress import ProgressState, bar_html

_PAGE = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 16px 20px; background: #fff; color: #1b1d26; width: 700px;
  font: 13px/1.45 "DejaVu Sans", sans-serif; }
.in { font: 12.5px "DejaVu Sans Mono", monospace; background: #f5f5f4; border: 1px solid #e2e2de;
  padding: 7px 10px; margin: 0 0 10px; white-space: pre; }
.out { margin: 0 0 18px 10px; }
</style>"""


def cells(recording: Path, frames: list[tuple[int, Any]]) -> list[tuple[str, str]]:
    """Return what is typed into each cell, and the HTML that comes out."""
    source: Any = dvskit.open_events(recording)
    events: Any = source.load()
    clip: Any = dvskit.emulate(frames, seed=3)
    plot = base64.b64encode(dvskit.render.plots.rate(events)._repr_png_()).decode()
    return [
        (f'events = dvskit.load_events("{recording.name}")\nevents', events._repr_html_()),
        (
            f'dvskit.open_events("{recording.name}")',
            source._repr_html_().replace(escape(str(recording)), recording.name),
        ),
        ("clip = dvskit.emulate(frames, seed=3)\nclip", clip._repr_html_()),
        ('dvskit.save_events(dvskit.progress(clip), "clip.raw")', _bar(frames)),
        (
            "dvskit.render.plots.rate(events)",
            f'<img width="499" src="data:image/png;base64,{plot}">',
        ),
    ]


def _bar(frames: list[tuple[int, Any]]) -> str:
    """Return the bar when two thirds are done, without a time, which would never be the same."""
    done = len(frames) * 2 // 3
    clip = dvskit.emulate(frames[:done], seed=3)
    count = sum(len(block) for block in clip)
    return bar_html(
        ProgressState("events", done, len(frames), "frames", f"{count:,} events", 0.0, ended=False)
    )


def photograph(recording: Path, frames: list[tuple[int, Any]], out: Path) -> bool:
    """Write the picture of the cells; False where there is no Chromium to draw it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return False
    body = "".join(
        f'<div class="in">{escape(code)}</div><div class="out">{html}</div>'
        for code, html in cells(recording, frames)
    )
    with tempfile.TemporaryDirectory() as name:
        page, shot = Path(name) / "cells.html", Path(name) / "cells.png"
        page.write_text(_PAGE + body, encoding="utf-8")
        flags = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=760,1600"
        subprocess.run(
            [browser, *flags.split(), f"--user-data-dir={name}/profile", f"--screenshot={shot}",
             page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        picture = cv2.imread(str(shot))
    assert picture is not None
    used = np.flatnonzero((picture != 255).any((1, 2)))
    cv2.imwrite(str(out), picture[: used[-1] + 17], (cv2.IMWRITE_PNG_COMPRESSION, 9))
    return True
