"""Public data sets in their unpacked folders, also downloaded: DVS128 Gesture and six others.

    samples = open_public("dvs128-gesture", "DvsGesture")
    samples = open_public("n-mnist", "data", download=True)

Without download=True nothing is downloaded. If the folder is missing, the error names the download
page and the expected content. Sets with their own lists or folders for training and testing keep
them as `part`. For sets without them (N-Caltech101, CIFAR10-DVS, ASL-DVS) a tenth of each class is
kept for the test by a fixed seed, so all users report on the same samples. If files name the
person, it is the `group`.

Sources: DVS128 Gesture (Amir et al. 2017), N-MNIST and N-Caltech101 (Orchard et al. 2015), N-Cars
(Sironi et al. 2018), CIFAR10-DVS (Li et al. 2017), ASL-DVS (Bi et al. 2019), SL-Animals-DVS
(Vasudevan et al. 2021).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

from dvskit.datasets import public_layouts as layouts
from dvskit.datasets.files import FileSamples
from dvskit.datasets.samples import Samples
from dvskit.errors import ConfigError, FormatError, MissingFileError, OutputError, one_line
from dvskit.registry import Registry, named_errors, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A data set that others publish: where to get it, and how its folder is opened.

    name      such as "n-mnist"
    where     the download page, for messages
    layout    what the folder holds, in words, for messages
    open      open(folder) returns the Samples of a folder, or None if it does not hold the set
    download  download(folder) fills an empty folder with what `open` reads; default: the set is
              downloaded by hand. After an interruption it gets the folder as it was left

    Raises ConfigError if `open` or `download` is no function.

        row = dvskit.datasets.PublicSet(
            name="drawn-digits",
            where="https://example.org/digits",
            layout="<class>/<recording>.bin",
            open=dvskit.datasets.open_samples,
        )
        samples = dvskit.datasets.open_public(row, "digits")  # 60 samples
    """

    name: str
    where: str
    layout: str
    open: Callable[[Path], Samples | None]
    download: Callable[[Path], object] | None = None

    def __post_init__(self) -> None:
        for name, given in (("open", self.open), ("download", self.download or self.open)):
            if not callable(given):
                raise ConfigError(f"{self.name}: {name} is {given!r}; pass a function of a folder")

    def _opened(self, root: Path) -> Samples | None:
        own = getattr(self.open, "__module__", None) == layouts.__name__
        with nullcontext() if own else named_errors(f"public set {self.name}"):
            found = self.open(root) if root.is_dir() else None
        if not isinstance(found, Samples | None):
            raise ConfigError(
                f"{self.name}: open returns {type(found).__name__}; it must return Samples"
            )
        return found or None  # an empty set is none

    def _how_to_get(self) -> str:
        return f"{self.name} can be downloaded from {self.where}; the folder holds {self.layout}"

    def _ready(self, root: Path) -> Path:
        """Return the folder of a complete download that is being moved to a folder that exists."""
        whole = root.absolute()
        return whole.parent / f".{whole.name}.{self.name}.whole"

    def _get(self, root: Path) -> None:
        """Download the set to a folder; an interrupted download stays beside it, hidden."""
        if self.download is None:
            raise ConfigError(f"{root}: there is no automatic download; {self._how_to_get()}")
        ready, stage = self._ready(root), self._ready(root).with_suffix(".part")
        if not ready.exists():
            try:
                stage.mkdir(parents=True, exist_ok=True)
                self.download(stage)
            except Exception as error:
                raise FormatError(
                    f"{root}: the download of {self.name} failed: {one_line(error)}; try again, or "
                    f"unpack it there by hand; {self._how_to_get()}"
                ) from error
            if not root.exists():
                stage.rename(root)
                return
            for entry in stage.iterdir():
                if (root / entry.name).exists():
                    raise OutputError(
                        f"{root / entry.name}: exists, but does not hold {self.name}; move it away "
                        "and try again (the download is kept)"
                    )
            stage.rename(ready)
        for entry in list(ready.iterdir()):
            shutil.move(entry, root)
        ready.rmdir()


