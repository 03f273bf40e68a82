"""The `Events` type, and the protocols and sources that carry events."""

from dvskit.events.columns import Events, Layout, cut, polarity_column
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
    read_all,
)
from dvskit.events.viewable import Viewable
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
    "Viewable",
    "about",
    "as_size",
    "as_source",
    "cut",
    "file_name",
    "is_source",
    "parse_size",
    "polarity_column",
    "read_all",
]
