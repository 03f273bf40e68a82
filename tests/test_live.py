"""Decisions on a stream: those of one stateful pass, however the events come."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dvskit import Events, load_events, save_events
from dvskit.errors import FittedWarning, ModelError
from dvskit.evaluation import Live, LiveDecision, Reject, classify_windows, decide
from dvskit.models import InputConfig, Model, load_model, save_model
from dvskit.models.inputs import representation_of
from dvskit.networks import Layered, MotionLIF
from tests.laws import InBlocks, random_cuts, refused

SIZE = (24, 16)
BINS, BIN_US = 5, 1000


def model_of(network=None, **given) -> Model:
    torch.manual_seed(3)
    if network is None:
        network = MotionLIF(width=24, height=16, classes=3, pool=2, channels=(4, 6), hidden=12)
    names = tuple(f"class {number}" for number in range(network.classes))
    taken = InputConfig(**({"bins": BINS, "bin_us": BIN_US} | given))
    return Model("small", network, network.build().eval(), taken, names)


def layered(*words: str, inputs: int = 2) -> Layered:
    return Layered(layers=words, width=24, height=16, inputs=inputs, classes=3, beta=0.8)


MODEL = model_of()


def make(count: int = 4000, span_us: int = 23_400, start_us: int = 7_000_123, seed: int = 1):
    rng = np.random.default_rng(seed)
    t = start_us + np.sort(rng.integers(0, span_us, count))
    x, y = rng.integers(0, 24, count), rng.integers(0, 16, count)
    return Events(t=t, x=x, y=y, p=rng.random(count) < 0.5, size=SIZE)


EVENTS = make()
# A gap of some bins, one of more than a window, one of hours, and one at the end of a bin.
GAPS = Events.concatenate([
    make(300, 2500, 0),
    make(200, 900, 5_800),
    make(300, 3000, 15_000),
    make(200, 700, 8_000_000_000),
    make(200, 1000, 8_000_001_000),
])  # fmt: skip


def pushed(
    live: Live, events: Events, borders: list[int], size=None, spoil=True
) -> list[LiveDecision]:
    run = live.start(size)
    found: list[LiveDecision] = []
    for first, stop in itertools.pairwise([0, *borders, len(events)]):
        columns = [getattr(events, name)[first:stop].copy() for name in "txyp"]
        found += run.push(Events.from_checked(*columns, events.sensor_size))
        for column in columns if spoil else ():
            column[:] = 0  # what the caller changes later does not matter
    return [*found, *run.rest()]


def plain(model: Model, events: Events) -> list[tuple[int, int, int, list[float]]]:
    """The definition: bins from the first event on; a whole window without events is the end.

    (start of the bin, its events, steps of the window, probabilities), with the network run anew
    over all bins of the pass for each decision.
    """
    found = []
    given, left = model.input, events
    while len(left):
        start, counts, nothing = int(left.t[0]), [], 0
        while len(left) or not nothing:
            bin_ = left.between(start, start + given.bin_us)
            left = left.between(start + given.bin_us, None)
            counts.append(representation_of(replace(given, bins=1))(bin_, start_us=start).float())
            steps = min(len(counts), given.bins)
            latest = answer(model, torch.stack(counts), steps)
            found.append((start, len(bin_), steps, latest))
            nothing = 0 if len(bin_) else nothing + 1
            start += given.bin_us
            if nothing == given.bins or not len(left):
                break
    return found


def answer(model: Model, counts: torch.Tensor, steps: int) -> list[float]:
    """The mean of the outputs of the last layer but the readout over the last steps."""
    layers = list(model.module.children())
    with torch.no_grad():
        x = counts  # (T, 1, C, H, W)
        for layer in layers[:-1]:
            x = layer(x)
        return torch.softmax(x[-steps:].mean(0)[0], 0).tolist()


@pytest.mark.parametrize("events", [EVENTS, GAPS], ids=["dense", "gaps"])
def test_decisions_are_those_of_the_definition(events: Events) -> None:
    found, expected = list(decide(MODEL, events)), plain(MODEL, events)
    assert [(d.start_us, d.events, d.steps) for d in found] == [row[:3] for row in expected]
    shares = np.array([list(each.probabilities.values()) for each in found])
    np.testing.assert_allclose(shares, [row[3] for row in expected], atol=1e-5)
    assert shares.std(0).min() > 1e-3
    assert all(each.stop_us - each.start_us == BIN_US for each in found)
    assert sum(each.events for each in found) == len(events)


@pytest.mark.parametrize("events", [EVENTS, GAPS], ids=["dense", "gaps"])
def test_decisions_are_the_same_however_the_stream_is_cut_at_each_pass(events: Events) -> None:
    threads, live, expected = torch.get_num_threads(), Live(MODEL), list(decide(MODEL, events))
    few = list(range(40))  # of one event
    for cuts in (random_cuts(len(events), 5), [*few, *range(40, len(events), 7)]):
        assert pushed(live, events, cuts) == expected
    assert torch.get_num_threads() == threads


READOUTS = {
    "mean": layered("4C3", "lif", "3"),
    "last": layered("4C3", "lif", "3", "li", "last"),
    "count": layered("4C3", "lif", "3", "lif threshold=0.05", "count"),
    "first": layered("4C3", "lif", "3", "lif threshold=0.05", "first tau=2"),
    "each": layered("4C3", "lif", "3", "lif", "membrane", "each"),
    "residual": layered("4C3p1", "lif", ["4C3p1", "lif"], "M2", "3"),
}


@pytest.mark.parametrize("name", READOUTS)
def test_every_readout_is_of_the_latest_window(name: str) -> None:
    model = model_of(READOUTS[name])
    decisions = list(decide(model, EVENTS))
    window = classify_windows(model, EVENTS).windows[0]
    assert decisions[BINS - 1].probabilities == pytest.approx(window.probabilities, abs=1e-5)
    assert len({tuple(each.probabilities.values()) for each in decisions}) > 2
    assert pushed(Live(model), EVENTS, [50, 51, 1700]) == decisions


@pytest.mark.parametrize(("name", "channels"), [("binary", 2), ("binary", 1), ("signed", 1)])
def test_bins_that_stand_alone_are_stepped(name: str, channels: int) -> None:
    network = layered("4C3", "signed-lif", "3", inputs=channels)
    model = model_of(network, representation=name, channels=channels)
    window = classify_windows(model, EVENTS).windows[0]
    found = list(decide(model, EVENTS))[BINS - 1]
    assert found.probabilities == pytest.approx(window.probabilities, abs=1e-5)


class Wrapped(nn.Module):
    """A network that has no step."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        return self.inner(counts)


