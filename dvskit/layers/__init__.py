"""Layers over time: (T, B, ...) in, (T, B, ...) out, and readouts, (T, B, C) -> (B, C).

Each layer is a module of its own and works in torch.nn.Sequential. `Sequence` also passes their
states along, so a network can run in chunks of time or step by step. `checkpointed` trains it over
long times in little memory. Layers raise ConfigError for arguments out of range, and ShapeError for
inputs of another shape than theirs or their state's.

    network = Sequence(Conv2d(2, 12, 5), AvgPool2d(2), LIF(0.7), Flatten(), Linear(2700, 10),
                       MeanMembrane())
    network(counts)                       # (T, B, 2, 34, 34) -> (B, 10)
"""

from dvskit.layers.dense import Delays, Dropout, Flatten, Linear, Repeat, StepMean, Voting
from dvskit.layers.images import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    LogCounts,
    MaxPool2d,
    SumPool2d,
    ThresholdBatchNorm2d,
)
from dvskit.layers.sequence import (
    FirstSpike,
    LastMembrane,
    MaxMembrane,
    MeanMembrane,
    Membrane,
    Readout,
    ResidualBlock,
    Sequence,
    SpikeCount,
    State,
    Stateful,
    States,
    checkpointed,
)

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Delays",
    "Dropout",
    "FirstSpike",
    "Flatten",
    "LastMembrane",
    "Linear",
    "LogCounts",
    "MaxMembrane",
    "MaxPool2d",
    "MeanMembrane",
    "Membrane",
    "Readout",
    "Repeat",
    "ResidualBlock",
    "Sequence",
    "SpikeCount",
    "State",
    "Stateful",
    "States",
    "StepMean",
    "SumPool2d",
    "ThresholdBatchNorm2d",
    "Voting",
    "checkpointed",
]
