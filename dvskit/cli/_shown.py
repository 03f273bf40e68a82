"""Recordings with what is said of them, for a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dvskit.cli._console import parse_time_us
from dvskit.cli._judging import fits_noted
from dvskit.errors import ConfigError, FormatError
from dvskit.events import Events, ReadableSource, read_all
from dvskit.formats import Recording, RecordingPart
from dvskit.formats.labels import read_labels
from dvskit.streams import Labels

if TYPE_CHECKING:
    from dvskit.render import Shown
    from dvskit.training import Model

Part = Recording | RecordingPart


class WithEvents(ReadableSource):
    """A recording, or a part of it, to be shown: it raises FormatError where it has no events."""

    def __init__(self, part: Recording | RecordingPart) -> None:
        self.source, self.size = part, part.size

    def __iter__(self) -> Iterator[Events]:
        some = False
        for block in self.source:
            some = some or len(block) > 0
            yield block
        if not some:
            part = self.source
            path, where = (
                (part.recording.path, " from --start to --stop")
                if isinstance(part, RecordingPart)
                else (part.path, "")
            )
            raise FormatError(f"{path}: there are no events to show{where}")


def shown_from(
    parts: list[tuple[Path, Part]],
    *,
    labels: Path | None = None,
    model: Model | None = None,
    every_us: int | None = None,
) -> list[Shown]:
    """Return recordings with the labels of a file, and what a model takes their spans for.

    A model that takes another sensor size sees them fitted to it, which is noted.
    """
    from dvskit import render

    own = None if labels is None else read_labels(labels)
    if model is None:
        return [
            render.Shown(WithEvents(part), file.name, part.labels() if own is None else own)
            for file, part in parts
        ]
    shown = []
    for file, part in parts:
        events = read_all(WithEvents(part))
        named = part.labels() if own is None else own
        shown.append(
            render.Shown(events, file.name, named, _decisions(events, part, model, every_us))
        )
    return shown


def check_words(
    count: int, *, labels: Path | None = None, model: str | None = None, every: str | None = None
) -> int | None:
    """Return the microseconds that `every` says, of what is to be told of `count` recordings.

    Raises ConfigError for labels of several recordings, and for `every` without a model.
    """
    if labels is not None and count > 1:
        raise ConfigError("--labels are of one recording; give one")
    if every is not None and model is None:
        raise ConfigError("--every says how often --model decides; name a model")
    return None if every is None else parse_time_us(every, "--every")


def _decisions(events: Events, part: Part, model: Model, every_us: int | None) -> Labels:
    from dvskit.datasets import likely_size, on_sensor
    from dvskit.training import classify_spans

    with fits_noted():
        taken = on_sensor(events, likely_size(part, model.size))
        return classify_spans(model, taken, every_us=every_us)
