"""Networks: each is a frozen dataclass that describes one; its `build` makes the module.

    "conv-lif"      ConvLIF      two convolutions, for small sensors
    "motion-lif"    MotionLIF    convolutions and neurons with growing time constants, for movements
    "residual-lif"  ResidualLIF  residual blocks with tdBN: SEW, or MS-ResNet
    "gesture-net"   GestureNet   the usual benchmark network of DVS128 Gesture (Fang et al. 2021)
    "point-net"     PointNet     over the points of an event cloud
    "layers"        Layered      any chain of layers, written as in papers
    of your own     ModuleNetwork  any torch.nn.Module; `register_network` gives it a name

The first four take `neurons`: "lif", "signed-lif", "plif", other neurons, also your own
(`dvskit.neurons.register_neuron`), or "relu", the ANN of the same shape.
`network_from` and `network_values` convert from and to tables of configurations. Descriptions raise
ConfigError for values out of range.

Recordings and still images: all networks but PointNet take both. Encoded images are spikes of the
same shape as counts, (T, B, 2, H, W), and use the same weights. The samples of a batch are
independent (with batch normalization: in evaluation).

Other libraries and devices: `to_nir`, `write_nir` and `from_nir` (the neuromorphic intermediate
representation), `write_onnx`, and `write_onnx_step` with `onnx_start` (ONNX), `to_snntorch`,
`from_snntorch` and `snntorch_state`. The packages they need are installed separately. The docstring
of each lists features without a counterpart.
"""

from dvskit.networks.converting import to_spiking
from dvskit.networks.folding import fold
from dvskit.networks.kinds import (
    NETWORKS,
    ConvLIF,
    GestureNet,
    MotionLIF,
    PointNet,
    ResidualLIF,
    network_from,
    network_values,
    register_network,
)
from dvskit.networks.layered import Layered
from dvskit.networks.network import ModuleNetwork, Network, NetworkModule
from dvskit.networks.nir import from_nir, to_nir, write_nir
from dvskit.networks.onnx import onnx_start, write_onnx, write_onnx_step
from dvskit.networks.quantizing import quantize, unit_of
from dvskit.networks.snntorch import from_snntorch, snntorch_state, to_snntorch

__all__ = [
    "NETWORKS",
    "ConvLIF",
    "GestureNet",
    "Layered",
    "ModuleNetwork",
    "MotionLIF",
    "Network",
    "NetworkModule",
    "PointNet",
    "ResidualLIF",
    "fold",
    "from_nir",
    "from_snntorch",
    "network_from",
    "network_values",
    "onnx_start",
    "quantize",
    "register_network",
    "snntorch_state",
    "to_nir",
    "to_snntorch",
    "to_spiking",
    "unit_of",
    "write_nir",
    "write_onnx",
    "write_onnx_step",
]
