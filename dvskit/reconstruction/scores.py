"""Scores of reconstructed images against frames: MSE, SSIM, and temporal error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator import EmulatorParams, emulate
from dvskit.errors import ConfigError, GeometryError, ShapeError, VideoError, count_of
from dvskit.events import Source
from dvskit.formats import Recording, RecordingPart
from dvskit.reconstruction.image_times import GivenTimes
from dvskit.reconstruction.reconstructed import Reconstructed, Reconstructor, as_gray
from dvskit.video import FrameSource
from dvskit.video.images import full_scale, middle_us
from dvskit.video.motion_search import LEAST_SIDE, MotionSearch

Image = NDArray[Any]

_WINDOW_PX, _SIGMA_PX = 11, 1.5  # of SSIM
_C1, _C2 = 0.01**2, 0.03**2
_OCCLUDED = 50.0  # weight of a change of the reference: exp(-50 d^2) is 0.6 for a change of 0.1


def mse(image: Image, reference: Image) -> float:
    """Return the mean squared error of two images, (height, width), in 0..1."""
    image, reference = _checked(image, reference)
    return float(np.mean((image - reference) ** 2))


def ssim(image: Image, reference: Image) -> float:
    """Return the structural similarity of two images, (height, width), in 0..1.

    After Wang et al. 2004: windows are Gaussian, 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03,
    variances are of the population; the mean is that of the windows within the image. Raises
    ShapeError for different shapes, and for less than 11 pixels a side.
    """
    a, b = _checked(image, reference)
    if min(a.shape) < _WINDOW_PX:
        raise ShapeError(f"SSIM needs images of at least 11x11 pixels, not of shape {a.shape}")
    inner = slice(_WINDOW_PX // 2, -(_WINDOW_PX // 2))

    def mean(values: Image) -> Image:
        size = (_WINDOW_PX, _WINDOW_PX)
        return np.asarray(cv2.GaussianBlur(values, size, _SIGMA_PX)[inner, inner])

    mean_a, mean_b = mean(a), mean(b)
    both = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    covariance, variances = mean(a * b) - both, mean(a * a) + mean(b * b) - squares
    found = (2 * both + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return float(np.mean(found))


def fitted(image: Image, reference: Image) -> Image:
    """Return gain * image + offset with the least squared error, cut to 0..1, float64.

    The gain of an image without contrast is 0.
    """
    image, reference = _checked(image, reference)
    apart = image - image.mean()
    spread = float(np.mean(apart**2))
    gain = float(np.mean(apart * reference)) / spread if spread > 1e-12 else 0.0
    return np.asarray(np.clip(gain * apart + reference.mean(), 0, 1))


def temporal_error(
    before: Image, image: Image, reference_before: Image, reference: Image,
    flow: NDArray[np.float32] | None = None,
) -> float:  # fmt: skip
    """Return how far an image differs from the one before, moved along the flow; in 0..1.

    flow  (height, width, 2) float32: pixel x, y of the second image was at x + flow[..., 0],
          y + flow[..., 1] in the first; NaN where it is unknown. None: that of the references, by
          OpenCV's DIS (medium)

    With W for the warp to the second image and I, R for images and references, it is the mean of
    M |I2 - W I1| over the mean of M, where M = exp(-50 (R2 - W R1)^2) excludes what is covered or
    uncovered (Lai et al. 2018, "Learning blind video temporal consistency"); M is 0 where the flow
    leaves the image or is unknown. The error of the reference itself is not 0. Raises ShapeError
    for images of less than 12 pixels a side without `flow`.
    """
    first, second = _checked(before, image)
    was, now = _checked(reference_before, reference)
    if flow is None:
        flow = _flow_back(was, now)
    height, width = second.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    at_x, at_y = x + flow[..., 0], y + flow[..., 1]
    seen = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)  # not for NaN
    at_x, at_y = (np.where(seen, at, 0).astype(np.float32) for at in (at_x, at_y))

    def moved(values: Image) -> Image:
        return np.asarray(cv2.remap(values, at_x, at_y, cv2.INTER_LINEAR))

    weight = np.exp(-_OCCLUDED * (now - moved(was)) ** 2) * seen
    return float(np.sum(weight * np.abs(second - moved(first))) / max(np.sum(weight), 1e-12))


def _flow_back(before: Image, after: Image) -> NDArray[np.float32]:
    """Return the flow from the second image to the first."""
    if min(before.shape) < LEAST_SIDE:
        raise ShapeError(f"flow needs images of {LEAST_SIDE} pixels a side, not of {before.shape}")
    first, second = (
        np.rint(np.clip(each, 0, 1) * 255).astype(np.uint8) for each in (before, after)
    )
    return MotionSearch()(second, first)


def _checked(image: Image, reference: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    image, reference = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    if image.shape != reference.shape or image.ndim != 2:
        raise ShapeError(
            f"images have the shapes {image.shape} and {reference.shape}; the same (height, width) "
            "is expected"
        )
    return image, reference


@dataclass(frozen=True, slots=True, eq=False)
class ImageScores:
    """Scores of n images against frames at the same times.

    t_us                     (n,) int64
    mse, ssim                (n,) float64
    mse_fitted, ssim_fitted  (n,) float64, after the gain and offset of each image with the least
                             squared error
    temporal                 (n - 1,) float64, of images 1..n-1: see `temporal_error`

        recording = dvskit.open_events("davis").between(0, 500_000)
        method = dvskit.reconstruction.ComplementaryFilter()
        scores = dvskit.reconstruction.judge(method, recording)
        scores.t_us, scores.ssim  # (12,) int64, (12,) float64
        scores.summary()["ssim"]  # (0.67, 0.006): the mean and its standard error
    """

    t_us: NDArray[np.int64]
    mse: NDArray[np.float64]
    ssim: NDArray[np.float64]
    mse_fitted: NDArray[np.float64]
    ssim_fitted: NDArray[np.float64]
    temporal: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.t_us)

    def columns(self) -> Mapping[str, NDArray[np.float64]]:
        """Return the scores by name."""
        names = ("mse", "ssim", "mse_fitted", "ssim_fitted", "temporal")
        return {name: getattr(self, name) for name in names}

    def summary(self) -> dict[str, tuple[float, float]]:
        """Return the mean of each score and its standard error; NaN without values.

        The standard error takes the images as independent. Neighboring images are not, so the true
        error of a recording with few scenes is larger.
        """
        return {name: _mean(values) for name, values in self.columns().items()}


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    count = len(values)
    mean = float(values.mean()) if count else float("nan")
    error = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return mean, error


def score_images(
    images: Iterable[tuple[int, Image]],
    references: Iterable[tuple[int, Image]],
    flows: Iterable[NDArray[np.float32]] | None = None,
) -> ImageScores:
    """Return the scores of images against references at the same times.

    images, references  (t_us, image (height, width)), float in 0..1, or uint8
    flows  from each image to the one before, as in `temporal_error`; None: those of the references

    Raises VideoError if the times differ, ShapeError if the shapes do.

        recording = dvskit.open_events("davis").between(0, 300_000)
        frames = [(frame.t_us, frame.image) for frame in recording.frames()]
        times = [t_us for t_us, image in frames]
        images = dvskit.reconstruction.reconstruct(recording, "filter:uses_frames=false", times)
        scores = dvskit.reconstruction.score_images(images, frames)
        scores.ssim  # (8,) float64
    """
    rows: list[tuple[float, ...]] = []
    temporal: list[float] = []
    given = None if flows is None else iter(flows)
    last: tuple[Image, Image] | None = None
    for (t_us, taken), (time_us, seen) in zip(images, references, strict=True):
        if t_us != time_us:
            raise VideoError(f"an image is at {t_us} us, its reference at {time_us} us")
        image, reference = _unit(taken), _unit(seen)
        best = fitted(image, reference)
        rows.append((
            t_us, mse(image, reference), ssim(image, reference), mse(best, reference),
            ssim(best, reference),
        ))  # fmt: skip
        if last is not None:
            flow = None if given is None else next(given)
            temporal.append(temporal_error(last[0], image, last[1], reference, flow))
        last = image, reference
    names = ("mse", "ssim", "mse_fitted", "ssim_fitted")
    columns = {name: np.array([row[k] for row in rows]) for k, name in enumerate(names, 1)}
    times = np.array([row[0] for row in rows], np.int64)
    return ImageScores(times, **columns, temporal=np.array(temporal, np.float64))


def _unit(image: Image) -> Image:
    return image / np.float64(255) if image.dtype == np.uint8 else image


def judge(
    reconstructor: Reconstructor,
    recording_or_clip: Recording | RecordingPart | FrameSource,
    params: EmulatorParams | str | None = None,
    *,
    seed: int = 0,
    skip: int = 1,
    flows: Iterable[NDArray[np.float32]] | None = None,
) -> ImageScores:
    """Return the scores of a reconstructor against the frames of a recording or a clip.

    recording_or_clip  a recording with frames; or a clip, such as a video, which is emulated first
                       with `params` (None: a clean sensor) and `seed`, at its own size
    skip   number of frames at the start that are not judged: images need events to begin with
    flows  those between the judged frames, if they are known: see `score_images`

    Image k is at the time of frame k, the middle of its exposure. A reconstructor that uses frames
    has those of a recording that ended before that time; it has none of a clip. Raises VideoError
    for a recording without frames and for no more than `skip` frames, GeometryError for frames of
    another size than the events, ConfigError for `params` with a recording.

        recording = dvskit.open_events("davis").between(0, 500_000)
        for uses_frames in (True, False):
            method = dvskit.reconstruction.ComplementaryFilter(uses_frames=uses_frames)
            scores = dvskit.reconstruction.judge(method, recording)
            scores.mse.mean()  # 0.0043, then 0.017
    """
    if isinstance(recording_or_clip, FrameSource):
        clip = recording_or_clip
        source: Source = emulate(clip, params, seed, size="native")
        frames = partial(_clip_frames, clip)
        name = getattr(clip, "path", None) or "the clip"
    else:
        source, name = recording_or_clip, dict(recording_or_clip.about()).get("file", "the source")
        if params is not None:
            raise ConfigError(f"{name}: a recording has its own events; params are for clips")
        frames = partial(_recorded_frames, recording_or_clip)
    times = [t_us for t_us, _ in frames()]
    if not times:
        raise VideoError(
            f"{name}: holds no frames to compare with; give a recording with frames or a video"
        )
    if len(times) <= skip:
        raise VideoError(
            f"{name}: {count_of(len(times), 'frame')} to compare with; {skip + 1} are needed"
        )
    made = Reconstructed(source, reconstructor, GivenTimes(times))
    return score_images(
        islice(made.images(), skip, None), islice(frames(), skip, None), flows=flows
    )


def _clip_frames(clip: FrameSource) -> Iterator[tuple[int, Image]]:
    for number, (t_us, picture) in enumerate(clip):
        yield t_us, as_gray(picture, number)


def _recorded_frames(recording: Recording | RecordingPart) -> Iterator[tuple[int, Image]]:
    for number, frame in enumerate(full_scale(recording)):
        gray = as_gray(frame.image, number)
        height, width = gray.shape
        if (width, height) != recording.size:
            raise GeometryError(
                f"a frame is {width}x{height}, the events are {recording.size}; they cannot be "
                "compared"
            )
        yield middle_us(frame), gray
