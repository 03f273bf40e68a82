"""Reconstructors by name: "filter", "filter:cutoff_hz=2", a model folder, an ONNX file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, did_you_mean, one_line
from dvskit.filters.names import values_of
from dvskit.reconstruction.reconstructor import Reconstructor


def _filter(arguments: str) -> Reconstructor:
    from dvskit.reconstruction.complementary import ComplementaryFilter

    return ComplementaryFilter(**values_of(ComplementaryFilter, arguments))


def _onnx(path: str, convention: str | None) -> Reconstructor:
    from dvskit.reconstruction.onnx_network import OnnxReconstructor

    return OnnxReconstructor(path, convention=convention or "e2vid")


# A name and its maker, which is called with the text after "NAME:".
NAMES: dict[str, Callable[[str], Reconstructor]] = {"filter": _filter}
_ONNX = re.compile(r"(?P<path>.+\.onnx)(:(?P<convention>.*))?", re.IGNORECASE)
# Makers for model folders; each returns None for a folder of another kind.
FOLDERS: list[Callable[[Path], Reconstructor | None]] = []


@check_arguments
def load_reconstructor(name: str) -> Reconstructor:
    """Return a reconstructor by name.

    filter            the complementary filter; arguments follow: "filter:cutoff_hz=2"

    FILE.onnx         a network in the layout of E2VID or FireNet; its convention of voxels may
                      follow: "net.onnx:firenet+". See `OnnxReconstructor`

    Raises ConfigError for an unknown name and for wrong arguments, and the errors of a file.
    """
    made = find_reconstructor(name)
    if made is None:
        folders = ", a model folder" if FOLDERS else ""
        raise ConfigError(
            f"unknown reconstructor {name!r}; {did_you_mean(name, NAMES)}, a file *.onnx{folders}"
        )
    return made


def find_reconstructor(name: str) -> Reconstructor | None:
    """Return a reconstructor by name, as `load_reconstructor`; None for an unknown name."""
    text = str(name).strip()
    file = _ONNX.fullmatch(text)
    if file is not None:
        return _onnx(file["path"], file["convention"])
    word, _, arguments = text.partition(":")
    kind = NAMES.get(word.strip().lower())
    if kind is not None:
        try:
            return kind(arguments.strip())
        except ConfigError as error:
            raise ConfigError(f"{text}: {one_line(error)}") from error
    path = Path(text)
    if path.is_dir():
        return next((made for each in FOLDERS if (made := each(path)) is not None), None)
    return None
