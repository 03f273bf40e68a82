"""Reconstructors by name: "filter", "filter:cutoff_hz=2", a model folder, an ONNX file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dvskit.errors import ConfigError, did_you_mean, one_line
from dvskit.filters.names import described, values_of
from dvskit.reconstruction.reconstructor import Reconstructor


def _filter(arguments: str) -> Reconstructor:
    from dvskit.reconstruction.complementary import ComplementaryFilter

    try:
        return ComplementaryFilter(**values_of(ComplementaryFilter, arguments))
    except ConfigError as error:
        usage = described("filter", ComplementaryFilter)
        raise ConfigError(f"{one_line(error)} (usage: {usage})") from error


def _onnx(path: str, convention: str | None) -> Reconstructor:
    from dvskit.reconstruction.onnx_network import OnnxReconstructor

    return OnnxReconstructor(path, convention=convention or "e2vid")


def _network(name: str) -> Reconstructor:
    """Return the network in a folder, or of a shipped model's name."""
    from dvskit.reconstruction.model import load_reconstruction_model
    from dvskit.reconstruction.network_reconstructor import NetworkReconstructor

    return NetworkReconstructor(load_reconstruction_model(name))


# A name and its maker, which is called with the text after "NAME:".
NAMES: dict[str, Callable[[str], Reconstructor]] = {"filter": _filter}
_ONNX = re.compile(r"(?P<path>.+\.onnx)(:(?P<convention>.*))?", re.IGNORECASE)


def load_reconstructor(name: str) -> Reconstructor:
    """Return a reconstructor by name.

    filter            the complementary filter; arguments follow: "filter:cutoff_hz=2"
    reconstruct       a shipped network; or the folder of one that `dvskit train` wrote
    FILE.onnx         a network in the layout of E2VID or FireNet; its convention of voxels may
                      follow: "net.onnx:firenet+". See `OnnxReconstructor`

    Raises ConfigError for an unknown name and for wrong arguments, ModelError for a classifier and
    for damaged models, and the errors of a file.

        method = dvskit.reconstruction.load_reconstructor("filter:cutoff_hz=2")
        events = dvskit.load_events("events.raw")
        for t_us, image in dvskit.reconstruction.reconstruct(events, method, [500_000, 1_000_000]):
            image  # (128, 128) uint8
    """
    made = find_reconstructor(name)
    if made is not None:
        return made
    from dvskit.networks.model_folder import shipped_models

    text = str(name).strip()
    if Path(text).is_dir() or text in shipped_models():
        return _network(text)  # raises: it is no network for images
    raise ConfigError(
        f"unknown reconstructor {text!r}; {did_you_mean(text, reconstructor_names())}, a file "
        "*.onnx, a model folder"
    )


def reconstructor_names() -> tuple[str, ...]:
    """Return the names that `load_reconstructor` takes, without files and folders."""
    try:
        from dvskit.networks.model_folder import shipped_models
    except ModuleNotFoundError:  # in a light install, without torch
        return tuple(NAMES)
    return *NAMES, *shipped_models("reconstruction")


def find_reconstructor(name: str) -> Reconstructor | None:
    """Return a reconstructor by name, as `load_reconstructor`; None for other names and models."""
    text = str(name).strip()
    file = _ONNX.fullmatch(text)
    if file is not None:
        return _onnx(file["path"], file["convention"])
    word, _, arguments = text.partition(":")
    kind = NAMES.get(word.strip().lower())
    if kind is None:
        return _network(text) if _is_network(text) else None
    try:
        return kind(arguments.strip())
    except ConfigError as error:
        raise ConfigError(f"{text}: {one_line(error)}") from error


def _is_network(name: str) -> bool:
    from dvskit.networks.model_folder import MODEL_TOML, read_toml, shipped_models

    toml = Path(name, MODEL_TOML)
    if toml.is_file():
        return read_toml(toml).get("task") == "reconstruction"
    return name in shipped_models("reconstruction")
