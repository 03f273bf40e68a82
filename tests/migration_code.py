"""Run a migration page: the code of another library beside dvskit's.

A label, `**NAME**` on a line of its own, comes before each block of a side: `**dvskit**`, or the
name of the other library. Blocks without a label belong to both. Where both sides of a task define
`theirs` and `ours`, the values are compared.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.page_code import Block, blocks_of, run_command

OURS = "dvskit"
# The label of each library, and the module that shows whether it is installed.
MODULES = {
    "tonic": "tonic",
    "v2e": "v2ecore",
    "Metavision": "metavision_core",
    "dv-processing": "dv_processing",
    "eventcv": "eventcv",
    "snnTorch": "snntorch",
    "SpikingJelly": "spikingjelly",
}
_LABEL = re.compile(r"\*\*([\w -]+)\*\*")


def labeled_blocks(page: str) -> Iterator[tuple[str, Block]]:
    """Yield each block with the label of its side, or "" for both sides."""
    lines = page.splitlines()
    for block in blocks_of(page):
        above = (line for line in reversed(lines[: block.line - 1]) if line.strip())
        label = _LABEL.fullmatch(next(line for line in above if not line.startswith("<!--")))
        yield (label[1] if label else ""), block


def tasks_of(page: str) -> list[tuple[str, Block, Block]]:
    """Return (label, their block, our block) of each task. Raises ValueError for a block alone."""
    sides = [(label, block) for label, block in labeled_blocks(page) if label]
    theirs, ours = sides[::2], sides[1::2]
    if len(theirs) != len(ours) or any(label != OURS for label, _ in ours):
        raise ValueError(f"sides do not alternate: {[label for label, _ in sides]}")
    pairs = zip(theirs, ours, strict=True)
    return [(label, their_block, our_block) for (label, their_block), (_, our_block) in pairs]


def is_installed(label: str) -> bool:
    """Return whether the library of a label can be imported."""
    return find_spec(MODULES[label]) is not None


def run_sides(page: Path, *, peer: bool) -> int:
    """Run a page in the current folder and return the number of comparisons.

    peer  whether the blocks of the other library run too

    Raises AssertionError if `theirs` and `ours` of a task differ, RuntimeError for a command that
    fails.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    compared = 0
    for label, block in labeled_blocks(page.read_text(encoding="utf-8")):
        names.pop("ours", None)
        if label != OURS:  # also where that side does not run: the value is of an earlier task
            names.pop("theirs", None)
        if block.reason or (label not in ("", OURS) and not peer):
            continue
        _run(block, page, names, quiet=label not in ("", OURS))
        if "ours" in names and "theirs" in names:
            compared += 1
            if not is_same(names["theirs"], names.pop("ours")):
                raise AssertionError(f"{page.name}:{block.line}: theirs and ours differ")
    return compared


def _run(block: Block, page: Path, names: dict[str, Any], *, quiet: bool) -> None:
    if block.kind == "bash":
        for line in block.commands():
            run_command(line)
        return
    code = compile("\n" * block.line + block.text, str(page), "exec")
    with warnings.catch_warnings():
        if quiet:  # other libraries may warn
            warnings.simplefilter("ignore")
        exec(code, names)


def is_same(theirs: Any, ours: Any) -> bool:
    """Return whether values are equal: floats to 1e-5, arrays with fields by our fields."""
    if isinstance(ours, tuple | list):
        return len(theirs) == len(ours) and all(map(is_same, theirs, ours))
    left, right = np.asarray(theirs), np.asarray(ours)
    if left.shape != right.shape:
        return False
    if right.dtype.names:
        return all(np.array_equal(left[name], right[name]) for name in right.dtype.names)
    if "f" in (left.dtype.kind, right.dtype.kind):
        return bool(np.allclose(left, right, rtol=1e-5, atol=1e-6))
    return bool(np.array_equal(left, right))
