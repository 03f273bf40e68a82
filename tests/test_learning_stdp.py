from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from dvskit.errors import ConfigError, ShapeError
from dvskit.learning import STDP, Convolution, Dense, Triplet, Window

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
@pytest.mark.parametrize("convolution", [Convolution(), Convolution(2, 1), Convolution(1, 2, 2)])
@pytest.mark.parametrize(("pairing", "pairs"), PAIRINGS)
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


@pytest.mark.slow
@pytest.mark.parametrize("pairing", ["all", "nearest"])
@pytest.mark.parametrize("softness", [0.0, 1.0, 0.4])
@pytest.mark.parametrize("offset", [0.0, 0.7])
@pytest.mark.parametrize("triplet", [None, Triplet(0.02, 0.005, 60.0, 80.0)])
def test_bounds_offset_and_triplet_are_those_of_a_plain_twin(pairing, softness, offset, triplet):
    rule = STDP(STRONG, Dense(), pairing, 0.1, 0.9, softness, offset, triplet)
    pre, post, weight = spikes(60, 1, 3), spikes(60, 1, 2, seed=4), weights(2, 3)
    after, _ = rule.run(pre, post, weight)
    for m, n in itertools.product(range(2), range(3)):
        wanted = twin(pre[:, 0, n], post[:, 0, m], weight[m, n].item(), rule)
        assert after[m, n].item() == pytest.approx(wanted, abs=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_weights_stay_within_their_bounds(softness):
    strong = Window(a_plus=0.9, a_minus=0.9)
    rule = STDP(strong, w_min=-0.5, w_max=0.5, softness=softness)
    pre, post = spikes(200, 4, 8), spikes(200, 4, 8, seed=2)
    weight, state = torch.zeros(8, 8).double(), None
    for first, second in zip(pre.split(1), post.split(1), strict=True):
        weight, state = rule.run(first, second, weight, state)
        assert weight.min() >= -0.5 - 1e-15
        assert weight.max() <= 0.5 + 1e-15


@pytest.mark.slow
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


def test_a_window_without_decay_counts_pairs():
    rule = STDP(Window(1.0, 0.0, math.inf, math.inf), **FREE)
    pre, post = spikes(30, 1, 1), spikes(30, 1, 1, seed=3)
    after, _ = rule.run(pre, post, torch.zeros(1, 1).double())
    pairs = [(s, t) for s in times_of(pre) for t in times_of(post) if s < t]
    assert after.item() == len(pairs) > 0


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


def test_spikes_of_any_layout_change_weights_alike():
    pre, post, weight = spikes(20, 2, 3, 6, 6), spikes(20, 2, 4, 4, 4, seed=1), weights(4, 3, 3, 3)
    rule = STDP(WINDOW, Convolution(), **FREE)
    plain, _ = rule.run(pre, post, weight)
    turned = pre.transpose(3, 4).contiguous().transpose(3, 4)
    laid_out, _ = rule.run(turned, post.flip(0).flip(0), weight)
    assert torch.equal(plain, laid_out)


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


@pytest.mark.slow
@pytest.mark.parametrize("convolutional", [False, True])
def test_it_agrees_with_snntorch_where_spikes_are_apart(convolutional):
    learner = pytest.importorskip("snntorch.functional.stdp_learner").STDPLearner
    kind = nn.Conv2d(2, 3, 3, bias=False) if convolutional else nn.Linear(5, 4, bias=False)
    layer = kind.double()
    pre = spikes(50, 1, *((2, 6, 6) if convolutional else (5,)))
    pre[1::2] = 0  # the peer counts spikes of one step as a pair: they are kept apart
    post = spikes(50, *layer(pre[0]).shape, seed=1)
    post[::2] = 0
    neuron = nn.Identity()
    peer = learner(layer, neuron, 20.0, 25.0, f_pre=lambda w: 1.0, f_post=lambda w: 1.0)
    change = torch.zeros_like(layer.weight)
    for before, after in zip(pre, post, strict=True):
        layer(before)
        neuron(after)
        change += peer.step(on_grad=False)
    # Its traces decay by 1 - 1 / tau a step where ours do by exp(-1 / tau); its a are 1.
    taus = [-1 / math.log(1 - 1 / tau) for tau in (20.0, 25.0)]
    rule = STDP(Window(1.0, 1.0, *taus), Convolution() if convolutional else Dense(), **FREE)
    ours, _ = rule.run(pre, post, torch.zeros_like(layer.weight))
    assert (ours - change).abs().max() < 1e-12
    assert change.abs().min() > 0


def call_run(pre, post, weight, **named):
    return lambda: STDP(**named).run(torch.zeros(pre), torch.zeros(post), torch.zeros(weight))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (call_run((5, 2, 3), (4, 2, 4), (4, 3)), ShapeError, "same T steps"),
        (call_run((5, 2, 3), (5, 2, 4), (3, 4)), ShapeError, "do not fit"),
        (call_run((5, 2, 3), (5, 1, 4), (4, 3)), ShapeError, "do not fit"),
        (
            call_run((5, 2, 1, 4, 4), (5, 2, 3, 4, 4), (3, 1, 3, 3), connection=Convolution()),
            ShapeError,
            "output of its conv2d",
        ),
        (
            call_run((5, 2, 2, 4, 4), (5, 2, 3, 2, 2), (3, 1, 3, 3), connection=Convolution()),
            ShapeError,
            "do not fit",
        ),
        (
            lambda: STDP().run(
                torch.zeros(2, 1, 3), torch.zeros(2, 1, 4), torch.zeros(4, 3).long()
            ),
            ShapeError,
            "must be floating-point",
        ),
        (lambda: STDP(pairing="nearst"), ConfigError, "did you mean 'nearest'"),
        (lambda: STDP(connection=Dense), ConfigError, "correlate"),
        (lambda: STDP(w_min=1.0), ConfigError, "w_min"),
        (lambda: STDP(w_max=math.nan), ConfigError, "w_max"),
        (lambda: STDP(softness=-1.0), ConfigError, "softness"),
        (lambda: STDP(softness=1.0, w_max=math.inf), ConfigError, "soft bounds"),
        (lambda: STDP(offset=math.inf), ConfigError, "offset"),
        (lambda: Window(a_plus=math.nan), ConfigError, "a_plus"),
        (lambda: Window(tau_minus=0.0), ConfigError, "tau_minus"),
        (lambda: Triplet(tau_pre=-1.0), ConfigError, "tau_pre"),
        (lambda: Convolution(stride=0), ConfigError, "stride"),
        (lambda: Convolution(padding=-1), ConfigError, "padding"),
    ],
)
def test_what_does_not_fit_is_said(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_state_of_another_batch_or_rule_is_refused():
    pre, post, weight = spikes(4, 2, 3), spikes(4, 2, 4, seed=1), weights(4, 3)
    _, state = STDP().run(pre, post, weight)
    with pytest.raises(ShapeError, match="start with start"):
        STDP().run(pre[:, :1], post[:, :1], weight, state)
    with pytest.raises(ShapeError, match="another `triplet`"):
        STDP(triplet=Triplet()).run(pre, post, weight, state)
