"""Filters of the user's own, registered or named as FILE.py:NAME; those of the guide."""

from __future__ import annotations

import re
import sys
from itertools import pairwise

import pytest

import dvskit
from dvskit.errors import ConfigError, DvskitError, MissingFileError
from dvskit.events import Events
from dvskit.filters import Chain, HotPixel, filter_from, filter_names, register_filter
from dvskit.filters.names import FILTERS, filter_from_file
from tests.examples import example_of
from tests.laws import random_cuts, refused, refused_command
from tests.test_filter_laws import EVENTS
from tests.tree import text_of

GUIDE = text_of("samples/guide/extending.md")
MORE = """
import beside
from dvskit.filters import Flip, Chain
third = EveryOther(beside.of)
both = Chain(left_half, Flip())
number = 5
class Plain: ...
class Bad:
    def start(self): ...
def wrong(events):
    return events.nothing
def earlier(e):
    return type(e)(t=e.t[::-1], x=e.x, y=e.y, p=e.p, size=e.sensor_size)
"""


@pytest.fixture
def my(tmp_path, monkeypatch):
    """my.py: the two filters of the page, and other values that a file may hold."""
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", GUIDE, re.DOTALL)
    code = code.replace('register_filter("every_other", EveryOther)', "")  # other tests do
    (tmp_path / "beside.py").write_text("of = 3\n")
    (tmp_path / "my.py").write_text(code + MORE)
    monkeypatch.chdir(tmp_path)
    dvskit.save_events(EVENTS, "in.npz")
    yield tmp_path / "my.py"
    for name in [name for name in sys.modules if "dvskit_own_" in name or name == "beside"]:
        del sys.modules[name]


LEFT = EVENTS[EVENTS.x < EVENTS.sensor_size.width // 2]
OWN = {
    "my.py:left_half": LEFT,
    "my.py:EveryOther": EVENTS[::2],
    "my.py:EveryOther:3": EVENTS[::3],
    " ./my.py : EveryOther : of=3 ": EVENTS[::3],
    "my.py:third": EVENTS[::3],
    "my.py:both": Chain(filter_from("flip"))(LEFT),
}


@pytest.mark.parametrize("text", OWN)
def test_a_filter_of_a_file_gives_the_same_however_the_stream_is_cut(my, text):
    step = Chain(filter_from_file(text)).start(EVENTS.sensor_size)
    parts = [step(EVENTS[start:stop]) for start, stop in pairwise(random_cuts(len(EVENTS), 1))]
    assert Events.concatenate([*parts, step.finish()]) == OWN[text]
    assert step.dropped == len(EVENTS) - len(OWN[text])
    assert not list(my.parent.glob("__pycache__/my.*"))


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
    "my.py:EveryOthr": "did you mean 'EveryOther'",
    "my.py": "choices: Bad, EveryOther, both, earlier, left_half, third, wrong",
    "my.py:number": "5 is not a filter",
    "my.py:Bad": "Bad: its start",
    "my.py:Plain": "Plain is a class without start",
    "my.py:EveryOther:many": "'many'",
    "my.py:EveryOther:2,3": "'3'",
    "my.py:left_half:3": "left_half takes no arguments",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_line(my, text):
    with refused(DvskitError, MISTAKES[text]):
        filter_from_file(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("my.py:earlier", "my.py, line 46: EventsError"),
        ("my.py:wrong", "my.py, line 44: AttributeError"),
    ],
)
def test_a_command_with_a_mistake_names_its_line_and_leaves_nothing(my, run, text, named, tmp_path):
    result = run("convert", "in.npz", "out.npz", "--filter", text)
    refused_command(result, named)
    assert result[0] == 2
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\n\n1 / 0\n", "bad.py, line 3: ZeroDivisionError"),
        ("x = (\n", "bad.py, line 1:"),
        ("import sys\nsys.exit(3)\n", "bad.py, line 2: SystemExit: 3"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(tmp_path, monkeypatch, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(code)
    for _ in range(2):  # it is not held as a file that ran
        with refused(ConfigError, said):
            filter_from_file("bad.py:f")


def test_texts_of_configurations_run_no_file(my):
    with refused(ConfigError, "my.py"):
        filter_from("my.py:EveryOther")
    with pytest.raises(MissingFileError):
        filter_from_file("none.py:EveryOther")


# --- registered -----------------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch):
    """Forget registered names after a test: there is no public way to take one away."""
    monkeypatch.setattr(FILTERS, "_parts", dict(FILTERS))
    monkeypatch.setattr(FILTERS, "_places", {})


class Third:
    """Keep one event in three, or in `of`."""

    def __init__(self, of: int = 3, by_name: str = "t", *, after_us: int = 5000):
        if of < 1:
            raise ValueError(f"of={of} is less than 1")
        self.of = of

    def start(self, size):
        held = [Events.empty(size)]

        def step(events):
            held.append(events)
            return Events.empty(size)

        step.finish = lambda: Events.concatenate(held)[:: self.of]
        return step


def test_the_example_of_register_filter_runs(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dvskit.save_events(EVENTS, "events.raw")
    names = {"dvskit": dvskit}
    exec(example_of(register_filter), names)
    assert names["left"] == LEFT


KINDS = {
    "third": (Third, EVENTS[::3]),
    "third:of=4": (Third, EVENTS[::4]),
    "instance": (Third(7), EVENTS[::7]),
    "function": (lambda events: events[events.p], EVENTS[EVENTS.p]),
    "chained": (Chain(Third(2)), EVENTS[::2]),
}


@pytest.mark.parametrize("text", KINDS)
def test_a_registered_filter_is_made_from_a_text(registered, text):
    kind, wanted = KINDS[text]
    register_filter(text.partition(":")[0], kind)
    assert filter_from(text)(EVENTS) == wanted


def test_commands_list_a_registered_class_with_its_parameters(registered, run):
    register_filter("third", Third)
    described = "third:of=3,by_name=t,after=5ms"
    assert described in run("filters")[1].splitlines()
    assert run("filters", "third")[1].startswith(described)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("flip", Third, "'flip'"),
        ("EveryOther", Third, "'every_other'"),
        ("3rd", Third, "'3rd'"),
        ("", Third, "''"),
        ("number", 5, "5"),
        ("plain", type("Plain", (), {}), "plain"),
        ("start", type("Bad", (), {"start": lambda self: 3}), "start(self, size)"),
        ("none", lambda: 3, "none"),
    ],
)
def test_values_that_are_no_filter_are_refused_at_registration(registered, name, kind, said):
    with refused(ConfigError, said):
        register_filter(name, kind)
    assert FILTERS.registered() == []


def test_equal_filters_replace_each_other_others_do_not(registered):
    for _ in range(2):
        register_filter("quiet", Chain(HotPixel()))
    with refused(ConfigError, "quiet"):
        register_filter("quiet", Chain(HotPixel(3.0)))
    assert list(filter_names())[-1] == "quiet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("third:of=many", "usage: third:of=3,by_name=t,after=5ms"),
        ("third:of=0", "ValueError: of=0"),
        ("fails", "AttributeError"),
        ("fails:3", "fails takes no arguments"),
        ("thrd", "'third'"),
    ],
)
def test_a_mistake_with_a_registered_filter_is_one_line(registered, run, text, said):
    register_filter("third", Third)
    register_filter("fails", lambda events: events.nothing)
    dvskit.save_events(EVENTS, "in.npz")
    refused_command(run("convert", "in.npz", "out.npz", "--filter", text), said)
