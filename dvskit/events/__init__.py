"""The `Events` type, and the protocols and sources that carry events."""

from dvskit.events.columns import Events, Layout, cut
from dvskit.events.notebook_output import set_html_writer
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
    "read_all",
    "set_html_writer",
]
