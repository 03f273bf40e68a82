"""Filters of the user's own, named as FILE.py:NAME; those of dvskit/filters/README.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import dvskit
from dvskit.errors import ConfigError, MissingFileError
from dvskit.events import Events
from dvskit.filters import chain, filter_from
from dvskit.filters.names import filter_from_file
from tests.test_cli import usage_error
from tests.test_filter_laws import EVENTS

README = Path(dvskit.__file__).parent / "filters" / "README.md"


@pytest.fixture
def my(tmp_path, monkeypatch):
    """my.py: the two filters of the page, and what else a file may hold."""
    page = README.read_text(encoding="utf-8")
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    (tmp_path / "beside.py").write_text("of = 3\n")
    more = (
        "import beside\nfrom dvskit.filters import Flip, StartAt, chain\n"
        "third = EveryOther(beside.of)\nboth = chain(left_half, Flip())\n"
        "number = 5\nclass Plain: ...\n"
        "def wrong(events):\n    return events.nothing\n"
        "class Later(StartAt): ...\n"
    )
    (tmp_path / "my.py").write_text(f"{code}\n{more}")
    monkeypatch.chdir(tmp_path)
    dvskit.save_events(EVENTS, "in.npz")
    yield tmp_path / "my.py"
    for name in [name for name in sys.modules if "dvskit_own_" in name or name == "beside"]:
        del sys.modules[name]


LEFT = EVENTS[EVENTS.x < EVENTS.size.width // 2]
OWN = {
    "my.py:left_half": LEFT,
    "my.py:EveryOther": EVENTS[::2],
    "my.py:EveryOther:3": EVENTS[::3],
    " ./my.py : EveryOther : of=3 ": EVENTS[::3],
    "my.py:third": EVENTS[::3],
    "my.py:both": chain(filter_from("flip"))(LEFT),
}


def test_the_page_of_filters_fits_on_a_screen():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("text", OWN)
@pytest.mark.parametrize("cut", [1, 7, 5000])
def test_a_filter_of_a_file_gives_the_same_however_the_stream_is_cut(my, text, cut):
    step = chain(filter_from_file(text)).start(EVENTS.size)
    parts = [step(EVENTS[at : at + cut]) for at in range(0, len(EVENTS), cut)]
    assert Events.concatenate([*parts, step.finish()]) == OWN[text]
    assert step.dropped == len(EVENTS) - len(OWN[text])


@pytest.mark.parametrize("text", OWN)
def test_convert_applies_it_and_reports_what_it_dropped(my, run, text):
    code, _, err = run("convert", "in.npz", "out.npz", "--filter", text)
    assert code == 0
    assert dvskit.load_events("out.npz") == OWN[text]
    assert f"{text}: {len(EVENTS) - len(OWN[text]):,} events left out" in err
    assert not (my.parent / "__pycache__" / "my.cpython-311.pyc").exists()


@pytest.mark.slow(seconds=8)
def test_each_process_of_many_loads_it(my, run, tmp_path):
    for name in "ab":
        dvskit.save_events(EVENTS, tmp_path / f"{name}.npz")
    code, _, _ = run(
        "convert", "a.npz", "b.npz", "-o", "out", "--to", "npz", "--jobs", "2",
        "--filter", "my.py:EveryOther:3",
    )  # fmt: skip
    assert code == 0
    for name in "ab":
        assert dvskit.load_events(tmp_path / "out" / f"{name}.npz") == EVENTS[::3]


MISTAKES = {
    "none.py:EveryOther": "none.py: no such file",
    "my.py:EveryOthr": "there is no 'EveryOthr' in the file; did you mean 'EveryOther'? choices: ",
    "my.py": "choices: EveryOther, Later, both, left_half, third, wrong",
    "my.py:number": "5 is not a filter",
    "my.py:Plain": "Plain is a class without start(size)",
    "my.py:EveryOther:many": "of 'many' is not a whole number (usage: EveryOther:of=2)",
    "my.py:EveryOther:2,3": "'3' is one argument too many",
    "my.py:left_half:3": "left_half takes no arguments; only a class does",
    "my.py:EveryOtherStep": "EveryOtherStep is a class without start(size)",
    "my.py:wrong": "my.py, line 39: AttributeError: 'Events' object has no attribute 'nothing'",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(my, run, text, tmp_path):
    result = run("convert", "in.npz", "out.npz", "--filter", text)
    code, out, err = result
    assert MISTAKES[text] in err
    assert (code, out, err.count("\n")) == (1 if "no such file" in err else 2, "", 1)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\n\n1 / 0\n", "bad.py, line 3: ZeroDivisionError: division by zero"),
        ("x = (\n", "bad.py, line 1: '(' was never closed"),
        ("import sys\nsys.exit(3)\n", "bad.py, line 2: SystemExit: 3"),
        ("import no_such_module\n", "bad.py, line 1: ModuleNotFoundError: No module named"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(run, tmp_path, code, said):
    dvskit.save_events(EVENTS, tmp_path / "in.npz")
    (tmp_path / "bad.py").write_text(code)
    assert said in usage_error(run("convert", "in.npz", "out.npz", "--filter", "bad.py:f"))


def test_a_filter_that_moves_times_says_so(my, run):
    from dvskit.formats import open_sink
    from dvskit.streams import Triggers

    with open_sink("in.raw", EVENTS.size, format="evt3") as sink:
        sink.write_triggers(Triggers(EVENTS.t[:2], EVENTS.x[:2] * 0, EVENTS.p[:2]))
        sink.write(EVENTS)
    _, _, err = run("convert", "in.raw", "out.raw", "--filter", "my.py:Later:5s")
    assert "triggers, IMU samples and frames are left out" in err
    assert dvskit.load_events("out.raw").t[0] == 5_000_000


def test_texts_of_configurations_run_no_file(my):
    with pytest.raises(ConfigError, match="there is no filter"):
        filter_from("my.py:EveryOther")
    with pytest.raises(MissingFileError):
        filter_from_file("none.py:EveryOther")
