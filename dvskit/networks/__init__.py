"""Networks: each is a frozen dataclass that describes one; its `build` makes the module.

    "conv-lif"      ConvLIF      two convolutions, for small sensors
    "motion-lif"    MotionLIF    convolutions and neurons with growing time constants, for movements
    "residual-lif"  ResidualLIF  residual blocks with tdBN: SEW, or MS-ResNet
    "gesture-net"   GestureNet   the usual benchmark network of DVS128 Gesture (Fang et al. 2021)
    "point-net"     PointNet     over the points of an event cloud
    "layers"        Layered      any chain of layers, written as in papers
    of your own     ModuleNetwork  any torch.nn.Module

The first four take `neurons`: "lif", "signed-lif", "plif", or "relu", the ANN of the same shape.
`network_from` and `network_values` convert from and to tables of configurations.

Recordings and still images: all networks but PointNet take both. Encoded images are spikes of the
same shape as counts, (T, B, 2, H, W), and use the same weights. The samples of a batch are
independent (with batch normalisation: in evaluation), so a mixed batch gives the logits of each
sample alone.

Other libraries and devices: `to_nir`, `write_nir` and `from_nir` (the neuromorphic intermediate
representation), `write_onnx`, and `write_onnx_step` with `onnx_start` (ONNX), `to_snntorch`,
`from_snntorch` and `snntorch_state`. The packages they need are installed separately. The docstring
of each lists features without a counterpart.
"""

from dvskit.networks.chains import ConvLIF, MotionLIF, PointNet
from dvskit.networks.layered import Layered
from dvskit.networks.names import NETWORKS, network_from, network_values
from dvskit.networks.network import Network, NetworkModule
from dvskit.networks.nir_reading import from_nir
from dvskit.networks.nir_writing import to_nir, write_nir
from dvskit.networks.onnx_step import onnx_start, write_onnx, write_onnx_step
from dvskit.networks.own import ModuleNetwork
from dvskit.networks.residual_lif import GestureNet, ResidualLIF
from dvskit.networks.snntorch_layers import from_snntorch, snntorch_state, to_snntorch

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
    "from_nir",
    "from_snntorch",
    "network_from",
    "network_values",
    "onnx_start",
    "snntorch_state",
    "to_nir",
    "to_snntorch",
    "write_nir",
    "write_onnx",
    "write_onnx_step",
]