@pytest.mark.parametrize(
    "model",
    [
        replace(MODEL, module=Wrapped(MODEL.module)),
        model_of(layered("4C3", "lif", "3", inputs=1), representation="voxel_grid", channels=1),
    ],
    ids=["no step", "bins that depend on each other"],
)
def test_what_cannot_step_judges_each_window_from_rest(model: Model) -> None:
    decisions = list(decide(model, EVENTS))
    assert pushed(Live(model), EVENTS, [10, 1234], spoil=False) == decisions
    for decision in (decisions[2], decisions[BINS - 1], decisions[-3]):
        first = decision.stop_us - decision.steps * BIN_US
        seen = EVENTS.between(first, decision.stop_us)
        # An event at the window's start, so that classify begins it there.
        if int(seen.t[0]) != first:
            continue
        window = classify_windows(model, seen).windows[0]
        assert decision.probabilities == pytest.approx(window.probabilities, abs=1e-6)


def test_a_window_without_events_is_the_end_of_a_pass() -> None:
    alone = make(200, 700, 8_000_000_000)
    of_gaps = [each for each in decide(MODEL, GAPS) if each.start_us >= 8_000_000_000]
    assert of_gaps[0] == next(decide(MODEL, alone))
    assert of_gaps[0].steps == 1
    empty = [each for each in decide(MODEL, GAPS) if not each.events]
    assert [each.answer for each in empty if each.rate == 0] == [None, None]  # of two long gaps
    assert sum(not each.events for each in decide(MODEL, GAPS)) == 2 + 2 * BINS


def test_no_events_are_no_decisions_and_the_latest_time_ends_no_loop() -> None:
    assert list(decide(MODEL, Events.empty(SIZE))) == []
    late = Events(t=[2**63 - 900, 2**63 - 1], x=[1, 2], y=[1, 2], p=[True, False], size=SIZE)
    assert [each.events for each in decide(MODEL, late)] == [2]
    early = Events(t=[-(2**62), 2**62], x=[1, 2], y=[1, 2], p=[True, False], size=SIZE)
    assert [each.events for each in decide(MODEL, early)] == [1, *[0] * BINS, 1]


