"""Reconstructors by name: "filter", "filter:cutoff_hz=2", a model folder, an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, DvskitError, did_you_mean, one_line
from dvskit.filters.names import values_of
from dvskit.reconstruction.reconstructor import Reconstructor


def _filter(arguments: str) -> Reconstructor:
    from dvskit.reconstruction.complementary import ComplementaryFilter

    return ComplementaryFilter(**values_of(ComplementaryFilter, arguments))


# Name, or suffix of a file, and the maker: called with the text after NAME:, or with the path.
NAMES: dict[str, Callable[[str], Reconstructor]] = {"filter": _filter}
SUFFIXES: dict[str, Callable[[Path], Reconstructor]] = {}


@check_arguments
def load_reconstructor(name: str) -> Reconstructor:
    """Return a reconstructor by name.

    filter            the complementary filter; arguments follow: "filter:cutoff_hz=2"

    Raises ConfigError for an unknown name and for wrong arguments.
    """
    text = str(name).strip()
    made = SUFFIXES.get(Path(text).suffix.lower())
    if made is not None:
        return made(Path(text))
    word, _, arguments = text.partition(":")
    kind = NAMES.get(word.strip().lower())
    if kind is None:
        raise ConfigError(f"unknown reconstructor {text!r}; {did_you_mean(word, NAMES)}")
    try:
        return kind(arguments.strip())
    except DvskitError as error:
        raise ConfigError(f"{text}: {one_line(error)}") from error
