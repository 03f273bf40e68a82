"""Neurons and readouts by their words: what they are, and which parameters they take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dvskit.errors import ConfigError, did_you_mean
from dvskit.layers import (
    FirstSpike,
    LastMembrane,
    MaxMembrane,
    MeanMembrane,
    Membrane,
    SpikeCount,
)
from dvskit.networks.pieces import Defaults, Named, Shape, check_options
from dvskit.neurons import ALIF, IF, LI, LIF, PLIF, Neurons, RecurrentLIF, SignedLIF, SynapticLIF

_OF_SPIKES = ("threshold", "threshold_off", "reset", "refractory")
_NEURONS: dict[str, tuple[type[Neurons], tuple[str, ...]]] = {
    "if": (IF, _OF_SPIKES),
    "lif": (LIF, ("beta", *_OF_SPIKES)),
    "signed-lif": (SignedLIF, ("beta", *_OF_SPIKES)),
    "alif": (ALIF, ("beta", "kappa", "rho", *_OF_SPIKES)),
    "plif": (PLIF, ("tau", *_OF_SPIKES)),
    "synaptic-lif": (SynapticLIF, ("beta", "alpha", *_OF_SPIKES)),
    "recurrent-lif": (LIF, ("beta", *_OF_SPIKES)),
    "li": (LI, ("beta",)),
}
NEURON_WORDS = tuple(_NEURONS)


@dataclass(frozen=True, slots=True)
class Spiking:
    """Neurons by their word, with parameters: lif, alif kappa=0.2."""

    word: str
    options: Mapping[str, Any]
    defaults: Defaults
    membrane: bool = False

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        check_options(self.options, _NEURONS[self.word][1])
        if self.word == "recurrent-lif" and len(shape) != 1:
            raise ConfigError("its neurons are all connected; put a dense layer in front of it")
        self._neurons()  # which judges the parameters
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the neurons; those of recurrent-lif with a dense layer from their spikes back."""
        kind = "lif" if self.word == "signed-lif" else self.word.partition("-")[0]
        if self.word == "recurrent-lif":
            neurons = self._neurons(nn.Linear(shape[0], shape[0], bias=False))
        else:
            neurons = self._neurons()
        return [(kind, Membrane(neurons) if self.membrane else neurons)]

    def _neurons(self, back: nn.Module | None = None) -> Neurons:
        kind, known = _NEURONS[self.word]
        beta = self.defaults.beta
        given: dict[str, Any] = {"beta": beta, "threshold": self.defaults.threshold}
        given["tau"] = 1 / (1 - beta) if beta < 1 else math.inf
        given |= self.options
        given.setdefault("threshold_off", given["threshold"] if kind is SignedLIF else math.inf)
        chosen = {name: value for name, value in given.items() if name in known}
        return kind(**chosen) if back is None else RecurrentLIF(back, **chosen)


NEURON_CHOICES = ("signed-lif", "lif", "plif", "relu")
"""What networks with one kind of neurons throughout take for `neurons`."""


def check_neurons(word: str) -> None:
    """Raise ConfigError for what is none of NEURON_CHOICES."""
    if word not in NEURON_CHOICES:
        raise ConfigError(f"neurons = {word!r}; {did_you_mean(word, NEURON_CHOICES)}")


def neurons_of(word: str, beta: float, threshold: float) -> nn.Module:
    """Return a layer of neurons by its word, one of NEURON_CHOICES."""
    if word == "relu":
        return nn.ReLU()
    ((_, layer),) = Spiking(word, {}, Defaults(beta, threshold)).modules(())
    return layer


_READOUTS: dict[str, tuple[type[nn.Module] | None, tuple[str, ...]]] = {
    "mean": (MeanMembrane, ()),
    "last": (LastMembrane, ()),
    "max": (MaxMembrane, ()),
    "count": (SpikeCount, ()),
    "first": (FirstSpike, ("tau",)),
    "each": (None, ()),
}
READOUT_WORDS = tuple(_READOUTS)


@dataclass(frozen=True, slots=True)
class Reading:
    """A readout by its word: mean, last, max, count, first tau=5; each is none, for all steps."""

    word: str
    options: Mapping[str, Any]
    defaults: Defaults

    def after(self, shape: Shape) -> Shape:
        """Return the same shape."""
        check_options(self.options, _READOUTS[self.word][1])
        self.modules(shape)  # which judges the parameters
        return shape

    def modules(self, shape: Shape) -> list[Named]:
        """Return the readout."""
        kind = _READOUTS[self.word][0]
        return [] if kind is None else [(self.word, kind(**self.options))]
