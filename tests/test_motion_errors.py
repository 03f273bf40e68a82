"""The commands corners, flow, motion, reconstruct and track with wrong words."""

from __future__ import annotations

import pytest

from dvskit import save_events
from tests.laws import refused_command, scattered

FILES = {"lens.txt": "100 100 20 15\n", "big.txt": "500 500 320 240\n", "t.txt": "no time\n",
         "empty.txt": ""}  # fmt: skip
EACH = [
    "corners in.npz -o t.csv",
    "flow in.npz -o t.npz",
    "motion in.npz -o t.csv",
    "reconstruct in.npz --model filter -o t.npz",
    "track in.npz -o t.csv",
]
SHARED = [("-o t.xyz", "t.xyz"), ("-o in.npz", "in.npz"), ("--start 9s", "--start")]
WRONG = [
    *((f"{command} {words}", named) for command in EACH for words, named in SHARED),
    *((command.replace("in.npz", "none.npz"), "none.npz") for command in EACH),
    ("corners in.npz -o t.csv --within 5", "'--within': '5'"),
    ("corners in.npz -o - --json", "standard output"),
    ("corners in.npz -o t.csv --fps 30", "--fps"),
    ("flow in.npz -o t.npz --fps 30", "--fps"),
    ("flow in.npz -o t.html --slow 2", "--slow"),
    ("flow in.npz -o t.png --scale 2", "--scale"),
    ("flow in.npz -o t.npz --full 30", "--full"),
    ("flow in.npz -o t.png --full 0", "--full"),
    ("flow in.npz -o t.mp4 --window -5ms", "'--window': -5ms"),
    ("flow in.npz -o t.html --arrows", "--arrows"),
    ("motion in.npz --window 5ms --whole", "--window, --count and --whole"),
    ("motion in.npz --window 0s", "'--window': 0s"),
    ("motion in.npz --lens lens.txt", "lens.txt"),
    ("motion in.npz --model rotation", "camera"),
    ("motion in.npz --model rotation --lens no.txt", "no.txt"),
    ("motion in.npz --model rotation --lens big.txt", "cx 320"),
    ("motion in.npz -o t.csv --dark", "t.csv: --dark"),
    ("motion in.npz --width 120", "--width"),
    ("track in.npz -o t.csv --line 1,2,3", "--line '1,2,3'"),
    ("track in.npz -o t.csv --line 1,2,1,2", "--line '1,2,1,2'"),
    ("track in.npz -o t.csv --window 5us", "window"),
    ("track in.npz -o t.csv --lost -1s", "lost"),
    ("track in.npz -o t.csv --gate -1", "gate"),
    ("track in.npz -o t.csv --fps 9", "--fps"),
    ("track in.npz -o t.html --slow 9", "--slow"),
    ("track in.npz -o - --json", "standard output"),
    ("reconstruct in.npz -o t.mp4 --model t.txt", "t.txt"),
    ("reconstruct in.npz -o t.mp4 --model filter --fps 30 --every 1", "--every"),
    ("reconstruct in.npz -o t.mp4 --model filter --every 20", "--every 20"),
    ("reconstruct in.npz -o t.mp4 --model filter --times t.txt", "t.txt"),
    ("reconstruct in.npz -o t.mp4 --model filter --times empty.txt", "empty.txt"),
    ("reconstruct in.npz -o t.npz --model filter --beside", "t.npz"),
    ("reconstruct in.npz -o - --model filter", "standard output"),
    ("reconstruct -o t.npz --model filter", "--camera"),
    ("reconstruct in.npz --camera 7 -o t.npz --model filter", "in.npz: "),
    ("reconstruct --camera 7 --salvage -o t.npz --model filter", "--salvage"),
    ("reconstruct --camera 7 --from raw -o t.npz --model filter", "--from"),
    ("reconstruct --camera 7 --size big -o t.npz --model filter", "big"),
    ("reconstruct --camera 63 -o t.npz --model filter", "camera 63"),
]


@pytest.mark.parametrize(("words", "named"), WRONG)
def test_wrong_words_are_one_line_and_leave_nothing(run, tmp_path, words, named):
    save_events(scattered(2000, (40, 30)), tmp_path / "in.npz")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    before = (tmp_path / "in.npz").read_bytes()
    refused_command(run(*words.split()), named)
    assert {each.name for each in tmp_path.iterdir()} == {"in.npz", *FILES}
    assert (tmp_path / "in.npz").read_bytes() == before
