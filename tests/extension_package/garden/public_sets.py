"""A public data set of another package: the names of recordings begin with their class."""

from __future__ import annotations

from pathlib import Path

from dvskit import datasets


def open_named(folder: Path) -> datasets.Samples | None:
    """Return the recordings `<class>_<number>.npz` of a folder."""
    files = sorted(folder.glob("*_*.npz"))
    rows = [datasets.Sample(file.name, file.stem.partition("_")[0], path=file) for file in files]
    return datasets.FileSamples(rows) if rows else None


datasets.register_public_set(
    datasets.PublicSet(
        name="named-recordings",
        where="https://example.org/named-recordings (named.zip)",
        layout="open_1.npz, open_2.npz, ..., shut_1.npz, ...",
        open=open_named,
    )
)
