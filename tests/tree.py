"""Files of the repository that tests read; beside an installed package some are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvskit._files import shipped_folders

TOP = Path(__file__).resolve().parent.parent
SAMPLES = TOP / "samples"
MODELS = shipped_folders("model.toml")  # the folders by name


def text_of(name: str) -> str:
    """Return the text of a file; without it skip the test, or the file of tests that asks."""
    path = TOP / name
    if not path.is_file():
        pytest.skip(f"no {name} beside the tests", allow_module_level=True)
    return path.read_text(encoding="utf-8")
