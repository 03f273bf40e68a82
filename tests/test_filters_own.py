"""Filters of the user's own, registered or named as FILE.py:NAME; those of the guide."""

from __future__ import annotations

import re
import sys

import pytest

import dvskit
from dvskit.errors import ConfigError, MissingFileError
from dvskit.events import Events
from dvskit.filters import HotPixel, chain, filter_from, filter_names, register_filter
from dvskit.filters.names import FILTERS, filter_from_file
from tests.examples import example_of
from tests.test_cli import usage_error
from tests.test_filter_laws import EVENTS
from tests.tree import text_of

GUIDE = text_of("samples/guide/extending.md")


@pytest.fixture
def my(tmp_path, monkeypatch):
    """my.py: the two filters of the page, and what else a file may hold."""
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", GUIDE, re.DOTALL)
    code = code.replace('register_filter("every_other", EveryOther)', "")  # other tests do
    (tmp_path / "beside.py").write_text("of = 3\n")
    more = (
        "import beside\nfrom dvskit.filters import Flip, StartAt, chain\n"
        "third = EveryOther(beside.of)\nboth = chain(left_half, Flip())\n"
        "number = 5\nclass Plain: ...\n"
        "class Bad:\n    def start(self): ...\n"
        "def wrong(events):\n    return events.nothing\n"
        "class Later(StartAt): ...\n"
        "def earlier(e):\n    return type(e)(t=e.t[::-1], x=e.x, y=e.y, p=e.p, size=e.size)\n"
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


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_a_function_starts_anew_in_each_block(cut):
    step = chain(lambda events: events[::2]).start(EVENTS.size)
    parts = [EVENTS[at : at + cut] for at in range(0, len(EVENTS), cut)]
    wanted = Events.concatenate([part[::2] for part in parts])
    assert Events.concatenate([step(part) for part in parts]) == wanted


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
    "my.py": "choices: Bad, EveryOther, Later, both, earlier, left_half, third, wrong",
    "my.py:number": "5 is not a filter",
    "my.py:Bad": "Bad: its start does not take the size; write start(self, size)",
    "my.py:Plain": "Plain is a class without start(size)",
    "my.py:EveryOther:many": "of 'many' is not a whole number (usage: EveryOther:of=2)",
    "my.py:EveryOther:2,3": "'3' is one argument too many",
    "my.py:left_half:3": "left_half takes no arguments; only a class does",
    "my.py:earlier": "my.py, line 47: EventsError: ",
    "my.py:EveryOtherStep": "EveryOtherStep is a class without start(size)",
    "my.py:wrong": "my.py, line 44: AttributeError: 'Events' object has no attribute 'nothing'",
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
    with pytest.raises(ConfigError, match="unknown filter"):
        filter_from("my.py:EveryOther")
    with pytest.raises(MissingFileError):
        filter_from_file("none.py:EveryOther")


# --- registered -----------------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch):
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
    "chained": (chain(Third(2)), EVENTS[::2]),
}


@pytest.mark.parametrize("text", KINDS)
def test_a_registered_filter_is_made_from_a_text_and_counted(registered, run, text):
    kind, wanted = KINDS[text]
    register_filter(text.partition(":")[0], kind)
    assert filter_from(text)(EVENTS) == wanted
    dvskit.save_events(EVENTS, "in.npz")
    _, _, err = run("convert", "in.npz", "out.npz", "--filter", text)
    assert dvskit.load_events("out.npz") == wanted
    assert f"{text}: {len(EVENTS) - len(wanted):,} events left out" in err


def test_filters_shows_the_parameters_of_a_registered_class(registered, run):
    register_filter("third", Third)
    register_filter("on", lambda events: events[events.p])
    _, out, _ = run("filters", "third")
    assert out.splitlines() == [
        "third:of=3,by_name=t,after=5ms", "", "Keep one event in three, or in of.", "",
        "Parameters:",
        "  of       a whole number                     default 3",
        "  by_name  a text                             default t",
        "  after    a time with its unit, such as 5ms  default 5ms",
    ]  # fmt: skip
    assert run("filters", "on")[1] == "on\n\nNo description.\n"
    assert run("filters")[1].splitlines()[-4:] == [
        "third:of=3,by_name=t,after=5ms", "    Keep one event in three, or in of.",
        "on", "    No description.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("flip", Third, "a filter named 'flip' is registered already, by dvskit; take another"),
        ("EveryOther", Third, "letters, digits and '_', such as 'every_other'"),
        ("my-filter", Third, "such as 'my_filter'"),
        ("3rd", Third, "such as 'rd'"),
        ("", Third, "such as 'every_other'"),
        ("number", 5, "5 is not a filter; pass a Filter, or a function"),
        ("plain", type("Plain", (), {}), "plain is a class without start"),
        ("start", type("Bad", (), {"start": lambda self: 3}), "start: its start does not take the"),
        ("start", type("Bad", (), {"start": lambda self: 3})(), r"write start\(self, size\)"),
        ("none", lambda: 3, "none is not a function of one argument, the events; make it one"),
    ],
)
def test_what_is_no_filter_is_refused_at_registration(registered, name, kind, said):
    with pytest.raises(ConfigError, match=said) as refused:
        register_filter(name, kind)
    assert "\n" not in str(refused.value)
    assert FILTERS.registered() == []


def test_filters_shows_a_filter_of_a_file(my, run):
    code, out, _ = run("filters", "my.py:EveryOther")
    assert code == 0
    assert out.startswith("EveryOther:of=2\n\nKeep one event in of.\n\nParameters:\n  of  a whole")
    assert "did you mean 'left_half'?" in usage_error(run("filters", "my.py:left_haf"))


def test_equal_filters_replace_each_other_others_do_not(registered):
    for _ in range(2):
        register_filter("quiet", chain(HotPixel()))
    with pytest.raises(ConfigError, match="registered already"):
        register_filter("quiet", chain(HotPixel(3.0)))
    assert list(filter_names())[-1] == "quiet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "third:of=many",
            "of 'many' is not a whole number (usage: third:of=3,by_name=t,after=5ms)",
        ),
        ("third:of=0", ": ValueError: of=0 is less than 1"),
        ("fails", "AttributeError: 'Events' object has no attribute 'nothing'"),
        ("fails:3", "fails takes no arguments; only a class does"),
        ("thrd", "unknown filter 'thrd'; did you mean 'third'?"),
        ("debounce", "that does; --filter takes FILE.py:NAME, too"),
    ],
)
def test_a_mistake_with_a_registered_filter_is_one_line(registered, run, text, said):
    register_filter("third", Third)
    register_filter("fails", lambda events: events.nothing)
    dvskit.save_events(EVENTS, "in.npz")
    assert said in usage_error(run("convert", "in.npz", "out.npz", "--filter", text))
