"""Learning rules beside backpropagation through time: spike-timing-dependent plasticity.

`STDP` changes weights by the times of the spikes on both sides of a synapse, without labels.
"""

from dvskit.learning.connections import Connection, Convolution, Dense
from dvskit.learning.stdp import STDP, STDPState, Triplet, Window

__all__ = ["STDP", "Connection", "Convolution", "Dense", "STDPState", "Triplet", "Window"]
