"""How true the events of coded videos are to the light that was coded.

    python -m tests.benchmarks.light [--knees 0.5 1 3 10]

Six drawn scenes whose light is known, two of them dark, move for a quarter of a second at 1,000
frames a second. Each is coded (sRGB) as a lossless video of 8 bits, of 10 bits, and by H.264 at
three qualities, and emulated at four thresholds. The truth is an ideal sensor on the light itself,
with the logarithm down to black.

A cell is the number of events as a part of the true number, and the correlation of signed voxels
of 10 ms, smoothed by 1 px.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit import EmulatorParams, Events, emulate
from dvskit.video.light import coded

WIDTH, HEIGHT, FPS, FRAMES = 128, 96, 1000, 250
T_US = np.arange(FRAMES) * 1_000_000 // FPS
SCENES = {  # grain in pixels, edges or not, the least and the most reflectance
    "textured": (1.5, False, 0.03, 0.93),
    "smooth": (6.0, False, 0.05, 0.90),
    "edges": (4.0, True, 0.04, 0.85),
    "bright": (2.0, False, 0.30, 0.97),
    "dark": (2.0, False, 0.004, 0.12),
    "darker": (3.0, False, 0.002, 0.05),
}
CODED = ("8 bits", "10 bits", "crf 18", "crf 20", "crf 23", "crf 28")
THRESHOLDS = (0.1, 0.134, 0.2, 0.4)

Floats = NDArray[np.float32]


def light_of(grain_px: float, edges: bool, low: float, high: float) -> Floats:
    """Return the light of a scene, (FRAMES, HEIGHT, WIDTH): a picture that swings about."""
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((2 * HEIGHT, 4 * WIDTH)).astype(np.float32)
    wide = cv2.GaussianBlur(wide, (0, 0), grain_px)
    wide = (wide - wide.min()) / np.ptp(wide)
    if edges:
        wide = cv2.GaussianBlur((wide > 0.5).astype(np.float32), (0, 0), 0.8)
    picture = (low * (high / low) ** wide).astype(np.float32)
    shown = []
    for s in T_US * 1e-6:
        x = 40 + 30 * np.sin(2 * np.pi * 1.3 * s) + 8 * np.sin(2 * np.pi * 4 * s)
        y = 20 + 12 * np.cos(2 * np.pi * 1.1 * s)
        place = np.array([[1, 0, -x], [0, 1, -y]], np.float32)
        shown.append(cv2.warpAffine(picture, place, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR))
    return np.stack(shown)


def write(path: Path, codes: NDArray[np.uint16], how: str) -> None:
    """Write codes, (FRAMES, HEIGHT, WIDTH), as a gray video."""
    with av.open(str(path), "w") as container:
        if how.startswith("crf"):
            stream = container.add_stream("libx264", rate=FPS)
            stream.pix_fmt, stream.options = "yuv420p", {"crf": how[4:]}
        else:
            stream = container.add_stream("ffv1", rate=FPS)
            stream.pix_fmt = "gray" if how == "8 bits" else "gray10le"
        stream.width, stream.height = WIDTH, HEIGHT
        for number, image in enumerate(codes):
            if how == "10 bits":
                tenth = np.rint(image / 65535 * 1023).astype(np.uint16)
                frame = av.VideoFrame.from_ndarray(tenth, format="gray10le")
            else:
                eighth = np.rint(image / 257).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(eighth, format="gray")
                frame = frame.reformat(format=stream.pix_fmt)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def voxels(events: Events) -> Floats:
    """Return signed voxels of 10 ms, smoothed by 1 px."""
    found = np.zeros((FRAMES // 10, HEIGHT, WIDTH), np.float32)
    places = (np.minimum(events.t // 10_000, FRAMES // 10 - 1), events.y, events.x)
    np.add.at(found, places, np.where(events.p, 1, -1))
    return np.stack([cv2.GaussianBlur(each, (0, 0), 1) for each in found]).ravel()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--knees", type=float, nargs="*", default=[EmulatorParams().knee])
    knees = parser.parse_args().knees
    print(f"{'scene':10}{'threshold':>10}{'knee':>6}" + "".join(f"{each:>14}" for each in CODED))
    with tempfile.TemporaryDirectory() as folder:
        for name, scene in SCENES.items():
            light = light_of(*scene)
            files = [Path(folder, f"{name} {how}.mkv") for how in CODED]
            for file, how in zip(files, CODED, strict=True):
                write(file, np.stack([coded(each) for each in light]), how)
            for threshold in THRESHOLDS:
                ideal = EmulatorParams(threshold_on=threshold, threshold_off=threshold)
                all_log = replace(ideal, log_offset=1e-6)
                true = emulate(light.astype(np.float64), all_log, t_us=T_US).load()
                seen = voxels(true)
                for knee in knees:
                    cells = []
                    for file in files:
                        events = emulate(file, replace(ideal, linear_below=knee)).load()
                        alike = np.corrcoef(voxels(events), seen)[0, 1]
                        cells.append(f"{len(events) / len(true):7.3f} {alike:6.3f}")
                    print(f"{name:10}{threshold:10}{knee:6}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
