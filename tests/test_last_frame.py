"""A clip that lacks only its last frame is a sample without it, with a warning."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dvskit.datasets import Emulation, open_samples
from dvskit.datasets.files import without_last_frame
from dvskit.errors import LastFrameWarning, VideoError
from tests.laws import refused

FRAMES = 12


def clip(path: Path, seed: int = 0, lost: int = 0) -> Path:
    """Write an AVI file of 12 pictures, each whole by itself, cut within one of the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    wall = rng.integers(60, 200, (48, 64, 1))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for k in range(FRAMES):
            image = np.broadcast_to(wall, (48, 64, 3)).astype(np.uint8)
            image[10:30, 4 * k : 4 * k + 12] = 230
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    if lost:
        data = path.read_bytes()
        data = data[: data.index(b"idx1")]
        for _ in range(lost):
            data = data[: data.rindex(b"00dc")]
        path.write_bytes(data + b"00dc\x00\x04\x00\x00\xff\xd8")
    return path


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))


def test_only_a_missing_last_frame_is_accepted(tmp_path):
    seen = [
        without_last_frame(clip(tmp_path / f"{lost}.avi", lost=lost), Emulation())
        for lost in range(4)
    ]
    assert [each is None for each in seen] == [True, False, True, True]
    assert sum(1 for _ in seen[1]) == FRAMES - 1


def test_its_events_are_those_of_the_other_frames(tmp_path):
    clip(tmp_path / "set" / "a" / "1.avi", lost=1)
    clip(tmp_path / "set" / "b" / "2.avi")
    clip(tmp_path / "set" / "b" / "3.avi", lost=2)
    cut = open_samples(tmp_path / "set")
    names = [row.name for row in cut.rows]
    with pytest.warns(LastFrameWarning, match=r"1\.avi: "):
        given = cut.events(names.index("a/1.avi"))
    whole = cut.events(names.index("b/2.avi"))
    until = whole.t < given.t[-1]
    for name in ("t", "x", "y", "p"):
        assert np.array_equal(getattr(whole, name)[until], getattr(given, name)[: until.sum()])
    assert 0 < len(whole) - len(given) < 0.2 * len(whole)
    with refused(VideoError, "3.avi"):
        cut.events(names.index("b/3.avi"))
