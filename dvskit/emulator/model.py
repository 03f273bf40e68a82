"""The emulator: one pass over the frames of a clip, from pixels to the sensor's readout."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_seed
from dvskit._random_kernels import normals
from dvskit._threads import thread_count
from dvskit.emulator.level_kernels import read_out
from dvskit.emulator.levels import Crossings, FrameLevels, IdealPixels
from dvskit.emulator.params import EmulatorParams, as_params
from dvskit.emulator.sensor import SensorPixels
from dvskit.emulator.v2e import V2ePixels
from dvskit.errors import ConfigError, VideoError, count_of
from dvskit.events import Events, Size, as_size
from dvskit.video import ScaleCheck
from dvskit.video.light import Transfer

_JITTER = 103  # stream of random numbers

Labeled = tuple[Events, NDArray[np.bool_]]
"""Events with a label each: True for noise."""


class _Queue:
    """Events in order of time, held back until no later one can precede them."""

    def __init__(self, size: Size) -> None:
        self._held: Labeled = Events.empty(size), np.empty(0, np.bool_)

    def push(
        self, events: Events, noise: NDArray[np.bool_], t: NDArray[np.int64], until_us: int | None
    ) -> Labeled:
        """Take events at other times `t`; return those before until_us, all for None."""
        held, labels = self._held
        before: tuple[NDArray[Any], ...] = held.t, held.x, held.y, held.p, labels
        new: tuple[NDArray[Any], ...] = t, events.x, events.y, events.p, noise
        t, x, y, p, labels = (np.concatenate(pair) for pair in zip(before, new, strict=True))
        order = np.argsort(t, kind="stable")
        labels = labels[order]
        whole = Events.from_checked(t[order], x[order], y[order], p[order], events.sensor_size)
        done = len(t) if until_us is None else int(np.searchsorted(whole.t, until_us))
        self._held = whole[done:], labels[done:]
        return whole[:done], labels[:done]


class SensorReadout:
    """Delays events by latency_us and a random part of it, and reads them at a limited rate.

    lost             events of pixels that were still waiting for the readout
    longest_wait_us  of an event for the readout
    """

    def __init__(self, params: EmulatorParams, size: Size, seed: int) -> None:
        self._params, self._seed, self._count = params, seed, 0
        self._late, self._waiting = _Queue(size), _Queue(size)
        self.lost, self.read, self.longest_wait_us = 0, 0, 0.0
        self._free = 0.0
        self._limited = bool(params.readout_hz or params.scan_us)
        self._ready = np.full(size.width * size.height if self._limited else 0, -np.inf)

    def push(self, events: Events, noise: NDArray[np.bool_], t_us: int | None) -> Labeled:
        """Take the events up to t_us; return those that have left the sensor by then.

        None ends the pass: all leave.
        """
        delayed = self._params.latency_us or self._params.jitter_us
        if not delayed and not self._limited:
            return events, noise
        if len(noise) != len(events):  # no labels requested
            noise = np.zeros(len(events), np.bool_)
        if delayed:
            later = events.t + self._delays(len(events))
            events, noise = self._late.push(events, noise, later, t_us)
        if not self._limited:
            return events, noise
        return self._waiting.push(*self._read(events, noise), t_us)

    def note(self) -> str:
        """Return what the readout lost as text, an empty one for nothing."""
        if not self.lost:
            return ""
        share = 100 * self.lost / (self.lost + self.read)
        return (
            f"the readout lost {count_of(self.lost, 'event')} ({share:.2g} %) of pixels that "
            f"waited for it, up to {self.longest_wait_us:,.0f} us"
        )

    def _read(
        self, events: Events, noise: NDArray[np.bool_]
    ) -> tuple[Events, NDArray[np.bool_], NDArray[np.int64]]:
        rate = self._params.readout_hz
        rule = self._free, 1e6 / rate if rate else 0.0, float(self._params.scan_us)
        pixel = events.y.astype(np.int64) * events.sensor_size.width + events.x
        out = np.empty(len(events), np.int64)
        self._free, wait = read_out(events.t, pixel, self._ready, rule, out)
        kept = out >= 0
        self.longest_wait_us = max(self.longest_wait_us, wait)
        self.read += int(kept.sum())
        self.lost += len(events) - int(kept.sum())
        return events[kept], noise[kept], out[kept]

    def _delays(self, count: int) -> NDArray[np.int64]:
        delays = np.full(count, self._params.latency_us, np.float64)
        if self._params.jitter_us:
            drawn = np.empty(count)
            normals(self._seed, _JITTER, self._count, drawn)
            delays += self._params.jitter_us * drawn
        self._count += count
        return np.maximum(0, np.rint(delays)).astype(np.int64)


# Increase it with any change of the events of given frames: it invalidates cached ones.
RESULTS_VERSION = 2
LONGEST_INTERVAL_US = 1 << 30  # keeps the products of the crossing times inside 63 bits


class _Pixels(Protocol):
    """All pixels of a sensor, from frame to frame."""

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame."""

    def advance(self, codes: NDArray[Any], start_us: int, interval_us: int) -> Crossings:
        """Return the crossings up to the next frame."""


