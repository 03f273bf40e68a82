"""Networks: a frozen dataclass each; its fields say everything, its `build` makes the module.

`ConvLIF` and `MotionLIF` are two that come along, `Layered` any chain of layers, written as in
papers. `network_from` and `network_values` are the way from and to the tables of configurations.
"""

from dvskit.networks.conv_lif import ConvLIF
from dvskit.networks.layered import Layered
from dvskit.networks.motion_lif import MotionLIF
from dvskit.networks.names import NETWORKS, network_from, network_values
from dvskit.networks.network import Network, NetworkModule

__all__ = [
    "NETWORKS",
    "ConvLIF",
    "Layered",
    "MotionLIF",
    "Network",
    "NetworkModule",
    "network_from",
    "network_values",
]
