"""Learning rules for spiking networks: local rules, online rules, and rules of spike times.

`STDP` changes weights by the times of the spikes on both sides of a synapse, without labels.
`SpikeProp` trains layers of neurons that spike once each to spike at given times. `EProp`,
`DECOLLE` and `SuperSpike` are called like `BPTT` (`Rule`): they add gradients to the parameters'
`.grad`, so any optimizer of torch can follow. Constructors raise ConfigError for values out of
range; steps raise ShapeError for inputs that do not fit the network or the state.
"""

from dvskit.learning.decolle import (
    DECOLLE,
    Activity,
    DecolleLayer,
    DecolleLayerState,
    DecolleNetwork,
    DecolleNeurons,
    DECOLLEState,
)
from dvskit.learning.eprop import (
    EProp,
    EPropState,
    FiringRate,
    RecurrentNetwork,
    RecurrentNeurons,
    RecurrentState,
)
from dvskit.learning.rule import (
    BPTT,
    BPTTState,
    DoubleExponential,
    Loss,
    Rule,
    Stepped,
    VanRossum,
    cross_entropy,
    predict,
    squared_error,
    teach,
)
from dvskit.learning.spikeprop import (
    SpikeProp,
    SpikePropLayer,
    Synapses,
    first_spikes,
    spikeprop_gradients,
    time_error,
)
from dvskit.learning.stdp import (
    STDP,
    Connection,
    Convolution,
    Dense,
    STDPState,
    Triplet,
    Window,
)
from dvskit.learning.superspike import (
    RMSMax,
    SpikeResponse,
    SpikeResponseNetwork,
    SuperSpike,
    SuperSpikeState,
)

__all__ = [
    "BPTT",
    "DECOLLE",
    "STDP",
    "Activity",
    "BPTTState",
    "Connection",
    "Convolution",
    "DECOLLEState",
    "DecolleLayer",
    "DecolleLayerState",
    "DecolleNetwork",
    "DecolleNeurons",
    "Dense",
    "DoubleExponential",
    "EProp",
    "EPropState",
    "FiringRate",
    "Loss",
    "RMSMax",
    "RecurrentNetwork",
    "RecurrentNeurons",
    "RecurrentState",
    "Rule",
    "STDPState",
    "SpikeProp",
    "SpikePropLayer",
    "SpikeResponse",
    "SpikeResponseNetwork",
    "Stepped",
    "SuperSpike",
    "SuperSpikeState",
    "Synapses",
    "Triplet",
    "VanRossum",
    "Window",
    "cross_entropy",
    "first_spikes",
    "predict",
    "spikeprop_gradients",
    "squared_error",
    "teach",
    "time_error",
]
