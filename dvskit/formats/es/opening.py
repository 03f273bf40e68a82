"""The kind of Recording that an Event Stream is."""

from __future__ import annotations

from pathlib import Path

from dvskit.formats.es.generic import GenericRecording
from dvskit.formats.es.layouts import Kind
from dvskit.formats.es.reading import EsRecording, read_layout, size_of
from dvskit.formats.recording import ReadOptions


def open_recording(path: Path, options: ReadOptions) -> EsRecording | GenericRecording:
    """Open an Event Stream. Its size is the argument, the header's, or what holds its events.

    Raises FormatError for versions beyond 2 and for display and liquid events, GeometryError for a
    size in the header that is none.
    """
    head, layout = read_layout(path)
    if layout.kind is Kind.GENERIC:
        return GenericRecording(path, options, head, layout)
    size, origin = size_of(path, options, head, layout)
    return EsRecording(path, options, size, origin, layout)
