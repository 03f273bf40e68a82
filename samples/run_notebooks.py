"""Run the notebooks from an empty folder, and store them with their outputs.

    python samples/run_notebooks.py [NOTEBOOK ...]

Without names it runs all of samples/notebooks. What changes from run to run for no reason is left
out: the times of cells and the version of Python. Needs nbclient and ipykernel.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from PIL import Image

import dvskit

FOLDER = Path(__file__).resolve().parent / "notebooks"
_MOST_BYTES = 100_000
_METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}


def execute(path: Path, folder: Path) -> Any:
    """Return the notebook with the outputs of a run in `folder`.

    The kernel and its commands use this dvskit. Raises nbclient's CellExecutionError.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment["PYTHONPATH"] = str(Path(dvskit.__file__).parent.parent)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute(env=environment)
    return notebook


def stored(notebook: Any) -> Any:
    """Return the notebook as it is kept: the version of Python and codes of terminals left out.

    Pictures of more than 100 kB are reduced to 128 colors.
    """
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        outputs: list[Any] = []
        for output in cell.get("outputs", ()):
            if output.output_type != "stream":
                _shrink(output.get("data", {}))
            elif outputs and outputs[-1].get("name") == output.name:
                outputs[-1].text += _plain(output.text)
                continue
            else:
                output.text = _plain(output.text)
            outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    return notebook


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).replace("\r\n", "\n")


def _shrink(data: Any) -> None:
    picture = base64.b64decode(data.get("image/png", ""))
    if len(picture) > _MOST_BYTES:
        small = io.BytesIO()
        Image.open(io.BytesIO(picture)).convert("RGB").quantize(128).save(
            small, "PNG", optimize=True
        )
        data["image/png"] = base64.b64encode(small.getvalue()).decode()


def main(names: list[str]) -> None:
    """Run the named notebooks, or all, and replace them."""
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        nbformat.write(stored(notebook), path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
