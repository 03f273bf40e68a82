"""The `Events` type, and the protocols and sources that carry events."""

from dvskit.events.columns import Events, Layout, cut
from dvskit.events.sources import (
    EventsSource,
    Filter,
    ReadableSource,
    Sink,
    Source,
    SourcePart,
    about,
    as_source,
    file_name,
    is_source,
)
from dvskit.events.window import Size, as_size, parse_size

__all__ = [
    "Events",
    "EventsSource",
    "Filter",
    "Layout",
    "ReadableSource",
    "Sink",
    "Size",
    "Source",
    "SourcePart",
    "about",
    "as_size",
    "as_source",
    "cut",
    "file_name",
    "is_source",
    "parse_size",
]
