"""Spiking neurons: (T, ...) currents in, (T, ...) spikes out.

`LIF` is the leaky integrate-and-fire layer, `SignedLIF` the one that also spikes downwards,
`lif_step` one step of either as a pure function. Surrogate gradients are values (`ATan`).
"""

from dvskit.neurons.lif import LIF, LIFState, SignedLIF, lif_step
from dvskit.neurons.surrogates import ATan, Surrogate, spike

__all__ = ["LIF", "ATan", "LIFState", "SignedLIF", "Surrogate", "lif_step", "spike"]