def _pixels(params: EmulatorParams, size: Size, seed: int, threads: int) -> _Pixels:
    if params.model == "v2e":
        return V2ePixels(params, size, seed, threads)
    if params.is_ideal:
        return IdealPixels(params, size, threads)
    return SensorPixels(params, size, seed, threads)


@dataclass(frozen=True, slots=True, init=False)
class Emulator:
    """Frames to events: frozen parameters; `start` begins a pass.

    params  EmulatorParams, the name of a preset, or the path of a preset file; None for an ideal
            sensor
    seed    a whole number from 0 to 2^63 - 1, which fixes all randomness

    Raises ConfigError for another seed and for unknown presets. `emulate` is the shorter way for a
    whole clip.

        emulator = dvskit.Emulator("DVS128", seed=1)
        run = emulator.start((128, 128))
        for t_us, frame in dvskit.video.open_frames("video.mp4"):
            events = run.step(t_us, frame)    # those since the last frame
        last = run.finish()
    """

    params: EmulatorParams
    seed: int

    def __init__(
        self, params: EmulatorParams | str | PathLike[str] | None = None, seed: int = 0
    ) -> None:
        check_seed("seed", seed)
        object.__setattr__(self, "params", as_params(params))
        object.__setattr__(self, "seed", int(seed))

    def start(
        self,
        size: tuple[int, int],
        *,
        transfer: Transfer = "srgb",
        threads: int | None = None,
        scale_is_known: bool = False,
    ) -> EmulatorRun:
        """Return a run over frames of `size` (width, height), on this many threads, or on all.

        transfer  what integer frames are codes of, as in `FrameSource.transfer`

        A run on more than one thread must not be stepped from a thread of `run_parts`. It gives one
        ScaleWarning if frames appear to have another scale, unless `scale_is_known`.
        """
        how = self.params, as_size(size), self.seed
        run = EmulatorRun(*how, threads or thread_count(), transfer)
        if scale_is_known:
            run._scale_check = None
        return run


