"""What is seen of a network at work is what it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dvskit import evaluation
from dvskit.errors import ConfigError, FittedWarning, ShapeError
from dvskit.evaluation import observe, spiking_layers, weighted_layers
from dvskit.events import Events
from dvskit.models import InputConfig, Model
from dvskit.networks import Layered
from dvskit.neurons import ALIF, PLIF, RecurrentLIF, SynapticLIF
from tests.bars import blown_up
from tests.laws import refused, scattered


def model_of(words: str, classes: int, seed: int, **input_) -> Model:
    """A network that is not trained, of layers that are divided by |."""
    network = Layered(
        layers=tuple(words.split("|")), width=34, height=34, classes=classes, gain=3.0
    )
    torch.manual_seed(seed)
    names = tuple(map(str, range(classes)))
    return Model("made", network, network.build().eval(), InputConfig(**input_), names)


@pytest.fixture(scope="module")
def many() -> Model:
    """A network of many kinds of neurons, that spike."""
    words = (
        "4C5|plif tau=3 threshold=0.2|P2|if|16|alif kappa=0.5|12|synaptic-lif alpha=0.5"
        "|8|recurrent-lif|6|li|2|lif|membrane"
    )
    return model_of(words, 2, 4, bins=12, bin_us=20_000)


@pytest.fixture(scope="module")
def model():
    words = "32C5|P2|signed-lif|64C3|P2|signed-lif|10"
    return model_of(words, 10, 1, bins=10, bin_us=31_000)


@pytest.fixture(scope="module")
def events():
    return scattered(3000, (34, 34), span_us=300_000)


def test_any_spiking_layer_is_seen_the_last_one_if_none_is_named(model, events):
    assert list(spiking_layers(model)) == ["lif1", "lif2"]
    assert list(weighted_layers(model)) == ["conv1", "conv2", "dense1"]
    assert observe(model, events).name == "lif2"
    for name, shape in (("lif1", (10, 32, 15, 15)), ("lif2", (10, 64, 6, 6))):
        seen = observe(model, events, name)
        assert tuple(seen.spikes.shape) == tuple(seen.current.shape) == shape
        assert seen.neurons == int(np.prod(shape[1:]))
        torch.testing.assert_close(seen.layer(seen.current[:, None])[:, 0], seen.spikes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("plif1", PLIF), ("alif1", ALIF), ("synaptic1", SynapticLIF), ("recurrent1", RecurrentLIF)],
)
def test_layers_of_any_neurons_that_spike_are_seen_with_what_their_spikes_were_decided_on(
    many, events, name, kind
):
    assert list(spiking_layers(many)) == ["plif1", "if1", "alif1", "synaptic1", "recurrent1"]
    seen = observe(many, events, name)
    assert type(seen.layer) is kind
    assert 0 < seen.spikes.mean() < 1
    traced = seen.trace()
    assert torch.equal(traced.spikes, seen.spikes)
    assert torch.equal(traced.h >= traced.threshold, seen.spikes > 0)
    assert traced.h.shape == traced.v.shape == seen.current.shape
    assert not traced.h.requires_grad
    assert (traced.threshold.max() > traced.threshold.min()) == (kind is ALIF)
    assert 0 < len(seen.causes(seen.liveliest())) <= len(seen.events)


def test_the_current_of_a_recurrent_layer_is_what_comes_from_below(many, events):
    below, seen = observe(many, events, "synaptic1"), observe(many, events, "recurrent1")
    current = many.module.dense3(below.spikes[:, None])[:, 0]
    torch.testing.assert_close(current, seen.current)
    traced = seen.trace()
    fed_back = traced.h[1:] - seen.layer.beta * traced.v[:-1] - current[1:]
    torch.testing.assert_close(fed_back, seen.layer.recurrent(seen.spikes[:-1]), atol=1e-4, rtol=0)
    assert fed_back.abs().max() > 0.01


def test_the_liveliest_neuron_changes_most(model, events):
    seen = observe(model, events, "lif1")
    changes = (seen.spikes.flatten(1).diff(dim=0) != 0).sum(0)
    assert seen.liveliest() == int(changes.argmax())
    assert changes.max() > 0


@pytest.mark.slow
def test_the_field_of_a_neuron_is_where_a_change_of_events_changes_its_current(model, events):
    number = 3 * 225 + 2 * 15 + 4  # channel 3, row 2, column 4
    seen = observe(model, events, "lif1")
    field = seen.field(number)
    before = seen.current.flatten(1)[:, number]

    def changes(row, column):
        more = Events(
            t=np.append(seen.events.t[:1], seen.events.t), x=np.append(column, seen.events.x),
            y=np.append(row, seen.events.y), p=np.append(True, seen.events.p), size=(34, 34),
        )  # fmt: skip
        after = observe(model, more, "lif1").current.flatten(1)[:, number]
        return bool((after - before).abs().max() > 1e-6)

    assert [changes(6, column) for column in range(5, 17)] == field[6, 5:17].tolist()
    assert [changes(row, 10) for row in range(12)] == field[:12, 10].tolist()
    assert field.sum() == 36
    causes = seen.causes(number)
    assert 0 < len(causes) < len(events)
    assert field[causes.y, causes.x].all()


def test_a_window_is_that_of_the_network(model):
    long = scattered(3000, (34, 34), span_us=900_000)
    seen = observe(model, long)
    assert seen.start_us == int(long.t[0])
    assert seen.events == long.between(seen.start_us, seen.start_us + 10 * seen.bin_us)


def test_what_cannot_be_seen_is_refused(model, events):
    with refused(ConfigError, "lif1"):
        observe(model, events, "lif")
    with refused(ShapeError, "no events"):
        observe(model, Events.empty((34, 34)))
    with refused(ShapeError, 7200):
        observe(model, events, "lif1").field(7200)


def test_a_recording_of_another_sensor_is_seen_fitted(model, events):
    with pytest.warns(FittedWarning, match="68x68"):
        seen = observe(model, blown_up(events, 2), "lif1")
    torch.testing.assert_close(seen.spikes, observe(model, events, "lif1").spikes)
    assert np.array_equal(seen.field(7), observe(model, events, "lif1").field(7))


def test_looking_changes_nothing(model, events):
    before = evaluation.classify(model, events)
    observe(model, events, "lif1").causes(0)
    assert evaluation.classify(model, events) == before
    assert all(weight.grad is None for weight in model.module.parameters())
