"""Learning rules beside backpropagation through time: spike-timing plasticity and SpikeProp.

`STDP` changes weights by the times of the spikes on both sides of a synapse, without labels.
`SpikeProp` trains layers of neurons that spike once each to spike at given times.
"""

from dvskit.learning.connections import Connection, Convolution, Dense
from dvskit.learning.spike_times import Synapses, first_spikes
from dvskit.learning.spikeprop import SpikeProp, SpikePropLayer, spikeprop_gradients, time_error
from dvskit.learning.stdp import STDP, STDPState, Triplet, Window

__all__ = [
    "STDP",
    "Connection",
    "Convolution",
    "Dense",
    "STDPState",
    "SpikeProp",
    "SpikePropLayer",
    "Synapses",
    "Triplet",
    "Window",
    "first_spikes",
    "spikeprop_gradients",
    "time_error",
]
