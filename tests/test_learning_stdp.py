"""STDP: changes of weights are sums over pairs of spikes, within bounds and in chunks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from dvskit.errors import ShapeError
from dvskit.learning import STDP, Convolution, Dense, Triplet, Window
from tests.laws import refused

FREE = {"w_min": -math.inf, "w_max": math.inf}
WINDOW = Window(a_plus=0.01, a_minus=0.012, tau_plus=17.0, tau_minus=29.0)


def spikes(*shape, rate=0.15, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < rate).double()


def weights(*shape, seed=9):
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 0.2 + 0.6 * drawn


def times_of(train):
    return train.nonzero()[:, 0].tolist()


def all_pairs(pre, post):
    """The change of one synapse: W summed over every pair of its two spike trains."""
    total = 0.0
    for before, after in itertools.product(times_of(pre), times_of(post)):
        d = after - before
        if d > 0:
            total += WINDOW.a_plus * math.exp(-d / WINDOW.tau_plus)
        elif d < 0:
            total -= WINDOW.a_minus * math.exp(d / WINDOW.tau_minus)
    return total


def nearest_pairs(pre, post):
    """The same where each spike is paired with the last one before it on the other side."""
    total, before, after = 0.0, times_of(pre), times_of(post)
    for t in after:
        earlier = [s for s in before if s < t]
        if earlier:
            total += WINDOW.a_plus * math.exp(-(t - max(earlier)) / WINDOW.tau_plus)
    for t in before:
        earlier = [s for s in after if s < t]
        if earlier:
            total -= WINDOW.a_minus * math.exp(-(t - max(earlier)) / WINDOW.tau_minus)
    return total


PAIRINGS = [("all", all_pairs), ("nearest", nearest_pairs)]


@pytest.mark.parametrize(("pairing", "pairs"), PAIRINGS)
def test_dense_weights_change_by_the_sum_over_pairs_of_spikes(pairing, pairs):
    pre, post, weight = spikes(90, 3, 4), spikes(90, 3, 5, seed=1), weights(5, 4)
    after, _ = STDP(WINDOW, pairing=pairing, **FREE).run(pre, post, weight)
    wanted = torch.zeros_like(weight)
    for b, m, n in itertools.product(range(3), range(5), range(4)):
        wanted[m, n] += pairs(pre[:, b, n], post[:, b, m])
    assert wanted.abs().min() > 1e-3
    assert (after - weight - wanted).abs().max() < 1e-14


@pytest.mark.slow
@pytest.mark.parametrize(
    ("convolution", "pairing", "pairs"),
    [
        (Convolution(), *PAIRINGS[0]),
        (Convolution(2, 1), *PAIRINGS[1]),
        (Convolution(1, 2, 2), *PAIRINGS[0]),
    ],
)
def test_shared_weights_change_by_the_sum_over_all_their_synapses(pairing, pairs, convolution):
    layer = nn.Conv2d(
        2, 3, (3, 2), convolution.stride, convolution.padding, convolution.dilation, bias=False
    ).double()
    pre, weight = spikes(16, 2, 2, 5, 6), weights(3, 2, 3, 2)
    post = spikes(16, *layer(pre[0]).shape, seed=1)
    rule = STDP(WINDOW, convolution, pairing, **FREE)
    after, _ = rule.run(pre, post, weight)
    wanted = torch.zeros_like(weight)
    step, pad, wide = convolution.stride, convolution.padding, convolution.dilation
    for m, c, i, j in itertools.product(range(3), range(2), range(3), range(2)):
        for b, y, x in itertools.product(*map(range, (2, *post.shape[3:]))):
            row, column = step * y - pad + wide * i, step * x - pad + wide * j
            if 0 <= row < 5 and 0 <= column < 6:
                wanted[m, c, i, j] += pairs(pre[:, b, c, row, column], post[:, b, m, y, x])
    assert (after - weight - wanted).abs().max() < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        STDP(WINDOW, softness=0.0),
        STDP(WINDOW, softness=1.0),
        STDP(WINDOW, pairing="nearest", softness=0.3, offset=0.4),
        STDP(WINDOW, triplet=Triplet()),
    ],
)
def test_running_in_chunks_or_steps_is_running_whole(rule):
    pre, post, weight = spikes(40, 2, 6), spikes(40, 2, 3, seed=1), weights(3, 6)
    whole, last = rule.run(pre, post, weight)
    for size in (1, 7, 40):
        chunked, state = weight, None
        for first, second in zip(pre.split(size), post.split(size), strict=True):
            chunked, state = rule.run(first, second, chunked, state)
        assert torch.equal(chunked, whole)
        assert torch.equal(state.pre, last.pre)
        assert torch.equal(state.post, last.post)
    stepped, state = weight.clone(), rule.start(pre[0], post[0], weight)
    for before, after in zip(pre, post, strict=True):
        change, state = rule.step(state, before, after, stepped)
        stepped += change
    assert torch.equal(stepped, whole)


def twin(pre, post, w, rule):
    """One synapse, one step after another, on floats: bounds, offset and triplet included."""
    x = y = slow_x = slow_y = 0.0
    third = rule.triplet or Triplet(a_plus=0.0, a_minus=0.0)
    for before, after in zip(pre.tolist(), post.tolist(), strict=True):
        x *= math.exp(-1 / rule.window.tau_plus)
        y *= math.exp(-1 / rule.window.tau_minus)
        slow_x *= math.exp(-1 / third.tau_pre)
        slow_y *= math.exp(-1 / third.tau_post)
        change = 0.0
        for part in (
            after * x * (rule.window.a_plus + third.a_plus * slow_y)
            - after * rule.offset * rule.window.a_plus,
            -before * y * (rule.window.a_minus + third.a_minus * slow_x),
        ):
            room = rule.w_max - w if part > 0 else w - rule.w_min
            change += part * (max(room, 0.0) ** rule.softness if rule.softness else 1.0)
        w = min(max(w + change, rule.w_min), rule.w_max)
        if rule.pairing == "nearest":
            x, y = (1.0 if before else x), (1.0 if after else y)
            slow_x, slow_y = (1.0 if before else slow_x), (1.0 if after else slow_y)
        else:
            x, y, slow_x, slow_y = x + before, y + after, slow_x + before, slow_y + after
    return w


STRONG = Window(a_plus=0.2, a_minus=0.15, tau_plus=17.0, tau_minus=29.0)


@pytest.mark.parametrize(
    ("pairing", "softness", "offset", "triplet"),
    [
        ("all", 0.0, 0.7, None),
        ("all", 1.0, 0.0, Triplet(0.02, 0.005, 60.0, 80.0)),
        ("nearest", 0.4, 0.7, None),
        ("nearest", 0.0, 0.0, Triplet(0.02, 0.005, 60.0, 80.0)),
    ],
)
def test_bounds_offset_and_triplet_are_those_of_a_plain_twin(pairing, softness, offset, triplet):
    rule = STDP(STRONG, Dense(), pairing, 0.1, 0.9, softness, offset, triplet)
    pre, post, weight = spikes(60, 1, 3), spikes(60, 1, 2, seed=4), weights(2, 3)
    after, _ = rule.run(pre, post, weight)
    for m, n in itertools.product(range(2), range(3)):
        wanted = twin(pre[:, 0, n], post[:, 0, m], weight[m, n].item(), rule)
        assert after[m, n].item() == pytest.approx(wanted, abs=1e-13)


def test_a_pair_of_spikes_changes_a_weight_by_the_window():
    rule = STDP(WINDOW, **FREE)
    for d in range(-30, 31):
        pre, post = torch.zeros(61, 1, 1).double(), torch.zeros(61, 1, 1).double()
        pre[30], post[30 + d] = 1, 1
        after, _ = rule.run(pre, post, torch.zeros(1, 1).double())
        assert after.item() == pytest.approx(
            WINDOW(torch.tensor(float(d)).double()).item(), abs=1e-16
        )
    assert WINDOW(torch.tensor(0.0)) == 0
    assert torch.equal(WINDOW(torch.tensor([math.inf, -math.inf])), torch.zeros(2))


def test_the_weight_given_is_left_alone_and_out_of_autograd():
    layer = nn.Linear(6, 3, bias=False)
    kept = layer.weight.detach().clone()
    pre, post = spikes(20, 2, 6).bool(), spikes(20, 2, 3, seed=1).to(torch.uint8)
    after, state = STDP(WINDOW, w_min=-1.0).run(pre, post, layer.weight)
    assert torch.equal(layer.weight, kept)
    assert not torch.equal(after, kept)
    assert after.dtype == state.pre.dtype == torch.float32
    assert not after.requires_grad
    assert not state.pre.requires_grad


def test_one_neuron_each_side_needs_no_batch():
    pre, post, weight = spikes(20, 6), spikes(20, 3, seed=1), weights(3, 6)
    rule = STDP(WINDOW)
    assert torch.equal(
        rule.run(pre, post, weight)[0], rule.run(pre[:, None], post[:, None], weight)[0]
    )


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0)])
def test_without_steps_or_without_a_batch_weights_stay(steps, batch):
    for shapes, connection in (
        (((6,), (3,), (3, 6)), Dense()),
        (((2, 6, 6), (3, 4, 4), (3, 2, 3, 3)), Convolution()),
    ):
        pre, post = (spikes(steps, batch, *shape) for shape in shapes[:2])
        weight = weights(*shapes[2])
        assert torch.equal(STDP(WINDOW, connection).run(pre, post, weight)[0], weight)


def test_a_state_of_another_batch_or_rule_is_refused():
    pre, post, weight = spikes(4, 2, 3), spikes(4, 2, 4, seed=1), weights(4, 3)
    _, state = STDP().run(pre, post, weight)
    with refused(ShapeError, "start"):
        STDP().run(pre[:, :1], post[:, :1], weight, state)
    with refused(ShapeError, "triplet"):
        STDP(triplet=Triplet()).run(pre, post, weight, state)
