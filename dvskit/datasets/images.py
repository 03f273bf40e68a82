"""Still images as samples: IDX files, folders of images, and both moved in front of a sensor."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._files import is_hidden, open_regular, visible
from dvskit.datasets.files import kind_of
from dvskit.datasets.samples import ImageSamples, Part, Sample, Samples
from dvskit.emulator.saccades import NOMINAL, Saccades, emulate_varied
from dvskit.errors import ConfigError, FormatError, MissingFileError, VideoError, one_line
from dvskit.events import Events, as_size
from dvskit.formats.content import content_digest, digest_of
from dvskit.formats.image_list import IMAGE_SUFFIXES, check_pixels, silent_opencv
from dvskit.formats.image_list import KINDS as LISTS_OF_TIMES

_MOST_BYTES = 1 << 30  # of an IDX file, unpacked
_IDX_TYPES: dict[int, np.dtype[Any]] = {
    code: np.dtype(name)
    for code, name in ((8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8"))
}


class Images(NamedTuple):
    """Gray images (N, height, width) uint8 and their labels (N,) int64.

    `read_images` returns them for a part of a set in MNIST's layout.

        from pathlib import Path

        def write(path, array):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            Path(path).write_bytes(header + array.tobytes())

        write("t10k-images-idx3-ubyte", np.zeros((5, 28, 28), np.uint8))
        write("t10k-labels-idx1-ubyte", np.arange(5, dtype=np.uint8))
        images = dvskit.datasets.read_images(".", "t10k")
        images.pixels.shape, images.labels  # (5, 28, 28), [0, 1, 2, 3, 4]
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_idx(path: str | PathLike[str]) -> NDArray[Any]:
    """Return the array of an IDX file, plain or gzip (MNIST's format). Raises FormatError.

    The array has the shape and dtype of the file: (N, H, W) uint8 for images, (N,) for labels.

        from pathlib import Path

        header = bytes([0, 0, 8, 3]) + np.array([5, 28, 28], ">u4").tobytes()  # uint8, 3 dimensions
        Path("train-images-idx3-ubyte").write_bytes(header + bytes(5 * 28 * 28))
        array = dvskit.datasets.read_idx("train-images-idx3-ubyte")  # (5, 28, 28) uint8
    """
    file = Path(path)
    try:
        with open_regular(file) as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            data = (gzip.GzipFile(fileobj=raw) if packed else raw).read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise FormatError(f"{file}: holds more than {_MOST_BYTES:,} bytes; split it")
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{file}: cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise FormatError(f"{file}: starts with {data[:4]!r}, which is not an IDX header")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise FormatError(f"{file}: ends at byte {len(data)}, in its header of {start}")
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    dtype = _IDX_TYPES[data[2]]
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(shape) != data[3] or len(data) != expected:
        raise FormatError(f"{file}: has {len(data)} bytes, but shape {shape} needs {expected}")
    array: NDArray[Any] = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array


def read_images(folder: str | PathLike[str], part: str) -> Images:
    """Return MNIST-style images and labels: `part` is "train" or "t10k". Raises FormatError.

    The files are `<part>-images-idx3-ubyte` and `<part>-labels-idx1-ubyte`, plain or gzip.

        from pathlib import Path

        def write(path, array):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            Path(path).write_bytes(header + array.tobytes())

        write("train-images-idx3-ubyte", np.zeros((5, 28, 28), np.uint8))
        write("train-labels-idx1-ubyte", np.arange(5, dtype=np.uint8))
        pixels, labels = dvskit.datasets.read_images(".", "train")  # (5, 28, 28), (5,)
    """
    root = Path(folder)
    arrays = []
    for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
        path = _found(root, name)
        if path is None:
            raise FormatError(
                f"{root}: holds neither {name}.gz nor {name}; download it to that folder"
            )
        arrays.append(read_idx(path))
    pixels, labels = arrays
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or labels.shape != pixels.shape[:1]:
        raise FormatError(
            f"{root}: images {pixels.shape} {pixels.dtype} do not fit labels {labels.shape}"
        )
    return Images(pixels, labels.astype(np.int64))


