"""Networks: a frozen dataclass each; its fields say everything, its `build` makes the module.

    "conv-lif"      ConvLIF      two convolutions, for small sensors
    "motion-lif"    MotionLIF    convolutions and slower and slower neurons, for movements
    "residual-lif"  ResidualLIF  residual blocks with tdBN: SEW, or MS-ResNet
    "gesture-net"   GestureNet   the one of DVS128 Gesture's usual benchmark (Fang et al. 2021)
    "point-net"     PointNet     over the points of an event cloud
    "layers"        Layered      any chain of layers, written as in papers
    of your own     ModuleNetwork  any torch.nn.Module

The first four take `neurons`: "lif", "signed-lif", "plif", or "relu", the ANN of the same shape.
`network_from` and `network_values` are the way from and to the tables of configurations.

Recordings and still images. All but PointNet take both at once: encoded images are spikes of the
same shape as counts, (T, B, 2, H, W), and the same weights see them. Samples of a batch do not
touch each other (with batch normalisation: in evaluation), so that a batch of both gives the logits
that each gives alone.

Other libraries and devices: `to_nir`, `write_nir` and `from_nir` (the neuromorphic intermediate
representation), `write_onnx`, and `write_onnx_step` with `onnx_start` (ONNX), `to_snntorch`,
`from_snntorch` and `snntorch_state`. The packages that they need are installed apart, and each says
what the other side has not.
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
