"""A confusion matrix as text: a table where there is room, else the most frequent mistakes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from dvskit.training import Result

_ELSEWHERE = 100  # columns of a file or a pipe
_LONGEST = 32  # cells of a name
_MISTAKES = 10  # listed where there is no room for a table
_GAP = "  "
_NONE = "."  # stands out less than 0


def matrix_lines(result: Result, width: int | None = None) -> list[str]:
    """Return the confusion matrix of a result: lines of how often each class was taken for which.

    A row is a true class, a column an answer; the last column is the share of right answers, and
    classes of which there was no sample have no row. Columns are named where there is room, else
    numbered as the rows are. Where even that is too wide, each class has a line with its share,
    and the most frequent mistakes are listed below.

    width  of the terminal, in characters; unless given that of standard output, 100 of a pipe
    """
    if width is None:
        width = shutil.get_terminal_size((_ELSEWHERE, 24)).columns
    names = [_shown(name) for name in result.classes]
    numbers = [str(k + 1) for k in range(len(names))]
    numbered = [f"{k:>{len(numbers[-1])}} {name}" for k, name in zip(numbers, names, strict=True)]
    for rows, columns in ((names, names), (numbered, numbers)):
        lines = _table(result, rows, columns)
        if max(map(cell_len, lines)) <= width:
            return lines
    return [*_shares(result, names), *_mistakes(result, names)]


def _shown(name: str) -> str:
    """Return a name on one line, without control characters, cut where it is too long."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return plain if cell_len(plain) <= _LONGEST else set_cell_size(plain, _LONGEST - 1) + "…"


def _table(result: Result, rows: Sequence[str], columns: Sequence[str]) -> list[str]:
    counts = [[f"{n:,}" if n else _NONE for n in row] for row in result.confusion.tolist()]
    right = ["right", *(_share(result, k) for k in range(len(rows)))]
    first = _left(["true \\ answer", *rows])
    body = [_right([column, *(row[k] for row in counts)]) for k, column in enumerate(columns)]
    table = [_GAP.join(cells) for cells in zip(first, *body, _right(right), strict=True)]
    seen = result.confusion.sum(1) > 0
    return [table[0], *(line for line, some in zip(table[1:], seen, strict=True) if some)]


def _share(result: Result, k: int) -> str:
    total = int(result.confusion[k].sum())
    return f"{100 * result.confusion[k, k] / total:.1f} %" if total else ""


def _left(cells: Sequence[str]) -> list[str]:
    width = max(map(cell_len, cells))
    return [cell + " " * (width - cell_len(cell)) for cell in cells]


def _right(cells: Sequence[str]) -> list[str]:
    width = max(map(cell_len, cells))
    return [" " * (width - cell_len(cell)) + cell for cell in cells]


def _shares(result: Result, names: Sequence[str]) -> Iterator[str]:
    for k, name in enumerate(names):
        if result.confusion[k].any():
            yield f"  {name}: {_share(result, k)}"


def _mistakes(result: Result, names: Sequence[str]) -> Iterator[str]:
    wrong = result.confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]
    found = [divmod(int(place), len(names)) for place in worst if wrong.flat[place]]
    if found:
        yield f"most frequent mistakes, of {int(wrong.sum()):,}:"
    for true, answer in found:
        yield f"  {names[true]} taken for {names[answer]}: {int(wrong[true, answer]):,}"