def idx_parts(folder: Path) -> tuple[Part, ...]:
    """Return the parts of a set with images in a folder, as IDX files: "train", "test"."""
    names: tuple[tuple[Part, str], ...] = (("train", "train"), ("test", "t10k"))
    return tuple(part for part, name in names if _found(folder, f"{name}-images-idx3-ubyte"))


def _found(root: Path, name: str) -> Path | None:
    return next((path for path in (root / f"{name}.gz", root / name) if path.is_file()), None)


_MOVING = 1  # raise it when moved images give other events than before


class IdxImages(ImageSamples):
    """Images in a folder of IDX files, in MNIST's layout; names are train/0, ..., test/0, ...

    rows, classes, labels  as in `Samples`; a class is a number as text

        from pathlib import Path

        def write(path, array):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            Path(path).write_bytes(header + array.tobytes())

        write("train-images-idx3-ubyte", np.zeros((5, 28, 28), np.uint8))
        write("train-labels-idx1-ubyte", np.arange(5, dtype=np.uint8))
        images = dvskit.datasets.IdxImages(".", parts=("train",))
        image, label = images[3]  # (28, 28) uint8 and "3"
    """

    def __init__(self, folder: str | PathLike[str], parts: Sequence[Part] = ("train", "test")):
        rows: list[Sample] = []
        found: list[NDArray[np.uint8]] = []
        for part in parts:
            if part not in ("train", "test"):
                raise ConfigError(f"IDX files have no part {part!r}; use train or test")
            images = read_images(folder, "train" if part == "train" else "t10k")
            found.append(images.pixels)
            rows += [
                Sample(f"{part}/{number}", str(label), part=part)
                for number, label in enumerate(images.labels.tolist())
            ]
        super().__init__(rows, sorted({row.label for row in rows}, key=int))
        self._pixels = np.concatenate(found)

    def image(self, number: int) -> NDArray[np.uint8]:
        """Return the image of a sample, (height, width) uint8."""
        return np.asarray(self._pixels[number], np.uint8)

    def images(self, numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of some samples, (N, height, width) uint8."""
        return np.asarray(self._pixels[np.asarray(numbers, np.int64)], np.uint8)

    def fingerprint(self, number: int) -> str:
        """Return a digest of the image."""
        return hashlib.sha256(self._pixels[number].tobytes()).hexdigest()[:32]


class FolderImages(ImageSamples):
    """Images `<class>/<image>` of a folder (PNG, JPEG and others that OpenCV reads), as gray.

    rows, classes, labels  as in `Samples`

    Raises MissingFileError, and FormatError for a folder without classes and a class without
    images; for a broken image when it is read.

        images = dvskit.datasets.FolderImages("images")
        image, label = images[0]  # (28, 28) uint8 and "0"
        len(images), images.classes  # 60, ("0", "1", "2")
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        root = Path(folder)
        if not root.is_dir():
            raise MissingFileError(root, "give a folder with one folder of images per class")
        rows = []
        for kind in filter(Path.is_dir, visible(root)):
            files = [file for file in visible(kind) if is_image(file)]
            if not files:
                raise FormatError(
                    f"{kind}: holds no images; add some (files of "
                    f"{', '.join(sorted(IMAGE_SUFFIXES))}) or remove it"
                )
            rows += [Sample(f"{kind.name}/{file.name}", kind.name, path=file) for file in files]
        if not rows:
            raise FormatError(f"{root}: holds no folder of images; make one per class")
        super().__init__(rows)

    def image(self, number: int) -> NDArray[np.uint8]:
        """Return the image of a sample, (height, width) uint8. Raises FormatError."""
        return read_gray(self.rows[number].file)

    def fingerprint(self, number: int) -> str:
        """Return a digest of the file."""
        return content_digest(self.rows[number].file)


def read_gray(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Return the image in a file (PNG, JPEG and others that OpenCV reads), (height, width) uint8.

    Raises MissingFileError, FormatError for a file that is not an image.
    """
    if not Path(path).is_file():
        raise MissingFileError(path)
    try:
        check_pixels(Path(path))
    except VideoError as error:
        raise FormatError(one_line(error)) from error
    data = np.fromfile(path, np.uint8)
    try:
        with silent_opencv():
            image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    except cv2.error:  # such as an impossible size
        image = None
    if image is None:
        raise FormatError(f"{path}: is not a readable image; remove or replace it")
    return np.asarray(image, np.uint8)


def is_image(file: Path) -> bool:
    """Return whether the name of a file is that of an image."""
    return file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(file.name)


class MovedImages(Samples):
    """Images moved along saccades in front of an emulated sensor, as in N-MNIST.

    rows, classes, labels  those of the images
    size                   of the sensor, (width, height)
    saccades               the mean of their variation: see `dvskit.emulator.saccades`

    `events` with a generator draws path, lens, screen, thresholds and noise. Without one, the image
    itself is the seed, so a sample is always the same.

        images = dvskit.datasets.open_images("images")
        samples = dvskit.datasets.MovedImages(images, size=(34, 34))
        events, label = samples[0]  # about 0.3 s of events on 34x34, "0"
    """

    def __init__(
        self, images: ImageSamples, size: tuple[int, int] = (34, 34), saccades: Saccades = NOMINAL
    ) -> None:
        super().__init__(images.rows, images.classes)
        self.images, self.size, self.saccades = images, as_size(size), saccades

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of the image of a sample, moved, from time 0 on."""
        if rng is None:
            rng = np.random.default_rng(int(self.images.fingerprint(number)[:16], 16))
        return emulate_varied(self.images.image(number), self.size, self.saccades, rng)

    def fingerprint(self, number: int) -> str:
        """Return a digest of the image, the sensor's size and the saccades."""
        given = f"moved {_MOVING} {self.size} {self.saccades}"
        return digest_of((self.images.fingerprint(number), given))


def open_images(
    path: str | PathLike[str], parts: Sequence[Part] = ("train", "test")
) -> ImageSamples:
    """Open a folder of labeled still images.

    path   a folder of MNIST-style IDX files, plain or gzip, or of `<class>/<image>`
    parts  of IDX files: "train" and "test", or one of them

    Raises MissingFileError, FormatError for other folders and for missing or damaged IDX files.

        images = dvskit.datasets.open_images("images")
        image, label = images[0]  # (28, 28) uint8 and "0"
    """
    root = Path(path)
    if not root.is_dir():
        raise MissingFileError(root, "give IDX files, or a folder of images per class")
    folders = any(map(Path.is_dir, visible(root)))
    return FolderImages(root) if folders and not idx_parts(root) else IdxImages(root, parts)


def holds_images(path: str | PathLike[str]) -> bool:
    """Return whether a path is a folder that `open_images` reads, not one of recordings.

    It is one if it holds IDX files, or folders with images. Raises FormatError if it also holds
    recordings or videos, or images with a list of their times, which may be clips.

        dvskit.datasets.holds_images("images")  # True
        dvskit.datasets.holds_images("digits")  # False: recordings
    """
    root = Path(path)
    if not root.is_dir():
        return False
    folders = [entry for entry in visible(root) if entry.is_dir()]
    with_images = (folder for folder in folders if any(map(is_image, folder.iterdir())))
    found = root if idx_parts(root) else next(with_images, None)
    if found is None:
        return False
    for folder in folders:
        for entry in visible(folder):
            kind = kind_of(entry)
            if kind is not None or _lists_times(entry):
                what = "a list of times" if kind is None else f"a {kind.name}"
                images = "IDX files" if found == root else f"still images, in {found.name}"
                raise FormatError(
                    f"{root}: could be still images or recordings: it holds {images}, and {what}, "
                    f"{folder.name}/{entry.name}; move one of them to its own folder"
                )
    return True


def _lists_times(path: Path) -> bool:
    return any(fnmatchcase(path.name, kind.name) for kind in LISTS_OF_TIMES)
