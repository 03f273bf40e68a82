"""Every line of the page for newcomers runs as it stands and gives what stands behind it."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import dvskit
from tests.test_events import make

PAGE = Path(__file__).resolve().parent.parent / "samples" / "twenty_lines.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def made(folder: Path) -> None:
    """A bar that moves over 1.5 s, as a video and as events, and a digit of noise."""
    frames = []
    for number in range(45):
        frame = np.full((48, 64), 60, np.uint8)
        frame[:, number : number + 6] = 200
        frames.append((number * 33_333, frame))
    dvskit.video.write_video(frames, folder / "video.mp4", fps=30)
    dvskit.save_events(dvskit.emulate(frames), folder / "events.raw")
    digit = make(2000, size=(34, 34))
    words = np.stack([digit.x, digit.y, digit.p * 128, digit.t // 256, digit.t % 256], axis=1)
    (folder / "digit.bin").write_bytes(words.astype(np.uint8).tobytes())


def real(folder: Path, data: Path) -> None:
    shutil.copy(data / "recordings" / "evt3_gen41_1280x720.raw", folder / "events.raw")
    shutil.copy(data / "video" / "carphone_pristine.mp4", folder / "video.mp4")
    shutil.copy(data / "recordings" / "nmnist_34x34.bin", folder / "digit.bin")


@pytest.fixture(params=["made", "real"])
def folder(request, tmp_path, monkeypatch) -> Path:
    if request.param == "made":
        made(tmp_path)
    else:
        real(tmp_path, request.getfixturevalue("data"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


def lines(block: str) -> list[tuple[str, str]]:
    """Return each line's code and what stands behind it."""
    return [tuple(map(str.strip, line.split("  # "))) for line in block.strip().splitlines()]


def value_of(line: str, names: dict[str, object]) -> object:
    """Run a line; return what it gives, or gives to a name."""
    (statement,) = ast.parse(line).body
    if isinstance(statement, ast.Expr):
        return eval(line, names)
    exec(line, names)
    assert isinstance(statement, ast.Assign)
    return names[ast.unparse(statement.targets[0])]


def test_there_are_twenty_lines_and_each_is_read_without_scrolling():
    *steps, _ = BLOCKS[1:]
    assert sum(len(lines(block)) for block in steps) == 20
    assert all(len(line) <= 100 for block in BLOCKS for line in block.splitlines())


@pytest.mark.slow
def test_each_line_gives_what_stands_behind_it_also_when_it_is_run_again(folder):
    imports, *steps, wrong = BLOCKS
    names: dict[str, object] = {}
    exec(imports, names)
    for _ in range(2):
        for block in steps:
            for line, said in lines(block):
                kind = re.match(r"-> (\w+):", said)
                assert kind, line
                value = value_of(line, names)
                assert ("None" if value is None else type(value).__name__) == kind[1], line
    for name in ("events", "part", "on", "corner", "emulated", "noise"):
        assert len(names[name]) > 0, name
    assert names["tensor"].shape == (20, 2, *reversed(names["events"].size))
    assert dvskit.load_events("emulated.raw") == names["emulated"]
    for name in ("cropped.npz", "rate.png", "cloud.html"):
        assert (folder / name).stat().st_size > 500
    for line, said in lines(wrong):
        kind, words = said.split(": ", 1)
        expected = getattr(dvskit.errors, kind)
        if issubclass(expected, Warning):
            with pytest.warns(expected) as given:
                eval(line, names)
            text = str(given[0].message)
        else:
            with pytest.raises(expected) as raised:
                eval(line, names)
            text = str(raised.value)
        assert words in text, line
