"""Pictures beside their stored references: the same to the eye, whatever drew the letters.

    assert matches("rate", picture)

Both are brought to the reference's size, at most 320 pixels wide. A pixel is off by as much as it
is darker or brighter, in any of red, green and blue, than all that stands within two pixels of it
in the other picture, either way round: letters and lines may move by two pixels, but not vanish,
come up, or change their colour. What counts is the worst tile of 16 x 16 pixels, its mean in 0..1.

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
WIDTH = 320
TILE = 16
MOST_BYTES = 20_000
_REACH = np.ones((5, 5), np.uint8)  # two pixels either way


@dataclass(frozen=True)
class Comparison:
    """A picture beside its reference: true where it is near enough. Its repr says where it is not.

    off, at   the mean difference of the worst tile, 0..1, and the tile's upper left pixel
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
            f"<{self.name}: off by {self.off:.4f} in the tile at {self.at}, of "
            f"{self.tolerance:g} allowed; see {_seen(self.name)}>"
        )


def matches(
    name: str, picture: np.ndarray | bytes | Path, *, tolerance: float = 0.02
) -> Comparison:
    """Compare a picture with tests/references/NAME.png; assert what comes back.

    picture: (H, W, 3) uint8 RGB, or an encoded picture, or its file. Of another shape (by more than
    3 % of a side) it is not the same picture.
    """
    shown = as_rgb(picture)
    file = REFERENCES / f"{name}.png"
    if os.environ.get(RENEW):
        data = encoded(reduced(shown, WIDTH))
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
    """Return how far two pictures (H, W, 3) differ in their worst tile, 0..1, and where it is."""
    off = np.maximum(_outside(one, other), _outside(other, one)).max(2) / 255
    height, width = off.shape
    # Tiles that overlap by half, so that what lies on a border is in the middle of one.
    sums = cv2.integral(off)
    rows = range(0, max(1, height - TILE // 2), TILE // 2)
    columns = range(0, max(1, width - TILE // 2), TILE // 2)
    worst, at = 0.0, (0, 0)
    for row in rows:
        for column in columns:
            last_row, last_column = min(height, row + TILE), min(width, column + TILE)
            total = sums[last_row, last_column] - sums[row, last_column]
            total += sums[row, column] - sums[last_row, column]
            if total > worst:
                worst, at = float(total), (column, row)
    return worst / TILE**2, at


def _outside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far each value of one is outside of those near it in the other."""
    low, high = cv2.erode(other, _REACH).astype(int), cv2.dilate(other, _REACH).astype(int)
    return np.maximum(0, np.maximum(low - one, one - high))


def as_rgb(picture: np.ndarray | bytes | Path) -> np.ndarray:
    """Return a picture as (H, W, 3) uint8 RGB."""
    if isinstance(picture, Path):
        picture = picture.read_bytes()
    if isinstance(picture, bytes):
        picture = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    return np.ascontiguousarray(picture[:, :, :3])


def reduced(picture: np.ndarray, width: int) -> np.ndarray:
    """Return a picture at most `width` pixels wide."""
    if picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


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
