"""Reconstructors by name: "filter", "filter:cutoff_hz=2", a model folder, an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, did_you_mean, one_line
from dvskit.filters.names import values_of
from dvskit.reconstruction.reconstructor import Reconstructor


def _filter(arguments: str) -> Reconstructor:
    from dvskit.reconstruction.complementary import ComplementaryFilter

    return ComplementaryFilter(**values_of(ComplementaryFilter, arguments))


# A name and its maker, which is called with the text after "NAME:".
NAMES: dict[str, Callable[[str], Reconstructor]] = {"filter": _filter}
# The suffix of a file and its maker, which is called with the path.
SUFFIXES: dict[str, Callable[[Path], Reconstructor]] = {}
# Makers for model folders; each returns None for a folder of another kind.
FOLDERS: list[Callable[[Path], Reconstructor | None]] = []


@check_arguments
def load_reconstructor(name: str) -> Reconstructor:
    """Return a reconstructor by name.

    filter            the complementary filter; arguments follow: "filter:cutoff_hz=2"

    Raises ConfigError for an unknown name and for wrong arguments.
    """
    made = find_reconstructor(name)
    if made is None:
        suffixes = "".join(f", a file *{suffix}" for suffix in SUFFIXES)
        folders = ", a model folder" if FOLDERS else ""
        raise ConfigError(
            f"unknown reconstructor {name!r}; {did_you_mean(name, NAMES)}{suffixes}{folders}"
        )
    return made


def find_reconstructor(name: str) -> Reconstructor | None:
    """Return a reconstructor by name, as `load_reconstructor`; None for an unknown name."""
    text = str(name).strip()
    path = Path(text)
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()](path)
    word, _, arguments = text.partition(":")
    kind = NAMES.get(word.strip().lower())
    if kind is not None:
        try:
            return kind(arguments.strip())
        except ConfigError as error:
            raise ConfigError(f"{text}: {one_line(error)}") from error
    if path.is_dir():
        return next((made for each in FOLDERS if (made := each(path)) is not None), None)
    return None
