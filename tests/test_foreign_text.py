"""Text of strangers: headers, names and messages reach no terminal, page or log as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit.errors import OutputError, one_line, printable
from tests.laws import scattered

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\x7f\U000e0041"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff\U000e0000-\U000e0fff]")


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """Return a recording whose name and header are hostile."""
    monkeypatch.chdir(tmp_path)
    dvskit.save_events(scattered(300), "plain.raw")
    lines = f"% {HOSTILE} x\n% serial {HOSTILE}\n".encode()
    file = tmp_path / f"{HOSTILE}\udcff.raw"
    file.write_bytes((tmp_path / "plain.raw").read_bytes().replace(b"% end", lines + b"% end"))
    return file.name


@pytest.mark.parametrize(
    "words",
    [
        ("info",), ("info", "--json"), ("convert", f"{HOSTILE}.csv"),
        ("cloud", "-o", f"{HOSTILE}.html"), ("convert", "--size", "2x2", "b.csv"),
        ("classify", "--model", HOSTILE), ("render", "-o", f"{HOSTILE}.mp4", "--style", HOSTILE),
    ],
)  # fmt: skip
def test_no_command_prints_the_control_characters_of_a_file(run, recording, words):
    command, *rest = words
    _, out, err = run(command, recording, *rest)
    assert "owned" in out + err
    assert not UNSAFE.search(out + err)
    if "--json" in words:
        facts = json.loads(out)
        assert facts["file"] == recording
        assert facts["header"]["serial"] == HOSTILE.encode().decode("latin-1")


def test_a_page_holds_no_control_characters_of_its_recording(run, recording):
    labels = dvskit.Labels(np.array([0]), np.array([10_000]), (HOSTILE,))
    shown = dvskit.render.ShownEvents(dvskit.open_events(recording), HOSTILE, labels)
    dvskit.render.page([shown, shown], "a.html", title=recording)
    text = Path("a.html").read_text("utf-8")
    assert not UNSAFE.search(text)
    assert "\\\\u001b]0;owned" in text
    assert "\\\\udcff" in text


def test_scripts_emoji_and_the_escapes_of_json_are_kept():
    kept = "拍手 é \u2003 नमस\u094d\u200dते 👩\u200d🚀 می\u200cخواهم"
    assert printable(kept) == kept == printable(printable(kept))
    assert json.loads(printable(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE
    assert not UNSAFE.search(f"{OutputError(HOSTILE)} {one_line(HOSTILE)}")


def test_a_name_is_no_formula_in_a_plot(tmp_path):
    figure = dvskit.render.plots.confusion(np.eye(2, dtype=int), [r"$\frac a$", "$x^2$"])
    dvskit.render.plots.save(figure, tmp_path / "a.png")
    assert r"$\frac a$" in [label.get_text() for label in figure.axes[0].get_xticklabels()]
