"""Spiking neurons: (T, ...) currents in, (T, ...) spikes out.

`IF`, `LIF` and `SignedLIF`, which also spikes downwards; `ALIF` with an adaptive threshold,
`SynapticLIF` with a decaying current, `PLIF` with a learned time constant, `RecurrentLIF`, and
`LI`, which does not spike, for readouts. All are one model (`dvskit.neurons.dynamics`) with parts
left out. `lif_step` is one step as a pure function. `BurstLIF` spikes several times in a
step, in plain torch.

    spikes = LIF(beta=0.9)(currents)
    spikes, state = layer.run(currents, state)         # the next bins of the same sequence
    spikes, state = layer.step(current, state)         # one bin
    layer.trace(currents).h                            # potentials before the reset: `NeuronTrace`

Equations of your own: a subclass of `CustomNeurons` writes one step, and runs in plain torch.
`register_neuron` gives it a name for layer lists and configurations.

All time steps run in one compiled kernel, on the CPU and, where Triton works, on a GPU. Layers keep
the memory of large spikes and gradients for their next pass; `release_buffers` returns it to the
system.

A surrogate gradient is an object, such as `ATan(2.0)`: `ATan`, `FastSigmoid`, `Sigmoid`,
`Triangle`, `Boxcar`, `StraightThrough`, or any other with `derivative(u)`. Their parameters must be
finite and above 0.
"""

from dvskit.neurons.buffers import release_buffers
from dvskit.neurons.driver import CustomNeurons, Neurons
from dvskit.neurons.dynamics import (
    ATan,
    Boxcar,
    FastSigmoid,
    NeuronState,
    NeuronTrace,
    Sigmoid,
    StraightThrough,
    Surrogate,
    Triangle,
    spike,
)
from dvskit.neurons.models import (
    ALIF,
    IF,
    LI,
    LIF,
    PLIF,
    BurstLIF,
    RecurrentLIF,
    SignedLIF,
    SynapticLIF,
    lif_step,
    register_neuron,
)

__all__ = [
    "ALIF",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "ATan",
    "Boxcar",
    "BurstLIF",
    "CustomNeurons",
    "FastSigmoid",
    "NeuronState",
    "NeuronTrace",
    "Neurons",
    "RecurrentLIF",
    "Sigmoid",
    "SignedLIF",
    "StraightThrough",
    "Surrogate",
    "SynapticLIF",
    "Triangle",
    "lif_step",
    "register_neuron",
    "release_buffers",
    "spike",
]
