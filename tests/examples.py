"""The example in a docstring, as code."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any


def example_of(documented: Any) -> str:
    """The first block of a docstring that is indented by four spaces."""
    text = f"{inspect.getdoc(documented) or ''}\n"  # the last line ends, too
    found = re.search(r"^(    \S.*\n(?:    .*\n|\n)*)", text, re.MULTILINE)
    assert found, f"{documented.__qualname__} has no example"
    return textwrap.dedent(found[1])