def open_public(
    name: str | PublicSet,
    folder: str | PathLike[str],
    *,
    strict: bool = True,
    download: bool = False,
) -> Samples:
    """Open a public data set in its unpacked folder.

    name      dvs128-gesture, n-mnist, n-caltech101, n-cars, cifar10-dvs, asl-dvs or sl-animals-dvs;
              a registered name (`register_public_set`); or a PublicSet
    folder    the folder of the set, or its parent
    strict    whether damage raises when a sample is read; otherwise recordings are salvaged
    download  download the set if the folder does not hold it: to folder/NMNIST and the like, where
              tonic's classes find it, too. Archives are checked by their MD5. After an
              interruption, call it again: archives that are complete are not downloaded again.
              Not for n-cars and sl-animals-dvs

    For DVS128 Gesture the original archive, tonic's folders and spikingjelly's are read; their
    class names are the same, those of GESTURES. Raises ConfigError for another name,
    MissingFileError if the folder is missing and FormatError if it does not hold the set or cannot
    be downloaded; they name the download page.

        row = dvskit.datasets.PublicSet(
            name="drawn-digits",
            where="https://example.org/digits",
            layout="<class>/<recording>.bin",
            open=dvskit.datasets.open_samples,
        )
        samples = dvskit.datasets.open_public(row, "digits")  # or a name, such as "n-mnist"
        events, label = samples[0]
    """
    row = name if isinstance(name, PublicSet) else PUBLIC_SETS.find(name)
    root = Path(folder)
    found = row._opened(root)
    if download and (found is None or row._ready(root).exists()):
        row._get(root)
        found = row._opened(root)
    if found is None:
        automatic = row.download is not None and not download
        fix = "pass download=True, or do it by hand: " * automatic + row._how_to_get()
        if not root.is_dir():
            raise MissingFileError(folder, fix)
        raise FormatError(f"{folder}: does not hold {row.name}; {fix}")
    if not strict and isinstance(found, FileSamples):
        return found.read_by(replace(found.reading, strict=False))
    return found


def register_public_set(row: PublicSet) -> None:
    """Add a public set, for `open_public` and `set` of an entry [[data]] of a configuration.

        def open_digits(folder):
            if (folder / "digits").is_dir():
                return dvskit.datasets.open_samples(folder / "digits")

        dvskit.datasets.register_public_set(
            dvskit.datasets.PublicSet(
                name="drawn-digits",
                where="https://example.org/digits (digits.zip)",
                layout="digits/<class>/<recording>.bin",
                open=open_digits,
            )
        )
        samples = dvskit.datasets.open_public("drawn-digits", ".")

    For files named `class_number.npz`, `open` is:

        def open_named(folder):
            rows = [datasets.Sample(name=file.name, label=file.stem.partition("_")[0], path=file)
                    for file in sorted(folder.glob("*_*.npz"))]
            return datasets.FileSamples(rows) if rows else None

    `strict=False` of `open_public` and `salvage = true` in [[data]] reach FileSamples, also those
    of `open_samples`.

    Raises ConfigError for anything but a PublicSet, and for a name that is taken.
    """
    if not isinstance(row, PublicSet):
        raise ConfigError(
            f"{row!r} is not a public set; pass PublicSet(name=, where=, layout=, open=)"
        )
    PUBLIC_SETS.register(row.name, row, place_of(row.open))


class _Archive(NamedTuple):
    """An archive of tonic, by the names of its members."""

    url: str
    filename: str
    md5: str


