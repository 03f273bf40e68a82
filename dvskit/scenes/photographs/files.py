"""Photographs on disk: those that installed packages ship, and how they are read."""

from __future__ import annotations

from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvskit.errors import ConfigError, MissingFileError, VideoError, one_line
from dvskit.formats.image_list import check_pixels

# Package, folder in it, and files. Of a stereo pair, one: both show the same place.
_SHIPPED = (
    ("skimage", "data", (
        "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
        "grass.png", "gravel.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg",
        "rocket.jpg",
    )),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ("matplotlib", "mpl-data/sample_data", ("grace_hopper.jpg",)),
)  # fmt: skip


def package_photographs() -> dict[str, Path]:
    """Return the photographs that installed packages ship, by name, such as "camera".

    They are those of scikit-image, scikit-learn and matplotlib, which are not imported. Raises
    ConfigError if there are none.

        photographs = dvskit.scenes.package_photographs()
        path = next(iter(photographs.values()))  # the first one
        image = dvskit.scenes.read_photograph(path)  # (H, W) uint8
    """
    found: dict[str, Path] = {}
    for package, folder, names in _SHIPPED:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for name in names:
                path = Path(place, folder, name)
                if path.is_file():
                    found.setdefault(path.stem, path)
    if not found:
        raise ConfigError(
            "no installed package ships photographs; pip install scikit-image scikit-learn"
        )
    return found


def read_photograph(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Return an image file in gray, (H, W) uint8. Raises MissingFileError, VideoError.

    It reads the formats of OpenCV, such as PNG and JPEG.

        image = dvskit.scenes.read_photograph("images/0/00001.png")  # (28, 28) uint8
    """
    if not Path(path).is_file():
        raise MissingFileError(path)
    check_pixels(Path(path))
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:  # as Pillow raises for damaged files
        raise VideoError(f"{path}: is no image: {one_line(error)}") from error
