"""Plots of spikes, membranes, weights, trainings and accuracies, read back from what was drawn."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from dvskit.errors import ConfigError, FormatError, ShapeError
from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.neurons import ALIF, LI, LIF, PLIF, SignedLIF, SynapticLIF
from dvskit.render import plots
from tests.laws import refused, refused_command, scattered


def marks_of(axes):
    """Return the places (time, row) of the marks of each set of marks."""
    return [
        {(seg[0, 0], (seg[0, 1] + seg[1, 1]) / 2) for seg in marks.get_segments()}
        for marks in axes.collections
    ]


def heights_at(band, x):
    """Return the lowest and the highest point of a band, or of bars, at x."""
    corners = np.concatenate([path.vertices for path in band.get_paths()])
    at = corners[corners[:, 0] == x, 1]
    return at.min(), at.max()


# --- spikes ---


def test_a_raster_has_a_mark_for_each_spike():
    spikes = np.random.default_rng(0).integers(-1, 2, (30, 4, 3))
    axes = plots.raster(spikes, step_us=2000).axes[0]
    flat = spikes.reshape(30, 12)
    for places, sign in zip(marks_of(axes), (1, -1), strict=True):
        assert places == {(2 * t, n) for t, n in np.argwhere(flat == sign).tolist()}
    (alone,) = marks_of(plots.raster(np.abs(flat)).axes[0])
    assert alone == {(t, n) for t, n in np.argwhere(flat).tolist()}


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (5,)])
def test_rasters_of_little_are_drawn(shape):
    assert not plots.raster(np.zeros(shape)).axes[0].collections


# --- membranes ---

VALUES = torch.linspace(0.3, 0.9, 5)
LAYERS = {
    "lif": lambda: LIF(VALUES, threshold=VALUES - 64, rest=-65 + VALUES, gain=2.0),
    "plif": lambda: PLIF(4.0, threshold=0.5, shape=(5,)),
    "synaptic": lambda: SynapticLIF(0.5, alpha=VALUES),
    "signed": lambda: SignedLIF(reset="hard"),
    "adaptive": lambda: ALIF(0.9, 1.0, 2.0, kappa=0.5, rho=0.8),
    "integrator": lambda: LI(0.8),
}


@pytest.mark.slow
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_membrane_shows_the_potential_the_thresholds_and_the_spikes_of_its_neuron(name, timed):
    layer, neuron = LAYERS[name](), 3
    current = torch.rand((30, 5), generator=torch.Generator().manual_seed(1)) * 2 - 0.4
    traced, dynamics = layer.trace(current), layer.dynamics
    line = torch.stack([traced.h, traced.v], dim=2)[:, neuron].detach().numpy()
    thresholds = np.broadcast_to(traced.threshold.detach().numpy(), (30, 5))[:, neuron]
    rest = 0.0 if dynamics.rest is None else float(dynamics.rest[neuron])
    steps = plots.Steps(0, 1000) if timed else None
    top, middle, low = plots.membrane(layer, current, neuron=neuron, steps=steps).axes
    potential, *levels = middle.lines
    # Before anything comes the neuron is at rest; with times a step stands at its end.
    at, values = np.arange(30).repeat(2) + timed, line.ravel()
    if timed:
        at, values = np.append([0, 0], at), np.append([rest, rest], values)
    np.testing.assert_allclose(potential.get_xdata(), at)
    np.testing.assert_allclose(potential.get_ydata(), values, atol=1e-4)
    expected = []
    if dynamics.spikes:
        moving = name == "adaptive"
        expected = [np.append(thresholds[:1], thresholds) if timed else thresholds] if moving else [
            thresholds[:2]
        ]  # fmt: skip
    off = np.broadcast_to(dynamics.threshold_off, 5)[neuron]
    expected += [np.full(2, -off)] if np.isfinite(off) else []
    assert len(levels) == len(expected)
    for level, each in zip(levels, expected, strict=True):
        np.testing.assert_allclose(level.get_ydata(), each, atol=1e-6)
    fired = traced.spikes[:, neuron].nonzero().flatten().tolist() if dynamics.spikes else []
    assert sorted(t for places in marks_of(low) for t, _ in places) == [t + timed for t in fired]
    assert fired or name == "integrator"
    given = [seg[1, 1] for each in top.collections for seg in each.get_segments()]
    assert sorted(given) == pytest.approx(sorted(current[:, neuron].tolist()))


def test_events_stand_above_the_potential_that_they_made():
    # Two pixels drive one neuron; steps of 10 ms begin at 1000 us.
    events = Events(
        t=[1_500, 12_000, 12_500, 29_000], x=[3, 5, 3, 3], y=[2, 0, 2, 2],
        p=[True, False, True, True], size=(6, 4),
    )  # fmt: skip
    current = torch.tensor([[0.7], [0.7], [0.1]])
    steps = plots.Steps(1000, 10_000)
    top, middle, low = plots.membrane(LIF(beta=0.9), current, inputs=events, steps=steps).axes
    assert marks_of(top) == [{(0.5, 1.0), (11.5, 1.0), (28.0, 1.0)}, {(11.0, 0.0)}]
    assert middle.lines[0].get_xdata().tolist() == [0, 0, 10, 10, 20, 20, 30, 30]
    assert [t for t, _ in marks_of(low)[0]] == [20]
    spikes = np.eye(3, dtype=int)[:, :2]
    assert marks_of(plots.membrane(LIF(), current, inputs=spikes).axes[0]) == [{(0, 0), (1, 1)}]


CURRENT = torch.zeros(40, 5)
WRONG_LAYERS = [
    (lambda: plots.raster(np.float32(1)), ShapeError, ("spikes", "()")),
    (lambda: plots.raster(np.full((2, 2), np.nan)), ShapeError, ("spikes",)),
    (lambda: plots.raster(np.array(["a"])), ShapeError, ("spikes",)),
    (lambda: plots.membrane(LIF(), CURRENT, neuron=5), ShapeError, ("neuron 5",)),
    (lambda: plots.membrane(LIF(), CURRENT, neuron=-6), ShapeError, ("neuron -6",)),
    (lambda: plots.membrane(LIF(), CURRENT, inputs=CURRENT[1:]), ShapeError, ("39", "40")),
    (lambda: plots.membrane(LIF(), CURRENT, inputs=scattered(9)), ConfigError, ("Steps",)),
    (
        lambda: plots.membrane(LIF(), CURRENT, steps=plots.Steps(0, 0)),
        ConfigError,
        ("step_us",),
    ),
    (lambda: plots.weights(np.zeros(3)), ShapeError, ("(3,)",)),
    (lambda: plots.weights(np.full((2, 2), np.inf)), ShapeError, ("weights",)),
    (lambda: plots.confusion(np.eye(2, dtype=int), "abc"), ShapeError, ("(2, 2)", "(3, 3)")),
    (lambda: plots.confusion(np.eye(2) * 0.5, "ab"), ShapeError, ("counts",)),
    (lambda: plots.confusion(np.full((1, 1), -1), "a"), ShapeError, ("counts",)),
    (lambda: plots.accuracy([]), ShapeError, ()),
]


@pytest.mark.parametrize(("draw", "kind", "named"), WRONG_LAYERS)
def test_arrays_of_another_form_are_refused(draw, kind, named):
    with refused(kind, *named):
        draw()


# --- weights and matrices ---


def test_weights_are_shown_as_they_are_with_zero_in_the_middle():
    values = np.random.default_rng(0).normal(size=(6, 9))
    picture, spread = plots.weights(values).axes
    np.testing.assert_array_equal(picture.images[0].get_array(), values)
    low, high = picture.images[0].get_clim()
    assert -low == high == np.abs(values).max()
    assert spread.patches[0].get_data().values.sum() == 54


@pytest.mark.parametrize("shape", [(7, 2, 3, 4), (2, 7, 3, 4)])
def test_kernels_are_laid_out_as_tiles(shape):
    kernels = np.random.default_rng(0).normal(size=shape)
    picture = np.ma.filled(plots.weights(kernels).axes[0].images[0].get_array(), np.nan)
    assert picture.shape == (2 * 4 - 1, 7 * 5 - 1)
    long = kernels if shape[0] == 7 else kernels.transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(picture[4:7, 10:14], long[2, 1])
    assert np.isnan(picture[3]).all()


def test_the_confusion_matrix_shows_shares_and_counts():
    axes = plots.confusion(np.array([[8, 2], [0, 5]]), ("a", "b")).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2], [0, 1]])
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "8", (1, 0): "2", (1, 1): "5"}
    assert "13 of 15" in axes.get_title(loc="left")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


# --- trainings ---

LOG = "epoch,loss,rate,a_accuracy,accuracy,validation_loss,seconds\n0,1.5,0.1,0.5,0.5,1.2,3\n" + (
    "1,0.7,0.1,0.9,0.9,0.7,3\n2,0.5,0.1,0.8,0.9,0.6,3\n"
)
ENDS = ("accuracy_low,accuracy_high", "0.3,0.7", "0.6,0.98", "0.5,0.94")


def test_training_curves_are_those_of_the_log_and_the_band_is_the_interval(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    left, right = plots.curves(tmp_path).axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in left.lines}
    assert lines == {"training": [1.5, 0.7, 0.5], "validation": [1.2, 0.7, 0.6]}
    assert not right.collections  # logs of before have no intervals
    curve, best = right.lines
    np.testing.assert_allclose(curve.get_ydata(), [50, 90, 90])
    assert (best.get_xdata(), best.get_ydata()) == (2, 90)  # of equals the least loss
    (tmp_path / "log.csv").write_text("\n".join(map(",".join, zip(LOG.split(), ENDS, strict=True))))
    (band,) = plots.curves(tmp_path / "log.csv").axes[1].collections
    for epoch, ends in enumerate(((30, 70), (60, 98), (50, 94))):
        assert heights_at(band, epoch) == pytest.approx(ends)


def test_a_run_without_validation_has_its_loss_alone_and_folds_have_a_line_each():
    log = {"epoch": np.arange(3.0), "loss": np.array([3.0, 2.0, 1.0])}
    (axes,) = plots.curves(log).axes
    assert axes.lines[0].get_ydata().tolist() == [3, 2, 1]
    shares = {f"{fold}_accuracy": np.full(3, 0.1 * k) for k, fold in enumerate("abc")}
    folds = log | shares | {"accuracy": np.full(3, 0.1), "validation_loss": log["loss"]}
    lines = plots.curves(folds).axes[1].lines
    assert [line.get_ydata()[0] for line in lines[:4]] == pytest.approx([0, 10, 20, 10])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "epoch"),
        ("a,b\n1,2\n", "epoch"),
        ("epoch,loss,accuracy\n1,2,0.5\n", "validation_loss"),
        (LOG + "3,x\n", "line 5"),
        (None, "log.csv"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path, text, named):
    if text is not None:
        (tmp_path / "log.csv").write_text(text)
    with refused(FormatError, "log.csv", named):
        plots.curves(tmp_path / "log.csv")


# --- accuracies ---


@pytest.mark.parametrize(("count", "points", "width_mm"), [(1, 1, 88), (2, 5, 60), (3, 40, 180)])
def test_each_measurement_has_a_panel_with_its_accuracies_and_their_intervals(
    count, points, width_mm
):
    x, share = np.arange(1.0, points + 1), np.linspace(0.1, 0.9, points)
    ends = np.stack([0.8 * share, 1.1 * share], axis=1)
    one = plots.Measured(x, share, ends, "time", chance=0.25, mark=0.5)
    panels = plots.accuracy([one] * count, style=plots.Style(width_mm=width_mm)).axes
    assert len(panels) == count
    for axes in panels:
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), x)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), 100 * share)
        assert any(list(line.get_ydata()) == [25, 25] for line in axes.lines)
        assert any(list(line.get_xdata()) == [0.5, 0.5] for line in axes.lines)
        (band,) = axes.collections  # or the bars
        for at, each in zip(x, 100 * ends, strict=True):
            assert heights_at(band, at) == pytest.approx(tuple(each))


X = np.arange(1.0, 6.0)
SHARES = np.array([0.2, 0.5, 0.8, 0.9, 0.9])
INTERVAL = np.stack([SHARES - 0.05, SHARES + 0.02], axis=1)  # wider below than above


def test_factors_stand_on_a_logarithmic_axis():
    measured = plots.Measured(0.5 * 2 ** (X / 2), SHARES, INTERVAL, "factor", factors=True)
    (axes,) = plots.accuracy(measured).axes
    assert axes.get_xscale() == "log"
    np.testing.assert_allclose(axes.get_xticks(), measured.x)


@pytest.mark.parametrize(
    ("x", "share", "ends", "factors", "named"),
    [
        (X, SHARES[:4], INTERVAL, False, "accuracy"),
        (X, SHARES, INTERVAL[:, 0], False, "interval"),
        (X[:0], SHARES[:0], INTERVAL[:0], False, "x"),
        (X, np.where(X > 3, np.nan, SHARES), INTERVAL, False, "accuracy"),
        (X, SHARES, np.full((5, 2), np.inf), False, "interval"),
        (X, SHARES, INTERVAL[:, ::-1], False, "interval"),
        (X, SHARES, np.stack([SHARES - 0.1, SHARES - 0.05], axis=1), False, "interval"),
        (X - 1, SHARES, INTERVAL, True, "x"),
    ],
)
def test_wrong_measurements_are_refused(x, share, ends, factors, named):
    with refused(ShapeError, named):
        plots.Measured(x, share, ends, "level", factors=factors)


# --- the command ---


@pytest.mark.slow(seconds=5)
def test_curves_confusion_raster_membrane_and_weights_are_fed_by_runs_and_models(run, tmp_path):
    dvskit = functools.partial(run, "-q", "plot")
    (tmp_path / "log.csv").write_text(LOG)
    file = tmp_path / "data" / "3" / "a.npz"
    file.parent.mkdir(parents=True)
    save_events(scattered(2000, (34, 34), span_us=300_000), file)
    model = "nmnist-signed-lif"
    asked = (file, "--model", model, "--layer", "lif1")
    for number, words in enumerate((
        ("curves", "."), ("confusion", model, "data"), ("raster", file, "--model", model),
        ("raster", *asked), ("membrane", *asked), ("membrane", *asked, "--neuron", "7"),
        ("weights", model), ("weights", model, "--layer", "dense1"),
    )):  # fmt: skip
        assert dvskit(*words, "-o", f"{number}.svg") == (0, "", "")
        assert "<svg" in (tmp_path / f"{number}.svg").read_text()
    for words, named in (
        (("raster", *asked[:-1], "lif"), "lif1"),
        (("membrane", *asked, "--neuron", "99999"), "neuron 99999"),
        (("weights", model, "--layer", "lif1"), "conv1"),
    ):
        refused_command(dvskit(*words, "-o", "wrong.svg"), named)
    assert not (tmp_path / "wrong.svg").exists()
