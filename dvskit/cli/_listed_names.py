"""Names that --help lists: those of dvskit, and those of installed packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dvskit.formats import formats
from dvskit.registry import load_packages

# Those of dvskit stand here, since importing torch for --help takes a second.
REPRESENTATION_WORDS = (
    "counts", "binary", "signed", "voxel_grid", "last_times", "time_surface:tau=50ms",
    "decayed_counts:tau=50ms", "averaged_time_surface:tau=50ms", "tore",
    "event_frames:count=5000", "point_set:points=1024",
    "features:fitted=features.safetensors",
)  # fmt: skip
ENCODER_WORDS = (
    "poisson", "latency", "log_latency", "signed_poisson", "rank_order", "population", "delta",
    "direct",
)  # fmt: skip


def registered(kind: str) -> list[str]:
    """Return the names of one kind of part in installed packages, which are imported."""
    parts = [part for package in load_packages() for part in package.parts]
    return [part.removeprefix(f"{kind} ") for part in parts if part.startswith(f"{kind} ")]


def _added() -> list[str]:
    """Return the networks, neurons and public sets of installed packages, as part of a help."""
    # A backslash keeps rich from reading the name of a table as markup.
    places = {"network": r"\[network] name", "neuron": r"\[network] layers",
              "public set": r"[\[data]] set"}  # fmt: skip
    parts = [f"{kind} {name} ({at})" for kind, at in places.items() for name in registered(kind)]
    return [f" Installed packages add {', '.join(parts)}."] if parts else []


def _filter_names() -> Iterable[str]:
    from dvskit.filters import filter_names

    return filter_names()


# Names that --help lists, by the word that stands for them in help texts: with those of installed
# packages, which are imported then.
LISTS: dict[str, Callable[[], Iterable[str]]] = {
    "{filters}": _filter_names,
    "{read}": lambda: [row.name for row in formats() if "r" in row.can],
    "{written}": lambda: [row.name for row in formats() if "w" in row.can],
    "{representations}": lambda: (*REPRESENTATION_WORDS, *registered("representation")),
    "{encoders}": lambda: (*ENCODER_WORDS, *registered("encoder")),
    "{added}": _added,
}


def with_lists(text: str) -> str:
    """Return a help text with the names of `LISTS`."""
    for word, names in LISTS.items():
        if word in text:
            text = text.replace(word, ", ".join(names()))
    return text
