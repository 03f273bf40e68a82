"""The search finds American spellings of the words of the pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

# British spellings, as parts of words, and American ones.
_SPELLINGS = [
    (re.compile(british), american)
    for british, american in (
        (r"(behavi|col|fav|neighb)our", r"\1or"),
        (r"^grey", "gray"),
        (r"centre", "center"),
        (r"metre", "meter"),
        (r"labelled", "labeled"),
        (
            r"(initial|maxim|minim|normal|optim|organ|quant|raster|recogn|serial|stabil|standard"
            r"|synchron|vector|visual)is(?=e|ing|ation)",
            r"\1iz",
        ),
    )
]
_WORD = re.compile(r"[a-z]+")


def american(text: str) -> list[str]:
    """Return the American spellings of the words of a text that have one, each once, sorted."""
    found = set()
    for word in set(_WORD.findall(text.lower())):
        other = word
        for british, spelling in _SPELLINGS:
            other = british.sub(spelling, other)
        if other != word:
            found.add(other)
    return sorted(found)


def add_spellings(index: Path) -> None:
    """Add American spellings to the sections of a search index of mkdocs."""
    content = json.loads(index.read_text(encoding="utf-8"))
    for section in content["docs"]:
        if words := american(f"{section['title']} {section['text']}"):
            section["text"] += f" <p>Other spelling: {', '.join(words)}</p>"
    index.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