class EmulatorRun:
    """One pass over a clip, with the state of each pixel. `Emulator.start` makes it.

    The events do not depend on the number of threads or on later frames. Apart from their times,
    they do not depend on the start time of the clip. `readout.lost` counts the events of pixels
    that waited for the sensor's readout.

        run = dvskit.Emulator().start((64, 48))
        dark, bright = np.full((48, 64), 50, np.uint8), np.full((48, 64), 80, np.uint8)
        len(run.step(0, dark))          # 0: the first frame sets the reference levels
        len(run.step(1_000, bright))    # 4 per pixel: the light is 2.5 times as much, ln 2.5 = 0.92
    """

    def __init__(
        self, params: EmulatorParams, size: Size, seed: int, threads: int, transfer: Transfer
    ) -> None:
        self.size, self.params = size, params
        self._levels = FrameLevels(params, size, transfer)
        self._pixels = _pixels(params, size, seed, threads)
        self.readout = SensorReadout(params, size, seed)
        self._scale_check: ScaleCheck | None = ScaleCheck()
        self._frames = 0
        self._t_us = 0

    def step(self, t_us: int, frame: NDArray[Any]) -> Events:
        """Return the events between the last frame and this one, ordered by (t, y, x).

        frame: (height, width); uint8 or uint16 codes (255 and 65535 are white), or float light (1.0
        is white, more is brighter). t_us: int microseconds, later than the last frame's. The first
        frame sets the reference levels and gives no events. Event times are rounded to the nearest
        microsecond. Events that latency delays beyond t_us come with a later step, the last ones
        with `finish`.

        Raises ShapeError for another shape or dtype, VideoError for a time that does not increase.
        """
        return self._step(t_us, frame, labeled=False)[0]

    def step_labeled(self, t_us: int, frame: NDArray[Any]) -> tuple[Events, NDArray[np.bool_]]:
        """Same as `step`, with a label per event: True for noise.

        Noise is shot noise, hot pixels, and ON events more than half of whose threshold leaked.
        """
        return self._step(t_us, frame, labeled=True)

    def count(
        self, t_us: int, frame: NDArray[Any], counts: NDArray[np.int32], start_us: int, bin_us: int
    ) -> int:
        """Add the events of a `step` to counts; return how many lie outside.

        counts (bins, 2, H, W): channel 0 is OFF, 1 ON; bin k holds
        start_us + k bin_us <= t < start_us + (k + 1) bin_us. Raises the errors of `step`, and
        ConfigError with latency or a limit of the readout, which delay events beyond the frame.
        """
        for name in ("latency_us", "jitter_us", "readout_hz", "scan_us"):
            if getattr(self.params, name):
                raise ConfigError(f"{name} applies to events, not to counts")
        crossings = self._cross(t_us, frame)
        return 0 if crossings is None else crossings.count(counts, start_us, bin_us)

    def _step(
        self, t_us: int, frame: NDArray[Any], *, labeled: bool
    ) -> tuple[Events, NDArray[np.bool_]]:
        crossings = self._cross(t_us, frame)
        if crossings is None:
            return Events.empty(self.size), np.empty(0, np.bool_)
        events, noise = crossings.events(labeled=labeled)
        return self.readout.push(events, noise, self._t_us)

    def _cross(self, t_us: int, frame: NDArray[Any]) -> Crossings | None:
        """Take a frame; return the crossings since the last one, None for the first."""
        t_us = self._checked_time(t_us)
        codes = self._levels.codes(frame, self._frames)
        if self._scale_check is not None:
            self._scale_check.see(frame)
        crossings = None
        if self._frames == 0:
            self._pixels.begin(codes, self._levels.table)
        else:
            crossings = self._pixels.advance(codes, self._t_us, t_us - self._t_us)
        self._t_us = t_us
        self._frames += 1
        return crossings

    def finish(self) -> Events:
        """Return the events that latency delays beyond the last frame."""
        return self.finish_labeled()[0]

    def finish_labeled(self) -> tuple[Events, NDArray[np.bool_]]:
        """Same as `finish`, with the labels."""
        if self._scale_check is not None:
            self._scale_check.end()
        none = Events.empty(self.size), np.empty(0, np.bool_)
        return self.readout.push(*none, None)

    def _checked_time(self, t_us: int) -> int:
        time = int(t_us)
        if time != t_us:
            raise VideoError(
                f"frame {self._frames} is at {t_us} us; times are whole microseconds: for seconds, "
                "pass round(t * 1e6)"
            )
        if self._frames == 0:
            return time
        interval = time - self._t_us
        if interval <= 0:
            raise VideoError(
                f"frame {self._frames} is at {time} us, not after {self._t_us} us, the time of "
                "the previous frame; sort the frames and drop repeated ones"
            )
        if interval > LONGEST_INTERVAL_US:
            raise VideoError(
                f"frame {self._frames} is {interval} us after the previous one; "
                f"the longest interval is {LONGEST_INTERVAL_US} us (18 minutes)"
            )
        return time
