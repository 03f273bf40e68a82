"""Pictures beside their stored references: the same to the eye, whatever drew the letters.

    assert matches("rate", picture)

Both are brought to the reference's size, at most 300 pixels wide; it is stored in 32 steps of each
color. A pixel is off if it is darker or brighter by more than a tenth, in any of red, green and
blue, than all that stands within three pixels of it in the other picture, either way round: letters
and lines may move by so much, but not vanish, come up, or change their color. What counts is the
share of such pixels in the worst tile of 16 x 16. Pictures of few, smooth and large things serve
best. Of the plots here the worst tile has 0.01 to 0.16 off between matplotlib 3.9 and 3.11, whose
letters differ; a legend, a line, an axis or a label less, or a color changed, 0.21 to 0.5.

    python -m tests.pictures [TEST ...]     writes the references anew; look at them before a commit
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

REFERENCES = Path(__file__).resolve().parent / "references"
RENEW = "DVSKIT_RENEW_PICTURES"
WIDTH = 300
TILE = 16
MOST_BYTES = 20_000
_LEVELS = 25  # of 255
_REACH = np.ones((7, 7), np.uint8)  # three pixels either way


@dataclass(frozen=True)
class Comparison:
    """A picture beside its reference: true where it is near enough. Its repr says where it is not.

    off, at   the share of pixels that are off in the worst tile, and its upper left pixel
    """

    name: str
    off: float
    at: tuple[int, int]
    tolerance: float
    note: str = ""

    def __bool__(self) -> bool:
        return self.off <= self.tolerance

    def __repr__(self) -> str:
        if self.note:
            return f"<{self.name}: {self.note}>"
        return (
            f"<{self.name}: {self.off:.3f} of the tile at {self.at} is off, of "
            f"{self.tolerance:g} allowed; see {_seen(self.name)}>"
        )


def matches(
    name: str, picture: np.ndarray | bytes | Path, *, tolerance: float = 0.15
) -> Comparison:
    """Compare a picture with tests/references/NAME.png; assert what comes back.

    picture: (H, W, 3) uint8 RGB, or an encoded picture, or its file. Of another shape (by more than
    3 % of a side) it is not the same picture.
    """
    shown = as_rgb(picture)
    file = REFERENCES / f"{name}.png"
    if os.environ.get(RENEW):
        data = encoded(stored(shown))
        assert len(data) <= MOST_BYTES, f"{file}: {len(data)} bytes; draw something simpler"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    if not file.is_file():
        note = "has no reference; python -m tests.pictures writes it"
        return Comparison(name, 1.0, (0, 0), tolerance, note)
    reference = as_rgb(file)
    ratio = shown.shape[0] / shown.shape[1] * reference.shape[1] / reference.shape[0]
    if abs(ratio - 1) > 0.03:
        note = f"{shown.shape[1]} x {shown.shape[0]} pixels are of another shape"
        return Comparison(name, 1.0, (0, 0), tolerance, note)
    size = reference.shape[1], reference.shape[0]
    off, at = difference(reference, cv2.resize(shown, size, interpolation=cv2.INTER_AREA))
    found = Comparison(name, off, at, tolerance)
    if not found:
        _seen(name).parent.mkdir(exist_ok=True)
        _seen(name).write_bytes(encoded(shown))
    return found


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Return the share of pixels of (H, W, 3) that are off in the worst tile, and where it is."""
    off = np.maximum(_outside(one, other), _outside(other, one)).max(2) > _LEVELS
    padded = np.pad(off, ((0, max(0, TILE - off.shape[0])), (0, max(0, TILE - off.shape[1]))))
    sums = cv2.integral(padded.astype(np.uint8))
    tiles = sums[TILE:, TILE:] - sums[:-TILE, TILE:] - sums[TILE:, :-TILE] + sums[:-TILE, :-TILE]
    row, column = np.unravel_index(int(tiles.argmax()), tiles.shape)
    return float(tiles.max()) / TILE**2, (int(column), int(row))


def _outside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return by how much each value of one is outside of those near it in the other."""
    low, high = cv2.erode(other, _REACH).astype(int), cv2.dilate(other, _REACH).astype(int)
    return np.maximum(low - one, one - high)


def as_rgb(picture: np.ndarray | bytes | Path) -> np.ndarray:
    """Return a picture as (H, W, 3) uint8 RGB."""
    if isinstance(picture, Path):
        picture = picture.read_bytes()
    if isinstance(picture, bytes):
        picture = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    return np.ascontiguousarray(picture[:, :, :3])


def stored(picture: np.ndarray) -> np.ndarray:
    """Return a picture as a reference is stored: small, and in few colors."""
    if picture.shape[1] > WIDTH:
        height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
        picture = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.rint(np.rint(picture * (31 / 255)) * (255 / 31)).astype(np.uint8)


def encoded(picture: np.ndarray) -> bytes:
    """Return a picture as PNG, as small as it gets."""
    _, data = cv2.imencode(".png", picture[:, :, ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 9))
    return data.tobytes()


def _seen(name: str) -> Path:
    return Path(tempfile.gettempdir()) / "dvskit-pictures" / f"{name}.png"


if __name__ == "__main__":
    import pytest

    os.environ[RENEW] = "1"
    sys.exit(pytest.main(sys.argv[1:] or ["tests"]))
