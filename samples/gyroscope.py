"""Angular velocity from events beside the gyroscope of the same recording: delay and bias.

    python samples/gyroscope.py RECORDING [--camera FILE] [--window 20ms] [--out motion.png]

RECORDING holds events and IMU samples of a camera that mostly turns, such as an rpg folder with
events.txt, imu.txt and calib.txt, or an AEDAT file beside a calib.txt. In each window the rotation
is the one with the largest contrast of the warped events. The gyroscope's mean over a window,
`delay` later, minus its bias, is compared with it: the delay with the least squared difference is
printed, with the bias, the standard deviation of the remaining difference, and the correlation.

Events come later than the change that they report, by a pixel's latency and by the time in which
brightness changes by a threshold: the delay is that of the gyroscope less that of the events.
Axes are taken to be those of the camera: x right, y down, z ahead. Where a gyroscope has others,
its correlation is low or negative; rotate its samples first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit.events.window import parse_us
from dvskit.formats.calibration import read_camera
from dvskit.motion import MotionTable, motion_over_time
from dvskit.render import plots
from dvskit.streams import Imu

MOST_DELAY_US, STEP_US = 50_000, 250


@dataclass(frozen=True)
class Comparison:
    """How a gyroscope differs from the motion of the events.

    delay_us     by which its samples are later        bias    (3,) rad/s, what it shows at rest
    deviation    (3,) rad/s, of the remaining difference   correlation  (3,)   windows  compared
    """

    delay_us: float
    bias: NDArray[np.float64]
    deviation: NDArray[np.float64]
    correlation: NDArray[np.float64]
    windows: int


def window_means(imu: Imu, starts_us: NDArray, stops_us: NDArray) -> NDArray[np.float64]:
    """Return the mean angular velocity (n, 3), rad/s, in windows; between samples it is linear."""
    velocity = np.radians(imu.gyroscope.astype(np.float64))
    steps_us = np.diff(imu.t)[:, None]
    angle = np.concatenate(
        [np.zeros((1, 3)), np.cumsum((velocity[1:] + velocity[:-1]) / 2 * steps_us, 0)]
    )

    def until(t_us: NDArray) -> NDArray[np.float64]:
        return np.stack([np.interp(t_us, imu.t, angle[:, k]) for k in range(3)], 1)

    return (until(stops_us) - until(starts_us)) / (stops_us - starts_us)[:, None]


def compare(motions: MotionTable, imu: Imu) -> Comparison:
    """Return the delay of the gyroscope with the least squared difference, and what remains."""
    known = np.isfinite(motions.parameters).all(1) & ~motions.still
    known &= motions.start_us - MOST_DELAY_US >= imu.t[0]
    known &= motions.stop_us + MOST_DELAY_US <= imu.t[-1]
    if known.sum() < 5:
        raise SystemExit(
            f"{known.sum()} windows move while the gyroscope has samples; 5 are needed"
        )
    seen = motions.parameters[known]
    starts_us, stops_us = motions.start_us[known], motions.stop_us[known]
    delays = np.arange(-MOST_DELAY_US, MOST_DELAY_US + 1, STEP_US)
    apart = np.stack([window_means(imu, starts_us + d, stops_us + d) - seen for d in delays])
    squares = apart.var(1).sum(1)  # around the mean difference, which is the bias
    best = int(np.clip(squares.argmin(), 1, len(delays) - 2))
    before, least, behind = squares[best - 1 : best + 2]
    shift = 0.5 * (before - behind) / max(before - 2 * least + behind, 1e-30)
    shown = apart[best] + seen
    correlation = [np.corrcoef(shown[:, k], seen[:, k])[0, 1] for k in range(3)]
    return Comparison(
        float(delays[best] + STEP_US * np.clip(shift, -1, 1)), apart[best].mean(0),
        apart[best].std(0), np.array(correlation), int(known.sum()),
    )  # fmt: skip


def main(words: Sequence[str] | None = None) -> Comparison:
    """Print and return the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--camera", help="the calibration; by default the recording's own")
    parser.add_argument("--window", default="20ms")
    parser.add_argument("--out", type=Path, help="a plot of both")
    given = parser.parse_args(words)
    recording = dvskit.open_events(given.recording)
    camera = recording.intrinsics() if given.camera is None else read_camera(given.camera)
    window_us = round(parse_us(given.window) or 0)
    motions = motion_over_time(recording, "rotation", window_us=window_us, camera=camera)
    imu = recording.imu()
    if not len(imu):
        raise SystemExit(f"{given.recording}: has no IMU samples")
    found = compare(motions, imu)
    print(f"{found.windows} windows; the gyroscope is {found.delay_us / 1e3:.2f} ms later")
    for k, axis in enumerate("xyz"):
        print(f"{axis}: bias {found.bias[k]:+.4f} rad/s, then {found.deviation[k]:.4f} rad/s "
              f"apart, correlation {found.correlation[k]:.3f}")  # fmt: skip
    if given.out is not None:
        plots.save(plots.motion(motions, imu=imu), given.out, overwrite=True)
    return found


if __name__ == "__main__":
    main()
