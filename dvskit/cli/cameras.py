"""`dvskit cameras`: the connected USB event cameras."""

from __future__ import annotations

import dataclasses

from dvskit.cli import _console
from dvskit.cli._options import Json
from dvskit.formats.usb_driver import CAMERAS, list_cameras


def cameras(json: Json = False) -> None:
    """List the connected USB event cameras: name, serial number, and bus with its speed.

    The first column is the value of --camera: dvskit convert --camera evk4 out.raw. Webcams are
    numbered from 0, and not listed.
    """
    found = list_cameras()
    if json:
        _console.print_json([dataclasses.asdict(each) for each in found])
        return
    if not found:
        _console.say(f"no USB event camera is connected; supported: {', '.join(CAMERAS)}")
        return
    rows = [(each.camera or "-", each.name, each.serial or "-", each.connection) for each in found]
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    for row, each in zip(rows, found, strict=True):
        start = "  ".join(f"{word:{width}}" for word, width in zip(row, wide, strict=False))
        _console.put(f"{start}  {row[3]}" + (f"  {each.problem}" if each.problem else ""))