def test_a_bin_is_over_when_it_is_told_so_and_no_sooner() -> None:
    run = Live(MODEL).start()
    events = make(50, 800, 1000)
    first = int(events.t[0])
    assert run.push(events) == []
    assert run.push(Events.empty(SIZE), until_us=first + BIN_US - 1) == []
    (decision,) = run.push(Events.empty(SIZE), until_us=first + BIN_US)
    assert (decision.start_us, decision.events) == (first, 50)
    assert [each.events for each in run.push(Events.empty(SIZE), until_us=first + 3500)] == [0, 0]
    assert run.rest() == []
    expected = list(decide(MODEL, Events.concatenate([events, make(1, 1, first + 9000)])))
    assert decision == expected[0]


def test_a_clock_that_tells_of_a_quiet_window_gives_what_a_long_gap_gives() -> None:
    run = Live(MODEL).start()
    before, behind = make(300, 2500, 0), make(200, 900, 50_000)
    found = [*run.push(before), *run.quiet()]
    found += [*run.push(behind), *run.rest()]
    assert found == list(decide(MODEL, Events.concatenate([before, behind])))
    assert run.quiet() != []
    assert run.quiet() == []


def test_the_delay_is_from_the_arrival_to_the_decision_and_no_part_of_its_equality() -> None:
    run = Live(MODEL).start()
    decisions = run.push(EVENTS, arrived=time.perf_counter() - 100)
    assert all(100 < each.delay_s < 200 for each in decisions)
    assert decisions == list(decide(MODEL, EVENTS))[:-1]


def test_events_of_another_sensor_are_fitted_as_classify_fits_them() -> None:
    events = Events(t=EVENTS.t, x=EVENTS.x * 2, y=EVENTS.y * 2, p=EVENTS.p, size=(48, 32))
    with pytest.warns(FittedWarning, match="48x32"):
        decisions = list(decide(MODEL, events))
    with pytest.warns(FittedWarning):
        window = classify_windows(MODEL, events).windows[0]
    assert decisions[BINS - 1].probabilities == pytest.approx(window.probabilities, abs=1e-6)
    assert decisions[BINS - 1].rate == window.events / 4 / (BINS * BIN_US / 1e6)
    assert pushed(Live(MODEL), events, [77, 800], (48, 32)) == decisions


def test_a_recording_and_a_path_are_decided_on_like_their_events(tmp_path) -> None:
    save_events(EVENTS, tmp_path / "a.npz")
    save_model(tmp_path / "m", MODEL)
    assert list(decide(tmp_path / "m", tmp_path / "a.npz")) == list(decide(MODEL, EVENTS))
    assert load_events(tmp_path / "a.npz") == EVENTS


def test_decisions_come_while_the_stream_does() -> None:
    given = 0

    class Counting(InBlocks):
        def __iter__(self) -> Iterator[Events]:
            nonlocal given
            for block in super().__iter__():
                given += 1
                yield block

    decisions = decide(MODEL, Counting(EVENTS, 100))
    assert given == 0
    next(decisions)
    assert given < 5


def test_what_is_no_model_is_refused_at_once() -> None:
    with refused(ModelError, "nothing-like-it"):
        decide("nothing-like-it", EVENTS)


# -- nothing happens


def test_nothing_is_the_answer_below_the_confidence_and_below_the_rate() -> None:
    decisions = list(decide(MODEL, GAPS, reject=Reject(0, 0)))
    sure = sorted(each.confidence for each in decisions)[len(decisions) // 2]
    rate = sorted(each.rate for each in decisions)[len(decisions) // 2]
    for reject in (Reject(sure, 0), Reject(0, rate), Reject(sure, rate)):
        seen = set()
        for plain_, decision in zip(decisions, decide(MODEL, GAPS, reject=reject), strict=True):
            assert decision.probabilities == plain_.probabilities
            few = not plain_.rate or plain_.rate < reject.events_per_second
            expected = "few events" if few else "unsure" * (plain_.confidence < reject.confidence)
            assert decision.nothing == expected
            assert decision.answer == (None if expected else plain_.best)
            seen.add(expected)
        assert {"", "few events"} <= seen


def test_a_model_decides_with_its_own_thresholds(tmp_path) -> None:
    about = {"reject": {"confidence": 1.0, "events_per_second": 5.0, "how": "by hand"}}
    save_model(tmp_path / "m", replace(MODEL, about=about))
    model = load_model(tmp_path / "m")
    assert model.reject == Reject(1.0, 5.0, "by hand")
    assert all(each.answer is None for each in decide(model, EVENTS))
    assert any(each.answer for each in decide(model, EVENTS, reject=Reject(0)))
    assert MODEL.reject == Reject()
    assert load_model("dvs128-gestures").reject.confidence > 0