def download_by_tonic(name: str, folder: Path) -> None:
    """Download and unpack the set of tonic's class `name` to folder/<name>, as tonic does.

    Archives that are there and have their checksum are not downloaded again, but unpacked again.
    Archives within them are unpacked too, and removed. Progress is written to stderr.

    Raises FormatError for a wrong checksum and if the server cannot be reached, and the errors of
    archives.
    """
    from tonic import datasets
    from tonic.download_utils import download_url, extract_archive

    place, kind = folder / name, getattr(datasets, name)
    if hasattr(kind, "train_url"):
        parts = ("train", "test")
        archives = [
            _Archive(*(getattr(kind, f"{part}_{n}") for n in _Archive._fields)) for part in parts
        ]
    else:
        archives = [_Archive(kind.url, kind.filename, kind.file_md5)]
    with redirect_stdout(sys.stderr):  # tonic prints
        for each in archives:
            try:
                download_url(each.url, str(place), each.filename, each.md5)
            except RuntimeError as error:
                raise FormatError(f"{each.url} is not whole: its MD5 is not {each.md5}") from error
            except OSError as error:
                if isinstance(error, HTTPError):
                    error.close()
                raise FormatError(f"{each.url}: {one_line(error)}") from error
        for each in archives:
            extract_archive(str(place / each.filename))
    for inner in sorted(place.rglob("*.zip")):
        if inner not in [place / each.filename for each in archives]:
            extract_archive(str(inner))
            inner.unlink()


_ROWS = (
    PublicSet(
        name="dvs128-gesture",
        where="https://research.ibm.com/interactive/dvsgesture/ (DvsGesture.tar.gz)",
        layout="user01_natural.aedat, user01_natural_labels.csv, ..., trials_to_train.txt and "
        "trials_to_test.txt; or tonic's ibmGestureTrain/user01_natural/0.npy and ibmGestureTest; "
        "or spikingjelly's events_np/train/0/user01_natural_0.npz and events_np/test",
        open=layouts.open_dvs128_gesture,
        download=partial(download_by_tonic, "DVSGesture"),
    ),
    PublicSet(
        name="n-mnist",
        where="https://www.garrickorchard.com/datasets/n-mnist (Train.zip, Test.zip)",
        layout="Train/0/00002.bin, ... and Test/0/00004.bin, ...",
        open=layouts.open_n_mnist,
        download=partial(download_by_tonic, "NMNIST"),
    ),
    PublicSet(
        name="n-caltech101",
        where="https://www.garrickorchard.com/datasets/n-caltech101 (Caltech101.zip)",
        layout="Caltech101/accordion/image_0001.bin, ...",
        open=layouts.open_n_caltech101,
        download=partial(download_by_tonic, "NCALTECH101"),
    ),
    PublicSet(
        name="n-cars",
        where="https://www.prophesee.ai/dataset-n-cars-download/",
        layout="n-cars_train/cars/obj_004397_td.dat, n-cars_train/background, ... and n-cars_test",
        open=layouts.open_n_cars,
    ),
    PublicSet(
        name="cifar10-dvs",
        where="https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671 (ten .zip files)",
        layout="airplane/cifar10_airplane_0.aedat, ..., truck",
        open=layouts.open_cifar10_dvs,
        download=partial(download_by_tonic, "CIFAR10DVS"),
    ),
    PublicSet(
        name="asl-dvs",
        where="https://github.com/PIX2NVS/NVS2Graph (ICCV2019_DVS_dataset)",
        layout="a/a_0001.mat, ..., y",
        open=layouts.open_asl_dvs,
        download=partial(download_by_tonic, "ASLDVS"),
    ),
    PublicSet(
        name="sl-animals-dvs",
        where="http://www2.imse-cnm.csic.es/neuromorphs/index.php/SL-ANIMALS-DVS-Database",
        layout="user00_indoor.aedat, ... and, next to them or in another folder, their tags "
        "user00_indoor.csv (class,startTime_ev,endTime_ev)",
        open=layouts.open_sl_animals_dvs,
    ),
)
PUBLIC_SETS = Registry("public set", {row.name: row for row in _ROWS})
"""The public sets by name, a PublicSet each; `register_public_set` adds others."""
