"""Draw people who make the eleven gestures of DVS128 Gesture, and what a noisy sensor sees of them.

    python samples/make_people.py people.webp             # six people a gesture
    python samples/make_people.py mine.png --people 3 --seed 100 --size 128 --close

Each row is a gesture; of each person there is a frame, brightened, and beside it the events of
50 ms around it, ON orange and OFF blue.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import dvskit
from dvskit.scenes import PERSON_GESTURES, PersonScene

SENSOR = dvskit.EmulatorParams(
    threshold_on=0.25, threshold_off=0.25, threshold_sigma=0.03, cutoff_hz=200.0, leak_hz=0.1,
    shot_hz=0.5, refractory_us=500,
)  # fmt: skip
ON, OFF, PAPER = (213, 94, 0), (0, 114, 178), (255, 255, 255)
AROUND_US = 50_000
LONGEST_US = 1_450_000


def busiest_us(events: dvskit.Events) -> int:
    """Return the middle of that span of 50 ms in which most happens, of 0 to 50, 50 to 100 ..."""
    counts = np.bincount(events.t // AROUND_US)
    return int(AROUND_US * (counts[1:-1].argmax() + 1.5))


def pair(scene: PersonScene) -> NDArray[np.uint8]:
    """Return a frame of a scene and its events, side by side, (H, 2 W, 3)."""
    events = dvskit.emulate(scene, SENSOR, scene.seed).load()
    middle = busiest_us(events)
    _, frame = next(scene.frames([middle]))
    light = frame / max(1.0, float(np.quantile(frame, 0.99)))
    gray = np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    some = events.between(middle - AROUND_US // 2, middle + AROUND_US // 2)
    seen = np.full((*frame.shape, 3), PAPER, np.uint8)
    seen[some.y, some.x] = np.where(some.p[:, None], np.uint8(ON), np.uint8(OFF))
    return np.hstack([np.repeat(gray[..., None], 3, 2), seen])


def sheet(people: int, seed: int, size: int, close: bool) -> Image.Image:
    """Return the picture: a row a gesture, its name above."""
    head = 14
    page = Image.new("RGB", (people * (2 * size + 4) - 4, 11 * (size + head)), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=11)
    for row, gesture in enumerate(PERSON_GESTURES):
        top = row * (size + head)
        pen.text((2, top), gesture, fill=(0, 0, 0), font=font)
        for column in range(people):
            scene = PersonScene.random(
                gesture, seed + column, size=(size, size), duration_us=LONGEST_US, close=close
            )
            page.paste(Image.fromarray(pair(scene)), (column * (2 * size + 4), top + head))
    return page


def main() -> None:
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--people", type=int, default=6, help="people a gesture")
    parser.add_argument("--seed", type=int, default=2026, help="of the first of them")
    parser.add_argument("--size", type=int, default=72, help="pixels of the sensor, each way")
    parser.add_argument("--close", action="store_true", help="near the hands")
    parser.add_argument("--quality", type=int, default=55, help="of a .webp or .jpg")
    args = parser.parse_args()
    sheet(args.people, args.seed, args.size, args.close).save(args.out, quality=args.quality)


if __name__ == "__main__":
    main()
