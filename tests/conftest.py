"""Where the recordings are, and what a run without them may skip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

_HERE = Path(__file__).resolve().parent


def find_data() -> Path | None:
    named = os.environ.get("DVSKIT_DATA")
    for folder in [Path(named)] if named else [_HERE.parent.parent / "shared" / "data"]:
        if (folder / "recordings").is_dir():
            return folder
    return None


DATA = find_data()


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test for want of something, or fail it where DVSKIT_MUST_NOT_SKIP is set."""
    if os.environ.get("DVSKIT_MUST_NOT_SKIP"):
        pytest.fail(f"{reason}, and DVSKIT_MUST_NOT_SKIP is set")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings (DVSKIT_DATA); a test that needs it skips without."""
    if DATA is None:
        skip_or_fail("no recordings: set DVSKIT_DATA to their folder")
    return DATA
