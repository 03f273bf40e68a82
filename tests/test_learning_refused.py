"""What no learning rule, network or train of spikes can be is refused by name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dvskit import layers
from dvskit.errors import ConfigError, ShapeError
from dvskit.learning import (
    BPTT,
    STDP,
    Activity,
    Convolution,
    DecolleLayer,
    DecolleNetwork,
    DecolleNeurons,
    DoubleExponential,
    EProp,
    FiringRate,
    RecurrentNetwork,
    RecurrentNeurons,
    RMSMax,
    SpikeProp,
    SpikePropLayer,
    SpikeResponse,
    SpikeResponseNetwork,
    SuperSpike,
    Synapses,
    Triplet,
    VanRossum,
    Window,
    first_spikes,
    squared_error,
    teach,
    time_error,
)
from dvskit.neurons import ATan, Boxcar
from tests.laws import refused
from tests.learned import recurrent, responding, spikes

X = torch.rand(5, 2, 6)
SYNAPSES = Synapses(delays=(1.0, 2.0, 3.0, 4.0), tau=7.0)


def conv_run(pre, post, weight):
    rule = STDP(connection=Convolution())
    return lambda: rule.run(torch.zeros(pre), torch.zeros(post), torch.zeros(weight))


def first(times, weight):
    return lambda: first_spikes(times, weight, SYNAPSES)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RecurrentNetwork(0, 1), "inputs = 0"),
        (lambda: RecurrentNetwork(3, 1, lif=0), "lif = 0"),
        (lambda: RecurrentNetwork(3, 1, lif=3, alif=-1), "alif = -1"),
        (lambda: RecurrentNeurons(beta=1.1), "beta = 1.1"),
        (lambda: RecurrentNeurons(threshold=0.0), "threshold = 0.0"),
        (lambda: RecurrentNeurons(adaptation=-0.1), "adaptation = -0.1"),
        (lambda: RecurrentNeurons(surrogate=ATan), "surrogate"),
        (lambda: FiringRate(-1.0), "cost = -1.0"),
        (lambda: FiringRate(1.0, 2.0), "target = 2.0"),
        (lambda: EProp(recurrent(), feedback="randon"), "'random'"),
        (lambda: EProp(recurrent()).start(X), "batch"),
        (lambda: BPTT(recurrent(), every=0), "every = 0"),
        (lambda: DecolleLayer(nn.Linear(3, 3), pool=2), "pool = 2"),
        (lambda: DecolleLayer(nn.Conv2d(1, 1, 3), pool=0), "pool = 0"),
        (lambda: DecolleLayer(nn.ReLU()), "ReLU"),
        (lambda: DecolleLayer(layers.Conv2d(2, 3, 3)), "torch.nn.Conv2d"),
        (lambda: DecolleNeurons(alpha=1.0), "alpha = 1.0"),
        (lambda: DecolleNeurons(rho=math.nan), "rho = nan"),
        (lambda: DecolleNeurons(surrogate=Boxcar), "surrogate"),
        (lambda: DecolleNetwork([], 3, (8,)), "layers = 0"),
        (lambda: DecolleNetwork([DecolleLayer(nn.Linear(9, 3))], 3, (8,)), "layer 0"),
        (lambda: DecolleNetwork([nn.Linear(8, 3)], 3, (8,)), "layer 0"),
        (lambda: Activity(-1.0), "high = -1.0"),
        (lambda: DoubleExponential(0.0), "rise = 0.0"),
        (lambda: SpikeResponse(threshold=-1.0), "threshold = -1.0"),
        (lambda: SpikeResponse(recovery=1.5), "recovery = 1.5"),
        (lambda: SpikeResponse(surrogate=3.0), "surrogate"),
        (lambda: SpikeResponseNetwork((3,)), "sizes"),
        (lambda: SpikeResponseNetwork((6.5, 3)), "sizes"),
        (lambda: SpikeResponseNetwork((3, 1), gain=math.nan), "gain = nan"),
        (lambda: SuperSpike(responding(3, 1), feedback="symetric"), "'symmetric'"),
        (lambda: RMSMax([nn.Parameter(torch.zeros(1))], lr=0.0), "lr = 0.0"),
        (first(torch.full((1, 2), math.nan), torch.ones(1, 2, 4)), "NaN"),
        (lambda: Synapses(delays=()), "delays"),
        (lambda: Synapses(delays=(-1.0,)), "delays"),
        (lambda: Synapses(tau=0.0), "tau"),
        (lambda: Synapses(least_slope=-1.0), "least_slope"),
        (lambda: SpikeProp([3], SYNAPSES, generator=0), "sizes"),
        (lambda: SpikeProp([3, 1], SYNAPSES, generator="1"), "generator = '1'"),
        (lambda: SpikePropLayer(0, 1, SYNAPSES, generator=0), "inputs"),
        (lambda: SpikePropLayer(1, 1, SYNAPSES, generator=0, drive=0.0), "drive"),
        (lambda: STDP(pairing="nearst"), "'nearest'"),
        (lambda: STDP(w_min=1.0), "w_min"),
        (lambda: STDP(w_max=math.nan), "w_max"),
        (lambda: STDP(softness=-1.0), "softness"),
        (lambda: STDP(softness=1.0, w_max=math.inf), "bounds"),
        (lambda: STDP(offset=math.inf), "offset"),
        (lambda: Window(a_plus=math.nan), "a_plus"),
        (lambda: Window(tau_minus=0.0), "tau_minus"),
        (lambda: Triplet(tau_pre=-1.0), "tau_pre"),
        (lambda: Convolution(stride=0), "stride"),
        (lambda: Convolution(padding=-1), "padding"),
    ],
)
def test_parameters_and_calls_that_cannot_be_meant_are_refused(make, named):
    with refused(ConfigError, named):
        make()


def run(pre, post, weight):
    return lambda: STDP().run(torch.zeros(pre), torch.zeros(post), weight)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: squared_error(torch.zeros(3, 2), torch.zeros(2)), "shape"),
        (lambda: teach(EProp(recurrent()), X, X[0]), "2 targets"),
        (lambda: VanRossum().distance(X, X[:, :1]), "shape"),
        (
            lambda: SuperSpike(responding(10, 4)).step(
                SuperSpike(responding(10, 4)).start(3), spikes(3, 10), spikes(3, 1)
            ),
            "target spikes",
        ),
        (first(torch.zeros(2), torch.ones(1, 2, 4)), "(B, N)"),
        (first(torch.zeros(1, 2), torch.ones(1, 2, 3)), "4 d"),
        (first(torch.zeros(1, 2), torch.ones(1, 2, 4).double()), "float64"),
        (lambda: time_error(torch.zeros(1, 2), torch.zeros(2), silent_at=0.0), "shape"),
        (run((5, 2, 3), (4, 2, 4), torch.zeros(4, 3)), "T steps"),
        (run((5, 2, 3), (5, 2, 4), torch.zeros(3, 4)), "(3, 4)"),
        (run((5, 2, 3), (5, 1, 4), torch.zeros(4, 3)), "(1, 4)"),
        (run((2, 1, 3), (2, 1, 4), torch.zeros(4, 3).long()), "torch.int64"),
        (conv_run((5, 2, 1, 4, 4), (5, 2, 3, 4, 4), (3, 1, 3, 3)), "conv2d"),
        (conv_run((5, 2, 2, 4, 4), (5, 2, 3, 2, 2), (3, 1, 3, 3)), "(3, 1, 3, 3)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(call, named):
    with refused(ShapeError, named):
        call()
