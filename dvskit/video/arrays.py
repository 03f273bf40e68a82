"""Images in a NumPy archive, as `dvskit reconstruct` writes them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from numpy.typing import NDArray

from dvskit.errors import FormatError, MissingFileError, VideoError, count_of, one_line
from dvskit.formats.image_list import frame_size
from dvskit.formats.stored_array import StoredArray, open_archive
from dvskit.video.light import luminance
from dvskit.video.source import FileFrames, checked_times, nth_time_us

_MOST_IMAGES = 1 << 22
_DTYPES = ("uint8", "uint16", "float32", "float64")


class ImageArrays(FileFrames):
    """Gray frames of an .npz file, one at a time.

    t_us    (N,) whole microseconds; `fps` replaces them
    images  (N, height, width) uint8, uint16 (65535 is white) or float (1.0 is white)

    With light="linear" frames are float32 of linear light; float images are assumed to be linear
    already. Raises VideoError for a file without these arrays, for other shapes and dtypes, and for
    a damaged array; with strict=False, the frames before the damage are read and `damage` reports
    its position.

        images = np.random.default_rng(0).random((20, 48, 64), np.float32)
        np.savez("clip.npz", t_us=np.arange(20) * 10_000, images=images)
        frames = dvskit.video.ImageArrays("clip.npz")
        frames.frame_count, frames.size    # (20, Size(width=64, height=48))
    """

    def _look(self) -> None:
        if not self.path.exists():
            raise MissingFileError(self.path)
        with self._archive() as archive:
            times, images = self._array(archive, "t_us"), self._array(archive, "images", 3)
            count, height, width = images.shape
            self.size, self.frame_count = frame_size(self.path, width, height), count
            if count > _MOST_IMAGES:
                raise VideoError(
                    f"{self.path}: holds {count:,} images; at most {_MOST_IMAGES:,} are read; "
                    "split it"
                )
            try:
                stamps = times.read(min(count, times.shape[0]))
            except FormatError as error:
                raise VideoError(one_line(error)) from error
        if images.dtype.name not in _DTYPES:
            raise VideoError(
                f"{self.path}: images are {images.dtype}; {', '.join(_DTYPES)} are expected"
            )
        if not count or times.shape[0] != count:
            raise VideoError(
                f"{self.path}: holds {count_of(count, 'image')} and "
                f"{count_of(times.shape[0], 'time')}; one of each is needed"
            )
        self._times = checked_times(stamps)

    def _array(self, archive: zipfile.ZipFile, name: str, dimensions: int = 1) -> StoredArray:
        try:
            return StoredArray(archive, name, self.path, dimensions=dimensions)
        except FormatError as error:
            raise VideoError(one_line(error)) from error

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        with ExitStack() as stack:
            try:
                archive = stack.enter_context(open_archive(self.path))
            except FormatError as error:
                raise VideoError(one_line(error)) from error
            yield archive

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = self._no_losses()
        width, height = self.size
        with self._archive() as archive:
            images = self._array(archive, "images", 3)
            for number, t_us in enumerate(self._times):
                try:
                    image = images.read(width * height).reshape(height, width)
                except FormatError as error:
                    left = len(self._times) - number
                    problem = one_line(error).removeprefix(f"{self.path}: ")
                    losses.lose(f"image {number}: {problem}", frames=left)
                    return
                frame = luminance(image) if self._light == "linear" else image
                yield (t_us if self._fps is None else nth_time_us(number, self._fps)), frame
