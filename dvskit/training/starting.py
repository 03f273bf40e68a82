"""What the weights of a run begin as, where they are those of another model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dvskit.errors import ConfigError
from dvskit.training.config import Config
from dvskit.training.feed import Feed
from dvskit.training.models import Model, load_model
from dvskit.training.split_file import Used, used_samples


def start_of(config: Config, feed: Feed) -> Model | None:
    """Return the model that a run begins with, if any.

    Raises ModelError where there is none of that name, ConfigError for other classes, and where it
    learned from recordings, or was chosen by some, that this run is chosen or judged by.
    """
    if not config.start:
        return None
    start = load_model(config.start)
    if start.classes != feed.classes:
        raise ConfigError(
            f"start = {config.start!r} has the classes {', '.join(start.classes)}, the data "
            f"{', '.join(feed.classes)}; take a model of the same, or leave out start"
        )
    leaked = _leaked(start.used, used_samples(feed.split))
    if leaked:
        raise ConfigError(
            f"start = {config.start!r} learned from {len(leaked):,} of the recordings that this "
            f"run is chosen or judged by, such as {leaked[0].name}; split them as its run did (the "
            "same seed and shares), or leave out start"
        )
    return start


def begin_with(module: nn.Module, start: Model, name: str) -> None:
    """Give a fresh module the weights of a model. Raises ConfigError for another network."""
    try:
        module.load_state_dict(start.module.state_dict())
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise ConfigError(
            f"start = {name!r} is of another network; make [network] that of its model.toml: {why}"
        ) from error


def used_before(start: Model | None, used: Sequence[Used]) -> tuple[Used, ...]:
    """Return the recordings of a run, and behind them those that its start alone was trained on.

    What the start was chosen by counts as trained on: its weights follow from it.
    """
    known = {_what(row) for row in used}
    before = [] if start is None else [row for row in start.used if row.part != "test"]
    return (*used, *(row._replace(part="train") for row in before if _what(row) not in known))


def _leaked(before: Sequence[Used], now: Sequence[Used]) -> list[Used]:
    """Return what is judged now and was learned from before, or chosen by now and trained on."""
    part = {_what(row): row.part for row in before if row.part != "test"}
    bad = {("train", "validation"), ("train", "test"), ("validation", "test")}
    return [row for row in now if (part.get(_what(row)), row.part) in bad]


def _what(row: Used) -> tuple[str, tuple[int, int] | None]:
    return row.fingerprint, row.span
