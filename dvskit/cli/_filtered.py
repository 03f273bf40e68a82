"""The events of a recording with the filters of --filter applied; importing filters takes time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dvskit.errors import count_of
from dvskit.events import Events, Filter, Source
from dvskit.filters import Chain, FilteredSource, filter_from
from dvskit.filters.names import errors_in_files, filter_from_file, names_a_file
from dvskit.formats import Recording, RecordingPart


class FilteredEvents(FilteredSource):
    """A source with the filters of --filter applied.

    Raises ConfigError for filters and for errors in the user's own filters, with file and line.
    """

    def __init__(
        self, source: Source, texts: Sequence[str], part: Recording | RecordingPart
    ) -> None:
        needed = any(text.strip().lower() == "undistort" for text in texts)
        lens = part.intrinsics() if needed else None
        with errors_in_files():
            filters = [
                filter_from_file(text) if names_a_file(text) else filter_from(text, intrinsics=lens)
                for text in texts
            ]
            super().__init__(source, Chain(*filters))
        self._names = [
            text for text, each in zip(texts, filters, strict=True) for _ in range(_parts(each))
        ]

    def __iter__(self) -> Iterator[Events]:
        with errors_in_files():
            yield from super().__iter__()

    def notes(self) -> Iterator[str]:
        """Yield a line for each filter, in order: the number of events it dropped or added."""
        for text, each in zip(self._names, self.tally(), strict=False):
            counts = f"{count_of(each.dropped, 'event')} left out"
            if each.added or text.strip().lower().startswith("noise"):
                counts = f"{count_of(each.added, 'event')} added"
            yield f"{text}: {counts}"


def _parts(chosen: Filter) -> int:
    """Return the number of filters in a chain; 1 for any other filter."""
    return sum(map(_parts, chosen.filters)) if isinstance(chosen, Chain) else 1
