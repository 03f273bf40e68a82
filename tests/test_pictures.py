"""The comparison of pictures: it bears what letters do, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from tests import pictures
from tests.pictures import difference, encoded, matches


def drawing():
    """White, with a frame, a curve and a block of small marks in black."""
    picture = np.full((160, 320, 3), 255, np.uint8)
    picture[20, 20:300] = picture[140, 20:300] = picture[20:140, 20] = 120
    picture[30:140:8, 4:16] = picture[31:140:8, 4:16] = 0
    columns = np.arange(20, 300)
    for width in range(3):
        rows = np.rint(80 + width + 40 * np.sin(columns / 30)).astype(int)
        picture[rows, columns] = (213, 94, 0)
    picture[4:12, 200:290:3] = 60
    return picture


@pytest.fixture
def references(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "REFERENCES", tmp_path)
    monkeypatch.setattr(pictures, "_seen", lambda name: tmp_path / "seen" / f"{name}.png")
    return tmp_path


def test_a_picture_matches_itself_at_another_size_and_a_little_moved(references):
    picture = drawing()
    (references / "a.png").write_bytes(encoded(picture))
    assert matches("a", picture).off == 0
    assert matches("a", np.repeat(np.repeat(picture, 2, 0), 2, 1))
    assert matches("a", np.roll(picture, (1, -1), (0, 1)))
    assert matches("a", encoded(picture))


@pytest.mark.parametrize(
    "part",
    [np.s_[25:145, 4:18], np.s_[4:12, 200:290], np.s_[25:135, 100:200]],
    ids=["axis", "legend", "curve"],
)
def test_what_goes_missing_or_comes_up_does_not_match(references, part):
    picture, bare = drawing(), drawing()
    bare[part] = 255
    (references / "a.png").write_bytes(encoded(picture))
    assert not matches("a", bare)
    assert difference(picture, bare) == difference(bare, picture)
    assert (references / "seen" / "a.png").is_file()


def test_another_colour_does_not_match(references):
    picture, blue = drawing(), drawing()
    blue[np.all(picture == (213, 94, 0), axis=2)] = (0, 114, 178)
    (references / "a.png").write_bytes(encoded(picture))
    assert not matches("a", blue)


def test_another_shape_and_no_reference_do_not_match(references):
    (references / "a.png").write_bytes(encoded(drawing()))
    assert "another shape" in repr(matches("a", drawing()[:150]))
    assert "no reference" in repr(matches("b", drawing()))


def test_references_are_written_when_asked(references, monkeypatch):
    monkeypatch.setenv(pictures.RENEW, "1")
    assert matches("a", drawing())
    monkeypatch.delenv(pictures.RENEW)
    assert matches("a", drawing())


def test_the_stored_references_are_small():
    files = sorted((pictures.REFERENCES).glob("*.png"))
    assert all(file.stat().st_size <= pictures.MOST_BYTES for file in files)
