"""The pictures of clouds that tests compare with what is drawn now.

    python -m tests.references.make

writes them anew, after a wanted change of how clouds look. See them before you keep them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dvskit import Events, render
from dvskit.render import CloudView

FOLDER = Path(__file__).parent


def spiral(count: int = 1500) -> Events:
    """A dot that runs in circles, and a corner with many events."""
    turn = np.linspace(0, 6 * np.pi, count)
    x, y = 24 + 18 * np.cos(turn), 18 + 13 * np.sin(turn)
    hot = np.arange(count) % 4 == 0
    return Events(
        t=np.arange(count) * 60,
        x=np.where(hot, 3, x).astype(int),
        y=np.where(hot, 3, y).astype(int),
        p=np.arange(count) % 3 > 0,
        size=(48, 36),
    )


# Name: the view, width and height.
CASES = {
    "slant": (CloudView(title="Spiral"), 320, 240),
    "front": (CloudView(azimuth_deg=90, elevation_deg=0, colour=render.by_count), 300, 240),
    "light": (CloudView(dark=False, azimuth_deg=-150, colour=render.by_polarity), 264, 204),
    "print": (CloudView(dark=False, dpi=80, title="A column"), 277, 208),
    "small": (CloudView(), 120, 90),
}


def draw(name: str) -> np.ndarray:
    """Return a picture, RGB."""
    view, width, height = CASES[name]
    return render.cloud_image(spiral(), view=view, width_px=width, height_px=height)


def main() -> None:
    for name in CASES:
        path = FOLDER / f"cloud_{name}.png"
        cv2.imwrite(str(path), draw(name)[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
