"""Learning rules for spiking networks: gradients that are local, online, or both.

`EProp`, `DECOLLE` and `SuperSpike` are called as `BPTT` is (`Rule`): they add gradients to the
parameters' `.grad`, so that any optimiser of torch follows.
"""

from dvskit.learning.bptt import BPTT, BPTTState
from dvskit.learning.decolle import DECOLLE, Activity, DECOLLEState
from dvskit.learning.decolle_layers import (
    DecolleLayer,
    DecolleLayerState,
    DecolleNetwork,
    DecolleNeurons,
)
from dvskit.learning.eprop import EProp, EPropState, FiringRate
from dvskit.learning.losses import cross_entropy, squared_error
from dvskit.learning.recurrent import RecurrentNetwork, RecurrentNeurons, RecurrentState
from dvskit.learning.rms_max import RMSMax
from dvskit.learning.rule import Loss, Rule, Stepped, predict, teach
from dvskit.learning.spike_response import SpikeResponse, SpikeResponseNetwork
from dvskit.learning.superspike import SuperSpike, SuperSpikeState
from dvskit.learning.van_rossum import DoubleExponential, VanRossum

__all__ = [
    "BPTT",
    "DECOLLE",
    "Activity",
    "BPTTState",
    "DECOLLEState",
    "DecolleLayer",
    "DecolleLayerState",
    "DecolleNetwork",
    "DecolleNeurons",
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
    "SpikeResponse",
    "SpikeResponseNetwork",
    "Stepped",
    "SuperSpike",
    "SuperSpikeState",
    "VanRossum",
    "cross_entropy",
    "predict",
    "squared_error",
    "teach",
]
