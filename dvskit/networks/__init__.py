"""Networks: a frozen dataclass each; its fields say everything, its `build` makes the module.

`ConvLIF` and `MotionLIF` are two that come along, `Layered` any chain of layers, written as in
papers. `network_from` and `network_values` are the way from and to the tables of configurations.

Other libraries and devices: `to_nir`, `write_nir` and `from_nir` (the neuromorphic intermediate
representation), `write_onnx`, and `write_onnx_step` with `onnx_start` (ONNX), `to_snntorch`,
`from_snntorch` and `snntorch_state`. The packages that they need are installed apart, and each says
what the other side has not.
"""

from dvskit.networks.conv_lif import ConvLIF
from dvskit.networks.layered import Layered
from dvskit.networks.motion_lif import MotionLIF
from dvskit.networks.names import NETWORKS, network_from, network_values
from dvskit.networks.network import Network, NetworkModule
from dvskit.networks.nir_reading import from_nir
from dvskit.networks.nir_writing import to_nir, write_nir
from dvskit.networks.onnx_step import onnx_start, write_onnx, write_onnx_step
from dvskit.networks.snntorch_layers import from_snntorch, snntorch_state, to_snntorch

__all__ = [
    "NETWORKS",
    "ConvLIF",
    "Layered",
    "MotionLIF",
    "Network",
    "NetworkModule",
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
