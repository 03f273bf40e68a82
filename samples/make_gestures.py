"""Write a data set of emulated gestures, drawn by dvskit itself: OUT/<gesture>/<seed>.npz.

    python samples/make_gestures.py gestures
    dvskit train samples/gestures.toml --set data.recordings.path=gestures

Each clip shows another person (place, light, clothes, speed, arm), all drawn from its seed. The
shipped network was made of seeds 1000 to 1119, which is what a call without options writes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dvskit
from dvskit.scenes import GESTURES, ArmScene

DURATION_US = 1_500_000
FRAME_RATES = (100, 150, 200)  # so that a network does not learn one of them


def write_clip(path: Path, gesture: str, seed: int) -> None:
    """Draw, emulate and save one clip, unless it is there already."""
    if path.exists():
        return
    scene = ArmScene.random(
        gesture, seed, fps=FRAME_RATES[seed % len(FRAME_RATES)], duration_us=DURATION_US
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    dvskit.save_events(dvskit.emulate(scene), path)


def main() -> None:
    """Write as many clips of each gesture as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=120, help="of each gesture")
    parser.add_argument("--first-seed", type=int, default=1000)
    args = parser.parse_args()
    for seed in range(args.first_seed, args.first_seed + args.clips):
        for gesture in GESTURES:
            write_clip(args.out / gesture / f"{seed}.npz", gesture, seed)


if __name__ == "__main__":
    main()
