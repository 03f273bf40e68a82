"""Operations of networks beside neurobench's figures of the same networks and inputs, in one run.

    python -m tests.benchmarks.operations

Needs neurobench (pip install neurobench). For each network prints the figures of a sample by both,
the largest difference of any, and the seconds that each took; passes alternate, the first of each
is not counted. Both run the same module over the same batch of random counts, one in ten of which
is not 0: one batch, since neurobench tells spikes from other numbers batch by batch and dvskit over
all. neurobench knows the neurons of snntorch and is told of dvskit's.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from neurobench.metrics.static import Footprint
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import TorchModel
from torch import nn

from dvskit.evaluation.operations import Operations, counted
from dvskit.networks import ConvLIF, Layered, MotionLIF
from dvskit.neurons import Neurons
from tests.benchmarks.measured import in_turn

NETWORKS = {
    "conv-lif 34x34": ConvLIF(),
    "motion-lif 60x60": MotionLIF(width=60, height=60),
    "residual 16x16": Layered(
        layers=("8C3p1", "bn", "plif", ["8C3p1", "bn", "plif"], "S2", "10"), width=16, height=16
    ),
    "dense 28x28": Layered(layers=("100", "lif", "10"), width=28, height=28),
}
STEPS, BATCH, ROUNDS = 10, 8, 3


def counts_of(network: ConvLIF | MotionLIF | Layered, seed: int) -> torch.Tensor:
    """Random counts (T, B, 2, H, W) of which one in ten is not 0."""
    rng = np.random.default_rng(seed)
    shape = (STEPS, BATCH, 2, network.height, network.width)
    return torch.from_numpy(rng.poisson(0.105, shape).astype(np.float32))


def of_neurobench(module: nn.Module, counts: torch.Tensor) -> dict[str, float]:
    """The figures that neurobench gives of a batch."""
    model = TorchModel(module)
    model.add_activation_module(Neurons)
    model.register_hooks()
    data = (counts.transpose(0, 1), None)  # it takes the size of the batch from the first axis
    with torch.no_grad():
        module(counts)
    operations, sparsity = SynapticOperations(), ActivationSparsity()
    found = {**operations(model, None, data), "sparsity": sparsity(model, None, data)}
    found["bytes"] = Footprint()(model)
    model.cleanup_hooks()
    return found


def of_dvskit(module: nn.Module, counts: torch.Tensor) -> Operations:
    """The figures that dvskit gives of a batch."""
    return counted(module, [counts])


def main() -> None:
    """Print a table of both."""
    print(
        f"neurobench {version('neurobench')}, dvskit {version('dvskit')}, torch "
        f"{torch.__version__}; {STEPS} steps, {BATCH} samples; figures of a sample"
    )
    print(f"{'network':18}{'figure':12}{'dvskit':>14}{'neurobench':>14}{'apart':>10}")
    for name, network in NETWORKS.items():
        torch.manual_seed(0)
        module, counts = network.build().eval(), counts_of(network, 1)
        runs = {"own": partial(of_dvskit, module, counts)}
        runs["peer"] = partial(of_neurobench, module, counts)
        passes = in_turn(runs, ROUNDS)
        own, peer = (each.first for each in passes.values())
        own_s, peer_s = (each.least[0] for each in passes.values())
        rows = {
            "ACs": (own.acs, peer["Effective_ACs"]),
            "MACs": (own.macs, peer["Effective_MACs"]),
            "dense": (own.dense, peer["Dense"]),
            "sparsity": (own.sparsity, peer["sparsity"]),
            "bytes": (own.bytes, peer["bytes"]),
        }
        for figure, (first, second) in rows.items():
            print(f"{name:18}{figure:12}{first:14,.6g}{second:14,.6g}{abs(first - second):10.1e}")
        print(f"{name:18}{'seconds':12}{own_s:14.3g}{peer_s:14.3g}")


if __name__ == "__main__":
    main()
