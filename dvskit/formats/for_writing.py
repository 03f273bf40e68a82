"""The format that a file is written in."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from dvskit.errors import UnknownFormatError, did_you_mean
from dvskit.formats.addresses import LiveAddress, scheme_of
from dvskit.formats.network import is_network
from dvskit.formats.table import TABLE, Format, named_format


def format_for_writing(path: str | PathLike[str], name: str | None = None) -> Format:
    """Return the format to write `path` in: by `name`, else by its suffix.

    A path of "-", tcp:// and ws:// are pipes: EVT3 unless named. Raises UnknownFormatError for an
    unknown name or suffix, for a read-only format, and for one that cannot go through a pipe.

        dvskit.formats.for_writing.format_for_writing("out.csv").name           # 'csv'
        dvskit.formats.for_writing.format_for_writing("out.raw", "evt2").name    # 'evt2'
    """
    piped = str(path) == "-" or is_network(path)
    scheme = scheme_of(path)
    if scheme is not None and not piped:
        raise UnknownFormatError(
            f"{LiveAddress(path)}: {scheme}:// is only an input; send events to tcp:// or ws://"
        )
    if name is not None:
        row, variant = named_format(name, "w")
        if variant:
            raise UnknownFormatError(
                f"{name}: a variant is for reading; {row.name} has one form for writing (name it "
                f"{row.name})"
            )
        _check_written(path, row)
    elif piped:
        row = TABLE["evt3"]
    else:
        row = TABLE.search(lambda: _written_as(path))
    if piped and "w" not in row.piped:
        place = "standard output" if str(path) == "-" else f"{str(path).partition(':')[0]} output"
        ways = ", ".join(sorted(row.name for row in TABLE.values() if "w" in row.piped))
        own = TABLE.is_own(row.name)
        why = "it is not written in order" if own else "its row does not declare piped='w'"
        raise UnknownFormatError(
            f"{place}: {row.name} cannot go through a pipe, as {why}; name a file, or one of "
            f"{ways} as the format"
        )
    return row


def _written_as(path: str | PathLike[str]) -> Format:
    """Return the format that the suffix of a path names."""
    suffix = Path(path).suffix.lower()
    rows = [row for row in TABLE.values() if suffix in row.suffixes]
    if not rows:
        known = {ending for row in TABLE.values() if "w" in row.can for ending in row.suffixes}
        raise UnknownFormatError(
            f"{path}: no format is written as {suffix!r}; {did_you_mean(suffix, known)}"
        )
    row = next((row for row in rows if "w" in row.can), rows[0])
    _check_written(path, row)
    return row


def _check_written(path: str | PathLike[str], row: Format) -> None:
    if "w" not in row.can:
        writable = ", ".join(sorted(row.name for row in TABLE.values() if "w" in row.can))
        raise UnknownFormatError(f"{path}: {row.name} is only read; write one of {writable}")
